"""Control groups: a bound on memory, processors and number of processes for all of one application's processes.

I/O: makes, fills and removes folders of the kernel's cgroup file systems, version 1 and 2, only ever below the group
that this process is in itself. What the system does not let us do is told and never a failure: an application runs
without that bound rather than not at all.

Version 2 allows no processes in a group that shares out controllers. So where this process is alone in its group, it
moves into a leaf below it, before it starts any other, and back at the end.
"""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Iterable
from typing import NamedTuple

from pyserve.config.model import ResourceLimits

PERIOD_US = 100_000
_CONTROLLERS = {"memory": "memory", "cpus": "cpu", "processes": "pids"}
_OUR_NAME = re.compile(r"pyserve-([0-9]+)(?:-.*)?")


class Hierarchy(NamedTuple):
    """Where a controller is: ``folder`` is that of this process's own group."""

    version: int
    folder: str


def wanted_controllers(limits: ResourceLimits) -> dict[str, str]:
    """Return the keys of ``limits`` that need a cgroup, with their controllers."""
    wanted = {"memory": limits.memory_bytes, "cpus": limits.cpus, "processes": limits.processes}
    return {key: _CONTROLLERS[key] for key, value in wanted.items() if value}


def settings(key: str, limits: ResourceLimits, version: int) -> list[tuple[str, str]]:
    """Return the files to write for one key of ``limits``, and what."""
    if key == "memory":
        return [("memory.max" if version == 2 else "memory.limit_in_bytes", str(limits.memory_bytes))]
    if key == "processes":
        return [("pids.max", str(limits.processes))]
    quota = max(1000, round(limits.cpus * PERIOD_US))
    if version == 2:
        return [("cpu.max", f"{quota} {PERIOD_US}")]
    return [("cpu.cfs_period_us", str(PERIOD_US)), ("cpu.cfs_quota_us", str(quota))]


def find_hierarchies(own: str, mounts: str) -> dict[str, Hierarchy]:
    """Return each controller's hierarchy from the texts of /proc/self/cgroup and /proc/self/mountinfo.

    "" is the unified one, which has a list of its controllers itself. What is not mounted here, or only with other
    groups than ours, is left out.
    """
    groups: dict[str, str] = {}
    for line in own.splitlines():
        number, _, rest = line.partition(":")
        names, _, path = rest.partition(":")
        if number == "0" or names:
            groups |= dict.fromkeys(names.split(","), path)
    found: dict[str, Hierarchy] = {}
    for line in mounts.splitlines():
        before, _, after = line.partition(" - ")
        fields, kind = before.split(" "), after.split(" ")
        if len(fields) < 6 or len(kind) < 3 or kind[0] not in ("cgroup", "cgroup2"):
            continue
        for name in [""] if kind[0] == "cgroup2" else kind[2].split(","):
            if name not in groups or name in found:
                continue
            root, point = fields[3].rstrip("/"), fields[4].replace("\\040", " ")
            path = groups[name].rstrip("/")
            if path == root or path.startswith(root + "/"):
                found[name] = Hierarchy(2 if not name else 1, point + path[len(root) :])
    return found


class Group:
    """The cgroups of one application: one folder for each hierarchy. ``refused``: key of ``limits`` -> why not."""

    def __init__(self) -> None:
        self.folders: list[str] = []
        self.refused: dict[str, str] = {}

    def add(self, pid: int) -> str:
        """Put a process in; its children will follow. Return why that did not work, "" = it did."""
        for folder in self.folders:
            try:
                _write(f"{folder}/cgroup.procs", str(pid))
            except OSError as error:
                return f"{folder}: {error.strerror}"
        return ""


class Cgroups:
    """``keys``: of all applications' limits, those that need a group. Make it before any process is started."""

    def __init__(self, keys: dict[str, str], hierarchies: dict[str, Hierarchy] | None = None) -> None:
        self._pid = os.getpid()
        self._groups: list[Group] = []
        self._refused: dict[str, str] = {}
        self._places: dict[str, Hierarchy] = {}
        self._leaf = ""
        self._enabled: list[str] = []
        hierarchies = _own_hierarchies() if hierarchies is None and keys else hierarchies or {}
        unified = hierarchies.get("")
        shared = _read(f"{unified.folder}/cgroup.controllers").split() if unified is not None else []
        for key, controller in keys.items():
            if controller in hierarchies:
                self._places[key] = hierarchies[controller]
            elif unified is not None and controller in shared:
                if why := self._share_out(unified.folder, controller):
                    self._refused[key] = why
                else:
                    self._places[key] = unified
            else:
                self._refused[key] = f"this system gives us no cgroup controller {controller!r}"
        for folder in {place.folder for place in self._places.values()}:
            _remove_stale(folder)

    def _share_out(self, folder: str, controller: str) -> str:
        """Have groups below ``folder`` get a controller; return why that can't be."""
        if controller in _read(f"{folder}/cgroup.subtree_control").split():
            return ""
        try:
            try:
                _write(f"{folder}/cgroup.subtree_control", f"+{controller}")
            except OSError as error:
                if error.errno != errno.EBUSY:
                    raise
                if set(_read(f"{folder}/cgroup.procs").split()) != {str(self._pid)}:
                    return "other processes are in our cgroup; it has to be pyserve's own (systemd: Delegate=yes)"
                leaf = f"{folder}/pyserve-{self._pid}"
                os.mkdir(leaf)
                self._leaf = leaf
                _write(f"{leaf}/cgroup.procs", str(self._pid))
                _write(f"{folder}/cgroup.subtree_control", f"+{controller}")
        except OSError as error:
            return f"{folder}: {error.strerror}"
        self._enabled.append(controller)
        return ""

    def make(self, name: str, limits: ResourceLimits) -> Group:
        """Return the group of an application, made as far as the system lets us; all of it is ``refused`` at worst."""
        group = Group()
        self._groups.append(group)
        plain = re.sub(r"[^A-Za-z0-9_.-]", "_", name)[:60]
        for key in wanted_controllers(limits):
            place = self._places.get(key)
            if place is None:
                group.refused[key] = self._refused[key]
                continue
            folder = f"{place.folder}/pyserve-{self._pid}-{len(self._groups)}-{plain}"
            try:
                if folder not in group.folders:
                    os.mkdir(folder, 0o755)
                    group.folders.append(folder)
                for file, value in settings(key, limits, place.version):
                    _write(f"{folder}/{file}", value)
            except OSError as error:
                group.refused[key] = f"{error.filename or folder}: {error.strerror}"
        return group

    def close(self) -> None:
        """Remove all groups; one in which something still runs that an application left behind stays."""
        for folder in [folder for group in self._groups for folder in group.folders]:
            _remove(folder)
        self._groups.clear()
        if self._leaf:
            parent = os.path.dirname(self._leaf)
            try:
                _write(f"{parent}/cgroup.subtree_control", " ".join(f"-{name}" for name in self._enabled))
                _write(f"{parent}/cgroup.procs", str(self._pid))
            except OSError:
                return
            _remove(self._leaf)
            self._leaf = ""


def _own_hierarchies() -> dict[str, Hierarchy]:
    return find_hierarchies(_read("/proc/self/cgroup"), _read("/proc/self/mountinfo"))


def _remove_stale(folder: str) -> None:
    """Remove what a server left that was killed."""
    for name in _listed(folder):
        match = _OUR_NAME.fullmatch(name)
        if match is not None and not os.path.exists(f"/proc/{match[1]}"):
            _remove(f"{folder}/{name}")


def _listed(folder: str) -> Iterable[str]:
    try:
        return os.listdir(folder)
    except OSError:
        return ()


def _remove(folder: str) -> None:
    try:
        os.rmdir(folder)
    except OSError:
        pass  # something still runs in it


def _read(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="surrogateescape") as file:
            return file.read()
    except OSError:
        return ""


def _write(path: str, text: str) -> None:
    # Never made here: a file that is not there is a controller that is not there.
    fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(fd, text.encode())
    finally:
        os.close(fd)
