"""HPACK: the examples of RFC 7541 appendix C, and agreement with ``hpack`` on whatever it writes and reads."""

from __future__ import annotations

import hpack
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pyserve.http.h2 import huffman
from pyserve.http.h2.faults import ConnectionFault
from pyserve.http.h2.frames import COMPRESSION_ERROR, NO_ERROR
from pyserve.http.h2.hpack import (
    ENTRY_BYTES,
    FIRST_DYNAMIC,
    MAX_TABLE_BYTES,
    STATIC_FIELDS,
    Field,
    Literals,
    Table,
    decode,
    encode_head,
)

PLENTY = 1_000_000


def read(block: bytes, table: Table | None = None) -> tuple[list[Field], Table]:
    fields, after, is_cut = decode(block, table or Table(), Literals(), PLENTY, PLENTY)
    assert not is_cut
    return fields, after


# Blocks of one connection each, what they mean, and the table's size behind each.
C3 = [
    (
        "828684410f7777772e6578616d706c652e636f6d",
        [":method GET", ":scheme http", ":path /", ":authority www.example.com"],
        57,
    ),
    (
        "828684be58086e6f2d6361636865",
        [":method GET", ":scheme http", ":path /", ":authority www.example.com", "cache-control no-cache"],
        110,
    ),
    (
        "828785bf400a637573746f6d2d6b65790c637573746f6d2d76616c7565",
        *(
            [
                ":method GET",
                ":scheme https",
                ":path /index.html",
                ":authority www.example.com",
                "custom-key custom-value",
            ],
        ),
        164,
    ),
]
C4 = [
    ("828684418cf1e3c2e5f23a6ba0ab90f4ff", C3[0][1], 57),
    ("828684be5886a8eb10649cbf", C3[1][1], 110),
    ("828785bf408825a849e95ba97d7f8925a849e95bb8e8b4bf", C3[2][1], 164),
]
APPENDIX = {
    "C.2.1": [("400a637573746f6d2d6b65790d637573746f6d2d686561646572", ["custom-key custom-header"], 55)],
    "C.2.2": [("040c2f73616d706c652f70617468", [":path /sample/path"], 0)],
    "C.2.3": [("100870617373776f726406736563726574", ["password secret"], 0)],
    "C.2.4": [("82", [":method GET"], 0)],
    "C.3": C3,
    "C.4": C4,
}


@pytest.mark.parametrize("example", APPENDIX)
def test_the_examples_of_the_rfc_mean_what_they_say(example: str) -> None:
    table = Table()
    for block, meaning, size in APPENDIX[example]:
        fields, table = read(bytes.fromhex(block), table)
        assert [b" ".join(field).decode() for field in fields] == meaning
        assert table.size == size


def test_the_oldest_entries_make_room() -> None:
    """The answers of RFC 7541 C.5, in a table of 256 bytes."""
    table = Table(limit=256)
    blocks = [
        "4803333032580770726976617465611d4d6f6e2c203231204f637420323031332032303a31333a323120474d546e17"
        "68747470733a2f2f7777772e6578616d706c652e636f6d",
        "4803333037c1c0bf",
        "88c1611d4d6f6e2c203231204f637420323031332032303a31333a323220474d54c05a04677a69707738666f6f3d4153"
        "444a4b48514b425a584f5157454f50495541585157454f49553b206d61782d6167653d333630303b2076657273696f6e3d31",
    ]
    sizes = []
    for block in blocks:
        fields, table = read(bytes.fromhex(block), table)
        sizes.append(table.size)
    assert sizes == [222, 222, 215]
    assert fields[-1] == (b"set-cookie", b"foo=ASDJKHQKBZXOQWEOPIUAXQWEOIU; max-age=3600; version=1")
    assert [name for name, _ in table.fields[FIRST_DYNAMIC:]] == [b"set-cookie", b"content-encoding", b"date"]


def test_the_static_table_is_the_rfcs() -> None:
    assert hpack.table.HeaderTable.STATIC_TABLE == STATIC_FIELDS


names = st.sampled_from([b":path", b"cookie", b"x-a", b"accept", b"user-agent"]) | st.binary(max_size=40)
fields_strategy = st.lists(st.tuples(names, st.binary(max_size=300)), max_size=12)


@settings(max_examples=150, deadline=None, derandomize=True)
@given(st.lists(st.tuples(fields_strategy, st.booleans(), st.sampled_from([None, 0, 100, 4096])), max_size=6))
def test_whatever_hpack_writes_is_read(session: list[tuple[list[Field], bool, int | None]]) -> None:
    encoder = hpack.Encoder()
    table = Table()
    for fields, is_coded, size in session:
        if size is not None:
            encoder.header_table_size = size
        block = encoder.encode(fields, huffman=is_coded)
        found, table = read(block, table)
        assert found == fields
        assert table.fields[FIRST_DYNAMIC:] == tuple(encoder.header_table.dynamic_entries)


@settings(max_examples=400, deadline=None, derandomize=True)
@given(st.lists(st.binary(max_size=40), min_size=1, max_size=4))
def test_blocks_of_any_bytes_are_read_as_hpack_reads_them_or_refused(blocks: list[bytes]) -> None:
    decoder = hpack.Decoder()
    table = Table()
    for block in blocks:
        try:
            found, table = read(block, table)
        except ConnectionFault as fault:
            code = fault.code
        else:
            code = NO_ERROR
        if code:
            assert code == COMPRESSION_ERROR
            return
        assert [tuple(field) for field in decoder.decode(block, raw=True)] == found
        entries = table.fields[FIRST_DYNAMIC:]
        assert table.size == sum(len(name) + len(value) + ENTRY_BYTES for name, value in entries) <= MAX_TABLE_BYTES


@settings(max_examples=300, deadline=None, derandomize=True)
@given(st.binary(max_size=200))
def test_huffmans_code_is_read_as_hpack_writes_it(plain: bytes) -> None:
    coded = hpack.huffman.HuffmanEncoder(
        hpack.huffman_constants.REQUEST_CODES, hpack.huffman_constants.REQUEST_CODES_LENGTH
    ).encode(plain)
    assert huffman.decode(coded) == plain


@settings(max_examples=300, deadline=None, derandomize=True)
@given(st.binary(max_size=12))
def test_any_bytes_are_decoded_as_hpack_decodes_them(coded: bytes) -> None:
    try:
        plain = huffman.decode(coded)
    except huffman.HuffmanError:
        with pytest.raises(hpack.HPACKDecodingError):
            hpack.huffman_table.decode_huffman(coded)
    else:
        assert hpack.huffman_table.decode_huffman(coded) == plain


def test_what_is_remembered_of_the_code_is_bounded() -> None:
    for first in range(256):
        for second in range(256):
            try:
                huffman.decode(bytes((first, second)) * 3)
            except huffman.HuffmanError:
                continue
    assert len(huffman._by_byte) <= huffman.MAX_REMEMBERED_STEPS


values = st.text("ab \t:;=\x80\xff", max_size=200).map(lambda text: text.strip(" \t").encode("latin-1"))


@settings(max_examples=200, deadline=None, derandomize=True)
@given(
    st.integers(100, 599),
    st.lists(st.tuples(st.sampled_from([b"x-a", b"server", b"set-cookie", b"content-type", b"x" * 200]), values)),
    st.integers(-1, 10**12),
)
def test_hpack_reads_the_heads_that_we_write(status: int, fields: list[Field], length: int) -> None:
    block = b"".join(b"%b: %b\r\n" % field for field in fields)
    found = hpack.Decoder(max_header_list_size=PLENTY).decode(
        encode_head(status, block, b"date: x\r\n", length), raw=True
    )
    end = [(b"date", b"x")] + ([(b"content-length", b"%d" % length)] if length >= 0 else [])
    assert [tuple(field) for field in found] == [(b":status", b"%d" % status), *fields, *end]


def test_what_leads_to_secrets_is_never_indexed() -> None:
    found = hpack.Decoder().decode(encode_head(200, b"set-cookie: a=b\r\nx: y\r\n"), raw=True)
    assert [field.indexable for field in found if isinstance(field, hpack.NeverIndexedHeaderTuple)] == [False]
