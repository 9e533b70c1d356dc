"""A ``files`` handler with a clock, a cache and helper threads in the test's hands, in front of a real folder."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from pyserve.config.model import Compress, Files
from pyserve.files.cache import FileCache
from pyserve.files.entry import FileEntry
from pyserve.handlers.compressed import Compression, Streams
from pyserve.handlers.interface import Lanes
from pyserve.handlers.static import FRESH_S, StaticHandler
from tests.support.exchanges import FakeExchange, ask, begin
from tests.support.lanes import Inline

LONG_AGO_S = 1_600_000_000


class Clock:
    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


class Served:
    """``disk``, ``network``, ``cpu``: its threads. ``wall_ns``: far ahead, so that what a test wrote is settled."""

    def __init__(
        self, config: Files, route: str = "", compress: Compress | None = None, cache: FileCache | None = None
    ) -> None:
        self.clock = Clock()
        self.wall_ns = 4_000_000_000_000_000_000
        self.cache = cache or FileCache()
        self.config = config
        self.route = route
        self.disk, self.network, self.cpu = Inline(), Inline(), Inline()
        self.streams = Streams()
        self.handler = StaticHandler(
            config,
            self.cache,
            Lanes(self.disk, self.network, self.cpu),
            None if compress is None else Compression(compress, self.cpu, self.streams),
            self.clock,
            lambda: self.wall_ns,
        )

    def ask(self, target: str | bytes, method: str = "GET", **fields: str) -> FakeExchange:
        """Send a request and end it."""
        return ask(self.handler, self.config, target, method, self.route, **fields)

    def begin(self, target: str | bytes, method: str = "GET", **fields: str) -> FakeExchange:
        """Send a request whose answer may come later."""
        return begin(self.handler, self.config, target, method, self.route, **fields)

    def hold(self) -> None:
        """From now on threads begin nothing before ``go_on``."""
        for lane in self.lanes:
            lane.is_held = True

    def go_on(self) -> None:
        """Let threads do what there is to do, and what comes of that."""
        for lane in self.lanes:
            lane.is_held = False
        for lane in self.lanes:
            lane.go_on()

    @property
    def lanes(self) -> tuple[Inline, Inline, Inline]:
        return self.disk, self.network, self.cpu

    @property
    def jobs(self) -> int:
        return sum(lane.jobs for lane in self.lanes)

    def wait(self, seconds: float = FRESH_S + 0.1) -> None:
        """Time passes: by default so much that files are looked at again. The front sweeps meanwhile, once."""
        self.clock.now_s += seconds
        self.cache.sweep(self.clock.now_s)

    def entry(self, name: str) -> FileEntry:
        return next(entry for key, entry in self.cache.entries.items() if key[1] == name)


Serve = Callable[..., Served]


def write(path: Path, content: bytes, age_s: float = 0) -> None:
    """Write a file that was last changed ``age_s`` before a moment long ago; its folder was too."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    at = LONG_AGO_S - age_s
    os.utime(path, (at, at))


def open_descriptors() -> set[str]:
    return {f"{fd} {os.readlink(f'/proc/self/fd/{fd}')}" for fd in os.listdir("/proc/self/fd") if _is_open(fd)}


def _is_open(fd: str) -> bool:
    try:
        os.fstat(int(fd))
    except OSError:
        return False  # that of the listing itself
    return True
