"""Step 4 of the request path, handler ``files``: the page, or the JSON, that shows a folder.

Pure. Names are whatever a file system holds, chosen by whoever may write there. The invariants: no name becomes markup,
a URL of another folder or host, or an order to the reader's screen (control and bidi characters come out as visible
signs); the page needs nothing but itself and works under ``POLICY``, which allows no script. It decides neither who may
see a folder nor what stands in it.

LIMIT: a page is made whole, in a helper thread: 10,000 entries are some 2 MB, and the interpreter is busy meanwhile.
"""

from __future__ import annotations

import datetime
import re
from collections.abc import Sequence
from typing import NamedTuple

from pyserve.http.location import WHOLE, encode

HTML_TYPE = b"text/html; charset=utf-8"
JSON_TYPE = b"application/json"
POLICY = b"default-src 'none'; style-src 'unsafe-inline'"
"""The ``Content-Security-Policy`` that the page was made for."""


class Item(NamedTuple):
    """An entry of a folder: the raw bytes of its name, its size in bytes (folders: 0), its time since 1970."""

    name: bytes
    is_folder: bool
    size: int
    mtime_s: int


class Order(NamedTuple):
    """``by`` is ``name``, ``size`` or ``time``. Folders come before files in any order; by size, they go by name."""

    by: str = "name"
    is_descending: bool = False


_KEYS = {b"name": "name", b"size": "size", b"time": "time"}
_DIRECTIONS = {b"asc": False, b"desc": True}
# A column: key, heading, and whether the first click sorts downwards (the largest and the newest are looked for).
_COLUMNS = (("name", "Name", False), ("size", "Size", True), ("time", "Modified (UTC)", True))

# What shows nothing, or changes how the text around it shows: controls, soft hyphen, bidi marks and overrides, fillers,
# other invisible ones, surrogates (bytes that are not UTF-8), tags, non-characters. The joiners U+200C and U+200D stay:
# Persian and emoji need them. As text: ``re`` compiles it for the first page and keeps it.
_UNSEEN = (
    "[\x00-\x1f\x7f-\x9f\xad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f"
    "\u3164\ud800-\udfff\ufeff\uffa0\ufff9-\ufffb\ufffe\uffff\U000e0000-\U000e007f]+"
)
_UNITS = ("KiB", "MiB", "GiB", "TiB", "PiB", "EiB")
_EPOCH = datetime.datetime(1970, 1, 1)
_SECOND = datetime.timedelta(seconds=1)
_FIRST_S = -62135596800  # 0001-01-01T00:00:00Z and 9999-12-31T23:59:59Z: what RFC 3339 and Python can both say
_LAST_S = 253402300799


def parse_order(query: bytes) -> Order:
    """Return the order that a query asks for: ``sort=name|size|time&order=asc|desc``, either may be absent.

    Of a name that comes twice the last counts; with a value that is none of these it is by name, ascending.
    """
    key = b"name"
    direction = b"asc"
    for part in query.split(b"&"):
        name, _, value = part.partition(b"=")
        if name == b"sort":
            key = value
        elif name == b"order":
            direction = value
    if key not in _KEYS or direction not in _DIRECTIONS:
        return Order()
    return Order(_KEYS[key], _DIRECTIONS[direction])


def render_json(items: Sequence[Item], order: Order, is_cut: bool) -> bytes:
    """Return ``{"entries": [...], "truncated": is_cut}``, in ASCII.

    An entry is ``{"name", "path", "type": "folder" | "file", "size" (files), "modified" (RFC 3339, UTC)}``. ``path`` is
    the reference to it relative to the folder's URL: the name's bytes percent-encoded, a folder's with a slash at its
    end. In ``name`` what is not UTF-8 is replaced by U+FFFD.
    """
    import json  # 3 ms that most fronts never pay

    entries = []
    for item in _sorted(items, order):
        entry: dict[str, str | int] = {
            "name": item.name.decode("utf-8", "replace"),
            "path": _reference(item),
            "type": "folder" if item.is_folder else "file",
        }
        if not item.is_folder:
            entry["size"] = item.size
        entry["modified"] = _timestamp(item.mtime_s) + "Z"
        entries.append(entry)
    return json.dumps({"entries": entries, "truncated": is_cut}, separators=(",", ":")).encode() + b"\n"


def render_html(path: str, items: Sequence[Item], order: Order, is_cut: bool) -> bytes:
    """Return the page for the folder at ``path``: canonical text with a slash at its end.

    All links are relative, so that they hold behind a proxy that takes a part of the path away.
    """
    segments = path.split("/")[1:-1]
    name = _text(segments[-1]) + "/" if segments else "/"
    rows = [_row(item) for item in _sorted(items, order)]
    if segments:
        rows.insert(0, _PARENT)
    if not items:
        rows.append('<tr><td class="none" colspan="3">This folder is empty.</td></tr>\n')
    return "".join(
        [
            _START.format(title=_text(path), style=_STYLE),
            _breadcrumb(segments),
            f'<h1 id="name" dir="auto" translate="no">{name}</h1>\n',
            _cut_note(len(items)) if is_cut else "",
            '<table aria-labelledby="name">\n<thead><tr>',
            *[_heading(key, heading, order, first) for key, heading, first in _COLUMNS],
            "</tr></thead>\n<tbody>\n",
            *rows,
            f"</tbody>\n</table>\n<footer>{_totals(items)}</footer>\n</main>\n</body>\n</html>\n",
        ]
    ).encode()


def _sorted(items: Sequence[Item], order: Order) -> list[Item]:
    """By name: whatever the case, numbers by their value (``v9`` before ``v10``), then by bytes."""
    folders = sorted([item for item in items if item.is_folder], key=_name_key)
    files = sorted([item for item in items if not item.is_folder], key=_name_key)
    # Sorting is stable: what is equal keeps its order by name.
    if order.by == "size":
        files.sort(key=lambda item: item.size, reverse=order.is_descending)
    elif order.by == "time":
        folders.sort(key=lambda item: item.mtime_s, reverse=order.is_descending)
        files.sort(key=lambda item: item.mtime_s, reverse=order.is_descending)
    elif order.is_descending:
        folders.reverse()
        files.reverse()
    return folders + files


def _name_key(item: Item) -> tuple[str, bytes]:
    text = item.name.decode("utf-8", "replace").casefold()
    return re.sub("[0-9]+", _number_key, text), item.name


def _number_key(digits: re.Match[str]) -> str:
    """Digits as a text that sorts by value, without making a number of a name that is nothing but digits."""
    significant = digits[0].lstrip("0")
    return f"{len(significant):03}{significant}"


def _reference(item: Item) -> str:
    # Every delimiter is encoded: "a:b" is no scheme, a name is one segment, and nothing needs escaping in HTML.
    return encode(item.name, WHOLE).decode() + ("/" if item.is_folder else "")


def _timestamp(mtime_s: int) -> str:
    """Return ``2024-02-29T12:00:00``; what can't be said so becomes the nearest that can."""
    return (_EPOCH + _SECOND * min(max(mtime_s, _FIRST_S), _LAST_S)).isoformat()


def _size(size: int) -> str:
    if size < 1024:
        return f"{size:,} B"
    value = size / 1024
    unit = 0
    while value >= 1023.5 and unit < len(_UNITS) - 1:
        value /= 1024
        unit += 1
    return f"{value:.1f} {_UNITS[unit]}" if value < 99.95 else f"{value:,.0f} {_UNITS[unit]}"


def _count(number: int, one: str, several: str) -> str:
    return f"{number:,} {one if number == 1 else several}"


def _escape(text: str) -> str:
    # The standard library's ``html`` would load its table of entities first.
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").replace('"', "&quot;")


def _text(text: str) -> str:
    """Return canonical text for between tags: escaped, with what can't be seen as ``[U+202E]``, or ``[0xFF]`` for a
    byte that is not UTF-8."""
    return re.sub(_UNSEEN, lambda found: f"[{_signs(found[0])}]", _escape(text))


def _label(name: bytes) -> str:
    """The same for a name, with those signs as elements of their own, which say nothing about its direction."""
    text = _escape(name.decode("utf-8", "surrogateescape"))
    if text.isspace():
        return f"<bdi>{_signs(text)}</bdi>"  # a link needs something to see
    return re.sub(_UNSEEN, lambda found: f"<bdi>{_signs(found[0])}</bdi>", text)


def _signs(unseen: str) -> str:
    codes = [ord(character) for character in unseen]
    return " ".join([f"0x{code - 0xDC00:02X}" if 0xDC80 <= code <= 0xDCFF else f"U+{code:04X}" for code in codes])


def _breadcrumb(segments: list[str]) -> str:
    """Links to the folders above; nothing at the top."""
    if not segments:
        return ""
    links = [f'<li><a href="{"../" * len(segments)}" aria-label="Top folder">/</a></li>']
    for level, segment in enumerate(segments[:-1], 1):
        up = "../" * (len(segments) - level)
        links.append(f'<li><a href="{up}" dir="auto">{_text(segment)}</a></li>')
    return f'<nav aria-label="Folders above" translate="no"><ol>{"".join(links)}</ol></nav>\n'


def _heading(key: str, heading: str, order: Order, first_is_descending: bool) -> str:
    is_active = key == order.by
    is_descending = not order.is_descending if is_active else first_is_descending
    state = f' aria-sort="{_direction(order.is_descending)}"' if is_active else ""
    link = f"?sort={key}&amp;order={'desc' if is_descending else 'asc'}"
    hint = f"Sort by {key}, {_direction(is_descending)}"
    return f'<th scope="col" class="{key}"{state}><a href="{link}" title="{hint}">{heading}</a></th>'


def _direction(is_descending: bool) -> str:
    return "descending" if is_descending else "ascending"


def _row(item: Item) -> str:
    stamp = _timestamp(item.mtime_s)
    if item.is_folder:
        start = '<tr class="folder">'
        slash = "/"
        size = "<td></td>"
    else:
        start = "<tr>"
        slash = ""
        size = f'<td title="{_count(item.size, "byte", "bytes")}">{_size(item.size)}</td>'
    return (
        f'{start}<th scope="row"><a href="./{_reference(item)}" dir="auto">{_label(item.name)}{slash}</a></th>{size}'
        f'<td><time datetime="{stamp}Z">{stamp[:10]} <span>{stamp[11:]}</span></time></td></tr>\n'
    )


def _totals(items: Sequence[Item]) -> str:
    folders = sum([item.is_folder for item in items])
    size = sum([item.size for item in items if not item.is_folder])
    return (
        f"{_count(folders, 'folder', 'folders')}, {_count(len(items) - folders, 'file', 'files')}, "
        f'<span title="{_count(size, "byte", "bytes")}">{_size(size)}</span>'
    )


def _cut_note(shown: int) -> str:
    return f'<p class="cut">This folder has more entries than the {shown:,} shown here.</p>\n'


_PARENT = '<tr class="up"><th scope="row"><a href="../">Parent folder</a></th><td></td><td></td></tr>\n'
_START = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<meta name="color-scheme" content="light dark">
<meta name="format-detection" content="telephone=no">
<title>Index of {title}</title>
<style>
{style}</style>
</head>
<body>
<main>
"""
# Signs are shapes cut out of a colour: no image, no font. A name's cell is all link, for fingers.
_STYLE = """\
:root{color-scheme:light dark;--back:#fff;--text:#1c2024;--mute:#59636e;--line:#d9dee3;--over:#f1f5f9;--link:#0550ae;
--seen:#6639ba;--folder:#b7791f;--file:#8b95a0;--cut:#fff4d6}
@media(prefers-color-scheme:dark){:root{--back:#14171a;--text:#e4e7ea;--mute:#9aa5b0;--line:#30363d;--over:#1e2328;
--link:#8cb9ff;--seen:#c8a9ff;--folder:#dba740;--file:#7b8691;--cut:#3a2f10}}
body{margin:0;background:var(--back);color:var(--text);font:16px/1.5 system-ui,sans-serif}
main{max-width:60rem;margin:0 auto;padding:1.5rem 1rem 3rem}
a{color:var(--link);text-decoration:none}
a:hover{text-decoration:underline}
a:focus-visible{outline:2px solid var(--link);outline-offset:-2px;border-radius:4px}
nav ol{display:flex;flex-wrap:wrap;margin:0 0 0 -.375rem;padding:0;list-style:none}
nav li{display:flex;max-width:100%}
nav li+li::after{content:"/";padding:.25rem 0;color:var(--mute)}
nav a{padding:.25rem .375rem;overflow-wrap:anywhere}
h1{margin:.25rem 0 1rem;font-size:1.5rem;line-height:1.25;text-align:left;overflow-wrap:anywhere;
white-space:break-spaces}
.cut{margin:0 0 1rem;padding:.5rem .75rem;border-radius:6px;background:var(--cut)}
table{width:100%;border-collapse:collapse}
th{padding:0;font-weight:400;text-align:left;vertical-align:top}
td{padding:.375rem .5rem;color:var(--mute);vertical-align:top;white-space:nowrap;font-variant-numeric:tabular-nums}
tr{border-bottom:1px solid var(--line)}
thead th{position:sticky;top:0;z-index:1;background:var(--back);font-size:.875rem;vertical-align:bottom;
box-shadow:inset 0 -2px var(--line)}
thead a{display:block;padding:.5rem;white-space:nowrap}
[aria-sort] a{font-weight:600}
[aria-sort] a::after{content:"";display:inline-block;width:.6em;height:.45em;margin:0 0 .1em .4em;
background:currentColor;clip-path:polygon(50% 0,100% 100%,0 100%)}
[aria-sort=descending] a::after{clip-path:polygon(0 0,100% 0,50% 100%)}
.size,td:nth-child(2){text-align:right}
tbody tr:hover{background:var(--over)}
tbody th{position:relative;width:100%}
tbody th::before{content:"";position:absolute;left:.5rem;top:.625rem;width:1rem;height:1rem;background:var(--file);
clip-path:polygon(12% 0,60% 0,88% 28%,88% 100%,12% 100%)}
.folder th::before{background:var(--folder);clip-path:polygon(0 8%,38% 8%,50% 22%,100% 22%,100% 92%,0 92%)}
.up th::before{background:var(--mute);clip-path:polygon(50% 6%,94% 50%,62% 50%,62% 94%,38% 94%,38% 50%,6% 50%)}
tbody a{display:block;padding:.375rem .5rem .375rem 2rem;overflow:hidden;text-align:left;overflow-wrap:anywhere;
white-space:break-spaces}
tbody a:visited{color:var(--seen)}
.folder a:visited,.up a:visited{color:var(--link)}
bdi{margin:0 1px;padding:0 .25em;vertical-align:.1em;border:1px solid;border-radius:4px;color:var(--mute);
font:.75em ui-monospace,monospace}
.none{padding:1.5rem .5rem;text-align:center}
footer{padding:.75rem .5rem;color:var(--mute);font-size:.875rem}
@media(max-width:40rem){main{padding:1rem .5rem 2rem}nav,h1{padding:0 .5rem}time span{display:none}
td{padding:.375rem .25rem;font-size:.8125rem;line-height:1.5rem}
thead a{padding:.5rem .25rem;white-space:normal}thead .name a{padding-left:.5rem}}
@media(forced-colors:active){th::before,a::after{forced-color-adjust:none;background:CanvasText!important}}
"""
