"""Where requests are said to be: tasks that wait, what they wait for, threads; seen from another thread."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import anyio.to_thread
import pytest

from pyserve.wire import frames
from pyserve.worker import stacks
from tests.support.waiting import wait_until
from tests.worker.fake_front import FakeFront, serving_asgi, serving_wsgi

GATE = threading.Event()
OTHERS: list[asyncio.Task[None]] = []


class Running(NamedTuple):
    task: asyncio.Task[Any]
    thread: int

    def words(self) -> str:
        return stacks.of_task(self.task, self.thread)


@contextmanager
def running(function: Callable[[], Coroutine[Any, Any, Any]]) -> Iterator[Running]:
    """Run it as a task on a loop in another thread."""
    GATE.clear()
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    made: list[asyncio.Task[Any]] = []
    loop.call_soon_threadsafe(lambda: made.append(loop.create_task(function())))
    wait_until(lambda: bool(made), "a task")
    assert thread.ident is not None
    try:
        yield Running(made[0], thread.ident)
    finally:
        GATE.set()

        async def end() -> None:
            OTHERS.clear()
            others = asyncio.all_tasks() - {asyncio.current_task()}
            for task in others:
                task.cancel()
            await asyncio.gather(*others, return_exceptions=True)
            await loop.shutdown_default_executor()

        asyncio.run_coroutine_threadsafe(end(), loop).result(10)
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


def block() -> None:
    GATE.wait()


async def forever() -> None:
    await asyncio.Event().wait()


async def plain() -> None:
    await forever()


async def a_task() -> None:
    await asyncio.create_task(forever())


async def gather() -> None:
    await asyncio.gather(asyncio.sleep(0), forever())


async def group() -> None:
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(forever())


async def anyio_group() -> None:
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(forever)


async def wait() -> None:
    await asyncio.wait({asyncio.create_task(forever())})


async def wait_for() -> None:
    await asyncio.wait_for(forever(), 600)


async def shield() -> None:
    await asyncio.shield(forever())


async def middleware() -> None:
    """As Starlette's: the application runs in a task beside, and what is awaited is its first message."""
    async with anyio.create_task_group() as tasks:
        sending, receiving = anyio.create_memory_object_stream[int]()
        tasks.start_soon(forever)
        with sending, receiving:
            await receiving.receive()


async def nested() -> None:
    await asyncio.gather(asyncio.create_task(wait_for()))


async def steps() -> AsyncIterator[int]:
    yield 1
    await forever()


async def generator() -> None:
    async for _ in steps():
        pass


@pytest.mark.parametrize(
    "function",
    [plain, a_task, gather, group, anyio_group, wait, wait_for, shield, middleware, nested, generator],
    ids=lambda function: function.__name__,
)
def test_a_task_that_waits_is_shown_down_to_what_it_waits_for(
    function: Callable[[], Coroutine[Any, Any, Any]],
) -> None:
    with running(function) as run:
        wait_until(lambda: "await asyncio.Event().wait()" in run.words(), "the innermost line")
        words = run.words()
    lines = words.splitlines()
    assert lines[0].endswith(f"in {function.__name__}")
    assert lines[0].startswith('  File "')
    assert words.count("in forever") == 1


async def in_a_thread() -> None:
    await asyncio.to_thread(block)


async def in_a_thread_of_anyio() -> None:
    await anyio.to_thread.run_sync(block)


@pytest.mark.parametrize("function", [in_a_thread, in_a_thread_of_anyio], ids=lambda function: function.__name__)
def test_the_thread_that_a_task_waits_for_is_shown_and_no_other(
    function: Callable[[], Coroutine[Any, Any, Any]],
) -> None:
    async def two() -> None:
        OTHERS.append(asyncio.create_task(in_a_thread()))
        await function()

    with running(two) as run:
        wait_until(lambda: "GATE.wait()" in run.words(), "the innermost line")
        words = run.words()
    assert words.count("in block") == 1
    assert words.count("and thread ") == 1
    assert "in _bootstrap" not in words


def test_a_task_that_computes_is_shown_where_it_computes() -> None:
    async def compute() -> None:
        block()

    with running(compute) as run:
        wait_until(lambda: "in block" in run.words(), "it computes")
        assert "GATE.wait()" in run.words()


def test_tasks_without_number_are_not_all_shown() -> None:
    async def many() -> None:
        await asyncio.gather(*(forever() for _ in range(1000)))

    with running(many) as run:
        wait_until(lambda: "in forever" in run.words(), "they wait")
        assert run.words().count("in forever") == 8


def test_what_says_nothing_of_itself_is_described() -> None:
    class Odd:
        def __await__(self) -> Odd:
            return self

        def __iter__(self) -> Odd:
            return self

        def __next__(self) -> None:
            return None

        def __repr__(self) -> str:
            raise ValueError("no")

    async def odd() -> None:
        await Odd()  # type: ignore[misc]

    with running(odd) as run:
        wait_until(lambda: "waiting for" in run.words(), "it waits")
        assert "waiting for a Odd, whose description raises ValueError" in run.words()


def test_a_deep_stack_keeps_its_innermost_end() -> None:
    def deep(left: int) -> None:
        if left:
            deep(left - 1)
        else:
            block()

    GATE.clear()
    thread = threading.Thread(target=deep, args=(200,))
    thread.start()
    try:
        wait_until(lambda: "GATE.wait()" in stacks.of_thread(thread.ident or 0), "it waits")
        words = stacks.of_thread(thread.ident or 0)
    finally:
        GATE.set()
        thread.join()
    assert words.startswith("  … ")
    assert len(stacks.payload_of("x" * 100_000)) <= stacks.MAX_TEXT_BYTES + 3
    assert stacks.of_thread(1) == ""


def ask(front: FakeFront, number: int) -> str:
    """Return what the watcher says of a stream."""
    front.tell(frames.STACK, number)
    splitter = frames.Splitter()
    received: list[tuple[int, int, bytes]] = []
    while not received:
        received = splitter.feed(front.control.recv(65536))
    ((kind, stream, payload),) = received
    assert (kind, stream) == (frames.STACK_TEXT, number)
    return payload.decode()


def test_a_request_that_an_inline_worker_has_not_begun_is_told_with_what_holds_it() -> None:
    GATE.clear()

    def application(environ: Any, start_response: Any) -> list[bytes]:
        block()
        start_response("200 OK", [])
        return [b"ok"]

    with serving_wsgi(application) as front:
        first, second = front.request(), front.request()
        try:
            wait_until(lambda: "GATE.wait()" in ask(front, first), "it runs")
            held = ask(front, second)
        finally:
            GATE.set()
        for number in (first, second):
            assert front.answer(number).body == b"ok"
        assert ask(front, first) == "", "it is over"
    assert held.startswith("not begun; another holds the worker:\n")
    assert "GATE.wait()" in held


def test_what_holds_up_a_loop_is_told_for_those_who_wait_and_those_who_have_not_begun() -> None:
    GATE.clear()
    is_over = asyncio.Event()

    async def application(scope: Any, receive: Any, send: Any) -> None:
        assert scope["type"] == "http"
        if scope["path"] == "/wait":
            await is_over.wait()
        else:
            block()
            is_over.set()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"ok"})

    with serving_asgi(application) as front:
        numbers = [front.request(path=path) for path in ("/wait", "/block")]
        try:
            wait_until(lambda: "GATE.wait()" in ask(front, numbers[1]), "it holds the loop")
            numbers.append(front.request(path="/late"))
            wait_until(lambda: "and the loop is held up" in ask(front, numbers[0]), "the heartbeat is old")
            told = [ask(front, number) for number in numbers]
        finally:
            GATE.set()
        for _ in numbers:
            assert front.next_frame()[0] == frames.ANSWER
    assert "await is_over.wait()" in told[0]
    assert told[2].startswith("not begun; the loop is held up:\n")
    assert [text.count("in block") for text in told] == [1, 1, 1]
