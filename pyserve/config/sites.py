"""``[site.NAME]`` and its routes: one table to one ``Site``; then what all sites together show: hosts, the default.

Pure. A route that could never be reached is a problem, found in one walk up each path: linear in the number of routes.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Any

from pyserve.config.apps import Expectation
from pyserve.config.files import FILE_MODIFIERS
from pyserve.config.handlers import HANDLERS, LATER_HANDLERS, Pattern, decode_handler
from pyserve.config.model import Acme, Modifiers, Respond, Route, Site
from pyserve.config.modifiers import MODIFIERS, decode_modifiers
from pyserve.config.problems import Path, Place, Problems, Secret, secret_like, show
from pyserve.config.table import Scope, Table
from pyserve.config.tls import decode_tls

_ROUTE_KEYS = frozenset({"path", *HANDLERS, *FILE_MODIFIERS, *MODIFIERS, "mount"})
_SITE_KEYS = frozenset({"hosts", "default", "max_body", "route", "tls", *HANDLERS, *FILE_MODIFIERS, *MODIFIERS})
_SITE_LATER = LATER_HANDLERS
_ROUTE_LATER = LATER_HANDLERS
_LABEL = re.compile(r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?")
_PATH_EXPECTED = 'expected an exact path "/x", a prefix "/x/*", or "~regex"'


def decode_site(
    name: str, values: Mapping[str, Any], path: Path, scope: Scope, apps: Collection[str], acme: Acme
) -> tuple[Site, list[Expectation]]:
    """``apps``: the names that an ``app`` handler may use. ``acme``: what ``tls.acme`` begins with.

    Hosts may still be ``Secret``: see ``check_together``.
    """
    table = Table(values, path, scope, _SITE_KEYS, _SITE_LATER)
    expectations: list[Expectation] = []
    hosts = _hosts(table)
    default = table.flag("default")
    if "hosts" not in table and table.values.get("default", False) is False:
        table.problem('missing; expected a list of names, as ["a-site.com"], or default = true', "hosts")
    handler = decode_handler(table, Pattern("site"), apps, expectations, is_optional="route" in table)
    modifiers = decode_modifiers(table, apps, expectations)
    routes = _routes(table, apps, expectations, modifiers)
    max_body_bytes = table.size_bytes("max_body", 0) if "max_body" in table else None
    tls, own_acme = decode_tls(table, acme, hosts, expectations) if "tls" in table else (None, None)
    if scope.fault:
        # Without a value that it refers to the site can't be what it is meant to be: leaving out only the route in
        # question could open what that route was to close. So all of it answers 503.
        handler, routes = Respond(status=503, body="503 Service Unavailable\n"), []
    return Site(
        name, hosts, default, handler, tuple(routes), max_body_bytes, modifiers, tls=tls, acme=own_acme
    ), expectations


def check_together(sites: list[tuple[Site, Place]], problems: Problems) -> tuple[Site, ...]:
    """Report hosts that two sites claim, and a second default site; return the sites, with hosts as plain strings.

    ``sites``: each with the place of its table.
    """
    owners: dict[str, Place] = {}
    default: Place | None = None
    for site, table_place in sites:
        document, path = table_place.document, table_place.path
        for host in site.hosts:
            place = Place(document, (*path, "hosts"))
            if host in owners:
                problems.add(place, f"the host {show(host)} is taken already", other=owners[host])
            else:
                owners[host] = place
        if site.default:
            place = Place(document, (*path, "default"))
            if default is not None:
                problems.add(place, "there is a default site already, and there can be only one", other=default)
            else:
                default = place
    return tuple(_plain(site) for site, _ in sites)


def _plain(site: Site) -> Site:
    if not any(isinstance(host, Secret) for host in site.hosts):
        return site
    return site._replace(hosts=tuple(map(str, site.hosts)))


def _hosts(table: Table) -> tuple[str, ...]:
    texts = table.texts("hosts", '["a-site.com", "*.a-site.com"]')
    if texts is None:
        return ()
    if not table.values["hosts"]:
        table.problem(
            'expected at least one name, as ["a-site.com"]; for any name leave hosts out and set default = true',
            "hosts",
        )
    hosts: list[str] = []
    for index, text in texts:
        if text.startswith("~"):
            _compile(table, text, "hosts", index)
            host = text
        else:
            host = secret_like(text, text.lower())
            if wrong := _wrong_host(host):
                table.problem(f"{wrong}, not {show(text)}", "hosts", index)
                continue
        if host in hosts:
            table.problem(f"{show(text)} is in this list already", "hosts", index)
        else:
            hosts.append(host)
    return tuple(hosts)


def _wrong_host(host: str) -> str:
    """Return what was expected, or "" for a good name. ``host`` is in lower case."""
    if "://" in host or "/" in host:
        return 'expected a name without scheme and path, as "a-site.com"'
    if host.startswith("[") and host.endswith("]"):
        return "" if re.fullmatch(r"\[[0-9a-f:.]+\]", host) else 'expected an IPv6 address in the brackets, as "[::1]"'
    if host == "*":
        return "expected a name (for requests to any name set default = true)"
    if ":" in host:
        return "expected a name without a port (ports are in [server] http)"
    if host.endswith("."):
        return "expected a name without a dot at its end"
    if not host.isascii():
        return f"expected the ASCII form of the name{'' if isinstance(host, Secret) else _ascii_form(host)}"
    name = host.removeprefix("*.")
    if "*" in name:
        return 'expected "*" only as the first label, as "*.a-site.com"'
    if len(name) > 253 or not all(_LABEL.fullmatch(label) for label in name.split(".")):
        return 'expected a host name, as "a-site.com" or "*.a-site.com"'
    return ""


def _ascii_form(host: str) -> str:
    try:
        return f", {show(host.encode('idna').decode('ascii'))}"
    except UnicodeError:
        return ""


def _compile(table: Table, text: str, *keys: str | int) -> re.Pattern[str] | None:
    try:
        return re.compile(text[1:])
    except (re.error, OverflowError, RecursionError) as error:
        reason = error.msg if isinstance(error, re.error) else "too large"
        table.problem(f"expected a regular expression after ~: {reason}", *keys)
        return None


def _routes(table: Table, apps: Collection[str], expectations: list[Expectation], modifiers: Modifiers) -> list[Route]:
    if "route" not in table:
        return []
    values = table.values["route"]
    if not isinstance(values, (list, tuple)):
        table.wrong_type(
            values,
            f"a list of tables: [[{'.'.join(str(part) for part in table.path)}.route]] with two brackets",
            "route",
        )
        return []
    routes: list[Route] = []
    reached = _Reached()
    for index, value in enumerate(values):
        if not isinstance(value, Mapping):
            table.wrong_type(value, "a table", "route", index)
            continue
        route = Table(value, (*table.path, "route", index), table.scope, _ROUTE_KEYS, _ROUTE_LATER)
        pattern = _pattern(route)
        if pattern.kind != "unknown":
            reached.add(route, pattern, index, table)
        handler = decode_handler(route, pattern, apps, expectations)
        own = decode_modifiers(route, apps, expectations, modifiers)
        if handler is not None and pattern.text:
            routes.append(Route(pattern.text, handler, own))
    return routes


def _pattern(route: Table) -> Pattern:
    """The route's ``path``; kind "unknown" (and a problem) if it can't be told."""
    unknown = Pattern("unknown")
    if "path" not in route:
        route.problem(f"missing; {_PATH_EXPECTED}", "path")
        return unknown
    text = route.text("path")
    if not text:
        return unknown
    if text.startswith("~"):
        regex = _compile(route, text, "path")
        if regex is None:
            return unknown
        return Pattern("regex", str(text), groups=frozenset(regex.groupindex), has_rest=regex.groups > 0)
    if not text.startswith("/"):
        route.problem(f"{_PATH_EXPECTED}, not {show(text)}", "path")
        return unknown
    literal, kind = (text[:-2], "prefix") if text.endswith("/*") else (str(text), "exact")
    if "*" in literal:
        route.problem(f'expected "*" only at the end, after a slash, as "/x/*", not {show(text)}', "path")
        return unknown
    if any(segment in (".", "..") for segment in literal.split("/")):
        route.problem('can never match: "." and ".." are gone from a request\'s path before routes are tried', "path")
        return unknown
    if "\0" in literal:
        route.problem("can never match: a path with a NUL character is refused before routes are tried", "path")
        return unknown
    return Pattern(kind, str(text), literal=literal, has_rest=True)


class _Reached:
    """What the routes so far take: a later route that lies wholly within it can never match."""

    def __init__(self) -> None:
        self._taken: dict[tuple[str, str], int] = {}

    def add(self, route: Table, pattern: Pattern, index: int, site: Table) -> None:
        earlier = self._earlier(pattern)
        if earlier is not None:
            message = "can never match: an earlier route takes all of it"
            route.problem(message, "path", other=site.place("route", earlier, "path"))
            return
        literal = pattern.text if pattern.kind == "regex" else pattern.literal
        self._taken[pattern.kind, literal] = index

    def _earlier(self, pattern: Pattern) -> int | None:
        if pattern.kind == "regex":
            found = self._taken.get(("regex", pattern.text))
            return self._taken.get(("prefix", "")) if found is None else found
        if pattern.kind == "exact" and (found := self._taken.get(("exact", pattern.literal))) is not None:
            return found
        ancestor = pattern.literal
        while True:
            if (found := self._taken.get(("prefix", ancestor))) is not None:
                return found
            if not ancestor:
                return None
            ancestor = ancestor.rpartition("/")[0]
