"""``[app.NAME]``: one table to one ``App``.

Pure: what has to exist outside the file (the folder, the interpreter) is returned as expectations.
"""

from __future__ import annotations

import keyword
from collections.abc import Mapping
from typing import Any, Literal, NamedTuple, cast

from pyserve.config import isolation
from pyserve.config.model import App
from pyserve.config.pools import decode_health, decode_queue, decode_recycling, decode_warmup, decode_workers
from pyserve.config.problems import Path, Place, show
from pyserve.config.table import Scope, Table, kind_of
from pyserve.config.websockets import decode_websocket

KEYS = (
    *("entry", "type", "factory", "root", "venv", "python", "env", "preload"),
    *("workers", "threads", "concurrency", "timeout", "startup_timeout", "queue", "hand_over"),
    *("max_requests", "max_age", "max_memory", "warmup", "health"),
    *("websockets", "websocket"),
    *isolation.KEYS,
)

# A worker's shared page has room for this many threads (wire.scoreboard).
MAX_THREADS = 128
_ENTRY_EXPECTED = 'expected "module:attribute", as "shop.wsgi:application"'


class Expectation(NamedTuple):
    """Something outside the file that a key needs. ``kind``: folder, file, python, venv, log, spool, storage, user."""

    kind: str
    target: str
    place: Place


def decode_app(
    name: str, values: Mapping[str, Any], path: Path, scope: Scope, *, python: str, cores: int
) -> tuple[App, list[Expectation]]:
    """``python``: for an app that names none. ``cores``: of the machine, for the default of ``workers``."""
    table = Table(values, path, scope, KEYS)
    expectations = []
    root = table.file_path("root") or scope.base
    if "root" in table:
        expectations.append(Expectation("folder", root, table.place("root")))
    # From here on relative paths, also those of references, are relative to the root.
    scope.base = root
    interpreter = _interpreter(table, python, expectations)
    module, attribute = _entry(table)
    workers, scaling = decode_workers(table, min(cores, 4))
    app = App(
        name=name,
        module=module,
        attribute=attribute,
        root=root,
        python=interpreter,
        type=cast(Literal["auto", "wsgi", "asgi"], _type(table)),
        factory=table.flag("factory"),
        env=_env(table),
        workers=workers,
        threads=table.integer("threads", 1, 1, MAX_THREADS),
        concurrency=table.integer("concurrency", 100, 1, 100_000),
        timeout_s=table.duration_s("timeout", 30.0),
        startup_timeout_s=table.duration_s("startup_timeout", 60.0),
        preload=table.flag("preload"),
        **decode_queue(table),
        scaling=scaling,
        recycling=decode_recycling(table),
        warmup=decode_warmup(table),
        health=decode_health(table),
        isolation=isolation.decode_isolation(table),
        hand_over=_hand_over(table, expectations),
        websockets=table.integer("websockets", 1000, 0, 1_000_000),
        websocket=decode_websocket(table),
        fault=scope.fault,  # last: everything that may follow a reference has been read
    )
    return app, expectations


def _entry(table: Table) -> tuple[str, str]:
    if "entry" not in table:
        table.problem(f"missing; {_ENTRY_EXPECTED}", "entry")
        return "", ""
    text = table.text("entry")
    if not text:
        return "", ""
    module, colon, attribute = text.partition(":")
    if colon and _is_dotted_name(module) and _is_dotted_name(attribute):
        return str(module), str(attribute)
    if colon and attribute.endswith("()") and _is_dotted_name(attribute[:-2]):
        hint = "; for a function that makes the application leave out the brackets and add factory = true"
    elif "/" in module or module.endswith(".py"):
        hint = "; a module as it is imported, not a file"
    else:
        hint = ""
    table.problem(f"{_ENTRY_EXPECTED}, not {show(text)}{hint}", "entry")
    return "", ""


def _is_dotted_name(text: str) -> bool:
    return all(part.isidentifier() and not keyword.iskeyword(part) for part in text.split("."))


def _type(table: Table) -> str:
    return table.choice("type", "auto", ("wsgi", "asgi"))


def _interpreter(table: Table, default: str, expectations: list[Expectation]) -> str:
    if "venv" in table and "python" in table:
        table.problem("give one of venv and python, not both", "python", other=table.place("venv"))
        return default
    if "venv" in table and (venv := table.file_path("venv")):
        expectations.append(Expectation("venv", venv, table.place("venv")))
        return f"{venv}/bin/python"
    if "python" in table and (python := table.file_path("python")):
        expectations.append(Expectation("python", python, table.place("python")))
        return python
    return default


def _env(table: Table) -> tuple[tuple[str, str], ...]:
    if "env" not in table:
        return ()
    values = table.values["env"]
    if not isinstance(values, Mapping):
        table.wrong_type(values, 'a table of variables, as { DEBUG = "0" }', "env")
        return ()
    pairs = []
    for name, value in values.items():
        if not isinstance(name, str) or not name or "=" in name or "\0" in name:
            table.problem("expected names of variables: not empty, without =", "env")
            continue
        if isinstance(value, (bool, int, float)):
            table.problem(
                f"expected a string: variables are text; write it in quotes, not {kind_of(value)}", "env", name
            )
            continue
        text = table.reference_or_text(value, ("env", name))
        if text is None:
            continue
        if "\0" in text:
            table.problem("expected a value without a NUL character", "env", name)
            continue
        pairs.append((str(name), str(text)))
    return tuple(pairs)


def _hand_over(table: Table, expectations: list[Expectation]) -> tuple[tuple[str, str], ...]:
    if "hand_over" not in table:
        return ()
    values = table.values["hand_over"]
    if not isinstance(values, Mapping):
        table.wrong_type(values, 'a table of path prefixes and folders, as { "/protected" = "media" }', "hand_over")
        return ()
    found: dict[str, str] = {}
    for prefix, value in values.items():
        text = table.text_at(value, ("hand_over", prefix), 'a folder, as "media"')
        if not isinstance(prefix, str) or not _is_prefix(prefix):
            table.problem('expected a path prefix, as "/protected"', "hand_over", prefix)
        elif prefix.rstrip("/") in found:
            table.problem("is the same prefix as one before it", "hand_over", prefix)
        elif "\0" in text:
            table.problem("expected a path without a NUL character", "hand_over", prefix)
        elif text:
            folder = table.scope.absolute(text)
            expectations.append(Expectation("folder", folder, table.place("hand_over", prefix)))
            found[prefix.rstrip("/")] = folder
    return tuple(found.items())


def _is_prefix(text: str) -> bool:
    """Can a decoded path without dot segments be below it?"""
    segments = text.split("/")
    return text.startswith("/") and not {".", ".."} & set(segments) and "\0" not in text and "//" not in text
