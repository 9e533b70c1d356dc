"""How a folder is shown: order, page and JSON, for names that nobody sane would choose."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from urllib.parse import urljoin, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyserve.files.listing import Item, Order, parse_order, render_html, render_json
from pyserve.http.target import decode_path

MTIME_S = 1_700_000_000
VOID = {"meta"}
ELEMENTS = "html head meta title style body main nav ol li a h1 p table thead tbody tr th td time span bdi footer"
ATTRIBUTES = (
    "lang charset name content href dir title id class scope colspan datetime translate aria-label aria-labelledby "
    "aria-sort"
)
BY_NAME = Order()
HOSTILE = [
    b"<img src=x onerror=alert(1)>",
    b"<script>alert(1)<!--",
    b"\"onmouseover='alert(1)'",
    b"javascript:alert(1)",
    b"https:",
    b"a&lt;b&amp;",
    b"two\nlines\r\n",
    b"-rf",
    b"--",
    b"\\\\host\\share",
    b"..\\x",
    b"?query",
    b"#fragment",
    b"100%",
    b"%2e%2e",
    b"%2F",
    b" ",
    b"  spaced  ",
    b"...",
    b"\xff\xfe",
    b"\xc0\xaf",
    b"\xed\xa0\x80",
    "א\u202egpj.exe".encode(),
    "\u2066\u2069\u200f\u061c".encode(),
    "\u2028\ufeff\u200b".encode(),
    b"\x1b[31mred\x7f\xc2\x85",
    "résumé 日本.txt".encode(),
    b"{title}{}%s%(x)s",
    b"x" * 255,
]


class Page(HTMLParser):
    """The page as a reader meets it; fails on what is not nested properly or not foreseen."""

    def __init__(self, page: bytes) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.text: dict[str, list[str]] = {}
        self._open: list[str] = []
        self.feed(page.decode())
        self.close()
        assert not self._open

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attributes}
        assert tag in ELEMENTS.split()
        assert set(values) <= set(ATTRIBUTES.split())
        self.tags.append(tag)
        self.elements.append((tag, values))
        if tag not in VOID:
            self._open.append(tag)
            self.text.setdefault(tag, []).append("")

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        for tag in set(self._open):
            self.text[tag][-1] += data

    def all(self, tag: str, **wanted: str) -> list[dict[str, str]]:
        return [
            values
            for name, values in self.elements
            if name == tag and all(values.get(key) == value for key, value in wanted.items())
        ]

    def links(self) -> list[str]:
        """The references of the entries, without headings, path and parent."""
        return [link["href"] for link in self.all("a") if link["href"].startswith("./")]


def page_of(*items: Item, path: str = "/pub/", order: Order = BY_NAME, is_cut: bool = False) -> Page:
    return Page(render_html(path, items, order, is_cut))


def file(name: bytes, size: int = 1, mtime_s: int = MTIME_S) -> Item:
    return Item(name, False, size, mtime_s)


def folder(name: bytes, mtime_s: int = MTIME_S) -> Item:
    return Item(name, True, 0, mtime_s)


def names_in_order(order: Order, *items: Item) -> str:
    entries = json.loads(render_json(items, order, False))["entries"]
    assert page_of(*items, order=order).links() == ["./" + entry["path"] for entry in entries]
    return " ".join(entry["path"] for entry in entries)


@pytest.mark.parametrize(
    ("query", "order"),
    [
        (b"", Order("name", False)),
        (b"sort=name&order=asc", Order("name", False)),
        (b"sort=name&order=desc", Order("name", True)),
        (b"sort=size&order=asc", Order("size", False)),
        (b"sort=size&order=desc", Order("size", True)),
        (b"order=desc&sort=time", Order("time", True)),
        (b"sort=time", Order("time", False)),
        (b"order=desc", Order("name", True)),
        (b"utm_source=x&sort=size&&a", Order("size", False)),
        (b"sort=size&sort=time", Order("time", False)),
        (b"sort=Size&order=desc", Order("name", False)),
        (b"sort=size&order=down", Order("name", False)),
        (b"sort=&order=desc", Order("name", False)),
        (b"sort", Order("name", False)),
        (b"sort=size%00", Order("name", False)),
        (b"=&=&&&", Order("name", False)),
        (b"\xff\xfe", Order("name", False)),
    ],
)
def test_the_order_comes_from_the_query(query: bytes, order: Order) -> None:
    assert parse_order(query) == order


SOME = (
    file(b"b10", 5, 30),
    file(b"B9", 7, 10),
    file(b"a", 5, 20),
    folder(b"z", 2),
    folder(b"Y", 1),
    file(b"b010", 6, 9),
)


@pytest.mark.parametrize(
    ("order", "names"),
    [
        (Order("name", False), "Y/ z/ a B9 b010 b10"),
        (Order("name", True), "z/ Y/ b10 b010 B9 a"),
        (Order("size", False), "Y/ z/ a b10 b010 B9"),
        (Order("size", True), "Y/ z/ B9 b010 a b10"),
        (Order("time", False), "Y/ z/ b010 B9 a b10"),
        (Order("time", True), "z/ Y/ b10 a B9 b010"),
    ],
)
def test_folders_come_first_and_names_go_by_value_whatever_their_case(order: Order, names: str) -> None:
    assert names_in_order(order, *SOME) == names
    assert names_in_order(order, *reversed(SOME)) == names


def test_a_name_of_nothing_but_digits_is_sorted_too() -> None:
    assert names_in_order(BY_NAME, file(b"9" * 5000), file(b"1"), file(b"000")) == "000 1 " + "9" * 5000


@pytest.mark.parametrize("name", HOSTILE)
@pytest.mark.parametrize("is_folder", [False, True])
def test_a_hostile_name_is_a_link_to_itself_and_nothing_else(name: bytes, is_folder: bool) -> None:
    page = page_of(Item(name, is_folder, 0, MTIME_S))
    plain = page_of(Item(b"a", is_folder, 0, MTIME_S))
    assert [tag for tag in page.tags if tag != "bdi"] == plain.tags
    check_link(page.links(), name, is_folder)


@given(st.binary(min_size=1, max_size=255).filter(lambda name: not {0, 47} & set(name) and name not in (b".", b"..")))
def test_any_name_is_a_link_to_itself_and_nothing_else(name: bytes) -> None:
    page = page_of(file(name))
    assert [tag for tag in page.tags if tag != "bdi"] == page_of(file(b"a")).tags
    check_link(page.links(), name, False)
    entry = json.loads(render_json([file(name)], BY_NAME, False))["entries"][0]
    check_link([entry["path"]], name, False)


def check_link(links: list[str], name: bytes, is_folder: bool) -> None:
    """One link, that leads where the server finds the name's own bytes."""
    (link,) = links
    whole = urlsplit(urljoin("http://example/pub/", link))
    assert (whole.scheme, whole.netloc, whole.query, whole.fragment) == ("http", "example", "", "")
    path = decode_path(whole.path.encode("ascii"))
    assert path.encode("utf-8", "surrogateescape") == b"/pub/" + name + (b"/" if is_folder else b"")


@given(st.text(), st.binary(max_size=60))
def test_nothing_unseen_is_in_a_page(path: str, name: bytes) -> None:
    page = render_html(f"/{path}/", [file(name)], BY_NAME, False).decode()
    body = page[page.index("<main>") :]
    assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u200b\u200e\u200f\u2028-\u202e\u2060-\u2069\ufeff]", body)


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("a\u202egpj.exe".encode(), "aU+202Egpj.exe"),
        (b"a\nb", "aU+000Ab"),
        (b"\x00", "U+0000"),
        (b"  ", "U+0020 U+0020"),
        (b"caf\xe9", "caf0xE9"),
        (b"a\xff\x1bb", "a0xFF U+001Bb"),
        ("\u0645\u0646\u200c\u0647 👩\u200d👧 a\u3000b".encode(), "\u0645\u0646\u200c\u0647 👩\u200d👧 a\u3000b"),
    ],
)
def test_what_can_not_be_seen_is_shown_as_a_sign(name: bytes, shown: str) -> None:
    assert page_of(file(name)).text["a"][-1] == shown


def test_a_name_chooses_its_own_direction_and_no_other() -> None:
    page = page_of(file("שלום.txt".encode()))
    assert [link["href"] for link in page.all("a", dir="auto")] == page.links()


@pytest.mark.parametrize("is_cut", [False, True])
def test_a_page_needs_no_script_and_nothing_from_elsewhere(is_cut: bool) -> None:
    raw = render_html("/a/b/", [file(name) for name in HOSTILE], BY_NAME, is_cut).decode()
    page = Page(raw.encode())  # which knows neither script nor img, neither on... nor style=
    assert not re.search(r"url\(|@import|expression", page.text["style"][0])
    assert "://" not in raw


def test_a_page_says_its_language_title_and_encoding() -> None:
    page = page_of(path="/a <b>/\udcff\u202e/")
    assert page.elements[0] == ("html", {"lang": "en"})
    assert page.all("meta", charset="utf-8")
    assert page.text["title"] == ["Index of /a <b>/[0xFF U+202E]/"]
    assert page.text["h1"] == ["[0xFF U+202E]/"]


def test_the_folders_above_are_relative_links() -> None:
    page = page_of(path="/a/b:c <i>/d/")
    above = [(link["href"], text) for link, text in zip(page.all("a"), page.text["a"], strict=True)][:3]
    assert above == [("../../../", "/"), ("../../", "a"), ("../", "b:c <i>")]
    assert page.text["h1"] == ["d/"]


def test_there_is_a_link_to_the_parent_unless_at_the_top() -> None:
    page = page_of(path="/a/")
    assert (page.all("a")[-1]["href"], page.text["a"][-1]) == ("../", "Parent folder")
    top = page_of(path="/")
    assert not [link for link in top.all("a") if not link["href"].startswith("?")]
    assert not top.all("nav")
    assert top.text["h1"] == ["/"]


@pytest.mark.parametrize(
    ("order", "links", "sorted_by"),
    [
        (BY_NAME, ["name&order=desc", "size&order=desc", "time&order=desc"], ["ascending", None, None]),
        (Order("name", True), ["name&order=asc", "size&order=desc", "time&order=desc"], ["descending", None, None]),
        (Order("size", True), ["name&order=asc", "size&order=asc", "time&order=desc"], [None, "descending", None]),
        (Order("time", False), ["name&order=asc", "size&order=desc", "time&order=desc"], [None, None, "ascending"]),
    ],
)
def test_headings_sort_and_say_what_is_sorted(order: Order, links: list[str], sorted_by: list[str | None]) -> None:
    page = page_of(file(b"a"), order=order)
    found = [link["href"] for link in page.all("a") if link["href"].startswith("?")]
    assert found == ["?sort=" + link for link in links]
    assert [heading.get("aria-sort") for heading in page.all("th", scope="col")] == sorted_by
    for link in found:
        asked = parse_order(link[1:].encode())
        assert link == f"?sort={asked.by}&order={'desc' if asked.is_descending else 'asc'}"


@pytest.mark.parametrize(
    ("size", "shown", "exact"),
    [
        (0, "0 B", "0 bytes"),
        (1, "1 B", "1 byte"),
        (1023, "1,023 B", "1,023 bytes"),
        (1024, "1.0 KiB", "1,024 bytes"),
        (1536, "1.5 KiB", "1,536 bytes"),
        (102348, "99.9 KiB", "102,348 bytes"),
        (102399, "100 KiB", "102,399 bytes"),
        (1024**2 - 1, "1.0 MiB", "1,048,575 bytes"),
        (5 * 1024**3, "5.0 GiB", "5,368,709,120 bytes"),
        (2**63 - 1, "8.0 EiB", "9,223,372,036,854,775,807 bytes"),
        (2**80, "1,048,576 EiB", "1,208,925,819,614,629,174,706,176 bytes"),
    ],
)
def test_a_size_is_readable_and_has_its_exact_bytes(size: int, shown: str, exact: str) -> None:
    page = page_of(file(b"a", size), path="/")
    assert page.all("td")[0]["title"] == exact
    assert page.text["td"][0] == shown


@pytest.mark.parametrize(
    ("mtime_s", "stamp"),
    [
        (MTIME_S, "2023-11-14T22:13:20Z"),
        (0, "1970-01-01T00:00:00Z"),
        (-1, "1969-12-31T23:59:59Z"),
        (10**18, "9999-12-31T23:59:59Z"),
        (-(10**18), "0001-01-01T00:00:00Z"),
    ],
)
def test_a_time_is_utc_and_always_one_that_can_be_said(mtime_s: int, stamp: str) -> None:
    page = page_of(file(b"a", 1, mtime_s))
    assert page.all("time") == [{"datetime": stamp}]
    assert page.text["time"] == [stamp[:-1].replace("T", " ")]
    assert json.loads(render_json([file(b"a", 1, mtime_s)], BY_NAME, False))["entries"][0]["modified"] == stamp


@pytest.mark.parametrize(
    ("items", "foot"),
    [
        ([], "0 folders, 0 files, 0 B"),
        ([folder(b"a"), file(b"b", 1536)], "1 folder, 1 file, 1.5 KiB"),
        ([file(b"%d" % number, 1024) for number in range(1024)], "0 folders, 1,024 files, 1.0 MiB"),
    ],
)
def test_the_foot_counts_and_adds(items: list[Item], foot: str) -> None:
    assert page_of(*items).text["footer"] == [foot]


def test_an_empty_folder_says_so() -> None:
    assert "This folder is empty." in page_of().text["td"]


def test_a_cut_list_says_so() -> None:
    assert "p" not in page_of(file(b"a")).text
    page = page_of(file(b"a"), is_cut=True)
    assert page.text["p"] == ["This folder has more entries than the 1 shown here."]


def test_json_has_one_shape_cut_or_not() -> None:
    items = [file(b"a b:\xff", 12), folder("é".encode())]
    raw = render_json(items, BY_NAME, True)
    assert raw.isascii()
    assert json.loads(raw) == {
        "entries": [
            {"name": "é", "path": "%C3%A9/", "type": "folder", "modified": "2023-11-14T22:13:20Z"},
            {
                "name": "a b:\ufffd",
                "path": "a%20b%3A%FF",
                "type": "file",
                "size": 12,
                "modified": "2023-11-14T22:13:20Z",
            },
        ],
        "truncated": True,
    }
    assert json.loads(render_json([], BY_NAME, False)) == {"entries": [], "truncated": False}


def test_text_can_be_read_in_light_and_dark() -> None:
    """WCAG 2.2 §1.4.3 for text, §1.4.11 for signs."""
    style = page_of().text["style"][0]
    light, dark = re.findall(r":root\{(.*?)\}", style, re.S)
    colours = dict(re.findall(r"--(\w+):(#\w+)", light))
    for theme in (colours, colours | dict(re.findall(r"--(\w+):(#\w+)", dark))):
        for back in ("back", "over"):
            for text in ("text", "mute", "link", "seen"):
                assert contrast(theme[text], theme[back]) >= 4.5, (text, back)
        assert contrast(theme["text"], theme["cut"]) >= 4.5
        assert contrast(theme["folder"], theme["back"]) >= 3
        assert contrast(theme["file"], theme["back"]) >= 3


def contrast(one: str, other: str) -> float:
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


def luminance(colour: str) -> float:
    digits = colour[1:] if len(colour) == 7 else "".join(digit * 2 for digit in colour[1:])
    parts = [value / 255 for value in bytes.fromhex(digits)]
    red, green, blue = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue
