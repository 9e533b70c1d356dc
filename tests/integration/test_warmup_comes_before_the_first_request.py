"""Promise: a worker with ``warmup`` has answered its targets before it gets a request, and nobody sees it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.site import StartSite

WSGI = """
import os
seen = []

def application(environ, start_response):
    path = environ["PATH_INFO"]
    seen.append(path)
    if path == "/broken":
        raise LookupError("no table yet")
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [f"{environ['HTTP_HOST']} {' '.join(seen)}".encode()]
"""
ASGI = """
seen = []

async def application(scope, receive, send):
    if scope["type"] == "lifespan":
        await receive()
        seen.append("lifespan")
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await send({"type": "lifespan.shutdown.complete"})
        return
    seen.append(scope["path"])
    if scope["path"] == "/broken":
        raise LookupError("no table yet")
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/plain")]})
    host = dict(scope["headers"])[b"host"].decode()
    await send({"type": "http.response.body", "body": f"{host} {' '.join(seen)}".encode()})
"""


def site_text(more: str, workers: int = 1) -> str:
    return f"""
[app.shop]
entry = "shop:application"
root = "."
workers = {workers}
warmup = ["/", "/search?q=a"]
{more}
[site.a]
hosts = ["*.example", "a"]
app = "shop"
"""


@pytest.mark.parametrize("more", ["", "threads = 3", "preload = true"])
@pytest.mark.parametrize("kind", ["wsgi", "asgi"])
def test_the_first_request_meets_a_warm_worker(start_site: StartSite, tmp_path: Path, kind: str, more: str) -> None:
    (tmp_path / "shop.py").write_text(WSGI if kind == "wsgi" else ASGI)
    site = start_site(site_text(more))
    first = "a lifespan" if kind == "asgi" else "a"
    assert site.get("/first").text == f"{first} / /search /first"
    # No front was involved: one line in the access log, one request in the figures.
    (line,) = site.access_lines(1)
    assert "/first" in line
    assert [worker["requests"] for worker in site.workers("shop")] == [1]


def test_every_worker_warms_up_also_one_that_replaces_another(start_site: StartSite, tmp_path: Path) -> None:
    (tmp_path / "shop.py").write_text(WSGI)
    site = start_site(site_text(""))
    (pid,) = site.worker_pids("shop")
    site.kill(pid)
    site.wait_line("killed by signal 9")
    assert site.get("/next").text == "a / /search /next"


@pytest.mark.parametrize("kind", ["wsgi", "asgi"])
def test_a_target_that_fails_is_in_the_log_and_the_worker_serves(
    start_site: StartSite, tmp_path: Path, kind: str
) -> None:
    (tmp_path / "shop.py").write_text(WSGI if kind == "wsgi" else ASGI)
    site = start_site(site_text("").replace('"/",', '"/broken",'))
    site.wait_line(r"warning .*app shop: worker 1 .*warmup: /broken failed: Traceback")
    site.wait_line("LookupError: no table yet")
    assert site.get("/first").text.endswith("/broken /search /first")


def test_one_that_hangs_takes_its_time_and_no_more(start_site: StartSite, tmp_path: Path) -> None:
    text = WSGI.replace(
        'if path == "/broken":', 'if path == "/search":\n        time.sleep(2.2)\n    if path == "/broken":'
    )
    (tmp_path / "shop.py").write_text("import time\n" + text)
    site = start_site(site_text('startup_timeout = "2s"'))
    site.wait_line(r"warning .*warmup: /search\?q=a was not answered within 1\.\d s")
    assert site.get("/first").text == "a / /search /first"
