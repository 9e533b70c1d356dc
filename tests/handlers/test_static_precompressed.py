"""Coded files that lie beside their originals: who gets which, with what head, and how changes are seen."""

from __future__ import annotations

import os
import zlib
from pathlib import Path

import pytest

from pyserve.config.model import Files
from pyserve.files import opening
from tests.support.exchanges import FakeExchange
from tests.support.served import Serve, Served, write

TEXT = b"body { color: red }\n" * 100
LARGE = b"body { color: red }\n" * 10_000
SUFFIXES = {"br": ".br", "zstd": ".zst", "gzip": ".gz"}


def packed(coding: str, size: int = 500) -> bytes:
    return (coding.encode() + b" ") * size


@pytest.fixture(params=["the kernel knows", "threads look"])
def root(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "public"
    for name, content, size in (("style.css", TEXT, 100), ("large.css", LARGE, 40_000)):
        write(folder / name, content)
        for coding, suffix in SUFFIXES.items():
            write(folder / (name + suffix), packed(coding, size))
    write(folder / "plain.css", TEXT)
    write(folder / "docs" / "index.html", b"docs")
    write(folder / "docs" / "index.html.gz", b"packed docs")
    write(folder / "photo.png", b"photo")
    write(folder / "photo.png.gz", b"packed photo")
    if request.param == "threads look":
        monkeypatch.setattr(opening, "_system_call", lambda: None)
    return folder


@pytest.fixture
def site(serve: Serve, root: Path) -> Served:
    return serve(Files(str(root), cache="no-cache"))


def coding_of(exchange: FakeExchange) -> str | None:
    return exchange.headers.get("content-encoding")


@pytest.mark.parametrize(
    ("accept", "coding"),
    [
        (None, None),
        ("", None),
        ("gzip", "gzip"),
        ("x-gzip", "gzip"),
        ("GZIP", "gzip"),
        ("br", "br"),
        ("zstd", "zstd"),
        ("gzip, deflate, br, zstd", "br"),
        ("gzip, zstd", "zstd"),
        ("gzip;q=1.0, br;q=0.9, zstd;q=0.95", "gzip"),
        ("gzip;q=0.2, br;q=0.1", "gzip"),
        ("br;q=0, *", "zstd"),
        ("*;q=0", None),
        ("*", "br"),
        ("identity, gzip;q=0.5", None),
        ("identity;q=0.5, gzip;q=0.5", "gzip"),
        ("identity;q=0", None),
        ("identity;q=0, gzip;q=0", None),
        ("br;q=2, gzip", "gzip"),
        ("deflate", None),
    ],
)
@pytest.mark.parametrize("name", ["style.css", "large.css"])
def test_the_client_says_which(site: Served, root: Path, name: str, accept: str | None, coding: str | None) -> None:
    for _ in ("cold", "hot"):
        exchange = site.ask(f"/{name}") if accept is None else site.ask(f"/{name}", accept_encoding=accept)
        assert coding_of(exchange) == coding
        assert exchange.body == (root / (name + SUFFIXES.get(coding or "", ""))).read_bytes()
        assert exchange.headers["content-type"] == "text/css; charset=utf-8"
        assert exchange.headers["vary"] == "accept-encoding"
        assert exchange.headers["accept-ranges"] == "bytes"
        assert exchange.headers["cache-control"] == "no-cache"


@pytest.mark.parametrize("name", ["style.css", "large.css"])
def test_each_has_a_strong_tag_of_its_own_and_a_304_is_of_the_same(site: Served, name: str) -> None:
    answers = {coding: site.ask(f"/{name}", accept_encoding=coding) for coding in ("identity", *SUFFIXES)}
    tags = {exchange.headers["etag"] for exchange in answers.values()}
    assert len(tags) == 4
    assert not any(tag.startswith("W/") for tag in tags)
    for coding, whole in answers.items():
        for tag in tags:
            again = site.ask(f"/{name}", accept_encoding=coding, if_none_match=tag)
            assert again.status == (304 if tag == whole.headers["etag"] else 200)
        unchanged = site.ask(f"/{name}", accept_encoding=coding, if_none_match=", ".join(tags))
        about_content = ("content-type", "content-encoding")
        assert unchanged.headers == {key: value for key, value in whole.headers.items() if key not in about_content}
        assert site.ask(f"/{name}", accept_encoding=coding, if_match=whole.headers["etag"]).status == 200
        assert site.ask(f"/{name}", accept_encoding=coding, if_match='"x"').status == 412


@pytest.mark.parametrize("name", ["style.css", "large.css"])
def test_a_part_is_a_part_of_what_the_client_would_get(site: Served, root: Path, name: str) -> None:
    for coding, suffix in SUFFIXES.items():
        content = (root / (name + suffix)).read_bytes()
        whole = site.ask(f"/{name}", accept_encoding=coding)
        part = site.ask(f"/{name}", accept_encoding=coding, range="bytes=5-9", if_range=whole.headers["etag"])
        assert (part.status, part.body, coding_of(part)) == (206, content[5:10], coding)
        assert part.headers["content-range"] == f"bytes 5-9/{len(content)}"
        assert part.headers["etag"] == whole.headers["etag"]
        assert part.headers["vary"] == "accept-encoding"
        other = site.ask(f"/{name}", accept_encoding="identity", range="bytes=5-9", if_range=whole.headers["etag"])
        assert other.status == 200
        beyond = site.ask(f"/{name}", accept_encoding=coding, range=f"bytes={len(content)}-")
        assert (beyond.status, beyond.headers) == (416, {"content-range": f"bytes */{len(content)}"})


@pytest.mark.parametrize("name", ["style.css", "large.css"])
def test_head_says_what_get_would(site: Served, name: str) -> None:
    for coding in ("identity", *SUFFIXES):
        whole = site.ask(f"/{name}", accept_encoding=coding)
        head = site.ask(f"/{name}", "HEAD", accept_encoding=coding)
        assert (head.status, head.block, head.length) == (200, whole.block, whole.length)


def test_a_file_without_any_does_not_vary(site: Served) -> None:
    exchange = site.ask("/plain.css", accept_encoding="gzip, br")
    assert (exchange.body, "vary" in exchange.headers, coding_of(exchange)) == (TEXT, False, None)


def test_an_index_has_them_too_and_packed_files_have_none(site: Served) -> None:
    assert site.ask("/docs/", accept_encoding="gzip").body == b"packed docs"
    exchange = site.ask("/photo.png", accept_encoding="gzip")
    assert (exchange.body, "vary" in exchange.headers) == (b"photo", False)


def test_asked_for_by_name_it_is_a_file_like_any_other(site: Served) -> None:
    exchange = site.ask("/style.css.gz", accept_encoding="gzip")
    assert exchange.body == packed("gzip", 100)
    assert exchange.headers["content-type"] == "application/gzip"
    assert (coding_of(exchange), "vary" in exchange.headers) == (None, False)


def test_they_are_left_alone_where_that_is_asked_for(serve: Serve, root: Path) -> None:
    exchange = serve(Files(str(root), precompressed=False)).ask("/style.css", accept_encoding="gzip")
    assert (exchange.body, coding_of(exchange), "vary" in exchange.headers) == (TEXT, None, False)


def test_one_file_of_an_exact_route_has_them_too(serve: Serve, root: Path) -> None:
    served = serve(Files(str(root / "style.css"), is_single=True), "/css")
    assert served.ask("/css", accept_encoding="br").body == packed("br", 100)
    assert served.ask("/css").body == TEXT


def test_a_fallback_of_try_has_them_too(serve: Serve, root: Path) -> None:
    served = serve(Files(str(root), tries=("{path}", "docs/index.html")))
    for path in ("/one", "/two", "/three"):
        assert served.ask(path, accept_encoding="gzip").body == b"packed docs"
        assert served.ask(path).body == b"docs"
    assert len(served.cache.entries) == 2


@pytest.mark.parametrize("name", ["style.css", "large.css"])
@pytest.mark.parametrize("size", [10, 100_000])
def test_one_that_comes_changes_or_goes_is_seen_within_a_second(site: Served, root: Path, name: str, size: int) -> None:
    for suffix in SUFFIXES.values():
        (root / (name + suffix)).unlink()
    original = (root / name).read_bytes()
    assert site.ask(f"/{name}", accept_encoding="gzip").body == original
    tags = set()
    for step, content in enumerate((b"1" * size, b"2" * size, b"3" * (size + 1))):
        write(root / (name + ".gz"), content, age_s=10 - step)
        site.wait()
        exchange = site.ask(f"/{name}", accept_encoding="gzip")
        assert (exchange.body, coding_of(exchange)) == (content, "gzip")
        tags.add(exchange.headers["etag"])
    assert len(tags) == 3
    (root / (name + ".gz")).unlink()
    assert site.ask(f"/{name}", accept_encoding="gzip").status == 200  # within that second: whatever is at hand
    site.wait()
    exchange = site.ask(f"/{name}", accept_encoding="gzip")
    assert (exchange.body, coding_of(exchange), "vary" in exchange.headers) == (original, None, False)


def test_one_that_goes_just_now_is_no_error(serve: Serve, root: Path) -> None:
    served = serve(Files(str(root)))
    for name in ("style.css", "large.css"):
        served.ask(f"/{name}")
        os.unlink(root / f"{name}.gz")
        exchange = served.ask(f"/{name}", accept_encoding="gzip")
        assert (exchange.status, exchange.body) == (200, (root / name).read_bytes())
        assert exchange.headers["vary"] == "accept-encoding"


def test_a_changed_original_takes_its_coded_files_along(site: Served, root: Path) -> None:
    site.ask("/style.css", accept_encoding="gzip")
    write(root / "style.css", b"new", age_s=-1000)
    site.wait()
    assert site.ask("/style.css", accept_encoding="gzip").body == b"new"
    write(root / "style.css.gz", b"new packed", age_s=-1000)
    site.wait()
    assert site.ask("/style.css", accept_encoding="gzip").body == b"new packed"


@pytest.mark.parametrize(("age_s", "is_used"), [(-1000, True), (0, True), (60, True), (61, False), (100_000, False)])
def test_one_that_is_more_than_a_minute_older_than_its_original_is_forgotten(
    site: Served, root: Path, age_s: float, is_used: bool
) -> None:
    write(root / "plain.css.gz", b"packed", age_s=age_s)
    exchange = site.ask("/plain.css", accept_encoding="gzip")
    assert coding_of(exchange) == ("gzip" if is_used else None)
    assert ("vary" in exchange.headers) is is_used
    write(root / "plain.css.gz", b"packed anew")  # in its place: the folder shows nothing
    site.wait()
    assert site.ask("/plain.css", accept_encoding="gzip").body == b"packed anew"


def test_links_are_followed_as_far_as_those_of_originals(serve: Serve, root: Path, tmp_path: Path) -> None:
    write(tmp_path / "outside.gz", b"outside")
    write(root / "store" / "inside.gz", b"inside")
    (root / "plain.css.gz").symlink_to("store/inside.gz")
    (root / "docs" / "index.html.br").symlink_to(tmp_path / "outside.gz")
    without, following = serve(Files(str(root))), serve(Files(str(root), symlinks=True))
    assert without.ask("/plain.css", accept_encoding="gzip").body == b"inside"
    assert without.ask("/docs/", accept_encoding="br").body == b"docs"
    assert following.ask("/docs/", accept_encoding="br").body == b"outside"


def test_an_absolute_link_that_stays_inside_is_followed_hot_and_cold(site: Served, root: Path) -> None:
    write(root / "store" / "inside.gz", b"inside")
    (root / "plain.css.gz").symlink_to(root / "store" / "inside.gz")
    for age_s in (3, 2, 1):
        assert site.ask("/plain.css", accept_encoding="gzip").body == b"inside"
        write(root / "plain.css", TEXT, age_s=age_s)
        site.wait()


@pytest.mark.parametrize("kind", ["folder", "fifo", "nowhere", "loop"])
def test_what_is_no_file_is_no_coded_file(site: Served, root: Path, kind: str) -> None:
    path = root / "plain.css.gz"
    match kind:
        case "folder":
            path.mkdir()
        case "fifo":
            os.mkfifo(path)
        case "nowhere":
            path.symlink_to("missing")
        case "loop":
            path.symlink_to(path)
    for _ in range(2):
        exchange = site.ask("/plain.css", accept_encoding="gzip")
        assert (exchange.status, exchange.body, "vary" in exchange.headers) == (200, TEXT, False)
        site.wait()


def test_what_was_packed_and_what_was_not_are_the_same_to_a_reader(serve: Serve, root: Path) -> None:
    write(root / "plain.css.gz", zlib.compress(TEXT, 9, 31))
    served = serve(Files(str(root)))
    assert zlib.decompress(served.ask("/plain.css", accept_encoding="gzip").body, 31) == served.ask("/plain.css").body
