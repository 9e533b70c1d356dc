"""Step 5 of the request path: the socketpairs to a worker.

I/O: one transport per channel. All frames of a loop turn leave in one write (D7); reading is never paused and writing
never waits, credit is the only brake (D9).

HOT: benchmarks/hello_asgi.py.
"""

from __future__ import annotations

import asyncio
import mmap
import socket
import traceback
from collections.abc import Callable
from typing import cast

from pyserve.handlers.pool import Pool, Worker
from pyserve.wire.frames import Splitter, WireError
from pyserve.wire.scoreboard import PAGE_BYTES, Scoreboard


class _Channel(asyncio.Protocol):
    """One socketpair's end: frames in, frames out."""

    __slots__ = ("_loop", "_on_end", "_on_frames", "_out", "_splitter", "_transport", "is_ended")

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        on_frames: Callable[[list[tuple[int, int, bytes]]], None],
        on_end: Callable[[str], None],
    ) -> None:
        self._loop = loop
        self._on_frames = on_frames
        self._on_end = on_end
        self._splitter = Splitter()
        self._out: list[bytes] = []
        self._transport: asyncio.Transport | None = None
        self.is_ended = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's transports are none by class
        if self._out:
            self._flush()

    def data_received(self, data: bytes) -> None:
        try:
            frames = self._splitter.feed(data)
        except WireError as error:
            self._on_end(str(error))
            return
        if frames:
            self._on_frames(frames)

    def connection_lost(self, exc: Exception | None) -> None:
        self.is_ended = True
        self._out.clear()
        self._on_end("")

    def send(self, frame: bytes) -> None:
        out = self._out
        if not out:
            self._loop.call_soon(self._flush)
        out.append(frame)

    def _flush(self) -> None:
        transport = self._transport
        if transport is None or self.is_ended:
            return
        out, self._out = self._out, []
        if out:
            transport.write(out[0] if len(out) == 1 else b"".join(out))

    def close(self) -> None:
        self.is_ended = True
        if self._transport is not None:
            self._transport.abort()


class WorkerLink:
    """Both channels and the scoreboard of one worker; the ``Channel`` that its ``Worker`` sends through."""

    def __init__(self, loop: asyncio.AbstractEventLoop, pool: Pool, scoreboard_fd: int) -> None:
        self._loop = loop
        self._pool = pool
        self._page = mmap.mmap(scoreboard_fd, PAGE_BYTES)
        self.scoreboard = Scoreboard(memoryview(self._page))
        self._worker: Worker | None = None
        self._death = ""
        self._data = _Channel(loop, self._on_frames, self._on_data_end)
        self._control = _Channel(loop, self._on_frames, self._on_control_end)
        self.send_data = self._data.send
        self.send_control = self._control.send

    async def connect(self, worker: Worker, data: socket.socket, control: socket.socket) -> None:
        """Take the sockets over and begin to listen."""
        self._worker = worker
        await self._loop.create_unix_connection(lambda: self._control, sock=control)
        await self._loop.create_unix_connection(lambda: self._data, sock=data)

    def died(self, how: str) -> None:
        """The worker was waited for. What it wrote before is read first: EOF says when, or a moment's patience."""
        self._death = how
        if self._data.is_ended:
            self._bury()
        else:
            # A grandchild that inherited the channel would keep EOF away (D15).
            self._loop.call_later(0.1, self._bury)

    def _bury(self) -> None:
        worker, self._worker = self._worker, None
        if worker is not None:
            self._pool.remove(worker.number, self._death)
            self.scoreboard.page.release()
            self._page.close()

    def _on_frames(self, frames: list[tuple[int, int, bytes]]) -> None:
        worker = self._worker
        if worker is None:
            return
        try:
            self._pool.frames_received(worker, frames)
        except Exception:
            # Our own bug: a transport would close this channel and leave a worker that nobody uses and nobody replaces.
            self._pool.break_off(worker, f"internal error\n{traceback.format_exc()}")

    def _on_data_end(self, why: str) -> None:
        worker = self._worker
        if worker is None:
            return
        if why:
            self._pool.break_off(worker, why)
        worker.is_open = False
        if self._death:
            self._bury()

    def _on_control_end(self, why: str) -> None:
        if why and self._worker is not None:
            self._pool.break_off(self._worker, why)

    def close(self) -> None:
        """Close both sockets; the page stays readable until the worker is buried."""
        self._data.close()
        self._control.close()
