"""What the table "files like nginx" asks: its rows, and why answers differ where they do.

Data. A row asks both servers the same, once or several times, and says what came in a few words.
"""

from __future__ import annotations

import html.parser
import json
import os
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tests.support.beside_nginx import BIG, HUGE, HUGE_END, MARKER, Server, describe, describe_field
from tests.support.waiting import wait_until

BROWSER = "gzip, deflate, br, zstd"

Ask = Callable[[Server], str]


@dataclass(frozen=True)
class Row:
    capability: str
    subject: str
    asks: Ask | dict[str, Ask]
    """What to ask a server; several with what each is."""
    why: str = ""
    """Why the answers differ; "" = they don't."""
    is_traced: bool = False
    """It takes servers whose system calls are watched."""

    @property
    def request(self) -> str:
        if not isinstance(self.asks, dict):
            return self.subject
        variants = "; ".join(f"{letter}: {name}" for letter, name in zip(_LETTERS, self.asks, strict=False))
        return f"{self.subject}, {variants}" if self.subject else variants

    def answer(self, server: Server) -> str:
        """Say what a server answers; what several are answered alike is said once: ``a c: 200; b: 404``."""
        if not isinstance(self.asks, dict):
            return self.asks(server)
        said: dict[str, list[str]] = {}
        for letter, ask in zip(_LETTERS, self.asks.values(), strict=False):
            said.setdefault(ask(server), []).append(letter)
        if len(said) == 1:
            return f"all: {next(iter(said))}"
        return "; ".join(f"{' '.join(letters)}: {text}" for text, letters in said.items())


_LETTERS = "abcdefgh"


def tell(path: str, host: str = "files", method: str = "GET", show: str = "", **fields: str) -> Ask:
    return lambda server: server.tell(path, host, method, show, **fields)


def status(path: str, host: str = "files", method: str = "GET", **fields: str) -> Ask:
    return lambda server: str(server.ask(path, host, method, **fields).status)


# What takes more than a request.


def head_like_get(path: str, host: str = "files", **more: str) -> Ask:
    def answer(server: Server) -> str:
        get, head = server.ask(path, host, **more), server.ask(path, host, "HEAD", **more)
        differ = sorted({name for name, _ in {*get.fields} ^ {*head.fields}} - {"date"})
        return f"{head.status}, fields as for GET" + (f" but {', '.join(differ)}" if differ else "")

    return answer


def redirect(path: str) -> Ask:
    def answer(server: Server) -> str:
        found = server.ask(path)
        location = found.field("location") or ""
        return f"{found.status}, `Location: {re.sub('^http://[^/]*', 'http://HOST', location)}`"

    return answer


def own_page(path: str, method: str = "GET", **fields: str) -> Ask:
    def answer(server: Server) -> str:
        found = server.ask(path, "pages", method, **fields)
        name = re.search(rb"own page: ([^<]*)", found.body)
        length = "" if found.field("content-length") == str(len(found.body)) else ", wrong length"
        return f"{found.status}, {'own page' if name else 'another page'}{length}"

    return answer


def fields_of(path: str, host: str, names: str, **fields: str) -> Ask:
    def answer(server: Server) -> str:
        found = server.ask(path, host, **fields)
        return ", ".join(describe_field(found, name) for name in names.split())

    return answer


def page_of(path: str, host: str) -> Ask:
    def answer(server: Server) -> str:
        found = server.ask(path, host)
        name = re.fullmatch(rb"<h1>(index|sub)</h1>\n", found.body)
        return str(found.status) + (f", {'its own' if name[1] == b'sub' else 'the'} index.html" if name else "")

    return answer


def known_by_tag_of(path: str, host: str, first: dict[str, str], then: dict[str, str], show: str = "") -> Ask:
    """Ask with the tag that another request for the same path got."""

    def answer(server: Server) -> str:
        tag = server.ask(path, host, **first).field("etag")
        assert tag
        return server.tell(path, host, show=show, If_None_Match=tag, **then)

    return answer


def length_of(path: str, host: str, **fields: str) -> Ask:
    return lambda server: "in chunks" if server.ask(path, host, **fields).is_chunked else "`Content-Length`"


def types(*names: str, host: str = "files") -> Ask:
    return lambda server: ", ".join(f"`{server.ask(f'/{name}', host).field('content-type')}`" for name in names)


def sent_by_sendfile(path: str, host: str = "files") -> Ask:
    """Say how a file goes out: bytes that sendfile(2) moves never come into a process."""

    def answer(server: Server) -> str:
        before = server.moved()
        found = server.ask(path.replace("PUBLIC", str(server.public)), host)
        assert found.body == (server.public / "big.bin").read_bytes()
        server.ask("/marker.bin")
        words = {before + MARKER: "not by sendfile", before + MARKER + BIG: "by sendfile"}
        how = wait_until(lambda: words.get(server.moved()), "the trace of all that was sent")
        return f"{found.status}, the file, {how}"

    return answer


def handed_over(target: str, **fields: str) -> Ask:
    def answer(server: Server) -> str:
        found = server.ask(target.replace("PUBLIC", str(server.public)), "app", **fields)
        words = describe(found, os.path.join(os.fsencode(server.public), b"note.txt"))
        return ", ".join([str(found.status), *words, describe_field(found, "X-Own")])

    return answer


def huge(server: Server) -> str:
    length = server.ask("/huge.bin", method="HEAD").field("content-length")
    tail = server.ask("/huge.bin", Range=f"bytes=-{len(HUGE_END)}")
    middle = server.ask("/huge.bin", Range=f"bytes={HUGE // 2}-{HUGE // 2 + 9}")
    is_right = length == str(HUGE) and tail.body == HUGE_END and middle.body == bytes(10)
    return f"{tail.status}, {middle.status}, " + ("the right bytes" if is_right else "wrong bytes")


def changed(change: Callable[[Path], None]) -> Ask:
    """Ask for a file, change it, and ask again when a second and a half have passed."""

    def answer(server: Server) -> str:
        path = server.public / f"{server.name}-{change.__name__}.txt"  # asked for the first time
        path.write_text("old")
        try:
            assert server.ask(f"/{path.name}", "cached").body == b"old"
            change(path)
            until = time.monotonic() + 1.5
            while True:
                is_last = time.monotonic() > until
                found = server.ask(f"/{path.name}", "cached")
                if is_last:
                    return f"{found.status}, the {found.text} one" if found.status == 200 else str(found.status)
                time.sleep(0.1)
        finally:
            path.unlink(missing_ok=True)

    return answer


def put_another(path: Path) -> None:
    other = path.with_suffix(".new")
    other.write_text("new")
    other.rename(path)


def remove(path: Path) -> None:
    path.unlink()


class _Page(html.parser.HTMLParser):
    """What a browser makes of a listing: elements, links, and what is seen of them."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: set[str] = set()
        self.attributes: set[str] = set()
        self.links: list[str] = []
        self.names: list[str] = []
        self._is_in_link = False
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.add(tag)
        self.attributes |= {name for name, _ in attrs}
        if tag == "a":
            href = dict(attrs).get("href") or ""
            self._is_in_link = not href.startswith(("?", "../"))
            if self._is_in_link:
                self.links.append(href)
                self.names.append("")

    def handle_endtag(self, tag: str) -> None:
        if tag == "a":
            self._is_in_link = False

    def handle_data(self, data: str) -> None:
        if self._is_in_link:
            self.names[-1] += data


def listed(query: str = "") -> Ask:
    def answer(server: Server) -> str:
        found = server.ask(f"/list/{query}", "listed")
        return f"{found.status}, " + " ".join(f"`{name}`" for name in _Page(found.text).names)

    return answer


def hostile_names(server: Server) -> str:
    found = server.ask("/hostile/", "listed")
    page = _Page(found.body.decode("utf-8", "surrogateescape"))
    wrong = []
    if page.elements & {"img", "b"} or any(name.startswith("on") for name in page.attributes):
        wrong.append("names become markup")
    if any(re.match("[a-zA-Z]+:|/", link) for link in page.links):
        wrong.append("links lead elsewhere")
    if any("\u202e" in name or "\n" in name for name in page.names):
        wrong.append("bidi override and line feed raw")
    if any("\udc80" <= letter <= "\udcff" for name in page.names for letter in name):
        wrong.append("bytes that are not UTF-8 raw")
    for link in page.links:
        assert server.ask("/hostile/" + link.removeprefix("./"), "listed").status == 200, "every link leads to its file"
    return f"{found.status}, all links right; " + (", ".join(wrong) or "nothing raw, all visible")


def policy(server: Server) -> str:
    found = server.ask("/list/", "listed")
    value = found.field("content-security-policy")
    return f"`{value}`" if value else "none"


def listed_as_json(path: str, host: str) -> Ask:
    def answer(server: Server) -> str:
        found = server.ask(path, host, Accept="application/json")
        if found.field("content-type") != "application/json":
            return f"{(found.field('content-type') or '').partition(';')[0]}"
        try:
            json.loads(found.body.decode())
        except ValueError as error:
            return f"JSON that can't be read: {'not UTF-8' if isinstance(error, UnicodeError) else 'syntax'}"
        return "JSON"

    return answer


SERVED = "Served without the application"
SENDFILE = "sendfile(2)"
RANGE = "Range, single"
RANGES = "Range, several"
CONDITIONAL = "Conditional requests"
PACKED = "Precompressed files"
CODED = "gzip on the fly"
OTHERS = "br, zstd on the fly"
LISTING = "Directory listing"
TRY = "`try_files`, fallback of an SPA"
PAGES = "Own error pages"
TYPES = "Types, charset"
CACHE = "Open-file cache"
HAND_OVER = "The application hands a file over"
CAPABILITIES = (
    *(SERVED, SENDFILE, RANGE, RANGES, CONDITIONAL, PACKED, CODED, OTHERS),
    *(LISTING, TRY, PAGES, TYPES, CACHE, HAND_OVER),
)

ROWS = (
    Row(SERVED, "`GET`", tell("/note.txt", show="ETag Last-Modified Accept-Ranges")),
    Row(SERVED, "`HEAD`", head_like_get("/note.txt")),
    Row(
        SERVED,
        "",
        {
            "`POST`": tell("/note.txt", method="POST", show="Allow"),
            "`OPTIONS`": tell("/note.txt", method="OPTIONS", show="Allow"),
        },
        "405 has to say what is allowed (RFC 9110 §15.5.6), and `OPTIONS` asks just that",
    ),
    Row(
        SERVED,
        "an empty file",
        {
            "`GET`": tell("/empty.txt"),
            "`Range: bytes=0-`": tell("/empty.txt", Range="bytes=0-"),
            "`bytes=-5`": tell("/empty.txt", Range="bytes=-5"),
        },
    ),
    Row(SERVED, "5 GiB, mostly a hole: its last bytes, and ten in the middle", huge),
    Row(
        SERVED,
        "names",
        {
            "space": tell("/two%20words.txt"),
            "`%`": tell("/100%25.txt"),
            "`+` and `?`": tell("/a+b%3F.txt"),
            "UTF-8": tell("/na%C3%AFve.txt"),
            "bytes that are not": tell("/caf%E9.txt"),
            "letters encoded without need": tell("/%6eote%2Etxt"),
            "a query": tell("/note.txt?v=1"),
        },
    ),
    Row(
        SERVED,
        "a folder",
        {"with an index": status("/sub/"), "without": status("/bare/")},
        "nobody lacks a right: there is just nothing to send",
    ),
    Row(
        SERVED,
        "`/sub?v=1`, a folder",
        redirect("/sub?v=1"),
        "nginx makes the URL from its own listener: the wrong scheme or port behind TLS or another proxy",
    ),
    Row(
        SERVED,
        "",
        {
            "`//note.txt`": tell("//note.txt"),
            "`/sub//index.html`": tell("/sub//index.html"),
            "`/note.txt/`": tell("/note.txt/"),
            "`/sub/../note.txt`": status("/sub/../note.txt"),
        },
        "one file has one path, which relative links and routes can rely on",
    ),
    Row(
        SERVED,
        "ways out",
        {
            "`/../secret.txt`": tell("/../secret.txt"),
            "`/%2e%2e/secret.txt`": tell("/%2e%2e/secret.txt"),
            "`/..%5csecret.txt`": tell("/..%5csecret.txt"),
            "`/sub/..%2f..%2fsecret.txt`": tell("/sub/..%2f..%2fsecret.txt"),
            "`/note.txt%00`": tell("/note.txt%00"),
        },
        "above the top is the top (RFC 3986 §5.2.4), and nothing of that name is there",
    ),
    Row(
        SERVED,
        "",
        {"`/.env`": tell("/.env"), "`/.well-known/security.txt`": tell("/.well-known/security.txt")},
        "`.env` and `.git` get into folders by accident; `dotfiles = true` serves them",
    ),
    Row(
        SERVED,
        "a symbolic link",
        {
            "inside the folder": tell("/inside.txt"),
            "out of it": tell("/outside.txt"),
            "to a device": tell("/device"),
        },
        "whoever may write there could have any file sent; `symlinks = true` (nginx: `disable_symlinks`)",
    ),
    Row(
        SERVED,
        "",
        {"a FIFO": tell("/fifo"), "a Unix socket": tell("/socket"), "300 letters": tell("/" + "x" * 300)},
        "a socket in the folder is no failure of the server",
    ),
    Row(SENDFILE, "1 MiB", sent_by_sendfile("/big.bin"), is_traced=True),
    Row(
        RANGE,
        "500 bytes",
        {
            **{
                f"`bytes={asked}`": tell("/note.txt", Range=f"bytes={asked}")
                for asked in ("0-9", "490-", "-5", "495-9999")
            },
            "`bytes=500-`": tell("/note.txt", show="Content-Range", Range="bytes=500-"),
        },
    ),
    Row(
        RANGE,
        "",
        {f"`{asked}`": tell("/note.txt", Range=asked) for asked in ("bytes=9-5", "bytes=x", "lines=0-9")},
        "RFC 9110 §14.2 allows both; who can't ask for parts can still read the whole",
    ),
    Row(
        RANGE,
        "`HEAD` with `bytes=0-9`",
        status("/note.txt", method="HEAD", Range="bytes=0-9"),
        "Range is for `GET` alone (RFC 9110 §14.2)",
    ),
    Row(
        RANGES,
        "",
        {
            f"`bytes={asked}`": tell("/note.txt", Range=f"bytes={asked}")
            for asked in ("0-9, 200-209, -5", "-5, 0-9", "0-9, 900-")
        },
    ),
    Row(
        RANGES,
        "",
        {
            "adjacent: `bytes=0-9,10-19`": tell("/note.txt", Range="bytes=0-9,10-19"),
            "overlapping: `bytes=0-9,5-19`": tell("/note.txt", Range="bytes=0-9,5-19"),
        },
        "sent as one: no byte twice, no frame that is larger than the gap (RFC 9110 §15.3.7.2)",
    ),
    Row(
        RANGES,
        "1 MiB, 1000 ranges",
        {
            "`0-` each": tell("/big.bin", Range="bytes=" + ",".join(["0-"] * 1000)),
            "`-1` each": tell("/big.bin", Range="bytes=" + ",".join(["-1"] * 1000)),
        },
        "more than 50 are no honest wish (RFC 9110 §17.15)",
    ),
    Row(
        CONDITIONAL,
        "`If-None-Match`",
        {
            "the tag": tell("/note.txt", If_None_Match="{etag}"),
            "in a list": tell("/note.txt", If_None_Match='"x", {etag}'),
            "as a weak one": tell("/note.txt", If_None_Match="{weak}"),
            "`*`": tell("/note.txt", If_None_Match="*"),
            "another": tell("/note.txt", If_None_Match='"x"'),
        },
    ),
    Row(
        CONDITIONAL,
        "`If-Modified-Since`",
        {
            "the date": tell("/note.txt", If_Modified_Since="{date}"),
            "in RFC 850's form": tell("/note.txt", If_Modified_Since="Thursday, 01-Jan-26 00:00:00 GMT"),
            "in C's": tell("/note.txt", If_Modified_Since="Thu Jan  1 00:00:00 2026"),
            "a later one": tell("/note.txt", If_Modified_Since="{later}"),
            "an earlier one": tell("/note.txt", If_Modified_Since="{earlier}"),
            "the date, and another tag in `If-None-Match`": tell(
                "/note.txt", If_Modified_Since="{date}", If_None_Match='"x"'
            ),
        },
        "it has not been modified since (RFC 9110 §13.1.3; nginx: `if_modified_since before`)",
    ),
    Row(
        CONDITIONAL,
        "`If-Match`",
        {
            "the tag": tell("/note.txt", If_Match="{etag}"),
            "in a list": tell("/note.txt", If_Match='"x", {etag}'),
            "`*`": tell("/note.txt", If_Match="*"),
            "another": tell("/note.txt", If_Match='"x"'),
            "as a weak one": tell("/note.txt", If_Match="{weak}"),
            "`If-Unmodified-Since`, the date": tell("/note.txt", If_Unmodified_Since="{date}"),
            "an earlier one": tell("/note.txt", If_Unmodified_Since="{earlier}"),
        },
    ),
    Row(
        CONDITIONAL,
        "`Range` with `If-Range`",
        {
            "the tag": tell("/note.txt", Range="bytes=0-9", If_Range="{etag}"),
            "the date": tell("/note.txt", Range="bytes=0-9", If_Range="{date}"),
            "another tag": tell("/note.txt", Range="bytes=0-9", If_Range='"x"'),
            "another date": tell("/note.txt", Range="bytes=0-9", If_Range="{later}"),
            "the tag as a weak one": tell("/note.txt", Range="bytes=0-9", If_Range="{weak}"),
        },
    ),
    Row(
        CONDITIONAL,
        '`expires 30d` / `cache = "30d"`; `Cache-Control` and `Expires` of',
        {
            "200": fields_of("/note.txt", "lasting", "Cache-Control Expires"),
            "206": fields_of("/note.txt", "lasting", "Cache-Control Expires", Range="bytes=0-9"),
            "304": fields_of("/note.txt", "lasting", "Cache-Control Expires", If_None_Match="{etag}"),
        },
        "`max-age` goes before `Expires` since HTTP/1.1 (RFC 9111 §5.3)",
    ),
    Row(
        PACKED,
        "`Accept-Encoding`",
        {
            "`gzip`": tell("/app.js", "packed", show="Vary", Accept_Encoding="gzip"),
            f"`{BROWSER}`": tell("/app.js", "packed", show="Vary", Accept_Encoding=BROWSER),
            "none": tell("/app.js", "packed", show="Vary"),
        },
        "`gzip_static` knows `.gz` only",
    ),
    Row(
        PACKED,
        "",
        {
            f"`{asked}`": tell("/app.js", "packed", Accept_Encoding=asked)
            for asked in (
                "gzip;q=0",
                "identity;q=0",
                "*",
                "br;q=1, gzip;q=0.5",
                "br;q=0, gzip;q=0.001",
                "gzip, identity;q=0",
                "gzip;q=0.1, identity",
            )
        },
        "the highest weight wins, and `*` is whatever is not named (RFC 9110 §12.5.3); nginx looks for gzip",
    ),
    Row(
        PACKED,
        "a `.gz` a day older than its file",
        tell("/old.js", "packed", Accept_Encoding="gzip"),
        "it was forgotten when the file was changed",
    ),
    Row(
        PACKED,
        "`gzip`, `If-None-Match`",
        {
            "its tag": tell("/app.js", "packed", Accept_Encoding="gzip", If_None_Match="{etag}"),
            "the plain file's": known_by_tag_of("/app.js", "packed", {}, {"Accept_Encoding": "gzip"}),
        },
    ),
    Row(
        PACKED,
        "`gzip`, `Range: bytes=0-9`",
        tell("/app.js", "packed", Accept_Encoding="gzip", Range="bytes=0-9"),
        "what lies there has parts like any file",
    ),
    Row(CODED, "`gzip`", tell("/style.css", "coded", show="ETag Vary", Accept_Encoding="gzip")),
    Row(
        CODED,
        "`gzip`",
        {
            "how its length is said": length_of("/style.css", "coded", Accept_Encoding="gzip"),
            "`HEAD`": head_like_get("/style.css", "coded", Accept_Encoding="gzip"),
        },
        "compressed once and kept, so its length is known",
    ),
    Row(
        CODED,
        "",
        {
            "an image": tell("/photo.png", "coded", Accept_Encoding="gzip"),
            "17 bytes": tell("/small.css", "coded", Accept_Encoding="gzip"),
            "`gzip;q=0`": tell("/style.css", "coded", Accept_Encoding="gzip;q=0"),
        },
    ),
    Row(
        CODED,
        "its weak tag in `If-None-Match`",
        {
            "with `gzip`": tell("/style.css", "coded", show="Vary", Accept_Encoding="gzip", If_None_Match="{etag}"),
            "without": known_by_tag_of("/style.css", "coded", {"Accept_Encoding": "gzip"}, {}, "Vary"),
        },
        "304 has the `Vary` of 200 (RFC 9110 §15.4.5)",
    ),
    Row(
        CODED,
        "`gzip`, `Range: bytes=0-9`",
        tell("/style.css", "coded", Accept_Encoding="gzip", Range="bytes=0-9"),
        "of the file itself, so that a download can go on where it was cut",
    ),
    Row(
        OTHERS,
        "",
        {
            f"`{asked}`": tell("/style.css", "coded", Accept_Encoding=asked)
            for asked in ("br", "zstd", BROWSER, "br;q=0.5, zstd")
        },
        "Debian's nginx has br as a package of its own (`libnginx-mod-http-brotli-filter`), zstd not at all",
    ),
    Row(
        LISTING,
        "`.hidden`, `folder`, `Upper.txt`, `v9.txt`, `v10.txt`, a link out of the folder",
        listed(),
        "numbers sort by value; what is not served is not named",
    ),
    Row(LISTING, "`?sort=size&order=desc`", listed("?sort=size&order=desc"), "headings that sort"),
    Row(
        LISTING,
        "names with markup, quotes, `javascript:`, a bidi override, a line feed, bytes that are not UTF-8",
        hostile_names,
        "shown raw, a name can pass itself off as another",
    ),
    Row(
        LISTING,
        "`Content-Security-Policy` of the page",
        policy,
        "whatever gets into it, no script runs",
    ),
    Row(
        LISTING,
        "`Accept: application/json`",
        {
            "as above": listed_as_json("/list/", "listed"),
            "`autoindex_format json`": listed_as_json("/list/", "json"),
            "names that are not UTF-8": listed_as_json("/hostile/", "json"),
        },
        "one URL for people and programs; each name also as an encoded path, so none is lost",
    ),
    Row(
        TRY,
        '`$uri $uri/ /index.html` / `["{path}", "{path}/", "index.html"]`',
        {
            "a file": tell("/note.txt", "spa"),
            "nothing there": page_of("/what/ever", "spa"),
            "nothing there, with `=404` at the end": tell("/what/ever", "strict"),
        },
    ),
    Row(
        TRY,
        "the same",
        {"`/sub/`": page_of("/sub/", "spa"), "`/sub`": page_of("/sub", "spa")},
    ),
    Row(
        PAGES,
        "",
        {
            "404": own_page("/missing"),
            "405": own_page("/note.txt", "POST"),
            "416": own_page("/note.txt", Range="bytes=900-"),
            "404 with `Range`": own_page("/missing", Range="bytes=0-3"),
            "with `If-None-Match: *`": own_page("/missing", If_None_Match="*"),
            'with `If-Match: "x"`': own_page("/missing", If_Match='"x"'),
        },
    ),
    Row(
        PAGES,
        "`ETag` and `Cache-Control` of the page",
        fields_of("/missing", "pages", "ETag Cache-Control"),
        "what failed just now may be there in a moment, so nobody keeps it",
    ),
    Row(
        PAGES,
        "404 with `add_header X-Own` / `headers = { X-Own = … }`",
        fields_of("/missing", "lasting", "X-Own"),
        "fields that protect protect errors too (nginx: `always`)",
    ),
    Row(TYPES, "`.css`, `.js`", types("type.css", "type.js"), "a charset for all that is text; RFC 9239"),
    Row(
        TYPES,
        "`.mjs`, `.json`, `.xml`, `.svg`",
        types("type.mjs", "type.json", "type.xml", "type.svg"),
        "the same; browsers run no module of another type; RFC 7303",
    ),
    Row(
        TYPES,
        "`.html`, `.HTML`, `.wasm`, `.woff2`, `.webp`, `.avif`, a suffix that nobody knows",
        types("type.html", "TYPE.HTML", "type.wasm", "type.woff2", "type.webp", "type.avif", "type.odd"),
    ),
    Row(
        TYPES,
        "`.md`, `.csv`, `.webmanifest`",
        types("type.md", "type.csv", "type.webmanifest"),
        "a younger table",
    ),
    Row(
        TYPES,
        '`types { text/gemini gmi; }` / `types = { ".gmi" = "text/gemini" }`, with `charset`',
        types("page.gmi", host="typed"),
    ),
    Row(
        CACHE,
        "asked before, and 1.5 s after it was",
        {"replaced (`rename`)": changed(put_another), "removed": changed(remove)},
        "looked at again within a second; nginx looks after 60 s (`open_file_cache_valid`)",
    ),
    Row(
        HAND_OVER,
        "`wsgi.file_wrapper`, 1 MiB",
        sent_by_sendfile("/?path=PUBLIC/big.bin", "app"),
        "the front gets the file's descriptor; to nginx the application's server sends bytes",
        is_traced=True,
    ),
    Row(
        HAND_OVER,
        "`X-Accel-Redirect`",
        {
            "`GET`": handed_over("/?accel=/protected/note.txt"),
            "`Range: bytes=0-9`": handed_over("/?accel=/protected/note.txt", Range="bytes=0-9"),
        },
        "the application's own fields stay, nginx keeps a few of them",
    ),
    Row(
        HAND_OVER,
        "`X-Accel-Redirect`, 1 MiB",
        sent_by_sendfile("/?accel=/protected/big.bin", "app"),
        is_traced=True,
    ),
)
