"""Admin connections whose question a front is answering.

I/O: holds a copy of each connection until the client has closed it (a front ends its answer by shutting the sending
side down). Invariant: a question is asked of another front when the one that was asked dies, because what was passed
to a dying process is lost without a word.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Any

from pyserve.master import control
from pyserve.master.fronts import Fronts
from pyserve.master.loop import Loop, Timer
from pyserve.wire import messages

NO_FRONT = b'{"error": "no front is running; try again"}\n'
NO_SUCH_FRONT = b'{"error": "no such front is running"}\n'
DEADLINE_S = 10.0


class Questions:
    """``facts()`` makes what the master knows, at the moment of asking."""

    def __init__(self, loop: Loop, fronts: Fronts, facts: Callable[[], dict[str, Any]]) -> None:
        self._loop = loop
        self._fronts = fronts
        self._facts = facts
        self._asked: dict[int, tuple[socket.socket, int, Timer]] = {}
        self._of_one_front: set[int] = set()

    def ask(self, connection: socket.socket) -> None:
        """Take a connection over and pass it to a front that can answer."""
        front = self._fronts.any_ready()
        if front is None:
            control.answer(connection, NO_FRONT)
            return
        fd = self._keep(connection, front)
        self._fronts.tell(front, messages.pack_values(messages.STATUS, (self._facts(),), 1), [fd])

    def ask_one(self, connection: socket.socket, front: int, what: str, app: int, stream: int) -> None:
        """Pass a connection to the very front that its question is about, which alone knows its requests."""
        if front not in self._fronts.connected():
            control.answer(connection, NO_SUCH_FRONT)
            return
        fd = self._keep(connection, front)
        self._of_one_front.add(fd)
        self._fronts.tell(front, messages.pack_values(messages.ASK, (what, app, stream), 1), [fd])

    def _keep(self, connection: socket.socket, front: int) -> int:
        fd = connection.fileno()
        timer = self._loop.after(DEADLINE_S, lambda: self._close(fd))
        self._asked[fd] = (connection, front, timer)
        self._loop.watch(fd, lambda mask: self._on_readable(fd))
        return fd

    def front_ended(self, front: int) -> None:
        for fd, (connection, asked, timer) in list(self._asked.items()):
            if asked == front:
                del self._asked[fd]
                timer.cancel()
                self._loop.forget(fd)
                if fd in self._of_one_front:
                    self._of_one_front.discard(fd)
                    control.answer(connection, NO_SUCH_FRONT)
                else:
                    self.ask(connection)

    def _on_readable(self, fd: int) -> None:
        connection, _front, _timer = self._asked[fd]
        try:
            if connection.recv(4096):
                return  # nobody waits for more than one line
        except BlockingIOError:
            return
        except OSError:
            pass
        self._close(fd)

    def _close(self, fd: int) -> None:
        connection, _front, timer = self._asked.pop(fd)
        self._of_one_front.discard(fd)
        timer.cancel()
        self._loop.forget(fd)
        connection.close()

    def close(self) -> None:
        for fd in list(self._asked):
            self._close(fd)
