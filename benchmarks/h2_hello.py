"""How many HTTP/2 requests over TLS does a tiny ASGI application answer a second, 1 worker each?"""

from __future__ import annotations

from benchmarks.h2load import CONNECTIONS, STREAMS, H2Requests, sample_h2
from benchmarks.identity import make_identity
from benchmarks.load import Requests
from benchmarks.rounds import run_rounds
from benchmarks.scenario import Bar, Result, Settings
from benchmarks.stacks import granian_tls, hypercorn_tls, pyserve_app
from benchmarks.tools import missing_for

BARS = (
    Bar("requests/s against granian", "requests_per_s", 1.0, 1.5, against="granian", at_least=True),
    Bar("requests/s against hypercorn", "requests_per_s", 8.0, 15.0, against="hypercorn", at_least=True),
)


def run(settings: Settings) -> list[Result]:
    question = f"ASGI hello over HTTP/2, 1 worker each, {CONNECTIONS} connections of {STREAMS} streams"
    missing = missing_for(settings.tools, "h2load")
    if missing:
        return [Result("h2_hello", question, (), missing={"h2load": missing})]
    identity = make_identity(settings.folder)
    seen: dict[str, float] = {}
    return [
        run_rounds(
            settings,
            "h2_hello",
            question,
            [
                pyserve_app("asgi", workers=1, more="concurrency = 200", identity=identity),
                granian_tls(settings, identity),
                hypercorn_tls(settings, identity),
            ],
            BARS,
            lambda running: sample_h2(running, settings, H2Requests(("/",)), seen),
            Requests("/"),
        )
    ]
