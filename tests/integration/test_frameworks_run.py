"""Promise: what a framework's documents say works: pages, streams that end with their client, uploads, tasks behind an
answer, lifespans, mounted applications that know their own address, errors that are told, hints and trailers.

Every framework has the same paths (``tests/apps/frameworks``), in one virtual environment without pyserve.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import httpx
import pytest

from tests.support import environments
from tests.support.client import request
from tests.support.site import Site, StartSite
from tests.support.waiting import wait_until
from tests.support.websockets import WebSocket, close, handshake

LIFESPANS = ("starlette", "fastapi", "quart", "litestar")
ASYNC = (*LIFESPANS, "django-asgi", "channels")
SYNC = ("django-wsgi", "flask")
ALL = (*ASYNC, *SYNC)
LINKS = [("link", "</app.css>; rel=preload"), ("link", "</app.js>; rel=preload")]


def config(framework: str, venv: Path) -> str:
    """An application at its own host, and at another one below /shop."""
    module, _, kind = framework.partition("-")
    entry = "on_django:make" if module in ("django", "channels") else f"on_{module}:app"
    return f"""
[app.{framework}]
entry = "{entry}"
factory = {str(entry.endswith("make")).lower()}
root = "APPS/frameworks"
venv = "{venv}"
workers = 1
threads = 3
env = {{ NOTES = "notes-of-{framework}", FRAMEWORK = "{kind or module}" }}

[site.{framework}]
hosts = ["{framework}"]
app = "{framework}"

[site.mounted-{framework}]
hosts = ["mounted-{framework}"]
respond = {{ status = 404 }}

[[site.mounted-{framework}.route]]
path = "/shop/*"
app = "{framework}"
mount = true
"""


class Shops:
    """One site with every framework."""

    def __init__(self, site: Site, notes: Path) -> None:
        self.site = site
        self._notes = notes

    def notes(self, framework: str) -> list[str]:
        path = self._notes / f"notes-of-{framework}"
        return path.read_text().splitlines() if path.exists() else []

    def wait_note(self, framework: str, what: str) -> None:
        wait_until(lambda: what in self.notes(framework), f"{what!r} of {framework}")

    def browse(self, host: str) -> httpx.Client:
        base = f"http://127.0.0.1:{self.site.address[1]}"
        return httpx.Client(base_url=base, headers={"Host": host}, timeout=20, trust_env=False)

    def wait_free(self, framework: str) -> None:
        wait_until(lambda: all(worker["running"] == 0 for worker in self.site.workers(framework)), "its place is free")


def start(start_site: StartSite, folder: Path, *frameworks: str) -> Shops:
    venv = environments.more_frameworks()
    text = "".join(config(framework, venv) for framework in frameworks)
    site = start_site(text.replace("notes-of-", f"{folder}/notes-of-"), ready_timeout_s=90)
    site.tolerate_error(r"\b[0-9a-f]{10} 50[01] ", "^Traceback")  # Quart and Litestar log failures themselves
    return Shops(site, folder)


@pytest.fixture(scope="module")
def shops(shared_site: StartSite, tmp_path_factory: pytest.TempPathFactory) -> Shops:
    def shared(text: str, **options: object) -> Site:
        options.pop("ready_timeout_s")
        return shared_site(text, **options)

    return start(shared, tmp_path_factory.mktemp("notes"), *ALL)


EACH = pytest.mark.parametrize("framework", ALL)


@EACH
def test_pages_and_json(shops: Shops, framework: str) -> None:
    with shops.browse(framework) as client:
        assert client.get("/").text == "page of /, database open"
        assert client.get("/json", params={"q": "ä b"}).json() == {"query": "ä b", "host": framework}
        assert client.get("/nothing").status_code == 404
        assert client.head("/").status_code in (200, 405)


@EACH
def test_a_stream_ends_with_its_client(shops: Shops, framework: str) -> None:
    before = shops.notes(framework).count("ticks are over")
    with shops.browse(framework) as client, client.stream("GET", "/events/ticks") as stream:
        lines = stream.iter_lines()
        assert [next(line for line in lines if line.startswith("data")) for _ in range(3)] == [
            "data: 0",
            "data: 1",
            "data: 2",
        ]
    wait_until(lambda: shops.notes(framework).count("ticks are over") == before + 1, "the generator is closed")
    shops.wait_free(framework)


@pytest.mark.parametrize("framework", ASYNC)
def test_a_stream_with_nothing_to_say_ends_with_its_client_too(shops: Shops, framework: str) -> None:
    """Nothing is sent that could fail: the framework has to be told."""
    with shops.browse(framework) as client, client.stream("GET", "/events/silence") as stream:
        assert next(line for line in stream.iter_lines() if line.startswith("data"))
    shops.wait_note(framework, "silence is over")
    shops.wait_free(framework)


@pytest.mark.parametrize("framework", ["starlette", "fastapi"])
def test_who_asks_whether_the_client_is_there_is_told(shops: Shops, framework: str) -> None:
    client = shops.site.connect()
    client.send(request("/poll", framework))
    shops.wait_note(framework, "polling")
    client.reset()
    shops.wait_note(framework, "polling is over")
    shops.wait_free(framework)


@EACH
@pytest.mark.parametrize("size", [1000, 2_000_000])
def test_a_form_with_a_file_arrives(shops: Shops, framework: str, size: int) -> None:
    data = os.urandom(size)
    with shops.browse(framework) as client:
        answer = client.post("/upload", data={"name": "Ada"}, files={"file": ("a.bin", data)})
    expected = {"name": "Ada", "file": "a.bin", "sha256": hashlib.sha256(data).hexdigest()}
    assert (answer.status_code, answer.json()) == (200, expected)


@EACH
def test_what_is_to_be_done_later_is_done_behind_the_answer(shops: Shops, framework: str) -> None:
    with shops.browse(framework) as client:
        assert client.post("/later").text == "accepted"
    shops.wait_note(framework, "done later")


@EACH
def test_a_mounted_application_knows_its_address(shops: Shops, framework: str) -> None:
    port = shops.site.address[1]
    with shops.browse(f"mounted-{framework}") as client:
        assert client.get("/shop/where").text == f"http://mounted-{framework}/shop/where"
        assert client.get("/shop/").text == "page of /shop/, database open"
        assert client.get("/where").status_code == 404
    with shops.browse(f"{framework}:{port}") as client:
        assert client.get("/where").text == f"http://{framework}:{port}/where"


def test_a_mount_of_the_framework_inside_of_ours_knows_its_address(shops: Shops) -> None:
    with shops.browse("mounted-starlette") as client:
        assert client.get("/shop/inner/a").text == "http://mounted-starlette/shop/inner/x /shop/inner"


def test_the_documents_of_a_mounted_fastapi_name_its_root(shops: Shops) -> None:
    """``root_path``, as FastAPI's documents have it for applications behind a prefix."""
    with shops.browse("mounted-fastapi") as client:
        assert client.get("/shop/openapi.json").json()["servers"] == [{"url": "/shop"}]
        assert "'/shop/openapi.json'" in client.get("/shop/docs").text


@EACH
def test_an_error_is_500_and_told_with_its_traceback(shops: Shops, framework: str) -> None:
    """Who catches its own errors (as Quart and Litestar do) logs them itself, and answers with a page of its own."""
    since = len(shops.site.lines)
    with shops.browse(framework) as client:
        answer = client.get("/fail")
        assert answer.status_code == 500
        assert "the framework's own failure" not in answer.text
        assert client.get("/").status_code == 200

    def lines() -> list[str]:
        return [line for line in shops.site.lines[since:] if "LookupError: the framework's own failure" in line]

    wait_until(lines, "the traceback in the log")
    if framework in ("django-asgi", "django-wsgi", "channels", "flask"):
        incident = answer.text.partition("<code>")[2].partition("<")[0]
        shops.site.wait_line(f"{incident} 500 GET /fail")


@pytest.mark.parametrize("framework", ["starlette", "fastapi", "django-wsgi", "flask"])
def test_hints_come_before_the_page(shops: Shops, framework: str) -> None:
    answer = shops.site.get("/hints", framework)
    assert (answer.status, answer.body) == (200, b"hinted")
    assert [field for fields in answer.interim_fields for field in fields] == LINKS


@pytest.mark.parametrize("framework", ["starlette", "fastapi", "quart", "litestar", "channels"])
def test_a_websocket_is_served_and_its_end_is_seen(shops: Shops, framework: str) -> None:
    with shops.site.connect() as client:
        chat = WebSocket(client, "/chat", framework, "Sec-WebSocket-Protocol: chat")
        assert chat.answer.field("sec-websocket-protocol") == "chat"
        for text in ("hello", "é" * 50_000):
            chat.send(text)
            assert chat.read() == f"{text} /chat"
        client.send(close(4000))
        assert chat.read_close()[0] == 4000
    what = "left with 4000" if framework in ("starlette", "fastapi", "channels") else "left"
    shops.wait_note(framework, what)
    assert [worker["websockets"] for worker in shops.site.workers(framework)] == [0]
    with shops.site.connect() as client:
        answer = client.ask(handshake("/nothing", framework))
        assert answer.status in (403, 404, 500)


@pytest.mark.parametrize("framework", ["starlette", "fastapi"])
def test_trailers_come_behind_the_body(shops: Shops, framework: str) -> None:
    path = "/trailers/" if framework == "fastapi" else "/trailers"
    with shops.site.connect() as client:
        client.takes_trailers = True
        answer = client.ask(request(path, framework, fields={"TE": "trailers"}))
        assert (answer.body, answer.trailers) == (b"summed", [("x-sum", "7")])
        assert client.ask(request(path, framework)).trailers == []


def test_a_scope_is_what_the_types_of_asgiref_say(shops: Shops) -> None:
    with shops.browse("fastapi") as client:
        answer = client.get("/scope")
    assert (answer.status_code, answer.text) == (200, "right")


def test_each_lifespan_is_seen_from_start_to_stop(start_site: StartSite, tmp_path: Path) -> None:
    shops = start(start_site, tmp_path, *LIFESPANS)
    for framework in LIFESPANS:
        assert shops.notes(framework) == ["startup"], framework
    assert shops.site.stop() == 0
    for framework in LIFESPANS:
        assert shops.notes(framework) == ["startup", "shutdown"], framework
