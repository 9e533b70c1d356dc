"""F6: clients that send 200 MB, one 1 GB, to a path that answers 404, 413 or 403 at once, with and without Expect.

A client that writes everything before it reads always sees the answer, never a reset before it.
"""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from typing import NamedTuple

from tests.reliability.attackers import connected, status_of
from tests.reliability.figures import Figure, at_most, told
from tests.reliability.ledger import compare
from tests.reliability.settings import Settings
from tests.reliability.stage import Stage, beside, say
from tests.reliability.watch import Watch

SIZE = 200_000_000
LARGE = 1_000_000_000
BLOCK = b"x" * 262_144
TARGETS = (
    ("404 without a look", "f", "/gone", 404),
    ("413", "s", "/echo/1", 413),
    ("403 by ASGI", "a", "/early/403", 403),
)


class Upload(NamedTuple):
    status: int
    sent: int
    seconds: float
    error: str


def _upload(stage: Stage, host: str, path: str, size: int, *, expects: bool, obeys: bool) -> Upload:
    """``expects``: ask with Expect first; ``obeys``: then send nothing when the answer is no."""
    began = time.monotonic()
    sent = 0
    answer = b""
    error = ""
    with contextlib.closing(connected(stage.address, 30)) as client:
        expectation = "Expect: 100-continue\r\n" if expects else ""
        try:
            client.sendall(
                f"POST {path} HTTP/1.1\r\nHost: {host}\r\n{expectation}Content-Length: {size}\r\n\r\n".encode()
            )
            if expects and obeys:
                answer = client.recv(65536)
            if status_of(answer) < 200:
                while sent < size:
                    client.sendall(BLOCK[: size - sent])
                    sent += min(len(BLOCK), size - sent)
        except OSError as problem:
            error = f"{problem.strerror or problem} after {sent / 1e6:.0f} MB"
        answer += _rest(client)
    return Upload(status_of(answer), sent, time.monotonic() - began, error)


def _rest(client: socket.socket) -> bytes:
    """Return what can still be read until the end; a reset takes even what had arrived."""
    answer = b""
    with contextlib.suppress(OSError):
        while data := client.recv(65536):
            answer += data
    return answer


def run(settings: Settings) -> list[Figure]:
    with Stage(settings, "uploads", limits='max_body = "4GiB"') as stage:
        base = stage.base()
        rows = []
        with Watch(stage) as watch, beside(stage) as summaries:
            for name, host, path, wanted in TARGETS:
                for how, expects, obeys in (
                    ("", False, False),
                    (", Expect, waits", True, True),
                    (", Expect, sends anyway", True, False),
                ):
                    size = settings.count(SIZE)
                    say(f"uploads: {size // 1_000_000} MB, {name}{how}")
                    upload = _upload(stage, host, path, size, expects=expects, obeys=obeys)
                    rows.append(_row(f"{size // 1_000_000} MB: {name}{how}", upload, wanted))
            size = settings.count(LARGE)
            say(f"uploads: {size // 1_000_000} MB, and three at once")
            rows.append(
                _row(
                    f"{size // 1_000_000} MB: 404", _upload(stage, "f", "/gone", size, expects=False, obeys=False), 404
                )
            )
            rows += _three_at_once(stage)
        return [
            *rows,
            *compare(base, summaries[0]),
            at_most("memory grew by (PSS, all processes)", watch.grown_mb, 30, "MB"),
            told("spool at most", f"{watch.most_spool[0]} files, {watch.most_spool[1] / 1e6:.1f} MB"),
        ]


def _three_at_once(stage: Stage) -> list[Figure]:
    size = stage.settings.count(SIZE)
    found: list[tuple[str, Upload, int]] = []

    def one(name: str, host: str, path: str, wanted: int) -> None:
        found.append((name, _upload(stage, host, path, size, expects=False, obeys=False), wanted))

    threads = [threading.Thread(target=one, args=target) for target in TARGETS]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return [_row(f"three at once, {size // 1_000_000} MB: {name}", upload, wanted) for name, upload, wanted in found]


def _row(what: str, upload: Upload, wanted: int) -> Figure:
    value = f"{upload.status or 'no answer'} after {upload.sent / 1e6:.0f} MB, {upload.seconds:.1f} s"
    if upload.error:
        value += f" ({upload.error})"
    return Figure(what, value, f"{wanted}, no error", upload.status == wanted and not upload.error)
