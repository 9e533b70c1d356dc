"""The master's loop: a selector, timers, and channels that call back.

I/O: waits on descriptors. One thread; nothing that is called from here may block. A ``Line`` is a channel in the
loop: it owns the channel, delivers its messages and says once when the other end is gone or broke the rules.
"""

from __future__ import annotations

import heapq
import os
import selectors
import time
from collections.abc import Callable, Sequence

from pyserve.net.channels import MessageChannel
from pyserve.wire.frames import WireError

_LONGEST_WAIT_S = 60.0


class Timer:
    __slots__ = ("call", "when")

    def __init__(self, when: float, call: Callable[[], None]) -> None:
        self.when = when
        self.call: Callable[[], None] | None = call

    def cancel(self) -> None:
        self.call = None

    def __lt__(self, other: Timer) -> bool:
        return self.when < other.when


class Loop:
    def __init__(self) -> None:
        self._selector = selectors.DefaultSelector()
        self._timers: list[Timer] = []

    @staticmethod
    def now() -> float:
        return time.monotonic()

    def watch(self, fd: int, on_event: Callable[[int], None], *, write: bool = False) -> None:
        """Call ``on_event(mask)`` when ``fd`` is readable (or, with ``write``, writable too); again to change it."""
        events = selectors.EVENT_READ | (selectors.EVENT_WRITE if write else 0)
        try:
            self._selector.modify(fd, events, on_event)
        except KeyError:
            self._selector.register(fd, events, on_event)

    def forget(self, fd: int) -> None:
        """Stop watching; before the descriptor is closed."""
        try:
            self._selector.unregister(fd)
        except KeyError:
            pass

    def after(self, delay_s: float, call: Callable[[], None]) -> Timer:
        timer = Timer(self.now() + delay_s, call)
        heapq.heappush(self._timers, timer)
        return timer

    def turn(self) -> None:
        """Wait for something to happen and let it be handled."""
        while self._timers and self._timers[0].call is None:
            heapq.heappop(self._timers)
        wait_s = _LONGEST_WAIT_S
        if self._timers:
            wait_s = min(wait_s, max(0.0, self._timers[0].when - self.now()))
        for key, mask in self._selector.select(wait_s):
            # An earlier callback of this turn may have forgotten it, or closed it and opened another of that number.
            if self._selector.get_map().get(key.fd) is key:
                key.data(mask)
        now = self.now()
        while self._timers and self._timers[0].when <= now:
            call = heapq.heappop(self._timers).call
            if call is not None:
                call()

    def close(self) -> None:
        self._timers.clear()
        self._selector.close()


class Line:
    """A channel in the loop. ``on_end(reason)``: "" = the other end closed it, else which rule it broke."""

    def __init__(
        self,
        loop: Loop,
        channel: MessageChannel,
        on_message: Callable[[int, bytes], None],
        on_end: Callable[[str], None],
        on_descriptors: Callable[[int, list[int]], None] | None = None,
    ) -> None:
        """``on_descriptors``: takes those of a message, before the message; normally nobody has a reason to give the
        master any, and they are closed."""
        self._loop = loop
        self._channel = channel
        self._on_message = on_message
        self._on_end = on_end
        self._on_descriptors = on_descriptors
        self._is_watching_write = False
        self.is_closed = False
        loop.watch(channel.fileno(), self._on_event)

    def send(self, message: bytes, descriptors: Sequence[int] = ()) -> None:
        """Send, never blocking; the descriptors stay the caller's. A closed line swallows it."""
        if self.is_closed:
            return
        self._channel.send(message, descriptors)
        self._update()

    def drain(self) -> None:
        """Deliver what was said before the end; for when the process is known to be dead."""
        if not self.is_closed:
            self._on_event(selectors.EVENT_READ)

    def close(self) -> None:
        """Close without calling ``on_end``. May be called twice."""
        if self.is_closed:
            return
        self.is_closed = True
        self._loop.forget(self._channel.fileno())
        self._channel.close()

    def _on_event(self, mask: int) -> None:
        if mask & selectors.EVENT_WRITE:
            self._channel.flush()
        reason = ""
        if mask & selectors.EVENT_READ:
            try:
                for kind, payload, descriptors in self._channel.receive():
                    if self._on_descriptors is not None and not self.is_closed:
                        self._on_descriptors(kind, descriptors)
                    else:
                        for fd in descriptors:
                            os.close(fd)
                    if not self.is_closed:
                        self._on_message(kind, payload)
            except WireError as error:
                reason = str(error)
        if self.is_closed:
            return
        if reason or self._channel.is_ended:
            self.close()
            self._on_end(reason)
        else:
            self._update()

    def _update(self) -> None:
        if self._channel.wants_write != self._is_watching_write:
            self._is_watching_write = self._channel.wants_write
            self._loop.watch(self._channel.fileno(), self._on_event, write=self._is_watching_write)
