"""Keys that modify any handler: headers, compress, early_hints, error_pages.

Pure. A route has those of its site where it has none of its own; of ``headers`` it has both, its own winning.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping

from pyserve.config.apps import Expectation
from pyserve.config.handlers import no_such_app
from pyserve.config.model import Compress, ErrorPage, Modifiers
from pyserve.config.problems import show
from pyserve.config.table import Table

MODIFIERS = ("headers", "compress", "early_hints", "error_pages")
CODINGS = ("br", "zstd", "gzip")
_NAME = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_VALUE = re.compile(r"[\x21-\x7e](?:[\x20-\x7e\t]*[\x21-\x7e])?")
_TYPE = re.compile(r"[A-Za-z0-9!#$&^_.+*-]+/[A-Za-z0-9!#$&^_.+*-]+")
_LINK = re.compile(r"<[\x21\x23-\x3b\x3d\x3f-\x7e]+>(?:; *[a-z]+(?:=(?:[A-Za-z0-9_/.+-]+|\"[\x20\x21\x23-\x7e]*\"))?)+")
_STATUS = re.compile(r"[45](?:[0-9]{2}|xx)")
# What ``http.target`` takes for a path and a query.
_TARGET = re.compile(
    r"/(?:[A-Za-z0-9._~!$&'()*+,;=:@/-]|%(?!00|2[Ff])[0-9A-Fa-f]{2})*"
    r"(?:\?(?:[A-Za-z0-9._~!$&'()*+,;=:@/?-]|%[0-9A-Fa-f]{2})*)?"
)
# The front writes these itself, or they say how a message is framed.
_OURS = frozenset(
    (b"content-length", b"transfer-encoding", b"connection", b"keep-alive", b"proxy-connection", b"upgrade", b"te",
     b"trailer", b"date", b"content-encoding", b"content-range", b"content-type", b"location")
)  # fmt: skip


def decode_modifiers(
    table: Table, apps: Collection[str], expectations: list[Expectation], site: Modifiers | None = None
) -> Modifiers:
    """``site``: what a route begins with; None for a site."""
    base = site or Modifiers()
    return Modifiers(
        headers=_headers(table, base.headers),
        compress=_compress(table, base.compress),
        early_hints=_early_hints(table, base.early_hints),
        error_pages=_error_pages(table, base.error_pages, apps, expectations),
    )


def _headers(table: Table, base: tuple[tuple[str, str], ...]) -> tuple[tuple[str, str], ...]:
    if "headers" not in table:
        return base
    values = table.values["headers"]
    if not isinstance(values, Mapping):
        table.wrong_type(values, 'a table of names and values, as { X-Frame-Options = "DENY" }', "headers")
        return base
    found = dict(base)
    own: dict[str, str] = {}
    for name, value in values.items():
        if not isinstance(name, str):
            table.problem("expected names of header fields that are strings", "headers")
            continue
        lower = name.lower()
        other = own.setdefault(lower, name)
        text = table.reference_or_text(value, ("headers", name))
        if not _NAME.fullmatch(name):
            table.problem("expected the name of a header field", "headers", name)
        elif other != name:
            table.problem(
                "is given twice: upper and lower case make no difference",
                "headers",
                name,
                other=table.place("headers", other),
            )
        elif lower.encode() in _OURS:
            table.problem("is not for a config to set: the server, or a handler, knows it", "headers", name)
        elif text and not _VALUE.fullmatch(text):
            table.problem(f"expected printable ASCII without space at the ends, not {show(text)}", "headers", name)
        elif text is not None:
            found[lower] = str(text)
    return tuple(found.items())


def _compress(table: Table, base: Compress | None) -> Compress | None:
    if "compress" not in table:
        return base
    value = table.values["compress"]
    if value is True:
        return Compress()
    if value is False:
        return None
    if not isinstance(value, Mapping):
        table.wrong_type(value, 'true, false or a table, as { types = ["text/*"], min = "1KiB" }', "compress")
        return base
    inner = table.table("compress", ("types", "min", "codings"))
    assert inner is not None
    default = Compress()
    types = default.types
    given = inner.texts("types", '["text/*", "application/json"]')
    if given is not None:
        for index, text in given:
            if not _TYPE.fullmatch(text):
                inner.problem(f'expected a media type, as "text/*", not {show(text)}', "types", index)
        types = tuple(str(text).lower() for _, text in given)
    codings = default.codings
    named = inner.texts("codings", '["br", "zstd", "gzip"]')
    if named is not None:
        for index, text in named:
            if text not in CODINGS:
                inner.problem(f'expected "br", "zstd" or "gzip", not {show(text)}', "codings", index)
        codings = tuple(str(text) for _, text in named if text in CODINGS)
    return Compress(types, inner.size_bytes("min", default.min_bytes), codings)


def _early_hints(table: Table, base: tuple[str, ...]) -> tuple[str, ...]:
    texts = table.texts("early_hints", '["</app.css>; rel=preload; as=style"]')
    if texts is None:
        return base
    for index, text in texts:
        if not _LINK.fullmatch(text):
            example = "</app.css>; rel=preload; as=style"
            table.problem(f"expected a value of Link, as {show(example)}, not {show(text)}", "early_hints", index)
    return tuple(str(text) for _, text in texts)


def _error_pages(
    table: Table, base: tuple[ErrorPage, ...], apps: Collection[str], expectations: list[Expectation]
) -> tuple[ErrorPage, ...]:
    if "error_pages" not in table:
        return base
    values = table.values["error_pages"]
    if not isinstance(values, Mapping):
        table.wrong_type(
            values, 'a table of statuses, as { 404 = "errors/404.html", 5xx = "errors/5xx.html" }', "error_pages"
        )
        return base
    found = {page.status: page for page in base}
    for key, value in values.items():
        status = str(key)  # a program may say 404 where a file can't
        place = ("error_pages", status)
        if not _STATUS.fullmatch(status):
            table.problem('expected a status from 400 to 599 or a class, as 404 or "5xx"', *place)
        elif value == "":
            found[status] = ErrorPage(status)
        elif isinstance(value, Mapping) and ("app" in value or "path" in value):
            inner = Table(value, (*table.path, *place), table.scope, ("app", "path"))
            app, path = inner.text("app"), inner.text("path", "/")
            if "app" not in inner:
                inner.problem("missing; expected the name of the [app] that has the page", "app")
            elif app and app not in apps:
                inner.problem(no_such_app(app, apps), "app")
            if not _TARGET.fullmatch(path):
                inner.problem(f'expected a path in percent-encoding, as "/errors/500", not {show(path)}', "path")
            elif app:
                found[status] = ErrorPage(status, app=str(app), path=str(path))
        else:
            text = table.text_at(value, place, 'a file, as "errors/404.html", or { app = "shop", path = "/oops" }')
            if "\0" in text:
                table.problem("expected a path without a NUL character", *place)
            elif text:
                file = table.scope.absolute(text)
                expectations.append(Expectation("file", file, table.place(*place)))
                found[status] = ErrorPage(status, file=file)
    return tuple(found.values())
