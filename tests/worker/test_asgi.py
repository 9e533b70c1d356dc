"""ASGI calls over real socketpairs, on asyncio and uvloop."""

from __future__ import annotations

import asyncio
import re
import threading
from typing import Any

import pytest

from pyserve.wire import frames
from pyserve.wire.codec import CLOSE, COMPLETE, EXPECTS, HAS_BODY, RESERVED, Peer, pack_head, pack_peer, pack_request
from pyserve.worker.lifespan import Lifespan, tell
from pyserve.worker.loader import LoadError
from tests.support.waiting import wait_until
from tests.worker.fake_front import Failed, FakeFront, serving_asgi

LOOPS = pytest.mark.parametrize("use_uvloop", [False, True], ids=["asyncio", "uvloop"])


async def answer(send: Any, body: bytes = b"hello", status: int = 200, headers: Any = ()) -> None:
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def hello(scope: Any, receive: Any, send: Any) -> None:
    assert scope["type"] == "http"
    await answer(send, headers=[(b"content-type", b"text/plain")])


@LOOPS
def test_a_small_answer_is_one_complete_frame(use_uvloop: bool) -> None:
    with serving_asgi(hello, use_uvloop=use_uvloop) as front:
        got = front.ask()
    assert (got.status, got.length, got.body, got.frames) == (200, 5, b"hello", 1)
    assert got.fields == [("content-type", "text/plain")]


def scope_of(path: str, method: str = "GET", **values: Any) -> dict[str, Any]:
    seen: dict[str, Any] = {}

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            raise ValueError("not known")
        seen.update(scope)
        await answer(send)

    with serving_asgi(app) as front:
        front.ask(method, path, **values)
    return seen


def test_the_scope_is_that_of_the_specification() -> None:
    fields = ((b"host", b"shop"), (b"x_y", b"1"))
    scope = scope_of("/a b", "POST", raw_path=b"/a%20b", query=b"x=1", fields=fields, mount="/a", version="1.0")
    assert scope == {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.0",
        "method": "POST",
        "scheme": "http",
        "path": "/a b",
        "raw_path": b"/a%20b",
        "query_string": b"x=1",
        "root_path": "/a",
        "headers": [(b"host", b"shop"), (b"x_y", b"1")],
        "client": ("192.0.2.7", 40001),
        "server": ("127.0.0.1", 8000),
        "state": {},
        "extensions": {
            "http.response.pathsend": {},
            "http.response.zerocopysend": {},
            "http.response.early_hint": {},
            "http.response.trailers": {},
        },
    }


def test_bad_bytes_of_a_path_are_replaced() -> None:
    assert scope_of("/é\udcff", raw_path=b"/%C3%A9%FF")["path"] == "/é\ufffd"


def test_equal_heads_never_share_a_scope() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            raise ValueError
        seen = len(scope["headers"]), "marked" in scope, len(scope["state"])
        scope["headers"].append((b"a", b"b"))
        scope["marked"] = scope["state"]["mine"] = True
        await answer(send, repr(seen).encode())

    with serving_asgi(app) as front:
        assert [front.ask().body for _ in range(3)] == [b"(1, False, 0)"] * 3


async def echo(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] == "lifespan":
        raise ValueError
    await send({"type": "http.response.start", "status": 200, "headers": []})
    while True:
        message = await receive()
        assert message["type"] == "http.request"
        await send({"type": "http.response.body", "body": message["body"], "more_body": message["more_body"]})
        if not message["more_body"]:
            return


@LOOPS
@pytest.mark.parametrize("size", [0, 1, 65536, 262_144])
def test_bodies_stream_both_ways(size: int, use_uvloop: bool) -> None:
    body = b"ab" * (size // 2) + b"c" * (size % 2)
    with serving_asgi(echo, use_uvloop=use_uvloop) as front:
        assert front.ask("POST", body=body).body == body
        assert front.ask("GET").body == b""


@LOOPS
def test_a_body_larger_than_the_window_comes_by_credit(use_uvloop: bool) -> None:
    total = 0

    async def app(scope: Any, receive: Any, send: Any) -> None:
        nonlocal total
        if scope["type"] == "lifespan":
            raise ValueError
        is_more = True
        while is_more:
            message = await receive()
            total += len(message["body"])
            is_more = message["more_body"]
        await answer(send)

    with serving_asgi(app, use_uvloop=use_uvloop) as front:
        number = front.next_number()
        front.send(frames.REQUEST, number, pack_request(HAS_BODY, PEER_BLOB, pack_head(front.head("POST"))))
        window = frames.WINDOW
        for _ in range(20):
            while window < 65536:
                kind, stream, payload = front.next_frame()
                assert (kind, stream) == (frames.CREDIT_BODY, number)
                window += frames.number(payload)
            window -= 65536
            front.send(frames.BODY, number, b"x" * 65536)
        front.send(frames.BODY_LAST, number)
        assert front.answer(number).body == b"hello"
    assert total == 20 * 65536


PEER_BLOB = pack_peer(Peer(None, ("h", 1), "http"))


def test_the_body_is_wanted_once_at_the_first_receive() -> None:
    with serving_asgi(echo) as front:
        number = front.next_number()
        payload = pack_request(HAS_BODY | EXPECTS, PEER_BLOB, pack_head(front.head("POST")))
        front.send(frames.REQUEST, number, payload)
        assert front.next_frame() == (frames.WANT_BODY, number, b"")
        front.send(frames.BODY, number, b"one")
        front.send(frames.BODY_LAST, number, b"two")
        assert front.answer(number).body == b"onetwo"


def test_a_body_that_nobody_reads_disturbs_no_later_request() -> None:
    with serving_asgi(hello) as front:
        for _ in range(3):
            assert front.ask("POST", body=b"x" * 100_000).body == b"hello"


@LOOPS
def test_large_answers_wait_for_credit(use_uvloop: bool) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            raise ValueError
        await answer(send, b"x" * 1_000_000)

    with serving_asgi(app, use_uvloop=use_uvloop) as front:
        number = front.request()
        got = len(front.next_frame()[2]) - 15
        while got < frames.WINDOW:
            got += len(front.next_frame()[2])
        assert got == frames.WINDOW
        front.tell(frames.CREDIT, number, 1000)
        assert len(front.next_frame()[2]) == 1000
        front.tell(frames.CREDIT, number, frames.WINDOW - 1000)
        while (frame := front.next_frame())[0] != frames.DATA_LAST:
            front.tell(frames.CREDIT, number, len(frame[2]))


@pytest.mark.parametrize(
    ("messages", "error"),
    [
        ([], "without completing"),
        ([{"type": "http.response.start", "status": 200, "headers": []}], "without completing"),
        ([{"type": "http.response.body"}], "before http.response.start"),
        ([{"type": "http.response.start", "status": 200}] * 2, "already sent"),
        ([{"type": "http.response.start", "status": 101}], "final status"),
        ([{"type": "http.response.start", "status": 999}], "final status"),
        ([{"type": "http.response.start", "status": "200"}], "must be an int"),
        ([{"type": "http.response.start", "status": 200, "headers": [("x", "y")]}], "must be bytes"),
        ([{"type": "http.response.start", "status": 200, "headers": [(b"x", b"a\r\nb")]}], "control character"),
        ([{"type": "http.response.start", "status": 200, "headers": [(b"x y", b"a")]}], "not a token"),
        (
            [{"type": "http.response.start", "status": 200}, {"type": "http.response.body", "body": "text"}],
            "must be bytes",
        ),
        ([{"type": "http.nonsense"}], "unexpected"),
    ],
)
def test_messages_out_of_order_or_of_wrong_types_are_the_application_s_failure(messages: Any, error: str) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            raise ValueError
        for message in messages:
            await send(message)

    with serving_asgi(app) as front, pytest.raises(Failed, match=error):
        front.ask()


@pytest.mark.parametrize("error", [ValueError, SystemExit, KeyboardInterrupt, asyncio.CancelledError])
@LOOPS
def test_whatever_the_application_raises_is_told_and_survived(error: type[BaseException], use_uvloop: bool) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            raise ValueError
        if scope["path"] == "/bad":
            raise error("on purpose")
        await answer(send)

    with serving_asgi(app, use_uvloop=use_uvloop) as front:
        with pytest.raises(Failed, match=error.__name__):
            front.ask(path="/bad")
        assert front.ask().body == b"hello"


def test_a_failure_after_the_answer_is_a_log_line() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            raise ValueError
        await answer(send)
        raise ValueError("in the background")

    with serving_asgi(app) as front:
        assert front.ask().body == b"hello"
        kind, stream, payload = front.next_frame()
    assert (kind, stream, payload[0]) == (frames.LOG, 0, 40)
    assert b"in the background" in payload


@pytest.mark.parametrize(
    ("status", "method", "headers", "length"),
    [
        (200, "HEAD", [], 5),
        (200, "HEAD", [(b"content-length", b"9")], 9),
        (204, "GET", [], -1),
        (304, "GET", [], -1),
        (304, "GET", [(b"content-length", b"9")], 9),
    ],
)
def test_answers_that_have_no_body_never_carry_one(status: int, method: str, headers: Any, length: int) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            raise ValueError
        await send({"type": "http.response.start", "status": status, "headers": headers})
        if scope["path"] == "/pieces":
            await send({"type": "http.response.body", "body": b"he", "more_body": True})
        await send({"type": "http.response.body", "body": b"hello"})

    with serving_asgi(app) as front:
        got = front.ask(method)
        assert (got.body, got.length) == (b"", length)
        assert front.ask(method, "/pieces").body == b""


def test_bytes_beyond_the_announced_length_are_cut() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            raise ValueError
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"4")]})
        if scope["path"] == "/pieces":
            await send({"type": "http.response.body", "body": b"123", "more_body": True})
        await send({"type": "http.response.body", "body": b"45678"})

    with serving_asgi(app) as front:
        assert front.ask().body == b"4567"
        assert front.ask(path="/pieces").body == b"1234"
        assert front.log == [
            f"the answer to GET {path} was cut at the 4 bytes that it may have: the application gave more"
            for path in ("/", "/pieces")
        ]


def test_hop_by_hop_fields_are_the_front_s_business() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            raise ValueError
        await answer(send, headers=[[b"Connection", b"close"], [b"transfer-encoding", b"chunked"], [b"X-Own", b"kept"]])

    with serving_asgi(app) as front:
        got = front.ask()
    assert (got.fields, got.flags) == ([("x-own", "kept")], COMPLETE | CLOSE)


@LOOPS
def test_a_client_that_leaves_is_a_disconnect_for_receive_and_an_os_error_for_send(use_uvloop: bool) -> None:
    seen = []
    is_over = threading.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            raise ValueError
        await receive()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"part", "more_body": True})
        seen.append(await receive())
        try:
            await send({"type": "http.response.body", "body": b"x" * 1_000_000, "more_body": True})
        except OSError:  # spec 2.4
            is_over.set()
            raise

    with serving_asgi(app, use_uvloop=use_uvloop) as front:
        number = front.request()
        assert front.next_frame()[0] == frames.ANSWER
        front.tell(frames.DISCONNECT, number)
        assert front.next_frame() == (frames.FAILED, number, b"")
        assert is_over.wait(20)
    assert seen == [{"type": "http.disconnect"}]


def test_a_sender_out_of_credit_is_let_go_when_the_client_leaves() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            raise ValueError
        await answer(send, b"x" * 1_000_000)

    with serving_asgi(app) as front:
        number = front.request()
        assert front.next_frame()[0] == frames.ANSWER
        front.tell(frames.DISCONNECT, number)
        while (frame := front.next_frame())[0] == frames.DATA:
            pass
        assert frame == (frames.FAILED, number, b"")


def test_who_looks_in_passing_whether_the_client_is_there_is_told_and_leaves_nothing_behind() -> None:
    """As Starlette's ``is_disconnected`` does: ask, and give up at the first wait."""
    seen: list[Any] = []
    waiting: list[int] = []

    async def look(receive: Any) -> Any:
        task = asyncio.ensure_future(receive())
        await asyncio.sleep(0)
        if task.done():
            return task.result()
        task.cancel()
        await asyncio.wait([task])
        return None

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            raise ValueError
        await receive()
        while not (told := await look(receive)):
            seen.append(told)
            waiting.append(len(receive.__self__._waiters or ()))
            await asyncio.sleep(0.001)
        seen.append(told)

    with serving_asgi(app) as front:
        number = front.request()
        wait_until(lambda: len(seen) > 50, "it looks again and again")
        front.tell(frames.DISCONNECT, number)
        assert front.next_frame() == (frames.FAILED, number, b"")
    assert (seen[0], seen[-1]) == (None, {"type": "http.disconnect"})
    assert max(waiting) == 0


def test_receive_after_the_answer_says_disconnect() -> None:
    seen: list[Any] = []
    is_over = threading.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            raise ValueError

        async def listen() -> None:
            await receive()
            seen.append(await receive())

        listener = asyncio.ensure_future(listen())
        await asyncio.sleep(0)
        await answer(send)
        await listener
        seen.append(await receive())
        is_over.set()

    with serving_asgi(app) as front:
        front.ask()
        assert is_over.wait(20)
    assert seen == [{"type": "http.disconnect"}] * 2


def test_one_reserved_request_runs_beyond_the_concurrency() -> None:
    gate = threading.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            raise ValueError
        while not gate.is_set():
            await asyncio.sleep(0.001)
        await hello(scope, receive, send)

    with serving_asgi(app, concurrency=2) as front:
        numbers = [front.request(flags=flags) for flags in (0, 0, 0, RESERVED, RESERVED, 0)]
        busy = [front.next_frame() for _ in range(3)]
        assert busy == [(frames.BUSY, numbers[at], b"") for at in (2, 4, 5)]
        gate.set()
        assert {front.next_frame()[1] for _ in range(3)} == {numbers[at] for at in (0, 1, 3)}


def test_requests_run_at_once_up_to_the_concurrency_and_then_are_busy() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            raise ValueError
        while (await receive())["type"] != "http.disconnect":
            pass

    with serving_asgi(app, concurrency=3) as front:
        numbers = [front.request() for _ in range(4)]
        assert front.next_frame() == (frames.BUSY, numbers[3], b"")
        wait_until(lambda: front.page.last_started(0) == numbers[2], "the third request started")
        assert front.page.heartbeat_ns() > 0
        for number in numbers[:3]:
            front.tell(frames.DISCONNECT, number)
        assert {front.next_frame()[1] for _ in range(3)} == set(numbers[:3])


def test_a_task_that_goes_on_after_its_answer_holds_no_place() -> None:
    gate = asyncio.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            raise ValueError
        await answer(send)
        if scope["path"] == "/background":
            await gate.wait()
        else:
            gate.set()

    with serving_asgi(app, concurrency=1) as front:
        assert front.ask(path="/background").body == b"hello"
        assert front.ask().body == b"hello"


def test_a_recall_of_what_has_started_is_ignored_and_of_what_has_not_is_answered() -> None:
    began, gate = threading.Event(), threading.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            raise ValueError
        if scope["path"] == "/blocks":
            began.set()
            assert gate.wait(20)
        await answer(send)

    with serving_asgi(app) as front:
        blocking = front.request(path="/blocks")
        assert began.wait(20)
        second, third = front.request(), front.request()
        front.tell(frames.RECALL, blocking)
        front.tell(frames.RECALL, second)
        # The watcher answers although the loop is blocked.
        assert front.next_control() == (frames.RECALLED, second)
        gate.set()
        assert front.answer(blocking).body == b"hello"
        assert front.answer(third).body == b"hello"


def test_the_context_of_a_request_is_its_own() -> None:
    import contextvars

    variable = contextvars.ContextVar("variable", default=0)

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            raise ValueError
        before = variable.get()
        variable.set(before + 1)
        await answer(send, str(before).encode())

    with serving_asgi(app) as front:
        assert [front.ask().body for _ in range(3)] == [b"0"] * 3


@LOOPS
def test_the_lifespan_runs_around_the_requests_and_its_state_reaches_them(use_uvloop: bool) -> None:
    told = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            scope["state"]["db"] = "open"
            told.append((await receive())["type"])
            await send({"type": "lifespan.startup.complete"})
            told.append((await receive())["type"])
            await send({"type": "lifespan.shutdown.complete"})
            return
        await answer(send, scope["state"]["db"].encode())

    with serving_asgi(app, use_uvloop=use_uvloop) as front:
        assert told == ["lifespan.startup"]
        assert front.ask().body == b"open"
    assert told == ["lifespan.startup", "lifespan.shutdown"]


async def test_a_startup_that_failed_is_a_load_error_with_its_message() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "lifespan.startup.failed", "message": "no database"})

    with pytest.raises(LoadError, match="no database"):
        await Lifespan(app).startup()


@pytest.mark.parametrize("ending", [SystemExit(3), KeyboardInterrupt()])
async def test_an_application_that_wants_to_exit_at_its_startup_does_not_run(ending: BaseException) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        raise ending

    with pytest.raises(LoadError, match=type(ending).__name__):
        await Lifespan(app).startup()


async def test_a_startup_that_raises_runs_without_lifespan_and_is_told() -> None:
    """The specification wants it to go on; whoever had asked for its startup knows the protocol, and has a bug."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        raise ConnectionError("no database")

    lifespan = Lifespan(app)
    await lifespan.startup()
    assert re.match(r"the application runs without lifespan.*no database", lifespan.complaint, re.DOTALL)
    await lifespan.shutdown()


async def test_a_startup_that_failed_and_then_raises_is_told_by_its_message() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "lifespan.startup.failed", "message": "no database"})
        raise ValueError("as Starlette does")

    lifespan = Lifespan(app)
    with pytest.raises(LoadError, match="no database"):
        await lifespan.startup()
    assert lifespan.complaint == ""


@pytest.mark.parametrize("does", ["fail", "raise", "fail without a word"])
async def test_a_shutdown_that_fails_is_told_and_waited_for_no_longer(does: str, capsys: Any) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        if does == "raise":
            raise ValueError("not closed")
        message = {"message": "not closed"} if does == "fail" else {}
        await send({"type": "lifespan.shutdown.failed", **message})
        await asyncio.sleep(60)

    lifespan = Lifespan(app)
    await lifespan.startup()
    await lifespan.shutdown()
    tell(lifespan)
    tell(lifespan)  # once
    told = capsys.readouterr().err
    assert told.count("lifespan") == 1
    assert ("not closed" in told) == (does != "fail without a word")
    for task in asyncio.all_tasks() - {asyncio.current_task()}:
        task.cancel()


async def test_the_shutdown_waits_for_the_application() -> None:
    steps: list[str] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        for _ in range(10):
            await asyncio.sleep(0)
        steps.append("closed")
        await send({"type": "lifespan.shutdown.complete"})

    lifespan = Lifespan(app)
    await lifespan.startup()
    await lifespan.shutdown()
    assert steps == ["closed"]


async def test_an_application_that_knows_no_lifespan_runs_without() -> None:
    lifespan = Lifespan(hello)
    await lifespan.startup()
    await lifespan.shutdown()
    assert lifespan.complaint == ""


def test_stop_lets_what_runs_finish() -> None:
    began = threading.Event()
    gate: list[asyncio.Event] = []
    loops: list[asyncio.AbstractEventLoop] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            raise ValueError
        gate.append(asyncio.Event())
        loops.append(asyncio.get_running_loop())
        began.set()
        await gate[0].wait()
        await answer(send)

    context = serving_asgi(app)
    front: FakeFront = context.__enter__()
    number = front.request()
    assert began.wait(20)
    ended = threading.Thread(target=context.__exit__, args=(None, None, None))
    loops[0].call_soon_threadsafe(gate[0].set)
    assert front.answer(number).body == b"hello"
    ended.start()
    ended.join(20)
    assert not ended.is_alive()
