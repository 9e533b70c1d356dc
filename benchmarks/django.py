"""What does a Django page with a database query cost, and how long does it take when the server is well used?

Two workers everywhere, SQLite (and PostgreSQL where it and psycopg are installed). In each round first as many requests
as it can do (CPU and requests/s), then in open loop (p50, p99) at one rate for all of a kind, WSGI or ASGI: 80 % of
what the slowest of them could do when it was last asked.
"""

from __future__ import annotations

import contextlib
import json
import os
import pwd
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

from benchmarks.load import Requests, Wrk, sample_load, whole_seconds
from benchmarks.open_loop import OpenLoop, Stream, percentile_ms
from benchmarks.rounds import run_rounds, say
from benchmarks.scenario import Bar, Contender, Result, Sample, Settings
from benchmarks.servers import Running, free_port
from benchmarks.stacks import nginx_gunicorn, nginx_uvicorn, pyserve_app

WORKERS = 2
SHARE = 0.8
MODULE = "django_page"
SOURCE = Path(__file__).parent / "apps" / f"{MODULE}.py"
PATHS = tuple(f"/page/{number * 37}" for number in range(500))
LEAST_S = 5.0
WSGI, ASGI = "pyserve", "pyserve, ASGI"
SYNC, THREADS, UVICORN = "nginx > gunicorn sync", "nginx > gunicorn gthread", "nginx > uvicorn"
KINDS = {WSGI: "WSGI", SYNC: "WSGI", THREADS: "WSGI", ASGI: "ASGI", UVICORN: "ASGI"}

BARS = (
    Bar("WSGI: requests/s against nginx > gunicorn sync", "requests_per_s", 1.0, 1.2, against=SYNC, at_least=True),
    Bar("ASGI: requests/s against nginx > uvicorn", "requests_per_s", 1.0, 1.2, UVICORN, ASGI, at_least=True),
    Bar("WSGI: CPU per request against nginx > gunicorn sync", "cpu_us", 1.0, 0.9, against=SYNC),
    Bar("ASGI: CPU per request against nginx > uvicorn", "cpu_us", 1.0, 0.9, against=UVICORN, subject=ASGI),
    Bar("WSGI: p99 at 80 % against nginx > gunicorn sync", "p99_ms", 0.7, 0.5, against=SYNC),
    Bar("ASGI: p99 at 80 % against nginx > uvicorn", "p99_ms", 0.7, 0.5, against=UVICORN, subject=ASGI),
)


def run(settings: Settings) -> list[Result]:
    python = _python_with_django(settings)
    if not python:
        result = Result("django", "a Django page with a database query", BARS)
        how = "pip install 'django>=5.2' in the peers' venv"
        result.missing = dict.fromkeys(KINDS, f"Django is not installed for the peers' Python: {how}")
        return [result]
    results = [_measure(settings, python, "SQLite", settings.folder / "sqlite", _sqlite)]
    if reason := _why_no_postgres(python):
        results[0].notes.append(f"PostgreSQL is not measured: {reason}")
        return results
    with _postgres(settings.folder / "pg") as database:
        results.append(_measure(settings, python, "PostgreSQL", settings.folder / "postgres", lambda _: database))
    return results


def _measure(
    settings: Settings, python: Path, engine: str, root: Path, database: Callable[[Path], dict[str, object]]
) -> Result:
    root.mkdir()
    shutil.copy(SOURCE, root)
    (root / "database.json").write_text(json.dumps(database(root)))
    say(f"django: {engine}: making the rows")
    subprocess.run([python, "-c", f"import {MODULE}; {MODULE}.fill()"], cwd=root, check=True, timeout=120)
    requests = Requests(paths=PATHS)
    can: dict[str, float] = {}
    """What each could do when it was last asked, in requests per second."""

    def calibrate(running: Running) -> Requests:
        figures = Wrk(running, settings, requests, whole_seconds(settings.seconds)).wait()
        can[running.name] = figures["requests"] / figures["duration_us"] * 1e6
        return requests

    def once(running: Running) -> Sample:
        most = sample_load(running, settings, requests)
        can[running.name] = most["requests_per_s"]
        slowest = min(rate for name, rate in can.items() if KINDS[name] == KINDS[running.name])
        return most | _open(running, settings, SHARE * slowest, most["errors"])

    question = (
        f"a Django page of 20 rows from {engine}, {WORKERS} workers: the most with {settings.connections} connections; "
        f"p50, p99 in open loop at {SHARE:.0%} of what the slowest of a kind can do"
    )
    contenders = _contenders(settings, python, root)
    return run_rounds(settings, f"django {engine}", question, contenders, BARS, once, requests, prepare=calibrate)


def _contenders(settings: Settings, python: Path, root: Path) -> list[Contender]:
    more = f'python  = "{python}"'
    target = f"{MODULE}:asgi"
    return [
        pyserve_app("wsgi", WORKERS, entry=MODULE, root=root, more=more + '\ntype = "wsgi"'),
        nginx_gunicorn(settings, "wsgi", WORKERS, entry=MODULE, root=root),
        nginx_gunicorn(settings, "wsgi", WORKERS, "gthread", 4, entry=MODULE, root=root),
        pyserve_app("asgi", WORKERS, name=ASGI, entry=MODULE, root=root, more=more),
        nginx_uvicorn(settings, target, WORKERS, root),
    ]


def _open(running: Running, settings: Settings, rate: float, errors: float) -> Sample:
    """Ask at a fixed rate; ``errors`` are those there were before."""
    seconds = max(LEAST_S, settings.seconds)
    stream = Stream("page", "/page/{n}", rate, expected="20 shown.")
    output = running.stack.folder / "load.jsonl"
    with OpenLoop(running.stack.port, output, [stream], seconds, connections=settings.connections) as load:
        entries = load.wait()
    running.empty_logs()
    lags = sorted(entry.lag_s for entry in entries)
    return {
        "asked_per_s": rate,
        "p50_ms": percentile_ms(entries, 0.5),
        "p99_ms": percentile_ms(entries, 0.99),
        "max_ms": percentile_ms(entries, 1.0),
        "lag_ms": lags[len(lags) * 99 // 100] * 1000,
        "errors": errors + sum(not entry.is_ok for entry in entries),
    }


# The database, and the Python that has Django.


def _python_with_django(settings: Settings) -> Path | None:
    """Return the peers' Python if it has Django: all contenders run the page with one and the same."""
    for tool in ("gunicorn", "uvicorn"):
        program = settings.tools.find(tool)
        python = Path(program).with_name("python") if program else None
        if python and python.exists() and _can_import(python, "django"):
            return python
    return None


def _can_import(python: Path, module: str) -> bool:
    done = subprocess.run([python, "-c", f"import {module}"], capture_output=True, check=False, timeout=30)
    return done.returncode == 0


def _sqlite(root: Path) -> dict[str, object]:
    return {"ENGINE": "django.db.backends.sqlite3", "NAME": f"{root}/db.sqlite3", "CONN_MAX_AGE": None}


def _postgres_folder() -> Path | None:
    found = [*Path("/usr/lib/postgresql").glob("*/bin/initdb")]
    on_path = shutil.which("initdb")
    return Path(on_path).resolve().parent if on_path else found[-1].parent if found else None


def _why_no_postgres(python: Path) -> str:
    if _postgres_folder() is None:
        return "it is not installed (apt-get install postgresql)"
    if not _can_import(python, "psycopg, psycopg_pool"):
        return "pip install 'psycopg[binary,pool]' in the peers' venv"
    return ""


@contextlib.contextmanager
def _postgres(folder: Path) -> Iterator[dict[str, object]]:
    """Run a database server of our own; it refuses to be root, so then it is nobody."""
    programs = _postgres_folder()
    assert programs
    folder.mkdir(mode=0o700)
    options: dict[str, object] = {"cwd": "/"}
    if os.geteuid() == 0:
        nobody = pwd.getpwnam("nobody")
        os.chown(folder, nobody.pw_uid, nobody.pw_gid)
        # On the way to it nothing is secret.
        for parent in folder.parents[:2]:
            parent.chmod(0o711)
        options |= {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}
    data, port = folder / "data", free_port()
    init = [programs / "initdb", "-D", data, "-U", "bench", "--auth=trust", "--no-sync", "-E", "UTF8", "--locale=C"]
    subprocess.run(init, check=True, capture_output=True, timeout=60, **options)  # type: ignore[call-overload]
    settings = (
        "listen_addresses=127.0.0.1",
        f"port={port}",
        f"unix_socket_directories={folder}",
        "fsync=off",
        "max_connections=200",
    )
    server = subprocess.Popen(
        [programs / "postgres", "-D", data, *(part for setting in settings for part in ("-c", setting))],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
        **options,  # type: ignore[call-overload]
    )
    try:
        ready = [programs / "pg_isready", "-q", "-h", "127.0.0.1", "-p", str(port), "-U", "bench", "-t", "20"]
        subprocess.run(ready, check=False, timeout=30)
        for _ in range(100):
            if subprocess.run(ready, check=False, timeout=30).returncode == 0:
                break
        yield {
            "ENGINE": "django.db.backends.postgresql",
            "NAME": "postgres",
            "USER": "bench",
            "HOST": "127.0.0.1",
            "PORT": port,
            # What Django advises where requests run in threads that change: connections kept per thread pile up.
            "OPTIONS": {"pool": {"min_size": 1, "max_size": 8}},
        }
    finally:
        server.terminate()  # "smart" for the children's sake is over soon: nobody is connected any more
        try:
            server.wait(10)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()
