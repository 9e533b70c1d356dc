"""A raw HTTP/1 client: sends the bytes it is given and reads answers strictly: a sloppy answer fails the test.

One plain blocking socket, no retries, no redirects, no cookies. What httpx would hide (interim answers, order in a
pipeline, who closes first, stray bytes) is what these tests are about.
"""

from __future__ import annotations

import re
import socket
import struct
from dataclasses import dataclass, field

_STATUS_LINE = re.compile(rb"HTTP/1\.1 ([1-5][0-9][0-9]) ([ -~]*)")
_FIELD_LINE = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+): ?([^\x00-\x08\x0a-\x1f\x7f]*)")
_CHUNK_LINE = re.compile(rb"[0-9a-fA-F]{1,8}")


class Closed(Exception):
    """The server closed the connection where an answer, or the rest of one, was due."""


@dataclass
class Response:
    status: int
    reason: str
    fields: list[tuple[str, str]]
    body: bytes = b""
    is_chunked: bool = False
    interim: list[int] = field(default_factory=list)
    """Status codes of the 1xx answers that came before."""
    interim_fields: list[list[tuple[str, str]]] = field(default_factory=list)
    """Their fields."""
    trailers: list[tuple[str, str]] = field(default_factory=list)
    """Fields behind the last chunk: none, unless the client ``takes_trailers``."""

    def field(self, name: str) -> str | None:
        """Return the only value of a field, or None; two values fail the test."""
        values = [value for key, value in self.fields if key == name.lower()]
        assert len(values) <= 1, f"{name} came {len(values)} times"
        return values[0] if values else None

    @property
    def text(self) -> str:
        return self.body.decode()


def request(
    path: str, host: str, method: str = "GET", body: bytes = b"", fields: dict[str, str] | None = None
) -> bytes:
    """Return the bytes of a request."""
    lines = [f"{method} {path} HTTP/1.1", f"Host: {host}"]
    if body:
        lines.append(f"Content-Length: {len(body)}")
    lines += [f"{name}: {value}" for name, value in (fields or {}).items()]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1") + body


class Client:
    """One connection. ``rest``: received and not yet read bytes."""

    def __init__(self, address: tuple[str, int] | str, timeout_s: float = 20.0, receive_buffer: int = 0) -> None:
        self.socket = socket.socket(socket.AF_UNIX if isinstance(address, str) else socket.AF_INET)
        if receive_buffer:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.socket.settimeout(timeout_s)
        try:
            self.socket.connect(address)
        except OSError:
            self.socket.close()
            raise
        self.rest = b""
        self.takes_trailers = False

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self.socket.close()

    def reset(self) -> None:
        """Leave at once: the server gets a reset, not an end that might be a half-close."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close()

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def end_sending(self) -> None:
        """Half-close: nothing more will be sent, answers are still read."""
        self.socket.shutdown(socket.SHUT_WR)

    def get(self, path: str, host: str = "a", **more: str) -> Response:
        self.send(request(path, host, fields=more))
        return self.read_response()

    def ask(self, data: bytes, *, to_head: bool = False) -> Response:
        """Send a request and read its answer."""
        self.send(data)
        return self.read_response(to_head=to_head)

    def read_response(self, *, to_head: bool = False) -> Response:
        """Read one final answer, with the interim ones before it; not a byte more."""
        interim = []
        while True:
            response = self.read_head()
            if response.status >= 200:
                break
            interim.append(response)
        response.interim = [head.status for head in interim]
        response.interim_fields = [head.fields for head in interim]
        self._read_body(response, to_head)
        return response

    def read_head(self) -> Response:
        head = self.read_until(b"\r\n\r\n")
        lines = head.split(b"\r\n")
        status = _STATUS_LINE.fullmatch(lines[0])
        assert status, f"not a status line: {lines[0]!r}"
        fields = [self._field(line) for line in lines[1:]]
        return Response(int(status[1]), status[2].decode(), fields)

    @staticmethod
    def _field(line: bytes) -> tuple[str, str]:
        match = _FIELD_LINE.fullmatch(line)
        assert match, f"not a field line: {line!r}"
        return match[1].decode().lower(), match[2].decode("latin-1")

    def _read_body(self, response: Response, to_head: bool) -> None:
        length = response.field("content-length")
        coding = response.field("transfer-encoding")
        assert not (length and coding), "both Content-Length and Transfer-Encoding"
        if to_head or response.status in (204, 304):
            return
        if coding:
            assert coding == "chunked", coding
            response.is_chunked = True
            response.body = b"".join(self._read_chunks(response))
        elif length is not None:
            assert re.fullmatch("0|[1-9][0-9]*", length), length
            response.body = self.read_exactly(int(length))
        else:
            assert response.field("connection") == "close", "a body without a length on a connection that stays open"
            response.body = self.read_to_end()

    def _read_chunks(self, response: Response) -> list[bytes]:
        chunks = []
        while True:
            line = self.read_until(b"\r\n")
            assert _CHUNK_LINE.fullmatch(line), f"not a chunk line: {line!r}"
            size = int(line, 16)
            if size == 0 and self.takes_trailers:
                while line := self.read_until(b"\r\n"):
                    response.trailers.append(self._field(line))
                return chunks
            if size == 0:
                assert self.read_exactly(2) == b"\r\n", "trailers, or bytes after the last chunk"
                return chunks
            chunks.append(self.read_exactly(size))
            assert self.read_exactly(2) == b"\r\n", "a chunk longer than it says"

    def read_until(self, end: bytes) -> bytes:
        while end not in self.rest:
            self._receive()
        line, _, self.rest = self.rest.partition(end)
        return line

    def read_exactly(self, count: int) -> bytes:
        pieces = [self.rest[:count]]
        self.rest = self.rest[count:]
        due = count - len(pieces[0])
        while due:
            data = self.socket.recv(min(due, 1024 * 1024))
            if not data:
                raise Closed(f"{due} of {count} bytes are missing")
            pieces.append(data)
            due -= len(data)
        return b"".join(pieces)

    def read_to_end(self) -> bytes:
        """Read until the server closes; a reset counts as a close only where nothing was due (see ``is_closed``)."""
        pieces = [self.rest]
        self.rest = b""
        while data := self.socket.recv(1024 * 1024):
            pieces.append(data)
        return b"".join(pieces)

    def is_closed(self) -> bool:
        """Wait for the server to close; True if it sent nothing more before."""
        try:
            return not self.rest and self.socket.recv(1) == b""
        except ConnectionResetError:
            return True

    def _receive(self) -> None:
        data = self.socket.recv(65536)
        if not data:
            raise Closed(f"closed after {self.rest[:200]!r}")
        self.rest += data
