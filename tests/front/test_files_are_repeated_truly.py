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
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pyserve.config.model import Compress, Files, Handler, Limits, Modifiers, Route, Site
from pyserve.files.cache import FileCache
from pyserve.front import build
from pyserve.front.connection import Connection
from pyserve.front.context import Context
from pyserve.front.threads import Threads
from pyserve.handlers.interface import Lanes
from pyserve.http.h1_httptools import parse_fields
from pyserve.observe.error_log import ErrorLog
from tests.support.client import Client
from tests.support.lanes import Inline
from tests.support.served import write

TEXT = b"".join(b"line %d of a text\n" % number for number in range(300))
LARGE = bytes(range(256)) * 400
PATHS = (
    *("/", "/a.txt", "/text.css", "/large.bin", "/large.css", "/empty.txt", "/missing", "/docs", "/docs/", "/list/"),
    *("/spa/x", "/spa/a.txt", "/plain/text.css", "/one", "/.env", "/text.css.gz"),
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


@st.composite
def requests(draw: st.DrawFn) -> tuple[str, str, str, list[tuple[bytes, bytes]]]:
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
        from pyserve.handlers.interface import Handler as Answering
        from pyserve.handlers.modifiers import prepare
        from pyserve.handlers.static import StaticHandler
        from pyserve.routing.router import Router

        lane = Inline()
        lanes = Lanes(lane, lane, lane)
        self.cache = FileCache()
        compressions = build._Compressions(lane)

        def make(handler: Handler, site: Site, route: Route | None) -> Answering:
            assert isinstance(handler, Files)
            modifiers = site.modifiers if route is None else route.modifiers
            return StaticHandler(handler, self.cache, lanes, compressions.build(modifiers.compress))

        router = Router(configured, make, modify=lambda modifiers, site: prepare(modifiers))
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

    async def ask(self, client: socket.socket, data: bytes, *, to_head: bool) -> tuple[bytes, bytes]:
        """Return the head of the answer and what follows it."""
        self.context.now = self.loop.time()
        await self.loop.sock_sendall(client, data)
        answer = b""
        while b"\r\n\r\n" not in answer:
            answer += await self.loop.sock_recv(client, 1 << 20)
        head, _, body = answer.partition(b"\r\n\r\n")
        status = int(head[9:12])
        length = re.search(rb"\ncontent-length: ([0-9]+)", head)
        count = int(length[1]) if length and not to_head and status not in (204, 304) else 0
        while len(body) < count:
            body += await self.loop.sock_recv(client, 1 << 20)
        if b"\ntransfer-encoding: chunked" in head and not to_head:
            while not body.endswith(b"0\r\n\r\n"):
                body += await self.loop.sock_recv(client, 1 << 20)
        return head, body

    async def close(self) -> None:
        for connection in list(self.context.connections):
            connection.abort()
        while self.context.connections:
            await asyncio.sleep(0)
        self.cache.clear()
