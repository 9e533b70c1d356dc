"""Promise: whatever an application answers, a client gets a good answer, a 500 or a cut, and never a byte besides; the
worker lives on; the log has the whole story once.

Each row of the two tables is the source of an application's body and what goes over the wire for it. A second request
is right behind the first, so that a stray byte, a second status line or a wrong length spoils the answer to it.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import pytest

from tests.support.client import Client
from tests.support.site import Site, StartSite
from tests.support.waiting import wait_until


def app(name: str, kind: str, more: str = "", workers: int = 1) -> str:
    return f"""
[app.{name}]
entry = "told_{kind}:application"
root = "APPS"
workers = {workers}
{more}

[site.{name}]
hosts = ["{name}"]
app = "{name}"
"""


SITES = app("inline", "wsgi") + app("threads", "wsgi", "threads = 2") + app("asgi", "asgi", 'type = "asgi"')
WSGI = pytest.mark.parametrize("host", ["inline", "threads"])

FINE = {
    "wsgi": 'start("200 OK", [])\nreturn [b"fine"]',
    "asgi": 'await start()\nawait body(b"fine")',
}
FINE_ANSWER = b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\nconnection: close\r\n\r\nfine"
_SERVER_LINES = re.compile(rb"date: [^\r]+ GMT\r\nserver: pyserve\r\n")
_ERROR_500 = re.compile(
    rb"HTTP/1\.1 500 Internal Server Error\r\ncontent-type: text/html; charset=utf-8\r\ncache-control: no-store\r\n"
    rb"content-length: ([0-9]+)\r\n(?:connection: close\r\n)?\r\n"
)
_TRACEBACK = "Traceback (most recent call last)"
_OUR_LINE = re.compile(r"\d{4}-\d\d-\d\dT[^ ]+ (\w+) ")


@dataclass(frozen=True)
class Sends:
    """It goes out in exactly these bytes, but the Date and Server lines; ``log``: is in the one line about it."""

    wire: bytes
    log: str = ""


@dataclass(frozen=True)
class Fails:
    """500 with an id; the log has the id once, and ``log`` in the story."""

    log: str


@dataclass(frozen=True)
class Cuts:
    """Of the answer at most these bytes come, or a beginning of them, then the connection ends."""

    wire: bytes
    log: str


@dataclass(frozen=True)
class Case:
    source: str
    outcome: Sends | Fails | Cuts
    method: str = "GET"
    path: str = "/"
    more: str = ""
    """Further lines of the request's head."""


def parametrize(cases: dict[str, Case]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("case", [pytest.param(case, id=name) for name, case in cases.items()])


def told(source: str, host: str, method: str = "GET", path: str = "/", more: str = "") -> bytes:
    return f"{method} {path}?{quote(source)} HTTP/1.1\r\nHost: {host}\r\n{more}\r\n".encode()


def exchange(site: Site, data: bytes) -> bytes:
    """Send everything at once, and return what came until the end, without what the server adds to every head."""
    received = b""
    with site.connect() as client:
        client.send(data)
        try:
            while piece := client.socket.recv(1 << 20):
                received += piece
        except ConnectionResetError:
            pass
    return _SERVER_LINES.sub(b"", received)


def story(site: Site, since: int, level: str, text: str) -> str:
    """Return the one line of this level, and what is indented under it."""

    def find() -> list[str]:
        stories: list[str] = []
        for line in list(site.lines[since:]):
            ours = _OUR_LINE.match(line)
            if ours:
                stories.append(line)
            elif stories:
                stories[-1] += "\n" + line
        return stories

    wait_until(lambda: any(text in found for found in find()), f"{text!r} in {site.lines[since:]}")
    found = [line for line in find() if f" {level} " in line.split("[")[0]]
    assert len(found) == 1, found
    # What an application raises can't act on an operator's terminal, nor look like a line of ours.
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]", found[0]), found
    return found[0]


def check(site: Site, host: str, case: Case) -> None:
    kind = "asgi" if host == "asgi" else "wsgi"
    behind = told(FINE[kind], host, more="Connection: close\r\n")
    site.tolerate_error(r"\b[0-9a-f]{10} 500 ")
    since = len(site.lines)
    with site.same_workers(host):
        wire = exchange(site, told(case.source, host, case.method, case.path, case.more) + behind)
        outcome = case.outcome
        if isinstance(outcome, Sends):
            assert wire == outcome.wire + (b"" if b"\r\nconnection: close\r\n" in outcome.wire else FINE_ANSWER)
            if outcome.log:
                assert story(site, since, "warning", outcome.log).count(_TRACEBACK) <= 1
        elif isinstance(outcome, Fails):
            head = _ERROR_500.match(wire)
            assert head, wire
            page = b"" if case.method == "HEAD" else wire[head.end() : head.end() + int(head[1])]
            assert wire == head[0] + page + FINE_ANSWER
            line = story(site, since, "error", outcome.log)
            if page:
                identifier = re.search(rb"<code>([0-9a-f]{10})</code>", page)
                assert identifier
                assert line.count(identifier[1].decode()) == 1
            assert line.count(_TRACEBACK) <= 1
        else:
            assert outcome.wire.startswith(wire), wire
            line = story(site, since, "error", outcome.log)
            assert re.search(r"\b[0-9a-f]{10} 500 ", line)
            assert line.count(_TRACEBACK) <= 1
        # Nothing was left in the worker that another connection would get.
        assert exchange(site, behind) == FINE_ANSWER


# -- what goes out, whatever the application said about it


def sends(*lines: str, body: bytes = b"", log: str = "") -> Sends:
    return Sends("\r\n".join((*lines, "", "")).encode("latin-1") + body, log)


OK = "HTTP/1.1 200 OK"
CHUNKED = "transfer-encoding: chunked"
CUT_AT_4 = "cut at the 4 bytes"


def length(count: int) -> str:
    return f"content-length: {count}"


def wsgi(headers: str, result: str = '[b"x"]', status: str = '"200 OK"') -> str:
    return f"start({status}, {headers})\nreturn {result}"


def asgi(headers: str, pieces: tuple[str, ...] = ('b"x"',), status: str = "200") -> str:
    lines = [f"await start({status}, {headers})", *(f"await body({piece}, True)" for piece in pieces[:-1])]
    return "\n".join([*lines, f"await body({pieces[-1]})"])


# Name and value as Python source without the prefix of the string.
BAD_FIELDS = {
    "crlf in a value": (r'"X"', r'"a\r\nY: b"', "control character"),
    "lf in a value": (r'"X"', r'"a\nY: b"', "control character"),
    "cr in a value": (r'"X"', r'"a\rY: b"', "control character"),
    "lf at the end": (r'"X"', r'"a\n"', "control character"),
    "an answer in a value": (r'"X"', r'"a\r\n\r\nHTTP/1.1 200 OK\r\n\r\n"', "control character"),
    "nul in a value": (r'"X"', r'"a\0b"', "control character"),
    "del in a value": (r'"X"', r'"a\x7fb"', "control character"),
    "esc in a value": (r'"X"', r'"a\x1b[2Jb"', "control character"),
    "crlf in a cookie": (r'"Set-Cookie"', r'"a\r\nY: b"', "control character"),
    "crlf in a name": (r'"X\r\nY"', r'"a"', "not a token"),
    "nul in a name": (r'"X\0"', r'"a"', "not a token"),
    "colon in a name": (r'"X:"', r'"a"', "not a token"),
    "space after a name": (r'"X "', r'"a"', "not a token"),
    "space before a name": (r'" X"', r'"a"', "not a token"),
    "empty name": (r'""', r'"a"', "not a token"),
    "8-bit name": (r'"\xe9"', r'"a"', "not a token"),
    "crlf in a hop-by-hop value": (r'"Connection"', r'"close\r\nY: b"', "control character"),
    "crlf in a date": (r'"Date"', r'"now\r\nY: b"', "control character"),
    "length of words": (r'"Content-Length"', r'"five"', "not a number"),
    "length with a plus": (r'"Content-Length"', r'"+1"', "not a number"),
    "length with a minus": (r'"Content-Length"', r'"-1"', "not a number"),
    "length in hex": (r'"Content-Length"', r'"0x1"', "not a number"),
    "length as a list": (r'"Content-Length"', r'"1, 1"', "not a number"),
    "length with an underscore": (r'"Content-Length"', r'"1_0"', "not a number"),
    "empty length": (r'"Content-Length"', r'""', "not a number"),
    "huge length": (r'"Content-Length"', '"' + "9" * 40 + '"', "not a number"),
    "crlf in a length": (r'"Content-Length"', r'"1\r\nY: b"', "not a number"),
}

WSGI_CASES: dict[str, Case] = {
    **{name: Case(wsgi(f"[({n}, {v})]"), Fails(log)) for name, (n, v, log) in BAD_FIELDS.items()},
    # Text that is not latin-1, and headers of wrong types.
    "euro in a value": Case(wsgi(r'[("X", "\u20ac")]'), Fails("UnicodeEncodeError")),
    "arabic digits as a length": Case(wsgi(r'[("Content-Length", "\u0661")]'), Fails("UnicodeEncodeError")),
    "euro in a name": Case(wsgi(r'[("X\u20ac", "a")]'), Fails("not a token")),
    "bytes": Case(wsgi('[(b"X", b"a")]'), Fails("must be str")),
    "an int": Case(wsgi('[("X", 1)]'), Fails("must be str")),
    "None as a value": Case(wsgi('[("X", None)]'), Fails("must be str")),
    "None": Case(wsgi("None"), Fails("not NoneType")),
    "a dict": Case(wsgi('{"TE": "b"}'), Fails("not dict")),
    "a str": Case(wsgi('"ab"'), Fails("not str")),
    "items of two letters": Case(wsgi('["ab"]'), Fails("not a pair")),
    "an item of three": Case(wsgi('[("a", "b", "c")]'), Fails("values to unpack")),
    "an item of one": Case(wsgi('[("a",)]'), Fails("values to unpack")),
    "an item that is None": Case(wsgi("[None]"), Fails("not a pair")),
    "too many": Case(wsgi('[("X-%d" % n, "v" * 1000) for n in range(400)]'), Fails("bytes of headers")),
    # What may be wrong without harm.
    "spaces around a value": Case(wsgi(r'[("X", " \t a b\t ")]'), sends(OK, "x: a b", length(1), body=b"x")),
    "8-bit value": Case(wsgi(r'[("X", "\xe9\x85\xa0")]'), sends(OK, "x: \xe9\x85\xa0", length(1), body=b"x")),
    "hop-by-hop fields": Case(
        wsgi(
            '[("Keep-Alive", "5"), ("Transfer-Encoding", "chunked"), ("Upgrade", "h2c"), ("TE", "trailers"), '
            '("Trailer", "X"), ("Connection", "X-Own, keep-alive"), ("Proxy-Connection", "x"), ("X-Own", "kept")]'
        ),
        sends(OK, "x-own: kept", length(1), body=b"x"),
    ),
    "Connection: close": Case(wsgi('[("Connection", "close")]'), sends(OK, length(1), "connection: close", body=b"x")),
    # Lengths.
    "two different lengths": Case(
        wsgi('[("Content-Length", "1"), ("Content-Length", "2")]'), Fails("two different content-length")
    ),
    "two equal lengths": Case(
        wsgi('[("Content-Length", "1"), ("content-length", "1")]'), sends(OK, length(1), body=b"x")
    ),
    "too long": Case(
        wsgi('[("Content-Length", "4")]', '[b"123456"]'), sends(OK, length(4), body=b"1234", log=CUT_AT_4)
    ),
    "too long in blocks": Case(
        wsgi('[("Content-Length", "4")]', '[b"12", b"34", b"56", b"78"]'),
        sends(OK, length(4), body=b"1234", log=CUT_AT_4),
    ),
    "too long and endless": Case(
        wsgi('[("Content-Length", "4")]', 'iter(lambda: b"123", b"")'),
        sends(OK, length(4), body=b"1231", log=CUT_AT_4),
    ),
    "too long by write()": Case(
        'write = start("200 OK", [("Content-Length", "4")])\nfor n in range(9): write(b"123")\nreturn []',
        sends(OK, length(4), body=b"1231", log=CUT_AT_4),
    ),
    "no byte announced": Case(
        wsgi('[("Content-Length", "0")]', '[b"123456"]'), sends(OK, length(0), log="cut at the 0 bytes")
    ),
    "a megabyte too long": Case(
        wsgi('[("Content-Length", "100000")]', '[b"x" * 1100000]'),
        sends(OK, length(100_000), body=b"x" * 100_000, log="cut at the 100000 bytes"),
    ),
    "too short": Case(
        wsgi('[("Content-Length", "9")]', '[b"123"]'),
        Cuts(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n123", "ends after 3 of the 9 bytes"),
    ),
    "too short in blocks": Case(
        wsgi('[("Content-Length", "9")]', '[b"12", b"3"]'),
        Cuts(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n123", "ends after 3 of the 9 bytes"),
    ),
    "nothing at all": Case(wsgi('[("Content-Length", "9")]', "[]"), Fails("ends after 0 of the 9 bytes")),
    # Statuses.
    **{
        f"status {status}": Case(wsgi("[]", status=status), Fails("final status code"))
        for status in (
            *('"200"', '"099 Low"', '"20x OK"', r'"200 OK\r\nX: y"', r'"200 OK\n"', r'"200 \0"', r'"200 \x7f"'),
            *(r'"200 \u20ac"', '"100 Continue"', '"101 Switching Protocols"', '"103 Early Hints"', '"199 Low"'),
            *('"600 High"', '"1000 Higher"', '""', '" 200 OK"', r'"\u0662\u0660\u0660 OK"', '"200OK"', '"-20 OK"'),
        )
    },
    **{
        f"status {status}": Case(wsgi("[]", status=status), Fails("status must be a str"))
        for status in ("200", "True", "None", 'b"200 OK"', "200.0")
    },
    "status [200]": Case(wsgi("[]", status="[200]"), Fails("TypeError")),
    "no arguments": Case("start()\nreturn []", Fails("TypeError")),
    "a reason of one's own": Case(wsgi("[]", status=r'"200 Fine \xe9"'), sends(OK, length(1), body=b"x")),
    "an unknown status": Case(wsgi("[]", status='"599 Odd"'), sends("HTTP/1.1 599 Status", length(1), body=b"x")),
    # Bodies where none may be.
    "204 with a body": Case(wsgi("[]", '[b"12345"]', '"204 No Content"'), sends("HTTP/1.1 204 No Content")),
    "204 with a length": Case(
        wsgi('[("Content-Length", "5")]', '[b"12345"]', '"204 No Content"'), sends("HTTP/1.1 204 No Content")
    ),
    "304 with a body": Case(
        wsgi("[]", 'iter([b"123", b"45"])', '"304 Not Modified"'), sends("HTTP/1.1 304 Not Modified")
    ),
    "304 with a length": Case(
        wsgi('[("Content-Length", "5")]', "[]", '"304 Not Modified"'), sends("HTTP/1.1 304 Not Modified")
    ),
    "205 with a body": Case(
        wsgi("[]", '[b"12345"]', '"205 Reset Content"'),
        sends("HTTP/1.1 205 Reset Content", length(0), log="cut at the 0 bytes"),
    ),
    "205 with a length": Case(
        wsgi('[("Content-Length", "5")]', "[]", '"205 Reset Content"'), sends("HTTP/1.1 205 Reset Content", length(0))
    ),
    "HEAD with a body": Case(wsgi("[]", '[b"12345"]'), sends(OK, length(5)), "HEAD"),
    "HEAD with blocks": Case(wsgi("[]", 'iter([b"123", b"45"])'), sends(OK, CHUNKED), "HEAD"),
    "HEAD without end": Case(wsgi("[]", 'iter(lambda: b"123", b"")'), sends(OK, CHUNKED), "HEAD"),
    "HEAD with write()": Case('start("200 OK", [])(b"123")\nreturn [b"45"]', sends(OK, CHUNKED), "HEAD"),
    "HEAD longer than it says": Case(wsgi('[("Content-Length", "4")]', '[b"123456"]'), sends(OK, length(4)), "HEAD"),
    "HEAD shorter than it says": Case(wsgi('[("Content-Length", "9")]', '[b"123"]'), sends(OK, length(9)), "HEAD"),
    "HEAD of a failure": Case('raise ValueError("on purpose")', Fails("ValueError: on purpose"), "HEAD"),
    # Results and blocks of wrong types.
    **{
        f"returns {result}": Case(wsgi("[]", result), Fails("TypeError"))
        for result in (
            *("None", '"text"', "7", "True", 'b"bytes"', "object()", '["text"]', "[None]", "[7]", '[bytearray(b"x")]'),
            *('[memoryview(b"x")]', '[[b"x"]]', "asyncio.sleep(0)"),
        )
    },
    "returns without start": Case('return [b"x"]', Fails("did not call start_response")),
    "returns nothing without start": Case("return []", Fails("did not call start_response")),
    "a str after bytes": Case(
        wsgi("[]", '[b"one", "two"]'),
        Cuts(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\none\r\n", "gave str, not bytes"),
    ),
    **{
        f"write({data})": Case(f'start("200 OK", [])({data})\nreturn []', Fails("write() takes bytes"))
        for data in ('"text"', "None", "7", 'bytearray(b"x")')
    },
    # start_response again.
    "starts twice": Case('start("200 OK", [])\nstart("201 Created", [])\nreturn [b"x"]', Fails("was already called")),
    "starts twice in the middle": Case(
        'start("200 OK", [])\nyield b"one"\nstart("500 Oops", [])\nyield b"two"',
        Cuts(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\none\r\n", "was already called"),
    ),
    "starts again with exc_info": Case(
        'start("200 OK", [("X", "1")])\ntry: 1 / 0\nexcept Exception: start("503 Oops", [("X", "2")], sys.exc_info())\n'
        'return [b"sorry"]',
        sends("HTTP/1.1 503 Service Unavailable", "x: 2", length(5), body=b"sorry"),
    ),
    "starts again with exc_info too late": Case(
        'start("200 OK", [])\nyield b"one"\ntry: 1 / 0\n'
        'except Exception: start("500 Oops", [], sys.exc_info())\nyield b"two"',
        Cuts(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\none\r\n", "ZeroDivisionError"),
    ),
    "starts again with exc_info after write()": Case(
        'start("200 OK", [])(b"one")\ntry: 1 / 0\nexcept Exception: start("500 Oops", [], sys.exc_info())\nreturn []',
        Cuts(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\none\r\n", "ZeroDivisionError"),
    ),
    "starts again badly": Case(
        'start("200 OK", [])\nstart("500 Oops", [("", "")], (OSError, OSError(), None))\nreturn []',
        Fails("not a token"),
    ),
    "starts well after it started badly": Case(
        'try: start("200 OK", [("", "")])\nexcept ValueError: start("200 OK", [])\nreturn [b"x"]',
        sends(OK, length(1), body=b"x"),
    ),
    # Exceptions.
    **{
        f"raises {error} {where}": Case(
            source.format(error),
            Fails(error.split("(")[0])
            if not wire
            else Cuts(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n" + wire, error.split("(")[0]),
        )
        for error in (
            *("ValueError()", "SystemExit(3)", "KeyboardInterrupt()", "GeneratorExit()", "RecursionError()"),
            *("MemoryError()", "asyncio.CancelledError()", "BaseException()", "OSError()", "StopIteration()"),
        )
        for where, source, wire in (
            ("before start", "raise {}", b""),
            ("after start", 'start("200 OK", [])\nraise {}', b""),
            ("in the first block", 'start("200 OK", [])\nif 1: raise {}\nyield b""', b""),
            ("after a block", 'start("200 OK", [])\nyield b"one"\nraise {}', b"3\r\none\r\n"),
            ("after write()", 'start("200 OK", [])(b"one")\nraise {}', b"3\r\none\r\n"),
        )
        # A generator turns StopIteration into RuntimeError.
        if not (error.startswith("StopIteration") and "yield" in source)
    },
    "calls sys.exit": Case("sys.exit(1)", Fails("SystemExit: 1")),
    "really recurses": Case("def f(): return f()\nf()", Fails("RecursionError")),
    "really runs out of memory": Case('return [b"x" * (1 << 62)]', Fails("MemoryError")),
    "raises in close()": Case(
        wsgi("[]", 'Blocks([b"one"], error=SystemExit("in close"))'),
        sends(OK, CHUNKED, body=b"3\r\none\r\n0\r\n\r\n", log="after the answer was complete"),
    ),
    "raises what can't be told": Case(
        "class E(Exception):\n    __traceback__ = property(lambda self: 1 / 0)\nraise E",
        Fails("ZeroDivisionError while"),
    ),
    "an error of many lines": Case(
        r'raise ValueError("one\r\n2026-01-01T00:00:00.000Z error [x] \x1b[2J\0\udc80")', Fails("ValueError: one")
    ),
}


@WSGI
@parametrize(WSGI_CASES)
def test_a_wsgi_answer_is_right_or_none(shared_site: StartSite, host: str, case: Case) -> None:
    check(shared_site(SITES), host, case)


CHUNKED_ONE = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\none\r\n"

ASGI_CASES: dict[str, Case] = {
    **{name: Case(asgi(f"[(b{n}, b{v})]"), Fails(log)) for name, (n, v, log) in BAD_FIELDS.items()},
    "str": Case(asgi('[("X", "a")]'), Fails("must be bytes")),
    "an int": Case(asgi('[(b"X", 1)]'), Fails("must be bytes")),
    "a bytearray": Case(asgi('[(b"X", bytearray(b"a"))]'), Fails("TypeError")),
    "None as a value": Case(asgi('[(b"X", None)]'), Fails("must be bytes")),
    "None": Case(asgi("None"), Fails("not NoneType")),
    "a dict": Case(asgi('{b"ab": b"c"}'), Fails("not dict")),
    "bytes": Case(asgi('b"ab"'), Fails("not bytes")),
    "items of two letters": Case(asgi('[b"ab"]'), Fails("not a pair")),
    "an item of three": Case(asgi('[(b"a", b"b", b"c")]'), Fails("values to unpack")),
    "an item that is None": Case(asgi("[None]"), Fails("not a pair")),
    "too many": Case(asgi('[(b"X-%d" % n, b"v" * 1000) for n in range(400)]'), Fails("bytes of headers")),
    "lists": Case(asgi('[[b"X", b"a"]]'), sends(OK, "x: a", length(1), body=b"x")),
    "spaces around a value": Case(asgi(r'[(b"X", b" \t a b\t ")]'), sends(OK, "x: a b", length(1), body=b"x")),
    "hop-by-hop fields": Case(
        asgi(
            '[(b"Keep-Alive", b"5"), (b"Transfer-Encoding", b"chunked"), (b"Upgrade", b"h2c"), (b"TE", b"trailers"), '
            '(b"Trailer", b"X"), (b"Connection", b"X-Own, keep-alive"), (b"X-Own", b"kept")]'
        ),
        sends(OK, "x-own: kept", length(1), body=b"x"),
    ),
    "Connection: close": Case(
        asgi('[(b"Connection", b"close")]'), sends(OK, length(1), "connection: close", body=b"x")
    ),
    # Lengths.
    "two different lengths": Case(
        asgi('[(b"Content-Length", b"1"), (b"Content-Length", b"2")]'), Fails("two different content-length")
    ),
    "two equal lengths": Case(
        asgi('[(b"Content-Length", b"1"), (b"content-length", b"1")]'), sends(OK, length(1), body=b"x")
    ),
    "too long": Case(
        asgi('[(b"content-length", b"4")]', ('b"123456"',)), sends(OK, length(4), body=b"1234", log=CUT_AT_4)
    ),
    "too long in pieces": Case(
        asgi('[(b"content-length", b"4")]', ('b"12"', 'b"34"', 'b"56"', 'b"78"')),
        sends(OK, length(4), body=b"1234", log=CUT_AT_4),
    ),
    "too long at the end": Case(
        asgi('[(b"content-length", b"4")]', ('b"12"', 'b"3456"')), sends(OK, length(4), body=b"1234", log=CUT_AT_4)
    ),
    "no byte announced": Case(
        asgi('[(b"content-length", b"0")]', ('b"12"', 'b"3456"')), sends(OK, length(0), log="cut at the 0 bytes")
    ),
    "a megabyte too long": Case(
        asgi('[(b"content-length", b"100000")]', ('b"x" * 1100000',)),
        sends(OK, length(100_000), body=b"x" * 100_000, log="cut at the 100000 bytes"),
    ),
    "too short": Case(
        asgi('[(b"content-length", b"9")]', ('b"123"',)),
        Cuts(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n123", "ends after 3 of the 9 bytes"),
    ),
    "too short in pieces": Case(
        asgi('[(b"content-length", b"9")]', ('b"12"', 'b"3"')),
        Cuts(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n123", "ends after 3 of the 9 bytes"),
    ),
    "nothing at all": Case(asgi('[(b"content-length", b"9")]', ('b""',)), Fails("ends after 0 of the 9 bytes")),
    # Statuses.
    **{
        f"status {status}": Case(asgi("[]", status=status), Fails("final status code"))
        for status in ("0", "-200", "20", "99", "100", "101", "103", "199", "600", "1000", "10**40", "True", "False")
    },
    **{
        f"status {status}": Case(asgi("[]", status=status), Fails("status must be an int"))
        for status in ("None", '"200"', 'b"200"', "200.0", '"200 OK"', "[200]")
    },
    "no status": Case('await send({"type": "http.response.start"})\nawait body()', Fails("KeyError")),
    "no headers": Case(
        'await send({"type": "http.response.start", "status": 200})\nawait body()', sends(OK, length(0))
    ),
    "a status of the standard library": Case(
        "import http\n" + asgi("[]", status="http.HTTPStatus.ACCEPTED"),
        sends("HTTP/1.1 202 Accepted", length(1), body=b"x"),
    ),
    # Bodies where none may be.
    "204 with a body": Case(asgi("[]", ('b"12345"',), "204"), sends("HTTP/1.1 204 No Content")),
    "204 with pieces": Case(asgi("[]", ('b"12"', 'b"345"'), "204"), sends("HTTP/1.1 204 No Content")),
    "204 with a length": Case(
        asgi('[(b"content-length", b"5")]', ('b"12345"',), "204"), sends("HTTP/1.1 204 No Content")
    ),
    "304 with pieces": Case(asgi("[]", ('b"12"', 'b"345"'), "304"), sends("HTTP/1.1 304 Not Modified")),
    "205 with a body": Case(
        asgi("[]", ('b"12"', 'b"345"'), "205"),
        sends("HTTP/1.1 205 Reset Content", length(0), log="cut at the 0 bytes"),
    ),
    "HEAD with a body": Case(asgi("[]", ('b"12345"',)), sends(OK, length(5)), "HEAD"),
    "HEAD with pieces": Case(asgi("[]", ('b"12"', 'b"345"')), sends(OK, CHUNKED), "HEAD"),
    "HEAD longer than it says": Case(asgi('[(b"content-length", b"4")]', ('b"123456"',)), sends(OK, length(4)), "HEAD"),
    "HEAD shorter than it says": Case(
        asgi('[(b"content-length", b"9")]', ('b"1"', 'b"2"')), sends(OK, length(9)), "HEAD"
    ),
    "HEAD of a failure": Case('raise ValueError("on purpose")', Fails("ValueError: on purpose"), "HEAD"),
    # Bodies of wrong types.
    **{
        f"body {data}": Case(asgi("[]", (data,)), Fails("body must be bytes"))
        for data in ('"text"', "None", "7", "[b'x']", "{}")
    },
    "a bytearray and a memoryview": Case(
        asgi("[]", ('bytearray(b"one")', 'memoryview(b"xtwox")[1:4]')),
        sends(OK, CHUNKED, body=b"3\r\none\r\n3\r\ntwo\r\n0\r\n\r\n"),
    ),
    "a str after bytes": Case(asgi("[]", ('b"one"', '"two"')), Cuts(CHUNKED_ONE, "body must be bytes")),
    # Messages out of order.
    "body before start": Case('await body(b"x")', Fails("before http.response.start")),
    "starts twice": Case("await start()\nawait start(500)\nawait body()", Fails("already sent")),
    "starts twice in the middle": Case(
        'await start()\nawait body(b"one", True)\nawait start(500)', Cuts(CHUNKED_ONE, "already sent")
    ),
    "starts well after it started badly": Case(
        'try: await start(200, [(b"", b"")])\nexcept ValueError: await start()\nawait body(b"x")',
        sends(OK, length(1), body=b"x"),
    ),
    "an unknown message": Case('await send({"type": "http.response.odd"})', Fails("unexpected ASGI message")),
    "an unknown message in the middle": Case(
        'await start()\nawait body(b"one", True)\nawait send({"type": "http.response.odd"})',
        Cuts(CHUNKED_ONE, "unexpected ASGI message"),
    ),
    "trailers before the end of the body": Case(
        'await send({"type": "http.response.start", "status": 200, "trailers": True})\nawait body(b"one", True)\n'
        'await send({"type": "http.response.trailers", "headers": [(b"x", b"y")]})',
        Cuts(CHUNKED_ONE, "before the end of the body"),
    ),
    "trailers that never come": Case(
        'await send({"type": "http.response.start", "status": 200, "trailers": True})\nawait body(b"one")',
        Cuts(CHUNKED_ONE, "without completing its answer"),
    ),
    "trailers that were not announced": Case(
        'await start()\nawait body(b"one", True)\n'
        'await send({"type": "http.response.trailers", "headers": [(b"x", b"y")]})',
        Cuts(CHUNKED_ONE, "did not announce"),
    ),
    "trailers that split the answer": Case(
        'await send({"type": "http.response.start", "status": 200, "trailers": True})\nawait body(b"one")\n'
        'await send({"type": "http.response.trailers", "headers": [(b"x", b"y\\r\\n\\r\\nHTTP/1.1 200 OK")]})',
        Cuts(CHUNKED_ONE, "control character"),
        more="TE: trailers\r\n",
    ),
    "a message of WebSocket": Case('await send({"type": "websocket.accept"})', Fails("unexpected ASGI message")),
    "a message without type": Case("await send({})", Fails("KeyError")),
    "None as a message": Case("await send(None)", Fails("TypeError")),
    "more after the end": Case(
        'await start()\nawait body(b"x")\nawait body(b"y")',
        sends(OK, length(1), body=b"x", log="after the answer was complete"),
    ),
    "starts after the end": Case(
        'await start()\nawait body(b"x")\nawait start(500)',
        sends(OK, length(1), body=b"x", log="after the answer was complete"),
    ),
    "returns at once": Case("return", Fails("without completing its answer")),
    "returns a str": Case('return "text"', Fails("without completing its answer")),
    "returns after start": Case("await start()", Fails("without completing its answer")),
    "returns in the middle": Case(
        'await start()\nawait body(b"one", True)', Cuts(CHUNKED_ONE, "without completing its answer")
    ),
    **{
        f"a plain function that returns {result}": Case(f"return {result}", Fails("TypeError"), path="/plain")
        for result in ("None", '"text"', "7", '[b"x"]')
    },
    "never awaits": Case("start()", Fails("without completing its answer")),
    # Exceptions.
    **{
        f"raises {error} {where}": Case(
            source.format(error),
            Cuts(CHUNKED_ONE, error.split("(")[0]) if "True" in source else Fails(error.split("(")[0]),
        )
        for error in (
            *("ValueError()", "SystemExit(3)", "KeyboardInterrupt()", "GeneratorExit()", "RecursionError()"),
            *("MemoryError()", "asyncio.CancelledError()", "BaseException()", "OSError()"),
        )
        for where, source in (
            ("before start", "raise {}"),
            ("after a wait", "await asyncio.sleep(0)\nraise {}"),
            ("after start", "await start()\nraise {}"),
            ("in the middle", 'await start()\nawait body(b"one", True)\nraise {}'),
        )
    },
    "calls sys.exit": Case("sys.exit(1)", Fails("SystemExit: 1")),
    "calls sys.exit in a task": Case(
        "async def end(): sys.exit(1)\nawait asyncio.create_task(end())", Fails("SystemExit: 1")
    ),
    "calls sys.exit in a thread": Case(
        "await asyncio.get_running_loop().run_in_executor(None, sys.exit, 1)", Fails("SystemExit: 1")
    ),
    "stops the loop": Case(
        'asyncio.get_running_loop().stop()\nawait asyncio.sleep(0.01)\nawait start()\nawait body(b"x")',
        sends(OK, length(1), body=b"x"),
    ),
    "cancels itself": Case("asyncio.current_task().cancel()\nawait asyncio.sleep(1)", Fails("CancelledError")),
    "really recurses": Case("async def f(): return await f()\nawait f()", Fails("RecursionError")),
    "raises what can't be told": Case(
        "class E(Exception):\n    __traceback__ = property(lambda self: 1 / 0)\nraise E",
        Fails("ZeroDivisionError while"),
    ),
}


@parametrize(ASGI_CASES)
def test_an_asgi_answer_is_right_or_none(shared_site: StartSite, case: Case) -> None:
    check(shared_site(SITES), "asgi", case)


# -- beside the tables


@pytest.mark.parametrize("version", ["1.0", "1.1"])
@pytest.mark.parametrize("host", ["inline", "threads", "asgi"])
def test_a_failure_with_an_unread_body_keeps_the_connection_in_step(
    shared_site: StartSite, host: str, version: str
) -> None:
    site = shared_site(SITES)
    site.tolerate_error(r"\b[0-9a-f]{10} 500 ")
    data = told('raise ValueError("on purpose")', host, "POST", more="Content-Length: 5\r\n") + b"GET /"
    data = data.replace(b"HTTP/1.1", b"HTTP/" + version.encode())
    wire = exchange(site, data + told(FINE["asgi" if host == "asgi" else "wsgi"], host, more="Connection: close\r\n"))
    head = _ERROR_500.match(wire)
    assert head
    rest = wire[head.end() + int(head[1]) :]
    assert rest == (FINE_ANSWER if version == "1.1" else b"")


@pytest.mark.parametrize("host", ["inline", "threads", "asgi"])
def test_an_answer_of_unknown_length_to_http_1_0_ends_with_the_connection_or_a_reset(
    shared_site: StartSite, host: str
) -> None:
    """HTTP/1.0 has no other way to tell a whole answer from a part: a failure must not end with an orderly close."""
    site = shared_site(SITES)
    site.tolerate_error(r"\b[0-9a-f]{10} 500 ")
    source = {
        "wsgi": 'start("200 OK", [])\nyield b"one"\n{}',
        "asgi": 'await start()\nawait body(b"one", True)\n{}',
    }["asgi" if host == "asgi" else "wsgi"]
    whole = told(source.format("yield b'two'" if host != "asgi" else "await body(b'two')"), host)
    assert exchange(site, whole.replace(b"HTTP/1.1", b"HTTP/1.0")) == (
        b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\nonetwo"
    )
    with site.connect() as client:
        client.send(told(source.format("raise ValueError"), host).replace(b"HTTP/1.1", b"HTTP/1.0"))
        with pytest.raises(ConnectionResetError):
            client.read_to_end()


@WSGI
@pytest.mark.parametrize(
    ("method", "source", "body"),
    [
        ("GET", 'start("200 OK", [("Content-Type", "text/plain")])\nreturn [b"one"]', b"one"),
        ("GET", 'start("200 OK", [("Content-Type", "text/plain")])(b"one")\nreturn [b"two"]', b"onetwo"),
        ("POST", 'start("200 OK", [("Content-Type", "a/b")])\nreturn [environ["wsgi.input"].read(9)]', b"body\nline"),
        ("POST", 'start("200 OK", [("Content-Type", "a/b")])\nreturn list(environ["wsgi.input"])', b"body\nline"),
        ("POST", 'start("200 OK", [("Content-Type", "a/b")])\nreturn environ["wsgi.input"].readlines()', b"body\nline"),
        ("POST", 'start("204 No Content", [])\nreturn []', b""),
        ("HEAD", 'start("200 OK", [("Content-Type", "text/plain")])\nreturn []', b""),
        (
            "GET",
            'start("200 OK", [("Content-Type", "text/plain")])\ntry: 1 / 0\n'
            'except ZeroDivisionError: start("503 Busy", [("Content-Type", "text/plain")], sys.exc_info())\n'
            'environ["wsgi.errors"].flush()\nreturn [b"sorry"]',
            b"sorry",
        ),
    ],
)
def test_the_validator_of_the_standard_library_has_nothing_to_say(
    shared_site: StartSite, host: str, method: str, source: str, body: bytes
) -> None:
    site = shared_site(SITES)
    sent = b"body\nline" if method == "POST" else b""
    more = f"Content-Length: {len(sent)}\r\nContent-Type: text/plain\r\n" if sent else ""
    answer = site.ask(told(source, host, method, "/valid", more) + sent, to_head=method == "HEAD")
    assert answer.status in (200, 204, 503), answer
    assert answer.body == body


ENDS = {
    "exit": "os._exit(1)",
    "segfault": "import resource\nresource.setrlimit(resource.RLIMIT_CORE, (0, 0))\nctypes.string_at(0)",
}


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("host", ["inline", "threads", "asgi"])
def test_the_end_of_a_worker_ends_what_it_ran_and_nothing_else(
    start_site: StartSite, host: str, end: str, when: str
) -> None:
    kind = "asgi" if host == "asgi" else "wsgi"
    site = start_site(
        app("inline", "wsgi", workers=2)
        + app("threads", "wsgi", "threads = 2", workers=2)
        + app("asgi", "asgi", 'type = "asgi"', workers=2)
    )
    site.expect_error(r"\b[0-9a-f]{10} 502 .*: worker \d+ .* while running this request")
    site.tolerate_error("Fatal Python error", r"worker \d+")
    before = site.worker_pids(host)
    begin = ""
    if when == "after":
        begin = 'start("200 OK", [])(b"one")\n' if kind == "wsgi" else 'await start()\nawait body(b"one", True)\n'
        if kind == "asgi":
            begin += "await asyncio.sleep(0.05)\n"  # what was sent goes out with the end of the loop's turn
    # POST: it is never run again in another worker.
    data = told(begin + ENDS[end], host, "POST")
    with site.connect() as client:
        client.send(data)
        others = [exchange(site, told(FINE[kind], host, more="Connection: close\r\n")) for _ in range(20)]
        if when == "before":
            answer = client.read_response()
            assert answer.status == 502
            assert re.search(rb"<code>[0-9a-f]{10}</code>", answer.body)
            # The client's connection is the front's, and goes on.
            client.send(told(FINE[kind], host, more="Connection: close\r\n"))
            assert _SERVER_LINES.sub(b"", client.read_to_end()) == FINE_ANSWER
        else:
            received = read_what_comes(client)
            assert CHUNKED_ONE.startswith(_SERVER_LINES.sub(b"", received))
            assert not received.endswith(b"0\r\n\r\n")
    assert others == [FINE_ANSWER] * 20
    wait_until(lambda: len(site.worker_pids(host)) == 2 and set(site.worker_pids(host)) != set(before), "a new worker")
    after = site.worker_pids(host)
    assert len(set(before) & set(after)) == 1, (before, after)


def read_what_comes(client: Client) -> bytes:
    received = b""
    try:
        while piece := client.socket.recv(65536):
            received += piece
    except ConnectionResetError:
        pass
    return received


# -- the client leaves (R17): the application hears it, its place is free, and nobody else hears of it

ROUNDS = 20
FREE_WITHIN_S = 3.0
"""A second, and what a busy machine adds to it."""


def is_free(site: Site, host: str) -> bool:
    return all(worker["running"] == 0 for worker in site.workers(host)) and site.status()["apps"][host]["queue"] == 0


def noted(path: Path) -> int:
    return len(path.read_text().split()) if path.exists() else 0


@pytest.fixture
def quiet_site(start_site: StartSite) -> Site:
    """Nothing may be in its error log, and no file left behind."""
    return start_site(
        app("inline", "wsgi")
        + app("threads", "wsgi", "threads = 2")
        + app("asgi", "asgi", 'type = "asgi"\nconcurrency = 1')
    )


def leaves(site: Site, host: str, source: str, when: Path, *, more: str = "", body: bytes = b"", how: str) -> None:
    """Send a request, leave when the application has noted that it runs, and wait until its place is free."""
    for round_number in range(ROUNDS):
        client = site.connect()
        client.send(told(source, host, "POST" if more else "GET", more=more) + body)
        wait_until(lambda r=round_number: noted(when) > r, "the application runs")  # type: ignore[misc]
        if how == "reset":
            client.reset()
        else:
            client.close()
        wait_until(lambda: is_free(site, host), "the place is free", FREE_WITHIN_S)
    assert (
        exchange(site, told(FINE["asgi" if host == "asgi" else "wsgi"], host, more="Connection: close\r\n"))
        == FINE_ANSWER
    )


@WSGI
def test_a_wsgi_application_that_reads_hears_that_the_client_left(quiet_site: Site, host: str) -> None:
    began, heard = quiet_site.folder / "began", quiet_site.folder / "heard"
    source = f"""note({str(began)!r})
try:
    while environ["wsgi.input"].read(1): time.sleep(0.002)
except OSError:
    note({str(heard)!r})
    raise"""
    with quiet_site.same_descriptors():
        size = 3_000_000  # more than the front keeps in memory
        leaves(quiet_site, host, source, began, more=f"Content-Length: {size}\r\n", body=b"x" * size, how="reset")
    assert noted(began) == noted(heard) == ROUNDS


@WSGI
def test_an_upload_that_is_broken_off_starts_no_wsgi_application(quiet_site: Site, host: str) -> None:
    began = quiet_site.folder / "began"
    data = told(f"note({str(began)!r})", host, "POST", more="Content-Length: 9000000\r\n") + b"x" * 3_000_000
    with quiet_site.same_descriptors():
        for round_number in range(ROUNDS):
            client = quiet_site.connect()
            client.send(data)
            if round_number % 2:
                client.reset()
            else:
                client.close()
        wait_until(lambda: is_free(quiet_site, host), "nothing runs", FREE_WITHIN_S)
    assert exchange(quiet_site, told(FINE["wsgi"], host, more="Connection: close\r\n")) == FINE_ANSWER
    assert not began.exists()


@WSGI
@pytest.mark.parametrize("how", ["reset", "close"])
def test_a_wsgi_answer_that_nobody_takes_is_ended_and_closed(quiet_site: Site, host: str, how: str) -> None:
    began, closed = quiet_site.folder / "began", quiet_site.folder / "closed"
    source = f"""start("200 OK", [])
note({str(began)!r})
return Blocks(iter(lambda: b"x" * 50000, b""), path={str(closed)!r})"""
    with quiet_site.same_descriptors():
        leaves(quiet_site, host, source, began, how=how)
    assert noted(began) == noted(closed) == ROUNDS


@pytest.mark.parametrize("host", ["inline", "threads", "asgi"])
def test_a_request_whose_client_left_while_it_waited_never_starts(quiet_site: Site, host: str) -> None:
    began, never, end = (quiet_site.folder / name for name in ("began", "never", "end"))
    places = 2 if host == "threads" else 1
    if host == "asgi":
        busy = (
            f"note({str(began)!r})\nwhile not os.path.exists({str(end)!r}): await asyncio.sleep(0.01)\n{FINE['asgi']}"
        )
    else:
        busy = f"note({str(began)!r})\nwhile not os.path.exists({str(end)!r}): time.sleep(0.01)\n{FINE['wsgi']}"
    holders = [quiet_site.connect() for _ in range(places)]
    for holder in holders:
        holder.send(told(busy, host, more="Connection: close\r\n"))
    wait_until(lambda: noted(began) == places, "all places are taken")
    for _ in range(ROUNDS):
        client = quiet_site.connect()
        client.send(told(f"note({str(never)!r})", host))
        wait_until(lambda: quiet_site.status()["apps"][host]["queue"] == 1, "it waits")
        client.reset()  # after an orderly end it might still wait for its answer
        wait_until(lambda: quiet_site.status()["apps"][host]["queue"] == 0, "it is forgotten", FREE_WITHIN_S)
    end.touch()
    for holder in holders:
        assert _SERVER_LINES.sub(b"", holder.read_to_end()) == FINE_ANSWER
        holder.close()
    assert not never.exists()


ASGI_LEFT: dict[str, tuple[Callable[[str, str], str], str, bytes]] = {
    "while it uploads": (
        lambda began, heard: (
            f"""note({began!r})
while (await receive())["type"] == "http.request": pass
note({heard!r})"""
        ),
        "Content-Length: 9000000\r\n",
        b"x" * 2_000_000,
    ),
    "while it waits for the answer": (
        lambda began, heard: (
            f"""await receive()
note({began!r})
assert (await receive())["type"] == "http.disconnect"
note({heard!r})"""
        ),
        "",
        b"",
    ),
    "while it downloads, and the application listens": (
        lambda began, heard: (
            f"""await start()
await body(b"one", True)
await receive()
note({began!r})
assert (await receive())["type"] == "http.disconnect"
note({heard!r})"""
        ),
        "",
        b"",
    ),
    "while it downloads, and the application sends": (
        lambda began, heard: (
            f"""await start()
note({began!r})
try:
    while True: await body(b"x" * 50000, True)
except OSError:
    note({heard!r})
    raise"""
        ),
        "",
        b"",
    ),
    "while it downloads, and the application ends in silence": (
        lambda began, heard: (
            f"""await start()
note({began!r})
await body(b"x" * 20000000)
note({heard!r})"""
        ),
        "",
        b"",
    ),
}


@pytest.mark.parametrize("how", ["reset", "close"])
@pytest.mark.parametrize("left", ASGI_LEFT)
def test_an_asgi_application_hears_that_the_client_left(quiet_site: Site, left: str, how: str) -> None:
    source, more, body = ASGI_LEFT[left]
    if how == "close" and "waits" in left:
        how = "reset"  # an orderly end of the client's bytes alone says nothing: it may wait for its answer
    began, heard = quiet_site.folder / "began", quiet_site.folder / "heard"
    with quiet_site.same_descriptors():
        leaves(quiet_site, "asgi", source(str(began), str(heard)), began, more=more, body=body, how=how)
    assert noted(began) == noted(heard) == ROUNDS
