"""One run of one target: counts, notices what breaks, makes it small, saves it, and says how far it is.

I/O: reads the clock, writes failing inputs to a folder and progress to standard error. Both engines use it.
"""

from __future__ import annotations

import hashlib
import re
import signal
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from tests.fuzz.registry import Target

PROGRESS_S = 2.0
HANG_S = 1.0
MOST_KINDS = 20
"""Of failures: after so many different ones there is something to repair first."""
_SHRINK_S = 5.0
_VALUES = re.compile(r"b?'.*'|b?\".*\"|[0-9]+")
_CHECK_CLOCK_EVERY = 16


class Hang(Exception):
    """An execution that did not end."""


class Failure(NamedTuple):
    kind: str
    """"difference" (an invariant is broken), "crash" (any other exception) or "hang"."""
    summary: str
    path: Path


class Session:
    def __init__(self, target: Target, runs: int, seconds: float, folder: Path) -> None:
        """``runs``, ``seconds``: whichever is reached first ends it; 0 = no such limit."""
        self.target = target
        self._runs = runs
        self._seconds = seconds
        self._folder = folder
        self._started = time.monotonic()
        self._shown = self._started
        self._last_count = 0
        self._last_alarm = -1
        self._is_checking = False
        self.executions = 0
        self.failures: dict[str, Failure] = {}
        self.slowest_s = 0.0
        self.slowest = b""
        self.is_done = False

    def watch_for_hangs(self) -> None:
        """Interrupt an execution that is still the same one after two looks. Not where libFuzzer has its own alarm."""
        signal.signal(signal.SIGALRM, self._look)
        signal.setitimer(signal.ITIMER_REAL, HANG_S, HANG_S)

    def _look(self, *_: object) -> None:
        if self._last_alarm == self.executions and self._is_checking:
            self._last_alarm = -1
            raise Hang(f"still not done after {HANG_S:g} s")
        self._last_alarm = self.executions

    def execute(self, data: bytes) -> bool:
        """Check one input; return False if it broke the invariant."""
        problem: Exception | None = None
        before = time.perf_counter()
        self._is_checking = True
        try:
            self.target.check(data)
        except Exception as error:
            problem = error
        self._is_checking = False
        took_s = time.perf_counter() - before
        if took_s > self.slowest_s:
            self.slowest_s, self.slowest = took_s, data
        if problem is not None:
            self._failed(data, problem)
        self.executions += 1
        if self.executions % _CHECK_CLOCK_EVERY == 0 or self.executions == self._runs:
            self._tell()
        return problem is None

    def _failed(self, data: bytes, error: Exception) -> None:
        key = kind_of(error)
        if key in self.failures or len(self.failures) >= MOST_KINDS:
            return
        if not isinstance(error, Hang):
            data = shrink(data, lambda shorter: outcome(self.target.check, shorter) == key)
        self._folder.mkdir(parents=True, exist_ok=True)
        path = self._folder / f"{self.target.name}-{hashlib.sha256(data).hexdigest()[:12]}"
        path.write_bytes(data)
        kind = "hang" if isinstance(error, Hang) else "difference" if isinstance(error, AssertionError) else "crash"
        self.failures[key] = Failure(kind, str(error), path)
        # What hangs is not run again: it might never end.
        told = f"{self.target.name}: {error}" if kind == "hang" else describe(self.target, data)
        print(f"\n{told}\n{replay_hint(self.target, path)}", file=sys.stderr)
        self.is_done = self.is_done or len(self.failures) >= MOST_KINDS

    def _tell(self) -> None:
        now = time.monotonic()
        elapsed_s = now - self._started
        self.is_done = (
            self.is_done
            or bool(self._runs and self.executions >= self._runs)
            or bool(self._seconds and elapsed_s >= self._seconds)
        )
        if now - self._shown < PROGRESS_S and not self.is_done:
            return
        rate = (self.executions - self._last_count) / max(now - self._shown, 1e-6)
        self._shown, self._last_count = now, self.executions
        left_s = [self._seconds - elapsed_s] if self._seconds else []
        if self._runs:
            left_s.append((self._runs - self.executions) * elapsed_s / self.executions)
        of = f" of {self._runs:,}" if self._runs else ""
        line = (
            f"{self.target.name}: {self.executions:,}{of} executions, {rate:,.0f}/s, "
            f"{max(0.0, min(left_s)):,.0f} s left, {len(self.failures)} kinds of failures"
        )
        end = "\r" if sys.stderr.isatty() else "\n"
        print(f"{line:<100}" if end == "\r" else line, end=end, file=sys.stderr, flush=True)

    def totals(self) -> str:
        """Return the last line of a run."""
        elapsed_s = self._shown - self._started
        kinds = [failure.kind for failure in self.failures.values()]
        return (
            f"{self.target.name}: {self.executions:,} executions in {elapsed_s:,.1f} s "
            f"({self.executions / elapsed_s:,.0f}/s); {kinds.count('difference')} differences, "
            f"{kinds.count('crash')} crashes, {kinds.count('hang')} hangs; "
            f"slowest input {self.slowest_s * 1000:.1f} ms ({len(self.slowest)} bytes)"
        )


def kind_of(error: BaseException) -> str:
    """Return what makes two failures the same: where it was noticed and in which words, not what the bytes were."""
    frames = traceback.extract_tb(error.__traceback__)[1:]  # the first one is whoever asked
    words = _VALUES.sub("…", str(error).partition("\n")[0])
    return " ".join([words, *(f"{Path(frame.filename).name}:{frame.lineno}" for frame in frames[-3:])])


def outcome(check: Callable[[bytes], None], data: bytes) -> str:
    try:
        check(data)
    except Exception as error:
        return kind_of(error)
    return ""


def shrink(data: bytes, still_fails: Callable[[bytes], bool]) -> bytes:
    """Take out of ``data`` what the failure does not need, larger pieces first."""
    give_up = time.monotonic() + _SHRINK_S
    size = max(1, len(data) // 2)
    while size:
        at = 0
        while at < len(data):
            shorter = data[:at] + data[at + size :]
            if time.monotonic() > give_up:
                return data
            if still_fails(shorter):
                data = shorter
            else:
                at += size
        size //= 2
    return data


def describe(target: Target, data: bytes) -> str:
    """Run an input once more; return the bytes and what they break."""
    try:
        target.check(data)
        result = "holds"
    except Exception as error:
        result = "".join(traceback.format_exception(error)).rstrip()
    return f"{target.name}: {data!r}\n{result}"


def replay_hint(target: Target, path: Path) -> str:
    return f"replay it: python -m tests.fuzz {target.name} --replay {path}"
