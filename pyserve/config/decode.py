"""The tree of a site.toml to a ``Config``: every problem at once, each with its key path and what was expected.

Pure: the machine's facts and the way to follow references are passed in; what must exist outside the file is returned
as expectations. Never raises. List indexes in key paths count from 1: ``route[1]`` is the first.

Several documents are merged by name: an app or site may stand in any of them, but only in one; ``[server]`` and
``[log]`` too.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, NamedTuple, cast

from pyserve.config.apps import Expectation, decode_app
from pyserve.config.model import AccessLog, Acme, App, Config, ErrorLog, Limits, Listener, Log, Server, Site
from pyserve.config.problems import Document, Place, Problems, show
from pyserve.config.sites import check_together, decode_site
from pyserve.config.table import Resolver, Scope, Table, kind_of, report_unknown_key
from pyserve.config.units import check_unix_path, parse_listener

_TOP = ("server", "log", "app", "site")
_TOP_LATER = ("upstream",)
_SERVER = (
    "http",
    "https",
    "fronts",
    "user",
    "admin",
    "graceful_timeout",
    "trusted_proxies",
    "parser",
    "loop",
    "http2",
    "h2c",
    "limits",
    "memory",
    "acme",
)
_SERVER_LATER = ("status",)
_LISTENER = ("address", "proxy_protocol")
_LIMITS = (
    *("head_timeout", "body_timeout", "write_timeout", "keepalive_timeout", "max_head", "max_headers", "max_body"),
    *("min_rate", "max_streams", "max_connections", "response_spool", "spool_dir"),
)
_LOG = ("access", "error")
_LOG_LATER = ("slow",)
# A worker's shared page has room for this many fronts (wire.scoreboard).
MAX_FRONTS = 64


class Facts(NamedTuple):
    """What decode has to know about the machine and the process."""

    python: str
    """The interpreter of apps that name none: pyserve's own."""
    cores: int
    admin: Callable[[tuple[Listener, ...]], str]
    """The admin socket where the file names none, by the addresses."""
    spool_dir: str
    state_dir: str = "/var/lib/pyserve"
    """Where what has to outlive the process is kept, if the file does not say."""


class Decoded(NamedTuple):
    config: Config
    """Worth something only if ``problems`` has none of form. ``files`` and ``surroundings`` are left empty."""
    expectations: tuple[Expectation, ...]
    problems: Problems
    places: Mapping[tuple[str, ...], Place]
    """Where each app, ("app", name), and each site stands."""


def decode(documents: Sequence[Document], facts: Facts, resolve: Resolver) -> Decoded:
    """Return what the documents say, with all problems and with what must exist outside them."""
    problems = Problems()
    expectations: list[Expectation] = []
    tables = _merge(documents, problems, resolve)

    server = _server(tables.get(("server",)), facts, problems, resolve, expectations, documents)
    log = _log(tables.get(("log",)), problems, resolve, expectations)

    apps: list[App] = []
    sites: list[tuple[Site, Place]] = []
    # Also those that are wrong: a site that names one of them is not at fault.
    app_names = {path[1] for path in tables if path[0] == "app"}
    for path, (document, values) in tables.items():
        if path[0] == "app":
            app, expected = decode_app(
                path[1], values, path, Scope(document, problems, resolve), python=facts.python, cores=facts.cores
            )
            apps.append(app)
            expectations += expected
        elif path[0] == "site":
            site, expected = decode_site(
                path[1], values, path, Scope(document, problems, resolve), app_names, server.acme
            )
            sites.append((site, Place(document, path)))
            expectations += expected
    checked_sites = check_together(sites, problems)
    _check_tls(server, sites, documents, problems)
    if not sites:
        _report_no_site(documents, apps, problems)

    config = Config(server=server, log=log, apps=tuple(apps), sites=checked_sites)
    places = {path: Place(document, path) for path, (document, _) in tables.items()}
    return Decoded(config, tuple(expectations), problems, places)


_Tables = dict[tuple[str, ...], tuple[Document, Mapping[str, Any]]]


def _merge(documents: Sequence[Document], problems: Problems, resolve: Resolver) -> _Tables:
    """Return the tables of all documents by path: ("server",), ("log",), ("app", name), ("site", name)."""
    tables: _Tables = {}

    def add(document: Document, path: tuple[str, ...], values: object) -> None:
        if not isinstance(values, Mapping):
            problems.add(Place(document, path), f"expected a table, not {kind_of(values)}")
        elif path in tables:
            problems.add(Place(document, path), "is there already, in another file", other=Place(tables[path][0], path))
        else:
            tables[path] = (document, values)

    for document in documents:
        scope = Scope(document, problems, resolve)
        for key, values in document.tree.items():
            if key in ("server", "log"):
                add(document, (key,), values)
            elif key in ("app", "site"):
                if not isinstance(values, Mapping):
                    problems.add(Place(document, (key,)), f"expected tables [{key}.NAME], not {kind_of(values)}")
                    continue
                for name, table in values.items():
                    if wrong := _wrong_name(name):
                        problems.add(Place(document, (key, str(name))), wrong)
                    else:
                        add(document, (key, name), table)
            else:
                report_unknown_key(scope, (), key, _TOP, _TOP_LATER)
    return tables


def _check_tls(
    server: Server, sites: Sequence[tuple[Site, Place]], documents: Sequence[Document], problems: Problems
) -> None:
    """Report listeners without a site for them, and sites without a listener."""
    if server.https and sites and not any(site.tls for site, _ in sites):
        document = next((document for document in documents if "server" in document.tree), documents[0])
        problems.add(
            Place(document, ("server", "https")),
            'no site would be served there; give one a certificate, as tls = { cert = "a.pem", key = "a.key" }',
        )
    for site, place in sites:
        if site.tls and not server.https and not any("https" in _table_of(document) for document in documents):
            problems.add(
                Place(place.document, (*place.path, "tls")),
                'has no effect without an address for it: add https = ":443" to [server]',
            )


def _table_of(document: Document) -> Mapping[str, Any]:
    server = document.tree.get("server")
    return server if isinstance(server, Mapping) else {}


def _wrong_name(name: object) -> str:
    """Names stand in process titles, logs and on one line of messages."""
    if not isinstance(name, str) or not 1 <= len(name) <= 100 or not name.isprintable():
        return "expected a name of 1 to 100 printable characters"
    return ""


def _report_no_site(documents: Sequence[Document], apps: list[App], problems: Problems) -> None:
    if any(document.tree.get("site") for document in documents):
        return  # there are sites, and what is wrong with them has been said
    place = Place(documents[0], ()) if documents else Place(Document("config", "", {}), ())
    if apps:
        name = apps[0].name
        add = f'add [site.{name}] with hosts = ["example.com"] (or default = true) and app = {show(name)}'
        problems.add(place, f"no site: nothing would reach the app {show(name)}; {add}")
    else:
        add = 'add [site.NAME] with hosts = ["example.com"] and files = "public", or another handler'
        problems.add(place, f"no site: nothing to serve; {add}")


def _server(
    found: tuple[Document, Mapping[str, Any]] | None,
    facts: Facts,
    problems: Problems,
    resolve: Resolver,
    expectations: list[Expectation],
    documents: Sequence[Document],
) -> Server:
    document, values = found or (documents[0] if documents else Document("config", "", {}), {})
    scope = Scope(document, problems, resolve, needs_references=True)
    table = Table(values, ("server",), scope, _SERVER, _SERVER_LATER)
    https = _listeners(table, "https", ())
    http = _listeners(table, "http", https)
    trusted_proxies = _trusted_proxies(table)
    for key, listeners in (("http", http), ("https", https)):
        _check_proxy_protocol(table, key, listeners, trusted_proxies)
    fronts = facts.cores if table.values.get("fronts") == "auto" else _fronts(table)
    user = str(table.text("user"))
    if user:
        expectations.append(Expectation("user", user, table.place("user")))
    return Server(
        http=http,
        https=https,
        admin=_admin(table) or facts.admin(http + https),
        fronts=min(fronts, MAX_FRONTS),
        user=user,
        graceful_timeout_s=table.duration_s("graceful_timeout", 30.0, may_be_zero=True),
        trusted_proxies=trusted_proxies,
        parser=cast(Literal["httptools", "h11"], table.choice("parser", "httptools", ("httptools", "h11"))),
        loop=cast(Literal["uvloop", "asyncio"], table.choice("loop", "uvloop", ("uvloop", "asyncio"))),
        http2=table.flag("http2", True),
        h2c=table.flag("h2c", False),
        limits=_limits(table, facts, expectations),
        memory_bytes=table.size_bytes("memory", 0, 1),
        acme=_acme(table, facts, expectations),
    )


def _acme(table: Table, facts: Facts, expectations: list[Expectation]) -> Acme:
    if "acme" not in table:
        return Acme(storage=f"{facts.state_dir}/acme")
    from pyserve.config.acme import decode_server_acme  # it reads addresses, which takes 5 ms to import

    return decode_server_acme(table, facts.state_dir, expectations)


def _fronts(table: Table) -> int:
    value = table.values.get("fronts", 1)
    if isinstance(value, str):
        table.problem(f'expected a number of processes or "auto", not {show(value)}', "fronts")
        return 1
    return table.integer("fronts", 1, 1, MAX_FRONTS)


def _check_proxy_protocol(
    table: Table, key: str, listeners: Sequence[Listener], trusted_proxies: Sequence[str]
) -> None:
    for index, listener in enumerate(listeners):
        if not listener.proxy_protocol:
            continue
        place = (key, index) if isinstance(table.values[key], (list, tuple)) else (key,)
        if listener.unix_path and "unix:" not in trusted_proxies:
            table.problem(
                'proxy_protocol on a Unix socket needs "unix:" in trusted_proxies: nobody else connects there', *place
            )
        elif not trusted_proxies:
            table.problem("proxy_protocol needs trusted_proxies: without them no connection would be let in", *place)


def _listeners(table: Table, key: str, others: Sequence[Listener]) -> tuple[Listener, ...]:
    """``key``: http or https. ``others``: listeners of the other kind, whose addresses are taken."""
    is_tls = key == "https"
    example = '":8443"' if is_tls else '"127.0.0.1:8000"'
    if key not in table:
        return () if is_tls or "https" in table else (Listener("127.0.0.1", 8000),)
    value = table.values[key]
    entries: list[tuple[tuple[str | int, ...], object]] = [((key,), value)]
    if isinstance(value, (list, tuple)):
        entries = [((key, index), entry) for index, entry in enumerate(value)]
        if not entries:
            table.problem(f"expected at least one address, as {example}", key)
    elif not isinstance(value, (str, Mapping)):
        table.wrong_type(value, f"an address or a list of them, as {example}", key)
        return ()
    listeners: list[Listener] = []
    for keys, entry in entries:
        listener = _listener(table, keys, entry)
        if listener is None:
            continue
        # Port 0 asks for a free port each time.
        if (listener.port or listener.unix_path) and any(listener[:3] == other[:3] for other in listeners):
            table.problem(f"{show(str(listener))} is in this list already", *keys)
        elif (listener.port or listener.unix_path) and any(listener[:3] == other[:3] for other in others):
            table.problem(f"{show(str(listener))} is taken by https: one address speaks one of them", *keys)
        else:
            listeners.append(listener._replace(is_tls=is_tls))
    return tuple(listeners)


def _listener(table: Table, keys: tuple[str | int, ...], entry: object) -> Listener | None:
    """An address, or a table of it and what is special about it; None and a problem for anything else."""
    has_proxy_protocol = False
    if isinstance(entry, Mapping) and not set(entry) <= {"file", "env"}:
        inner = Table(entry, (*table.path, *keys), table.scope, _LISTENER)
        text = inner.text("address")
        has_proxy_protocol = inner.flag("proxy_protocol", False)
        if "address" not in entry and set(entry) <= set(_LISTENER):
            table.problem('expected the key "address", as { address = ":8080", proxy_protocol = true }', *keys)
        keys = (*keys, "address")
    else:
        text = table.text_at(entry, keys, 'an address, as "127.0.0.1:8000"')
    if not text:
        return None
    try:
        listener = parse_listener(str(text))
        if listener.unix_path:
            listener = Listener(unix_path=check_unix_path(table.scope.absolute(listener.unix_path)))
    except ValueError as error:
        table.problem(f"{error}, not {show(text)}", *keys)
        return None
    return listener._replace(proxy_protocol=has_proxy_protocol)


def _trusted_proxies(table: Table) -> tuple[str, ...]:
    texts = table.texts("trusted_proxies", '["10.0.0.0/8"]') or []
    if not texts:
        return ()
    import ipaddress  # 5 ms that most starts do not pay

    found: list[str] = []
    for index, text in texts:
        if str(text) == "unix:":
            found.append("unix:")
            continue
        try:
            found.append(str(ipaddress.ip_network(str(text))))
        except ValueError:
            try:
                near = f"; did you mean {show(str(ipaddress.ip_network(str(text), strict=False)))}?"
            except ValueError:
                near = ', as "10.0.0.0/8" or "192.0.2.7", or "unix:" for whoever connects over a Unix socket'
            table.problem(f"expected an address or a network{near}", "trusted_proxies", index)
    return tuple(found)


def _admin(table: Table) -> str:
    text = table.text("admin")
    if not text:
        return ""
    if not text.startswith("unix:") or len(text) == len("unix:"):
        table.problem(f'expected a Unix socket, as "unix:run/admin.sock", not {show(text)}', "admin")
        return ""
    try:
        return check_unix_path(table.scope.absolute(text.removeprefix("unix:")))
    except ValueError as error:
        table.problem(str(error), "admin")
        return ""


def _limits(server: Table, facts: Facts, expectations: list[Expectation]) -> Limits:
    table = server.table("limits", _LIMITS)
    if table is None:
        return Limits(spool_dir=facts.spool_dir)
    spool_dir = table.file_path("spool_dir")
    if spool_dir:
        expectations.append(Expectation("spool", spool_dir, table.place("spool_dir")))
    return Limits(
        head_timeout_s=table.duration_s("head_timeout", 10.0),
        body_timeout_s=table.duration_s("body_timeout", 30.0),
        write_timeout_s=table.duration_s("write_timeout", 60.0),
        keepalive_timeout_s=table.duration_s("keepalive_timeout", 75.0, may_be_zero=True),
        min_rate_bytes=table.size_bytes("min_rate", 500),
        max_head_bytes=table.size_bytes("max_head", 32 * 1024, 1024),
        max_headers=table.integer("max_headers", 100, 1, 10_000),
        max_body_bytes=table.size_bytes("max_body", 100 * 1024 * 1024),
        max_streams=table.integer("max_streams", 100, 1, 10_000),
        max_connections=table.integer("max_connections", 10_000, 1, 10_000_000),
        response_spool_bytes=table.size_bytes("response_spool", 1024**3),
        spool_dir=spool_dir or facts.spool_dir,
    )


def _log(
    found: tuple[Document, Mapping[str, Any]] | None,
    problems: Problems,
    resolve: Resolver,
    expectations: list[Expectation],
) -> Log:
    if found is None:
        return Log()
    document, values = found
    table = Table(values, ("log",), Scope(document, problems, resolve, needs_references=True), _LOG, _LOG_LATER)
    return Log(_access_log(table, expectations), _error_log(table, expectations))


def _access_log(table: Table, expectations: list[Expectation]) -> AccessLog | None:
    value = table.values.get("access", {})
    if value is False:
        return None
    if not isinstance(value, Mapping):
        table.wrong_type(value, 'false (no access log) or a table, as { file = "-", format = "combined" }', "access")
        return None
    access = Table(value, ("log", "access"), table.scope, ("file", "format"))
    log_format = str(access.text("format", "combined"))
    if log_format not in ("combined", "json"):
        template = "%" in log_format or "{" in log_format or "$" in log_format
        expected = 'expected "combined" or "json"'
        access.problem(
            f"a template: not yet; {expected}" if template else f"{expected}, not {show(log_format)}", "format"
        )
    return AccessLog(_log_file(access, expectations), log_format)


def _error_log(table: Table, expectations: list[Expectation]) -> ErrorLog:
    error = table.table("error", ("file", "level"))
    if error is None:
        return ErrorLog()
    level = error.choice("level", "info", ("debug", "info", "warning", "error"))
    return ErrorLog(_log_file(error, expectations), cast(Literal["debug", "info", "warning", "error"], level))


def _log_file(table: Table, expectations: list[Expectation]) -> str:
    if table.values.get("file", "-") == "-":
        return "-"
    path = table.file_path("file")
    if path:
        expectations.append(Expectation("log", path, table.place("file")))
    return path or "-"
