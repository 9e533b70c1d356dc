"""Do a thousand sites start quickly, and does a request to one of them cost more than with one site?

1,000 sites with 20 routes each against one site with 20 routes; asked for are the last site and its last route, with
varied paths and cookies.
"""

from __future__ import annotations

import time

from benchmarks.load import Requests, sample_load
from benchmarks.rounds import run_fresh_rounds, run_rounds
from benchmarks.scenario import Bar, Contender, Result, Sample, Settings
from benchmarks.servers import Running
from benchmarks.stacks import pyserve

SITES = 1000
ROUTES = 20
ONE, MANY = "pyserve, 1 site", f"pyserve, {SITES:,} sites"
REQUESTS = Requests(paths=tuple(f"/r{ROUTES - 1}/{number:04d}" for number in range(1000)))

START_BARS = (Bar(f"start with {SITES:,} sites of {ROUTES} routes", "start_s", 3.0, 3.0, subject=MANY, unit="s"),)
# "No more than with one site"; a tenth is what the noise of a machine takes.
COST_BARS = (Bar(f"CPU per request against {ONE}", "cpu_us", 1.1, 1.0, against=ONE, subject=MANY),)


def sites_toml(count: int) -> str:
    parts = []
    for site in range(count):
        parts.append(f'\n[site.s{site}]\nhosts = ["s{site}.bench.localhost"]\nrespond = {{ body = "site {site}" }}\n')
        for route in range(ROUTES):
            body = f"site {site} route {route}"
            parts.append(f'[[site.s{site}.route]]\npath = "/r{route}/*"\nrespond = {{ body = "{body}" }}\n')
    return "".join(parts)


def contenders() -> list[Contender]:
    return [
        pyserve(sites_toml(1), ONE, host="s0.bench.localhost"),
        pyserve(sites_toml(SITES), MANY, host=f"s{SITES - 1}.bench.localhost"),
    ]


def run(settings: Settings) -> list[Result]:
    start = run_fresh_rounds(
        settings, "sites start", "command to first answer, many sites", contenders(), START_BARS, start_once
    )
    cost = run_rounds(
        settings,
        "sites cost",
        f"one of many sites, varied paths, {settings.connections} connections",
        contenders(),
        COST_BARS,
        lambda running: sample_load(running, settings, REQUESTS),
        REQUESTS,
    )
    return [start, cost]


def start_once(running: Running) -> Sample:
    begin = time.monotonic()
    running.start()
    running.wait_ready(REQUESTS.first_path, poll_s=0.01)
    return {"start_s": time.monotonic() - begin}
