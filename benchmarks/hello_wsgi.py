"""What does a request to a tiny WSGI application cost, with two workers of one thread everywhere?"""

from __future__ import annotations

from benchmarks.load import Requests, sample_load
from benchmarks.rounds import run_rounds
from benchmarks.scenario import Bar, Result, Settings
from benchmarks.stacks import granian_alone, nginx_gunicorn, nginx_uwsgi, pyserve_app

BARS = (
    Bar("CPU per request against nginx > uWSGI", "cpu_us", 0.65, 0.4, against="nginx > uWSGI"),
    Bar(
        "requests/s against nginx > gunicorn sync",
        "requests_per_s",
        6.0,
        9.0,
        against="nginx > gunicorn sync",
        at_least=True,
    ),
)


def run(settings: Settings) -> list[Result]:
    contenders = [
        pyserve_app("wsgi", workers=2),
        nginx_uwsgi(settings, "wsgi", workers=2),
        nginx_gunicorn(settings, "wsgi", workers=2),
        nginx_gunicorn(settings, "wsgi", workers=2, kind="gthread", threads=4),
        granian_alone(settings, "wsgi", workers=2),
    ]
    requests = Requests("/")
    return [
        run_rounds(
            settings,
            "hello_wsgi",
            f"WSGI hello, 2 workers each, {settings.connections} connections",
            contenders,
            BARS,
            lambda running: sample_load(running, settings, requests),
            requests,
        )
    ]
