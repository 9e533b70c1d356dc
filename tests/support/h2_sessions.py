"""One session of HTTP/2 with a ``Connection``: bytes in pieces, events as lines, answers as a front would send them.

Pure, and shared by the corpus, the fuzzer and the comparison with ``h2``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from pyserve.http import h1_httptools
from pyserve.http.h2 import events as ev
from pyserve.http.h2.connection import Connection
from pyserve.http.h2.frames import code_name
from pyserve.http.h2.heads import BlockReader
from pyserve.http.h2.sending import Settings
from pyserve.http.head import HeadReader
from pyserve.http.request import Request

MAX_HEAD_BYTES = 32 * 1024
SETTINGS = Settings(enable_connect=True)
Cut = Callable[[bytes], Iterable[bytes]]


def block_reader(max_headers: int = 100) -> BlockReader:
    return BlockReader(HeadReader(h1_httptools.parse_fields, max_headers), MAX_HEAD_BYTES, enable_connect=True)


class Session:
    """``events``: as lines; ``requests``: by stream; ``sent``: all that went out, ``bodies``: what came in."""

    def __init__(self, blocks: BlockReader | None = None, settings: Settings = SETTINGS, *, answers: int = -1) -> None:
        self.connection = Connection(settings, blocks or block_reader(), 0.0)
        self.answers = answers
        self.events: list[str] = []
        self.requests: dict[int, Request] = {}
        self.bodies: dict[int, bytes] = {}
        self.sent = self.connection.data_to_send()
        self.whole: list[int] = []
        self.left: dict[int, bytes] = {}
        self.taken: list[tuple[int, int]] = []
        self.rooms: list[int] = []
        self.now = 0.0

    def turn(self, pieces: Iterable[bytes]) -> None:
        """Take what comes, then do what there is to do, in an order that no cut changes."""
        for piece in pieces:
            self.take(self.connection.receive_data(piece, self.now))
        if self.answers != -2:
            for stream, count in self.taken:
                self.connection.return_credit(stream, count)
        self.taken.clear()
        for stream in self.rooms:
            left = self.left.pop(stream, b"")
            taken = self.connection.send_data(stream, left, True)
            if taken < len(left):
                self.left[stream] = left[taken:]
        self.rooms.clear()
        if self.answers >= 0:
            for stream in self.whole:
                body = b"x" * self.answers
                taken = self.connection.send_answer(stream, 200, b"x-a: b\r\n", b"", len(body), body)
                if taken < len(body):
                    self.left[stream] = body[taken:]
            self.whole.clear()
        self.sent += self.connection.data_to_send()

    def pass_time(self, seconds: float) -> None:
        """Sweep as a front does."""
        end = self.now + seconds
        while self.now < end:
            self.now += 0.25
            self.take(self.connection.sweep(self.now))
        self.sent += self.connection.data_to_send()

    def take(self, events: Sequence[ev.Event]) -> None:
        for event in events:
            self._take(event)

    def _take(self, event: ev.Event) -> None:
        if isinstance(event, ev.RequestReceived):
            head = event.head
            self.requests[event.stream] = head
            line = f"request {event.stream} {head.method} {head.raw_target.decode('latin-1')}"
            if event.is_end:
                self.whole.append(event.stream)
        elif isinstance(event, ev.RequestRefused):
            line = f"refused {event.stream} {event.status}"
        elif isinstance(event, ev.BodyReceived):
            assert event.data
            self.bodies[event.stream] = self.bodies.get(event.stream, b"") + event.data
            self.taken.append((event.stream, len(event.data)))
            if self.answers == -1:
                line = f"body {event.stream} {event.data.decode('latin-1')}"
            else:
                line = f"body {event.stream}"
        elif isinstance(event, ev.MessageEnded):
            self.whole.append(event.stream)
            line = f"end {event.stream}"
            if event.trailers:
                text = " | ".join(f"{name.decode()}: {value.decode('latin-1')}" for name, value in event.trailers)
                line = f"trailers {event.stream} {text}"
        elif isinstance(event, ev.RoomMade):
            line = f"room {event.stream}"
            self.rooms.append(event.stream)
        elif isinstance(event, ev.StreamReset):
            line = f"reset {event.stream} {code_name(event.code)}"
        elif isinstance(event, ev.StreamBroken):
            line = f"broken {event.stream} {code_name(event.code)}"
        elif isinstance(event, ev.GoawayReceived):
            line = f"goaway {code_name(event.code)}"
        else:
            line = f"failed {code_name(event.code)}"
        self.events.append(line)
