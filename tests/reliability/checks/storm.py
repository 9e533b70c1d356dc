"""F7: for 20 s as many malformed requests as one process can send, of many kinds, beside the normal load.

The normal load notices nothing, the error log grows by a few lines per second, and the access log has exactly one
printable line for every request that was answered.
"""

from __future__ import annotations

import selectors
import socket
import time
from collections import Counter
from pathlib import Path

from tests.reliability.attackers import new_socket, status_of
from tests.reliability.figures import Figure, all_of, at_most, none_of, told
from tests.reliability.ledger import compare
from tests.reliability.settings import Settings
from tests.reliability.stage import Stage, beside, say

AT_ONCE = 32
LINES_PER_SECOND = 5
NASTY = b'\x1b[2J\x1b]0;owned\x07\\"\xff\xc3\xa9'
KINDS: dict[str, bytes] = {
    "no request": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 random\r\n\r\n",
    "bad method": b"GE\x1b[31mT / HTTP/1.1\r\nHost: f\r\n\r\n",
    "bad target": b"GET /" + NASTY + b" HTTP/1.1\r\nHost: f\r\n\r\n",
    "bad version": b"GET / HTTP/9.9\r\nHost: f\r\n\r\n",
    "no host": b"GET / HTTP/1.1\r\n\r\n",
    "two hosts": b"GET / HTTP/1.1\r\nHost: f\r\nHost: w\r\n\r\n",
    "bare LF": b"GET / HTTP/1.1\nHost: f\n\n",
    "space before colon": b"GET / HTTP/1.1\r\nHost : f\r\n\r\n",
    "bad field": b"GET / HTTP/1.1\r\nHost: f\r\nX: a\x00b\r\n\r\n",
    "two framings": b"POST / HTTP/1.1\r\nHost: w\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "bad length": b"POST / HTTP/1.1\r\nHost: w\r\nContent-Length: 5_0\r\n\r\nhello",
    "bad chunk": b"POST /echo/1 HTTP/1.1\r\nHost: w\r\nTransfer-Encoding: chunked\r\n\r\n0x5\r\nhello\r\n0\r\n\r\n",
    "long target": b"GET /" + b"a" * 40_000 + b" HTTP/1.1\r\nHost: f\r\n\r\n",
    "long field": b"GET / HTTP/1.1\r\nHost: f\r\nX: " + b"a" * 40_000 + b"\r\n\r\n",
    "many fields": b"GET / HTTP/1.1\r\nHost: f\r\n" + b"A: b\r\n" * 500 + b"\r\n",
    "unknown host": b"GET / HTTP/1.1\r\nHost: nobody\r\nConnection: close\r\n\r\n",
    "nasty agent": b"GET /none HTTP/1.1\r\nHost: f\r\nUser-Agent: " + NASTY.replace(b"\x1b", b"[").replace(b"\x07", b"")
    + b" 1.2.3.4 - - [x] \r\nConnection: close\r\n\r\n",
}  # fmt: skip


class Storm:
    def __init__(self, address: tuple[str, int]) -> None:
        self.address = address
        self.answers: Counter[tuple[str, int]] = Counter()
        self._kinds = list(KINDS.items())
        self._selector = selectors.DefaultSelector()

    def run(self, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        number = 0
        while time.monotonic() < deadline:
            while len(self._selector.get_map()) < AT_ONCE:
                self._send(*self._kinds[number % len(self._kinds)])
                number += 1
            self._take(0.1)
        deadline = time.monotonic() + 5
        while self._selector.get_map() and time.monotonic() < deadline:
            self._take(0.1)
        for key in list(self._selector.get_map().values()):
            assert isinstance(key.fileobj, socket.socket)
            self._end(key.fileobj, key.data[0], b"left open")
        self._selector.close()

    def _send(self, kind: str, data: bytes) -> None:
        client = new_socket()
        client.settimeout(5)
        try:
            client.connect(self.address)
            client.setblocking(False)
            client.send(data)
        except OSError:
            self.answers["connect", 0] += 1
            client.close()
            return
        self._selector.register(client, selectors.EVENT_READ, (kind, bytearray()))

    def _take(self, timeout_s: float) -> None:
        for key, _ in self._selector.select(timeout_s):
            client, (kind, answer) = key.fileobj, key.data
            assert isinstance(client, socket.socket)
            try:
                data = client.recv(65536)
            except OSError:
                data = b""
            answer.extend(data)
            if not data:
                self._selector.unregister(client)
                self._end(client, kind, bytes(answer))

    def _end(self, client: socket.socket, kind: str, answer: bytes) -> None:
        client.close()
        self.answers[kind, status_of(answer)] += 1


def _is_refusal(status: int) -> bool:
    return 400 <= status < 500 or status == 505


def _log_lines(path: Path) -> tuple[int, int, list[bytes]]:
    """Return how many lines are the normal load's, how many are not, and those that are not printable ASCII."""
    normal = others = 0
    odd = []
    for line in path.read_bytes().split(b"\n"):
        if not line:
            continue
        if b'"normal-load"' in line:
            normal += 1
        else:
            others += 1
        if not all(32 <= byte < 127 for byte in line):
            odd.append(line)
    return normal, others, odd


def run(settings: Settings) -> list[Figure]:
    seconds = min(settings.seconds, 20.0)
    with Stage(settings, "storm") as stage:
        base = stage.base()
        log = stage.folder / "access.log"
        normal_before, others_before, _ = _log_lines(log)
        lines = len(stage.error_lines())
        say(f"storm: {seconds:g} s of {len(KINDS)} kinds")
        storm = Storm(stage.address)
        with beside(stage) as summaries:
            storm.run(seconds)
        time.sleep(1)
        normal, others, odd = _log_lines(log)
        total = sum(storm.answers.values())
        refused = sum(count for (_, status), count in storm.answers.items() if _is_refusal(status))
        wrong = Counter({key: count for key, count in storm.answers.items() if not _is_refusal(key[1])})
        detail = ", ".join(
            f"{count} x {kind}: {status or 'no answer'}" for (kind, status), count in wrong.most_common(4)
        )
        answered = total - sum(count for (_, status), count in storm.answers.items() if not status)
        grown = len(stage.error_lines()) - lines
        return [
            told("malformed requests per second", f"{total / seconds:,.0f}"),
            all_of("answered 4xx or 505", refused, total, detail),
            all_of("access log lines of them", others - others_before, answered),
            all_of("access log lines of the normal load", normal - normal_before, summaries[0].total),
            none_of("log lines that are not printable ASCII", len(odd), others, repr(odd[0][:80]) if odd else ""),
            at_most("error log lines per second", grown / seconds, LINES_PER_SECOND),
            stage.worst_lines(lines),
            none_of("lines of level error", len(stage.bad_lines(lines)), grown),
            *compare(base, summaries[0]),
        ]
