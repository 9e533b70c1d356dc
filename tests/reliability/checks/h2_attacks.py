"""R37, G1 to G8: floods of HTTP/2 frames of thirteen kinds, one attacker and then twenty, beside the normal load.

Each is sent away (GOAWAY, then the end of the connection) within 10 s and comes again; memory stays what it was, and
the normal load notices little. Then twenty clients ask for large heads with windows that stay shut, and hold on.
"""

from __future__ import annotations

import selectors
import socket
import struct
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import hpack

from tests.reliability.attackers import connected
from tests.reliability.figures import Figure, all_of, at_most, none_of, told
from tests.reliability.ledger import Summary, compare
from tests.reliability.settings import Settings
from tests.reliability.stage import Stage, beside, say
from tests.reliability.watch import Watch

ATTACKERS = (1, 20)
MOST_SECONDS = 10.0
GROWTH_MB = 20.0
HELD_MB = 1.0
"""By one connection, at most."""
RETURN_S = 0.25
"""After which one that was sent away comes again: who comes again at once measures how fast connections are made."""
BURST_BYTES = 32 * 1024
CALM = 11
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PING, WINDOW_UPDATE, CONTINUATION = 0, 1, 2, 3, 4, 6, 8, 9


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    return struct.pack(">I", len(payload))[1:] + bytes((kind, flags)) + struct.pack(">I", stream) + payload


def head(path: bytes = b"/0.bin", host: bytes = b"f", method: bytes = b"GET") -> bytes:
    fields = [(b":method", method), (b":scheme", b"http"), (b":authority", host), (b":path", path)]
    return hpack.Encoder().encode(fields, huffman=False)


GET = head(b"/sleep/3", b"a")
POST = head(b"/echo/1", b"a", b"POST")
# An empty value under a name of one byte goes into the table; each further byte is that field again.
BOMB = GET + b"\x40\x01a\x00" + b"\xbe" * 16_000

Flood = Callable[[int], bytes]
"""From a count that grows to the next frames."""


def _stream(number: int) -> int:
    return 2 * number + 1


FLOODS: dict[str, tuple[bytes, Flood]] = {
    "rapid reset": (
        b"",
        lambda n: frame(HEADERS, 5, _stream(n), GET) + frame(RST_STREAM, 0, _stream(n), b"\0\0\0\x08"),
    ),
    "made you reset: window of 0": (
        b"",
        lambda n: frame(HEADERS, 5, _stream(n), GET) + frame(WINDOW_UPDATE, 0, _stream(n), bytes(4)),
    ),
    "made you reset: data behind the end": (
        b"",
        lambda n: frame(HEADERS, 5, _stream(n), GET) + frame(DATA, 0, _stream(n), b"x"),
    ),
    "made you reset: priority of 4 bytes": (
        b"",
        lambda n: frame(HEADERS, 5, _stream(n), GET) + frame(PRIORITY, 0, _stream(n), bytes(4)),
    ),
    "CONTINUATION without end": (
        frame(HEADERS, 1, 1, GET),
        lambda n: frame(CONTINUATION, 0, 1, b"\x40\x01a\x01b" * 20),
    ),
    "empty CONTINUATION": (frame(HEADERS, 1, 1, GET), lambda n: frame(CONTINUATION, 0, 1)),
    "bomb of indexed fields": (b"", lambda n: frame(HEADERS, 5, _stream(n), BOMB)),
    "PING": (b"", lambda n: frame(PING, 0, 0, bytes(8))),
    "SETTINGS": (b"", lambda n: frame(SETTINGS, 0, 0, b"\0\x04\0\0\xff\xff")),
    "PRIORITY": (b"", lambda n: frame(PRIORITY, 0, _stream(n), b"\0\0\0\0\x10")),
    "empty DATA": (frame(HEADERS, 4, 1, POST), lambda n: frame(DATA, 0, 1)),
    "WINDOW_UPDATE of 1": (b"", lambda n: frame(WINDOW_UPDATE, 0, 0, b"\0\0\0\x01")),
    "streams beyond the limit": (b"", lambda n: frame(HEADERS, 4, _stream(n), POST)),
}


@dataclass
class Attacker:
    """One connection. ``code``: of the GOAWAY that came; -1 = none was seen."""

    kind: str
    client: socket.socket
    began: float
    flood: Flood
    number: int = 0
    pending: bytes = b""
    answer: bytearray = field(default_factory=bytearray)

    def more(self) -> bytes:
        if not self.pending:
            pieces = []
            size = 0
            while size < BURST_BYTES:
                pieces.append(self.flood(self.number))
                size += len(pieces[-1])
                self.number += 1
            self.pending = b"".join(pieces)
        return self.pending

    @property
    def code(self) -> int:
        at = self.answer.rfind(b"\0\0\x08\x07\0\0\0\0\0")
        return int.from_bytes(self.answer[at + 13 : at + 17], "big") if at >= 0 else -1


@dataclass
class Outcome:
    sent_away: int = 0
    with_goaway: int = 0
    slowest_s: float = 0.0
    held_on: int = 0


def _attack(address: tuple[str, int], kind: str, count: int, seconds: float) -> Outcome:
    """Keep ``count`` attackers of a kind busy for so long; who is sent away comes again."""
    first, flood = FLOODS[kind]
    outcome = Outcome()
    selector = selectors.DefaultSelector()
    ends = time.monotonic() + seconds

    def begin() -> None:
        client = connected(address)
        client.setblocking(False)
        attacker = Attacker(kind, client, time.monotonic(), flood, pending=PREFACE + frame(SETTINGS, 0, 0) + first)
        selector.register(client, selectors.EVENT_READ | selectors.EVENT_WRITE, attacker)

    def end(attacker: Attacker) -> None:
        selector.unregister(attacker.client)
        attacker.client.close()
        outcome.sent_away += 1
        outcome.with_goaway += attacker.code == CALM
        outcome.slowest_s = max(outcome.slowest_s, time.monotonic() - attacker.began)

    due = [time.monotonic()] * count
    while time.monotonic() < ends + MOST_SECONDS and (due or selector.get_map()):
        now = time.monotonic()
        for _ in [moment for moment in due if moment <= now]:
            begin()
        due = [moment for moment in due if moment > now]
        for key, events in selector.select(0.02):
            attacker: Attacker = key.data
            try:
                if events & selectors.EVENT_READ:
                    data = attacker.client.recv(65536)
                    if not data:
                        raise ConnectionResetError
                    attacker.answer += data[-4096:]
                    del attacker.answer[:-8192]
                if attacker.code >= 0:
                    raise ConnectionResetError  # it was told
                if events & selectors.EVENT_WRITE:
                    sent = attacker.client.send(attacker.more())
                    attacker.pending = attacker.pending[sent:]
            except BlockingIOError:
                pass
            except OSError:
                end(attacker)
                if time.monotonic() < ends:
                    due.append(time.monotonic() + RETURN_S)
    for key in list(selector.get_map().values()):
        outcome.held_on += 1
        key.data.client.close()
    selector.close()
    return outcome


def _hold(address: tuple[str, int], count: int) -> list[socket.socket]:
    """Ask for as much as may be asked for, with large heads and windows that stay shut, and read nothing."""
    shut = frame(SETTINGS, 0, 0, b"\0\x04\0\0\0\0")
    fields = b"".join([b"\x00\x05x-%03d\x7f\xb9\x01" % number + b"v" * 312 for number in range(90)])
    asked = b"".join([_large(2 * number + 1, fields) for number in range(100)])
    clients = []
    for _ in range(count):
        client = connected(address, receive_buffer=4096)
        client.settimeout(5)
        client.sendall(PREFACE + shut + asked)
        clients.append(client)
    return clients


def _large(stream: int, fields: bytes) -> bytes:
    block = head(b"/large.bin") + fields
    first, *rest = [block[at : at + 16_384] for at in range(0, len(block), 16_384)]
    frames = [frame(HEADERS, 1 | (0 if rest else 4), stream, first)]
    frames += [frame(CONTINUATION, 4 if piece is rest[-1] else 0, stream, piece) for piece in rest]
    return b"".join(frames)


def _floods(stage: Stage, base: Summary, count: int, seconds: float) -> list[Figure]:
    lines = len(stage.error_lines())
    total = Outcome()
    slowest_kind = ""
    with Watch(stage) as watch, beside(stage) as summaries:
        for kind in FLOODS:
            say(f"h2_attacks: {kind}, {count} at once")
            outcome = _attack(stage.address, kind, count, seconds)
            total.sent_away += outcome.sent_away
            total.with_goaway += outcome.with_goaway
            total.held_on += outcome.held_on
            if outcome.slowest_s > total.slowest_s:
                total.slowest_s, slowest_kind = outcome.slowest_s, kind
    grown = len(stage.error_lines()) - lines
    failed, latency = compare(base, summaries[0], 2.0 if count == 1 else None)
    return [
        none_of(f"{count}: attackers that were not sent away", total.held_on, total.sent_away + total.held_on),
        at_most(f"{count}: the longest that one held on ({slowest_kind})", total.slowest_s, MOST_SECONDS, "s"),
        told(f"{count}: sent away, and saw the GOAWAY", f"{total.sent_away:,}, {total.with_goaway:,}"),
        at_most(f"{count}: memory grew by (PSS, all processes)", watch.grown_mb, GROWTH_MB, "MB"),
        none_of(f"{count}: lines of level error", len(stage.bad_lines(lines)), grown),
        at_most(f"{count}: error log lines a second", grown / (seconds * len(FLOODS)), 5),
        failed,
        # Twenty that are let in together ask for as much as is allowed: that is load, and the processors' business.
        latency,
    ]


def run(settings: Settings) -> list[Figure]:
    seconds = 0.5 if settings.is_quick else 3.0
    figures: list[Figure] = []
    with Stage(settings, "h2_attacks", server="h2c = true") as stage:
        base = stage.base()
        for count in ATTACKERS:
            figures += _floods(stage, base, count, seconds)
        say("h2_attacks: twenty clients hold large heads and shut windows")
        with Watch(stage) as watch, beside(stage) as summaries:
            clients = _hold(stage.address, ATTACKERS[-1])
            time.sleep(3)
            figures.append(
                at_most("memory of a connection that holds all it may", watch.grown_mb / len(clients), HELD_MB, "MB")
            )
            for client in clients:
                client.close()
        figures.append(
            all_of(
                "requests of the normal load beside them", summaries[0].total - summaries[0].failed, summaries[0].total
            )
        )
    return figures
