"""Sockets for many clients, and clients that trickle. They run in the main process; the normal load has its own."""

from __future__ import annotations

import asyncio
import itertools
import resource
import socket
import struct
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import NamedTuple

# 28,000 ports for one pair of addresses are few when thousands are used a second, so clients have several addresses.
_sources: Iterator[str] = itertools.cycle(f"127.0.0.{last}" for last in range(2, 22))
_IP_BIND_ADDRESS_NO_PORT = 24


class Outcome(NamedTuple):
    """How the server ended a connection."""

    status: int
    """Of the answer; 0 = none."""
    seconds: float
    """From the connection until the end."""
    end: str
    """"fin", "reset", "refused", or "open": it did not end it in time."""


def raise_descriptor_limit() -> int:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


def new_socket(receive_buffer: int = 0) -> socket.socket:
    client = socket.socket()
    if receive_buffer:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
    client.setsockopt(socket.IPPROTO_IP, _IP_BIND_ADDRESS_NO_PORT, 1)
    client.bind((next(_sources), 0))
    return client


def connected(address: tuple[str, int], timeout_s: float = 5.0, receive_buffer: int = 0) -> socket.socket:
    client = new_socket(receive_buffer)
    client.settimeout(timeout_s)
    try:
        client.connect(address)
    except OSError:
        client.close()
        raise
    return client


def reset(client: socket.socket) -> None:
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.close()


def status_of(answer: bytes) -> int:
    return int(answer[9:12]) if answer[:9] == b"HTTP/1.1 " and answer[9:12].isdigit() else 0


class Ear(asyncio.Protocol):
    """Keeps what the server sends. ``closed``: how it ended the connection, "fin" or "reset"."""

    def __init__(self) -> None:
        self.answer = b""
        self.closed: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    def data_received(self, data: bytes) -> None:
        self.answer += data

    def eof_received(self) -> None:
        self._end("fin")

    def connection_lost(self, exc: Exception | None) -> None:
        self._end("reset" if exc else "fin")

    def _end(self, how: str) -> None:
        if not self.closed.done():
            self.closed.set_result(how)


async def open_ear(address: tuple[str, int], timeout_s: float = 10.0) -> tuple[asyncio.Transport, Ear]:
    """Connect from one of many addresses. Raises OSError or TimeoutError."""
    loop = asyncio.get_running_loop()
    client = new_socket()
    client.setblocking(False)
    try:
        async with asyncio.timeout(timeout_s):
            await loop.sock_connect(client, address)
        return await loop.create_connection(Ear, sock=client)
    except BaseException:
        client.close()
        raise


async def trickle(
    address: tuple[str, int], first: bytes, pieces: Iterable[bytes], every_s: float, most_s: float
) -> Outcome:
    """Connect, send ``first``, then a piece every so often, until the server ends it or ``most_s`` are over."""
    began = time.monotonic()
    try:
        transport, ear = await open_ear(address, 5)
    except ConnectionRefusedError:
        return Outcome(0, time.monotonic() - began, "refused")
    except (OSError, TimeoutError):
        return Outcome(0, time.monotonic() - began, "reset")
    began = time.monotonic()
    rest = iter(pieces)
    transport.write(first)
    due = began + every_s
    while (now := time.monotonic()) - began < most_s:
        # Not wait_for: a cancelled receive may lose what came in the same moment.
        await asyncio.wait([ear.closed], timeout=max(0.0, min(due, began + most_s) - now))
        if ear.closed.done():
            break
        if time.monotonic() >= due:
            due += every_s
            transport.write(next(rest, b""))
    seconds = time.monotonic() - began
    transport.abort()
    return Outcome(status_of(ear.answer), seconds, ear.closed.result() if ear.closed.done() else "open")


def describe(outcomes: list[Outcome]) -> str:
    counts = Counter(f"{outcome.status or 'no answer'}, {outcome.end}" for outcome in outcomes)
    return "; ".join(f"{count} x {name}" for name, count in counts.most_common(4))
