"""Step 4 of the request path: host → site, path → route, and with the route its handler.

Pure: no I/O, no clock. A Router is built once from checked config and never changes; a reload builds a new one and the
front swaps it in whole. Exact and wildcard hosts cost the same for one site or ten thousand. It builds no handler
itself: the caller's ``build`` does, and the router only hands them back.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Generic, NamedTuple, TypeVar

from pyserve.config.model import Handler, Modifiers, Route, Site
from pyserve.errors import Fate, RequestError
from pyserve.routing.matchers import NO_GROUPS, PathTable

H = TypeVar("H")


class Match(NamedTuple, Generic[H]):
    """What will answer a request."""

    site: Site
    route: Route | None
    """None = the site's own handler."""
    handler: H
    rest: str
    """What ``*`` or group 1 matched, without the slash before it; for a site the path without its first slash."""
    groups: Mapping[str, str]
    """The named groups of a ``~regex`` route; a group that took no part is ""."""
    modifiers: object = None
    """What ``prepare`` made of the config's modifiers."""


class _SiteTable(Generic[H]):
    __slots__ = ("asterisk", "handler", "handlers", "modifiers", "paths", "route_modifiers", "site")

    def __init__(
        self,
        site: Site,
        build: Callable[[Handler, Site, Route | None], H],
        prepare: Callable[[Modifiers, Site], object],
        asterisk: H | None,
        nothing: H | None,
        wrap: Callable[[H, Site], H],
    ) -> None:
        self.site = site
        self.asterisk = asterisk
        self.modifiers = prepare(site.modifiers, site)
        self.route_modifiers = [prepare(route.modifiers, site) for route in site.routes]
        self.paths = PathTable([route.path for route in site.routes])
        self.handlers = [wrap(build(route.handler, site, route), site) for route in site.routes]
        own = nothing if site.handler is None else build(site.handler, site, None)
        self.handler = None if own is None else wrap(own, site)

    def find(self, path: str) -> Match[H]:
        if path == "*" and self.asterisk is not None:
            return Match(self.site, None, self.asterisk, "", NO_GROUPS, self.modifiers)
        found = self.paths.find(path) if self.handlers and path[0] == "/" else None
        if found is not None:
            number, rest, groups = found
            route, handler = self.site.routes[number], self.handlers[number]
            return Match(self.site, route, handler, rest, groups, self.route_modifiers[number])
        if self.handler is None:
            raise RequestError(404, "no route takes this path", Fate.KEEP)
        return Match(self.site, None, self.handler, path[1:], NO_GROUPS, self.modifiers)


class Router(Generic[H]):
    """Exact host name first, then the longest wildcard, then regexes in file order, then the default site."""

    def __init__(
        self,
        sites: Sequence[Site],
        build: Callable[[Handler, Site, Route | None], H],
        asterisk: H | None = None,
        prepare: Callable[[Modifiers, Site], object] = lambda modifiers, site: None,
        nothing: H | None = None,
        wrap: Callable[[H, Site], H] = lambda handler, site: handler,
    ) -> None:
        """``asterisk``: who answers ``OPTIONS *``, which is no path of any site; ``nothing``: who answers for a site
        what none of its routes takes. ``prepare``: makes ``Match.modifiers`` of a site's or route's. ``wrap``: puts
        something before each handler of a site."""
        self._exact: dict[str, _SiteTable[H]] = {}
        self._wildcards: dict[str, _SiteTable[H]] = {}  # "a.com" for "*.a.com"
        self._most_labels = 0
        self._regexes: list[tuple[re.Pattern[str], _SiteTable[H]]] = []
        self._default: _SiteTable[H] | None = None
        for site in sites:
            table = _SiteTable(site, build, prepare, asterisk, nothing, wrap)
            for host in site.hosts:
                self._add_host(host, table)
            if site.default:
                self._default = table

    def _add_host(self, host: str, table: _SiteTable[H]) -> None:
        if host.startswith("~"):
            # Hosts have no case, so neither have their patterns.
            self._regexes.append((re.compile(host[1:], re.IGNORECASE), table))
        elif host.startswith("*."):
            suffix = host[2:].lower()
            self._wildcards.setdefault(suffix, table)
            self._most_labels = max(self._most_labels, suffix.count(".") + 1)
        else:
            self._exact.setdefault(host.lower(), table)

    def find(self, host: str, path: str) -> Match[H]:
        """Return the match for a canonical host (lower case, no port) and path.

        Raises ``RequestError``: 421 if no site has this name and there is no default (RFC 9110 §15.5.20), 404 if the
        site does not serve this path.
        """
        table = self._exact.get(host) or self._find_table(host)
        if table is None:
            raise RequestError(421, "no site has this name", Fate.KEEP)
        return table.find(path)

    def find_site(self, host: str) -> Site | None:
        """Return the site of a canonical host, the default one if none has this name, None if there is none."""
        table = self._exact.get(host) or self._find_table(host)
        return None if table is None else table.site

    def _find_table(self, host: str) -> _SiteTable[H] | None:
        if self._wildcards:
            # "x.y.a.com" → "y.a.com", "a.com", "com": any depth, longest suffix first, never the bare name itself.
            labels = host.rsplit(".", self._most_labels)
            for first in range(1, len(labels)):
                table = self._wildcards.get(".".join(labels[first:]))
                if table is not None:
                    return table
        for pattern, table in self._regexes:
            if pattern.search(host):
                return table
        return self._default
