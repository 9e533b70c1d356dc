"""Steps 2 and 3 of the request path: connections are taken from the kernel, as many as there is room for.

I/O: the listening sockets. Room is what ``max_connections`` and the limit of open files leave. Far from full, the event
loop's own server accepts (it costs a third less). Near it, connections are accepted here one by one, so that never one
too many is: idle ones are closed first, those idle longest, and when none is left new ones wait in the kernel's queue.
So a front never meets the end of its descriptors, and a full one costs nothing.
"""

from __future__ import annotations

import asyncio
import enum
import errno
import heapq
import os
import resource
import socket
from collections.abc import Callable, Sequence

from pyserve.front.context import NEVER, Context

BACKLOG = 2048
BURST = BACKLOG
"""So many the event loop's server may accept before anybody can stop it."""
AT_ONCE = 64
"""Accepted in one turn, near full."""
SHED_PART = 64
"""Of the connections, one in so many is closed at once when room is needed."""
RESERVED_DESCRIPTORS = 64
"""For logs, listeners, the master's channel, and files that are just being opened."""
_OUT_OF = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)

ProtocolFactory = Callable[[], asyncio.Protocol]


class State(enum.Enum):
    OPEN = "open"
    """The event loop's server accepts."""
    NEARLY_FULL = "nearly full"
    """We accept, one by one."""
    SHUT = "shut"
    """Nobody does, until a connection ends or becomes idle."""
    CLOSED = "closed"


class Acceptor:
    """One per front. The context knows it as ``acceptor``, its ``crowd`` and ``is_shut`` are set here."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        context: Context,
        listeners: Sequence[tuple[socket.socket, ProtocolFactory]],
        other_descriptors: Callable[[int], int],
    ) -> None:
        """``other_descriptors``: how many of those allowed the rest of the front may need: channels, files."""
        self._loop = loop
        self._context = context
        self._listeners = listeners
        self._other_descriptors = other_descriptors
        self._servers: list[asyncio.Server] = []
        self._tasks: set[asyncio.Task[object]] = set()
        self._arriving = 0
        # asyncio's own server makes a task of each connection too, and drops those under way when it is closed.
        self._has_server = not isinstance(loop, asyncio.BaseEventLoop)
        self._state = State.NEARLY_FULL
        self.capacity = 0

    async def open(self) -> None:
        """Begin to accept."""
        self._measure()
        limit = self._context.limits.max_connections
        if self.capacity < limit:
            files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
            self._context.error_log.info(
                f"room for {self.capacity} connections, not for max_connections = {limit}: "
                f"this process may have {files} files open (ulimit -n, LimitNOFILE= of systemd)"
            )
        if self._has_server and self.capacity > 2 * BURST:
            await self._open_servers()
        else:
            self._accept_ourselves()

    def _measure(self) -> None:
        """The limit may be changed while we run, so it is asked for again."""
        limit = self._context.limits.max_connections
        files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        if files != resource.RLIM_INFINITY:
            # A quarter is for those that need a second one: the duplicate of a socket while a file is sent, a spooled
            # answer. LIMIT: more than that at once, and some of them are cut.
            others = RESERVED_DESCRIPTORS + self._other_descriptors(files)
            limit = min(limit, max(8, files - files // 4 - others))
        self.capacity = limit
        if self._state is State.OPEN:
            self._context.crowd = limit - BURST

    # Far from full.

    async def _open_servers(self) -> None:
        self._state = State.OPEN
        self._context.crowd = self.capacity - BURST
        for listener, factory in self._listeners:
            if self._state is not State.OPEN:  # it filled up, or was closed, meanwhile
                return
            own = socket.socket(fileno=os.dup(listener.fileno()))
            create = self._loop.create_unix_server if own.family == socket.AF_UNIX else self._loop.create_server
            server = await create(factory, sock=own, backlog=BACKLOG)
            if self._state is State.OPEN:
                self._servers.append(server)
            else:
                server.close()

    def crowded(self) -> None:
        """Room is getting scarce."""
        if self._state is State.OPEN:
            self._close_servers()
            self._accept_ourselves()

    def _close_servers(self) -> None:
        servers, self._servers = self._servers, []
        for server in servers:
            server.close()

    # Near full.

    def _accept_ourselves(self) -> None:
        self._state = State.NEARLY_FULL
        self._context.crowd = NEVER
        self._context.is_shut = False
        for listener, factory in self._listeners:
            self._loop.add_reader(listener.fileno(), self._accept, listener, factory)

    def _shut(self) -> None:
        if self._state is State.NEARLY_FULL:
            self._state = State.SHUT
            self._context.is_shut = True
            for listener, _ in self._listeners:
                self._loop.remove_reader(listener.fileno())

    def _accept(self, listener: socket.socket, factory: ProtocolFactory) -> None:
        for _ in range(AT_ONCE):
            if len(self._context.connections) + self._arriving >= self.capacity:
                if self._arriving:
                    return  # asked again in the next turn, if anybody is still waiting then
                self._make_room()
                self._shut()
                return
            try:
                self._take(listener, factory)
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:
                if error.errno not in _OUT_OF:
                    raise
                # The whole machine is short of something. The sweep tries again.
                self._context.error_log.seldom("warning", "accept", f"can't accept connections: {error.strerror}")
                self._make_room()
                self._shut()
                return

    def _take(self, listener: socket.socket, factory: ProtocolFactory) -> None:
        """Accept one connection; raise ``OSError`` if there is none."""
        accepted, _ = listener.accept()
        accepted.setblocking(False)
        self._arriving += 1
        task: asyncio.Task[object] = self._loop.create_task(self._loop.connect_accepted_socket(factory, accepted))
        self._tasks.add(task)
        task.add_done_callback(self._arrived)

    def _arrived(self, task: asyncio.Task[object]) -> None:
        self._arriving -= 1
        self._tasks.discard(task)
        if not task.cancelled():
            task.exception()  # a client that left at once is no news

    def _make_room(self) -> None:
        """Close connections that have been idle longest; say so if there are none."""
        connections = self._context.connections
        idle = [connection for connection in connections if connection.is_sheddable]
        if not idle:
            self._context.error_log.seldom(
                "warning", "full", f"full: {len(connections)} connections, none of them idle; new ones wait"
            )
            return
        count = max(1, len(connections) // SHED_PART)
        for connection in heapq.nsmallest(count, idle, key=lambda connection: connection.deadline):
            connection.close_idle()
        self._context.error_log.seldom(
            "warning", "shed", f"full: {len(connections)} connections; those idle longest are closed for new ones"
        )

    # What happens meanwhile.

    def left(self) -> None:
        """A connection ended while the door was shut."""
        if self._state is State.SHUT and len(self._context.connections) + self._arriving < self.capacity:
            self._accept_ourselves()

    def sweep(self) -> None:
        """Every 250 ms: a connection may have become idle, the limit may have changed, it may be quiet again."""
        if self._state is State.CLOSED:
            return
        self._measure()
        connections = len(self._context.connections)
        if self._state is State.OPEN and connections >= self._context.crowd:
            self.crowded()
        elif self._state is State.SHUT:
            if connections < self.capacity or any(c.is_sheddable for c in self._context.connections):
                self._accept_ourselves()
        elif self._has_server and self._state is State.NEARLY_FULL and connections < self.capacity - 2 * BURST:
            for listener, _ in self._listeners:
                self._loop.remove_reader(listener.fileno())
            self._state = State.OPEN
            task: asyncio.Task[object] = self._loop.create_task(self._open_servers())
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    @property
    def is_arriving(self) -> bool:
        """Are there connections that were accepted and have not been made yet?"""
        return self._arriving > 0

    def close(self) -> None:
        """Accept what waits in the kernel's queues, which would be reset otherwise, then let go of the listeners."""
        self._shut()
        self._state = State.CLOSED
        self._context.is_shut = False
        self._close_servers()
        room = self.capacity - len(self._context.connections)
        for listener, factory in self._listeners:
            try:
                while room > 0:
                    self._take(listener, factory)
                    room -= 1
            except OSError:
                pass  # no more of them, or none can be taken
            listener.close()
