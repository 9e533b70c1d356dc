"""One certificate over time: looks at its file, and gets it, or a new one, when that is due.

I/O: files of the storage, and the authority (``client``); blocks, so each step runs in a thread. When something is due
is decided by ``schedule``. Invariants: the old file stays until a new one is proved; nothing is asked of an authority
without the lock, and without the record that says so being on disk.
"""

from __future__ import annotations

import hashlib
import random
import time
from collections.abc import Callable
from typing import NamedTuple

from pyserve.acme import material, record, schedule
from pyserve.acme.client import Client, Refused
from pyserve.acme.lock import Lock
from pyserve.acme.schedule import Certificate, Due, Record, Window
from pyserve.acme.storage import Storage
from pyserve.config.acme import certificate_path
from pyserve.config.model import Acme
from pyserve.errors import CannotStart
from pyserve.observe.error_log import ErrorLog

LOOK_AT_LOCK_S = 2.0
STORAGE_AGAIN_S = 60.0


class Task(NamedTuple):
    """What the master wants: a certificate for the hosts of a site. ``number``: of the site, in messages."""

    number: int
    site: str
    hosts: tuple[str, ...]
    acme: Acme


class State(NamedTuple):
    """For ``status``. ``kind``: one of ``messages.ACME_STATES``; times are seconds since 1970, 0 = none."""

    kind: str
    not_after_s: float = 0.0
    next_s: float = 0.0
    reason: str = ""


class Keeper:
    """``report`` is called with the task's number, from any thread."""

    def __init__(self, task: Task, storage: Storage, log: ErrorLog, report: Callable[[int, State], None]) -> None:
        self._task = task
        self._storage = storage
        self._log = log
        self._report = report
        self._names = frozenset(host.strip("[]") for host in task.hosts)
        self._path = certificate_path(storage.folder, task.hosts)
        self._record_path = self._path.removesuffix(".pem") + ".json"
        self._lock = Lock(storage, self._path.rpartition("/")[2].removesuffix(".pem"))
        self._window: Window | None = None
        self._window_of = b""
        self._ask_again_s = 0.0
        self._said = ""
        self._request = _fingerprint(self._names, task.acme)
        self._is_changed: bool | None = None

    def step(self) -> float:
        """Do what is due; return when to be called again, in seconds since 1970."""
        try:
            self._storage.prepare()
            return self._step()
        except CannotStart as error:
            return self._put_off(str(error))
        except OSError as error:
            where = f"{error.filename}: " if error.filename else ""
            return self._put_off(f"the storage of certificates fails: {where}{error.strerror}")

    def _put_off(self, reason: str) -> float:
        """Nothing can be done without the storage: say so once, and look again soon."""
        again_s = time.time() + STORAGE_AGAIN_S
        self._tell(State("failed", next_s=again_s, reason=reason))
        if reason != self._said:
            self._said = reason
            self._log.error(
                f"certificate of site {self._task.site}: {reason}; next attempt at {_time(again_s)}, "
                f"then every {STORAGE_AGAIN_S:g} s"
            )
        return again_s

    def _step(self) -> float:
        now = time.time()
        self._said = ""
        certificate, known = self._look(now)
        due = self._due(certificate, known)
        # An attempt under way has its record as if it had failed already.
        is_elsewhere = bool(known.failures) and self._lock.is_taken
        if due.at_s > now and not is_elsewhere:
            return self._rest(certificate, known, due)
        if not self._lock.take():
            # Another process is at it; its result is ours.
            not_after_s = 0.0 if certificate is None else certificate.not_after_s
            self._tell(State("ordering", not_after_s, 0.0, "by another process"))
            return now + LOOK_AT_LOCK_S
        try:
            certificate, known = self._look(time.time())  # of whoever had the lock before
            due = self._due(certificate, known)
            if due.at_s <= time.time():
                certificate, known = self._attempt(certificate, known, due.why)
                due = self._due(certificate, known)
        finally:
            self._lock.release()
        return self._rest(certificate, known, due)

    def _look(self, now: float) -> tuple[Certificate | None, Record]:
        data = self._storage.read(self._path)
        found = None if data is None else material.read(data)
        remembered = self._storage.read(self._record_path)
        known = Record() if remembered is None else record.decode(remembered, now)
        if self._is_changed is None:
            # What the operator has changed may have been what was wrong. Found out only once: machines whose configs
            # differ would take turns otherwise.
            self._is_changed = known.request != self._request
        if self._is_changed:
            known = schedule.waived(known, self._task.acme.directory)
        if found is None:
            return None, known
        certificate, pem = found
        if certificate.not_after_s > now:
            self._ask_for_window(pem, now)
        return certificate, known

    def _ask_for_window(self, pem: bytes, now: float) -> None:
        """Ask for the authority's wish about renewal, now and then. Not at once: many certificates may be looked at for
        the first time, again and again if something restarts in a loop."""
        if pem != self._window_of:
            self._window_of, self._window = pem, None
            self._ask_again_s = now + schedule.INFO_SPREAD_S * random.random()
        if now < self._ask_again_s:
            return
        client = Client(self._task.acme, self._storage, self._log.info)
        try:
            found = client.renewal_window(pem)
        finally:
            client.close()
        self._ask_again_s = schedule.ask_again_s(None if found is None else found[2], now)
        self._window = None if found is None or not 0 < found[0] <= found[1] else Window(found[0], found[1])

    def _due(self, certificate: Certificate | None, known: Record) -> Due:
        acme = self._task.acme
        window = self._window if certificate is not None else None
        life = b"" if certificate is None else b"%d" % certificate.not_after_s
        # The same for one certificate on all machines and after each start.
        digest = hashlib.sha256(self._path.rpartition("/")[2].encode() + life).digest()
        chance = int.from_bytes(digest[:4], "big") / 2**32
        return schedule.due(certificate, known, self._names, acme.directory, acme.renew_before_s, window, chance)

    def _rest(self, certificate: Certificate | None, known: Record, due: Due) -> float:
        kind = "valid"
        not_after_s = 0.0
        if certificate is None or certificate.not_after_s <= time.time():
            kind = "failed" if known.failures else "waiting"
        if certificate is not None:
            not_after_s = certificate.not_after_s
        reason = known.reason
        if known.failures and not reason:
            reason = "the last attempt was interrupted"
        self._tell(State(kind, not_after_s, due.at_s, reason))
        wanted = [due.at_s, time.time() + schedule.LOOK_S]
        if certificate is not None:
            wanted.append(self._ask_again_s)
        return max(min(wanted), time.time() + 0.05)

    def _attempt(self, certificate: Certificate | None, known: Record, why: str) -> tuple[Certificate | None, Record]:
        task = self._task
        not_after_s = 0.0 if certificate is None else certificate.not_after_s
        self._tell(State("ordering", not_after_s))
        self._log.info(f"certificate of site {task.site}: asking {task.acme.directory} for one: {why}")
        known = schedule.begun(known, self._request, time.time(), random.random())
        self._storage.write(self._record_path, record.encode(known))
        self._is_changed = False
        client = Client(task.acme, self._storage, self._log.info)
        try:
            bundle, kind = client.obtain(self._names, known, lambda: self._lock.is_held)
            self._storage.write(self._path, bundle)
        except Refused as refusal:
            known = schedule.failed(known, refusal.failure, time.time(), random.random())
            self._storage.write(self._record_path, record.encode(known))
            kept = f"; the old one is valid until {_time(not_after_s)}" if not_after_s > time.time() else ""
            self._log.error(
                f"certificate of site {task.site}: {refusal}; next attempt at {_time(known.next_attempt_s)}{kept}"
            )
            return certificate, known
        finally:
            client.close()
        known = schedule.succeeded(task.acme.directory, kind)
        self._storage.write(self._record_path, record.encode(known))
        found = material.read(bundle)
        assert found is not None  # it was proved
        self._log.info(f"certificate of site {task.site}: got one, valid until {_time(found[0].not_after_s)}")
        return found[0], known

    def _tell(self, state: State) -> None:
        self._report(self._task.number, state)


def _fingerprint(names: frozenset[str], acme: Acme) -> str:
    """Return what an attempt asks for and how: the same text for the same attempt."""
    said = (sorted(names), acme._replace(storage="", renew_before_s=0.0), acme.external_key)
    return hashlib.sha256(repr(said).encode()).hexdigest()[:16]


def _time(at_s: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(at_s))
