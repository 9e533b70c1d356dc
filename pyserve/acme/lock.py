"""One worker at a time for each certificate and account, among all processes and machines that share the folder.

I/O: a file that is created atomically, and a thread that changes it while it is held. Whether its owner is gone is
decided by ``claim``. LIMIT: an owner that was stopped for longer than ``STALE_S`` and goes on may work beside its
successor; it looks whether it still holds the lock before each step that costs something, and two certificates for one
name are no harm.
"""

from __future__ import annotations

import os
import sys
import threading
import time

from pyserve.acme import claim
from pyserve.acme.claim import Claim, Observed
from pyserve.acme.storage import Storage, remove

SETTLE_S = 0.5


class Lock:
    """``name``: of the lock, a file name. Not held until ``take`` says so."""

    def __init__(self, storage: Storage, name: str) -> None:
        self._storage = storage
        self._path = f"{storage.folder}/locks/{name}"
        self._observed = Observed()
        self._claim = Claim("", "", 0)
        self._released = threading.Event()

    def take(self) -> bool:
        """Take the lock if it is free, or its owner gone. Raises ``OSError`` where the folder can't be written to."""
        if self._create():
            return True
        data = _read(self._path)
        if data is None:
            return self._create()
        found = claim.decode(data)
        is_alive = found is not None and _is_alive(found.pid)
        if not self._observed.is_stale(data, time.monotonic(), machine(), is_alive):
            return False
        return self._take_over(data)

    def _create(self) -> bool:
        own = self._new_claim()
        try:
            fd = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        except FileExistsError:
            return False
        with open(fd, "wb") as file:
            file.write(claim.encode(own))
        self._hold(own)
        return True

    def _take_over(self, stale: bytes) -> bool:
        """Put our claim in the place of a dead owner's. Of several who do it at once the last one holds the lock."""
        own = self._new_claim()
        beside = f"{self._path}.{own.id}"
        with open(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "wb") as file:
            file.write(claim.encode(own))
        if _read(self._path) != stale:
            remove(beside)
            return False  # another one was first
        os.rename(beside, self._path)
        # SAFETY: whoever saw the stale claim as well has put his own in its place by now, unless it took him longer
        # than this from one system call to the next.
        time.sleep(SETTLE_S)
        self._claim = own
        self._released = threading.Event()
        if not self.is_held:
            return False
        self._hold(own)
        return True

    @staticmethod
    def _new_claim() -> Claim:
        return Claim(os.urandom(16).hex(), machine(), os.getpid())

    def _hold(self, own: Claim) -> None:
        self._claim = own
        self._released = threading.Event()
        self._storage.at_close.add(self.release)
        threading.Thread(target=self._beat, args=(self._released,), name="lock", daemon=True).start()

    @property
    def is_taken(self) -> bool:
        """Has anybody taken it, or left it behind?"""
        return os.path.exists(self._path)

    @property
    def is_held(self) -> bool:
        """Is it still ours? False also when nobody can tell."""
        if self._released.is_set() or not self._claim.id:
            return False
        try:
            found = claim.decode(_read(self._path) or b"")
        except OSError:
            return False
        return found is not None and found.id == self._claim.id

    def _beat(self, released: threading.Event) -> None:
        beat = 0
        while not released.wait(claim.BEAT_S):
            if not self.is_held:
                return
            beat += 1
            try:
                fd = os.open(self._path, os.O_WRONLY | os.O_CLOEXEC)
                with open(fd, "wb", buffering=0) as file:
                    file.write(claim.encode(self._claim._replace(beat=beat)))
            except OSError:
                pass  # the disk is full, or the share away: others will take us for dead, and be right

    def release(self) -> None:
        """Give it back, if it is still ours."""
        if self.is_held:
            remove(self._path)
        self._released.set()
        self._claim = Claim("", "", 0)
        self._storage.at_close.discard(self.release)


def _read(path: str) -> bytes | None:
    try:
        with open(path, "rb") as file:
            return file.read(claim.MAX_BYTES)
    except FileNotFoundError:
        return None


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        pass
    return True


def machine() -> str:
    """Return a name that two processes share only if a pid means the same to both: this boot, this pid namespace."""
    if sys.platform != "linux":
        return f"{os.uname().nodename or 'unknown'}:{os.getpid()}"  # ours alone: nobody is looked for by pid
    with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
        boot = file.read().strip()
    return f"{boot}:{os.stat('/proc/self/ns/pid').st_ino}"
