"""What ``pyserve top`` shows of this front: the requests that wait for a worker or run in one; a stack; a cancellation.

I/O: none. Everything is read from what calls keep anyway, so a request pays nothing for it. A request is named by its
front, application and stream, ``0.2.1234``: none of them changes while it runs.
"""

from __future__ import annotations

import marshal
from collections.abc import Callable
from time import monotonic
from typing import Any

from pyserve.handlers.call import AppCall
from pyserve.handlers.pool import Pool
from pyserve.handlers.worker import Worker

MOST = 1000
MAX_TARGET = 200
NOT_THERE = {"error": "no such request; it may have ended"}


def list_running(front: int, fronts: int, pools: list[Pool]) -> dict[str, Any]:
    """Return the answer to ``top``: the oldest requests first, at most ``MOST`` of them."""
    now = monotonic()
    found = []
    for pool in pools:
        found += [_describe(pool, None, call, now, front) for call in pool.queue if not call.exchange.over]
        for worker in pool.workers.values():
            found += [_describe(pool, worker, call, now, front) for call in worker.streams.values()]
    found.sort(key=lambda row: -row["age_s"])
    sockets = sum(len(worker.sockets) for pool in pools for worker in pool.workers.values())
    return {"front": front, "fronts": fronts, "total": len(found), "websockets": sockets, "requests": found[:MOST]}


def _describe(pool: Pool, worker: Worker | None, call: AppCall, now: float, front: int) -> dict[str, Any]:
    request = call.exchange.request
    client = marshal.loads(call.exchange.peer_blob)[0]
    return {
        "id": "" if worker is None else f"{front}.{pool.index}.{call.stream}",
        "age_s": round(now - call.exchange.started, 3),
        "phase": _phase(worker, call),
        "app": pool.name,
        "worker": None if worker is None else worker.number,
        "pid": None if worker is None else worker.pid,
        "method": request.method,
        "path": request.raw_target.decode("latin-1")[:MAX_TARGET],
        "client": client[0] if client else "",
    }


def _phase(worker: Worker | None, call: AppCall) -> str:
    if worker is None:
        return "queued"
    if call.is_timed_out:
        return "stuck"
    if call.waits_for_client:
        return "waits for client"
    return "answering" if call.has_answer else "running"


def find(pools: list[Pool], app: int, stream: int) -> tuple[Pool, Worker, AppCall] | None:
    """Return the request of a stream of this front, None if it has ended."""
    for pool in pools[app : app + 1]:
        for worker in pool.workers.values():
            call = worker.streams.get(stream)
            if call is not None:
                return pool, worker, call
    return None


def tell_stack(
    front: int, pools: list[Pool], app: int, stream: int, on_answer: Callable[[dict[str, Any]], None]
) -> None:
    """Answer ``stack``."""
    found = find(pools, app, stream)
    if found is None:
        on_answer(NOT_THERE)
        return
    pool, worker, call = found

    def told(text: str | None) -> None:
        row = _describe(pool, worker, call, monotonic(), front)
        if text is None:
            row["error"] = "the worker says nothing: it is stopped, or in code that does not let go of the interpreter"
        on_answer(row | {"stack": text or ""})

    pool.stacks.ask(worker, stream, told)


def cancel(front: int, pools: list[Pool], app: int, stream: int) -> dict[str, Any]:
    """Answer ``cancel``: end a request for its client, and in the application as far as that is possible."""
    found = find(pools, app, stream)
    if found is None:
        return NOT_THERE
    pool, worker, call = found
    row = _describe(pool, worker, call, monotonic(), front)
    pool.cancel(worker, call)
    return row | {"cancelled": True}
