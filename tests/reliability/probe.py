"""The probe: a process of its own that asks for one small file every 5 ms, and keeps how long each answer took.

What the scheduler of a busy machine adds is told apart: /proc/PID/schedstat has how long the front, and the probe
itself, were ready to run and had no CPU. Ends when stdin is closed (also by the death of the parent) or after
``MOST_S``; then it prints one line of JSON.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

from tests.reliability import sites

EVERY_S = 0.005
MOST_S = 180.0
TIMEOUT_S = 10.0
REPOSITORY = Path(__file__).resolve().parents[2]
REQUEST = b"GET /0.bin HTTP/1.1\r\nHost: f\r\nUser-Agent: probe\r\n\r\n"


class Seen(NamedTuple):
    count: int
    failed: int
    p99_ms: float
    worst_ms: float
    """From the request to the answer's end, as a client sees it."""
    worst_busy_ms: float
    """The same less what front and probe waited for a CPU meanwhile: what the front's loop itself is to blame for."""


class Probe:
    """A running probe; ``end`` it to have what it saw."""

    def __init__(self, port: int, front_pid: int) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.reliability.probe", str(port), str(front_pid)],
            cwd=REPOSITORY,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert self._process.stdout
        if self._process.stdout.readline() != b"running\n":
            self.kill()
            raise RuntimeError("the probe did not start")

    def end(self) -> Seen:
        answer, _ = self._process.communicate(timeout=30)
        if self._process.returncode:
            raise RuntimeError(f"the probe ended with {self._process.returncode}")
        return Seen(*json.loads(answer))

    def kill(self) -> None:
        if self._process.poll() is None:
            self._process.kill()
            self._process.communicate()

    def __enter__(self) -> Probe:
        return self

    def __exit__(self, *exc: object) -> None:
        self.kill()


def _waited_s(file: int) -> float:
    """Return how long a process has been ready to run without running, from its open schedstat."""
    return int(os.pread(file, 100, 0).split()[1]) / 1e9


def run(port: int, front_pid: int) -> Seen:
    body = sites.file_content(0)
    latencies: list[float] = []
    busy: list[float] = []
    failed = 0
    files = [os.open(f"/proc/{pid}/schedstat", os.O_RDONLY) for pid in (front_pid, os.getpid())]
    client = socket.create_connection(("127.0.0.1", port), timeout=TIMEOUT_S)
    client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    print("running", flush=True)
    begun = due = time.monotonic()
    while time.monotonic() - begun < MOST_S:
        due = max(due + EVERY_S, time.monotonic())
        if select.select([sys.stdin], [], [], max(0.0, due - time.monotonic()))[0]:
            break
        waited = sum(map(_waited_s, files))
        sent = time.monotonic()
        try:
            client.sendall(REQUEST)
            answer = b""
            while not answer.endswith(body):
                piece = client.recv(65536)
                if not piece:
                    raise ConnectionResetError
                answer += piece
        except OSError:
            failed += 1
            with contextlib.suppress(OSError):
                client.close()
                client = socket.create_connection(("127.0.0.1", port), timeout=TIMEOUT_S)
            continue
        took = time.monotonic() - sent
        latencies.append(took * 1000)
        busy.append((took - (sum(map(_waited_s, files)) - waited)) * 1000)
    client.close()
    for file in files:
        os.close(file)
    latencies.sort()
    p99 = latencies[len(latencies) * 99 // 100] if latencies else 0.0
    return Seen(len(latencies), failed, p99, max(latencies, default=0.0), max(busy, default=0.0))


def main() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent, which closes stdin
    with contextlib.suppress(OSError):
        os.nice(-5)  # the clock of the measurement should not wait for those it measures
    print(json.dumps(run(int(sys.argv[1]), int(sys.argv[2]))))


if __name__ == "__main__":
    main()
