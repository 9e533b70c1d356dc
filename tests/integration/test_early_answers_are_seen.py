"""Promise: who uploads to a path that won't have it sees the answer, not a reset (RFC 9112, 9.6)."""

from __future__ import annotations

import pytest

from tests.support import trial
from tests.support.client import request
from tests.support.site import Site, StartSite

SITES = trial.both() + (
    """
[site.file]
hosts = ["file"]
files = "APPS"

[site.none]
hosts = ["none"]

[[site.none.route]]
path = "/x"
respond = { body = "x" }
"""
)
BODY = 64 * 1024 * 1024
PIECE = b"x" * 65536


@pytest.fixture
def site(shared_site: StartSite, variant: dict[str, str]) -> Site:
    return shared_site(SITES, limits='max_body = "40MiB"', **variant)


@pytest.mark.parametrize(
    ("host", "path", "size", "status"),
    [
        ("none", "/nowhere", 30 << 20, 404),
        ("file", "/pattern.py", 30 << 20, 405),
        ("w", "/echo", BODY, 413),
        ("a", "/hello", 30 << 20, 200),  # an application that does not look at the body
    ],
)
def test_a_client_that_writes_everything_before_it_reads_gets_its_answer(
    site: Site, host: str, path: str, size: int, status: int
) -> None:
    with site.connect() as client:
        client.send(f"POST {path} HTTP/1.1\r\nHost: {host}\r\nContent-Length: {size}\r\n\r\n".encode())
        for _ in range(size // len(PIECE)):
            client.send(PIECE)
        answer = client.read_response()
        assert (answer.status, answer.field("connection")) == (status, "close")
        assert client.is_closed()


@pytest.mark.parametrize(("host", "status"), [("none", 404), ("file", 405)])
def test_a_small_body_that_nobody_wants_costs_no_connection(site: Site, host: str, status: int) -> None:
    with site.connect() as client:
        for _ in range(3):
            answer = client.ask(request("/pattern.py", host, "POST", b"x" * 5000))
            assert (answer.status, answer.field("connection")) == (status, None)


@pytest.mark.parametrize(("host", "status"), [("none", 404), ("file", 405), ("nobody", 421)])
def test_a_chunked_body_that_nobody_wants_costs_no_connection_either(site: Site, host: str, status: int) -> None:
    head = f"PUT /pattern.py HTTP/1.1\r\nHost: {host}\r\nTransfer-Encoding: chunked\r\n\r\n".encode()
    with site.connect() as client:
        answer = client.ask(head + b"3\r\nabc\r\n0\r\n\r\n")
        assert (answer.status, answer.field("connection")) == (status, None)
        assert client.get("/x", "none").text == "x"


def test_the_answer_is_seen_before_a_chunked_body_without_end(site: Site) -> None:
    with site.connect() as client:
        client.send(b"PUT /nowhere HTTP/1.1\r\nHost: none\r\nTransfer-Encoding: chunked\r\n\r\n")
        for _ in range(BODY // len(PIECE)):
            client.send(b"%x\r\n%b\r\n" % (len(PIECE), PIECE))
        assert client.read_response().status == 404
        assert client.is_closed()


def test_a_client_that_waits_to_be_told_to_go_on_is_told_the_end(site: Site) -> None:
    with site.connect() as client:
        client.send(b"POST / HTTP/1.1\r\nHost: none\r\nContent-Length: 9\r\nExpect: 100-continue\r\n\r\n")
        answer = client.read_response()
        assert (answer.status, answer.interim, answer.field("connection")) == (404, [], "close")


def test_a_body_that_is_malformed_already_reaches_no_handler(site: Site) -> None:
    head = "POST {} HTTP/1.1\r\nHost: {}\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhelloXX0\r\n\r\n"
    for host, path in (("none", "/nowhere"), ("file", "/pattern.py"), ("w", "/echo"), ("a", "/hello")):
        with site.connect() as client:
            assert client.ask(head.format(path, host).encode()).status == 400
            assert client.is_closed()
