"""Every case of tests/corpus/http1.toml through both parsers, however it is cut, and with a request behind it."""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest

from pyserve.errors import RequestError
from pyserve.http import h1_h11, h1_httptools
from pyserve.http.h1 import END_OF_MESSAGE, NEED_DATA, Reader
from pyserve.http.head import HeadReader
from pyserve.http.request import Request

CASES = tomllib.loads((Path(__file__).parents[1] / "corpus" / "http1.toml").read_text())["case"]
PARSERS = {"httptools": h1_httptools.parse_fields, "h11": h1_h11.parse_fields}
NEXT = b"GET /behind HTTP/1.1\r\nHost: a\r\n\r\n"


def read(pieces: Iterable[bytes], parser: str) -> tuple[list[str], int]:
    """Return the messages read as "METHOD path body", and the status of the refusal (0 = none)."""
    reader = Reader(HeadReader(PARSERS[parser], 100).read, 32 * 1024, 100)
    messages: list[str] = []
    try:
        for piece in pieces:
            reader.receive_data(piece)
            while (event := reader.next_event()) is not NEED_DATA:
                if isinstance(event, Request):
                    messages.append(f"{event.method} {event.path} ")
                    reader.allow_body(10**6)
                elif isinstance(event, bytes):
                    messages[-1] += event.decode("latin-1")
                else:
                    assert event is END_OF_MESSAGE
                    reader.start_next_message()
    except RequestError as error:
        return messages, error.status
    return messages, 0


def whole(data: bytes) -> list[bytes]:
    return [data]


def byte_by_byte(data: bytes) -> list[bytes]:
    return [data[at : at + 1] for at in range(len(data))]


def split_at_line_ends(data: bytes) -> list[bytes]:
    return [line + b"\r\n" for line in data.split(b"\r\n")[:-1]] + [data.split(b"\r\n")[-1]]


def split_inside_line_ends(data: bytes) -> list[bytes]:
    return [piece + b"\r" for piece in data.split(b"\r")[:-1]] + [data.split(b"\r")[-1]]


@pytest.mark.parametrize("cut", [whole, byte_by_byte, split_at_line_ends, split_inside_line_ends])
@pytest.mark.parametrize("parser", PARSERS)
@pytest.mark.parametrize("case", CASES, ids=lambda case: case["name"])
def test_the_verdict_is_the_same_however_the_bytes_come(
    case: dict[str, Any], parser: str, cut: Callable[[bytes], list[bytes]]
) -> None:
    messages, status = read(cut(case["bytes"].encode("latin-1")), parser)
    if "status" in case:
        assert status == case["status"]
    else:
        assert (messages, status) == (case["requests"], 0)


@pytest.mark.parametrize("parser", PARSERS)
@pytest.mark.parametrize("case", [case for case in CASES if "status" in case], ids=lambda case: case["name"])
def test_nothing_behind_a_refused_request_is_ever_a_request(case: dict[str, Any], parser: str) -> None:
    messages, status = read([case["bytes"].encode("latin-1") + NEXT], parser)
    assert status
    assert not any("/behind" in message and message.startswith("GET") for message in messages)


@pytest.mark.parametrize("parser", PARSERS)
@pytest.mark.parametrize("case", [case for case in CASES if "requests" in case], ids=lambda case: case["name"])
def test_the_request_behind_a_good_one_is_read_too(case: dict[str, Any], parser: str) -> None:
    messages, status = read([case["bytes"].encode("latin-1") + NEXT], parser)
    assert (messages, status) == ([*case["requests"], "GET /behind "], 0)
