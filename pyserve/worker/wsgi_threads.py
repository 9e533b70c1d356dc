"""Step 5, ``threads`` > 1: one thread reads, the others call the application.

I/O: see ``wsgi_runner``. A request is taken and marked as started in one step under the lock, so that requests start
in order even when threads race. Answers are written at once; whoever is writing takes along what the others have
(``Channel.flush``).

One thread more, made when the first RESERVED request comes, runs only those, and only where none that is older waits:
the order of starts is what tells the fronts which have begun. So as many others run at once as ``threads`` says.
"""

from __future__ import annotations

import threading
from queue import SimpleQueue
from time import monotonic_ns

from ..wire.codec import RESERVED
from ..wire.scoreboard import MAX_THREADS
from .channel import STARTED, WAITING
from .wsgi import WsgiStream
from .wsgi_runner import WsgiRunner


class ThreadedRunner(WsgiRunner):
    _taken = 0  # requests that left `pending`, ever
    _ended = 0  # threads that came to their end
    _busy_ns = 0
    _requests = 0
    _threads: list[threading.Thread]
    _reserve: SimpleQueue[bool] | None = None  # the tokens of the thread that is kept for RESERVED requests

    def serve(self) -> None:
        """Answer requests until ``stop``. Blocks."""
        tokens: SimpleQueue[bool] = SimpleQueue()  # True = one more is pending, False = end
        threads = self._threads = [
            threading.Thread(target=self._work, args=(index, tokens), name=f"pyserve-{index}", daemon=True)
            for index in range(self.threads)
        ]
        for thread in threads:
            thread.start()
        handed = 0
        pending = self.pending
        while not self.is_stopping:
            self.wait_for_frames()
            with self.lock:
                # `_taken` counts what left the deque, so the sum counts what was ever put there.
                total = self._taken + len(pending)
                if pending:
                    self._look_for_reserved()
            for _ in range(total - handed):
                tokens.put(True)
            handed = total
            self.flush_all()
        self.give_back()
        with self.lock:  # from here on no thread is made
            for _ in threads:
                tokens.put(False)
            if self._reserve is not None:
                self._reserve.put(False)
        # Bodies of requests that run must still be read.
        while self._ended < len(threads):
            # What still arrives is not given back, or the front would send it here again and again: it has not started,
            # so the front moves it when it recalls it or when this process ends.
            self.wait_for_frames()
            self.flush_all()
        for thread in threads:
            thread.join()
        self.flush_all()

    def _look_for_reserved(self) -> None:
        """Wake the thread that is kept for RESERVED requests if one is next; make it if there is none yet. Under the
        lock."""
        pending = self.pending
        while pending and pending[0].state != WAITING:  # recalled
            pending.popleft()
            self._taken += 1
        if not pending or not pending[0].payload[0] & RESERVED:
            return
        if self._reserve is None:
            if self.is_stopping:
                return
            tokens: SimpleQueue[bool] = SimpleQueue()
            thread = threading.Thread(
                target=self._work, args=(self.threads, tokens), name="pyserve-reserve", daemon=True
            )
            try:
                thread.start()
            except RuntimeError:
                return  # no thread can be started: it waits for one of the others
            self._reserve = tokens
            self._threads.append(thread)
        self._reserve.put(True)

    def _work(self, index: int, tokens: SimpleQueue[bool]) -> None:
        ident = threading.get_ident()
        scoreboard = self.scoreboard
        is_shown = index < MAX_THREADS
        is_reserve = index == self.threads
        took_ns = 0
        while tokens.get():
            with self.lock:
                if took_ns:
                    self._busy_ns += took_ns
                    self._requests += 1
                    took_ns = 0
                    scoreboard.worked(self._busy_ns, self._requests)
                if not self.pending:
                    continue  # given back while stopping, or taken by the reserve
                if is_reserve and not self.pending[0].payload[0] & RESERVED:
                    continue
                stream = self.pending.popleft()
                self._taken += 1
                if self.pending:
                    self._look_for_reserved()
                channel = stream.channel
                if stream.state != WAITING or channel.is_dead:
                    continue
                stream.state = STARTED
                self.started[channel.front] = stream.number
            begun_ns = monotonic_ns()
            if is_shown:
                scoreboard.occupy(index, channel.front, stream.number, ident, begun_ns)
            self.run(stream)
            took_ns = monotonic_ns() - begun_ns
            if is_shown:
                scoreboard.free(index)
            channel.flush()
        with self.lock:
            self._ended += 1
        self.wake()

    def thread_of(self, stream: WsgiStream) -> int | None:
        for index in range(min(self.threads + 1, MAX_THREADS)):
            running = self.scoreboard.running(index)
            if running is not None and running[:2] == (stream.number, stream.channel.front):
                return running[2]
        return None

    def wait_for_body(self, stream: WsgiStream) -> None:
        with self.lock:
            if stream.condition is None:
                stream.condition = threading.Condition(self.lock)
            while not (stream.chunks or stream.has_whole_body or stream.is_gone):
                stream.condition.wait()
