"""What does a request to a tiny ASGI application cost, with one worker everywhere?"""

from __future__ import annotations

from benchmarks.load import Requests, sample_load
from benchmarks.rounds import run_rounds
from benchmarks.scenario import Bar, Result, Settings
from benchmarks.stacks import granian_alone, nginx_uvicorn, pyserve_app, uvicorn_alone

BARS = (
    Bar("CPU per request against nginx > uvicorn", "cpu_us", 0.70, 0.5, against="nginx > uvicorn"),
    Bar("requests/s against uvicorn alone", "requests_per_s", 1.0, 1.4, against="uvicorn", at_least=True),
)


def run(settings: Settings) -> list[Result]:
    contenders = [
        pyserve_app("asgi", workers=1),
        nginx_uvicorn(settings),
        uvicorn_alone(settings),
        granian_alone(settings, "asgi", workers=1),
    ]
    requests = Requests("/")
    return [
        run_rounds(
            settings,
            "hello_asgi",
            f"ASGI hello, 1 worker each, {settings.connections} connections",
            contenders,
            BARS,
            lambda running: sample_load(running, settings, requests),
            requests,
        )
    ]
