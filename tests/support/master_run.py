"""The real master with a fake front and a fake template, in processes of its own, and what they were told."""

from __future__ import annotations

import json
import os
import pickle
import re
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

from pyserve.config.model import App, Config, ErrorLog, Listener, Log, Server
from tests.support import processes
from tests.support.waiting import wait_until

FAKES = Path(__file__).with_name("master_fakes.py")


def app(module: str, workers: int = 1, **more: Any) -> App:
    """``module`` says what its workers do, see ``master_fakes``."""
    return App(module, module, "application", "/", sys.executable, workers=workers, **more)


class MasterRun:
    def __init__(
        self,
        folder: Path,
        *apps: App,
        fronts: int = 1,
        grace_s: float = 10.0,
        error_file: str = "-",
        env: dict[str, str] | None = None,
        http: tuple[Listener, ...] = (Listener("127.0.0.1", 0),),
    ) -> None:
        self.admin_path = str(folder / "run" / "admin.sock")
        self._heard = folder / "heard"
        self._heard.touch()
        server = Server(http, self.admin_path, fronts, graceful_timeout_s=grace_s)
        config = Config(server, Log(error=ErrorLog(error_file)), apps)
        config_path = folder / "config.pickle"
        config_path.write_bytes(pickle.dumps(config))
        self.lines: list[str] = []
        self.seen: dict[tuple[int, int], processes.Process] = {}
        self.child = subprocess.Popen(
            [sys.executable, str(FAKES), "master", str(config_path)],
            stdin=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            env={**os.environ, "HEARD": str(self._heard), **(env or {})},
        )
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        assert self.child.stderr is not None
        for line in self.child.stderr:
            self.lines.append(line.decode().rstrip("\n"))
        self.child.stderr.close()

    def wait_line(self, pattern: str, timeout_s: float = 10.0, after: int = 0) -> str:
        """Return the first line of stderr that matches, not looking at the first ``after``."""

        def find() -> str:
            return next((line for line in self.lines[after:] if re.search(pattern, line)), "")

        return wait_until(find, f"{pattern!r} in {self.lines}", timeout_s)

    def wait_ready(self) -> MasterRun:
        line = self.wait_line("pyserve: ready")
        if found := re.search(r"127\.0\.0\.1:(\d+)", line):
            self.port = int(found[1])
        return self

    def heard(self, kind: str) -> list[list[Any]]:
        """Return what fronts were told: ``[pid, front number, *values, descriptors]`` of messages of a kind."""
        rows = [json.loads(line) for line in self._heard.read_text().splitlines()]
        return [[*row[:2], *row[3:]] for row in rows if row[2] == kind]

    def wait_heard(self, kind: str, count: int = 1) -> list[list[Any]]:
        return wait_until(
            lambda: self.heard(kind) if len(self.heard(kind)) >= count else [], f"{count} {kind} in {self.lines}"
        )

    def order(self, words: str) -> None:
        """Have the front do something."""
        with socket.create_connection(("127.0.0.1", self.port)) as client:
            client.sendall(words.encode())
            assert client.recv(10) == b"done"

    def admin(self, command: str) -> bytes:
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(self.admin_path)
            client.sendall(command.encode() + b"\n")
            answer = b""
            while piece := client.recv(65536):
                answer += piece
            return answer

    def facts(self) -> dict[str, Any]:
        result = json.loads(self.admin("status"))
        assert isinstance(result, dict)
        return result

    def workers(self, index: int = 0) -> list[dict[str, Any]]:
        """Return workers by number; looks at all processes too, so that none can be forgotten in the end."""
        self.observe()
        return sorted(self.facts()["apps"][index]["workers"], key=lambda worker: int(worker["worker"]))

    def wait_workers(self, count: int, not_pid: int = 0) -> list[dict[str, Any]]:
        """Return the workers when so many are ready and none has that pid."""

        def find() -> list[dict[str, Any]]:
            found = self.workers()
            ready = [worker for worker in found if worker["state"] == "ready"]
            return found if len(ready) == count and not_pid not in [worker["pid"] for worker in found] else []

        return wait_until(find, f"{count} workers in {self.lines}")

    def observe(self) -> list[processes.Process]:
        tree = processes.descendants(self.child.pid) if self.child.poll() is None else []
        self.seen.update({(process.pid, process.started): process for process in tree})
        return tree

    def terminate(self, number: int = signal.SIGTERM) -> None:
        self.observe()
        self.child.send_signal(number)

    def wait_exit(self, timeout_s: float = 20.0) -> int:
        code = self.child.wait(timeout_s)
        self._reader.join(5)
        return code

    def stop(self) -> int:
        self.terminate()
        return self.wait_exit()

    def survivors(self) -> list[processes.Process]:
        processes.reap([pid for pid, _ in self.seen])
        return [process for process in self.seen.values() if process.is_alive]

    def end_by_force(self) -> None:
        """Whatever happened in the test: nothing goes on running."""
        for process in [*self.observe(), *self.survivors()]:
            try:
                os.kill(process.pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        if self.child.poll() is None:
            self.child.kill()
        self.wait_exit()
        wait_until(lambda: not self.survivors(), "everything is gone")
