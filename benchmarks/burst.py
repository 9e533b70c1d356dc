"""Does a fast request wait behind a burst of slow ones while a worker is free?

Four workers. Every two seconds three requests come at once that take a second each, so that one worker is always free;
beside them 100 fast requests a second, in open loop on 30 kept connections that take turns. The slow ones sleep (WSGI)
or hold the event loop (ASGI).
"""

from __future__ import annotations

from benchmarks.load import Requests
from benchmarks.open_loop import OpenLoop, Stream, percentile_ms
from benchmarks.rounds import run_rounds
from benchmarks.scenario import Bar, Result, Sample, Settings
from benchmarks.servers import Running
from benchmarks.stacks import gunicorn_alone, pyserve_app, uvicorn_alone

WORKERS = 4
BURST = WORKERS - 1
BURSTS_PER_S = 0.5
FAST_PER_S = 100.0
CONNECTIONS = 30
BEHIND_S = 0.1
LEAST_S = 4.0
"""Two bursts."""
ASGI = "pyserve, ASGI"

BARS = (
    Bar("WSGI: fast requests that waited over 100 ms", "behind", 0, 0, unit=""),
    Bar("ASGI: fast requests that waited over 100 ms", "behind", 0, 0, subject=ASGI, unit=""),
    Bar("p99 of the fast ones against gunicorn sync", "p99_ms", 1.0, 0.5, against="gunicorn sync"),
    Bar("p99 of the fast ones against uvicorn", "p99_ms", 0.5, 0.1, subject=ASGI, against="uvicorn"),
)


def run(settings: Settings) -> list[Result]:
    contenders = [
        pyserve_app("wsgi_bursts", workers=WORKERS),
        gunicorn_alone(settings, "wsgi_bursts", workers=WORKERS),
        gunicorn_alone(settings, "wsgi_bursts", workers=WORKERS, kind="gthread", threads=4),
        pyserve_app("asgi_bursts", workers=WORKERS, name=ASGI),
        uvicorn_alone(settings, "asgi_bursts", workers=WORKERS),
    ]

    def once(running: Running) -> Sample:
        seconds = max(LEAST_S, settings.seconds)
        streams = [
            Stream("fast", "/fast/{n}", FAST_PER_S),
            Stream("slow", "/slow/{n}", BURSTS_PER_S, at_once=BURST),
        ]
        output = running.stack.folder / "load.jsonl"
        with OpenLoop(running.stack.port, output, streams, seconds, connections=CONNECTIONS) as load:
            entries = load.wait()
        fast = [entry for entry in entries if entry.kind == "fast"]
        return {
            "requests_per_s": len(fast) / seconds,
            "slow_per_s": (len(entries) - len(fast)) / seconds,
            "behind": sum(entry.latency_s - entry.lag_s > BEHIND_S for entry in fast),
            "p50_ms": percentile_ms(fast, 0.5),
            "p99_ms": percentile_ms(fast, 0.99),
            "max_ms": percentile_ms(fast, 1.0),
            "errors": sum(not entry.is_ok for entry in entries),
        }

    question = f"{WORKERS} workers: {FAST_PER_S:g} fast requests/s beside bursts of {BURST} that take a second"
    return [run_rounds(settings, "burst", question, contenders, BARS, once, Requests("/fast/0"))]
