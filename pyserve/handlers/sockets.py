"""Step 5 of the request path: an application's WebSockets as one front sees them, beside the requests of its pool.

I/O: none. They have a limit of their own, for each worker, and count neither as running nor in the queue. Invariant: a
worker that is to go, and a server that is to stop, closes them spread over time, so that not all clients come back at
once; with a worker that has died they are closed at once.
"""

from __future__ import annotations

from collections import deque
from time import monotonic
from typing import TYPE_CHECKING

from pyserve.handlers.websocket import ASKING, OPEN, SocketCall
from pyserve.http.websocket import GOING_AWAY, RESTART
from pyserve.wire import frames
from pyserve.wire.board import SOCKETS, Board

if TYPE_CHECKING:
    from pyserve.config.model import WebSocket
    from pyserve.handlers.interface import SwitchingExchange
    from pyserve.handlers.pool import Pool
    from pyserve.handlers.worker import Reports, Timers, Worker
    from pyserve.http.websocket_handshake import Handshake

CLOSES_PER_S = 100
"""So many clients are sent away a second, if the grace time lasts; in less of it, more."""
CLOSE_EVERY_S = 0.05
GRACE_PART = 0.7
"""Of the grace time; in the rest clients answer the close and applications end."""
SWEEPS_PER_TICK = 4
FULL = 0.7
"""Of the limit: where the number of workers follows the load, the master is told from then on."""


class Sockets:
    """``limit``: for each worker. ``grace_s``: how long a worker, or the server, may take to end."""

    def __init__(
        self,
        pool: Pool,
        *,
        settings: WebSocket,
        limit: int,
        timeout_s: float,
        queue_size: int,
        queue_timeout_s: float,
        startup_timeout_s: float,
        grace_s: float,
        front: int,
        board: Board,
        timers: Timers,
        reports: Reports,
    ) -> None:
        self.name = pool.name
        self.settings = settings
        self.open: set[SocketCall] = set()
        self._pool = pool
        self._limit = limit
        self._timeout_s = timeout_s
        self._queue_size = queue_size
        self._queue_timeout_s = queue_timeout_s
        self._startup_timeout_s = startup_timeout_s
        self._grace_s = grace_s
        self._front = front
        self._board = board
        self._timers = timers
        self._reports = reports
        self.log = reports.log
        self.client_refused = reports.client_refused
        self._waiting: list[SocketCall] = []
        self._leaving: deque[tuple[SocketCall, int]] = deque()
        self._per_turn = 0
        self._going_until = 0.0  # when the server stops; 0 = it does not
        self._sweeps = 0

    # They come.

    def make(self, exchange: SwitchingExchange, handshake: Handshake, head_blob: bytes) -> SocketCall:
        return SocketCall(self, exchange, handshake, head_blob)

    def submit(self, call: SocketCall) -> None:
        """Give a handshake to a worker that has room, or let it wait where one is about to be ready, else 503."""
        self.open.add(call)
        call.exchange.at_end(lambda: self.open.discard(call))
        self._place(call, None)

    def _place(self, call: SocketCall, full: Worker | None) -> None:
        """``full``: a worker that has given it back."""
        pool = self._pool
        worker, has_open = self._pick(full)
        if worker is not None:
            self._dispatch(call, worker)
        elif has_open or full is not None:
            call.exchange.fail(503, f"app {self.name}: it has as many WebSockets as it may", b"retry-after: 5\r\n")
        elif pool.reason:
            call.exchange.fail(503, f"app {self.name} can't run: {pool.reason}", b"retry-after: 5\r\n")
        elif len(self._waiting) >= self._queue_size:
            call.exchange.fail(503, f"app {self.name}: too many WebSockets wait already", b"retry-after: 5\r\n")
        else:
            call.deadline = monotonic() + self._queue_timeout_s + self._startup_timeout_s
            self._waiting.append(call)
        if self._startup_timeout_s and not has_open:
            self._reports.app_wanted(self._pool.index)

    def _pick(self, full: Worker | None) -> tuple[Worker | None, bool]:
        """Return the open worker with the fewest WebSockets if it has room for one, and whether any is open."""
        best = None
        least = self._limit
        has_open = False
        for worker in self._pool.workers.values():
            if worker.is_open and worker.interface == frames.ASGI:
                has_open = True
                count = len(worker.sockets)
                if self._board.fronts > 1:
                    elsewhere = self._board.slot(self._front, worker.slot, SOCKETS)
                    count += self._board.slot_total(worker.slot, SOCKETS) - elsewhere
                if count < least and worker is not full:
                    best = worker
                    least = count
        return best, has_open

    def _dispatch(self, call: SocketCall, worker: Worker) -> None:
        if self._startup_timeout_s and len(worker.sockets) >= self._limit * FULL:
            self._reports.app_wanted(self._pool.index)
        call.deadline = monotonic() + self._timeout_s
        stream = self._pool.next_stream()
        worker.sockets[stream] = call
        self._count(worker)
        call.start(worker, stream)

    def _count(self, worker: Worker) -> None:
        self._board.set_slot(self._front, worker.slot, SOCKETS, len(worker.sockets))

    def forget(self, call: SocketCall) -> None:
        """The client of one that waits has left."""
        if call in self._waiting:
            self._waiting.remove(call)

    def worker_ready(self, worker: Worker) -> None:
        """A worker has said HELLO."""
        waiting, self._waiting = self._waiting, []
        for call in waiting:
            if call.exchange.over:
                continue
            if worker.interface == frames.ASGI:
                self._place(call, None)
            else:
                call.exchange.fail(400, f"app {self.name} has no WebSockets")

    def give_up(self, reason: str) -> None:
        """The application can't run."""
        waiting, self._waiting = self._waiting, []
        for call in waiting:
            call.exchange.fail(503, f"app {self.name} can't run: {reason}", b"retry-after: 5\r\n")

    # They run.

    def frame_received(self, worker: Worker, stream: int, kind: int, payload: bytes) -> None:
        """Take a frame of a WebSocket's stream. Raises ``WireError``."""
        call = worker.sockets[stream]
        if kind == frames.BUSY:
            self._given_back(call, worker)
        elif call.frame_received(kind, payload):
            self._ended(worker, stream)

    def _ended(self, worker: Worker, stream: int) -> None:
        del worker.sockets[stream]
        worker.served += 1
        self._count(worker)
        if worker.is_draining:
            self._pool.look_if_idle(worker)

    def _given_back(self, call: SocketCall, worker: Worker) -> None:
        """Another front was faster, or the worker is about to end."""
        if call.state != ASKING or call.denial:
            raise frames.WireError("a WebSocket given back that was answered")
        del worker.sockets[call.stream]
        self._count(worker)
        call.worker = None
        if call.exchange.over:
            return
        if call.is_retry:
            call.exchange.fail(503, f"app {self.name}: it has as many WebSockets as it may", b"retry-after: 5\r\n")
        else:
            call.is_retry = True
            self._place(call, worker)

    def expire(self, call: SocketCall) -> None:
        """The application has not answered a handshake in its time."""
        worker = call.worker
        if worker is None:
            self.forget(call)
            call.exchange.fail(503, f"app {self.name}: no worker was ready in time", b"retry-after: 5\r\n")
            return
        where = f"worker {worker.number} (pid {worker.pid})"
        what = f"gave no answer to a WebSocket's handshake within {self._timeout_s:g} s"
        call.exchange.fail(504, f"app {self.name}: {where} {what}")
        call.client_gone()
        if worker.scoreboard.heartbeat_ns() / 1e9 < call.deadline - self._timeout_s:
            self._reports.worker_stuck(worker.number)  # its loop has not turned since then

    # They are sent away.

    def drain(self, worker: Worker) -> None:
        """A worker gets nothing new and is to go."""
        self._send_away([call for call in worker.sockets.values() if call.state == OPEN], RESTART, self._grace_s)

    def going_away(self, grace_s: float) -> None:
        """The server stops."""
        self._going_until = monotonic() + grace_s
        self.give_up("the server stops")
        self._send_away([call for call in self.open if call.state == OPEN], GOING_AWAY, grace_s)

    def _send_away(self, calls: list[SocketCall], code: int, grace_s: float) -> None:
        calls = [call for call in calls if not call.is_leaving]
        if not calls:
            return
        is_idle = not self._leaving
        for call in calls:
            call.is_leaving = True
            self._leaving.append((call, code))
        turns = max(1.0, min(grace_s * GRACE_PART, len(self._leaving) / CLOSES_PER_S) / CLOSE_EVERY_S)
        self._per_turn = max(self._per_turn, -int(-len(self._leaving) // turns))
        if is_idle:
            self._close_some()

    def _close_some(self) -> None:
        leaving = self._leaving
        left = self._per_turn
        while leaving and left:
            call, code = leaving.popleft()
            if call.state == OPEN:
                call.close(code, "")
                left -= 1
        if leaving:
            self._timers.call_later(CLOSE_EVERY_S, self._close_some)
        else:
            self._per_turn = 0

    def worker_died(self, worker: Worker, how: str, last_started: int) -> str:
        """Tell the clients of a dead worker; return in words how many there were, "" = none."""
        calls, worker.sockets = worker.sockets, {}
        self._board.set_slot(self._front, worker.slot, SOCKETS, 0)
        count = 0
        for stream, call in calls.items():
            if call.exchange.over:
                continue
            if call.state == ASKING and frames.is_after(stream, last_started) and not call.is_retry:
                call.is_retry = True
                call.worker = None
                self._place(call, None)
            else:
                count += 1
                call.worker_died(f"app {self.name}: worker {worker.pid} {how} with this WebSocket")
        return f"{count} WebSocket{'' if count == 1 else 's'}, closed with {RESTART}" if count else ""

    # Time passes.

    def sweep(self, now: float) -> None:
        """Called every 250 ms."""
        self._sweeps += 1
        if self._sweeps % SWEEPS_PER_TICK:
            return
        for call in list(self.open):
            call.sweep(now)
        if self._going_until:
            opened = [call for call in self.open if call.state == OPEN]
            self._send_away(opened, GOING_AWAY, max(0.0, self._going_until - now))
        for worker in self._pool.workers.values():
            if worker.is_draining and worker.sockets:
                self.drain(worker)  # one that was accepted meanwhile
                self._pool.look_if_idle(worker)
