"""R16: 1,000 requests to applications that raise: before the answer, after its start, in the middle of it, in close().

500 before a byte is out; cut without a last chunk afterwards; never a second status line; the workers stay the same.
Those that exit or die of a segmentation fault are 502, and are replaced.
"""

from __future__ import annotations

import contextlib
import time
from collections import Counter

from tests.reliability.attackers import connected
from tests.reliability.figures import Figure, all_of, at_most, told
from tests.reliability.ledger import compare
from tests.reliability.settings import Settings
from tests.reliability.stage import Stage, beside, say, seconds_until

REQUESTS = 1000
# Host, where it raises, and what has to come of it. A start alone is not yet an answer on the wire.
CASES = (
    ("w", "before", "500"),
    ("w", "after-start", "500"),
    ("w", "first-step", "500"),
    ("w", "middle", "cut"),
    ("w", "import", "500"),
    ("w", "type", "500"),
    ("w", "texts", "500"),
    ("w", "close", "whole"),
    ("w", "exit", "500"),
    ("a", "import", "500"),
    ("a", "type", "500"),
    ("a", "silent", "500"),
    ("a", "exit", "500"),
    ("a", "before", "500"),
    ("a", "after-start", "500"),
    ("a", "middle", "cut"),
)
# Those that cost the worker, a few times each.
DEADLY = (("w", "_exit"), ("w", "segv"), ("a", "_exit"), ("a", "segv"))
DEATHS = 3


def _ask(stage: Stage, host: str, where: str, method: str = "GET") -> str:
    """Return "500", "502", "cut", "whole", or what else came."""
    answer = b""
    with contextlib.closing(connected(stage.address, 10)) as client:
        client.sendall(f"{method} /raise/{where} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
        with contextlib.suppress(ConnectionResetError):
            while data := client.recv(262144):
                answer += data
    if answer.count(b"HTTP/1.1 ") > 1:
        return "two status lines"
    if answer.startswith((b"HTTP/1.1 500", b"HTTP/1.1 502")) and not _tells(answer):
        return answer[9:12].decode()
    if answer.startswith(b"HTTP/1.1 200") and b"whole" in answer:
        return "whole"
    if answer.startswith(b"HTTP/1.1 200") and not answer.endswith(b"0\r\n\r\n"):
        return "cut"
    return f"{answer[:12]!r}, {len(answer)} bytes" if answer else "nothing"


def _tells(answer: bytes) -> bool:
    """Does it say what only the log may know?"""
    return any(word in answer for word in (b"Planned", b"Traceback", b"no_such_module", b"normal_"))


def _wait_all(stage: Stage) -> bool:
    """Wait until all workers serve."""

    def serving() -> bool:
        apps = stage.status()["apps"]
        states = [worker["state"] for app in ("wsgi", "asgi") for worker in apps[app]["workers"]]
        return sum(state in ("idle", "busy") for state in states) == 3

    return seconds_until(serving, 20) < 20


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
        died = [_ask(stage, host, how, "POST") for _ in range(DEATHS) for host, how in DEADLY if _wait_all(stage)]
        tracebacks = sum("Traceback (most recent" in line for line in stage.error_lines()[lines:])
        return [
            *rows,
            all_of("same workers as before", len(set(pids) & set(now)), len(pids)),
            all_of("exit and segmentation fault: 502", died.count("502"), len(DEADLY) * DEATHS, str(Counter(died))),
            Figure("all workers are back then", str(_wait_all(stage)), "True", _wait_all(stage)),
            at_most("tracebacks in the log (one a request is the most)", tracebacks, each * len(CASES)),
            told("error log grew by", f"{len(stage.error_lines()) - lines:,} lines"),
            *compare(base, summaries[0]),
        ]
