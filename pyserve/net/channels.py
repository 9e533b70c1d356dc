"""Channels that carry messages with descriptors, and the shared memory whose descriptors they carry.

I/O: one non-blocking stream socket per channel, read and written by ``sendmsg``/``recvmsg`` on the plain socket
(transports of an event loop drop descriptors). Invariants: ``send`` never blocks and keeps messages and their
descriptors in order; the caller's descriptors stay the caller's. Knows no event loop: whoever owns the channel
watches ``fileno()`` and calls ``receive`` and ``flush``.
"""

from __future__ import annotations

import mmap
import os
import socket
import sys
from array import array
from collections import deque
from collections.abc import Sequence

from pyserve.wire.frames import WireError
from pyserve.wire.messages import MessageSplitter

_READ_BYTES = 64 * 1024
# The kernel passes at most 253 descriptors per call (SCM_MAX_FD), and never those of two sends in one.
_MOST_DESCRIPTORS = 253
_CLOEXEC = getattr(socket, "MSG_CMSG_CLOEXEC", 0)

Message = tuple[int, bytes, list[int]]


class MessageChannel:
    """One end of a channel. Takes the socket over: ``close`` closes it."""

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        self._sock = sock
        self._splitter = MessageSplitter()
        self._outbox: deque[tuple[bytes, tuple[int, ...]]] = deque()
        self.is_ended = False
        """The other end is closed: nothing more will be received, what is sent is thrown away."""

    @classmethod
    def from_fd(cls, fd: int) -> MessageChannel:
        """Take over a descriptor that was inherited across exec; it becomes close-on-exec."""
        os.set_inheritable(fd, False)
        return cls(socket.socket(fileno=fd))

    @staticmethod
    def pair() -> tuple[MessageChannel, socket.socket]:
        """Return our end, and the socket to give away."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        return MessageChannel(ours), theirs

    def fileno(self) -> int:
        return self._sock.fileno()

    @property
    def wants_write(self) -> bool:
        """Is something waiting for room in the socket? Then watch for it and call ``flush``."""
        return bool(self._outbox)

    def send(self, message: bytes, descriptors: Sequence[int] = ()) -> None:
        """Send a packed message, or keep it (and duplicates of its descriptors) until ``flush`` can."""
        if self.is_ended:
            return
        if not self._outbox:
            sent = self._send_now(message, descriptors)
            if sent == len(message):
                return
            if sent:
                message, descriptors = message[sent:], ()
            if self.is_ended:
                return
        self._outbox.append((message, tuple(os.dup(fd) for fd in descriptors)))

    def flush(self) -> None:
        """Send what waits, as far as the socket takes it."""
        while self._outbox and not self.is_ended:
            message, descriptors = self._outbox[0]
            sent = self._send_now(message, descriptors)
            if not sent:
                break
            # Descriptors travel with the first byte, whatever became of the rest.
            _close_all(descriptors)
            if sent == len(message):
                self._outbox.popleft()
            else:
                self._outbox[0] = (message[sent:], ())

    def _send_now(self, message: bytes, descriptors: Sequence[int]) -> int:
        try:
            if descriptors:
                return socket.send_fds(self._sock, [message], list(descriptors))
            return self._sock.send(message)
        except (BlockingIOError, InterruptedError):
            return 0
        except (BrokenPipeError, ConnectionResetError):
            # What the other end said before it closed is still to be read: only receive() ends the channel.
            self._drop_outbox()
            return len(message)
        except OSError as error:
            if _is_out_of_room(error):
                return 0
            raise

    def receive(self) -> list[Message]:
        """Return ``(kind, payload, descriptors)`` of every message that has come; the caller owns the descriptors.

        Reads until there is nothing more, and sets ``is_ended`` at the end of the stream. Raises ``WireError`` when
        the other side broke the rules, or when descriptors were lost because this process has no room for them: give
        the channel up then.
        """
        messages: list[Message] = []
        while not self.is_ended:
            try:
                data, descriptors, flags = receive(self._sock)
            except (BlockingIOError, InterruptedError):
                break
            except (ConnectionResetError, BrokenPipeError):
                data, descriptors, flags = b"", [], 0
            if flags & socket.MSG_CTRUNC:
                _close_all(descriptors)
                self._give_up(messages)
                raise WireError("descriptors were lost on a channel: too many open files")
            if not data:
                self.is_ended = True
                self._drop_outbox()
                _close_all(self._splitter.leftover_descriptors())
                break
            try:
                messages += self._splitter.feed(data, descriptors)
            except WireError:
                self._give_up(messages)
                raise
        return messages

    def _give_up(self, messages: list[Message]) -> None:
        for _kind, _payload, descriptors in messages:
            _close_all(descriptors)
        _close_all(self._splitter.leftover_descriptors())

    def _drop_outbox(self) -> None:
        for _message, descriptors in self._outbox:
            _close_all(descriptors)
        self._outbox.clear()

    def close(self) -> None:
        """Close the socket and whatever descriptors wait here. May be called twice."""
        self.is_ended = True
        self._drop_outbox()
        _close_all(self._splitter.leftover_descriptors())
        self._sock.close()


def receive(sock: socket.socket, most_descriptors: int = _MOST_DESCRIPTORS) -> tuple[bytes, list[int], int]:
    """``socket.recv_fds``, but with descriptors that are close-on-exec from the first moment.

    ``MSG_CTRUNC`` in the flags: some were lost, because there were more of them or this process has no room.
    """
    room = socket.CMSG_SPACE(most_descriptors * 4)
    data, ancillary, flags, _address = sock.recvmsg(_READ_BYTES, room, _CLOEXEC)
    received = array("i")
    for level, kind, block in ancillary:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            received.frombytes(block[: len(block) - len(block) % received.itemsize])
    descriptors = received.tolist()
    if not _CLOEXEC:
        for fd in descriptors:
            os.set_inheritable(fd, False)
    return data, descriptors, flags


def _is_out_of_room(error: OSError) -> bool:
    import errno

    # ETOOMANYREFS: too many descriptors under way (they count against the limit of open files until they are received).
    return error.errno in (errno.ENOBUFS, errno.ETOOMANYREFS)


def _close_all(descriptors: Sequence[int]) -> None:
    for fd in descriptors:
        os.close(fd)


def shared_memory(size: int) -> int:
    """Return a descriptor of ``size`` zero bytes that can be mapped by whoever gets it. The caller closes it."""
    if sys.platform == "linux":
        fd = os.memfd_create("pyserve", os.MFD_CLOEXEC)
    else:
        import tempfile

        fd, path = tempfile.mkstemp(prefix="pyserve-")
        os.unlink(path)
    os.ftruncate(fd, size)
    return fd


def read_only(data: bytes) -> int:
    """Return a descriptor of a file without a name that nobody can write to, whoever gets it. The caller closes it."""
    if sys.platform == "linux":
        import fcntl

        # Seals, because whoever has the descriptor could open the same memory anew for writing.
        fd = os.memfd_create("pyserve", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        with open(os.dup(fd), "wb") as file:
            file.write(data)
        seals = fcntl.F_SEAL_WRITE | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_SEAL
        fcntl.fcntl(fd, fcntl.F_ADD_SEALS, seals)
        return fd
    import tempfile

    with tempfile.NamedTemporaryFile(prefix="pyserve-") as file:  # mode 0600: others can't open it anew
        file.write(data)
        file.flush()
        return os.open(file.name, os.O_RDONLY | os.O_CLOEXEC)


def map_shared(fd: int, size: int) -> mmap.mmap:
    """Map shared memory for reading and writing; the descriptor may be closed afterwards."""
    return mmap.mmap(fd, size, mmap.MAP_SHARED, mmap.PROT_READ | mmap.PROT_WRITE)
