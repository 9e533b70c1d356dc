"""The master process: binds, starts fronts and pools, heals them, drains and stops.

I/O: the loop over signals, channels and the admin socket. Invariants: whatever dies is waited for here, whatever we
started is gone when ``run`` returns. The parts decide nothing about each other: this module passes on what one must
know of another.
"""

from __future__ import annotations

import os
import signal
import socket
import sys

from pyserve.config.model import Config
from pyserve.errors import CannotStart
from pyserve.master import child, control, kernel
from pyserve.master.acme import AcmeProcess
from pyserve.master.certificates import Certificates
from pyserve.master.fronts import FrontCommand, Fronts
from pyserve.master.loop import Loop, Timer
from pyserve.master.notify import notify
from pyserve.master.pools import Pools
from pyserve.master.questions import Questions
from pyserve.master.renewal import Outcome
from pyserve.master.resources import Resources
from pyserve.master.signals import Signals
from pyserve.master.templates import TemplateCommand
from pyserve.net.channels import MessageChannel
from pyserve.net.listen import address_words
from pyserve.net.open_files import allow_open_files
from pyserve.net.prctl import become_subreaper
from pyserve.wire import messages

_STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)
_LAST_WAIT_S = 5.0
"""Killed processes are waited for so long; one in an uninterruptible system call is left behind, with a log line."""


def run(
    config: Config,
    template_command: TemplateCommand | None = None,
    front_command: FrontCommand = child.front_command,
    *,
    process_ends: bool = False,
) -> int:
    """Serve until asked to stop; return the exit code. Raises ``CannotStart`` if it can't begin.

    ``process_ends``: with this call; no signal that comes late is to change the exit code.
    """
    master = Master(config, template_command or _default_template_command(), front_command)
    return master.run(process_ends=process_ends)


def _default_template_command() -> TemplateCommand:
    # The one edge from master to worker, see README.md: how a template is started belongs to the worker's code.
    from pyserve.worker.boot import template_command

    return template_command


class Master:
    """``embedder``: a channel to the process that is the only front; None = fronts are started."""

    def __init__(
        self,
        config: Config,
        template_command: TemplateCommand,
        front_command: FrontCommand = child.front_command,
        embedder: MessageChannel | None = None,
    ) -> None:
        self._config = config
        self._embedder = embedder
        self._is_said = False
        self._stop_timer: Timer | None = None
        self._is_stopping = self._are_pools_closing = self._is_killing = self._is_left = False
        self._hopeless = ""
        self._killed: set[str] = set()
        self._waiting: list[socket.socket] = []
        """Admin connections that asked for the stop: they learn of its end by theirs."""
        allow_open_files(_descriptors_needed(config))
        self._resources = Resources(config)
        self._loop = Loop()
        try:
            self._admin = (
                control.Admin(self._loop, config.server.admin, self._resources.log, self._command)
                if config.server.admin
                else None
            )
            self._fronts = Fronts(self._loop, self._resources, front_command, self)
            self._certificates = Certificates(self._loop, self._resources, self._fronts, self._say_ready)
            self._questions = Questions(self._loop, self._fronts, self._facts)
            self._pools = Pools(self._loop, self._resources, self._fronts, template_command, self._say_ready)
            self._acme = AcmeProcess(self._loop, self._resources, self._certificates.look_now)
            self._signals = Signals()
        except BaseException:
            self._close()
            raise
        self._loop.watch(self._signals.fileno(), self._on_signals)

    def run(self, *, process_ends: bool = False) -> int:
        log, user = self._resources.log, self._config.server.user
        if kernel.is_root() and not user and self._embedder is None:
            log.warning("running as root: set [server] user, so that fronts drop to it")
        elif user and not kernel.is_root():
            log.warning(f"[server] user = {user!r} has no effect: only root can change to another user")
        try:
            if self._embedder is not None:
                for problem in self._config.surroundings:
                    log.warning(f"{problem} (starting without it)")
                self._certificates.start()
                self._fronts.attach(self._embedder)
            else:
                self._certificates.start()
                self._fronts.start()
            self._pools.start()
            self._acme.start()
            # When the others have begun to start, because it takes a while; no worker can be orphaned yet.
            _set_title(self._config)
            self._resources.is_subreaper = become_subreaper()
            kernel.hide_memory_if_root()
            self._say_ready()
            while not self._is_finished():
                self._loop.turn()
            self._say("stopped")
        finally:
            self._signals.close(process_ends=process_ends)
            self._close()
        if self._hopeless:
            raise CannotStart(self._hopeless)
        return 0

    def _close(self) -> None:
        if getattr(self, "_admin", None) is not None:
            assert self._admin is not None
            self._admin.close()
        if hasattr(self, "_questions"):
            self._questions.close()
        if hasattr(self, "_certificates"):
            self._certificates.close()
        for connection in self._waiting:
            connection.close()
        self._loop.close()
        self._resources.close()

    # Ready

    def _say_ready(self) -> None:
        """Called whenever something changed that readiness may have waited for."""
        if self._is_said or self._is_stopping:
            return
        if not (self._fronts.are_ready and self._pools.are_settled and self._certificates.are_settled):
            return
        self._is_said = True
        listeners = zip(self._resources.listeners, self._config.server.listeners, strict=True)
        addresses = ", ".join(address_words(sock, is_tls=configured.is_tls) for sock, configured in listeners)
        sites = len(self._config.sites)
        what = ", ".join([f"{sites} site{'s' if sites != 1 else ''}", *self._pools.words()])
        if self._embedder is not None:
            self._fronts.tell(0, messages.pack_values(messages.STARTED, ()))
            return
        try:
            os.write(2, f"pyserve: ready: {addresses} ({what})\n".encode())
        except OSError:
            pass  # started with stderr closed
        notify("READY=1")

    # What fronts report

    def front_started(self, front: int) -> None:
        self._certificates.introduce_all(front)
        self._pools.introduce_all(front)

    def front_ready(self, front: int) -> None:
        self._say_ready()

    def front_said(self, front: int, kind: int, worker: int) -> None:
        self._pools.front_said(front, kind, worker)

    def front_told(self, front: int, kind: int, worker: int, text: str) -> None:
        self._pools.front_told(front, kind, worker, text)

    def front_ended(self, front: int) -> None:
        self._pools.front_ended(front)
        self._questions.front_ended(front)
        if self._embedder is not None:
            self._stop("the embedding process has closed its channel")

    def fronts_hopeless(self, words: str) -> None:
        self._hopeless = words
        self._stop_now()

    # Signals and commands

    def _on_signals(self, mask: int) -> None:
        for number in self._signals.take():
            if number == signal.SIGCHLD:
                self._reap()
            elif number in _STOP_SIGNALS:
                if self._is_stopping:
                    if not self._is_killing:
                        self._resources.log.warning("asked again: stopping now")
                    self._stop_now()
                else:
                    self._stop(signal.Signals(number).name)
            elif number == signal.SIGUSR1:
                self._reopen_logs()
            elif number in (signal.SIGTTIN, signal.SIGTTOU):
                self._pools.step(1 if number == signal.SIGTTIN else -1)
            else:
                self._resources.log.info(f"{signal.Signals(number).name}: not yet")

    def _reopen_logs(self) -> None:
        # LIMIT: applications that run keep the old error log as their stderr until they are restarted.
        try:
            message, descriptors = self._resources.reopen_logs()
        except CannotStart as error:
            self._resources.log.error(f"logs not reopened: {error}")
            return
        for front in self._fronts.connected():
            self._fronts.tell(front, message, descriptors)
        self._acme.reopen_logs()
        self._resources.log.info("logs reopened")

    def _reap(self) -> None:
        """Wait for every child that ended: fronts, templates, adopted workers, and orphans that nobody knows."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            others = (self._fronts, self._certificates, self._acme)
            if not any(other.reaped(pid, status) for other in others):
                self._pools.reaped(pid, status)

    def _command(self, command: str, connection: socket.socket) -> None:
        if command == "stop":
            control.answer(connection, b'{"stopping": true}\n', close=False)
            self._waiting.append(connection)
            self._stop("the admin socket")
            return
        words = command.split(" ")
        if words[0] in control.NUMBERED:
            front, app, stream = ([int(word) for word in words[1:]] + [0, 0])[:3]
            self._questions.ask_one(connection, front, words[0], app, stream)
            return
        if words[0] == control.SCALE:
            import json  # nothing else here needs it

            why = self._pools.scale(words[1], int(words[2]))
            line = json.dumps({"error": why} if why else {"app": words[1], "workers": int(words[2])})
            control.answer(connection, line.encode() + b"\n")
            return
        if words[0] in control.OF_AN_APP:

            def tell(outcome: Outcome) -> None:
                control.answer(connection, control.RENEWED[outcome])

            if not self._pools.renew(command.partition(" ")[2], tell, at_once=words[0] == "renew-now"):
                control.answer(connection, control.NO_SUCH_APP)
            return
        self._questions.ask(connection)

    def _facts(self) -> dict[str, object]:
        return {
            "master": {"pid": os.getpid(), "started_s": self._resources.started_s},
            "generation": 1,
            "fronts": self._fronts.facts(),
            "apps": self._pools.facts(),
            "certificates": self._certificates.facts(),
            "acme": self._acme.facts(),
        }

    # Stopping: fronts drain, then the pools end, then what is left is killed

    def _stop(self, who: str) -> None:
        if self._is_stopping:
            return
        self._is_stopping = True
        self._certificates.stop()
        grace_s = self._config.server.graceful_timeout_s
        self._say(f"stopping: {who}; up to {grace_s:g} s for what runs")
        notify("STOPPING=1")
        self._stop_timer = self._loop.after(grace_s, self._out_of_time)
        # Fronts give up a little earlier, so that what they cut is still logged by them.
        # The fronts are the last to hold them, and accept what waits in their queues before they let go.
        self._resources.close_listeners()
        self._acme.stop()
        self._fronts.drain(grace_s - min(0.5, grace_s / 10))

    def _say(self, text: str) -> None:
        # The end of an embedded server is an event of the program around it, not the operator's.
        (self._resources.log.info if self._embedder is None else self._resources.log.debug)(text)

    def _out_of_time(self) -> None:
        self._resources.log.warning(f"the grace time of {self._config.server.graceful_timeout_s:g} s is over")
        self._stop_now()

    def _stop_now(self) -> None:
        self._is_stopping = self._are_pools_closing = True
        if not self._is_killing:
            self._is_killing = True
            if self._stop_timer is not None:
                self._stop_timer.cancel()
            self._resources.close_listeners()
            self._stop_timer = self._loop.after(_LAST_WAIT_S, self._leave)

    def _leave(self) -> None:
        self._resources.log.error("some killed processes could not be waited for; left behind")
        self._is_left = True

    def _is_finished(self) -> bool:
        """Take the next step of a stop that is under way; True when nothing of ours is left."""
        if not self._is_stopping:
            return False
        if self._is_killing:
            # In every turn: workers of a killed template come to us only when it was waited for.
            self._certificates.stop()
            killed = [*self._fronts.kill(), *self._pools.kill(), *self._acme.kill()]
            if said := [words for words in killed if words not in self._killed]:
                self._killed.update(said)
                self._resources.log.warning(f"killed: {', '.join(said)}")
        elif self._fronts.are_gone and not self._are_pools_closing:
            self._are_pools_closing = True
            self._pools.close()
        return self._is_left or (
            self._fronts.are_gone and self._pools.are_gone and self._certificates.are_gone and self._acme.is_gone
        )


def _descriptors_needed(config: Config) -> int:
    """Return an upper bound of open descriptors: while a worker is ordered, both ends of all its channels are ours."""
    per_worker = 4 + 4 * config.server.fronts
    workers = sum(2 * app.workers + 2 for app in config.apps)
    return 64 + 2 * config.server.fronts + len(config.server.listeners) + per_worker * workers


def _set_title(config: Config) -> None:
    try:
        from setproctitle import setproctitle
    except ImportError:
        return
    names = [os.path.basename(path) for path in config.files] or [app.name for app in config.apps]
    setproctitle(" ".join(["pyserve: master", *names[:3]]))


def _embedded(fd: int) -> int:
    """Serve an embedding process over the channel that it left us; what prevents the start is told over it."""
    import pickle
    import select

    channel = MessageChannel.from_fd(fd)
    while not (received := channel.receive()):
        if channel.is_ended:
            return 0
        select.select([channel], [], [])
    _kind, _payload, (snapshot_fd,) = received[0]
    with open(snapshot_fd, "rb") as file:
        config = pickle.load(file)
    try:
        master = Master(config, _default_template_command(), embedder=channel)
    except CannotStart as error:
        channel.send(messages.pack_bytes(messages.START_FAILED, str(error).encode()))
        return 70
    return master.run(process_ends=True)


if __name__ == "__main__":
    sys.exit(_embedded(int(sys.argv[1])))
