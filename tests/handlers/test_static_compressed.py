"""Files that are compressed here: which, how often, what is kept, and what is never mixed up with what."""

from __future__ import annotations

import os
import zlib
from pathlib import Path

import brotli
import pytest
from backports import zstd

from pyserve.config.model import Compress, Files
from pyserve.handlers.static import CODED_BYTES
from tests.support.exchanges import FakeExchange
from tests.support.served import Serve, Served, write

TEXT = b"".join(b"line %d of a text\n" % number for number in range(500))
LONG_TEXT = TEXT * 20
HUGE_TEXT = TEXT * 150
DECODERS = {
    "gzip": lambda data: zlib.decompress(data, 31),
    "br": brotli.decompress,
    "zstd": zstd.decompress,
}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "public"
    write(folder / "text.txt", TEXT)
    write(folder / "long.txt", LONG_TEXT)
    write(folder / "huge.txt", HUGE_TEXT)
    write(folder / "small.txt", b"x" * 1023)
    write(folder / "edge.txt", b"x" * 1024)
    write(folder / "data.bin", TEXT)
    write(folder / "page.html.gz", TEXT)
    assert len(LONG_TEXT) < CODED_BYTES < len(HUGE_TEXT)
    return folder


@pytest.fixture
def site(serve: Serve, root: Path) -> Served:
    return serve(Files(str(root), cache="max-age=60"), compress=Compress())


def content(exchange: FakeExchange) -> bytes:
    coding = exchange.headers.get("content-encoding")
    return DECODERS[coding](exchange.body) if coding else exchange.body


def chunked(exchange: FakeExchange) -> FakeExchange:
    if not exchange.over:
        exchange.end()
    return exchange


def ask(site: Served, target: str, coding: str = "gzip", **more: str) -> FakeExchange:
    exchange = site.begin(target, accept_encoding=coding, **more)
    if not exchange.over:
        exchange.transmit()
    return exchange


@pytest.mark.parametrize("coding", DECODERS)
@pytest.mark.parametrize(("target", "text"), [("/text.txt", TEXT), ("/long.txt", LONG_TEXT), ("/huge.txt", HUGE_TEXT)])
def test_what_comes_out_is_what_lies_there(site: Served, target: str, text: bytes, coding: str) -> None:
    plain = site.ask(target)
    for _ in ("made", "kept"):
        exchange = ask(site, target, coding)
        assert content(exchange) == text
        assert len(exchange.body) < len(text)
        assert exchange.headers == {
            "content-type": "text/plain; charset=utf-8",
            "content-encoding": coding,
            "etag": "W/" + plain.headers["etag"],
            "last-modified": plain.headers["last-modified"],
            "cache-control": "max-age=60",
            "vary": "accept-encoding",
        }
    assert plain.headers["vary"] == "accept-encoding"
    assert plain.headers["accept-ranges"] == "bytes"


@pytest.mark.parametrize(
    ("accept", "coding"),
    [
        ("gzip", "gzip"),
        ("gzip, br, zstd", "br"),
        ("gzip, zstd", "zstd"),
        ("br;q=0.5, gzip", "gzip"),
        ("*", "br"),
        ("*, br;q=0", "zstd"),
        ("identity", None),
        ("gzip;q=0", None),
        ("deflate, compress", None),
        ("", None),
    ],
)
def test_the_client_says_which_coding(site: Served, accept: str, coding: str | None) -> None:
    exchange = ask(site, "/text.txt", accept)
    assert exchange.headers.get("content-encoding") == coding
    assert exchange.headers["vary"] == "accept-encoding"
    assert content(exchange) == TEXT


def test_the_order_of_the_config_decides_among_equals(serve: Serve, root: Path) -> None:
    served = serve(Files(str(root)), compress=Compress(codings=("gzip", "zstd")))
    assert ask(served, "/text.txt", "br, zstd, gzip").headers["content-encoding"] == "gzip"


@pytest.mark.parametrize(
    ("target", "is_coded"),
    [("/small.txt", False), ("/edge.txt", True), ("/data.bin", False), ("/page.html.gz", False)],
)
def test_small_files_and_other_types_go_as_they_are(site: Served, target: str, is_coded: bool) -> None:
    exchange = ask(site, target)
    assert ("content-encoding" in exchange.headers) is is_coded
    assert ("vary" in exchange.headers) is is_coded


def test_many_who_ask_at_once_cost_one_job(site: Served) -> None:
    site.ask("/long.txt")
    site.hold()
    many = [site.begin("/long.txt", accept_encoding="gzip") for _ in range(100)]
    head = site.begin("/long.txt", "HEAD", accept_encoding="gzip")
    other = site.begin("/long.txt", accept_encoding="br")
    assert site.cpu.jobs == 2
    site.go_on()
    assert {content(exchange) for exchange in [*many, other]} == {LONG_TEXT}
    assert (head.status, head.length) == (200, len(many[0].body))
    assert head.block == many[0].block
    ask(site, "/long.txt")
    assert site.cpu.jobs == 2


def test_what_is_kept_is_good_as_long_as_its_original(site: Served, root: Path) -> None:
    first = ask(site, "/text.txt")
    for _ in range(5):
        site.wait()
        ask(site, "/text.txt")
    assert site.cpu.jobs == 1
    write(root / "text.txt", TEXT + TEXT)
    site.wait()
    second = ask(site, "/text.txt")
    assert content(second) == TEXT + TEXT
    assert second.headers["etag"] != first.headers["etag"]
    (root / "text.txt").unlink()
    site.wait()
    assert ask(site, "/text.txt").status == 404


def test_a_change_is_not_answered_with_what_is_being_made_of_what_was_before(site: Served, root: Path) -> None:
    site.ask("/text.txt")
    site.hold()
    early = site.begin("/text.txt", accept_encoding="gzip")
    write(root / "text.txt", b"changed, " * 500)
    site.wait()
    site.disk.is_held = site.network.is_held = False
    late = site.begin("/text.txt", accept_encoding="gzip")
    site.go_on()
    assert content(early) == TEXT
    assert content(late) == b"changed, " * 500
    assert content(ask(site, "/text.txt")) == b"changed, " * 500


def test_a_change_within_one_tick_of_the_file_systems_clock_is_seen(site: Served, root: Path) -> None:
    path = root / "text.txt"
    status = path.stat()
    site.wall_ns = status.st_mtime_ns  # just written
    seen = os.stat

    def blurred(path: object, **options: object) -> os.stat_result:
        return seen(path, **options)  # type: ignore[arg-type, call-overload, no-any-return]

    assert content(ask(site, "/text.txt")) == TEXT
    jobs = site.cpu.jobs
    assert content(ask(site, "/text.txt")) == TEXT
    assert site.cpu.jobs == jobs  # as long as the original is believed
    # As if the whole of its signature were the same.
    entry = site.entry("text.txt")
    path.write_bytes(TEXT.swapcase())
    site.wait()
    site.ask("/text.txt")
    changed = site.entry("text.txt")
    assert changed is not entry
    changed.signature = entry.signature
    assert content(ask(site, "/text.txt")) == TEXT.swapcase()


def test_what_can_not_be_compressed_goes_as_it_is(site: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(coding: bytes, data: bytes) -> bytes:
        raise MemoryError

    with monkeypatch.context() as patch:
        patch.setattr("pyserve.http.codings.compress", broken)
        for target, text in (("/text.txt", TEXT), ("/long.txt", LONG_TEXT)):
            exchange = ask(site, target)
            assert exchange.body == text
            assert exchange.headers["vary"] == "accept-encoding"
            assert not exchange.headers["etag"].startswith("W/")
    assert ask(site, "/text.txt").headers["content-encoding"] == "gzip"


def test_a_file_that_shrinks_while_it_is_compressed_is_not_kept(site: Served, root: Path) -> None:
    site.ask("/long.txt")
    site.hold()
    exchange = site.begin("/long.txt", accept_encoding="gzip")
    os.truncate(root / "long.txt", 10)
    site.go_on()
    exchange.transmit()
    assert "content-encoding" not in exchange.headers
    site.wait()
    assert ask(site, "/long.txt").body == LONG_TEXT[:10]


@pytest.mark.parametrize("target", ["/text.txt", "/long.txt", "/huge.txt"])
def test_a_part_is_a_part_of_the_file_itself(site: Served, target: str) -> None:
    whole = site.ask(target)
    part = ask(site, target, range="bytes=2-5", if_range=whole.headers["etag"])
    assert (part.status, part.body) == (206, whole.body[2:6])
    assert "content-encoding" not in part.headers
    assert part.headers["vary"] == "accept-encoding"
    weak = ask(site, target, range="bytes=2-5", if_range="W/" + whole.headers["etag"])
    assert (weak.status, weak.body) == (200, whole.body)


@pytest.mark.parametrize("target", ["/text.txt", "/long.txt", "/huge.txt"])
def test_a_304_has_the_fields_of_its_200(site: Served, target: str) -> None:
    for coding in ("gzip", "identity"):
        whole = ask(site, target, coding)
        wanted = {name: whole.headers.get(name) for name in ("etag", "cache-control", "vary", "last-modified")}
        for condition in (
            {"if_none_match": whole.headers["etag"]},
            {"if_none_match": "W/" + whole.headers["etag"].removeprefix("W/")},
            {"if_modified_since": whole.headers["last-modified"]},
        ):
            unchanged = ask(site, target, coding, **condition)
            assert (unchanged.status, unchanged.body) == (304, b"")
            assert {name: unchanged.headers.get(name) for name in wanted} == wanted
            assert ("accept-ranges" in unchanged.headers) is ("accept-ranges" in whole.headers)
        assert ask(site, target, coding, if_none_match='"other"').status == 200
    assert ask(site, target, "gzip", if_match=site.ask(target).headers["etag"]).status == 412
    assert ask(site, target, "identity", if_match=site.ask(target).headers["etag"]).status == 200


@pytest.mark.parametrize("target", ["/text.txt", "/long.txt", "/huge.txt"])
def test_head_says_what_get_would(site: Served, target: str) -> None:
    for coding in ("gzip", "identity"):
        whole = ask(site, target, coding)
        head = site.begin(target, "HEAD", accept_encoding=coding)
        if not head.over:
            head.transmit()
        assert (head.status, head.block, head.length) == (whole.status, whole.block, whole.length)


def test_what_is_too_large_to_keep_is_compressed_on_its_way(site: Served) -> None:
    exchange = ask(site, "/huge.txt")
    assert exchange.length is None
    assert not any("\0" in key[1] for key in site.cache.entries)
    assert site.streams.count == 0
    assert site.entry("huge.txt").users == 0


def test_where_too_many_are_compressed_on_their_way_the_next_goes_as_it_is(site: Served) -> None:
    site.streams.most = 0
    exchange = ask(site, "/huge.txt")
    assert (exchange.body, exchange.length) == (HUGE_TEXT, len(HUGE_TEXT))
    assert "content-encoding" not in exchange.headers
    assert exchange.headers["vary"] == "accept-encoding"


def test_a_coded_file_beside_wins_over_what_would_be_made_and_is_seen_when_it_comes_and_goes(
    site: Served, root: Path
) -> None:
    made = ask(site, "/text.txt")
    beside = zlib.compress(TEXT, 9, 31)
    write(root / "text.txt.gz", beside)
    site.wait()
    found = ask(site, "/text.txt")
    assert found.body == beside
    assert found.headers["etag"].endswith('-gzip"')
    assert ask(site, "/text.txt", range="bytes=0-3").body == beside[:4]
    (root / "text.txt.gz").unlink()
    site.wait()
    again = ask(site, "/text.txt")
    assert (again.body, again.headers) == (made.body, made.headers)


def test_coded_entries_count_against_the_bounds_of_the_cache(serve: Serve, root: Path) -> None:
    from pyserve.files.cache import FileCache

    for number in range(20):
        write(root / f"{number}.txt", os.urandom(30_000).hex().encode())
    cache = FileCache(max_bytes=300_000)
    served = serve(Files(str(root)), compress=Compress(), cache=cache)
    for number in range(20):
        assert content(ask(served, f"/{number}.txt")) == (root / f"{number}.txt").read_bytes()
        assert cache.figures().bytes <= 300_000
    assert cache.figures().evictions > 0
    cache.clear()
    assert cache.figures().bytes == 0
