"""Ask at a fixed rate, whatever becomes of it (open loop), and keep one entry for each request.

wrk can't: its clients wait for their answers, so they ask less often where a server is slow, and a pause costs each
of them one slow answer. Here a request is sent when it is due, on a connection that is free or on a new one, and its
latency counts from when it was due; free connections take turns. ``OpenLoop`` runs this module as a process of its
own, which ends when its time is over, when its stdin is closed (also by the death of the parent), or after
``MOST_S``.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.servers import REPOSITORY

MOST_S = 400.0
MOST_CONNECTIONS = 4000


class Entry(NamedTuple):
    kind: str
    number: int
    """Which of its kind it was."""
    due_s: float
    """On the monotonic clock, which all processes share."""
    latency_s: float
    lag_s: float
    """How late the client itself was: its own share of the latency."""
    status: int
    """0 = no answer."""
    cause: str
    """Why there is no whole answer; "" = there is."""
    has_retry_after: bool

    @property
    def is_ok(self) -> bool:
        return self.status == 200 and not self.cause


@dataclass(frozen=True, slots=True)
class Stream:
    """One kind of request. ``{n}`` in the target is its number, so that every answer can be told from the others."""

    kind: str
    target: str
    per_s: float
    at_once: int = 1
    """How many are due together, ``per_s`` times a second."""
    method: str = "GET"
    body_bytes: int = 0
    host: str = "bench.localhost"
    is_new: bool = False
    """Each on a connection of its own."""
    expected: str = ""
    """What a 200 has to have in its body, with ``{n}``."""
    most: int = 0
    """How many are sent in all; 0 = no end."""
    first: int = 0
    """The number of the first."""

    def request(self, number: int) -> bytes:
        body = b"x" * self.body_bytes
        target = self.target.replace("{n}", str(number))
        head = f"{self.method} {target} HTTP/1.1\r\nHost: {self.host}\r\nUser-Agent: open-loop\r\nAccept: */*\r\n"
        if self.is_new:
            head += "Connection: close\r\n"
        if body or self.method == "POST":
            head += f"Content-Length: {len(body)}\r\n"
        return head.encode() + b"\r\n" + body


class OpenLoop:
    """A running load; ``end`` it, or ``wait`` until its time is over, to have its entries."""

    def __init__(
        self,
        port: int,
        output: Path,
        streams: Iterable[Stream],
        seconds: float = MOST_S,
        *,
        connections: int = 0,
        timeout_s: float = 15.0,
    ) -> None:
        """``connections``: how many are opened before the first request; more are when all are in use."""

        self._output = output
        self._seconds = seconds
        self._timeout_s = timeout_s
        plan = {
            "port": port,
            "output": str(output),
            "seconds": min(seconds, MOST_S),
            "connections": connections,
            "timeout_s": timeout_s,
            "streams": [asdict(stream) for stream in streams],
        }
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.open_loop", json.dumps(plan)],
            cwd=REPOSITORY,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert self._process.stdout
        if self._process.stdout.readline() != b"running\n":
            self.kill()
            raise RuntimeError("the load generator did not start")

    def wait(self) -> list[Entry]:
        """Return the entries when its time is over."""
        return self._take(self._seconds)

    def end(self) -> list[Entry]:
        """Send nothing more; return the entries when all that was sent is answered or given up."""
        assert self._process.stdin
        self._process.stdin.close()
        return self._take(0)

    def _take(self, more_s: float) -> list[Entry]:
        code = self._process.wait(more_s + self._timeout_s + 20)
        self._close()
        if code:
            raise RuntimeError(f"the load generator ended with {code}")
        with self._output.open() as file:
            return [Entry(*json.loads(line)) for line in file]

    def kill(self) -> None:
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()
        self._close()

    def _close(self) -> None:
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe:
                pipe.close()

    def __enter__(self) -> OpenLoop:
        return self

    def __exit__(self, *exc: object) -> None:
        self.kill()


def percentile_ms(entries: Iterable[Entry], share: float) -> float:
    """Return a percentile of the latencies, 0.0 of nothing."""
    ordered = sorted(entry.latency_s for entry in entries)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))] * 1000 if ordered else 0.0


# The process.


class _Call:
    __slots__ = ("due_s", "expected", "kind", "link", "number", "request", "sent_s", "stays")

    def __init__(self, stream: Stream, number: int, due_s: float) -> None:
        self.kind = stream.kind
        self.number = number
        self.due_s = due_s
        self.sent_s = 0.0
        self.request = stream.request(number)
        self.expected = stream.expected.replace("{n}", str(number)).encode()
        self.stays = not stream.is_new
        self.link: _Link | None = None


class _Link(asyncio.Protocol):
    """One connection; one request at a time."""

    def __init__(self, load: _Load, call: _Call | None) -> None:
        self.load = load
        self.call: _Call | None = call
        self.received = b""
        self.transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment]
        self.load.links += 1
        if self.call is None:
            self.load.free.append(self)
        else:
            self.send(self.call)

    def send(self, call: _Call) -> None:
        self.call = call
        call.link = self
        call.sent_s = time.monotonic()
        assert self.transport
        self.transport.write(call.request)

    def data_received(self, data: bytes) -> None:
        if self.call is None:
            self.abort()
            return
        self.received += data
        head, end, body = self.received.partition(b"\r\n\r\n")
        if not end:
            return
        fields = head.lower() + b"\r\n"
        if b"\r\ntransfer-encoding:" in fields:
            if body.endswith(b"0\r\n\r\n"):
                self._answered(fields, body)
            return
        _, found, rest = fields.partition(b"\r\ncontent-length:")
        if found:
            length = int(rest.partition(b"\r\n")[0])
            if len(body) > length:
                self._end(_status(fields), "more bytes than its length", False)
            elif len(body) == length:
                self._answered(fields, body)

    def connection_lost(self, exc: Exception | None) -> None:
        self.load.links -= 1
        self.load.forget(self)
        if self.call is not None:
            how = "reset" if isinstance(exc, ConnectionError) else "closed"
            self._end(0, f"{how} {'in' if self.received else 'before'} the answer", False)

    def _answered(self, fields: bytes, body: bytes) -> None:
        call = self.call
        assert call
        status = _status(fields)
        is_wrong = status == 200 and call.expected not in body
        stays = call.stays and b"\r\nconnection: close" not in fields
        self._end(status, "wrong body" if is_wrong else "", stays, b"\r\nretry-after:" in fields)

    def _end(self, status: int, cause: str, stays: bool, has_retry_after: bool = False) -> None:
        call, self.call, self.received = self.call, None, b""
        assert call
        self.load.finish(call, status, cause, has_retry_after)
        if stays and not cause:
            self.load.free.append(self)
        elif self.transport:
            self.transport.close()

    def abort(self) -> None:
        if self.transport:
            self.transport.abort()


def _status(fields: bytes) -> int:
    return int(fields[9:12]) if fields[9:12].isdigit() else 0


class _Load:
    def __init__(self, port: int, timeout_s: float) -> None:
        self.port = port
        self.timeout_s = timeout_s
        self.free: deque[_Link] = deque()
        self.links = 0
        self.entries: list[Entry] = []
        self.running: dict[tuple[str, int], _Call] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._loop = asyncio.get_running_loop()

    def launch(self, call: _Call) -> None:
        self.running[call.kind, call.number] = call
        while call.stays and self.free:
            link = self.free.popleft()
            if link.transport and not link.transport.is_closing():
                link.send(call)
                return
        call.sent_s = time.monotonic()
        if self.links >= MOST_CONNECTIONS:
            self.finish(call, 0, "too many connections")
            return
        task = self._loop.create_task(self._launch_on_new(call))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _launch_on_new(self, call: _Call) -> None:
        try:
            await self._loop.create_connection(lambda: _Link(self, call), "127.0.0.1", self.port)
        except ConnectionRefusedError:
            self.finish(call, 0, "refused")
        except OSError as error:
            self.finish(call, 0, f"connect: {error.strerror}")

    def finish(self, call: _Call, status: int, cause: str, has_retry_after: bool = False) -> None:
        if self.running.pop((call.kind, call.number), None):
            latency_s, lag_s = time.monotonic() - call.due_s, call.sent_s - call.due_s
            self.entries.append(
                Entry(call.kind, call.number, call.due_s, latency_s, lag_s, status, cause, has_retry_after)
            )

    def forget(self, link: _Link) -> None:
        with contextlib.suppress(ValueError):
            self.free.remove(link)

    def sweep(self) -> None:
        now = time.monotonic()
        for call in list(self.running.values()):
            if now - call.due_s > self.timeout_s:
                link = call.link
                self.finish(call, 0, "timeout")
                if link and link.call is call:
                    link.call = None
                    link.abort()


class _Source:
    """A stream that goes on: when its next request is due."""

    def __init__(self, stream: Stream, now: float) -> None:
        self.stream = stream
        self.due_s = now
        self.number = stream.first
        self.left = stream.most or 1 << 60

    def launch_due(self, load: _Load, now: float) -> None:
        while self.due_s <= now and self.left > 0:
            for _ in range(self.stream.at_once):
                load.launch(_Call(self.stream, self.number, self.due_s))
                self.number += 1
            self.left -= self.stream.at_once
            self.due_s += 1 / self.stream.per_s


async def _run(plan: dict[str, Any]) -> list[Entry]:
    load = _Load(plan["port"], plan["timeout_s"])
    is_asked_to_end = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_reader(sys.stdin.fileno(), is_asked_to_end.set)
    for _ in range(plan["connections"]):
        await loop.create_connection(lambda: _Link(load, None), "127.0.0.1", plan["port"])
    print("running", flush=True)
    begun = time.monotonic()
    sources = [_Source(Stream(**stream), begun) for stream in plan["streams"]]
    swept = begun
    while not is_asked_to_end.is_set() and (now := time.monotonic()) - begun < plan["seconds"]:
        for source in sources:
            source.launch_due(load, now)
        if now - swept > 0.25:
            swept = now
            load.sweep()
        due = min((source.due_s for source in sources if source.left > 0), default=now + 0.25)
        await asyncio.sleep(max(0.0, min(due, begun + plan["seconds"], swept + 0.25) - time.monotonic()))
    loop.remove_reader(sys.stdin.fileno())
    while load.running:
        load.sweep()
        await asyncio.sleep(0.02)
    for link in list(load.free):
        link.abort()
    return load.entries


def main() -> None:
    plan = json.loads(sys.argv[1])
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent, which closes stdin
    with contextlib.suppress(OSError):
        os.nice(-5)  # the clock of the measurement should not wait for those it measures
    try:
        from uvloop import new_event_loop
    except ImportError:
        from asyncio import new_event_loop
    with asyncio.Runner(loop_factory=new_event_loop) as runner:
        entries = runner.run(_run(plan))
    with open(plan["output"], "w") as file:
        file.writelines(json.dumps(entry) + "\n" for entry in entries)


if __name__ == "__main__":
    main()
