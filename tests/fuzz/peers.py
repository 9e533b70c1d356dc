"""Two other readers of HTTP/1, each whole: h11 as a server and llhttp (httptools) without leniencies. Our oracles.

Pure. Whatever we take for a request, they have to take for the same one: method, target, version, fields, body and end.
Where they don't, the difference is in ``EXPLAINED`` with its reason. Each entry rewrites a message so that what is
explained is gone from it; the peer then has to agree, so an explanation never covers a second difference.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import NamedTuple

import h11
import httptools

from tests.fuzz.reading import Message


class Seen(NamedTuple):
    """What a peer made of a message."""

    method: bytes
    target: bytes
    version: str
    fields: tuple[tuple[bytes, bytes], ...]
    body: bytes
    rest: bytes
    """What it takes for the beginning of the next one."""


class Refused(NamedTuple):
    why: str


class Explained(NamedTuple):
    peer: str
    what: str
    why: str
    example: bytes
    rewrite: Callable[[bytes], bytes]


def read_with_h11(message: bytes, behind: bytes) -> Seen | Refused:
    """``behind``: what follows the message on the connection."""
    connection = h11.Connection(h11.SERVER, max_incomplete_event_size=1 << 20)
    connection.receive_data(message + behind)
    request: h11.Request | None = None
    body = b""
    try:
        while True:
            event = connection.next_event()
            if isinstance(event, h11.Request):
                request = event
            elif isinstance(event, h11.Data):
                body += event.data
            elif isinstance(event, h11.EndOfMessage):
                break
            else:
                return Refused(f"{event} where a message should be")
    except h11.RemoteProtocolError as error:
        return Refused(str(error))
    assert request is not None
    fields = tuple((bytes(name), bytes(value)) for name, value in request.headers)
    version = request.http_version.decode("ascii")
    return Seen(request.method, request.target, version, fields, body, connection.trailing_data[0])


class _Collector:
    def __init__(self) -> None:
        self.target = self.body = b""
        self.fields: list[tuple[bytes, bytes]] = []
        self.is_head_over = False
        self.messages = 0

    def on_url(self, url: bytes) -> None:
        self.target += url

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self.is_head_over:  # else it is a trailer
            self.fields.append((name.lower(), value.strip(b" \t")))

    def on_headers_complete(self) -> None:
        self.is_head_over = True

    def on_body(self, body: bytes) -> None:
        self.body += body

    def on_message_complete(self) -> None:
        self.messages += 1


def read_with_llhttp(message: bytes, behind: bytes) -> Seen | Refused:
    """Feed exactly the message: llhttp must not be done before its last byte, and must be done with it.

    ``behind`` is left out, because llhttp refuses bytes behind a message with ``Connection: close``.
    """
    seen = _Collector()
    parser = httptools.HttpRequestParser(seen)
    try:
        parser.feed_data(message[:-1])
        if seen.messages:
            return Refused("the message is over before its end")
        parser.feed_data(message[-1:])
    except httptools.HttpParserUpgrade:
        pass  # it stops at the end of a message that asks for an upgrade: what follows is nothing it could read
    except httptools.HttpParserError as error:
        return Refused(f"{type(error).__name__}: {error}")
    if seen.messages != 1:
        return Refused("the message is not over at its end")
    return Seen(parser.get_method(), seen.target, parser.get_http_version(), tuple(seen.fields), seen.body, behind)


_NOT_UPGRADE = b"xx-upgrade"
_UPGRADE = re.compile(rb"\r\nupgrade:", re.IGNORECASE)
_CODING = re.compile(rb"\r\ntransfer-encoding:", re.IGNORECASE)
_MINOR_VERSION = re.compile(rb"\A((?:\r\n)?[^\r\n]+) HTTP/1\.[2-9]\r\n")
_TAB_BEHIND_CODING = re.compile(rb"(\r\ntransfer-encoding:[ \t]*chunked)[ \t]+(?=\r\n)", re.IGNORECASE)
_SIZE = re.compile(rb"([0-9A-Fa-f]+)([^\r]*)\r\n")


def without_empty_line(message: bytes) -> bytes:
    return message.removeprefix(b"\r\n")


def without_extensions(message: bytes) -> bytes:
    """Take the extensions off the chunk lines of a message that we found well formed."""
    head, end, rest = message.partition(b"\r\n\r\n")
    if not _CODING.search(head):
        return message
    made = [head, end]
    at = 0
    while True:
        match = _SIZE.match(rest, at)
        assert match is not None, "a chunk line without a size was accepted"
        size = int(match[1], 16)
        stop = match.end() + size + 2 if size else len(rest)
        made.append(match[1] + b"\r\n" + rest[match.end() : stop])
        at = stop
        if not size:
            return b"".join(made)


def without_upgrade(message: bytes) -> bytes:
    head, end, rest = message.partition(b"\r\n\r\n")
    return _UPGRADE.sub(b"\r\n" + _NOT_UPGRADE + b":", head) + end + rest


def with_the_version_we_speak(message: bytes) -> bytes:
    return _MINOR_VERSION.sub(b"\\1 HTTP/1.1\r\n", message, count=1)


def without_tab_behind_coding(message: bytes) -> bytes:
    head, end, rest = message.partition(b"\r\n\r\n")
    return _TAB_BEHIND_CODING.sub(b"\\1", head + end) + rest


_CHUNKED = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
EXPLAINED = (
    Explained(
        "h11",
        "one empty line before the request line",
        "RFC 9112 §2.2: a server should ignore at least one; h11 ignores none",
        b"\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
        without_empty_line,
    ),
    Explained(
        "llhttp",
        "white space inside of a chunk extension",
        "RFC 9112 §7.1.1 has BWS there, which a recipient has to take; llhttp has none",
        _CHUNKED + b"5; a = b\r\nhello\r\n0\r\n\r\n",
        without_extensions,
    ),
    Explained(
        "llhttp",
        "the body of a request that asks for an upgrade",
        "RFC 9110 §7.8: a server may ignore Upgrade, and we do; then it is framed as always. llhttp is done at "
        "the end of the head, as if the upgrade had been agreed to. It never sees a framing field from us (README)",
        b"POST / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: h2c\r\nContent-Length: 2\r\n\r\nhi",
        without_upgrade,
    ),
    Explained(
        "llhttp",
        "a tab behind chunked",
        "RFC 9110 §5.5: white space around a value is not part of it, be it SP or HTAB; llhttp knows only SP there",
        _CHUNKED.replace(b"chunked", b"chunked\t") + b"0\r\n\r\n",
        without_tab_behind_coding,
    ),
    *(
        Explained(
            peer,
            "HTTP/1.2 to HTTP/1.9",
            "RFC 9110 §2.5: a minor version that is not known is read as the highest that is; h11 repeats what was "
            "sent, llhttp refuses it",
            b"GET / HTTP/1.2\r\nHost: a\r\n\r\n",
            with_the_version_we_speak,
        )
        for peer in ("h11", "llhttp")
    ),
)

PEERS: dict[str, Callable[[bytes, bytes], Seen | Refused]] = {"h11": read_with_h11, "llhttp": read_with_llhttp}


def assert_agreement(peer: str, message: Message, raw: bytes, behind: bytes) -> None:
    """``raw``: the bytes of a whole message that we accepted. Raises ``AssertionError`` for what isn't explained."""
    problem = disagreement(PEERS[peer](raw, behind), message, behind)
    if problem:
        rewritten = raw
        for explained in EXPLAINED:
            if explained.peer == peer:
                rewritten = explained.rewrite(rewritten)
        if rewritten != raw:
            problem = disagreement(PEERS[peer](rewritten, behind), message, behind)
    assert not problem, f"{peer} {problem}"


def disagreement(seen: Seen | Refused, message: Message, behind: bytes) -> str:
    """Return in what a peer has it otherwise, "" = in nothing."""
    if isinstance(seen, Refused):
        return f"refuses what we accept: {seen.why}"
    request = message.request
    if seen.method.decode("latin-1") != request.method or seen.version != request.version:
        return f"has method {seen.method!r}, version {seen.version}"
    if seen.target != request.raw_target:
        return f"has target {seen.target!r}"
    if plain_fields(seen.fields) != plain_fields(request.fields):
        return f"has fields {set(plain_fields(seen.fields)) ^ set(plain_fields(request.fields))!r}"
    if seen.body != message.body:
        return f"has body {seen.body!r}"
    return "has the end of the message elsewhere" if seen.rest != behind else ""


def plain_fields(fields: tuple[tuple[bytes, bytes], ...]) -> tuple[tuple[bytes, bytes], ...]:
    """h11 gives the coding in lower case, as which it is compared (RFC 9112 §7)."""
    return tuple(
        (b"upgrade" if name == _NOT_UPGRADE else name, value.lower() if name == b"transfer-encoding" else value)
        for name, value in fields
    )
