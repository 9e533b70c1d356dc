"""Look at a server all the while: memory, busy workers, connections, spool. A thread; once a second, or finer."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field
from types import TracebackType

from benchmarks.cpu import pss_bytes
from tests.reliability.stage import Stage


@dataclass
class Watch:
    """``with Watch(stage) as watch``: the figures are complete afterwards. ``running[app]``: samples over time."""

    stage: Stage
    every_s: float = 0.1
    before_bytes: int = 0
    most_bytes: int = 0
    front_before_bytes: int = 0
    front_most_bytes: int = 0
    most_spool: tuple[int, int] = (0, 0)
    most_connections: int = 0
    running: dict[str, list[int]] = field(default_factory=dict)
    connections: list[tuple[float, int]] = field(default_factory=list)
    unanswered: int = 0
    """Questions to the admin socket that got no answer."""

    def __enter__(self) -> Watch:
        self.before_bytes = self.most_bytes = self.stage.memory_bytes()
        self.front_before_bytes = self.front_most_bytes = pss_bytes([self.stage.front_pid])
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._sample_all, daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._is_over.set()
        self._thread.join()

    @property
    def grown_mb(self) -> float:
        return (self.most_bytes - self.before_bytes) / 1e6

    @property
    def front_grown_mb(self) -> float:
        return (self.front_most_bytes - self.front_before_bytes) / 1e6

    def busy(self, app: str) -> float:
        """Return how many requests the workers of an app ran on average."""
        samples = self.running.get(app, [])
        return sum(samples) / len(samples) if samples else 0.0

    def busiest(self, app: str) -> int:
        return max(self.running.get(app, [0]))

    def _sample_all(self) -> None:
        next_memory = 0.0
        while not self._is_over.wait(self.every_s):
            self._ask()
            if time.monotonic() >= next_memory:
                next_memory = time.monotonic() + 1
                self.most_bytes = max(self.most_bytes, self.stage.memory_bytes())
                self.front_most_bytes = max(self.front_most_bytes, pss_bytes([self.stage.front_pid]))
                self.most_spool = max(self.most_spool, self.stage.spool(), key=lambda spool: spool[1])

    def _ask(self) -> None:
        try:
            status = self.stage.status()
        except (OSError, ValueError):
            self.unanswered += 1
            return
        for name, app in status["apps"].items():
            self.running.setdefault(name, []).append(sum(worker["running"] for worker in app["workers"]))
        connections = sum(front["connections"] for front in status["fronts"])
        self.connections.append((time.monotonic(), connections))
        self.most_connections = max(self.most_connections, connections)
