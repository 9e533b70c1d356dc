"""What is remembered of attempts, in a file that anybody may have written."""

from __future__ import annotations

import json

import pytest

from pyserve.acme import record
from pyserve.acme.schedule import Record

NOW = 1_700_000_000.0


@pytest.mark.parametrize(
    "known",
    [
        Record(),
        Record(
            "https://ca.example/dir",
            4,
            NOW + 540.25,
            "a.com: no, nö",
            "tls-alpn-01",
            "0a1b",
            "https://ca.example/dir",
            3,
        ),
    ],
)
def test_what_is_written_is_read_again(known: Record) -> None:
    assert record.decode(record.encode(known), NOW) == known


@pytest.mark.parametrize(
    "data",
    [b"", b"\xff", b"{", b"[]", b"null", b"1", b"[" * 100_000, b'{"failures": "many", "next_attempt": null}'],
)
def test_what_is_no_record_is_taken_for_none(data: bytes) -> None:
    assert record.decode(data, NOW) == Record()


@pytest.mark.parametrize(
    ("tree", "expected"),
    [
        ({"failures": -3}, Record()),
        ({"failures": 10**30}, Record(failures=1000)),
        ({"failures": True}, Record()),
        ({"next_attempt": -1}, Record()),
        ({"reason": "x" * 10_000}, Record(reason="x" * 500)),
        ({"directory": 1, "challenge": []}, Record()),
        ({"unknown": 1, "failures": 2}, Record(failures=2)),
    ],
)
def test_what_makes_no_sense_is_taken_for_unknown(tree: dict[str, object], expected: Record) -> None:
    assert record.decode(json.dumps(tree).encode(), NOW) == expected


@pytest.mark.parametrize("at", [1e300, 1e11, float("inf"), float("nan")])
def test_a_time_far_in_the_future_puts_nothing_off_for_ever(at: float) -> None:
    found = record.decode(json.dumps({"failures": 1, "next_attempt": at}).encode(), NOW)
    assert found.next_attempt_s <= NOW + 14 * 86400
