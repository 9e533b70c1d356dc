"""Step 4 of the request path: Huffman-coded literals of HPACK (RFC 7541 §5.2, appendix B). Pure.

Reads four bits at a time, by a table that the first coded literal makes; pairs of steps that come often are remembered
as one. Nothing of ours is written in this code: what an answer gains in bytes is not worth its time.

HOT: a path or cookie that was not seen before (``heads`` remembers the others).
"""

from __future__ import annotations

# The code is canonical: ordered by length, then by symbol. Length -> symbols; the end mark (256) is the last of 30.
_SYMBOLS = {
    5: "303132616365696f7374",
    6: "20252d2e2f333435363738393d415f62646667686c6d6e707275",
    7: "3a42434445464748494a4b4c4d4e4f5051525354555657596a6b71767778797a",
    8: "262a2c3b585a",
    10: "212228293f",
    11: "272b7c",
    12: "233e",
    13: "0024405b5d7e",
    14: "5e7d",
    15: "3c607b",
    19: "5cc3d0",
    20: "808283a2b8c2e0e2",
    21: "99a1a7acb0b1b3d1d8d9e3e5e6",
    22: "8184858688929a9ca0a3a4a9aaadb2b5b9babbbdbec4c6e4e8e9",
    23: "0187898a8b8c8d8f93959697989b9d9ea5a6a8aeafb4b6b7bcbfc5e7ef",
    24: "098e9091949fabced7e1eced",
    25: "c7cfeaeb",
    26: "c0c1c8c9cacdd2d5dadbeef0f2f3ff",
    27: "cbccd3d4d6dddedff1f4f5f6f7f8fafbfcfdfe",
    28: "020304050607080b0c0e0f1011121314151718191a1b1c1d1e1f7fdcf9",
    30: "0a0d16",
}

_Step = tuple[int, bytes]
"""The node after some bits, -1 = no code of RFC 7541; and the symbols that they complete."""

MAX_REMEMBERED_STEPS = 8192

_by_four_bits: list[_Step] = []
_by_byte: dict[int, _Step] = {}
_may_end: list[bool] = []
"""By node: is what leads there from the root nothing but up to seven ones, which is padding?"""


class HuffmanError(ValueError):
    """Not a code of RFC 7541, or padded wrongly."""


def decode(coded: bytes) -> bytes:
    """Return the plain bytes of a coded literal; raise ``HuffmanError``."""
    if not _by_four_bits:
        _make_tables()
    known = _by_byte
    node = 0
    symbols: list[bytes] = []
    for byte in coded:
        step = known.get(node << 8 | byte)
        if step is None:
            step = _step(node, byte)
        node, made = step
        symbols.append(made)
    if not _may_end[node]:
        raise HuffmanError("bad padding")
    return b"".join(symbols)


def _step(node: int, byte: int) -> _Step:
    middle, first = _by_four_bits[node << 4 | byte >> 4]
    end, second = _by_four_bits[middle << 4 | byte & 15] if middle >= 0 else (-1, b"")
    if end < 0:
        raise HuffmanError("end mark within a literal")
    if len(_by_byte) >= MAX_REMEMBERED_STEPS:
        _by_byte.clear()  # LIMIT: bounded; text uses a tenth of it
    made = _by_byte[node << 8 | byte] = (end, first + second)
    return made


def _make_tables() -> None:
    """Make the steps of four bits from every node of the code's tree."""
    # Children by node: another node, or ~symbol. Node 0 is the root.
    tree: list[list[int | None]] = [[None, None]]
    code = length = 0
    for bits, text in _SYMBOLS.items():
        for symbol in [*bytes.fromhex(text), *([256] if bits == 30 else [])]:
            code <<= bits - length
            length = bits
            _put(tree, code, bits, symbol)
            code += 1
    for node in range(len(tree)):
        _by_four_bits.extend([_walk(tree, node, value) for value in range(16)])
    _may_end.extend([False] * len(tree))
    at: int | None = 0
    for _ in range(8):
        assert at is not None
        _may_end[at] = True
        at = tree[at][1]


def _put(tree: list[list[int | None]], code: int, bits: int, symbol: int) -> None:
    at = 0
    for shift in range(bits - 1, 0, -1):
        child = tree[at][code >> shift & 1]
        if child is None:
            child = tree[at][code >> shift & 1] = len(tree)
            tree.append([None, None])
        at = child
    tree[at][code & 1] = ~symbol


def _walk(tree: list[list[int | None]], node: int, value: int) -> _Step:
    made = b""
    for shift in (3, 2, 1, 0):
        child = tree[node][value >> shift & 1]
        if child is None or child == ~256:
            return -1, b""
        if child < 0:
            made += bytes((~child,))
            node = 0
        else:
            node = child
    return node, made
