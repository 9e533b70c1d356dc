"""What is preload worth? Memory of 8 workers of a Django project of real size, with and without it.

The project is generated (``django_project``): 25 apps, 200 models with admin classes and forms, 300 URLs. Every worker
answers at least as many requests as it takes to have used all of them once, then PSS is read: a page that several
processes share counts for each of them in part, so the sum is what the server takes. *MiB/worker* is the mean of the
workers alone, without master, front or template. *start* is from the command until all 8 have answered.
"""

from __future__ import annotations

import http.client
import threading
import time
from collections import Counter
from pathlib import Path

from benchmarks import django_project
from benchmarks.cpu import pss_bytes, pss_of
from benchmarks.rounds import run_fresh_rounds, say
from benchmarks.scenario import Bar, Contender, Result, Sample, Settings
from benchmarks.servers import Program, Running, Stack, StackError, free_port
from benchmarks.stacks import pyserve
from benchmarks.tools import missing_for

WORKERS = 8
EACH = 300
"""Requests that every worker answers at least."""
CLIENTS = 2 * WORKERS
_LONGEST_S = 120.0
PYSERVE, PRELOADED = "pyserve", "pyserve preload"
GUNICORN = "gunicorn --preload"

BARS = (
    Bar(f"memory of {WORKERS} workers against those without preload", "pss_mib", 0.8, 0.7, PYSERVE, PRELOADED),
    Bar(f"memory with everything against {GUNICORN}", "pss_mib", 1.0, 0.8, GUNICORN, PRELOADED),
    Bar(f"memory of a worker against {GUNICORN}", "worker_mib", 1.0, 0.8, GUNICORN, PRELOADED),
)


def run(settings: Settings) -> list[Result]:
    question = f"{WORKERS} workers of a Django project of 200 models, {EACH}+ requests to each"
    if missing := missing_for(settings.tools, "gunicorn", "django-admin"):
        return [Result("preload", question, BARS, missing={"all": missing})]
    project = settings.folder / "project"
    python = str(Path(settings.tools.find("django-admin")).parent / "python")
    say("preload: making the project and its database")
    django_project.make(project, python)
    contenders = [
        _pyserve(PYSERVE, project, python, ""),
        _pyserve(PRELOADED, project, python, "preload = true"),
        _gunicorn("gunicorn", settings, project),
        _gunicorn(GUNICORN, settings, project, "--preload"),
    ]
    return [run_fresh_rounds(settings, "preload", question, contenders, BARS, once)]


def once(running: Running) -> Sample:
    begun = time.monotonic()
    running.start()
    running.wait_ready(django_project.paths()[0])
    load = _Load(running)
    start_s = load.run(1) - begun
    load.run(EACH)
    time.sleep(1.0)
    workers = [pss_of(pid) for pid in load.answered]
    return {
        "pss_mib": pss_bytes(running.roots) / 1024**2,
        "worker_mib": sum(workers) / len(workers) / 1024**2,
        "start_s": start_s,
        "errors": load.errors,
    }


class _Load:
    """Clients that ask for every URL in turn until every worker has answered often enough."""

    def __init__(self, running: Running) -> None:
        self.answered: Counter[int] = Counter()
        self.errors = 0
        self._running = running
        self._paths = django_project.paths()

    def run(self, each: int) -> float:
        """Return when all workers had answered so many requests."""
        deadline = time.monotonic() + _LONGEST_S
        clients = [threading.Thread(target=self._ask, args=(number, each, deadline)) for number in range(CLIENTS)]
        for client in clients:
            client.start()
        for client in clients:
            client.join()
        if not self._is_enough(each):
            raise StackError(f"not {each} answers from each of {WORKERS} workers: {dict(self.answered)}")
        return time.monotonic()

    def _is_enough(self, each: int) -> bool:
        return len(self.answered) == WORKERS and min(self.answered.values()) >= each

    def _ask(self, number: int, each: int, deadline: float) -> None:
        stack = self._running.stack
        while not self._is_enough(each) and time.monotonic() < deadline:
            number += CLIENTS
            connection = http.client.HTTPConnection("127.0.0.1", stack.port, timeout=20)
            try:
                connection.request("GET", self._paths[number % len(self._paths)], headers={"Host": stack.host})
                answer = connection.getresponse()
                answer.read()
                if answer.status == 200:
                    self.answered[int(answer.headers["X-Worker"])] += 1
                else:
                    self.errors += 1
            except (OSError, http.client.HTTPException):
                self.errors += 1
            finally:
                connection.close()


def _pyserve(name: str, project: Path, python: str, more: str) -> Contender:
    text = f"""
[app.shop]
entry   = "project.wsgi:application"
root    = "{project}"
python  = "{python}"
workers = {WORKERS}
{more}

[site.bench]
hosts = ["bench.localhost"]
app   = "shop"
"""
    return pyserve(text, name)


def _gunicorn(name: str, settings: Settings, project: Path, *more: str) -> Contender:
    def build(folder: Path) -> Stack:
        port, log = free_port(), folder / "access.log"
        argv = (settings.tools.find("gunicorn"), "project.wsgi:application", "--bind", f"127.0.0.1:{port}")
        size = ("--workers", str(WORKERS), "--access-logfile", str(log), *more)
        return Stack(name, folder, (Program((*argv, *size), folder / "output.log", cwd=project),), port)

    return Contender(name, build)
