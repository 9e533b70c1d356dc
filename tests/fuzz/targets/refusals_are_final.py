"""Behind a refused request no byte is ever a request or a body, even for a caller that asks the reader on."""

from __future__ import annotations

from pyserve.errors import RequestError
from pyserve.http.h1 import NEED_DATA, Reader
from tests.fuzz.reading import SMALL, cut_anywhere, head_reader, read
from tests.fuzz.requests import make_stream as make

__all__ = ["check", "make"]


def check(data: bytes) -> None:
    for pieces in ([data], cut_anywhere(data, 1)):
        read(pieces, head_reader(limits=SMALL), SMALL, after_refusal=ask_on)


def ask_on(reader: Reader) -> None:
    for more in (b"", b"\r\n\r\n", b"GET /behind HTTP/1.1\r\nHost: a\r\n\r\n"):
        reader.receive_data(more)
        for _ in range(3):
            try:
                event = reader.next_event()
            except RequestError:
                continue
            assert event is NEED_DATA, f"{type(event).__name__} after a refusal"
