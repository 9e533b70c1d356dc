"""Step 5, ``threads = 1``: one thread reads, calls the application and writes. No loop, no hand-over.

I/O: see ``wsgi_runner``. Finished answers may be kept while more requests are in hand, so that several share one
write; never across a wait, never behind another front's request, never more than 64 KiB, never longer than 2 ms of
other requests' work. What a slow call would delay, the watcher flushes when the front recalls what waits behind it.

HOT: benchmarks/hello_wsgi.py.
"""

from __future__ import annotations

import threading
from time import monotonic_ns

from . import stacks
from .wsgi import WsgiStream
from .wsgi_runner import WsgiRunner

_KEPT_BYTES = 64 * 1024
_KEPT_NS = 2_000_000


class InlineRunner(WsgiRunner):
    _ident: int | None = None

    def serve(self) -> None:
        """Answer requests until ``stop``. Blocks."""
        self._ident = threading.get_ident()
        pending = self.pending
        busy_ns = requests = 0
        while not self.is_stopping:
            self.wait_for_frames()
            begun = since = monotonic_ns()
            kept = 0
            while pending and not self.is_stopping:
                stream = pending.popleft()
                if not self.is_started_now(stream):
                    continue
                self.run(stream)
                requests += 1
                out = stream.channel.out
                if out and pending:
                    if pending[0].channel is not stream.channel:
                        # Another front's comes next: this one would not know what its answer waits behind.
                        stream.channel.flush()
                        continue
                    kept += len(out[-1])
                    now = monotonic_ns()
                    if kept > _KEPT_BYTES or now - since > _KEPT_NS:
                        self.flush_all()
                        since = now
                        kept = 0
            self.flush_all()
            busy_ns += monotonic_ns() - begun
            self.scoreboard.worked(busy_ns, requests)
        self.give_back()

    def thread_of(self, stream: WsgiStream) -> int | None:
        # Of one front the youngest that has started is the one that runs; those before it are over.
        return self._ident if self.started[stream.channel.front] == stream.number else None

    def held_by(self) -> str:
        held = "" if self._ident is None else stacks.in_application(self._ident)
        return held and f"not begun; another holds the worker:\n{held}"

    def wait_for_body(self, stream: WsgiStream) -> None:
        # Frames of other streams that arrive meanwhile wait their turn.
        self.flush_all()
        while not (stream.chunks or stream.has_whole_body or stream.is_gone):
            self.wait_for_frames()
