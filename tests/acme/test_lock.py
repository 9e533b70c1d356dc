"""Locks as files: one holder, also among processes, and what becomes of those that died."""

from __future__ import annotations

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from pyserve.acme import claim
from pyserve.acme.lock import Lock, machine
from pyserve.acme.storage import Storage
from tests.support.waiting import wait_until


@pytest.fixture
def storage(tmp_path: Path) -> Storage:
    storage = Storage(str(tmp_path / "st"))
    storage.prepare()
    return storage


def locks(storage: Storage) -> list[str]:
    return sorted(os.listdir(f"{storage.folder}/locks"))


def write(storage: Storage, owner: claim.Claim) -> None:
    Path(storage.folder, "locks", "a.com").write_bytes(claim.encode(owner))


def dead_pid() -> int:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def test_one_holds_it_and_the_next_gets_it_after_the_release(storage: Storage) -> None:
    one, other = Lock(storage, "a.com"), Lock(storage, "a.com")
    assert one.take()
    assert one.is_held
    assert not other.take()
    one.release()
    assert not one.is_held
    assert other.take()
    other.release()
    assert locks(storage) == []
    assert not storage.at_close


def test_of_many_at_once_exactly_one_gets_it(storage: Storage) -> None:
    several = [Lock(storage, "a.com") for _ in range(16)]
    with ThreadPoolExecutor(16) as pool:
        assert sum(pool.map(Lock.take, several)) == 1
    for lock in several:
        lock.release()


@pytest.mark.needs("linux")
def test_the_lock_of_a_process_that_died_here_is_taken_over_at_once_by_one(storage: Storage) -> None:
    for _ in range(3):
        write(storage, claim.Claim("0" * 32, machine(), dead_pid()))
        several = [Lock(storage, "a.com") for _ in range(4)]
        with ThreadPoolExecutor(4) as pool:
            taken = list(pool.map(Lock.take, several))
        # The others looked while it was taken over, or after.
        assert sum(taken) == 1
        assert sum(lock.is_held for lock in several) == 1
        for lock in several:
            lock.release()
        assert locks(storage) == []


def test_the_lock_of_another_machine_is_taken_over_when_it_no_longer_beats(
    storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(storage, claim.Claim("0" * 32, "other:1", 1))
    lock = Lock(storage, "a.com")
    assert not lock.take()
    monkeypatch.setattr(claim, "STALE_S", 0.0)
    assert lock.take()
    lock.release()


def test_a_holder_beats(storage: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(claim, "BEAT_S", 0.01)
    lock = Lock(storage, "a.com")
    assert lock.take()

    def beat() -> int:
        found = claim.decode(Path(storage.folder, "locks", "a.com").read_bytes())
        return 0 if found is None else found.beat

    wait_until(lambda: beat() > 2, "beats")
    lock.release()


def test_who_lost_it_knows_and_leaves_the_successor_alone(storage: Storage) -> None:
    lock = Lock(storage, "a.com")
    assert lock.take()
    write(storage, claim.Claim("f" * 32, "other:1", 1))
    assert not lock.is_held
    lock.release()
    assert locks(storage) == ["a.com"]


def test_a_storage_that_closes_gives_its_locks_and_answers_back(storage: Storage) -> None:
    assert Lock(storage, "a.com").take()
    storage.write_temporary(f"{storage.folder}/challenges/abc", b"x")
    storage.close()
    assert locks(storage) == []
    assert not os.path.exists(f"{storage.folder}/challenges/abc")


@pytest.mark.needs("linux")
def test_a_killed_holders_lock_is_free_for_its_successor(storage: Storage) -> None:
    code = (
        "import sys, time; from pyserve.acme.lock import Lock; from pyserve.acme.storage import Storage\n"
        "assert Lock(Storage(sys.argv[1]), 'a.com').take(); print('held', flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", code, storage.folder], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"held\n"
        lock = Lock(storage, "a.com")
        assert not lock.take()
        process.kill()
        process.wait()
    assert lock.take()
    lock.release()
