"""Step 5, the worker's end: one front's data and control sockets, and the streams that came over them.

I/O: blocking sends on the data socket. Frames are appended to ``out`` by whoever has one and written by whoever
flushes first: one lock holder writes what all others appended meanwhile, so that no thread ever waits to send a small
answer. Descriptors go out on the control socket, which the watcher reads and also writes: under a lock.

Also here: the desk, which knows of each stream whether it waits, runs or was recalled. Its one lock makes "has it
started?" exact (wire/README.md). It never touches a socket.
"""

from __future__ import annotations

import socket
import struct
import threading
from typing import Any

from ..wire.frames import DESCRIPTOR, WINDOW, Splitter, frame, is_after
from ..wire.scoreboard import Scoreboard

WAITING, STARTED, RECALLED = range(3)

READ_BYTES = 256 * 1024


class Stream:
    """One request in this worker. Subclasses add what WSGI or ASGI needs; the watcher knows only this much."""

    __slots__ = ("available", "channel", "is_gone", "number", "state")

    def __init__(self, channel: Channel, number: int) -> None:
        self.channel = channel
        self.number = number
        self.state = WAITING
        self.is_gone = False
        self.available = WINDOW  # bytes of the answer that may be sent without more credit


class Channel:
    """``front``: its number. Owns both sockets: ``data`` is closed by who reads it, ``control`` by the watcher."""

    __slots__ = (
        "control",
        "control_lock",
        "control_out",
        "data",
        "front",
        "gone_early",
        "is_dead",
        "last_met",
        "out",
        "refused",
        "send_lock",
        "splitter",
        "streams",
    )

    def __init__(self, front: int, data: socket.socket, control: socket.socket) -> None:
        self.front = front
        self.data = data
        self.control = control
        self.splitter = Splitter()
        self.streams: dict[int, Any] = {}  # of this front, met and not over
        self.last_met: int | None = None
        self.refused: set[int] = set()  # recalled before their REQUEST was read
        self.gone_early: set[int] = set()  # disconnected before their REQUEST was read
        self.out: list[bytes | memoryview] = []
        self.send_lock = threading.Lock()
        self.control_lock = threading.Lock()  # whoever writes to the control socket, or closes it
        self.control_out = bytearray()  # what of the watcher's frames the socket had no room for
        self.is_dead = False

    def flush(self) -> None:
        """Write everything in ``out``, or leave it to the thread that is writing now."""
        out = self.out
        # SAFETY: the holder looks at `out` again after it let go, so a frame appended while the lock was taken is never
        # left behind. Appending is atomic, and only the holder removes.
        while out:
            if not self.send_lock.acquire(False):
                return
            try:
                count = len(out)
                if count:
                    data = out[0] if count == 1 else b"".join(out[:count])
                    del out[:count]
                    # LIMIT: blocks while the front does not read. It always does (D9); one that is stopped by hand
                    # holds an inline worker with its whole credit, also for other fronts.
                    self.data.sendall(data)
            except OSError:
                # The front died: whoever reads the socket sees its end and drops the streams.
                self.is_dead = True
                out.clear()
            finally:
                self.send_lock.release()

    def pass_file(self, number: int, fd: int) -> bool:
        """Pass a duplicate of a descriptor to the front, before the frame that says which bytes of it are meant.

        Returns False where it can't be done now (no room, too many on their way, the front has died): the caller sends
        the bytes themselves then. Never blocks.
        """
        beside = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, struct.pack("i", fd))]
        with self.control_lock:
            if self.control_out:
                return False
            try:
                # SAFETY: so few bytes are taken whole or not at all.
                self.control.sendmsg([frame(DESCRIPTOR, number)], beside, socket.MSG_DONTWAIT)
            except OSError:
                return False
        return True


class Desk:
    """What is known of every stream. Called from the thread that meets requests, those that run them, and the
    watcher.
    """

    def __init__(self, scoreboard: Scoreboard) -> None:
        self.lock = threading.Lock()
        self.scoreboard = scoreboard
        self.started = scoreboard.started_cells()
        self.channels: list[Channel] = []

    def recall(self, channel: Channel, number: int) -> bool:
        """Return whether this stream has not started; if so it never will."""
        with self.lock:
            stream = channel.streams.get(number)
            if stream is None:
                if channel.last_met is not None and not is_after(number, channel.last_met):
                    return False  # over, or given back as BUSY
                channel.refused.add(number)
                return True
            if stream.state != WAITING:
                return False
            stream.state = RECALLED
            del channel.streams[number]
            return True

    def disconnect(self, channel: Channel, number: int) -> Any:
        """Mark that nobody waits for this answer; return the stream if it is here."""
        with self.lock:
            stream = channel.streams.get(number)
            if stream is not None:
                stream.is_gone = True
            elif channel.last_met is None or is_after(number, channel.last_met):
                channel.gone_early.add(number)
            return stream

    def is_started_now(self, stream: Stream) -> bool:
        """Mark that the application call of this stream begins; False = it was recalled, don't."""
        self.lock.acquire()
        if stream.state != WAITING or stream.channel.is_dead:
            self.lock.release()
            return False
        stream.state = STARTED
        self.started[stream.channel.front] = stream.number
        self.lock.release()
        return True

    def is_over(self, channel: Channel, number: int) -> bool:
        """Was this stream here, and is no more? One that is neither has not been read yet."""
        has_come = channel.last_met is not None and not is_after(number, channel.last_met)
        return has_come and number not in channel.streams

    def count(self) -> int:
        """Return how many streams are here."""
        return sum(len(channel.streams) for channel in self.channels)
