"""Promise: a WebSocket over HTTP/2 is one stream among others, and otherwise as it is over HTTP/1.1 (RFC 8441)."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.support.h2_client import H2Client, Tunnel
from tests.support.site import Site, StartSite
from tests.support.waiting import wait_until
from tests.support.websockets import PING, PONG, TEXT, Frame, WebSocket, close, frame

MIB = 1024 * 1024


@pytest.fixture
def site(start_site: StartSite, tmp_path: Path) -> Site:
    return start_site(
        f"""
[app.s]
entry = "sockets_asgi:app"
root = "APPS"
workers = 1
websocket = {{ max_message = "1MiB", close_timeout = "2s" }}
env = {{ NOTES = "{tmp_path}/notes" }}

[app.w]
entry = "sockets_asgi:plain"
root = "APPS"
workers = 1

[site.a]
hosts = ["a"]
app = "s"

[site.w]
hosts = ["w"]
app = "w"

[site.f]
hosts = ["f"]
respond = {{ body = "fixed" }}

[site.page]
hosts = ["page"]
app = "w"
error_pages = {{ 501 = {{ app = "t", path = "/slow?s=0.3" }} }}

[app.t]
entry = "trial_asgi:application"
root = "APPS"
workers = 1
""",
        server="h2c = true",
    )


def test_messages_come_back_beside_requests(site: Site) -> None:
    with H2Client(site.address) as client:
        socket_ = WebSocket.over(Tunnel(client, "/echo", fields=[("sec-websocket-protocol", "chat, b")]))
        other = WebSocket.over(Tunnel(client, "/echo"))
        assert ("sec-websocket-protocol", "b") in socket_.answer.fields
        assert not [
            name for name, _ in socket_.answer.fields if name in ("upgrade", "connection", "sec-websocket-accept")
        ]
        big = os.urandom(900_000)
        for message in ("", "é", b"\0\xff", "x" * 70_000, big):
            socket_.send(message)
            other.send("beside")
            assert client.ask("/").text == "plain"
            assert socket_.read() == message
            assert other.read() == "beside"
        socket_.client.send(frame(PING, b"are you there"))
        assert socket_.read_frame() == Frame(PONG, b"are you there")
        assert len(site.status()["fronts"]) == 1
        socket_.client.send(close(1000))
        assert socket_.read_close()[0] == 1000
        assert socket_.client.is_closed()
        assert client.ask("/").text == "plain"
    lines = site.access_lines(7)
    assert any('"CONNECT /echo HTTP/2.0" 200 ' in line for line in lines)


def test_a_client_that_does_not_wait_for_its_answer_loses_nothing(site: Site) -> None:
    with H2Client(site.address) as client:
        fields = [("sec-websocket-version", "13")]
        stream = client.start("/echo", "a", "CONNECT", fields, is_end=False, protocol="websocket")
        client.send_body(stream, frame(TEXT, b"early"), is_end=False)
        while len(client.answers[stream].body) < 7:
            client.receive()
        assert client.answers[stream].body == b"\x81\x05early"


def test_refusals_are_answers_of_the_stream(site: Site) -> None:
    with H2Client(site.address) as client:
        for path, host, status in [
            ("/refuse", "a", 403),
            ("/refuse-softly", "a", 401),
            ("/x", "w", 501),
            ("/x", "f", 501),
            ("/x", "nobody", 421),
        ]:
            tunnel = Tunnel(client, path, host)
            assert (path, host, tunnel.answer.status) == (path, host, status)
        stream = client.start(
            "/echo", "a", "CONNECT", [("sec-websocket-version", "12")], is_end=False, protocol="websocket"
        )
        assert client.wait(stream)[0].status == 426
        stream = client.start("/echo", "a", "CONNECT", is_end=False, protocol="webtransport")
        assert client.wait(stream)[0].status == 501
        assert client.ask("/").text == "plain"
    site.tolerate_error("501")


def test_a_refusal_with_a_page_of_its_own_is_one_whatever_was_sent_before_it(site: Site) -> None:
    site.tolerate_error("501")
    with H2Client(site.address) as client:
        fields = [("sec-websocket-version", "13")]
        stream = client.start("/x", "page", "CONNECT", fields, is_end=False, protocol="websocket")
        wait_until(lambda: site.workers("t")[0]["running"], "the page to be on its way")
        client.send_body(stream, frame(TEXT, b"early"), is_end=False)
        answer = client.wait(stream)[0]
        assert (answer.status, answer.text.isdecimal()) == (501, True)
        assert client.ask("/").text == "plain"


def test_a_client_that_leaves_is_a_disconnect(site: Site, tmp_path: Path) -> None:
    def notes() -> list[str]:
        return (tmp_path / "notes").read_text().splitlines() if (tmp_path / "notes").exists() else []

    with H2Client(site.address) as client:
        WebSocket.over(Tunnel(client, "/echo"))
        ended = Tunnel(client, "/ended")
        client.h2.end_stream(ended.stream)
        client.flush()
        wait_until(lambda: "/ended 1006" in notes(), "the end of the stream to be told")
        reset = Tunnel(client, "/reset")
        client.h2.reset_stream(reset.stream, 8)
        client.flush()
        wait_until(lambda: "/reset 1006" in notes(), "the reset to be told")
    wait_until(lambda: "/echo 1006" in notes(), "the end of the connection to be told")


def test_a_close_in_the_last_frame_of_its_stream_is_answered(site: Site) -> None:
    """As Chromium sends it."""
    with H2Client(site.address) as client:
        tunnel = Tunnel(client, "/echo")
        socket_ = WebSocket.over(tunnel)
        client.h2.send_data(tunnel.stream, frame(TEXT, b"last words") + close(1000, "bye"), end_stream=True)
        client.flush()
        assert socket_.read() == "last words"
        assert socket_.read_close()[0] == 1000
        assert tunnel.is_closed()
        assert tunnel.answer.reset is None


def test_a_stop_says_so_to_every_websocket(site: Site) -> None:
    with H2Client(site.address) as client:
        sockets = [WebSocket.over(Tunnel(client, "/echo")) for _ in range(5)]
        site.terminate()
        for socket_ in sockets:
            assert socket_.read_close()[0] == 1001
            socket_.client.send(close(1001))
            assert socket_.client.is_closed()
        client.wait_closed()
    assert site.wait_exit() == 0


def test_a_slow_reader_holds_up_its_application_and_nobody_else(site: Site, tmp_path: Path) -> None:
    with site.memory_within(12 * MIB), H2Client(site.address, takes=False) as client:
        talker = Tunnel(client, "/talker")
        while len(talker.answer.body) < 65_000:
            client.receive()
        assert client.wait(client.start("/", "a", "HEAD"))[0].status == 200
        client.h2.reset_stream(talker.stream, 8)
        client.flush()
        notes = tmp_path / "notes"
        wait_until(lambda: notes.exists() and "talker: bounded" in notes.read_text(), "the application to be told")
