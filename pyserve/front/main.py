"""Step 3 of the request path: the front process. Event loop, listeners, and what the master says.

I/O: composition only; connections and channels do their own. A front is exec'd, gets one frozen snapshot of the
config with its listeners' descriptors, and serves until the master says DRAIN or is gone. An embedded ``Server`` is
the same object on the caller's loop.
"""

from __future__ import annotations

import asyncio
import functools
import gc
import mmap
import os
import pickle
import select
import signal
import socket
import time
import traceback
from collections.abc import Callable

from pyserve.config.model import Config, Listener
from pyserve.files.cache import MAX_OPEN, FileCache
from pyserve.front import build, running, status
from pyserve.front.accepting import Acceptor
from pyserve.front.client_connection import ClientConnection
from pyserve.front.context import Context
from pyserve.front.h1.connection import Connection
from pyserve.front.preface import Preface
from pyserve.front.threads import build_lanes
from pyserve.front.workers import WorkerLink
from pyserve.handlers.pool import Pool
from pyserve.handlers.worker import Worker
from pyserve.net.channels import Message, MessageChannel
from pyserve.net.open_files import allow_open_files
from pyserve.net.prctl import hide_memory
from pyserve.observe.access_log import FORMATS
from pyserve.observe.error_log import ErrorLog
from pyserve.observe.sink import LineSink
from pyserve.wire import board as cells
from pyserve.wire import messages
from pyserve.wire.board import Board
from pyserve.wire.frames import WireError

SWEEP_S = 0.25
JUST_ACCEPTED_S = 0.02


class Front:
    """One front on one event loop. ``on_end`` is called once, when nothing is left to do.

    Drained, or the master gone.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        channel: MessageChannel,
        on_end: Callable[[], None],
        on_start: Callable[[], None] = lambda: None,
    ) -> None:
        self._loop = loop
        self._channel = channel
        self._on_end = on_end
        self._on_start = on_start
        self._is_over = False
        self._is_started = False
        self._deadline: float | None = None
        self._backlog: list[Message] = []
        self._acceptor: Acceptor | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._links: dict[int, tuple[int, WorkerLink]] = {}
        self.addresses: list[tuple[str, int] | str] = []
        self._https_port = 0
        self.number = 0
        loop.add_reader(channel.fileno(), self._on_readable)

    # The master speaks.

    def _on_readable(self) -> None:
        try:
            received = self._channel.receive()
        except WireError as error:
            received = []
            if self._is_started:
                self._context.error_log.error(f"lost the master's channel: {error}")
            self._loop.remove_reader(self._channel.fileno())
            self._channel.close()
        self.take(received)
        if self._channel.is_ended and not self._is_over:
            if self._channel.fileno() >= 0:
                self._loop.remove_reader(self._channel.fileno())
            self._master_gone()

    def take(self, received: list[Message]) -> None:
        """Take messages of the master, in order."""
        self._backlog += received
        self._take_messages()

    def _take_messages(self) -> None:
        while self._backlog:
            kind, payload, descriptors = self._backlog[0]
            if kind == messages.SNAPSHOT:
                del self._backlog[0]
                self._spawn(self._start(messages.values(payload), descriptors))
                continue
            if not self._is_started:
                return  # everything else waits for the snapshot's listeners
            del self._backlog[0]
            self._obey(kind, messages.values(payload), descriptors)

    def _obey(self, kind: int, values: tuple[object, ...], descriptors: list[int]) -> None:
        match kind, values:
            case messages.WORKER_ADDED, (int(app), int(worker), int(slot), int(pid)):
                self._add_worker(self._pools[app], worker, slot, pid, descriptors)
            case messages.WORKER_DRAIN, (int(worker),):
                for pool in self._pools:
                    pool.drain(worker)
            case messages.WORKER_GONE, (int(worker), str(how)):
                known = self._links.pop(worker, None)
                if known is not None:
                    known[1].died(how)
            case messages.APP_STATE, (int(app), str(reason)):
                self._pools[app].set_reason(reason)
            case messages.DRAIN, (grace_s,):
                self.drain(float(grace_s))  # type: ignore[arg-type]
            case messages.STATUS, (dict() as facts,):
                self._publish()
                connection = socket.socket(fileno=descriptors[0])
                self._spawn(status.reply(connection, status.describe(facts, self._config, self._pools, self._board)))
            case messages.ASK, (str(what), int(app), int(stream)):
                self._answer(socket.socket(fileno=descriptors[0]), what, app, stream)
            case messages.CERTIFICATES, (list() as entries,):
                (fd,) = descriptors
                if self._context.handshakes is None:
                    os.close(fd)  # there are sites for https, and no listeners
                else:
                    self._context.handshakes.certificates.take(entries, fd)
            case messages.CERTIFICATE_MISSING, (int(site), str(reason), bool(is_waiting)):
                if self._context.handshakes is not None:
                    self._context.handshakes.certificates.refuse(site, reason, is_waiting)
            case messages.LOGS, _:
                access_fd, error_fd = descriptors
                if self._context.sink is not None:
                    self._context.sink.reopen(access_fd)
                else:
                    os.close(access_fd)
                self._context.error_log.reopen(error_fd)
            case _:
                raise WireError(f"message {kind} {values!r}")

    def _answer(self, connection: socket.socket, what: str, app: int, stream: int) -> None:
        def reply(answer: dict[str, object]) -> None:
            self._spawn(status.reply(connection, answer))

        if what == "top":
            reply(running.list_running(self.number, self._board.fronts, self._pools))
        elif what == "stack":
            running.tell_stack(self.number, self._pools, app, stream, reply)
        else:
            reply(running.cancel(self.number, self._pools, app, stream))

    def _spawn(self, coroutine: asyncio.Coroutine[None, None, None]) -> None:  # type: ignore[name-defined]
        task = self._loop.create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None and not self._is_started:
            # A front that can't start must not stay: the master starts another, or says why it gives up.
            traceback.print_exception(task.exception())
            os._exit(70)

    # Start.

    async def _start(self, values: tuple[int, ...], descriptors: list[int]) -> None:
        self.number, fronts, slots = values
        snapshot_fd, board_fd, access_fd, error_fd, *listener_fds = descriptors
        config = self._config = read_snapshot(snapshot_fd)
        os.close(snapshot_fd)
        size = Board.size_bytes(fronts, slots, len(config.apps))
        self._board_memory = mmap.mmap(board_fd, size)
        os.close(board_fd)
        self._board = Board(memoryview(self._board_memory), fronts, slots, len(config.apps))
        error_log = ErrorLog(error_fd, config.log.error.level, f"front {self.number}")
        access = config.log.access
        sink = None
        if access is not None:
            sink = LineSink(self._loop, access_fd)
        else:
            os.close(access_fd)
        self._files = FileCache()
        self._pools = build.build_pools(config, self.number, self._board, self._loop, self)
        lanes = self._lanes = build_lanes(self._loop)
        pools = {pool.name: pool for pool in self._pools}
        on_https = build.OnHttps(self._https_fault, lambda: self._https_port) if config.server.https else None
        routers = build.build_routers(config, pools, self._files, lanes, error_log.seldom, on_https)
        self._context = Context(
            self._loop,
            config.server.limits,
            routers.http,
            build.build_parser(config.server.parser),
            error_log,
            FORMATS[access.format]() if access is not None else None,
            sink,
            build.build_proxies(config),
            lanes,
        )
        if routers.https is not None:
            self._context.handshakes = build.build_handshakes(config, self._context, routers.https)
        await self._listen([socket.socket(fileno=fd) for fd in listener_fds])
        self._is_started = True
        self._tick = 0
        self._sweep()
        self._on_start()
        self._say(messages.pack_bytes(messages.FRONT_READY))
        self._take_messages()

    async def _listen(self, listeners: list[socket.socket]) -> None:
        context = self._context
        doors: list[tuple[socket.socket, Callable[[], asyncio.Protocol]]] = []
        for listener, configured in zip(listeners, self._config.server.listeners, strict=True):
            listener.setblocking(False)
            is_unix = listener.family == socket.AF_UNIX
            self.addresses.append(os.fsdecode(listener.getsockname()) if is_unix else listener.getsockname()[:2])
            if configured.is_tls and not (is_unix or self._https_port):
                self._https_port = listener.getsockname()[1]
            doors.append((listener, functools.partial(_protocol_of(configured, self._config.server.h2c), context)))
        self._acceptor = context.acceptor = Acceptor(self._loop, context, doors, self._other_descriptors)
        await self._acceptor.open()

    def _https_fault(self, site: str) -> tuple[str, bool]:
        handshakes = self._context.handshakes
        return ("", False) if handshakes is None else handshakes.certificates.fault_of(site)

    def _other_descriptors(self, allowed: int) -> int:
        self._files.max_open = min(MAX_OPEN, allowed // 16)
        return 2 * len(self._links) + self._files.max_open

    def _add_worker(self, pool: Pool, number: int, slot: int, pid: int, descriptors: list[int]) -> None:
        """Known at once: the next message of the same read may be that it drains, or is gone."""
        data_fd, control_fd, scoreboard_fd = descriptors
        link = WorkerLink(self._loop, pool, scoreboard_fd)
        os.close(scoreboard_fd)
        self._links[number] = (pool.index, link)
        worker = Worker(number, slot, pid, 0, link, link.scoreboard)
        pool.add(worker)
        self._spawn(link.connect(worker, socket.socket(fileno=data_fd), socket.socket(fileno=control_fd)))

    # Time passes.

    def _sweep(self) -> None:
        """Every 250 ms.

        Deadlines of connections and calls, the clock of the Date line, the figures on the board (D4, D6).
        """
        if self._is_over:
            return
        now = time.monotonic()
        context = self._context
        context.now = now
        self._tick += 1
        if self._tick % 4 == 0:
            self._files.sweep(now)
        context.refresh_date()
        context.sweep()
        for pool in self._pools:
            try:
                pool.sweep(now)
            except Exception:
                context.incident(f"internal error\n{traceback.format_exc()}")
        if self._acceptor is not None:
            self._acceptor.sweep()
        self._publish()
        if self._deadline is not None and (self._is_drained or now >= self._deadline):
            self._end()
            return
        self._timer = self._loop.call_later(SWEEP_S, self._sweep)

    def _publish(self) -> None:
        board, number = self._board, self.number
        board.set_front(number, cells.CONNECTIONS, len(self._context.connections))
        board.set_front(number, cells.REQUESTS, self._context.requests)
        board.set_front(number, cells.REPEATED, self._context.repeated)
        for cell, figure in enumerate(self._files.figures(), cells.FILES):
            board.set_front(number, cell, figure)
        if self._context.handshakes is not None:
            for cell, figure in enumerate(self._context.handshakes.counts, cells.TLS):
                board.set_front(number, cell, figure)
        for pool in self._pools:
            pool.publish()

    # What pools report (``handlers.pool.Reports``).

    def worker_ready(self, worker: int) -> None:
        self._say(messages.pack_number(messages.WORKER_READY, worker))

    def worker_idle(self, worker: int) -> None:
        self._say(messages.pack_number(messages.WORKER_IDLE, worker))

    def worker_stuck(self, worker: int) -> None:
        self._say(messages.pack_number(messages.WORKER_STUCK, worker))

    def worker_broke(self, worker: int, why: str) -> None:
        self._context.error_log.error(why)
        self._say(messages.pack_number(messages.WORKER_BROKE, worker))

    def worker_mute(self, worker: int, request: str) -> None:
        self._say(messages.pack_number_text(messages.WORKER_MUTE, worker, request))

    def worker_left(self, worker: int, running: str) -> None:
        self._say(messages.pack_number_text(messages.WORKER_LEFT, worker, running))

    def app_wanted(self, app: int) -> None:
        self._say(messages.pack_number(messages.APP_WANTED, app))

    def client_refused(self, kind: object, text: str) -> None:
        self._context.error_log.seldom("info", kind, text)

    def log(self, text: str) -> None:
        self._context.error_log.warning(text)

    def _say(self, message: bytes) -> None:
        self._channel.send(message)
        if self._channel.wants_write:
            self._loop.add_writer(self._channel.fileno(), self._flush)

    def _flush(self) -> None:
        self._channel.flush()
        if not self._channel.wants_write:
            self._loop.remove_writer(self._channel.fileno())

    # End.

    def _master_gone(self) -> None:
        if not self._is_started:
            self._end()
            return
        if self._deadline is None:
            self._context.error_log.error("the master is gone: finishing what runs, then exiting")
            # No worker is started any more, so what waits for one that ends has to be told.
            for _, link in list(self._links.values()):
                link.master_gone()
            for pool in self._pools:
                if not pool.workers:
                    pool.set_reason("the master is gone")
            self.drain(self._config.server.graceful_timeout_s)

    def drain(self, grace_s: float) -> None:
        """Take no connection more, finish what runs; over when all connections are closed or the grace time is."""
        if self._deadline is not None or not self._is_started:
            return
        self._deadline = time.monotonic() + grace_s
        self._context.is_draining = True
        self._context.now = time.monotonic()
        if self._acceptor is not None:
            self._acceptor.close()
        for connection in list(self._context.connections):
            connection.drain()
        for pool in self._pools:
            pool.going_away(grace_s)
        # Connections that were just accepted are made in the turns to come.
        self._loop.call_later(JUST_ACCEPTED_S, self._end_if_drained)

    def _end_if_drained(self) -> None:
        if self._is_drained:
            self._end()

    @property
    def _is_drained(self) -> bool:
        return not self._context.connections and (self._acceptor is None or not self._acceptor.is_arriving)

    def _end(self) -> None:
        if self._is_over:
            return
        self._is_over = True
        if self._timer is not None:
            self._timer.cancel()  # it would keep all of this alive
        if self._is_started:
            context = self._context
            if context.connections:
                context.error_log.warning(f"{len(context.connections)} connections cut: the grace time is over")
            for connection in list(context.connections):
                connection.abort()
            for _, link in self._links.values():
                link.close()
            self._acceptor = context.acceptor = None
            self._files.clear()
            if context.handshakes is not None:
                context.handshakes.certificates.close()
            for lane in self._lanes:
                lane.close()
            if context.sink is not None:
                context.sink.close()
            self._publish()
        if self._channel.fileno() >= 0:
            self._loop.remove_reader(self._channel.fileno())
        self._channel.close()
        self._on_end()


def _protocol_of(listener: Listener, has_h2c: bool) -> Callable[[Context], asyncio.Protocol]:
    protocol: Callable[..., ClientConnection | Preface] = Connection
    if listener.is_tls:
        from pyserve.front.tls.preface import TlsPreface  # the TLS library takes a while to be imported

        protocol = TlsPreface
    elif has_h2c:
        from pyserve.front.h2.preface import H2cPreface

        protocol = H2cPreface
    if not listener.proxy_protocol:
        return protocol
    from pyserve.front.proxy_preface import ProxyPreface  # it reads addresses, which takes 5 ms to import

    return functools.partial(ProxyPreface, then=protocol)


def read_snapshot(fd: int) -> Config:
    """Return the config of a snapshot file. Other fronts read the same open file, so its position is left alone."""
    config = pickle.loads(os.pread(fd, os.fstat(fd).st_size, 0))
    assert isinstance(config, Config)
    return config


def _wait_for_snapshot(channel: MessageChannel) -> list[Message]:
    """The first message says which event loop to run, so it is waited for without one."""
    received: list[Message] = []
    while not received and not channel.is_ended:
        select.select([channel.fileno()], [], [])
        received = channel.receive()
    return received


def _tune_collector() -> None:
    """For a process that is a front and nothing else; it is off since ``front.__main__``."""
    # Without a collection first, which would hold up the first answer by 12 ms: imports leave a few hundred objects of
    # garbage at most. What was imported and built is never looked at.
    gc.freeze()
    # What a request makes dies with it and is rarely in a cycle: look at the young less often.
    gc.set_threshold(20_000, 20, 50)
    gc.enable()


def _was_root() -> bool:
    """Was this process started by root, to drop to another user?"""
    try:
        return os.geteuid() != 0 and os.stat(f"/proc/{os.getppid()}").st_uid == 0
    except OSError:
        return False


def main(argv: list[str]) -> int:
    """Serve until drained. ``python -m pyserve.front FD``: FD is this front's end of the master's channel."""
    from setproctitle import setproctitle

    setproctitle("pyserve: front")
    # The master answers signals; what reaches this process directly (a terminal's Ctrl-C) is not for it.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    channel = MessageChannel.from_fd(int(argv[1]))
    received = _wait_for_snapshot(channel)
    if not received:
        return 0  # the master ended first
    server = read_snapshot(received[0][2][0]).server
    if server.user and _was_root():
        # An application may run as the same user, and must not look into it.
        hide_memory()
    # Each connection may need two, the rest some; what the hard limit leaves is found out by the acceptor.
    allow_open_files(2 * server.limits.max_connections + 1024)
    if server.loop == "uvloop":
        import uvloop

        loop: asyncio.AbstractEventLoop = uvloop.new_event_loop()
    else:
        loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    front = Front(loop, channel, loop.stop, _tune_collector)
    loop.add_signal_handler(signal.SIGTERM, front.drain, 30.0)
    front.take(received)
    loop.run_forever()
    # One turn more, so that transports that were closed are closed.
    loop.run_until_complete(asyncio.sleep(0))
    os._exit(0)
