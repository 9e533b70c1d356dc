"""A client gets one answer for each request that it sent whole, in order, then one refusal at most, and then nothing.

The front's own ``Connection`` on a transport that only records, the same bytes four times in one front: by the third
time it remembers heads and repeats answers. What it says has to be what the plain reader says.
"""

from __future__ import annotations

import os
import re
from collections import deque
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, cast

from pyserve.config.model import Limits
from pyserve.front.context import Context
from pyserve.front.h1.connection import Connection
from pyserve.handlers.interface import FOREVER, Exchange
from pyserve.http.h1_httptools import parse_fields
from pyserve.observe.error_log import ErrorLog
from tests.fuzz import reading
from tests.fuzz.reading import cut_anywhere, head_reader, read
from tests.fuzz.requests import make_stream as make

__all__ = ["check", "make"]

SMALL = Limits()._replace(
    max_head_bytes=reading.SMALL.head_bytes,
    max_headers=reading.SMALL.headers,
    max_body_bytes=reading.SMALL.body_bytes,
)
_LENGTH = re.compile(rb"\r\ncontent-length: ([0-9]+)\r\n")
_NOWHERE = os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC)

Answer = tuple[int, bytes]
"""Status; for 200 the request as the handler saw it, with its body."""


class Loop:
    """``call_soon``, and turns when the test says so."""

    def __init__(self) -> None:
        self._soon: deque[tuple[Callable[..., None], tuple[Any, ...]]] = deque()

    def call_soon(self, callback: Callable[..., None], *arguments: Any) -> None:
        self._soon.append((callback, arguments))

    def run(self) -> None:
        while self._soon:
            callback, arguments = self._soon.popleft()
            callback(*arguments)


class Transport:
    def __init__(self) -> None:
        self.written = b""
        self.is_over = False
        self.is_aborted = False
        self.is_paused = False

    def write(self, data: bytes) -> None:
        assert not self.is_over, "written after the end"
        self.written += data

    def get_extra_info(self, name: str) -> object:
        return {"peername": ("127.0.0.1", 1), "sockname": ("127.0.0.1", 80)}.get(name)

    def close(self) -> None:
        self.is_over = True

    def abort(self) -> None:
        self.is_over = self.is_aborted = True

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        self.is_over = True

    def is_closing(self) -> bool:
        return self.is_aborted

    def pause_reading(self) -> None:
        self.is_paused = True

    def resume_reading(self) -> None:
        self.is_paused = False

    def get_write_buffer_size(self) -> int:
        return 0

    def set_write_buffer_limits(self, high: int) -> None:
        """Nothing ever waits."""


class Echo:
    """Handler and receiver: answers with what it was asked, once it has the whole body."""

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange
        self._body = b""
        if exchange.request.has_body:
            exchange.attach(self)
            exchange.want_body()
        else:
            self.body_end()

    def body_data(self, data: bytes) -> None:
        self._body += data

    def body_end(self) -> None:
        request = self._exchange.request
        self._exchange.send(
            200, b"", request.method.encode() + b" " + request.raw_target + b" " + self._body, same=FOREVER
        )

    def client_half_closed(self) -> None: ...
    def client_gone(self) -> None: ...
    def on_writable(self) -> None: ...


class EveryHost:
    """A router with one site, which has every name."""

    def find(self, host: str, path: str) -> object:
        handler = SimpleNamespace(handle=lambda exchange, match: Echo(exchange))
        return SimpleNamespace(site=SimpleNamespace(max_body_bytes=None), handler=handler, modifiers=None)


def check(data: bytes) -> None:
    expected, is_open = what_should_come(data)
    loop = Loop()
    router = cast(Any, EveryHost())
    context = Context(cast(Any, loop), SMALL, router, parse_fields, ErrorLog(_NOWHERE, "error", "fuzz"), None, None)
    for time, pieces in enumerate(([data], [data], [data], cut_anywhere(data, 1))):
        transport = Transport()
        connection = Connection(context)
        connection.connection_made(cast(Any, transport))
        for piece in pieces:
            if not transport.is_aborted:
                connection.data_received(piece)
                loop.run()
        if not transport.is_aborted:
            connection.data_received(b"")
        answers = split_answers(transport.written, expected)
        if not transport.is_aborted:
            assert answers == expected, f"time {time + 1}: {answers} where the reader has {expected}"
        else:
            assert answers == expected[: len(answers)], f"time {time + 1}: {answers} where the reader has {expected}"
            assert not is_open, f"time {time + 1}: cut for no reason"
        assert transport.is_over == (not is_open), f"time {time + 1}: open or not"
        connection.connection_lost(None)
    assert not context.connections


def what_should_come(data: bytes) -> tuple[list[Answer], bool]:
    """Return the answers that the plain reader's verdict means, and whether the connection stays open."""
    seen = read([data], head_reader(limits=reading.SMALL), reading.SMALL)
    answers: list[Answer] = []
    for message in seen.messages:
        if not message.is_whole:
            break
        request = message.request
        text = request.method.encode() + b" " + request.raw_target + b" " + message.body
        answers.append((200, b"" if request.method == "HEAD" else text))
        if not request.keep_alive:
            return answers, False
    if seen.status:
        answers.append((seen.status, b""))
    return answers, not seen.status


def split_answers(written: bytes, expected: list[Answer]) -> list[Answer]:
    """Return what a client reads that knows which of its requests were HEAD: those whose answer has no text."""
    answers: list[Answer] = []
    at = 0
    while at < len(written):
        end = written.index(b"\r\n\r\n", at) + 4
        head = written[at:end]
        assert head.startswith(b"HTTP/1.1 "), f"no answer: {head[:40]!r}"
        status = int(head[9:12])
        at = end
        if status == 100:
            continue
        length = _LENGTH.search(head)
        assert length, "an answer without its length"
        is_head = len(answers) < len(expected) and expected[len(answers)] == (200, b"")
        body = b"" if is_head else written[at : at + int(length[1])]
        is_head = is_head or (status != 200 and not body)  # a HEAD that was refused after its head
        assert is_head or len(body) == int(length[1]), "an answer is not whole"
        at += len(body)
        answers.append((status, body if status == 200 else b""))
    return answers
