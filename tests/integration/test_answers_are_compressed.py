"""Promise: on a route with ``compress`` a client gets what it can decode, piece by piece where it comes so, and whoever
asks beside it waits no longer for it."""

from __future__ import annotations

import os
import threading
import time
import zlib
from collections.abc import Callable
from pathlib import Path

import brotli
import pytest
from backports import zstd

import pyserve
from pyserve.embed.configure import LIVE_NAME
from tests.apps import coded
from tests.support.client import Client, Closed, Response, request
from tests.support.site import Site, StartSite
from tests.support.waiting import wait_until

DECODERS: dict[str, Callable[[], Callable[[bytes], bytes]]] = {
    "gzip": lambda: zlib.decompressobj(31).decompress,
    "br": lambda: brotli.Decompressor().process,
    "zstd": lambda: zstd.ZstdDecompressor().decompress,
}
CODINGS = pytest.mark.parametrize("coding", DECODERS)
KINDS = pytest.mark.parametrize("host", ["w", "a"], ids=["wsgi", "asgi"])
SITES = """
[app.wsgi]
entry = "coded:wsgi"
root = "APPS"
workers = 1

[app.asgi]
entry = "coded:asgi"
root = "APPS"
workers = 1

[site.w]
hosts = ["w"]
app = "wsgi"
compress = true

[site.a]
hosts = ["a"]
app = "asgi"
compress = true
headers = { X-Own = "yes" }

[[site.a.route]]
path = "/plain/*"
app = "asgi"
mount = true
compress = false
"""


def content(answer: Response) -> bytes:
    coding = answer.field("content-encoding")
    return DECODERS[coding]()(answer.body) if coding else answer.body


def ask(site: Site, path: str, host: str, method: str = "GET", **fields: str) -> Response:
    named = {name.replace("_", "-"): value for name, value in fields.items()}
    return site.ask(request(path, host, method, fields=named), to_head=method == "HEAD")


@CODINGS
@KINDS
@pytest.mark.parametrize("size", [1024, 5000, 60_000, 3_000_000])
@pytest.mark.parametrize("path", ["/json", "/rows", "/rows?length"])
def test_what_comes_out_is_what_went_in(shared_site: StartSite, host: str, coding: str, size: int, path: str) -> None:
    site = shared_site(SITES)
    answer = ask(site, f"{path}{'&' if '?' in path else '?'}bytes={size}", host, accept_encoding=coding)
    assert answer.field("content-encoding") == coding
    assert answer.field("vary") == "accept-encoding"
    assert content(answer) == coded.document(size)
    assert len(answer.body) < size / 2
    if size <= 5000 and path == "/json":
        assert answer.field("content-length") == str(len(answer.body))


@KINDS
def test_http_1_0_gets_it_until_the_connection_closes(shared_site: StartSite, host: str) -> None:
    site = shared_site(SITES)
    with site.connect() as client:
        client.send(f"GET /rows?bytes=300000 HTTP/1.0\r\nHost: {host}\r\nAccept-Encoding: gzip\r\n\r\n".encode())
        answer = client.read_response()
    assert (answer.field("content-encoding"), answer.is_chunked) == ("gzip", False)
    assert content(answer) == coded.document(300_000)


@KINDS
def test_one_connection_gets_one_answer_after_the_other(shared_site: StartSite, host: str) -> None:
    site = shared_site(SITES)
    paths = ["/json?bytes=100000", "/", "/rows?bytes=50000", "/json?bytes=900", "/rows?bytes=400000", "/json"]
    with site.connect() as client:
        client.send(b"".join(request(path, host, fields={"Accept-Encoding": "br"}) for path in paths))
        bodies = [content(client.read_response()) for _ in paths]
    assert [len(body) for body in bodies] == [100_000, 5, 50_000, 900, 400_000, 5000]


@KINDS
def test_who_asks_for_no_coding_gets_none_and_is_told_that_there_are_others(shared_site: StartSite, host: str) -> None:
    site = shared_site(SITES)
    for fields in ({}, {"accept_encoding": "identity"}, {"accept_encoding": "gzip;q=0"}):
        answer = ask(site, "/json?vary=Cookie", host, **fields)
        assert (answer.field("content-encoding"), answer.field("content-length")) == (None, "5000")
        assert answer.field("vary") == "Cookie, accept-encoding"


@KINDS
def test_what_must_not_be_transformed_is_not(shared_site: StartSite, host: str) -> None:
    site = shared_site(SITES)
    for query in ("cache=no-transform", "type=image/png", "bytes=1023", "type=text/event-stream"):
        answer = ask(site, f"/json?{query}", host, accept_encoding="gzip, br, zstd")
        assert answer.field("content-encoding") is None
        assert len(answer.body) == int(answer.field("content-length") or 0) > 1000


def test_a_route_may_refuse_what_its_site_does(shared_site: StartSite) -> None:
    site = shared_site(SITES)
    answer = ask(site, "/plain/json", "a", accept_encoding="gzip")
    assert (answer.field("content-encoding"), answer.field("vary")) == (None, None)


@KINDS
@pytest.mark.parametrize("path", ["/json", "/rows", "/rows?length", "/json?bytes=500", "/json?cache=no-transform"])
def test_head_shows_the_fields_of_get(shared_site: StartSite, host: str, path: str) -> None:
    site = shared_site(SITES)
    get = ask(site, path, host, accept_encoding="gzip")
    head = ask(site, path, host, "HEAD", accept_encoding="gzip")
    without = {"date", "content-length", "transfer-encoding"}
    assert [field for field in head.fields if field[0] not in without] == [
        field for field in get.fields if field[0] not in without
    ]
    length = None if head.field("content-encoding") else get.field("content-length")
    assert head.field("content-length") == length


@KINDS
def test_a_coded_answer_has_a_weak_tag_and_is_found_again_by_it(shared_site: StartSite, host: str) -> None:
    site = shared_site(SITES)
    assert ask(site, "/tag", host).field("etag") == '"tag"'
    answer = ask(site, "/tag", host, accept_encoding="gzip")
    assert (answer.field("etag"), answer.field("content-encoding")) == ('W/"tag"', "gzip")
    again = ask(site, "/tag", host, accept_encoding="gzip", if_none_match='W/"tag"')
    assert (again.status, again.field("etag"), again.field("vary")) == (304, 'W/"tag"', "accept-encoding")
    again = ask(site, "/tag", host, if_none_match='"tag"')
    assert (again.status, again.field("etag"), again.field("vary")) == (304, '"tag"', "accept-encoding")


def read_chunk(client: Client) -> bytes:
    data = client.read_exactly(int(client.read_until(b"\r\n"), 16))
    assert client.read_exactly(2) == b"\r\n"
    return data


@CODINGS
@KINDS
def test_each_piece_of_a_stream_can_be_read_before_the_next_is_made(
    start_site: StartSite, tmp_path: Path, host: str, coding: str
) -> None:
    site = start_site(SITES)
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    decode = DECODERS[coding]()
    with site.connect() as client:
        client.send(request(f"/ticks?until={fifo}", host, fields={"Accept-Encoding": coding}))
        with open(fifo, "wb", buffering=0) as steps:
            for step in (b"1", b"2", b"3"):
                steps.write(step)
                if step == b"1":
                    assert client.read_head().field("content-encoding") == coding
                seen = b""
                while seen != b"tick %b\n" % step:
                    seen += decode(read_chunk(client))
        rest = b""
        while data := read_chunk(client):
            rest += decode(data)
        assert rest == b""
    fifo.unlink()


@CODINGS
@KINDS
def test_an_error_in_the_middle_is_seen(start_site: StartSite, host: str, coding: str) -> None:
    site = start_site(SITES)
    site.expect_error("GET /fail: app .* failed")
    with site.connect() as client:
        client.send(request("/fail", host, fields={"Accept-Encoding": coding}))
        try:
            answer = client.read_response()
        except (Closed, ConnectionResetError):
            return  # some of it had gone out
        assert answer.status == 500
        assert b"Incident" in answer.body  # the page as it is, not coded


@CODINGS
@KINDS
def test_a_slow_reader_gets_all_of_it_in_the_end(start_site: StartSite, host: str, coding: str) -> None:
    """What is ahead of the client waits in a file, from which it is compressed later."""
    site = start_site(SITES)
    size = 8_000_000
    path = f"/rows?bytes={size}&cut=60000"
    ask(site, path, host, "HEAD")  # the application makes it once
    with site.memory_within(48 << 20), site.connect(receive_buffer=4096) as client:
        client.send(request(path, host, fields={"Accept-Encoding": coding}))
        client.read_head()
        # Others are served meanwhile, also by the only worker.
        for other in ("w", "a"):
            assert ask(site, "/", other).body == b"hello"
        decode = DECODERS[coding]()
        pieces = []
        while data := read_chunk(client):
            pieces.append(decode(data))
        assert b"".join(pieces) == coded.document(size)


@CODINGS
@KINDS
def test_clients_that_leave_in_the_middle_leave_nothing_behind(start_site: StartSite, host: str, coding: str) -> None:
    site = start_site(SITES)
    ask(site, "/json?bytes=50000", host, accept_encoding=coding)
    with site.same_descriptors(), site.same_workers("wsgi"):
        for count in range(12):
            client = site.connect()
            path = "/endless?bytes=100000" if count % 2 else "/json?bytes=60000"
            client.send(request(path, host, fields={"Accept-Encoding": coding}))
            if count % 3:
                client.read_head()
            if count % 2 and count > 6:
                client.read_exactly(20_000)
            client.reset()
        assert len(content(ask(site, "/json?bytes=60000", host, accept_encoding=coding))) == 60_000
    assert threads(site.front_pids()[0]) <= 2 + 4, "the loop's, a log's and the helpers'"


def threads(pid: int) -> int:
    return len(os.listdir(f"/proc/{pid}/task"))


def test_what_is_compressed_holds_up_nobody(start_site: StartSite) -> None:
    """Prints how long others wait while answers of 10 MB are compressed; asserts no time."""
    site = start_site(SITES)
    ask(site, "/rows?bytes=10000000&cut=60000", "w")  # the application makes it once
    stop = threading.Event()
    waits: dict[str, list[float]] = {}

    def load(coding: str) -> None:
        while not stop.is_set():
            assert len(content(ask(site, "/rows?bytes=10000000&cut=60000", "w", accept_encoding=coding))) == 10_000_000

    with site.connect() as client:
        for coding in ("", *DECODERS):
            stop.clear()
            loads = [threading.Thread(target=load, args=(coding,)) for _ in range(2 if coding else 0)]
            for thread in loads:
                thread.start()
            waits[coding] = []
            for _ in range(150):
                started = time.perf_counter()
                assert client.get("/", "a").body == b"hello"
                waits[coding].append(time.perf_counter() - started)
            stop.set()
            for thread in loads:
                thread.join()
    for coding, found in waits.items():
        found.sort()
        middle, late = found[len(found) // 2], found[len(found) * 99 // 100]
        print(f"beside {coding or 'nothing'}: median {middle * 1e3:.2f} ms, p99 {late * 1e3:.2f} ms")


async def test_an_embedded_server_compresses_and_leaves_no_thread() -> None:
    import httpx

    before = threading.active_count()
    config = {"site": {LIVE_NAME: {"compress": True}}}
    async with pyserve.Server(coded.asgi, listen="127.0.0.1:0", config=config) as server:
        host, port = server.addresses[0]
        async with httpx.AsyncClient(base_url=f"http://{host}:{port}") as client:
            answer = await client.get("/rows?bytes=300000", headers={"accept-encoding": "gzip"})
    assert answer.content == coded.document(300_000)
    assert answer.headers["content-encoding"] == "gzip"
    wait_until(lambda: threading.active_count() == before, "threads end")
