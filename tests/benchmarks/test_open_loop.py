"""The open loop against a server of the test's own: what it sends is when it is due, what it notes is what came."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.open_loop import Entry, OpenLoop, Stream, percentile_ms

ANSWERS = {
    "fine": b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nfine",
    "chunked": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nfine\r\n0\r\n\r\n",
    "full": b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
    "cut": b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nonly this",
}


class Server:
    """Answers ``/KIND/NUMBER``; never to "hang"."""

    def __init__(self) -> None:
        self.port = 0
        self.connections = 0
        self._is_up = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()))
        self._thread.start()
        assert self._is_up.wait(10)

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._is_over = asyncio.Event()
        server = await asyncio.start_server(self._talk, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        self._is_up.set()
        await self._is_over.wait()
        server.close()

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                kind = head.split()[1].decode().split("/")[1]
                if kind != "hang":
                    writer.write(ANSWERS[kind])
                if kind == "cut":
                    break
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._is_over.set)
        self._thread.join(10)


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server()
    yield server
    server.close()


@pytest.mark.parametrize(
    ("kind", "status", "cause"),
    [
        ("fine", 200, ""),
        ("chunked", 200, ""),
        ("full", 503, ""),
        ("cut", 0, "closed in the answer"),
        ("hang", 0, "timeout"),
    ],
)
def test_what_came_is_noted(server: Server, tmp_path: Path, kind: str, status: int, cause: str) -> None:
    with OpenLoop(
        server.port, tmp_path / "load", [Stream("x", f"/{kind}/{{n}}", 200, most=5)], 0.5, timeout_s=1
    ) as load:
        entries = load.wait()
    assert [(entry.status, entry.cause) for entry in entries] == [(status, cause)] * 5
    assert {entry.number for entry in entries} == set(range(5))
    assert all(entry.has_retry_after == (kind == "full") for entry in entries)


def test_those_that_hang_hold_up_no_other(server: Server, tmp_path: Path) -> None:
    streams = [Stream("slow", "/hang/{n}", 50, most=20), Stream("fast", "/fine/{n}", 50, most=20, expected="fine")]
    with OpenLoop(server.port, tmp_path / "load", streams, 0.6, timeout_s=1) as load:
        entries = load.wait()
    assert sum(entry.is_ok for entry in entries if entry.kind == "fast") == 20
    assert sum(entry.cause == "timeout" for entry in entries if entry.kind == "slow") == 20


def test_kept_connections_are_opened_before_the_first_request(server: Server, tmp_path: Path) -> None:
    stream = Stream("x", "/fine/{n}", 50, most=1)
    with OpenLoop(server.port, tmp_path / "load", [stream], 0.2, connections=7) as load:
        entries = load.wait()
    assert [entry.status for entry in entries] == [200]
    assert server.connections == 7


def test_a_body_that_is_not_the_expected_one_is_no_right_answer(server: Server, tmp_path: Path) -> None:
    stream = Stream("x", "/fine/{n}", 50, most=1, expected="number {n}")
    with OpenLoop(server.port, tmp_path / "load", [stream], 0.2) as load:
        (entry,) = load.wait()
    assert entry.cause == "wrong body"
    assert not entry.is_ok


def test_percentiles_of_nothing_are_nothing() -> None:
    assert percentile_ms([], 0.99) == 0.0
    entries = [Entry("x", number, 0.0, number / 1000, 0.0, 200, "", False) for number in range(100)]
    assert percentile_ms(entries, 0.5) == 50.0
    assert percentile_ms(entries, 1.0) == 99.0
