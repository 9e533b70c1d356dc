"""Heads of HTTP/2 mean what the same heads mean in HTTP/1.1, at first and at any later sight."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import hpack
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pyserve.errors import RequestError
from pyserve.http import h1_httptools
from pyserve.http.forwarded import TrustedProxies
from pyserve.http.h2 import heads
from pyserve.http.h2.faults import StreamFault
from pyserve.http.h2.heads import BlockReader, Read
from pyserve.http.h2.hpack import Field, Table
from pyserve.http.head import HeadReader
from pyserve.http.hidden import visible_fields
from pyserve.http.request import Request
from tests.support import corpus
from tests.support.h2_sessions import MAX_HEAD_BYTES, block_reader

FACTS = [
    name
    for name in Request.__slots__
    if name not in ("memo", "kind", "line_memo", "rest_memo", "version", "is_chunked", "hidden")
]


class Client:
    """Codes heads as one connection does, and has them read."""

    def __init__(self, blocks: BlockReader) -> None:
        self.blocks = blocks
        self.table = blocks.empty
        self.encoder = hpack.Encoder()

    def ask(self, fields: Sequence[Field], *, is_end: bool = True) -> Read:
        block = self.encoder.encode(list(fields))
        known = self.table.blocks.get(block) if is_end else None
        if known is not None:
            return known
        read, self.table, _ = self.blocks.read(self.table, block, is_end)
        return read


def get(path: bytes = b"/", *fields: Field, method: bytes = b"GET", authority: bytes = b"a") -> list[Field]:
    return [(b":method", method), (b":scheme", b"https"), (b":authority", authority), (b":path", path), *fields]


def facts(request: Request) -> dict[str, Any]:
    return {name: getattr(request, name) for name in FACTS}


def verdict(read: Read) -> object:
    return facts(read) if isinstance(read, Request) else read.status if isinstance(read, RequestError) else "malformed"


def by_http_1(fields: Sequence[Field], reader: HeadReader) -> object:
    """What HTTP/1.1 says of the same head, with Host first and all cookies in one line."""
    pseudo = dict(fields[:4])
    lines = [b"%b %b HTTP/1.1" % (pseudo[b":method"], pseudo[b":path"]), b"Host: " + pseudo[b":authority"]]
    lines += [b"%b: %b" % field for field in fields[4:]]
    try:
        return facts(reader.read(b"\r\n".join(lines) + b"\r\n\r\n"))
    except RequestError as error:
        return error.status


BROWSER: list[Field] = [
    (b"user-agent", b"Mozilla/5.0"),
    (b"accept", b"text/html,*/*;q=0.8"),
    (b"accept-encoding", b"gzip, br"),
    (b"sec-fetch-mode", b"navigate"),
    (b"referer", b"https://a/"),
    (b"cookie", b"a=b"),
]
names = st.sampled_from(
    [b"x-a", b"x_b", b"x-forwarded-for", b"accept", b"accept-encoding", b"range", b"if-none-match",
     b"if-modified-since",
     b"content-type", b"authorization", b"expect", b"content-length", b"referer", b"user-agent", b"proxy", b"te2"]
)  # fmt: skip
values = st.sampled_from(
    [b"a", b"", b"0", b"5", b"05", b"100-continue", b"a, b", b'"x"', b"bytes=0-", b"\xe9", b"a\tb"]
)
paths = st.sampled_from(
    [b"/", b"/a?b=c", b"/a/../b", b"/%41", b"/%2f", b"/a#b", b"*", b"/a\\b", b"/%zz", b"//x/", b"/%c3%a9"]
)
methods = st.sampled_from([b"GET", b"HEAD", b"POST", b"OPTIONS", b"BREW", b"get"])
authorities = st.sampled_from([b"a", b"A.Test:8443", b"a.", b"u@a", b"", b"[::1]", b"a:0", b"a/b"])
requests = st.builds(
    lambda path, method, authority, fields: get(path, *fields, method=method, authority=authority),
    *(paths, methods, authorities, st.lists(st.tuples(names, values), max_size=5)),
)


@settings(max_examples=600, deadline=None, derandomize=True)
@given(st.lists(st.tuples(requests, st.booleans()), min_size=1, max_size=4))
def test_both_versions_say_the_same_of_a_head(session: list[tuple[list[Field], bool]]) -> None:
    reader = HeadReader(h1_httptools.parse_fields, 100)
    client = Client(BlockReader(reader, MAX_HEAD_BYTES))
    for fields, is_end in session * 3:
        other = by_http_1(fields, HeadReader(h1_httptools.parse_fields, 100))
        read = client.ask(fields, is_end=is_end)
        said = verdict(read)
        if said == "malformed":
            assert is_end or isinstance(other, int)
            if isinstance(other, dict):
                assert other["content_length"], "a length without content is all that is malformed here only"
        elif isinstance(said, dict):
            assert isinstance(other, dict)
            assert isinstance(read, Request)
            assert (read.version, read.is_chunked) == ("2", False)
            if not is_end and said["content_length"] is None:  # a body of a length that nobody says
                assert said.pop("has_body")
                other.pop("has_body")
                said.pop("expects_continue")
                other.pop("expects_continue")
            assert said == other
        else:
            assert said == other


@pytest.mark.parametrize(
    "case", [case for case in corpus.load() if case.shows or case.hides], ids=lambda case: case.name
)
def test_an_application_sees_the_fields_that_it_may_see(case: corpus.Case) -> None:
    head = case.data.partition(b"\r\n\r\n")[0].split(b"\r\n")
    fields = [(name.lower(), value.strip(b" \t")) for name, _, value in (line.partition(b":") for line in head[1:])]
    hop = (
        b"connection",
        b"te",
        b"transfer-encoding",
        b"upgrade",
        b"keep-alive",
        b"proxy-connection",
        b"host",
        b"expect",
    )
    if any(name == b"connection" for name, _ in fields):
        return  # what Connection takes away there is no field of HTTP/2
    length = [field for field in fields if field[0] == b"content-length"]
    read = Client(block_reader()).ask(get(b"/", *[field for field in fields if field[0] not in hop]), is_end=not length)
    assert isinstance(read, Request)
    seen = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in visible_fields(read)]
    shown = {name for name, _ in case.shows} - {"host"}
    assert sorted(field for field in seen if field[0] in shown) == sorted(
        field for field in case.shows if field[0] in shown
    )
    assert not case.hides & {name for name, _ in seen}


def test_a_block_that_comes_again_is_the_same_request() -> None:
    client = Client(block_reader())
    first, second, third = (client.ask(get(b"/x", *BROWSER)) for _ in range(3))
    assert isinstance(first, Request)
    assert facts(first) == facts(second)  # type: ignore[arg-type]
    assert second is third  # the first one had changed the table


def test_a_table_is_shared_by_clients_who_sent_the_same() -> None:
    blocks = block_reader()
    first, second = Client(blocks), Client(blocks)
    seen = [client.ask(get(b"/x", *BROWSER)) for client in (first, second) for _ in range(2)]
    assert seen[1] is seen[3]
    assert first.table is second.table
    second.ask(get(b"/x", (b"x-new", b"y")))
    assert first.table is not second.table
    assert first.ask(get(b"/x", *BROWSER)) is seen[1]


def test_a_new_path_shares_what_is_kept_beside_the_fields_and_a_known_one_what_is_kept_beside_the_line() -> None:
    client = Client(block_reader())
    blocks = [_literal_path(path) for path in (b"/a", b"/b", b"/a")]
    table = client.table
    reads = []
    for block in blocks:
        read, table, _ = client.blocks.read(table, block, True)
        assert isinstance(read, Request)
        reads.append(read)
    a, b, again = reads
    assert a.rest_memo is b.rest_memo
    assert a.line_memo is again.line_memo
    assert a.line_memo is not b.line_memo
    assert a.kind is b.kind is not None
    assert (b.path, b.fields) == ("/b", a.fields)


def _literal_path(path: bytes) -> bytes:
    """As browsers do it, who index no path."""
    start = b"\x82\x87\x04%c%b\x01\x01a" % (len(path), path)
    return start + b"".join(b"\x00%c%b%c%b" % (len(name), name, len(value), value) for name, value in BROWSER)


@settings(max_examples=300, deadline=None, derandomize=True)
@given(st.lists(requests, min_size=2, max_size=8))
def test_requests_of_one_line_and_kind_differ_in_nothing_that_an_answer_may_depend_on(
    all_fields: list[list[Field]],
) -> None:
    client = Client(block_reader())
    groups: dict[tuple[int, object], list[Request]] = {}
    for fields in all_fields * 2:
        read = client.ask(fields)
        if isinstance(read, Request) and read.kind is not None:
            groups.setdefault((id(read.line_memo), read.kind), []).append(read)
    depends = {b"accept-encoding", b"sec-fetch-mode", *heads.CONDITIONS}
    for group in groups.values():
        said = {(request.authority, tuple(f for f in request.fields if f[0] in depends)) for request in group}
        assert len(said) == 1


def test_cookie_crumbs_are_one_cookie_in_their_first_place() -> None:
    read = Client(block_reader()).ask(get(b"/", (b"cookie", b"a=b"), (b"x", b"y"), (b"cookie", b"c=d")))
    assert isinstance(read, Request)
    assert read.fields == ((b"host", b"a"), (b"cookie", b"a=b; c=d"), (b"x", b"y"))


def test_a_websocket_says_what_protocol_it_is() -> None:
    fields = [(b":method", b"CONNECT"), (b":protocol", b"WebSocket"), *get(b"/chat")[1:]]
    read = Client(block_reader()).ask(fields, is_end=False)
    assert isinstance(read, Request)
    assert (read.method, read.path, read.protocol, read.has_body) == ("CONNECT", "/chat", "websocket", True)
    plain = Client(block_reader()).ask(get())
    assert isinstance(plain, Request)
    assert plain.protocol == ""


def test_a_websocket_that_was_not_offered_is_malformed() -> None:
    blocks = BlockReader(HeadReader(h1_httptools.parse_fields, 100), MAX_HEAD_BYTES)
    fields = [(b":method", b"CONNECT"), (b":protocol", b"websocket"), *get(b"/chat")[1:]]
    assert isinstance(Client(blocks).ask(fields, is_end=False), StreamFault)


def test_a_trusted_proxy_is_believed() -> None:
    reader = HeadReader(h1_httptools.parse_fields, 100, TrustedProxies(["127.0.0.1"]))
    client = Client(BlockReader(reader, MAX_HEAD_BYTES))
    for _ in range(3):
        read = client.ask(get(b"/", (b"x-forwarded-for", b"192.0.2.1"), (b"x-forwarded-host", b"b")))
        assert isinstance(read, Request)
        assert read.forwarded is not None
        assert (read.forwarded.client, read.host) == (("192.0.2.1", 0), "b")


def test_what_is_remembered_is_bounded() -> None:
    blocks = block_reader()
    client = Client(blocks)
    for number in range(3000):
        client.ask(get(b"/%d" % number, (b"x-a", b"%d" % number * 100)))
    assert len(blocks._tables) <= heads.MAX_TABLES
    table = Table()
    start = b"\x82\x87\x01\x01a\x04"
    for number in range(20000):
        path = b"/%06d" % number
        read, table, _ = blocks.read(table, start + b"%c%b" % (len(path), path), True)
        assert isinstance(read, Request)
    assert blocks._held <= heads.MAX_KEPT_BYTES
    assert sum(len(kept.blocks) for kept in blocks._tables.values()) * heads._OWN_BYTES <= heads.MAX_KEPT_BYTES
    assert len(blocks._lines) <= heads.MAX_LINES
    assert len(blocks._fields) <= heads.MAX_FIELDS


def test_what_is_forgotten_is_read_again() -> None:
    client = Client(block_reader())
    _, second, _ = (client.ask(get(b"/x", *BROWSER)) for _ in range(3))
    client.blocks.forget()
    again = client.ask(get(b"/x", *BROWSER))
    assert again is not second
    assert isinstance(again, Request)
    assert again.line_memo == {}
    assert client.ask(get(b"/x", *BROWSER)) is again
