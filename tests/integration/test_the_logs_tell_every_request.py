"""Promise: one access line per request, combined or JSON, with the duration; rotation by USR1 loses none."""

from __future__ import annotations

import json
import re
import signal

import pytest

from tests.support import trial
from tests.support.client import request
from tests.support.gate import Gate
from tests.support.site import StartSite
from tests.support.waiting import wait_until

COMBINED = re.compile(
    r"127\.0\.0\.1 - - \[\d\d/[A-Z][a-z]{2}/\d{4}:\d\d:\d\d:\d\d [+-]\d{4}\] "
    r'"([^"]*)" (\d{3}) (\d+|-) "([^"]*)" "((?:[^"\\]|\\.)*)"(.*)'
)


def test_combined_lines(start_site: StartSite, variant: dict[str, str]) -> None:
    site = start_site(trial.both(), **variant)
    site.get("/hello?x=1", "w", Referer="http://ref/", **{"User-Agent": 'odd "agent"\\'})
    site.get("/hello", "a")
    site.get("/", "nobody")
    site.ask(b"GARBAGE\r\n\r\n")
    lines = [COMBINED.fullmatch(line) for line in site.access_lines(4)]
    assert all(lines), site.access_lines(4)
    first, second, third, fourth = (line.groups() for line in lines if line)
    assert first[:4] == ("GET /hello?x=1 HTTP/1.1", "200", "16", "http://ref/")
    assert second[:3] == ("GET /hello HTTP/1.1", "200", "16")
    assert third[1] == "421"
    assert fourth[1] == "400"
    for groups in (first, second):
        assert re.search(r"\d+(\.\d+)?", groups[5]), "the duration"


def test_json_lines(start_site: StartSite) -> None:
    site = start_site(trial.both(), access='{ file = "access.log", format = "json" }')
    site.get("/slow?s=0.2", "w")
    site.get("/hello/%22quoted%22", "a", **{"User-Agent": 'odd "agent"\\'})
    first, second = (json.loads(line) for line in site.access_lines(2))
    assert first["status"] == 200
    assert first["method"] == "GET"
    durations = [value for key, value in first.items() if "duration" in key]
    assert len(durations) == 1
    assert durations[0] >= 0.2
    assert second["user_agent"] == 'odd "agent"\\'


def test_a_hostile_request_cannot_forge_a_line(start_site: StartSite) -> None:
    site = start_site(trial.both())
    site.get("/hello", "a", **{"User-Agent": "a\x1b[31mred\xff"})
    (line,) = site.access_lines(1)
    assert "\x1b" not in line


def test_a_log_that_is_off_is_no_file(start_site: StartSite) -> None:
    site = start_site(trial.both(), access="false")
    assert site.get("/hello").status == 200
    assert not (site.folder / "access.log").exists()


def test_the_log_goes_to_stdout_when_it_is_named_dash(start_site: StartSite) -> None:
    site = start_site(trial.both(), access='{ file = "-" }')
    site.get("/hello")
    wait_until(lambda: any("GET /hello" in line for line in site.output), "a line on stdout")


@pytest.mark.parametrize("fronts", [1, 2])
def test_usr1_opens_new_files_and_loses_no_line(start_site: StartSite, fronts: int) -> None:
    site = start_site(trial.both(), fronts=fronts)
    log, old = site.folder / "access.log", site.folder / "access.log.1"
    with site.connect() as client:
        for number in range(50):
            client.get(f"/hello?{number}")
            if number == 25:
                log.rename(old)
                site.child.send_signal(signal.SIGUSR1)
                wait_until(log.exists, "a new access log")
        for _ in range(10):
            site.get("/hello?last")
    wait_until(lambda: log.read_text().count("last") == 10, "lines in the new file")
    both = old.read_text() + log.read_text()
    assert [both.count(f"/hello?{number} ") for number in range(50)] == [1] * 50


def test_every_request_has_its_line_also_in_a_pipeline(start_site: StartSite) -> None:
    site = start_site(trial.both())
    with site.connect() as client:
        client.send(b"".join(request(f"/hello?{number}", "aw"[number % 2]) for number in range(30)))
        for _ in range(30):
            client.read_response()
    assert len(site.access_lines(30)) == 30


def test_refusals_of_an_overload_are_a_line_each_in_the_access_log_and_a_few_in_the_error_log(
    start_site: StartSite,
) -> None:
    site = start_site(trial.one("wsgi", "queue = { size = 0 }"))
    site.expect_error("requests wait already")
    gate = Gate(site.folder)
    with site.connect() as held, site.connect() as client:
        held.send(request(gate.path, "a"))
        gate.wait_began()
        refused = [client.ask(request("/hello", "a")) for _ in range(300)]
        gate.open()
        assert held.read_response().status == 200
    assert {answer.status for answer in refused} == {503}
    assert len(site.access_lines(301)) == 301
    said = [line for line in site.lines if "requests wait already" in line]
    assert 1 <= len(said) < 100
    # An id is in a page if the log has it, and nowhere else.
    named = {found[0] for answer in refused if (found := re.search(r"\b[0-9a-f]{10}\b", answer.text))}
    assert named == {line.split()[4] for line in said}
