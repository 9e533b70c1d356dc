"""The usual site of the tests: host ``w`` served by the WSGI trial application, host ``a`` by its ASGI twin."""

from __future__ import annotations


def app(kind: str, more: str = "", *, name: str = "", workers: int = 1) -> str:
    """Return the tables of one trial application. ``kind``: "wsgi" or "asgi"; ``more``: further lines."""
    return f"""
[app.{name or kind}]
entry = "trial_{kind}:application"
root = "APPS"
workers = {workers}
{more}
"""


def both(wsgi: str = "", asgi: str = "", more_sites: str = "") -> str:
    return f"""
{app("wsgi", wsgi)}
{app("asgi", asgi)}
[site.w]
hosts = ["w"]
app = "wsgi"

[site.a]
hosts = ["a"]
app = "asgi"
{more_sites}
"""


def one(kind: str, more: str = "", *, workers: int = 1, site: str = "") -> str:
    """Return one application as the only site, host ``a``."""
    return f"""
{app(kind, more, workers=workers)}
[site.a]
hosts = ["a"]
app = "{kind}"
{site}
"""
