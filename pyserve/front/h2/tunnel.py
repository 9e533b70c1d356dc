"""Steps 4 to 6 of the request path: an extended CONNECT, which turns its stream into a tunnel (RFC 8441).

I/O: that of ``H2Exchange``. What the client sends waits until the tunnel is there; an answer of 2xx would mean that it
is, so none goes out but by ``switch``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pyserve.front.h2.exchange import H2Exchange
from pyserve.handlers.interface import Same
from pyserve.http.request import Request

if TYPE_CHECKING:
    from pyserve.front.h2.connection import H2Connection

_NO_TUNNEL = "nothing here can be tunnelled to"


class H2Tunnel(H2Exchange):
    __slots__ = ()

    def __init__(self, connection: H2Connection, request: Request, stream: int) -> None:
        super().__init__(connection, request, stream)
        self.body_is_paused = True

    def send(self, status: int, block: bytes, body: bytes, flags: int = 0, same: Same | None = None) -> None:
        if status < 300:
            self.fail(501, _NO_TUNNEL)
        else:
            super().send(status, block, body, flags)

    def send_head(self, status: int, block: bytes, length: int | None, flags: int = 0) -> None:
        if status < 300:
            self.fail(501, _NO_TUNNEL)
        else:
            super().send_head(status, block, length, flags)

    def switch(self, block: bytes) -> None:
        """RFC 8441 §5: the answer is 200, and the stream's data is the other protocol's from then on."""
        if self.over:
            return
        self.status = 200
        connection = self.connection
        connection.h2.send_head(self.stream, 200, block, connection.context.common[0])
        connection.flush_soon()
        # In the next turn: who switches is not ready for what has come already.
        connection.context.loop.call_soon(self.resume_body)

    def expect_body(self) -> None:
        """How long a tunnel may be silent is its protocol's business."""

    def body_data(self, data: bytes) -> None:
        if self.over:
            self.connection.return_credit(self, len(data))
        elif self.body_is_paused:
            self._hold(data)
        else:
            self._deliver(data)

    def _end_body(self) -> None:
        """The client ended its side, as a TCP connection would be closed for writing: its last words are answered."""
        self.body_is_read = True
        if self.receiver is not None:
            self.receiver.body_end()
        else:
            self.abort()

    def body_is_coming(self, so_far: int) -> None: ...
    def sweep(self, now: float) -> None: ...
