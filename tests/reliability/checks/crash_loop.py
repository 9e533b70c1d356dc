"""R23: for 60 s applications that can't start: they raise, exit, die of a segmentation fault, die when ready.

After the fifth try each is tried at most once a second, and ever less often; all that costs less than a tenth of a
core; other sites notice nothing; their own answer 503 at once; ``status`` says why.
"""

from __future__ import annotations

import re
import time

from benchmarks.cpu import TICKS_PER_S, read_processes, tree_of
from tests.reliability.attackers import connected, status_of
from tests.reliability.figures import Figure, all_of, at_most, told
from tests.reliability.ledger import compare
from tests.reliability.settings import Settings
from tests.reliability.stage import Stage, beside, say

SECONDS = 60.0
QUICK_SECONDS = 12.0
FREE_TRIES = 5
WORKERS = 2
MOST_A_SECOND = 1.0
CPU = 0.10
ANSWER_MS = 100.0
MODULES = {
    "raises": 'raise RuntimeError("broken on purpose")\n',
    "exits": "import os\nos._exit(1)\n",
    "segfaults": "import ctypes\nctypes.string_at(0)\n",
}
# This one comes up and dies soon: its site may be answered or not. Its workers die together and are tried together.
DYING = {"dies": "import os, threading\nthreading.Timer(0.2, os._exit, [1]).start()\napplication = lambda e, s: []\n"}
MORE = """
[app.{name}]
entry = "{name}:application"
root = "{{apps}}"
workers = {workers}

[site.{name}]
hosts = ["{name}"]
app = "{name}"
"""
_TIME = re.compile(r"T(\d\d):(\d\d):(\d\d\.\d+)Z ")


def tries(lines: list[str], app: str) -> list[float]:
    """Return when a worker of the application could not start, or died, in seconds of the day."""
    found = []
    for line in lines:
        if f"app {app}: worker" in line and (
            "could not start" in line or "exited with" in line or "while it started" in line
        ):
            match = _TIME.search(line)
            if match:
                found.append(int(match[1]) * 3600 + int(match[2]) * 60 + float(match[3]))
    return found


def rate_after(times: list[float], free: int = FREE_TRIES) -> float:
    """Return the most tries that any second has, once the free ones are over."""
    late = times[free:]
    return float(max((sum(begin <= time_s < begin + 1 for time_s in late) for begin in late), default=0))


def cpu_beside(stage: Stage) -> float:
    """Return the CPU seconds of master and templates, with all that they have waited for."""
    processes = read_processes()
    status = stage.status()
    others = {front["pid"] for front in status["fronts"]}
    others |= {worker["pid"] for app in status["apps"].values() for worker in app["workers"]}
    tree = [pid for pid in tree_of(stage.roots, processes) if pid not in others]
    return sum(processes[pid].cpu_ticks for pid in tree) / TICKS_PER_S


def ask(stage: Stage, host: str) -> tuple[int, float]:
    began = time.monotonic()
    with connected(stage.address, 10) as client:
        client.sendall(f"GET / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
        answer = b""
        while data := client.recv(65536):
            answer += data
    return status_of(answer), (time.monotonic() - began) * 1000


def run(settings: Settings) -> list[Figure]:
    more = "".join(MORE.format(name=name, workers=WORKERS) for name in MODULES | DYING)
    seconds = settings.timeout_s(SECONDS, QUICK_SECONDS)
    # The modules are put beside the others when the folder is there, before the server is.
    with Stage(settings, "crash_loop", more=more, modules=MODULES | DYING) as stage:
        base = stage.base()
        say(f"crash_loop: {seconds:g} s of {len(MODULES)} applications that can't start")
        cpu, began = cpu_beside(stage), time.monotonic()
        asked: list[tuple[int, float]] = []
        with beside(stage) as summaries:
            while time.monotonic() - began < seconds:
                asked += [ask(stage, name) for name in MODULES]
                time.sleep(0.5)
        used = (cpu_beside(stage) - cpu) / (time.monotonic() - began)
        status = stage.status()
        lines = stage.error_lines()
        rows = []
        for name in MODULES | DYING:
            times = tries(lines, name)
            rows.append(told(f"{name}: tries", f"{len(times)}"))
            most = MOST_A_SECOND * (WORKERS if name in DYING else 1)
            rows.append(at_most(f"{name}: tries in one second after the fifth", rate_after(times), most))
        reasons = [name for name in MODULES if status["apps"][name]["reason"]]
        degraded = [name for name in MODULES if status["sites"][name]["state"] == "degraded"]
        refused = [(code, took_ms) for code, took_ms in asked if code == 503]
        return [
            *rows,
            at_most("CPU of master and templates", 100 * used, 100 * CPU, "% of a core"),
            all_of("status gives the reason", len(reasons), len(MODULES)),
            all_of("status says that the site is degraded", len(degraded), len(MODULES)),
            all_of("their own sites answer 503", len(refused), len(asked)),
            at_most("slowest of these", max((took_ms for _, took_ms in asked), default=0.0), ANSWER_MS, "ms"),
            told("reasons", "; ".join(f"{name}: {status['apps'][name]['reason'][:60]}" for name in MODULES)),
            *compare(base, summaries[0]),
        ]
