"""How an application's processes are started: as whom, in which environment, within which bounds (D14, D18).

I/O: looks up users, makes the temporary folder, sets limits of a child, makes cgroups. ``pyserve check`` uses the same
functions for its import on trial. Invariants: an application is never started as somebody else than its file says,
and one of another user gets nothing of our environment but what says where programs, language and time are.
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from pyserve.config.accounts import CannotBecome, Identity, become, faults, may_change
from pyserve.config.model import App, ResourceLimits
from pyserve.master import cgroups
from pyserve.net.channels import read_only
from pyserve.observe.error_log import ErrorLog

_DEFAULT_PATH = "/usr/local/bin:/usr/bin:/bin"
_INHERITED = ("PATH", "LANG", "LANGUAGE", "TZ")


class Refused(Exception):
    """The application can't be started as it is meant to be; the text says why. ``is_final``: nor will it ever be."""

    def __init__(self, reason: str, *, is_final: bool = False) -> None:
        super().__init__(reason)
        self.is_final = is_final


class Start(NamedTuple):
    """As whom (None = as we are), with which variables and mask (None = ours) a process of an application begins."""

    identity: Identity | None
    env: dict[str, str]
    umask: int | None


def how_to_start(app: App) -> Start:
    """Return how an application's processes are started. Raises ``Refused``."""
    try:
        identity = become(app.isolation)
    except CannotBecome as error:
        # That we are not root does not change any more; a user may be made while we run.
        raise Refused(str(error), is_final=os.geteuid() != 0) from None
    if identity is not None or app.isolation.tmp:
        for _, reason in faults(app):
            raise Refused(reason)
    env = environment(app, identity, os.environ)
    return Start(identity, env, app.isolation.umask)


def environment(app: App, identity: Identity | None, ours: Mapping[str, str]) -> dict[str, str]:
    """Return the variables of an application's processes; ``ours``: those of this process.

    Whoever runs as we do could read our variables anyway and inherits them. Another user gets of them only what says
    where programs, language and time are: the rest may hold secrets, or paths that are not meant for that user
    (``PYTHON…``, ``VIRTUAL_ENV``, ``TMPDIR``).
    """
    if identity is None or identity.uid == os.geteuid():
        env = dict(ours)
        env.pop("__PYVENV_LAUNCHER__", None)  # macOS: would make every interpreter take itself for ours
    else:
        env = {"PATH": _DEFAULT_PATH}
        env |= {name: value for name, value in ours.items() if name in _INHERITED or name.startswith("LC_")}
        env |= {"HOME": identity.home, "USER": identity.name, "LOGNAME": identity.name}
    if app.isolation.tmp:
        env["TMPDIR"] = app.isolation.tmp
    return env | dict(app.env)


def make_temporary_folder(folder: str, identity: Identity | None) -> None:
    """Make ``folder`` with mode 0700 for its user, if it is not there. Raises ``Refused``."""
    if not folder or os.path.lexists(folder):
        return
    try:
        if identity is None:
            os.mkdir(folder, 0o700)
        elif may_change(os.path.dirname(folder), identity):
            # SAFETY: who can swap a folder for a link could have us give away another one; so this is that user's call.
            _make_as(folder, identity)
        else:
            os.mkdir(folder, 0o700)
            os.chown(folder, identity.uid, identity.gid, follow_symlinks=False)
    except OSError as error:
        raise Refused(f"tmp: can't make {folder}: {error.strerror or error}") from None


def _make_as(folder: str, identity: Identity) -> None:
    made = subprocess.run(
        ["mkdir", "-m", "700", "--", folder],
        env={"PATH": _DEFAULT_PATH, "LC_ALL": "C"},
        user=identity.uid,
        group=identity.gid,
        extra_groups=identity.groups,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=False,
    )
    if made.returncode != 0:
        raise OSError(made.stderr.decode(errors="replace").strip() or f"mkdir exited with {made.returncode}")


class Limited(NamedTuple):
    """``by_itself``: what a child is to set on itself, for its SPEC. ``refused``: key -> why it is not in force."""

    by_itself: dict[str, int]
    refused: dict[str, str]


def set_limits(pid: int, limits: ResourceLimits) -> Limited:
    """Limit a child of ours, and what it will start.

    From outside and after its exec, because Python can't do it between fork and exec without running code there.
    Where we may not (a container's root often lacks the capability; other systems have no such call), it does so
    itself, before it loads anything of the application.
    """
    result = Limited({}, {})
    for key, name, value in (
        ("open_files", "RLIMIT_NOFILE", limits.open_files),
        ("address_space", "RLIMIT_AS", limits.address_space_bytes),
        ("cpu_time", "RLIMIT_CPU", limits.cpu_time_s),
    ):
        if not value:
            continue
        kind = getattr(resource, name)
        _, most = resource.getrlimit(kind)
        if most != resource.RLIM_INFINITY and value > most:
            result.refused[key] = f"we are allowed {most} ourselves"
        elif not _limit(pid, kind, value, most):
            result.by_itself[name] = value
    if limits.nice is not None:
        try:
            os.setpriority(os.PRIO_PROCESS, pid, limits.nice)
        except OSError:
            result.by_itself["nice"] = limits.nice
    return result


def _limit(pid: int, kind: int, value: int, most: int) -> bool:
    if sys.platform != "linux":
        return False
    # Of CPU time only the soft limit: it ends a process by SIGXCPU, which says why; the hard one would by SIGKILL.
    hard = most if kind == resource.RLIMIT_CPU else value
    try:
        resource.prlimit(pid, kind, (value, hard))
    except (OSError, ValueError):
        return False
    return True


def code_descriptor() -> int:
    """Return a descriptor of the worker's code, for a process that may not be able to enter our folder.

    Many may have it and nobody can write to it. The caller closes it.
    """
    # The second edge from master to worker: what such a process needs to read belongs to the worker's code.
    from pyserve.worker.carried import pack

    return read_only(pack())


class Isolator:
    """What isolated applications share in one server: the code for other users, and the cgroups."""

    def __init__(self, apps: Sequence[App], log: ErrorLog) -> None:
        self._log = log
        self._code_fd = -1
        self._groups: dict[str, cgroups.Group] = {}
        self._said: set[str] = set()
        keys: dict[str, str] = {}
        for app in apps:
            keys |= cgroups.wanted_controllers(app.isolation.limits)
        self._cgroups = cgroups.Cgroups(keys)

    def code_fd(self) -> int:
        if self._code_fd < 0:
            self._code_fd = code_descriptor()
        return self._code_fd

    def confine(self, pid: int, app: App) -> dict[str, int]:
        """Set an application's limits on a template that has not begun; return those that it has to set itself.

        What can't be in force is said, once.
        """
        limits = app.isolation.limits
        by_itself, refused = set_limits(pid, limits)
        if keys := cgroups.wanted_controllers(limits):
            group = self._groups.get(app.name)
            if group is None:
                group = self._groups[app.name] = self._cgroups.make(app.name, limits)
            refused |= group.refused
            if why := group.add(pid):
                refused |= dict.fromkeys(keys, why)
        if refused and app.name not in self._said:
            self._said.add(app.name)
            words = ", ".join(f"{key} ({why})" for key, why in refused.items())
            self._log.warning(f"app {app.name}: limits that are not in force: {words}")
        return by_itself

    def close(self) -> None:
        """When all processes have ended."""
        self._cgroups.close()
        if self._code_fd >= 0:
            os.close(self._code_fd)
            self._code_fd = -1
