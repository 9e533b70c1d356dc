"""One certificate over time, against an authority that has a wish about renewal and refuses everything else."""

from __future__ import annotations

import datetime
import json
import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization

from pyserve.acme import material, record, schedule
from pyserve.acme.keeper import Keeper, State, Task
from pyserve.acme.lock import Lock
from pyserve.acme.schedule import Record
from pyserve.acme.storage import Storage
from pyserve.config.model import Acme
from pyserve.observe.error_log import ErrorLog
from tests.support.authority import RefusingAuthority

DAY_S = 86400.0
PAST = ("2020-01-01T00:00:00Z", "2020-01-02T00:00:00Z")


class Stage:
    """A storage with a certificate that began ``age_days`` ago and lives 90 days, and its keeper."""

    def __init__(self, folder: Path, authority: RefusingAuthority) -> None:
        self.authority = authority
        self.acme = Acme(authority.directory, storage=str(folder / "st"), ca=str(authority.ca))
        self.storage = Storage(self.acme.storage)
        self.storage.prepare()
        self.states: list[State] = []
        self.log = folder / "log"
        self._log_fd = os.open(self.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        self.path = folder / "st/certificates/a.test.pem"

    def keeper(self, **changes: object) -> Keeper:
        task = Task(0, "a", ("a.test",), self.acme._replace(**changes))  # type: ignore[arg-type]
        log = ErrorLog(self._log_fd, "info", "acme")
        return Keeper(task, self.storage, log, lambda number, state: self.states.append(state))

    def put(self, age_days: float) -> bytes:
        key_pem = material.make_key("ecdsa-p256")
        key = serialization.load_pem_private_key(key_pem, password=None)
        begin = datetime.datetime.now(datetime.UTC) - datetime.timedelta(age_days)
        name = x509.Name([])
        certificate = (
            x509.CertificateBuilder(name, name, key.public_key(), 77)  # type: ignore[arg-type]
            .not_valid_before(begin)
            .not_valid_after(begin + datetime.timedelta(90))
            .add_extension(x509.SubjectAlternativeName([x509.DNSName("a.test")]), critical=True)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(key.public_key()),  # type: ignore[arg-type]
                critical=False,
            )
            .sign(key, hashes.SHA256())  # type: ignore[arg-type]
        )
        bundle = key_pem + certificate.public_bytes(serialization.Encoding.PEM)
        self.path.write_bytes(bundle)
        self.remember(Record(directory=self.acme.directory))
        return bundle

    def remember(self, known: Record) -> None:
        self.path.with_suffix(".json").write_bytes(record.encode(known))

    def remembered(self) -> Record:
        return record.decode(self.path.with_suffix(".json").read_bytes(), time.time())

    def close(self) -> None:
        self.storage.close()
        os.close(self._log_fd)


@pytest.fixture
def stage(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Stage]:
    authority = RefusingAuthority(tmp_path / "authority", 7200, getattr(request, "param", None))
    stage = Stage(tmp_path, authority)
    try:
        yield stage
    finally:
        stage.close()
        authority.close()


def test_a_certificate_that_is_fine_is_left_alone_and_looked_at_again(stage: Stage) -> None:
    stage.put(age_days=10)
    again_s = stage.keeper().step()
    assert 0 < again_s - time.time() <= schedule.LOOK_S
    (state,) = stage.states
    assert state.kind == "valid"
    assert 79 * DAY_S < state.not_after_s - time.time() < 81 * DAY_S
    assert 49 * DAY_S < state.next_s - time.time() < 54 * DAY_S
    assert stage.authority.posts == []


def test_one_that_is_old_is_asked_for_and_stays_when_that_is_refused(stage: Stage) -> None:
    bundle = stage.put(age_days=70)
    again_s = stage.keeper().step()
    assert [state.kind for state in stage.states] == ["ordering", "valid"]
    assert stage.states[-1].reason == "rateLimited: too many new accounts"
    assert 7199 < stage.remembered().next_attempt_s - time.time() < 7300
    assert again_s - time.time() <= schedule.LOOK_S
    assert stage.path.read_bytes() == bundle
    assert "; the old one is valid until" in stage.log.read_text()
    # The next step asks for nothing, nor does the next process.
    stage.keeper().step()
    stage.keeper(renew_before_s=80 * DAY_S).step()
    assert len(stage.authority.posts) == 1


@pytest.mark.parametrize("stage", [PAST], indirect=True)
def test_the_authoritys_wish_is_asked_for_within_an_hour_and_then_obeyed(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage.put(age_days=1)
    keeper = stage.keeper()
    again_s = keeper.step()
    assert stage.authority.asked_for == []  # whatever restarts in a loop
    assert 0 < again_s - time.time() <= schedule.INFO_SPREAD_S
    monkeypatch.setattr(schedule, "INFO_SPREAD_S", 0.0)
    keeper = stage.keeper()
    keeper.step()
    (asked,) = stage.authority.asked_for
    assert asked.endswith(".TQ")
    assert "ordering" in [state.kind for state in stage.states]
    keeper.step()
    assert len(stage.authority.asked_for) == 1


def test_an_attempt_that_was_cut_short_counts_and_is_shown(stage: Stage) -> None:
    keeper = stage.keeper()
    begun = schedule.begun(Record(), keeper._request, time.time(), 0.5)
    stage.remember(begun)
    keeper.step()
    (state,) = stage.states
    assert (state.kind, state.reason) == ("failed", "the last attempt was interrupted")
    assert stage.authority.posts == []


def test_who_finds_the_lock_taken_waits_for_the_result(stage: Stage) -> None:
    other = Lock(stage.storage, "a.test")
    assert other.take()
    keeper = stage.keeper()
    assert keeper.step() - time.time() < 5
    assert stage.states[-1] == State("ordering", reason="by another process")
    stage.put(age_days=0)
    other.release()
    keeper.step()
    assert stage.states[-1].kind == "valid"
    assert stage.authority.posts == []


def test_what_is_in_the_files_and_makes_no_sense_is_taken_for_nothing(stage: Stage) -> None:
    stage.path.write_bytes(b"junk")
    stage.path.with_suffix(".json").write_bytes(json.dumps(["junk"]).encode())
    stage.keeper().step()
    assert [state.kind for state in stage.states] == ["ordering", "failed"]
    assert stage.path.read_bytes() == b"junk"


def test_a_folder_that_is_gone_is_made_again(stage: Stage) -> None:
    stage.put(age_days=1)
    os.rename(stage.storage.folder, f"{stage.storage.folder}.old")
    stage.keeper().step()
    assert [state.kind for state in stage.states] == ["ordering", "failed"]


def test_a_storage_that_cannot_be_written_to_is_said_once_and_when_it_is_tried_again(stage: Stage) -> None:
    shutil.rmtree(stage.storage.folder)
    Path(stage.storage.folder).write_text("a file")
    keeper = stage.keeper()
    again_s = keeper.step()
    keeper.step()
    (line,) = stage.log.read_text().splitlines()
    at = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(again_s))
    assert line.endswith(
        f"certificate of site a: the storage of certificates {stage.storage.folder}: File exists; "
        f"next attempt at {at}, then every 60 s"
    )


@pytest.mark.parametrize(
    ("path", "words"), [("none", "https://127.0.0.1:PORT/none answers 404"), ("nothing", "malformed: Page not found")]
)
def test_a_directory_that_is_none_is_asked_about(stage: Stage, path: str, words: str) -> None:
    stage.keeper(directory=f"https://127.0.0.1:{stage.authority.port}/{path}").step()
    words = words.replace("PORT", str(stage.authority.port))
    assert stage.states[-1].reason == f"{words}; is acme.directory right?"
