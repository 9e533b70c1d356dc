"""The warmup against real runners: asked as a front asks, over before the worker is ready, without a trace."""

from __future__ import annotations

import asyncio
import contextlib
import mmap
import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pyserve.wire.scoreboard import MAX_FRONTS, PAGE_BYTES, Scoreboard
from pyserve.worker import warmup
from pyserve.worker.asgi import AsgiRunner
from pyserve.worker.wsgi_inline import InlineRunner
from pyserve.worker.wsgi_runner import WsgiRunner
from pyserve.worker.wsgi_threads import ThreadedRunner

_TIMEOUT_S = 20.0
KINDS = pytest.mark.parametrize("kind", ["inline", "threads", "asgi"])


def wsgi_app(seen: list[Any], answers: dict[str, Callable[[Any], Any]]) -> Callable[..., Any]:
    def app(environ: dict[str, Any], start_response: Any) -> Any:
        names = ("REQUEST_METHOD", "SCRIPT_NAME", "PATH_INFO", "QUERY_STRING", "HTTP_HOST", "HTTP_USER_AGENT")
        seen.append(tuple(environ[name] for name in names))
        path = environ["SCRIPT_NAME"] + environ["PATH_INFO"]
        if path in answers:
            return answers[path]((environ, start_response))
        start_response("200 OK", [])
        return [b"x"]

    return app


def asgi_app(seen: list[Any], answers: dict[str, Callable[[Any], Any]]) -> Callable[..., Any]:
    async def app(scope: dict[str, Any], receive: Any, send: Any) -> None:
        fields = dict(scope["headers"])
        mount, path = scope["root_path"], scope["path"]
        inner = path.removeprefix(mount)
        host, agent = fields[b"host"].decode(), fields[b"user-agent"].decode()
        seen.append((scope["method"], mount, inner, scope["query_string"].decode(), host, agent))
        if path in answers:
            await answers[path]((scope, send))
            return
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"x"})

    return app


class Warmed:
    """A runner that serves, in this process, and what its warmup told."""

    def __init__(self, runner: Any) -> None:
        self.runner = runner
        self.told: list[str] = []
        self.is_done = threading.Event()

    def warm_up(self, *targets: str, host: str = "localhost", mount: str = "", within_s: float = _TIMEOUT_S) -> None:
        spec = {"warmup": list(targets), "warmup_at": (host, mount)}
        warmup.start(self.runner, spec, time.monotonic() + within_s, self.told.append, self.is_done.set)

    def wait_done(self) -> list[str]:
        assert self.is_done.wait(_TIMEOUT_S)
        return self.told


@contextlib.contextmanager
def serving(kind: str, seen: list[Any], answers: dict[str, Callable[[Any], Any]] | None = None) -> Iterator[Warmed]:
    before = set(os.listdir("/dev/fd")), threading.active_count()
    page = Scoreboard(memoryview(mmap.mmap(-1, PAGE_BYTES)))
    if kind == "asgi":
        ready = threading.Event()
        found: list[AsgiRunner] = []

        async def serve_asgi() -> None:
            found.append(AsgiRunner(asyncio.get_running_loop(), asgi_app(seen, answers or {}), page, 100, {}))
            ready.set()
            await found[0].wait_stopped()
            await found[0].close()

        thread = threading.Thread(target=lambda: asyncio.run(serve_asgi()))
        thread.start()
        assert ready.wait(_TIMEOUT_S)
        runner: Any = found[0]
    else:
        threads = 3 if kind == "threads" else 1
        wsgi: WsgiRunner = (ThreadedRunner if threads > 1 else InlineRunner)(
            wsgi_app(seen, answers or {}), page, threads
        )
        thread = threading.Thread(target=wsgi.serve)
        thread.start()
        runner = wsgi
    try:
        yield Warmed(runner)
    finally:
        runner.stop()
        thread.join(_TIMEOUT_S)
        assert not thread.is_alive()
        if kind != "asgi":
            runner.close()
    for other in threading.enumerate():
        if other.name == "pyserve-warmup":
            other.join(_TIMEOUT_S)
    assert not runner.channels
    assert [page.last_started(front) for front in range(MAX_FRONTS)] == [0] * MAX_FRONTS
    assert (set(os.listdir("/dev/fd")), threading.active_count()) == before


@KINDS
def test_every_target_is_asked_in_order_with_the_sites_host_and_mount(kind: str) -> None:
    seen: list[Any] = []
    with serving(kind, seen) as warmed:
        warmed.warm_up("/", "/shop/caf%C3%A9?q=a%20b", host="shop.example", mount="/shop")
        assert warmed.wait_done() == []
    cafe = "/café" if kind == "asgi" else "/caf\xc3\xa9"
    assert seen == [
        ("GET", "", "/", "", "shop.example", "pyserve-warmup"),
        ("GET", "/shop", cafe, "q=a%20b", "shop.example", "pyserve-warmup"),
    ]


@KINDS
def test_nothing_is_left_of_it_when_the_worker_says_that_it_is_ready(kind: str) -> None:
    with serving(kind, []) as warmed:
        warmed.warm_up("/")
        warmed.wait_done()
        assert warmed.runner.channels == []
        assert warmed.runner.scoreboard.last_started(MAX_FRONTS - 1) == 0


@KINDS
def test_bad_answers_are_told_and_hinder_nothing(kind: str) -> None:
    def fail(call: Any) -> Any:
        raise ZeroDivisionError("in the view")

    def unavailable(call: Any) -> Any:
        call[1]("503 Service Unavailable", [])
        return [b"no"]

    async def fail_async(call: Any) -> None:
        raise ZeroDivisionError("in the view")

    async def unavailable_async(call: Any) -> None:
        await call[1]({"type": "http.response.start", "status": 503, "headers": []})
        await call[1]({"type": "http.response.body", "body": b"no"})

    answers: dict[str, Any] = (
        {"/fails": fail_async, "/503": unavailable_async} if kind == "asgi" else {"/fails": fail, "/503": unavailable}
    )
    seen: list[Any] = []
    with serving(kind, seen, answers) as warmed:
        warmed.warm_up("/fails", "/503", "/")
        failed, unavailable_said = warmed.wait_done()
    assert failed.startswith("/fails failed: Traceback")
    assert failed.endswith("ZeroDivisionError: in the view")
    assert unavailable_said == "/503 was answered 503"
    assert len(seen) == 3


@KINDS
def test_long_answers_are_read_to_their_end(kind: str) -> None:
    block = bytes(100_000)

    def long(call: Any) -> Any:
        call[1]("200 OK", [])
        return [block] * 20

    async def long_async(call: Any) -> None:
        await call[1]({"type": "http.response.start", "status": 200, "headers": []})
        for _ in range(20):
            await call[1]({"type": "http.response.body", "body": block, "more_body": True})
        await call[1]({"type": "http.response.body", "body": b""})

    seen: list[Any] = []
    with serving(kind, seen, {"/long": long_async if kind == "asgi" else long}) as warmed:
        warmed.warm_up("/long", "/")
        assert warmed.wait_done() == []
    assert len(seen) == 2


@KINDS
def test_files_that_are_handed_over_are_closed(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "large"
    path.write_bytes(bytes(1_000_000))

    def file(call: Any) -> Any:
        environ, start_response = call
        start_response("200 OK", [("Content-Length", "1000000")])
        return environ["wsgi.file_wrapper"](path.open("rb"))

    async def file_async(call: Any) -> None:
        await call[1]({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"1000000")]})
        await call[1]({"type": "http.response.pathsend", "path": str(path)})

    with serving(kind, [], {"/file": file_async if kind == "asgi" else file}) as warmed:
        warmed.warm_up("/file", "/file", "/file", "/")
        assert warmed.wait_done() == []


@KINDS
def test_an_answer_that_never_comes_ends_with_the_time(kind: str) -> None:
    release = threading.Event()
    seen: list[Any] = []

    def hang(call: Any) -> Any:
        release.wait(_TIMEOUT_S)
        call[1]("200 OK", [])
        return [b"late"]

    async def hang_async(call: Any) -> None:
        await asyncio.to_thread(release.wait, _TIMEOUT_S)

    with serving(kind, seen, {"/hangs": hang_async if kind == "asgi" else hang}) as warmed:
        warmed.warm_up("/hangs", "/never", within_s=0.1)
        (said,) = warmed.wait_done()
        release.set()
    assert said.startswith("/hangs was not answered within 0.")
    assert len(seen) == 1


@KINDS
def test_a_worker_that_is_to_stop_meanwhile_is_never_ready(kind: str) -> None:
    release, begun = threading.Event(), threading.Event()

    def slow(call: Any) -> Any:
        begun.set()
        release.wait(_TIMEOUT_S)
        call[1]("200 OK", [])
        return [b"late"]

    async def slow_async(call: Any) -> None:
        begun.set()
        await asyncio.to_thread(release.wait, _TIMEOUT_S)
        await call[1]({"type": "http.response.start", "status": 200, "headers": []})
        await call[1]({"type": "http.response.body", "body": b"late"})

    with serving(kind, [], {"/slow": slow_async if kind == "asgi" else slow}) as warmed:
        warmed.warm_up("/slow", "/")
        assert begun.wait(_TIMEOUT_S)
        warmed.runner.stop()
        release.set()
    assert not warmed.is_done.is_set()
    assert warmed.told == []
