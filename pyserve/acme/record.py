"""The file beside a certificate with what is remembered of attempts: text to ``Record`` and back.

Pure. Several machines write it, perhaps of several versions: what is missing or makes no sense is taken for unknown, a
file that is no record at all for none. Never raises.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

from pyserve.acme.schedule import LONGEST_RETRY_AFTER_S, Record

MAX_BYTES = 64 * 1024
_MAX_REASON = 500


def encode(record: Record) -> bytes:
    tree = {
        "directory": record.directory,
        "failures": record.failures,
        "next_attempt": record.next_attempt_s,
        "reason": record.reason[:_MAX_REASON],
        "challenge": record.challenge,
        "request": record.request,
        "limited_by": record.limited_by,
        "refusals": record.refusals,
    }
    return json.dumps(tree, indent=1).encode() + b"\n"


def decode(data: bytes, now: float) -> Record:
    try:
        tree = json.loads(data)
    except (ValueError, RecursionError):
        return Record()
    if not isinstance(tree, Mapping):
        return Record()
    return Record(
        directory=_text(tree.get("directory")),
        failures=_count(tree.get("failures")),
        # A clock that was wrong once must not put a certificate off for ever.
        next_attempt_s=min(_number(tree.get("next_attempt")), now + 2 * LONGEST_RETRY_AFTER_S),
        reason=_text(tree.get("reason"))[:_MAX_REASON],
        challenge=_text(tree.get("challenge")),
        request=_text(tree.get("request")),
        limited_by=_text(tree.get("limited_by")),
        refusals=_count(tree.get("refusals")),
    )


def _count(value: Any) -> int:
    return min(max(value, 0), 1000) if type(value) is int else 0


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _number(value: Any) -> float:
    if type(value) not in (int, float) or not math.isfinite(value):
        return 0.0
    return float(max(0.0, min(value, 1e12)))
