"""Every coding gives back what went in, whole and in pieces, and says the same twice."""

from __future__ import annotations

import subprocess
import sys
import zlib

import brotli
import pytest
from backports import zstd
from hypothesis import given, settings
from hypothesis import strategies as st

from pyserve.config.model import Compress
from pyserve.http.codings import Encoder, compress, compress_fast, is_compressible

DECODE = {b"gzip": lambda data: zlib.decompress(data, 31), b"br": brotli.decompress, b"zstd": zstd.decompress}
CODINGS = pytest.mark.parametrize("coding", DECODE)
TEXT = b"".join(b'{"id":%d,"name":"item %d"},' % (number * 7919, number % 97) for number in range(5000))


def decoder(coding: bytes):  # type: ignore[no-untyped-def]
    """Return a function that gives what can be decoded so far."""
    if coding == b"gzip":
        return zlib.decompressobj(31).decompress
    if coding == b"br":
        return brotli.Decompressor().process
    return zstd.ZstdDecompressor().decompress


@CODINGS
@pytest.mark.parametrize("code", [compress, compress_fast])
@pytest.mark.parametrize("data", [b"", b"x", TEXT, bytes(range(256)) * 300], ids=["empty", "one", "text", "bytes"])
def test_a_whole_content_comes_back(coding: bytes, code, data: bytes) -> None:  # type: ignore[no-untyped-def]
    assert DECODE[coding](code(coding, data)) == data


@CODINGS
def test_equal_contents_are_equal_when_coded(coding: bytes) -> None:
    assert compress(coding, TEXT) == compress(coding, TEXT)
    assert compress_fast(coding, TEXT) == compress_fast(coding, TEXT)


def test_gzip_says_no_time() -> None:
    assert compress(b"gzip", TEXT)[4:8] == bytes(4)


@CODINGS
def test_what_is_kept_is_smaller_than_what_is_made_for_one_answer(coding: bytes) -> None:
    assert len(compress(coding, TEXT)) < len(compress_fast(coding, TEXT)) < len(TEXT) / 3


@CODINGS
@settings(deadline=None)
@given(sizes=st.lists(st.tuples(st.binary(max_size=200) | st.integers(0, 70_000), st.booleans()), max_size=12))
def test_a_stream_comes_back_whatever_its_pieces(coding: bytes, sizes: list[tuple[bytes | int, bool]]) -> None:
    encoder = Encoder(coding)
    pieces = [(TEXT[:piece] if isinstance(piece, int) else piece, flush) for piece, flush in sizes]
    coded = b"".join(encoder.encode(data, flush) for data, flush in pieces) + encoder.finish()
    assert DECODE[coding](coded) == b"".join(data for data, _ in pieces)


@CODINGS
@settings(deadline=None)
@given(pieces=st.lists(st.binary(min_size=1, max_size=5000), min_size=1, max_size=6))
def test_what_was_flushed_can_be_read_at_once(coding: bytes, pieces: list[bytes]) -> None:
    encoder, decode = Encoder(coding), decoder(coding)
    for data in pieces:
        assert decode(encoder.encode(data, True)) == data


@pytest.mark.parametrize(
    ("content_type", "expected"),
    [
        (b"text/html", True),
        (b"text/html; charset=utf-8", True),
        (b"Text/HTML ;charset=utf-8", True),
        (b"application/json", True),
        (b"application/problem+json", True),
        (b"image/svg+xml", True),
        (b"image/png", False),
        (b"application/octet-stream", False),
        (b"application/jsonish", False),
        (b"xtext/html", False),
        (b"", False),
        (b"\xff\xfe", False),
        (b"text/event-stream", False),
        (b"text/" + b"x" * 200, False),
    ],
)
def test_the_usual_types_of_text_are_compressible(content_type: bytes, expected: bool) -> None:
    for _ in range(2):
        assert is_compressible(Compress(), content_type) is expected


def test_a_stream_of_events_is_compressible_where_it_is_listed_by_name() -> None:
    assert is_compressible(Compress(types=("text/event-stream",)), b"text/event-stream; charset=utf-8")
    assert not is_compressible(Compress(types=("*/*",)), b"text/event-stream")


def test_no_types_are_no_types() -> None:
    assert not is_compressible(Compress(types=()), b"text/html")


def test_many_stars_take_no_longer_than_few() -> None:
    """With a pattern that backtracks this would take hours."""
    assert not is_compressible(Compress(types=("text/" + "*a" * 12,)), b"text/" + b"a" * 100 + b"b")


def test_what_is_remembered_of_types_is_bounded() -> None:
    from pyserve.http import codings

    for number in range(3000):
        is_compressible(Compress(), b"text/%d" % number)
    assert len(codings._known) <= codings._MOST_KNOWN


def test_a_front_that_compresses_nothing_imports_no_coder() -> None:
    code = "import pyserve.front.main, sys; print(*sys.modules)"
    loaded = set(subprocess.check_output([sys.executable, "-c", code], text=True).split())
    assert not loaded & {"brotli", "backports.zstd", "pyserve.http.codings", "queue"}
