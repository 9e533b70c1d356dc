"""Promise: bodies of any size go through bit for bit, in both directions, and no process grows with them.

64 MiB here; ``python -m tests.support.gigabyte`` does the same with 1 GiB and with 50 slow clients.
"""

from __future__ import annotations

import hashlib
import os
import signal
import threading

import pytest

from tests.apps import pattern
from tests.support import trial
from tests.support.client import Client, request
from tests.support.site import StartSite
from tests.support.waiting import wait_until

SIZE = 64 * 1024 * 1024
GROWTH = 32 * 1024 * 1024
LIMITS = 'max_body = "2GiB"'
KINDS = pytest.mark.parametrize("kind", ["wsgi", "asgi"])


def send_pattern(client: Client, path: str, size: int, chunked: bool = False) -> None:
    framing = "Transfer-Encoding: chunked" if chunked else f"Content-Length: {size}"
    client.send(f"POST {path} HTTP/1.1\r\nHost: a\r\n{framing}\r\n\r\n".encode())
    for data in pattern.blocks(size):
        client.send(b"%x\r\n%b\r\n" % (len(data), data) if chunked else data)
    if chunked:
        client.send(b"0\r\n\r\n")


def receive_digest(client: Client, size: int) -> str:
    """Read a body of a known length without keeping it."""
    head = client.read_head()
    assert head.field("content-length") == str(size)
    total = hashlib.sha256()
    while size:
        data = client.read_exactly(min(size, 65536))
        total.update(data)
        size -= len(data)
    return total.hexdigest()


@KINDS
@pytest.mark.parametrize("chunked", [False, True], ids=["length", "chunked"])
def test_a_big_upload_is_hashed_right(start_site: StartSite, variant: dict[str, str], kind: str, chunked: bool) -> None:
    site = start_site(trial.one(kind), limits=LIMITS, **variant)
    site.get("/hello")
    with site.memory_within(GROWTH), site.connect() as client:
        send_pattern(client, "/sha256", SIZE, chunked)
        assert client.read_response().text == f"{pattern.digest(SIZE)} {SIZE}"


@KINDS
def test_a_big_download_arrives_right(start_site: StartSite, variant: dict[str, str], kind: str) -> None:
    site = start_site(trial.one(kind), limits=LIMITS, **variant)
    site.get("/hello")
    with site.memory_within(GROWTH), site.connect(receive_buffer=65536) as client:
        client.send(request(f"/generate?bytes={SIZE}", "a"))
        assert receive_digest(client, SIZE) == pattern.digest(SIZE)


def test_an_echo_of_a_big_body_flows_both_ways_at_once(start_site: StartSite) -> None:
    """The application answers while it reads; the client reads while it writes."""

    site = start_site(trial.one("asgi"), limits=LIMITS)
    site.get("/hello")
    with site.memory_within(GROWTH), site.connect() as client:
        sender = threading.Thread(target=send_pattern, args=(client, "/stream", SIZE))
        sender.start()
        answer = client.read_response()
        sender.join()
    assert len(answer.body) == SIZE
    assert hashlib.sha256(answer.body).hexdigest() == pattern.digest(SIZE)


@KINDS
def test_slow_clients_hold_no_worker(start_site: StartSite, kind: str) -> None:
    """Clients that send or read slowly wait on the front's side; a single worker goes on serving others."""
    site = start_site(trial.one(kind), limits=LIMITS)
    site.get("/hello")
    size = 8 * 1024 * 1024
    uploads = [site.connect() for _ in range(10)]
    downloads = [site.connect(receive_buffer=4096) for _ in range(10)]
    with site.memory_within(64 * 1024 * 1024):
        for client in uploads:
            client.send(f"POST /sha256 HTTP/1.1\r\nHost: a\r\nContent-Length: {size}\r\n\r\n".encode() + b"x" * 10)
        for client in downloads:
            client.send(request(f"/generate?bytes={size}", "a"))
            client.read_head()
        for _ in range(20):
            assert site.get("/hello").status == 200
        for client in downloads:
            total = b"".join(client.read_exactly(min(65536, size - at)) for at in range(0, size, 65536))
            assert hashlib.sha256(total).hexdigest() == pattern.digest(size)
        for client in uploads:
            client.send(b"x" * (size - 10))
            assert client.read_response().text.split()[1] == str(size)
    for client in uploads + downloads:
        client.close()


@KINDS
def test_a_stopped_worker_with_both_directions_full_blocks_nobody_else(start_site: StartSite, kind: str) -> None:
    site = start_site(
        trial.app(kind)
        + trial.app(kind, name="other")
        + f"""
[site.a]
hosts = ["a"]
app = "{kind}"

[site.other]
hosts = ["other"]
app = "other"
""",
        limits=LIMITS,
    )
    (pid,) = site.worker_pids(kind)
    size = 4 * 1024 * 1024
    clients = [site.connect() for _ in range(4)]
    downloads = [site.connect(receive_buffer=4096) for _ in range(4)]
    for client in downloads:
        client.send(request(f"/generate?bytes={size}", "a"))
    site.get("/hello")
    site.kill(pid, signal.SIGSTOP)
    try:
        for client in clients:
            client.socket.settimeout(0.5)
            try:
                send_pattern(client, "/sha256", size)
            except TimeoutError:
                pass  # back-pressure has reached this client, as it should
        for _ in range(20):
            assert site.get("/hello", "other").status == 200
    finally:
        os.kill(pid, signal.SIGCONT)
    for client in downloads:
        client.socket.settimeout(20)
        assert receive_digest(client, size) == pattern.digest(size)
    for client in clients + downloads:
        client.close()
    wait_until(lambda: site.get("/hello").status == 200, "the worker serves again")


def test_no_spool_file_stays_when_clients_leave(start_site: StartSite) -> None:
    site = start_site(trial.one("wsgi"), limits=LIMITS)
    with site.same_descriptors():
        for _ in range(3):
            with site.connect() as client:
                client.send(b"POST /sha256 HTTP/1.1\r\nHost: a\r\nContent-Length: 9000000\r\n\r\n" + b"x" * 1_000_000)
            with site.connect(receive_buffer=4096) as client:
                client.send(request("/generate?bytes=30000000", "a"))
                client.read_head()
        assert site.get("/hello").status == 200
