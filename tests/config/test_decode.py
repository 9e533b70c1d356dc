"""From trees to values and to problems, as tables. ``BASE`` is the rest of a right file."""

from __future__ import annotations

import tomllib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyserve.config.decode import Decoded, Facts, decode
from pyserve.config.model import (
    AccessLog,
    App,
    Files,
    Isolation,
    Limits,
    Listener,
    Recycling,
    Redirect,
    ResourceLimits,
    Respond,
    RunApp,
    Scaling,
)
from pyserve.config.problems import Document

FACTS = Facts(python="/usr/bin/python3", cores=8, admin=lambda http: "/run/admin.sock", spool_dir="/var/tmp")
SECRETS = {("env", "TOKEN"): "t0ken", ("env", "HOST"): "from-env.com", ("file", "/srv/secret.key"): "s3cret"}
BASE = """
[app.shop]
entry = "shop.wsgi:application"
[site.base]
default = true
app = "shop"
"""


def resolve(kind: str, name: str) -> str:
    if (kind, name) not in SECRETS:
        raise LookupError(f"no {kind} {name}")
    return SECRETS[kind, name]


def decode_text(text: str) -> Decoded:
    return decode([Document("/srv/site.toml", "/srv", tomllib.loads(text), text)], FACTS, resolve)


def problems_of(text: str) -> list[str]:
    return [f"{problem.line}: {problem.key}: {problem.message}" for problem in decode_text(text).problems.rendered()]


def test_the_defaults_are_those_of_the_contract() -> None:
    decoded = decode_text(BASE)
    config = decoded.config
    assert not decoded.problems.rendered()
    assert config.server.http == (Listener("127.0.0.1", 8000),)
    assert (config.server.fronts, config.server.user, config.server.admin) == (1, "", "/run/admin.sock")
    assert (config.server.parser, config.server.loop, config.server.graceful_timeout_s) == ("httptools", "uvloop", 30)
    assert config.server.limits == Limits(10, 30, 60, 75, 500, 32 << 10, 100, 100 << 20, 10_000, 1 << 30, "/var/tmp")
    assert config.log.access == AccessLog("-", "combined")
    assert (config.log.error.file, config.log.error.level) == ("-", "info")
    assert config.apps == (App("shop", "shop.wsgi", "application", root="/srv", python="/usr/bin/python3", workers=4),)
    app = config.apps[0]
    assert (app.type, app.factory, app.threads, app.concurrency, app.preload) == ("auto", False, 1, 100, False)
    assert (app.timeout_s, app.startup_timeout_s, app.queue_size, app.queue_timeout_s) == (30, 60, 200, 10)
    assert config.sites[0].handler == RunApp("shop")


def test_every_key_of_this_version_is_read() -> None:
    decoded = decode_text("""
        [server]
        http = [":80", "[::1]:8000", "unix:run/web.sock"]
        fronts = "auto"
        user = "www-data"
        admin = "unix:run/admin.sock"
        graceful_timeout = "5s"
        parser = "h11"
        loop = "asyncio"
        limits = { max_head = "64KiB", keepalive_timeout = "0s", spool_dir = "spool" }
        [log]
        access = { file = "logs/a.log", format = "json" }
        error = { file = "/var/log/e.log", level = "debug" }
        [app.shop]
        entry = "shop.main:make.app"
        type = "asgi"
        factory = true
        root = "apps/shop"
        venv = ".venv"
        env = { A = "", B = { file = "../../secret.key" }, C = { env = "TOKEN" } }
        workers = 2
        threads = 3
        concurrency = 4
        timeout = "1m"
        startup_timeout = "2m"
        queue = { size = 0, timeout = "1s" }
        preload = true
        [site.a]
        hosts = ["A-Site.com", "*.a-site.com", "~^b[0-9]+\\\\.com$", { env = "HOST" }]
        files = "public"
        index = ["index.htm"]
        try = ["{path}", "app.html", "=404"]
        cache = "1m"
        symlinks = true
        max_body = "2GiB"
        route = [
          { path = "/one", files = "one.txt" },
          { path = "/app/*", app = "shop", mount = true },
          { path = "~^/(?P<year>[0-9]+)/(.*)", redirect = { to = "https://x.com/{year}?r={rest}", status = 302 } },
          { path = "/*", respond = { status = 410, body = "gone", type = "text/html" } },
        ]
    """)
    assert not decoded.problems.rendered()
    config = decoded.config
    assert [str(listener) for listener in config.server.http] == [":80", "[::1]:8000", "unix:/srv/run/web.sock"]
    assert (config.server.fronts, config.server.admin) == (8, "/srv/run/admin.sock")
    assert config.server.limits.spool_dir == "/srv/spool"
    assert config.log.access == AccessLog("/srv/logs/a.log", "json")
    app = config.apps[0]
    assert (app.module, app.attribute, app.root) == ("shop.main", "make.app", "/srv/apps/shop")
    assert app.python == "/srv/apps/shop/.venv/bin/python"
    assert app.env == (("A", ""), ("B", "s3cret"), ("C", "t0ken"))
    assert {type(value) for _, value in app.env} == {str}
    site = config.sites[0]
    assert site.hosts == ("a-site.com", "*.a-site.com", "~^b[0-9]+\\.com$", "from-env.com")
    assert site.handler == Files(
        "/srv/public", False, ("index.htm",), ("{path}", "app.html", "=404"), "max-age=60", True
    )
    assert site.max_body_bytes == 2 << 30
    assert [route.handler for route in site.routes] == [
        Files("/srv/one.txt", is_single=True),
        RunApp("shop", mount="/app"),
        Redirect("https://x.com/{year}?r={rest}", 302),
        Respond(410, "gone", "text/html"),
    ]
    assert {(e.kind, e.target) for e in decoded.expectations} == {
        *{("user", "www-data"), ("spool", "/srv/spool"), ("log", "/srv/logs/a.log"), ("log", "/var/log/e.log")},
        *{("folder", "/srv/apps/shop"), ("venv", "/srv/apps/shop/.venv"), ("folder", "/srv/public")},
        ("file", "/srv/one.txt"),
    }


SERVER = {
    "frontz = 1": 'server.frontz: unknown key; did you mean "fronts"?',
    "xyzzy = 1": "server.xyzzy: unknown key; expected",
    'https = ":8443"': "server.https: no site would be served there; give one a certificate",
    'https = "8443"': "server.https: expected an address with a port",
    'status = ":9100"': "server.status: not yet",
    'trusted_proxies = ["10.0.0.1/8"]': (
        'server.trusted_proxies[1]: expected an address or a network; did you mean "10.0.0.0/8"?'
    ),
    'trusted_proxies = ["everyone"]': "server.trusted_proxies[1]: expected an address or a network, as",
    'trusted_proxies = "10.0.0.0/8"': "server.trusted_proxies: expected a list of strings",
    'http = { address = ":80", proxy_protocol = true }': "server.http: proxy_protocol needs trusted_proxies",
    'http = [{ address = ":80", proxy = true }]': "server.http[1].proxy: unknown key",
    'http = [":80", { address = ":80" }]': 'server.http[2]: ":80" is in this list already',
    'http = [{ addres = ":80" }]': 'server.http[1].addres: unknown key; did you mean "address"?',
    "http = { proxy_protocol = true }": 'server.http: expected the key "address"',
    'http = { address = "unix:x", proxy_protocol = true }\ntrusted_proxies = ["::1"]': (
        'server.http: proxy_protocol on a Unix socket needs "unix:" in trusted_proxies'
    ),
    'http = [{ address = "80" }]': "server.http[1].address: expected an address with a port",
    "http = 8000": "server.http: expected an address or a list of them",
    "http = []": "server.http: expected at least one address",
    'http = [":80", ":80"]': "server.http[2]: ",
    'http = [":80", "x"]': "server.http[2]: expected an address with a port",
    f'http = "unix:{"x" * 100}"': "server.http: the absolute path of the socket is 105 bytes long",
    'http = { env = "NOPE" }': "server.http: no env NOPE",
    "fronts = 0": "server.fronts: expected an integer from 1 to 64, not 0",
    "fronts = true": "server.fronts: expected an integer from 1 to 64, not true",
    'fronts = "many"': 'server.fronts: expected a number of processes or "auto"',
    'admin = "run/admin.sock"': "server.admin: expected a Unix socket",
    'parser = "own"': 'server.parser: expected "httptools" or "h11", not "own"',
    "loop = 1": "server.loop: expected a string, not the integer 1",
    "graceful_timeout = 30": "server.graceful_timeout: expected a duration with its unit",
    "limits = 1": "server.limits: expected a table",
    'limits = { max_body = "1 XB" }': "server.limits.max_body: expected a size",
    'limits = { head_timeout = "0s" }': "server.limits.head_timeout: expected a duration of more than nothing",
    'limits = { max_head = "1B" }': "server.limits.max_head: expected at least 1024 bytes",
}
LOG = {
    'slow = "1s"': "log.slow: not yet",
    "access = true": "log.access: expected false (no access log) or a table",
    'access = { format = "%h %u" }': "log.access.format: a template: not yet",
    'access = { format = "apache" }': 'log.access.format: expected "combined" or "json"',
    'error = { level = "loud" }': 'log.error.level: expected "debug", "info", "warning" or "error"',
}
APP = {
    'user = ""': "app.x.user: expected a string, not an empty one",
    "umask = 27": 'app.x.umask: expected octal digits in quotes, as "027"',
    'umask = "0x1b"': "app.x.umask: expected three octal digits",
    'umask = "1777"': "app.x.umask: expected three octal digits",
    "limits = { files = 1 }": "app.x.limits.files: unknown key",
    "limits = { open_files = 3 }": "app.x.limits.open_files: expected an integer from 64",
    'limits = { address_space = "1MiB" }': "app.x.limits.address_space: expected at least",
    'limits = { cpu_time = "500ms" }': 'app.x.limits.cpu_time: expected at least "1s"',
    "limits = { nice = 20 }": "app.x.limits.nice: expected an integer from -20 to 19",
    'limits = { cpus = "2" }': "app.x.limits.cpus: expected a number of processors, as 1.5, not a string",
    "limits = { cpus = 0 }": "app.x.limits.cpus: expected a number of processors from 0.01",
    "limits = { cpus = nan }": "app.x.limits.cpus: expected a number of processors from 0.01",
    "limits = { processes = 2 }": "app.x.limits.processes: expected an integer from 8",
    'max_memory = "1GB/s"': "app.x.max_memory: expected a size",
    'max_memory = { soft = "2GiB", hard = "1GiB" }': "app.x.max_memory.hard: expected at least what soft has",
    "max_memory = {}": "app.x.max_memory: expected a size",
    "max_requests = -1": "app.x.max_requests: expected an integer from 0",
    'max_age = "0s"': "app.x.max_age: expected a duration of more than nothing",
    'warmup = ["index"]': "app.x.warmup[1]: expected a path as it is asked for",
    'warmup = ["/a/../b"]': "app.x.warmup[1]: expected a path without dot segments",
    'warmup = ["/a%2Fb"]': "app.x.warmup[1]: expected a path without dot segments",
    'warmup = ["/100%"]': "app.x.warmup[1]: expected a path without dot segments",
    'health = ["/a?b"]': "app.x.health[1]: expected a path without a query",
    "workers = { min = 9, max = 8 }": "app.x.workers.min: expected at most max, which is 8, not 9",
    "workers = { most = 9 }": "app.x.workers.most: unknown key",
    "workers = 0": "app.x.workers: expected an integer from 1 to 1024, not 0",
    'workers = "4"': "app.x.workers: expected an integer from 1 to 1024, not a string",
    'type = "cgi"': 'app.x.type: expected "wsgi" or "asgi", not "cgi"',
    'venv = "v"\npython = "p"': "app.x.python: give one of venv and python",
    "env = { A = 1 }": "app.x.env.A: expected a string",
    'env = { "A=B" = "1" }': "app.x.env: expected names of variables",
    'env = { A = { env = "NOPE" } }': "app.x.env.A: no env NOPE",
    "queue = { length = 1 }": "app.x.queue.length: unknown key",
    'root = ""': "app.x.root: expected a string, not an empty one",
    f"threads = {'9' * 5000}": "app.x.threads: expected an integer from 1 to 128, not a very large one",
}
ENTRY = {
    "shop": 'expected "module:attribute"',
    "shop/wsgi.py:app": "a module as it is imported, not a file",
    "shop:make()": "add factory = true",
    "shop:class": 'expected "module:attribute"',
    ":app": 'expected "module:attribute"',
}
SITE = {
    'app = "shop"\nfiles = "x"': "site.x.app: one handler is expected, not 2",
    "": "site.x: no handler: expected one of files, app, redirect, respond",
    'upstream = "pool"': "site.x.upstream: not yet",
    'files = "x"\ntls = { cert = "a" }': "site.x.tls: has no effect without an address for it: add https",
    'app = "shpo"': 'site.x.app: there is no [app.shpo]; did you mean "shop"?',
    'app = "shop.wsgi:app"': "expected the name of an [app.NAME] table",
    'app = "shop"\nindex = ["a"]': "site.x.index: means something only beside files",
    'app = "shop"\nmount = true': "site.x.mount: unknown key",
    'files = "x"\nindex = ["a/b"]': "site.x.index[1]: expected the name of a file",
    'files = "x"\ntry = ["=404", "a"]': "site.x.try[1]: expected a status only as the last entry",
    'files = "x"\ntry = ["=200"]': "site.x.try[1]: expected a status from 400 to 599",
    'files = "x"\ntry = ["/a"]': "site.x.try[1]: expected a path relative to the folder",
    'files = "x"\ntry = ["../a"]': "site.x.try[1]: expected a path inside the folder",
    'files = "x"\ntry = ["{rest}"]': "site.x.try[1]: expected {path} as the only name",
    'files = "x"\ncache = 60': "site.x.cache: expected a duration, words of Cache-Control or both",
    'files = "x"\ndefault = true': "site.x.default: there is a default site already",
    'redirect = "/x"': "site.x.redirect: expected a table",
    "redirect = {}": "site.x.redirect.to: missing",
    'redirect = { to = "//x" }': "site.x.redirect.to: expected a target with one slash in front",
    'redirect = { to = "x" }': "site.x.redirect.to: expected a target that begins with",
    'redirect = { to = "/a b" }': "site.x.redirect.to: expected a target in percent-encoding",
    'redirect = { to = "/{x}" }': "site.x.redirect.to: unknown name {x} (known here: {rest})",
    'redirect = { to = "/{" }': "site.x.redirect.to: expected braces only in pairs",
    'redirect = { to = "https://{rest}/" }': "site.x.redirect.to: expected a host without a name in braces",
    'redirect = { to = "/", status = 200 }': "site.x.redirect.status: expected an integer from 300 to 399",
    'redirect = { to = "/", status = 304 }': "site.x.redirect.status: expected one of 301, 302, 303, 307, 308",
    "respond = { status = 101 }": "site.x.respond.status: expected an integer from 200 to 599",
    'respond = { status = 204, body = "x" }': "site.x.respond.body: a 204 has no body",
    'respond = { type = "a/b\\r\\nx: y" }': "site.x.respond.type: expected a media type",
    'files = "x"\nroute = { path = "/" }': "site.x.route: expected a list of tables",
}
HOSTS = {
    "[]": "hosts: expected at least one name",
    '"a.com"': "hosts: expected a list of strings",
    '["a.com:80"]': "hosts[1]: expected a name without a port",
    '["http://a.com"]': "hosts[1]: expected a name without scheme and path",
    '["*"]': "hosts[1]: expected a name (for requests to any name set default = true)",
    '["a.*.com"]': "hosts[1]: ",
    '["a.com."]': "hosts[1]: expected a name without a dot at its end",
    '["bücher.de"]': 'hosts[1]: expected the ASCII form of the name, "xn--bcher-kva.de"',
    '["~("]': "hosts[1]: expected a regular expression after ~: ",
    '["a.com", "A.com"]': 'hosts[2]: "A.com" is in this list already',
    '["a..com"]': "hosts[1]: expected a host name",
}
ROUTES: dict[str, list[str]] = {
    "no path": ['{ files = "x" }', "route[1].path: missing"],
    "no slash": ['{ path = "x", files = "x" }', "route[1].path: expected an exact path"],
    "star inside": ['{ path = "/a/*/b", files = "x" }', 'route[1].path: expected "*" only at the end'],
    "star without slash": ['{ path = "/a*", files = "x" }', 'route[1].path: expected "*" only at the end'],
    "dots": ['{ path = "/a/../b", files = "x" }', "route[1].path: can never match"],
    "bad regex": ['{ path = "~[", files = "x" }', "route[1].path: expected a regular expression"],
    "mount on a regex": [
        '{ path = "~^/a", app = "shop", mount = true }',
        "route[1].mount: needs a prefix or exact path",
    ],
    "mount without app": [
        '{ path = "/a/*", files = "x", mount = true }',
        "route[1].mount: means something only beside app",
    ],
    "index of one file": ['{ path = "/a", files = "x", index = ["i"] }', "route[1].index: means nothing here"],
    "rest without groups": [
        '{ path = "~^/a", redirect = { to = "/{rest}" } }',
        "route[1].redirect.to: unknown name {rest}",
    ],
    "upstream": ['{ path = "/a", upstream = "x" }', "route[1].upstream: not yet"],
    "exact twice": ['{ path = "/a", files = "x" }, { path = "/a", files = "x" }', "route[2].path: can never match"],
    "exact in prefix": [
        '{ path = "/a/*", files = "x" }, { path = "/a/b/c", files = "x" }',
        "route[2].path: can never match",
    ],
    "base of prefix": [
        '{ path = "/a/*", files = "x" }, { path = "/a", files = "x" }',
        "route[2].path: can never match",
    ],
    "prefix in prefix": [
        '{ path = "/a/*", files = "x" }, { path = "/a/b/*", files = "x" }',
        "route[2].path: can never match",
    ],
    "all taken": ['{ path = "/*", files = "x" }, { path = "~^/a", files = "x" }', "route[2].path: can never match"],
    "regex twice": ['{ path = "~^/a", files = "x" }, { path = "~^/a", files = "x" }', "route[2].path: can never match"],
}
REACHABLE = {
    "prefix after exact": '{ path = "/a", files = "x" }, { path = "/a/*", files = "x" }',
    "wider after narrower": '{ path = "/a/b/*", files = "x" }, { path = "/a/*", files = "x" }',
    "all after some": '{ path = "/a/*", files = "x" }, { path = "/*", files = "x" }',
    "same beginning": '{ path = "/a/*", files = "x" }, { path = "/ab", files = "x" }, { path = "/ab/*", files = "x" }',
    "regex after regex": '{ path = "~^/", files = "x" }, { path = "~^/a", files = "x" }',
}
TOP = {
    "port = 80": "port: unknown key",
    "[upstream.x]": "upstream: not yet",
    "[sites.x]": 'sites: unknown key; did you mean "site"?',
    "[app.y]": "app.y.entry: missing",
}


def expect_one(text: str, expected: str) -> None:
    problems = problems_of(text)
    assert len(problems) == 1, problems
    assert expected in problems[0]


@pytest.mark.parametrize(("line", "expected"), SERVER.items())
def test_what_is_wrong_in_server_is_said(line: str, expected: str) -> None:
    expect_one(f"[server]\n{line}\n{BASE}", expected)


def test_one_address_speaks_one_protocol() -> None:
    text = '[server]\nhttp = ":80"\nhttps = [":443", ":80"]\n' + BASE + 'tls = { cert = "a.pem", key = "a.key" }'
    expect_one(text, 'server.http: ":80" is taken by https')


@pytest.mark.parametrize(("line", "expected"), LOG.items())
def test_what_is_wrong_in_log_is_said(line: str, expected: str) -> None:
    expect_one(f"[log]\n{line}\n{BASE}", expected)


@pytest.mark.parametrize(("line", "expected"), APP.items(), ids=range(len(APP)))
def test_what_is_wrong_in_an_app_is_said(line: str, expected: str) -> None:
    tree = tomllib.loads(BASE + '[app.x]\nentry = "x:y"\n')
    if "999" in line:  # tomllib refuses such integers, an embedding program does not
        tree["app"]["x"]["threads"] = 10**5000
    else:
        tree["app"]["x"].update(tomllib.loads(line))
    problems = decode([Document("config", "/srv", tree)], FACTS, resolve).problems.rendered()
    assert len(problems) == 1
    assert expected in str(problems[0])


@pytest.mark.parametrize(("entry", "expected"), ENTRY.items())
def test_what_is_wrong_in_an_entry_is_said(entry: str, expected: str) -> None:
    expect_one(f'{BASE}[app.x]\nentry = "{entry}"', expected)


@pytest.mark.parametrize(("lines", "expected"), SITE.items(), ids=range(len(SITE)))
def test_what_is_wrong_in_a_site_is_said(lines: str, expected: str) -> None:
    expect_one(f'{BASE}[site.x]\nhosts = ["x.com"]\n{lines}', expected)


@pytest.mark.parametrize(("hosts", "expected"), HOSTS.items())
def test_what_is_wrong_in_hosts_is_said(hosts: str, expected: str) -> None:
    expect_one(f'{BASE}[site.x]\nfiles = "x"\nhosts = {hosts}', f"site.x.{expected}")


@pytest.mark.parametrize(("routes", "expected"), ROUTES.values(), ids=ROUTES)
def test_what_is_wrong_in_a_route_is_said(routes: str, expected: str) -> None:
    expect_one(f'{BASE}[site.x]\nhosts = ["x.com"]\nroute = [{routes}]', f"site.x.{expected}")


@pytest.mark.parametrize("routes", REACHABLE.values(), ids=REACHABLE)
def test_a_route_that_can_match_is_accepted(routes: str) -> None:
    assert problems_of(f'{BASE}[site.x]\nhosts = ["x.com"]\nroute = [{routes}]') == []


@pytest.mark.parametrize(("lines", "expected"), TOP.items())
def test_what_is_wrong_at_the_top_is_said(lines: str, expected: str) -> None:
    expect_one(f"{lines}\n{BASE}", expected)


def test_all_problems_come_at_once_in_the_order_of_the_file() -> None:
    text = """[server]
http = 1
[app.a]
workers = 0
[site.s]
hosts = ["x.com"]
[[site.s.route]]
path = "/a"
files = "f"
[[site.s.route]]
path = "/b"
app = "b"
fils = "f"
"""
    assert [problem.split(": ")[:2] for problem in problems_of(text)] == [
        ["2", "server.http"],
        ["3", "app.a.entry"],
        ["4", "app.a.workers"],
        ["12", "site.s.route[2].app"],
        ["13", "site.s.route[2].fils"],
    ]


def test_hosts_are_compared_without_case_and_both_places_are_named() -> None:
    text = BASE + '[site.x]\nhosts = ["a.com"]\nfiles = "x"\n[site.y]\nhosts = ["A.COM"]\nfiles = "x"\n'
    expect_one(text, '11: site.y.hosts: the host "a.com" is taken already (site.x.hosts, /srv/site.toml:8)')


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "no site: nothing to serve"),
        ('[app.shop]\nentry = "a:b"', 'nothing would reach the app "shop"; add [site.shop]'),
        ("site = 1", "site: expected tables [site.NAME], not the integer 1"),
        ("[site.x]\ndefault = 1", "site.x.default: expected true or false"),
    ],
)
def test_a_file_without_a_site_is_told_what_to_add(text: str, expected: str) -> None:
    assert any(expected in problem for problem in problems_of(text))


def test_a_site_may_have_only_routes() -> None:
    assert problems_of('[site.x]\ndefault = true\nroute = [{ path = "/a", respond = {} }]') == []


def test_documents_are_merged_by_name_and_each_has_its_own_folder() -> None:
    trees = ['[app.a]\nentry = "a:b"', '[site.s]\ndefault = true\napp = "a"\nroute = [{path = "/f/*", files = "f"}]']
    documents = [Document(f"/{n}/x.toml", f"/{n}", tomllib.loads(t), t) for n, t in enumerate(trees)]
    decoded = decode(documents, FACTS, resolve)
    assert not decoded.problems.rendered()
    assert decoded.config.apps[0].root == "/0"
    assert decoded.config.sites[0].routes[0].handler == Files("/1/f")


@pytest.mark.parametrize("table", ["[server]", "[log]", '[app.shop]\nentry = "a:b"', "[site.base]\nhosts = ['x']"])
def test_a_table_in_two_documents_is_refused_with_both_places(table: str) -> None:
    first = BASE + ("" if "." in table else table)
    documents = [Document(file, "/", tomllib.loads(text), text) for file, text in (("/a", first), ("/b", table))]
    (problem,) = decode(documents, FACTS, resolve).problems.rendered()
    assert problem.file == "/b"
    assert "is there already, in another file" in problem.message
    assert "/a:" in problem.message


def test_a_missing_secret_keeps_an_app_from_starting_and_nothing_else() -> None:
    decoded = decode_text(BASE + '[app.x]\nentry = "x:y"\nenv = { KEY = { file = "no.key" } }')
    (problem,) = decoded.problems.rendered()
    assert problem.surroundings
    assert [app.fault for app in decoded.config.apps] == ["", "no file /srv/no.key"]


def test_a_site_with_a_missing_value_answers_503_to_everything() -> None:
    decoded = decode_text(
        BASE
        + '[site.x]\nhosts = ["x.com"]\nfiles = "x"\nroute = [{ path = "/a", respond = { body = { env = "NOPE" } } }]'
    )
    (problem,) = decoded.problems.rendered()
    assert problem.surroundings
    site = decoded.config.sites[1]
    assert isinstance(site.handler, Respond)
    assert (site.handler.status, site.routes) == (503, ())


@pytest.mark.parametrize(
    "lines",
    [
        '[server]\nhttp = { env = "TOKEN" }',
        '[server]\nparser = { env = "TOKEN" }',
        '[server]\ngraceful_timeout = { env = "TOKEN" }',
        '[app.x]\nentry = { env = "TOKEN" }',
        '[site.x]\nhosts = [{ env = "TOKEN" }, { env = "TOKEN" }]\napp = { env = "TOKEN" }',
        '[site.x]\ndefault = true\nredirect = { to = { env = "TOKEN" } }',
        '[site.x]\nhosts = [{ env = "HOST" }]\nfiles = "x"\n[site.y]\nhosts = [{ env = "HOST" }]\nfiles = "x"',
        '[site.x]\ndefault = true\nroute = [{ path = { env = "TOKEN" }, respond = {} }]',
        '[site.x]\ndefault = true\nfiles = "x"\ntry = ["{", { env = "TOKEN" }, "a"]\nmax_body = { env = "TOKEN" }',
    ],
)
def test_a_referenced_value_is_never_shown(lines: str) -> None:
    decoded = decode_text(lines)
    problems = "\n".join(map(str, decoded.problems.rendered()))
    assert problems
    assert "t0ken" not in problems
    assert "from-env" not in problems


def test_the_repr_of_an_app_does_not_show_its_environment() -> None:
    decoded = decode_text(BASE.replace("[site", 'env = { A = "s3cret" }\n[site'))
    assert decoded.config.apps[0].env == (("A", "s3cret"),)
    assert "s3cret" not in repr(decoded.config)


KEYS = st.sampled_from(
    [
        *(
            "server",
            "log",
            "app",
            "site",
            "http",
            "fronts",
            "admin",
            "limits",
            "access",
            "error",
            "entry",
            "root",
            "venv",
        ),
        *(
            "python",
            "env",
            "workers",
            "queue",
            "hosts",
            "default",
            "files",
            "redirect",
            "respond",
            "route",
            "path",
            "try",
        ),
        *("index", "cache", "mount", "to", "status", "body", "type", "file", "size", "timeout", "max_body", "x"),
    ]
)
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=8)
    | st.dates()
    | st.binary(max_size=2)
    | st.sampled_from(
        ["/", "/*", "/a/*", "~(", "~.", "10s", "1KiB", ":80", "unix:x", "a.com", "*.a.com", "a:b", "//", "=404", "\0"]
    )
)


def trees(keys: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.recursive(
        SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=5), max_leaves=25
    )


@given(
    st.dictionaries(KEYS | st.text(max_size=4), trees(KEYS | st.text(max_size=3)), max_size=5)
    | st.fixed_dictionaries(
        {},
        optional={
            "server": trees(KEYS),
            "log": trees(KEYS),
            "app": st.dictionaries(st.text(max_size=3), trees(KEYS), max_size=2),
            "site": st.dictionaries(
                st.text(max_size=3),
                st.dictionaries(KEYS, trees(KEYS), max_size=5),
                max_size=3,
            ),
        },
    )
)
def test_any_tree_gives_values_or_problems_and_never_an_exception(tree: dict[str, Any]) -> None:
    for problem in decode([Document("config", "/srv", tree)], FACTS, resolve).problems.rendered():
        assert problem.message


@given(st.dictionaries(st.integers() | st.none() | st.text(max_size=2), trees(st.integers() | KEYS), max_size=3))
def test_keys_that_are_no_strings_are_problems(tree: dict[Any, Any]) -> None:
    decode([Document("config", "/srv", tree)], FACTS, resolve).problems.rendered()


def test_workers_that_follow_the_load_and_when_they_are_replaced() -> None:
    config = decode_text(
        '[server]\nmemory = "2GiB"\n[app.x]\nentry = "a:b"\nworkers = { min = 0, max = 6, idle = "90s" }\n'
        'max_requests = 5\nmax_age = "1d"\nmax_memory = "400MiB"\n'
        'warmup = ["/a?b"]\nhealth = ["/up"]\n'
        '[site.x]\ndefault = true\napp = "x"'
    ).config
    assert config is not None
    app = config.apps[0]
    assert (config.server.memory_bytes, app.workers, app.scaling) == (2 << 30, 6, Scaling(0, 90.0))
    assert app.recycling == Recycling(5, 86400.0, 400 << 20, 600 << 20)
    assert (app.warmup, app.health) == (("/a?b",), ("/up",))


def test_a_soft_and_a_hard_limit_of_memory() -> None:
    config = decode_text(
        '[app.x]\nentry = "a:b"\nmax_memory = { hard = "1GiB" }\nworkers = { max = 1 }\n'
        '[site.x]\ndefault = true\napp = "x"'
    ).config
    assert config is not None
    assert (config.apps[0].recycling, config.apps[0].scaling) == (Recycling(0, 0.0, 0, 1 << 30), Scaling(1))


def test_the_most_workers_are_never_fewer_than_the_least() -> None:
    config = decode_text('[app.x]\nentry = "a:b"\nworkers = { min = 9 }\n[site.x]\ndefault = true\napp = "x"').config
    assert config is not None
    assert (config.apps[0].workers, config.apps[0].scaling) == (9, Scaling(9))


def test_whom_an_app_runs_as_and_within_which_bounds() -> None:
    decoded = decode_text("""
        [app.shop]
        entry = "shop:app"
        root = "shop"
        user = "shop"
        group = "web"
        umask = "027"
        tmp = "tmp"
        [app.shop.limits]
        open_files = 4096
        address_space = "1GiB"
        cpu_time = "1500ms"
        nice = 5
        memory = "500MiB"
        cpus = 1
        processes = 200
        [site.a]
        default = true
        app = "shop"
    """)
    assert not decoded.problems.rendered()
    limits = ResourceLimits(4096, 1 << 30, 2, 5, 500 << 20, 1.0, 200)
    assert decoded.config.apps[0].isolation == Isolation("shop", "web", 0o27, "/srv/shop/tmp", limits)
    assert decode_text(BASE).config.apps[0].isolation == Isolation()
