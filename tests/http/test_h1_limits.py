"""Heads and bodies that are too large are refused before more than a limit's worth was kept."""

from __future__ import annotations

import pytest

from pyserve.errors import RequestError
from pyserve.http.chunked import MAX_LINE_BYTES, ChunkedDecoder
from pyserve.http.h1 import Reader
from pyserve.http.h1_httptools import parse_fields
from pyserve.http.head import HeadReader
from pyserve.http.request import Request


def reader(max_head: int = 1024, max_headers: int = 10) -> Reader:
    return Reader(HeadReader(parse_fields, max_headers).read, max_head, max_headers)


def refusal(data: bytes, **limits: int) -> int:
    machine = reader(**limits)
    machine.receive_data(data)
    with pytest.raises(RequestError) as caught:
        machine.next_event()
    return caught.value.status


def test_a_request_line_without_end_is_414() -> None:
    assert refusal(b"GET /" + b"x" * 2000) == 414


def test_a_head_without_end_is_431() -> None:
    assert refusal(b"GET / HTTP/1.1\r\nX: " + b"x" * 2000) == 431


def test_a_complete_head_beyond_the_limit_is_431() -> None:
    assert refusal(b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"x" * 1100 + b"\r\n\r\n") == 431


def test_too_many_fields_are_431() -> None:
    assert refusal(b"GET / HTTP/1.1\r\nHost: a\r\n" + b"A: b\r\n" * 10 + b"\r\n") == 431


def test_as_many_fields_as_allowed_are_read() -> None:
    machine = reader()
    machine.receive_data(b"GET / HTTP/1.1\r\nHost: a\r\n" + b"A: b\r\n" * 9 + b"\r\n")
    assert isinstance(machine.next_event(), Request)


def test_a_declared_body_beyond_the_limit_is_413_before_any_of_it_is_read() -> None:
    machine = reader()
    machine.receive_data(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 11\r\n\r\n")
    assert isinstance(machine.next_event(), Request)
    with pytest.raises(RequestError) as caught:
        machine.allow_body(10)
    assert caught.value.status == 413


def test_a_chunked_body_beyond_the_limit_is_413_when_it_gets_there() -> None:
    machine = reader()
    machine.receive_data(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
    assert isinstance(machine.next_event(), Request)
    machine.allow_body(10)
    machine.receive_data(b"a\r\n0123456789\r\n")
    assert machine.next_event() == b"0123456789"
    machine.receive_data(b"1\r\nx\r\n")
    with pytest.raises(RequestError) as caught:
        machine.next_event()
    assert caught.value.status == 413


def test_chunk_extensions_are_counted_over_the_whole_body() -> None:
    machine = reader()
    machine.receive_data(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
    assert isinstance(machine.next_event(), Request)
    machine.allow_body(10**6)
    machine.receive_data((b"1;" + b"x" * 200 + b"\r\nz\r\n") * 100)
    with pytest.raises(RequestError) as caught:
        machine.next_event()
    assert caught.value.status == 400


def test_a_chunk_line_is_refused_as_soon_as_it_is_too_long() -> None:
    """An incomplete line is read again with each byte, so a long one would cost its square."""
    decoder = ChunkedDecoder(100)
    line = b"1;x=" + b"y" * MAX_LINE_BYTES
    for at in range(MAX_LINE_BYTES - 1):
        assert decoder.receive_data(line[at : at + 1]) == b""
    with pytest.raises(RequestError):
        decoder.receive_data(line[MAX_LINE_BYTES - 1 : MAX_LINE_BYTES])
