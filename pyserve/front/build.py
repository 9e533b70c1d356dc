"""Put a front's objects together from a snapshot of the config. I/O: none; nothing is opened here."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from pyserve.config import model
from pyserve.errors import MisuseError
from pyserve.files.cache import FileCache
from pyserve.handlers.app import AppHandler, wire_head
from pyserve.handlers.interface import Handler, Lanes, Threads
from pyserve.handlers.modifiers import ErrorPage, Modifiers, prepare
from pyserve.handlers.nothing import NothingHandler
from pyserve.handlers.options import ServerOptionsHandler
from pyserve.handlers.pool import Pool, Reports, Timers
from pyserve.handlers.redirect import RedirectHandler
from pyserve.handlers.respond import RespondHandler
from pyserve.handlers.static import StaticHandler
from pyserve.http.head import FieldParser
from pyserve.routing.router import Router
from pyserve.wire.board import Board

if TYPE_CHECKING:
    from pyserve.handlers.compressed import Compression, Streams
    from pyserve.handlers.file_page import Report
    from pyserve.handlers.hand_over import HandOver
    from pyserve.http.forwarded import TrustedProxies


def build_parser(name: str) -> FieldParser:
    """Only the parser that is asked for is imported."""
    if name == "h11":
        from pyserve.http.h1_h11 import parse_fields
    else:
        from pyserve.http.h1_httptools import parse_fields
    return parse_fields


def build_proxies(config: model.Config) -> TrustedProxies | None:
    """Imported only where there are any: reading addresses takes 5 ms to import."""
    if not config.server.trusted_proxies:
        return None
    from pyserve.http.forwarded import TrustedProxies

    return TrustedProxies(config.server.trusted_proxies)


def build_pools(config: model.Config, front: int, board: Board, timers: Timers, reports: Reports) -> list[Pool]:
    """One pool per app, in the order of the config."""
    limits = config.server.limits
    return [
        Pool(
            app.name,
            index,
            threads=app.threads,
            concurrency=app.concurrency,
            timeout_s=app.timeout_s,
            queue_size=app.queue_size,
            queue_timeout_s=app.queue_timeout_s,
            spool_dir=limits.spool_dir,
            spool_bytes=limits.response_spool_bytes,
            wire_head=wire_head,
            front=front,
            board=board,
            timers=timers,
            reports=reports,
            health=frozenset(app.health),
            startup_timeout_s=0.0 if app.scaling is None else app.startup_timeout_s,
        )
        for index, app in enumerate(config.apps)
    ]


class _Compressions:
    """Makes what routes compress with: one for a front, so that the bound on streams is one. Imports only at need."""

    def __init__(self, cpu: Threads) -> None:
        self._cpu = cpu
        self._streams: Streams | None = None

    def build(self, compress: model.Compress | None) -> Compression | None:
        if compress is None:
            return None
        from pyserve.handlers.compressed import Compression, Streams

        if self._streams is None:
            self._streams = Streams()
        return Compression(compress, self._cpu, self._streams)


def build_error_pages(
    pools: Mapping[str, Pool], report: Report
) -> Callable[[tuple[model.ErrorPage, ...]], dict[int, ErrorPage] | None]:
    """Return what makes the pages of a site or route, by status; an equal page of two is one object.

    An exact status wins over its class; a page that is neither file nor application is the built-in one.
    """
    known: dict[tuple[str, str, str], ErrorPage] = {}

    def page_for(configured: model.ErrorPage) -> ErrorPage:
        key = configured[1:]
        page = known.get(key)
        if page is None:
            page = known[key] = make(*key)
        return page

    def make(file: str, app: str, path: str) -> ErrorPage:
        """Imported only where there are any."""
        if app:
            from pyserve.handlers.app_page import AppPage

            return AppPage(pools[app], path, report)
        from pyserve.handlers.file_page import FilePage

        return FilePage(file, report)

    def build(configured: tuple[model.ErrorPage, ...]) -> dict[int, ErrorPage] | None:
        pages: dict[int, ErrorPage] = {}
        for page in sorted(configured, key=lambda page: not page.status.endswith("xx")):
            first = int(page.status.replace("x", "0"))
            for status in range(first, first + (100 if page.status.endswith("xx") else 1)):
                if page.file or page.app:
                    pages[status] = page_for(page)
                else:
                    pages.pop(status, None)
        return pages or None

    return build


def build_hand_over(app: model.App, files: FileCache, lanes: Lanes, report: Report) -> HandOver | None:
    """Imported only where applications name files."""
    if not app.hand_over:
        return None
    from pyserve.handlers.hand_over import HandOver

    return HandOver(app.name, app.hand_over, files, lanes, report)


def build_router(
    config: model.Config,
    pools: dict[str, Pool],
    files: FileCache,
    lanes: Lanes,
    report: Report = lambda level, kind, text: None,
) -> Router[Handler]:
    """``report``: who hears of error pages that can't be had, and of what an application says behind its answer."""
    error_pages = build_error_pages(pools, report)
    compressions = _Compressions(lanes.cpu)
    hand_overs = {app.name: build_hand_over(app, files, lanes, report) for app in config.apps}

    def build(handler: model.Handler, site: model.Site, route: model.Route | None) -> Handler:
        modifiers = site.modifiers if route is None else route.modifiers
        match handler:
            case model.Files():
                return StaticHandler(handler, files, lanes, compressions.build(modifiers.compress))
            case model.RunApp(app, mount):
                return AppHandler(pools[app], mount, compressions.build(modifiers.compress), hand_overs[app])
            case model.Redirect():
                return RedirectHandler(handler)
            case model.Respond():
                return RespondHandler(handler)
        raise MisuseError(f"no handler for {handler!r}")

    def modify(configured: model.Modifiers, site: model.Site) -> Modifiers | None:
        return prepare(configured, error_pages(configured.error_pages))

    return Router(config.sites, build, ServerOptionsHandler(), modify, NothingHandler())
