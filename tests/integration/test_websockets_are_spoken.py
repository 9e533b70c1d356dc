"""Promise: a WebSocket reaches its application message by message, whatever clients do; nobody is left without a close,
and nobody loses a request for it."""

from __future__ import annotations

import os
import signal
import socket
import time
import zlib
from pathlib import Path

import pytest

from tests.support.certificates import Authority
from tests.support.client import Client, request
from tests.support.site import Site, StartSite
from tests.support.tls_client import TlsClient, client_context
from tests.support.waiting import wait_until
from tests.support.websockets import BINARY, CLOSE, PIECE, PING, PONG, TEXT, Frame, WebSocket, close, frame, handshake


def sites(notes: Path, more: str = "", workers: int = 1) -> str:
    return f"""
[app.s]
entry = "sockets_asgi:app"
root = "APPS"
workers = {workers}
env = {{ NOTES = "{notes}" }}
{more}

[site.a]
hosts = ["a"]
app = "s"

[site.f]
hosts = ["f"]
respond = {{ body = "fixed" }}
"""


WSGI = """
[app.w]
entry = "sockets_asgi:plain"
root = "APPS"
workers = 1

[site.w]
hosts = ["w"]
app = "w"
"""


@pytest.fixture(scope="module")
def notes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("sockets") / "notes"


@pytest.fixture(scope="module")
def site(shared_site: StartSite, notes: Path) -> Site:
    more = 'websockets = 20\ntimeout = "2s"\nwebsocket = { max_message = "1MiB", close_timeout = "2s" }'
    site = shared_site(sites(notes, more) + WSGI)
    site.tolerate_error("app s failed", "at the door", "in the middle", "^Traceback", "50[034] ")
    return site


def wait_note(notes: Path, text: str) -> None:
    wait_until(lambda: notes.exists() and text in notes.read_text().splitlines(), f"{text!r} in the notes")


def test_messages_come_back_on_every_parser_and_loop(
    start_site: StartSite, tmp_path: Path, variant: dict[str, str]
) -> None:
    site = start_site(sites(tmp_path / "notes"), **variant)
    with site.connect() as client:
        socket_ = WebSocket(client, "/echo", "a", "Sec-WebSocket-Protocol: chat, b")
        assert socket_.answer.field("sec-websocket-protocol") == "b"
        assert socket_.answer.field("sec-websocket-extensions") is None
        big = os.urandom(900_000)
        for message in ("", "é", b"\0\xff", "x" * 70_000, big):
            socket_.send(message)
            assert socket_.read() == message
        client.send(frame(PING, b"are you there"))
        assert socket_.read_frame() == Frame(PONG, b"are you there")
        client.send(close(4003, "bye"))
        assert socket_.read_close() == (4003, "")
        assert client.is_closed()
    wait_note(tmp_path / "notes", "/echo 4003 bye")
    line = site.access_lines(1)[-1]
    assert '"GET /echo HTTP/1.1" 101 ' in line


def test_fragments_arrive_as_one_message_and_a_ping_between_them_is_answered(site: Site) -> None:
    with site.connect() as client:
        socket_ = WebSocket(client)
        for data in (frame(TEXT, b"a", is_final=False), frame(PING, b"p"), frame(PIECE, b"\xc3", is_final=False)):
            client.send(data)
        client.send(frame(PIECE, b"\xa9"))
        assert socket_.read_frame() == Frame(PONG, b"p")
        assert socket_.read() == "aé"
        client.send(frame(PING, b"1") * 10)
        assert [socket_.read_frame() for _ in range(10)] == [Frame(PONG, b"1")] * 10


WRONG = {
    "no mask": (b"\x81\x01x", 1002),
    "reserved bits": (frame(TEXT, b"x", rsv=4), 1002),
    "an opcode that there is not": (frame(3), 1002),
    "a continuation of nothing": (frame(PIECE, b"x"), 1002),
    "a close that is too short": (frame(CLOSE, b"\x03"), 1002),
    "a code that may not be sent": (close(1005), 1002),
    "text that is none": (frame(TEXT, b"\xff"), 1007),
    "too long": (frame(BINARY, bytes(1024 * 1024 + 1)), 1009),
    "too long in fragments": (frame(BINARY, bytes(600_000), is_final=False) + frame(PIECE, bytes(600_000)), 1009),
    "a storm of pings": (frame(PING) * 3000, 1008),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_breaks_the_rules_is_closed_with_its_code_and_never_reaches_the_application(
    site: Site, notes: Path, name: str
) -> None:
    data, code = WRONG[name]
    path = f"/wrong-{name.replace(' ', '-')}"
    with site.same_workers("s"), site.connect() as client:
        socket_ = WebSocket(client, path)
        client.send(data)
        while (one := socket_.read_frame()).opcode == PONG:
            pass
        assert (one.opcode, int.from_bytes(one.payload[:2], "big")) == (CLOSE, code)
        assert client.is_closed()
    wait_until(lambda: any(line.startswith(f"{path} {code}") for line in notes.read_text().splitlines()), "it is told")


def test_a_bomb_is_not_inflated_beyond_the_limit(site: Site) -> None:
    state = zlib.compressobj(9, zlib.DEFLATED, -15)
    packed = (state.compress(bytes(100 << 20)) + state.flush(zlib.Z_SYNC_FLUSH))[:-4]
    with site.connect() as client, site.memory_within(16 << 20):
        socket_ = WebSocket(client, "/", "a", "Sec-WebSocket-Extensions: permessage-deflate")
        client.send(frame(BINARY, packed, rsv=4))
        assert socket_.read_close()[0] == 1009


def test_messages_are_compressed_for_who_offers_it(site: Site) -> None:
    with site.connect() as client:
        socket_ = WebSocket(client, "/", "a", "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits")
        agreed = socket_.answer.field("sec-websocket-extensions")
        assert agreed == "permessage-deflate; server_no_context_takeover; client_no_context_takeover"
        text = "the same words again and again " * 100
        state = zlib.compressobj(9, zlib.DEFLATED, -15)
        packed = (state.compress(text.encode()) + state.flush(zlib.Z_SYNC_FLUSH))[:-4]
        client.send(frame(TEXT, packed, rsv=4))
        answer = socket_.read_frame()
        assert (answer.opcode, answer.rsv) == (TEXT, 4)
        assert len(answer.payload) < 200
        assert zlib.decompressobj(-15).decompress(answer.payload + b"\0\0\xff\xff").decode() == text
        socket_.send("large")
        pieces = [socket_.read_frame()]
        while not pieces[-1].is_final:
            pieces.append(socket_.read_frame())
        assert [piece.rsv for piece in pieces] == [4, *[0] * (len(pieces) - 1)]
        whole = b"".join(piece.payload for piece in pieces) + b"\0\0\xff\xff"
        assert zlib.decompressobj(-15).decompress(whole).decode() == "é" * 200_000


@pytest.mark.parametrize(
    ("lines", "status"),
    [
        (["Sec-WebSocket-Version: 12"], 400),
        (["Sec-WebSocket-Protocol: \x80"], 400),
        (["Content-Length: 2"], 400),
        (["Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="], 400),
    ],
)
def test_a_handshake_in_disorder_is_refused(site: Site, lines: list[str], status: int) -> None:
    body = b"xx" if "Content-Length" in lines[0] else b""
    with site.connect() as client:
        assert client.ask(handshake("/", "a", *lines) + body).status == status
    assert site.get("/").text == "plain"


def test_another_version_is_told_which_one_is_spoken(site: Site) -> None:
    with site.connect() as client:
        answer = client.ask(handshake().replace(b"Version: 13", b"Version: 8"))
        assert (answer.status, answer.field("sec-websocket-version")) == (426, "13")
        WebSocket(client)


@pytest.mark.parametrize(("host", "body"), [("f", "fixed"), ("w", "from wsgi")])
def test_where_there_are_no_websockets_a_handshake_is_a_request(site: Site, host: str, body: str) -> None:
    with site.connect() as client:
        answer = client.ask(handshake("/", host))
        assert (answer.status, answer.text) == (200, body)
        assert client.get("/", "f").text == "fixed"


def test_an_application_refuses(site: Site) -> None:
    with site.connect() as client:
        assert client.ask(handshake("/refuse")).status == 403
        answer = client.ask(handshake("/refuse-softly"))
        assert (answer.status, answer.text, answer.field("www-authenticate")) == (401, "who are you?", "Basic")
        assert client.ask(handshake("/fail")).status == 500
        assert client.ask(handshake("/never")).status == 504
        assert WebSocket(client, "/echo")


@pytest.mark.parametrize(("word", "code"), [("return", 1000), ("raise", 1011), ("close", 4001)])
def test_an_application_ends(site: Site, word: str, code: int) -> None:
    with site.connect() as client:
        socket_ = WebSocket(client)
        socket_.send(word)
        assert socket_.ends_with()[0] == code


def test_a_client_that_just_goes_is_told_as_1006(site: Site, notes: Path) -> None:
    for number, leave in enumerate((Client.close, Client.reset, Client.end_sending)):
        client = site.connect()
        WebSocket(client, f"/gone-{number}")
        leave(client)
        wait_note(notes, f"/gone-{number} 1006")
        client.close()


def test_one_more_than_may_be_is_told_to_come_again_and_requests_go_on(site: Site) -> None:
    clients = [site.connect() for _ in range(20)]
    sockets = [WebSocket(client) for client in clients]
    wait_until(lambda: site.workers("s")[0]["websockets"] == 20, "they are counted")
    assert site.workers("s")[0]["running"] == 0
    with site.connect() as client:
        answer = client.ask(handshake())
        assert (answer.status, answer.field("retry-after")) == (503, "5")
        assert client.get("/").text == "plain"
    clients[0].send(close())
    assert sockets[0].read_close() == (1000, "")
    wait_until(lambda: site.workers("s")[0]["websockets"] == 19, "there is room")
    with site.connect() as client:
        WebSocket(client)
    for client in clients:
        client.close()
    wait_until(lambda: site.workers("s")[0]["websockets"] == 0, "all have gone")


def sent_until_it_stalls(client: Client, most: int) -> int:
    """Send messages until nobody takes them any more; return how many bytes were taken."""
    data = frame(BINARY, bytes(100_000))
    client.socket.settimeout(0.5)
    for count in range(most // len(data)):
        try:
            client.socket.sendall(data)
        except TimeoutError:
            return count * len(data)
    return most


def test_who_is_not_listened_to_is_not_read_from(site: Site) -> None:
    with site.connect() as client:
        socket_ = WebSocket(client, "/deaf")
        with site.memory_within(8 << 20):
            assert sent_until_it_stalls(client, 64 << 20) < 32 << 20
        assert socket_


def test_who_takes_nothing_makes_send_wait(site: Site, notes: Path) -> None:
    with site.connect(receive_buffer=4096) as client, site.memory_within(8 << 20):
        WebSocket(client, "/talker")
        assert site.get("/").text == "plain"
        with site.connect() as other:
            socket_ = WebSocket(other)
            for _ in range(20):
                socket_.send("still served")
                assert socket_.read() == "still served"
    wait_note(notes, "talker: bounded")


def test_bytes_right_behind_the_handshake_are_frames_not_a_request(site: Site) -> None:
    with site.connect() as client:
        client.send(handshake() + frame(TEXT, b"early") + b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        assert client.read_head().status == 101
        socket_ = WebSocket.__new__(WebSocket)
        socket_.client = client
        assert socket_.read() == "early"
        assert socket_.read_close()[0] == 1002
        assert client.is_closed()


def test_pages_of_other_origins_are_kept_out(start_site: StartSite, tmp_path: Path) -> None:
    site = start_site(sites(tmp_path / "notes", 'websocket = { origins = ["https://b.test", "same"] }'))
    for origin, status in (("https://evil.test", 403), ("https://b.test", 101), ("http://a", 101)):
        with site.connect() as client:
            client.send(handshake("/", "a", f"Origin: {origin}"))
            assert client.read_head().status == status, origin


def test_silent_clients_are_pinged_and_those_who_do_not_answer_are_closed(
    start_site: StartSite, tmp_path: Path
) -> None:
    site = start_site(sites(tmp_path / "notes", 'websocket = { ping_interval = "1s", ping_timeout = "1s" }'))
    with site.connect() as alive, site.connect() as dead:
        answering, silent = WebSocket(alive, "/alive"), WebSocket(dead, "/dead")
        for _ in range(2):
            assert answering.read_frame().opcode == PING
            alive.send(frame(PONG))
        assert silent.read_frame().opcode == PING
        assert silent.read_close()[0] == 1011
        assert dead.is_closed()
        answering.send("here")
        assert answering.read() == "here"
    wait_note(tmp_path / "notes", "/dead 1006")


def test_a_worker_that_dies_closes_its_websockets_with_1012_at_once(start_site: StartSite, tmp_path: Path) -> None:
    site = start_site(sites(tmp_path / "notes", workers=2))
    site.tolerate_error("worker", "WebSocket")
    wait_until(lambda: [worker["state"] for worker in site.workers("s")] == ["idle"] * 2, "both are ready")
    clients = [site.connect() for _ in range(4)]
    sockets = [WebSocket(client) for client in clients]
    for one in sockets:
        one.send("pid")
    pids = [str(one.read()) for one in sockets]
    assert len(set(pids)) == 2, "they are spread"
    sockets[0].send("exit")
    for one, pid in zip(sockets, pids, strict=True):
        if pid == pids[0]:
            assert one.ends_with() == (1012, "")
        else:
            one.send("still here")
            assert one.read() == "still here"
    for client in clients:
        client.close()


def test_a_renewed_application_sends_its_clients_away_with_1012(start_site: StartSite, tmp_path: Path) -> None:
    site = start_site(sites(tmp_path / "notes"))
    clients = [site.connect() for _ in range(3)]
    sockets = [WebSocket(client, "/old") for client in clients]
    before = site.worker_pids("s")
    assert site.admin("renew s") == b'{"renewed": true}\n'
    for one in sockets:
        assert one.ends_with() == (1012, "")
    with site.connect() as client:
        one = WebSocket(client)
        one.send("pid")
        assert int(one.read()) not in before
    wait_until(lambda: before[0] not in site.worker_pids("s"), "the old worker has ended")
    assert (tmp_path / "notes").read_text().splitlines().count("/old 1012") == 3


def test_a_server_that_stops_sends_its_clients_away_with_1001(start_site: StartSite, tmp_path: Path) -> None:
    site = start_site(sites(tmp_path / "notes"), fronts=2)
    clients = [site.connect() for _ in range(6)]
    sockets = [WebSocket(client, "/last") for client in clients]
    idle = socket.create_connection(site.address)
    site.terminate()
    for one in sockets:
        assert one.ends_with() == (1001, "")
    idle.close()
    assert site.wait_exit() == 0
    assert (tmp_path / "notes").read_text().splitlines().count("/last 1001") == 6


def test_a_client_that_does_not_answer_a_close_does_not_hold_up_a_stop(start_site: StartSite, tmp_path: Path) -> None:
    more = 'websocket = { close_timeout = "500ms" }'
    site = start_site(sites(tmp_path / "notes", more), server='graceful_timeout = "20s"')
    with site.connect() as client:
        socket_ = WebSocket(client, "/mute")
        site.observe()
        site.child.send_signal(signal.SIGTERM)
        assert socket_.read_close() == (1001, "")
        assert client.is_closed()
        assert site.wait_exit() == 0
    assert "/mute 1001" in (tmp_path / "notes").read_text()


@pytest.mark.parametrize("loop", ["uvloop", "asyncio"])
def test_over_tls_it_is_the_same(start_site: StartSite, tmp_path: Path, loop: str) -> None:
    authority = Authority()
    authority.write(tmp_path, "a", "a.test")
    tls = f'hosts = ["a.test"]\ntls = {{ cert = "{tmp_path}/a.pem", key = "{tmp_path}/a.key" }}'
    text = sites(tmp_path / "notes").replace('hosts = ["a"]', tls)
    site = start_site(text, server='https = "127.0.0.1:0"', loop=loop)
    context = client_context(authority.pem)
    with TlsClient(site.https, context, "a.test") as client, TlsClient(site.https, context, "a.test") as other:
        one, last = WebSocket(client, "/tls", "a.test"), WebSocket(other, "/last", "a.test")
        big = os.urandom(500_000)
        one.send(big)
        assert one.read() == big
        client.send(frame(TEXT, b"good") + frame(3) + frame(TEXT, bytes(100_000)))
        assert one.read() == "good"
        assert one.read_close()[0] == 1002
        assert client.is_closed()
        site.terminate()
        assert last.ends_with() == (1001, "")
    assert site.wait_exit() == 0


def test_a_request_on_a_kept_connection_may_become_a_websocket(site: Site) -> None:
    with site.same_descriptors(), site.connect() as client:
        assert client.ask(request("/", "a")).text == "plain"
        one = WebSocket(client)
        one.send("now")
        assert one.read() == "now"
        client.send(close())
        assert one.read_close() == (1000, "")
        assert client.is_closed()


def test_a_worker_with_websockets_is_needed(start_site: StartSite, tmp_path: Path) -> None:
    text = sites(tmp_path / "notes").replace("workers = 1", 'workers = { min = 0, max = 2, idle = "1s" }')
    site = start_site(text)
    assert site.workers("s") == []
    with site.connect() as client:
        one = WebSocket(client)  # it waits for the worker that is started for it
        pids = site.worker_pids("s")
        assert len(pids) == 1
        for _ in range(3):
            time.sleep(1)  # longer than a worker that nobody needs may stay
            one.send("still here?")
            assert one.read() == "still here?"
        assert site.worker_pids("s") == pids
        client.send(close())
        assert one.read_close() == (1000, "")
    wait_until(lambda: site.workers("s") == [], "nobody needs it", 20)


def test_more_workers_are_started_before_the_places_are_all_taken(start_site: StartSite, tmp_path: Path) -> None:
    text = sites(tmp_path / "notes", "websockets = 10")
    site = start_site(text.replace("workers = 1", 'workers = { min = 1, max = 2, idle = "1m" }'))
    clients = [site.connect() for _ in range(9)]
    for client in clients:
        WebSocket(client)
    wait_until(lambda: len(site.workers("s")) == 2, "a second worker")
    for client in clients:
        client.close()
