"""Promise: TERM and INT finish what runs, take nothing new, and exit 0; the port is free at once."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

from tests.support import trial
from tests.support.client import request
from tests.support.gate import Gate
from tests.support.site import Site, StartSite
from tests.support.waiting import wait_until


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=["TERM", "INT"])
@pytest.mark.parametrize("kind", ["wsgi", "asgi"])
def test_requests_that_run_complete(start_site: StartSite, kind: str, number: signal.Signals) -> None:
    site = start_site(trial.one(kind, "threads = 8"))
    gate = Gate(site.folder)
    clients = [site.connect() for _ in range(4)]
    for client in clients:
        client.send(request(gate.path, "a"))
    gate.wait_began(4)
    idle = site.connect()
    assert idle.get("/hello").status == 200
    site.observe()
    site.child.send_signal(number)
    wait_until(lambda: is_refused(site), "the listener is closed")
    assert idle.is_closed()
    gate.open()
    for client in clients:
        assert client.read_response().text == "waited"
        client.close()
    idle.close()
    assert site.wait_exit() == 0


def test_a_late_request_on_a_kept_connection_is_answered_and_the_connection_closed(start_site: StartSite) -> None:
    site = start_site(trial.one("wsgi", "threads = 2"))
    with site.connect() as idle, site.connect() as late, site.connect() as busy:
        for client in (idle, late):
            assert client.get("/hello").field("connection") is None
        busy.send(request("/slow?s=1", "a"))
        wait_until(lambda: site.workers("wsgi")[0]["running"] == 1, "the slow request to run")
        site.terminate()
        site.wait_line("stopping: SIGTERM")
        answer = late.get("/hello")
        assert (answer.status, answer.field("connection")) == (200, "close")
        assert late.is_closed()
        answer = busy.read_response()
        assert (answer.status, answer.field("connection")) == (200, "close")
        assert idle.is_closed()
    assert site.wait_exit() == 0


def test_connections_that_wait_in_the_kernel_are_served_too(start_site: StartSite, variant: dict[str, str]) -> None:
    site = start_site(trial.one("wsgi"), **variant)
    front = site.front_pids()[0]
    os.kill(front, signal.SIGSTOP)
    waiting = [site.connect() for _ in range(20)]
    for client in waiting:
        client.send(request("/hello", "a"))
    site.terminate()
    site.wait_line("stopping: SIGTERM")
    os.kill(front, signal.SIGCONT)
    for client in waiting:
        answer = client.read_response()
        assert (answer.status, answer.field("connection")) == (200, "close")
    assert site.wait_exit() == 0


def test_the_port_can_be_bound_again_at_once(start_site: StartSite) -> None:
    first = start_site(trial.one("wsgi"))
    with first.connect() as client:
        client.get("/hello")
        assert first.stop() == 0
    second = start_site(trial.one("wsgi"), http=f'"127.0.0.1:{first.address[1]}"')
    assert second.get("/hello").status == 200


def test_what_does_not_finish_is_ended_after_the_grace_time(start_site: StartSite) -> None:
    site = start_site(trial.one("wsgi"), server='graceful_timeout = "1s"')
    site.tolerate_error("grace|killed|worker|kill")
    gate = Gate(site.folder)
    with site.connect() as client:
        client.send(request(gate.path, "a"))
        gate.wait_began()
        assert site.stop() == 0


def test_a_second_term_stops_now(start_site: StartSite) -> None:
    site = start_site(trial.one("wsgi"))
    site.tolerate_error("grace|killed|worker|kill|stop")
    gate = Gate(site.folder)
    with site.connect() as client:
        client.send(request(gate.path, "a"))
        gate.wait_began()
        site.terminate()
        wait_until(lambda: is_refused(site), "the listener is closed")
        site.terminate()
        assert site.wait_exit(10) == 0


def test_stop_is_a_command_too(start_site: StartSite) -> None:
    site = start_site(trial.one("wsgi"))
    answer = command(site, "stop")
    assert answer.returncode == 0, answer.stderr
    assert site.wait_exit() == 0
    assert command(site, "status").returncode == 69


def test_a_second_server_on_the_same_port_or_socket_is_refused(start_site: StartSite) -> None:
    first = start_site(trial.one("wsgi"))
    same_socket = subprocess.run(
        [sys.executable, "-m", "pyserve", "-c", str(first.config)],
        capture_output=True,
        text=True,
        check=False,
        timeout=20,
    )
    assert same_socket.returncode == 70
    second = start_site(trial.one("wsgi"), http=f'"127.0.0.1:{first.address[1]}"', ready=False)
    second.tolerate_error(".")
    assert second.wait_exit() == 70
    assert str(first.address[1]) in "\n".join(second.lines)
    assert first.get("/hello").status == 200


def is_refused(site: Site) -> bool:
    try:
        site.connect().close()
    except ConnectionRefusedError:
        return True
    return False


def command(site: Site, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "pyserve", *words, "-c", str(site.config)],
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
        env={**os.environ, "NO_COLOR": "1"},
    )
