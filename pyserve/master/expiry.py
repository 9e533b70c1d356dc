"""When the end of a certificate is worth a line in the log, and its dates in words. Pure."""

from __future__ import annotations

_DAY_S = 86400
DUE_DAYS = (30, 14, 7, 3, 2, 1)


def is_due(left_s: float, warned_days: int) -> int | None:
    """Return the step of the stair that is reached now and was not when ``warned_days`` was said; None = say nothing.

    -1 is behind the end.
    """
    reached = -1 if left_s < 0 else min((days for days in DUE_DAYS if left_s < days * _DAY_S), default=None)
    return reached if reached is not None and reached < warned_days else None


def words_before(not_before_s: float) -> str:
    """Return since when a certificate will be valid, in words."""
    from datetime import UTC, datetime  # for the few that are too early

    return f"is not valid before {datetime.fromtimestamp(int(not_before_s), UTC):%Y-%m-%dT%H:%M:%SZ}"


def words_left(left_s: float) -> str:
    """Return the time to the end of a certificate in words."""
    days, hours = divmod(int(abs(left_s)) // 3600, 24)
    span = f"{days} days" if days != 1 else "1 day"
    if days < 2:
        span = f"{int(abs(left_s)) // 3600} hours" if days or hours else "minutes"
    return f"expired {span} ago" if left_s < 0 else f"expires in {span}"
