"""How each server is started for an application: the exact commands and configurations, peers as their docs advise.

Each function returns a ``Contender``: something that builds a ``Stack`` in an empty folder, or the reason why not.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

from benchmarks.identity import Identity
from benchmarks.nginx import (
    OPEN_FILE_CACHE,
    PROXY_LOCATION,
    UWSGI_LOCATION,
    nginx_config,
    nginx_program,
    proxy_upstream,
)
from benchmarks.scenario import Contender, Settings
from benchmarks.servers import REPOSITORY, Program, Stack, free_port
from benchmarks.tools import Tools, missing_for

APPS = "benchmarks.apps.hello"

SITE_TOML = """[server]
{scheme} = "127.0.0.1:{port}"
admin = "unix:{folder}/run/admin.sock"
limits = {{ max_connections = 20_000 }}

[log]
access = {{ file = "{folder}/access.log", format = "combined" }}
error  = {{ file = "-", level = "warning" }}
"""


def pyserve(site_toml: str, name: str = "pyserve", host: str = "bench.localhost", *, is_tls: bool = False) -> Contender:
    """``site_toml``: what follows after server and log."""

    def build(folder: Path) -> Stack:
        port = free_port()
        text = SITE_TOML.format(port=port, folder=folder, scheme="https" if is_tls else "http") + site_toml
        argv = (sys.executable, "-m", "pyserve", "-c", f"{folder}/site.toml")
        return Stack(
            name,
            folder,
            (Program(argv, folder / "pyserve.log"),),
            port,
            host=host,
            configs={"site.toml": text},
            access_logs=(folder / "access.log",),
            is_tls=is_tls,
        )

    return Contender(name, build)


def pyserve_app(
    attribute: str,
    workers: int | str,
    threads: int = 1,
    *,
    name: str = "pyserve",
    entry: str = APPS,
    root: Path = REPOSITORY,
    more: str = "",
    identity: Identity | None = None,
) -> Contender:
    """``workers``: how many, or a table; ``entry``: the module, below ``root``; ``more``: further keys of the app;
    ``identity``: over TLS, with this certificate."""
    return pyserve(
        f"""
[app.hello]
entry   = "{entry}:{attribute}"
root    = "{root}"
workers = {workers}
threads = {threads}
{more}

[site.bench]
hosts = ["bench.localhost"]
app   = "hello"
{_tls_of(identity)}""",
        name,
        is_tls=identity is not None,
    )


def _tls_of(identity: Identity | None) -> str:
    """Return the site's lines for this certificate; wrk sends the address for a name."""
    return f'default = true\ntls = {{ cert = "{identity.cert}", key = "{identity.key}" }}\n' if identity else ""


Argv = tuple[str, ...]


def uvicorn_argv(tools: Tools, target: str = f"{APPS}:asgi", workers: int = 1) -> Argv:
    return (tools.find("uvicorn"), target, "--loop", "uvloop", "--http", "httptools", "--workers", str(workers))


def uvicorn_alone(
    settings: Settings, attribute: str = "asgi", workers: int = 1, *, entry: str = APPS, more: Argv = ()
) -> Contender:
    def argv(port: int) -> Argv:
        address = ("--host", "127.0.0.1", "--port", str(port))
        start = uvicorn_argv(settings.tools, f"{entry}:{attribute}", workers)
        return (*start, *address, "--timeout-keep-alive", "75", "--access-log", *more)

    return _alone(settings, "uvicorn", "uvicorn", argv)


def granian_alone(settings: Settings, interface: str, workers: int, connections: int = 0) -> Contender:
    """``connections``: how many to allow at once, 0 = granian's default."""

    def argv(port: int) -> Argv:
        address = ("--host", "127.0.0.1", "--port", str(port))
        size = ("--workers", str(workers), *(("--loop", "uvloop") if interface == "asgi" else ()))
        limit = ("--backpressure", str(connections)) if connections else ()
        target = f"{APPS}:{interface}"
        return (
            settings.tools.find("granian"),
            "--interface",
            interface,
            *address,
            *size,
            *limit,
            "--access-log",
            target,
        )

    return _alone(settings, "granian", "granian", argv)


def granian_tls(settings: Settings, identity: Identity) -> Contender:
    """HTTP/1.1 or HTTP/2, as the client asks."""

    def argv(port: int) -> Argv:
        address = ("--host", "127.0.0.1", "--port", str(port), "--http", "auto")
        tls = ("--ssl-certificate", str(identity.cert), "--ssl-keyfile", str(identity.key))
        how = ("--interface", "asgi", "--workers", "1", "--loop", "uvloop", "--backpressure", "1000")
        return (settings.tools.find("granian"), *how, *address, *tls, "--access-log", f"{APPS}:asgi")

    return _alone(settings, "granian", "granian", argv, is_tls=True)


def hypercorn_tls(settings: Settings, identity: Identity) -> Contender:
    def argv(port: int) -> Argv:
        tls = ("--certfile", str(identity.cert), "--keyfile", str(identity.key))
        how = ("--workers", "1", "--worker-class", "uvloop", "--access-logfile", "-")
        return (settings.tools.find("hypercorn"), f"{APPS}:asgi", "--bind", f"127.0.0.1:{port}", *tls, *how)

    return _alone(settings, "hypercorn", "hypercorn", argv, is_tls=True)


def gunicorn_alone(settings: Settings, attribute: str, workers: int, kind: str = "sync", threads: int = 1) -> Contender:
    def argv(port: int) -> Argv:
        start = (settings.tools.find("gunicorn"), f"{APPS}:{attribute}", "--bind", f"127.0.0.1:{port}")
        size = ("--workers", str(workers), "--worker-class", kind, "--threads", str(threads))
        return (*start, *size, "--keep-alive", "75", "--access-logfile", "-")

    return _alone(settings, f"gunicorn {kind}" + (f" x {threads}" if threads > 1 else ""), "gunicorn", argv)


def nginx_uvicorn(
    settings: Settings, target: str = f"{APPS}:asgi", workers: int = 1, root: Path = REPOSITORY
) -> Contender:
    def backend(folder: Path) -> Argv:
        log = "--access-log" if settings.backend_logs else "--no-access-log"
        place = () if root == REPOSITORY else ("--app-dir", str(root))
        return (*uvicorn_argv(settings.tools, target, workers), *place, "--uds", f"{folder}/app.sock", log)

    return _behind_nginx(settings, "nginx > uvicorn", "uvicorn", backend, keepalive=True)


def nginx_gunicorn(
    settings: Settings,
    attribute: str,
    workers: int,
    kind: str = "sync",
    threads: int = 1,
    *,
    entry: str = APPS,
    root: Path = REPOSITORY,
) -> Contender:
    def backend(folder: Path) -> Argv:
        place = () if root == REPOSITORY else ("--chdir", str(root))
        argv = (settings.tools.find("gunicorn"), f"{entry}:{attribute}", *place, "--bind", f"unix:{folder}/app.sock")
        size = ("--workers", str(workers), "--worker-class", kind, "--threads", str(threads))
        log = ("--access-logfile", f"{folder}/app-access.log") if settings.backend_logs else ()
        return (*argv, *size, *log)

    # gunicorn's sync workers close every connection, so nothing can be kept for them.
    return _behind_nginx(settings, f"nginx > gunicorn {kind}", "gunicorn", backend, keepalive=kind != "sync")


def nginx_uwsgi(settings: Settings, attribute: str, workers: int) -> Contender:
    def backend(folder: Path) -> Argv:
        # A uwsgi from PyPI has Python inside, Debian's takes it from a plugin.
        is_packaged = settings.tools.find("uwsgi").startswith("/usr/bin/")
        plugin = ("--plugin", "python3") if is_packaged else ()
        argv = (settings.tools.find("uwsgi"), *plugin, "--socket", f"{folder}/app.sock", "--strict", "--master")
        size = ("--processes", str(workers), "--need-app", "--single-interpreter", "--die-on-term", "--vacuum")
        app = ("--pythonpath", str(REPOSITORY), "--module", f"{APPS}:{attribute}")
        log = () if settings.backend_logs else ("--disable-logging",)
        return (*argv, *size, *app, *log)

    return _behind_nginx(settings, "nginx > uWSGI", "uwsgi", backend, keepalive=False, location=UWSGI_LOCATION)


def pyserve_files(public: Path, identity: Identity | None = None) -> Contender:
    """``identity``: over TLS, with this certificate."""
    site = f'\n[site.bench]\nhosts = ["bench.localhost"]\nfiles = "{public}"\n'
    return pyserve(site + _tls_of(identity), is_tls=identity is not None)


def nginx_files(
    settings: Settings,
    public: Path,
    *,
    name: str = "nginx",
    more: str = "",
    open_file_cache: int = OPEN_FILE_CACHE,
    identity: Identity | None = None,
) -> Contender:
    """``more``: further directives of the location; ``open_file_cache``: how many files it may keep open;
    ``identity``: over TLS, with this certificate."""
    missing = missing_for(settings.tools, "nginx")
    if missing:
        return Contender(name, None, missing)

    def build(folder: Path) -> Stack:
        port = free_port()
        location = f"root {public};\n{more}"
        config = nginx_config(folder, port, location, open_file_cache=open_file_cache, identity=identity)
        program = nginx_program(settings.tools.find("nginx"), folder)
        logs = (folder / "nginx-access.log",)
        configs = {"nginx.conf": config}
        return Stack(name, folder, (program,), port, configs=configs, access_logs=logs, is_tls=identity is not None)

    return Contender(name, build)


def _alone(settings: Settings, name: str, tool: str, argv: Callable[[int], Argv], *, is_tls: bool = False) -> Contender:
    """A server without a front; its output is its access log."""
    missing = missing_for(settings.tools, tool)
    if missing:
        return Contender(name, None, missing)

    def build(folder: Path) -> Stack:
        port, log = free_port(), folder / "output.log"
        return Stack(name, folder, (Program(argv(port), log),), port, access_logs=(log,), is_tls=is_tls)

    return Contender(name, build)


def _behind_nginx(
    settings: Settings,
    name: str,
    tool: str,
    backend: Callable[[Path], Argv],
    keepalive: bool,
    location: str = PROXY_LOCATION,
) -> Contender:
    missing = missing_for(settings.tools, "nginx", tool)
    if missing:
        return Contender(name, None, missing)

    def build(folder: Path) -> Stack:
        port = free_port()
        upstream = proxy_upstream(folder / "app.sock", keepalive)
        config = nginx_config(folder, port, location, upstream)
        programs = (
            Program(backend(folder), folder / "app-output.log"),
            nginx_program(settings.tools.find("nginx"), folder),
        )
        logs = (folder / "nginx-access.log", folder / "app-access.log", folder / "app-output.log")
        return Stack(name, folder, programs, port, configs={"nginx.conf": config}, access_logs=logs)

    return Contender(name, build)
