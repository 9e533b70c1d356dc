"""The WSGI application of the demo: correct by the standard's own validator, and safe with what visitors write."""

from __future__ import annotations

import hashlib
import io
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple
from wsgiref.util import setup_testing_defaults
from wsgiref.validate import validator

import pytest

FOLDER = Path(__file__).resolve().parents[2] / "conf" / "a-site"
MODULES = ("app", "notebook", "pages", "uploads")


class Reply(NamedTuple):
    status: str
    headers: dict[str, str]
    text: str


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """The application's module, imported afresh: its notebook is empty."""
    monkeypatch.syspath_prepend(str(FOLDER))
    for name in MODULES:
        monkeypatch.delitem(sys.modules, name, raising=False)
    import app  # type: ignore[import-not-found, unused-ignore]

    yield app
    for name in MODULES:
        sys.modules.pop(name, None)


def ask(site: ModuleType, method: str, path: str, body: bytes = b"", **environ: str) -> Reply:
    full: dict[str, Any] = {}
    setup_testing_defaults(full)
    full |= {"REQUEST_METHOD": method, "PATH_INFO": path, "QUERY_STRING": "", "CONTENT_LENGTH": str(len(body))}
    full |= {"wsgi.input": io.BytesIO(body), **environ}
    head: list[Any] = []

    def start_response(status: str, headers: list[tuple[str, str]], exc_info: object = None) -> Any:
        head[:] = [status, dict(headers)]
        return lambda data: None

    answer = validator(site.application)(full, start_response)
    try:
        text = b"".join(answer).decode()
    finally:
        answer.close()  # type: ignore[attr-defined, unused-ignore]
    return Reply(head[0], head[1], text)


def multipart(data: bytes, file_name: str = "a.bin") -> tuple[bytes, str]:
    head = f'--XX\r\nContent-Disposition: form-data; name="file"; filename="{file_name}"\r\nContent-Type: x/y\r\n\r\n'
    field = b'--XX\r\nContent-Disposition: form-data; name="note"\r\n\r\nhello\r\n'
    return field + head.encode() + data + b"\r\n--XX--\r\n", "multipart/form-data; boundary=XX"


@pytest.mark.parametrize("path", ["/", "/notes", "/upload", "/request"])
def test_every_page_answers_get_and_head(site: ModuleType, path: str) -> None:
    page = ask(site, "GET", path)
    assert page.status == "200 OK"
    assert page.headers["Content-Length"] == str(len(page.text.encode()))
    assert "default-src 'none'" in page.headers["Content-Security-Policy"]
    assert ask(site, "HEAD", path).text == ""


def test_a_note_is_shown_escaped(site: ModuleType) -> None:
    sent = ask(site, "POST", "/notes", b"name=%3Cb%3EEve&text=%3Cscript%3Ealert%281%29%3C%2Fscript%3E")
    assert (sent.status, sent.headers["Location"]) == ("303 See Other", "/notes")
    page = ask(site, "GET", "/notes").text
    assert "&lt;script&gt;alert(1)" in page
    assert "&lt;b&gt;Eve" in page
    assert "<script>alert" not in page


def test_the_request_page_escapes_and_hides(site: ModuleType) -> None:
    page = ask(site, "GET", "/request", HTTP_X="<script>", HTTP_COOKIE="session=secret", SECRET_KEY="secret").text
    assert "&lt;script&gt;" in page
    assert "secret" not in page


@pytest.mark.parametrize(
    ("method", "path", "body", "environ", "status"),
    [
        ("GET", "/nowhere", b"", {}, "404"),
        ("PUT", "/notes", b"", {}, "405"),
        ("POST", "/notes", b"text=+", {}, "400"),
        ("POST", "/notes", b"text=" + b"x" * 20_000, {}, "413"),
        ("POST", "/notes", b"&".join([b"a=1"] * 30), {}, "400"),
        ("POST", "/notes", b"text=hi", {"HTTP_SEC_FETCH_SITE": "cross-site"}, "403"),
        ("POST", "/upload", b"x", {"CONTENT_TYPE": "text/plain"}, "400"),
        ("POST", "/upload", b"x", {"CONTENT_TYPE": "multipart/form-data; boundary=XX"}, "400"),
        ("POST", "/upload", b"--XX--\r\n", {"CONTENT_TYPE": "multipart/form-data; boundary=XX"}, "400"),
    ],
)
def test_what_can_not_be_answered_is_refused(
    site: ModuleType, method: str, path: str, body: bytes, environ: dict[str, str], status: str
) -> None:
    assert ask(site, method, path, body, **environ).status.startswith(status)


@pytest.mark.parametrize("data", [b"", b"\r\n", b"x", b"\r\n--X", bytes(range(256)) * 1000 + b"\r\n--XY"])
def test_an_upload_is_hashed_whatever_is_in_it(site: ModuleType, data: bytes) -> None:
    body, content_type = multipart(data, "<i>.bin")
    page = ask(site, "POST", "/upload", body, CONTENT_TYPE=content_type).text
    assert hashlib.sha256(data).hexdigest() in page
    assert f"{len(data):,} bytes" in page
    assert "&lt;i&gt;.bin" in page


def test_an_upload_may_come_byte_by_byte(site: ModuleType) -> None:
    class OneByOne(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            return super().read(1)

    data = b"\r\n--X\r\n--XXtail"[:5] + b"end"
    body, content_type = multipart(data)
    received = sys.modules["uploads"].read_upload(OneByOne(body), content_type)
    assert received == ("a.bin", len(data), hashlib.sha256(data).hexdigest())


def test_the_notebook_is_bounded(site: ModuleType) -> None:
    for number in range(150):
        site.notebook.add("n" * 500, f"{number}" + "x" * 5000)
    notes = site.notebook.latest()
    assert len(notes) == 100
    assert notes[0].text.startswith("149")
    assert len(notes[0].text) == 1000
