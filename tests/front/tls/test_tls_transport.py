"""The transport between TLS and a connection: what it writes and when, what it reads, and how it ends."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from typing import Any

import pytest

from pyserve.front.tls.transport import MAX_BARREN_BYTES, TlsTransport
from pyserve.net.tls import Material, build_context
from tests.support.certificates import Authority

CA = Authority()
CONTEXT = build_context(Material(*CA.issue("a.test")), "none", "1.2", ("http/1.1",))


class Raw(asyncio.Transport):
    """The socket's side: what was written to it, one entry for each write."""

    def __init__(self) -> None:
        super().__init__()
        self.writes: list[bytes] = []
        self.calls: list[str] = []
        self.unsent = 0

    def write(self, data: bytes) -> None:  # type: ignore[override]
        assert not self.is_closing()
        self.writes.append(data)

    def take(self) -> bytes:
        taken, self.writes = b"".join(self.writes), []
        return taken

    def get_write_buffer_size(self) -> int:
        return self.unsent

    def is_closing(self) -> bool:
        return "close" in self.calls or "abort" in self.calls

    def __getattribute__(self, name: str) -> Any:
        if name in ("close", "abort", "pause_reading", "resume_reading", "write_eof"):
            return lambda: self.calls.append(name)
        return super().__getattribute__(name)

    def get_extra_info(self, name: str, default: object = None) -> object:
        return f"its {name}"


class Above(asyncio.Protocol):
    """The connection's side."""

    def __init__(self) -> None:
        self.read = b""
        self.told: list[str] = []
        self.stays_open = True
        self.on_data: Callable[[bytes], None] = lambda data: None

    def data_received(self, data: bytes) -> None:
        self.read += data
        self.on_data(data)

    def eof_received(self) -> bool:
        self.told.append("eof")
        return self.stays_open

    def connection_lost(self, exc: Exception | None) -> None:
        self.told.append("lost")


class Loop:
    def __init__(self) -> None:
        self.due: list[Callable[[], object]] = []

    def call_soon(self, callback: Callable[..., object], *arguments: object) -> None:
        self.due.append(lambda: callback(*arguments))

    def turn(self) -> None:
        due, self.due = self.due, []
        for callback in due:
            callback()


class Pair:
    """A client in memory, and a transport whose handshake with it is done."""

    def __init__(self, version: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3) -> None:
        context = ssl.create_default_context(cadata=CA.pem.decode())
        context.maximum_version = version
        self.to_client, self.from_client = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.client = context.wrap_bio(self.to_client, self.from_client, server_hostname="a.test")
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        server = CONTEXT.wrap_bio(incoming, outgoing, server_side=True)
        for side in (self.client, server, self.client, server, self.client):
            try:
                side.do_handshake()
            except ssl.SSLWantReadError:
                pass
            incoming.write(self.from_client.read())
            self.to_client.write(outgoing.read())
        self.raw, self.above, self.loop = Raw(), Above(), Loop()
        self.transport = TlsTransport(self.loop, self.raw, server, incoming, outgoing)  # type: ignore[arg-type]
        self.transport.attach(self.above)
        self.transport.start()

    def say(self, data: bytes) -> bytes:
        """Return a client's data, encrypted."""
        self.client.write(data)
        return self.from_client.read()

    def heard(self) -> bytes:
        """Return what the client reads of all that was written; raises ``SSLZeroReturnError``-like b"" at the end."""
        self.to_client.write(self.raw.take())
        data = b""
        while True:
            try:
                piece = self.client.read(65536)
            except ssl.SSLWantReadError:
                return data
            except ssl.SSLZeroReturnError:
                return data + b"[farewell]"
            if not piece:
                return data + b"[farewell]"
            data += piece


@pytest.fixture(params=[ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3], ids=["1.2", "1.3"])
def pair(request: pytest.FixtureRequest) -> Pair:
    return Pair(request.param)


def test_all_answers_of_a_turn_leave_in_one_write(pair: Pair) -> None:
    pair.heard()
    pair.above.on_data = lambda data: [pair.transport.write(b"answer %d " % number) for number in range(3)]  # type: ignore[func-returns-value, assignment, return-value]
    pair.transport.data_received(pair.say(b"one") + pair.say(b"two"))
    assert pair.above.read == b"onetwo"
    assert len(pair.raw.writes) == 1
    assert pair.heard() == b"answer 0 answer 1 answer 2 " * 2
    # Also what is written while nothing is being read.
    pair.transport.write(b"later ")
    pair.transport.write(b"and later")
    assert not pair.raw.writes
    assert pair.transport.get_write_buffer_size() == 15
    pair.loop.turn()
    assert len(pair.raw.writes) == 1
    assert pair.heard() == b"later and later"


def test_large_data_goes_out_at_once_and_is_counted(pair: Pair) -> None:
    data = bytes(range(256)) * 2000
    pair.transport.write(data)
    pair.raw.unsent = 7
    assert pair.transport.get_write_buffer_size() == 7
    assert pair.heard() == data
    view = bytearray(data)
    pair.transport.write_now(memoryview(view))
    view[:] = bytes(len(view))
    assert pair.heard() == data


def test_nothing_is_read_while_reading_is_paused(pair: Pair) -> None:
    pair.above.on_data = lambda data: pair.transport.pause_reading()
    pair.transport.data_received(pair.say(b"first") + pair.say(b"second") + pair.say(b"third"))
    assert pair.above.read == b"first"
    pair.transport.data_received(pair.say(b"fourth"))
    assert pair.above.read == b"first"
    pair.transport.resume_reading()
    pair.loop.turn()
    assert pair.above.read == b"firstsecond"
    pair.above.on_data = lambda data: None
    pair.transport.resume_reading()
    pair.loop.turn()
    assert pair.above.read == b"firstsecondthirdfourth"
    assert pair.raw.calls == ["pause_reading", "resume_reading", "pause_reading", "resume_reading"]


def test_bytes_may_come_one_by_one(pair: Pair) -> None:
    for byte in pair.say(b"slowly"):
        pair.transport.data_received(bytes((byte,)))
    assert pair.above.read == b"slowly"
    assert not pair.raw.calls


def test_a_close_says_farewell_behind_what_was_written(pair: Pair) -> None:
    pair.transport.write(b"the end")
    pair.transport.close()
    assert pair.transport.is_closing()
    assert pair.heard() == b"the end[farewell]"
    pair.transport.write(b"more")
    pair.transport.data_received(b"whatever")
    pair.transport.close()
    assert pair.raw.calls == ["close"]
    assert not pair.raw.writes
    pair.transport.connection_lost(None)
    assert pair.above.told == ["lost"]


def test_a_client_that_says_farewell_is_still_answered(pair: Pair) -> None:
    last = pair.say(b"last request")
    try:
        pair.client.unwrap()
    except ssl.SSLWantReadError:
        pass
    pair.transport.data_received(last + pair.from_client.read())
    assert pair.above.read == b"last request"
    assert pair.above.told == ["eof"]
    assert pair.transport.eof_received()
    assert pair.above.told == ["eof"]
    pair.transport.write(b"answer")
    pair.loop.turn()
    pair.to_client.write(pair.raw.take())
    assert not pair.raw.calls
    pair.transport.close()
    assert pair.raw.calls == ["close"]


def test_a_client_that_leaves_without_a_word_is_told_of_once(pair: Pair) -> None:
    pair.above.stays_open = False
    assert not pair.transport.eof_received()
    assert pair.above.told == ["eof"]


def test_an_end_of_writing_is_said_and_then_nothing_is_decrypted(pair: Pair) -> None:
    pair.transport.write(b"refused")
    pair.transport.write_eof()
    assert pair.heard() == b"refused[farewell]"
    assert pair.raw.calls == ["write_eof"]
    pair.transport.data_received(b"\xff" * 5000)
    assert pair.above.read == b""
    pair.transport.close()
    assert pair.raw.calls == ["write_eof", "close"]


def test_changed_bytes_end_the_connection(pair: Pair) -> None:
    record = bytearray(pair.say(b"true"))
    record[-1] ^= 1
    pair.transport.data_received(bytes(record))
    assert pair.above.read == b""
    assert pair.raw.calls == ["abort"]
    with pytest.raises(ssl.SSLError, match="bad record mac"):
        pair.heard()


def test_a_client_that_sends_nothing_but_work_is_cut() -> None:
    """As changes of keys without end, each of which costs us more than the client. Python's library makes none, so
    here it is a record of which no end comes: as much of nothing."""
    pair = Pair()
    pair.transport.data_received(pair.say(b"first"))
    pair.transport._read = _want_read  # type: ignore[assignment]
    for _ in range(MAX_BARREN_BYTES // 1024):
        pair.transport.data_received(bytes(1024))
    assert not pair.raw.calls
    pair.transport.data_received(b"\0")
    assert pair.raw.calls == ["abort"]


def _want_read(count: int) -> bytes:
    raise ssl.SSLWantReadError


def test_what_it_knows_of_itself_and_what_the_socket_knows(pair: Pair) -> None:
    assert pair.transport.get_extra_info("ssl_object") is pair.transport.ssl_object
    assert pair.transport.get_extra_info("peername") == "its peername"
    assert pair.transport.can_write_eof()


def test_what_comes_behind_the_clients_farewell_is_not_kept(pair: Pair) -> None:
    pair.heard()
    try:
        pair.client.unwrap()
    except ssl.SSLWantReadError:
        pass
    pair.transport.data_received(pair.from_client.read())
    assert pair.above.told == ["eof"]
    for _ in range(100):
        pair.transport.data_received(bytes(65536))
    assert pair.transport._incoming.pending < 65536
    pair.transport.write(b"the answer")
    pair.loop.turn()
    assert pair.heard().startswith(b"the answer")
