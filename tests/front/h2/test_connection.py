"""One HTTP/2 connection on a real loop and a real socket: what a client may do at the wrong moment, what that costs."""

from __future__ import annotations

import asyncio
import gc
import os
import socket
import struct
import weakref
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import h2.config
import h2.connection
import h2.events
import h2.settings
import pytest
import uvloop

from pyserve.front.h2.connection import H2Connection
from pyserve.handlers.interface import FOREVER, Exchange
from tests.front.h1.test_connection import Desk, most_waiting, turns

PIECE = b"x" * 60_000
LARGEST_WINDOW = (1 << 31) - 1
HEADERS, RST_STREAM, GOAWAY = 1, 3, 7
END = 5
"""Of the stream and of the fields."""


def frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    return struct.pack(">I", len(payload))[1:] + bytes((kind, flags)) + struct.pack(">I", stream) + payload


class Peer:
    """A client's end: the library ``h2`` reads, and what is sent is the test's business."""

    def __init__(self, loop: asyncio.AbstractEventLoop, own: socket.socket, connection: H2Connection) -> None:
        self.loop = loop
        self.socket = own
        self.connection = connection
        self.h2 = h2.connection.H2Connection(h2.config.H2Configuration(client_side=True, header_encoding="utf-8"))
        self.heads: dict[int, list[str]] = {}
        self.bodies: dict[int, int] = {}
        self.ended: set[int] = set()
        self.resets: set[int] = set()
        self.is_closed = False

    async def begin(self, window: int = 65_535, frame_bytes: int = 16_384) -> None:
        codes = h2.settings.SettingCodes
        values = {codes.INITIAL_WINDOW_SIZE: window, codes.MAX_FRAME_SIZE: frame_bytes}
        self.h2.local_settings = h2.settings.Settings(client=True, initial_values=values)
        self.h2.max_inbound_frame_size = frame_bytes
        self.h2.initiate_connection()
        self.h2.increment_flow_control_window(LARGEST_WINDOW - 65_535)
        self.flush()
        await self.read()

    def flush(self) -> None:
        self.socket.send(self.h2.data_to_send())

    def start(self, method: str = "GET", *, is_end: bool = True) -> int:
        stream: int = self.h2.get_next_available_stream_id()
        fields = [(":method", method), (":scheme", "http"), (":authority", "a"), (":path", "/")]
        self.h2.send_headers(stream, fields, end_stream=is_end)
        return stream

    async def read(self) -> None:
        """Take what comes in one read."""
        data = await self.loop.sock_recv(self.socket, 1 << 20)
        self.is_closed = not data
        for event in self.h2.receive_data(data):
            if isinstance(event, h2.events.ResponseReceived):
                self.heads.setdefault(event.stream_id, []).append(dict(event.headers)[":status"])
            elif isinstance(event, h2.events.DataReceived):
                self.bodies[event.stream_id] = self.bodies.get(event.stream_id, 0) + len(event.data)
            elif isinstance(event, h2.events.StreamEnded):
                self.ended.add(event.stream_id)
            elif isinstance(event, h2.events.StreamReset):
                self.resets.add(event.stream_id)

    async def read_until(self, condition: Callable[[], bool]) -> None:
        while not condition():
            assert not self.is_closed
            await self.read()


class H2Desk(Desk):
    async def meet(self, **settings: int) -> Peer:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            client = socket.create_connection(listener.getsockname())
            server, _ = listener.accept()
        client.setblocking(False)
        server.setblocking(False)
        _, connection = await self.loop.create_connection(lambda: H2Connection(self.context), sock=server)
        peer = Peer(self.loop, client, connection)
        await peer.begin(**settings)
        return peer

    def sweep(self, seconds: float) -> None:
        self.context.now += seconds
        self.context.sweep()


class Told:
    """Who answers, and hears of the client."""

    exchange: Exchange

    def __init__(self) -> None:
        self.body = b""
        self.is_whole = self.is_gone = False

    def body_data(self, data: bytes) -> None:
        self.body += data

    def body_end(self) -> None:
        self.is_whole = True

    def on_writable(self) -> None: ...
    def client_half_closed(self) -> None: ...

    def client_gone(self) -> None:
        self.is_gone = True


Play = Callable[[Callable[[Exchange], None], Callable[[H2Desk], Coroutine[Any, Any, None]]], None]


@pytest.fixture(params=["asyncio", "uvloop"])
def play(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Play]:
    """Run a scene: what the handler answers, and what the client does. No exception may reach the loop or the log."""
    loop: asyncio.AbstractEventLoop = uvloop.new_event_loop() if request.param == "uvloop" else asyncio.new_event_loop()
    log = tmp_path / "error.log"
    log_fd = os.open(log, os.O_WRONLY | os.O_CREAT, 0o600)
    faults: list[dict[str, Any]] = []
    loop.set_exception_handler(lambda _, fault: faults.append(fault))

    def run(answer: Callable[[Exchange], None], scene: Callable[[H2Desk], Awaitable[None]]) -> None:
        desk = H2Desk(loop, answer, log_fd)

        async def whole() -> None:
            try:
                await scene(desk)
            finally:
                for connection in list(desk.context.connections):
                    connection.abort()
            while desk.context.connections:
                await asyncio.sleep(0)
            for lane in desk.context.lanes:
                lane.close()

        loop.run_until_complete(asyncio.wait_for(whole(), 6))
        assert not faults
        assert "internal error" not in log.read_text()

    yield run
    loop.close()
    os.close(log_fd)


def test_a_request_behind_a_goaway_is_not_begun(play: Play) -> None:
    begun = []

    async def scene(desk: H2Desk) -> None:
        peer = await desk.meet()
        peer.start()
        peer.socket.send(frame(GOAWAY, 0, 0, bytes(8)) + peer.h2.data_to_send())
        while not peer.is_closed:
            await peer.read()
        assert not begun
        desk.sweep(3.0)
        await turns()
        assert not desk.context.connections
        peer.socket.close()

    def answer(exchange: Exchange) -> None:
        begun.append(exchange)
        exchange.send(200, b"", b"late")

    play(answer, scene)


def test_small_answers_that_nobody_takes_are_not_piled_up(play: Play) -> None:
    async def scene(desk: H2Desk) -> None:
        peer = await desk.meet(window=LARGEST_WINDOW, frame_bytes=65_536)
        for _ in range(3):  # known, and ready to be repeated from now on
            stream = peer.start()
            peer.flush()
            await peer.read_until(lambda stream=stream: stream in peer.ended)  # type: ignore[misc]
        streams = [peer.start() for _ in range(100)]
        peer.flush()
        await turns()
        assert most_waiting(peer.connection) < 1 << 20  # type: ignore[arg-type]
        await peer.read_until(lambda: peer.ended.issuperset(streams))
        assert {peer.bodies[stream] for stream in streams} == {len(PIECE)}
        peer.socket.close()

    play(lambda exchange: exchange.send(200, b"", PIECE, same=FOREVER), scene)


def test_who_answers_hears_that_a_slow_body_has_cost_the_answer(play: Play) -> None:
    told = Told()

    async def scene(desk: H2Desk) -> None:
        peer = await desk.meet()
        stream = peer.start("POST", is_end=False)
        peer.h2.send_data(stream, b"a piece")
        peer.flush()
        await peer.read_until(lambda: stream in peer.bodies)
        assert told.body == b"a piece"
        desk.sweep(desk.context.limits.body_timeout_s + 1)
        await peer.read_until(lambda: stream in peer.resets)
        assert told.is_gone
        assert not told.is_whole
        peer.socket.close()

    def answer(exchange: Exchange) -> None:
        exchange.attach(told)
        exchange.send_head(200, b"", None)
        exchange.send_data(b"begun")

    play(answer, scene)


def test_who_answers_hears_that_its_file_has_shrunk(play: Play, tmp_path: Path) -> None:
    told = Told()
    file = tmp_path / "file"
    file.write_bytes(bytes(100_000))
    fd = os.open(file, os.O_RDONLY)

    async def scene(desk: H2Desk) -> None:
        peer = await desk.meet(window=1000)
        stream = peer.start()
        peer.flush()
        await peer.read_until(lambda: peer.bodies.get(stream) == 1000)
        os.truncate(file, 500)
        peer.h2.increment_flow_control_window(10_000, stream)
        peer.flush()
        await peer.read_until(lambda: stream in peer.resets)
        assert told.is_gone
        peer.socket.close()

    def answer(exchange: Exchange) -> None:
        exchange.attach(told)
        exchange.send_head(200, b"", 100_000)
        exchange.send_file(fd, 0, 100_000)

    play(answer, scene)
    os.close(fd)


def test_an_answer_that_fails_while_its_head_is_held_has_one_head(play: Play) -> None:
    async def scene(desk: H2Desk) -> None:
        peer = await desk.meet(window=0)
        stream = peer.start()
        peer.flush()
        await peer.read_until(lambda: stream in peer.heads)
        await turns()
        peer.h2.increment_flow_control_window(10_000, stream)
        peer.flush()
        await peer.read_until(lambda: stream in peer.ended)
        assert peer.heads[stream] == ["503"]
        assert peer.bodies[stream] > 0
        peer.socket.close()

    def answer(exchange: Exchange) -> None:
        exchange.send_head(200, b"", None)
        exchange.send_trailers(b"x-sum: 1\r\n")
        exchange.flush_soon()
        exchange.fail(503, "it can't be had")

    play(answer, scene)


@pytest.mark.parametrize("window", [1000, 40_000])
def test_a_client_that_sends_nothing_more_is_left_where_its_window_is_shut(play: Play, window: int) -> None:
    told = Told()

    async def scene(desk: H2Desk) -> None:
        peer = await desk.meet(window=window)
        stream = peer.start()
        peer.flush()
        peer.socket.shutdown(socket.SHUT_WR)
        await peer.read_until(lambda: peer.bodies.get(stream) == window)
        while not peer.is_closed:
            await peer.read()
        assert told.is_gone
        assert stream not in peer.ended
        peer.socket.close()

    def answer(exchange: Exchange) -> None:
        exchange.attach(told)
        exchange.send_head(200, b"", 60_000)

        def go_on() -> None:
            exchange.send_data(PIECE)
            exchange.finish()

        asyncio.get_running_loop().call_later(0.01, go_on)

    play(answer, scene)


def test_a_client_that_cuts_at_the_last_word_is_no_fault(play: Play) -> None:
    peers = []

    async def scene(desk: H2Desk) -> None:
        peer = await desk.meet()
        peers.append(peer)
        peer.start()
        peer.socket.send(peer.h2.data_to_send() + frame(GOAWAY, 0, 0, bytes(8)))
        while desk.context.connections:
            await asyncio.sleep(0)

    def answer(exchange: Exchange) -> None:
        own = peers[0].socket
        try:
            own.recv(1 << 20)
        except BlockingIOError:
            pass
        own.close()  # with nothing unread: the reset comes only for what is sent now, before the end of it
        exchange.send(200, b"", b"")

    play(answer, scene)


def test_who_has_answered_is_given_no_more_of_a_body_that_was_held(play: Play) -> None:
    told = Told()
    exchanges: list[Exchange] = []

    async def scene(desk: H2Desk) -> None:
        peer = await desk.meet()
        stream = peer.start("POST", is_end=False)
        for piece in (b"one", b"two", b"three"):
            peer.h2.send_data(stream, piece)
        peer.h2.end_stream(stream)
        peer.flush()
        await turns()
        assert told.body == b""
        exchanges[0].resume_body()
        await peer.read_until(lambda: stream in peer.ended)
        assert told.body == b"one"
        assert not told.is_whole
        peer.socket.close()

    def take(data: bytes) -> None:
        told.body += data
        exchanges[0].send(413, b"", b"enough")

    def answer(exchange: Exchange) -> None:
        exchanges.append(exchange)
        told.body_data = take  # type: ignore[method-assign]
        exchange.attach(told)
        exchange.pause_body()

    play(answer, scene)
    exchanges.clear()


@pytest.mark.parametrize("is_left", [False, True])
def test_nothing_of_an_exchange_waits_for_the_collector(play: Play, is_left: bool) -> None:
    known: list[weakref.ref[Told]] = []

    async def scene(desk: H2Desk) -> None:
        peer = await desk.meet()
        stream = peer.start()
        peer.flush()
        if not is_left:
            await peer.read_until(lambda: stream in peer.ended)
        else:
            await turns()
        peer.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        peer.socket.close()
        while desk.context.connections:
            await asyncio.sleep(0)
        await turns()
        assert [reference() for reference in known] == [None]

    def answer(exchange: Exchange) -> None:
        told = Told()
        told.exchange = exchange
        known.append(weakref.ref(told))
        exchange.attach(told)
        if not is_left:
            exchange.send(200, b"", b"whole")

    gc.disable()
    try:
        play(answer, scene)
    finally:
        gc.enable()
