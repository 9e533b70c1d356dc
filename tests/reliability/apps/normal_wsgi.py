"""What the checks ask of a WSGI application. Standard library only; copied into the temporary folder and run there."""

from __future__ import annotations

import ctypes
import hashlib
import os
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import Any

BLOCK = b"0123456789abcdef" * 4096
LEDGER = os.environ.get("LEDGER", "")
"""The file in which every call of ``/echo`` and ``/work`` notes its begin and its end; "" = none."""
WORK_S = float(os.environ.get("WORK_S", 0))
"""How long each call of ``/echo`` sleeps."""
LEAK_BYTES = int(os.environ.get("LEAK_BYTES", 0))
"""What each call of ``/echo`` never gives back."""
_lock = threading.Lock()
_counted: Counter[str] = Counter()
_kept: list[bytes] = []
_ledger = os.open(LEDGER, os.O_WRONLY | os.O_APPEND | os.O_CREAT) if LEDGER else -1

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
    if what == "hang":
        return hang(value)
    if what == "echo":
        note("+", value)
        body = environ["wsgi.input"].read()
        if WORK_S:
            time.sleep(WORK_S)
        if LEAK_BYTES:
            _kept.append(b"x" * LEAK_BYTES)
        note("-", value)
        answer = f"{value} {hashlib.sha256(body).hexdigest()} {len(body)}\n".ljust(1024, ".").encode()
    elif what == "sleep":
        time.sleep(float(value))
        answer = b"slept"
    elif what == "leak":  # /leak/BYTES/NUMBER
        _kept.append(b"x" * int(value.partition("/")[0]))
        answer = f"leaked {value.partition('/')[2]}\n".encode()
    elif what == "gulp":  # /gulp/BYTES/NUMBER: all at once, and then it stays for a while
        size, _, number = value.partition("/")
        note("+", number)
        _kept.append(b"x" * int(size))
        time.sleep(5)
        note("-", number)
        answer = b"gulped"
    elif what == "work":  # /work/SECONDS/NUMBER
        seconds, _, number = value.partition("/")
        note("+", number)
        time.sleep(float(seconds))
        note("-", number)
        answer = f"worked {number}\n".encode()
    elif what == "burn":  # /burn/SECONDS/NUMBER: of the CPU
        seconds, _, number = value.partition("/")
        end = time.thread_time() + float(seconds)
        while time.thread_time() < end:
            pass
        answer = f"burnt {number}\n".encode()
    elif what == "orphan":
        orphan(int(value))
        answer = b"orphaned"
    elif what == "health":
        answer = b"healthy"
    elif what == "count":
        with _lock:
            _counted[value] += 1
        answer = b"counted"
    else:
        answer = str(_counted[value]).encode()
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(answer)))])
    return [answer]


def note(sign: str, value: str) -> None:
    """Write a line into the ledger, which outlives this process however it ends: sign, pid, number, time."""
    if _ledger >= 0:
        os.write(_ledger, f"{sign} {os.getpid()} {value} {time.monotonic():.6f}\n".encode())


def hang(how: str) -> Iterable[bytes]:
    """Never come back. What is named here has to be found in the log."""
    if how == "sleep":
        hang_asleep()
    elif how == "spin":
        hang_in_a_loop()
    elif how == "lock":
        hang_at_a_lock()
    else:
        os.kill(os.getpid(), signal.SIGSTOP)
    return []


def hang_asleep() -> None:
    time.sleep(600)


def hang_in_a_loop() -> None:
    while True:
        pass


def hang_at_a_lock() -> None:
    lock = threading.Lock()
    lock.acquire()
    lock.acquire()


def orphan(code: int) -> None:
    """Leave behind a process that is nobody's and soon ends with a code that others take for their own."""
    child = os.fork()
    if child == 0:
        if os.fork() == 0:
            time.sleep(0.05)
            os._exit(code)
        os._exit(0)
    os.waitpid(child, 0)


def _blocks(count: int) -> Iterator[bytes]:
    while count > 0:
        yield BLOCK[:count]
        count -= len(BLOCK)


def _raising(where: str, start_response: StartResponse) -> Iterable[bytes]:
    if where == "before":
        raise Planned(where)
    if where == "import":
        import no_such_module_here  # noqa: F401
    if where == "type":
        return 42  # type: ignore[return-value]
    if where == "exit":
        sys.exit(3)
    if where == "_exit":
        os._exit(1)
    if where == "segv":
        ctypes.string_at(0)
    start_response("200 OK", [("Content-Type", "text/plain")])
    if where == "texts":
        return ["text where bytes should be"]  # type: ignore[list-item]
    if where == "close":
        return Unclosable()
    if where == "after-start":
        raise Planned(where)
    return _raising_later(where)


class Unclosable:
    """A whole answer whose ``close`` raises: too late for the client to know."""

    def __iter__(self) -> Iterator[bytes]:
        return iter([b"whole"])

    def close(self) -> None:
        raise Planned("close")


def _raising_later(where: str) -> Iterator[bytes]:
    if where == "first-step":
        raise Planned(where)
    yield BLOCK
    yield BLOCK
    raise Planned(where)
