"""Step 4 of the request path: is this request the opening handshake of a WebSocket, and is it in order?

Pure. Sources: RFC 6455 §4.2, RFC 8441 §5 for HTTP/2, RFC 9110 §7.8 for what is none and is served as any request is.
"""

from __future__ import annotations

import re
from base64 import b64encode
from hashlib import sha1
from typing import NamedTuple

from pyserve.errors import Fate, RequestError
from pyserve.http.request import Request
from pyserve.http.websocket_deflate import Offer

_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_KEY = re.compile(rb"[A-Za-z0-9+/]{21}[AQgw]==")
_TOKEN = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_VALUE = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+|\"[!#$%&'*+\-.^_`|~0-9A-Za-z]+\"")
MAX_OFFERS = 16


class Handshake(NamedTuple):
    """A handshake that is in order."""

    key: bytes
    """b"" over HTTP/2, where there is none."""
    protocols: tuple[str, ...]
    """Subprotocols, the one that the client would like best first."""
    extensions: tuple[Offer, ...]
    origin: bytes | None

    @property
    def accept(self) -> bytes:
        """The line that proves that the key was read; nothing over HTTP/2."""
        if not self.key:
            return b""
        return b"sec-websocket-accept: %b\r\n" % b64encode(sha1(self.key + _GUID, usedforsecurity=False).digest())


def read_handshake(request: Request) -> Handshake | None:
    """Return the handshake that a request is, None = it is a request like others.

    Raises ``RequestError``: 426 where the version is one that we don't speak, else 400.
    """
    if request.version == "2":
        if request.protocol != "websocket":
            return None
        key: bytes | None = b""
    else:
        if not _has_token(request, b"upgrade", b"websocket") or not _has_token(request, b"connection", b"upgrade"):
            return None
        key = _single(request, b"sec-websocket-key")
        if request.method != "GET" or request.version != "1.1":
            if key is None:
                return None  # a field to be ignored, as any other protocol's
            raise RequestError(400, "a WebSocket begins with GET and HTTP/1.1")
    if request.has_body and request.version != "2":
        raise RequestError(400, "a WebSocket's handshake has no body")
    if _single(request, b"sec-websocket-version") != b"13":
        raise RequestError(426, "no version of WebSocket that is spoken here", Fate.KEEP)
    if key is None or (key and not _KEY.fullmatch(key)) or (not key and request.version != "2"):
        raise RequestError(400, "a Sec-WebSocket-Key is 16 bytes in base64")
    return Handshake(key, _protocols(request), _extensions(request), request.field(b"origin"))


def upgrade_fields(status: int, version: str) -> bytes:
    """Return the lines that belong to a refusal with this status (RFC 6455 §4.4, RFC 9110 §15.5.22)."""
    if status != 426:
        return b""
    fields = b"sec-websocket-version: 13\r\n"
    return fields if version == "2" else fields + b"upgrade: websocket\r\nconnection: upgrade\r\n"


def _has_token(request: Request, name: bytes, token: bytes) -> bool:
    value = request.joined(name)
    return value is not None and token in [word.strip(b" \t").lower() for word in value.split(b",")]


def _single(request: Request, name: bytes) -> bytes | None:
    """Return the value of a field that may come only once."""
    values = [value for key, value in request.fields if key == name]
    if len(values) > 1:
        raise RequestError(400, f"more than one {name.decode()} field")
    return values[0] if values else None


def _protocols(request: Request) -> tuple[str, ...]:
    value = request.joined(b"sec-websocket-protocol")
    if value is None:
        return ()
    words = [word.strip(b" \t") for word in value.split(b",")]
    if not all(map(_TOKEN.fullmatch, words)) or len(set(words)) < len(words):
        raise RequestError(400, "a malformed Sec-WebSocket-Protocol")
    return tuple(word.decode("ascii") for word in words)


def _extensions(request: Request) -> tuple[Offer, ...]:
    value = request.joined(b"sec-websocket-extensions")
    if value is None:
        return ()
    offers = []
    for element in value.split(b",")[:MAX_OFFERS]:
        name, *rest = [word.strip(b" \t") for word in element.split(b";")]
        parameters = []
        for word in rest:
            key, sign, argument = word.partition(b"=")
            key = key.rstrip(b" \t")
            argument = argument.lstrip(b" \t")
            if not _TOKEN.fullmatch(key) or (sign and not _VALUE.fullmatch(argument)):
                raise RequestError(400, "a malformed Sec-WebSocket-Extensions")
            parameters.append((key, argument.strip(b'"') if sign else None))
        if not _TOKEN.fullmatch(name):
            raise RequestError(400, "a malformed Sec-WebSocket-Extensions")
        offers.append((name, tuple(parameters)))
    return tuple(offers)


def is_origin_allowed(handshake: Handshake, request: Request, scheme: str, allowed: tuple[str, ...]) -> bool:
    """May a page of this origin open a WebSocket? Who sends no Origin is no browser.

    ``allowed``: origins in lower case, and "same" for the site itself; () = all.
    """
    if not allowed or handshake.origin is None:
        return True
    origin = handshake.origin.decode("latin-1").lower()
    return origin in allowed or ("same" in allowed and origin == f"{scheme}://{request.authority}")
