"""Step 5 of the request path: an application's workers as one front sees them, and the queue in front of them (D11).

I/O: none but closing a descriptor; frames go out through each worker's channel. Invariants: the queue is first come,
first served but for health paths, bounded in number and time; a worker gets only what it can run, a little more while
the application is fast; what a worker gave back or never began goes to the head of the queue; a worker that breaks the
rules of the wire is reported and never talked to again.

HOT: submit, frames_received (benchmarks/hello_wsgi.py).
"""

from __future__ import annotations

import os
from collections.abc import Callable
from math import ceil
from time import monotonic
from typing import TYPE_CHECKING

from pyserve.balance.dispatch import MEASURE_EVERY_S, RECALL_AFTER_S, ServiceTime, choose, choose_reserved
from pyserve.balance.queue import Queue
from pyserve.balance.retries import RetryBudget
from pyserve.config.model import WebSocket
from pyserve.handlers.call import AppCall, HealthCall
from pyserve.handlers.stacks import Stacks
from pyserve.handlers.worker import Reports, Timers, Worker
from pyserve.http.request import Request
from pyserve.wire import frames
from pyserve.wire.board import IN_FLIGHT, QUEUED, SERVED, Board
from pyserve.wire.codec import Head, unpack_peer

if TYPE_CHECKING:
    from pyserve.handlers.sockets import Sockets

STALE_HEARTBEAT_S = 0.05
LOOK_AGAIN_S = 0.002
YIELD_S = 0.003
"""Longer than it takes others to look."""
BEGUN_AFTER_S = 0.5
"""Whoever was sent to a worker so long ago and has not begun there waits for one that holds it."""
TURN_S = 0.006
"""How soon a front looks whether a worker that was busy for another front is free."""
LEFT_AFTER_S = 1.0
"""A client that has ended its sending may still read, but one that is gone looks the same: so long its request waits in
the queue for its turn, then it is taken for gone. A full pool must not run what nobody waits for."""
CANCELLED_S = 1.0
"""So long a cancelled request may take to end before it costs its worker."""
MAX_LINES = 20
MAX_TARGET = 500
"""Of what a dead worker ran, so much is told."""
STACKS_AT_ONCE = 20
"""So many stuck requests of one worker are asked for at once; of more the rest get their 504 alone."""
GROW_AFTER_S = 0.05
"""Who has waited so long would have been better off with one worker more."""
RETRY_LATER = b"retry-after: 5\r\n"
"""For an application that can't run: its next start is tried within so long, or not soon."""


class Pool:
    """One application's workers and queue in one front.

    ``threads``/``concurrency`` say what a worker can run at once. ``health``: paths that go before all others.
    ``startup_timeout_s``: not 0 where the number of workers follows the load: the master is told when requests wait,
    and who finds no worker waits for the boot. ``websockets``: so many in each worker. ``grace_s``: how long a worker
    may take to go.
    """

    def __init__(
        self,
        name: str,
        index: int,
        *,
        threads: int,
        concurrency: int,
        timeout_s: float,
        queue_size: int,
        queue_timeout_s: float,
        spool_dir: str,
        spool_bytes: int,
        wire_head: Callable[[Request, str, int | None], Head],
        front: int,
        board: Board,
        timers: Timers,
        reports: Reports,
        health: frozenset[str] = frozenset(),
        startup_timeout_s: float = 0.0,
        websockets: int = 1000,
        websocket: WebSocket = WebSocket(),  # noqa: B008 (a frozen value)
        grace_s: float = 30.0,
    ) -> None:
        self.name = name
        self.index = index
        self.interface = 0
        self.spool_dir = spool_dir
        self.spool_bytes = spool_bytes
        self.wire_head = wire_head
        self.reason = ""
        self.workers: dict[int, Worker] = {}
        self.queue: Queue[AppCall] = Queue()
        self.health = health
        self._seats: list[Worker] = []
        self._threads = threads
        self._concurrency = concurrency
        self._timeout_s = timeout_s
        self._queue_size = queue_size
        self._queue_timeout_s = queue_timeout_s
        self._front = front
        self._board = board
        self._is_shared = board.fronts > 1
        self._timers = timers
        self.stacks = Stacks(timers)
        self._reports = reports
        self._retries = RetryBudget()
        self._served_by_dead = 0
        self._service = ServiceTime()
        self._ahead = 0
        self._stream = 0
        self._startup_timeout_s = startup_timeout_s
        self._is_asking = False
        self._is_looking = False
        self._is_recalling = False
        self._turn_ends = 0.0
        self._yields_until = 0.0
        self.sockets: Sockets | None = None  # made for the first WebSocket
        self._websockets = websockets
        self.websocket = websocket
        self._grace_s = grace_s

    # Requests come in.

    def make_sockets(self) -> Sockets:
        """Return what keeps this application's WebSockets, made and imported at first need."""
        if self.sockets is None:
            from pyserve.handlers.sockets import Sockets

            self.sockets = Sockets(
                self,
                settings=self.websocket,
                limit=self._websockets,
                timeout_s=self._timeout_s,
                queue_size=self._queue_size,
                queue_timeout_s=self._queue_timeout_s,
                startup_timeout_s=self._startup_timeout_s,
                grace_s=self._grace_s,
                front=self._front,
                board=self._board,
                timers=self._timers,
                reports=self._reports,
            )
        return self.sockets

    def next_stream(self) -> int:
        stream = self._stream = (self._stream + 1) & 0xFFFFFFFF
        return stream

    def submit(self, call: AppCall) -> None:
        """Run a call now if a worker can take it, else queue it.

        Answer 503 if the queue is full or nobody will come.
        """
        if not self.queue:
            now = monotonic()
            worker = self._pick(now)
            if worker is not None:
                self._dispatch(call, worker, now)
                return
        if self.reason and not self._has_open_seat():
            if self._startup_timeout_s:
                self._reports.app_wanted(self.index)  # it may have been given up meanwhile: let it be tried again
            call.exchange.fail(503, f"app {self.name} can't run: {self.reason}", RETRY_LATER)
            return
        if len(self.queue) >= self._queue_size:
            call.exchange.fail(503, f"app {self.name}: {len(self.queue)} requests wait already", self._retry_after())
            return
        self.queue.append(call)
        self._is_waiting(call)

    def submit_to_lane(self, call: HealthCall) -> None:
        """Run a call now, also in a place that is kept for it, else have it wait before all others.

        It is answered within the queue's time, however full everything is.
        """
        now = monotonic()
        worker = self._pick(now) or self._pick_reserved(now)
        if worker is not None:
            self._dispatch(call, worker, now)
        elif (self.reason and not self._has_open_seat()) or not self.queue.append_to_lane(call):
            self.submit(call)
        else:
            self._is_waiting(call)

    def _is_waiting(self, call: AppCall) -> None:
        call.deadline = monotonic() + self._queue_timeout_s
        if self._is_shared:
            self._board.set_app(self._front, self.index, QUEUED, len(self.queue))
        self._look_again_soon()
        if self._startup_timeout_s:
            self._want_more(call)

    def _retry_after(self) -> bytes:
        """When to come again: who would begin to wait now would wait about as long as the longest has."""
        return b"retry-after: %d\r\n" % max(1, ceil(self._longest_wait_s()))

    def _longest_wait_s(self) -> float:
        """Return how long the first behind the lane has waited."""
        queue = self.queue
        if not queue:
            return 0.0
        return monotonic() + self._queue_timeout_s - queue[min(queue.lane, len(queue) - 1)].deadline

    def cancel(self, worker: Worker, call: AppCall) -> None:
        """An operator ends a request. The application is told as if its client had left; if it still runs a second
        later its worker counts as stuck."""
        call.exchange.fail(503, f"app {self.name}: cancelled by the operator while worker {worker.pid} ran it")
        worker.channel.send_control(frames.frame(frames.DISCONNECT, call.stream))
        self._timers.call_later(CANCELLED_S, lambda: self._end_cancelled(worker, call))

    def _end_cancelled(self, worker: Worker, call: AppCall) -> None:
        if worker.streams.get(call.stream) is call and not call.is_timed_out:
            self._is_stuck(worker, call, f"still runs it {CANCELLED_S:g} s after it was cancelled")

    def _has_open_seat(self) -> bool:
        return any(worker.is_open for worker in self._seats)

    def _want_more(self, call: AppCall) -> None:
        """Have the master told when this call has waited too long; at once where it would wait for nobody."""
        is_alone = not self._has_open_seat()
        if is_alone:
            call.deadline += self._startup_timeout_s
        if not self._is_asking:
            self._is_asking = True
            if is_alone:
                self._ask_for_more()
            else:
                self._timers.call_later(GROW_AFTER_S, self._ask_for_more)

    def _ask_for_more(self) -> None:
        """Tell the master that requests wait, again and again as long as it is so."""
        self._is_asking = False
        if not self.queue:
            return
        if self._longest_wait_s() >= GROW_AFTER_S or not self._has_open_seat():
            self.publish()  # what the master will look at
            self._reports.app_wanted(self.index)
        self._is_asking = True
        self._timers.call_later(GROW_AFTER_S, self._ask_for_more)

    def has_room_to_stream(self) -> bool:
        """May a request begin whose body has not come yet? Only into the first half of a worker's slots.

        The other half is for requests that are whole, so clients that drip their bodies can't take every slot.
        """
        return any(seat.is_open and (seat.outstanding + seat.elsewhere) * 2 < seat.slots for seat in self._seats)

    def forget(self, call: AppCall) -> None:
        """The client of a waiting call has left."""
        try:
            self.queue.remove(call)
        except ValueError:
            pass

    def _pick(self, now: float) -> Worker | None:
        if self._is_shared:
            for seat in self._seats:
                seat.elsewhere = self._board.slot_total(seat.slot, IN_FLIGHT) - self._board.slot(
                    self._front, seat.slot, IN_FLIGHT
                )
            if now < self._yields_until:
                return None
        worker = choose(self._seats, self._ahead, now)
        if (
            worker is not None
            and worker.interface == frames.ASGI
            and worker.outstanding
            and now - worker.last_progress > STALE_HEARTBEAT_S
        ):
            return self._pick_awake(now)
        return worker

    def _pick_awake(self, now: float) -> Worker | None:
        return choose(self._awake(now), 0, now)

    def _pick_reserved(self, now: float) -> Worker | None:
        """Return a worker whose place for health paths is free."""
        return choose_reserved(self._awake(now))

    def _awake(self, now: float) -> list[Worker]:
        """Return the workers without those whose loop has not turned lately: one that computes can't begin anything
        new."""
        fresh_ns = int((now - STALE_HEARTBEAT_S) * 1e9)
        return [
            worker
            for worker in self._seats
            if worker.interface != frames.ASGI or not worker.outstanding or worker.scoreboard.heartbeat_ns() > fresh_ns
        ]

    def _dispatch(self, call: AppCall, worker: Worker, now: float) -> None:
        if worker.interface == frames.WSGI and call.needs_gathering:
            call.gather()
            return
        stream = self._stream = (self._stream + 1) & 0xFFFFFFFF  # HOT: `next_stream`, written out
        call.deadline = now + self._timeout_s
        if not worker.outstanding:
            worker.last_progress = now
        worker.streams[stream] = call
        worker.outstanding += 1
        if self._is_shared:
            self._board.set_slot(self._front, worker.slot, IN_FLIGHT, worker.outstanding)
        call.start(worker, stream)
        if worker.outstanding + worker.elsewhere > worker.slots and not self._is_recalling:
            self._is_recalling = True
            self._timers.call_later(RECALL_AFTER_S, self._recall)

    def pump(self) -> None:
        """Give waiting calls to whoever has room."""
        queue = self.queue
        now = monotonic()
        while queue:
            worker = self._pick(now)
            if worker is not None:
                call = queue.take()
            elif queue.lane and (worker := self._pick_reserved(now)) is not None:
                call = queue.take_from_lane()
            else:
                self._look_again_soon()
                return
            if self._is_shared:
                self._board.set_app(self._front, self.index, QUEUED, len(queue))
            if not call.exchange.over:
                self._dispatch(call, worker, now)

    def _give_way(self, now: float) -> None:
        """Let other fronts have a turn, if requests wait there too: who was just served sees a free worker first."""
        if self._board.app_total(self.index, QUEUED) > len(self.queue):
            if now >= self._turn_ends:
                self._yields_until = now + YIELD_S
                self._turn_ends = self._yields_until + TURN_S
        else:
            self._turn_ends = now + TURN_S

    def _look_again_soon(self) -> None:
        """Another front says nothing when its request ends, so who waits for one of those has to look."""
        if not self._is_looking and (
            self._yields_until or any(seat.is_open and seat.elsewhere for seat in self._seats)
        ):
            self._is_looking = True
            self._timers.call_later(LOOK_AGAIN_S, self._look_again)

    def _look_again(self) -> None:
        self._is_looking = False
        if self.queue:
            self.pump()

    def _recall(self) -> None:
        """Ask back what waits behind something slow.

        Newest first, so that it comes back to the head of the queue in order.
        """
        now = monotonic()
        self._is_recalling = False
        for worker in self._seats:
            if worker.outstanding + worker.elsewhere > worker.slots and worker.outstanding:
                if now - worker.last_progress >= RECALL_AFTER_S:
                    for call in reversed(list(worker.streams.values())[max(0, worker.slots - worker.elsewhere) :]):
                        if not call.is_recalled and not self._has_own_place(worker, call, now):
                            call.is_recalled = True
                            worker.channel.send_control(frames.frame(frames.RECALL, call.stream))
                if not self._is_recalling:
                    self._is_recalling = True
                    self._timers.call_later(RECALL_AFTER_S, self._recall)

    def _has_own_place(self, worker: Worker, call: AppCall, now: float) -> bool:
        """Is this a health path's, which waits behind nothing? If it does it came together with another front's."""
        started = call.deadline - self._timeout_s
        return bool(call.flags and worker.reserve) and now - started < STALE_HEARTBEAT_S

    # Frames come in.

    def frames_received(self, worker: Worker, received: list[tuple[int, int, bytes]]) -> None:
        """Take the frames of one read from a worker's data or control channel."""
        ended = 0
        streams = worker.streams
        try:
            for kind, stream, payload in received:
                call = streams.get(stream)
                if call is None:
                    if stream in worker.sockets:
                        self.sockets.frame_received(worker, stream, kind, payload)  # type: ignore[union-attr]
                    else:
                        self._without_stream(worker, kind, stream, payload)
                elif kind == frames.ANSWER:
                    if call.answer(payload):
                        del streams[stream]
                        call.worker = None
                        ended += 1
                elif kind == frames.DATA and call.has_answer:
                    call.data(payload)
                    call.deadline = monotonic() + self._timeout_s
                elif kind == frames.DATA_LAST and call.has_answer:
                    if payload:
                        call.data(payload)
                    del streams[stream]
                    call.end_of_answer()
                    ended += 1
                elif kind in (frames.FILE, frames.FILE_LAST) and call.has_answer:
                    call.file(payload, kind == frames.FILE_LAST)
                    if kind == frames.FILE_LAST:
                        del streams[stream]
                        call.end_of_answer()
                        ended += 1
                    else:
                        call.deadline = monotonic() + self._timeout_s
                elif kind == frames.HINTS:
                    call.hints(payload)
                elif kind == frames.TRAILERS and call.has_answer:
                    call.trailers(payload)
                    del streams[stream]
                    call.end_of_answer()
                    ended += 1
                elif kind == frames.CREDIT_BODY:
                    call.credit(frames.number(payload))
                elif kind == frames.WANT_BODY:
                    call.exchange.want_body()
                elif kind == frames.FAILED:
                    del streams[stream]
                    call.worker = None
                    ended += 1
                    if payload:
                        call.exchange.fail(500, f"app {self.name} failed\n{payload.decode('utf-8', 'replace')}")
                    elif not call.exchange.over:
                        call.exchange.abort()  # it stopped because the client has left
                elif kind in (frames.BUSY, frames.RECALLED) and (call.can_move(False) or call.exchange.over):
                    del streams[stream]
                    worker.outstanding -= 1
                    if self._is_shared:
                        self._board.set_slot(self._front, worker.slot, IN_FLIGHT, worker.outstanding)
                    call.take_back()
                    self._requeue(call)
                elif kind == frames.STACK_TEXT:
                    self.stacks.told(worker, stream, payload)
                else:
                    raise frames.WireError(f"frame of type {kind} at the wrong time")
        except frames.WireError as error:
            self.break_off(worker, str(error))
            return
        if ended:
            now = monotonic()
            worker.outstanding -= ended
            worker.served += ended
            worker.last_progress = now
            if now - worker.measured_at > MEASURE_EVERY_S and worker.interface == frames.WSGI:
                self._measure(worker, now)
            if self._is_shared:
                self._board.set_slot(self._front, worker.slot, IN_FLIGHT, worker.outstanding)
            if worker.is_draining:
                self._tell_idle(worker)
        if self.queue:
            if self._is_shared and ended:
                self._give_way(monotonic())
            self.pump()

    def descriptor_received(self, worker: Worker, stream: int, fd: int) -> None:
        """Take over the descriptor of a file that an answer hands over, -1 = it was lost. Raises ``WireError``."""
        call = worker.streams.get(stream)
        if call is not None:
            call.descriptor(fd)
        elif fd >= 0:
            os.close(fd)  # its stream has failed meanwhile

    def _measure(self, worker: Worker, now: float) -> None:
        """Learn how fast the application is from what a worker says of its work."""
        worker.measured_at = now
        before = worker.measured_work
        busy_ns, requests = worker.measured_work = worker.scoreboard.work()
        if requests > before[1]:
            self._service.observe((busy_ns - before[0]) / 1e9, requests - before[1])
            self._ahead = self._service.ahead()

    def _without_stream(self, worker: Worker, kind: int, stream: int, payload: bytes) -> None:
        if kind == frames.HELLO and not worker.interface:
            if len(payload) != 2 or payload[1] != frames.VERSION or payload[0] not in frames.INTERFACE_NAMES:
                raise frames.WireError(f"hello {payload!r}")
            worker.interface = self.interface = payload[0]
            worker.slots = self._threads if self.interface == frames.WSGI else self._concurrency
            worker.reserve = 1 if self.interface == frames.ASGI or self._threads > 1 else 0
            worker.is_open = not worker.is_draining
            worker.measured_work = worker.scoreboard.work()  # what its warmup took says nothing
            self.reason = ""
            self._reports.worker_ready(worker.number)
            if self.sockets is not None:
                self.sockets.worker_ready(worker)
        elif kind == frames.LOG:
            self._reports.log(f"app {self.name}: {payload[1:].decode('utf-8', 'replace')}")
        elif kind == frames.STACK_TEXT:
            self.stacks.told(worker, stream, payload)
        elif kind not in (frames.RECALLED, frames.CREDIT_BODY, frames.WANT_BODY, frames.BUSY, frames.HINTS):
            # Those may cross with the end of their stream; anything else is about a stream that never was.
            raise frames.WireError(f"frame of type {kind} for stream {stream}, which is not under way")

    def _requeue(self, call: AppCall) -> None:
        if call.exchange.over:
            return
        call.deadline = monotonic() + self._queue_timeout_s
        self.queue.put_back(call, to_lane=isinstance(call, HealthCall))

    def break_off(self, worker: Worker, why: str) -> None:
        """A worker broke the rules of the wire: nothing it says counts any more."""
        worker.is_open = False
        worker.channel.close()
        self._reports.worker_broke(
            worker.number, f"app {self.name}: worker {worker.pid} broke the rules of the wire: {why}"
        )

    # Workers come and go.

    def add(self, worker: Worker) -> None:
        self.workers[worker.number] = worker
        self._seats.append(worker)

    def drain(self, number: int) -> None:
        """Give a worker nothing new.

        ``worker_idle`` is told once nothing of ours runs there but what has timed out.
        """
        worker = self.workers.get(number)
        if worker is not None:
            worker.is_draining = True
            worker.is_open = False
            for call in reversed(list(worker.streams.values())[worker.slots :]):
                worker.channel.send_control(frames.frame(frames.RECALL, call.stream))
            if self.sockets is not None:
                self.sockets.drain(worker)
            self._tell_idle(worker)

    def going_away(self, grace_s: float) -> None:
        """The server stops: what has no end of its own is told to end."""
        if self.sockets is not None:
            self.sockets.going_away(grace_s)

    def look_if_idle(self, worker: Worker) -> None:
        """A worker that drains has one WebSocket less."""
        self._tell_idle(worker)

    def _tell_idle(self, worker: Worker) -> None:
        if not worker.is_idle_told and self._is_idle(worker) and not self.stacks.waits_for(worker):
            worker.is_idle_told = True
            self._reports.worker_idle(worker.number)

    def _is_idle(self, worker: Worker) -> bool:
        """Runs nothing there but what has timed out?

        What waits behind that and was not begun for so long never will be: it moves when the worker is killed. Of a
        WebSocket whose client was told, an application may end what it has to end while the worker stops.
        """
        if worker.sockets and not all(call.exchange.over for call in worker.sockets.values()):
            return False
        waiting = [call for call in worker.streams.values() if not call.is_timed_out]
        if not waiting or len(waiting) == len(worker.streams):
            return not waiting
        last_started = worker.scoreboard.last_started(self._front)
        latest = monotonic() - BEGUN_AFTER_S + self._timeout_s
        return all(
            frames.is_after(call.stream, last_started) and call.can_move(False) and call.deadline <= latest
            for call in waiting
        )

    def remove(self, number: int, how: str) -> None:
        """A worker is dead and everything it wrote was read.

        Move what had not begun, retry what may be, fail the rest.
        """
        worker = self.workers.pop(number, None)
        if worker is None:
            return
        worker.is_open = False
        self._seats.remove(worker)
        worker.channel.close()
        self._board.set_slot(self._front, worker.slot, IN_FLIGHT, 0)
        last_started = worker.scoreboard.last_started(self._front)
        now = monotonic()
        running = len(worker.streams) + sum(seat.outstanding for seat in self._seats)
        self._served_by_dead += worker.served
        self._observe_requests(now)
        streams, worker.streams = worker.streams, {}
        self.stacks.forget(worker)
        began: list[str] = []
        for stream, call in reversed(streams.items()):
            has_started = not frames.is_after(stream, last_started)
            if call.is_timed_out:
                became = "past its time"
            elif call.exchange.over:
                became = "its client had left"
            elif call.can_move(has_started) and (not has_started or self._retries.take(running, now)):
                call.is_retry = call.is_retry or has_started
                call.take_back()
                self._requeue(call)
                became = "tried again"
            else:
                why = ""
                if call.is_retry:
                    why = "; it had been tried again already"
                elif has_started and call.can_move(True):
                    why = "; not tried again: too many were lately"
                call.worker = None
                reason = f"app {self.name}: worker {worker.pid} {how} while running this request{why}"
                became = f"502 {call.exchange.fail(502, reason)}"
            if has_started:
                began.append(f"{_named(call)}, {now - call.exchange.started:.3f} s, {became}")
        waiting = len(streams) - len(began)
        if worker.sockets:
            told = self.sockets.worker_died(worker, how, last_started)  # type: ignore[union-attr]
            if told:
                began.insert(0, told)  # the last line, where few are told
        self._reports.worker_left(worker.number, _running_words(began[::-1], waiting))
        self.pump()

    def set_reason(self, reason: str) -> None:
        """The master says why the application can't run now, "" = it boots or serves. What waits is answered."""
        self.reason = reason
        if reason and not self._has_open_seat():
            for call in self.queue.take_all():
                call.exchange.fail(503, f"app {self.name} can't run: {reason}", RETRY_LATER)
            if self.sockets is not None:
                self.sockets.give_up(reason)

    # Time passes.

    def sweep(self, now: float) -> None:
        """Called every 250 ms: what waited or ran too long, and the figures that others read."""
        # All of it: one that came back to the head of the queue has a later deadline than those behind it.
        late = [call for call in self.queue if now >= call.deadline]
        if late:
            retry_after = self._retry_after()
            for call in late:
                self.forget(call)
                call.exchange.fail(503, f"app {self.name}: no worker was free in time", retry_after)
        for call in [call for call in self.queue if call.left_at and now >= call.left_at + LEFT_AFTER_S]:
            self.forget(call)
            call.exchange.abort()
        for worker in self._seats:
            for call in worker.streams.values():
                if now >= call.deadline and not call.is_timed_out:
                    self._expire(worker, call, now)
            if worker.is_draining:
                self._tell_idle(worker)
        self._observe_requests(now)
        if self.sockets is not None:
            self.sockets.sweep(now)
        if self.queue:
            self.pump()

    def _observe_requests(self, now: float) -> None:
        self._retries.observe(self._served_by_dead + sum(worker.served for worker in self._seats), now)

    def publish(self) -> None:
        """Write the figures that the master, other fronts and ``status`` read."""
        for worker in self._seats:
            self._board.set_slot(self._front, worker.slot, IN_FLIGHT, worker.outstanding)
            self._board.set_slot(self._front, worker.slot, SERVED, worker.served)
        self._board.set_app(self._front, self.index, QUEUED, len(self.queue))

    def give_time(self, call: AppCall) -> None:
        """It is the application's turn again: its time begins anew."""
        call.deadline = monotonic() + self._timeout_s

    def _expire(self, worker: Worker, call: AppCall, now: float) -> None:
        if call.waits_for_client or (worker.interface == frames.ASGI and call.has_answer):
            # The client is slow, or the answer streams: waiting for its next event is no time in the application.
            call.deadline = now + self._timeout_s
            return
        if self._waits_for_another(worker, call):
            call.deadline = now + 1.0  # it was asked back; the one before it will be late itself, and cost the worker
            return
        self._is_stuck(worker, call, f"gave no answer within {self._timeout_s:g} s")

    def _is_stuck(self, worker: Worker, call: AppCall, what: str) -> None:
        """A call does not end: have its worker replaced, and see where it stands."""
        call.is_timed_out = True
        worker.is_open = False
        self._reports.worker_stuck(worker.number)
        if self.stacks.waits_for(worker) < STACKS_AT_ONCE:
            self.stacks.ask(worker, call.stream, lambda text: self._give_up(worker, call, what, text))
        else:
            self._give_up(worker, call, f"{what}, as many others there", "")

    def _give_up(self, worker: Worker, call: AppCall, what: str, stack: str | None) -> None:
        """Answer for a call that is stuck, now that it is known where it stands."""
        exchange = call.exchange
        is_there = worker.number in self.workers
        if stack:
            told = f"; its stack:\n{stack.rstrip()}"
        elif stack is None and is_there:
            told = "; it says nothing: stopped, or in code that does not let go of the interpreter"
        elif stack is None:
            told = "; it died before it said where it was"
        elif worker.streams.get(call.stream) is not call:
            told = "; it has just ended there"
        else:
            told = ""
        age_s = monotonic() - exchange.started
        whose = f"{_client_of(call)}, {age_s:.1f} s ago"
        reason = f"app {self.name}: worker {worker.number} (pid {worker.pid}) {what} (from {whose}){told}"
        if exchange.over:  # its client did not wait for so long; that it is stuck is worth knowing all the same
            self._reports.log(f"{_named(call)}: {reason}")
            incident = ""
        else:
            incident = exchange.fail(504, reason)
        if is_there:
            if stack is None:
                self._reports.worker_mute(worker.number, f"{_named(call)} {incident}".rstrip())
            worker.channel.send_control(frames.frame(frames.DISCONNECT, call.stream))
            if worker.is_draining:
                self._tell_idle(worker)

    def _waits_for_another(self, worker: Worker, call: AppCall) -> bool:
        """Has this call not begun because another one, whose own time runs, holds the worker?

        If there is no such call it is the worker that does not move (stopped, or blocked in the middle of a stream).
        """
        last_started = worker.scoreboard.last_started(self._front)
        if not frames.is_after(call.stream, last_started):
            return False
        return any(
            not frames.is_after(stream, last_started)
            and not other.waits_for_client
            and not (worker.interface == frames.ASGI and other.has_answer)
            for stream, other in worker.streams.items()
        )


def _named(call: AppCall) -> str:
    request = call.exchange.request
    return f"{request.method} {request.raw_target[:MAX_TARGET].decode('latin-1')}"


def _client_of(call: AppCall) -> str:
    client = unpack_peer(call.exchange.peer_blob)[0]
    return client[0] if client else "a Unix socket"


def _running_words(began: list[str], waiting: int) -> str:
    """Return what a worker had when it died: a line for each request that had begun, and how many had not."""
    lines = began[:MAX_LINES]
    if len(began) > MAX_LINES:
        lines.append(f"and {len(began) - MAX_LINES} more")
    if waiting:
        lines.append(f"{waiting} had not begun")
    return "\n".join(lines)
