"""A block of fields that is found clean can't end a head or frame a body, and an h11 client reads the same fields."""

from __future__ import annotations

import h11

from pyserve.http import response
from pyserve.http.response import is_clean_block
from tests.fuzz import fragments as f
from tests.fuzz.chance import Chance, mostly, repeat

NAMES = (
    b"x", b"content-type", b"set-cookie", b"date", b"etag", b"!#$%&'*+-.^_`|~9", b"te-x", b"content-length-x", b"xte",
)  # fmt: skip
NASTY_NAMES = (
    b"X", b"content-length", b"transfer-encoding", b"connection", b"keep-alive", b"upgrade", b"te", b"trailer",
    b"proxy-connection", b"", b" x", b"x ", b"x\x00", b"\xe9", b"content-length ", b"Content-Length", b"tE", b"x:y",
    b"\xc4\xb1",
)  # fmt: skip
COLONS = (b": ", b":")
NASTY_COLONS = (b"", b" : ", b":\t", b":\r\n ", b":\n", b": \r")
DICTIONARY = (
    *NAMES, *NASTY_NAMES[:9], *COLONS, *f.NASTY_VALUES, b"\r\n", b"\r\n\r\n", b"\n", b"\r", b"\r\n ",
    b"HTTP/1.1 200 OK\r\n",
)  # fmt: skip
_FRAMING = {b"content-length", b"transfer-encoding", b"connection", b"keep-alive", b"proxy-connection", b"upgrade"}
_FRAMING |= {b"te"}


def make(chance: Chance) -> bytes:
    return repeat(chance, 6, make_line)


def make_line(chance: Chance) -> bytes:
    return b"".join(
        (
            mostly(chance, NAMES, NASTY_NAMES),
            mostly(chance, COLONS, NASTY_COLONS, 25),
            mostly(chance, f.GOOD_VALUES + f.SPECIAL_VALUES[:4], f.NASTY_VALUES, 15),
            mostly(chance, f.GOOD_ENDS, f.NASTY_ENDS, 40),
        )
    )


def seeds() -> tuple[bytes, ...]:
    return (
        b"",
        b"content-type: text/plain\r\nx: y\r\n",
        b"set-cookie: a=b\r\nset-cookie: c=d\r\n",
        response.ERROR_BLOCK,
    )


def check(data: bytes) -> None:
    response.known_clean_blocks.clear()  # the verdict has to be on these bytes alone
    is_clean = is_clean_block(data)
    assert is_clean_block(data) == is_clean, "another verdict at second sight"
    if is_clean:
        check_clean(data)


def check_clean(block: bytes) -> None:
    """Raise ``AssertionError`` for a block that must not go to a client; also for what ``worker.heads`` makes."""
    if not block:
        return
    assert block.endswith(b"\r\n")
    lines = block[:-2].split(b"\r\n")
    fields = []
    for line in lines:
        assert line, "an empty line ends the head"
        assert not {0x00, 0x0A, 0x0D} & set(line), "a line that is two to somebody"
        name, colon, value = line.partition(b":")
        assert name, "a field without a name"
        assert colon, "a line without a colon"
        assert name not in _FRAMING, f"{name!r} belongs to the connection"
        fields.append((name, value.strip(b" \t")))
    client = h11.Connection(h11.CLIENT)
    client.send(h11.Request(method="GET", target="/", headers=[("host", "a")]))
    client.send(h11.EndOfMessage())
    client.receive_data(b"HTTP/1.1 200 OK\r\n" + block + b"content-length: 2\r\n\r\nokHTTP/1.1 ")
    answer = client.next_event()
    assert isinstance(answer, h11.Response), "h11 reads no answer"
    assert [(bytes(name), bytes(value)) for name, value in answer.headers] == [*fields, (b"content-length", b"2")]
    body = client.next_event()
    assert isinstance(body, h11.Data)
    assert bytes(body.data) == b"ok", "the body is another"
    assert isinstance(client.next_event(), h11.EndOfMessage)
    assert client.trailing_data == (b"HTTP/1.1 ", False)
