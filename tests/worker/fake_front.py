"""A front for tests of the worker: blocking sockets, one frame at a time, no routing and no client."""

from __future__ import annotations

import asyncio
import contextlib
import mmap
import os
import socket
import threading
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from pyserve.wire import frames
from pyserve.wire.codec import HAS_BODY, Head, Peer, pack_head, pack_peer, pack_request, unpack_answer
from pyserve.wire.scoreboard import PAGE_BYTES, Scoreboard
from pyserve.worker.asgi import AsgiRunner
from pyserve.worker.lifespan import Lifespan
from pyserve.worker.watcher import Watcher
from pyserve.worker.wsgi_inline import InlineRunner
from pyserve.worker.wsgi_runner import WsgiRunner
from pyserve.worker.wsgi_threads import ThreadedRunner

PEER = Peer(("192.0.2.7", 40001), ("127.0.0.1", 8000), "http")
_TIMEOUT_S = 20.0


class Answer(NamedTuple):
    status: int
    flags: int
    length: int
    fields: list[tuple[str, str]]
    body: bytes
    frames: int
    """How many frames it took."""
    files: tuple[tuple[int, int], ...] = ()
    """Offset and count of each piece that came as a descriptor; ``body`` has its bytes all the same."""
    hints: tuple[bytes, ...] = ()
    """The lines of each 103 answer before it."""
    trailers: bytes | None = None
    """The lines behind it, None = its end was another."""

    def field(self, name: str) -> str | None:
        return dict(self.fields).get(name)


class FakeFront:
    def __init__(self) -> None:
        self.data, self.worker_data = socket.socketpair()
        self.control, self.worker_control = socket.socketpair()
        self.data.settimeout(_TIMEOUT_S)
        self.control.settimeout(_TIMEOUT_S)
        self.page = Scoreboard(memoryview(mmap.mmap(-1, PAGE_BYTES)))
        self._splitter = frames.Splitter()
        self._control_splitter = frames.Splitter()
        self._control: deque[tuple[int, int]] = deque()
        self._descriptors: deque[tuple[int, int]] = deque()
        self._frames: deque[tuple[int, int, bytes]] = deque()
        self._last = 0
        self.stop: Callable[[], None] = lambda: None  # the runner, from any thread
        self.log: list[str] = []
        """The lines for the error log that came while answers were read."""

    def close(self) -> None:
        for end in (self.data, self.control, self.worker_data, self.worker_control):
            end.close()
        while self._descriptors:
            os.close(self._descriptors.popleft()[1])

    # -- to the worker

    def head(self, method: str = "GET", path: str = "/", **values: Any) -> Head:
        values.setdefault("raw_path", path.encode("utf-8", "surrogateescape"))
        values.setdefault("fields", ((b"host", b"test"),))
        defaults: dict[str, Any] = {"query": b"", "version": "1.1", "mount": "", "content_length": None}
        return Head(method=method, path=path, **{**defaults, **values})

    def request(
        self,
        method: str = "GET",
        path: str = "/",
        *,
        flags: int = 0,
        peer: Peer = PEER,
        body: bytes | None = None,
        **values: Any,
    ) -> int:
        """Send a request, with its whole body if there is one (at most a window); return its number."""
        number = self.next_number()
        if body is not None:
            flags |= HAS_BODY
            values.setdefault("content_length", len(body))
        payload = pack_request(flags, pack_peer(peer), pack_head(self.head(method, path, **values)))
        self.send(frames.REQUEST, number, payload)
        if body is not None:
            pieces = [body[at : at + frames.MAX_PAYLOAD] for at in range(0, len(body), frames.MAX_PAYLOAD)] or [b""]
            for piece in pieces[:-1]:
                self.send(frames.BODY, number, piece)
            self.send(frames.BODY_LAST, number, pieces[-1])
        return number

    def next_number(self) -> int:
        self._last += 1
        return self._last

    def send(self, kind: int, number: int, payload: bytes = b"") -> None:
        self.data.sendall(frames.frame(kind, number, payload))

    def tell(self, kind: int, number: int, amount: int | None = None) -> None:
        """Say something on the control channel."""
        data = frames.frame(kind, number) if amount is None else frames.number_frame(kind, number, amount)
        self.control.sendall(data)

    # -- from the worker

    def next_frame(self) -> tuple[int, int, bytes]:
        while not self._frames:
            data = self.data.recv(262144)
            if not data:
                raise EOFError("the worker closed its data channel")
            self._frames.extend(self._splitter.feed(data))
        return self._frames.popleft()

    def next_control(self) -> tuple[int, int]:
        while not self._control:
            self._receive_control()
        return self._control.popleft()

    def next_descriptor(self, number: int) -> int:
        """Return the first descriptor that came for a stream; the caller closes it."""
        while True:
            for at, (stream, fd) in enumerate(self._descriptors):
                if stream == number:
                    del self._descriptors[at]
                    return fd
            self._receive_control()

    def _receive_control(self) -> None:
        data, descriptors, flags, _ = socket.recv_fds(self.control, 4096, 8)
        assert not flags & socket.MSG_CTRUNC
        if not data:
            raise EOFError("the worker closed its control channel")
        for kind, number, _payload in self._control_splitter.feed(data):
            if kind == frames.DESCRIPTOR:
                self._descriptors.append((number, descriptors.pop(0)))
            else:
                self._control.append((kind, number))
        assert not descriptors

    def expect_hello(self, interface: int) -> None:
        assert self.next_frame() == (frames.HELLO, 0, bytes((interface, frames.VERSION)))

    def answer(self, number: int, *, credit: bool = True, credit_after: int = 0) -> Answer:
        """Read until this stream's answer is complete, returning credit; raise ``Failed`` if the application did.

        ``credit_after``: how many bytes of the body have to be here before any credit is returned.
        """
        head = None
        held = 0
        body = b""
        count = 0
        files: list[tuple[int, int]] = []
        hints: list[bytes] = []
        while True:
            kind, stream, payload = self.next_frame()
            if kind == frames.LOG:
                self.log.append(payload[1:].decode())
                continue
            assert stream == number, f"a frame {kind} of stream {stream}"
            count += 1
            if kind == frames.ANSWER:
                assert head is None
                status, flags, length, block, piece = unpack_answer(payload)
                head = (status, flags, length, parse_block(block))
                body += piece
                if flags & 1:
                    return Answer(*head, body, count, hints=tuple(hints))
            elif kind == frames.HINTS:
                assert head is None
                hints.append(payload)
            elif kind == frames.TRAILERS:
                assert head is not None
                return Answer(*head, body, count, tuple(files), tuple(hints), payload)
            elif kind in (frames.FILE, frames.FILE_LAST):
                assert head is not None
                offset, size = frames.unpack_file(payload)
                files.append((offset, size))
                fd = self.next_descriptor(number)
                body += os.pread(fd, size, offset)
                os.close(fd)
                if kind == frames.FILE_LAST:
                    return Answer(*head, body, count, tuple(files), tuple(hints))
                if credit:
                    self.tell(frames.CREDIT, number, frames.FILE_COST)
            elif kind in (frames.DATA, frames.DATA_LAST):
                assert head is not None
                body += payload
                if kind == frames.DATA_LAST:
                    return Answer(*head, body, count, tuple(files), tuple(hints))
                held += len(payload)
                if credit and len(body) > credit_after:
                    self.tell(frames.CREDIT, number, held)
                    held = 0
            elif kind == frames.FAILED:
                raise Failed(payload.decode())
            elif kind != frames.CREDIT_BODY:
                raise AssertionError(f"frame {kind}")

    def ask(self, method: str = "GET", path: str = "/", **values: Any) -> Answer:
        return self.answer(self.request(method, path, **values))


class Failed(Exception):
    """The worker said FAILED; the text is the traceback."""


def parse_block(block: bytes) -> list[tuple[str, str]]:
    lines = block.decode("latin-1").split("\r\n")
    assert lines.pop() == ""
    return [(line.partition(": ")[0], line.partition(": ")[2]) for line in lines]


@contextlib.contextmanager
def serving_wsgi(app: Callable[..., Any], threads: int = 1) -> Iterator[FakeFront]:
    """A WSGI runner in a thread of this process, and the front that talks to it; everything is closed afterwards."""
    front = FakeFront()
    runner: WsgiRunner = (ThreadedRunner if threads > 1 else InlineRunner)(app, front.page, threads)
    watcher = Watcher(runner, None, 0.0, None)
    watcher.add(runner.add_channel(0, front.worker_data, front.worker_control))
    watcher.start()
    thread = threading.Thread(target=runner.serve)
    thread.start()
    try:
        front.expect_hello(frames.WSGI)
        yield front
    finally:
        runner.stop()
        # Whoever waits for credit or a body is let go by this.
        front.data.shutdown(socket.SHUT_WR)
        front.control.shutdown(socket.SHUT_WR)
        thread.join(_TIMEOUT_S)
        assert not thread.is_alive()
        runner.close()
        watcher.stop()
        front.close()


@contextlib.contextmanager
def serving_asgi(
    app: Callable[..., Any], concurrency: int = 100, use_uvloop: bool = False, websockets: int = 1000
) -> Iterator[FakeFront]:
    """An ASGI runner on a loop in another thread, with its lifespan."""
    front = FakeFront()
    runners: list[AsgiRunner] = []
    is_ready = threading.Event()

    async def serve() -> None:
        lifespan = Lifespan(app)
        await lifespan.startup()
        loop = asyncio.get_running_loop()
        runner = AsgiRunner(loop, app, front.page, concurrency, lifespan.state, websockets)
        front.stop = runner.stop
        runners.append(runner)
        watcher = Watcher(runner, None, 0.0, None)
        watcher.add(runner.add_channel(0, front.worker_data, front.worker_control))
        watcher.start()
        is_ready.set()
        await runner.wait_stopped()
        await runner.close()
        watcher.stop()
        await lifespan.shutdown()

    def run() -> None:
        if use_uvloop:
            import uvloop

            loop = uvloop.new_event_loop()
        else:
            loop = asyncio.new_event_loop()
        try:
            loop.run_until_complete(serve())
        finally:
            loop.close()

    thread = threading.Thread(target=run)
    thread.start()
    try:
        assert is_ready.wait(_TIMEOUT_S)
        front.expect_hello(frames.ASGI)
        yield front
    finally:
        if runners:
            runners[0].stop()
            with contextlib.suppress(OSError):  # a test may have closed it
                front.data.shutdown(socket.SHUT_WR)
        thread.join(_TIMEOUT_S)
        assert not thread.is_alive()
        front.close()
