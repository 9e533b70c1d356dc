"""Put a front's objects together from a snapshot of the config. I/O: none; nothing is opened here."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pyserve.config import model
from pyserve.errors import MisuseError
from pyserve.files.cache import FileCache
from pyserve.handlers.app import AppHandler, wire_head
from pyserve.handlers.interface import Handler, Lanes, Threads
from pyserve.handlers.modifiers import prepare
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
    from pyserve.handlers.compressed import Compression
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
        )
        for index, app in enumerate(config.apps)
    ]


def build_compression(modifiers: model.Modifiers, cpu: Threads) -> Compression | None:
    """Imported only where something is compressed."""
    if modifiers.compress is None:
        return None
    from pyserve.handlers.compressed import Compression

    return Compression(modifiers.compress, cpu)


def build_router(config: model.Config, pools: dict[str, Pool], files: FileCache, lanes: Lanes) -> Router[Handler]:
    def build(handler: model.Handler, site: model.Site, route: model.Route | None) -> Handler:
        modifiers = site.modifiers if route is None else route.modifiers
        match handler:
            case model.Files():
                return StaticHandler(handler, files, lanes, build_compression(modifiers, lanes.cpu))
            case model.RunApp(app, mount):
                return AppHandler(pools[app], mount, build_compression(modifiers, lanes.cpu))
            case model.Redirect():
                return RedirectHandler(handler)
            case model.Respond():
                return RespondHandler(handler)
        raise MisuseError(f"no handler for {handler!r}")

    return Router(
        config.sites, build, ServerOptionsHandler(), lambda configured, site: prepare(configured), NothingHandler()
    )
