"""Promise: a folder is served with types, validators, ranges, and no way out of it; big files go by sendfile(2)."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from tests.support import tools
from tests.support.client import request
from tests.support.site import Site, StartSite
from tests.support.waiting import wait_until

SITE = """
[site.a]
hosts = ["a"]
files = "public"

[[site.a.route]]
path = "/spa/*"
files = "public"
try = ["{path}", "index.html"]

[[site.a.route]]
path = "/cached/*"
files = "public"
cache = "30d"

[[site.a.route]]
path = "/one"
files = "public/page.html"
"""


@pytest.fixture
def site(start_site: StartSite, tmp_path: Path, variant: dict[str, str]) -> Site:
    public = tmp_path / "public"
    (public / "sub").mkdir(parents=True)
    (public / "index.html").write_text("<h1>index</h1>")
    (public / "page.html").write_text("<h1>page</h1>")
    (public / "sub/index.html").write_text("<h1>sub</h1>")
    (public / "style.css").write_text("a { color: red }")
    (public / "big.bin").write_bytes(os.urandom(1024) * 10 * 1024)
    (tmp_path / "secret").write_text("secret")
    (public / "link").symlink_to(tmp_path / "secret")
    return start_site(SITE, **variant)


def test_a_folder_is_served(site: Site, tmp_path: Path) -> None:
    with site.connect() as client:
        for path, text, media_type in [
            ("/", "<h1>index</h1>", "text/html"),
            ("/page.html", "<h1>page</h1>", "text/html"),
            ("/sub/", "<h1>sub</h1>", "text/html"),
            ("/style.css", "a { color: red }", "text/css"),
            ("/spa/what/ever", "<h1>index</h1>", "text/html"),
            ("/spa/page.html", "<h1>page</h1>", "text/html"),
            ("/one", "<h1>page</h1>", "text/html"),
        ]:
            answer = client.get(path)
            assert (answer.status, answer.text) == (200, text), path
            assert (answer.field("content-type") or "").startswith(media_type)
        assert client.get("/cached/page.html").field("cache-control") == "max-age=2592000"

        missing = client.get("/missing")
        assert missing.status == 404
        post = client.ask(request("/page.html", "a", "POST", b"x"))
        assert (post.status, post.field("allow")) == (405, "GET, HEAD, OPTIONS")

        for way_out in ("/../secret", "/%2e%2e/secret", "/sub/..%2f..%2fsecret", "/link", "/..%5csecret", "//secret"):
            answer = client.get(way_out)
            assert answer.status in (400, 403, 404), way_out
            assert b"secret" not in answer.body.replace(way_out.encode(), b"")
            if answer.field("connection") == "close":
                client.close()
                client.__init__(site.address)  # type: ignore[misc]


def test_validators_and_ranges(site: Site, tmp_path: Path) -> None:
    data = (tmp_path / "public/big.bin").read_bytes()
    with site.connect() as client:
        whole = client.get("/big.bin")
        assert whole.body == data
        etag, modified = whole.field("etag"), whole.field("last-modified")
        assert etag
        assert modified
        assert client.get("/big.bin", **{"If-None-Match": etag}).status == 304
        assert client.get("/big.bin", **{"If-Modified-Since": modified}).status == 304
        assert client.get("/big.bin", **{"If-None-Match": '"other"'}).status == 200

        part = client.get("/big.bin", Range="bytes=100-199")
        assert (part.status, part.body) == (206, data[100:200])
        assert part.field("content-range") == f"bytes 100-199/{len(data)}"
        assert client.get("/big.bin", Range="bytes=-5").body == data[-5:]
        assert client.get("/big.bin", Range=f"bytes={len(data) - 3}-").body == data[-3:]
        beyond = client.get("/big.bin", Range=f"bytes={len(data)}-")
        assert (beyond.status, beyond.field("content-range")) == (416, f"bytes */{len(data)}")
        stale = client.get("/big.bin", Range="bytes=0-9", **{"If-Range": '"other"'})
        assert stale.status == 200


def test_a_changed_file_is_served_as_it_is_now(site: Site, tmp_path: Path) -> None:
    page = tmp_path / "public/page.html"
    first = site.get("/page.html")
    page.write_text("<h1>changed</h1>")
    wait_until(lambda: site.get("/page.html").text == "<h1>changed</h1>", "the new text")
    assert site.get("/page.html", **{"If-None-Match": first.field("etag") or ""}).status == 200


def test_downloads_leave_no_descriptor_open(site: Site) -> None:
    site.get("/big.bin")
    site.get("/page.html")
    with site.same_descriptors():
        for _ in range(5):
            with site.connect(receive_buffer=4096) as client:
                client.send(request("/big.bin", "a"))
                client.read_head()
            assert hashlib.sha256(site.get("/big.bin").body).digest()


@pytest.mark.needs("strace")
@pytest.mark.parametrize("loop", ["uvloop", "asyncio"])
def test_a_big_file_goes_by_sendfile(start_site: StartSite, tmp_path: Path, loop: str) -> None:
    public = tmp_path / "public"
    public.mkdir()
    (public / "big.bin").write_bytes(os.urandom(1024) * 10 * 1024)
    strace = tools.find("strace")
    assert strace
    trace = tmp_path / "trace"
    site = start_site(
        '[site.a]\nhosts = ["a"]\nfiles = "public"',
        loop=loop,
        under=[strace, "-f", "-e", "trace=sendfile", "-o", str(trace)],
    )
    assert site.get("/big.bin").body == (public / "big.bin").read_bytes()
    # strace passes no signals on: the program is stopped over its own socket.
    site.admin("stop")
    assert site.wait_exit() == 0
    sent = [line for line in trace.read_text().splitlines() if "sendfile(" in line or "sendfile resumed" in line]
    moved = sum(int(line.rsplit("=", 1)[1]) for line in sent if line.rsplit("=", 1)[1].strip().isdigit())
    assert moved == 10 * 1024 * 1024
