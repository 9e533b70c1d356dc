"""The certificates that answer tls-alpn-01 challenges: for whom they are looked for, and how many at once."""

from __future__ import annotations

import datetime
import ssl
from pathlib import Path

import pytest

from pyserve.acme import challenge_certificate
from pyserve.config.acme import challenge_certificate_path
from pyserve.config.model import Acme, Site
from pyserve.front.tls.challenges import MAX_WAITING, ChallengeCertificates
from tests.support.lanes import Inline


@pytest.fixture
def storage(tmp_path: Path) -> Path:
    (tmp_path / "challenges/alpn").mkdir(parents=True)
    now = datetime.datetime.now(datetime.UTC)
    for host in ("a.test", "other.test"):
        path = Path(challenge_certificate_path(str(tmp_path), host))
        path.write_bytes(challenge_certificate.make(host, "token.thumbprint", now))
    return tmp_path


def certificates(storage: Path, lane: Inline) -> ChallengeCertificates:
    acme = Acme(storage=str(storage))
    return ChallengeCertificates([Site("a", ("a.test", "b.test"), acme=acme), Site("o", ("other.test",))], lane)


@pytest.mark.parametrize(
    ("host", "is_found", "jobs"),
    [
        ("a.test", True, 1),
        ("b.test", False, 1),  # no challenge is open
        ("other.test", False, 0),  # a site that brings its certificate
        ("", False, 0),
        ("../alpn/a.test", False, 0),
        ("unknown.test", False, 0),
    ],
)
def test_only_hosts_of_sites_with_acme_are_looked_for(storage: Path, host: str, is_found: bool, jobs: int) -> None:
    lane = Inline()
    found: list[ssl.SSLContext | None] = []
    certificates(storage, lane).find(host, found.append)
    assert [context is not None for context in found] == [is_found]
    assert lane.jobs == jobs


def test_a_broken_file_is_no_answer(storage: Path) -> None:
    Path(challenge_certificate_path(str(storage), "a.test")).write_bytes(b"junk")
    found: list[ssl.SSLContext | None] = []
    certificates(storage, Inline()).find("a.test", found.append)
    assert found == [None]


def test_a_folder_that_hangs_holds_up_a_bounded_number(storage: Path) -> None:
    lane = Inline()
    lane.is_held = True
    found: list[ssl.SSLContext | None] = []
    those = certificates(storage, lane)
    for _ in range(MAX_WAITING + 10):
        those.find("a.test", found.append)
    assert lane.jobs == MAX_WAITING
    assert found == [None] * 10
    lane.go_on()
    assert len(found) == MAX_WAITING + 10
    lane.is_held = False
    those.find("a.test", found.append)
    assert found[-1] is not None
