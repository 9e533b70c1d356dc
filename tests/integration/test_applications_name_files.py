"""Promise: a file below ``hand_over`` that an application names (``X-Accel-Redirect``, ``X-Sendfile``) is sent by the
front as any file is: with ranges and conditions, bit for bit, at no cost to the worker; nothing else can be named, and
no client hears a name."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

import pytest

from tests.integration.test_applications_hand_files_over import (
    BIG,
    SLOW,
    assert_same,
    bytes_read,
    make_file,
    settle,
)
from tests.support import processes
from tests.support.client import Client, Response, request
from tests.support.site import Site, StartSite
from tests.support.waiting import wait_until

NOT_ALLOWED = "the application names a file that it may not"


def sites(kind: str, media: Path) -> str:
    return f"""
[app.{kind}]
entry = "told_{kind}:application"
type = "{kind}"
root = "APPS"
workers = 1
hand_over = {{ "/protected" = "{media}" }}

[app.plain]
entry = "told_{kind}:application"
type = "{kind}"
root = "APPS"
workers = 1

[site.a]
hosts = ["a"]
app = "{kind}"
headers = {{ X-Site = "yes" }}
error_pages = {{ 404 = "missing.html", 500 = "broken.html" }}

[[site.a.route]]
path = "/packed/*"
app = "{kind}"
compress = true

[[site.a.route]]
path = "/without"
app = "plain"
"""


REST = {"wsgi": "return [b'own']", "asgi": "await body(b'own')"}


def source(kind: str, name: bytes, *, header: str = "X-Accel-Redirect", after: str = "", **own: str) -> str:
    """Return an application that names a file; ``after``: what it does behind that."""
    fields = [(header, name.decode("latin-1")), *((key.replace("_", "-"), value) for key, value in own.items())]
    if kind == "wsgi":
        begin = f"start('200 OK', {fields!r})"
    else:
        begin = f"await start(200, {[(key.encode(), value.encode('latin-1')) for key, value in fields]!r})"
    return f"{begin}\n{after or REST[kind]}"


def path_of(text: str, path: str = "/") -> str:
    return f"{path}?{quote(text)}"


@pytest.fixture
def media(tmp_path: Path) -> Path:
    folder = tmp_path / "media"
    folder.mkdir()
    (folder / "a.pdf").write_bytes(b"0123456789")
    (folder / "page.html").write_bytes(b"<p>" * 1000)
    (folder / "sp ace\u00e9.txt").write_bytes(b"odd")
    (folder / ".env").write_bytes(b"chosen")
    (folder / "docs").mkdir()
    (folder / "docs" / "index.html").write_bytes(b"index")
    os.mkfifo(folder / "pipe")
    (folder / "out").symlink_to(tmp_path / "canary")
    (tmp_path / "protectedx").mkdir()
    (tmp_path / "canary").write_bytes(b"canary")
    (tmp_path / "missing.html").write_bytes(b"no such page")
    (tmp_path / "broken.html").write_bytes(b"incident {incident}")
    return folder


class Stage:
    """A site whose applications may name files of ``media``."""

    def __init__(self, start_site: StartSite, kind: str, media: Path) -> None:
        self.kind = kind
        self.media = media
        self.site: Site = start_site(sites(kind, media))

    def target(self, name: str | bytes, path: str = "/", **more: str) -> str:
        raw = name.encode() if isinstance(name, str) else name
        return path_of(source(self.kind, raw, **more), path)

    def ask(
        self, name: str | bytes, method: str = "GET", fields: dict[str, str] | None = None, path: str = "/", **more: str
    ) -> Response:
        data = request(self.target(name, path, **more), "a", method, fields=fields)
        return self.site.ask(data, to_head=method == "HEAD")

    @property
    def hello(self) -> str:
        """The target of an ordinary answer."""
        if self.kind == "asgi":
            return path_of('await start(200, [(b"content-length", b"5")])\nawait body(b"hello")')
        return path_of('start("200 OK", [("Content-Length", "5")])\nreturn [b"hello"]')

    def wait_idle(self) -> None:
        wait_until(lambda: self.running == 0, "an idle worker")
        assert self.site.get(self.hello).body == b"hello"

    @contextmanager
    def nothing_left(self) -> Iterator[None]:
        """Check that the block costs no worker, leaves it idle, and leaves no descriptor anywhere."""
        self.wait_idle()
        settle(self.site)
        with self.site.same_workers(self.kind), self.site.same_descriptors():
            yield
            self.wait_idle()

    @property
    def running(self) -> int:
        return sum(worker["running"] for worker in self.site.workers(self.kind))


@pytest.fixture
def stage(start_site: StartSite, request: pytest.FixtureRequest, media: Path) -> Stage:
    return Stage(start_site, request.param, media)


STAGES = pytest.mark.parametrize("stage", ["wsgi", "asgi"], indirect=True)


@STAGES
def test_a_named_file_is_answered_as_a_file_is(stage: Stage) -> None:
    own = {"Set_Cookie": "a=b", "Content_Disposition": "attachment", "Cache_Control": "private", "ETag": '"own"'}
    own |= {"Last_Modified": "never", "Date": "then", "Server": "mine", "X_Accel_Buffering": "no", "X_Sendfile": "/x"}
    own |= {"Content_Length": "3"}
    whole = stage.ask("/protected/a.pdf", **own)
    assert (whole.status, whole.body) == (200, b"0123456789")
    kept = {"set-cookie": "a=b", "content-disposition": "attachment", "cache-control": "private", "x-site": "yes"}
    assert {name: whole.field(name) for name in kept} == kept
    assert (whole.field("content-type"), whole.field("content-length")) == ("application/pdf", "10")
    assert (whole.field("x-accel-buffering"), whole.field("x-sendfile"), whole.field("x-accel-redirect")) == (None,) * 3
    assert whole.field("date") != "then"
    assert whole.field("server") != "mine"
    etag, modified = whole.field("etag") or "", whole.field("last-modified") or ""
    assert etag != '"own"'

    head = stage.ask("/protected/a.pdf", "HEAD", **own)
    assert [field for field in head.fields if field[0] != "date"] == [
        field for field in whole.fields if field[0] != "date"
    ]
    for fields in ({"If-None-Match": etag}, {"If-Modified-Since": modified}):
        known = stage.ask("/protected/a.pdf", fields=fields, **own)
        assert (known.status, known.field("set-cookie"), known.field("content-type")) == (304, "a=b", None)
    part = stage.ask("/protected/a.pdf", fields={"Range": "bytes=2-4", "If-Range": etag}, **own)
    assert (part.status, part.body, part.field("content-range")) == (206, b"234", "bytes 2-4/10")
    several = stage.ask("/protected/page.html", fields={"Range": "bytes=0-1,2000-2001"}, Content_Type="own/type", **own)
    assert (several.status, several.field("set-cookie")) == (206, "a=b")
    assert several.body.count(b"own/type") == 2
    beyond = stage.ask("/protected/a.pdf", fields={"Range": "bytes=99-"}, **own)
    assert (beyond.status, beyond.field("content-range")) == (416, "bytes */10")
    post = stage.ask("/protected/a.pdf", "POST", fields={"Range": "bytes=2-4"}, **own)
    assert (post.status, post.body) == (200, b"0123456789")
    for value, expected in (("own/type", "own/type"), ("", "application/pdf")):
        assert stage.ask("/protected/a.pdf", Content_Type=value).field("content-type") == expected


@STAGES
def test_names_are_read_as_urls_or_as_paths(stage: Stage) -> None:
    folder = bytes(stage.media)
    for name in (b"/protected/sp%20ace%C3%A9.txt?x=1", "/protected/sp ace\u00e9.txt".encode()):
        assert stage.ask(name).body == b"odd"
    for raw, body in (("sp ace\u00e9.txt".encode(), b"odd"), (b".env", b"chosen"), (b"a.pdf", b"0123456789")):
        assert stage.ask(folder + b"/" + raw, header="X-Sendfile").body == body


@STAGES
def test_nothing_else_can_be_named(stage: Stage) -> None:
    stage.site.expect_error(NOT_ALLOWED)
    with stage.nothing_left():
        for name in ("missing", "docs", "docs/", "", "/a.pdf", "out", "pipe", "a.pdf/"):
            answer = stage.ask(f"/protected/{name}", Set_Cookie="a=b")
            assert (answer.status, answer.body, answer.field("set-cookie")) == (404, b"no such page", None)
            assert (answer.field("location"), answer.field("x-site")) == (None, "yes")
        for name in ("/protectedx/canary", "/protected/../canary", "/protected/%2e%2e/canary", "/protected/a%00", "x"):
            answer = stage.ask(name)
            incident = answer.text.removeprefix("incident ")
            assert (answer.status, len(incident)) == (500, 10)
            stage.site.wait_line(f"{incident} 500 GET .*{NOT_ALLOWED}")
        for name in ("/etc/passwd", f"{stage.media}/../canary", f"{stage.media}/out"):
            assert stage.ask(name, header="X-Sendfile").status in (404, 500)


@STAGES
def test_an_application_that_may_hand_nothing_over_says_what_it_likes(stage: Stage) -> None:
    answer = stage.ask("/protected/a.pdf", path="/without", X_Accel_Buffering="no")
    assert (answer.status, answer.body) == (200, b"own")
    assert (answer.field("x-accel-redirect"), answer.field("x-accel-buffering")) == ("/protected/a.pdf", "no")


@STAGES
def test_a_route_that_compresses_sends_named_files_as_they_are(stage: Stage) -> None:
    answer = stage.ask("/protected/page.html", fields={"Accept-Encoding": "gzip"}, path="/packed/x")
    assert (answer.status, answer.body, answer.field("content-encoding")) == (200, b"<p>" * 1000, None)


@STAGES
def test_a_changed_file_is_sent_anew(stage: Stage) -> None:
    with stage.site.connect() as client:
        for _ in range(300):
            assert client.get(stage.target("/protected/a.pdf")).body == b"0123456789"
        (stage.media / "new").write_bytes(b"new")
        os.replace(stage.media / "new", stage.media / "a.pdf")
        wait_until(lambda: client.get(stage.target("/protected/a.pdf")).body == b"new", "the new file")
        os.unlink(stage.media / "a.pdf")
        wait_until(lambda: client.get(stage.target("/protected/a.pdf")).status == 404, "no file")


LONG = {
    "wsgi": "return (b'x' * 100_000 for _ in range(100))",
    "asgi": "for _ in range(100):\n    await body(b'x' * 100_000, True)\nawait body(b'')",
}


@STAGES
@pytest.mark.parametrize("name", ["a.pdf", "big"])
def test_what_an_application_says_behind_the_name_is_taken_and_dropped(stage: Stage, name: str) -> None:
    size = 1_000_000
    os.replace(make_file(stage.media, size), stage.media / "big")
    target = stage.target(f"/protected/{name}", after=LONG[stage.kind])
    stage.site.get(target)
    with stage.nothing_left(), stage.site.connect() as client:
        for _ in range(20):
            assert client.get(target).body == (stage.media / name).read_bytes()
            assert client.get(stage.hello).body == b"hello"
        stage.wait_idle()


@STAGES
def test_an_application_that_fails_behind_the_name_is_a_line_in_the_log(stage: Stage) -> None:
    after = (
        "def rest():\n    yield b'x'\n    raise ValueError('on purpose')\nreturn rest()"
        if stage.kind == "wsgi"
        else "await body(b'x', True)\nraise ValueError('on purpose')"
    )
    stage.site.expect_error(f"app {stage.kind} named a file, and then: app {stage.kind} failed")
    with stage.nothing_left():
        answer = stage.ask("/protected/a.pdf", after=after)
        assert (answer.status, answer.body) == (200, b"0123456789")
        stage.site.wait_line("ValueError: on purpose")
        stage.wait_idle()


def download(client: Client, stage: Stage, name: str, size: int) -> None:
    client.send(request(stage.target(f"/protected/{name}"), "a"))
    head = client.read_head()
    assert (head.status, head.field("content-length")) == (200, str(size))


@STAGES
def test_slow_clients_hold_no_worker_and_nothing_stays_open(stage: Stage) -> None:
    path = make_file(stage.media, BIG)
    site = stage.site
    with site.connect() as client:
        download(client, stage, path.name, BIG)  # from here on the front knows it, and has it open
        assert_same(client, path, BIG)
        (worker,) = site.worker_pids(stage.kind)
        before = bytes_read(worker)
        with stage.nothing_left():
            slow = [site.connect(receive_buffer=SLOW) for _ in range(10)]
            for number, other in enumerate(slow):
                download(other, stage, path.name, BIG)
                if number % 2:
                    other.read_exactly(100_000)
            for _ in range(20):
                assert client.get(stage.hello).body == b"hello"
            stage.wait_idle()
            assert_same(slow[0], path, BIG)
            for other in slow[:5]:
                other.close()
            for other in slow[5:]:
                other.reset()
            stage.wait_idle()
        assert bytes_read(worker) - before < 1024 * 1024, "the front reads it"


def test_an_upload_that_is_answered_early_with_a_file_is_read_on(start_site: StartSite, media: Path) -> None:
    """The client sends all of its body before it reads anything; the application reads none of it."""
    stage = Stage(start_site, "asgi", media)
    size, length = BIG, 30_000_000  # more than buffers hold
    path = make_file(media, size)
    stage.site.get(stage.target(f"/protected/{path.name}"))
    with stage.nothing_left(), stage.site.connect(receive_buffer=SLOW) as client:
        target = stage.target(f"/protected/{path.name}")
        client.send(request(target, "a", "POST", fields={"Content-Length": str(length)}))
        client.send(b"x" * length)
        head = client.read_head()
        assert (head.status, head.field("content-length")) == (200, str(size))
        assert_same(client, path, size)


@STAGES
def test_a_worker_that_dies_behind_the_name_takes_nothing_along(stage: Stage) -> None:
    path = make_file(stage.media, BIG)
    (worker,) = stage.site.worker_pids(stage.kind)
    (front,) = stage.site.front_pids()
    with stage.site.connect(receive_buffer=SLOW) as client:
        download(client, stage, path.name, BIG)
        before = processes.descriptors(front)
        stage.site.kill(worker)
        wait_until(lambda: stage.site.worker_pids(stage.kind) not in ([], [worker]), "another worker")
        assert_same(client, path, BIG)
        assert client.get(stage.hello).body == b"hello"
    assert before[str(path)] == 1
