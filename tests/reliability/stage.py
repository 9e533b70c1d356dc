"""One server with its normal load: started, watched from outside, stopped; no process and no file is left.

Everything is asked where an operator would ask: the admin socket (``pyserve status --json``), /proc, stderr, the log.
"""

from __future__ import annotations

import contextlib
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

from benchmarks.cpu import TICKS_PER_S, pss_bytes, read_processes, tree_of
from tests.reliability import ledger, sites
from tests.reliability.figures import Figure, told
from tests.reliability.settings import Settings
from tests.support.site import Site

RATE, NEW_RATE = 300.0, 30.0
REPOSITORY = Path(__file__).resolve().parents[2]


class NormalLoad:
    """A running load generator; ``end`` it to have its ledger."""

    def __init__(self, port: int, output: Path) -> None:
        self._output = output
        arguments = [str(port), str(RATE), str(NEW_RATE), str(output)]
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.reliability.normal_load", *arguments],
            cwd=REPOSITORY,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert self._process.stdout
        if self._process.stdout.readline() != b"running\n":
            self.kill()
            raise RuntimeError("the load generator did not start")

    def end(self) -> ledger.Summary:
        return ledger.summarise(self.entries())

    def entries(self) -> list[ledger.Entry]:
        """End it and return its ledger."""
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.close()
        code = self._process.wait(30)
        self._process.stdout.close()
        if code:
            raise RuntimeError(f"the load generator ended with {code}")
        return ledger.read(self._output)

    def kill(self) -> None:
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()


class Stage:
    """``with Stage(settings, "name") as stage``: a ready server, warmed up.

    ``under``: a command to start it with; ``modules``: further applications by name, and their source.
    """

    def __init__(
        self,
        settings: Settings,
        name: str,
        *,
        limits: str = "",
        wsgi: str = "",
        asgi: str = "",
        more: str = "",
        under: list[str] | None = None,
        wsgi_workers: int = 2,
        asgi_workers: int = 1,
        server: str = "",
        modules: dict[str, str] | None = None,
    ) -> None:
        self.settings = settings
        self.name = name
        self.folder = settings.folder / name
        self.folder.mkdir()
        self.text = sites.make(
            self.folder, wsgi=wsgi, asgi=asgi, more=more, wsgi_workers=wsgi_workers, asgi_workers=asgi_workers
        )
        for module, source in (modules or {}).items():
            (self.folder / "apps" / f"{module}.py").write_text(source)
        self.site = Site(self.folder, self.text, limits=limits, under=under, server=server)
        self._loads: list[NormalLoad] = []

    def __enter__(self) -> Stage:
        try:
            self.site.wait_ready()
            self.measure(self.settings.base_s / 4 + 0.5)  # warm
        except BaseException:
            self._clean_up()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._clean_up()

    def _clean_up(self) -> None:
        for load in self._loads:
            load.kill()
        self.site.observe()
        with contextlib.suppress(subprocess.TimeoutExpired):
            if self.site.child.poll() is None:
                self.site.terminate()
                self.site.wait_exit(5)
        self.site.end_by_force()

    # -- load

    @property
    def address(self) -> tuple[str, int]:
        return self.site.address

    def start_load(self) -> NormalLoad:
        load = NormalLoad(self.address[1], self.folder / f"ledger-{len(self._loads)}.jsonl")
        self._loads.append(load)
        return load

    def measure(self, seconds: float) -> ledger.Summary:
        """Run the normal load for so long and return what came of it."""
        load = self.start_load()
        time.sleep(seconds)
        return load.end()

    def base(self) -> ledger.Summary:
        say(f"{self.name}: normal load alone, {self.settings.base_s:g} s")
        return self.measure(self.settings.base_s)

    # -- looking

    def status(self) -> dict[str, Any]:
        return self.site.status()

    def running(self, app: str) -> int:
        return sum(worker["running"] for worker in self.status()["apps"][app]["workers"])

    @property
    def roots(self) -> list[int]:
        return [self.site.child.pid]

    @property
    def front_pid(self) -> int:
        return self.site.front_pids()[0]

    def memory_bytes(self) -> int:
        """Return the PSS of all processes of the server."""
        return pss_bytes(self.roots)

    def cpu_s(self, pid: int) -> float:
        return read_processes()[pid].cpu_ticks / TICKS_PER_S

    def all_cpu_s(self) -> float:
        processes = read_processes()
        return sum(processes[pid].cpu_ticks for pid in tree_of(self.roots, processes)) / TICKS_PER_S

    def descriptors(self) -> dict[int, int]:
        """Return how many descriptors each process has open."""
        found = {}
        for pid in tree_of(self.roots, read_processes()):
            with contextlib.suppress(OSError):
                found[pid] = len(list(Path(f"/proc/{pid}/fd").iterdir()))
        return found

    def spool(self) -> tuple[int, int]:
        """Return how many spool files the server has open or on disk, and their bytes on disk."""
        place = str(self.folder / "spool")
        files = [path.stat() for path in (self.folder / "spool").rglob("*")]
        for pid in tree_of(self.roots, read_processes()):
            with contextlib.suppress(OSError):
                for link in Path(f"/proc/{pid}/fd").iterdir():
                    with contextlib.suppress(OSError):
                        if str(link.readlink()).startswith(place):
                            files.append(link.stat())
        different = {(file.st_dev, file.st_ino): file.st_blocks * 512 for file in files}
        return len(different), sum(different.values())

    def orphans(self) -> str:
        """Tell of the server's sockets that it has closed and whose data the kernel still offers to the client."""
        unsent = []
        for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
            fields = line.split()
            is_fin_wait_1 = fields[3] == "04"
            if is_fin_wait_1 and int(fields[1].split(":")[1], 16) == self.address[1]:
                unsent.append(int(fields[4].split(":")[0], 16))
        return f"{len(unsent)} sockets, {sum(unsent) / 1e6:.0f} MB"

    def error_lines(self) -> list[str]:
        """Return what stands in the error log (stderr) so far."""
        return list(self.site.lines)

    def bad_lines(self, since: int = 0) -> list[str]:
        """Return the lines of level error, and what no log line explains."""
        return [
            line
            for line in self.site.lines[since:]
            if " error [" in line or line.startswith(("Traceback", "Exception ignored", "Fatal Python"))
        ]

    def worst_lines(self, since: int) -> Figure:
        """Return the error log's growth as a row to read."""
        lines = self.site.lines[since:]
        return told("error log grew by", f"{len(lines)} lines" + (f", e.g. {lines[-1][:100]!r}" if lines else ""))


def say(text: str) -> None:
    print(f"  {text}", file=sys.stderr, flush=True)


def seconds_until(condition: Callable[[], bool], most_s: float) -> float:
    """Return how long it took until a condition was true, or ``most_s`` if it never was."""
    began = time.monotonic()
    while time.monotonic() - began < most_s:
        if condition():
            return time.monotonic() - began
        time.sleep(0.02)
    return most_s


@contextlib.contextmanager
def beside(stage: Stage) -> Iterator[list[ledger.Summary]]:
    """Run the normal load around a block; the list has its summary afterwards."""
    load = stage.start_load()
    summaries: list[ledger.Summary] = []
    try:
        yield summaries
    except BaseException:
        load.kill()
        raise
    summaries.append(load.end())
