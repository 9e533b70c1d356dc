"""Step 5: where a request is just now, in words for the log and for ``pyserve top``.

I/O: none; looks at frames of other threads and at tasks of the loop while they run. What it sees may have moved on when
it is read. Called from the watcher's thread, so it needs the interpreter for a moment: code that holds it (C code that
never lets go) is shown by ``faulthandler`` instead, see ``main``.

A task that waits says little where frameworks run handlers in tasks and threads of their own: so the tasks and threads
that it has at hand where it waits are shown too, as far as they are found (``_followed``).
"""

from __future__ import annotations

import gc
import os
import sys
import threading
from collections import deque
from collections.abc import Iterator
from types import FrameType
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    import asyncio

MAX_TEXT_BYTES = 32 * 1024
_MOST_FRAMES = 60
_MOST_FOLLOWED = 8
"""Tasks and threads that are shown beside a request's own task."""
_MOST_LOOKED_AT = 50
"""Elements of a list of tasks."""
_OUTERMOST = 5
"""Frames of a thread in which it is seen what it works for."""
_POOLS = ("/threading.py", "/concurrent/futures/thread.py")
"""At the outer end of a thread's stack they say nothing either."""
_OURS = os.path.dirname(os.path.abspath(__file__)) + os.sep
# Coroutines, generators and asynchronous generators name the same things differently. What is said to run while another
# coroutine of the same task runs is an asynchronous generator, always.
_KINDS = (
    ("cr_frame", "cr_running", "cr_await"),
    ("gi_frame", "gi_running", "gi_yieldfrom"),
    ("ag_frame", "", "ag_await"),
)


class _Place(NamedTuple):
    """Where a task is. ``waits_for``: a future, None = it computes, or its turn has come."""

    words: str
    frames: list[FrameType]
    waits_for: Any


def of_thread(ident: int) -> str:
    """Return the stack of a thread, from the application's first frame on; "" if there is no such thread."""
    frame = sys._current_frames().get(ident)
    return "" if frame is None else _words(_outwards(frame))


def in_application(ident: int) -> str:
    """The same; "" where the thread is in no code but ours."""
    frame = sys._current_frames().get(ident)
    return "" if frame is None or _is_ours(frame) else _words(_outwards(frame))


def of_task(task: asyncio.Task[Any], loop_thread: int) -> str:
    """Return where a task waits and what goes on there, or, if it is what the loop runs now, where it computes."""
    place = _place_of(task, loop_thread)
    try:
        return place.words + _followed(task, place, loop_thread)
    except Exception as error:
        # They change while they are looked at, and what is known already is worth more.
        return f"{place.words}what it waits for can't be told: {type(error).__name__}: {error}\n"


def _place_of(task: asyncio.Task[Any], loop_thread: int) -> _Place:
    frames: list[FrameType] = []
    known: set[int] = set()
    thing: Any = task.get_coro()
    while thing is not None and id(thing) not in known:
        known.add(id(thing))
        kind = next((kind for kind in _KINDS if hasattr(thing, kind[0])), None)
        if kind is None:
            # What wraps one of them does not say which; its references do.
            inner = next((held for held in gc.get_referents(thing) if _is_coroutine(held)), None)
            # The iterator of a future says nothing that the frame before it does not.
            if inner is None and type(thing).__name__ != "FutureIter":
                return _Place(f"{_words(frames)}waiting for {_described(thing)}\n", frames, _waiter_of(task))
            thing = inner
            continue
        frame, is_running, awaits = kind
        if is_running and getattr(thing, is_running):
            return _Place(of_thread(loop_thread), [], None)
        if (own := getattr(thing, frame)) is not None:
            frames.append(own)
        thing = getattr(thing, awaits, None)
    return _Place(_words(frames), frames, _waiter_of(task))


def _waiter_of(task: asyncio.Task[Any]) -> Any:
    """Return the future that a task waits for, None if there is none."""
    return getattr(task, "_fut_waiter", None)


def _is_coroutine(thing: Any) -> bool:
    return any(hasattr(thing, frame) for frame, _, _ in _KINDS)


def _described(thing: Any) -> str:
    try:
        return repr(thing)[:500]
    except Exception as error:
        return f"a {type(thing).__name__}, whose description raises {type(error).__name__}"


# What a task waits for.


def _followed(task: asyncio.Task[Any], place: _Place, loop_thread: int) -> str:
    """Return where the tasks and threads are that a task may wait for, and those that they may wait for."""
    words = ""
    shown = 0
    known: set[Any] = {task}
    ahead = deque(_others(place))
    while ahead and shown < _MOST_FOLLOWED:
        other = ahead.popleft()
        if other in known:
            continue
        known.add(other)
        if isinstance(other, int):
            told, name = of_thread(other), f"thread {_name_of_thread(other)}"
        elif other.done():
            continue
        else:
            place = _place_of(other, loop_thread)
            told, name = place.words, f"task {other.get_name()[:200]}"
            ahead += _others(place)
        if told:
            words += f"and {name}:\n{told}"
            shown += 1
    return words


def _others(place: _Place) -> Iterator[asyncio.Task[Any] | int]:
    """Yield tasks, and identifiers of threads, that something at this place may wait for; some of them twice."""
    import asyncio
    from concurrent.futures import Future

    future = place.waits_for
    if future is None:
        return
    results = [future]
    if isinstance(future, asyncio.Task):
        yield future
    yield from _tasks_in(getattr(future, "_children", None))  # gather
    for callback, _ in getattr(future, "_callbacks", None) or ():
        # The links between two futures are callbacks that know both: shield, to_thread, run_in_executor.
        for cell in getattr(callback, "__closure__", None) or ():
            if isinstance(cell.cell_contents, asyncio.Task):
                yield cell.cell_contents
            elif isinstance(cell.cell_contents, (asyncio.Future, Future)):
                results.append(cell.cell_contents)
    for frame in reversed(place.frames):
        if not _is_ours(frame):
            values = list(frame.f_locals.values())
            yield from _tasks_in(values)
            for value in values:
                if "TaskGroup" in type(value).__name__:  # asyncio's, anyio's
                    yield from _tasks_in(_attributes(value).get("_tasks"))
                else:
                    yield from _tasks_in(value)  # for asyncio.wait
    yield from _threads_for(results)


def _tasks_in(values: Any) -> Iterator[asyncio.Task[Any]]:
    import asyncio

    if type(values) in (list, tuple, set, frozenset):
        for value in list(values)[:_MOST_LOOKED_AT]:
            if isinstance(value, asyncio.Task):
                yield value


def _threads_for(results: list[Any]) -> Iterator[int]:
    """Yield the threads that make one of these results, to be seen from the outermost frames of a pool's thread: it has
    the future there (anyio), or what was ordered, which has it (concurrent.futures)."""
    for ident, innermost in sys._current_frames().items():
        if ident == threading.get_ident():
            continue
        for frame in _outwards(innermost)[:_OUTERMOST]:
            for value in list(frame.f_locals.values()):
                ordered = _attributes(value).get("future")
                if any(result is value or result is ordered for result in results):
                    yield ident


def _name_of_thread(ident: int) -> str:
    frame = sys._current_frames().get(ident)
    for outer in [] if frame is None else _outwards(frame)[:2]:
        name = _attributes(outer.f_locals.get("self")).get("_name")
        if isinstance(name, str):
            return name[:200]
    return str(ident)


def _attributes(thing: Any) -> dict[str, Any]:
    """Return the attributes of an object of anybody's, without running a line of its code."""
    try:
        attributes = object.__getattribute__(thing, "__dict__")
    except AttributeError:
        return {}
    return attributes if type(attributes) is dict else {}


# In words.


def _outwards(frame: FrameType | None) -> list[FrameType]:
    """Return a frame and those that have called it, the outermost first."""
    frames = []
    while frame is not None:
        frames.append(frame)
        frame = frame.f_back
    frames.reverse()
    return frames


def _is_ours(frame: FrameType) -> bool:
    return frame.f_code.co_filename.startswith(_OURS)


def _words(frames: list[FrameType]) -> str:
    """Return frames, outermost first, as a traceback shows them; ours at the outer end say nothing."""
    import traceback  # 2 ms that a worker without trouble does not pay

    first = 0
    for index, frame in enumerate(frames):
        if _is_ours(frame) or (index == first and frame.f_code.co_filename.endswith(_POOLS)):
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
