"""What an operator may say about a folder beside where it is: downloads, index files, hidden names, cache."""

from __future__ import annotations

from pathlib import Path

import pytest

from pyserve.config.model import Files
from tests.support.served import Serve, Served, write


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "public"
    write(folder / "index.html", b"home")
    write(folder / "a.txt", b"a")
    write(folder / "big.bin", b"x" * 100_000)
    write(folder / "big.bin.gz", b"packed")
    write(folder / "docs" / "main.htm", b"main")
    write(folder / ".config" / "x.txt", b"hidden")
    return folder


@pytest.fixture
def downloads(serve: Serve, root: Path) -> Served:
    return serve(Files(str(root), download=True))


@pytest.mark.parametrize("target", ["/a.txt", "/big.bin"])
def test_a_download_has_one_line_more(downloads: Served, target: str) -> None:
    for coding in ("identity", "gzip"):
        plain = downloads.ask(target, accept_encoding=coding)
        for query, name in (("download", target[1:]), ("download=x%22%0d%0a.txt", "x_.txt")):
            for method in ("GET", "HEAD"):
                exchange = downloads.ask(f"{target}?{query}", method, accept_encoding=coding)
                headers = exchange.headers
                assert headers.pop("content-disposition").startswith(f'attachment; filename="{name}"')
                assert headers == plain.headers
                assert (exchange.status, exchange.length) == (200, plain.length)
        assert exchange.body == b"" or exchange.body == plain.body
        unchanged = downloads.ask(f"{target}?download", accept_encoding=coding, if_none_match=plain.headers["etag"])
        assert (unchanged.status, unchanged.headers["etag"]) == (304, plain.headers["etag"])


def test_other_queries_ask_for_no_download(downloads: Served) -> None:
    for query in ("", "?", "?downloads=1", "?v=download", "?v=1&downloadx"):
        assert "content-disposition" not in downloads.ask(f"/a.txt{query}").headers
    assert downloads.ask("/missing?download").status == 404
    assert downloads.ask("/docs?download=x").headers == {"location": "/docs/?download=x"}


def test_downloads_are_not_asked_for_where_nobody_allows_them(serve: Serve, root: Path) -> None:
    assert "content-disposition" not in serve(Files(str(root))).ask("/a.txt?download").headers


def test_answers_say_how_long_they_hold_and_no_longer_than_the_file_is_believed(downloads: Served) -> None:
    for target in ("/a.txt", "/big.bin", "/a.txt?download", "/big.bin?download=x"):
        exchange = downloads.ask(target)
        assert exchange.same is downloads.entry(target[1:].partition("?")[0])
    tag = downloads.ask("/a.txt").headers["etag"]
    assert downloads.ask("/a.txt", if_none_match=tag).same is downloads.entry("a.txt")
    for target in ("/missing", "/docs", "/docs/"):
        assert downloads.ask(target).same is None


def test_index_files_may_have_any_names_or_be_none(serve: Serve, root: Path) -> None:
    served = serve(Files(str(root), index=("nowhere.html", "main.htm", "index.html")))
    assert served.ask("/docs/").body == b"main"
    assert served.ask("/").body == b"home"
    write(root / "docs" / "nowhere.html", b"here")
    served.wait()
    assert served.ask("/docs/").body == b"here"
    assert serve(Files(str(root), index=())).ask("/").status == 404


def test_hidden_names_are_served_where_that_is_asked_for(serve: Serve, root: Path, tmp_path: Path) -> None:
    write(tmp_path / "secret", b"secret")
    served = serve(Files(str(root), dotfiles=True))
    assert served.ask("/.config/x.txt").body == b"hidden"
    assert served.ask("/.config").headers == {"location": "/.config/"}
    assert served.ask("/.config/").status == 404
    regex = serve(Files(str(root), dotfiles=True), "~^/x(.*)$")
    for target in ("/x../secret", "/x./a.txt", "/x.", "/x.."):
        assert regex.ask(target).status == 404


@pytest.mark.parametrize("cache", ["no-cache", "max-age=31536000, immutable"])
def test_every_answer_with_content_or_about_it_says_how_long_to_keep_it(serve: Serve, root: Path, cache: str) -> None:
    served = serve(Files(str(root), cache=cache))
    for target in ("/a.txt", "/big.bin"):
        whole = served.ask(target)
        for exchange in (
            whole,
            served.ask(target, "HEAD"),
            served.ask(target, range="bytes=0-0"),
            served.ask(target, if_none_match=whole.headers["etag"]),
            served.ask(target, accept_encoding="gzip"),
        ):
            assert exchange.headers["cache-control"] == cache
    for target in ("/missing", "/docs"):
        assert "cache-control" not in served.ask(target).headers
