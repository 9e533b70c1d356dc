"""The ASGI application of the demo, spoken to event by event."""

from __future__ import annotations

import asyncio
import hashlib
import importlib.util
import json
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

FOLDER = Path(__file__).resolve().parents[2] / "conf" / "b-site"

Event = dict[str, Any]


@pytest.fixture
def site() -> ModuleType:
    spec = importlib.util.spec_from_file_location("b_site_app", FOLDER / "app.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


async def start(site: ModuleType) -> dict[str, Any]:
    """Run the lifespan and return its state."""
    state: dict[str, Any] = {}
    events = iter([{"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}])
    said: list[str] = []

    async def receive() -> Event:
        return next(events)

    async def send(event: Event) -> None:
        said.append(event["type"])

    await site.application({"type": "lifespan", "state": state}, receive, send)
    assert said == ["lifespan.startup.complete", "lifespan.shutdown.complete"]
    return state


async def ask(site: ModuleType, method: str, path: str, *pieces: bytes, query: bytes = b"") -> tuple[int, bytes]:
    """Return status and body; the client goes away after the last event that is not asked for."""
    state = await start(site)
    events = [{"type": "http.request", "body": piece, "more_body": True} for piece in pieces]
    events.append({"type": "http.request", "body": b"", "more_body": False})
    sent: list[Event] = []

    async def receive() -> Event:
        if events:
            return events.pop(0)
        await asyncio.Event().wait()  # still there
        raise AssertionError

    async def send(event: Event) -> None:
        sent.append(event)

    scope = {"type": "http", "method": method, "path": path, "query_string": query, "http_version": "1.1"}
    await site.application({**scope, "state": dict(state)}, receive, send)
    assert [event["more_body"] for event in sent[1:]][-1] is False
    assert state["counters"].streams == 0
    return sent[0]["status"], b"".join(event["body"] for event in sent[1:])


async def test_the_home_page_and_the_state_are_shown(site: ModuleType) -> None:
    status, page = await ask(site, "GET", "/")
    assert (status, page[:9]) == (200, b"<!doctype")
    status, state = await ask(site, "GET", "/state.json")
    assert (status, json.loads(state)["requests"]) == (200, 1)


@pytest.mark.parametrize(("query", "count"), [(b"n=3", 3), (b"", 10), (b"n=99999", 60), (b"n=x", 10), (b"n=-1", 10)])
async def test_ticks_end_by_themselves(site: ModuleType, query: bytes, count: int) -> None:
    site.TICK_S = 0
    _, body = await ask(site, "GET", "/ticks", query=query)
    assert body.count(b'"tick"') == count
    assert body.endswith(b"event: done\ndata: {}\n\n")


async def test_ticks_stop_when_the_visitor_leaves(site: ModuleType) -> None:
    state = await start(site)
    sent: list[Event] = []

    async def receive() -> Event:
        return {"type": "http.disconnect"}

    async def send(event: Event) -> None:
        sent.append(event)

    scope = {"type": "http", "method": "GET", "path": "/ticks", "query_string": b"n=60", "state": state}
    await site.application(scope, receive, send)
    assert len(sent) == 2
    assert state["counters"].streams == 0


async def test_uploads_are_hashed_and_echoed(site: ModuleType) -> None:
    status, body = await ask(site, "POST", "/sha256", b"some", b"thing")
    assert status == 200
    assert json.loads(body) == {"size_bytes": 9, "sha256": hashlib.sha256(b"something").hexdigest()}
    assert await ask(site, "PUT", "/echo", b"some", b"thing") == (200, b"something")


async def test_unknown_paths_and_methods_are_refused(site: ModuleType) -> None:
    assert (await ask(site, "GET", "/nowhere"))[0] == 404
    assert (await ask(site, "POST", "/"))[0] == 405
