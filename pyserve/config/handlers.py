"""The handler of a site or route: exactly one of files, app, redirect, respond, and the keys that modify it.

Pure. Whether folders and files exist is returned as expectations.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import NamedTuple

from pyserve.config.apps import Expectation
from pyserve.config.files import FILE_MODIFIERS, decode_files
from pyserve.config.model import Handler, Redirect, Respond, RunApp
from pyserve.config.problems import Secret, show
from pyserve.config.table import Table

HANDLERS = ("files", "app", "redirect", "respond")
LATER_HANDLERS = frozenset({"upstream"})
_REDIRECT_STATUSES = (301, 302, 303, 307, 308)
_TEMPLATE_NAME = re.compile(r"\{([^{}]*)\}")
# RFC 9110 §5.5: what a field value may hold; quotes and parameters of a media type are all within it.
_FIELD_TEXT = re.compile(r"[\x20-\x7e]*")
_URI_TEXT = re.compile(r"[\x21-\x7e]*")


class Pattern(NamedTuple):
    """What a handler stands behind. ``kind``: site, exact, prefix, regex, or unknown after a problem.

    ``literal``: the path of an exact route, or the prefix without ``/*``. ``has_rest``: ``{rest}`` means something.
    """

    kind: str
    text: str = ""
    literal: str = ""
    groups: frozenset[str] = frozenset()
    has_rest: bool = True


def decode_handler(
    table: Table,
    pattern: Pattern,
    apps: Collection[str],
    expectations: list[Expectation],
    *,
    is_optional: bool = False,
) -> Handler | None:
    """``is_optional``: a site that has routes needs no handler of its own."""
    given = [key for key in HANDLERS if key in table.values]
    _check_modifiers(table, pattern, given)
    if len(given) > 1:
        table.problem(f"one handler is expected, not {len(given)}: {', '.join(given)}", given[1])
    if not given:
        if not is_optional and not any(key in table for key in LATER_HANDLERS):
            table.problem("no handler: expected one of files, app, redirect, respond")
        return None
    # All that are given are looked at: each may have problems of its own.
    handler: Handler | None = None
    for key in given:
        if key == "files":
            handler = decode_files(
                table, expectations, is_single=pattern.kind == "exact", is_known=pattern.kind != "unknown"
            )
        elif key == "app":
            handler = _app(table, pattern, apps)
        elif key == "redirect":
            handler = _redirect(table, pattern)
        else:
            handler = _respond(table)
    return handler


def _check_modifiers(table: Table, pattern: Pattern, given: list[str]) -> None:
    if "files" not in given:
        for key in FILE_MODIFIERS:
            if key in table.values:
                table.problem("means something only beside files", key)
    elif pattern.kind == "exact":
        for key in ("index", "try", "autoindex", "dotfiles"):
            if key in table.values:
                table.problem("means nothing here: the files of an exact path is one file", key)
    if "mount" in table.values and pattern.kind != "site":
        if "app" not in given:
            table.problem("means something only beside app", "mount")
        elif pattern.kind == "regex":
            table.problem("needs a prefix or exact path: there is no prefix to move", "mount")


def _app(table: Table, pattern: Pattern, apps: Collection[str]) -> RunApp | None:
    name = table.text("app")
    mount = pattern.literal if "mount" in table.values and table.flag("mount") else ""
    if not name:
        return None
    if name not in apps:
        table.problem(no_such_app(name, apps), "app")
        return None
    return RunApp(str(name), mount)


def no_such_app(name: str, apps: Collection[str]) -> str:
    """Say it, and what there is."""
    from difflib import get_close_matches

    is_plain = re.fullmatch(r"[A-Za-z0-9_-]{1,40}", name) and not isinstance(name, Secret)
    message = f"there is no [app.{name}]" if is_plain else f"there is no app {show(name)}"
    if ":" in name:
        return f"{message}: expected the name of an [app.NAME] table, which has the entry"
    near = get_close_matches(name, apps, n=1) if len(name) <= 40 else []
    if near:
        return f"{message}; did you mean {show(near[0])}?"
    known = ", ".join(show(app) for app in sorted(apps)[:10])
    return f"{message}; there are: {known}" if known else f"{message}: add that table, with entry"


def _redirect(table: Table, pattern: Pattern) -> Redirect | None:
    redirect = table.table("redirect", ("to", "status"))
    if redirect is None:
        return None
    status = redirect.integer("status", 308, 300, 399)
    if status not in _REDIRECT_STATUSES:
        redirect.problem(f"expected one of 301, 302, 303, 307, 308, not {status}", "status")
    if "to" not in redirect:
        redirect.problem('missing; expected where to, as "/new/{rest}" or "https://a-site.com/{rest}"', "to")
        return None
    to = redirect.text("to")
    if not to:
        return None
    if wrong := _wrong_target(to, pattern):
        redirect.problem(f"{wrong}, not {show(to)}", "to")
        return None
    return Redirect(str(to), status)


def _wrong_target(to: str, pattern: Pattern) -> str:
    if to.startswith("//"):
        return 'expected a target with one slash in front: "//name" would lead to another server'
    if not to.startswith(("/", "http://", "https://")):
        return 'expected a target that begins with "/", "http://" or "https://"'
    if not _URI_TEXT.fullmatch(to) or "\\" in to:
        return "expected a target in percent-encoding: no spaces, no backslash, ASCII only"
    if re.match(r"https?://(?:[/?#]|$)", to):
        return "expected a host after the scheme"
    if re.match(r"https?://[^/?#]*\{", to):
        return "expected a host without a name in braces: a request must not choose the server"
    names = _TEMPLATE_NAME.findall(to)
    if any(brace in _TEMPLATE_NAME.sub("", to) for brace in "{}"):
        return "expected braces only in pairs, as {rest}"
    if pattern.kind == "unknown":
        return ""
    known = {*pattern.groups, *(("rest",) if pattern.has_rest else ())}
    for name in names:
        if name not in known:
            valid = ", ".join("{" + word + "}" for word in sorted(known)) or "none: the regex has no groups"
            shown = "in braces" if isinstance(to, Secret) else f"{{{name}}}"
            return f"unknown name {shown} (known here: {valid})"
    return ""


def _respond(table: Table) -> Respond | None:
    respond = table.table("respond", ("status", "body", "type"))
    if respond is None:
        return None
    # 101 would promise another protocol, the other 1xx are no final answers.
    status = respond.integer("status", 200, 200, 599)
    body = ""
    if "body" in respond:
        body = respond.reference_or_text(respond.values["body"], ("body",)) or ""
    media_type = respond.text("type", "text/plain; charset=utf-8")
    if not _FIELD_TEXT.fullmatch(media_type) or "/" not in media_type:
        respond.problem(f'expected a media type, as "text/html; charset=utf-8", not {show(media_type)}', "type")
    if body and status in (204, 205, 304):
        respond.problem(f"a {status} has no body (RFC 9110 §15)", "body")
    if not _is_utf8(body):
        respond.problem("expected text that can be written in UTF-8", "body")
    return Respond(status, str(body), str(media_type))


def _is_utf8(text: str) -> bool:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True
