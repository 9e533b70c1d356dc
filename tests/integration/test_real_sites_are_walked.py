"""Promise: a big documentation and a single-page application work as built, and a second visit costs next to nothing.

The documentation is Debian's of pandas, whose scripts are links to what other packages have: ``symlinks = true``, as
an operator who serves ``/usr/share/doc`` would say. The application is ``tests/apps/atlas``; its routes are its own
matter, so whatever is no file is answered with its page.
"""

from __future__ import annotations

import gzip
import os
import re
import shutil
import subprocess
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote, unquote, urlsplit

import pytest

from tests.support import built_sites, tools
from tests.support.browser import Browser
from tests.support.page_loads import Load
from tests.support.site import Site, StartSite
from tests.support.waiting import wait_until

PAGES = 150
NEEDS_DOCUMENTATION = pytest.mark.needs("apt-get", "dpkg-deb")
NEEDS_ATLAS = pytest.mark.needs("npm")
NEEDS_BROWSER = pytest.mark.needs("chromium", "chromedriver")
TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".json": "application/json; charset=utf-8",
    ".map": "application/json; charset=utf-8",
    ".webmanifest": "application/manifest+json; charset=utf-8",
    ".txt": "text/plain; charset=utf-8",
    ".md": "text/markdown; charset=utf-8",
    ".svg": "image/svg+xml; charset=utf-8",
    ".png": "image/png",
    ".gif": "image/gif",
    ".jpg": "image/jpeg",
    ".ico": "image/x-icon",
    ".woff": "font/woff",
    ".woff2": "font/woff2",
}
# What a browser takes a thing for is decided by its type alone.
TYPES_OF_KINDS = {
    "Document": "text/html",
    "Stylesheet": "text/css",
    "Script": "text/javascript",
    "Image": "image/",
    "Font": "font/",
}
# Faults of a newer theme, as Debian 13 has it; the one of Debian 12 has none.
FAULTS_OF_A_THEME = ("Got invalid theme mode", "is not a valid selector")
LINKS = "return [...new Set([...document.links].map(link => link.href.split('#')[0]))]"


@pytest.fixture(scope="module")
def documentation() -> Path:
    return built_sites.documentation()


@pytest.fixture(scope="module")
def atlas() -> Path:
    return built_sites.single_page_application()


@pytest.fixture
def profile(tmp_path: Path) -> Path:
    """Return the folder of a browser; a second browser with it has in its cache what the first one has loaded."""
    (tmp_path / "browser").mkdir()
    return tmp_path / "browser"


@pytest.fixture
def browser(profile: Path) -> Iterator[Browser]:
    with Browser(profile, watches_loads=True) as browser:
        yield browser


def serve_documentation(start_site: StartSite, folder: Path) -> Site:
    return start_site(f"""
[site.documentation]
hosts = ["documentation.localhost"]
files = "{folder}"
symlinks = true
""")


def serve_atlas(start_site: StartSite, folder: Path) -> Site:
    """As one is told to: names with a hash are for ever, the page is asked for every time."""
    return start_site(f"""
[site.atlas]
hosts = ["atlas.localhost"]
files = "{folder}"
try = ["{{path}}", "index.html"]
cache = "0s"

[[site.atlas.route]]
path = "/assets/*"
files = "{folder}/assets"
cache = "365d"
""")


def origin_of(site: Site, name: str) -> str:
    return f"http://{name}.localhost:{site.address[1]}"


# -- what holds for both


def files_below(folder: Path) -> list[Path]:
    """Return all files, whether in the folder themselves or linked to; also links that lead to nothing."""
    found = [Path(where, name) for where, _, names in os.walk(folder, followlinks=True) for name in names]
    return sorted(path for path in found if not any(part.startswith(".") for part in path.relative_to(folder).parts))


def assert_every_file_arrives(site: Site, host: str, folder: Path) -> int:
    paths = files_below(folder)
    wrong = []
    with site.connect() as client:
        for path in paths:
            url = "/" + quote(str(path.relative_to(folder)))
            answer = client.get(url, host)
            if not path.exists():
                assert answer.status == 404, url
            elif answer.status != 200 or answer.body != path.read_bytes():
                wrong.append((url, answer.status, len(answer.body)))
            elif answer.field("content-type") != TYPES.get(path.suffix, answer.field("content-type")):
                wrong.append((url, answer.status, answer.field("content-type")))
    assert not wrong
    return len(paths)


def is_there(url: str, folder: Path) -> bool:
    return (folder / unquote(urlsplit(url).path).lstrip("/")).is_file()


def assert_all_loaded(loads: list[Load], origin: str, folder: Path) -> None:
    """Check that everything arrived from this origin, whole and as what it is, or was no longer wanted.

    Links to what is not there are the builder's fault, but have to be answered with 404.
    """
    own = [load for load in loads if load.url.startswith(origin)]
    assert own
    missing = [load for load in own if load.status == 404 and not is_there(load.url, folder)]
    bad = [load for load in own if load.status >= 400 or (load.error and not load.is_cancelled)]
    assert [load for load in bad if load not in missing] == []
    answered = [load for load in own if load.status and load not in missing]
    assert [load for load in answered if not load.media_type.startswith(TYPES_OF_KINDS.get(load.kind, ""))] == []


def assert_cost_nothing(loads: list[Load], origin: str) -> None:
    own = [load for load in loads if load.url.startswith(origin) and 0 < load.status < 400]
    assert own
    costly = [load for load in own if not load.costs_nothing]
    assert not costly


def errors_of(browser: Browser, origin: str, folder: Path) -> list[str]:
    """Return what the console says, but for what no server can help: other origins, which can't be reached from here,
    files that are not there, faults in scripts of the documentation."""
    errors = []
    for message in browser.console_errors(("SEVERE",)):
        urls = re.findall(r"https?://[^\s'\"]+", message)
        is_foreign = any(not url.startswith(origin) for url in urls)
        is_missing = "404 (Not Found)" in message and not is_there(urls[0], folder)
        is_known = any(fault in message for fault in FAULTS_OF_A_THEME)
        if not (is_foreign or is_missing or is_known):
            errors.append(message)
    return errors


def revalidate(browser: Browser, urls: list[str]) -> None:
    """Have the browser ask for each of them whether what it has is still true."""
    script = "for (const url of {}) await (await fetch(url, {{cache: 'no-cache'}})).arrayBuffer(); return true"
    assert browser.run_and_wait(script.format(urls))


# -- the documentation


def walk(browser: Browser, origin: str) -> list[str]:
    """Open pages as the links on them lead, those nearest to the first one first; return their addresses."""
    visited = []
    waiting = deque([f"{origin}/index.html"])
    known = set(waiting)
    while waiting and len(visited) < PAGES:
        url = waiting.popleft()
        browser.open(url)
        visited.append(url)
        for link in browser.run(LINKS):
            if link.startswith(f"{origin}/") and link.endswith(".html") and link not in known:
                known.add(link)
                waiting.append(link)
    return visited


@NEEDS_DOCUMENTATION
def test_every_file_of_the_documentation_arrives_as_it_is(start_site: StartSite, documentation: Path) -> None:
    site = serve_documentation(start_site, documentation)
    assert assert_every_file_arrives(site, "documentation.localhost", documentation) > 5000


@pytest.mark.long
@NEEDS_DOCUMENTATION
@NEEDS_BROWSER
def test_the_documentation_is_walked_without_an_error_and_again_without_a_byte(
    start_site: StartSite, documentation: Path, profile: Path
) -> None:
    site = serve_documentation(start_site, documentation)
    origin = origin_of(site, "documentation")
    with Browser(profile, watches_loads=True) as browser:
        pages = walk(browser, origin)
        assert not errors_of(browser, origin, documentation)
        loads = browser.loads()
    assert len(pages) == PAGES
    assert_all_loaded(loads, origin, documentation)
    assert {load.kind for load in loads} >= {"Document", "Stylesheet", "Script", "Image"}
    # All of it had to be sent once, or the second visit would prove nothing.
    sent = {load.url for load in loads if load.wire_status == 200}
    assert sent == {load.url for load in loads if load.status == 200 and load.url.startswith(origin)}

    with Browser(profile, watches_loads=True) as browser:
        for page in pages:
            browser.open(page)
        assert not errors_of(browser, origin, documentation)
        loads = browser.loads()
        assert_all_loaded(loads, origin, documentation)
        assert_cost_nothing(loads, origin)

        # The cache may have been believed unasked; so ask.
        urls = sorted({load.url for load in loads if load.url.startswith(origin) and load.status == 200})
        revalidate(browser, urls)
        fetched = [load for load in browser.loads() if load.kind == "Fetch"]
        assert [load.url for load in fetched] == urls
        assert {load.wire_status for load in fetched} == {304}


@NEEDS_DOCUMENTATION
@NEEDS_BROWSER
def test_the_search_of_the_documentation_finds_pages(
    start_site: StartSite, documentation: Path, browser: Browser
) -> None:
    site = serve_documentation(start_site, documentation)
    origin = origin_of(site, "documentation")
    browser.open(f"{origin}/search.html?q=rolling+window")
    browser.wait_text("Search finished")
    # Each find is told with the beginning of its page, which the script loads and reads.
    wait_until(lambda: browser.run("return document.querySelector('#search-results p.context') !== null"), "a summary")
    browser.click("#search-results li a")
    wait_until(lambda: "search.html" not in browser.url, "another page")
    assert "window" in browser.text().lower()
    assert not errors_of(browser, origin, documentation)
    assert_all_loaded(browser.loads(), origin, documentation)


# -- the single-page application


@NEEDS_ATLAS
def test_every_file_of_the_application_arrives_as_it_is(start_site: StartSite, atlas: Path) -> None:
    assert assert_every_file_arrives(serve_atlas(start_site, atlas), "atlas.localhost", atlas) > 20


def tour(browser: Browser, origin: str) -> None:
    """Come in by a deep link, go everywhere by the application's own links, and look whether all is there."""
    browser.open(f"{origin}/places/porto")
    browser.wait_text("Six bridges over one river.")
    whole = "return [...document.images].every(image => image.complete && image.naturalWidth > 0)"
    wait_until(lambda: browser.run(whole), "the pictures")
    assert browser.run_and_wait("await document.fonts.ready; return document.fonts.check('16px Inter')")
    browser.run("window.isStillTheSame = true")
    browser.click("#to-places")
    browser.click("#malmo")
    browser.wait_text("A bridge leads from here to Denmark.")
    browser.click("#to-map")
    browser.wait_text("3 places are marked.")
    wait_until(lambda: browser.run(whole), "the pictures")
    browser.click("#to-distances")
    browser.wait_text("The whole round trip is")
    assert browser.run("return window.isStillTheSame")


@NEEDS_ATLAS
@NEEDS_BROWSER
def test_the_routes_of_the_application_are_its_own(start_site: StartSite, atlas: Path, browser: Browser) -> None:
    origin = origin_of(serve_atlas(start_site, atlas), "atlas")
    tour(browser, origin)
    loads = browser.loads()
    assert_all_loaded(loads, origin, atlas)
    assert [load.url for load in loads if load.kind == "Document"] == [f"{origin}/places/porto"]

    browser.back()
    browser.wait_text("3 places are marked.")
    assert browser.url == f"{origin}/map"
    browser.forward()
    browser.wait_text("The whole round trip is")
    assert browser.run("return window.isStillTheSame")

    # Now as if one had come here: from the server, and again with what the browser knows already.
    for status in (200, 304):
        browser.reload()
        browser.wait_text("The whole round trip is")
        assert not browser.run("return window.isStillTheSame")
        (document,) = (load for load in browser.loads() if load.kind == "Document")
        assert (document.url, document.wire_status) == (f"{origin}/distances", status)
    browser.back()
    browser.wait_text("3 places are marked.")

    browser.open(f"{origin}/places/nowhere/at%20all")
    browser.wait_text("There is no such place")
    assert_all_loaded(browser.loads(), origin, atlas)
    assert not errors_of(browser, origin, atlas)


@NEEDS_ATLAS
def test_a_missing_asset_is_not_answered_with_the_page(start_site: StartSite, atlas: Path) -> None:
    site = serve_atlas(start_site, atlas)
    page = (atlas / "index.html").read_bytes()
    for path in ("/assets/index-of-last-week.js", "/assets/", "/assets/places/porto"):
        answer = site.get(path, "atlas.localhost")
        assert (answer.status, answer.body == page) == (404, False)
        assert answer.field("cache-control") == "no-store"  # it may be there tomorrow
    for path in ("/", "/places/porto", "/gone.js", "/assetsandmore"):
        answer = site.get(path, "atlas.localhost")
        assert (answer.status, answer.body) == (200, page)
        assert answer.field("content-type") == TYPES[".html"]
        assert answer.field("cache-control") == "max-age=0"


@NEEDS_ATLAS
@NEEDS_BROWSER
def test_a_second_visit_to_the_application_costs_nothing_until_there_is_a_new_one(
    start_site: StartSite, atlas: Path, profile: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "atlas"
    shutil.copytree(atlas, folder)
    origin = origin_of(serve_atlas(start_site, folder), "atlas")
    with Browser(profile, watches_loads=True) as browser:
        tour(browser, origin)
        assert not errors_of(browser, origin, folder)
        assert {load.wire_status for load in browser.loads() if "/assets/" in load.url} >= {200}
    with Browser(profile, watches_loads=True) as browser:
        tour(browser, origin)
        assert not errors_of(browser, origin, folder)
        loads = browser.loads()
        assert_all_loaded(loads, origin, folder)
        assert_cost_nothing(loads, origin)
        for load in loads:
            assert load.wire_status == (0 if "/assets/" in load.url else 304) or load.is_from_cache, load

        new = folder / "index.new"
        new.write_text((folder / "index.html").read_text().replace("<title>Atlas", "<title>Atlas, second edition"))
        new.rename(folder / "index.html")

        def is_new() -> bool:
            browser.open(f"{origin}/places/porto")
            return bool(browser.run("return document.title") == "Atlas, second edition")

        wait_until(is_new, "the new page")


# -- assets with compressed ones beside them


@pytest.fixture
def precompressed(atlas: Path, tmp_path: Path) -> Path:
    """Return the application with ``.gz`` and ``.br`` beside every text, as builders make them."""
    folder = tmp_path / "atlas"
    shutil.copytree(atlas, folder)
    texts = [path for path in files_below(folder) if path.suffix in (".html", ".css", ".js", ".json", ".svg", ".map")]
    for path in texts:
        path.with_name(path.name + ".gz").write_bytes(gzip.compress(path.read_bytes(), mtime=0))
    node = tools.find("node")
    assert node, "npm does not run without it"
    script = """
const { readFileSync, writeFileSync } = require("fs"), { brotliCompressSync } = require("zlib")
for (const path of process.argv.slice(1)) writeFileSync(path + ".br", brotliCompressSync(readFileSync(path)))
"""
    subprocess.run([node, "-e", script, *map(str, texts)], check=True)
    for path in texts:
        times = path.stat().st_atime_ns, path.stat().st_mtime_ns
        for ending in (".gz", ".br"):
            os.utime(path.with_name(path.name + ending), ns=times)
    return folder


def assert_precompressed(loads: list[Load], folder: Path) -> None:
    """Check that whatever has a compressed neighbour came as that one."""
    coded = 0
    for load in loads:
        path = folder / urlsplit(load.url).path.lstrip("/")
        if path.with_name(path.name + ".gz").exists() and load.wire_status == 200:
            assert load.encoding in ("br", "gzip"), load
            coded += 1
    assert coded > 5


@NEEDS_ATLAS
@NEEDS_BROWSER
def test_compressed_files_beside_the_assets_are_what_the_browser_gets(
    start_site: StartSite, precompressed: Path, browser: Browser
) -> None:
    site = serve_atlas(start_site, precompressed)
    origin = origin_of(site, "atlas")
    tour(browser, origin)
    assert not errors_of(browser, origin, precompressed)
    loads = browser.loads()
    assert_all_loaded(loads, origin, precompressed)
    assert_precompressed(loads, precompressed)

    # What the browser has in hand is, decoded, what is on the disk; also for those that do not read gzip or brotli.
    for path in files_below(precompressed):
        if path.suffix in (".gz", ".br"):
            continue
        url = "/" + quote(str(path.relative_to(precompressed)))
        content = path.read_bytes()
        script = "const answer = await fetch({!r}); return [...new Uint8Array(await answer.arrayBuffer())]"
        assert bytes(browser.run_and_wait(script.format(origin + url))) == content, url
        assert site.get(url, "atlas.localhost").body == content, url
        answer = site.get(url, "atlas.localhost", **{"Accept-Encoding": "gzip"})
        is_gzip = answer.field("content-encoding") == "gzip"
        assert (gzip.decompress(answer.body) if is_gzip else answer.body) == content, url
        if is_gzip:
            assert "accept-encoding" in (answer.field("vary") or "").lower(), url
