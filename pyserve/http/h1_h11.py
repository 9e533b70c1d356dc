"""Split a request head with h11: the executable specification beside httptools, chosen by ``parser = "h11"``.

Pure.
"""

from __future__ import annotations

import re

import h11

from pyserve.errors import RequestError
from pyserve.http.head import RawHead

_LENGTH_LIST = re.compile(rb"\r\ncontent-length:[^\r]*,", re.IGNORECASE)


def parse_head(raw: bytes) -> RawHead:
    connection = h11.Connection(h11.SERVER, max_incomplete_event_size=len(raw) + 1)
    connection.receive_data(raw)
    try:
        event = connection.next_event()
    except h11.RemoteProtocolError as error:
        raise RequestError(error.error_status_hint, f"malformed head: {error}") from None
    if not isinstance(event, h11.Request):
        raise RequestError(400, "malformed head")
    if _LENGTH_LIST.search(raw):  # h11 makes one of several equal lengths
        raise RequestError(400, "bad Content-Length")
    return bytes(event.method), bytes(event.target), [(bytes(n), bytes(v)) for n, v in event.headers]
