"""The process that gets certificates: started where a site wants it, replaced when it dies, asked by nobody.

I/O: through ``child`` and ``loop``, and the storage's folder, which is made here where only root can. The master
neither sees a key nor talks to an authority; it knows of each certificate what the process has told last.
"""

from __future__ import annotations

import os
import pickle
import signal
from collections.abc import Callable
from typing import Any

from pyserve.master import child, kernel
from pyserve.master.loop import Line, Loop, Timer
from pyserve.master.policy import Restarts
from pyserve.master.resources import Resources
from pyserve.net.channels import MessageChannel, shared_memory
from pyserve.wire import messages
from pyserve.wire.frames import WireError

STOP_S = 3.0
"""It ends at once when told to; what hangs is killed."""


class AcmeProcess:
    def __init__(self, loop: Loop, resources: Resources, on_certificate: Callable[[str], None]) -> None:
        """``on_certificate``: called with the name of a site whose certificate was put into its file."""
        self._loop = loop
        self._resources = resources
        config = resources.config
        self._sites = [site for site in config.sites if site.acme is not None]
        self._on_certificate = on_certificate
        self._states: dict[int, tuple[str, float, float, str]] = {}
        self._pid = 0
        self._line: Line | None = None
        self._started_at = 0.0
        self._restarts = Restarts()
        self._is_stopping = False
        self._stop_timer: Timer | None = None
        user = config.server.user
        self._identity = kernel.identity_of(user) if user and kernel.is_root() and self._sites else None

    def start(self) -> None:
        if not self._sites:
            return
        for folder in {site.acme.storage for site in self._sites if site.acme is not None}:
            self._prepare(folder)
        self._start()

    def _prepare(self, folder: str) -> None:
        """Make a folder for another user to write to, where that user could not."""
        if self._identity is None or os.path.lexists(folder):
            return
        try:
            os.makedirs(os.path.dirname(folder), 0o755, exist_ok=True)
            os.mkdir(folder, 0o700)
            os.chown(folder, self._identity.uid, self._identity.gid)
        except OSError as error:
            self._resources.log.error(f"the storage of certificates {folder} can't be made: {error.strerror}")

    def _start(self) -> None:
        if self._is_stopping:
            return
        channel, theirs = MessageChannel.pair()
        with theirs:
            command, cwd = child.module_command("pyserve.acme", theirs.fileno())
            try:
                self._pid = child.start(
                    command, theirs.fileno(), self._resources.error_fd, cwd=cwd, identity=self._identity
                )
            except OSError as error:
                channel.close()
                self._resources.log.error(f"the process that gets certificates could not be started: {error}")
                self._again(0.0)
                return
        self._started_at = self._loop.now()
        self._line = Line(self._loop, channel, self._heard, self._line_ended)
        tasks_fd = shared_memory(0)
        try:
            with open(os.dup(tasks_fd), "wb") as file:
                file.write(self._tasks())
            os.lseek(tasks_fd, 0, os.SEEK_SET)
            message = messages.pack_values(messages.ACME_TASKS, (), 2)
            self._line.send(message, [tasks_fd, self._resources.error_fd])
        finally:
            os.close(tasks_fd)

    def _tasks(self) -> bytes:
        tasks = tuple((number, site.name, site.hosts, site.acme) for number, site in enumerate(self._sites))
        return pickle.dumps((self._resources.config.log.error.level, tasks), pickle.HIGHEST_PROTOCOL)

    def _heard(self, kind: int, payload: bytes) -> None:
        if kind != messages.ACME_STATE:
            raise WireError(f"message {kind}")
        number, state, not_after_s, next_s, reason = messages.acme_state(payload)
        if number >= len(self._sites):
            raise WireError(f"a certificate of the site {number}, which there is not")
        before = self._states.get(number)
        self._states[number] = (state, not_after_s, next_s, reason.decode("utf-8", "replace"))
        if before is not None and not_after_s not in (0.0, before[1]):
            self._on_certificate(self._sites[number].name)

    def _line_ended(self, why: str) -> None:
        if why:
            self._resources.log.error(f"the process that gets certificates broke the rules of its channel: {why}")
        child.kill(self._pid)

    def reaped(self, pid: int, status: int) -> bool:
        """A child was waited for; return False if it was another."""
        if pid != self._pid or not pid:
            return False
        self._pid = 0
        if self._line is not None:
            self._line.drain()
            self._line.close()
            self._line = None
        if self._stop_timer is not None:
            self._stop_timer.cancel()
        if not self._is_stopping:
            self._resources.log.warning(f"the process that gets certificates (pid {pid}) {child.exit_words(status)}")
            self._again(self._loop.now() - self._started_at)
        return True

    def _again(self, lived_s: float) -> None:
        start_at = self._restarts.died(self._loop.now(), lived_s)
        self._loop.after(start_at - self._loop.now(), self._start)

    def reopen_logs(self) -> None:
        if self._line is not None:
            self._line.send(messages.pack_values(messages.LOGS, (), 1), [self._resources.error_fd])

    def stop(self) -> None:
        """Tell it to end; from now on it is not replaced."""
        if not self._is_stopping:
            self._is_stopping = True
            if child.kill(self._pid, signal.SIGTERM):
                self._stop_timer = self._loop.after(STOP_S, self._kill)

    def _kill(self) -> None:
        child.kill(self._pid)

    def kill(self) -> list[str]:
        """Kill what still runs; return what that was, in words."""
        self._is_stopping = True
        pid = self._pid
        return [f"the process that gets certificates (pid {pid})"] if child.kill(pid) else []

    @property
    def is_gone(self) -> bool:
        return self._pid == 0

    def facts(self) -> dict[str, Any]:
        """Return what is known, by site: (state, end of the certificate, next attempt, reason)."""
        return {site.name: self._states[number] for number, site in enumerate(self._sites) if number in self._states}
