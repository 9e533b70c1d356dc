"""The fronts: started, given what they need, replaced when they die.

I/O: through ``child`` and ``loop``. Invariant: a front's number is its column of the board for as long as the master
lives; a dead front's column is cleared before its successor starts.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from pyserve.errors import CannotStart
from pyserve.master import child, kernel
from pyserve.master.child import Front
from pyserve.master.loop import Line, Loop
from pyserve.master.resources import Resources
from pyserve.net.channels import MessageChannel
from pyserve.wire import messages

HOPELESS_STARTS = 3
"""So many fronts that end before any was ever ready are taken for a fault that starting again does not mend."""
CLOSED_BUT_ALIVE_S = 2.0


FrontCommand = Callable[[int], tuple[list[str], str | None]]
"""Descriptor of the channel -> command, and the folder to start it in (None = ours)."""


class FrontEvents(Protocol):
    """Who wants to know about fronts."""

    def front_started(self, front: int) -> None: ...
    def front_ready(self, front: int) -> None: ...
    def front_said(self, front: int, kind: int, worker: int) -> None: ...
    def front_told(self, front: int, kind: int, worker: int, text: str) -> None: ...
    def front_ended(self, front: int) -> None: ...
    def fronts_hopeless(self, words: str) -> None: ...


class Fronts:
    def __init__(self, loop: Loop, resources: Resources, command: FrontCommand, events: FrontEvents) -> None:
        self._loop = loop
        self._resources = resources
        self._command = command
        self._events = events
        self._fronts = [Front(number) for number in range(resources.config.server.fronts)]
        self._was_ever_ready = False
        self._failure = "the front process ends before it is ready; the error log says why"
        self._is_embedded = False
        self._is_stopping = False
        user = resources.config.server.user
        self._identity = kernel.identity_of(user) if user and kernel.is_root() else None

    def start(self) -> None:
        """Start all. Raises ``CannotStart`` if their user can't reach what they are made of."""
        if self._identity is not None and (reason := child.out_of_reach(self._identity)):
            raise CannotStart(reason)
        for front in self._fronts:
            self._start(front)

    def attach(self, channel: MessageChannel) -> None:
        """Take the embedding process for the only front."""
        self._is_embedded = True
        self._connect(self._fronts[0], channel)

    def _start(self, front: Front) -> None:
        if self._is_stopping:
            return
        channel, theirs = MessageChannel.pair()
        with theirs:
            command, cwd = self._command(theirs.fileno())
            try:
                front.pid = child.start(
                    command, theirs.fileno(), self._resources.error_fd, cwd=cwd, identity=self._identity
                )
            except OSError as error:
                channel.close()
                self._resources.log.error(f"front {front.number} could not be started: {error}")
                self._failure = f"the front can't be started: {error}"
                if self._identity is not None and isinstance(error, PermissionError):
                    self._failure += f" (as user {self._resources.config.server.user!r})"
                self._again(front, lived_s=0.0)
                return
        self._connect(front, channel)

    def _connect(self, front: Front, channel: MessageChannel) -> None:
        front.started_at = self._loop.now()
        front.starts += 1
        front.line = Line(
            self._loop,
            channel,
            lambda kind, payload: self._heard(front, kind, payload),
            lambda why: self._line_ended(front, why),
        )
        message, descriptors, own = self._resources.snapshot_for(front.number)
        front.line.send(message, descriptors)
        os.close(own)
        self._events.front_started(front.number)

    def _heard(self, front: Front, kind: int, payload: bytes) -> None:
        if kind == messages.FRONT_READY:
            front.is_ready = self._was_ever_ready = True
            self._events.front_ready(front.number)
        elif kind in (messages.WORKER_LEFT, messages.WORKER_MUTE):
            worker, text = messages.number_text(payload)
            self._events.front_told(front.number, kind, worker, text.decode("utf-8", "replace"))
        else:
            self._events.front_said(front.number, kind, messages.number(payload))

    def _line_ended(self, front: Front, why: str) -> None:
        if self._is_embedded:
            self._ended(front)
            return
        if why:
            self._resources.log.error(f"front {front.number} (pid {front.pid}) broke the rules of its channel: {why}")
        # Normally it is about to be waited for; one that only closed its channel is of no use.
        pid = front.pid
        self._loop.after(CLOSED_BUT_ALIVE_S, lambda: self._kill_if_still(front, pid))

    def _kill_if_still(self, front: Front, pid: int) -> None:
        if pid and front.pid == pid and not self._is_stopping:
            child.kill(pid)

    def reaped(self, pid: int, status: int) -> bool:
        """A child was waited for; return False if it was no front."""
        for front in self._fronts:
            if front.pid == pid:
                if front.line is not None:
                    front.line.drain()
                front.pid = 0
                if not self._is_stopping or status != 0:
                    self._resources.log.warning(f"front {front.number} (pid {pid}) {child.exit_words(status)}")
                self._ended(front)
                return True
        return False

    def _ended(self, front: Front) -> None:
        if front.line is not None:
            front.line.close()
            front.line = None
        lived_s = self._loop.now() - front.started_at if front.is_ready else 0.0
        front.is_ready = False
        self._resources.board.clear_front(front.number)
        self._events.front_ended(front.number)
        if not (self._is_stopping or self._is_embedded):
            self._again(front, lived_s)

    def _again(self, front: Front, lived_s: float) -> None:
        start_at = front.restarts.died(self._loop.now(), lived_s)
        if not self._was_ever_ready and front.restarts.short_lives >= HOPELESS_STARTS:
            self._events.fronts_hopeless(self._failure)
            return
        self._loop.after(start_at - self._loop.now(), lambda: self._start(front))

    def tell(self, number: int, message: bytes, descriptors: Sequence[int] = ()) -> bool:
        """Send to one front; False if there is none of that number now."""
        line = self._fronts[number].line
        if line is None:
            return False
        line.send(message, descriptors)
        return True

    def tell_all(self, kind: int, values: tuple[Any, ...], descriptors: Sequence[int] = ()) -> None:
        message = messages.pack_values(kind, values, len(descriptors))
        for front in self._fronts:
            self.tell(front.number, message, descriptors)

    def connected(self) -> set[int]:
        """Return the numbers of the fronts that can be talked to."""
        return {front.number for front in self._fronts if front.line is not None}

    @property
    def are_ready(self) -> bool:
        return all(front.is_ready for front in self._fronts)

    def any_ready(self) -> int | None:
        """Return the number of a front that can answer a question, None if there is none."""
        return next((front.number for front in self._fronts if front.is_ready and front.line is not None), None)

    @property
    def are_gone(self) -> bool:
        return all(front.pid == 0 and front.line is None for front in self._fronts)

    def drain(self, grace_s: float) -> None:
        """Tell all to finish what runs and exit; from now on none is replaced."""
        self._is_stopping = True
        self.tell_all(messages.DRAIN, (grace_s,))

    def kill(self) -> list[str]:
        """Kill what still runs; return what that was, in words."""
        self._is_stopping = True
        killed = [front for front in self._fronts if child.kill(front.pid, signal.SIGKILL)]
        if self._is_embedded and (line := self._fronts[0].line) is not None:
            line.close()
            self._ended(self._fronts[0])
        return [f"front {front.number} (pid {front.pid})" for front in killed]

    def facts(self) -> list[dict[str, Any]]:
        return [{"pid": front.pid, "restarts": max(0, front.starts - 1)} for front in self._fronts]
