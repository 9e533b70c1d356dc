"""Put a front's objects together from a snapshot of the config. I/O: none; nothing is opened here."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from pyserve.config import model
from pyserve.errors import MisuseError
from pyserve.files.cache import FileCache
from pyserve.handlers.app import AppHandler, wire_head
from pyserve.handlers.interface import Handler, Lanes, Threads
from pyserve.handlers.modifiers import ErrorPage, Modifiers, prepare
from pyserve.handlers.nothing import NothingHandler
from pyserve.handlers.options import ServerOptionsHandler
from pyserve.handlers.pool import Pool
from pyserve.handlers.redirect import RedirectHandler
from pyserve.handlers.respond import RespondHandler
from pyserve.handlers.static import StaticHandler
from pyserve.handlers.worker import Reports, Timers
from pyserve.http.head import FieldParser
from pyserve.routing.router import Router
from pyserve.wire.board import Board

if TYPE_CHECKING:
    from pyserve.front.context import Context
    from pyserve.front.realm import Realm
    from pyserve.front.tls.handshakes import Handshakes
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
            websockets=app.websockets,
            websocket=app.websocket,
            grace_s=config.server.graceful_timeout_s,
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


class Routers(NamedTuple):
    http: Router[Handler]
    https: Router[Handler] | None


class OnHttps(NamedTuple):
    """What plain http has to know of the sites that are on https."""

    fault: Callable[[str], tuple[str, bool]]
    """From a site's name to what keeps it from being served there, and whether that is only a matter of time."""
    port: Callable[[], int]


def _with_challenges(site: model.Site, acme: model.Acme) -> model.Site:
    """Challenges come first, whatever the file says: no route for all paths may keep a site from its certificate."""
    from pyserve.config.acme import CHALLENGE_PATH

    return site._replace(routes=(model.Route(f"{CHALLENGE_PATH}*", model.Challenges(acme.storage)), *site.routes))


def build_router(
    config: model.Config,
    pools: dict[str, Pool],
    files: FileCache,
    lanes: Lanes,
    report: Report = lambda level, kind, text: None,
) -> Router[Handler]:
    """Return the routes of clear text, where no site is on https."""
    return build_routers(config, pools, files, lanes, report, None).http


def build_routers(
    config: model.Config,
    pools: dict[str, Pool],
    files: FileCache,
    lanes: Lanes,
    report: Report,
    on_https: OnHttps | None,
) -> Routers:
    """``report``: who hears of error pages that can't be had, and of what an application says behind its answer.

    Handlers are made once, whichever way they are reached.
    """
    error_pages = build_error_pages(pools, report)
    compressions = _Compressions(lanes.cpu)
    hand_overs = {app.name: build_hand_over(app, files, lanes, report) for app in config.apps}
    made: dict[tuple[int, int, int], Handler] = {}

    def make(handler: model.Handler, site: model.Site, route: model.Route | None) -> Handler:
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
            case model.Challenges(storage):
                from pyserve.handlers.challenge import ChallengeHandler

                return ChallengeHandler(storage, lanes.network)
        raise MisuseError(f"no handler for {handler!r}")

    def build(handler: model.Handler, site: model.Site, route: model.Route | None) -> Handler:
        key = (id(handler), id(site), id(route))
        if key not in made:
            made[key] = make(handler, site, route)
        return made[key]

    def modify(configured: model.Modifiers, site: model.Site) -> Modifiers | None:
        return prepare(configured, error_pages(configured.error_pages))

    def modify_on_https(configured: model.Modifiers, site: model.Site) -> Modifiers | None:
        return modify(_with_hsts(configured, site.tls), site)

    sites = [site if site.acme is None else _with_challenges(site, site.acme) for site in config.sites]
    options, nothing = ServerOptionsHandler(), NothingHandler()
    if on_https is None:
        return Routers(Router(sites, build, options, modify, nothing), None)
    from pyserve.handlers.https_gate import HttpsGate

    def wrap(handler: Handler, site: model.Site) -> Handler:
        tls = site.tls
        if tls is None or not (tls.redirect or tls.client_auth == "required"):
            return handler
        return HttpsGate(
            handler,
            partial(on_https.fault, site.name),
            (lambda: tls.redirect_port) if tls.redirect_port else on_https.port,
            redirects=tls.redirect,
            demands_certificate=tls.client_auth == "required",
        )

    return Routers(
        Router(sites, build, options, modify, nothing, wrap),
        Router(sites, build, options, modify_on_https, nothing),
    )


def _with_hsts(configured: model.Modifiers, tls: model.Tls | None) -> model.Modifiers:
    """RFC 6797 §7.2: over TLS only. What the operator says under that name goes before."""
    name = "strict-transport-security"
    if tls is None or not tls.hsts or any(known == name for known, _ in configured.headers):
        return configured
    return configured._replace(headers=(*configured.headers, (name, tls.hsts)))


def build_handshakes(config: model.Config, context: Context, router: Router[Handler]) -> Handshakes:
    """Imported only where there are https listeners: the TLS library takes 10 ms."""
    from pyserve.front.tls.certificates import Certificates
    from pyserve.front.tls.handshakes import Handshakes

    protocols = ("h2", "http/1.1") if config.server.http2 else ("http/1.1",)

    def make_realm(certificates: Certificates, tls: model.Tls) -> Realm:
        return context.make_realm(router, partial(certificates.barrier, tls))

    handshakes = Handshakes(context.loop, Certificates(config.sites, protocols, make_realm))
    if any(site.acme is not None for site in config.sites):
        from pyserve.front.tls.challenges import ChallengeCertificates

        handshakes.challenges = ChallengeCertificates(config.sites, context.lanes.network)
    return handshakes
