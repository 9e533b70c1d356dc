"""What a WSGI worker never does: keep one front's answer while another's runs, or wait for a body that can't come."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest

from pyserve.wire import frames
from pyserve.wire.codec import HAS_BODY, pack_head, pack_peer, pack_request
from pyserve.worker.watcher import Watcher
from pyserve.worker.wsgi_inline import InlineRunner
from tests.worker.fake_front import PEER, FakeFront, serving_wsgi


def test_an_answer_for_one_front_does_not_wait_while_a_request_of_another_runs() -> None:
    began, holds, slow = threading.Event(), threading.Event(), threading.Event()

    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        began.set()
        {"/holds": holds, "/slow": slow}.get(environ["PATH_INFO"], _SET).wait(20)
        start_response("200 OK", [])
        return [environ["PATH_INFO"].encode()]

    one, other = FakeFront(), FakeFront()
    runner = InlineRunner(app, one.page, 1)
    watcher = Watcher(runner, None, 0.0, None)
    for number, front in enumerate((one, other)):
        watcher.add(runner.add_channel(number, front.worker_data, front.worker_control))
    watcher.start()
    thread = threading.Thread(target=runner.serve)
    thread.start()
    try:
        for front in (one, other):
            front.expect_hello(frames.WSGI)
        first = one.request(path="/holds")
        assert began.wait(20)
        fast = one.request(path="/fast")
        late = other.request(path="/slow")
        holds.set()
        assert one.answer(first).body == b"/holds"
        one.data.settimeout(5)
        assert one.answer(fast).body == b"/fast"
        slow.set()
        assert other.answer(late).body == b"/slow"
    finally:
        slow.set()
        runner.stop()
        thread.join(20)
        runner.close()
        watcher.stop()
        one.close()
        other.close()


_SET = threading.Event()
_SET.set()


@pytest.mark.parametrize("threads", [1, 3])
def test_a_body_that_the_front_sends_no_more_of_is_not_waited_for(threads: int) -> None:
    """After a complete answer the front sends what credit it had, and nothing more."""
    read: list[bytes] = []
    has_read = threading.Event()

    def app(environ: dict[str, Any], start_response: Any) -> Iterator[bytes]:
        start_response("200 OK", [("Content-Length", "2")])
        yield b"ok"
        if environ["PATH_INFO"] == "/reads":
            while piece := environ["wsgi.input"].read(1000):
                read.append(piece)
            has_read.set()
        elif environ["PATH_INFO"] == "/reads-more-than-comes":
            environ["wsgi.input"].read()

    with serving_wsgi(app, threads) as front:
        number = front.next_number()
        head = front.head("POST", "/reads-more-than-comes", content_length=1_000_000)
        front.send(frames.REQUEST, number, pack_request(HAS_BODY, pack_peer(PEER), pack_head(head)))
        assert front.answer(number).body == b"ok"
        for _ in range(4):
            front.send(frames.BODY, number, b"x" * 65_536)
        front.data.settimeout(5)
        assert front.ask(path="/next").body == b"ok"
        # A body within the window comes whole, however late it is read.
        assert front.ask("POST", "/reads", body=b"y" * 200_000).body == b"ok"
        assert has_read.wait(20)
    assert b"".join(read) == b"y" * 200_000
