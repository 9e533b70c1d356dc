"""Several ranges of a file in one answer, from memory and from a descriptor, and what may change meanwhile."""

from __future__ import annotations

import email
import email.message
import os
from pathlib import Path

import pytest

from pyserve.config.model import Files
from pyserve.files.cache import FileCache
from tests.support.exchanges import FakeExchange
from tests.support.served import Serve, Served, write

SMALL = bytes(range(256)) * 40
LARGE = bytes(range(256)) * 1024


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "public"
    for name, content in (("small.bin", SMALL), ("large.bin", LARGE)):
        write(folder / name, content)
        write(folder / f"{name}.gz", content[::-1])
    return folder


@pytest.fixture
def site(serve: Serve, root: Path) -> Served:
    return serve(Files(str(root), download=True))


def parts(exchange: FakeExchange) -> list[tuple[str, str, bytes]]:
    """Read an answer as a stranger would: type, Content-Range and content of each part."""
    assert exchange.length == len(exchange.body)
    head = f"Content-Type: {exchange.headers['content-type']}\r\n\r\n".encode()
    message = email.message_from_bytes(head + exchange.body)
    found = []
    for part in message.get_payload():
        assert isinstance(part, email.message.Message)
        first, last = part["content-range"].split(" ")[1].split("/")[0].split("-")
        count = int(last) - int(first) + 1
        # Python's reader means text: the bytes are cut out of what was sent.
        at = exchange.body.index(part["content-range"].encode()) + len(part["content-range"]) + 4
        found.append((part["content-type"], part["content-range"], exchange.body[at : at + count]))
    return found


@pytest.mark.parametrize(("name", "content"), [("small.bin", SMALL), ("large.bin", LARGE)])
def test_several_ranges_come_as_parts(site: Served, name: str, content: bytes) -> None:
    size = len(content)
    for coding, whole in (("identity", content), ("gzip", content[::-1])):
        full = site.ask(f"/{name}", accept_encoding=coding)
        exchange = site.ask(
            f"/{name}", accept_encoding=coding, range="bytes=0-9, 1000-1099, -5", if_range=full.headers["etag"]
        )
        assert exchange.status == 206
        assert parts(exchange) == [
            ("application/octet-stream", f"bytes 0-9/{size}", whole[:10]),
            ("application/octet-stream", f"bytes 1000-1099/{size}", whole[1000:1100]),
            ("application/octet-stream", f"bytes {size - 5}-{size - 1}/{size}", whole[-5:]),
        ]
        for field in ("etag", "last-modified", "vary", "accept-ranges"):
            assert exchange.headers[field] == full.headers[field]
        assert exchange.headers.get("content-encoding") == full.headers.get("content-encoding")
        assert "content-range" not in exchange.headers
        assert exchange.same is None


@pytest.mark.parametrize("name", ["small.bin", "large.bin"])
def test_they_keep_the_lines_beside_the_files_own(site: Served, name: str) -> None:
    exchange = site.ask(f"/{name}?download=x", range="bytes=0-9,1000-1099")
    assert exchange.headers["content-disposition"] == 'attachment; filename="x"'
    assert exchange.headers["content-type"].startswith("multipart/byteranges; boundary=")
    assert len(parts(exchange)) == 2
    one = site.ask(f"/{name}?download=x", range="bytes=0-9")
    assert one.headers["content-disposition"] == 'attachment; filename="x"'
    unchanged = site.ask(f"/{name}?download=x", if_none_match=one.headers["etag"])
    assert unchanged.status == 304


@pytest.mark.parametrize(("name", "content"), [("small.bin", SMALL), ("large.bin", LARGE)])
def test_head_gets_no_parts(site: Served, name: str, content: bytes) -> None:
    head = site.ask(f"/{name}", "HEAD", range="bytes=0-9,1000-1099")
    assert (head.status, head.length, head.lent) == (200, len(content), [])


@pytest.mark.parametrize(("name", "content"), [("small.bin", SMALL), ("large.bin", LARGE)])
@pytest.mark.parametrize(
    ("wanted", "status"),
    [
        ("bytes=0-0,1-1,2-2", 206),  # they touch: one part
        ("bytes=99999999-,88888888-", 416),
        ("bytes=0-9,99999999-", 206),
        ("bytes=" + ",".join(["0-"] * 60), 200),
        ("bytes=0-,0-", 200),
        ("lines=1-2", 200),
        ("bytes=5-1", 200),
        ("bytes=", 200),
    ],
)
def test_what_makes_no_parts(site: Served, name: str, content: bytes, wanted: str, status: int) -> None:
    exchange = site.ask(f"/{name}", range=wanted)
    assert exchange.status == status
    if status == 200:
        assert exchange.body == content
    if status == 206:
        assert exchange.body == content[: len(exchange.body)]
        assert exchange.headers["content-range"] == f"bytes 0-{len(exchange.body) - 1}/{len(content)}"


def test_a_file_that_is_let_go_of_stays_open_until_its_parts_have_gone(serve: Serve, root: Path) -> None:
    served = serve(Files(str(root)), cache=FileCache(max_open=1))
    exchange = served.begin("/large.bin", range="bytes=0-9,1000-1099")
    write(root / "other.bin", LARGE)
    other = served.begin("/other.bin")
    assert [key[1] for key in served.cache.entries] == ["other.bin"]
    fd = exchange.lent[0][0]
    assert {piece[0] for piece in exchange.lent} == {fd}
    exchange.transmit()
    other.transmit()
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(fd)


def test_an_empty_file_has_no_parts(site: Served, root: Path) -> None:
    write(root / "empty.bin", b"")
    for wanted, status in (("bytes=0-", 200), ("bytes=-1", 200), ("bytes=0-0,2-3", 200)):
        exchange = site.ask("/empty.bin", range=wanted)
        assert (exchange.status, exchange.body if status == 200 else b"") == (status, b"")
