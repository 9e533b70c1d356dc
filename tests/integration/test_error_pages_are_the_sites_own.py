"""Promise: where the server itself has to answer with an error, a client gets the site's own page for it, from a file
or an application, with the status of the error; what an application answers is never replaced; a page that can't be had
is the built-in one; and the connection stays as good as it was."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest

from tests.support.client import Client, Response, request
from tests.support.site import Site, StartSite
from tests.support.waiting import wait_until

# What an application answers for a page: what it was told of the error.
PAGES = {
    "wsgi": """
told = [environ.get("HTTP_X_ERROR_" + name, "-") for name in ("STATUS", "METHOD", "URI", "INCIDENT")]
told += [environ["REQUEST_METHOD"], environ.get("CONTENT_LENGTH", ""), environ.get("HTTP_COOKIE", "")]
start("200 OK", [("Content-Type", "text/plain"), ("X-Page", "wsgi")])
return ["|".join(told).encode()]
""",
    "asgi": """
fields = {name.decode(): value.decode() for name, value in scope["headers"]}
told = [fields.get("x-error-" + name, "-") for name in ("status", "method", "uri", "incident")]
told += [scope["method"], fields.get("content-length", ""), fields.get("cookie", "")]
await start(200, [(b"content-type", b"text/plain"), (b"x-page", b"asgi")])
await body("|".join(told).encode(), True)
await body()
""",
}
RAISES = 'raise ValueError("on purpose")'
DIES = "os._exit(3)"
HANGS = {"wsgi": "time.sleep(60)", "asgi": "await asyncio.sleep(60)"}
ANSWERS = {
    "wsgi": 'start("503 Busy", [("X-Own", "yes")])\nreturn [b"own"]',
    "asgi": 'await start(503, [(b"x-own", b"yes")])\nawait body(b"own")',
}
INCIDENT = r"[0-9a-f]{10}"


def app(name: str, kind: str, more: str = "") -> str:
    return f'\n[app.{name}]\nentry = "told_{kind}:application"\ntype = "{kind}"\nroot = "APPS"\n{more}\n'


def app_page(name: str, source: str) -> str:
    return f'{{ app = "{name}", path = "/page?{quote(source)}" }}'


def told(source: str) -> str:
    return "/?" + quote(source)


FILES = """
[site.files]
hosts = ["files"]
default = true
files = "public"
max_body = "1KiB"
error_pages = { 404 = "errors/404.html", 4xx = "errors/4xx.json" }
headers = { X-Frame-Options = "DENY", Server = "", ETag = "", Set-Cookie = "a=1" }
[[site.files.route]]
path = "/named/*"
files = "public"
headers = { Server = "mine", X-Frame-Options = "" }
error_pages = { 404 = "" }
[[site.files.route]]
path = "/ping"
respond = { body = "pong" }
[[site.files.route]]
path = "/gone"
respond = { status = 404, body = "own" }
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("public", "errors"):
        (tmp_path / name).mkdir()
    (tmp_path / "public/a.txt").write_text("hello")
    (tmp_path / "public/big.bin").write_bytes(b"x" * 300_000)
    (tmp_path / "errors/404.html").write_text("<h1>{status} here</h1>")
    (tmp_path / "errors/4xx.json").write_text("{}")
    return tmp_path


# Files.


def test_a_file_takes_the_place_of_the_built_in_page(start_site: StartSite, folder: Path) -> None:
    site = start_site(FILES)
    with site.connect() as client:
        missing = client.get("/missing", "files")
        assert (missing.status, missing.text) == (404, "<h1>404 here</h1>")
        assert missing.field("content-type") == "text/html; charset=utf-8"
        assert missing.field("cache-control") == "no-store"
        head = client.ask(request("/missing", "files", "HEAD"), to_head=True)
        assert (head.status, head.field("content-length"), head.body) == (404, "17", b"")
        refused = client.ask(request("/a.txt", "files", "POST", b"some"))
        assert (refused.status, refused.text, refused.field("allow")) == (405, "{}", "GET, HEAD, OPTIONS")
        assert refused.field("content-type") == "application/json; charset=utf-8"
        beyond = client.get("/a.txt", "files", Range="bytes=9-")
        assert (beyond.status, beyond.text, beyond.field("content-range")) == (416, "{}", "bytes */5")
        own = client.get("/gone", "files")
        assert (own.status, own.text) == (404, "own")
        built_in = client.get("/named/x", "files")
        assert (built_in.status, "<h1>404 Not Found</h1>" in built_in.text) == (404, True)
        assert client.get("/a.txt", "files").text == "hello"
        too_long = client.ask(request("/a.txt", "files", "POST", b"x" * 2000))
        assert (too_long.status, too_long.text) == (413, "{}")
    assert [line.split('"')[2].split()[0] for line in site.access_lines(8)] == (
        ["404", "404", "405", "416", "404", "404", "200", "413"]
    )


def test_what_is_no_request_has_no_site_and_no_page(start_site: StartSite, folder: Path) -> None:
    site = start_site(FILES)
    answer = site.ask(b"GET /missing HTTP/1.1\r\n\r\n")
    assert (answer.status, "<h1>400 Bad Request</h1>" in answer.text) == (400, True)


def test_a_changed_page_is_seen_and_a_lost_one_is_said(start_site: StartSite, folder: Path) -> None:
    site = start_site(FILES)
    page = folder / "errors/404.html"
    with site.connect() as client:
        assert client.get("/missing", "files").text == "<h1>404 here</h1>"
        page.write_text("changed")
        wait_until(lambda: client.get("/missing", "files").text == "changed", "the change")
        page.unlink()
        wait_until(lambda: "Not Found" in client.get("/missing", "files").text, "the built-in page")
        for _ in range(50):
            client.get("/missing", "files")
        page.write_text("back")
        wait_until(lambda: client.get("/missing", "files").text == "back", "the page")
    site.expect_error(r"error page .*404\.html: No such file or directory: sent the built-in one")
    assert sum("error page" in line for line in site.lines) < 5


# Headers.


@pytest.mark.parametrize("path", ["/a.txt", "/big.bin", "/ping", "/missing", "/gone"])
def test_headers_are_on_every_answer_and_on_each_repeated_one(start_site: StartSite, folder: Path, path: str) -> None:
    site = start_site(FILES)
    with site.connect() as client:
        for _ in range(10):
            answer = client.get(path, "files")
            assert (answer.field("x-frame-options"), answer.field("set-cookie")) == ("DENY", "a=1")
            assert (answer.field("server"), answer.field("etag")) == (None, None)
            assert answer.field("date")
        modified = client.get("/a.txt", "files").field("last-modified")
        for _ in range(5):
            unchanged = client.get("/a.txt", "files", **{"If-Modified-Since": modified or ""})
            assert (unchanged.status, unchanged.field("x-frame-options")) == (304, "DENY")
            assert (unchanged.field("server"), unchanged.field("etag")) == (None, None)


@pytest.mark.parametrize("path", ["/named/a.txt", "/named/big.bin", "/named/x"])
def test_a_route_names_the_server_itself(start_site: StartSite, folder: Path, path: str) -> None:
    site = start_site(FILES)
    with site.connect() as client:
        for _ in range(5):
            answer = client.get(path, "files")
            assert (answer.field("server"), answer.field("x-frame-options")) == ("mine", None)


@pytest.mark.parametrize("compress", ["false", "true"])
@pytest.mark.parametrize("kind", ["wsgi", "asgi"])
def test_an_applications_headers_are_replaced_and_its_cookies_kept(
    start_site: StartSite, kind: str, compress: str
) -> None:
    site = start_site(
        app("a", kind)
        + f"""
[site.a]
default = true
app = "a"
compress = {compress}
headers = {{ Server = "", X-Frame-Options = "DENY", X-Powered-By = "", Set-Cookie = "a=1" }}
"""
    )
    own = {"Server": "own", "X-Frame-Options": "no", "X-Powered-By": "me", "Set-Cookie": "b=2", "X": "y"}
    fields = [*own.items(), ("Content-Type", "text/plain")]
    source = {
        "wsgi": f'start("200 OK", {fields})\nreturn [b"x" * 3000]',
        "asgi": f"await start(200, [(n.lower().encode(), v.encode()) for n, v in {fields}])\nawait body(b'x' * 3000)",
    }[kind]
    with site.connect() as client:
        for more in ({}, {"Accept-Encoding": "gzip"}, {"Connection": "close"}):
            answer = client.ask(request(told(source), "a", fields=more))
            assert sorted(value for name, value in answer.fields if name == "set-cookie") == ["a=1", "b=2"]
            assert (answer.field("server"), answer.field("x-powered-by")) == (None, None)
            assert (answer.field("x-frame-options"), answer.field("x")) == ("DENY", "y")
            assert bool(answer.field("content-encoding")) == (compress == "true" and "Accept-Encoding" in more)


# Applications.


def pages(kind: str) -> str:
    return (
        app("a", kind, 'timeout = "1s"\nworkers = 2')
        + f"""
[site.a]
default = true
app = "a"
max_body = "1KiB"
error_pages = {{ 4xx = {app_page("a", PAGES[kind])}, 5xx = {app_page("a", PAGES[kind])} }}
headers = {{ X-Frame-Options = "DENY" }}
[[site.a.route]]
path = "/files/*"
files = "public"
"""
    )


def page_of(answer: Response) -> list[str]:
    """Return what the application was told, and check what every page of ``pages`` has."""
    assert answer.field("x-page")
    assert answer.field("x-frame-options") == "DENY"
    assert answer.field("cache-control") == "no-store"
    assert answer.field("content-type") == "text/plain"
    return answer.text.split("|")


@pytest.fixture(params=["wsgi", "asgi"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def shop(start_site: StartSite, folder: Path, kind: str) -> Iterator[Site]:
    site = start_site(pages(kind))
    site.tolerate_error(rf"\b{INCIDENT} 50[024] ", "worker")
    yield site
    with site.connect() as client:  # and it is as good as before
        assert client.get("/files/a.txt").text == "hello"


def statuses(site: Site, count: int) -> list[str]:
    return [line.split('" ')[1].split()[0] for line in site.access_lines(count)]


def test_an_application_has_the_page_and_knows_what_failed(shop: Site) -> None:
    forged = {"X-Error-Status": "200", "X-Error-Incident": "forged", "Cookie": "session=1"}
    with shop.connect() as client:
        missing = client.ask(request("/files/miss%20ing?a=b", "a", fields=forged))
        assert missing.status == 404
        assert page_of(missing) == ["404", "GET", "/files/miss%20ing?a=b", "-", "GET", "", "session=1"]
        refused = client.ask(request("/files/a.txt", "a", "POST", b"some", forged))
        assert (refused.status, refused.field("allow")) == (405, "GET, HEAD, OPTIONS")
        assert page_of(refused)[:4] == ["405", "POST", "/files/a.txt", "-"]
        head = client.ask(request("/files/missing", "a", "HEAD"), to_head=True)
        assert (head.status, head.field("x-page"), head.body) == (404, missing.field("x-page"), b"")
        beyond = client.get("/files/a.txt", Range="bytes=9-")
        assert (beyond.status, beyond.field("content-range")) == (416, "bytes */5")
        assert page_of(beyond)[0] == "416"
        # No client can say it itself.
        plain = client.ask(request(told(page_source(missing)), "a", fields=forged))
        assert (plain.status, plain.text.split("|")[:4]) == (200, ["-", "-", "-", "-"])
    assert statuses(shop, 5) == ["404", "405", "404", "416", "200"]


def page_source(answer: Response) -> str:
    return PAGES[answer.field("x-page") or ""]


def test_a_failure_has_its_incident_in_the_page_and_in_the_log(shop: Site, kind: str) -> None:
    with shop.connect() as client:
        failed = client.get(told(RAISES))
        status, method, _, incident, *_ = page_of(failed)
        assert (failed.status, status, method) == (500, "500", "GET")
        assert re.fullmatch(INCIDENT, incident)
        shop.wait_line(incident)
        assert len([line for line in shop.lines if incident in line]) == 1
        hung = client.get(told(HANGS[kind]))
        assert (hung.status, page_of(hung)[0]) == (504, "504")
        died = client.ask(request(told(DIES), "a", "POST", b"x"))
        assert (died.status, page_of(died)[:2]) == (502, ["502", "POST"])
    assert statuses(shop, 3) == ["500", "504", "502"]


def test_what_an_application_answers_itself_is_left_alone(shop: Site, kind: str) -> None:
    answer = shop.get(told(ANSWERS[kind]))
    assert (answer.status, answer.text, answer.field("x-own")) == (503, "own", "yes")
    assert answer.field("x-page") is None


def test_requests_behind_a_failed_one_wait_for_its_page(shop: Site) -> None:
    with shop.connect() as client:
        client.send(
            request("/files/x", "a") + request("/files/a.txt", "a", "POST", b"abc") + request("/files/a.txt", "a")
        )
        assert [client.read_response().status for _ in range(3)] == [404, 405, 200]


def test_a_body_that_nobody_read_does_not_get_into_the_next_request(shop: Site) -> None:
    whole = request("/files/a.txt", "a", "POST", b"GET /evil HTTP/1.1\r\nHost: a\r\n\r\n" * 4)
    with shop.connect() as client:
        for cut in (len(whole), len(whole) - 1, whole.index(b"\r\n\r\n") + 5):
            client.send(whole[:cut])
            answer = client.read_response()
            assert (answer.status, page_of(answer)[:3]) == (405, ["405", "POST", "/files/a.txt"])
            client.send(whole[cut:])
            assert client.get("/files/a.txt").text == "hello"
    assert statuses(shop, 6) == ["405", "200"] * 3


@pytest.mark.parametrize("framing", ["length", "chunked", "expects"])
def test_a_body_that_is_too_large_has_its_page_and_ends_the_connection(shop: Site, framing: str) -> None:
    head = b"POST / HTTP/1.1\r\nHost: a\r\n"
    with shop.connect() as client:
        if framing == "chunked":
            client.send(head + b"Transfer-Encoding: chunked\r\n\r\n1000\r\n" + b"x" * 0x1000)
        elif framing == "expects":
            client.send(head + b"Expect: 100-continue\r\nContent-Length: 4096\r\n\r\n")
        else:
            client.send(head + b"Content-Length: 4096\r\n\r\n" + b"x" * 100)
        answer = client.read_response()
        assert (answer.status, answer.interim, page_of(answer)[:2]) == (413, [], ["413", "POST"])
        assert answer.field("connection") == "close"
        assert client.is_closed()


def test_a_body_that_comes_too_slowly_has_its_page(start_site: StartSite, folder: Path, kind: str) -> None:
    site = start_site(pages(kind), limits='body_timeout = "1s"')
    with site.connect() as client:
        client.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nx")
        answer = client.read_response()
        assert (answer.status, page_of(answer)[0], answer.field("connection")) == (408, "408", "close")
        assert client.is_closed()
    assert statuses(site, 1) == ["408"]


def test_http_1_0_and_a_client_that_half_closes_have_their_page(shop: Site) -> None:
    with shop.connect() as client:
        client.send(b"GET /files/x HTTP/1.0\r\nHost: a\r\n\r\n")
        client.end_sending()
        answer = client.read_response()
        assert (answer.status, page_of(answer)[0]) == (404, "404")
        assert client.is_closed()


# Pages that can't be had.


def broken(kind: str, source: str, more: str = "", page: str = "") -> str:
    """A site whose pages come from ``source``."""
    return (
        app("a", kind, 'timeout = "1s"\n' + more)
        + f"""
[site.a]
default = true
app = "a"
error_pages = {{ 4xx = {page or app_page("a", source)}, 5xx = {page or app_page("a", source)} }}
[[site.a.route]]
path = "/files/*"
files = "public"
"""
    )


def is_built_in(answer: Response, status: int) -> bool:
    incident = re.search(rf"<code>{INCIDENT}</code>", answer.text)
    return answer.status == status and f"<h1>{status} " in answer.text and (incident is not None) == (status >= 500)


@pytest.mark.parametrize("what", ["raises", "dies", "hangs", "answers 503", "redirects"])
def test_a_page_that_fails_is_the_built_in_one(start_site: StartSite, folder: Path, kind: str, what: str) -> None:
    redirect = {
        "wsgi": 'start("302 Found", [("Location", "/")])\nreturn []',
        "asgi": 'await start(302, [(b"location", b"/")])\nawait body()',
    }
    sources = {"raises": RAISES, "dies": DIES, "hangs": HANGS[kind], "answers 503": ANSWERS[kind]}
    site = start_site(broken(kind, sources.get(what, redirect[kind])))
    site.tolerate_error(rf"\b{INCIDENT} 50[024] ", "worker", "template")
    with site.connect() as client:
        assert is_built_in(client.get("/files/x"), 404)
        assert is_built_in(client.get(told(RAISES)), 500)
        head = client.ask(request("/files/x", "a", "HEAD"), to_head=True)
        assert (head.status, head.body) == (404, b"")
        assert client.get("/files/a.txt").text == "hello"
    assert statuses(site, 4) == ["404", "500", "404", "200"]
    assert site.wait_line(r"error page /page.* of app a: ")


def test_a_page_that_breaks_in_the_middle_is_cut(start_site: StartSite, folder: Path) -> None:
    site = start_site(broken("asgi", 'await start()\nawait body(b"half", True)\nraise ValueError("on purpose")'))
    site.expect_error(rf"\b{INCIDENT} 500 GET /files/x: app a failed")
    with site.connect() as client:
        client.send(request("/files/x", "a"))
        received = b""
        try:
            while piece := client.socket.recv(65536):
                received += piece
        except ConnectionResetError:
            pass
        assert received.startswith(b"HTTP/1.1 404 ")
        assert received.endswith(b"half\r\n")
    assert statuses(site, 1) == ["404"]


def test_an_application_that_is_down_has_the_built_in_page_at_once(start_site: StartSite, folder: Path) -> None:
    site = start_site(broken("wsgi", "").replace("told_wsgi", "told_nothing"))
    site.tolerate_error("app a", "told_nothing")
    with site.connect() as client:
        answer = client.get("/")
        assert is_built_in(answer, 503)
        assert answer.field("retry-after") == "5"
        assert is_built_in(client.get("/files/x"), 404)


def test_another_application_has_the_page_of_one_that_is_down(start_site: StartSite, folder: Path) -> None:
    text = broken("wsgi", "", page=app_page("b", PAGES["asgi"])).replace("told_wsgi", "told_nothing")
    site = start_site(text + app("b", "asgi"))
    site.tolerate_error("app a", "told_nothing")
    answer = site.get("/")
    assert (answer.status, answer.text.split("|")[0], answer.field("retry-after")) == (503, "503", "5")


def test_a_full_queue_is_answered_at_once(start_site: StartSite, folder: Path, kind: str) -> None:
    more = 'workers = 1\nconcurrency = 1\nqueue = { size = 1, timeout = "1h" }'
    site = start_site(broken(kind, PAGES[kind], more).replace('timeout = "1s"', 'timeout = "1h"'))
    site.tolerate_error(rf"\b{INCIDENT} 50[03] ")
    gate = folder / "gate"
    waits = "time.sleep(0.01)" if kind == "wsgi" else "await asyncio.sleep(0.01)"
    slow = told(f"while not os.path.exists({str(gate)!r}): {waits}\n{ANSWERS[kind]}")
    clients: list[Client] = []
    for running, queued in ((1, 0), (1, 1)):
        clients.append(site.connect())
        clients[-1].send(request(slow, "a"))
        wait_until(lambda: load(site) == (running, queued), f"{running} and {queued} of {load(site)}")  # noqa: B023
    with site.connect() as client:
        answer = client.get("/?x")
        assert is_built_in(answer, 503)
        assert answer.field("retry-after") == "1"
        assert is_built_in(client.get("/files/x"), 404)
        gate.touch()
        for waiting in clients:
            assert waiting.read_response().text == "own"
        found = client.get("/files/x")
        assert (found.status, found.text.split("|")[0]) == (404, "404")


def load(site: Site) -> tuple[int, int]:
    status = site.status()["apps"]["a"]
    return sum(worker["running"] for worker in status["workers"]), status["queue"]


# Early hints.

HINTS = """
[site.a]
default = true
app = "a"
early_hints = ["</a.css>; rel=preload; as=style"]
[[site.a.route]]
path = "/files/*"
files = "public"
"""


def test_hints_come_before_an_applications_answer_and_in_it(start_site: StartSite, folder: Path, kind: str) -> None:
    site = start_site(app("a", kind) + HINTS)
    own = {
        "wsgi": 'start("200 OK", [("Link", "</own>")])\nreturn [b"x"]',
        "asgi": 'await start(200, [(b"link", b"</own>")])\nawait body(b"x")',
    }[kind]
    hinted = ["</a.css>; rel=preload; as=style"]
    with site.connect() as client:
        for mode, links, interim in (
            ({}, hinted, [103]),
            ({"Sec-Fetch-Mode": "navigate"}, hinted, [103]),
            ({"Sec-Fetch-Mode": "no-cors"}, [], []),
        ):
            for _ in range(3):
                answer = client.get(told(own), **mode)
                assert [value for name, value in answer.fields if name == "link"] == ["</own>", *links]
                assert answer.interim == interim
        # Whoever waits for 100 Continue hears nothing else first.
        post = client.ask(request(told(own), "a", "POST", b"x", {"Expect": "100-continue"}))
        assert (post.status, 103 in post.interim) == (200, False)
        head = client.ask(request(told(own), "a", "HEAD"), to_head=True)
        assert (head.status, head.interim) == (200, [])
        file = client.get("/files/a.txt")
        assert (file.text, file.interim) == ("hello", [])
        client.send(b"GET / HTTP/1.0\r\nHost: a\r\n\r\n".replace(b"/ ", told(own).encode() + b" "))
        assert client.read_response().interim == []
