"""Processes as the master sees them: how they are started, and how their end is told in words.

I/O: exec (``start``) and signals to processes that are certainly ours. Holds no policy: ``fronts`` and ``pools``
decide.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Literal

from pyserve.config.accounts import ENTER, READ, Identity, barrier
from pyserve.config.model import Recycling
from pyserve.master.loop import Line, Timer
from pyserve.master.policy import Restarts
from pyserve.wire.scoreboard import MAX_STACK_BYTES, PAGE_BYTES

MEMORY_SAMPLES = 60

_CRASHES = (signal.SIGSEGV, signal.SIGBUS, signal.SIGILL, signal.SIGFPE, signal.SIGABRT)


class Front:
    def __init__(self, number: int) -> None:
        self.number = number
        self.pid = 0
        """0 = not running, or the embedding process."""
        self.line: Line | None = None
        self.is_ready = False
        self.started_at = 0.0
        self.starts = 0
        self.restarts = Restarts()


class Template:
    def __init__(self, pid: int, line: Line, started_at: float, preload: bool) -> None:
        self.pid = pid
        self.line = line
        self.started_at = started_at
        self.preload = preload
        self.is_ready = False
        self.boot_timer: Timer | None = None
        self.failure = ""
        """Why we gave it up; "" = it ended by itself."""


class Worker:
    """``template``: None = adopted, it is the master's own child now."""

    def __init__(
        self,
        number: int,
        slot: int,
        line: Line,
        scoreboard_fd: int,
        started_at: float,
        template: Template | None,
    ) -> None:
        self.number = number
        self.slot = slot
        self.line = line
        self.scoreboard_fd = scoreboard_fd
        self.started_at = started_at
        self.template = template
        self.front_ends: dict[int, tuple[int, int]] = {}
        """Data and control ends to be given to each front once the pid is known."""
        self.pid = 0
        """0 = ordered, not yet forked. Claimed by the template: signal only through ``child.kill``."""
        self.state: Literal["booting", "ready", "draining"] = "booting"
        self.ready_at = 0.0
        self.ready_fronts: set[int] = set()
        self.idle_fronts: set[int] = set()
        self.boot_timer: Timer | None = None
        """While it boots: when it is given up. While it stops: when it is killed."""
        self.failure = ""
        """Why it did not boot, in one line; "" = not known."""
        self.leaving = ""
        """Why it goes as soon as its successor is ready; "" = it stays."""
        self.is_stuck = False
        """While it drains: it is killed when nothing else runs there, instead of being asked to stop."""
        self.killed_for = ""
        """Which limit we killed it for, in words; "" = for none."""
        self.is_killed = False
        """SIGKILL was sent to it, for whatever reason."""
        self.limits = Recycling()
        self.memory_bytes = 0
        self.memory: deque[tuple[float, int]] = deque(maxlen=MEMORY_SAMPLES)
        """Its memory over time: monotonic seconds and bytes, oldest first."""
        self.peak_bytes = 0
        """After its end: the most that it had resident, 0 = not known."""
        self.processor_s = 0.0
        self.stack_read_bytes = 0
        """How much of what it wrote behind its page was taken already."""
        self.last_stack = ""
        self.mute_requests: list[str] = []
        """What fronts have said of the requests of which it does not say where they stand."""
        self.stack_timer: Timer | None = None
        """It was told to write its stacks: when they are read."""


def start(
    command: Sequence[str],
    pass_fd: int,
    output_fd: int,
    *,
    cwd: str | None = None,
    env: Mapping[str, str] | None = None,
    identity: Identity | None = None,
    umask: int | None = None,
    more_fds: Sequence[int] = (),
) -> int:
    """Exec a command in its own process group with its inherited descriptors; return its pid. Raises ``OSError``.

    Its own group, because Ctrl-C in a terminal goes to the whole foreground group and is the master's to handle.
    """
    process = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=output_fd,
        stderr=output_fd,
        cwd=cwd,
        env=env,
        pass_fds=(pass_fd, *more_fds),
        process_group=0,
        user=None if identity is None else identity.uid,
        group=None if identity is None else identity.gid,
        extra_groups=None if identity is None else identity.groups,
        umask=-1 if umask is None else umask,
    )
    # The loop waits for every child itself; Popen is not to warn, nor to wait for this one behind our back.
    process.returncode = 0
    return process.pid


def front_command(fd: int) -> tuple[list[str], str | None]:
    """Return the command of a front and its working directory (None = ours)."""
    return module_command("pyserve.front", fd)


def module_command(module: str, fd: int) -> tuple[list[str], str | None]:
    """Return the command that runs a module of ours with one descriptor, and its working directory (None = ours).

    ``-P``: a file of the working directory is never taken for a module of ours. Where the package itself was found
    through the first entry of the path (a clone that is not installed), it is found the same way again.
    """
    folder = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    options, cwd = ["-P"], None
    if (
        not sys.flags.safe_path
        and sys.path
        and os.path.realpath(sys.path[0] or os.getcwd()) == os.path.realpath(folder)
    ):
        options, cwd = [], folder
    return [sys.executable, *options, "-m", module, str(fd)], cwd


def out_of_reach(identity: Identity) -> str:
    """Return what keeps a user from running a front: the first folder that can't be entered; "" = nothing."""
    from importlib.util import find_spec

    places = {sys.executable: ENTER, os.__file__: READ, os.path.dirname(os.path.dirname(__file__)): READ | ENTER}
    for name in ("uvloop", "httptools"):
        spec = find_spec(name)
        if spec is not None and spec.origin:
            places[spec.origin] = READ
    for path, mode in places.items():
        if reason := barrier(os.path.abspath(path), identity, mode):
            if _is_behind_environment(path, identity):
                return (
                    f"fronts can't drop to it: {reason}: that is the interpreter behind the virtual environment "
                    f"{sys.prefix}; make the environment with one that the user can reach, as /usr/bin/python3"
                )
            return f"fronts can't drop to it: {reason}; install pyserve where that user can read it, as in /opt"
    return ""


def _is_behind_environment(path: str, identity: Identity) -> bool:
    """Is it not what pyserve is installed in that a user can't reach, but what that was made with?"""
    if sys.prefix == sys.base_prefix:
        return False
    environment = os.path.dirname(os.path.abspath(sys.executable))
    return path == os.__file__ or (path == sys.executable and not barrier(environment, identity, ENTER))


def exit_words(status: int | None) -> str:
    """Return a wait status in words; None = it ended where nobody could wait for it."""
    if status is None:
        return "ended unseen"
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        try:
            return f"killed by signal {number} ({signal.Signals(number).name})"
        except ValueError:
            return f"killed by signal {number}"
    return f"exited with status {os.WEXITSTATUS(status)}"


def is_crash(status: int | None) -> bool:
    """Did the process end by a signal that only a fault of its own sends?"""
    return status is not None and os.WIFSIGNALED(status) and os.WTERMSIG(status) in _CRASHES


def stack_text(worker: Worker) -> str:
    """Return what ``faulthandler`` has written behind a worker's page since the last time, "" = nothing."""
    at = PAGE_BYTES + worker.stack_read_bytes
    try:
        raw = os.pread(worker.scoreboard_fd, MAX_STACK_BYTES, at)
    except OSError:
        return ""
    worker.stack_read_bytes += len(raw)
    return raw.decode("utf-8", "replace").strip("\0\n ")


def is_ours(pid: int) -> bool:
    """Is this certainly a child of this process, running or not yet waited for?

    A pid that a template told may be a lie or used again by a stranger; a child that was not waited for can't be
    either.
    """
    if not hasattr(os, "waitid"):
        # macOS, where pyserve is for development: all processes are the same user's.
        try:
            os.kill(pid, 0)
        except OSError:
            return False
        return True
    try:
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return False
    return True


def kill(pid: int, number: int = signal.SIGKILL) -> bool:
    """Signal a child of this process; return False if it is none (any more)."""
    if pid <= 0 or not is_ours(pid):
        return False
    try:
        os.kill(pid, number)
    except (ProcessLookupError, PermissionError):
        return False
    return True
