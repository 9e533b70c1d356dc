"""Step 4 of the request path: what a client of HTTP/2 can do wrong, and what that ends (RFC 9113 §5.4). Pure."""

from __future__ import annotations

from pyserve.errors import PyserveError


class ConnectionFault(PyserveError):
    """The client's fault, and nothing that follows on the connection can be trusted: GOAWAY with ``code``."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason


class StreamFault(PyserveError):
    """The client's fault, and the other streams are none the worse for it: RST_STREAM with ``code``."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason
