"""Promise: what is no good request is refused once and nothing behind it is read; what is one is read in one way only.

The whole corpus goes over real connections to each kind of handler in three ways: with a marker request right behind
it, the same line by line, and alone. The applications remember every request that they saw whole, which in the end has
to be exactly what was meant.
"""

from __future__ import annotations

import json
import socket
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.support import corpus
from tests.support.client import Client, Closed, Response, request
from tests.support.corpus import Case
from tests.support.site import Site, StartSite

CASES = corpus.load()
PARSERS = [{"parser": "httptools", "loop": "uvloop"}, {"parser": "h11", "loop": "asyncio"}]
WAYS = ["with a request behind", "line by line", "alone"]
LONG_BYTES = 10_000
CLIENTS = 16
ANSWERED_WITHIN_S = 8.0  # less than the front waits for the rest of a head: what needs no rest is refused without it
FIXED = "a fixed answer"
BEHIND = "/behind"
ASTERISK = "OPTIONS * "
LIMITS = f'max_body = "{corpus.MAX_BODY_BYTES // 1024}KiB"'
FILES = """
[site.all]
default = true
files = "files"
"""
RESPOND = f"""
[site.all]
default = true
respond = {{ body = "{FIXED}" }}
"""
APP = """
[app.mirror]
entry = "mirror_{kind}:application"
root = "APPS"
workers = 1

[site.all]
default = true
app = "mirror"
"""


@pytest.mark.parametrize("options", PARSERS, ids=lambda options: options["parser"])
@pytest.mark.parametrize("kind", ["wsgi", "asgi"])
def test_an_application_sees_only_good_requests_and_all_of_them(
    start_site: StartSite, options: dict[str, str], kind: str
) -> None:
    site = start_site(APP.format(kind=kind), limits=LIMITS, **options)
    # Where WebSockets are served, a handshake that is none is no request like others.
    handshakes = [case for case in CASES if b"Sec-WebSocket-Key" in case.data and kind == "asgi"]
    meant = send_all(Mirror(kind), site, [case for case in CASES if case not in handshakes])
    for case in handshakes:
        with site.connect() as client:
            client.send(case.data)
            assert client.read_response().status == 400
            for text in case.requests[1:]:  # and its body is not one either
                assert json.loads(client.read_response().body)["text"] == text
                meant[text] += 1
    with site.connect() as client:
        seen = Counter(json.loads(client.get("/--seen").body))
    assert {text[:200]: count for text, count in (seen - meant).items()} == {}, "seen, and never meant"
    assert {text[:200]: count for text, count in (meant - seen).items()} == {}, "meant, and never seen"


@pytest.mark.parametrize("options", PARSERS, ids=lambda options: options["parser"])
def test_a_fixed_answer_is_given_only_to_good_requests(start_site: StartSite, options: dict[str, str]) -> None:
    send_all(Fixed(), start_site(RESPOND, limits=LIMITS, **options))


@pytest.mark.parametrize("options", PARSERS, ids=lambda options: options["parser"])
def test_files_are_given_only_to_good_requests(start_site: StartSite, options: dict[str, str], tmp_path: Path) -> None:
    for name in ("folder", "folder\r\nSet-Cookie:x=1"):
        (tmp_path / "files" / name).mkdir(parents=True)
        (tmp_path / "files" / name / "index.html").write_text("an index")
    for name in ("file", BEHIND[1:], "index.html"):
        (tmp_path / "files" / name).write_text(f"the file {name}")
    send_all(Files(), start_site(FILES, limits=LIMITS, **options))


class Wrong(Exception):
    """What came back is not what the case says."""


def wrong_if(condition: object, text: str) -> None:
    if condition:
        raise Wrong(text)


class Handler:
    """What the answers of one kind of handler to good requests have to be."""

    answers_early = True
    """It may answer before it has read the body, so what is wrong with a body can come too late for a refusal."""

    def check(self, answer: Response, text: str, case: Case | None) -> None:
        """Check the answer to the request ``text``; of the first one of a ``case`` its fields too."""
        raise NotImplementedError


class Fixed(Handler):
    def check(self, answer: Response, text: str, case: Case | None) -> None:
        wrong_if(answer.status != 200, f"{answer.status} for {text!r}")
        wrong_if(answer.body != (b"" if text.startswith("HEAD ") else FIXED.encode()), f"body {answer.body[:50]!r}")


class Files(Handler):
    def check(self, answer: Response, text: str, case: Case | None) -> None:
        method, path, _ = text.split(" ", 2)
        wrong_if(answer.status not in (200, 204, 301, 307, 308, 404, 405, 501), f"{answer.status} for {text!r}")
        wrong_if(method == "GET" and path in ("/", "/file", BEHIND) and answer.status != 200, f"{answer.status}")
        wrong_if(path == BEHIND and answer.body != b"the file behind", f"{answer.body[:50]!r} for {BEHIND}")
        location = answer.field("location")
        wrong_if(location and location.startswith(("//", "/\\")), f"redirected to {location}")
        wrong_if(answer.field("set-cookie"), "a cookie that nobody set")


class Mirror(Handler):
    answers_early = False

    def __init__(self, kind: str) -> None:
        self._is_wsgi = kind == "wsgi"

    def check(self, answer: Response, text: str, case: Case | None) -> None:
        wrong_if(answer.status != 200, f"{answer.status} for {text[:100]!r}")
        if text.startswith("HEAD "):
            return
        told = json.loads(answer.body)
        wrong_if(told["text"] != text, f"read as {told['text'][:100]!r}")
        wrong_if(told["client"] != "127.0.0.1", f"client {told['client']}")
        wrong_if(told["scheme"] != "http", f"scheme {told['scheme']}")
        wrong_if(told["forged"], f"forged: {told['forged']}")
        if self._is_wsgi:
            length = told["fields"].get("CONTENT_LENGTH")
            wrong_if(length and int(length) != len(text.split(" ", 2)[2]), f"CONTENT_LENGTH {length}")
        if case is not None:
            self._check_fields(told["fields"], case)

    def _check_fields(self, fields: Any, case: Case) -> None:
        names = {name for name, _ in case.shows}
        if self._is_wsgi:
            shown = {}
            for name, value in case.shows:
                shown[variable(name)] = f"{shown[variable(name)]},{value}" if variable(name) in shown else value
            for name, value in shown.items():
                wrong_if(fields.get(name) != value, f"{name} is {fields.get(name)!r}, not {value!r}")
            hidden = {variable(name) for name in case.hides} - shown.keys()
            if "content_type" in case.hides:
                hidden.add("CONTENT_TYPE")
            found: set[str] = hidden & fields.keys()
        else:
            shows = sorted(map(list, case.shows))
            got = sorted(field for field in fields if field[0] in names)
            wrong_if(got != shows, f"fields {got}, not {shows}")
            found = case.hides & {name for name, _ in fields}
        wrong_if(found, f"fields that should be hidden: {found}")


def variable(name: str) -> str:
    """Return the name in an environ."""
    return "HTTP_" + name.upper().replace("-", "_")


def send_all(handler: Handler, site: Site, cases: Sequence[Case] = CASES) -> Counter[str]:
    """Send every case in every way; return how often an application has to see what."""
    meant: Counter[str] = Counter()

    def send(job: tuple[Case, str]) -> tuple[Counter[str], str]:
        case, way = job
        try:
            return Sending(handler, site, case).run(way), ""
        except (Wrong, AssertionError, Closed, OSError, ValueError) as error:
            return Counter(), f"{case.name} ({way}): {type(error).__name__}: {error}\n    {case.data[:300]!r}"

    jobs = [(case, way) for way in WAYS for case in cases if way == "alone" or not case.truncated]
    problems = []
    with ThreadPoolExecutor(CLIENTS) as pool:
        for seen, problem in pool.map(send, jobs):
            meant += seen
            if problem:
                problems.append(problem)
    assert not problems, f"{len(problems)} of {len(jobs)}:\n" + "\n".join(problems)
    return meant


class Sending:
    """One case over one connection."""

    def __init__(self, handler: Handler, site: Site, case: Case) -> None:
        self._handler = handler
        self._site = site
        self._case = case
        self._meant: Counter[str] = Counter()

    def run(self, way: str) -> Counter[str]:
        """Check all that comes back; return what the application has to have seen."""
        case = self._case
        data = case.data if way == "alone" else case.data + request(BEHIND, "a")
        with Client(self._site.address, ANSWERED_WITHIN_S) as client:
            client.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            try:
                for piece in data.splitlines(True) if way == "line by line" and len(data) < LONG_BYTES else [data]:
                    client.send(piece)
            except (BrokenPipeError, ConnectionResetError):
                pass  # refused and closed while the rest of it was on its way
            if case.truncated:
                client.end_sending()
            self._read_answers(client, way != "alone")
        return self._meant

    def _read_answers(self, client: Client, has_behind: bool) -> None:
        case = self._case
        for number, text in enumerate(case.requests):
            is_last = number == len(case.requests) - 1
            answer = self._read(client, text, case if number == 0 else None)
            if answer.field("connection") == "close":
                # A handler that needs no body can't know if one comes that waits for 100: it closes.
                is_early = self._handler.answers_early and b"100-continue" in case.data.lower()
                wrong_if(not (is_last and case.closes) and not is_early, f"closes behind {text[:100]!r}")
                wrong_if(not client.is_closed(), f"answers {client.rest[:100]!r} behind its last answer")
                return
            wrong_if(is_last and case.closes, "does not close")
        if case.status:
            self._read_refusal(client)
        elif case.truncated:
            self._read_end(client)
        elif has_behind:
            self._read(client, f"GET {BEHIND} ", None)
        else:
            # Nothing is left over that would change what the next request means; equal heads are remembered.
            wrong_if(client.rest, f"answers too much: {client.rest[:100]!r}")
            if len(case.data) < LONG_BYTES:
                client.send(case.data)
                for number, text in enumerate(case.requests):
                    self._read(client, text, case if number == 0 else None)
                wrong_if(client.rest, f"answers too much: {client.rest[:100]!r}")

    def _read(self, client: Client, text: str, case: Case | None) -> Response:
        answer = client.read_response(to_head=text.startswith("HEAD "))
        if text == ASTERISK:  # about the server, so it answers itself
            wrong_if(answer.status not in (200, 204) or answer.body, f"{answer.status} for {text}")
        else:
            self._handler.check(answer, text, case)
            self._meant[text] += 1
        return answer

    def _read_refusal(self, client: Client) -> None:
        case = self._case
        is_early = bool(case.begun) and self._handler.answers_early
        try:
            answer = client.read_response(to_head=case.begun.startswith("HEAD "))
            if is_early and answer.status != case.status:
                self._handler.check(answer, f"{case.begun} ", None)
                if answer.field("connection") != "close":
                    answer = client.read_response()
        except (Closed, ConnectionResetError):
            wrong_if(not is_early, "closed without an answer")
            return
        wrong_if(not is_early and answer.status != case.status, f"answered {answer.status}, not {case.status}")
        wrong_if(answer.field("connection") != "close", f"{answer.status} without Connection: close")
        wrong_if(not client.is_closed(), f"answers {client.rest[:100]!r} behind its refusal")

    def _read_end(self, client: Client) -> None:
        """Nothing more may come but the end, and where a message was begun an answer to that."""
        try:
            answer = client.read_response()
        except (Closed, ConnectionResetError):
            return
        wrong_if(answer.status < 400 and not (self._case.begun and self._handler.answers_early), f"{answer.status}")
        wrong_if(not client.is_closed(), f"answers {client.rest[:100]!r} behind the end")
