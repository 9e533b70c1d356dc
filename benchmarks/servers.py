"""Start the processes of a server, wait until it answers, and leave none behind.

A stack is what stands between the client and the application: one program (pyserve) or two (nginx and gunicorn). Every
program gets its own session; this process is child subreaper, so that what they orphan can still be found and ended.
"""

from __future__ import annotations

import contextlib
import ctypes
import http.client
import os
import signal
import socket
import ssl
import subprocess
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.cpu import read_processes, tree_of

REPOSITORY = Path(__file__).resolve().parent.parent
READY_TIMEOUT_S = 30.0
STOP_TIMEOUT_S = 8.0
# What a developer's or a machine's own environment says of Python must not change what is measured: without bytecode
# every start would compile everything again.
_NOT_PASSED_ON = ("PYTHONDONTWRITEBYTECODE", "PYTHONUNBUFFERED", "PYTHONDEVMODE", "PYTHONASYNCIODEBUG")
_PR_SET_PDEATHSIG, _PR_SET_CHILD_SUBREAPER = 1, 36


class StackError(Exception):
    """A server did not start or did not answer; the message has the end of its output."""


@dataclass(frozen=True, slots=True)
class Program:
    argv: tuple[str, ...]
    output: Path
    """Where stdout and stderr go (an access log for those that write it there)."""
    cwd: Path = REPOSITORY


@dataclass(frozen=True, slots=True)
class Stack:
    """How a server is started; nothing runs yet."""

    name: str
    folder: Path
    programs: tuple[Program, ...]
    port: int
    host: str = "bench.localhost"
    configs: dict[str, str] = field(default_factory=dict)
    """File name in ``folder`` → text."""
    access_logs: tuple[Path, ...] = ()
    is_tls: bool = False

    @property
    def url(self) -> str:
        return f"{'https' if self.is_tls else 'http'}://127.0.0.1:{self.port}"

    def connect(self, timeout_s: float) -> http.client.HTTPConnection:
        """Return a client of it, not connected yet; whose certificate it is does not matter here."""
        if not self.is_tls:
            return http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout_s)
        context = ssl.create_default_context()
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        return http.client.HTTPSConnection("127.0.0.1", self.port, timeout=timeout_s, context=context)


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


def become_subreaper() -> None:
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def die_with_parent() -> Callable[[], None]:
    """Return what a child calls before its exec so that it gets TERM should this process be killed."""
    prctl = ctypes.CDLL(None).prctl
    return lambda: prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)


class Running:
    """A started stack. ``with`` it, or call ``stop``."""

    def __init__(self, stack: Stack) -> None:
        self.stack = stack
        self.name = stack.name
        self._children: list[subprocess.Popen[bytes]] = []

    @property
    def roots(self) -> list[int]:
        return [child.pid for child in self._children]

    def start(self) -> None:
        environment = {name: value for name, value in os.environ.items() if name not in _NOT_PASSED_ON}
        for name, text in self.stack.configs.items():
            (self.stack.folder / name).write_text(text)
        for program in self.stack.programs:
            with open(program.output, "ab") as output:
                child = subprocess.Popen(
                    program.argv,
                    cwd=program.cwd,
                    env=environment,
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=output,
                    start_new_session=True,
                    preexec_fn=die_with_parent(),
                )
            self._children.append(child)

    def wait_ready(self, path: str = "/", poll_s: float = 0.02) -> None:
        """Return when a GET is answered 200; raise ``StackError`` when a program ends or the time is over."""
        deadline = time.monotonic() + READY_TIMEOUT_S
        while not self._answers(path):
            for child in self._children:
                if child.poll() is not None:
                    raise StackError(f"ended with {child.returncode}:\n{self.tail()}")
            if time.monotonic() > deadline:
                raise StackError(f"no answer within {READY_TIMEOUT_S:g} s:\n{self.tail()}")
            time.sleep(poll_s)

    def _answers(self, path: str) -> bool:
        connection = self.stack.connect(5)
        try:
            connection.request("GET", path, headers={"Host": self.stack.host, "Connection": "close"})
            response = connection.getresponse()
            response.read(1)
            return response.status == 200
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()

    def tail(self) -> str:
        """Return the last lines that the programs wrote."""
        lines: list[str] = []
        for program in self.stack.programs:
            lines += program.output.read_text(errors="replace").splitlines()[-15:]
        return "\n".join(lines)

    def log_bytes(self) -> int:
        return sum(path.stat().st_size for path in self.stack.access_logs if path.exists())

    def empty_logs(self) -> None:
        for path in self.stack.access_logs:
            if path.exists():
                os.truncate(path, 0)  # all of them append

    def stop(self) -> list[int]:
        """End all processes; return those that were still there when the programs had ended by themselves."""
        tree = tree_of(self.roots, read_processes())
        for child in self._children:
            child.terminate()
        deadline = time.monotonic() + STOP_TIMEOUT_S
        for child in self._children:
            try:
                child.wait(max(0.1, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                pass
        left = [pid for pid in tree if _is_ours(pid)]
        for pid in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        for child in self._children:
            child.wait()
        _reap(set(tree) - set(self.roots))
        return left

    def __enter__(self) -> Running:
        self.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self.stop()


def _is_ours(pid: int) -> bool:
    """Tell whether the process still runs below this one (numbers are used again)."""
    processes = read_processes()
    if pid not in tree_of([os.getpid()], processes):
        return False
    try:
        return (Path("/proc") / str(pid) / "cmdline").read_bytes() != b""  # a zombie has none
    except OSError:
        return False


def _reap(orphans: Iterable[int]) -> None:
    """Wait for processes that lost their parent, became ours and ended."""
    for pid in orphans:
        with contextlib.suppress(ChildProcessError):
            os.waitpid(pid, os.WNOHANG)


def kill_descendants() -> int:
    """End everything that was started by this process and still runs; the last thing a run does."""
    killed: set[int] = set()
    for _ in range(5):
        mine = [pid for pid in tree_of([os.getpid()], read_processes()) if pid != os.getpid() and _is_ours(pid)]
        for pid in mine:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
                killed.add(pid)
        if not mine:
            break
        time.sleep(0.05)
    _reap(killed)
    return len(killed)


@contextlib.contextmanager
def interrupts_ignored() -> Iterator[None]:
    """Keep a second Ctrl-C from cutting the cleaning up short."""
    before = {number: signal.signal(number, signal.SIG_IGN) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
