"""Make requests with wrk (one thread, keep-alive connections) and return what it and /proc saw."""

from __future__ import annotations

import json
import signal
import subprocess
from dataclasses import dataclass
from pathlib import Path

from benchmarks.cpu import cpu_time, pss_bytes
from benchmarks.scenario import Sample, Settings
from benchmarks.servers import Running, die_with_parent

SCRIPTS = Path(__file__).parent / "wrk"


class LoadError(Exception):
    """wrk did not run to its end, or none of its requests was answered."""


@dataclass(frozen=True, slots=True)
class Requests:
    """What to ask for: one frozen request; varied ones for ``paths``; or varied pieces of the file ``path``."""

    path: str = "/"
    fields: tuple[str, ...] = ()
    """More header lines of a frozen request, ``Name: value``."""
    paths: tuple[str, ...] = ()
    """Asked for in random order with the heads of several browsers; () = frozen."""
    lines: tuple[str, ...] = ()
    """One more header line for each of ``paths``; () = none."""
    piece_bytes: int = 0
    """Of a random piece that begins at a multiple of this; 0 = the whole file."""
    pieces: int = 0
    """How many there are."""

    @property
    def first_path(self) -> str:
        return self.paths[0] if self.paths else self.path

    @property
    def script(self) -> str:
        """Return the name of the script that makes them, "" for wrk's own one request."""
        return "varied.lua" if self.paths else "pieces.lua" if self.piece_bytes else ""


class Wrk:
    """One run of wrk in the background; ``wait`` returns its figures."""

    def __init__(
        self, running: Running, settings: Settings, requests: Requests, seconds: float, connections: int = 0
    ) -> None:
        stack, folder = running.stack, running.stack.folder
        script = (SCRIPTS / requests.script).read_text() if requests.script else ""
        (folder / "load.lua").write_text(script + (SCRIPTS / "report.lua").read_text())
        self._seconds = seconds
        argv = [
            *(settings.tools.find("wrk"), "-t1", f"-c{connections or settings.connections}", f"-d{seconds:g}s"),
            *("--timeout", "10s", "-s", str(folder / "load.lua"), "-H", f"Host: {stack.host}"),
            *(argument for line in requests.fields for argument in ("-H", line)),
            f"{stack.url}{requests.first_path}",
        ]
        if requests.paths:
            lines = requests.lines or ("",) * len(requests.paths)
            text = "".join(f"{path} {line}\n" for path, line in zip(requests.paths, lines, strict=True))
            (folder / "load.txt").write_text(text)
            argv += ["--", stack.host, str(folder / "load.txt")]
        elif requests.piece_bytes:
            argv += ["--", stack.host, requests.path, str(requests.piece_bytes), str(requests.pieces)]
        self._child = subprocess.Popen(
            argv,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
            preexec_fn=die_with_parent(),
        )

    def wait(self) -> dict[str, int]:
        try:
            output, _ = self._child.communicate(timeout=self._seconds + 20)
        except BaseException:
            self._child.kill()
            self._child.wait()
            raise
        for line in output.splitlines():
            if line.startswith("RESULT "):
                figures: dict[str, int] = json.loads(line.removeprefix("RESULT "))
                if not figures["requests"]:
                    raise LoadError("no request was answered")
                return figures
        raise LoadError(f"wrk said: {output.strip() or '(nothing)'}")

    def stop(self) -> dict[str, int]:
        """End it now; wrk prints what it has on INT."""
        self._child.send_signal(signal.SIGINT)
        return self.wait()


def whole_seconds(seconds: float) -> int:
    """wrk takes no fractions."""
    return max(1, round(seconds))


def sample_load(
    running: Running, settings: Settings, requests: Requests, connections: int = 0, body_bytes: int = 0
) -> Sample:
    """Load one server for ``settings.seconds`` and return the sample.

    ``body_bytes``: for large files, where many requests are unfinished at the end: requests are counted by bytes read.
    """
    running.empty_logs()
    before = cpu_time(running.roots)
    figures = Wrk(running, settings, requests, whole_seconds(settings.seconds), connections).wait()
    after = cpu_time(running.roots)
    user_s, system_s = after.user_s - before.user_s, after.system_s - before.system_s
    count = figures["bytes"] / body_bytes if body_bytes else figures["requests"]
    duration_s = figures["duration_us"] / 1e6
    sample = {
        "requests_per_s": count / duration_s,
        "cpu_us": (user_s + system_s) * 1e6 / count,
        "user_us": user_s * 1e6 / count,
        "system_us": system_s * 1e6 / count,
        "p50_ms": figures["p50_us"] / 1e3,
        "p99_ms": figures["p99_us"] / 1e3,
        "pss_mib": pss_bytes(running.roots) / 1024**2,
        "log_bytes": running.log_bytes() / figures["requests"],
        "errors": figures["bad_status"] + figures["bad_socket"],
    }
    if body_bytes:
        sample["mib_per_s"] = figures["bytes"] / duration_s / 1024**2
    running.empty_logs()
    return sample
