"""A worker, from the fork to its exit: load the application, say so, serve until told to stop.

I/O: everything that is the process's and not the runner's: signals, the shared page, standard streams, what a forked
grandchild inherits. Loop and faulthandler start here, after the fork (``random`` reseeds itself in a child).
"""

from __future__ import annotations

import faulthandler
import mmap
import os
import signal
import socket
import sys
from collections.abc import Callable
from time import monotonic
from typing import Any

from ..wire import messages
from ..wire.frames import ASGI, INTERFACE_NAMES, WSGI
from ..wire.scoreboard import PAGE_BYTES, STACK_SIGNAL, Scoreboard
from .loader import LoadError, load, text_of
from .title import set_title
from .watcher import Runner, Watcher
from .wsgi_inline import InlineRunner
from .wsgi_threads import ThreadedRunner

EXIT_BOOT_FAILED = 3

# A computing thread gives way to the watcher (and to the others) after this long, instead of 5 ms (D16). WSGI only: in
# an ASGI worker that runs synchronous views in threads the changes cost 12 % of its CPU (benchmarks/django.py).
_SWITCH_INTERVAL_S = 0.0005
_WARMUP_ENDS_S = 2.0
"""So long before the end of the time for its start, when the master kills, a worker gives the warmup up; a quarter of
a short one."""

OOM_SCORE_ADJ = 500

Loaded = tuple[Callable[..., Any], int]


class Worker:
    """``descriptors``: master end, scoreboard page, then data and control per front; this process owns them from
    here on.
    """

    def __init__(self, spec: dict[str, Any], worker: int, descriptors: list[int]) -> None:
        self._spec = spec
        self._begun_at = monotonic()
        self._title = f"pyserve: worker {spec['name']} {worker}"
        self._master = socket.socket(fileno=descriptors[0])
        self._master.setblocking(True)
        page = mmap.mmap(descriptors[1], PAGE_BYTES)
        self._stack_fd = descriptors[1]
        self._scoreboard = Scoreboard(memoryview(page))
        self._fronts = [
            (socket.socket(fileno=data), socket.socket(fileno=control))
            for data, control in zip(descriptors[2::2], descriptors[3::2])  # noqa: B905
        ]
        self._sockets = [self._master, *(end for pair in self._fronts for end in pair)]

    def run(self, loaded: Loaded | None) -> int:
        """Load the application unless the template has, serve it, return the exit code."""
        set_title(self._title)
        self._show_stacks()
        reconfigure = getattr(sys.stdout, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(line_buffering=True)
        os.register_at_fork(after_in_child=self._let_go)
        try:
            app, interface = loaded or load(self._spec)
            set_title(f"{self._title} ({INTERFACE_NAMES[interface]})")
            if interface == ASGI:
                from .asgi_main import serve_asgi

                serve_asgi(self, app)
            else:
                self._serve_wsgi(app)
        except LoadError as error:
            return self._boot_failed(str(error))
        except Exception as error:
            # Ours or the loop's: said the same way, because nobody would see it otherwise.
            print(text_of(error), file=sys.stderr)
            return self._boot_failed(text_of(error))
        sys.stdout.flush()
        sys.stderr.flush()
        return 0

    def _show_stacks(self) -> None:
        """Have fatal errors, and the master's question, answered with stacks behind the shared page: it reads them
        there also when this process is dead or does not let go of the interpreter.
        """
        try:
            os.lseek(self._stack_fd, PAGE_BYTES, os.SEEK_SET)
            faulthandler.enable(self._stack_fd)
            if sys.platform == "linux":
                faulthandler.register(STACK_SIGNAL, self._stack_fd)
        except (AttributeError, OSError, ValueError, RuntimeError) as error:
            print(f"stacks of stuck requests can't be shown: {error}", file=sys.stderr)
        try:
            # If the kernel needs memory it is to take a worker, which is replaced, not a front or the master.
            with open("/proc/self/oom_score_adj", "r+") as adjustment:
                if int(adjustment.read()) < OOM_SCORE_ADJ:
                    adjustment.write(str(OOM_SCORE_ADJ))
        except (OSError, ValueError):
            pass

    def _serve_wsgi(self, app: Callable[..., Any]) -> None:
        sys.setswitchinterval(_SWITCH_INTERVAL_S)
        threads = self._spec["threads"]
        runner = (ThreadedRunner if threads > 1 else InlineRunner)(app, self._scoreboard, threads)
        signal.signal(signal.SIGTERM, lambda *_: runner.stop())
        self.connect(runner, messages.pack_bytes(messages.BOOTED, bytes([WSGI])))
        runner.serve()

    @property
    def concurrency(self) -> int:
        return int(self._spec["concurrency"])

    @property
    def websockets(self) -> int:
        return int(self._spec["websockets"])

    @property
    def scoreboard(self) -> Scoreboard:
        return self._scoreboard

    def connect(self, runner: Any, booted: bytes) -> None:
        """Warm up if that is asked for, then tell the master that this worker is ready, and the fronts; watch them all
        from then on. Does not wait for the warmup: the caller lets the runner serve now.
        """
        self._runner = runner
        if not self._spec["warmup"]:
            self._connect(runner, booted)
            return
        from .warmup import start  # few applications have one

        startup_s = float(self._spec["startup_s"])
        until = self._begun_at + startup_s - min(_WARMUP_ENDS_S, startup_s / 4)
        start(runner, self._spec, until, self._warmup_failed, lambda: self._connect(runner, booted))

    def _connect(self, runner: Runner, booted: bytes) -> None:
        watcher = Watcher(runner, self._master, float(self._spec["grace_s"]), lambda: os._exit(0))
        self._master.sendall(booted)
        for front, (data, control) in enumerate(self._fronts):
            watcher.add(runner.add_channel(front, data, control))
        self._watcher = watcher
        watcher.start()

    _watcher: Watcher | None = None
    _runner: Any = None

    def _warmup_failed(self, text: str) -> None:
        self._say(messages.WARMUP_FAILED, text)

    def _boot_failed(self, text: str) -> int:
        self._say(messages.BOOT_FAILED, text)
        return EXIT_BOOT_FAILED

    def _say(self, kind: int, text: str) -> None:
        raw = text.encode("utf-8", "backslashreplace")[-60_000:]
        try:
            self._master.sendall(messages.pack_bytes(kind, raw))
        except OSError:
            pass  # the master has gone, and this process follows

    def _let_go(self) -> None:
        """In a child that the application forked: its copies would keep the other sides from seeing our end, and what
        it says of its own death would be taken for ours.
        """
        if self._stack_fd >= 0:
            os.close(self._stack_fd)
            self._stack_fd = -1
        try:
            if sys.platform == "linux":
                faulthandler.unregister(STACK_SIGNAL)
            faulthandler.enable()
        except (AttributeError, OSError, ValueError, RuntimeError):
            faulthandler.disable()  # no usable stderr
        sockets = list(self._sockets)
        if self._runner is not None:
            sockets += [end for channel in self._runner.channels for end in (channel.data, channel.control)]
        for end in sockets:
            # Not close(): a transport may hold the socket object, and its descriptor must go all the same.
            fd = end.detach()
            if fd >= 0:
                os.close(fd)
