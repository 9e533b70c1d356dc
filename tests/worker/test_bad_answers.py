"""What a worker does with answers that can't be sent, beside the plain cases of ``test_wsgi`` and ``test_asgi``: it
says FAILED or LOG once, breaks no rule of the wire, and stays able to do anything else.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest

from pyserve.wire import frames
from pyserve.worker.asgi_main import _run, new_loop
from pyserve.worker.heads import byte_head, parse_status, text_head
from pyserve.worker.loader import text_of
from tests.support.waiting import wait_until
from tests.worker.fake_front import Failed, serving_asgi, serving_wsgi

THREADS = pytest.mark.parametrize("threads", [1, 3])


@pytest.mark.parametrize(
    "headers",
    [
        None,
        {"TE": "x"},
        "ab",
        ["ab"],
        [b"ab"],
        [{"a": 1, "b": 2}],
        [("a",)],
        [("a", "b", "c")],
        [None],
        [7],
        7,
        [("Connection", "close\r\nX: y")],
        [("Content-Length", "5, 5")],
        [("Content-Length", "+5")],
        [("Content-Length", "0x5")],
        [("Content-Length", "\u0665")],
        [("Content-Length", "9" * 30)],
        [("Content-Length", "")],
        [("X-Surrogate", "\udc80")],
    ],
    ids=repr,
)
def test_headers_that_are_no_list_of_good_pairs_are_refused(headers: Any) -> None:
    with pytest.raises((TypeError, ValueError)):
        text_head(headers)
    with pytest.raises((TypeError, ValueError)):
        byte_head(headers)


def test_what_is_remembered_of_good_headers_lets_no_bad_ones_through() -> None:
    good = [("X-Remembered", "1"), ("Content-Length", "5")]
    assert text_head(good) == text_head(good) == (b"x-remembered: 1\r\n", 0, 5)
    assert parse_status("200 Fine") == parse_status("200 Fine") == 200
    for bad in ([("X-Remembered", 1)], [("X-Remembered", b"1")], [("X-Remembered", "1", "2")]):
        with pytest.raises((TypeError, ValueError)):
            text_head(bad)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="not a final status"):
        parse_status("200 Fine\n")


@pytest.mark.parametrize(
    ("value", "closes"), [("close", True), ("x, Close ,y", True), ("closed", False), ("keep-alive, not-close", False)]
)
def test_only_the_token_close_closes(value: str, closes: bool) -> None:
    assert bool(text_head([("Connection", value)])[1]) == closes


def test_equal_lengths_and_spaces_around_values_are_fine() -> None:
    headers = [("Content-Length", "5"), ("content-length", " 5\t"), ("X", " \t a b \t ")]
    assert text_head(headers) == (b"x: a b\r\n", 0, 5)


class Unspeakable(Exception):
    """Raises whatever one asks it."""

    @property
    def __traceback__(self) -> Any:  # type: ignore[override]
        raise SystemExit("asked for the traceback")

    def __str__(self) -> str:
        raise SystemExit("asked for the text")

    __repr__ = __str__


def test_an_exception_that_can_t_be_told_is_told_by_its_name() -> None:
    assert text_of(Unspeakable()).startswith("Unspeakable, and SystemExit while")


class NoClose:
    def __iter__(self) -> Iterator[bytes]:
        return iter([b"ok"])

    @property
    def close(self) -> Any:
        raise SystemExit("even this")


@THREADS
def test_nothing_of_the_application_s_objects_ends_a_worker(threads: int) -> None:
    def app(environ: dict[str, Any], start_response: Any) -> Any:
        if environ["PATH_INFO"] == "/unspeakable":
            raise Unspeakable
        start_response("200 OK", [("Content-Length", "2")])
        return NoClose() if environ["PATH_INFO"] == "/close" else [b"ok"]

    with serving_wsgi(app, threads) as front:
        for _ in range(threads + 1):
            with pytest.raises(Failed, match="Unspeakable"):
                front.ask(path="/unspeakable")
            assert front.ask(path="/close").body == b"ok"
        assert front.ask().body == b"ok"
    assert len(front.log) == threads + 1
    assert all("SystemExit: even this" in line for line in front.log)


def endless() -> Iterator[bytes]:
    while True:
        yield b"x" * 1000


@THREADS
@pytest.mark.parametrize(
    ("method", "status", "headers", "lines"),
    [
        ("GET", "200 OK", [("Content-Length", "1500")], 1),
        ("GET", "205 Reset Content", [], 1),
        ("GET", "204 No Content", [], 0),
        ("GET", "304 Not Modified", [], 0),
        ("HEAD", "200 OK", [], 0),
    ],
)
def test_an_endless_body_that_may_go_no_further_holds_no_worker(
    threads: int, method: str, status: str, headers: Any, lines: int
) -> None:
    def app(environ: dict[str, Any], start_response: Any) -> Any:
        start_response(status, headers)
        return endless()

    with serving_wsgi(app, threads) as front:
        for _ in range(threads + 1):
            answer = front.ask(method)
            assert len(answer.body) == max(answer.length, 0) if method == "GET" else not answer.body
        assert front.ask(method).status == int(status[:3])
    assert len(front.log) in (lines * (threads + 1), lines * (threads + 2))


@pytest.mark.parametrize("blocks", [[], [b"one"], [b"on", b"e"], [b"x" * 70_000]], ids=[0, 1, 2, "large"])
def test_a_wsgi_answer_that_is_too_short_fails_and_never_ends_well(blocks: list[bytes]) -> None:
    def app(environ: dict[str, Any], start_response: Any) -> Any:
        start_response("200 OK", [("Content-Length", "100000")])
        return blocks

    size = sum(map(len, blocks))
    with serving_wsgi(app) as front, pytest.raises(Failed, match=f"ends after {size} of the 100000 bytes"):
        front.ask()


@pytest.mark.parametrize("pieces", [[b""], [b"one"], [b"on", b"e"], [b"x" * 70_000], [b"x" * 70_000, b""]], ids=len)
def test_an_asgi_answer_that_is_too_short_is_an_error_in_send(pieces: list[bytes]) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        headers = [(b"content-length", b"100000")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        for piece in pieces[:-1]:
            await send({"type": "http.response.body", "body": piece, "more_body": True})
        await send({"type": "http.response.body", "body": pieces[-1]})

    size = sum(map(len, pieces))
    with serving_asgi(app) as front, pytest.raises(Failed, match=f"ends after {size} of the 100000 bytes"):
        front.ask()


@pytest.mark.parametrize(
    ("method", "status", "headers"),
    [
        ("GET", 200, [(b"content-length", b"5")]),
        ("GET", 205, []),
        ("GET", 204, []),
        ("GET", 304, []),
        ("HEAD", 200, []),
    ],
)
def test_an_endless_asgi_body_that_goes_nowhere_does_not_hold_the_loop(method: str, status: int, headers: Any) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": status, "headers": headers})
        while scope["path"] == "/endless":
            await send({"type": "http.response.body", "body": b"12345", "more_body": True})
        await send({"type": "http.response.body"})

    with serving_asgi(app) as front:
        number = front.request(method, "/endless")
        assert front.next_frame()[0] == frames.ANSWER
        other = front.request("HEAD")
        kinds = []
        while (frame := front.next_frame())[1] != other:
            kinds.append(frame[0])
        assert frame[0] == frames.ANSWER
        front.tell(frames.DISCONNECT, number)
        while (frame := front.next_frame())[1] != number:
            kinds.append(frame[0])
        # The client left: that ends the stream, and is no failure of the application.
        assert frame == (frames.FAILED, number, b"")
    assert set(kinds) <= {frames.LOG}
    assert len(kinds) == (method == "GET" and status in (200, 205))


def test_asking_for_a_client_that_left_again_and_again_does_not_hold_the_loop() -> None:
    is_enough: list[bool] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        while scope["path"] == "/asks" and not is_enough:
            await receive()
        await send({"type": "http.response.start", "status": 200})
        await send({"type": "http.response.body"})

    with serving_asgi(app) as front:
        number = front.request(path="/asks")
        wait_until(lambda: front.page.last_started(0) == number, "it asks")
        front.tell(frames.DISCONNECT, number)
        assert front.ask().status == 200
        is_enough.append(True)
        assert front.next_frame()[1] == number


def test_tasks_that_send_side_by_side_break_no_rule_of_the_wire() -> None:
    """One waits for credit with its piece when the other ends the answer."""
    outcome: list[BaseException] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200})
        if scope["path"] == "/":
            await send({"type": "http.response.body", "body": b"next"})
            return
        large = {"type": "http.response.body", "body": b"x" * 1_000_000, "more_body": True}
        task = asyncio.ensure_future(send(large))
        await asyncio.sleep(0)
        await send({"type": "http.response.body", "body": b""})
        try:
            await task
        except RuntimeError as error:
            outcome.append(error)

    with serving_asgi(app) as front:
        number = front.request(path="/both")
        size = 0
        while (frame := front.next_frame())[0] != frames.DATA_LAST:
            size += len(frame[2]) - 15 * (frame[0] == frames.ANSWER)
        assert size == frames.WINDOW
        front.tell(frames.CREDIT, number, frames.WINDOW)
        assert front.ask().body == b"next"
    assert "another task" in str(outcome[0])


@pytest.mark.parametrize("use_uvloop", [False, True], ids=["asyncio", "uvloop"])
@pytest.mark.parametrize("error", [SystemExit, KeyboardInterrupt])
def test_a_task_of_the_application_can_t_end_the_loop(
    error: type[BaseException], use_uvloop: bool, capfd: pytest.CaptureFixture[str]
) -> None:
    loop = new_loop() if use_uvloop else asyncio.new_event_loop()
    told: list[object] = []

    async def ends() -> None:
        raise error("on purpose")

    async def serve() -> str:
        try:
            await asyncio.create_task(ends())
        except error as raised:
            told.append(raised)
        loop.call_soon(ends().close)
        loop.stop()
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        told.append("served on")
        return "done"

    try:
        _run(loop, loop.create_task(serve()))  # type: ignore[arg-type]
    finally:
        loop.close()
    assert isinstance(told[0], error)
    assert told[1] == "served on"
    lines = capfd.readouterr().err.splitlines()
    assert len(lines) == 1
    assert lines[0].startswith(f"{error.__name__} in a task or callback at ")
