"""When a certificate is asked for, on clocks that the test sets."""

from __future__ import annotations

import pytest

from pyserve.acme import schedule
from pyserve.acme.schedule import Certificate, Failure, Record, Window

DAY_S = 86400.0
HOUR_S = 3600.0
LONG_AGO_S = 1_700_000_000.0
NAMES = frozenset({"a.com", "b.com"})
HERE = "https://ca.example/dir"
RIGHT = Record(HERE)


def certificate(days: float = 90.0, names: frozenset[str] = NAMES) -> Certificate:
    return Certificate(names, LONG_AGO_S, LONG_AGO_S + days * DAY_S)


def due(found: Certificate | None, known: Record = RIGHT) -> schedule.Due:
    return schedule.due(found, known, NAMES, HERE, 0.0, None, 0.0)


@pytest.mark.parametrize(
    ("found", "known", "why"),
    [
        (None, Record(), "there is no certificate yet"),
        (certificate(names=frozenset({"a.com"})), Record(HERE), "the certificate is not for b.com"),
        (certificate(), Record("https://other.example/dir"), "the certificate is of another authority"),
        (certificate(), Record(), "the certificate is of another authority"),
    ],
)
def test_what_is_missing_or_wrong_is_due_at_once(found: Certificate | None, known: Record, why: str) -> None:
    assert due(found, known) == (0.0, why)


def test_a_certificate_for_more_names_than_wanted_is_kept() -> None:
    assert due(certificate(names=NAMES | {"c.com"})).at_s > LONG_AGO_S


def test_what_is_due_waits_for_the_time_that_the_last_failure_has_set() -> None:
    assert due(None, Record(failures=3, next_attempt_s=LONG_AGO_S)).at_s == LONG_AGO_S
    later = LONG_AGO_S + 1000 * DAY_S
    assert due(certificate(), Record(HERE, failures=1, next_attempt_s=later)).at_s == later


@pytest.mark.parametrize(
    ("days", "renew_before_days", "chance", "expected_day"),
    [
        (90, 0, 0.0, 60),
        (90, 0, 1.0, 63),
        (6, 0, 0.0, 4),
        (90, 10, 0.0, 80),
        (90, 10, 1.0, 81),
        # More than it lives: half of its life, never for ever.
        (6, 30, 0.0, 3),
    ],
)
def test_it_is_renewed_when_a_third_of_its_life_is_left_or_what_the_file_says(
    days: float, renew_before_days: float, chance: float, expected_day: float
) -> None:
    at_s = schedule.renewal_s(certificate(days), None, renew_before_days * DAY_S, chance)
    assert (at_s - LONG_AGO_S) / DAY_S == pytest.approx(expected_day)


@pytest.mark.parametrize(
    ("window_days", "renew_before_days", "chance", "expected_day"),
    [
        ((50, 52), 0, 0.5, 51),
        ((62, 64), 0, 0.5, 63),  # later than by its age: the authority knows better
        ((1, 2), 0, 0.0, 1),  # it is going to be revoked
        ((80, 89), 0, 1.0, 75),  # but never in the last moment
        ((62, 64), 30, 0.5, 61.5),  # nor later than the file says
    ],
)
def test_the_authoritys_wish_comes_first(
    window_days: tuple[float, float], renew_before_days: float, chance: float, expected_day: float
) -> None:
    window = Window(*(LONG_AGO_S + days * DAY_S for days in window_days))
    at_s = schedule.renewal_s(certificate(), window, renew_before_days * DAY_S, chance)
    assert (at_s - LONG_AGO_S) / DAY_S == pytest.approx(expected_day)


@pytest.mark.parametrize(
    ("retry_after_s", "expected_s"), [(None, 6 * HOUR_S), (1.0, HOUR_S), (2 * HOUR_S, 2 * HOUR_S), (1e9, DAY_S)]
)
def test_the_wish_is_asked_for_as_often_as_the_authority_likes_within_reason(
    retry_after_s: float | None, expected_s: float
) -> None:
    assert schedule.ask_again_s(retry_after_s, LONG_AGO_S) == LONG_AGO_S + expected_s


def test_failures_wait_longer_and_longer_from_a_minute_to_half_a_day() -> None:
    waits = [schedule.back_off_s(failures, 0.5) for failures in range(1, 12)]
    assert waits[:4] == [60, 180, 540, 1620]
    assert waits == sorted(waits)
    assert waits[-1] == schedule.back_off_s(1000, 1.0) == 12 * HOUR_S
    assert schedule.back_off_s(1, 0.0) == 60
    assert schedule.back_off_s(3, 0.0) < schedule.back_off_s(3, 1.0)


def test_five_attempts_fit_into_the_first_hour_and_no_more() -> None:
    for chance in (0.0, 1.0):
        now, attempts, known = 0.0, 0, Record()
        while now < HOUR_S:
            attempts += 1
            known = schedule.failed(schedule.begun(known, "x", now, chance), Failure("no"), now, chance)
            now = known.next_attempt_s
        assert attempts == 5


def test_an_attempt_counts_as_failed_until_it_has_succeeded() -> None:
    known = Record(HERE, 2, 0.0, "before", "http-01")
    begun = schedule.begun(known, "x", LONG_AGO_S, 0.5)
    assert begun == Record(HERE, 3, LONG_AGO_S + 540, "before", "http-01", "x")
    assert schedule.failed(begun, Failure("why", is_challenge=True), LONG_AGO_S + 10, 0.5) == begun._replace(
        next_attempt_s=LONG_AGO_S + 550, reason="why", refusals=1
    )
    assert schedule.succeeded(HERE, "http-01") == Record(HERE, challenge="http-01")


def test_what_the_operator_has_changed_is_tried_at_once_but_for_a_limit() -> None:
    begun = schedule.begun(Record(), "x", 0.0, 0.5)
    failed = schedule.failed(begun, Failure("no"), 0.0, 0.5)
    assert schedule.waived(failed, HERE) == failed._replace(next_attempt_s=0.0)
    limited = schedule.failed(begun, Failure("no", limited_by=HERE), 0.0, 0.5)
    assert schedule.waived(limited, HERE) == limited
    assert schedule.waived(limited, "https://other.example/dir").next_attempt_s == 0


@pytest.mark.parametrize(
    ("retry_after_s", "is_rate_limited", "least_s", "most_s"),
    [
        (None, False, 60, 60),
        (10.0, False, 60, 70),
        (7200.0, True, 7200, 7260),
        (None, True, 3600, 3660),
        (1e9, True, 7 * DAY_S, 7 * DAY_S + 60),
    ],
)
def test_the_authority_is_never_asked_earlier_than_it_said(
    retry_after_s: float | None, is_rate_limited: bool, least_s: float, most_s: float
) -> None:
    for chance in (0.0, 0.5, 1.0):
        begun = schedule.begun(Record(), "x", 0.0, chance)
        failure = Failure("no", retry_after_s, HERE if is_rate_limited else "")
        waits = schedule.failed(begun, failure, 0.0, chance).next_attempt_s
        assert least_s <= waits <= max(most_s, schedule.back_off_s(1, chance))


@pytest.mark.parametrize(
    ("text", "expected_s"),
    [
        ("120", 120.0),
        ("0", 0.0),
        ("Tue, 14 Nov 2023 22:14:20 GMT", 60.0),
        ("Tue, 14 Nov 2023 22:00:00 GMT", 0.0),
        ("", None),
        ("soon", None),
        ("-5", None),
        ("1.5", None),
        ("٣", None),
        ("9" * 400, None),
    ],
)
def test_retry_after_is_read_as_seconds_or_as_a_date(text: str, expected_s: float | None) -> None:
    assert schedule.read_retry_after_s(text, 1_700_000_000.0) == expected_s


BOTH = ("http-01", "tls-alpn-01")


@pytest.mark.parametrize(
    ("known", "wanted", "offered", "expected"),
    [
        (Record(refusals=0), BOTH, {"http-01", "tls-alpn-01", "dns-01"}, "http-01"),
        (Record(refusals=1), BOTH, {"http-01", "tls-alpn-01"}, "tls-alpn-01"),
        (Record(refusals=2), BOTH, {"http-01", "tls-alpn-01"}, "http-01"),
        (Record(refusals=0, challenge="tls-alpn-01"), BOTH, {"http-01", "tls-alpn-01"}, "tls-alpn-01"),
        (Record(refusals=1, challenge="tls-alpn-01"), BOTH, {"http-01", "tls-alpn-01"}, "http-01"),
        (Record(refusals=0), BOTH, {"tls-alpn-01"}, "tls-alpn-01"),
        (Record(refusals=1), ("http-01",), {"http-01", "tls-alpn-01"}, "http-01"),
        (Record(refusals=0), BOTH, {"dns-01"}, ""),
    ],
)
def test_each_refusal_moves_on_to_the_next_kind_of_challenge(
    known: Record, wanted: tuple[str, ...], offered: set[str], expected: str
) -> None:
    assert schedule.choose_challenge(wanted, offered, known) == expected
