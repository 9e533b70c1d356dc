"""When a certificate is asked for: the first time, again, and after a failure.

Pure: the caller gives the time (seconds since 1970) and chance (0 to 1). Invariant: between two attempts for one
certificate lies what the back-off says, also across restarts and machines, because it rests on ``Record`` alone.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from email.utils import parsedate_to_datetime
from typing import NamedTuple

FIRST_DELAY_S = 60.0
GROWTH = 3.0
"""1, 3, 9 … minutes: five attempts in the first hour, as many failures as Let's Encrypt takes for a name in an hour."""
LONGEST_DELAY_S = 12 * 3600.0
RATE_LIMITED_S = 3600.0
"""After a refusal for asking too often that does not say when to come again."""
LONGEST_RETRY_AFTER_S = 7 * 86400.0
"""The longest that an authority is believed when it says so; its limits count in weeks at most."""
PART_LEFT = 1 / 3
JITTER = 0.1
"""Of the time that would be left: so much later at most, so that not all certificates of one day come back on one."""
LAST_MOMENT = 1 / 6
"""Of a life left: no word of the authority about renewal puts it off further than that."""
INFO_EVERY_S = 6 * 3600.0
INFO_SPREAD_S = 3600.0
"""The first time within so long."""
INFO_AT_LEAST_S, INFO_AT_MOST_S = 3600.0, 24 * 3600.0
LOOK_S = 3600.0
"""A certificate that is fine is looked at so often: another machine, or the operator, may have changed its file."""


class Window(NamedTuple):
    """When the authority wants a certificate to be renewed (RFC 9773)."""

    start_s: float
    end_s: float


class Certificate(NamedTuple):
    """What is known of the certificate in the file."""

    names: frozenset[str]
    not_before_s: float
    not_after_s: float


class Record(NamedTuple):
    """What is remembered between attempts, beside the certificate itself."""

    directory: str = ""
    """Who issued the certificate; "" = nobody yet."""
    failures: int = 0
    """In a row."""
    next_attempt_s: float = 0.0
    """Not before."""
    reason: str = ""
    """Why the last attempt failed; "" = it did not."""
    challenge: str = ""
    """The kind that worked last."""
    request: str = ""
    """What the last attempt asked for, and how, in a form that can only be compared."""
    limited_by: str = ""
    """The authority that has refused the last attempt for asking too often."""
    refusals: int = 0
    """How many of the failures in a row were refused challenges."""


class Due(NamedTuple):
    """``at_s``: when to ask for a certificate. ``why``: in words."""

    at_s: float
    why: str


def due(
    certificate: Certificate | None,
    record: Record,
    names: frozenset[str],
    directory: str,
    renew_before_s: float,
    window: Window | None,
    chance: float,
) -> Due:
    """Return when to ask for a certificate for ``names``: 0 = at once, but never before the record allows it.

    ``chance`` should stay the same for one certificate, or the moment moves each time that it is asked for.
    """
    if certificate is None:
        wanted = Due(0.0, "there is no certificate yet")
    elif not names <= certificate.names:
        wanted = Due(0.0, f"the certificate is not for {', '.join(sorted(names - certificate.names))}")
    elif record.directory != directory:
        wanted = Due(0.0, "the certificate is of another authority")
    else:
        wanted = Due(renewal_s(certificate, window, renew_before_s, chance), "it is time to renew it")
    return wanted._replace(at_s=max(wanted.at_s, record.next_attempt_s))


def renewal_s(certificate: Certificate, window: Window | None, renew_before_s: float, chance: float) -> float:
    """Return when a certificate that is right is to be renewed."""
    life_s = certificate.not_after_s - certificate.not_before_s
    # More than it lives would mean for ever.
    left_s = min(renew_before_s, life_s / 2) if renew_before_s else life_s * PART_LEFT
    by_age_s = certificate.not_after_s - left_s * (1 - JITTER * chance)
    if window is None:
        return by_age_s
    wanted_s = window.start_s + (window.end_s - window.start_s) * chance
    last_s = by_age_s if renew_before_s else certificate.not_after_s - life_s * LAST_MOMENT
    return min(wanted_s, last_s)


def ask_again_s(retry_after_s: float | None, now: float) -> float:
    """Return when to ask for the authority's wish about renewal again (RFC 9773 §4.3.2)."""
    every_s = INFO_EVERY_S if retry_after_s is None else retry_after_s
    return now + min(max(every_s, INFO_AT_LEAST_S), INFO_AT_MOST_S)


def read_retry_after_s(text: str, now: float) -> float | None:
    """Return how long to wait by a ``Retry-After`` field (RFC 9110 §10.2.3), None if it says nothing."""
    if text.isascii() and text.isdigit() and len(text) < 12:
        return float(text)
    try:
        return max(0.0, parsedate_to_datetime(text).timestamp() - now)
    except (ValueError, OverflowError):
        return None


def choose_challenge(wanted: Sequence[str], offered: Collection[str], record: Record) -> str:
    """Return which challenge to take in this attempt, "" = none fits. The one that worked last comes first; each
    refusal in a row moves on to the next, so that a kind that can't work costs one attempt, not all."""
    order = sorted(wanted, key=lambda kind: kind != record.challenge)
    first = record.refusals % len(order)
    return next((kind for kind in [*order[first:], *order[:first]] if kind in offered), "")


def back_off_s(failures: int, chance: float) -> float:
    """Return how long to wait after so many failures in a row: a minute at least, with jitter, half a day at most."""
    delay_s = FIRST_DELAY_S * GROWTH ** min(max(failures, 1) - 1, 20)
    return min(max(FIRST_DELAY_S, delay_s * (1 + JITTER * (2 * chance - 1))), LONGEST_DELAY_S)


def begun(record: Record, request: str, now: float, chance: float) -> Record:
    """Return the record of an attempt that begins: as if it had failed, so that whoever dies of it does not spend the
    authority's limits by starting again and again."""
    failures = record.failures + 1
    return record._replace(
        failures=failures, next_attempt_s=now + back_off_s(failures, chance), request=request, limited_by=""
    )


class Failure(NamedTuple):
    reason: str
    retry_after_s: float | None = None
    """What the authority has said about when to come again."""
    limited_by: str = ""
    is_challenge: bool = False
    """It was a challenge that was refused."""


def failed(record: Record, failure: Failure, now: float, chance: float) -> Record:
    """Return the record after an attempt that was ``begun`` has failed."""
    wait_s = back_off_s(record.failures, chance)
    retry_after_s = failure.retry_after_s
    if failure.limited_by and retry_after_s is None:
        retry_after_s = RATE_LIMITED_S
    if retry_after_s is not None:
        # Jitter only upwards: earlier would be in vain.
        wait_s = max(wait_s, min(retry_after_s, LONGEST_RETRY_AFTER_S) + FIRST_DELAY_S * chance)
    return record._replace(
        next_attempt_s=now + wait_s,
        reason=failure.reason,
        limited_by=failure.limited_by,
        refusals=record.refusals + failure.is_challenge,
    )


def waived(record: Record, directory: str) -> Record:
    """Return the record where what is asked for has changed: there is no reason to wait, but for a limit that counts
    whatever is asked for."""
    return record if record.limited_by == directory else record._replace(next_attempt_s=0.0)


def succeeded(directory: str, challenge: str) -> Record:
    return Record(directory=directory, challenge=challenge)
