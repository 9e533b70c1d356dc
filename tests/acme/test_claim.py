"""The text of a lock, and when its owner is taken for dead."""

from __future__ import annotations

import pytest

from pyserve.acme.claim import BEAT_S, MAX_BYTES, STALE_S, Claim, Observed, decode, encode

OWN = Claim("0123456789abcdef" * 2, "boot:1", 77)
HERE, ELSEWHERE = "boot:1", "boot:2"


@pytest.mark.parametrize("beat", [0, 1, 10**10 - 1])
def test_a_claim_is_read_as_it_was_written_and_has_one_length(beat: int) -> None:
    data = encode(OWN._replace(beat=beat))
    assert decode(data) == OWN._replace(beat=beat)
    assert len(data) == len(encode(OWN)) < MAX_BYTES


@pytest.mark.parametrize(
    "data", [b"", b"\n", encode(OWN)[:-1], encode(OWN) + b"x", b"pyserve lock 2" + encode(OWN)[14:]]
)
def test_what_is_no_claim_is_none(data: bytes) -> None:
    assert decode(data) is None


def test_an_owner_that_beats_is_never_stale_however_long_it_takes() -> None:
    observed = Observed()
    for beat in range(1000):
        assert not observed.is_stale(encode(OWN._replace(beat=beat)), beat * BEAT_S, ELSEWHERE, True)


def test_an_owner_that_stopped_beating_is_stale_after_a_while_of_the_watchers_own_clock() -> None:
    observed = Observed()
    data = encode(OWN)
    assert not observed.is_stale(data, 100.0, ELSEWHERE, False)
    assert not observed.is_stale(data, 100.0 + STALE_S - 0.1, ELSEWHERE, False)
    assert observed.is_stale(data, 100.0 + STALE_S, ELSEWHERE, False)


def test_the_watch_begins_anew_with_the_next_owner() -> None:
    observed = Observed()
    assert not observed.is_stale(encode(OWN), 0.0, ELSEWHERE, True)
    other = encode(OWN._replace(id="f" * 32))
    assert not observed.is_stale(other, STALE_S, ELSEWHERE, True)
    assert not observed.is_stale(other, STALE_S * 1.9, ELSEWHERE, True)
    assert observed.is_stale(other, STALE_S * 2, ELSEWHERE, True)


def test_an_owner_of_this_machine_that_does_not_run_is_stale_at_once() -> None:
    assert Observed().is_stale(encode(OWN), 0.0, HERE, is_alive=False)
    assert not Observed().is_stale(encode(OWN), 0.0, HERE, is_alive=True)
    assert not Observed().is_stale(encode(OWN), 0.0, ELSEWHERE, is_alive=False)


def test_a_file_that_is_no_claim_is_stale_when_nobody_changes_it() -> None:
    observed = Observed()
    assert not observed.is_stale(b"", 0.0, HERE, False)
    assert observed.is_stale(b"", STALE_S, HERE, False)
