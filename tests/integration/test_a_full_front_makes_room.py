"""Promise: a front that is full closes what is idle, lets the rest wait, spins never, and says so once a second."""

from __future__ import annotations

import os
import resource
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import pytest

from tests.support import trial
from tests.support.client import Client, request
from tests.support.site import Site, StartSite
from tests.support.waiting import wait_until

SITES = trial.both(
    wsgi="threads = 40\nqueue = { size = 1000 }",
    more_sites='\n[site.fixed]\nhosts = ["fixed"]\nrespond = { body = "fixed" }\n',
)
GET = request("/", "fixed")


@contextmanager
def idle_clients(site: Site, count: int) -> Iterator[list[Client]]:
    with ExitStack() as stack:
        clients = [stack.enter_context(site.connect()) for _ in range(count)]
        for client in clients:
            assert client.ask(GET).status == 200
        yield clients


def is_gone(client: Client) -> bool:
    client.socket.setblocking(False)
    try:
        return client.socket.recv(1) == b""
    except BlockingIOError:
        return False
    finally:
        client.socket.settimeout(20)


def cpu_s(pid: int) -> float:
    with open(f"/proc/{pid}/stat") as file:
        user, system = file.read().rpartition(")")[2].split()[11:13]
    return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")


def test_who_has_been_idle_longest_goes_first(start_site: StartSite, variant: dict[str, str]) -> None:
    site = start_site(SITES, limits="max_connections = 10", **variant)
    with idle_clients(site, 10) as clients:
        time.sleep(0.6)  # deadlines are told apart by the sweep's clock
        for client in clients[1:]:
            assert client.ask(GET).status == 200
        with site.connect() as another:
            assert another.ask(GET).status == 200
            wait_until(lambda: is_gone(clients[0]), "the oldest idle connection to be closed")
            assert not any(is_gone(client) for client in clients[1:])
    site.wait_line("full: 10 connections; those idle longest are closed for new ones")


def test_where_nobody_is_idle_new_ones_wait_and_are_served(start_site: StartSite, variant: dict[str, str]) -> None:
    site = start_site(SITES, limits="max_connections = 5", **variant)
    with ExitStack() as stack:
        busy = [stack.enter_context(site.connect()) for _ in range(5)]
        for client in busy:
            client.send(request("/slow?s=1.5", "w"))
        wait_until(lambda: site.status()["fronts"][0]["connections"] == 5, "five connections")
        waiting = [stack.enter_context(site.connect()) for _ in range(3)]
        for client in waiting:
            client.send(GET)
        front = site.front_pids()[0]
        before = cpu_s(front)
        time.sleep(0.8)
        assert cpu_s(front) - before < 0.2  # no spinning, whatever machine this is
        for client in busy + waiting:
            assert client.read_response().status == 200
    site.wait_line("full: 5 connections, none of them idle; new ones wait")


def test_the_limit_of_open_files_is_never_met(start_site: StartSite, variant: dict[str, str]) -> None:
    """Five hundred clients and 256 descriptors: those being served are not disturbed, idle ones make room."""
    site = start_site(SITES, limits="max_connections = 1000", **variant)
    front = site.front_pids()[0]
    resource.prlimit(front, resource.RLIMIT_NOFILE, (256, 256))
    time.sleep(0.6)  # the front looks at its limit with every sweep
    with ExitStack() as stack:
        running = [stack.enter_context(site.connect()) for _ in range(20)]
        for client in running:
            client.send(request("/slow?s=2", "w"))
        for _ in range(400):  # each stays open and idle
            client = stack.enter_context(site.connect())
            assert client.ask(GET).status == 200
        assert len(os.listdir(f"/proc/{front}/fd")) < 256
        assert [client.read_response().status for client in running] == [200] * 20
    assert site.get("/", "fixed").status == 200
    lines = [line for line in site.lines if "front 0" in line]
    assert len(lines) < 30
    assert not [line for line in lines if "Traceback" in line or "Too many open files" in line]


@pytest.mark.parametrize("limit", [60])
def test_an_end_of_descriptors_at_the_start_is_said(start_site: StartSite, limit: int) -> None:
    site = start_site(SITES, under=["prlimit", f"--nofile={limit + 140}:{limit + 140}"])
    site.wait_line(r"room for \d+ connections, not for max_connections = 10000: this process may have 200 files open")
    assert site.get("/", "fixed").status == 200
