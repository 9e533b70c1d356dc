"""How long does a preloaded application take from one worker to eight, under pressure and when it is told to?

Pressure: 40 requests at once that take a quarter of a second each, to an application with ``workers = { min = 1, max =
8 }``. Told: ``pyserve scale hello 8``. Until ``pyserve status`` says that eight workers serve.
"""

from __future__ import annotations

import contextlib
import json
import socket
import time
from typing import Any

from benchmarks.cpu import pss_bytes
from benchmarks.rounds import run_fresh_rounds
from benchmarks.scenario import Bar, Result, Sample, Settings
from benchmarks.servers import Running, StackError
from benchmarks.stacks import pyserve_app

MOST = 8
CLIENTS = 40
GIVE_UP_S = 20.0
EVERY_S = 0.01
PRESSED, TOLD = "pyserve, under pressure", "pyserve, told to"

BARS = (
    Bar("from the first pressure to 8 workers", "start_s", 0.5, 0.25, subject=PRESSED, unit="s"),
    Bar("from `pyserve scale` to 8 workers", "start_s", 0.5, 0.25, subject=TOLD, unit="s"),
)


def run(settings: Settings) -> list[Result]:
    table = f'{{ min = 1, max = {MOST}, idle = "60s" }}'
    contenders = [pyserve_app("wsgi_quarters", table, name=name, more="preload = true") for name in (PRESSED, TOLD)]
    question = f"a preloaded application from 1 worker to {MOST}"
    return [run_fresh_rounds(settings, "scale_up", question, contenders, BARS, once)]


def once(running: Running) -> Sample:
    running.start()
    running.wait_ready()
    if _serving(running) != 1:
        raise StackError(f"{_serving(running)} workers before anything happened")
    with contextlib.ExitStack() as clients:
        begin = time.monotonic()
        if running.name == TOLD:
            _say(running, f"scale hello {MOST}")
        else:
            _press(running, clients)
        while _serving(running) < MOST:
            if time.monotonic() - begin > GIVE_UP_S:
                raise StackError(f"{_serving(running)} workers after {GIVE_UP_S:g} s")
            time.sleep(EVERY_S)
        start_s = time.monotonic() - begin
    return {"start_s": start_s, "pss_mib": pss_bytes(running.roots) / 1024**2}


def _press(running: Running, clients: contextlib.ExitStack) -> None:
    request = f"GET /quarter HTTP/1.1\r\nHost: {running.stack.host}\r\n\r\n".encode()
    for _ in range(CLIENTS):
        client = clients.enter_context(socket.create_connection(("127.0.0.1", running.stack.port), timeout=10))
        client.sendall(request)


def _say(running: Running, line: str) -> dict[str, Any]:
    """Say a line to the admin socket, as the commands do, and return what it answers."""
    with socket.socket(socket.AF_UNIX) as admin:
        admin.settimeout(10)
        admin.connect(f"{running.stack.folder}/run/admin.sock")
        admin.sendall(line.encode() + b"\n")
        answer = b""
        while piece := admin.recv(65536):
            answer += piece
    said: dict[str, Any] = json.loads(answer)
    if "error" in said:
        raise StackError(f"{line}: {said['error']}")
    return said


def _serving(running: Running) -> int:
    workers = _say(running, "status")["apps"]["hello"]["workers"]
    return sum(worker["state"] in ("idle", "busy") for worker in workers)
