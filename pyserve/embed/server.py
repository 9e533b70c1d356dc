"""``pyserve.Server``: the caller's event loop is the front, one master subprocess runs the pools if there are any.

I/O: that of a front; starts and waits for that one subprocess. Invariant: the caller's process never forks, and its
signal handlers are its own. What a front would do to its own process only (signals, exit) is not done here.
"""

from __future__ import annotations

import asyncio
import os
import pickle
import socket
import subprocess
from collections.abc import Coroutine, Mapping
from types import TracebackType
from typing import Any

from pyserve.config.model import App
from pyserve.embed.configure import LIVE_NAME, Listen, LiveApp, configure
from pyserve.errors import ApplicationError, CannotStart
from pyserve.front.main import Front
from pyserve.master.child import module_command
from pyserve.master.resources import Resources, slots_of
from pyserve.net.channels import Message, MessageChannel, map_shared, shared_memory
from pyserve.wire import messages
from pyserve.wire.scoreboard import PAGE_BYTES, Scoreboard
from pyserve.worker.embedded import EmbeddedWorker
from pyserve.worker.loader import LoadError

# The master's numbers begin at 1 and it ignores what it does not know.
_LIVE_WORKER = 0xFFFFFFFF


class Server:
    """A server on the caller's event loop: ``async with Server(app) as server: … server.addresses``.

    Takes what ``run`` takes; the apps of ``"module:attribute"`` and of a config run in worker processes as always, a
    live callable runs here: ASGI on the loop, WSGI in threads. There is no admin socket unless ``config`` names one,
    and always one front. Entering raises ``ConfigError``, ``CannotStart``, and ``ApplicationError`` where a live
    application's startup fails.
    """

    def __init__(
        self,
        app_or_path: str | os.PathLike[str] | LiveApp | None = None,
        *,
        listen: Listen | None = None,
        config: Mapping[str, Any] | None = None,
    ) -> None:
        checked = configure(app_or_path, listen, config)
        names_admin = config is not None and "admin" in config.get("server", {})
        server = checked.server._replace(fronts=1, admin=checked.server.admin if names_admin else "")
        self._live = app_or_path if callable(app_or_path) else None
        apps = checked.apps
        if self._live is not None:
            apps = tuple(app._replace(workers=0) if app.name == LIVE_NAME else app for app in apps)
        self._config = checked._replace(server=server, apps=apps)
        self.addresses: list[tuple[str, int] | str] = []
        """Where it listens, in the order of ``listen``: ``(host, port)``, or the path of a Unix socket."""
        self._master: subprocess.Popen[bytes] | None = None
        self._resources: Resources | None = None
        self._our_end: MessageChannel | None = None
        self._front: _EmbeddedFront | None = None
        self._worker: EmbeddedWorker | None = None

    async def __aenter__(self) -> Server:
        try:
            await self._start()
        except BaseException:
            await self._stop(0.0)
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Take no connection more, let what runs finish within ``graceful_timeout``, and end the workers."""
        await self._stop(self._config.server.graceful_timeout_s)

    async def _start(self) -> None:
        loop = asyncio.get_running_loop()
        if any(app.workers for app in self._config.apps) or any(site.tls for site in self._config.sites):
            channel = self._start_master()
        else:
            channel = self._be_master(loop)
        front = self._front = _EmbeddedFront(loop, channel)
        if self._resources is not None:
            message, descriptors, own = self._resources.snapshot_for(0)
            assert self._our_end is not None
            self._our_end.send(message, descriptors)
            os.close(own)
        await front.started
        if self._live is not None:
            await self._start_live(front, self._live)
        self.addresses = list(front.addresses)

    def _start_master(self) -> MessageChannel:
        """Start the process that binds and runs the pools; this process is its front."""
        channel, theirs = MessageChannel.pair()
        with theirs:
            command, cwd = module_command("pyserve.master.main", theirs.fileno())
            # A group of its own: Ctrl-C in a terminal is the caller's to handle.
            self._master = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, pass_fds=(theirs.fileno(),), process_group=0, cwd=cwd
            )
        snapshot_fd = shared_memory(0)
        with open(snapshot_fd, "wb") as file:
            file.write(pickle.dumps(self._config, pickle.HIGHEST_PROTOCOL))
            file.flush()
            file.seek(0)
            channel.send(messages.pack_values(messages.SNAPSHOT, (), 1), [snapshot_fd])
        return channel

    def _be_master(self, loop: asyncio.AbstractEventLoop) -> MessageChannel:
        """There are no pools: bind here, and hand the front what a master would."""
        self._resources = Resources(self._config)
        for problem in self._config.surroundings:
            self._resources.log.warning(f"{problem} (starting without it)")
        self._our_end, theirs = MessageChannel.pair()
        loop.add_reader(self._our_end.fileno(), self._heard, self._our_end)
        return MessageChannel(theirs)

    def _heard(self, our_end: MessageChannel) -> None:
        """Without a master it is us whom the front tells. Nobody else is to be told of workers."""
        for kind, _payload, _descriptors in our_end.receive():
            if kind == messages.FRONT_READY and self._front is not None:
                self._front.has_started()
        if our_end.is_ended:
            asyncio.get_running_loop().remove_reader(our_end.fileno())

    async def _start_live(self, front: _EmbeddedFront, app: LiveApp) -> None:
        index, spec = next((i, app) for i, app in enumerate(self._config.apps) if app.name == LIVE_NAME)
        slot = sum(map(slots_of, self._config.apps[:index]))
        scoreboard_fd = shared_memory(PAGE_BYTES)
        page = memoryview(map_shared(scoreboard_fd, PAGE_BYTES))
        data, data_worker = socket.socketpair()
        control, control_worker = socket.socketpair()
        try:
            worker = _live_worker(app, spec, Scoreboard(page), data_worker, control_worker)
            await worker.start()
        except LoadError as error:
            for sock in (data, data_worker, control, control_worker):
                sock.close()
            os.close(scoreboard_fd)
            raise ApplicationError(str(error)) from None
        self._worker = worker
        values = messages.pack_values(0, (index, _LIVE_WORKER, slot, os.getpid()))[6:]
        front.take([(messages.WORKER_ADDED, values, [data.detach(), control.detach(), scoreboard_fd])])
        await front.live_ready

    async def _stop(self, grace_s: float) -> None:
        front, self._front = self._front, None
        if front is not None:
            front.stop(grace_s)
            await front.ended
        worker, self._worker = self._worker, None
        if worker is not None:
            await worker.close()
        if self._our_end is not None:
            if self._our_end.fileno() >= 0:
                asyncio.get_running_loop().remove_reader(self._our_end.fileno())
            self._our_end.close()
        if self._resources is not None:
            self._resources.close()
            self._resources = None
        master, self._master = self._master, None
        if master is not None:
            # It saw the end of the front's channel, ends the pools, and has a limit for that itself.
            await asyncio.get_running_loop().run_in_executor(None, master.wait)
        # Transports that were closed close their sockets in a turn of their own.
        await asyncio.sleep(0)


def _live_worker(
    app: LiveApp, spec: App, scoreboard: Scoreboard, data: socket.socket, control: socket.socket
) -> EmbeddedWorker:
    return EmbeddedWorker(
        app,
        scoreboard,
        data,
        control,
        type=spec.type,
        threads=spec.threads,
        concurrency=spec.concurrency,
        websockets=spec.websockets,
    )


class _EmbeddedFront(Front):
    """The front on a caller's loop, which wants to know how far it is."""

    def __init__(self, loop: asyncio.AbstractEventLoop, channel: MessageChannel) -> None:
        self.started: asyncio.Future[None] = loop.create_future()
        self.live_ready: asyncio.Future[None] = loop.create_future()
        self.ended: asyncio.Future[None] = loop.create_future()
        super().__init__(loop, channel, self._has_ended)

    def take(self, received: list[Message]) -> None:
        """Take what only an embedding process is told; the rest is for every front."""
        rest = []
        for message in received:
            if message[0] == messages.STARTED:
                self.has_started()
            elif message[0] == messages.START_FAILED:
                _fail(self.started, CannotStart(message[1].decode("utf-8", "replace")))
            else:
                rest.append(message)
        super().take(rest)

    def has_started(self) -> None:
        """Everything is up: listeners, and the master's pools."""
        if not self.started.done():
            self.started.set_result(None)

    def stop(self, grace_s: float) -> None:
        """Drain; ``ended`` says when that is done. At once where the start was not finished."""
        if self._is_started:
            self.drain(grace_s)
        else:
            for task in self._tasks:
                task.cancel()
            self._end()

    def _spawn(self, coroutine: Coroutine[Any, Any, None]) -> None:
        known = set(self._tasks)
        super()._spawn(coroutine)
        for task in self._tasks - known:
            task.add_done_callback(self._task_ended)

    def _task_ended(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            _fail(self.started, error)

    def worker_ready(self, worker: int) -> None:
        if worker == _LIVE_WORKER:
            _resolve(self.live_ready)
        super().worker_ready(worker)

    def _has_ended(self) -> None:
        _fail(self.started, CannotStart("the server ended before it was ready; the error log may say why"))
        _fail(self.live_ready, CannotStart("the server ended before the application was ready"))
        if self._is_started:
            self._context.error_log.reopen(-1)
        _resolve(self.ended)


def _resolve(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


def _fail(future: asyncio.Future[None], error: BaseException) -> None:
    if not future.done():
        future.set_exception(error)
        future.exception()  # whoever waits gets it; if nobody does, nothing is to be said
