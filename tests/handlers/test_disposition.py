"""``Content-Disposition`` for hostile and for honest names."""

from __future__ import annotations

import re
from urllib.parse import quote_from_bytes, unquote_to_bytes

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pyserve.handlers.disposition import attachment

# A header line of RFC 6266 as browsers read it.
LINE = re.compile(
    rb'content-disposition: attachment(?:; filename="([ !#-\x5b\x5d-~]*)"'
    rb"(?:; filename\*=UTF-8''([A-Za-z0-9!#$&+.^_`|~%-]+))?)?\r\n"
)


@pytest.mark.parametrize(
    ("query", "line"),
    [
        (b"", b""),
        (b"downloads", b""),
        (b"x=download", b""),
        (b"Download", b""),
        (b"download", b'attachment; filename="report.pdf"'),
        (b"v=1&download", b'attachment; filename="report.pdf"'),
        (b"download=", b'attachment; filename="report.pdf"'),
        (b"download=a.txt", b'attachment; filename="a.txt"'),
        (b"download=a.txt&download=b.txt", b'attachment; filename="a.txt"'),
        (b"download=my+file%20name.txt", b'attachment; filename="my file name.txt"'),
        (b"download=a%2Bb.txt", b'attachment; filename="a+b.txt"'),
        (b"download=%22.txt", b"attachment; filename=\"_.txt\"; filename*=UTF-8''%22.txt"),
        (b"download=100%25.txt", b"attachment; filename=\"100_.txt\"; filename*=UTF-8''100%25.txt"),
        (b"download=%C3%A9t%C3%A9.txt", b"attachment; filename=\"_t_.txt\"; filename*=UTF-8''%C3%A9t%C3%A9.txt"),
        (b"download=%E9.txt", b"attachment; filename=\"_.txt\"; filename*=UTF-8''%EF%BF%BD.txt"),
        (b"download=a%0D%0ASet-Cookie:%20x=1", b'attachment; filename="aSet-Cookie: x=1"'),
        (b"download=a%00b%7Fc%1B.txt", b'attachment; filename="abc.txt"'),
        (b"download=a%E2%80%AEtxt.exe", b'attachment; filename="atxt.exe"'),  # a bidi override
        (b"download=../../etc/passwd", b'attachment; filename="passwd"'),
        (b"download=..%5C..%5Cboot.ini", b'attachment; filename="boot.ini"'),
        (b"download=a%2F", b"attachment"),
        (b"download=..", b"attachment"),
        (b"download=.bashrc", b'attachment; filename="bashrc"'),
        (b"download=%20.%20.bashrc", b'attachment; filename="bashrc"'),
        (b"download=.%00.bashrc", b'attachment; filename="bashrc"'),
        (b"download=%C2%A0.bashrc%20", b'attachment; filename="bashrc"'),
        (b"download=%zz", b"attachment; filename=\"_zz\"; filename*=UTF-8''%25zz"),
    ],
)
def test_a_name_becomes_a_line(query: bytes, line: bytes) -> None:
    assert attachment(query, "/docs/report.pdf") == (b"content-disposition: %b\r\n" % line if line else b"")


def test_a_path_may_have_any_bytes() -> None:
    assert b"''%EF%BF%BD.txt" in attachment(b"download", "/a/\udcff.txt")
    assert attachment(b"download", "/docs/") == b"content-disposition: attachment\r\n"


def test_a_long_name_is_cut_between_two_characters() -> None:
    line = attachment(b"download=" + b"%E2%82%AC" * 100, "/x")
    found = LINE.fullmatch(line)
    assert found
    assert unquote_to_bytes(found[2]).decode() == "\u20ac" * 66


@given(st.binary(max_size=300), st.booleans())
@settings(max_examples=300, deadline=None)
def test_whatever_is_asked_for_is_one_line_with_one_name_of_no_folder(name: bytes, is_raw: bool) -> None:
    query = b"download=" + (name.replace(b"&", b"") if is_raw else quote_from_bytes(name).encode())
    line = attachment(query, "/file.txt")
    found = LINE.fullmatch(line)
    assert found, line
    for value in (found[1], found[2] and unquote_to_bytes(found[2])):
        if value:
            assert not set(value) & set(b"/\\\r\n\0")
            assert value[:1] not in (b".", b" ")
            assert len(value) <= 200
