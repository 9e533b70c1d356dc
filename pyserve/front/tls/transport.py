"""Steps 3 and 6 of the request path: an encrypted connection, once its handshake is done.

I/O: none of its own beside the transport of the event loop below, whose protocol it is; the TLS library works in
memory. To the connection above it is a transport like that one. Invariants: what is written in one turn leaves in as
few records and writes as it fits into; nothing is read while reading is paused, but for what has come already; a close
says so to the client (RFC 8446 §6.1).

HOT: one read and one write per request (benchmarks/tls_files.py). Our own, because the event loops' TLS takes a turn
more for each, and twice the calls.
"""

from __future__ import annotations

import asyncio
import ssl
from typing import Any

RECORD_BYTES = 16384
"""The most that a record carries: what is gathered beyond that goes out at once, and a read never needs more."""


_NOBODY = asyncio.Protocol()


MAX_BARREN_BYTES = 64 * 1024
"""Received in a row without anything for the connection in it. A record is a quarter of that; what goes on is a client
that changes its keys again and again, at a few microseconds of ours for 27 bytes."""


class TlsTransport(asyncio.Transport):
    """``attach`` it to the protocol above before anything else; ``start`` reads what came with the handshake."""

    __slots__ = (
        "_barren_bytes",
        "_gathered",
        "_gathered_bytes",
        "_has_eof",
        "_incoming",
        "_is_closing",
        "_is_deaf",
        "_is_due",
        "_is_in_turn",
        "_is_reading_paused",
        "_loop",
        "_outgoing",
        "_protocol",
        "_raw",
        "_read",
        "_shutdown",
        "_write",
        "ssl_object",
    )

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        raw: asyncio.Transport,
        ssl_object: ssl.SSLObject,
        incoming: ssl.MemoryBIO,
        outgoing: ssl.MemoryBIO,
    ) -> None:
        """``ssl_object``: its handshake is done; it reads from ``incoming`` and writes to ``outgoing``."""
        super().__init__()
        self._loop = loop
        self._raw = raw
        self.ssl_object = ssl_object
        # HOT: what the standard library's object wraps, without a call in between
        own = getattr(ssl_object, "_sslobj", ssl_object)
        self._read = own.read
        self._write = own.write
        self._shutdown = ssl_object.unwrap
        self._incoming = incoming
        self._outgoing = outgoing
        self._gathered: list[bytes] = []
        self._gathered_bytes = 0
        self._is_in_turn = False  # bytes are being read: what is written meanwhile leaves when that is done
        self._is_due = False  # what is gathered leaves at the end of the turn
        self._is_reading_paused = False
        self._is_closing = False
        self._barren_bytes = 0
        self._is_deaf = False  # nothing more is decrypted: we have said our last word
        self._has_eof = False

    def attach(self, protocol: asyncio.Protocol) -> None:
        self._protocol = protocol

    def start(self) -> None:
        """Read what has come behind the handshake, and send what is left of it."""
        if self._incoming.pending:
            self._read_on()
        elif self._outgoing.pending:
            self._raw.write(self._outgoing.read())

    # What the transport below tells.

    def data_received(self, data: bytes) -> None:
        if self._is_deaf:
            if not self._is_closing:
                self._protocol.data_received(b"")  # it only wants to know that the client is still sending
            return
        if self._has_eof:
            return  # behind its farewell (RFC 8446 §6.1): the library would never take it, so it would pile up
        self._incoming.write(data)
        if not self._is_reading_paused and not self._read_on():
            self._barren_bytes += len(data)
            if self._barren_bytes > MAX_BARREN_BYTES:
                self._broken()

    def eof_received(self) -> bool:
        """The client sends nothing more. Without its farewell somebody else may have cut it, which HTTP's own lengths
        tell (RFC 9112 §9.8)."""
        if self._is_closing:
            return False
        if self._has_eof:
            return True  # it has said so before
        self._has_eof = True
        return bool(self._protocol.eof_received())

    def connection_lost(self, error: Exception | None) -> None:
        self._is_closing = self._is_deaf = True
        self._gathered.clear()
        self._gathered_bytes = 0
        protocol, self._protocol = self._protocol, _NOBODY  # else each would keep the other alive
        protocol.connection_lost(error)

    def pause_writing(self) -> None:
        self._protocol.pause_writing()

    def resume_writing(self) -> None:
        self._protocol.resume_writing()

    # Reading.

    def _read_on(self) -> bool:
        """Read what has come; return False if that was nothing for the connection."""
        incoming = self._incoming
        data = b""
        self._is_in_turn = True
        try:
            while True:
                data = self._read(RECORD_BYTES)
                if not data:
                    self._client_is_done()
                    break
                if self._barren_bytes:
                    self._barren_bytes = 0
                self._protocol.data_received(data)
                if not incoming.pending or self._is_reading_paused or self._is_deaf:
                    break
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLError:
            self._broken()
            return True
        finally:
            self._is_in_turn = False
        if self._gathered:
            self._flush()
        elif self._outgoing.pending and not self._is_closing:
            self._raw.write(self._outgoing.read())  # the library's own: an answer to a change of keys
        return bool(data) or self._has_eof

    def _client_is_done(self) -> None:
        if not self._has_eof:
            self._has_eof = True
            if not self._protocol.eof_received():
                self.close()

    def _broken(self) -> None:
        """The client broke a rule of TLS, or somebody changed its bytes: tell it which, and cut."""
        if self._outgoing.pending and not self._raw.is_closing():
            self._raw.write(self._outgoing.read())
        self._is_deaf = True
        self.abort()

    def pause_reading(self) -> None:
        self._is_reading_paused = True
        self._raw.pause_reading()

    def resume_reading(self) -> None:
        if self._is_reading_paused:
            self._is_reading_paused = False
            self._raw.resume_reading()
            if self._incoming.pending and not self._is_in_turn:
                self._loop.call_soon(self._go_on)

    def _go_on(self) -> None:
        if not self._is_reading_paused and not self._is_deaf and self._incoming.pending:
            self._read_on()

    def is_reading(self) -> bool:
        return not self._is_reading_paused and not self._is_closing

    # Writing.

    def write(self, data: bytes | bytearray | memoryview) -> None:
        if self._is_closing or not data:
            return
        self._gathered.append(data)  # type: ignore[arg-type]
        self._gathered_bytes += len(data)
        if self._gathered_bytes >= RECORD_BYTES:
            self._flush()
        elif not self._is_in_turn and not self._is_due:
            self._is_due = True
            self._loop.call_soon(self._flush_gathered)

    def _flush_gathered(self) -> None:
        self._is_due = False
        if self._gathered:
            self._flush()

    def _flush(self) -> None:
        gathered = self._gathered
        data = gathered[0] if len(gathered) == 1 else b"".join(gathered)
        gathered.clear()
        self._gathered_bytes = 0
        self.write_now(data)

    def write_now(self, data: bytes | memoryview) -> None:
        """Encrypt and hand on; what was gathered has to have gone (``flush``). ``data`` may change afterwards."""
        try:
            self._encrypt(data)
        except ssl.SSLError:
            self._broken()
            return
        self._raw.write(self._outgoing.read())

    def _encrypt(self, data: bytes | memoryview) -> None:
        done = self._write(data)
        if done < len(data):  # the library makes a record in each call
            with memoryview(data) as view:
                while done < len(data):
                    done += self._write(view[done : done + RECORD_BYTES])

    def flush(self) -> None:
        """Send what is gathered."""
        if self._gathered:
            self._flush()

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        self._raw.set_write_buffer_limits(high, low)

    def get_write_buffer_size(self) -> int:
        return self._gathered_bytes + self._raw.get_write_buffer_size()

    def get_write_buffer_limits(self) -> tuple[int, int]:
        return self._raw.get_write_buffer_limits()  # type: ignore[no-any-return, attr-defined, unused-ignore]

    # Ends.

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        """Say that nothing more comes, and go on hearing that the client sends, but not what."""
        if not self._is_deaf:
            self._say_farewell()
            self._is_deaf = True
            if not self._raw.is_closing():
                self._raw.write_eof()

    def _say_farewell(self) -> None:
        if self._raw.is_closing():
            return
        gathered, self._gathered = self._gathered, []
        self._gathered_bytes = 0
        try:
            if gathered:  # in one write with the farewell: most connections that are closed here had one last answer
                self._encrypt(b"".join(gathered))
            self._shutdown()
        except ssl.SSLError:
            pass  # the client's own farewell has not come, and nobody waits for it
        if self._outgoing.pending:
            self._raw.write(self._outgoing.read())

    def close(self) -> None:
        if self._is_closing:
            return
        if not self._is_deaf:
            self._say_farewell()
        self._is_closing = self._is_deaf = True
        self._raw.close()

    def abort(self) -> None:
        self._is_closing = self._is_deaf = True
        self._gathered.clear()
        self._gathered_bytes = 0
        self._raw.abort()

    def is_closing(self) -> bool:
        return self._is_closing or self._raw.is_closing()

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return self.ssl_object if name == "ssl_object" else self._raw.get_extra_info(name, default)

    def get_protocol(self) -> asyncio.BaseProtocol:
        return self._protocol

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        self._protocol = protocol  # type: ignore[assignment]
