"""R16: 1,000 requests to applications that raise: before the answer, after its start, in the middle of it.

500 before a byte is out; cut without a last chunk afterwards; never a second status line; the workers stay the same.
"""

from __future__ import annotations

import contextlib
import time
from collections import Counter

from tests.reliability.attackers import connected
from tests.reliability.figures import Figure, all_of, at_most, told
from tests.reliability.ledger import compare
from tests.reliability.settings import Settings
from tests.reliability.stage import Stage, beside, say

REQUESTS = 1000
# Host, where it raises, and what has to come of it. A start alone is not yet an answer on the wire.
CASES = (
    ("w", "before", "500"),
    ("w", "after-start", "500"),
    ("w", "first-step", "500"),
    ("w", "middle", "cut"),
    ("a", "before", "500"),
    ("a", "after-start", "500"),
    ("a", "middle", "cut"),
)


def _ask(stage: Stage, host: str, where: str) -> str:
    """Return "500", "cut", or what else came."""
    answer = b""
    with contextlib.closing(connected(stage.address, 10)) as client:
        client.sendall(f"GET /raise/{where} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
        with contextlib.suppress(ConnectionResetError):
            while data := client.recv(262144):
                answer += data
    if answer.count(b"HTTP/1.1 ") > 1:
        return "two status lines"
    if answer.startswith(b"HTTP/1.1 500") and b"Planned" not in answer:
        return "500"
    if answer.startswith(b"HTTP/1.1 200") and not answer.endswith(b"0\r\n\r\n"):
        return "cut"
    return f"{answer[:12]!r}, {len(answer)} bytes" if answer else "nothing"


def run(settings: Settings) -> list[Figure]:
    with Stage(settings, "app_raises") as stage:
        base = stage.base()
        pids = stage.site.worker_pids("wsgi") + stage.site.worker_pids("asgi")
        each = settings.count(REQUESTS) // len(CASES)
        say(f"app_raises: {each} of each of {len(CASES)} cases")
        lines = len(stage.error_lines())
        rows = []
        began = time.monotonic()
        with beside(stage) as summaries:
            for host, where, wanted in CASES:
                found = Counter(_ask(stage, host, where) for _ in range(each))
                detail = ", ".join(f"{count} x {what}" for what, count in found.most_common(3))
                kind = {"w": "WSGI", "a": "ASGI"}[host]
                rows.append(all_of(f"{kind} raises {where}: {wanted}", found[wanted], each, detail))
            time.sleep(max(0.0, began + settings.base_s - time.monotonic()))
        now = stage.site.worker_pids("wsgi") + stage.site.worker_pids("asgi")
        tracebacks = sum("Traceback (most recent" in line for line in stage.error_lines()[lines:])
        return [
            *rows,
            all_of("same workers as before", len(set(pids) & set(now)), len(pids)),
            at_most("tracebacks in the log (one a request is the most)", tracebacks, each * len(CASES)),
            told("error log grew by", f"{len(stage.error_lines()) - lines:,} lines"),
            *compare(base, summaries[0]),
        ]
