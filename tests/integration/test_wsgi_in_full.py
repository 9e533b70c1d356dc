"""Promise: applications get WSGI as PEP 3333 has it, every piece of it, and the standard library's validator agrees.

The same rows go through a worker without threads, one with threads, and an application that lives in the test.
"""

from __future__ import annotations

import asyncio
import importlib.util
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from urllib.parse import quote

import pytest

import pyserve
from tests.support.client import Client, Response
from tests.support.site import APPS, StartSite
from tests.support.waiting import wait_until


def app(name: str, more: str = "", site: str = "") -> str:
    return f"""
[app.{name}]
entry = "told_wsgi:application"
root = "APPS"
workers = 1
{more}

[site.{name}]
hosts = ["{name}"]
app = "{name}"
{site}
"""


SITES = app("inline") + app("threads", "threads = 2")
HOSTS = pytest.mark.parametrize("host", ["inline", "threads"])
LINK = "</app.css>; rel=preload; as=style"
TYPE = '[("Content-Type", "text/plain")]'
GOES = f'start("200 OK", {TYPE})\n'
BIG = 1_000_000


def told(
    source: str, host: str, method: str = "GET", more: str = "", *, path: str = "/valid", version: str = "1.1"
) -> bytes:
    return f"{method} {path}?{quote(source)} HTTP/{version}\r\nHost: {host}\r\n{more}\r\n".encode()


@dataclass(frozen=True)
class Row:
    source: str
    body: bytes
    method: str = "GET"
    sent: bytes = b""
    is_chunked: bool = False
    status: int = 200

    def request(self, host: str) -> bytes:
        more = "Content-Type: text/plain\r\n" if self.sent else ""
        if self.is_chunked:
            half = len(self.sent) // 2
            pieces = (self.sent[:half], self.sent[half:])
            coded = b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"
            return told(self.source, host, self.method, more + "Transfer-Encoding: chunked\r\n") + coded
        if self.sent:
            more += f"Content-Length: {len(self.sent)}\r\n"
        return told(self.source, host, self.method, more) + self.sent


SENT = b"one\ntwo\n\nthree"
READS = {
    "read": ("f.read(3), f.read(0), f.read(100), f.read(1)", b"one||\ntwo\n\nthree|"),
    "read all": ("f.read(-1), f.read(-1)", SENT + b"|"),
    "readline": ("f.readline(), f.readline(), f.readline(), f.readline()", b"one\n|two\n|\n|three"),
    "readline with a size": ("f.readline(2), f.readline(2), f.readline(9)", b"on|e\n|two\n"),
    "readlines": ("f.readlines()", b"one\n|two\n|\n|three"),
    "readlines with a hint": ("f.readlines(1)", b"one\n"),
    "iteration": ("[*f]", b"one\n|two\n|\n|three"),
    "a mixture": ("f.readline(), f.read(2), *f", b"one\n|tw|o\n|\n|three"),
}


def reading(calls: str) -> str:
    return f'f = environ["wsgi.input"]\nlines = {calls}\n{GOES}return [b"|".join(lines)]'


ROWS = {
    "a list": Row(GOES + 'return [b"one"]', b"one"),
    "several blocks": Row(GOES + 'return [b"one", b"two"]', b"onetwo"),
    "a generator": Row(GOES + 'yield b"one"\nyield b"two"', b"onetwo"),
    "empty blocks": Row(GOES + 'return [b"", b"one", b"", b""]', b"one"),
    "an empty list": Row(GOES + "return []", b""),
    "an empty generator": Row(GOES + "return iter(())", b""),
    "one empty block": Row(GOES + 'return [b""]', b""),
    "a start in the first block": Row(f'if 1: start("200 OK", {TYPE})\nyield b"one"', b"one"),
    "a length": Row('start("200 OK", [("Content-Type", "a/b"), ("Content-Length", "3")])\nyield b"one"', b"one"),
    "much": Row(GOES + f'return [b"x" * {BIG}]', b"x" * BIG),
    "much in blocks": Row(GOES + f'return (b"x" * 1000 for _ in range({BIG // 1000}))', b"x" * BIG),
    "write": Row(f'start("200 OK", {TYPE})(b"one")\nreturn []', b"one"),
    "write much": Row(f'start("200 OK", {TYPE})(b"x" * {BIG})\nreturn [b"y"]', b"x" * BIG + b"y"),
    "write and blocks": Row(f'write = start("200 OK", {TYPE})\nwrite(b"1")\nwrite(b"2")\nreturn [b"3"]', b"123"),
    "HEAD with a list": Row(GOES + 'return [b"one"]', b"", "HEAD"),
    "HEAD with a generator": Row(GOES + 'yield b"one"', b"", "HEAD"),
    "HEAD with nothing": Row(GOES + "return []", b"", "HEAD"),
    "HEAD and write": Row(f'start("200 OK", {TYPE})(b"one")\nreturn []', b"", "HEAD"),
    "204": Row('start("204 No Content", [])\nreturn []', b"", status=204),
    "304": Row('start("304 Not Modified", [("ETag", "x")])\nreturn []', b"", status=304),
    "a status of its own": Row(f'start("299 It went well", {TYPE})\nreturn [b"x"]', b"x", status=299),
    "an error that became an answer": Row(
        f"{GOES}try: 1 / 0\nexcept ZeroDivisionError: "
        f'start("503 Busy", {TYPE}, sys.exc_info())\nreturn [b"sorry"]',
        b"sorry",
        status=503,
    ),
    "a file": Row(
        f'{GOES}return environ["wsgi.file_wrapper"](open(os.environ["SOME_FILE"], "rb"), 4096)', b"f" * 200_000
    ),
    "errors": Row(
        f'e = environ["wsgi.errors"]\ne.write("")\ne.writelines([""])\ne.flush()\n{GOES}return [b"x"]', b"x"
    ),
    "a body that nobody reads": Row(GOES + 'return [b"x"]', b"x", "POST", b"y" * 200_000),
    "a form without content": Row(
        GOES + 'return [repr(environ["wsgi.input"].read(5)).encode()]', b"b''", "POST"
    ),
    "an upload": Row(
        f'{GOES}f = environ["wsgi.input"]\nreturn iter(lambda: f.read(5000), b"")', b"z" * BIG, "PUT", b"z" * BIG
    ),
    "a chunked upload": Row(
        f'{GOES}f = environ["wsgi.input"]\nreturn iter(lambda: f.read(5000), b"")', b"z" * BIG, "PUT", b"z" * BIG, True
    ),
    "the end of a chunked body is known": Row(
        f'{GOES}return [repr((environ["wsgi.input_terminated"], environ["CONTENT_LENGTH"], '
        '"HTTP_TRANSFER_ENCODING" in environ)).encode()]',
        b"(True, '14', False)",
        "POST",
        SENT,
        True,
    ),
    "hints": Row(f'environ["wsgi.early_hints"]([("Link", "{LINK}")])\n{GOES}return [b"x"]', b"x"),
    **{f"{name}, {how}": Row(reading(calls), body, "POST", SENT, how == "chunked")
       for name, (calls, body) in READS.items() for how in ("whole", "chunked")},
}  # fmt: skip


@pytest.fixture(scope="module")
def some_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("files") / "file"
    path.write_bytes(b"f" * 200_000)
    return path


def sites(some_file: Path) -> str:
    env = f'env = {{ SOME_FILE = "{some_file}" }}'
    return app("inline", env) + app("threads", env + "\nthreads = 2")


@HOSTS
@pytest.mark.parametrize("row", [pytest.param(row, id=name) for name, row in ROWS.items()])
def test_the_validator_has_nothing_to_say(shared_site: StartSite, some_file: Path, host: str, row: Row) -> None:
    site = shared_site(sites(some_file))
    with site.connect() as client:
        check(client.ask(row.request(host), to_head=row.method == "HEAD"), row)
        # And the connection is where the answer says it is.
        assert client.ask(told(GOES + 'return [b"next"]', host)).body == b"next"


def check(answer: Response, row: Row) -> None:
    assert (answer.status, answer.body) == (row.status, row.body)


def test_the_validator_has_nothing_to_say_of_a_live_application_either(
    some_file: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SOME_FILE", str(some_file))

    def ask_all(address: tuple[str, int]) -> None:
        with Client(address) as client:
            for row in ROWS.values():
                check(client.ask(row.request("any"), to_head=row.method == "HEAD"), row)

    async def serve() -> None:
        quiet = {"log": {"access": False}}
        async with pyserve.Server(told_wsgi().application, listen="127.0.0.1:0", config=quiet) as server:
            host, port = server.addresses[0]
            await asyncio.to_thread(ask_all, (str(host), int(port)))

    asyncio.run(serve())
    assert "Traceback" not in capfd.readouterr().err


def told_wsgi() -> ModuleType:
    spec = importlib.util.spec_from_file_location("told_wsgi", APPS / "told_wsgi.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_flags_say_how_it_is_run(shared_site: StartSite) -> None:
    source = (
        f'{GOES}names = ("wsgi.multithread", "wsgi.multiprocess", "wsgi.run_once", "wsgi.version")\n'
        "return [repr([environ[name] for name in names]).encode()]"
    )
    site = shared_site(SITES)
    assert site.ask(told(source, "inline")).body == b"[False, True, False, (1, 0)]"
    assert site.ask(told(source, "threads")).body == b"[True, True, False, (1, 0)]"


# -- close() of what was returned: always, and once


CLOSES = {
    "a whole answer": ('[b"one"]', "GET", ""),
    "blocks": ('[b"one", b"two"]', "GET", ""),
    "nothing": ("[]", "GET", ""),
    "HEAD": ('[b"one", b"two"]', "HEAD", ""),
    "more than announced": ('[b"one"] * 100', "GET", '("Content-Length", "4")'),
    "less than announced": ('[b"one"]', "GET", '("Content-Length", "4")'),
    "an error before the first block": ("(1 // 0 for _ in (1, 2))", "GET", ""),
    "an error after the first block": ('(b"x" * (1 // n) for n in (1, 0))', "GET", ""),
    "a block that is no bytes": ('[b"one", "two"]', "GET", ""),
}


@HOSTS
@pytest.mark.parametrize("case", CLOSES)
def test_what_an_application_returns_is_closed_once(shared_site: StartSite, host: str, case: str) -> None:
    blocks, method, field = CLOSES[case]
    site = shared_site(SITES)
    site.tolerate_error(r"\b[0-9a-f]{10} 500 ", "was cut at the")
    noted = site.folder / f"closed {host} {case}".replace(" ", "-")
    source = f'start("200 OK", [{field}])\nreturn Blocks({blocks}, path={str(noted)!r})'
    with site.connect() as client:
        client.send(told(source, host, method, "Connection: close\r\n", path="/"))
        try:
            client.read_to_end()
        except ConnectionResetError:
            pass  # cut, where the answer broke in the middle
    wait_until(noted.exists, "it is closed")
    with site.connect() as client:  # whatever still ran has ended before this
        assert client.ask(told('start("200 OK", [])\nreturn [b"x"]', host, path="/")).body == b"x"
    assert len(noted.read_text().split()) == 1


@HOSTS
def test_an_error_of_write_closes_nothing_and_ends_the_answer(shared_site: StartSite, host: str) -> None:
    site = shared_site(SITES)
    site.expect_error("write.. takes bytes, not str")
    answer = site.ask(told(f'start("200 OK", {TYPE})("text")\nreturn []', host, path="/"))
    assert answer.status == 500


# -- early hints


HINTS = f'environ["wsgi.early_hints"]([("Link", "{LINK}"), ("X-More", "1")])\n'


@HOSTS
def test_hints_reach_the_client_before_the_application_has_answered(start_site: StartSite, host: str) -> None:
    site = start_site(SITES)
    seen = site.folder / "seen"
    source = f"{HINTS}while not os.path.exists({str(seen)!r}): time.sleep(0.005)\n{GOES}return [b'page']"
    with site.connect() as client:
        client.send(told(source, host))
        hint = client.read_head()
        assert (hint.status, hint.reason, hint.fields) == (103, "Early Hints", [("link", LINK), ("x-more", "1")])
        seen.touch()
        answer = client.read_response()
        assert (answer.status, answer.body, answer.interim) == (200, b"page", [])


@HOSTS
def test_hints_are_for_pages_over_http_1_1(shared_site: StartSite, host: str) -> None:
    site = shared_site(SITES)
    source = f"{HINTS}{GOES}return [b'page']"
    for data in (
        told(source, host, version="1.0"),
        told(source, host, "POST"),
        told(source, host, more="Sec-Fetch-Mode: cors\r\n"),
        told(source, host, more="Content-Length: 2\r\n") + b"ab",
    ):
        with site.connect() as client:
            client.send(data)
            answer = client.read_response()
        assert (answer.body, answer.interim) == (b"page", [])


@HOSTS
def test_bad_hints_are_the_applications_failure(shared_site: StartSite, host: str) -> None:
    site = shared_site(SITES)
    site.expect_error("control character")
    source = f'environ["wsgi.early_hints"]([("Link", "a\\r\\nSet-Cookie: a=b")])\n{GOES}return []'
    answer = site.ask(told(source, host))
    assert (answer.status, answer.interim) == (500, [])


def test_hints_of_config_and_application_go_side_by_side(start_site: StartSite) -> None:
    site = start_site(app("inline", site='early_hints = ["</own.css>; rel=preload"]\nheaders = { X-More = "" }'))
    answer = site.ask(told(f"{HINTS}{GOES}return [b'page']", "inline"))
    assert answer.interim_fields == [[("link", "</own.css>; rel=preload")], [("link", LINK)]]


def test_a_thread_that_hints_too_late_costs_nothing(start_site: StartSite) -> None:
    """It can't know that the answer went out meanwhile; the worker must not be taken for one that breaks the rules."""
    site = start_site(SITES)
    source = f"""
import threading
hint = environ["wsgi.early_hints"]
def late():
    for _ in range(3000): hint([("Link", "{LINK}")])
threading.Thread(target=late).start()
{GOES}return [b"page"]"""
    with site.same_workers("threads"):
        for _ in range(30):
            answer = site.ask(told(source, "threads", path="/"))
            assert answer.body == b"page"
            assert len(answer.interim) <= 16
