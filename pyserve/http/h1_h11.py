"""Read field lines with h11: the executable specification beside httptools, chosen by ``parser = "h11"``. Pure."""

from __future__ import annotations

import h11

from pyserve.errors import RequestError
from pyserve.http.head import Field


def parse_fields(lines: bytes) -> list[Field]:
    connection = h11.Connection(h11.SERVER, max_incomplete_event_size=len(lines) + 100)
    connection.receive_data(b"GET / HTTP/1.1\r\nHost: a\r\n%b\r\n" % lines)
    try:
        event = connection.next_event()
    except h11.RemoteProtocolError as error:
        raise RequestError(400, f"malformed field: {error}") from None
    if not isinstance(event, h11.Request):
        raise RequestError(400, "malformed field")
    return [(bytes(name), bytes(value)) for name, value in event.headers][1:]
