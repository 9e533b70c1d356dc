"""Step 4 of the request path: what a connection of HTTP/2 tells of what came. Pure values.

Plain classes with slots: a third of the price of a NamedTuple or dataclass, and one is made for every request.
"""

from __future__ import annotations

from pyserve.http.request import Request


class RequestReceived:
    """``is_end``: there is no body."""

    __slots__ = ("head", "is_end", "stream")

    def __init__(self, stream: int, head: Request, is_end: bool) -> None:
        self.stream = stream
        self.head = head
        self.is_end = is_end


class RequestRefused:
    """Well-formed HTTP/2, but no request that we answer: send ``status`` on the stream. What follows is dropped."""

    __slots__ = ("reason", "status", "stream")

    def __init__(self, stream: int, status: int, reason: str) -> None:
        self.stream = stream
        self.status = status
        self.reason = reason


class BodyReceived:
    """``data``: never empty. Its room is the client's again with ``return_credit``."""

    __slots__ = ("data", "stream")

    def __init__(self, stream: int, data: bytes) -> None:
        self.stream = stream
        self.data = data


class MessageEnded:
    """The end of a body, with its trailers (checked, mostly none)."""

    __slots__ = ("stream", "trailers")

    def __init__(self, stream: int, trailers: tuple[tuple[bytes, bytes], ...] = ()) -> None:
        self.stream = stream
        self.trailers = trailers


class RoomMade:
    """A stream takes data again that took less than it was offered."""

    __slots__ = ("stream",)

    def __init__(self, stream: int) -> None:
        self.stream = stream


class StreamReset:
    """By the client: it wants no answer any more."""

    __slots__ = ("code", "stream")

    def __init__(self, stream: int, code: int) -> None:
        self.stream = stream
        self.code = code


class StreamBroken:
    """By us, because the client broke a rule, or takes nothing; there may have been no request yet."""

    __slots__ = ("code", "reason", "stream")

    def __init__(self, stream: int, code: int, reason: str) -> None:
        self.stream = stream
        self.code = code
        self.reason = reason


class GoawayReceived:
    """The client asks for nothing more; what is under way goes on."""

    __slots__ = ("code", "debug")

    def __init__(self, code: int, debug: bytes) -> None:
        self.code = code
        self.debug = debug


class ConnectionFailed:
    """Send what there is to send (a GOAWAY), abort what is under way, close. Nothing more is read."""

    __slots__ = ("code", "reason")

    def __init__(self, code: int, reason: str) -> None:
        self.code = code
        self.reason = reason


Event = (
    RequestReceived
    | RequestRefused
    | BodyReceived
    | MessageEnded
    | RoomMade
    | StreamReset
    | StreamBroken
    | GoawayReceived
    | ConnectionFailed
)
