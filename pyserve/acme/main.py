"""The process that gets certificates: told by the master for which sites, it keeps their files up to date.

I/O: the loop over the master's channel and a heap of what is due; each step blocks and runs in one of a few threads.
It runs as the user that fronts drop to, and has no other power than writing its folder. When the master is gone, or
says TERM, it lets go of its locks and ends at once: what was under way is tried again later.
"""

from __future__ import annotations

import heapq
import logging
import os
import pickle
import queue
import select
import signal
import socket
import time
import traceback
from concurrent.futures import ThreadPoolExecutor

from pyserve.acme.keeper import Keeper, State, Task
from pyserve.acme.storage import Storage
from pyserve.net.channels import Message, MessageChannel
from pyserve.net.prctl import hide_memory
from pyserve.observe.error_log import ErrorLog
from pyserve.wire import messages
from pyserve.wire.frames import WireError

AT_ONCE = 4
"""So many certificates are asked for at the same time."""
FAULT_AGAIN_S = 3600.0
"""After a fault of our own."""
LONGEST_WAIT_S = 60.0
"""Also because a clock that was set forward is noticed only then."""


class Main:
    def __init__(self, channel: MessageChannel, level: str, tasks: tuple[Task, ...], log_fd: int) -> None:
        self._channel = channel
        self._log = ErrorLog(log_fd, level, "acme")
        self._tasks = tasks
        self._storages = {task.acme.storage: Storage(task.acme.storage) for task in tasks}
        self._keepers = [Keeper(task, self._storages[task.acme.storage], self._log, self._report) for task in tasks]
        self._due: list[tuple[float, int]] = []
        self._done: queue.SimpleQueue[tuple[float, int]] = queue.SimpleQueue()
        self._states: queue.SimpleQueue[tuple[int, State]] = queue.SimpleQueue()
        self._threads = ThreadPoolExecutor(AT_ONCE, "acme")
        self._woken, self._waker = socket.socketpair()
        self._woken.setblocking(False)
        self._waker.setblocking(False)
        self._is_over = False
        # A signal only wakes the loop.
        signal.set_wakeup_fd(self._waker.fileno(), warn_on_full_buffer=False)
        signal.signal(signal.SIGTERM, lambda *_: self._end())

    def _end(self) -> None:
        self._is_over = True

    def run(self) -> None:
        self._due = [(0.0, index) for index in range(len(self._keepers))]
        while not self._is_over:
            wait_s = LONGEST_WAIT_S
            if self._due:
                wait_s = min(wait_s, max(0.0, self._due[0][0] - time.time()))
            channel, woken = self._channel.fileno(), self._woken.fileno()
            writers = [channel] if self._channel.wants_write else []
            readable, writable, _ = select.select([channel, woken], writers, [], wait_s)
            if woken in readable:
                self._wake()
            if writable:
                self._channel.flush()
            if channel in readable:
                self._take(self._channel.receive())
                self._is_over = self._is_over or self._channel.is_ended
            self._start_due()
        for storage in self._storages.values():
            storage.close()

    def _start_due(self) -> None:
        now = time.time()
        while self._due and self._due[0][0] <= now:
            _, index = heapq.heappop(self._due)
            self._threads.submit(self._step, index)

    def _step(self, index: int) -> None:
        try:
            again_s = self._keepers[index].step()
        except Exception:
            # Our own bug: the other certificates go on.
            self._log.error(f"internal error\n{traceback.format_exc()}")
            again_s = time.time() + FAULT_AGAIN_S
        self._done.put((again_s, index))
        self._poke()

    def _report(self, number: int, state: State) -> None:
        self._states.put((number, state))
        self._poke()

    def _poke(self) -> None:
        try:
            self._waker.send(b"\0")
        except OSError:
            pass  # full: it is awake already

    def _wake(self) -> None:
        try:
            self._woken.recv(4096)
        except BlockingIOError:
            pass
        while not self._states.empty():
            self._send(*self._states.get())
        while not self._done.empty():
            heapq.heappush(self._due, self._done.get())

    def _send(self, number: int, state: State) -> None:
        self._channel.send(messages.pack_acme_state(number, state.kind, state.not_after_s, state.next_s, state.reason))

    def _take(self, received: list[Message]) -> None:
        for kind, _payload, descriptors in received:
            if kind != messages.LOGS or len(descriptors) != 1:
                raise WireError(f"message {kind}")
            self._log.reopen(descriptors[0])


def _is_of_root(pid: int) -> bool:
    try:
        return os.stat(f"/proc/{pid}").st_uid == 0
    except OSError:
        return False


def main(argv: list[str]) -> int:
    """Keep certificates until the master ends. ``python -m pyserve.acme FD``: FD is this end of its channel."""
    from setproctitle import setproctitle

    setproctitle("pyserve: certificates")
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal's Ctrl-C is the master's to handle
    logging.getLogger().addHandler(logging.NullHandler())  # what libraries have to say is said by our own lines
    os.umask(0o077)
    if os.geteuid() != 0 and _is_of_root(os.getppid()):
        hide_memory()  # an application may run as the same user, and must not look into it
    channel = MessageChannel.from_fd(int(argv[1]))
    received: list[Message] = []
    while not received:
        select.select([channel], [], [])
        received = channel.receive()
        if channel.is_ended:
            return 0  # the master ended first
    (_, _, (tasks_fd, log_fd)), *others = received
    with open(tasks_fd, "rb") as file:
        level, tasks = pickle.load(file)
    this = Main(channel, level, tuple(Task(*task) for task in tasks), log_fd)
    this._take(others)
    this.run()
    # Threads may be in the middle of a request, which nobody waits for any more.
    os._exit(0)
