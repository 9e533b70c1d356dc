"""One connection on a real loop and a real socket, its client in the test's hands: what it may cost, how it ends."""

from __future__ import annotations

import asyncio
import os
import socket
import struct
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any, cast

import pytest
import uvloop

from pyserve.config.model import Handler as Configured
from pyserve.config.model import Limits, Respond, Site
from pyserve.front.context import Context
from pyserve.front.h1.connection import Connection
from pyserve.front.h1.repeat import Repeat
from pyserve.front.heads import MEMO_ANSWER_BYTES
from pyserve.handlers.interface import FOREVER, Exchange, Handler
from pyserve.http.h1_httptools import parse_fields
from pyserve.observe.error_log import ErrorLog
from pyserve.routing.router import Match, Router

GET = b"GET / HTTP/1.1\r\nhost: a\r\n\r\n"
PIECE = b"x" * 60_000


class Answering:
    """A handler that does as the test says."""

    def __init__(self, answer: Callable[[Exchange], None]) -> None:
        self._answer = answer

    def handle(self, exchange: Exchange, match: Match[Handler]) -> None:
        self._answer(exchange)


class Desk:
    """A context, and a client's end of a connection that it serves."""

    def __init__(self, loop: asyncio.AbstractEventLoop, answer: Callable[[Exchange], None], log_fd: int) -> None:
        def make(handler: Configured, site: Site, route: object) -> Handler:
            return Answering(answer)

        site = Site("a", ("a",), handler=Respond(200, "", ""), routes=())
        router: Router[Handler] = Router([site], make)
        self.loop = loop
        self.context = Context(loop, Limits(), router, parse_fields, ErrorLog(log_fd, "error", "test"), None, None)

    async def connect(self) -> tuple[socket.socket, Connection]:
        """Over TCP, because a Unix socket is never reset."""
        with socket.create_server(("127.0.0.1", 0)) as listener:
            client = socket.create_connection(listener.getsockname())
            server, _ = listener.accept()
        client.setblocking(False)
        server.setblocking(False)
        _, connection = await self.loop.create_connection(lambda: Connection(self.context), sock=server)
        return client, connection

    async def read(self, client: socket.socket, count: int) -> bytes:
        data = b""
        while len(data) < count:
            piece = await self.loop.sock_recv(client, 1 << 20)
            if not piece:
                break
            data += piece
        return data


Play = Callable[[Callable[[Exchange], None], Callable[[Desk], Coroutine[Any, Any, None]]], None]


@pytest.fixture(params=["asyncio", "uvloop"])
def play(request: pytest.FixtureRequest) -> Iterator[Play]:
    """Run a scene: what the handler answers, and what the client does."""
    loop: asyncio.AbstractEventLoop = uvloop.new_event_loop() if request.param == "uvloop" else asyncio.new_event_loop()
    log_fd = os.open(os.devnull, os.O_WRONLY)

    def run(answer: Callable[[Exchange], None], scene: Callable[[Desk], Awaitable[None]]) -> None:
        desk = Desk(loop, answer, log_fd)

        async def whole() -> None:
            await scene(desk)
            for connection in list(desk.context.connections):
                connection.abort()
            while desk.context.connections:
                await asyncio.sleep(0)
            for lane in desk.context.lanes:
                lane.close()

        loop.run_until_complete(asyncio.wait_for(whole(), 6))

    yield run
    loop.close()
    os.close(log_fd)


async def turns(count: int = 50) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


def send_piece(exchange: Exchange) -> None:
    exchange.send(200, b"", PIECE, same=FOREVER)


def most_waiting(connection: Connection) -> int:
    return cast(asyncio.Transport, connection.transport).get_write_buffer_size()


@pytest.mark.parametrize("count_at_once", [1, 500])
def test_a_client_that_asks_on_and_reads_nothing_is_read_no_more(play: Play, count_at_once: int) -> None:
    async def scene(desk: Desk) -> None:
        client, connection = await desk.connect()
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        most = 0
        for _ in range(500 // count_at_once):
            client.send(GET * count_at_once)
            await turns(3)
            most = max(most, most_waiting(connection))
        assert most < 1 << 20
        # And all of them are answered once it reads.
        received = 0
        while received < 500 * len(PIECE):
            piece = await desk.loop.sock_recv(client, 1 << 20)
            assert piece
            received += piece.count(b"x")
        # The connection is as good as before.
        await turns()
        client.send(GET)
        assert (await desk.read(client, len(PIECE))).startswith(b"HTTP/1.1 200")
        client.close()

    play(send_piece, scene)


def test_an_answer_that_ends_with_the_connection_is_reset_where_it_was_cut(play: Play) -> None:
    def cut(exchange: Exchange) -> None:
        exchange.send_head(200, b"", None)
        exchange.send_data(b"half")
        exchange.fail(500, "the application failed")

    async def scene(desk: Desk) -> None:
        client, _ = await desk.connect()
        client.send(b"GET / HTTP/1.0\r\nhost: a\r\n\r\n")
        with pytest.raises(ConnectionResetError):
            await desk.read(client, 1 << 20)
        client.close()

    play(cut, scene)


def test_what_an_exchange_wants_after_its_end_is_not_the_next_ones_business(play: Play) -> None:
    exchanges: list[Exchange] = []

    def answer(exchange: Exchange) -> None:
        exchanges.append(exchange)
        exchange.send(200, b"", b"")

    async def scene(desk: Desk) -> None:
        client, _ = await desk.connect()
        client.send(GET)
        await desk.loop.sock_recv(client, 1 << 20)
        exchanges[0].pause_body()
        client.send(GET)
        assert await asyncio.wait_for(desk.loop.sock_recv(client, 1 << 20), 5)
        client.close()

    play(answer, scene)


def test_half_a_request_and_the_end_do_not_take_back_the_answer_before(play: Play) -> None:
    waiting: list[Exchange] = []

    async def scene(desk: Desk) -> None:
        client, _ = await desk.connect()
        client.send(GET + GET[:10])
        client.shutdown(socket.SHUT_WR)
        while not waiting:
            await asyncio.sleep(0)
        await turns()
        waiting[0].send(200, b"", b"!" * 10_000_000)
        assert (await desk.read(client, 11_000_000)).count(b"!") == 10_000_000
        client.close()

    play(waiting.append, scene)


def test_requests_that_were_whole_before_the_end_are_answered(play: Play) -> None:
    waiting: list[Exchange] = []

    async def scene(desk: Desk) -> None:
        client, connection = await desk.connect()
        client.send(GET + GET)
        while not waiting:
            await asyncio.sleep(0)
        waiting[0].send(200, b"", b"")
        # Before the connection has looked at the second one, as when both come in one turn of the loop.
        assert connection.eof_received()
        while len(waiting) < 2:
            await asyncio.sleep(0)
        waiting[1].send(200, b"", b"last")
        assert (await desk.read(client, 1000)).endswith(b"last")
        client.close()

    play(waiting.append, scene)


def test_a_fresh_connection_gets_a_moment_for_its_first_request_when_the_front_drains(play: Play) -> None:
    async def scene(desk: Desk) -> None:
        client, connection = await desk.connect()
        desk.context.is_draining = True
        connection.drain()
        client.send(GET)
        answer = await desk.read(client, 1 << 20)
        assert b"connection: close\r\n" in answer
        client.close()
        # And one that the kernel had accepted before.
        client, connection = await desk.connect()
        client.send(GET)
        answer = await desk.read(client, 1 << 20)
        assert b"connection: close\r\n" in answer
        client.close()
        # If none comes, it is closed.
        client, connection = await desk.connect()
        connection.sweep(desk.context.now + 2)
        assert await desk.loop.sock_recv(client, 10) == b""
        client.close()

    play(lambda exchange: exchange.send(200, b"", b"hi"), scene)


def test_pieces_of_a_file_that_a_fast_client_takes_leave_turns_to_others(play: Play, tmp_path: Any) -> None:
    path = tmp_path / "spool"
    path.write_bytes(b"z" * 1000)
    fd = os.open(path, os.O_RDONLY)
    depths: list[int] = []

    class Spooling:
        """Sends the next piece whenever there is room, as a spooled answer does."""

        left = 2000
        depth = 0

        def __init__(self, exchange: Exchange) -> None:
            self.exchange = exchange

        def on_writable(self) -> None:
            self.depth += 1
            depths.append(self.depth)
            while self.left and self.exchange.is_writable:
                self.left -= 1
                self.exchange.send_file(fd, 0, 1000)
            if not self.left and self.exchange.is_writable:
                self.exchange.finish()
            self.depth -= 1

        def client_gone(self) -> None:
            pass

    def answer(exchange: Exchange) -> None:
        receiver = Spooling(exchange)
        exchange.attach(receiver)  # type: ignore[arg-type]
        exchange.send_head(200, b"", 2_000_000)
        receiver.on_writable()

    async def scene(desk: Desk) -> None:
        client, _ = await desk.connect()
        client.send(GET)
        assert (await desk.read(client, 2_000_050)).count(b"z") == 2_000_000
        client.close()

    play(answer, scene)
    os.close(fd)
    assert max(depths) == 1


def test_a_reset_client_costs_nothing(play: Play) -> None:
    async def scene(desk: Desk) -> None:
        client, _ = await desk.connect()
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        client.send(GET * 10)
        client.close()
        while desk.context.connections:
            await asyncio.sleep(0)

    play(send_piece, scene)


def test_many_heads_with_one_answer_do_not_fill_the_memory() -> None:
    loop = asyncio.new_event_loop()
    log_fd = os.open(os.devnull, os.O_WRONLY)
    context = Desk(loop, send_piece, log_fd).context
    made: list[Repeat] = []
    for number in range(2000):
        head = b"GET /%d HTTP/1.1\r\nhost: a\r\n\r\n" % number
        request = context.heads.read(head)
        if request.kind is None:
            continue  # seen too rarely as yet
        repeat = Repeat(200, b"", len(PIECE), PIECE, FOREVER, 0)
        repeat.keep(request, context.heads)
        repeat.refresh(context, context.heads)
        made.append(repeat)
    kept = 0
    for number in range(2000):
        found = context.heads.look_up(b"GET /%d HTTP/1.1\r\nhost: a\r\n\r\n" % number, 0.0)
        kept += len(found[0].data) if isinstance(found, tuple) else 0
    assert len(made) > 1900
    assert 0 < kept <= MEMO_ANSWER_BYTES
    loop.close()
    os.close(log_fd)


class Swept:
    """A connection whose sweep fails or not."""

    deadline = 0.0
    is_sheddable = False

    def __init__(self, fault: Exception | None) -> None:
        self._fault = fault
        self.told: list[str] = []

    def sweep(self, now: float) -> None:
        self.told.append("sweep")
        if self._fault is not None:
            raise self._fault

    def abort(self) -> None:
        self.told.append("abort")

    def close_idle(self) -> None: ...
    def drain(self) -> None: ...


def test_a_fault_in_the_sweep_costs_one_connection(tmp_path: Path) -> None:
    loop = asyncio.new_event_loop()
    log_fd = os.open(tmp_path / "error.log", os.O_WRONLY | os.O_CREAT, 0o600)
    context = Desk(loop, send_piece, log_fd).context
    good, bad = [Swept(None) for _ in range(20)], Swept(OSError("of our own"))
    for connection in (*good[:10], bad, *good[10:]):
        context.add(connection)
    context.sweep()
    assert [connection.told for connection in good] == [["sweep"]] * 20
    assert bad.told == ["sweep", "abort"]
    loop.close()
    os.close(log_fd)
    assert "of our own" in (tmp_path / "error.log").read_text()
