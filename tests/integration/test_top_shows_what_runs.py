"""Promise: ``pyserve top`` shows what runs and waits, where it stands, and ends it; ``scale`` changes the workers."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest

from tests.support import trial
from tests.support.client import request
from tests.support.gate import Gate
from tests.support.site import Site, StartSite
from tests.support.waiting import wait_until


def run(site: Site, *arguments: str, code: int = 0) -> str:
    command = [sys.executable, "-m", "pyserve", *arguments, "-c", str(site.config)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, cwd=site.folder)
    assert done.returncode == code, done.stderr
    return done.stdout if code == 0 else done.stderr


def requests(site: Site) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(run(site, "top", "--json"))["requests"]
    return found


@pytest.mark.parametrize("fronts", [1, 2])
@pytest.mark.parametrize("kind", ["wsgi", "asgi"])
def test_what_runs_is_shown_with_its_stack_and_can_be_ended(start_site: StartSite, kind: str, fronts: int) -> None:
    site = start_site(trial.one(kind, "concurrency = 1"), fronts=fronts)
    site.expect_error("cancelled by the operator|app ")
    gate = Gate(site.folder)
    with site.connect() as held, site.connect() as waiting:
        held.send(request(gate.path, "a"))
        (pid,) = gate.wait_began()
        waiting.send(request("/hello?x=1", "a"))
        shown = wait_until(lambda: found if len(found := requests(site)) == 2 else [], "both are shown")
        assert [(row["phase"], row["path"].partition("?")[0], row["pid"]) for row in shown] == [
            ("running", "/wait", pid),
            ("queued", "/hello", None),
        ]
        assert {row["client"] for row in shown} == {"127.0.0.1"}
        number = shown[0]["id"]
        assert "in wait\n" in run(site, "top", "--stack", number)
        assert number in run(site, "top", "--once")
        assert number in run(site, "top", "--cancel", number)
        assert held.read_response().status == 503
        gate.open()
        assert waiting.read_response().status == 200
    assert "no such request" in run(site, "top", "--stack", number, code=69)


def test_the_number_of_workers_is_changed(start_site: StartSite) -> None:
    site = start_site(trial.one("wsgi"))
    run(site, "scale", "wsgi", "3")
    wait_until(lambda: len(site.workers("wsgi")) == 3, "three")
    run(site, "scale", "wsgi", "1")
    wait_until(lambda: len(site.workers("wsgi")) == 1, "one")
    assert "there are: wsgi" in run(site, "scale", "shop", "3", code=69)
    assert "expected a number from 1 to 32" in run(site, "scale", "wsgi", "0", code=69)


@pytest.mark.parametrize("kind", ["wsgi", "asgi"])
def test_health_paths_are_answered_when_everything_is_full(start_site: StartSite, kind: str) -> None:
    text = trial.one(kind, 'health = ["/hello"]\nthreads = 2\nconcurrency = 2\nqueue = { size = 2 }')
    site = start_site(text)
    site.expect_error("requests wait already")
    gate = Gate(site.folder)
    clients = [site.connect() for _ in range(4)]
    for client in clients:
        client.send(request(gate.path, "a"))
    gate.wait_began(2)
    wait_until(lambda: site.status()["apps"][kind]["queue"] == 2, "the queue is full")
    assert site.get("/pid").status == 503
    assert [site.get("/hello").status for _ in range(10)] == [200] * 10
    gate.open()
    assert [client.read_response().status for client in clients] == [200] * 4
