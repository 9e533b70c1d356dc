"""One application's workers: ordered from the template, watched, replaced, stopped.

I/O: through ``child`` and ``loop``. Invariants: a worker number is never used again; a slot is cleared before it is;
a worker is told to the fronts only when its pid is known and its end is told only when it was waited for (or can't
be); one that works goes only when as many others serve as there are to be. How many that is, and who has to go, is
decided elsewhere (``upkeep``). What workers and templates say is hostile: unknown numbers are ignored, pids are
signalled only if they are ours.
"""

from __future__ import annotations

import os
import random
import signal
from collections import Counter, deque
from collections.abc import Callable
from typing import Any

from pyserve.config.model import App
from pyserve.master import child, figures
from pyserve.master.child import Template, Worker
from pyserve.master.ends import close_all, close_ends, front_pairs
from pyserve.master.fronts import Fronts
from pyserve.master.inquests import Inquests
from pyserve.master.loop import Line, Loop, Timer
from pyserve.master.policy import STABLE_WORKER_S, Restarts
from pyserve.master.recycling import limits_of_one
from pyserve.master.renewal import WHY, Outcome, Renewal
from pyserve.master.reports import MAX_REQUEST, MOST_NAMED, application_part, mute_words
from pyserve.master.resources import Resources
from pyserve.master.templates import TemplateCommand, TemplateKeeper, last_line, text_of
from pyserve.net.channels import MessageChannel, shared_memory
from pyserve.wire import messages
from pyserve.wire.board import IN_FLIGHT, SERVED, SOCKETS
from pyserve.wire.frames import INTERFACE_NAMES, WireError
from pyserve.wire.scoreboard import PAGE_BYTES, STACK_SIGNAL

CLOSED_BUT_ALIVE_S = 2.0
STACK_WAIT_S = 0.2
"""A signal and a few writes take far less, on a busy machine too."""


class Pool:
    """``slots``: the board's indexes for this app. ``new_number()``: the server's next worker number."""

    def __init__(
        self,
        loop: Loop,
        resources: Resources,
        fronts: Fronts,
        index: int,
        slots: range,
        command: TemplateCommand,
        new_number: Callable[[], int],
        on_change: Callable[[], None],
    ) -> None:
        self.app: App = resources.config.apps[index]
        self.index = index
        self.workers: dict[int, Worker] = {}
        self.reason = self.app.fault
        """Why no worker can serve; "" = booting or serving."""
        self.interface = ""
        self.wanted = self.app.workers if self.app.scaling is None else self.app.scaling.least
        """How many workers there are to be: booting or serving, and not about to go."""
        self.recycled: Counter[str] = Counter()
        """How many workers were replaced or given up on purpose, by reason."""
        self.restarts = 0
        """How many died, or had to be killed."""
        self._loop = loop
        self._resources = resources
        self._fronts = fronts
        self._slots = deque(slots)
        self._new_number = new_number
        self._on_change = on_change
        self.inquests = Inquests(loop, resources.log, resources.oom_kills, self.app.name)
        self._restarts = Restarts(STABLE_WORKER_S)
        self._balance_timer: Timer | None = None
        self._boots_fail = False
        """The last boot failed: one worker at a time is tried until one succeeds."""
        self._is_closing = False
        self._last_text = ""
        self._warmup_texts: set[str] = set()
        self._renewal: Renewal | None = None
        self._keeper = TemplateKeeper(loop, resources, self.app, command, self)

    # Start and replacement

    def start(self) -> None:
        if self.app.workers == 0:
            return  # an embedding process runs it itself
        if self.app.fault:
            self._resources.log.error(f"app {self.app.name}: not started: {self.app.fault}")
            return
        if self.wanted:
            self._keeper.start()

    def template_ready(self) -> None:
        self.balance()

    def set_wanted(self, count: int) -> None:
        """There are to be so many workers from now on."""
        if count != self.wanted:
            self.wanted = count
            self.balance()

    def retire(self, worker: Worker, kind: str, why: str, *, at_once: bool = False) -> None:
        """Replace a worker that works: start its successor, then let it finish what it runs.

        ``kind``: under which it is counted. ``at_once``: it gets nothing new any more, successor or not.
        """
        if worker.state == "draining" or (worker.leaving and not at_once):
            return
        if not worker.leaving:
            self.recycled[kind] += 1
            self._resources.log.info(
                f"app {self.app.name}: worker {worker.number} (pid {worker.pid}) is replaced: {why}"
            )
        worker.leaving = why
        if at_once and worker.state == "ready":
            self._drain(worker)
        self.balance()

    def renew(self, tell: Callable[[Outcome], None], *, at_once: bool) -> None:
        """Have the application imported again; the old workers serve until that has succeeded. See ``Renewal``."""
        if self._renewal is not None:
            self._renewal.tell("overtaken")
            self._renewal = None
        if self._is_closing or self.app.fault or not self.app.workers:
            tell("overtaken" if self._is_closing else "nothing serves")
            return
        if not self.workers and not self.wanted:
            self._keeper.rest()
            tell("renewed")  # whoever comes next starts with it
            return
        self._renewal = Renewal(self._loop.now(), at_once, tell)
        for worker in list(self.workers.values()):
            if worker.state == "booting":
                # Killed when the fronts have nothing there: it may be ready before this is over.
                worker.is_stuck, worker.killed_for = True, WHY
                self._drain(worker)
            elif worker.state == "ready":
                worker.leaving = worker.leaving or WHY
        # What failed until now was other code. One worker is tried first.
        self._restarts = Restarts(STABLE_WORKER_S)
        self._boots_fail = True
        self._last_text = ""
        self._warmup_texts.clear()
        if self._balance_timer is not None:
            self._balance_timer.cancel()
            self._balance_timer = None
        self._keeper.renew()
        self.balance()

    def _end_renewal(self, reason: str) -> None:
        """A worker has booted, or ("" is none) this is why none can."""
        renewal, self._renewal = self._renewal, None
        if renewal is None:
            return
        name, took_s = f"app {self.app.name}", self._loop.now() - renewal.begun_at
        serving = [worker for worker in self.workers.values() if worker.state == "ready"]
        old = [worker for worker in serving if worker.leaving == WHY]
        if not reason:
            self._resources.log.info(f"{name}: the new code runs, {took_s:.2f} s after it was asked for")
            self.recycled["renewed"] += len(old)
            for worker in old if renewal.at_once else ():
                self._drain(worker)
            self._keeper.settle({worker.template for worker in self.workers.values()})
            renewal.tell("renewed")
            return
        for worker in old:
            worker.leaving = ""
        if serving:
            self._resources.log.error(f"{name}: the new code does not start, the old code goes on serving: {reason}")
            self._keeper.go_back({worker.template for worker in self.workers.values()})
        renewal.tell("kept" if serving else "nothing serves")

    def kill_for(self, worker: Worker, kind: str, why: str) -> None:
        """Kill a worker that must not go on."""
        if worker.killed_for:
            return
        worker.killed_for = why
        self.recycled[kind] += 1
        self._resources.log.info(f"app {self.app.name}: worker {worker.number} (pid {worker.pid}) is killed: {why}")
        self._kill(worker)

    @property
    def can_replace(self) -> bool:
        """Would a worker that is started now come up, as far as we know?"""
        return self._keeper.is_ready and not self._boots_fail

    @property
    def present(self) -> list[Worker]:
        """Workers that serve or boot and are not about to go."""
        return [worker for worker in self.workers.values() if worker.state != "draining" and not worker.leaving]

    def balance(self) -> None:
        """Start the workers that are missing, give up those that are too many, let go who has a successor."""
        if self._is_closing or self.app.fault:
            return
        present = self.present
        if len(present) < self.wanted:
            self._fill(present)
        elif len(present) > self.wanted:
            ready = [worker for worker in present if worker.state == "ready"]
            ready.sort(key=lambda worker: (self._running(worker), -worker.number))
            if gone := ready[: max(0, len(ready) - self.wanted)]:
                self.recycled["idle"] += len(gone)
                self._resources.log.info(
                    f"app {self.app.name}: {self.wanted} of {len(ready)} workers are enough; "
                    f"pid {', '.join(str(worker.pid) for worker in gone)} may go"
                )
                for worker in gone:
                    self._drain(worker)
        serving = [worker for worker in self.workers.values() if worker.state == "ready"]
        going = [worker for worker in serving if worker.leaving]
        for worker in going[: max(0, len(serving) - self.wanted)]:
            self._drain(worker)
        if not self.wanted and not self.workers:
            self._keeper.rest()

    def _running(self, worker: Worker) -> int:
        board = self._resources.board
        return board.slot_total(worker.slot, IN_FLIGHT) + board.slot_total(worker.slot, SOCKETS)

    def _fill(self, present: list[Worker]) -> None:
        """Order the workers that are missing, as far as the restart policy and the slots allow."""
        if not self._keeper.is_ready:
            self._keeper.want()
            return
        delay_s = self._restarts.delay_s(self._loop.now())
        if delay_s > 0:
            if self._balance_timer is None:
                self._balance_timer = self._loop.after(delay_s, self._balance_later)
            return
        missing = self.wanted - len(present)
        if self._boots_fail:
            missing = min(missing, 1 - sum(worker.state == "booting" for worker in present))
        for _ in range(missing):
            if not self._slots:
                self._resources.log.warning(
                    f"app {self.app.name}: too many workers on their way out to start another yet"
                )
                break
            self._order()

    def _balance_later(self) -> None:
        self._balance_timer = None
        self.balance()

    def _order(self) -> None:
        """Have the template fork a worker; its ends of all channels go with the order."""
        number, slot = self._new_number(), self._slots.popleft()
        self._resources.board.clear_slot(slot)
        channel, theirs = MessageChannel.pair()
        scoreboard_fd = shared_memory(PAGE_BYTES)
        worker: Worker = Worker(
            number,
            slot,
            Line(
                self._loop,
                channel,
                lambda kind, payload: self._heard(worker, kind, payload),
                lambda why: self._line_ended(worker, why),
            ),
            scoreboard_fd,
            self._loop.now(),
            self._keeper.current,
        )
        worker.limits = limits_of_one(self.app.recycling, random.random())
        given = [theirs.detach(), scoreboard_fd]
        for front in range(self._resources.config.server.fronts):
            front_ends, worker_ends = front_pairs()
            worker.front_ends[front] = front_ends
            given += worker_ends
        self.workers[number] = worker
        self._keeper.send(messages.FORK, (number, slot, self._resources.config.server.fronts), given)
        given.remove(scoreboard_fd)
        close_all(given)
        worker.boot_timer = self._loop.after(self.app.startup_timeout_s, lambda: self._too_slow(worker))

    def template_forked(self, number: int, pid: int) -> None:
        worker = self.workers.get(number)
        if worker is None or worker.pid or pid == 0:
            raise WireError(f"worker {number} with pid {pid} was not ordered")
        worker.pid = pid
        if worker.state == "draining":
            self._kill(worker)  # given up before any front has heard of it
            close_ends(worker)
            return
        for front in self._fronts.connected() & worker.front_ends.keys():
            self._introduce(worker, front, worker.front_ends[front])
        # A front that is not there now gets new ends when it is.
        close_ends(worker)

    def _introduce(self, worker: Worker, front: int, ends: tuple[int, int]) -> None:
        values = (self.index, worker.number, worker.slot, worker.pid)
        descriptors = (*ends, worker.scoreboard_fd)
        self._fronts.tell(front, messages.pack_values(messages.WORKER_ADDED, values, len(descriptors)), descriptors)

    def introduce_all(self, front: int) -> None:
        """A front started: tell it our state, and connect it with every running worker."""
        if self.reason:
            self._fronts.tell(front, messages.pack_values(messages.APP_STATE, (self.index, self.reason)))
        for worker in self.workers.values():
            if worker.pid == 0:
                continue
            if worker.state == "draining":
                worker.idle_fronts.add(front)  # it never hears of this worker, so nothing of its own runs there
                continue
            front_ends, worker_ends = front_pairs()
            worker.line.send(messages.pack_values(messages.NEW_FRONT, (front,), 2), worker_ends)
            self._introduce(worker, front, front_ends)
            close_all([*front_ends, *worker_ends])

    # What workers say

    def _heard(self, worker: Worker, kind: int, payload: bytes) -> None:
        if kind == messages.BOOTED and len(payload) == 1 and payload[0] in INTERFACE_NAMES:
            if worker.state == "booting":
                self._booted(worker, INTERFACE_NAMES[payload[0]])
        elif kind == messages.BOOT_FAILED:
            if worker.state == "booting" and not worker.failure:
                self._boot_failed(worker, text_of(payload))
        elif kind == messages.WARMUP_FAILED:
            if worker.state == "booting":
                self._warmup_failed(worker, text_of(payload))
        else:
            raise WireError(f"message {kind} of {len(payload)} bytes from a worker")

    def _booted(self, worker: Worker, interface: str) -> None:
        worker.state = "ready"
        worker.ready_at = self._loop.now()
        self.interface = interface
        self._boots_fail = False
        self._last_text = ""
        _stop_timer(worker)
        self._set_reason("")
        self._end_renewal("")
        self.balance()
        self._on_change()

    def _boot_failed(self, worker: Worker, text: str) -> None:
        worker.failure = last_line(text)
        same = "; the reason is the same as before" if text == self._last_text else f":\n{text}"
        self._resources.log.error(
            f"app {self.app.name}: worker {worker.number} (pid {worker.pid}) could not start{same}"
        )
        self._last_text = text

    def _warmup_failed(self, worker: Worker, text: str) -> None:
        said = text if text not in self._warmup_texts else f"{text.splitlines()[0]} (as before)"
        if len(self._warmup_texts) < 100:
            self._warmup_texts.add(text)
        self._resources.log.warning(f"app {self.app.name}: worker {worker.number} (pid {worker.pid}): warmup: {said}")

    def _too_slow(self, worker: Worker) -> None:
        """Its time to start is over: see where it is, then kill it."""
        worker.boot_timer = None
        self._have_stack_written(worker, lambda: self._kill_slow(worker))

    def _kill_slow(self, worker: Worker) -> None:
        worker.stack_timer = None
        if worker.state != "booting" or self._is_closing:
            self._end_if_idle(worker)
            return
        worker.failure = f"not ready within {self.app.startup_timeout_s:g} s (startup_timeout)"
        worker.last_stack = application_part(child.stack_text(worker))
        where = f"; it was here:\n{worker.last_stack}" if worker.last_stack else ""
        self._resources.log.error(
            f"app {self.app.name}: worker {worker.number} (pid {worker.pid}): {worker.failure}; killed{where}"
        )
        self._kill(worker)

    def _line_ended(self, worker: Worker, why: str) -> None:
        if why:
            self._resources.log.error(f"app {self.app.name}: worker {worker.number} (pid {worker.pid}): {why}; killed")
            self._kill(worker)
        elif worker.template is None and not child.is_ours(worker.pid):
            self._gone(worker, None)  # where the master is no subreaper nobody can wait for it
        else:
            # Normally it is about to be waited for; a worker that only lost its channel can't be led any more.
            self._loop.after(CLOSED_BUT_ALIVE_S, lambda: self._kill(worker))

    def _kill(self, worker: Worker) -> None:
        """Kill a worker that still exists: by whoever is its parent, who alone can't hit another process."""
        worker.is_killed = True
        self._signal(worker, signal.SIGKILL)

    def _signal(self, worker: Worker, number: int) -> None:
        if self.workers.get(worker.number) is not worker or worker.pid == 0:
            return
        if worker.template is None:
            child.kill(worker.pid, number)
        else:
            worker.template.line.send(messages.pack_values(messages.SIGNAL, (worker.number, int(number))))

    # What fronts say

    def front_said(self, front: int, kind: int, worker: Worker) -> None:
        if kind == messages.WORKER_READY:
            worker.ready_fronts.add(front)
            self._on_change()
        elif kind == messages.WORKER_STUCK:
            self._stuck(worker)
        elif kind == messages.WORKER_IDLE:
            worker.idle_fronts.add(front)
            self._end_if_idle(worker)
        elif kind == messages.WORKER_BROKE:
            self._resources.log.error(
                f"app {self.app.name}: worker {worker.number} (pid {worker.pid}) broke the rules of the wire; killed"
            )
            self._kill(worker)
        else:
            raise WireError(f"message {kind} from a front")

    def _stuck(self, worker: Worker) -> None:
        """Another one starts at once, over the number by one."""
        if worker.is_stuck:
            return
        worker.is_stuck = True
        self._resources.log.warning(
            f"app {self.app.name}: worker {worker.number} (pid {worker.pid}) is replaced: a request passed its time"
        )
        self.recycled["timeout"] += 1
        if worker.state == "draining":
            self._end_if_idle(worker)
        else:
            self._drain(worker)
            self.balance()

    def look_at_stack(self, worker: Worker, request: str) -> None:
        """A worker does not say where a request of its is: have ``faulthandler`` say it, which needs nothing of the
        interpreter. The worker is not killed before that."""
        if len(worker.mute_requests) < MOST_NAMED:
            worker.mute_requests.append(request[:MAX_REQUEST])
        if worker.stack_timer is None:
            self._have_stack_written(worker, lambda: self._tell_stack(worker))

    def _have_stack_written(self, worker: Worker, then: Callable[[], None]) -> None:
        if worker.stack_timer is not None:
            worker.stack_timer.cancel()
        if figures.catches(worker.pid, STACK_SIGNAL):  # it would end any other process
            self._signal(worker, STACK_SIGNAL)
        worker.stack_timer = self._loop.after(STACK_WAIT_S, then)

    def _tell_stack(self, worker: Worker) -> None:
        worker.stack_timer = None
        worker.last_stack = application_part(child.stack_text(worker))
        requests, worker.mute_requests = worker.mute_requests, []
        told = mute_words(worker.last_stack, figures.is_stopped(worker.pid), requests)
        self._resources.log.warning(f"app {self.app.name}: worker {worker.number} (pid {worker.pid}) {told}")
        self._end_if_idle(worker)

    def _drain(self, worker: Worker) -> None:
        """Have the fronts give it nothing new; it ends when they have nothing running there."""
        worker.state = "draining"
        _stop_timer(worker)
        self._fronts.tell_all(messages.WORKER_DRAIN, (worker.number,))
        self._end_if_idle(worker)

    def _end_if_idle(self, worker: Worker) -> None:
        if worker.state != "draining" or not worker.idle_fronts >= self._fronts.connected():
            return
        if worker.is_stuck:
            if worker.stack_timer is None:
                self._kill(worker)
        elif worker.boot_timer is None:
            worker.line.send(messages.pack_values(messages.STOP, ()))
            grace_s = self._resources.config.server.graceful_timeout_s
            worker.boot_timer = self._loop.after(grace_s, lambda: self._too_slow_to_stop(worker))

    def _too_slow_to_stop(self, worker: Worker) -> None:
        self._resources.log.warning(
            f"app {self.app.name}: worker {worker.number} (pid {worker.pid}) did not stop in time; killed"
        )
        self._kill(worker)

    def front_ended(self, front: int) -> None:
        """Nothing of that front's runs anywhere any more."""
        for worker in list(self.workers.values()):
            worker.ready_fronts.discard(front)
            worker.idle_fronts.discard(front)
            self._end_if_idle(worker)

    # The end of workers and templates

    def template_exited(self, number: int, status: int, peak_bytes: int) -> None:
        worker = self.workers.get(number)
        if worker is not None:
            worker.peak_bytes = peak_bytes
            self._gone(worker, status)

    def template_ended(self, template: Template) -> None:
        """Its workers are our children now; what was ordered but never forked is forgotten."""
        for worker in [worker for worker in self.workers.values() if worker.template is template]:
            worker.template = None
            if worker.pid == 0:
                self._forget(worker)
            elif not child.is_ours(worker.pid) and (self._resources.is_subreaper or worker.line.is_closed):
                self._gone(worker, None)

    def template_failed(self, reason: str) -> None:
        self._end_renewal(reason)
        if not any(worker.state == "ready" for worker in self.workers.values()):
            self._set_reason(reason)
            self._on_change()

    def reaped(self, pid: int, status: int) -> bool:
        """A child was waited for; return False if it was nobody of ours."""
        if self._keeper.reaped(pid, status):
            return True
        for worker in self.workers.values():
            if worker.pid == pid and worker.template is None:
                self._gone(worker, status)
                return True
        return False

    def _gone(self, worker: Worker, status: int | None) -> None:
        worker.line.drain()  # it may have said why
        if worker.number not in self.workers:
            return  # the end of its line has already told
        words = child.exit_words(status)
        if worker.killed_for:
            words = f"was killed: {worker.killed_for}"
        is_booting = worker.state == "booting"
        is_expected = self._is_expected(worker, status)
        if not is_expected:
            served = self._resources.board.slot_total(worker.slot, SERVED)
            fronts = set() if self._is_closing else self._fronts.connected()
            self.inquests.open(worker, words, served, fronts)
        elif is_booting and not self._is_closing:
            self.inquests.open_failed_start(worker, words)
        self._forget(worker)
        self._fronts.tell_all(messages.WORKER_GONE, (worker.number, words))
        if self._is_closing:
            return
        name, now = f"app {self.app.name}: worker {worker.number} (pid {worker.pid})", self._loop.now()
        self.restarts += worker.state != "draining" or (worker.is_stuck and worker.killed_for != WHY)
        if is_booting:
            self._restarts.died(now, 0.0)
            self._boots_fail = True
            self.template_failed(worker.failure or f"a worker {words} while it started")
        elif is_expected:
            self._resources.log.debug(f"{name} {words}, as asked")
        elif not worker.killed_for:  # what we do ourselves is no crash loop
            self._restarts.died(now, now - worker.ready_at)
        self.balance()

    def _is_expected(self, worker: Worker, status: int | None) -> bool:
        """Did this end come as it should? A start that failed is told elsewhere."""
        if self._is_closing:
            return not child.is_crash(status)
        if worker.state == "draining":
            return not status or (worker.is_killed and worker.killed_for in ("", WHY))
        return worker.state == "booting"

    def _forget(self, worker: Worker) -> None:
        del self.workers[worker.number]
        _stop_timer(worker)
        if worker.stack_timer is not None:
            worker.stack_timer.cancel()
        worker.line.close()
        os.close(worker.scoreboard_fd)
        close_ends(worker)
        self._slots.append(worker.slot)
        if self._renewal is None:
            self._keeper.settle({worker.template for worker in self.workers.values()})

    def _set_reason(self, reason: str) -> None:
        if reason != self.reason:
            self.reason = reason
            self._fronts.tell_all(messages.APP_STATE, (self.index, reason))

    # Stop and status

    def close(self) -> None:
        """Have all workers finish and end."""
        self._is_closing = True
        if self._renewal is not None:
            self._renewal.tell("overtaken")
            self._renewal = None
        if self._balance_timer is not None:
            self._balance_timer.cancel()
        for worker in self.workers.values():
            _stop_timer(worker)
            if worker.template is None:
                worker.line.send(messages.pack_values(messages.STOP, ()))
        self._keeper.close()

    def kill(self) -> list[str]:
        """Kill what can be killed now; return it in words.

        Workers of a killed template come to us when it was waited for, and are killed by the next call.
        """
        self.close()
        killed = self._keeper.kill()
        for worker in self.workers.values():
            if worker.template is None and child.kill(worker.pid):
                killed.append(f"worker {worker.number} of {self.app.name} (pid {worker.pid})")
        return killed

    @property
    def is_gone(self) -> bool:
        return self._keeper.is_gone and not self.workers

    @property
    def is_settled(self) -> bool:
        """Has it a worker that every front can use, or has its first start failed?"""
        fronts = self._fronts.connected()
        return bool(self.reason or self.wanted == 0) or any(
            worker.state == "ready" and worker.ready_fronts >= fronts for worker in self.workers.values()
        )

    def facts(self) -> dict[str, Any]:
        now = self._loop.now()
        workers = [
            {
                "worker": worker.number,
                "slot": worker.slot,
                "pid": worker.pid,
                "state": worker.state,
                "age_s": round(now - worker.started_at, 3),
                "memory_bytes": worker.memory_bytes,
                "leaving": worker.leaving,
            }
            for worker in self.workers.values()
            if worker.pid
        ]
        scaling = self.app.scaling
        return {
            "name": self.app.name,
            "release": "-",
            "reason": self.reason,
            "restarts": self.restarts,
            "recycled": dict(self.recycled),
            "wanted": self.wanted,
            "least": self.app.workers if scaling is None else scaling.least,
            "most": self.app.workers,
            "memory_bytes": sum(worker.memory_bytes for worker in self.workers.values()),
            "deaths": self.inquests.facts(),
            "workers": workers,
        }


def _stop_timer(worker: Worker) -> None:
    if worker.boot_timer is not None:
        worker.boot_timer.cancel()
        worker.boot_timer = None
