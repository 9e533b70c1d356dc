"""A live callable in the caller's own process."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from pyserve.wire import frames
from pyserve.worker.embedded import EmbeddedWorker
from pyserve.worker.loader import LoadError
from tests.worker.fake_front import FakeFront


def wsgi(environ: dict[str, Any], start_response: Any) -> list[bytes]:
    start_response("200 OK", [])
    return [str(environ["wsgi.multiprocess"]).encode()]


async def asgi(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] == "lifespan":
        await receive()
        scope["state"]["loop"] = asyncio.get_running_loop()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await send({"type": "lifespan.shutdown.complete"})
        return
    assert scope["state"]["loop"] is asyncio.get_running_loop()
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"asgi"})


@pytest.mark.parametrize(
    ("app", "threads", "interface", "body"),
    [(wsgi, 1, frames.WSGI, b"False"), (wsgi, 4, frames.WSGI, b"False"), (asgi, 1, frames.ASGI, b"asgi")],
)
async def test_a_live_callable_answers_and_closes(app: Any, threads: int, interface: int, body: bytes) -> None:
    front = FakeFront()
    worker = EmbeddedWorker(app, front.page, front.worker_data, front.worker_control, threads=threads)
    assert worker.interface == interface
    await worker.start()
    loop = asyncio.get_running_loop()
    # The fake front blocks, so it asks from another thread.
    await loop.run_in_executor(None, front.expect_hello, interface)
    for _ in range(3):
        answer = await loop.run_in_executor(None, front.ask)
        assert answer.body == body
    await worker.close()
    with pytest.raises(EOFError):
        front.next_frame()
    front.close()


async def test_a_shutdown_that_failed_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await send({"type": "lifespan.shutdown.failed", "message": "not closed"})

    front = FakeFront()
    worker = EmbeddedWorker(app, front.page, front.worker_data, front.worker_control)
    await worker.start()
    await worker.close()
    assert capsys.readouterr().err == "lifespan shutdown failed: not closed\n"
    front.close()


async def test_a_startup_that_failed_is_told() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "lifespan.startup.failed", "message": "not today"})

    front = FakeFront()
    with pytest.raises(LoadError, match="not today"):
        await EmbeddedWorker(app, front.page, front.worker_data, front.worker_control).start()
    front.close()
