"""Step 5: the watcher, one thread per worker that works while the application computes.

I/O: reads the master's pair, every control channel, and a pidfd of the master; writes RECALLED and STACK_TEXT. Costs
nothing while idle. It never runs application code and never waits for the thread that does: what is to be done there it
leaves with the runner.

Threads: everything here runs in the watcher's own thread, but ``start``, ``add`` and ``stop``.
"""

from __future__ import annotations

import os
import select
import signal
import socket
import struct
import threading
from collections import deque
from collections.abc import Callable
from time import monotonic
from typing import Protocol

from ..wire import messages
from ..wire.frames import (
    CREDIT,
    DISCONNECT,
    HALF_CLOSED,
    RECALL,
    RECALLED,
    STACK,
    STACK_TEXT,
    Splitter,
    WireError,
    frame,
    number,
)
from .channel import Channel
from .loader import text_of
from .stacks import payload_of


class Runner(Protocol):
    """What the watcher tells. Every method may be called while the application runs."""

    def add_channel(self, front: int, data: socket.socket, control: socket.socket) -> Channel: ...
    def recall(self, channel: Channel, number: int) -> bool: ...
    def give_credit(self, channel: Channel, number: int, credit: int) -> None: ...
    def client_gone(self, channel: Channel, number: int) -> None: ...
    def client_half_closed(self, channel: Channel, number: int) -> None: ...
    def front_gone(self, channel: Channel) -> None: ...
    def hurry(self, channel: Channel) -> None: ...
    def stack_of(self, channel: Channel, number: int) -> str: ...
    def stop(self) -> None: ...


class Watcher:
    """``master``: this worker's pair with the master, or None inside a caller's own process.

    ``grace_s``: how long after the master's death this process may still run; then ``give_up`` is called, which must
    not return.
    """

    def __init__(
        self, runner: Runner, master: socket.socket | None, grace_s: float, give_up: Callable[[], None] | None
    ) -> None:
        self._runner = runner
        self._master = master
        self._grace_s = grace_s
        self._give_up = give_up
        self._deadline: float | None = None
        self._messages = messages.MessageSplitter()
        self._controls: dict[int, tuple[Channel, Splitter]] = {}
        self._poll = select.poll()
        self._master_pidfd = -1
        self._wake_r, self._wake_w = os.pipe()
        os.set_blocking(self._wake_r, False)
        self._poll.register(self._wake_r, select.POLLIN)
        self._added: deque[Channel] = deque()
        self._is_stopping = False
        self._thread = threading.Thread(target=self._run, name="pyserve-watcher", daemon=True)
        if master is not None:
            master.setblocking(True)
            self._poll.register(master.fileno(), select.POLLIN)
            self._watch_master_process(master)

    def start(self) -> None:
        self._thread.start()

    def add(self, channel: Channel) -> None:
        """Watch the control socket of a channel; from any thread."""
        self._added.append(channel)
        os.write(self._wake_w, b"\0")

    def stop(self) -> None:
        """End the thread and close what it reads; from another thread."""
        self._is_stopping = True
        os.write(self._wake_w, b"\0")
        self._thread.join()
        for channel, _ in self._controls.values():
            with channel.control_lock:
                channel.control.close()
        for fd in (self._wake_r, self._wake_w, self._master_pidfd):
            if fd >= 0:
                os.close(fd)

    def sockets(self) -> list[socket.socket]:
        """What a forked grandchild must close."""
        own = [channel.control for channel, _ in list(self._controls.values())]
        return own if self._master is None else [self._master, *own]

    def _watch_master_process(self, master: socket.socket) -> None:
        """A grandchild that inherited the pair keeps its end away: the process itself is watched too (D15)."""
        try:
            peer = master.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
            pid = struct.unpack("3i", peer)[0]
            if pid > 1 and pid != os.getpid():
                self._master_pidfd = os.pidfd_open(pid)
                self._poll.register(self._master_pidfd, select.POLLIN)
        except (OSError, AttributeError):
            pass  # no pidfd here (macOS, an old kernel): the end of the pair has to do

    def _run(self) -> None:
        if hasattr(signal, "pthread_sigmask"):
            # Signals are for the main thread, which may be in a system call that only they end.
            signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        while not self._is_stopping:
            timeout_ms = None
            if self._deadline is not None:
                timeout_ms = max(0, int((self._deadline - monotonic()) * 1000) + 1)
            events = self._poll.poll(timeout_ms)
            if self._deadline is not None and monotonic() >= self._deadline and self._give_up is not None:
                self._give_up()
                return
            for fd, event in events:
                entry = self._controls.get(fd)
                if entry is not None:
                    self._read_control(fd, event, *entry)
                elif fd == self._wake_r:
                    self._take_added()
                elif self._master is not None and fd == self._master.fileno():
                    self._read_master(self._master)
                elif fd == self._master_pidfd:
                    self._poll.unregister(fd)
                    self._master_died()

    def _take_added(self) -> None:
        try:
            os.read(self._wake_r, 4096)
        except BlockingIOError:
            pass
        while self._added:
            self._watch(self._added.popleft())

    def _watch(self, channel: Channel) -> None:
        channel.control.setblocking(False)
        fd = channel.control.fileno()
        self._controls[fd] = (channel, Splitter())
        self._poll.register(fd, select.POLLIN)

    # -- one front's control channel

    def _read_control(self, fd: int, event: int, channel: Channel, splitter: Splitter) -> None:
        data = b""
        try:
            if event & ~select.POLLOUT:
                data = channel.control.recv(65536)
                if not data:
                    raise ConnectionResetError("the front closed its control channel")
            has_recalled = False
            said = b""
            for kind, stream, payload in splitter.feed(data):
                if kind == RECALL:
                    has_recalled = True
                    if self._runner.recall(channel, stream):
                        said += frame(RECALLED, stream)
                elif kind == CREDIT:
                    self._runner.give_credit(channel, stream, number(payload))
                elif kind == DISCONNECT:
                    self._runner.client_gone(channel, stream)
                elif kind == HALF_CLOSED:
                    self._runner.client_half_closed(channel, stream)
                elif kind == STACK:
                    said += frame(STACK_TEXT, stream, self._stack_of(channel, stream))
            if said or channel.control_out:
                self._send(fd, channel, said)
            if has_recalled:
                self._runner.hurry(channel)
        except BlockingIOError:
            pass
        except (OSError, WireError):
            del self._controls[fd]
            self._poll.unregister(fd)
            with channel.control_lock:
                channel.control.close()
            self._runner.front_gone(channel)

    def _stack_of(self, channel: Channel, stream: int) -> bytes:
        try:
            return payload_of(self._runner.stack_of(channel, stream))
        except Exception as error:
            # Frames and tasks of others are looked at while they change, and this thread must live on.
            return payload_of(f"its stack can't be told: {text_of(error)}")

    def _send(self, fd: int, channel: Channel, data: bytes) -> None:
        unsent = channel.control_out
        with channel.control_lock:
            unsent += data
            try:
                sent = channel.control.send(unsent)
                del unsent[:sent]
            except BlockingIOError:
                pass
        self._poll.modify(fd, select.POLLIN | select.POLLOUT if unsent else select.POLLIN)

    # -- the master

    def _read_master(self, master: socket.socket) -> None:
        try:
            data, descriptors, _, _ = socket.recv_fds(master, 65536, 64)
            found = self._messages.feed(data, list(descriptors)) if data else None
        except (OSError, WireError):
            found = None
        if found is None:
            self._poll.unregister(master.fileno())
            self._master_died()
            return
        for kind, payload, fds in found:
            if kind == messages.NEW_FRONT:
                for fd in fds:
                    os.set_inheritable(fd, False)
                data_socket, control = socket.socket(fileno=fds[0]), socket.socket(fileno=fds[1])
                self._watch(self._runner.add_channel(messages.values(payload)[0], data_socket, control))
            elif kind == messages.STOP:
                self._runner.stop()

    def _master_died(self) -> None:
        if self._deadline is None:
            self._deadline = monotonic() + self._grace_s
            self._runner.stop()
