"""Subjects of certificates as one line that can't be made to say something else."""

from __future__ import annotations

import pytest

from pyserve.http.distinguished_name import Subject, write_name


@pytest.mark.parametrize(
    ("subject", "line"),
    [
        ((), ""),
        (((("organizationName", "Example"),), (("commonName", "alice"),)), "CN=alice,O=Example"),
        (((("commonName", "a"), ("userId", "7")),), "CN=a+UID=7"),
        (((("commonName", "a,CN=root"),),), r"CN=a\,CN=root"),
        (((("commonName", ' #a+"b";<c>\\ '),),), r"CN=\ #a\+\"b\"\;\<c\>\\\ "),
        (((("commonName", "#a"),),), r"CN=\#a"),
        (((("commonName", "a\r\nb\x00"),),), r"CN=a\0D\0Ab\00"),
        (((("emailAddress", "a@b.test"),),), "emailAddress=a@b.test"),
    ],
)
def test_a_name_is_written_as_rfc_4514_has_it(subject: Subject, line: str) -> None:
    assert write_name(subject) == line
