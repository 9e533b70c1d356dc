"""The handler ``files`` and the keys that mean something only beside it: one table to one ``Files``.

Pure. Whether the folder exists is returned as an expectation.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from pyserve.config.apps import Expectation
from pyserve.config.model import Files
from pyserve.config.problems import show
from pyserve.config.table import Table
from pyserve.config.units import parse_duration_s

FILE_MODIFIERS = (
    *("index", "try", "cache", "symlinks", "autoindex", "dotfiles", "precompressed"),
    *("types", "charset", "download"),
)
_MEDIA_TYPE = re.compile(r"[A-Za-z0-9!#$&^_.+-]+/[A-Za-z0-9!#$&^_.+-]+(?:; ?[a-z]+=[A-Za-z0-9_.:+-]+)*")
_CHARSET = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.:+-]{0,39}")
_CACHE_WORDS = (
    *("immutable", "public", "private", "no-cache", "no-store", "no-transform", "must-revalidate"),
    *("proxy-revalidate",),
)
_CACHE_EXPECTED = 'expected a duration, words of Cache-Control or both, as "30d", "1y, immutable" or "no-cache"'


def decode_files(table: Table, expectations: list[Expectation], *, is_single: bool, is_known: bool) -> Files | None:
    """``is_single``: an exact route, so one file. ``is_known``: the path that it stands behind is right."""
    path = table.file_path("files")
    files = Files(
        path,
        is_single,
        _index(table),
        _tries(table),
        _cache(table),
        table.flag("symlinks"),
        table.flag("autoindex"),
        table.flag("dotfiles"),
        table.flag("precompressed", True),
        _types(table),
        _charset(table),
        table.flag("download"),
    )
    if not path:
        return None
    if is_known:
        expectations.append(Expectation("file" if is_single else "folder", path, table.place("files")))
    return files


def _cache(table: Table) -> str:
    """Return the value of Cache-Control."""
    if "cache" not in table:
        return ""
    text = table.text_at(table.values["cache"], ("cache",), _CACHE_EXPECTED.removeprefix("expected "))
    directives: list[str] = []
    for word in map(str.strip, str(text).split(",")):
        if not text:
            break
        if word in _CACHE_WORDS:
            directives.append(word)
            continue
        try:
            seconds = int(parse_duration_s(word))
        except ValueError:
            table.problem(f"{_CACHE_EXPECTED}, not {show(text)}", "cache")
            return ""
        directives.insert(0, f"max-age={seconds}")
    if sum(directive.startswith("max-age") for directive in directives) > 1:
        table.problem(f"{_CACHE_EXPECTED}: one duration, not {show(text)}", "cache")
    return ", ".join(directives)


def _types(table: Table) -> tuple[tuple[str, str], ...]:
    if "types" not in table:
        return ()
    values = table.values["types"]
    if not isinstance(values, Mapping):
        table.wrong_type(values, 'a table of suffixes and media types, as { ".foo" = "text/x-foo" }', "types")
        return ()
    found = {}
    for suffix, value in values.items():
        media_type = table.text_at(value, ("types", suffix), 'a media type, as "text/x-foo"')
        if not re.fullmatch(r"\.?[^./\0]+", suffix):
            table.problem('expected a suffix, as ".foo"', "types", suffix)
        elif media_type and not _MEDIA_TYPE.fullmatch(media_type):
            table.problem(f'expected a media type, as "text/x-foo", not {show(media_type)}', "types", suffix)
        elif media_type:
            found[suffix.removeprefix(".").lower()] = str(media_type)
    return tuple(found.items())


def _charset(table: Table) -> str:
    if "charset" not in table or table.values["charset"] == "":
        return "" if "charset" in table else "utf-8"
    charset = table.text("charset")
    if charset and not _CHARSET.fullmatch(charset):
        table.problem(f'expected the name of a charset, as "utf-8", or "" for none, not {show(charset)}', "charset")
        return "utf-8"
    return str(charset)


def _index(table: Table) -> tuple[str, ...]:
    names = table.texts("index", '["index.html"]')
    if names is None:
        return ("index.html",)
    good = []
    for index, name in names:
        if "/" in name or "\0" in name or name in (".", ".."):
            table.problem(f"expected the name of a file in the folder, not {show(name)}", "index", index)
        else:
            good.append(str(name))
    return tuple(good)


def _tries(table: Table) -> tuple[str, ...]:
    entries = table.texts("try", '["{path}", "index.html"]')
    if entries is None:
        return ()
    last = len(table.values["try"]) - 1
    if last < 0:
        table.problem('expected at least one entry, as ["{path}", "index.html"]', "try")
    good = []
    for index, entry in entries:
        if wrong := _wrong_try(entry, index == last):
            table.problem(f"{wrong}, not {show(entry)}", "try", index)
        else:
            good.append(str(entry))
    return tuple(good)


def _wrong_try(entry: str, is_last: bool) -> str:
    if entry.startswith("="):
        if not is_last:
            return "expected a status only as the last entry"
        return "" if re.fullmatch(r"=[45][0-9]{2}", entry) else 'expected a status from 400 to 599, as "=404"'
    if entry.startswith("/"):
        return "expected a path relative to the folder, without a slash in front"
    if ".." in entry.split("/") or "\0" in entry:
        return "expected a path inside the folder"
    if "{" in entry.replace("{path}", "") or "}" in entry.replace("{path}", ""):
        return "expected {path} as the only name in braces"
    return ""
