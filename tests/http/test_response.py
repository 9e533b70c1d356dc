"""What an application's header block may be, as the front checks it once more."""

from __future__ import annotations

import pytest

from pyserve.http.response import is_clean_block


@pytest.mark.parametrize("block", [b"", b"a: b\r\n", b"a:b\r\n", b"x-y: \xe9\t\r\nset-cookie: a=1\r\n"])
def test_a_clean_block_may_go_out(block: bytes) -> None:
    assert is_clean_block(block)
    assert is_clean_block(block)  # and the memo agrees


@pytest.mark.parametrize(
    "block",
    [
        *(name + b": 1\r\n" for name in (b"content-length", b"transfer-encoding", b"connection", b"te", b"upgrade")),
        *(
            b"A: b\r\n",
            b"a : b\r\n",
            b": b\r\n",
            b"a\r\n",
            b"a: b",
            b"a: b\n",
            b"a: b\r\n\r\n",
            b"a: \0\r\n",
            b"a: b\rc\r\n",
        ),
        b"a: b\r\n" * 2000 + b"x\r\n",  # refused in one pass: a worker must not be able to stop a front
    ],
)
def test_anything_else_is_not(block: bytes) -> None:
    assert not is_clean_block(block)
