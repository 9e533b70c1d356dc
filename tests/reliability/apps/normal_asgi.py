"""What the checks ask of an ASGI application. Standard library only; copied into the temporary folder and run there."""

from __future__ import annotations

import asyncio
import ctypes
import hashlib
import os
import signal
import sys
import threading
import time
from typing import Any

BLOCK = b"0123456789abcdef" * 4096
LEDGER = os.environ.get("LEDGER", "")
"""The file in which every call of ``/echo`` notes its begin and its end; "" = none."""
WORK_S = float(os.environ.get("WORK_S", 0))
"""How long each call of ``/echo`` sleeps."""
LEAK_BYTES = int(os.environ.get("LEAK_BYTES", 0))
"""What each call of ``/echo`` never gives back."""
_kept: list[bytes] = []
_ledger = os.open(LEDGER, os.O_WRONLY | os.O_APPEND | os.O_CREAT) if LEDGER else -1


class Planned(Exception):
    """Raised because the request asked for it."""


class Left(Exception):
    """The client left in the middle of its body."""


async def application(scope: dict[str, Any], receive: Any, send: Any) -> None:
    assert scope["type"] == "http", scope["type"]  # no lifespan
    _, what, value = scope["path"].split("/", 2)
    if what == "bytes":
        await _start(send, int(value))
        await _send_blocks(send, int(value))
    elif what == "drip":
        await _drip(send, float(value))
    elif what == "early":
        await _answer(send, b"early", int(value))  # without a look at the body
    elif what == "raise":
        await _raise(send, value)
    elif what == "hang":
        await hang(value)
    elif what == "work":  # /work/SECONDS/NUMBER
        seconds, _, number = value.partition("/")
        await asyncio.sleep(float(seconds))
        await _answer(send, f"worked {number}\n".encode())
    else:
        note("+", value)
        try:
            body = await _body(receive)
        except Left:
            return
        if WORK_S:
            await asyncio.sleep(WORK_S)
        if LEAK_BYTES:
            _kept.append(b"x" * LEAK_BYTES)
        note("-", value)
        await _answer(send, f"{value} {hashlib.sha256(body).hexdigest()} {len(body)}\n".ljust(1024, ".").encode())


def note(sign: str, value: str) -> None:
    """Write a line into the ledger, which outlives this process however it ends: sign, pid, number, time."""
    if _ledger >= 0:
        os.write(_ledger, f"{sign} {os.getpid()} {value} {time.monotonic():.6f}\n".encode())


async def hang(how: str) -> None:
    """Never come back. What is named here has to be found in the log."""
    if how == "await":
        await hang_awaiting()
    elif how == "sleep":
        hang_asleep()
    elif how == "spin":
        hang_in_a_loop()
    elif how == "lock":
        hang_at_a_lock()
    else:
        os.kill(os.getpid(), signal.SIGSTOP)


async def hang_awaiting() -> None:
    await asyncio.get_running_loop().create_future()


def hang_asleep() -> None:
    time.sleep(600)


def hang_in_a_loop() -> None:
    while True:
        pass


def hang_at_a_lock() -> None:
    lock = threading.Lock()
    lock.acquire()
    lock.acquire()


async def _body(receive: Any) -> bytes:
    pieces = []
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise Left
        pieces.append(message.get("body", b""))
        if not message.get("more_body"):
            return b"".join(pieces)


async def _start(send: Any, length: int | None, status: int = 200) -> None:
    headers = [(b"content-type", b"text/plain")]
    if length is not None:
        headers.append((b"content-length", str(length).encode()))
    await send({"type": "http.response.start", "status": status, "headers": headers})


async def _answer(send: Any, body: bytes, status: int = 200) -> None:
    await _start(send, len(body), status)
    await send({"type": "http.response.body", "body": body})


async def _send_blocks(send: Any, count: int) -> None:
    while count > len(BLOCK):
        await send({"type": "http.response.body", "body": BLOCK, "more_body": True})
        count -= len(BLOCK)
    await send({"type": "http.response.body", "body": BLOCK[:count]})


async def _drip(send: Any, seconds: float) -> None:
    """Ten bytes twice a second: a request that runs for so long, and moves."""
    steps = max(1, int(seconds * 2))
    await _start(send, steps * 10)
    for step in range(steps):
        await send({"type": "http.response.body", "body": b"123456789\n", "more_body": step < steps - 1})
        await asyncio.sleep(seconds / steps)


async def _raise(send: Any, where: str) -> None:
    if where == "before":
        raise Planned(where)
    if where == "import":
        import no_such_module_here  # noqa: F401
    if where == "type":
        await send({"type": "http.response.start", "status": "fine", "headers": [("a", 1)]})
    if where == "silent":
        return
    if where == "exit":
        sys.exit(3)
    if where == "_exit":
        os._exit(1)
    if where == "segv":
        ctypes.string_at(0)
    await _start(send, None)
    if where == "after-start":
        raise Planned(where)
    await send({"type": "http.response.body", "body": BLOCK, "more_body": True})
    await send({"type": "http.response.body", "body": BLOCK, "more_body": True})
    raise Planned(where)
