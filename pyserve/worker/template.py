"""The template: one process per application release, which forks that release's workers (D14).

I/O: a single-threaded poll loop over the master's channel and a pipe of signals; forks, waits, kills. No asyncio, no
threads, so that a fork is always safe. Runs no request. When the master's channel ends it ends its workers, and then
itself: nothing is left behind.
"""

from __future__ import annotations

import gc
import marshal
import os
import select
import signal
import socket
import struct
import sys
from collections import deque
from time import monotonic
from typing import Any

try:
    import resource  # os.wait4 imports it, and fails without it; an interpreter may have been built or copied so
except ImportError:
    resource = None  # type: ignore[assignment]

from ..wire import messages
from . import bounds, carried
from .boot import template_command
from .loader import LoadError
from .main import EXIT_BOOT_FAILED, Loaded, Worker
from .preload import end_children, preload
from .title import set_title

_HEADER = struct.Struct("<IBB")
_MAXRSS_BYTES = 1 if sys.platform == "darwin" else 1024
_FORK_FAILED = 70 << 8
"""The wait status told for a worker that could not even be forked."""


def main(arguments: list[str]) -> None:
    """``name, fd of the master's channel, fd of a pipe with the SPEC or -1``. Exits the process."""
    name, fd, resume_fd = arguments[0], int(arguments[1]), int(arguments[2])
    set_title(f"pyserve: template {name}")
    # A limit of CPU time is meant for each worker; the kernel counts it for each process, so for this one too.
    signal.signal(signal.SIGXCPU, signal.SIG_IGN)
    os.set_inheritable(fd, False)
    master = socket.socket(fileno=fd)
    master.setblocking(True)
    loaded: Loaded | None = None
    if resume_fd >= 0:
        with open(resume_fd, "rb") as pipe:
            spec = marshal.loads(pipe.read())
    else:
        spec = _read_spec(master)
        if spec is None:
            return
        bounds.apply(spec.get("limits", {}))
        if spec["preload"]:
            try:
                loaded, reason = preload(spec, _has_children)
            except LoadError as error:
                raw = str(error).encode("utf-8", "backslashreplace")[-60_000:]
                master.sendall(messages.pack_bytes(messages.PRELOAD_FAILED, raw))
                sys.exit(EXIT_BOOT_FAILED)
            if reason:
                master.sendall(messages.pack_bytes(messages.PRELOAD_DROPPED, reason.encode("utf-8", "replace")))
                _start_afresh(name, fd, spec)
            gc.collect()
            # Pages of the application stay shared as long as nobody writes to them, and the collector would (D14).
            gc.freeze()
    worker = Template(master, spec).serve()
    if worker is not None:
        sys.exit(worker.run(loaded))


def _read_spec(master: socket.socket) -> dict[str, Any] | None:
    """Return the SPEC; None if the master ended. Reads not a byte more: what follows may carry descriptors."""

    def exactly(count: int) -> bytes:
        parts = b""
        while len(parts) < count:
            part = master.recv(count - len(parts))
            if not part:
                raise EOFError
            parts += part
        return parts

    try:
        length, _, _ = _HEADER.unpack(exactly(_HEADER.size))
        spec: dict[str, Any] = messages.values(exactly(length))[0]
    except (EOFError, OSError):
        return None
    return spec


def _has_children() -> bool:
    """Before the first fork: does anything run that the application's import started?"""
    try:
        while os.waitpid(-1, os.WNOHANG)[0] > 0:
            pass
        return True
    except ChildProcessError:
        return False


def _start_afresh(name: str, fd: int, spec: dict[str, Any]) -> None:
    """Become a new template that imports nothing: threads end with the exec, all else is closed here."""
    end_children()
    read_fd, write_fd = os.pipe()
    os.write(write_fd, marshal.dumps(spec, 2))
    os.close(write_fd)
    code_fd = carried.again()
    below = 3
    for kept in sorted({fd, read_fd, code_fd} - {-1}):
        os.set_inheritable(kept, True)
        os.closerange(below, kept)
        below = kept + 1
    os.closerange(below, os.sysconf("SC_OPEN_MAX") if os.sysconf("SC_OPEN_MAX") < 65536 else 65536)
    os.execv(sys.executable, template_command(sys.executable, name, fd, read_fd, code_fd))


class Template:
    """The poll loop of a template; ``serve`` returns in each worker that it forked."""

    def __init__(self, master: socket.socket, spec: dict[str, Any]) -> None:
        self._master = master
        self._spec = spec
        self._splitter = messages.MessageSplitter()
        self._orders: deque[tuple[int, bytes, list[int]]] = deque()
        self._pids: dict[int, int] = {}  # worker by pid
        self._workers: dict[int, int] = {}  # pid by worker
        self._deadline: float | None = None
        self._is_stopping = False
        self._signal_r, self._signal_w = os.pipe()
        for fd in (self._signal_r, self._signal_w):
            os.set_blocking(fd, False)

    def serve(self) -> Worker | None:
        """Serve the master. Returns None when all is over, and the worker to run in each child that it forks."""
        signal.set_wakeup_fd(self._signal_w, warn_on_full_buffer=False)
        for number in (signal.SIGCHLD, signal.SIGTERM, signal.SIGINT):
            signal.signal(number, _just_wake)
        poll = select.poll()
        poll.register(self._master.fileno(), select.POLLIN)
        poll.register(self._signal_r, select.POLLIN)
        self._tell(messages.pack_bytes(messages.TEMPLATE_READY))
        while not (self._is_stopping and not self._pids):
            for fd, _ in poll.poll(self._wait_ms()):
                if fd == self._signal_r:
                    self._take_signals()
                elif not self._read():
                    poll.unregister(fd)
                    self._stop()
            while self._orders:
                worker = self._obey(*self._orders.popleft())
                if worker is not None:
                    return worker
            if self._deadline is not None and monotonic() >= self._deadline:
                self._deadline = None
                self._kill_all(signal.SIGKILL)
        return None

    def _wait_ms(self) -> int | None:
        return None if self._deadline is None else max(0, int((self._deadline - monotonic()) * 1000) + 1)

    def _read(self) -> bool:
        """Take in orders; False = the master has gone or wants us to go."""
        try:
            data, descriptors, _, _ = socket.recv_fds(self._master, 65536, 253)
        except OSError:
            return False
        for fd in descriptors:
            os.set_inheritable(fd, False)
        self._orders.extend(self._splitter.feed(data, list(descriptors)))
        return bool(data)

    def _obey(self, kind: int, payload: bytes, descriptors: list[int]) -> Worker | None:
        if kind == messages.FORK and not self._is_stopping:
            return self._fork(messages.values(payload)[0], descriptors)
        if kind == messages.SIGNAL:
            number, signal_number = messages.values(payload)
            pid = self._workers.get(number)
            if pid is not None:
                # SAFETY: a pid stays ours until it is waited for, and only this thread waits.
                os.kill(pid, signal_number)
        for fd in descriptors:
            os.close(fd)
        return None

    def _fork(self, number: int, descriptors: list[int]) -> Worker | None:
        """Return the worker in the child, None in the template."""
        sys.stdout.flush()
        sys.stderr.flush()
        # A TERM for the child must not meet the template's handler, which would swallow it.
        signal.pthread_sigmask(signal.SIG_BLOCK, _HANDLED)
        try:
            pid = os.fork()
        except OSError as error:
            print(f"can't fork a worker: {error}", file=sys.stderr)
            pid = -1
        if pid == 0:
            self._become_child()
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _HANDLED)
        if pid == 0:
            return Worker(self._spec, number, descriptors)
        for fd in descriptors:
            os.close(fd)
        if pid < 0:
            self._tell(messages.pack_exited(number, _FORK_FAILED))
            return None
        self._pids[pid] = number
        self._workers[number] = pid
        self._tell(messages.pack_forked(number, pid))
        return None

    def _become_child(self) -> None:
        """Close everything that is not this worker's."""
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.signal(signal.SIGXCPU, signal.SIG_DFL)
        # SIGINT keeps its handler that does nothing: Ctrl-C is for the master, and a program that the
        # application starts gets the default again, which an ignored signal would not.
        self._master.close()
        os.close(self._signal_r)
        os.close(self._signal_w)
        for _, _, descriptors in self._orders:
            for fd in descriptors:
                os.close(fd)
        for fd in self._splitter.leftover_descriptors():
            os.close(fd)

    def _take_signals(self) -> None:
        try:
            numbers = os.read(self._signal_r, 4096)
        except BlockingIOError:
            return
        if signal.SIGTERM in numbers:
            self._stop()
        self._wait_for_children()

    def _wait_for_children(self) -> None:
        while True:
            try:
                pid, status, peak_bytes = _wait()
            except ChildProcessError:
                return
            if pid == 0:
                return
            number = self._pids.pop(pid, None)
            if number is not None:
                del self._workers[number]
                self._tell(messages.pack_exited(number, status, peak_bytes))

    def _stop(self) -> None:
        if not self._is_stopping:
            self._is_stopping = True
            self._deadline = monotonic() + float(self._spec["grace_s"])
            self._kill_all(signal.SIGTERM)

    def _kill_all(self, number: signal.Signals) -> None:
        for pid in self._pids:
            os.kill(pid, number)

    def _tell(self, message: bytes) -> None:
        try:
            self._master.sendall(message)
        except OSError:
            pass  # it has gone: its end of the channel will say so


def _wait() -> tuple[int, int, int]:
    """Wait for a child without blocking: pid (0 = none has ended), wait status, the most that it had resident (0 = not
    known). Raises ``ChildProcessError``."""
    if resource is None:
        return (*os.waitpid(-1, os.WNOHANG), 0)
    pid, status, used = os.wait4(-1, os.WNOHANG)
    return pid, status, used.ru_maxrss * _MAXRSS_BYTES


_HANDLED = (signal.SIGCHLD, signal.SIGTERM, signal.SIGINT)


def _just_wake(number: int, frame: object) -> None:
    """The wake-up descriptor has the number; a handler only has to exist."""
