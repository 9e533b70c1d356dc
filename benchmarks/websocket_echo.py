"""How many WebSocket messages a second does one worker send back, and what does an idle WebSocket hold?

The echo has 100 connections, each with one message of 64 bytes under way. Memory is that of the front, or of a peer's
one process: what a WebSocket holds in the application is the application's own.
"""

from __future__ import annotations

import contextlib
import time

from benchmarks.cpu import pss_bytes, read_processes, tree_of
from benchmarks.load import Requests
from benchmarks.rounds import run_fresh_rounds, run_rounds
from benchmarks.scenario import Bar, Result, Sample, Settings
from benchmarks.servers import Running
from benchmarks.sockets import echo, open_sockets
from benchmarks.stacks import pyserve_app, uvicorn_alone

CONNECTIONS = 100
MESSAGE_BYTES = 64
IDLE = 1000
FIRST = 100
APP = "benchmarks.apps.sockets"

BARS = (Bar("messages/s against uvicorn (websockets)", "messages_per_s", 1.0, 1.5, against="uvicorn", at_least=True),)
IDLE_BARS = (Bar("memory of an idle WebSocket in the front", "kib_per_connection", 20.0, 10.0, unit="KiB"),)


def run(settings: Settings) -> list[Result]:
    contenders = [
        pyserve_app("asgi", workers=1, entry=APP, more="websockets = 2000"),
        uvicorn_alone(settings, entry=APP, more=("--ws", "websockets")),
    ]
    question = f"WebSocket echo, 1 worker each, {CONNECTIONS} connections, {MESSAGE_BYTES} B"
    return [
        run_rounds(
            settings,
            "websocket_echo",
            question,
            contenders,
            BARS,
            lambda running: echo(running, CONNECTIONS, MESSAGE_BYTES, settings.seconds),
            Requests("/"),
        ),
        run_fresh_rounds(settings, "websocket_idle", f"{IDLE:,} idle WebSockets", contenders, IDLE_BARS, _idle),
    ]


def _idle(running: Running) -> Sample:
    running.start()
    running.wait_ready()
    with contextlib.ExitStack() as cleanup:
        open_sockets(running, FIRST, cleanup)
        before = _front_bytes(running)
        open_sockets(running, IDLE - FIRST, cleanup)
        after = _front_bytes(running)
    return {"kib_per_connection": (after - before) / (IDLE - FIRST) / 1024, "pss_mib": after / 1024**2}


def _front_bytes(running: Running) -> int:
    """Return the memory of the process that holds the connections: of all others it does not change."""
    time.sleep(1.0)
    tree = tree_of(running.roots, read_processes())
    fronts = []
    for pid in tree:
        with open(f"/proc/{pid}/cmdline", "rb") as cmdline:
            if cmdline.read().startswith(b"pyserve: front"):
                fronts.append(pid)
    return pss_bytes(fronts or running.roots)
