"""One uploaded file of a ``multipart/form-data`` body (RFC 7578): its name, size and SHA-256.

Reads the body in pieces and keeps none of them, so a file of any size takes the same memory.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from email.message import Message
from typing import NamedTuple, Protocol

PIECE_BYTES = 64 * 1024
MAX_PART_HEAD_BYTES = 8 * 1024


class Upload(NamedTuple):
    file_name: str
    size_bytes: int
    sha256: str


class UploadError(ValueError):
    """The body is not a form with a file; the message is for the visitor."""


class Readable(Protocol):
    def read(self, size: int, /) -> bytes: ...


def read_upload(body: Readable, content_type: str) -> Upload:
    """Return what is known of the first file in the form; raise ``UploadError`` if there is none."""
    parts = _Parts(body, _boundary(content_type))
    while (disposition := parts.next_part()) is not None:
        digest, size = hashlib.sha256(), 0
        for piece in parts.pieces():
            digest.update(piece)
            size += len(piece)
        file_name = disposition.get_filename()
        if file_name:
            while body.read(PIECE_BYTES):  # what is left of the form: the connection is wanted for the next request
                pass
            return Upload(file_name, size, digest.hexdigest())
    raise UploadError("Please choose a file first.")


def _boundary(content_type: str) -> bytes:
    message = Message()
    message["Content-Type"] = content_type
    boundary = message.get_boundary()
    if message.get_content_type() != "multipart/form-data" or not boundary or len(boundary) > 70:
        raise UploadError("This is not a form with a file.")
    return boundary.encode("latin-1", "replace")


class _Parts:
    """Walks over the parts of a body: ``next_part``, all of its ``pieces``, ``next_part``, ..."""

    def __init__(self, body: Readable, boundary: bytes) -> None:
        self._body = body
        self._delimiter = b"\r\n--" + boundary
        self._buffer = b"\r\n"  # the first delimiter has no line end before it
        for _ in self.pieces():  # the preamble, which nobody reads
            pass

    def next_part(self) -> Message | None:
        """Return a message with the Content-Disposition of the next part, or None after the last one."""
        while len(self._buffer) < 2:
            self._read_more()
        if self._buffer.startswith(b"--"):
            return None
        while (end := self._buffer.find(b"\r\n\r\n")) < 0:
            if len(self._buffer) > MAX_PART_HEAD_BYTES:
                raise UploadError("A part of the form has too long a head.")
            self._read_more()
        head, self._buffer = self._buffer[:end], self._buffer[end + 4 :]
        message = Message()
        for line in head.decode("utf-8", "replace").split("\r\n"):
            name, _, value = line.partition(":")
            if name.strip().lower() == "content-disposition":
                message["Content-Disposition"] = value.strip()
        return message

    def pieces(self) -> Iterator[bytes]:
        """Yield the part's bytes up to the next delimiter, and take that delimiter away."""
        while (end := self._buffer.find(self._delimiter)) < 0:
            # The last bytes may be the beginning of a delimiter: they wait for the rest.
            safe = len(self._buffer) - len(self._delimiter) + 1
            if safe > 0:
                yield self._buffer[:safe]
                self._buffer = self._buffer[safe:]
            self._read_more()
        if end:
            yield self._buffer[:end]
        self._buffer = self._buffer[end + len(self._delimiter) :]

    def _read_more(self) -> None:
        piece = self._body.read(PIECE_BYTES)
        if not piece:
            raise UploadError("The form ends too early.")
        self._buffer += piece
