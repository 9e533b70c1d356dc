"""R12, F3: 1,000 clients with a tiny window read a few bytes per second of 5 MB: a file, a WSGI and an ASGI answer.

No WSGI worker is held; memory is bounded; all are cut when a window of write_timeout is below min_rate; no spool stays.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time

from tests.reliability.attackers import new_socket, reset
from tests.reliability.figures import Figure, all_of, at_most, told
from tests.reliability.ledger import compare
from tests.reliability.settings import Settings
from tests.reliability.sites import LARGE
from tests.reliability.stage import Stage, beside, say, seconds_until
from tests.reliability.watch import Watch

CLIENTS = 1000
READ_BYTES = 8
BUSY_MORE = 0.5
TARGETS = (("f", "/large.bin"), ("w", f"/bytes/{LARGE}"), ("a", f"/bytes/{LARGE}"))


def _ramp_s(settings: Settings) -> float:
    """Slower than elsewhere: every client has 5 MB made, and it is slowness that is tried here, not throughput."""
    return 4 * settings.ramp_s


class Reader:
    """One client. ``first``: the beginning of what it got; ``cut_s``: when it was cut, from its request."""

    def __init__(self, number: int, targets: tuple[tuple[str, str], ...]) -> None:
        self.number = number
        self.host, self.path = targets[number % len(targets)]
        self.first = b""
        self.cut_s: float | None = None

    @property
    def is_served(self) -> bool:
        return self.first[:12] == b"HTTP/1.1 200"

    async def run(self, stage: Stage, most_s: float) -> None:
        settings = stage.settings
        await asyncio.sleep(_ramp_s(settings) * self.number / settings.count(CLIENTS))
        loop = asyncio.get_running_loop()
        request = f"GET {self.path} HTTP/1.1\r\nHost: {self.host}\r\nConnection: close\r\n\r\n"
        client = new_socket(receive_buffer=1024)
        client.setblocking(False)
        began = time.monotonic()
        try:
            async with asyncio.timeout(10):
                await loop.sock_connect(client, stage.address)
            await loop.sock_sendall(client, request.encode())
            began = time.monotonic()
            while time.monotonic() - began < most_s and self.cut_s is None:
                await asyncio.sleep(1)
                self._read(client, began)
        except (OSError, TimeoutError):
            self.cut_s = time.monotonic() - began
        finally:
            reset(client)

    def _read(self, client: socket.socket, began: float) -> None:
        # A reset stands behind what has arrived and is not yet read; only this tells of it at once.
        if client.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
            self.cut_s = time.monotonic() - began
            return
        with contextlib.suppress(BlockingIOError):
            data = client.recv(READ_BYTES)
            self.first = (self.first + data)[:16]
            if not data or (len(self.first) >= 12 and not self.is_served):
                self.cut_s = time.monotonic() - began


async def attack(stage: Stage, most_s: float, targets: tuple[tuple[str, str], ...] = TARGETS) -> list[Reader]:
    readers = [Reader(number, targets) for number in range(stage.settings.count(CLIENTS))]
    await asyncio.gather(*[reader.run(stage, most_s) for reader in readers])
    return readers


def _rows(name: str, readers: list[Reader], limit_s: float) -> list[Figure]:
    served = [reader for reader in readers if reader.is_served]
    times = sorted(reader.cut_s for reader in served if reader.cut_s is not None)
    detail = f"{times[0]:.1f} to {times[-1]:.1f} s" if times else "never"
    in_time = sum(seconds <= limit_s for seconds in times)
    return [
        all_of(f"{name}: answers that began", len(served), len(readers)),
        all_of(f"{name}: those cut within {limit_s:g} s", in_time, len(served)),
        told(f"{name}: cut after", detail),
    ]


def run(settings: Settings) -> list[Figure]:
    timeout_s = settings.timeout_s(15, 3)
    with Stage(settings, "slow_readers", limits=f'write_timeout = "{timeout_s:g}s"') as stage:
        with Watch(stage) as before:
            base = stage.base()
        say(f"slow_readers: {settings.count(CLIENTS)} clients, write_timeout {timeout_s:g} s")
        with Watch(stage) as watch, beside(stage) as summaries:
            readers = asyncio.run(attack(stage, 2 * timeout_s + 6))
            orphans = stage.orphans()
        slots = seconds_until(lambda: stage.running("wsgi") + stage.running("asgi") == 0, 5)
        spool_s = seconds_until(lambda: stage.spool()[0] == 0, 5)
        rows: list[Figure] = []
        for host, name in (("f", "file"), ("w", "WSGI"), ("a", "ASGI")):
            # Twice: the window in which the kernel's buffers fill counts as one that moved.
            rows += _rows(name, [reader for reader in readers if reader.host == host], 2 * timeout_s + 2)
        return [
            *rows,
            told("closed, but still in the kernel with data unsent", orphans),
            at_most("busy in wsgi on average", watch.busy("wsgi"), round(before.busy("wsgi") + BUSY_MORE, 2)),
            told("busy in wsgi / asgi at most", f"{watch.busiest('wsgi')} / {watch.busiest('asgi')}"),
            *compare(base, summaries[0], 2.0),
            at_most("memory grew by (PSS, all processes)", watch.grown_mb, 30, "MB"),
            told("spool at most", f"{watch.most_spool[0]} files, {watch.most_spool[1] / 1e6:,.0f} MB on disk"),
            at_most("worker slots free after the end", slots, 1, "s"),
            at_most("spool files gone after the end", spool_s, 1, "s"),
        ]
