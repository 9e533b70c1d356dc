"""What the checks ask of a WSGI application. Standard library only; copied into the temporary folder and run there."""

from __future__ import annotations

import hashlib
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import Any

BLOCK = b"0123456789abcdef" * 4096
_lock = threading.Lock()
_counted: Counter[str] = Counter()

StartResponse = Callable[[str, list[tuple[str, str]]], Any]


class Planned(Exception):
    """Raised because the request asked for it."""


def application(environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
    _, what, value = environ["PATH_INFO"].split("/", 2)
    if what == "bytes":
        start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", value)])
        return _blocks(int(value))
    if what == "raise":
        return _raising(value, start_response)
    if what == "echo":
        body = environ["wsgi.input"].read()
        answer = f"{value} {hashlib.sha256(body).hexdigest()} {len(body)}\n".ljust(1024, ".").encode()
    elif what == "sleep":
        time.sleep(float(value))
        answer = b"slept"
    elif what == "count":
        with _lock:
            _counted[value] += 1
        answer = b"counted"
    else:
        answer = str(_counted[value]).encode()
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(answer)))])
    return [answer]


def _blocks(count: int) -> Iterator[bytes]:
    while count > 0:
        yield BLOCK[:count]
        count -= len(BLOCK)


def _raising(where: str, start_response: StartResponse) -> Iterable[bytes]:
    if where == "before":
        raise Planned(where)
    start_response("200 OK", [("Content-Type", "text/plain")])
    if where == "after-start":
        raise Planned(where)
    return _raising_later(where)


def _raising_later(where: str) -> Iterator[bytes]:
    if where == "first-step":
        raise Planned(where)
    yield BLOCK
    yield BLOCK
    raise Planned(where)
