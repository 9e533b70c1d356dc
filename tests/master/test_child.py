"""Starting processes, telling their end in words, and never signalling somebody else's."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from pyserve.master import child, kernel

FOLDER = Path(__file__).parent


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (0, "exited with status 0"),
        (3 << 8, "exited with status 3"),
        (9, "killed by signal 9 (SIGKILL)"),
        (11 | 0x80, "killed by signal 11 (SIGSEGV)"),
        (63, "killed by signal 63"),
        (None, "ended unseen"),
    ],
)
def test_a_wait_status_in_words(status: int | None, words: str) -> None:
    assert child.exit_words(status) == words


@pytest.fixture
def output() -> Iterator[tuple[int, int]]:
    reader, writer = os.pipe()
    yield reader, writer
    os.close(reader)
    os.close(writer)


def wait(pid: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def test_a_child_has_a_group_of_its_own_one_inherited_descriptor_and_its_folder(output: tuple[int, int]) -> None:
    reader, writer = output
    kept, other = os.pipe()
    script = f"import os; os.fstat({kept}); print(os.getpgid(0) == os.getpid(), os.getcwd()); os.fstat({other})"
    pid = child.start([sys.executable, "-c", script], kept, writer, cwd=str(FOLDER))
    assert wait(pid) == 1
    lines = os.read(reader, 65536).decode().splitlines()
    assert lines[0] == f"True {FOLDER.resolve()}"
    assert lines[-1] == "OSError: [Errno 9] Bad file descriptor"
    os.close(kept)
    os.close(other)


def test_what_can_not_be_started_is_an_error_and_leaves_no_child(output: tuple[int, int]) -> None:
    with pytest.raises(FileNotFoundError):
        child.start([str(FOLDER / "no such program")], output[1], output[1])
    with pytest.raises(FileNotFoundError):
        child.start([sys.executable], output[1], output[1], cwd=str(FOLDER / "no such folder"))


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can start another user's process")
@pytest.mark.skipif(not os.path.exists("/usr/bin/id"), reason="/usr/bin/id says who it is")
def test_a_child_of_another_user_has_that_users_groups_only(output: tuple[int, int]) -> None:
    reader, writer = output
    identity = kernel.identity_of("nobody")
    pid = child.start(["/usr/bin/id"], writer, writer, identity=identity, cwd="/")
    assert wait(pid) == 0
    words = os.read(reader, 65536).decode()
    assert f"uid={identity.uid}(nobody) gid={identity.gid}" in words
    assert "root" not in words


def test_only_children_that_were_not_waited_for_are_signalled() -> None:
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    assert child.is_ours(process.pid)
    assert child.kill(process.pid, signal.SIGTERM)
    process.wait()
    assert process.stdin is not None
    process.stdin.close()
    assert not child.kill(process.pid)
    for stranger in (0, 1, os.getppid(), os.getpid()):
        assert not child.kill(stranger, 0)


def test_a_command_of_ours_never_looks_into_the_working_directory(monkeypatch: pytest.MonkeyPatch) -> None:
    package_parent = str(Path(child.__file__).parents[2])
    monkeypatch.setattr(sys, "path", ["/somewhere/else", package_parent])
    assert child.front_command(7) == ([sys.executable, "-P", "-m", "pyserve.front", "7"], None)
    # Run from a clone that is not installed, the clone is the only place where it can be found.
    monkeypatch.setattr(sys, "path", [package_parent])
    assert child.front_command(7) == ([sys.executable, "-m", "pyserve.front", "7"], package_parent)
