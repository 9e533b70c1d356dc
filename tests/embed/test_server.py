"""``pyserve.Server`` as a program uses it: on the test's own loop, with real sockets and, where there is a pool,
real processes.
"""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import socket
import ssl
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

import pyserve
from pyserve.errors import ApplicationError, CannotStart, ConfigError
from tests.support import processes

APPS = Path(__file__).resolve().parents[1] / "apps"
ANY_PORT = "127.0.0.1:0"
QUIET: dict[str, Any] = {"log": {"access": False}}
POOL: dict[str, Any] = {**QUIET, "app": {"trial_asgi": {"root": str(APPS), "workers": 1}}}

Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]


async def asgi(scope: dict[str, Any], receive: Receive, send: Send) -> None:
    assert scope["type"] == "http", "no lifespan here"
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"asgi " + scope["path"].encode()})


def wsgi(environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
    body = environ["wsgi.input"].read()
    start_response("200 OK", [])
    return [b"wsgi " + environ["PATH_INFO"].encode() + body]


def url(server: pyserve.Server, path: str = "/") -> str:
    host, port = server.addresses[0]
    return f"http://{host}:{port}{path}"


async def get(server: pyserve.Server, path: str = "/", **options: Any) -> httpx.Response:
    async with httpx.AsyncClient(trust_env=False) as client:
        return await client.get(url(server, path), **options)


async def test_a_live_asgi_application_runs_on_the_callers_loop() -> None:
    loops: list[asyncio.AbstractEventLoop] = []

    async def app(scope: dict[str, Any], receive: Receive, send: Send) -> None:
        loops.append(asyncio.get_running_loop())
        await asgi(scope, receive, send)

    async with pyserve.Server(app, listen=ANY_PORT, config=QUIET) as server:
        assert (await get(server, "/a")).text == "asgi /a"
    assert loops[-1] is asyncio.get_running_loop()


async def test_a_live_asgi_application_has_websockets() -> None:
    ended: list[Any] = []

    async def app(scope: dict[str, Any], receive: Receive, send: Send) -> None:
        assert scope["type"] == "websocket", "no lifespan here"
        await receive()
        await send({"type": "websocket.accept"})
        while (message := await receive())["type"] == "websocket.receive":
            await send({**message, "type": "websocket.send"})
        ended.append(message["code"])

    async with pyserve.Server(app, listen=ANY_PORT, config=QUIET) as server:
        async with connect(url(server).replace("http", "ws"), proxy=None) as client:
            await client.send("hello")
            assert await client.recv() == "hello"
        assert ended == [1000]
        late = await connect(url(server).replace("http", "ws"), proxy=None)
    with pytest.raises(ConnectionClosed):
        await late.recv()
    assert late.close_code == 1001
    assert ended == [1000, 1001]


async def test_a_live_wsgi_application_runs_in_threads_beside_the_loop() -> None:
    async with pyserve.Server(wsgi, listen=ANY_PORT, config=QUIET) as server, httpx.AsyncClient() as client:
        assert (await client.post(url(server, "/b"), content=b" body")).text == "wsgi /b body"
        answers = await asyncio.gather(*(client.get(url(server, f"/{n}")) for n in range(20)))
        assert [answer.text for answer in answers] == [f"wsgi /{n}" for n in range(20)]


async def test_the_lifespan_of_a_live_application_is_the_servers() -> None:
    said: list[str] = []

    async def app(scope: dict[str, Any], receive: Receive, send: Send) -> None:
        if scope["type"] != "lifespan":
            said.append("request")
            await asgi(scope, receive, send)
            return
        for step in ("startup", "shutdown"):
            assert (await receive())["type"] == f"lifespan.{step}"
            said.append(step)
            await send({"type": f"lifespan.{step}.complete"})

    async with pyserve.Server(app, listen=ANY_PORT, config=QUIET) as server:
        await get(server)
    assert said == ["startup", "request", "shutdown"]


async def test_a_startup_that_fails_is_raised_and_leaves_nothing() -> None:
    async def app(scope: dict[str, Any], receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "lifespan.startup.failed", "message": "no database"})

    with pytest.raises(ApplicationError, match="no database"):
        async with pyserve.Server(app, listen=ANY_PORT, config=QUIET):
            pass


async def test_a_named_application_runs_in_processes_of_its_own() -> None:
    async with pyserve.Server("trial_asgi:application", listen=ANY_PORT, config=POOL) as server:
        assert (await get(server, "/hello")).text == "hello from ASGI\n"
        if os.path.exists("/proc/self"):
            titles = [process.title for process in processes.descendants(os.getpid()) if "pyserve:" in process.title]
            assert len(titles) == 3
            assert [title for title in titles if "worker trial_asgi" in title]


async def test_an_application_that_can_not_be_imported_answers_503(capfd: pytest.CaptureFixture[str]) -> None:
    config = {**QUIET, "app": {"nowhere": {"workers": 1}}}
    async with pyserve.Server("nowhere:app", listen=ANY_PORT, config=config) as server:
        assert (await get(server)).status_code == 503
    assert "No module named 'nowhere'" in capfd.readouterr().err


async def test_a_folder_is_served(tmp_path: Path) -> None:
    (tmp_path / "page.txt").write_text("from a file")
    async with pyserve.Server(tmp_path, listen=ANY_PORT, config=QUIET) as server:
        assert (await get(server, "/page.txt")).text == "from a file"
        assert (await get(server, "/none")).status_code == 404


async def test_a_file_is_loaded_and_may_listen_elsewhere(tmp_path: Path) -> None:
    (tmp_path / "public").mkdir()
    (tmp_path / "public" / "index.html").write_text("<p>index</p>")
    file = tmp_path / "site.toml"
    file.write_text('[log]\naccess = false\n[site.a]\ndefault = true\nfiles = "public"\n')
    async with pyserve.Server(file, listen=ANY_PORT) as server:
        assert (await get(server)).text == "<p>index</p>"


async def test_a_tree_makes_sites_beside_the_live_application() -> None:
    config = {
        **QUIET,
        "app": {"trial_asgi": {"entry": "trial_asgi:application", "root": str(APPS), "workers": 1}},
        "site": {
            "files": {"hosts": ["f"], "respond": {"status": 200, "body": "fixed"}},
            "pool": {"hosts": ["p"], "app": "trial_asgi"},
        },
    }
    async with pyserve.Server(asgi, listen=ANY_PORT, config=config) as server:
        assert (await get(server, "/x", headers={"host": "f"})).text == "fixed"
        assert (await get(server, "/hello", headers={"host": "p"})).text == "hello from ASGI\n"
        assert (await get(server, "/x")).text == "asgi /x"


async def test_a_unix_socket_is_an_address_and_goes_with_the_server(tmp_path: Path) -> None:
    path = tmp_path / "web.sock"
    async with pyserve.Server(asgi, listen=[f"unix:{path}", ANY_PORT], config=QUIET) as server:
        assert server.addresses[0] == str(path)
        assert server.addresses[1][0] == "127.0.0.1"
        transport = httpx.AsyncHTTPTransport(uds=str(path))
        async with httpx.AsyncClient(transport=transport) as client:
            assert (await client.get("http://x/u")).text == "asgi /u"
    assert not path.exists()


@pytest.mark.parametrize("kind", ["alone", "with a pool"])
async def test_a_busy_port_is_said_and_leaves_nothing(kind: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as busy:
        listen = f"127.0.0.1:{busy.getsockname()[1]}"
        with pytest.raises(CannotStart, match="the port is busy"):
            async with pyserve.Server(
                asgi if kind == "alone" else "trial_asgi:application",
                listen=listen,
                config=QUIET if kind == "alone" else POOL,
            ):
                pass
    assert not pools()


def pools() -> list[str]:
    if not os.path.exists("/proc/self"):
        return []
    return [process.title for process in processes.descendants(os.getpid()) if "pyserve" in process.title]


def test_what_makes_no_sense_is_refused_before_anything_starts() -> None:
    with pytest.raises(ConfigError, match="sitte"):
        pyserve.Server(asgi, config={"sitte": {}})
    with pytest.raises(ValueError, match="nothing to serve"):
        pyserve.Server()
    with pytest.raises(ValueError, match="not both"):
        pyserve.Server("site.toml", config={})


async def test_a_request_that_runs_is_finished_before_the_server_ends() -> None:
    began, go = asyncio.Event(), asyncio.Event()

    async def app(scope: dict[str, Any], receive: Receive, send: Send) -> None:
        assert scope["type"] == "http"
        began.set()
        await go.wait()
        await asgi(scope, receive, send)

    async with pyserve.Server(app, listen=ANY_PORT, config=QUIET) as server:
        request = asyncio.create_task(get(server, "/slow"))
        await began.wait()
        asyncio.get_running_loop().call_soon(go.set)
    assert (await request).text == "asgi /slow"


@pytest.mark.parametrize("what", ["live", "pool"])
async def test_the_callers_process_is_left_as_it_was(what: str) -> None:
    def state() -> tuple[Any, ...]:
        gc.collect()
        handlers = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGCHLD)]
        descriptors = processes.descriptors(os.getpid()) if os.path.exists("/proc/self") else None
        return handlers, gc.get_threshold(), gc.get_freeze_count(), descriptors

    async def once() -> None:
        app, config = (asgi, QUIET) if what == "live" else ("trial_asgi:application", POOL)
        async with pyserve.Server(app, listen=ANY_PORT, config=config) as server:  # type: ignore[arg-type]
            assert (await get(server, "/hello")).status_code == 200

    await once()  # whatever is made once per process
    before = state()
    await once()
    assert state() == before
    assert not pools()


async def test_two_servers_live_side_by_side() -> None:
    async with (
        pyserve.Server(asgi, listen=ANY_PORT, config=QUIET) as one,
        pyserve.Server(wsgi, listen=ANY_PORT, config=QUIET) as two,
    ):
        assert (await get(one, "/1")).text == "asgi /1"
        assert (await get(two, "/2")).text == "wsgi /2"


async def test_giving_up_in_the_middle_of_the_start_leaves_nothing() -> None:
    async def start() -> None:
        async with pyserve.Server("trial_asgi:application", listen=ANY_PORT, config=POOL):
            raise AssertionError("it was given up before")

    task = asyncio.create_task(start())
    await asyncio.sleep(0)  # it has started its subprocess and waits
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not pools()


def test_uvloop_may_be_the_callers_loop() -> None:
    import uvloop

    async def main() -> None:
        async with pyserve.Server(asgi, listen=ANY_PORT, config=QUIET) as server:
            assert (await get(server, "/u")).text == "asgi /u"
        async with pyserve.Server("trial_asgi:application", listen=ANY_PORT, config=POOL) as server:
            assert (await get(server, "/hello")).status_code == 200

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main())


@pytest.mark.parametrize("kind", ["wsgi", "asgi"])
async def test_a_live_application_hands_files_over(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "file"
    path.write_bytes(os.urandom(3_000_000))

    def with_wrapper(environ: dict[str, Any], start_response: Callable[..., Any]) -> Any:
        start_response("200 OK", [])
        return environ["wsgi.file_wrapper"](open(path, "rb"))

    async def with_path(scope: dict[str, Any], receive: Receive, send: Send) -> None:
        assert scope["type"] == "http", "no lifespan here"
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.pathsend", "path": str(path)})

    app: Any = with_wrapper if kind == "wsgi" else with_path
    async with pyserve.Server(app, listen=ANY_PORT, config=QUIET) as server:
        for _ in range(3):
            answer = await get(server)
            assert (answer.headers["content-length"], answer.content) == ("3000000", path.read_bytes())
    assert str(path) not in processes.descriptors(os.getpid())


async def test_https_with_a_certificate_of_a_local_authority(tmp_path: Path) -> None:
    tls = {"local_ca": str(tmp_path / "ca"), "hsts": "1d"}
    config: dict[str, Any] = {
        **QUIET,
        "server": {"http": ANY_PORT, "https": ANY_PORT},
        "site": {"live": {"hosts": ["127.0.0.1"], "tls": tls}},
    }
    async with pyserve.Server(asgi, config=config) as server:
        (_, plain), (host, port) = server.addresses  # type: ignore[misc]
        believing = ssl.create_default_context(cafile=str(tmp_path / "ca/ca.pem"))
        async with httpx.AsyncClient(trust_env=False, verify=believing) as client:
            answer = await client.get(f"https://{host}:{port}/x")
            assert (answer.text, answer.headers["strict-transport-security"]) == ("asgi /x", "max-age=86400")
            answer = await client.get(f"http://{host}:{plain}/x?y")
            assert (answer.status_code, answer.headers["location"]) == (308, f"https://{host}:{port}/x?y")


async def test_a_site_without_its_certificate_does_not_keep_a_server_from_starting(tmp_path: Path) -> None:
    config: dict[str, Any] = {
        **QUIET,
        "server": {"https": ANY_PORT},
        "site": {"live": {"default": True, "tls": {"cert": str(tmp_path / "missing.pem")}}},
    }
    async with pyserve.Server(asgi, config=config) as server:
        host, port = server.addresses[0]
        async with httpx.AsyncClient(trust_env=False, verify=False) as client:
            with pytest.raises(httpx.ConnectError):
                await client.get(f"https://{host}:{port}/")
