"""Before the first request: the targets of ``warmup``, asked over the wire as a front asks.

I/O: a thread of its own with a data and a control pair of its own, beside the runner that serves already. So imports
that wait for a first request, connections to a database and compiled templates cost nobody's request. Protects: the
worker says that it is ready only when all is answered or the time for it is over, and nothing of this is left by then:
no thread, no socket, no channel, no mark on the scoreboard. An answer that is bad is told and hinders nothing: a
warmup is no health check.
"""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Callable
from time import monotonic, sleep
from typing import Any

from ..wire.codec import COMPLETE, Head, Peer, pack_head, pack_peer, pack_request, unpack_answer
from ..wire.credit import ReceiveWindow
from ..wire.frames import (
    ANSWER,
    BUSY,
    CREDIT,
    CREDIT_BODY,
    DATA,
    FAILED,
    FILE,
    FILE_COST,
    HINTS,
    LOG,
    REQUEST,
    WANT_BODY,
    Splitter,
    frame,
    number_frame,
)
from ..wire.scoreboard import MAX_FRONTS
from .channel import Channel
from .watcher import Watcher

_FRONT = MAX_FRONTS - 1
"""The number that its channel has. A real front of that number is connected afterwards and finds its cell as new."""
_USER_AGENT = b"pyserve-warmup"
_READ_BYTES = 256 * 1024
_LONGEST_GOODBYE_S = 1.0
# Everything else that follows the head of an answer is its end.
_GO_ON = (DATA, FILE, HINTS, LOG, CREDIT_BODY, WANT_BODY)


class _NoAnswer(Exception):
    """The time is over, or the runner has closed the channel."""


def start(
    runner: Any, spec: dict[str, Any], until: float, tell: Callable[[str], None], then: Callable[[], None]
) -> None:
    """Ask in a thread of its own; call ``then`` there at the end, unless the runner is to stop by then.

    ``until``: the end of the time, ``monotonic``. ``tell``: gets what went wrong, a text of one line or more.
    """

    def run() -> None:
        try:
            _Client(runner, spec, until, tell).run()
        finally:
            if not runner.is_stopping:
                then()

    threading.Thread(target=run, name="pyserve-warmup", daemon=True).start()


class _Client:
    def __init__(self, runner: Any, spec: dict[str, Any], until: float, tell: Callable[[str], None]) -> None:
        self._runner = runner
        self._targets: list[str] = spec["warmup"]
        self._host, self._mount = spec["warmup_at"]
        self._until = until
        self._tell = tell
        self._data, data = socket.socketpair()
        self._control, control = socket.socketpair()
        self._control.setblocking(False)
        self._splitter = Splitter()
        self._frames: list[tuple[int, int, bytes]] = []
        self._watcher = Watcher(runner, None, 0.0, None)
        self._channel: Channel = runner.add_channel(_FRONT, data, control)
        self._watcher.add(self._channel)

    def run(self) -> None:
        begun = monotonic()
        self._watcher.start()
        is_over = True
        try:
            for number, target in enumerate(self._targets, 1):
                is_over = False
                if complaint := self._ask(number, target):
                    self._tell(f"{target} {complaint}")
                is_over = True
        except (OSError, _NoAnswer):
            if not self._runner.is_stopping:
                self._tell(f"{target} was not answered within {monotonic() - begun:.1f} s; nothing more is asked")
        finally:
            self._leave(is_over)

    def _ask(self, number: int, target: str) -> str:
        """Return what is wrong with the answer, "" = nothing. Raises ``_NoAnswer`` or ``OSError`` if there is none."""
        peer = Peer(("127.0.0.1", 0), (self._host, 80), "http")
        payload = pack_request(0, pack_peer(peer), pack_head(_head(target, self._host, self._mount)))
        self._data.sendall(frame(REQUEST, number, payload))
        window = ReceiveWindow()
        status = 0
        while True:
            kind, stream, payload = self._next_frame()
            if stream != number:
                continue  # HELLO, and lines for a log
            if kind == ANSWER:
                status, flags, _, _, body = unpack_answer(payload)
                if flags & COMPLETE:
                    break
                self._take(number, window.consumed(len(body)))
            elif kind == FAILED:
                return f"failed: {payload.decode('utf-8', 'replace')}".rstrip()
            elif kind == BUSY:
                raise _NoAnswer  # it is to stop
            elif kind == DATA:
                self._take(number, window.consumed(len(payload)))
            elif kind == FILE:
                self._close_files()
                self._take(number, FILE_COST)
            elif status and kind not in _GO_ON:
                break
        self._close_files()
        return f"was answered {status}" if status >= 500 else ""

    def _take(self, number: int, credit: int) -> None:
        if credit:
            self._control.sendall(number_frame(CREDIT, number, credit))

    def _next_frame(self) -> tuple[int, int, bytes]:
        while not self._frames:
            left_s = self._until - monotonic()
            if left_s <= 0:
                raise _NoAnswer
            self._data.settimeout(left_s)
            data = self._data.recv(_READ_BYTES)
            if not data:
                raise _NoAnswer
            self._frames = self._splitter.feed(data)
        return self._frames.pop(0)

    def _close_files(self) -> None:
        """Close the descriptors of files that were handed over: each was sent before the frame that is about it."""
        try:
            while True:
                data, descriptors, _, _ = socket.recv_fds(self._control, 4096, 8)
                for fd in descriptors:
                    os.close(fd)
                if not data:
                    return
        except BlockingIOError:
            pass

    def _leave(self, is_over: bool) -> None:
        """Close the channel as a front that ends, and wait until the runner has forgotten it."""
        for end in (self._data, self._control):
            try:
                # Not by closing alone: a child that the application has forked meanwhile may hold a copy.
                end.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass  # the other side was first
            end.close()
        self._watcher.stop()
        # A call that hangs holds an inline runner: nobody is there to forget anything.
        deadline = monotonic() + (_LONGEST_GOODBYE_S if is_over else 0.0)
        while self._channel in self._runner.channels and monotonic() < deadline:
            sleep(0.001)
        self._runner.started[_FRONT] = 0


def _head(target: str, host: str, mount: str) -> Head:
    raw_path, _, query = target.partition("?")
    path = _unquote(raw_path)
    is_below = path == mount or path.startswith(mount + "/")
    fields = ((b"host", host.encode()), (b"user-agent", _USER_AGENT), (b"accept", b"*/*"))
    return Head(
        method="GET",
        raw_path=raw_path.encode(),
        path=path,
        query=query.encode(),
        version="1.1",
        mount=mount if is_below else "",
        content_length=None,
        fields=fields,
    )


def _unquote(raw_path: str) -> str:
    first, *parts = raw_path.encode().split(b"%")
    raw = first + b"".join([bytes.fromhex(part[:2].decode()) + part[2:] for part in parts])
    return raw.decode("utf-8", "surrogateescape")
