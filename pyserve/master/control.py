"""The admin socket: one line in, an answer out.

I/O: a Unix socket that only this user and root may use: 0600 in a 0700 folder, and the peer's uid is checked.
Invariants: a line has a length and a deadline, the commands are a fixed list, nothing that was received is ever
echoed, and the master renders nothing but the fixed lines below.
"""

from __future__ import annotations

import os
import socket
import struct
import sys
from collections.abc import Callable

from pyserve.errors import CannotStart
from pyserve.master.loop import Loop, Timer
from pyserve.master.renewal import Outcome
from pyserve.net.listen import bind_unix, close_all
from pyserve.observe.error_log import ErrorLog

COMMANDS = ("status", "stop")
NUMBERED = {"top": 1, "stack": 3, "cancel": 3}
"""Commands that are followed by so many numbers: a front, and the app and stream of one of its requests."""
SCALE = "scale"
"""Followed by an application's name and a number."""
OF_AN_APP = ("renew", "renew-now")
"""Commands that the name of an application follows."""
MAX_LINE_BYTES = 256
DEADLINE_S = 5.0
MAX_CLIENTS = 32

NOT_ALLOWED = b'{"error": "not allowed: only the server\'s own user and root may"}\n'
TOO_MANY = b'{"error": "too many connections"}\n'
TOO_LONG = b'{"error": "the line is too long"}\n'
TOO_SLOW = b'{"error": "no command came in time"}\n'
UNKNOWN = b'{"error": "unknown command; known are status, stop, top, stack, cancel, scale, renew, renew-now"}\n'
NO_SUCH_APP = b'{"error": "there is no app of that name"}\n'
RENEWED: dict[Outcome, bytes] = {
    "renewed": b'{"renewed": true}\n',
    "kept": b'{"renewed": false, "serves": "the old code"}\n',
    "nothing serves": b'{"renewed": false, "serves": "nothing"}\n',
    "overtaken": b'{"renewed": false, "serves": "not known: another renewal has come, or the end"}\n',
}


class Admin:
    """``on_command(command, connection)`` gets the connection and owns it from then on."""

    def __init__(self, loop: Loop, path: str, log: ErrorLog, on_command: Callable[[str, socket.socket], None]) -> None:
        self._loop = loop
        self._log = log
        self._on_command = on_command
        self._clients: dict[int, _Client] = {}
        _make_folder(os.path.dirname(path))
        self._sock = bind_unix(path, 0o600)
        loop.watch(self._sock.fileno(), self._accept)

    def close(self) -> None:
        """Close everything and remove the socket's path."""
        self._loop.forget(self._sock.fileno())
        for client in list(self._clients.values()):
            client.close()
        close_all([self._sock])

    def _accept(self, mask: int) -> None:
        try:
            connection, _ = self._sock.accept()
        except OSError:
            return  # it left again, or there is no descriptor for it now
        connection.setblocking(False)
        if peer_uid(connection) not in (0, os.geteuid()):
            self._log.warning("admin socket: a stranger was refused")
            answer(connection, NOT_ALLOWED)
        elif len(self._clients) >= MAX_CLIENTS:
            answer(connection, TOO_MANY)
        else:
            self._clients[connection.fileno()] = _Client(self._loop, connection, self._done)

    def _done(self, client: _Client, line: bytes | None) -> None:
        """A client said its line, or None: it ran out of time or room and was answered."""
        del self._clients[client.fd]
        if line is None:
            return
        command = line.decode("utf-8", "replace").strip()
        if command in COMMANDS or is_command(command.split(" ")):
            self._on_command(command, client.connection)
        else:
            answer(client.connection, UNKNOWN)


def is_command(words: list[str]) -> bool:
    """Is this a command with what belongs behind it?"""
    if words[0] == SCALE:
        return len(words) == 3 and _is_number(words[2])
    if words[0] in OF_AN_APP:
        return len(words) > 1  # a name may have spaces
    return len(words) - 1 == NUMBERED.get(words[0], -1) and all(map(_is_number, words[1:]))


def _is_number(word: str) -> bool:
    return word.isascii() and word.isdigit() and len(word) <= 10


class _Client:
    """A connection until its line has come."""

    def __init__(self, loop: Loop, connection: socket.socket, on_done: Callable[[_Client, bytes | None], None]) -> None:
        self.connection = connection
        self.fd = connection.fileno()
        self._loop = loop
        self._on_done = on_done
        self._line = b""
        self._timer: Timer = loop.after(DEADLINE_S, self._too_slow)
        loop.watch(self.fd, self._read)

    def _read(self, mask: int) -> None:
        try:
            data = self.connection.recv(MAX_LINE_BYTES)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        self._line += data
        line, newline, _rest = self._line.partition(b"\n")
        if newline:
            self._release()
            self._on_done(self, line)
        elif not data:
            self.close()
            self._on_done(self, None)
        elif len(self._line) >= MAX_LINE_BYTES:
            self._refuse(TOO_LONG)

    def _too_slow(self) -> None:
        self._refuse(TOO_SLOW)

    def _refuse(self, words: bytes) -> None:
        self._release()
        try:
            self.connection.recv(65536)  # bytes left unread would make the answer a reset connection
        except OSError:
            pass
        answer(self.connection, words)
        self._on_done(self, None)

    def _release(self) -> None:
        self._timer.cancel()
        self._loop.forget(self.fd)

    def close(self) -> None:
        self._release()
        self.connection.close()


def answer(connection: socket.socket, line: bytes, *, close: bool = True) -> None:
    """Send a fixed line, which always fits into an unused socket's buffer."""
    try:
        connection.send(line)
    except OSError:
        pass
    if close:
        connection.close()


def peer_uid(connection: socket.socket) -> int:
    """Return the uid of the process at the other end, -1 where the system does not tell."""
    try:
        if sys.platform == "linux":
            credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
            return int(struct.unpack("3i", credentials)[1])
        # macOS and the BSDs: struct xucred, version then uid (LOCAL_PEERCRED at SOL_LOCAL).
        return int(struct.unpack_from("=II", connection.getsockopt(0, 1, 76))[1])
    except (OSError, struct.error):
        return -1


def _make_folder(folder: str) -> None:
    try:
        os.makedirs(folder, 0o700, exist_ok=True)
        owner = os.stat(folder).st_uid
    except OSError as error:
        raise CannotStart(f"cannot make the admin socket's folder {folder}: {error.strerror}") from None
    if owner not in (0, os.geteuid()):
        raise CannotStart(
            f"the admin socket's folder {folder} belongs to another user (uid {owner}); "
            "choose another with [server] admin"
        )
