"""Promise: the fault of an application is told in full to the operator, and to the client by nothing but an id."""

from __future__ import annotations

import re

import pytest

from tests.support import trial
from tests.support.client import Closed, request
from tests.support.gate import Gate
from tests.support.site import StartSite
from tests.support.waiting import wait_until


@pytest.mark.parametrize("host", ["w", "a"], ids=["wsgi", "asgi"])
def test_an_exception_before_the_answer_is_a_500_with_an_id_that_the_log_has(
    start_site: StartSite, variant: dict[str, str], host: str
) -> None:
    site = start_site(trial.both(), **variant)
    site.expect_error("ValueError|fail|500")
    with site.connect() as client:
        answer = client.get("/fail", host)
        assert answer.status == 500
        assert b"ValueError" not in answer.body
        assert b"raised before" not in answer.body
        # The connection and the worker live on.
        assert client.get("/hello", host).status == 200
    site.wait_line("ValueError: raised before the answer")
    ids = re.findall(r"[0-9a-zA-Z-]{6,}", answer.text)
    assert any(identifier in line for line in site.lines for identifier in ids), (answer.text, site.lines)


@pytest.mark.parametrize("host", ["w", "a"], ids=["wsgi", "asgi"])
def test_an_exception_in_the_middle_cuts_the_connection(
    start_site: StartSite, variant: dict[str, str], host: str
) -> None:
    site = start_site(trial.both(), **variant)
    site.expect_error("ValueError|fail|middle|cut")
    with site.connect() as client:
        client.send(request("/fail-later", host) + request("/hello", host))
        with pytest.raises((Closed, ConnectionResetError)):
            client.read_response()
        assert b"HTTP/1.1" not in client.rest
    site.wait_line("ValueError: raised in the middle")
    assert site.get("/hello", host).status == 200


@pytest.mark.parametrize("host", ["w", "a"], ids=["wsgi", "asgi"])
def test_an_answer_shorter_than_promised_is_cut(start_site: StartSite, host: str) -> None:
    site = start_site(trial.both())
    site.tolerate_error(".")
    with site.connect() as client:
        client.send(request("/short", host))
        with pytest.raises((Closed, ConnectionResetError)):
            client.read_response()
    assert site.get("/hello", host).status == 200


def test_an_application_that_cannot_be_imported_is_named_and_the_others_work(start_site: StartSite) -> None:
    site = start_site(
        trial.one("wsgi")
        + """
[app.sick]
entry = "broken:application"
root = "APPS"

[site.sick]
hosts = ["sick"]
app = "sick"
"""
    )
    site.expect_error("sick")
    assert "sick" in site.wait_line("^pyserve: ready")
    site.wait_line("RuntimeError: this module is broken on purpose")
    assert site.get("/", "sick").status == 503
    assert site.get("/hello").status == 200
    status = site.status()
    assert status["sites"]["sick"]["state"] == "degraded"
    assert "broken on purpose" in str(status["sites"]["sick"])
    assert status["sites"]["a"]["state"] == "serving"


def test_a_request_over_its_time_is_a_504_and_the_worker_is_replaced(start_site: StartSite) -> None:
    site = start_site(trial.one("wsgi", 'timeout = "1s"'))
    site.tolerate_error("504|timeout|worker|stuck|took")
    gate = Gate(site.folder)
    before = site.worker_pids("wsgi")
    with site.connect() as client:
        client.send(request(gate.path, "a", "POST", b"x"))
        gate.wait_began()
        assert client.read_response().status == 504
    assert site.get("/hello").status == 200
    wait_until(lambda: not set(site.worker_pids("wsgi")) & set(before), "the stuck worker is gone")


def test_an_asgi_request_over_its_time_is_a_504(start_site: StartSite) -> None:
    site = start_site(trial.one("asgi", 'timeout = "1s"'))
    site.tolerate_error("504|timeout|worker|stuck|took")
    assert site.get("/slow?s=30").status == 504
    assert site.get("/hello").status == 200


def test_a_full_queue_is_answered_503_with_retry_after(start_site: StartSite) -> None:
    site = start_site(trial.one("wsgi", 'queue = { size = 2, timeout = "20s" }'))
    site.tolerate_error("503|queue")
    gate = Gate(site.folder)
    clients = [site.connect() for _ in range(3)]
    clients[0].send(request(gate.path, "a"))
    gate.wait_began()
    for client in clients[1:]:
        client.send(request("/hello", "a"))
    wait_until(lambda: site.status()["apps"]["wsgi"]["queue"] == 2, "two requests wait")
    refused = site.get("/hello")
    assert refused.status == 503
    assert int(refused.field("retry-after") or 0) >= 1
    gate.open()
    assert [client.read_response().status for client in clients] == [200, 200, 200]
    for client in clients:
        client.close()


def test_who_waits_too_long_in_the_queue_is_told_503(start_site: StartSite) -> None:
    site = start_site(trial.one("wsgi", 'queue = { size = 5, timeout = "300ms" }'))
    site.tolerate_error("503|queue")
    gate = Gate(site.folder)
    with site.connect() as held:
        held.send(request(gate.path, "a"))
        gate.wait_began()
        answer = site.get("/hello")
        assert answer.status == 503
        assert answer.field("retry-after")
        gate.open()
        assert held.read_response().status == 200


def test_slow_heads_and_bodies_are_answered_408(start_site: StartSite) -> None:
    site = start_site(trial.both(), limits='head_timeout = "500ms"\nbody_timeout = "500ms"')
    with site.connect() as client:
        client.send(b"GET / HTTP/1.1\r\nHost: a\r\n")
        assert client.read_response().status == 408
        assert client.is_closed()
    for host in ("w", "a"):
        with site.connect() as client:
            client.send(f"POST /echo HTTP/1.1\r\nHost: {host}\r\nContent-Length: 10\r\n\r\nhalf".encode())
            assert client.read_response().status == 408
            assert client.is_closed()


def test_an_idle_connection_is_closed_after_its_time_without_a_word(start_site: StartSite) -> None:
    site = start_site(trial.one("wsgi"), limits='keepalive_timeout = "300ms"')
    with site.connect() as client:
        assert client.get("/hello").status == 200
        assert client.is_closed()


def test_a_client_that_leaves_is_told_to_the_asgi_application(start_site: StartSite) -> None:
    """An end of the client's bytes alone is no leaving: half-closed clients get their answers."""
    site = start_site(trial.one("asgi"))
    gone = site.folder / "gone"
    client = site.connect()
    client.send(request(f"/until-gone?began={site.folder}/began&gone={gone}", "a"))
    wait_until((site.folder / "began").exists, "the request began")
    client.reset()
    wait_until(gone.exists, "http.disconnect came")
    wait_until(lambda: site.workers("asgi")[0]["running"] == 0, "nothing runs")
