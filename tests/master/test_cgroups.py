"""Control groups, on folders that look like the kernel's: what is written, what is refused, what is removed."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from pyserve.config.model import ResourceLimits
from pyserve.master import cgroups
from pyserve.master.cgroups import Cgroups, Group, Hierarchy, find_hierarchies, settings, wanted_controllers

ALL = ResourceLimits(memory_bytes=500 << 20, cpus=1.5, processes=200)
HYBRID = """9:name=systemd:/
4:memory:/user/ab
2:cpu,cpuacct:/
0::/
"""
HYBRID_MOUNTS = """31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,relatime - cgroup cgroup rw,cpu,cpuacct
35 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory
41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw
"""


def test_each_controller_is_found_below_our_own_group() -> None:
    assert find_hierarchies(HYBRID, HYBRID_MOUNTS) == {
        "cpu": Hierarchy(1, "/sys/fs/cgroup/cpu,cpuacct"),
        "cpuacct": Hierarchy(1, "/sys/fs/cgroup/cpu,cpuacct"),
        "memory": Hierarchy(1, "/sys/fs/cgroup/memory/user/ab"),
        "": Hierarchy(2, "/sys/fs/cgroup/unified"),
    }


def test_in_a_container_paths_begin_where_the_mount_does() -> None:
    mounts = "40 30 0:5 /docker/ab /sys/fs/cgroup\\040x ro shared:1 - cgroup2 cgroup rw\n"
    assert find_hierarchies("0::/docker/ab/inner\n", mounts) == {"": Hierarchy(2, "/sys/fs/cgroup x/inner")}
    assert find_hierarchies("0::/docker/abc\n", mounts) == {}
    assert find_hierarchies("0::/docker/ab\n", "nonsense\n") == {}


def test_what_is_written_for_each_version() -> None:
    assert wanted_controllers(ALL) == {"memory": "memory", "cpus": "cpu", "processes": "pids"}
    assert wanted_controllers(ResourceLimits(open_files=5)) == {}
    written = {
        version: [line for key in wanted_controllers(ALL) for line in settings(key, ALL, version)] for version in (1, 2)
    }
    assert written[2] == [("memory.max", "524288000"), ("cpu.max", "150000 100000"), ("pids.max", "200")]
    assert written[1] == [
        ("memory.limit_in_bytes", "524288000"),
        ("cpu.cfs_period_us", "100000"),
        ("cpu.cfs_quota_us", "150000"),
        ("pids.max", "200"),
    ]


class Kernel:
    """Makes the files that a cgroup has when its folder is made, and removes them with it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, files: list[str]) -> None:
        self.files = [*files, "cgroup.procs"]
        self.busy: set[str] = set()
        self.written: list[tuple[str, str]] = []
        self._mkdir, self._rmdir, self._write = os.mkdir, os.rmdir, cgroups._write
        monkeypatch.setattr(os, "mkdir", self.mkdir)
        monkeypatch.setattr(os, "rmdir", self.rmdir)
        monkeypatch.setattr(cgroups, "_write", self.write)

    def mkdir(self, path: str, mode: int = 0o777) -> None:
        self._mkdir(path, mode)
        for name in self.files:
            Path(path, name).touch()

    def rmdir(self, path: str) -> None:
        if path in self.busy:
            raise OSError(16, "Device or resource busy", path)
        for name in self.files:
            Path(path, name).unlink(missing_ok=True)
        self._rmdir(path)

    def write(self, path: str, text: str) -> None:
        self.written.append((path, text))
        self._write(path, text)


def test_version_1_has_a_folder_for_each_controller(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kernel = Kernel(monkeypatch, ["memory.limit_in_bytes", "pids.max"])
    for name in ("memory", "pids"):
        (tmp_path / name).mkdir()
    places = {name: Hierarchy(1, str(tmp_path / name)) for name in ("memory", "pids")}
    made = Cgroups(wanted_controllers(ALL), places)
    group = made.make("sh/op", ALL)
    name = f"pyserve-{os.getpid()}-1-sh_op"
    assert group.folders == [str(tmp_path / "memory" / name), str(tmp_path / "pids" / name)]
    assert group.refused == {"cpus": "this system gives us no cgroup controller 'cpu'"}
    assert group.add(123) == ""
    assert kernel.written[-2:] == [(f"{folder}/cgroup.procs", "123") for folder in group.folders]
    made.close()
    assert not any(list((tmp_path / name).glob("pyserve-*")) for name in ("memory", "pids"))


def test_version_2_is_one_folder_and_a_busy_one_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kernel = Kernel(monkeypatch, ["memory.max", "cpu.max", "pids.max"])
    (tmp_path / "cgroup.controllers").write_text("cpu memory pids\n")
    (tmp_path / "cgroup.subtree_control").write_text("cpu memory pids\n")
    made = Cgroups(wanted_controllers(ALL), {"": Hierarchy(2, str(tmp_path))})
    one, two = made.make("one", ALL), made.make("two", ResourceLimits(processes=9))
    assert (one.refused, two.refused) == ({}, {})
    assert Path(one.folders[0], "cpu.max").read_text() == "150000 100000"
    assert Path(two.folders[0], "pids.max").read_text() == "9"
    kernel.busy.add(one.folders[0])
    made.close()
    assert os.path.isdir(one.folders[0])
    assert not os.path.isdir(two.folders[0])


def test_in_version_2_the_server_moves_into_a_leaf_and_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kernel = Kernel(monkeypatch, ["memory.max"])
    (tmp_path / "cgroup.controllers").write_text("memory\n")
    control, processes = tmp_path / "cgroup.subtree_control", tmp_path / "cgroup.procs"
    control.touch()
    processes.write_text(f"{os.getpid()}\n")

    def write(path: str, text: str) -> None:
        if path == str(control) and text.startswith("+") and str(os.getpid()) in processes.read_text():
            raise OSError(16, "Device or resource busy")
        kernel.write(path, text)
        if path.endswith("/cgroup.procs"):
            processes.write_text(text if path == str(processes) else "")

    monkeypatch.setattr(cgroups, "_write", write)
    made = Cgroups({"memory": "memory"}, {"": Hierarchy(2, str(tmp_path))})
    leaf = tmp_path / f"pyserve-{os.getpid()}"
    assert (leaf / "cgroup.procs").read_text() == str(os.getpid())
    assert control.read_text() == "+memory"
    memory = ResourceLimits(memory_bytes=1 << 20)
    assert made.make("x", memory).refused == {}
    made.close()
    assert control.read_text() == "-memory"
    assert processes.read_text() == str(os.getpid())
    assert not leaf.exists()
    # With others in the group nothing is moved.
    processes.write_text(f"{os.getpid()}\n1\n")
    refused = Cgroups({"memory": "memory"}, {"": Hierarchy(2, str(tmp_path))}).make("x", memory).refused
    assert "other processes are in our cgroup" in refused["memory"]
    assert not leaf.exists()


def test_what_the_system_does_not_let_us_do_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = Cgroups({"memory": "memory"}, {"memory": Hierarchy(1, str(tmp_path / "gone"))})
    group = made.make("x", ResourceLimits(memory_bytes=1 << 20))
    assert group.refused == {"memory": f"{tmp_path}/gone/pyserve-{os.getpid()}-1-x: No such file or directory"}
    made.close()
    alone = Group()
    alone.folders.append(str(tmp_path))
    assert alone.add(5) == f"{tmp_path}: No such file or directory"


def test_what_a_killed_server_left_is_removed(tmp_path: Path) -> None:
    dead, alive, other = tmp_path / "pyserve-4999999-1-x", tmp_path / f"pyserve-{os.getppid()}", tmp_path / "other"
    for folder in (dead, alive, other):
        folder.mkdir()
    Cgroups({"memory": "memory"}, {"memory": Hierarchy(1, str(tmp_path))})
    assert not dead.exists()
    assert alive.exists()
    assert other.exists()
