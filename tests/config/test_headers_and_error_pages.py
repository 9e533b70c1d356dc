"""Keys that modify any handler: headers, early_hints, error_pages; what routes inherit, what is said of mistakes."""

from __future__ import annotations

import tomllib
from typing import Any

import pytest

from pyserve.config.decode import Decoded, Facts, decode
from pyserve.config.model import ErrorPage, Modifiers
from pyserve.config.problems import Document

FACTS = Facts(python="/usr/bin/python3", cores=2, admin=lambda http: "/run/admin.sock", spool_dir="/var/tmp")
SECRETS = {("env", "CSP"): "default-src 'self'", ("env", "PAGE"): "errors/secret.html", ("env", "ODD"): "t0k\u00e9n"}
BASE = """\
[app.shop]
entry = "shop.wsgi:application"
[site.a]
default = true
app = "shop"
"""
ROUTE = """
[[site.a.route]]
path = "/x"
app = "shop"
"""


def resolve(kind: str, name: str) -> str:
    if (kind, name) not in SECRETS:
        raise LookupError(f"no {kind} {name}")
    return SECRETS[kind, name]


def decode_text(text: str) -> Decoded:
    return decode([Document("/srv/site.toml", "/srv", tomllib.loads(text), text)], FACTS, resolve)


def decode_tree(site: dict[str, Any]) -> Decoded:
    tree = {"app": {"shop": {"entry": "shop:app"}}, "site": {"a": {"default": True, "app": "shop", **site}}}
    return decode([Document("config", "/srv", tree)], FACTS, resolve)


def modifiers(lines: str, route: str | None = None) -> Modifiers:
    decoded = decode_text(BASE + lines + ("" if route is None else ROUTE + route))
    assert not decoded.problems.rendered()
    site = decoded.config.sites[0]
    return site.modifiers if route is None else site.routes[0].modifiers


def problems(lines: str) -> list[str]:
    return [f"{found.line}: {found.key}: {found.message}" for found in decode_text(BASE + lines).problems.rendered()]


# Headers.


def test_without_keys_nothing_is_modified() -> None:
    assert modifiers("") == modifiers("", "") == Modifiers()


def test_names_of_headers_have_no_case_and_values_are_kept() -> None:
    found = modifiers('headers = { X-Frame-Options = "DENY", Server = "", Content-Security-Policy = { env = "CSP" } }')
    assert found.headers == (
        ("x-frame-options", "DENY"),
        ("server", ""),
        ("content-security-policy", "default-src 'self'"),
    )
    assert {type(value) for _, value in found.headers} == {str}


def test_a_route_has_the_headers_of_its_site_and_its_own_win() -> None:
    found = modifiers('headers = { X-A = "site", X-B = "site" }', 'headers = { x-b = "route", X-C = "" }')
    assert dict(found.headers) == {"x-a": "site", "x-b": "route", "x-c": ""}


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("headers = 1", '6: site.a.headers: expected a table of names and values, as { X-Frame-Options = "DENY" }, '
         "not the integer 1"),
        ("headers = { X-A = 1 }", '6: site.a.headers.X-A: expected a string, { file = "…" } or { env = "…" }, '
         "not the integer 1"),
        ('headers = { "X A" = "b" }', '6: site.a.headers."X A": expected the name of a header field'),
        ('headers = { "" = "b" }', '6: site.a.headers."": expected the name of a header field'),
        ('headers = { "X-A:" = "b" }', '6: site.a.headers."X-A:": expected the name of a header field'),
        ('headers = { X-A = "a\\r\\nX-B: c" }', "6: site.a.headers.X-A: expected printable ASCII without space at the "
         'ends, not "a\\r\\nX-B: c"'),
        ('headers = { X-A = " a" }', '6: site.a.headers.X-A: expected printable ASCII without space at the ends, '
         'not " a"'),
        ('headers = { X-A = "é" }', '6: site.a.headers.X-A: expected printable ASCII without space at the ends, '
         'not "é"'),
        ('headers = { X-A = { env = "ODD" } }', "6: site.a.headers.X-A: expected printable ASCII without space at the "
         'ends, not the value of { env = "ODD" }'),
        ('headers = { Content-Length = "1" }', "6: site.a.headers.Content-Length: is not for a config to set: "
         "the server, or a handler, knows it"),
        ('headers = { Date = "" }', "6: site.a.headers.Date: is not for a config to set: the server, or a handler, "
         "knows it"),
        ('headers = { X-A = "1", x-a = "2" }', "6: site.a.headers.x-a: is given twice: upper and lower case make no "
         "difference (site.a.headers.X-A, /srv/site.toml:6)"),
    ],
)  # fmt: skip
def test_a_wrong_header_is_said_with_its_place(line: str, problem: str) -> None:
    assert problems(line) == [problem]


def test_a_name_that_is_no_string_is_a_problem() -> None:
    (problem,) = decode_tree({"headers": {1: "b"}}).problems.rendered()
    assert (problem.key, problem.message) == ("site.a.headers", "expected names of header fields that are strings")


# Early hints.


def test_hints_are_kept_as_written_and_inherited_whole() -> None:
    hints = '["</a.css>; rel=preload; as=style", "<https://cdn.test>; rel=preconnect; crossorigin"]'
    links = ("</a.css>; rel=preload; as=style", "<https://cdn.test>; rel=preconnect; crossorigin")
    assert modifiers(f"early_hints = {hints}").early_hints == links
    assert modifiers(f"early_hints = {hints}", "").early_hints == links
    assert modifiers(f"early_hints = {hints}", "early_hints = []").early_hints == ()
    assert modifiers(f"early_hints = {hints}", 'early_hints = ["</b>; rel=preload"]').early_hints == (
        "</b>; rel=preload",
    )


EXPECTED_LINK = 'expected a value of Link, as "</app.css>; rel=preload; as=style"'


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        ('"/a.css"', '6: site.a.early_hints: expected a list of strings, as ["</app.css>; rel=preload; as=style"], '
         "not a string"),
        ('["/a.css"]', f'6: site.a.early_hints[1]: {EXPECTED_LINK}, not "/a.css"'),
        ('["</a>; rel=preload", "</b>"]', f'6: site.a.early_hints[2]: {EXPECTED_LINK}, not "</b>"'),
        ('["</a>; rel=preload\\r\\nX: y"]', f'6: site.a.early_hints[1]: {EXPECTED_LINK}, '
         'not "</a>; rel=preload\\r\\nX: y"'),
        ('["</a>; title=\\"é\\""]', f'6: site.a.early_hints[1]: {EXPECTED_LINK}, not "</a>; title=\\"é\\""'),
        ("[7]", "6: site.a.early_hints[1]: expected a string, not the integer 7"),
    ],
)  # fmt: skip
def test_a_wrong_hint_is_said_with_its_place(value: str, problem: str) -> None:
    assert problems(f"early_hints = {value}") == [problem]


# Error pages.


def test_a_page_is_a_file_or_what_an_application_answers() -> None:
    found = modifiers(
        'error_pages = { 404 = "errors/404.html", 5xx = { app = "shop", path = "/oops?a=%20" }, 403 = { app = "shop" },'
        ' 410 = { env = "PAGE" } }'
    )
    assert found.error_pages == (
        ErrorPage("404", file="/srv/errors/404.html"),
        ErrorPage("5xx", app="shop", path="/oops?a=%20"),
        ErrorPage("403", app="shop", path="/"),
        ErrorPage("410", file="/srv/errors/secret.html"),
    )


def test_a_route_has_the_pages_of_its_site_and_its_own_win() -> None:
    site = 'error_pages = { 404 = "site.html", 4xx = "site.html", 500 = "site.html" }'
    found = modifiers(site, 'error_pages = { 404 = "route.html", 500 = "" }').error_pages
    assert {page.status: page.file for page in found} == {
        "404": "/srv/route.html",
        "4xx": "/srv/site.html",
        "500": "",
    }
    assert modifiers(site, "").error_pages == modifiers(site).error_pages


def test_a_file_that_is_missing_is_a_matter_of_the_surroundings() -> None:
    expectations = decode_text(BASE + 'error_pages = { 404 = "errors/404.html" }').expectations
    assert [(found.kind, found.target) for found in expectations if found.kind == "file"] == [
        ("file", "/srv/errors/404.html")
    ]


def test_a_program_may_say_statuses_as_numbers() -> None:
    decoded = decode_tree({"error_pages": {404: "e.html"}})
    assert not decoded.problems.rendered()
    assert decoded.config.sites[0].modifiers.error_pages == (ErrorPage("404", file="/srv/e.html"),)


EXPECTED_STATUS = 'expected a status from 400 to 599 or a class, as 404 or "5xx"'
EXPECTED_PATH = 'expected a path in percent-encoding, as "/errors/500"'


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        ('"404.html"', "6: site.a.error_pages: expected a table of statuses, as "
         '{ 404 = "errors/404.html", 5xx = "errors/5xx.html" }, not a string'),
        ('{ 200 = "a" }', f"6: site.a.error_pages.200: {EXPECTED_STATUS}"),
        ('{ 3xx = "a" }', f"6: site.a.error_pages.3xx: {EXPECTED_STATUS}"),
        ('{ 5XX = "a" }', f"6: site.a.error_pages.5XX: {EXPECTED_STATUS}"),
        ('{ 4040 = "a" }', f"6: site.a.error_pages.4040: {EXPECTED_STATUS}"),
        ("{ 404 = 1 }", '6: site.a.error_pages.404: expected a file, as "errors/404.html", or '
         '{ app = "shop", path = "/oops" }, not the integer 1'),
        ('{ 404 = "a\\u0000" }', "6: site.a.error_pages.404: expected a path without a NUL character"),
        ('{ 404 = { app = "shoe" } }', "6: site.a.error_pages.404.app: there is no [app.shoe]; did you mean "
         '"shop"?'),
        ('{ 404 = { app = "shop", paths = "/" } }', "6: site.a.error_pages.404.paths: unknown key; did you mean "
         '"path"?'),
        ('{ 404 = { path = "/x" } }', "6: site.a.error_pages.404.app: missing; expected the name of the [app] that "
         "has the page"),
        ('{ 404 = { app = "shop", path = "oops" } }', f'6: site.a.error_pages.404.path: {EXPECTED_PATH}, not "oops"'),
        ('{ 404 = { app = "shop", path = "/a b" } }', f'6: site.a.error_pages.404.path: {EXPECTED_PATH}, not "/a b"'),
        ('{ 404 = { app = "shop", path = "/é" } }', f'6: site.a.error_pages.404.path: {EXPECTED_PATH}, not "/é"'),
        ('{ 404 = { app = "shop", path = "/%zz" } }', f'6: site.a.error_pages.404.path: {EXPECTED_PATH}, not "/%zz"'),
        ('{ 404 = { app = "shop", path = "/%2f" } }', f'6: site.a.error_pages.404.path: {EXPECTED_PATH}, not "/%2f"'),
        ('{ 404 = { app = "shop", path = "/a#b" } }', f'6: site.a.error_pages.404.path: {EXPECTED_PATH}, not "/a#b"'),
    ],
)  # fmt: skip
def test_a_wrong_page_is_said_with_its_place(value: str, problem: str) -> None:
    assert problems(f"error_pages = {value}") == [problem]
