"""Helper threads: results come back on the loop, nothing is lost, nothing is left."""

from __future__ import annotations

import asyncio
import threading

import pytest

from pyserve.front.threads import Threads
from tests.support.waiting import wait_until


def helpers() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "pyserve helper"]


async def test_results_and_errors_come_back_on_the_loop() -> None:
    threads = Threads(asyncio.get_running_loop(), 2)
    told: list[tuple[object, object, int]] = []
    both = asyncio.Event()

    def done(result: object, error: BaseException | None) -> None:
        told.append((result, type(error), threading.get_ident()))
        if len(told) == 2:
            both.set()

    def fail() -> None:
        raise SystemExit

    threads.run(threading.get_ident, done)
    threads.run(fail, done)
    await both.wait()
    threads.close()
    (ident,) = [result for result, _, _ in told if result is not None]
    assert ident != threading.get_ident()
    assert {where for _, _, where in told} == {threading.get_ident()}
    assert {error for _, error, _ in told} == {type(None), SystemExit}


async def test_where_no_thread_can_be_started_each_is_told_and_the_next_one_tries_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    threads = Threads(asyncio.get_running_loop(), 2)
    told: list[type[BaseException] | object] = []

    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        for _ in range(5):
            threads.run(int, lambda result, error: told.append(type(error)))
        await asyncio.sleep(0)
    assert told == [RuntimeError] * 5
    done = asyncio.Event()
    threads.run(int, lambda result, error: (told.append(result), done.set()))
    await done.wait()
    assert told[-1] == 0
    # One runs: what it could not be helped with waits for it.
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        done.clear()
        threads.run(lambda: 1, lambda result, error: told.append(result))
        threads.run(lambda: 2, lambda result, error: (told.append(result), done.set()))
        await done.wait()
    assert told[-2:] == [1, 2]
    threads.close()


async def test_threads_start_at_need_and_end_with_the_front() -> None:
    before = len(helpers())
    threads = Threads(asyncio.get_running_loop(), 2)
    assert len(helpers()) == before
    done = asyncio.Event()
    threads.run(int, lambda result, error: done.set())
    await done.wait()
    assert len(helpers()) == before + 1, "one was enough"
    threads.close()
    wait_until(lambda: len(helpers()) == before, "the thread ends")


async def test_no_more_threads_than_asked_for_and_what_is_behind_a_hung_one_goes_to_another() -> None:
    threads = Threads(asyncio.get_running_loop(), 2)
    gate, done = threading.Event(), asyncio.Event()
    told: list[object] = []

    def count(result: object, error: BaseException | None) -> None:
        told.append(result)
        if len(told) == 500:
            done.set()

    threads.run(gate.wait, lambda result, error: told.append("hung"))
    for number in range(500):
        threads.run(lambda number=number: number, count)
    await done.wait()
    assert told == list(range(500)), "first come, first served"
    gate.set()
    threads.close()
    wait_until(lambda: not helpers(), "the threads end")


async def test_what_was_given_before_the_end_is_still_done_and_nothing_after_it() -> None:
    threads = Threads(asyncio.get_running_loop(), 1)
    told: list[object] = []
    last = asyncio.Event()
    for number in range(10):
        threads.run(lambda number=number: number, lambda result, error: told.append(result))
    threads.close()
    threads.close()

    def refused(result: object, error: BaseException | None) -> None:
        assert isinstance(error, RuntimeError)
        last.set()

    threads.run(int, refused)
    await last.wait()
    while len(told) < 10:
        await asyncio.sleep(0)
    assert told == list(range(10))


async def test_one_that_raises_on_the_loop_does_not_take_the_others_with_it() -> None:
    loop = asyncio.get_running_loop()
    threads = Threads(loop, 1)
    raised: list[object] = []
    loop.set_exception_handler(lambda loop, context: raised.append(context["exception"]))
    gate, done = threading.Event(), asyncio.Event()

    def fail(result: object, error: BaseException | None) -> None:
        raise ValueError("mine")

    threads.run(gate.wait, fail)
    for _ in range(5):
        threads.run(int, fail)
    threads.run(int, lambda result, error: done.set())
    gate.set()
    await done.wait()
    assert len(raised) == 6
    threads.close()


def test_a_loop_that_is_closed_is_no_trouble_for_its_threads() -> None:
    loop = asyncio.new_event_loop()
    threads = Threads(loop, 1)
    gate = threading.Event()
    threads.run(gate.wait, lambda result, error: None)
    loop.close()
    gate.set()
    wait_until(lambda: not helpers(), "the thread ends")
