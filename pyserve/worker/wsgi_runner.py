"""Step 5: what both WSGI runners share: reading channels, meeting requests, news from the watcher.

I/O: poll over the data sockets and a wake-up pipe, in the one thread that calls ``serve``. Everything is flushed
before it waits. No signal handlers, no exit: the same runner works in a worker process and inside a caller's own
process.

Threads: ``serve`` meets requests; the watcher calls the methods marked *watcher*.
"""

from __future__ import annotations

import os
import select
import socket
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterable
from io import BytesIO
from typing import Any

from ..wire.frames import BODY, BODY_LAST, BUSY, HELLO, REQUEST, VERSION, WSGI, frame
from ..wire.scoreboard import Scoreboard
from . import stacks
from .channel import READ_BYTES, STARTED, WAITING, Channel, Desk
from .environ import Environs
from .wsgi import WsgiStream
from .wsgi_input import Input

_BODIES = (BODY, BODY_LAST)
HELD_AHEAD = 32
"""Requests per front that may wait here beside those that run; more are given back as BUSY."""


class WsgiRunner(Desk):
    """``threads``: how many requests may run at once."""

    def __init__(
        self, app: Callable[..., Iterable[bytes]], scoreboard: Scoreboard, threads: int, is_multiprocess: bool = True
    ) -> None:
        super().__init__(scoreboard)
        self.app = app
        self.threads = threads
        self.environs = Environs(sys.stderr, threads > 1, is_multiprocess)
        self.pending: deque[WsgiStream] = deque()
        self.is_stopping = False
        self._new_channels: deque[Channel] = deque()
        self._by_fd: dict[int, Channel] = {}
        self._poll = select.poll()
        self._wake_r, self._wake_w = os.pipe()
        os.set_blocking(self._wake_r, False)
        os.set_blocking(self._wake_w, False)
        self._poll.register(self._wake_r, select.POLLIN)
        self._buffer = bytearray(READ_BYTES)
        self._view = memoryview(self._buffer)

    # -- called by anybody, also from a signal handler: takes no lock

    def stop(self) -> None:
        """Finish what runs, then let ``serve`` return."""
        self.is_stopping = True
        self.wake()

    def wake(self) -> None:
        try:
            os.write(self._wake_w, b"\0")
        except OSError:
            pass  # full: it is awake; closed: it has ended

    # -- watcher

    def add_channel(self, front: int, data: socket.socket, control: socket.socket) -> Channel:
        """Say HELLO to a front and serve it from now on."""
        data.setblocking(True)
        channel = Channel(front, data, control)
        with self.lock:
            self.started[front] = 0
            self.channels.append(channel)
        self._new_channels.append(channel)
        channel.out.append(frame(HELLO, 0, bytes((WSGI, VERSION))))
        channel.flush()
        self.wake()
        return channel

    def give_credit(self, channel: Channel, number: int, credit: int) -> None:
        with self.lock:
            stream = channel.streams.get(number)
            if stream is not None:
                stream.available += credit
                if stream.condition is not None:
                    stream.condition.notify_all()

    def client_gone(self, channel: Channel, number: int) -> None:
        stream = self.disconnect(channel, number)
        if stream is not None:
            self._tell_waiter(stream)

    def client_half_closed(self, channel: Channel, number: int) -> None:
        """Means nothing to WSGI: the body was gathered before, and the answer is still wanted."""

    def front_gone(self, channel: Channel) -> None:
        """Its process died: nobody waits for any of its answers."""
        with self.lock:
            channel.is_dead = True
            streams = list(channel.streams.values())
            for stream in streams:
                stream.is_gone = True
        for stream in streams:
            self._tell_waiter(stream)
        self.wake()

    def hurry(self, channel: Channel) -> None:
        """A front wants its requests back: write the answers that are finished but kept."""
        channel.flush()

    def stack_of(self, channel: Channel, number: int) -> str:
        """Where a stream is just now; "" if it does not run here."""
        stream = channel.streams.get(number)
        if stream is None or stream.state != STARTED:
            return "" if self.is_over(channel, number) else self.held_by()
        ident = self.thread_of(stream)
        return "" if ident is None else stacks.of_thread(ident)

    def held_by(self) -> str:
        """Where the thread is that would have to begin a stream, "" = nothing of the application's holds it."""
        return ""

    def thread_of(self, stream: WsgiStream) -> int | None:
        """Return the identifier of the thread that runs a stream, None if none does (any more)."""
        raise NotImplementedError

    def _tell_waiter(self, stream: WsgiStream) -> None:
        with self.lock:
            if stream.condition is not None:
                stream.condition.notify_all()
        self.wake()

    # -- the thread that serves

    def serve(self) -> None:
        raise NotImplementedError

    def wait_for_credit(self, stream: WsgiStream) -> None:
        with self.lock:
            if stream.condition is None:
                stream.condition = threading.Condition(self.lock)
            while stream.available <= 0 and not stream.is_gone:
                stream.condition.wait()

    def wait_for_body(self, stream: WsgiStream) -> None:
        raise NotImplementedError

    def flush_all(self) -> None:
        for channel in self.channels:
            if channel.out:
                channel.flush()

    def wait_for_frames(self) -> None:
        """Wait until a front or the watcher has something, and take it in."""
        for fd, _ in self._poll.poll():
            if fd == self._wake_r:
                self._take_news()
                continue
            channel = self._by_fd.get(fd)
            if channel is None:
                continue
            try:
                count = channel.data.recv_into(self._buffer)
            except OSError:
                count = 0
            if count:
                self._meet(channel, bytes(self._view[:count]))
            else:
                self.front_gone(channel)
                self._drop(channel)

    def _take_news(self) -> None:
        try:
            os.read(self._wake_r, 4096)
        except BlockingIOError:
            pass
        while self._new_channels:
            channel = self._new_channels.popleft()
            self._by_fd[channel.data.fileno()] = channel
            self._poll.register(channel.data.fileno(), select.POLLIN)
        for channel in [c for c in self._by_fd.values() if c.is_dead]:
            self._drop(channel)

    def _drop(self, channel: Channel) -> None:
        fd = channel.data.fileno()
        if self._by_fd.pop(fd, None) is not None:
            self._poll.unregister(fd)
        with self.lock:
            if channel in self.channels:
                self.channels.remove(channel)
        # The send lock: a thread may be writing to it just now.
        with channel.send_lock:
            channel.data.close()

    def _meet(self, channel: Channel, data: bytes) -> None:
        """Take in what a front sent: requests to the pending ones, body bytes to their streams."""
        pending = self.pending
        streams = channel.streams
        frames = channel.splitter.feed(data)
        with self.lock:
            limit = self.threads + HELD_AHEAD * len(self.channels)
            for kind, number, payload in frames:
                if kind == REQUEST:
                    channel.last_met = number
                    if channel.refused and number in channel.refused:
                        channel.refused.discard(number)
                        continue
                    is_gone = False
                    if channel.gone_early and number in channel.gone_early:
                        channel.gone_early.discard(number)
                        is_gone = True
                    elif len(pending) >= limit:
                        channel.out.append(frame(BUSY, number))
                        continue
                    stream = WsgiStream(channel, number, payload, self)
                    stream.is_gone = is_gone
                    streams[number] = stream
                    pending.append(stream)
                elif kind in _BODIES:
                    known = streams.get(number)
                    if known is None:
                        continue  # of a stream that is over or was given back
                    if payload:
                        known.chunks.append(payload)
                    if kind == BODY_LAST:
                        known.has_whole_body = True
                    if known.condition is not None:
                        known.condition.notify_all()

    def run(self, stream: WsgiStream) -> None:
        """Answer a stream that was marked as started."""
        if stream.is_gone:
            stream.drop()
            return
        environ = self.environs.make(stream.payload)
        environ["wsgi.input"] = Input(stream) if stream.payload[0] & 1 else BytesIO()
        environ["wsgi.early_hints"] = stream.early_hints
        stream.run(self.app, environ)

    def give_back(self) -> None:
        """Return what has not started to the fronts."""
        with self.lock:
            while self.pending:
                stream: Any = self.pending.popleft()
                if stream.state == WAITING:
                    stream.channel.streams.pop(stream.number, None)
                    stream.channel.out.append(frame(BUSY, stream.number))
        self.flush_all()

    def close(self) -> None:
        """Close what belongs to this runner, after ``serve`` returned."""
        for channel in list(self.channels):
            self._drop(channel)
        while self._new_channels:
            self._new_channels.popleft().data.close()
        os.close(self._wake_r)
        os.close(self._wake_w)
