"""Promise: a client that drips is cut in time, holds no worker meanwhile, and one that is merely slow is served."""

from __future__ import annotations

import time

import pytest

from tests.support import trial
from tests.support.client import request
from tests.support.site import StartSite
from tests.support.waiting import wait_until

QUICK = 'body_timeout = "600ms"\nwrite_timeout = "600ms"\nmin_rate = "20KB"'
HANDLERS = """
[site.fixed]
hosts = ["fixed"]
respond = { body = "fixed" }
"""


def drip(client, piece: bytes = b"x", pause_s: float = 0.05) -> None:  # type: ignore[no-untyped-def]
    """Send a byte again and again until an answer comes."""
    client.socket.setblocking(False)
    until = time.monotonic() + 10
    while time.monotonic() < until:
        client.socket.send(piece)
        time.sleep(pause_s)
        try:
            client.rest += client.socket.recv(65536)
        except BlockingIOError:
            continue
        break
    client.socket.settimeout(10)


@pytest.mark.parametrize("host", ["w", "a"])
def test_a_body_that_drips_is_408_however_regularly_it_does(
    start_site: StartSite, variant: dict[str, str], host: str
) -> None:
    site = start_site(trial.both(), limits=QUICK, **variant)
    with site.connect() as client:
        client.send(f"POST /echo HTTP/1.1\r\nHost: {host}\r\nContent-Length: 8192\r\n\r\n".encode())
        if host == "w":
            assert site.workers("wsgi")[0]["running"] == 0
        drip(client)
        answer = client.read_response()
        assert (answer.status, answer.field("connection")) == (408, "close")
        assert client.is_closed()
    site.wait_line("refused 127.0.0.1: 408 the body came too slowly")
    assert site.get("/hello", host).status == 200


def test_chunk_lines_that_drip_are_408_too(start_site: StartSite) -> None:
    site = start_site(trial.both(), limits=QUICK)
    with site.connect() as client:
        client.send(b"POST /echo HTTP/1.1\r\nHost: w\r\nTransfer-Encoding: chunked\r\n\r\n1;")
        drip(client)
        assert client.read_response().status == 408


def test_a_head_that_drips_is_408_at_its_deadline(start_site: StartSite) -> None:
    site = start_site(trial.both(), limits='head_timeout = "600ms"')
    with site.connect() as client:
        client.send(b"GET / HTTP/1.1\r\nHost: w\r\nX: ")
        drip(client)
        assert client.read_response().status == 408


def test_a_body_at_a_fair_pace_is_read_to_its_end(start_site: StartSite) -> None:
    site = start_site(trial.both(), limits=QUICK)
    with site.connect() as client:
        client.send(b"POST /sha256 HTTP/1.1\r\nHost: w\r\nContent-Length: 80000\r\n\r\n")
        for _ in range(20):  # 80 KB a second, for longer than the timeout
            client.send(b"x" * 4000)
            time.sleep(0.05)
        assert client.read_response().text.endswith(" 80000")


@pytest.mark.parametrize(("host", "path"), [("w", "/generate?bytes=9000000"), ("a", "/generate?bytes=9000000")])
def test_a_reader_that_drips_is_cut_and_holds_no_worker(start_site: StartSite, host: str, path: str) -> None:
    site = start_site(trial.both(), limits=QUICK)
    with site.connect(receive_buffer=4096) as client:
        client.send(request(path, host))
        client.read_head()
        if host == "w":
            wait_until(lambda: site.workers("wsgi")[0]["running"] == 0, "the worker to be free")
        read = 0
        client.socket.settimeout(10)
        try:
            while piece := client.socket.recv(256):
                read += len(piece)
                time.sleep(0.05)
        except ConnectionResetError:
            pass
    assert read < 9_000_000
    assert site.get("/hello", host).status == 200


def test_a_slow_reader_with_a_fair_pace_gets_everything(start_site: StartSite) -> None:
    """What counts is what arrives, not what the kernel has taken: megabytes in its buffers are no stall."""
    site = start_site(trial.both(), limits='write_timeout = "600ms"\nmin_rate = "20KB"')
    size = 6_000_000
    with site.connect(receive_buffer=65536) as client:
        client.send(request(f"/generate?bytes={size}", "w"))
        client.read_head()
        read = len(client.rest)
        while read < size:
            read += len(client.socket.recv(65536))
            time.sleep(0.03)
    assert read == size
