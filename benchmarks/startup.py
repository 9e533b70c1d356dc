"""How long from the command to the first answer of a tiny application?

What a developer waits for at every restart, and a machine at every boot. Tried every two milliseconds.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

from benchmarks.cpu import pss_bytes
from benchmarks.rounds import run_fresh_rounds
from benchmarks.scenario import Bar, Contender, Result, Sample, Settings
from benchmarks.servers import Program, Running, Stack, free_port
from benchmarks.stacks import APPS, granian_alone, nginx_gunicorn, nginx_uvicorn, uvicorn_alone

BARS = (Bar("`pyserve run` to the first answer", "start_s", 0.6, 0.3, unit="s"),)


def pyserve_run() -> Contender:
    def build(folder: Path) -> Stack:
        port = free_port()
        address = ("--listen", f"127.0.0.1:{port}", "--workers", "1")
        argv = (sys.executable, "-m", "pyserve", "run", f"{APPS}:asgi", *address)
        return Stack("pyserve", folder, (Program(argv, folder / "output.log"),), port, host=f"127.0.0.1:{port}")

    return Contender("pyserve", build)


def run(settings: Settings) -> list[Result]:
    contenders = [
        pyserve_run(),
        uvicorn_alone(settings),
        granian_alone(settings, "asgi", workers=1),
        nginx_uvicorn(settings),
        nginx_gunicorn(settings, "wsgi", workers=1),
    ]
    return [run_fresh_rounds(settings, "startup", "command to first answer, 1 worker each", contenders, BARS, once)]


def once(running: Running) -> Sample:
    begin = time.monotonic()
    running.start()
    running.wait_ready(poll_s=0.002)
    return {"start_s": time.monotonic() - begin, "pss_mib": pss_bytes(running.roots) / 1024**2}
