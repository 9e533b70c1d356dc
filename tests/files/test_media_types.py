"""Content types: a table."""

from __future__ import annotations

import pytest

from pyserve.files.media_types import content_type


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("a.html", "text/html; charset=utf-8"),
        ("dir.css/a.JS", "text/javascript; charset=utf-8"),
        ("a.css", "text/css; charset=utf-8"),
        ("a.json", "application/json; charset=utf-8"),
        ("a.svg", "image/svg+xml; charset=utf-8"),
        ("a.xml", "application/xml; charset=utf-8"),
        ("a.png", "image/png"),
        ("a.woff2", "font/woff2"),
        ("a.wasm", "application/wasm"),
        ("a.docx", "application/vnd.openxmlformats-officedocument.wordprocessingml.document"),
        ("a.tar.gz", "application/gzip"),
        ("README", "application/octet-stream"),
        ("a.html/README", "application/octet-stream"),
        (".html", "application/octet-stream"),
        ("a.", "application/octet-stream"),
        ("", "application/octet-stream"),
        ("a.\udcff", "application/octet-stream"),
    ],
)
def test_a_name_tells_the_type(name: str, value: str) -> None:
    assert content_type(name) == value
