"""R14, F5: 2,000 connections/s that come and go: connect + reset, connect + close, one request then close.

No descriptor leaks in any process, the kernel drops nothing at the listen queue, the normal load notices nothing.
"""

from __future__ import annotations

import selectors
import socket
import time
from collections import Counter
from pathlib import Path

from tests.reliability.attackers import new_socket, reset
from tests.reliability.figures import Figure, all_of, at_least, at_most, told
from tests.reliability.ledger import compare
from tests.reliability.settings import Settings
from tests.reliability.stage import Stage, beside, say, seconds_until

A_SECOND = 2000
LEAK = 5
REQUEST = b"GET /echo/churn HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"


def listen_drops() -> dict[str, int]:
    """Return the kernel's counts of connections that a full listen queue cost (of this network namespace)."""
    lines = [line.split() for line in Path("/proc/net/netstat").read_text().splitlines() if line.startswith("TcpExt")]
    counts = dict(zip(lines[0][1:], map(int, lines[1][1:]), strict=True))
    return {name: counts[name] for name in ("ListenOverflows", "ListenDrops")}


class Churn:
    def __init__(self, address: tuple[str, int]) -> None:
        self.address = address
        self.opened: Counter[str] = Counter()
        self.failed: Counter[str] = Counter()
        self.answered = 0
        self._selector = selectors.DefaultSelector()

    def run(self, seconds: float, a_second: float) -> None:
        began = time.monotonic()
        number = 0
        while (now := time.monotonic() - began) < seconds:
            due = int(now * a_second)
            for _ in range(min(due - number, 50)):  # what it could not do in time it does not make up for at once
                self._one(number)
                number += 1
            self._take(0.002)
        deadline = time.monotonic() + 10
        while self._selector.get_map() and time.monotonic() < deadline:
            self._take(0.1)
        for key in list(self._selector.get_map().values()):
            self.failed["no answer in 10 s"] += 1
            assert isinstance(key.fileobj, socket.socket)
            key.fileobj.close()
        self._selector.close()

    def _one(self, number: int) -> None:
        kind = ("reset", "close", "request")[number % 3]
        client = new_socket()
        client.settimeout(5)
        try:
            client.connect(self.address)
            self.opened[kind] += 1
            if kind == "reset":
                reset(client)
            elif kind == "close":
                client.close()
            else:
                client.sendall(REQUEST)
                client.setblocking(False)
                self._selector.register(client, selectors.EVENT_READ, bytearray())
        except OSError as error:
            self.failed[f"{kind}: {error.strerror or error}"] += 1
            client.close()

    def _take(self, timeout_s: float) -> None:
        for key, _ in self._selector.select(timeout_s):
            client = key.fileobj
            assert isinstance(client, socket.socket)
            try:
                data = client.recv(65536)
            except OSError as error:
                self.failed[f"request: {error.strerror}"] += 1
                data = b""
                key.data[:] = b"-"
            key.data.extend(data)
            if not data:
                if key.data.startswith(b"HTTP/1.1 200") and key.data.endswith(b"..\n") | key.data.endswith(b"..."):
                    self.answered += 1
                elif key.data != b"-":
                    self.failed[f"request: {bytes(key.data[:12])!r}"] += 1
                self._selector.unregister(client)
                client.close()


def run(settings: Settings) -> list[Figure]:
    with Stage(settings, "churn") as stage:
        base = stage.base()
        time.sleep(2)
        before = stage.descriptors()
        drops = listen_drops()
        a_second = settings.count(A_SECOND)
        say(f"churn: {a_second} connections/s for {settings.seconds:g} s")
        churn = Churn(stage.address)
        cpu = stage.all_cpu_s()
        with beside(stage) as summaries:
            churn.run(settings.seconds, a_second)
        cpu = stage.all_cpu_s() - cpu

        def leaked() -> int:
            now = stage.descriptors()
            return max(abs(now.get(pid, 0) - count) for pid, count in before.items())

        seconds_until(lambda: leaked() <= LEAK, 5)
        new_drops = {name: count - drops[name] for name, count in listen_drops().items()}
        failed = ", ".join(f"{count} x {cause}" for cause, count in churn.failed.most_common(3))
        total = sum(churn.opened.values())
        return [
            # At least half of what was asked, or the machine was too busy for the check to say anything.
            at_least("connections per second", total / settings.seconds, a_second / 2),
            all_of("requests of it answered", churn.answered, churn.opened["request"], failed),
            told("failed connects", failed or "none"),
            at_most("descriptors leaked, worst process", leaked(), LEAK),
            at_most("listen-queue drops (kernel, all programs)", sum(new_drops.values()), 0),
            told("CPU of all processes", f"{100 * cpu / settings.seconds:.0f} % of a core"),
            *compare(base, summaries[0]),
        ]
