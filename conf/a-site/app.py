"""The WSGI application of the demo: standard library only.

``application`` finds the page for the path, runs it and adds the headers that every answer has. What a visitor wrote
reaches a page only through ``pages``, which escapes it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from http import HTTPStatus
from typing import Any
from urllib.parse import parse_qs

import pages
from notebook import Notebook
from uploads import UploadError, read_upload

Environ = dict[str, Any]
Headers = list[tuple[str, str]]
StartResponse = Callable[[str, Headers], object]

MAX_FORM_BYTES = 16 * 1024

EVERY_ANSWER: Headers = [
    ("Content-Security-Policy", "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; "
     "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"),
    ("X-Content-Type-Options", "nosniff"),
    ("Referrer-Policy", "same-origin"),
    ("Cache-Control", "no-store"),
]  # fmt: skip

notebook = Notebook()


class Refused(Exception):
    """This request can't be answered as asked; the visitor is told why."""

    def __init__(self, status: HTTPStatus, reason: str, headers: Headers | None = None) -> None:
        super().__init__(reason)
        self.status = status
        self.reason = reason
        self.headers = headers


class Answer:
    """A whole answer: status, page, further headers."""

    def __init__(self, page: str, status: HTTPStatus = HTTPStatus.OK, headers: Headers | None = None) -> None:
        self.body = page.encode()
        self.status = status
        self.headers = headers or []


def show_home(environ: Environ) -> Answer:
    return Answer(pages.home(len(notebook)))


def show_notes(environ: Environ) -> Answer:
    return Answer(pages.notes(notebook.latest()))


def add_note(environ: Environ) -> Answer:
    form = read_form(environ)
    text = form.get("text", "").strip()
    if not text:
        return Answer(pages.notes(notebook.latest(), "Please write something first."), HTTPStatus.BAD_REQUEST)
    notebook.add(form.get("name", ""), text)
    # 303: the browser fetches the list with GET, and reloading it does not send the form again.
    return Answer("", HTTPStatus.SEE_OTHER, [("Location", "/notes")])


def show_upload(environ: Environ) -> Answer:
    return Answer(pages.upload())


def take_upload(environ: Environ) -> Answer:
    try:
        received = read_upload(environ["wsgi.input"], environ.get("CONTENT_TYPE", ""))
    except UploadError as error:
        raise Refused(HTTPStatus.BAD_REQUEST, str(error)) from None
    return Answer(pages.upload(received))


def show_request(environ: Environ) -> Answer:
    return Answer(pages.request(environ))


PAGES: dict[str, dict[str, Callable[[Environ], Answer]]] = {
    "/": {"GET": show_home},
    "/notes": {"GET": show_notes, "POST": add_note},
    "/upload": {"GET": show_upload, "POST": take_upload},
    "/request": {"GET": show_request},
}


def application(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    """WSGI (PEP 3333)."""
    try:
        answer = dispatch(environ)
    except Refused as refused:
        answer = Answer(pages.problem(refused.status, refused.reason), refused.status, refused.headers)
    status = f"{answer.status.value} {answer.status.phrase}"
    length = ("Content-Length", str(len(answer.body)))
    start_response(status, [("Content-Type", "text/html; charset=utf-8"), length, *EVERY_ANSWER, *answer.headers])
    return [b""] if environ["REQUEST_METHOD"] == "HEAD" else [answer.body]


def dispatch(environ: Environ) -> Answer:
    methods = PAGES.get(environ.get("PATH_INFO", "") or "/")
    if methods is None:
        raise Refused(HTTPStatus.NOT_FOUND, "There is no page at this address.")
    method = environ["REQUEST_METHOD"]
    view = methods.get("GET" if method == "HEAD" else method)
    if view is None:
        allowed = ", ".join(("HEAD", *methods))
        raise Refused(HTTPStatus.METHOD_NOT_ALLOWED, f"This page takes {allowed}.", [("Allow", allowed)])
    if method == "POST" and environ.get("HTTP_SEC_FETCH_SITE", "same-origin") not in ("same-origin", "none"):
        # A form on another site that posts here without the visitor wanting it.
        raise Refused(HTTPStatus.FORBIDDEN, "This form was sent from another site.")
    return view(environ)


def read_form(environ: Environ) -> dict[str, str]:
    """Return the fields of a small urlencoded form; the first value where a name comes twice."""
    length = int(environ.get("CONTENT_LENGTH") or 0)
    if length > MAX_FORM_BYTES:
        raise Refused(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "A note has room for 1,000 characters.")
    body = environ["wsgi.input"].read(MAX_FORM_BYTES + 1)
    if len(body) > MAX_FORM_BYTES:  # sent chunked, without a length
        raise Refused(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "A note has room for 1,000 characters.")
    try:
        fields = parse_qs(body.decode("utf-8", "replace"), max_num_fields=20, encoding="utf-8", errors="replace")
    except ValueError:
        raise Refused(HTTPStatus.BAD_REQUEST, "This form has too many fields.") from None
    return {name: values[0] for name, values in fields.items()}
