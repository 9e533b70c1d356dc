"""A pool with workers that are played by the test: frames in, frames out, no socket, no clock of its own."""

from __future__ import annotations

import re
from collections.abc import Callable
from time import monotonic

import pytest

from pyserve.handlers.app import AppHandler, wire_head
from pyserve.handlers.pool import MAX_LINES, STACKS_AT_ONCE, Pool
from pyserve.handlers.worker import Worker
from pyserve.wire import frames
from pyserve.wire.board import IN_FLIGHT, QUEUED, Board
from pyserve.wire.codec import COMPLETE, HAS_BODY, RESERVED, pack_answer, unpack_request
from pyserve.wire.scoreboard import PAGE_BYTES, Scoreboard
from tests.support.exchanges import INCIDENT, FakeExchange, make_request


class FakeChannel:
    def __init__(self) -> None:
        self.data: list[tuple[int, int, bytes]] = []
        self.control: list[tuple[int, int, bytes]] = []
        self.is_closed = False

    def send_data(self, frame: bytes) -> None:
        self.data += frames.Splitter().feed(frame)

    def send_control(self, frame: bytes) -> None:
        self.control += frames.Splitter().feed(frame)

    def receive_descriptors(self) -> None:
        self.on_receive()

    def on_receive(self) -> None:
        """What is in the control channel: a test puts something in."""

    def close(self) -> None:
        self.is_closed = True


class FakeTimers:
    def __init__(self) -> None:
        self.due: list[Callable[[], None]] = []

    def call_later(self, delay: float, callback: Callable[[], None]) -> None:
        self.due.append(callback)

    def fire(self) -> None:
        due, self.due = self.due, []
        for callback in due:
            callback()


class Table:
    """A pool and everything around it."""

    def __init__(self, *, workers: int = 1, interface: int = frames.WSGI, fronts: int = 1, **settings: float) -> None:
        self.timers = FakeTimers()
        self.told: list[tuple[str, int]] = []
        self.logged: list[str] = []
        self.left: list[tuple[int, str]] = []
        self.mute: list[str] = []
        self.board = Board(memoryview(bytearray(Board.size_bytes(fronts, 8, 1))), fronts, 8, 1)
        self.pool = Pool(
            "shop",
            0,
            threads=settings.get("threads", 1),
            concurrency=settings.get("concurrency", 100),
            timeout_s=30.0,
            queue_size=settings.get("queue_size", 200),
            queue_timeout_s=10.0,
            spool_dir="",
            spool_bytes=1 << 30,
            wire_head=wire_head,
            front=0,
            board=self.board,
            timers=self.timers,
            reports=self,
            health=frozenset(["/healthz"]),
            startup_timeout_s=settings.get("startup_timeout_s", 0.0),
        )
        self.handler = AppHandler(self.pool, "")
        for number in range(1, workers + 1):
            self.add_worker(number, interface)

    def add_worker(self, number: int, interface: int = frames.WSGI) -> Worker:
        worker = Worker(number, number, 1000 + number, 0, FakeChannel(), Scoreboard(memoryview(bytearray(PAGE_BYTES))))
        self.pool.add(worker)
        if interface:
            self.pool.frames_received(worker, [(frames.HELLO, 0, bytes((interface, frames.VERSION)))])
        return worker

    # Reports
    def worker_ready(self, worker: int) -> None:
        self.told.append(("ready", worker))

    def worker_idle(self, worker: int) -> None:
        self.told.append(("idle", worker))

    def worker_stuck(self, worker: int) -> None:
        self.told.append(("stuck", worker))

    def worker_mute(self, worker: int, request: str) -> None:
        self.told.append(("mute", worker))
        self.mute.append(request)

    def worker_left(self, worker: int, running: str) -> None:
        self.left.append((worker, running))

    def client_refused(self, kind: object, text: str) -> None:
        self.logged.append(text)

    def app_wanted(self, app: int) -> None:
        self.told.append(("wanted", app))

    def worker_broke(self, worker: int, why: str) -> None:
        self.told.append(("broke", worker))

    def log(self, text: str) -> None:
        self.logged.append(text)

    # Play
    def ask(self, target: str = "/", method: str = "GET", body: int = 0) -> FakeExchange:
        request = make_request(target, method)
        request.content_length = body or None
        request.has_body = bool(body)
        exchange = FakeExchange(request)
        self.handler.handle(exchange, None)  # type: ignore[arg-type]
        return exchange

    def worker(self, number: int = 1) -> Worker:
        return self.pool.workers[number]

    def channel(self, number: int = 1) -> FakeChannel:
        channel = self.worker(number).channel
        assert isinstance(channel, FakeChannel)
        return channel

    def streams(self, number: int = 1) -> list[int]:
        """The requests that a worker was sent and has not ended, oldest first."""
        return list(self.worker(number).streams)

    def start(self, stream: int, number: int = 1) -> None:
        self.worker(number).scoreboard.start(0, stream)

    def answer(self, stream: int, body: bytes = b"hi", number: int = 1) -> None:
        self.start(stream, number)
        payload = pack_answer(200, COMPLETE, len(body), b"content-type: text/plain\r\n", body)
        self.pool.frames_received(self.worker(number), [(frames.ANSWER, stream, payload)])


def test_a_request_goes_to_a_ready_worker_and_its_answer_comes_back() -> None:
    table = Table()
    exchange = table.ask("/x?y=1")
    ((kind, stream, payload),) = table.channel().data
    assert kind == frames.REQUEST
    flags, _, head = unpack_request(payload)
    assert (flags, head[0], head[2], head[3]) == (0, "GET", "/x", b"y=1")
    table.answer(stream, b"hello")
    assert (exchange.status, exchange.body) == (200, b"hello")
    assert table.streams() == []


def test_a_slow_application_gets_one_request_per_slot_and_the_rest_wait() -> None:
    table = Table(workers=2)
    for _ in range(5):
        table.ask()
    assert [len(table.streams(number)) for number in (1, 2)] == [1, 1]
    assert len(table.pool.queue) == 3


def test_who_waits_is_served_first_come_first_served() -> None:
    table = Table()
    table.ask("/first")
    second, third = table.ask("/second"), table.ask("/third")
    table.answer(table.streams()[0])
    table.answer(table.streams()[0])
    assert second.over
    assert not third.over


def test_a_full_queue_is_503_with_retry_after() -> None:
    table = Table(queue_size=1)
    table.ask()
    table.ask()
    refused = table.ask()
    assert refused.status == 503
    assert b"retry-after" in refused.block


def test_who_waits_too_long_is_answered_503() -> None:
    table = Table()
    table.ask()
    waiting = table.ask()
    table.pool.sweep(waiting_until(table) + 1)
    assert waiting.status == 503


def waiting_until(table: Table) -> float:
    return table.pool.queue[0].deadline


def test_a_client_that_leaves_while_waiting_leaves_the_queue() -> None:
    table = Table()
    table.ask()
    waiting = table.ask()
    waiting.over = True
    waiting.receiver.client_gone()
    assert len(table.pool.queue) == 0


def test_a_client_that_leaves_while_running_is_told_to_the_worker_and_the_slot_stays_taken() -> None:
    table = Table()
    exchange = table.ask()
    (stream,) = table.streams()
    exchange.over = True
    exchange.receiver.client_gone()
    assert table.channel().control == [(frames.DISCONNECT, stream, b"")]
    assert table.streams() == [stream]
    table.pool.frames_received(table.worker(), [(frames.FAILED, stream, b"")])
    assert table.streams() == []


def test_nobody_ready_but_booting_means_waiting() -> None:
    table = Table(workers=0)
    exchange = table.ask()
    assert not exchange.over
    table.add_worker(1)
    table.answer(table.streams()[0])
    assert exchange.status == 200


def test_an_application_that_cannot_boot_is_503_at_once_and_for_those_who_wait() -> None:
    table = Table(workers=0)
    waiting = table.ask()
    table.pool.set_reason("no module named shop")
    assert waiting.status == 503
    assert table.ask().status == 503
    assert "no module named shop" in waiting.reason


def test_what_had_not_started_when_a_worker_died_moves_and_what_had_is_502() -> None:
    table = Table(workers=1, threads=3)
    started, posted, waiting = table.ask(method="PUT"), table.ask(method="PUT"), table.ask(method="PUT")
    first, second, _ = table.streams()
    table.start(first)
    table.start(second)
    table.pool.remove(1, "was killed by signal 9 (SIGKILL)")
    assert (started.status, posted.status) == (502, 502)
    assert "SIGKILL" in started.reason
    assert not waiting.over
    table.add_worker(2)
    table.answer(table.streams(2)[0], number=2)
    assert waiting.status == 200


def test_an_idempotent_request_is_tried_once_more_and_only_once() -> None:
    table = Table(workers=2)
    exchange = table.ask()
    (first,) = table.streams(1) or table.streams(2)
    number = 1 if table.streams(1) else 2
    table.start(first, number)
    table.pool.remove(number, "exited with status 1")
    assert not exchange.over
    other = 3 - number
    (second,) = table.streams(other)
    table.start(second, other)
    table.pool.remove(other, "exited with status 1")
    assert exchange.status == 502


def test_moved_requests_keep_their_order() -> None:
    table = Table(workers=1, threads=3)
    asked = [table.ask(f"/{number}") for number in range(3)]
    table.pool.remove(1, "was killed")
    table.add_worker(2)
    assert [call.exchange for call in table.worker(2).streams.values()] == asked


def test_a_busy_worker_gives_a_request_back_to_the_head_of_the_queue() -> None:
    table = Table(workers=2)
    first = table.ask("/1")
    table.ask("/2")
    table.ask("/3")
    number = next(n for n in (1, 2) if any(c.exchange is first for c in table.worker(n).streams.values()))
    (stream,) = table.streams(number)
    table.worker(number).is_open = False
    table.pool.frames_received(table.worker(number), [(frames.BUSY, stream, b"")])
    assert table.pool.queue[0].exchange is first


def make_fast(table: Table) -> None:
    """Let the pool learn from its worker that the application is fast."""
    table.worker().scoreboard.worked(20_000_000, 1000)
    table.ask()
    table.answer(table.streams()[0])


def test_a_fast_application_gets_requests_ahead_and_they_are_recalled_when_nothing_moves() -> None:
    table = Table()
    make_fast(table)
    exchanges = [table.ask(f"/{number}") for number in range(4)]
    streams = table.streams()
    assert len(streams) == 4
    table.worker().last_progress = 0.0
    table.timers.fire()
    assert [(kind, stream) for kind, stream, _ in table.channel().control] == [
        (frames.RECALL, stream) for stream in reversed(streams[1:])
    ]
    table.worker().is_open = False
    table.pool.frames_received(table.worker(), [(frames.RECALLED, stream, b"") for stream in reversed(streams[1:])])
    assert [call.exchange for call in table.pool.queue] == exchanges[1:]


def test_recalled_for_a_stream_that_has_ended_is_no_fault() -> None:
    table = Table()
    table.ask()
    (stream,) = table.streams()
    table.answer(stream)
    table.pool.frames_received(table.worker(), [(frames.RECALLED, stream, b"")])
    assert table.told == [("ready", 1)]


@pytest.mark.parametrize(
    "frame",
    [
        (frames.ANSWER, 77, b""),
        (frames.DATA, 77, b"x"),
        (99, 77, b""),
        (frames.HELLO, 0, b"\1\1"),
    ],
    ids=["an answer for nobody", "data for nobody", "an unknown type", "a second hello"],
)
def test_a_worker_that_breaks_the_rules_is_reported(frame: tuple[int, int, bytes]) -> None:
    table = Table()
    table.pool.frames_received(table.worker(), [frame])
    assert ("broke", 1) in table.told
    assert table.channel().is_closed


@pytest.mark.parametrize(
    "block",
    [b"X: upper\r\n", b"x: a\nb\r\n", b"x: a\0b\r\n", b"content-length: 5\r\n", b"connection: close\r\n", b"x: no end"],
)
def test_an_answer_with_unclean_fields_never_reaches_a_client(block: bytes) -> None:
    table = Table()
    exchange = table.ask()
    (stream,) = table.streams()
    payload = pack_answer(200, COMPLETE, 2, block, b"hi")
    table.pool.frames_received(table.worker(), [(frames.ANSWER, stream, payload)])
    assert exchange.status == 0
    assert ("broke", 1) in table.told


def test_more_answer_bytes_than_credit_are_a_broken_rule() -> None:
    table = Table(interface=frames.ASGI)
    table.pool.spool_bytes = 0
    exchange = table.ask()
    exchange.is_writable = False
    (stream,) = table.streams()
    head = (frames.ANSWER, stream, pack_answer(200, 0, -1, b""))
    data = (frames.DATA, stream, b"x" * frames.MAX_PAYLOAD)
    table.pool.frames_received(table.worker(), [head, data, data, data, data])
    assert ("broke", 1) not in table.told
    table.pool.frames_received(table.worker(), [data])
    assert ("broke", 1) in table.told


def test_a_long_asgi_answer_earns_credit_only_as_the_client_takes_it() -> None:
    table = Table(interface=frames.ASGI)
    table.pool.spool_bytes = 0  # as if it were beyond what is taken over
    exchange = table.ask()
    exchange.is_writable = False
    (stream,) = table.streams()
    data = (frames.DATA, stream, b"x" * frames.MAX_PAYLOAD)
    table.pool.frames_received(table.worker(), [(frames.ANSWER, stream, pack_answer(200, 0, -1, b"")), data, data])
    assert table.channel().control == []
    exchange.is_writable = True
    exchange.receiver.on_writable()
    exchange.transmit()
    assert [(kind, frames.number(payload)) for kind, _, payload in table.channel().control] == [
        (frames.CREDIT, 2 * frames.MAX_PAYLOAD)
    ]


@pytest.mark.parametrize("interface", [frames.WSGI, frames.ASGI])
def test_an_answer_is_taken_over_however_slow_the_client_is(interface: int) -> None:
    table = Table(interface=interface)
    exchange = table.ask()
    exchange.is_writable = False
    (stream,) = table.streams()
    piece = bytes(range(256)) * 256
    received = [(frames.ANSWER, stream, pack_answer(200, 0, -1, b"")), (frames.DATA, stream, piece)]
    table.pool.frames_received(table.worker(), received)
    for _ in range(7):
        table.pool.frames_received(table.worker(), [(frames.DATA, stream, piece)])
    table.pool.frames_received(table.worker(), [(frames.DATA_LAST, stream, b"")])
    assert table.streams() == [], "the worker is free although the client has taken nothing"
    exchange.is_writable = True
    exchange.receiver.on_writable()
    exchange.transmit()
    assert exchange.body == piece * 8


def test_a_wsgi_body_is_gathered_before_a_worker_is_taken_and_then_sent_by_credit() -> None:
    table = Table()
    body = bytes(300_000)
    exchange = table.ask(method="POST", body=len(body))
    assert table.streams() == []
    for at in range(0, len(body), 50_000):
        exchange.receiver.body_data(body[at : at + 50_000])
    assert table.streams() == []
    exchange.receiver.body_end()
    (stream,) = table.streams()
    sent = b"".join(payload for kind, _, payload in table.channel().data if kind in (frames.BODY, frames.BODY_LAST))
    assert len(sent) == frames.WINDOW
    credit = frames.number_frame(frames.CREDIT_BODY, stream, frames.WINDOW // 2)
    table.pool.frames_received(table.worker(), frames.Splitter().feed(credit))
    sent = b"".join(payload for kind, _, payload in table.channel().data if kind in (frames.BODY, frames.BODY_LAST))
    assert sent == body
    assert table.channel().data[-1][0] == frames.BODY_LAST
    assert table.channel().data[0][2][0] == HAS_BODY
    table.answer(stream)


def test_a_gathered_body_moves_with_its_request_when_the_worker_dies_before_the_start() -> None:
    table = Table()
    body = bytes(range(256)) * 400
    exchange = table.ask(method="POST", body=len(body))
    exchange.receiver.body_data(body)
    exchange.receiver.body_end()
    table.pool.remove(1, "was killed")
    assert not exchange.over
    table.add_worker(2)
    received = [payload for kind, _, payload in table.channel(2).data if kind in (frames.BODY, frames.BODY_LAST)]
    assert b"".join(received) == body
    table.answer(table.streams(2)[0], number=2)


def test_an_asgi_body_waits_for_credit_and_the_client_for_the_application() -> None:
    table = Table(interface=frames.ASGI)
    exchange = table.ask(method="POST", body=400_000)
    assert exchange.calls[-1] == "resume_body"
    exchange.receiver.body_data(bytes(300_000))
    assert exchange.calls[-1] == "pause_body"
    (stream,) = table.streams()
    credit = frames.number_frame(frames.CREDIT_BODY, stream, frames.WINDOW // 2)
    table.pool.frames_received(table.worker(), frames.Splitter().feed(credit))
    assert exchange.calls[-1] == "resume_body"


@pytest.mark.parametrize("interface", [frames.WSGI, frames.ASGI])
def test_a_small_body_that_drips_holds_no_worker(interface: int) -> None:
    table = Table(interface=interface)
    exchange = table.ask(method="POST", body=8192)
    exchange.receiver.body_data(bytes(8191))
    assert table.streams() == []
    exchange.receiver.body_data(b"x")
    exchange.receiver.body_end()
    assert len(table.streams()) == 1


def test_a_client_that_seems_to_have_left_waits_in_the_queue_for_a_moment_only() -> None:
    table = Table(queue_size=5)
    table.ask()
    gone, there = table.ask(), table.ask()
    gone.receiver.client_half_closed()
    table.pool.sweep(monotonic())
    assert not gone.over
    table.pool.sweep(monotonic() + 1.1)
    assert (gone.over, gone.status, there.over) == (True, 0, False)
    assert len(table.pool.queue) == 1


def test_bodies_that_have_not_come_yet_take_half_of_the_slots_at_most() -> None:
    table = Table(interface=frames.ASGI)
    table.worker().scoreboard.beat(1 << 62)  # its loop turns, however long this test takes
    slots = table.worker().slots
    for _ in range(slots):
        table.ask(method="POST", body=400_000)
    assert len(table.streams()) == (slots + 1) // 2
    table.ask()
    assert len(table.streams()) == (slots + 1) // 2 + 1, "a request that is whole is run"


def test_a_request_past_its_deadline_is_504_and_its_worker_is_reported_stuck() -> None:
    table = Table()
    exchange = table.ask()
    (stream,) = table.streams()
    table.start(stream)
    table.pool.sweep(next(iter(table.worker().streams.values())).deadline + 1)
    assert table.told[-1] == ("stuck", 1)
    assert table.channel().control[-1] == (frames.STACK, stream, b"")
    table.pool.drain(1)
    assert table.told[-1] == ("stuck", 1), "it is still to say where it stands"
    table.pool.frames_received(table.worker(), [(frames.STACK_TEXT, stream, b"  in app\n")])
    assert exchange.status == 504
    assert exchange.reason.startswith("app shop: worker 1 (pid 1001) gave no answer within 30 s (from 127.0.0.1, ")
    assert exchange.reason.endswith("its stack:\n  in app")
    assert table.channel().control[-1] == (frames.DISCONNECT, stream, b"")
    assert table.told[-1] == ("idle", 1), "nothing else runs there"


def test_the_system_is_asked_for_the_stack_of_a_worker_that_says_nothing() -> None:
    table = Table()
    exchange = table.ask()
    (stream,) = table.streams()
    table.start(stream)
    table.pool.sweep(next(iter(table.worker().streams.values())).deadline + 1)
    table.pool.drain(1)
    table.timers.fire()
    assert exchange.status == 504
    assert table.told[-2:] == [("mute", 1), ("idle", 1)], "in this order: the look comes before the kill"
    assert table.mute == [f"GET / {INCIDENT}"]
    table.pool.frames_received(table.worker(), [(frames.STACK_TEXT, stream, b"late")])
    assert table.told[-1] == ("idle", 1)


def test_a_stuck_request_whose_client_did_not_wait_is_told_all_the_same() -> None:
    table = Table()
    exchange = table.ask("/slow")
    (stream,) = table.streams()
    table.start(stream)
    exchange.end()
    table.pool.sweep(next(iter(table.worker().streams.values())).deadline + 1)
    table.pool.frames_received(table.worker(), [(frames.STACK_TEXT, stream, b"  in app\n")])
    (line,) = table.logged
    assert line.startswith("GET /slow: app shop: worker 1 (pid 1001) gave no answer within 30 s")
    assert line.endswith("in app")


def test_a_cancelled_request_that_goes_on_is_told_with_its_stack_before_its_worker_is_idle() -> None:
    table = Table()
    exchange = table.ask("/slow")
    (call,) = table.worker().streams.values()
    table.start(call.stream)
    table.pool.cancel(table.worker(), call)
    assert exchange.status == 503
    table.timers.fire()
    assert table.told[-1] == ("stuck", 1)
    table.pool.drain(1)
    assert table.told[-1] == ("stuck", 1)
    table.pool.frames_received(table.worker(), [(frames.STACK_TEXT, call.stream, b"  in app\n")])
    assert table.logged[-1].startswith(
        "GET /slow: app shop: worker 1 (pid 1001) still runs it 1 s after it was cancelled"
    )
    assert table.told[-1] == ("idle", 1)


def test_of_very_many_stuck_requests_not_all_are_asked_for_their_stacks() -> None:
    table = Table(threads=40)
    exchanges = [table.ask() for _ in range(30)]
    table.start(table.streams()[-1])
    table.pool.sweep(list(table.worker().streams.values())[-1].deadline + 1)
    asked = [frame for frame in table.channel().control if frame[0] == frames.STACK]
    assert len(asked) == STACKS_AT_ONCE
    assert sum(exchange.over for exchange in exchanges) == 30 - STACKS_AT_ONCE
    table.timers.fire()
    assert [exchange.status for exchange in exchanges] == [504] * 30


def test_a_late_request_whose_worker_dies_meanwhile_is_not_tried_again() -> None:
    table = Table(workers=2)
    exchange = table.ask()
    (stream,) = table.streams()
    table.start(stream)
    table.pool.sweep(next(iter(table.worker().streams.values())).deadline + 1)
    table.pool.remove(1, "killed by signal 9 (SIGKILL)")
    assert exchange.status == 504
    assert table.streams(2) == []


def test_what_a_dead_worker_ran_is_told() -> None:
    table = Table(threads=2)
    table.ask("/a")
    table.ask("/b?c=d", "POST")
    _, second = table.streams()
    table.start(second)
    table.pool.remove(1, "exited with status 1")
    ((number, text),) = table.left
    assert number == 1
    assert [re.sub(r", [\d.]+ s,", ",", line) for line in text.splitlines()] == [
        "GET /a, tried again",
        f"POST /b?c=d, 502 {INCIDENT}",
    ]


def test_of_what_a_dead_worker_had_some_is_told_and_the_rest_counted() -> None:
    table = Table(threads=40)
    for number in range(40):
        table.ask(f"/{number}", "POST")
    gone = table.ask("/left", "POST")
    streams = table.streams()
    table.start(streams[29])
    table.pool.remove(1, "exited with status 1")
    lines = table.left[0][1].splitlines()
    assert lines[0].startswith("POST /0, ")
    assert lines[-2:] == ["and 10 more", "10 had not begun"]
    assert len(lines) == MAX_LINES + 2
    assert not gone.over, "it waits for another worker"


def test_a_request_that_a_worker_does_not_even_begin_is_504_too() -> None:
    table = Table()
    exchange = table.ask()
    table.pool.sweep(next(iter(table.worker().streams.values())).deadline + 1)
    table.timers.fire()
    assert exchange.status == 504, "nothing else holds the worker: it was stopped"
    assert table.told[-2:] == [("stuck", 1), ("mute", 1)]


def test_behind_a_stream_whose_client_is_waited_for_nobody_waits_beyond_the_deadline() -> None:
    table = Table(interface=frames.ASGI)
    streaming = table.ask()
    (stream,) = table.streams()
    table.start(stream)
    head = pack_answer(200, 0, -1, b"content-type: text/plain\r\n", b"x")
    table.pool.frames_received(table.worker(), [(frames.ANSWER, stream, head)])
    waiting = table.ask()
    table.pool.sweep(list(table.worker().streams.values())[-1].deadline + 1)
    table.timers.fire()
    assert not streaming.over
    assert waiting.status == 504, "the loop of the worker is blocked by a stream that has no time of its own"
    assert table.told[-2] == ("stuck", 1)


@pytest.mark.parametrize("interface", [frames.WSGI, frames.ASGI])
def test_who_waits_unbegun_behind_a_request_that_timed_out_does_not_keep_the_worker(interface: int) -> None:
    table = Table(interface=interface, threads=2)
    stuck, waiting = table.ask("/stuck", "POST"), table.ask("/next", "POST")
    first, second = table.streams()
    table.start(first)
    calls = table.worker().streams
    calls[first].deadline -= 31
    table.pool.sweep(monotonic())
    table.pool.drain(1)
    table.timers.fire()
    assert stuck.status == 504
    assert ("idle", 1) not in table.told, "the second has only just been sent, and may begin yet"
    calls[second].deadline -= 1
    table.pool.sweep(monotonic())
    assert table.told[-1] == ("idle", 1)
    table.add_worker(2, interface)
    table.pool.remove(1, "killed by signal 9 (SIGKILL)")
    assert not waiting.over
    assert len(table.streams(2)) == 1


def test_who_has_begun_beside_a_request_that_timed_out_keeps_the_worker() -> None:
    table = Table(threads=2)
    table.ask("/stuck")
    running = table.ask("/next")
    first, second = table.streams()
    table.start(second)
    calls = table.worker().streams
    calls[first].deadline -= 31
    calls[second].deadline -= 20
    table.pool.sweep(monotonic())
    table.pool.drain(1)
    table.timers.fire()
    table.pool.sweep(monotonic())
    assert ("idle", 1) not in table.told
    table.answer(second)
    assert running.status == 200
    assert table.told[-1] == ("idle", 1)


def test_an_answer_to_head_whose_length_nobody_knows_claims_none() -> None:
    table = Table()
    exchange = table.ask(method="HEAD")
    (stream,) = table.streams()
    table.start(stream)
    payload = pack_answer(200, COMPLETE, -1, b"content-type: text/plain\r\n", b"")
    table.pool.frames_received(table.worker(), [(frames.ANSWER, stream, payload)])
    assert exchange.length is None, "0 would be said of what GET has"
    assert exchange.calls[-1] == "finish"


def test_a_draining_worker_is_idle_when_its_last_request_ended() -> None:
    table = Table()
    table.ask()
    table.pool.drain(1)
    assert table.told[-1] == ("ready", 1)
    table.answer(table.streams()[0])
    assert table.told[-1] == ("idle", 1)
    waiting = table.ask()
    assert not waiting.over
    assert table.streams() == []


def test_several_fronts_count_each_others_requests() -> None:
    table = Table(fronts=2)
    table.board.set_slot(1, 1, IN_FLIGHT, 1)
    waiting = table.ask()
    assert table.streams() == []
    table.board.set_slot(1, 1, IN_FLIGHT, 0)
    table.pool.pump()
    assert table.board.slot(0, 1, IN_FLIGHT) == 1
    table.answer(table.streams()[0])
    assert waiting.status == 200
    assert table.board.slot(0, 1, IN_FLIGHT) == 0


def test_who_waits_for_another_front_s_request_looks_again_until_it_has_ended() -> None:
    table = Table(fronts=2)
    table.board.set_slot(1, 1, IN_FLIGHT, 1)
    waiting = table.ask()
    table.timers.fire()
    assert table.streams() == []
    table.board.set_slot(1, 1, IN_FLIGHT, 0)
    table.timers.fire()
    table.answer(table.streams()[0])
    assert waiting.status == 200
    assert table.timers.due == [], "nobody waits, so nobody looks"


def test_a_failed_application_is_500_with_its_traceback_for_the_log_only() -> None:
    table = Table()
    exchange = table.ask()
    (stream,) = table.streams()
    table.pool.frames_received(table.worker(), [(frames.FAILED, stream, b"Traceback: boom")])
    assert exchange.status == 500
    assert "boom" in exchange.reason


def test_a_front_that_was_just_served_lets_the_others_have_a_turn() -> None:
    table = Table(fronts=2)
    running, waiting = table.ask("/1"), table.ask("/2")
    table.board.set_app(1, 0, QUEUED, 3)
    (stream,) = table.streams()
    table.answer(stream)
    assert running.over
    assert table.streams() == [], "somebody else waits too"
    table.pool._yields_until = 0.5
    table.timers.fire()
    table.answer(table.streams()[0])
    assert waiting.status == 200


def test_a_front_whose_requests_alone_wait_goes_on_at_once() -> None:
    table = Table(fronts=2)
    table.ask("/1")
    table.ask("/2")
    table.answer(table.streams()[0])
    assert len(table.streams()) == 1


def test_a_call_that_came_back_does_not_keep_others_from_expiring() -> None:
    table = Table()
    table.ask("/runs")
    first, second = table.ask("/1"), table.ask("/2")
    table.pool.queue[0].deadline += 1000
    table.pool.sweep(table.pool.queue[1].deadline + 1)
    assert not first.over
    assert second.status == 503


def test_the_master_is_told_at_once_of_a_request_that_finds_no_worker() -> None:
    table = Table(workers=0, startup_timeout_s=60.0)
    table.ask("/a")
    table.ask("/b")
    assert table.told == [("wanted", 0)]
    table.add_worker(1)
    assert len(table.streams()) == 1, "it waited for the boot"


def test_the_master_is_told_of_requests_that_wait_long_for_a_busy_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    table = Table(workers=1, startup_timeout_s=60.0)
    table.told.clear()
    table.ask("/a")
    table.ask("/b")
    assert table.told == []
    table.pool.queue[0].deadline -= 1.0  # as if it had waited for a second
    table.timers.fire()
    assert table.told == [("wanted", 0)]
    assert table.board.app_total(0, QUEUED) == 1
    table.answer(table.streams()[0])
    table.timers.fire()
    assert table.told == [("wanted", 0)], "nobody waits any more"


def test_where_the_number_of_workers_is_fixed_the_master_is_told_nothing() -> None:
    table = Table(workers=0)
    table.ask("/a")
    assert (table.told, table.timers.due) == ([], [])


def test_a_request_for_an_application_that_could_not_start_has_it_tried_again() -> None:
    table = Table(workers=0, startup_timeout_s=60.0)
    table.pool.set_reason("ValueError")
    assert table.ask("/a").status == 503
    assert table.told == [("wanted", 0)]


def test_a_health_path_runs_beside_as_many_as_may_run() -> None:
    table = Table(threads=2)
    table.ask("/a")
    table.ask("/b")
    waiting = table.ask("/c")
    health = table.ask("/healthz")
    *_, (_, stream, payload) = table.channel().data
    assert unpack_request(payload)[0] == RESERVED
    assert len(table.streams()) == 3
    table.answer(stream)
    assert health.status == 200
    assert not waiting.over
    assert len(table.streams()) == 2, "what was kept for health paths is for nobody else"


def test_of_health_paths_only_one_runs_beside_as_many_as_may_run() -> None:
    table = Table(threads=2)
    for _ in range(2):
        table.ask("/a")
    table.ask("/healthz")
    table.ask("/healthz")
    assert (len(table.streams()), len(table.pool.queue)) == (3, 1)


def test_a_full_single_threaded_worker_has_health_paths_next_though_the_queue_is_full() -> None:
    table = Table(queue_size=1)
    table.ask("/a")
    waiting = table.ask("/b")
    health = table.ask("/healthz")
    assert table.ask("/c").status == 503
    assert len(table.streams()) == 1
    table.answer(table.streams()[0])
    table.answer(table.streams()[0])
    assert health.status == 200
    assert not waiting.over


def test_a_health_path_that_waits_too_long_is_503() -> None:
    table = Table()
    table.ask("/a")
    health = table.ask("/healthz")
    table.pool.sweep(waiting_until(table) + 1)
    assert health.status == 503
    assert len(table.pool.queue) == 0


def test_a_health_path_with_a_body_or_another_name_waits_like_all() -> None:
    table = Table()
    table.ask("/a")
    table.ask("/b")
    table.ask("/healthz/")
    table.ask("/healthz", "POST", body=10).receiver.body_data(b"x" * 10)
    assert table.pool.queue.lane == 0


def test_a_health_path_that_comes_back_is_first_again() -> None:
    table = Table(threads=2)
    for _ in range(2):
        table.ask("/a")
    table.ask("/b")
    health = table.ask("/healthz")
    stream = table.streams()[-1]
    table.worker().is_open = False
    table.pool.frames_received(table.worker(), [(frames.BUSY, stream, b"")])
    assert table.pool.queue[0].exchange is health


def test_health_paths_of_an_asgi_worker_whose_loop_does_not_turn_wait_for_one_that_does() -> None:
    table = Table(interface=frames.ASGI, concurrency=1)
    table.ask("/a")
    table.ask("/healthz")
    assert (len(table.streams()), len(table.pool.queue)) == (1, 1)
    table.worker().scoreboard.beat(1 << 62)
    table.pool.pump()
    assert (len(table.streams()), len(table.pool.queue)) == (2, 0)


def test_retry_after_is_how_long_the_longest_has_waited() -> None:
    table = Table(queue_size=2)
    table.ask("/a")
    table.ask("/b")
    table.ask("/c")
    table.pool.queue[0].deadline -= 6.5
    assert table.ask("/d").headers["retry-after"] == "7"


def test_a_full_queue_without_room_says_come_again_soon() -> None:
    table = Table(queue_size=0)
    table.ask("/a")
    assert table.ask("/b").headers["retry-after"] == "1"


def test_a_request_that_kills_its_worker_costs_two_at_most() -> None:
    table = Table(workers=3)
    exchange = table.ask("/deadly")
    for number in (1, 2):
        (stream,) = table.streams(number)
        table.start(stream, number)
        table.pool.remove(number, "died")
    assert exchange.status == 502
    assert exchange.reason.endswith("it had been tried again already")
    assert table.streams(3) == []


def test_no_more_are_tried_again_than_the_budget_allows() -> None:
    table = Table(threads=201)
    exchanges = [table.ask("/a") for _ in range(201)]
    table.start(table.streams()[-1])
    table.pool.remove(1, "died")
    failed = [exchange for exchange in exchanges if exchange.over]
    assert (len(failed), len(table.pool.queue)) == (101, 100)
    assert {exchange.status for exchange in failed} == {502}
    assert failed[0].reason.endswith("not tried again: too many were lately")


def test_what_had_not_begun_moves_without_the_budget() -> None:
    table = Table(workers=0, threads=300)
    table.add_worker(1)
    for _ in range(150):
        table.ask("/a")
    table.pool.remove(1, "died")
    assert len(table.pool.queue) == 150


def test_a_cancelled_request_is_503_and_its_worker_stuck_if_it_goes_on() -> None:
    table = Table(interface=frames.ASGI)
    first, second = table.ask("/a"), table.ask("/b")
    for stream in table.streams():
        table.start(stream)
    worker, calls = table.worker(), list(table.worker().streams.values())
    for call in calls:
        table.pool.cancel(worker, call)
    assert (first.status, second.status) == (503, 503)
    table.pool.frames_received(worker, [(frames.FAILED, calls[0].stream, b"")])
    table.timers.fire()
    assert table.told.count(("stuck", 1)) == 1, "one of them has ended"
