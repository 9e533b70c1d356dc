"""A front that has answered before answers as one that never has, byte for byte: no memo, no file that is kept, no
answer that is repeated changes what a client gets."""

from __future__ import annotations

import asyncio
import os
import re
import socket
import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest
import uvloop
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pyserve.config.model import Compress, Files, Handler, Limits, Modifiers, Route, Site
from pyserve.files.cache import FileCache
from pyserve.front import build
from pyserve.front.context import Context
from pyserve.front.h1.connection import Connection
from pyserve.front.h1.repeat import Repeat
from pyserve.front.heads import Heads
from pyserve.handlers.interface import Handler as Answering
from pyserve.handlers.interface import Lanes
from pyserve.handlers.modifiers import prepare
from pyserve.handlers.static import StaticHandler
from pyserve.http.h1_httptools import parse_fields
from pyserve.observe.error_log import ErrorLog
from pyserve.routing.router import Router
from tests.support.lanes import Inline
from tests.support.served import write

TEXT = b"".join(b"line %d of a text\n" % number for number in range(300))
LARGE = bytes(range(256)) * 400
PATHS = (
    *("/", "/a.txt", "/text.css", "/large.bin", "/large.css", "/huge.css", "/empty.txt", "/missing", "/docs", "/docs/"),
    *("/list/", "/list", "/spa/x", "/spa/a.txt", "/plain/text.css", "/one", "/.env", "/text.css.gz"),
)
QUERIES = ("", "", "?v=1", "?download", "?download=x.txt", "?sort=size")
VALUES = {
    b"accept-encoding": [b"gzip", b"br, gzip", b"identity", b"gzip;q=0", b"zstd, *;q=0.1", b""],
    b"Accept": [b"application/json", b"text/html", b"*/*"],
    b"Range": [b"bytes=0-9", b"bytes=-5", b"bytes=5000000-", b"bytes=0-9,1000-1009", b"nonsense"],
    b"If-None-Match": [b'"x"', b"*", b"ETAG", b"W/ETAG", b'"x", ETAG'],
    b"If-Modified-Since": [b"Sun, 13 Sep 2020 12:26:40 GMT", b"Thu, 01 Jan 1970 00:00:00 GMT", b"nonsense"],
    b"If-Match": [b"*", b"ETAG", b'"x"'],
    b"If-Unmodified-Since": [b"Thu, 01 Jan 1970 00:00:00 GMT"],
    b"If-Range": [b"ETAG", b'"x"', b"Sun, 13 Sep 2020 12:26:40 GMT"],
    b"Cookie": [b"a=1", b"b=2"],
    b"Sec-Fetch-Mode": [b"navigate", b"cors"],
    b"Connection": [b"keep-alive"],
}
_ETAG = re.compile(rb"\netag: (?:W/)?(\"[^\r]*\")\r\n")
_DATE = re.compile(rb"\r\ndate: [^\r]*")
_LENGTH = re.compile(rb"\r\ncontent-length: ([0-9]+)")
_BOUNDARY = re.compile(rb"boundary=([0-9a-f]{32})")
Asked = tuple[str, str, str, list[tuple[bytes, bytes]]]
"""Method, target, host and fields, with ETAG for the file's own tag."""


@st.composite
def requests(draw: st.DrawFn) -> Asked:
    names = draw(st.lists(st.sampled_from(sorted(VALUES)), max_size=3, unique=True))
    fields = [(name, draw(st.sampled_from(VALUES[name]))) for name in names]
    method = draw(st.sampled_from(["GET", "GET", "GET", "HEAD"]))
    return method, draw(st.sampled_from(PATHS)) + draw(st.sampled_from(QUERIES)), draw(st.sampled_from("ab")), fields


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("repeated") / "public"
    write(folder / "index.html", b"home")
    write(folder / "a.txt", b"a")
    write(folder / "empty.txt", b"")
    write(folder / ".env", b"secret")
    write(folder / "text.css", TEXT)
    write(folder / "text.css.gz", zlib.compress(TEXT, 9, 31))
    write(folder / "large.bin", LARGE)
    write(folder / "large.css", TEXT * 20)
    write(folder / "large.css.gz", LARGE)
    write(folder / "huge.css", TEXT * 200)
    write(folder / "docs" / "index.html", b"docs")
    write(folder / "list" / "x.txt", b"x")
    return folder


def sites(root: Path) -> list[Site]:
    """Two hosts, of which one compresses and sets lines of its own."""
    path = str(root)
    routes = (
        Route("/spa/*", Files(path, tries=("{path}", "index.html"), cache="no-cache")),
        Route("/plain/*", Files(path, precompressed=False)),
        Route("/one", Files(str(root / "text.css"), is_single=True)),
    )
    files = Files(path, cache="max-age=60", autoindex=True, download=True)
    with_lines = Modifiers(headers=(("x-own", "yes"), ("server", "")), compress=Compress())
    compressing = tuple(route._replace(modifiers=with_lines) for route in routes)
    return [
        Site("a", ("a",), handler=files, routes=routes),
        Site("b", ("b",), handler=files, routes=compressing, modifiers=with_lines),
    ]


class Front:
    """All of a front that answers with files: its threads do at once what they are given."""

    def __init__(self, loop: asyncio.AbstractEventLoop, configured: list[Site], log_fd: int) -> None:
        lane = Inline()
        lanes = Lanes(lane, lane, lane)
        self.cache = FileCache()
        compressions = build._Compressions(lane)

        def make(handler: Handler, site: Site, route: Route | None) -> Answering:
            assert isinstance(handler, Files)
            modifiers = site.modifiers if route is None else route.modifiers
            return StaticHandler(handler, self.cache, lanes, compressions.build(modifiers.compress))

        router: Router[Answering] = Router(configured, make, None, lambda modifiers, site: prepare(modifiers))
        self.loop = loop
        self.context = Context(
            loop, Limits(), router, parse_fields, ErrorLog(log_fd, "error", "test"), None, None, lanes=lanes
        )

    async def connect(self) -> socket.socket:
        client, server = socket.socketpair()
        client.setblocking(False)
        server.setblocking(False)
        await self.loop.create_connection(lambda: Connection(self.context), sock=server)
        return client

    async def ask(self, client: socket.socket, data: bytes) -> tuple[bytes, bytes]:
        """Return head and content of the answer, without what is new each time."""
        self.context.now = self.loop.time()
        await self.loop.sock_sendall(client, data)
        answer = b""
        while b"\r\n\r\n" not in answer:
            answer += await self.loop.sock_recv(client, 1 << 20)
        head, _, body = answer.partition(b"\r\n\r\n")
        has_body = not data.startswith(b"HEAD") and int(head[9:12]) not in (204, 304)
        length = _LENGTH.search(head)
        if length:
            while len(body) < int(length[1]) * has_body:
                body += await self.loop.sock_recv(client, 1 << 20)
            assert len(body) == int(length[1]) * has_body
        elif has_body:
            assert b"\ntransfer-encoding: chunked" in head
            while not body.endswith(b"\r\n0\r\n\r\n"):
                body += await self.loop.sock_recv(client, 1 << 20)
            body = without_chunks(body)
        else:
            assert not body
        boundary = _BOUNDARY.search(head)
        if boundary:
            head, body = head.replace(boundary[1], b"BOUNDARY"), body.replace(boundary[1], b"BOUNDARY")
        return _DATE.sub(b"", head), body

    async def close(self) -> None:
        for connection in list(self.context.connections):
            connection.abort()
        while self.context.connections:
            await asyncio.sleep(0)
        self.cache.clear()


def without_chunks(body: bytes) -> bytes:
    content = b""
    while body != b"0\r\n\r\n":
        size, _, rest = body.partition(b"\r\n")
        content += rest[: int(size, 16)]
        body = rest[int(size, 16) + 2 :]
    return content


class Two:
    """A front that goes on and on, and one that is new for each request."""

    def __init__(self, loop: asyncio.AbstractEventLoop, root: Path, log_fd: int) -> None:
        self.loop = loop
        self.sites = sites(root)
        self.log_fd = log_fd
        self.warm = Front(loop, self.sites, log_fd)
        self.client: socket.socket | None = None

    async def ask_warm(self, data: bytes) -> tuple[bytes, bytes]:
        if self.client is None:
            self.client = await self.warm.connect()
        return await self.warm.ask(self.client, data)

    async def ask_fresh(self, data: bytes) -> tuple[bytes, bytes]:
        front = Front(self.loop, self.sites, self.log_fd)
        with await front.connect() as client:
            answer = await front.ask(client, data)
        await front.close()
        return answer

    async def close(self) -> None:
        if self.client is not None:
            self.client.close()
        await self.warm.close()


@pytest.fixture(scope="module", params=["asyncio", "uvloop"])
def two(request: pytest.FixtureRequest, root: Path) -> Iterator[Two]:
    loop: asyncio.AbstractEventLoop = uvloop.new_event_loop() if request.param == "uvloop" else asyncio.new_event_loop()
    log_fd = os.open(os.devnull, os.O_WRONLY)
    two = Two(loop, root, log_fd)
    yield two
    loop.run_until_complete(two.close())
    loop.close()
    os.close(log_fd)


def raw(method: str, target: str, host: str, fields: list[tuple[bytes, bytes]], etag: bytes) -> bytes:
    lines = [f"{method} {target} HTTP/1.1\r\nHost: {host}".encode()]
    lines += [b"%b: %b" % (name, value.replace(b"ETAG", etag)) for name, value in fields]
    return b"\r\n".join(lines) + b"\r\n\r\n"


@given(st.lists(requests(), min_size=1, max_size=4))
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_what_was_asked_before_changes_no_answer(two: Two, asked: list[Asked]) -> None:
    async def compare() -> None:
        heads = []
        for method, target, host, fields in asked:
            coding = [field for field in fields if field[0] == b"accept-encoding"]
            tag = _ETAG.search((await two.ask_fresh(raw("GET", target, host, coding, b"")))[0] + b"\r\n")
            heads.append(raw(method, target, host, fields, b'"none"' if tag is None else tag[1]))
        wanted = [await two.ask_fresh(head) for head in heads]
        # The second time fields are remembered, the third an answer is kept, the fourth it is repeated.
        for _ in range(4):
            for head, answer in zip(heads, wanted, strict=True):
                assert await two.ask_warm(head) == answer, head

    two.loop.run_until_complete(asyncio.wait_for(compare(), 20))


def test_answers_are_repeated_at_all(two: Two, monkeypatch: pytest.MonkeyPatch) -> None:
    repeated: list[int] = []
    refresh = Repeat.refresh

    def counting(self: Repeat, context: Context, heads: Heads) -> None:
        repeated.append(self.status)
        refresh(self, context, heads)

    monkeypatch.setattr(Repeat, "refresh", counting)

    async def scene() -> None:
        for target, fields in (("/a.txt", []), ("/large.bin", []), ("/text.css", [(b"accept-encoding", b"gzip")])):
            wanted = await two.ask_fresh(raw("GET", target, "a", fields, b""))
            for _ in range(5):
                two.warm.context.turn += 1
                assert await two.ask_warm(raw("GET", target, "a", fields, b"")) == wanted

    two.loop.run_until_complete(asyncio.wait_for(scene(), 20))
    assert len(repeated) >= 6
