"""Step 5 of the request path: the socketpairs to a worker.

I/O: a transport for the data channel; the control channel is a plain socket, because descriptors of files come over it
and a transport would drop them. All frames of a loop turn leave in one write (D7); reading is never paused and writing
never waits, credit is the only brake (D9).

HOT: benchmarks/hello_asgi.py.
"""

from __future__ import annotations

import asyncio
import mmap
import os
import socket
import traceback
from collections import deque
from collections.abc import Callable
from typing import cast

from pyserve.handlers.pool import Pool
from pyserve.handlers.worker import Worker
from pyserve.net.channels import receive
from pyserve.wire.frames import DESCRIPTOR, Splitter, WireError
from pyserve.wire.scoreboard import PAGE_BYTES, Scoreboard

MOST_READS = 4096
"""In search of one descriptor: a worker has fewer under way."""


class _Channel(asyncio.Protocol):
    """The data channel: frames in, frames out."""

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
        if self.is_ended:
            self._transport.abort()  # closed before it was made
        elif self._out:
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


class _Control:
    """The control channel: frames in, some with a descriptor, frames out.

    ``on_descriptor`` takes each over, -1 = there was no room for it in this process; it may raise ``WireError``.
    """

    __slots__ = (
        "_descriptors",
        "_frames",
        "_loop",
        "_lost",
        "_on_descriptor",
        "_on_end",
        "_on_frames",
        "_out",
        "_sock",
        "_splitter",
        "_unsent",
    )

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        on_frames: Callable[[list[tuple[int, int, bytes]]], None],
        on_descriptor: Callable[[int, int], None],
        on_end: Callable[[str], None],
    ) -> None:
        self._loop = loop
        self._on_frames = on_frames
        self._on_descriptor = on_descriptor
        self._on_end = on_end
        self._splitter = Splitter()
        self._frames: list[tuple[int, int, bytes]] = []  # met in search of a descriptor
        self._descriptors: deque[int] = deque()  # whose frame is not complete
        self._lost = 0  # whose frame is not complete, and that were lost
        self._out: list[bytes] = []
        self._unsent = b""
        self._sock: socket.socket | None = None

    def open(self, sock: socket.socket) -> None:
        """Take the socket over."""
        sock.setblocking(False)
        self._sock = sock
        self._loop.add_reader(sock.fileno(), self._on_readable)
        if self._out:
            self._flush()

    # Frames come in.

    def _on_readable(self) -> None:
        try:
            self._read()
        except WireError as error:
            self._on_end(str(error))
        else:
            self._tell_frames()

    def receive_descriptors(self) -> None:
        """Read all that has arrived, and hand over its descriptors now; frames of other kinds follow later."""
        for _ in range(MOST_READS):
            if not self._read():
                break
        if self._frames:
            self._loop.call_soon(self._tell_frames)

    def _tell_frames(self) -> None:
        frames, self._frames = self._frames, []
        if frames:
            self._on_frames(frames)

    def _read(self) -> bool:
        """Read once; return whether there may be more. Raises ``WireError``."""
        sock = self._sock
        if sock is None:
            return False
        try:
            data, descriptors, flags = receive(sock, 1)
        except (BlockingIOError, InterruptedError):
            return False
        except OSError:
            data, descriptors, flags = b"", [], 0
        if not data:
            self._loop.remove_reader(sock.fileno())  # the end of the data channel tells what it means
            return False
        self._descriptors += descriptors
        if flags & socket.MSG_CTRUNC:
            self._lost += 1
        for frame in self._splitter.feed(data):
            if frame[0] != DESCRIPTOR:
                self._frames.append(frame)
            elif self._descriptors:
                self._on_descriptor(frame[1], self._descriptors.popleft())
            elif self._lost:
                self._lost -= 1
                self._on_descriptor(frame[1], -1)
            else:
                raise WireError("a descriptor was announced and none came")
        if len(self._descriptors) + self._lost > 1:
            raise WireError("descriptors that were not announced")
        return True

    # Frames go out.

    def send(self, frame: bytes) -> None:
        out = self._out
        if not out:
            self._loop.call_soon(self._flush)
        out.append(frame)

    def _flush(self) -> None:
        sock = self._sock
        if sock is None:
            return
        out, self._out = self._out, []
        if self._unsent:
            self._unsent += b"".join(out)
        elif out:
            data = out[0] if len(out) == 1 else b"".join(out)
            self._unsent = self._send(sock, data)
            if self._unsent:
                self._loop.add_writer(sock.fileno(), self._on_writable)

    def _on_writable(self) -> None:
        sock = self._sock
        assert sock is not None
        self._unsent = self._send(sock, self._unsent)
        if not self._unsent:
            self._loop.remove_writer(sock.fileno())

    def _send(self, sock: socket.socket, data: bytes) -> bytes:
        """Send what the socket takes; return the rest."""
        try:
            return data[sock.send(data) :]
        except (BlockingIOError, InterruptedError):
            return data
        except OSError:
            return b""  # the worker has gone, and nobody reads it

    def close(self) -> None:
        """Close the socket and what has come over it and was not handed on. May be called twice."""
        while self._descriptors:
            os.close(self._descriptors.popleft())
        self._out.clear()
        self._frames.clear()
        sock, self._sock = self._sock, None
        if sock is not None:
            self._loop.remove_reader(sock.fileno())
            self._loop.remove_writer(sock.fileno())
            sock.close()


class WorkerLink:
    """Both channels and the scoreboard of one worker; the ``Channel`` that its ``Worker`` sends through."""

    def __init__(self, loop: asyncio.AbstractEventLoop, pool: Pool, scoreboard_fd: int) -> None:
        self._loop = loop
        self._pool = pool
        self._page = mmap.mmap(scoreboard_fd, PAGE_BYTES)
        self.scoreboard = Scoreboard(memoryview(self._page))
        self._worker: Worker | None = None
        self._death = ""
        self._is_orphan = False
        self._data = _Channel(loop, self._on_frames, self._on_data_end)
        self._control = _Control(loop, self._on_frames, self._on_descriptor, self._on_control_end)
        self.send_data = self._data.send
        self.send_control = self._control.send
        self.receive_descriptors = self._control.receive_descriptors

    async def connect(self, worker: Worker, data: socket.socket, control: socket.socket) -> None:
        """Take the sockets over and begin to listen."""
        self._worker = worker
        self._control.open(control)
        await self._loop.create_unix_connection(lambda: self._data, sock=data)

    def died(self, how: str) -> None:
        """The worker was waited for. What it wrote before is read first: EOF says when, or a moment's patience."""
        self._death = how
        if self._data.is_ended:
            self._bury()
        else:
            # A grandchild that inherited the channel would keep EOF away (D15).
            self._loop.call_later(0.1, self._bury)

    def master_gone(self) -> None:
        """Nobody will tell of the worker's death any more: the end of its channel has to do."""
        self._is_orphan = True
        if self._data.is_ended:
            self.died("ended after the master")

    def _bury(self) -> None:
        worker, self._worker = self._worker, None
        if worker is not None:
            self._pool.remove(worker.number, self._death)
            if self._is_orphan and not self._pool.workers:
                self._pool.set_reason("the master is gone")
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

    def _on_descriptor(self, stream: int, fd: int) -> None:
        worker = self._worker
        if worker is not None:
            self._pool.descriptor_received(worker, stream, fd)
        elif fd >= 0:
            os.close(fd)

    def _on_data_end(self, why: str) -> None:
        worker = self._worker
        if worker is None:
            return
        if why:
            self._pool.break_off(worker, why)
        worker.is_open = False
        if self._death:
            self._bury()
        elif self._is_orphan:
            self.died("ended after the master")

    def _on_control_end(self, why: str) -> None:
        if self._worker is not None:
            self._pool.break_off(self._worker, why)

    def close(self) -> None:
        """Close both sockets; the page stays readable until the worker is buried."""
        self._data.close()
        self._control.close()
