"""Run the installed program as an operator does, watch it from outside, and check that it leaves no trace.

A ``Site`` is one running ``python -m pyserve -c site.toml`` in a folder of its own. Everything it tells comes from
where an operator would look: stderr, the log files, the admin socket, /proc. Made by the ``start_site`` fixture, which
stops it and then calls ``assert_no_trace``.
"""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.support import processes
from tests.support.client import Client, Response, request
from tests.support.waiting import wait_until

APPS = Path(__file__).resolve().parent.parent / "apps"
_LISTENS_ON = re.compile(r"127\.0\.0\.1:(\d+)")
_LISTENS_WITH_TLS = re.compile(r"https://127\.0\.0\.1:(\d+)")
_OUR_LINE = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z (debug|info|warning|error) \[")

HEAD = """
[server]
http = {http}
admin = "unix:run/admin.sock"
parser = "{parser}"
loop = "{loop}"
fronts = {fronts}
{server}

[server.limits]
spool_dir = "spool"
{limits}

[log]
access = {access}
"""


class Site:
    """``text`` is the part of site.toml after ``[log]``: apps and sites; ``server`` and ``limits`` are more lines."""

    def __init__(
        self,
        folder: Path,
        text: str,
        *,
        server: str = "",
        limits: str = "",
        access: str = '{ file = "access.log", format = "combined" }',
        http: str = '"127.0.0.1:0"',
        parser: str = "httptools",
        loop: str = "uvloop",
        fronts: int = 1,
        under: list[str] | None = None,
        arguments: tuple[str, ...] = (),
        env: dict[str, str] | None = None,
    ) -> None:
        self.folder = folder
        self.config = folder / "site.toml"
        self._arguments = arguments
        for name in ("spool", "tmp", "run"):
            (folder / name).mkdir(exist_ok=True, mode=0o700)
        head = HEAD.format(
            http=http, parser=parser, loop=loop, fronts=fronts, server=server, limits=limits, access=access
        )
        self.config.write_text(head + text.replace("APPS", str(APPS)))
        self._clients: list[Client] = []
        self._expected_errors: list[str] = []
        self._tolerated_errors: list[str] = []
        self._seen: dict[tuple[int, int], processes.Process] = {}
        self._files_before = set(os.listdir(folder))
        # What the outer environment says must not reach the program: its output would differ from a terminal's.
        own = {"TMPDIR": str(folder / "tmp"), "PYTHONUNBUFFERED": "1", "PYTHONDONTWRITEBYTECODE": ""}
        self.child = subprocess.Popen(
            [*(under or []), *self.command()],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**os.environ, **own, **(env or {})},
            cwd=folder,
            start_new_session=True,
        )
        self.lines: list[str] = []
        self.output: list[str] = []
        self._readers = [
            threading.Thread(target=self._read, args=(self.child.stderr, self.lines), daemon=True),
            threading.Thread(target=self._read, args=(self.child.stdout, self.output), daemon=True),
        ]
        for reader in self._readers:
            reader.start()

    # -- starting

    def command(self) -> list[str]:
        return [sys.executable, "-m", "pyserve", "-c", str(self.config), *self._arguments]

    def wait_ready(self, timeout_s: float = 30.0) -> None:
        """Wait for the line that says ready, and learn the port from it."""
        line = wait_until(lambda: self._ready_line() or self.child.poll() is not None, "ready", timeout_s)
        if line is True:
            self._finish_reading()
            raise AssertionError(f"exited with {self.child.returncode} before it was ready:\n" + "\n".join(self.lines))
        assert isinstance(line, str)
        ports = _LISTENS_ON.findall(line)
        if ports:
            self.address: tuple[str, int] = ("127.0.0.1", int(ports[0]))
        if encrypted := _LISTENS_WITH_TLS.findall(line):
            self.https: tuple[str, int] = ("127.0.0.1", int(encrypted[0]))
        self.observe()

    def _ready_line(self) -> str:
        return next((line for line in list(self.lines) if line.startswith("pyserve: ready")), "")

    @staticmethod
    def _read(stream: Any, lines: list[str]) -> None:
        for line in stream:  # one by one: the tests read while this thread writes
            lines.append(line.decode(errors="replace").rstrip("\n"))  # noqa: PERF401
        stream.close()

    # -- talking to it

    def connect(self, timeout_s: float = 20.0, receive_buffer: int = 0) -> Client:
        client = Client(self.address, timeout_s, receive_buffer)
        self._clients.append(client)
        return client

    def get(self, path: str, host: str = "a", **fields: str) -> Response:
        return self.ask(request(path, host, fields=fields))

    def post(self, path: str, body: bytes, host: str = "a", **fields: str) -> Response:
        return self.ask(request(path, host, "POST", body, fields))

    def ask(self, data: bytes, *, to_head: bool = False) -> Response:
        """Send a request on a connection of its own and return the answer."""
        with self.connect() as client:
            return client.ask(data, to_head=to_head)

    # -- looking at it

    def status(self) -> dict[str, Any]:
        """Return what ``pyserve status --json`` says, from the admin socket."""
        result = json.loads(self.admin("status"))
        assert isinstance(result, dict)
        return result

    def admin(self, command: str) -> bytes:
        """Say one line to the admin socket and return what it answers."""
        with socket.socket(socket.AF_UNIX) as admin:
            admin.settimeout(10)
            admin.connect(str(self.folder / "run/admin.sock"))
            admin.sendall(command.encode() + b"\n")
            answer = b""
            while piece := admin.recv(65536):
                answer += piece
        return answer

    def workers(self, app: str) -> list[dict[str, Any]]:
        return list(self.status()["apps"][app]["workers"])

    def worker_pids(self, app: str) -> list[int]:
        return [worker["pid"] for worker in self.workers(app)]

    def front_pids(self) -> list[int]:
        return [front["pid"] for front in self.status()["fronts"]]

    @property
    def master_pid(self) -> int:
        return int(self.status()["master"]["pid"])

    def pids(self) -> list[int]:
        """Return all live processes of this server."""
        return [self.child.pid, *(process.pid for process in self.observe())]

    def observe(self) -> list[processes.Process]:
        """Look at the process tree; what was seen once has to be gone in the end."""
        tree = [] if self.child.poll() is not None else processes.descendants(self.child.pid)
        for process in tree:
            self._seen[process.pid, process.started] = process
        return [process for process in tree if not process.is_zombie]

    def access_lines(self, count: int) -> list[str]:
        """Return the access log when it has as many lines."""

        def lines() -> list[str]:
            log = self.folder / "access.log"
            found = log.read_text().splitlines() if log.exists() else []
            return found if len(found) >= count else []

        return wait_until(lines, f"{count} lines in the access log")

    def wait_line(self, pattern: str, timeout_s: float = 10.0) -> str:
        """Return the first line of stderr that matches."""

        def find() -> str:
            return next((line for line in list(self.lines) if re.search(pattern, line)), "")

        return wait_until(find, f"a line with {pattern!r} in {self.lines[-20:]}", timeout_s)

    def expect_error(self, *patterns: str) -> None:
        """Say that lines with this in them will be in the error log; each has to come, all others fail the test."""
        self._expected_errors += patterns

    def tolerate_error(self, *patterns: str) -> None:
        """Say that such lines may be in the error log, or not."""
        self._tolerated_errors += patterns

    @contextmanager
    def same_workers(self, app: str) -> Iterator[None]:
        """Check that the block costs no worker."""
        before = self.worker_pids(app)
        yield
        assert self.worker_pids(app) == before

    @contextmanager
    def same_descriptors(self) -> Iterator[None]:
        """Check that every process has the same descriptors open after the block as before."""
        before = self._steady_descriptors()
        yield

        def differences() -> dict[int, Counter[str]]:
            found = {}
            for pid, kinds in before.items():
                now = processes.descriptors(pid)
                if now != kinds:
                    found[pid] = (now - kinds) + (kinds - now)
            return found

        self._settle(lambda: not differences(), lambda: f"descriptors differ: {differences()}")

    def _steady_descriptors(self) -> dict[int, Counter[str]]:
        """Return what is open once nothing is just being closed, as the connection of the last request may be."""
        before: dict[int, Counter[str]] = {}
        for _ in range(40):
            now = {pid: processes.descriptors(pid) for pid in self.pids()}
            if now == before:
                break
            before = now
            time.sleep(0.05)
        return before

    @contextmanager
    def memory_within(self, limit_bytes: int) -> Iterator[None]:
        """Check that no process grows by more than a limit while the block runs (sampled all the time)."""
        before = {pid: processes.resident_bytes(pid) for pid in self.pids()}
        most = dict(before)
        done = threading.Event()

        def sample() -> None:
            while not done.wait(0.02):
                for pid in before:
                    try:
                        most[pid] = max(most[pid], processes.resident_bytes(pid))
                    except (OSError, AssertionError):
                        pass  # it ended

        sampler = threading.Thread(target=sample)
        sampler.start()
        try:
            yield
        finally:
            done.set()
            sampler.join()
        grown = {pid: most[pid] - before[pid] for pid in before}
        assert max(grown.values()) <= limit_bytes, f"grown by bytes: {grown}"

    # -- stopping

    def kill(self, pid: int, number: int = signal.SIGKILL) -> None:
        assert pid in [self.child.pid, *(process.pid for process in self._seen.values())] or pid in self.pids()
        self.observe()
        os.kill(pid, number)

    def terminate(self) -> None:
        """Ask it to stop, and do not wait."""
        self.observe()
        self.child.send_signal(signal.SIGTERM)

    def wait_exit(self, timeout_s: float = 40.0) -> int:
        code = self.child.wait(timeout_s)
        self._finish_reading()
        return code

    def stop(self) -> int:
        """Stop it as systemd would, and return the exit code."""
        if self.child.poll() is None:
            self.terminate()
        return self.wait_exit()

    def _finish_reading(self) -> None:
        for reader in self._readers:
            reader.join(5)

    def assert_no_trace(self) -> None:
        """Stop it, then check: no process left, no zombie on the way, no unexpected error line, no stray file."""
        if self.child.poll() is None:
            self.observe()
            self._settle(lambda: not self._zombies(), lambda: f"zombies: {self._zombies()}")
            code = self.stop()
            assert code == 0, f"exit code {code}"
        self._settle(lambda: not self.survivors(), lambda: f"still alive: {self.survivors()}")
        self._finish_reading()
        assert not self._unexpected_lines(), "unexpected in the error log:\n" + "\n".join(self._unexpected_lines())
        for pattern in self._expected_errors:
            assert any(re.search(pattern, line) for line in self.lines), f"nothing in the error log about {pattern!r}"
        strays = [str(path) for name in ("spool", "tmp", "run") for path in (self.folder / name).rglob("*")]
        if self.child.returncode == -signal.SIGKILL:
            # A dead master can't remove its socket; the next one with this config takes the place over.
            strays = [path for path in strays if not path.endswith("run/admin.sock")]
        assert not strays, f"files left behind: {strays}"

    def end_by_force(self) -> None:
        """Whatever happened in the test: nothing of this server goes on running, no connection stays open."""
        for client in self._clients:
            client.close()
        for process in [*self.observe(), *self.survivors()]:
            try:
                os.kill(process.pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        if self.child.poll() is None:
            self.child.kill()
            self.child.wait()
        processes.reap([pid for pid, _ in self._seen])
        self._finish_reading()

    def _zombies(self) -> list[processes.Process]:
        return [process for process in processes.descendants(self.child.pid) if process.is_zombie]

    def survivors(self) -> list[processes.Process]:
        """Return what still lives of all that was ever seen of this server."""
        processes.reap([pid for pid, _ in self._seen])
        return [process for process in self._seen.values() if process.is_alive]

    def _unexpected_lines(self) -> list[str]:
        found = []
        for line in self.lines:
            ours = _OUR_LINE.match(line)
            # A traceback of the program itself begins in column 1; those of applications are indented under our line.
            if (ours and ours[1] == "error") or line.startswith(("Traceback", "Exception ignored", "Fatal Python")):
                found.append(line)
        known = self._expected_errors + self._tolerated_errors
        return [line for line in found if not any(re.search(pattern, line) for pattern in known)]

    @staticmethod
    def _settle(condition: Callable[[], bool], describe: Callable[[], str]) -> None:
        try:
            wait_until(condition, "", 5)
        except AssertionError:
            raise AssertionError(describe()) from None


StartSite = Callable[..., Site]
