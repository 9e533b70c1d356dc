"""Folders that are listed: which, as what, and what is never shown."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

import pytest

from pyserve.config.model import Compress, Files
from pyserve.files import finder
from pyserve.files.cache import LOOK_UP_S
from pyserve.files.listing import POLICY
from tests.support.exchanges import FakeExchange
from tests.support.served import Serve, Served, write


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "public"
    for number, name in enumerate(("v10.txt", "v9.txt", "B.bin", "a b&<c>.txt")):
        write(folder / "open" / name, b"x" * (number + 1), age_s=number)
    (folder / "open" / "inner").mkdir()
    write(folder / "open" / ".env", b"secret")
    (folder / "open" / ".git").mkdir()
    write(folder / "open" / ".well-known" / "security.txt", b"contact")
    write(tmp_path / "secret", b"secret")
    (folder / "open" / "out").symlink_to(tmp_path / "secret")
    (folder / "open" / "in").symlink_to("v9.txt")
    os.mkfifo(folder / "open" / "fifo")
    write(folder / "home" / "index.html", b"home")
    (folder / "empty").mkdir()
    return folder


@pytest.fixture
def site(serve: Serve, root: Path) -> Served:
    return serve(Files(str(root), autoindex=True))


def names(exchange: FakeExchange) -> list[str]:
    assert exchange.status == 200
    return [entry["name"] for entry in entries(exchange)]


def entries(exchange: FakeExchange) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(exchange.body)["entries"]
    return found


def test_a_folder_is_a_page_or_json_as_the_client_likes(site: Served) -> None:
    page = site.ask("/open/")
    assert page.headers == {
        "content-type": "text/html; charset=utf-8",
        "vary": "accept",
        "content-security-policy": POLICY.decode(),
    }
    assert b"a b&amp;&lt;c&gt;.txt" in page.body
    assert b'href="./a%20b%26%3Cc%3E.txt"' in page.body
    data = site.ask("/open/", accept="application/json")
    assert data.headers == {"content-type": "application/json", "vary": "accept"}
    assert names(data) == ["inner", "a b&<c>.txt", "B.bin", "in", "v9.txt", "v10.txt"]
    browser = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"
    for accept in (browser, "*/*", "image/png", "application/json;q=0.5, text/html"):
        assert site.ask("/open/", accept=accept).body == page.body


def test_what_is_hidden_leads_out_or_is_no_file_is_not_shown(site: Served) -> None:
    text = site.ask("/open/").body + site.ask("/open/", accept="application/json").body
    for name in (b".env", b".git", b"out", b"fifo", b"secret"):
        assert not re.search(rb'[>/"]' + re.escape(name) + rb'[<"/]', text), name


def test_what_is_shown_is_what_is_served(serve: Serve, root: Path) -> None:
    for config in (Files(str(root), autoindex=True), Files(str(root), autoindex=True, symlinks=True, dotfiles=True)):
        served = serve(config)
        listed = entries(served.ask("/open/", accept="application/json"))
        assert {entry["name"] for entry in listed} >= {"in", "inner", "v9.txt"}
        for entry in listed:
            assert served.ask("/open/" + entry["path"]).status == 200, entry
        shown = {entry["name"] for entry in listed}
        for name in {".env", "out"} - shown:
            assert served.ask(f"/open/{name}").status == 404
    assert shown >= {".env", ".git", "out"}


@pytest.mark.parametrize(
    ("query", "order"),
    [
        ("sort=name&order=desc", ["inner", "v10.txt", "v9.txt", "in", "B.bin", "a b&<c>.txt"]),
        ("sort=size&order=asc", ["inner", "v10.txt", "in", "v9.txt", "B.bin", "a b&<c>.txt"]),
        ("sort=time&order=asc", ["inner", "a b&<c>.txt", "B.bin", "in", "v9.txt", "v10.txt"]),
        ("sort=nothing", ["inner", "a b&<c>.txt", "B.bin", "in", "v9.txt", "v10.txt"]),
        ("sort=size&order=up%0d%0a", ["inner", "a b&<c>.txt", "B.bin", "in", "v9.txt", "v10.txt"]),
    ],
)
def test_a_query_sorts(site: Served, query: str, order: list[str]) -> None:
    assert names(site.ask(f"/open/?{query}", accept="application/json")) == order


def test_head_says_what_get_would(site: Served) -> None:
    page, head = site.ask("/open/"), site.ask("/open/", "HEAD")
    assert (head.status, head.block, head.length) == (200, page.block, page.length)


def test_an_index_wins_and_a_folder_without_slash_is_sent_there(site: Served) -> None:
    assert site.ask("/home/").body == b"home"
    assert site.ask("/open?sort=size").headers == {"location": "/open/?sort=size"}
    assert b"This folder is empty" in site.ask("/empty/").body
    assert site.ask("/nowhere/").status == 404
    assert site.ask("/open/v9.txt/").status == 404
    assert site.ask("/open/.git/").status == 404
    assert site.ask("/open//").status == 404


def test_folders_are_not_listed_unless_that_was_asked_for(serve: Serve, root: Path) -> None:
    assert serve(Files(str(root))).ask("/open/").status == 404


def test_a_new_entry_is_seen_at_once_and_a_vanished_folder_is_not_found(site: Served, root: Path) -> None:
    assert names(site.ask("/empty/", accept="application/json")) == []
    (root / "empty" / "new").touch()
    assert names(site.ask("/empty/", accept="application/json")) == ["new"]
    site.hold()
    waiting = site.begin("/empty/")
    (root / "empty" / "new").unlink()
    (root / "empty").rmdir()
    site.go_on()
    assert waiting.status == 404


def test_a_folder_that_becomes_a_file_or_a_link_out_is_not_listed(site: Served, root: Path, tmp_path: Path) -> None:
    site.ask("/empty/")
    (tmp_path / "private").mkdir()
    (tmp_path / "private" / "letter").touch()
    for replace in (
        lambda: (root / "empty").touch(),
        lambda: (root / "empty").symlink_to(tmp_path / "private"),
    ):
        site.hold()
        waiting = site.begin("/empty/")
        if (root / "empty").is_dir():
            (root / "empty").rmdir()
        else:
            (root / "empty").unlink()
        replace()
        site.go_on()
        assert (waiting.status, waiting.body) == (404, b"")


def test_who_has_left_meanwhile_is_not_answered(site: Served) -> None:
    site.ask("/open/")
    site.hold()
    waiting = site.begin("/open/")
    waiting.end()
    site.go_on()
    assert waiting.calls == []


def test_one_look_serves_all_who_ask_for_the_same_listing_and_a_dead_disk_is_told_of(site: Served) -> None:
    site.ask("/open/")
    jobs = site.disk.jobs
    site.hold()
    same = [site.begin("/open/") for _ in range(3)]
    other = [site.begin("/open/", accept="application/json"), site.begin("/open/?sort=size")]
    assert site.disk.jobs == jobs + 3
    site.go_on()
    assert {exchange.status for exchange in [*same, *other]} == {200}
    assert len({exchange.body for exchange in same}) == 1
    site.hold()
    late = site.begin("/open/")
    site.wait(LOOK_UP_S + 1)
    assert late.status == 504
    assert site.ask("/open/").status == 504
    site.go_on()
    assert site.ask("/open/").status == 200


def test_listings_are_made_in_threads_of_the_disk_that_they_show(site: Served) -> None:
    site.ask("/open/")
    before = site.disk.jobs
    site.ask("/open/")
    assert site.disk.jobs == before + 1
    assert site.cpu.jobs == 0


@pytest.mark.parametrize("target", ["/x", "/x?sort=size"])
@pytest.mark.parametrize("tries", [(), ("{path}",), ("{path}", "{path}.html")])
def test_the_top_of_a_route_is_listed_under_a_path_with_a_slash(
    serve: Serve, root: Path, tries: tuple[str, ...], target: str
) -> None:
    """Its links are relative to that."""
    served = serve(Files(str(root), autoindex=True, tries=tries), "/x/*")
    assert served.ask(target).headers == {"location": target.replace("/x", "/x/")}
    assert names(served.ask("/x/", accept="application/json")) == ["empty", "home", "open"]


def test_folders_are_listed_beside_try_and_a_fallback_wins(serve: Serve, root: Path) -> None:
    served = serve(Files(str(root), autoindex=True, tries=("{path}", "{path}.txt")))
    assert served.ask("/open/v9").body == b"xx"
    assert "inner" in names(served.ask("/open/", accept="application/json"))
    served = serve(Files(str(root), autoindex=True, tries=("{path}", "home/index.html")))
    assert served.ask("/open/").body == b"home"
    served = serve(Files(str(root), autoindex=True, tries=("{path}", "=404")))
    assert served.ask("/open/").status == 404


def test_a_large_folder_is_cut_and_says_so(site: Served, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(finder, "MAX_LISTED", 3)
    exchange = site.ask("/open/", accept="application/json")
    assert len(names(exchange)) == 3
    assert json.loads(exchange.body)["truncated"] is True
    assert b"more entries than the 3" in site.ask("/open/").body


def test_a_listing_is_compressed_where_files_are(serve: Serve, root: Path) -> None:
    import zlib

    for number in range(100):
        (root / "empty" / f"file-{number}").touch()
    served = serve(Files(str(root), autoindex=True), compress=Compress())
    plain, coded = served.ask("/empty/"), served.ask("/empty/", accept_encoding="gzip")
    assert zlib.decompress(coded.body, 31) == plain.body
    assert plain.headers["vary"] == coded.headers["vary"] == "accept, accept-encoding"
    assert coded.headers["content-security-policy"] == POLICY.decode()


def test_names_of_any_bytes_lead_to_their_files(site: Served, root: Path) -> None:
    for name in (b"caf\xe9\xff", b"new\nline", b'"quoted"', b"#?%41", b"javascript:alert(1)", b"\xe2\x80\xaetxt.exe"):
        with open(os.path.join(os.fsencode(root / "empty"), name), "wb") as file:
            file.write(name)
    listed = entries(site.ask("/empty/", accept="application/json"))
    assert len(listed) == 6
    for entry in listed:
        assert site.ask("/empty/" + entry["path"]).status == 200
    page = site.ask("/empty/").body
    assert b"\xe2\x80\xae" not in page
    assert b"<script" not in page
