"""One line per request: combined with the duration behind it, or JSON.

Pure formatting; ``sink`` writes. What a client sent is escaped, so a line is always one line and a terminal obeys
nothing in it. The parts that depend on the head alone are kept with it (``line_memo``, ``rest_memo``), the rest is put
together per request.

HOT: benchmarks/hello_asgi.py.
"""

from __future__ import annotations

import re
import time
from typing import Any, Protocol

_escaped: dict[bytes, bytes] = {}
_ESCAPED = re.compile(rb"[^\x20\x21\x23-\x5b\x5d-\x7e]")


class LoggedRequest(Protocol):
    """What a line needs of a canonical request."""

    method: str
    raw_target: bytes
    version: str
    authority: str
    referer: bytes
    user_agent: bytes
    memo: dict[str, object]
    line_memo: dict[Any, Any]
    rest_memo: dict[Any, Any]


class AccessLog(Protocol):
    def tick(self, wall_s: float) -> None:
        """Tell the time, at least every half second: lines are dated by the last one told, or better."""

    can_repeat: bool
    """Has it ``repeated``? Not where each line looks at the clock itself."""

    def repeated(
        self, client: bytes, line_memo: dict[Any, Any], request: LoggedRequest, logged: bytes, micros: int
    ) -> bytes:
        """Return the line of a request that was answered before one and as that one was; ``line_memo``: of its own
        request line, ``request``: one with its other fields, ``logged``: status and bytes, ``micros``: below a second.
        """

    def line(
        self, client: bytes, request: LoggedRequest | None, status: int, sent_bytes: int, duration_s: float
    ) -> bytes:
        """Return one line. ``request`` None: the bytes were not understood as one. ``sent_bytes``: of the body."""


def escape(value: bytes) -> bytes:
    """Return ``value`` with quotes, backslashes, control and 8-bit characters as \\xHH."""
    known = _escaped.get(value)
    if known is None:
        known = _ESCAPED.sub(lambda match: b"\\x%02X" % match[0][0], value)
        if len(_escaped) >= 4096:
            _escaped.clear()
        _escaped[value] = known
    return known


class CombinedLog:
    """The combined format of Apache and nginx, then the duration in seconds."""

    can_repeat = True

    def __init__(self) -> None:
        self.tick(time.time())

    def tick(self, wall_s: float) -> None:
        self._date = time.strftime(" - - [%d/%b/%Y:%H:%M:%S +0000]", time.gmtime(wall_s)).encode()

    def line(
        self, client: bytes, request: LoggedRequest | None, status: int, sent_bytes: int, duration_s: float
    ) -> bytes:
        micros = int(duration_s * 1_000_000)
        if request is None:
            return b'%b%b "-" %d %d "-" "-" %.6f\n' % (client, self._date, status, sent_bytes, duration_s)
        before = request.line_memo.get("log")
        if before is None:
            before = request.line_memo["log"] = self._before(request)
        after = request.rest_memo.get("log")
        if after is None:
            after = request.rest_memo["log"] = self._after(request)
        if micros < 1_000_000:  # a third cheaper than printing a float
            return b"%b%b%b%d %d%b0.%06d\n" % (client, self._date, before, status, sent_bytes, after, micros)
        return b"%b%b%b%d %d%b%.6f\n" % (client, self._date, before, status, sent_bytes, after, duration_s)

    def repeated(
        self, client: bytes, line_memo: dict[Any, Any], request: LoggedRequest, logged: bytes, micros: int
    ) -> bytes:
        after = request.rest_memo.get("log")
        if after is None:
            after = request.rest_memo["log"] = self._after(request)
        # The line was written for the answer that is repeated, so its text is there.
        return b"%b%b%b%b%b0.%06d\n" % (client, self._date, line_memo["log"], logged, after, min(micros, 999_999))

    @staticmethod
    def _before(request: LoggedRequest) -> bytes:
        version = b"2.0" if request.version == "2" else request.version.encode()  # as nginx and Apache write it
        return b' "%b %b HTTP/%b" ' % (request.method.encode(), escape(request.raw_target), version)

    @staticmethod
    def _after(request: LoggedRequest) -> bytes:
        return b' "%b" "%b" ' % (escape(request.referer), escape(request.user_agent))


class JsonLog:
    """One JSON object per line; ``duration`` in seconds, ``time`` in UTC."""

    can_repeat = False

    def __init__(self) -> None:
        self._second = 0
        self._date = b""

    def tick(self, wall_s: float) -> None:
        """Lines have milliseconds, so they look at the clock themselves."""

    def repeated(
        self, client: bytes, line_memo: dict[Any, Any], request: LoggedRequest, logged: bytes, micros: int
    ) -> bytes:
        raise NotImplementedError  # SAFETY: can_repeat is False

    def line(
        self, client: bytes, request: LoggedRequest | None, status: int, sent_bytes: int, duration_s: float
    ) -> bytes:
        now = time.time()
        second = int(now)
        if second != self._second:
            self._second = second
            self._date = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second)).encode()
        if request is None:
            parts = b""
        else:
            known = request.memo.get("log")
            if known is None:
                known = request.memo["log"] = self._parts(request)
            assert isinstance(known, bytes)
            parts = known
        return b'{"time":"%b.%03dZ","client":"%b"%b,"status":%d,"bytes":%d,"duration":%.6f}\n' % (
            self._date,
            int(now % 1 * 1000),
            client,
            parts,
            status,
            sent_bytes,
            duration_s,
        )

    @staticmethod
    def _parts(request: LoggedRequest) -> bytes:
        texts = {
            "method": request.method,
            "host": request.authority,
            "target": request.raw_target.decode("latin-1"),
            "version": request.version,
            "referer": request.referer.decode("latin-1"),
            "user_agent": request.user_agent.decode("latin-1"),
        }
        import json  # the other format has no use for it

        return b"," + json.dumps(texts, separators=(",", ":")).encode()[1:-1]


FORMATS: dict[str, type[CombinedLog] | type[JsonLog]] = {"combined": CombinedLog, "json": JsonLog}
