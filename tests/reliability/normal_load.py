"""The normal load: a process of its own that asks at a fixed rate, whatever becomes of it, and keeps a ledger.

Open loop: a request is sent when it is due, on a connection that is free or on a new one. Every answer is checked to
the last byte and carries the number of its request, so an answer to somebody else is found out. Ends when stdin is
closed (also by the death of the parent) or after ``MOST_S``.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import signal
import sys
import time
from collections import deque
from dataclasses import dataclass
from pathlib import Path

from tests.reliability import ledger
from tests.reliability.sites import FILES, file_content

TIMEOUT_S = 10.0
MOST_S = 400.0
KEPT = 30
"""Connections that are kept alive and take turns."""
KINDS = ("file", "wsgi", "asgi", "file", "wsgi post", "asgi post")


@dataclass(slots=True)
class Call:
    number: int
    kind: str
    due_s: float
    sent_s: float
    is_last: bool
    """The connection is closed after it."""
    request: bytes
    body: bytes
    """The answer that is right."""


def make_call(number: int, due_s: float, *, is_last: bool) -> Call:
    kind = KINDS[number % len(KINDS)]
    content = b""
    if kind == "file":
        index = number % FILES
        host, path, body = "f", f"/{index}.bin", file_content(index)
    else:
        host, path = kind[0], f"/echo/{number}"
        if kind.endswith("post"):
            content = (b"%d " % number * 1024)[:2048]
        body = f"{number} {hashlib.sha256(content).hexdigest()} {len(content)}\n".ljust(1024, ".").encode()
    method = "POST" if content else "GET"
    head = f"{method} {path} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: normal-load\r\n"
    if content:
        head += f"Content-Length: {len(content)}\r\n"
    if is_last:
        head += "Connection: close\r\n"
    return Call(number, kind, due_s, due_s, is_last, head.encode() + b"\r\n" + content, body)


class Link(asyncio.Protocol):
    """One connection to the server."""

    def __init__(self, load: Load) -> None:
        self.load = load
        self.call: Call | None = None
        self.received = b""
        self.uses = 0
        self.transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def send(self, call: Call) -> None:
        self.call = call
        self.uses += 1
        assert self.transport
        self.transport.write(call.request)

    def data_received(self, data: bytes) -> None:
        self.received += data
        if self.call is None:
            self.load.stray_bytes += len(data)
            self.abort()
            return
        head, end, body = self.received.partition(b"\r\n\r\n")
        if not end:
            return
        fields = head.lower()
        length = _length(fields)
        if length is None:
            self._end(f"no length: {head[:60]!r}")
        elif len(body) > length:
            self._end("more bytes than its length")
        elif len(body) == length:
            if head[:12] != b"HTTP/1.1 200":
                self._end(f"status {head[9:12].decode('latin-1')}")
            elif body != self.call.body:
                self._end("wrong body")
            else:
                self._end("", may_stay=b"\r\nconnection: close" not in fields)

    def connection_lost(self, exc: Exception | None) -> None:
        self.load.forget(self)
        if self.call is not None:
            how = "reset" if isinstance(exc, ConnectionError) else "closed"
            when = "in the answer" if self.received else "before the answer"
            self._end(f"{how} {when}" + (f" (use {self.uses} of the connection)" if self.uses > 1 else ""))

    def abort(self) -> None:
        if self.transport:
            self.transport.abort()

    def _end(self, cause: str, *, may_stay: bool = False) -> None:
        call, self.call, self.received = self.call, None, b""
        assert call
        self.load.finish(call, cause)
        if cause or call.is_last or not may_stay or len(self.load.free) >= KEPT:
            if cause:
                self.abort()
            elif self.transport:
                self.transport.close()
        else:
            self.load.free.append(self)


def _length(fields: bytes) -> int | None:
    _, found, rest = fields.partition(b"\r\ncontent-length:")
    return int(rest.partition(b"\r\n")[0]) if found else None


class Load:
    def __init__(self, port: int) -> None:
        self.port = port
        self.free: deque[Link] = deque()
        self.entries: list[ledger.Entry] = []
        self.stray_bytes = 0
        self._running: dict[int, tuple[Call, Link | None]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._loop = asyncio.get_running_loop()

    def launch(self, call: Call) -> None:
        call.sent_s = time.monotonic()
        while not call.is_last and self.free:
            link = self.free.popleft()
            if link.transport and not link.transport.is_closing():
                self._running[call.number] = call, link
                link.send(call)
                return
        self._running[call.number] = call, None
        task = self._loop.create_task(self._launch_on_new(call))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _launch_on_new(self, call: Call) -> None:
        try:
            _, link = await self._loop.create_connection(lambda: Link(self), "127.0.0.1", self.port)
        except ConnectionRefusedError:
            self.finish(call, "refused")
        except OSError as error:
            self.finish(call, f"connect: {error.strerror}")
        else:
            if call.number in self._running:
                self._running[call.number] = call, link
                link.send(call)
            else:
                link.abort()

    def finish(self, call: Call, cause: str) -> None:
        if self._running.pop(call.number, None):
            latency = time.monotonic() - call.due_s
            self.entries.append(
                ledger.Entry(call.number, call.kind, call.due_s, latency, call.sent_s - call.due_s, cause)
            )

    def forget(self, link: Link) -> None:
        with contextlib.suppress(ValueError):
            self.free.remove(link)

    def sweep(self) -> None:
        now = time.monotonic()
        for call, link in list(self._running.values()):
            if now - call.due_s > TIMEOUT_S:
                self.finish(call, "timeout" if link else "connect timeout")
                if link:
                    link.call = None
                    link.abort()

    async def wait_all(self) -> None:
        while self._running:
            self.sweep()
            await asyncio.sleep(0.02)


async def run(port: int, rate: float, new_rate: float) -> list[ledger.Entry]:
    load = Load(port)
    loop = asyncio.get_running_loop()
    asked_to_end = asyncio.Event()
    loop.add_reader(sys.stdin.fileno(), asked_to_end.set)
    links = [(await loop.create_connection(lambda: Link(load), "127.0.0.1", port))[1] for _ in range(KEPT)]
    load.free.extend(links)
    print("running", flush=True)
    begun = next_kept = next_new = time.monotonic()
    number = 0
    while not asked_to_end.is_set() and time.monotonic() - begun < MOST_S:
        now = time.monotonic()
        while next_kept <= now:
            load.launch(make_call(number, next_kept, is_last=False))
            number, next_kept = number + 1, next_kept + 1 / rate
        while next_new <= now:
            load.launch(make_call(number, next_new, is_last=True))
            number, next_new = number + 1, next_new + 1 / new_rate
        load.sweep()
        await asyncio.sleep(max(0.0, min(next_kept, next_new) - time.monotonic()))
    loop.remove_reader(sys.stdin.fileno())
    await load.wait_all()
    if load.stray_bytes:
        load.entries.append(ledger.Entry(-1, "any", begun, 0.0, 0.0, f"{load.stray_bytes} stray bytes"))
    for link in load.free:
        link.abort()
    return load.entries


def main() -> None:
    port, rate, new_rate, output = int(sys.argv[1]), float(sys.argv[2]), float(sys.argv[3]), Path(sys.argv[4])
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent, which closes stdin
    with contextlib.suppress(OSError):
        os.nice(-5)  # the clock of the measurement should not wait for those it measures
    ledger.write(output, asyncio.run(run(port, rate, new_rate)))


if __name__ == "__main__":
    main()
