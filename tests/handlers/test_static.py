"""Files: what is sent for which path, in a real folder."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from pyserve.config.model import Files
from pyserve.files import opening
from pyserve.files.cache import FileCache
from pyserve.files.entry import SMALL_BYTES
from pyserve.handlers import static
from pyserve.handlers.static import StaticHandler
from tests.support.exchanges import FakeExchange, ask
from tests.support.lanes import inline_lanes

BIG = bytes(range(256)) * 1024  # 256 KiB: sent from a descriptor


class Clock:
    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


class Served:
    """A folder behind a ``files`` handler of its own."""

    def __init__(self, config: Files, route: str = "", cache: FileCache | None = None) -> None:
        self.clock = Clock()
        self.cache = cache or FileCache()
        self.config = config
        self.route = route
        # A wall clock far ahead: files made by the test count as settled.
        self.wall_ns = 4_000_000_000_000_000_000
        self.handler = StaticHandler(config, self.cache, inline_lanes(), None, self.clock, lambda: self.wall_ns)

    def ask(self, target: str | bytes, method: str = "GET", **fields: str) -> FakeExchange:
        return ask(self.handler, self.config, target, method, self.route, **fields)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "public"
    (folder / "docs" / "empty").mkdir(parents=True)
    (folder / "index.html").write_bytes(b"home")
    (folder / "docs" / "index.html").write_bytes(b"docs")
    (folder / "style.css").write_bytes(b"body{}")
    (folder / "nothing.txt").write_bytes(b"")
    (folder / "big.bin").write_bytes(BIG)
    (folder / "edge.bin").write_bytes(b"x" * SMALL_BYTES)
    (folder / "past.bin").write_bytes(b"x" * (SMALL_BYTES + 1))
    (folder / ".env").write_bytes(b"secret")
    (folder / ".git").mkdir()
    (folder / ".git" / "config").write_bytes(b"secret")
    (folder / ".well-known").mkdir()
    (folder / ".well-known" / "security.txt").write_bytes(b"contact")
    (folder / "sp ace\u00e9.txt").write_bytes(b"space")
    (tmp_path / "canary").write_bytes(b"canary")
    (tmp_path / "public-sibling").mkdir()
    (tmp_path / "public-sibling" / "canary").write_bytes(b"canary")
    return folder


@pytest.fixture
def site(root: Path) -> Served:
    return Served(Files(str(root)))


@pytest.fixture
def route(root: Path) -> Served:
    return Served(Files(str(root)), "/static/*")


@pytest.mark.parametrize(
    ("target", "body", "content_type"),
    [
        ("/", b"home", "text/html; charset=utf-8"),
        ("/index.html", b"home", "text/html; charset=utf-8"),
        ("/style.css?v=2", b"body{}", "text/css; charset=utf-8"),
        ("/docs/", b"docs", "text/html; charset=utf-8"),
        ("/docs/../style.css", b"body{}", "text/css; charset=utf-8"),
        ("/nothing.txt", b"", "text/plain; charset=utf-8"),
        ("/big.bin", BIG, "application/octet-stream"),
        ("/edge.bin", b"x" * SMALL_BYTES, "application/octet-stream"),
        ("/past.bin", b"x" * (SMALL_BYTES + 1), "application/octet-stream"),
        ("/sp%20ace%C3%A9.txt", b"space", "text/plain; charset=utf-8"),
        ("/.well-known/security.txt", b"contact", "text/plain; charset=utf-8"),
    ],
)
def test_a_file_is_sent_with_its_head(site: Served, target: str, body: bytes, content_type: str) -> None:
    for _ in ("cold", "hot"):
        exchange = site.ask(target)
        assert (exchange.status, exchange.body, exchange.length) == (200, body, len(body))
        assert exchange.headers["content-type"] == content_type
        assert set(exchange.headers) == {"content-type", "etag", "last-modified", "accept-ranges"}


@pytest.mark.parametrize("target", ["/missing", "/docs/missing", "/style.css/", "/style.css/x", "/docs/empty/"])
def test_what_is_not_there_is_not_found(site: Served, target: str) -> None:
    assert site.ask(target).status == 404


@pytest.mark.parametrize(
    "target", ["/.env", "/.git/config", "/docs/../.env", "/%2eenv", "/docs/.hidden/x", "/.git/", "/.well-knownx"]
)
def test_what_begins_with_a_dot_is_hidden(site: Served, target: str) -> None:
    assert site.ask(target).status == 404


@pytest.mark.parametrize("target", ["//style.css", "/docs//index.html", "//", "/docs//", "///etc/passwd"])
def test_a_file_has_one_path_without_empty_segments(site: Served, target: str) -> None:
    assert site.ask(target).status == 404


@pytest.mark.parametrize("name", ["x" * 5000, "x/" * 5000, "a/" * 3 + "y" * 300])
def test_a_name_that_is_too_long_is_not_found(site: Served, name: str) -> None:
    assert site.ask("/" + name).status == 404


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH"])
def test_files_are_only_read(site: Served, method: str) -> None:
    exchange = site.ask("/style.css", method)
    assert (exchange.status, exchange.headers) == (405, {"allow": "GET, HEAD, OPTIONS"})


def test_files_say_what_may_be_done_with_them(site: Served) -> None:
    exchange = site.ask("/style.css", "OPTIONS")
    assert (exchange.status, exchange.headers) == (204, {"allow": "GET, HEAD, OPTIONS"})


def test_head_gets_the_head_and_no_file_is_lent(site: Served) -> None:
    small = site.ask("/style.css", "HEAD")
    assert (small.status, small.length, small.block) == (200, 6, site.ask("/style.css").block)
    big = site.ask("/big.bin", "HEAD")
    assert (big.status, big.length, big.lent) == (200, len(BIG), [])
    assert big.calls == ["send_head", "finish"]


@pytest.mark.parametrize(
    ("target", "location"),
    [
        ("/docs", "/docs/"),
        ("/docs?a=b&c", "/docs/?a=b&c"),
        ("/docs/empty", "/docs/empty/"),
        ("/docs/../docs", "/docs/"),
    ],
)
def test_a_folder_without_slash_sends_the_client_to_the_one_with_it(site: Served, target: str, location: str) -> None:
    exchange = site.ask(target)
    assert (exchange.status, exchange.headers) == (301, {"location": location})


def test_a_folders_name_is_encoded_in_its_location(site: Served, root: Path) -> None:
    os.mkdir(os.fsencode(root) + b"/a b\xff?")
    assert site.ask("/a%20b%FF%3F").headers == {"location": "/a%20b%FF%3F/"}


def test_a_folder_never_sends_the_client_to_another_host(root: Path) -> None:
    served = Served(Files(str(root)), r"~/(docs)$")
    assert served.ask("//evil.test/docs").headers == {"location": "/evil.test/docs/"}


def test_a_prefix_route_looks_up_the_rest(route: Served) -> None:
    assert route.ask("/static/style.css").body == b"body{}"
    assert route.ask("/static/").body == b"home"
    assert route.ask("/static").headers == {"location": "/static/"}
    assert route.ask("/static/docs").headers == {"location": "/static/docs/"}
    # Also when the index is in the cache by now.
    assert route.ask("/static").status == 301


def test_a_regex_route_looks_up_its_group(root: Path) -> None:
    served = Served(Files(str(root)), r"~^/v\d+(/.*)$")
    assert served.ask("/v7/style.css").body == b"body{}"
    assert served.ask("/v7/").body == b"home"


def test_a_regex_group_leads_no_higher(root: Path) -> None:
    served = Served(Files(str(root)), r"~^/x(.*)$")
    for target in ("/x../canary", "/x..", "/x../", "/x../public-sibling/canary", "/x.", "/x./style.css"):
        assert served.ask(target).status == 404, target


def test_an_exact_route_is_one_file(root: Path) -> None:
    served = Served(Files(str(root / "style.css"), is_single=True), "/favicon")
    for _ in ("cold", "hot"):
        exchange = served.ask("/favicon")
        assert (exchange.status, exchange.body) == (200, b"body{}")
    assert exchange.headers["content-type"] == "text/css; charset=utf-8"
    (root / "style.css").unlink()
    served.clock.now_s += 2
    assert served.ask("/favicon").status == 404


def test_cache_says_how_long(root: Path) -> None:
    served = Served(Files(str(root), cache="max-age=2592000"))
    exchange = served.ask("/style.css")
    assert exchange.headers["cache-control"] == "max-age=2592000"
    unchanged = served.ask("/style.css", if_none_match=exchange.headers["etag"])
    assert unchanged.headers["cache-control"] == "max-age=2592000"


def test_index_names_are_tried_in_order(root: Path) -> None:
    served = Served(Files(str(root), index=("main.html", "index.html")))
    assert served.ask("/docs/").body == b"docs"
    (root / "docs" / "main.html").write_bytes(b"main")
    served.clock.now_s += 2
    assert served.ask("/docs/").body == b"main"
    (root / "docs" / "main.html").unlink()
    served.clock.now_s += 2
    assert served.ask("/docs/").body == b"docs"


TRIES = ("{path}", "{path}.html", "{path}/index.html", "/index.html")


@pytest.mark.parametrize(
    ("tries", "target", "status", "body"),
    [
        (TRIES, "/style.css", 200, b"body{}"),
        (TRIES, "/index", 200, b"home"),
        (TRIES, "/docs", 200, b"docs"),
        (TRIES, "/docs/", 200, b"docs"),
        (TRIES, "/", 200, b"home"),
        (TRIES, "/any/route/of/a/page", 200, b"home"),
        (TRIES, "/.env", 200, b"home"),
        (TRIES, "//style.css", 200, b"home"),
        (TRIES, "/style.css/..%5C..%5Ccanary", 200, b"home"),
        (("{path}", "=404"), "/style.css", 200, b"body{}"),
        (("{path}", "=404"), "/docs/", 200, b"docs"),
        (("{path}", "=404"), "/no", 404, b""),
        (("{path}", "=410"), "/no", 410, b""),
        (("{path}",), "/no", 404, b""),
        (("docs/{path}",), "/index.html", 200, b"docs"),
        (("docs/{path}",), "/", 200, b"docs"),
        (("../canary", "=404"), "/x", 404, b""),
        (("{path}/../../canary", "=404"), "/docs", 404, b""),
    ],
)
def test_try_takes_the_first_that_is_a_file(
    root: Path, tries: tuple[str, ...], target: str, status: int, body: bytes
) -> None:
    served = Served(Files(str(root), tries=tries))
    for _ in ("cold", "hot"):
        exchange = served.ask(target)
        assert (exchange.status, exchange.body) == (status, body)


def test_a_thousand_paths_that_fall_back_cost_one_entry(root: Path) -> None:
    served = Served(Files(str(root), tries=("{path}", "index.html")))
    for number in range(1000):
        assert served.ask(f"/route/{number}").body == b"home"
    assert len(served.cache.entries) == 1
    (root / "index.html").write_bytes(b"new home")
    served.clock.now_s += 2
    assert served.ask("/route/1").body == b"new home"


def test_a_fallback_gives_way_when_the_file_appears(root: Path) -> None:
    served = Served(Files(str(root), tries=("{path}", "index.html")))
    assert served.ask("/page.txt").body == b"home"
    (root / "page.txt").write_bytes(b"page")
    assert served.ask("/page.txt").body == b"page"
    (root / "page.txt").unlink()
    served.clock.now_s += 2
    assert served.ask("/page.txt").body == b"home"


def test_conditions_are_honoured(site: Served) -> None:
    for target, size in (("/style.css", 6), ("/big.bin", len(BIG))):
        first = site.ask(target)
        etag, modified = first.headers["etag"], first.headers["last-modified"]
        unchanged = site.ask(target, if_none_match=f'W/{etag}, "x"')
        assert (unchanged.status, unchanged.body, unchanged.calls) == (304, b"", ["send"])
        assert unchanged.headers == {"etag": etag, "last-modified": modified, "accept-ranges": "bytes"}
        assert site.ask(target, if_modified_since=modified).status == 304
        assert site.ask(target, if_none_match='"x"', if_modified_since=modified).status == 200
        assert site.ask(target, if_match='"x"').status == 412
        assert site.ask(target, if_match=etag).status == 200
        part = site.ask(target, range="bytes=1-3", if_range=etag)
        assert (part.status, part.length, len(part.body)) == (206, 3, 3)
        assert part.headers["content-range"] == f"bytes 1-3/{size}"
        assert part.body == first.body[1:4]
        assert site.ask(target, range="bytes=1-3", if_range='"x"').body == first.body
        last = site.ask(target, range="bytes=-2")
        assert (last.body, last.headers["content-range"]) == (first.body[-2:], f"bytes {size - 2}-{size - 1}/{size}")
        beyond = site.ask(target, range=f"bytes={size}-")
        assert (beyond.status, beyond.headers) == (416, {"content-range": f"bytes */{size}"})
        assert site.ask(target, "HEAD", range="bytes=1-3").status == 200


def test_a_change_is_seen_within_a_second(site: Served, root: Path) -> None:
    first = site.ask("/style.css")
    (root / "style.css").write_bytes(b"p{}")
    site.clock.now_s += static.FRESH_S - 0.1
    assert site.ask("/style.css").body == b"body{}"
    site.clock.now_s += 0.2
    second = site.ask("/style.css")
    assert second.body == b"p{}"
    assert second.headers["etag"] != first.headers["etag"]
    (root / "style.css").unlink()
    site.clock.now_s += 1.1
    assert site.ask("/style.css").status == 404
    (root / "style.css").mkdir()
    assert site.ask("/style.css").status == 301


def test_a_small_file_may_grow_and_a_big_one_shrink(site: Served, root: Path) -> None:
    for content in (BIG, b"small", BIG[:-1]):
        (root / "style.css").write_bytes(content)
        site.clock.now_s += 1.1
        assert site.ask("/style.css").body == content


def test_a_change_within_one_tick_of_the_file_systems_clock_is_seen(site: Served, root: Path) -> None:
    path = root / "style.css"
    site.wall_ns = path.stat().st_mtime_ns  # just written
    assert site.ask("/style.css").body == b"body{}"
    status = path.stat()
    path.write_bytes(b"p{:::}")
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    site.clock.now_s += 1.1
    assert site.ask("/style.css").body == b"p{:::}"


def test_an_unchanged_file_is_not_read_again(site: Served) -> None:
    site.ask("/style.css")
    entry = next(iter(site.cache.entries.values()))
    site.clock.now_s += 5
    site.ask("/style.css")
    assert next(iter(site.cache.entries.values())) is entry
    assert entry.fresh_until_s == site.clock.now_s + static.FRESH_S


def test_a_root_that_is_a_link_may_move(tmp_path: Path) -> None:
    for release in ("one", "two"):
        (tmp_path / release).mkdir()
        (tmp_path / release / "a.txt").write_text(release)
    current = tmp_path / "current"
    current.symlink_to("one")
    served = Served(Files(str(current)))
    assert served.ask("/a.txt").body == b"one"
    (tmp_path / "next").symlink_to("two")
    os.replace(tmp_path / "next", current)
    served.clock.now_s += 1.1
    assert served.ask("/a.txt").body == b"two"


def test_a_missing_folder_is_the_sites_trouble_until_it_is_there(tmp_path: Path) -> None:
    for symlinks in (False, True):
        served = Served(Files(str(tmp_path / f"later-{symlinks}"), symlinks=symlinks))
        exchange = served.ask("/a.txt")
        assert (exchange.status, exchange.reason.endswith("is missing")) == (503, True)
        (tmp_path / f"later-{symlinks}").mkdir()
        assert served.ask("/a.txt").status == 404
        (tmp_path / f"later-{symlinks}" / "a.txt").write_text("a")
        assert served.ask("/a.txt").body == b"a"


def test_without_descriptors_what_is_in_memory_is_served_and_the_rest_is_unavailable(
    site: Served, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.ask("/style.css")
    (root / "style.css").write_bytes(b"changed")
    site.clock.now_s += 2

    def no_descriptors(*args: object, **kwargs: object) -> int:
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr(os, "open", no_descriptors)
    monkeypatch.setattr(opening, "_system_call", lambda: None)
    assert site.ask("/style.css").body == b"body{}"
    assert site.ask("/index.html").status == 503
    monkeypatch.undo()
    assert site.ask("/style.css").body == b"changed"


def test_a_descriptor_stays_open_until_its_exchange_is_over(site: Served, root: Path) -> None:
    site.ask("/big.bin")
    entry = next(iter(site.cache.entries.values()))
    entry.users += 1  # an exchange that is still sending
    (root / "big.bin").write_bytes(b"other" * 100_000)
    site.clock.now_s += 2
    assert site.ask("/big.bin").body == b"other" * 100_000
    assert entry.is_evicted
    assert os.pread(entry.fd, 3, 0) is not None
    fd = entry.fd
    entry.release()
    assert entry.fd == -1
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(fd)


def test_a_fallback_is_not_believed_longer_than_what_comes_before_it(root: Path) -> None:
    """It is unchanged itself when a path that fell back to it gets a file of its own."""
    site = Served(Files(str(root), tries=("{path}", "index.html")))
    fallen, found = site.ask("/deep/link"), site.ask("/style.css")
    assert fallen.body == b"home"
    site.clock.now_s += 2
    assert fallen.same is not None
    assert not fallen.same.renew()
    assert found.same is not None
    assert found.same.renew()
