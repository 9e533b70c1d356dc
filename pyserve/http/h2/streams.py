"""Step 4 of the request path: the states of a stream, and what a frame means in each (RFC 9113 §5.1). Pure.

One table says it all; nothing else decides by state what becomes of a frame.
"""

from __future__ import annotations

from typing import Final

from pyserve.http.h2.frames import DATA, HEADERS, PRIORITY, PROTOCOL_ERROR, RST_STREAM, STREAM_CLOSED, WINDOW_UPDATE
from pyserve.http.h2.priority import Priority
from pyserve.http.request import Request

# States. The server's side: "remote" is the client.
IDLE, OPEN, REMOTE_CLOSED, LOCAL_CLOSED, CLOSED, RESET_BY_US, RESET_BY_CLIENT = range(7)

# Verdicts: TAKE it, SKIP it (but for what concerns the connection), or a fault of the stream or of the connection.
TAKE: Final = ("take", 0)
SKIP: Final = ("skip", 0)
_STREAM_IS_CLOSED: Final = ("stream", STREAM_CLOSED)
_IS_CLOSED: Final = ("connection", STREAM_CLOSED)
_IS_WRONG: Final = ("connection", PROTOCOL_ERROR)

# A stream that we reset may get what was on its way. One that the client reset gets nothing more, and one that ended
# on both sides can't by a client in its right mind.
RULES: Final = {
    #               IDLE       OPEN  REMOTE_CLOSED      LOCAL_CLOSED CLOSED   RESET_BY_US RESET_BY_CLIENT
    DATA:          (_IS_WRONG, TAKE, _STREAM_IS_CLOSED, TAKE, _IS_CLOSED, SKIP, _STREAM_IS_CLOSED),
    HEADERS:       (TAKE,      TAKE, _STREAM_IS_CLOSED, TAKE, _IS_CLOSED, SKIP, _STREAM_IS_CLOSED),
    PRIORITY:      (SKIP,      SKIP, SKIP,              SKIP, SKIP,       SKIP, SKIP),
    RST_STREAM:    (_IS_WRONG, TAKE, TAKE,              TAKE, SKIP,       SKIP, SKIP),
    WINDOW_UPDATE: (_IS_WRONG, TAKE, TAKE,              TAKE, SKIP,       SKIP, SKIP),
}  # fmt: skip


class Stream:
    """One request and its answer. ``state``: OPEN, REMOTE_CLOSED or LOCAL_CLOSED; closed ones are not kept."""

    __slots__ = (
        "credit",
        "has_body",
        "is_blocked",
        "is_ignored",
        "linger_ends",
        "number",
        "pace_bytes",
        "pace_ends",
        "receive_window",
        "received",
        "request",
        "send_window",
        "served",
        "state",
        "update",
    )

    # Only with a body on its way.
    received: int
    """Bytes of content."""
    receive_window: int
    """What the client may still send."""
    credit: int
    """Taken by us, and not told to the client yet."""
    is_ignored: bool
    # Only when the answer was held up.
    served: int
    """The larger, the later it was that something of it could be sent."""
    pace_ends: float
    pace_bytes: int
    # Only with an answer that was over before the body.
    linger_ends: float

    def __init__(self, number: int, request: Request | None, send_window: int) -> None:
        self.number = number
        self.request = request
        self.send_window = send_window
        self.state = REMOTE_CLOSED
        self.has_body = False
        """Of the request; there was one, at least."""
        self.is_blocked = False
        self.update: Priority | None = None
        """What a PRIORITY_UPDATE said."""
