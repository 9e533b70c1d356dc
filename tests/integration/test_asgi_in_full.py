"""Promise: applications get ASGI's HTTP and lifespan protocols with every extension that a server is to have."""

from __future__ import annotations

import asyncio
import re
import threading
import zlib
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

import pyserve
from tests.support.client import Client, Response
from tests.support.site import Site, StartSite
from tests.support.waiting import wait_until

LINK = "</app.css>; rel=preload; as=style"
HINT = f'await send({{"type": "http.response.early_hint", "links": [{LINK.encode()!r}]}})\n'
START = 'await send({"type": "http.response.start", "status": 200, "trailers": True, "headers": HEADERS})\n'
SUM = 'await send({"type": "http.response.trailers", "headers": [(b"x-sum", b"7")]})'


def app(name: str, more: str = "", site: str = "") -> str:
    return f"""
[app.{name}]
entry = "told_asgi:application"
type = "asgi"
root = "APPS"
workers = 1
{more}

[site.{name}]
hosts = ["{name}"]
app = "{name}"
{site}
"""


SITES = app("plain") + app("packed", site='compress = { types = ["text/plain"], min = "1B", codings = ["gzip"] }')


def told(source: str, host: str = "plain", method: str = "GET", more: str = "", version: str = "1.1") -> bytes:
    return f"{method} /?{quote(source)} HTTP/{version}\r\nHost: {host}\r\n{more}\r\n".encode()


def ask(site: Site, data: bytes, *, to_head: bool = False) -> Response:
    with site.connect() as client:
        client.takes_trailers = True
        return client.ask(data, to_head=to_head)


# -- early hints


@pytest.mark.parametrize("is_first", [True, False], ids=["before the start", "after the start"])
def test_hints_reach_the_client_before_the_application_has_answered(start_site: StartSite, is_first: bool) -> None:
    site = start_site(SITES)
    seen = site.folder / "seen"
    waits = f"while not os.path.exists({str(seen)!r}): await asyncio.sleep(0.005)\n"
    source = HINT + waits + "await start()\n" if is_first else "await start()\n" + HINT + waits
    with site.connect() as client:
        client.send(told(source + 'await body(b"page")'))
        hint = client.read_head()
        assert (hint.status, hint.reason, hint.fields) == (103, "Early Hints", [("link", LINK)])
        seen.touch()
        answer = client.read_response()
        assert (answer.status, answer.body, answer.interim) == (200, b"page", [])


@pytest.mark.parametrize(
    ("method", "more", "version"),
    [("GET", "", "1.0"), ("POST", "", "1.1"), ("GET", "Sec-Fetch-Mode: cors\r\n", "1.1")],
)
def test_hints_are_for_pages_over_http_1_1(shared_site: StartSite, method: str, more: str, version: str) -> None:
    data = told(HINT + 'await start()\nawait body(b"page")', "plain", method, more, version)
    with shared_site(SITES).connect() as client:
        client.send(data)
        answer = client.read_response()
    assert (answer.body, answer.interim) == (b"page", [])


# -- trailers


def trailing(*pieces: str, headers: str = '[(b"trailer", b"x-sum")]') -> str:
    sends = "".join([f"await body({piece})\n" for piece in pieces])
    return START.replace("HEADERS", headers) + sends + SUM


@pytest.mark.parametrize("pieces", [("b'hello'",), ("b'hel', True", "b'lo'"), ("b'hello', True", "b''")])
def test_trailers_follow_the_body(shared_site: StartSite, pieces: tuple[str, ...]) -> None:
    site = shared_site(SITES)
    answer = ask(site, told(trailing(*pieces), more="TE: trailers\r\nConnection: TE\r\n"))
    assert (answer.body, answer.trailers, answer.field("trailer")) == (b"hello", [("x-sum", "7")], "x-sum")


def test_a_long_answer_has_its_trailers_too(shared_site: StartSite) -> None:
    source = trailing("b'x' * 3_000_000, True", "b'x' * 3_000_000")
    with shared_site(SITES).connect(receive_buffer=4096) as client:
        client.takes_trailers = True
        answer = client.ask(told(source, more="TE: trailers\r\n"))
    assert (len(answer.body), answer.trailers) == (6_000_000, [("x-sum", "7")])


def test_who_does_not_ask_for_trailers_gets_none(shared_site: StartSite) -> None:
    site = shared_site(SITES)
    answer = ask(site, told(trailing("b'hello'")))
    assert (answer.body, answer.trailers, answer.field("trailer")) == (b"hello", [], None)


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_a_body_of_known_length_has_no_room_for_trailers(shared_site: StartSite, method: str) -> None:
    source = trailing("b'hello'", headers='[(b"content-length", b"5"), (b"trailer", b"x-sum")]')
    answer = ask(shared_site(SITES), told(source, "plain", method, "TE: trailers\r\n"), to_head=method == "HEAD")
    assert (answer.field("content-length"), answer.is_chunked, answer.trailers) == ("5", False, [])


def test_http_1_0_has_no_trailers(shared_site: StartSite) -> None:
    with shared_site(SITES).connect() as client:
        client.send(told(trailing("b'hello'"), more="TE: trailers\r\n", version="1.0"))
        assert client.read_to_end().endswith(b"\r\n\r\nhello")


def test_a_compressed_answer_has_its_trailers(shared_site: StartSite) -> None:
    source = trailing("b'hello' * 1000", headers='[(b"content-type", b"text/plain")]')
    more = "TE: trailers\r\nAccept-Encoding: gzip\r\n"
    answer = ask(shared_site(SITES), told(source, "packed", more=more))
    assert answer.field("content-encoding") == "gzip"
    assert (zlib.decompress(answer.body, 31), answer.trailers) == (b"hello" * 1000, [("x-sum", "7")])


@pytest.mark.parametrize("name", ["Content-Length", "transfer-encoding", "set-cookie", "host"])
def test_what_may_not_be_a_trailer_cuts_the_answer(shared_site: StartSite, name: str) -> None:
    site = shared_site(SITES)
    site.tolerate_error(r"\b[0-9a-f]{10} 500 GET ")
    with site.connect() as client:
        client.send(told(trailing("b'hello'").replace("x-sum", name), more="TE: trailers\r\n"))
        received = b""
        while piece := client.socket.recv(65536):
            received += piece
    assert not received.endswith(b"0\r\n\r\n")
    assert b"0\r\n" + name.encode().lower() not in received.lower()
    site.wait_line(f"ValueError: b'{name}' may not be a trailer field")


# -- disconnect


def test_an_application_hears_of_the_end_after_its_answer(shared_site: StartSite) -> None:
    site = shared_site(SITES)
    noted = site.folder / "after the answer"
    source = f"""
await start()
await body(b"whole")
if [(await receive())["type"] for _ in range(2)] == ["http.disconnect"] * 2: note({str(noted)!r})"""
    with site.connect() as client:  # which stays
        assert client.ask(told(source)).body == b"whole"
        wait_until(noted.exists, "http.disconnect")


def test_an_application_that_waits_hears_that_its_client_left(shared_site: StartSite) -> None:
    site = shared_site(SITES)
    began, noted = site.folder / "it waits", site.folder / "it heard"
    source = f"""
kinds = [(await receive())["type"]]
note({str(began)!r})
kinds.append((await receive())["type"])
if kinds == ["http.request", "http.disconnect"]: note({str(noted)!r})"""
    client = site.connect()
    client.send(told(source, method="POST", more="Content-Length: 3\r\n") + b"abc")
    wait_until(began.exists, "the body was read")
    client.close()
    wait_until(noted.exists, "http.disconnect")


# -- how many at once


@pytest.mark.parametrize("fronts", [1, 2])
def test_more_requests_than_a_worker_runs_wait_and_none_is_lost(start_site: StartSite, fronts: int) -> None:
    """Several fronts find out by being told that the worker is busy; what was handed to it goes back to the queue."""
    site = start_site(app("plain", "concurrency = 2"), fronts=fronts)
    source = """
data = (await receive())["body"]
import json, builtins
running = builtins.__dict__.setdefault("running_now", [])
running.append(1)
most = len(running)
await asyncio.sleep(0.01)
running.pop()
await start()
await body(json.dumps([most, data.decode()]).encode())"""
    answers: list[tuple[int, bytes, bytes]] = []

    def client(number: int) -> None:
        for turn in range(8):
            sent = b"%d-%d" % (number, turn)
            with site.connect() as connection:
                data = told(source, method="POST", more=f"Content-Length: {len(sent)}\r\n") + sent
                answer = connection.ask(data if turn % 2 else told(source))
                answers.append((answer.status, answer.body, sent if turn % 2 else b""))

    clients = [threading.Thread(target=client, args=(number,)) for number in range(10)]
    for thread in clients:
        thread.start()
    for thread in clients:
        thread.join()
    assert len(answers) == 80
    for status, body, sent in answers:
        found = re.fullmatch(rb'\[(\d), "(.*)"\]', body)
        assert status == 200
        assert found
        assert (int(found[1]) <= 2, found[2]) == (True, sent)


# -- lifespan


def lifespan(kind: str, notes: Path, workers: int = 1) -> str:
    return f"""
[app.life]
entry = "lifespan_asgi:application"
root = "APPS"
workers = {workers}
env = {{ LIFESPAN = "{kind}", NOTES = "{notes}" }}

[site.life]
hosts = ["a"]
app = "life"
"""


def steps(notes: Path) -> list[str]:
    return [line.split()[0] for line in notes.read_text().splitlines()] if notes.exists() else []


def test_each_worker_starts_and_stops_its_application_and_the_stop_waits_for_it(
    start_site: StartSite, tmp_path: Path
) -> None:
    notes = tmp_path / "notes"
    site = start_site(lifespan("good", notes, workers=2))
    wait_until(lambda: steps(notes) == ["startup"] * 2, "both have started")
    for _ in range(3):
        assert site.get("/").body == b"['database', 'of this request']"  # the copy is the request's own
    assert site.stop() == 0
    assert sorted(steps(notes)) == ["closed"] * 2 + ["shutdown"] * 2 + ["startup"] * 2
    assert len({line.split()[1] for line in notes.read_text().splitlines()}) == 2


def test_a_worker_that_is_replaced_stops_its_application_first(start_site: StartSite, tmp_path: Path) -> None:
    notes = tmp_path / "notes"
    site = start_site(lifespan("good", notes).replace("workers = 1", "workers = 1\nmax_requests = 5"))
    first = site.worker_pids("life")[0]
    for _ in range(10):
        assert site.get("/").status == 200
    wait_until(lambda: f"closed {first}" in notes.read_text().splitlines(), "its shutdown was waited for")
    wait_until(lambda: site.worker_pids("life") and first not in site.worker_pids("life"), "another has its place")
    assert site.get("/").body == b"['database', 'of this request']"


def test_a_startup_that_failed_is_the_reason_why_the_application_does_not_run(
    start_site: StartSite, tmp_path: Path
) -> None:
    site = start_site(lifespan("fails", tmp_path / "notes"), ready=False)
    site.tolerate_error("life", "lifespan")
    site.wait_line("lifespan startup failed: the database is away")
    site.terminate()
    site.wait_exit()


def test_an_application_that_exits_at_startup_does_not_run(start_site: StartSite, tmp_path: Path) -> None:
    site = start_site(lifespan("exits", tmp_path / "notes"), ready=False)
    site.tolerate_error("life", "lifespan")
    site.wait_line("SystemExit: no reason to run")
    site.terminate()
    site.wait_exit()


def test_who_knows_no_lifespan_is_served_without_a_word(start_site: StartSite, tmp_path: Path) -> None:
    notes = tmp_path / "notes"
    site = start_site(lifespan("raises at once", notes))
    assert site.get("/").body == b"['of this request']"
    assert site.stop() == 0
    assert not notes.exists()
    assert not [line for line in site.lines if "lifespan" in line]


def test_a_startup_that_raises_is_served_and_told(start_site: StartSite, tmp_path: Path) -> None:
    notes = tmp_path / "notes"
    site = start_site(lifespan("raises at startup", notes))
    assert site.get("/").body == b"['of this request']"
    site.wait_line("runs without lifespan, which has failed")
    site.wait_line("ConnectionError: the startup has a bug")
    assert site.stop() == 0
    assert steps(notes) == ["startup"]


def test_a_shutdown_that_failed_is_told(start_site: StartSite, tmp_path: Path) -> None:
    site = start_site(lifespan("fails to stop", tmp_path / "notes"))
    assert site.stop() == 0
    site.wait_line("lifespan shutdown failed: the database is stuck")


# -- what is not there


def test_only_what_can_be_used_is_offered(shared_site: StartSite) -> None:
    """No ``http.response.push`` over HTTP/1, and no ``http.response.debug``, which servers are not to have."""
    source = "await start()\nawait body(repr(sorted(scope['extensions'])).encode())"
    names = ["early_hint", "pathsend", "trailers", "zerocopysend"]
    assert shared_site(SITES).ask(told(source)).text == repr([f"http.response.{name}" for name in names])


# -- the same in the caller's own process


Send = Callable[[dict[str, Any]], Awaitable[None]]


async def live(scope: dict[str, Any], receive: Any, send: Send) -> None:
    assert scope["type"] == "http"
    await send({"type": "http.response.early_hint", "links": [LINK.encode()]})
    headers = [(b"trailer", b"x-sum")]
    await send({"type": "http.response.start", "status": 200, "headers": headers, "trailers": True})
    await send({"type": "http.response.body", "body": b"hello"})
    await send({"type": "http.response.trailers", "headers": [(b"x-sum", b"7")]})


def test_a_live_application_hints_and_trails() -> None:
    async def serve() -> Response:
        async with pyserve.Server(live, listen="127.0.0.1:0", config={"log": {"access": False}}) as server:
            host, port = server.addresses[0]
            return await asyncio.to_thread(ask_once, (str(host), int(port)))

    answer = asyncio.run(serve())
    assert (answer.interim_fields, answer.body) == ([[("link", LINK)]], b"hello")
    assert answer.trailers == [("x-sum", "7")]


def ask_once(address: tuple[str, int]) -> Response:
    with Client(address) as client:
        client.takes_trailers = True
        return client.ask(b"GET / HTTP/1.1\r\nHost: a\r\nTE: trailers\r\n\r\n")
