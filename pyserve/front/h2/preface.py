"""Step 3 of the request path, where clear text may be HTTP/2: the first bytes of a connection say which it is.

I/O: a transport of the event loop, which goes to an ``H2Connection`` or a ``Connection`` with all that has come. A
client that begins with the connection preface (RFC 9113 §3.3, §3.4: prior knowledge) speaks HTTP/2, any other HTTP/1;
``Upgrade: h2c`` is not offered (RFC 9113 §3.1 has given it up).
"""

from __future__ import annotations

from pyserve.front.context import Context
from pyserve.front.h1.connection import Connection
from pyserve.front.h2.connection import H2Connection
from pyserve.front.preface import Preface
from pyserve.http.h2.frames import PREFACE
from pyserve.wire.codec import Peer

TIMEOUT_S = 10.0


class H2cPreface(Preface):
    __slots__ = ("_given", "_received")

    def __init__(self, context: Context, given: Peer | None = None) -> None:
        super().__init__(context, TIMEOUT_S)
        self._given = given
        self._received = b""

    def data_received(self, data: bytes) -> None:
        data = self._received + data
        if not PREFACE.startswith(data[: len(PREFACE)]):
            connection: Connection | H2Connection = Connection(self._context, self._given)
        elif len(data) < len(PREFACE):
            self._received = data
            return
        else:
            connection = H2Connection(self._context, self._given)
        connection.deadline = self.deadline
        self.hand_over(connection, data)
