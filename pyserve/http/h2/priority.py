"""Step 6 of the request path: which answer a client would rather have first (RFC 9218). Pure."""

from __future__ import annotations

import re
from typing import Final

Priority = tuple[int, bool]
"""Urgency, 0 = first, 7 = last; and: is a part of it of use already?"""

DEFAULT: Final[Priority] = (3, False)

# Members of a Dictionary (RFC 8941 §3.2), as far as they concern us. What is malformed says nothing (RFC 9218 §4).
_MEMBER = re.compile(rb"(?:^|,)[ \t]*(?:u=([0-7])|i(?:=\?([01]))?)[ \t]*(?=[,;]|$)")


def parse_priority(value: bytes) -> Priority:
    """Return what a ``priority`` field or a PRIORITY_UPDATE says; the last of equal members counts."""
    urgency, is_incremental = DEFAULT
    for match in _MEMBER.finditer(value):
        if match[1] is not None:
            urgency = int(match[1])
        else:
            is_incremental = match[2] != b"0"
    return urgency, is_incremental
