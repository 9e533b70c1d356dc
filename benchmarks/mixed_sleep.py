"""Does a fast request ever wait behind a slow one while a worker is free?

Four workers. Three connections ask for a view that sleeps 20 ms, so that one worker is always free; four others ask
for one that returns at once, and their latency is measured. A fast request behind a slow one waits 10 ms on average.
"""

from __future__ import annotations

import time

from benchmarks.load import Requests, Wrk, whole_seconds
from benchmarks.rounds import run_rounds
from benchmarks.scenario import Bar, Result, Sample, Settings
from benchmarks.servers import Running
from benchmarks.stacks import nginx_gunicorn, nginx_uwsgi, pyserve_app

WORKERS = 4
SLOW_CONNECTIONS = WORKERS - 1
FAST_CONNECTIONS = 4
SLOW = Requests("/slow")
FAST = Requests("/fast")

BARS = (Bar("p99 of the fast one (half the sleep of the slow one)", "p99_ms", 10.0, 5.0, unit="ms"),)


def run(settings: Settings) -> list[Result]:
    contenders = [
        pyserve_app("wsgi_mixed", workers=WORKERS),
        nginx_uwsgi(settings, "wsgi_mixed", workers=WORKERS),
        nginx_gunicorn(settings, "wsgi_mixed", workers=WORKERS),
    ]

    def once(running: Running) -> Sample:
        seconds = whole_seconds(settings.seconds)
        running.empty_logs()
        slow = Wrk(running, settings, SLOW, seconds + 5, SLOW_CONNECTIONS)
        try:
            time.sleep(0.3)  # until the slow ones run
            fast_figures = Wrk(running, settings, FAST, seconds, FAST_CONNECTIONS).wait()
        finally:
            slow_figures = slow.stop()
        return {
            "requests_per_s": fast_figures["requests"] / fast_figures["duration_us"] * 1e6,
            "slow_per_s": slow_figures["requests"] / slow_figures["duration_us"] * 1e6,
            "p50_ms": fast_figures["p50_us"] / 1e3,
            "p99_ms": fast_figures["p99_us"] / 1e3,
            "p999_ms": fast_figures["p999_us"] / 1e3,
            "max_ms": fast_figures["max_us"] / 1e3,
            "errors": sum(figures["bad_status"] + figures["bad_socket"] for figures in (fast_figures, slow_figures)),
        }

    question = (
        f"WSGI, {WORKERS} workers: {FAST_CONNECTIONS} fast connections beside {SLOW_CONNECTIONS} that sleep 20 ms"
    )
    return [run_rounds(settings, "mixed_sleep", question, contenders, BARS, once, FAST, FAST_CONNECTIONS)]
