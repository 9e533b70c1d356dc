"""WebSockets of a pool whose workers are played by the test: who gets them, who is sent away, and what is refused."""

from __future__ import annotations

from time import monotonic
from typing import Any

import pytest

from pyserve.config.model import WebSocket
from pyserve.handlers.websocket import ANSWER_S, SocketCall
from pyserve.http.websocket import CLOSE, PING, TEXT, frame
from pyserve.wire import frames
from pyserve.wire.board import SOCKETS
from pyserve.wire.codec import COMPLETE, pack_answer, unpack_request
from pyserve.wire.frames import MESSAGE_COST, WINDOW
from tests.handlers.test_pool import Table
from tests.http.test_websocket import closing, sent
from tests.support.exchanges import FakeExchange, make_request

FIELDS = {
    "upgrade": "websocket",
    "connection": "upgrade",
    "sec_websocket_version": "13",
    "sec_websocket_key": "dGhlIHNhbXBsZSBub25jZQ==",
}


class SwitchedExchange(FakeExchange):
    """One that can become a WebSocket: ``sent`` is what went to the client behind the head."""

    def switch(self, block: bytes) -> None:
        self.calls.append("switch")
        self.status, self.block = 101, block

    def send_data(self, data: bytes) -> None:
        if not self.over:
            self.body += data

    def finish(self) -> None:
        if not self.over:
            super().finish()
            self.end()

    def take(self) -> bytes:
        data, self.body = self.body, b""
        return data


class Room(Table):
    def __init__(self, *, workers: int = 1, limit: int = 10, **settings: Any) -> None:
        websocket = settings.pop("websocket", WebSocket())
        super().__init__(workers=0, interface=frames.ASGI, **settings)
        self.pool.websocket = websocket
        self.pool._websockets = limit
        for number in range(1, workers + 1):
            self.add_worker(number, frames.ASGI)

    def knock(self, **fields: str) -> SwitchedExchange:
        exchange = SwitchedExchange(make_request("/ws", **{**FIELDS, **fields}))
        self.handler.handle(exchange, None)  # type: ignore[arg-type]
        return exchange

    def enter(self, number: int = 1, **fields: str) -> tuple[SwitchedExchange, SocketCall]:
        exchange = self.knock(**fields)
        call = self.calls(number)[-1]
        self.say(frames.accept_frame(call.stream, "", b""), number)
        assert exchange.status == 101
        self.channel(number).data.clear()
        return exchange, call

    def calls(self, number: int = 1) -> list[SocketCall]:
        return list(self.worker(number).sockets.values())

    def say(self, data: bytes, number: int = 1) -> None:
        self.pool.frames_received(self.worker(number), frames.Splitter().feed(data))

    def heard(self, number: int = 1) -> list[tuple[int, bytes]]:
        channel = self.channel(number)
        data, channel.data = [(kind, payload) for kind, _, payload in channel.data], []
        return data

    def sweep(self, now: float) -> None:
        for _ in range(4):
            self.pool.sweep(now)


def test_a_handshake_goes_to_the_worker_with_the_fewest_and_counts_as_nothing_that_runs() -> None:
    room = Room(workers=2)
    for _ in range(4):
        room.knock()
    assert [len(room.calls(number)) for number in (1, 2)] == [2, 2]
    assert (room.worker(1).outstanding, room.streams()) == (0, [])
    assert room.board.slot_total(1, SOCKETS) == 2
    kind, _, payload = room.channel(1).data[0]
    assert kind == frames.SOCKET
    assert unpack_request(payload)[2][2] == "/ws"


def test_messages_go_both_ways() -> None:
    room = Room()
    exchange, call = room.enter()
    call.body_data(sent(TEXT, b"hello") + sent(PING, b"p"))
    assert room.heard() == [(frames.SOCKET_TEXT, b"hello")]
    assert exchange.take() == frame(10, b"p")
    room.say(frames.frame(frames.SOCKET_TEXT, call.stream, b"hi"))
    assert exchange.take() == frame(TEXT, b"hi")


def test_a_full_house_is_503_and_a_place_that_is_left_is_given_again() -> None:
    room = Room(limit=1)
    _, call = room.enter()
    refused = room.knock()
    assert (refused.status, refused.block) == (503, b"retry-after: 5\r\n")
    call.client_gone()
    assert room.heard() == [(frames.SOCKET_GONE, b"\xee\x03")]
    assert room.knock().status == 503, "the application has not ended yet"
    room.say(frames.close_frame(frames.SOCKET_CLOSE, call.stream, 1000, ""))
    assert room.knock().status == 0


def test_who_comes_before_a_worker_is_ready_waits_for_it_but_not_for_ever() -> None:
    room = Room(workers=0)
    first = room.knock()
    assert (first.status, first.over) == (0, False)
    room.add_worker(1, frames.ASGI)
    assert len(room.calls()) == 1
    late = Room(workers=0)
    second = late.knock()
    call = next(iter(late.pool.make_sockets().open))
    late.sweep(call.deadline + 1)
    assert second.status == 503


def test_a_worker_of_another_kind_has_no_websockets() -> None:
    room = Room(workers=0)
    exchange = room.knock()
    room.add_worker(1, frames.WSGI)
    assert exchange.status == 400
    assert room.knock().status == 0, "a request like others from now on"
    assert len(room.streams()) == 1


def test_an_application_that_can_t_run_is_503() -> None:
    room = Room(workers=0)
    waiting = room.knock()
    room.pool.set_reason("ImportError")
    assert (waiting.status, room.knock().status) == (503, 503)


def test_one_that_is_given_back_is_tried_elsewhere_once() -> None:
    room = Room(workers=2)
    exchange = room.knock()
    first = 1 if room.calls(1) else 2
    room.say(frames.frame(frames.BUSY, room.calls(first)[0].stream), first)
    other = 3 - first
    assert (len(room.calls(first)), len(room.calls(other))) == (0, 1)
    room.say(frames.frame(frames.BUSY, room.calls(other)[0].stream), other)
    assert exchange.status == 503


def test_a_handshake_that_is_not_answered_in_time_is_504() -> None:
    room = Room()
    exchange = room.knock()
    (call,) = room.calls()
    room.worker().scoreboard.beat(int((call.deadline - 1) * 1e9))
    room.sweep(call.deadline + 0.1)
    assert exchange.status == 504
    assert ("stuck", 1) not in room.told, "its loop turns"
    assert room.heard()[-1][0] == frames.SOCKET_GONE
    still = Room()
    still.knock()
    still.sweep(still.calls()[-1].deadline + 0.1)
    assert ("stuck", 1) in still.told


def test_a_client_that_closes_is_answered_when_the_application_was_told() -> None:
    room = Room()
    exchange, call = room.enter()
    call.body_data(sent(TEXT, b"last") + closing(4000, b"bye"))
    assert room.heard() == [(frames.SOCKET_TEXT, b"last"), (frames.SOCKET_CLOSED, b"\xa0\x0fbye")]
    assert exchange.take() == b""
    room.say(frames.frame(frames.SOCKET_TEXT, call.stream, b"answer"))
    room.say(frames.frame(frames.SOCKET_TOLD, call.stream))
    assert exchange.take() == frame(TEXT, b"answer") + frame(CLOSE, b"\x0f\xa0")
    assert exchange.over
    room.say(frames.close_frame(frames.SOCKET_CLOSE, call.stream, 1000, ""))
    assert room.calls() == []


def test_an_application_that_does_not_listen_does_not_hold_up_a_close() -> None:
    room = Room()
    exchange, call = room.enter()
    call.body_data(b"\x83\x80abcd")
    assert room.logged == ["closed a WebSocket of 127.0.0.1: 1002 opcode 3"]
    assert room.heard()[0][0] == frames.SOCKET_CLOSED
    room.sweep(call.deadline - ANSWER_S / 2)
    assert not exchange.over
    room.sweep(call.deadline)
    assert exchange.body[2:4] == b"\x03\xea"
    assert exchange.over
    assert room.heard()[-1][0] == frames.SOCKET_GONE


def test_an_application_that_closes_waits_for_the_client_s_close() -> None:
    room = Room(websocket=WebSocket(close_timeout_s=5.0))
    exchange, call = room.enter()
    room.say(frames.close_frame(frames.SOCKET_CLOSE, call.stream, 4001, "enough"))
    assert exchange.take() == frame(CLOSE, b"\x0f\xa1enough")
    assert room.calls() == []
    call.body_data(sent(TEXT, b"too late"))
    call.body_data(closing(4001))
    assert exchange.over
    exchange, call = room.enter()
    room.say(frames.close_frame(frames.SOCKET_CLOSE, call.stream, 1000, ""))
    room.sweep(call.deadline)
    assert exchange.over
    assert room.heard() == []


def test_credit_stops_the_reading_from_a_client() -> None:
    room = Room()
    exchange, call = room.enter()
    message = sent(2, bytes(60_000))
    for _ in range(10):
        call.body_data(message)
    taken = sum(len(payload) + MESSAGE_COST for _, payload in room.heard())
    assert taken <= WINDOW
    assert exchange.calls[-1] == "pause_body"
    room.say(frames.number_frame(frames.CREDIT_BODY, call.stream, taken))
    assert room.heard(), "it goes on with what was here"
    with pytest.raises(frames.WireError):
        call.frame_received(frames.CREDIT_BODY, WINDOW.to_bytes(4, "little"))


def test_what_a_client_does_not_take_is_not_paid_for() -> None:
    room = Room()
    exchange, call = room.enter()
    exchange.is_writable = False
    piece = frames.frame(frames.SOCKET_BINARY, call.stream, bytes(50_000))
    for _ in range(4):
        room.say(piece)
    assert room.channel().control == []
    exchange.is_writable = True
    call.on_writable()
    ((kind, _, payload),) = room.channel().control
    assert (kind, frames.number(payload)) == (frames.CREDIT, 4 * (50_000 + MESSAGE_COST))


def accept(stream: int, block: bytes = b"", protocol: str = "") -> bytes:
    return frames.accept_frame(stream, protocol, block)


BROKEN: dict[str, Any] = {
    "a message before it is accepted": lambda stream: frames.frame(frames.SOCKET_TEXT, stream, b"x"),
    "a close before it is accepted": lambda stream: frames.close_frame(frames.SOCKET_CLOSE, stream, 1000, ""),
    "a subprotocol that nobody offered": lambda stream: accept(stream, protocol="evil"),
    "lines that are none": lambda stream: accept(stream, b"x: a\r\n\r\nevil"),
    "a key of its own": lambda stream: accept(stream, b"sec-websocket-accept: x\r\n"),
    "extensions of its own": lambda stream: accept(stream, b"sec-websocket-extensions: x\r\n"),
    "an upgrade to something else": lambda stream: accept(stream, b"upgrade: h2c\r\n"),
    "an acceptance that is none": lambda stream: frames.frame(frames.SOCKET_ACCEPT, stream),
    "accepted twice": lambda stream: accept(stream) * 2,
    "an answer behind the acceptance": lambda stream: (
        accept(stream) + frames.frame(frames.ANSWER, stream, pack_answer(200, COMPLETE, 0, b""))
    ),
    "accepted behind an answer": lambda stream: (
        frames.frame(frames.ANSWER, stream, pack_answer(200, 0, -1, b"")) + accept(stream)
    ),
    "an unclean answer": lambda stream: frames.frame(
        frames.ANSWER, stream, pack_answer(200, COMPLETE, 0, b"x: \x00\r\n")
    ),
    "a code that may not be sent": lambda stream: (
        accept(stream) + frames.close_frame(frames.SOCKET_CLOSE, stream, 1006, "")
    ),
    "more than credit": lambda stream: accept(stream) + frames.frame(frames.SOCKET_BINARY, stream, bytes(65536)) * 5,
    "empty messages beyond credit": lambda stream: (
        accept(stream) + frames.frame(frames.SOCKET_BINARY, stream) * (WINDOW // MESSAGE_COST + 1)
    ),
    "a message that changes its kind": lambda stream: (
        accept(stream)
        + frames.frame(frames.SOCKET_TEXT_PIECE, stream, b"x")
        + frames.frame(frames.SOCKET_BINARY, stream, b"y")
    ),
    "a body of an answer that there is not": lambda stream: frames.frame(frames.DATA, stream, b"x"),
    "given back behind the acceptance": lambda stream: accept(stream) + frames.frame(frames.BUSY, stream),
    "a frame of no sense": lambda stream: frames.frame(99, stream),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_worker_that_breaks_the_rules_is_broken_off(name: str) -> None:
    room = Room()
    exchange = room.knock()
    exchange.is_writable = False  # so that no credit is returned
    (call,) = room.calls()
    room.say(BROKEN[name](call.stream))
    assert ("broke", 1) in room.told
    assert room.channel().is_closed


def test_a_worker_that_died_closes_with_1012_and_moves_what_it_had_not_begun() -> None:
    room = Room(workers=1)
    opened, call = room.enter()
    asked = room.knock()
    waiting = room.calls()[-1]
    room.add_worker(2, frames.ASGI)
    room.start(call.stream)
    room.pool.remove(1, "was killed")
    assert opened.take() == frame(CLOSE, b"\x03\xf4")
    assert (room.calls(2), asked.over) == ([waiting], False)
    assert room.left == [(1, "1 WebSocket, closed with 1012")]


def test_clients_are_sent_away_a_few_at_a_time() -> None:
    room = Room(limit=1000)
    entered = [room.enter() for _ in range(300)]

    def closed() -> int:
        return sum(exchange.body != b"" for exchange, _ in entered)

    room.pool.drain(1)
    counts = [closed()]
    while counts[-1] < 300:
        room.timers.fire()
        counts.append(closed())
    assert counts[0] <= 10
    assert 50 <= len(counts) <= 70, "about a hundred a second"
    assert ("idle", 1) not in room.told
    for _, call in entered:
        call.body_data(closing(1012))
    room.sweep(0.0)
    assert ("idle", 1) in room.told


def test_a_short_grace_time_sends_all_of_them_away_in_it() -> None:
    room = Room(limit=1000)
    entered = [room.enter() for _ in range(300)]
    room.pool.going_away(0.5)
    turns = 1
    while any(not exchange.body for exchange, _ in entered):
        room.timers.fire()
        turns += 1
    assert turns <= 8
    assert all(exchange.body == frame(CLOSE, b"\x03\xe9") for exchange, _ in entered)


def test_who_is_accepted_while_its_worker_drains_is_sent_away_too() -> None:
    room = Room()
    exchange = room.knock()
    (call,) = room.calls()
    room.pool.drain(1)
    room.say(accept(call.stream))
    room.sweep(0.0)
    assert exchange.take() == frame(CLOSE, b"\x03\xf4")


def test_pings_are_for_who_is_silent_and_the_pong_is_missed_only_where_it_would_be_read() -> None:
    room = Room(websocket=WebSocket(ping_interval_s=10.0, ping_timeout_s=5.0))
    exchange, call = room.enter()
    room.sweep(0.0)
    room.sweep(9.0)
    assert exchange.body == b""
    room.sweep(10.0)
    assert exchange.take() == frame(PING, b"")
    call.body_data(sent(10))
    room.sweep(16.0)
    assert exchange.body == b""
    room.sweep(26.0)
    assert exchange.take() == frame(PING, b"")
    room.sweep(31.0)
    assert exchange.body[2:4] == b"\x03\xf3"
    assert exchange.over


def test_pages_of_other_origins_never_reach_a_worker() -> None:
    room = Room(websocket=WebSocket(origins=("same",)))
    assert room.knock(origin="http://evil.test").status == 403
    assert room.knock(origin="http://a.test").status == 0
    assert len(room.calls()) == 1


def test_a_refusal_whose_client_has_left_costs_its_worker_nothing() -> None:
    room = Room()
    exchange = room.knock()
    (call,) = room.calls()
    exchange.end()
    call.client_gone()
    stream = call.stream
    # All of it was on its way when the worker heard of that.
    room.say(frames.frame(frames.ANSWER, stream, pack_answer(401, 0, -1, b"", b"who ")))
    room.say(frames.frame(frames.DATA, stream, b"are "))
    room.say(frames.frame(frames.DATA_LAST, stream, b"you?"))
    assert room.calls() == []
    assert 1 in room.pool.workers


def test_pongs_for_who_takes_nothing_are_not_piled_up() -> None:
    room = Room()
    exchange, call = room.enter()
    exchange.is_writable = False
    for number in range(100):
        call.body_data(sent(PING, b"%d" % number))
    assert exchange.take() == b""
    exchange.is_writable = True
    call.on_writable()
    assert exchange.take() == frame(10, b"99")
    call.on_writable()
    assert exchange.take() == b""


def test_a_client_that_is_slow_to_take_messages_is_not_missed_for_a_ping_that_was_not_sent() -> None:
    room = Room(websocket=WebSocket(ping_interval_s=20, ping_timeout_s=10))
    exchange, _ = room.enter()
    begun = monotonic()
    exchange.is_writable = False
    for second in range(60):
        room.sweep(begun + second)
    assert not exchange.over
    assert exchange.take() == b""
    exchange.is_writable = True
    room.sweep(begun + 61)
    assert exchange.take() == frame(PING, b"")
    room.sweep(begun + 72)
    assert exchange.over


def test_date_and_server_of_an_acceptance_are_the_fronts() -> None:
    room = Room()
    exchange = room.knock()
    (call,) = room.calls()
    room.say(accept(call.stream, b"x-date: kept\r\ndate: x\r\nserver: y\r\nx-own: 1\r\n"))
    assert exchange.block.endswith(b"=\r\nx-date: kept\r\nx-own: 1\r\n")
