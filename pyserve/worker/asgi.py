"""Step 5: the ASGI runner. It starts a task per request on the loop and writes all answers of a turn at once.

I/O: the data sockets, through transports of the given loop. No signal handlers, no exit, no loop of its own: the same
runner works in a worker process and inside a caller's loop. The watcher's news come in by ``call_soon_threadsafe``,
once per turn however many there are.

HOT: benchmarks/hello_asgi.py.
"""

from __future__ import annotations

import asyncio
import socket
import sys
import threading
from collections import deque
from collections.abc import Callable
from time import monotonic_ns
from typing import Any

from ..wire.codec import RESERVED
from ..wire.frames import ASGI, BODY, BODY_LAST, BUSY, HELLO, REQUEST, SOCKET, VERSION, frame
from ..wire.scoreboard import Scoreboard
from . import stacks
from .asgi_stream import AsgiStream
from .channel import STARTED, Channel, Desk
from .scopes import Scopes

_BEAT_S = 0.02
"""The front calls a loop stuck whose heartbeat is older than 50 ms (D11)."""
_HELD_UP_NS = 500_000_000
"""Since the last heartbeat, while a request runs."""

# The application's task factory is not touched: only the request's own task starts at once, where Python can.
_EAGER: dict[str, Any] = {"eager_start": True} if sys.version_info >= (3, 12) else {}
_BODIES = (BODY, BODY_LAST)
_RESTART = 1012
"""The close code that says that this service begins anew (IANA registry of WebSocket close codes)."""


class _Data(asyncio.Protocol):
    """The data socket of one front."""

    def __init__(self, runner: AsgiRunner, channel: Channel) -> None:
        self._runner = runner
        self._channel = channel

    def data_received(self, data: bytes) -> None:
        self._runner.take_frames(self._channel, data)

    def connection_lost(self, exc: Exception | None) -> None:
        self._runner.data_lost(self._channel)


class AsgiRunner(Desk):
    """``concurrency``: streams at once; more are given back as BUSY, and so are more WebSockets than ``websockets``,
    which are counted apart. ``state``: what the lifespan left, copied into each scope.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        app: Callable[..., Any],
        scoreboard: Scoreboard,
        concurrency: int,
        state: dict[str, Any],
        websockets: int = 1000,
    ) -> None:
        super().__init__(scoreboard)
        self.loop = loop
        self.app = app
        self.concurrency = concurrency
        self.scopes = Scopes(state)
        self.is_stopping = False
        self.tasks: dict[Any, asyncio.Task[None]] = {}
        self.running = 0  # streams met and not over, but those of
        self.sockets = 0
        self._most_sockets = websockets
        self._transports: dict[Channel, asyncio.WriteTransport] = {}
        self._beats = False
        self._news: deque[tuple[str, Any, Any]] = deque()
        self._has_news_due = False
        self._thread = threading.get_ident()
        self._stopped: asyncio.Future[None] = loop.create_future()

    # -- from any thread

    def stop(self) -> None:
        """Finish what runs, then let ``wait_stopped`` return."""
        self.is_stopping = True
        self._tell("stop", None, None)

    def add_channel(self, front: int, data: socket.socket, control: socket.socket) -> Channel:
        """Say HELLO to a front and serve it from now on."""
        data.setblocking(False)
        channel = Channel(front, data, control)
        with self.lock:
            self.started[front] = 0
            self.channels.append(channel)
        self._tell("channel", channel, None)
        return channel

    # -- from the watcher

    def give_credit(self, channel: Channel, number: int, credit: int) -> None:
        self._tell("credit", channel.streams.get(number), credit)

    def client_gone(self, channel: Channel, number: int) -> None:
        stream = self.disconnect(channel, number)
        if stream is not None:
            self._tell("gone", stream, None)

    def client_half_closed(self, channel: Channel, number: int) -> None:
        stream = channel.streams.get(number)
        if stream is not None:
            stream.is_half_closed = True
            self._tell("gone", stream, None)

    def front_gone(self, channel: Channel) -> None:
        channel.is_dead = True
        self._tell("front gone", channel, None)

    def hurry(self, channel: Channel) -> None:
        """Answers are never kept longer than a turn of the loop: nothing to do."""

    def stack_of(self, channel: Channel, number: int) -> str:
        """Where a stream is just now, and what holds the loop up if it does not turn; "" if it does not run here."""
        stream = channel.streams.get(number)
        if stream is None or stream.state != STARTED:
            held = "" if self.is_over(channel, number) else stacks.in_application(self._thread)
            return held and f"not begun; the loop is held up:\n{held}"
        task = self.tasks.get(stream)
        if task is None:
            # It is being started in this very moment, by the loop's own thread.
            return stacks.of_thread(self._thread)
        text = stacks.of_task(task, self._thread)
        if monotonic_ns() - self.scoreboard.heartbeat_ns() > _HELD_UP_NS:
            held = stacks.in_application(self._thread)
            if held and held not in text:
                text += f"and the loop is held up:\n{held}"
        return text

    def _tell(self, what: str, about: Any, value: Any) -> None:
        self._news.append((what, about, value))
        # SAFETY: the loop clears the mark before it empties the deque, so nothing appended is left without a call.
        if not self._has_news_due:
            self._has_news_due = True
            try:
                self.loop.call_soon_threadsafe(self._take_news)
            except RuntimeError:
                pass  # the loop is closed: there is nobody to tell

    # -- on the loop

    def _take_news(self) -> None:
        self._has_news_due = False
        news = self._news
        while news:
            what, about, value = news.popleft()
            if what == "credit":
                if about is not None:
                    about.available += value
                    about.wake()
            elif what == "gone":
                about.wake()
            elif what == "front gone":
                self._drop(about)
            elif what == "channel":
                self.tasks[about] = self.loop.create_task(self._connect(about))
            elif what == "stop":
                if self.sockets:
                    self._shut_sockets()
                self._check_stopped()

    async def _connect(self, channel: Channel) -> None:
        try:
            transport, _ = await self.loop.create_unix_connection(lambda: _Data(self, channel), sock=channel.data)
            self._transports[channel] = transport
            transport.write(frame(HELLO, 0, bytes((ASGI, VERSION))))
        except OSError:
            self._drop(channel)
        finally:
            self.task_over(channel)

    def data_lost(self, channel: Channel) -> None:
        channel.is_dead = True
        self._drop(channel)

    def _drop(self, channel: Channel) -> None:
        """A front died: nobody waits for any of its answers."""
        transport = self._transports.pop(channel, None)
        if transport is not None:
            transport.abort()
        with self.lock:
            if channel in self.channels:
                self.channels.remove(channel)
            for stream in channel.streams.values():
                stream.is_gone = True
        for stream in list(channel.streams.values()):
            stream.wake()

    def _is_reserve_free(self, payload: bytes) -> bool:
        """May this request run although as many do as may? One of those for which a place is kept."""
        return self.running == self.concurrency and bool(payload[0] & RESERVED)

    def take_frames(self, channel: Channel, data: bytes) -> None:
        """Everything that one front sent in this turn."""
        self.scoreboard.beat(monotonic_ns())
        if not self._beats:
            self._beats = True
            self.loop.call_later(_BEAT_S, self._beat)
        streams = channel.streams
        begun: list[Any] = []
        frames = channel.splitter.feed(data)
        with self.lock:
            for kind, number, payload in frames:
                if kind == REQUEST:
                    channel.last_met = number
                    if channel.refused and number in channel.refused:
                        channel.refused.discard(number)
                        continue
                    if self.running >= self.concurrency and not self.is_stopping and not self._is_reserve_free(payload):
                        self.post(channel, frame(BUSY, number))
                        continue
                    stream = streams[number] = AsgiStream(channel, number, payload, self)
                    if channel.gone_early and number in channel.gone_early:
                        channel.gone_early.discard(number)
                        stream.is_gone = True
                    # While stopping nothing begins. Giving it back would bring it here again and again: it has not
                    # started, so the front moves it when it recalls it or when this process ends.
                    if not self.is_stopping:
                        self.running += 1
                        begun.append(stream)
                elif kind in _BODIES:
                    known = streams.get(number)
                    if known is not None:
                        known.take_body(payload, kind == BODY_LAST)
                elif kind == SOCKET:
                    self._meet_socket(channel, number, payload, begun)
                else:
                    known = streams.get(number)
                    if known is not None:
                        known.take(kind, payload)
        # SAFETY: not under the lock, because an eager task runs the application here.
        for stream in begun:
            task = asyncio.Task(stream.run(), loop=self.loop, **_EAGER)
            if not task.done():
                self.tasks[stream] = task  # the loop itself holds tasks weakly

    def _meet_socket(self, channel: Channel, number: int, payload: bytes, begun: list[Any]) -> None:
        """The handshake of a WebSocket arrived."""
        from .asgi_websocket import AsgiWebSocket  # many applications have none

        channel.last_met = number
        if self.sockets >= self._most_sockets or self.is_stopping:
            self.post(channel, frame(BUSY, number))
        else:
            stream = channel.streams[number] = AsgiWebSocket(channel, number, payload, self)
            self.sockets += 1
            begun.append(stream)

    def post(self, channel: Channel, data: bytes) -> None:
        """Send a frame with all others of this turn."""
        out = channel.out
        if not out:
            # The turn's tasks are already queued before this, so their frames are in `out` when it runs.
            self.loop.call_soon(self.flush, channel)
        out.append(data)

    def flush(self, channel: Channel) -> None:
        """Write what this turn has for a front."""
        out = channel.out
        transport = self._transports.get(channel)
        if transport is not None and out:
            transport.write(out[0] if len(out) == 1 else b"".join(out))
        out.clear()

    def stream_recalled(self) -> None:
        """A stream was recalled between its REQUEST and its start."""
        self.running -= 1

    def task_over(self, owner: Any) -> None:
        self.tasks.pop(owner, None)
        if self.is_stopping:
            self.loop.call_soon(self._check_stopped)

    def _beat(self) -> None:
        self.scoreboard.beat(monotonic_ns())
        if self.running:
            self.loop.call_later(_BEAT_S, self._beat)
        else:
            self._beats = False

    def _shut_sockets(self) -> None:
        """A WebSocket has no end of its own that could be waited for. Fronts close them before they have a worker
        stopped: these are of one that somebody else ends.
        """
        for channel in self.channels:
            for stream in list(channel.streams.values()):
                shut = getattr(stream, "shut", None)
                if shut is not None:
                    shut(_RESTART)

    def _check_stopped(self) -> None:
        if self.is_stopping and not self.tasks and not self._stopped.done():
            self._stopped.set_result(None)

    async def wait_stopped(self) -> None:
        """Return when ``stop`` was called and everything that ran is over and written."""
        await self._stopped
        for channel in list(self._transports):
            self.flush(channel)

    async def close(self) -> None:
        """Close the data sockets once everything in their buffers is written."""
        for channel, transport in list(self._transports.items()):
            self.flush(channel)
            transport.close()
        # A transport closes in a later turn.
        for _ in range(100):
            if not self._transports:
                break
            await asyncio.sleep(0.01)
