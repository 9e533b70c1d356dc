"""Promise: HTTP/1.1 and 1.0 as the RFCs say, the same with every parser and every loop."""

from __future__ import annotations

import pytest

from tests.support import trial
from tests.support.client import Client, Closed, request
from tests.support.site import Site, StartSite

SITES = trial.both() + (
    """
[site.fixed]
hosts = ["fixed"]
respond = { body = "fixed" }

[[site.fixed.route]]
path = "/other"
respond = { body = "other" }

[site.file]
hosts = ["file"]
files = "APPS"
"""
)


@pytest.fixture
def site(shared_site: StartSite, variant: dict[str, str]) -> Site:
    return shared_site(SITES, **variant)


def test_a_connection_serves_one_request_after_the_other(site: Site) -> None:
    with site.connect() as client:
        for host in ("fixed", "w", "a", "fixed", "file", "a"):
            path = "/pattern.py" if host == "file" else "/hello"
            answer = client.get(path, host)
            assert answer.status == 200
            assert answer.field("connection") is None


def test_pipelined_requests_are_answered_in_order(site: Site) -> None:
    paths = [("w", "/slow?s=0.2"), ("fixed", "/"), ("a", "/echo"), ("file", "/pattern.py"), ("fixed", "/other")]
    with site.connect() as client:
        client.send(b"".join(request(path, host) for host, path in paths))
        answers = [client.read_response() for _ in paths]
    assert [answer.status for answer in answers] == [200] * 5
    assert answers[1].text == "fixed"
    assert answers[3].text.startswith('"""Bytes')
    assert answers[4].text == "other"


@pytest.mark.parametrize("host", ["fixed", "file", "w", "a"])
def test_what_is_no_request_behind_a_good_one_is_refused_after_its_answer(site: Site, host: str) -> None:
    path = {"file": "/pattern.py", "fixed": "/"}.get(host, "/hello")
    with site.connect() as client:
        client.send(request(path, host) + b"BAD\r\n\r\n")
        assert client.read_response().status == 200
        assert client.read_response().status == 400


def test_a_pipeline_of_bodies_does_not_mix_them(site: Site) -> None:
    bodies = [bytes([65 + number]) * (number * 7000) for number in range(1, 8)]
    with site.connect() as client:
        client.send(b"".join(request("/echo", "aw"[n % 2], "POST", body) for n, body in enumerate(bodies)))
        assert [client.read_response().body for _ in bodies] == bodies


@pytest.mark.parametrize("host", ["w", "a"])
def test_a_chunked_body_arrives_whole(site: Site, host: str) -> None:
    head = f"POST /echo HTTP/1.1\r\nHost: {host}\r\nTransfer-Encoding: chunked\r\n\r\n".encode()
    body = b"5\r\nhello\r\n1;x=y\r\n,\r\n6\r\n world\r\n0\r\nX-Trailer: 1\r\n\r\n"
    with site.connect() as client:
        assert client.ask(head + body).body == b"hello, world"
        # Byte by byte it is the same, and the connection lives on.
        for byte in head + body:
            client.send(bytes([byte]))
        assert client.read_response().body == b"hello, world"
        assert client.get("/hello", host).status == 200


@pytest.mark.parametrize(("host", "path"), [("w", "/hello"), ("a", "/hello"), ("file", "/pattern.py"), ("fixed", "/")])
def test_head_is_get_without_the_body(site: Site, host: str, path: str) -> None:
    with site.connect() as client:
        whole = client.get(path, host)
        head = client.ask(request(path, host, "HEAD"), to_head=True)
        assert head.status == 200
        ignored = ("date",)
        assert [f for f in head.fields if f[0] not in ignored] == [f for f in whole.fields if f[0] not in ignored]
        # Not a byte of a body: the next answer begins right behind the head.
        assert client.get(path, host).status == 200


@pytest.mark.parametrize("host", ["w", "a"])
def test_expect_100_continue_is_answered_before_the_body(site: Site, host: str) -> None:
    with site.connect() as client:
        client.send(
            f"POST /echo HTTP/1.1\r\nHost: {host}\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\n".encode()
        )
        assert client.read_head().status == 100
        client.send(b"body")
        assert client.read_response().body == b"body"
        assert client.get("/hello", host).status == 200


def test_expect_100_continue_is_not_asked_for_a_body_that_nobody_wants(site: Site) -> None:
    with site.connect() as client:
        client.send(b"POST / HTTP/1.1\r\nHost: fixed\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\n")
        answer = client.read_response()
    assert (answer.status, answer.interim) == (200, [])


@pytest.mark.parametrize("host", ["w", "a", "fixed"])
def test_a_half_closed_client_gets_its_answers(site: Site, host: str) -> None:
    with site.connect() as client:
        client.send(request("/slow?s=0.1", host) + request("/hello", host))
        client.end_sending()
        assert client.read_response().status == 200
        assert client.read_response().status == 200
        assert client.is_closed()


def test_connection_close_is_honoured(site: Site) -> None:
    with site.connect() as client:
        answer = client.get("/hello", "a", Connection="close")
        assert answer.field("connection") == "close"
        assert client.is_closed()


@pytest.mark.parametrize("host", ["w", "a", "fixed"])
def test_http_1_0_is_answered_and_closed(site: Site, host: str) -> None:
    with site.connect() as client:
        client.send(f"GET /hello HTTP/1.0\r\nHost: {host}\r\n\r\n".encode())
        answer = client.read_response()
        assert answer.status == 200
        assert answer.field("transfer-encoding") is None
        assert client.is_closed()


@pytest.mark.parametrize("host", ["w", "a"])
def test_an_http_1_0_client_gets_no_chunks(site: Site, host: str) -> None:
    with site.connect() as client:
        client.send(f"GET /pieces HTTP/1.0\r\nHost: {host}\r\n\r\n".encode())
        answer = client.read_response()
        assert (answer.text, answer.is_chunked) == ("one\ntwo\nthree\n", False)


def test_an_http_1_0_client_may_keep_the_connection(site: Site) -> None:
    with site.connect() as client:
        for _ in range(2):
            client.send(b"GET / HTTP/1.0\r\nHost: fixed\r\nConnection: keep-alive\r\n\r\n")
            answer = client.read_response()
            assert answer.field("connection") == "keep-alive"


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nX : 1\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nX: 1\r\n folded\r\n\r\n", 400),
        (b"GET / HTTP/1.1\nHost: a\n\n", 400),
        (b"GET /\x00 HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        (b"GET /%00 HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        (b"GET /a%2Fb HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\nhello", 400),
        (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +5\r\n\r\nhello", 400),
        (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\nhello\r\n0\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", 501),
        (b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"x" * 40_000 + b"\r\n\r\n", 431),
        (b"GET / HTTP/1.1\r\nHost: a\r\n" + b"X: y\r\n" * 101 + b"\r\n", 431),
        (b"GET /" + b"x" * 40_000 + b" HTTP/1.1\r\nHost: a\r\n\r\n", 414),
        (b"GET / HTTP/2.0\r\nHost: a\r\n\r\n", 505),
        (b"\x16\x03\x01\x02\x00\x01\x00", 400),
    ],
    ids=lambda value: repr(value[:60]) if isinstance(value, bytes) else None,
)
def test_a_bad_request_is_refused_once_and_the_connection_closed(site: Site, data: bytes, status: int) -> None:
    with site.connect() as client:
        # A second request behind the bad one must never be answered.
        client.send(data + request("/hello", "a"))
        answer = client.read_response()
        assert answer.status == status
        assert answer.field("connection") == "close"
        assert client.is_closed()


def test_a_body_over_the_limit_is_refused_before_it_is_read(site: Site) -> None:
    with site.connect() as client:
        client.send(b"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 209715200\r\n\r\n")
        assert client.read_response().status == 413


def test_a_client_that_leaves_in_the_middle_of_an_answer_hurts_nobody(site: Site) -> None:
    for host in ("w", "a"):
        with site.connect(receive_buffer=4096) as client:
            client.send(request("/generate?bytes=50000000", host))
            client.read_head()
        assert site.get("/hello", host).status == 200


def test_a_truncated_chunked_body_never_reaches_the_application_as_whole(site: Site) -> None:
    with site.connect() as client:
        client.send(b"POST /sha256 HTTP/1.1\r\nHost: w\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n")
        client.end_sending()
        assert no_success(client)


def no_success(client: Client) -> bool:
    try:
        return client.read_response().status >= 400
    except (Closed, ConnectionResetError):
        return True
