"""Step 5: where a request is just now, in words for the log and for ``pyserve top``.

I/O: none; looks at frames of other threads and at tasks of the loop while they run. What it sees may have moved on when
it is read. Called from the watcher's thread, so it needs the interpreter for a moment: code that holds it (C code that
never lets go) is shown by ``faulthandler`` instead, see ``main``.
"""

from __future__ import annotations

import os
import sys
from types import FrameType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import asyncio

MAX_TEXT_BYTES = 32 * 1024
_MOST_FRAMES = 60
_OURS = os.path.dirname(os.path.abspath(__file__)) + os.sep


def of_thread(ident: int) -> str:
    """Return the stack of a thread, from the application's first frame on; "" if there is no such thread."""
    frame = sys._current_frames().get(ident)
    return "" if frame is None else _words(_outwards(frame))


def of_task(task: asyncio.Task[Any], loop_thread: int) -> str:
    """Return where a task waits, or, if it is what the loop runs now, where it computes."""
    frames: list[FrameType] = []
    waits_for: Any = task.get_coro()
    while waits_for is not None and len(frames) < 1000:
        # Coroutines, generators and asynchronous generators name the same things differently.
        for kind in ("cr", "gi", "ag"):
            frame = getattr(waits_for, f"{kind}_frame", None)
            if frame is not None:
                if getattr(waits_for, f"{kind}_running", False) and kind != "ag":
                    return of_thread(loop_thread)
                frames.append(frame)
            inner = getattr(waits_for, f"{kind}_await", None) or getattr(waits_for, f"{kind}_yieldfrom", None)
            if frame is not None or inner is not None:
                waits_for = inner
                break
        else:
            # The iterator of a future says nothing that the frame before it does not.
            is_known = type(waits_for).__name__ == "FutureIter"
            return _words(frames) + ("" if is_known else f"waiting for {_described(waits_for)}\n")
    return _words(frames)


def _described(thing: Any) -> str:
    try:
        return repr(thing)[:500]
    except Exception as error:
        return f"a {type(thing).__name__}, whose description raises {type(error).__name__}"


def _outwards(frame: FrameType | None) -> list[FrameType]:
    frames = []
    while frame is not None:
        frames.append(frame)
        frame = frame.f_back
    frames.reverse()
    return frames


def _words(frames: list[FrameType]) -> str:
    """Return frames, outermost first, as a traceback shows them; ours at the outer end say nothing."""
    import traceback  # 2 ms that a worker without trouble does not pay

    first = 0
    for index, frame in enumerate(frames):
        if frame.f_code.co_filename.startswith(_OURS):
            first = index + 1
        elif index > first + 20:
            break
    shown = frames[first:] or frames[-1:]
    cut = ""
    if len(shown) > _MOST_FRAMES:
        cut = f"  … {len(shown) - _MOST_FRAMES} frames\n"
        shown = shown[-_MOST_FRAMES:]
    summary = traceback.StackSummary.extract((frame, frame.f_lineno or 0) for frame in shown)
    return cut + "".join(summary.format())


def payload_of(text: str) -> bytes:
    """Return a text as the payload of a frame; of one that is too long the innermost end."""
    raw = text.encode("utf-8", "backslashreplace")
    return raw if len(raw) <= MAX_TEXT_BYTES else b"..." + raw[-MAX_TEXT_BYTES:]
