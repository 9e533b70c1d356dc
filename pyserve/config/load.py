"""From ``-c`` files (or a tree given by a program) to a checked ``Config``.

I/O: reads the files and what they refer to, looks whether folders and interpreters exist; writes nothing. All problems
come at once: those of reading first, because a file that can't be read leaves the others without its names.
"""

from __future__ import annotations

import os
import re
import stat
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from pyserve.config import accounts, places
from pyserve.config.apps import Expectation
from pyserve.config.decode import Facts, decode
from pyserve.config.model import Config, Listener
from pyserve.config.places import why_not_made
from pyserve.config.problems import Document, Place, Problems
from pyserve.errors import ConfigError, Problem

_MAX_FILE_BYTES = 64 * 1024 * 1024
_MAX_REFERENCED_BYTES = 1024 * 1024
_SYNTAX_PLACE = re.compile(r" \(at (?:line (\d+), column \d+|end of document)\)$")


class Loaded(NamedTuple):
    """``config`` is worth something only without problems of form, but for apps and sites that no problem names."""

    config: Config
    form: tuple[Problem, ...]
    problems: tuple[Problem, ...]
    """All of them, by file and line: form and surroundings."""
    collected: Problems
    places: Mapping[tuple[str, ...], Place]
    """For who finds out more: add to ``collected``, with the place of ("app", name), and render all again."""


def load(paths: Sequence[str]) -> Config:
    """Return the configuration in files and folders of ``*.toml``. Raises ``ConfigError`` for problems of form."""
    return _checked(read(paths))


def from_tree(tree: Mapping[str, Any], *, folder: str = "", name: str = "config") -> Config:
    """Return the configuration that a tree as of a site.toml describes. Raises ``ConfigError`` for problems of form.

    ``folder``: what relative paths are relative to, by default the working directory. ``name``: of it, for messages.
    """
    return _checked(read_tree(tree, folder=folder, name=name))


def read(paths: Sequence[str]) -> Loaded:
    """As ``load``, with the problems beside the configuration. Raises ``ConfigError`` if a file can't be read."""
    problems: list[Problem] = []
    documents = []
    seen: dict[str, str] = {}
    for path in _expand(paths, problems):
        real = os.path.realpath(path)
        if real in seen:
            problems.append(Problem(path, 0, "", f"is the same file as {seen[real]}"))
            continue
        seen[real] = path
        try:
            documents.append(_read_document(path))
        except _Unreadable as error:
            problems.append(Problem(path, error.line, "", error.message))
    if problems:
        raise ConfigError(problems)
    files = tuple(os.path.abspath(document.file) for document in documents)
    return _decode(documents, lambda http: places.admin_socket(places.server_name(paths)), files)


def read_tree(tree: Mapping[str, Any], *, folder: str = "", name: str = "config") -> Loaded:
    document = Document(name, os.path.abspath(folder), tree)
    return _decode([document], lambda http: places.admin_socket(places.server_name((), http)), ())


def tree_for(target: str, listen: Sequence[str] = (), workers: int | None = None) -> dict[str, Any]:
    """Return the tree for ``run module:attr`` or ``run ./folder``: one default site. ``ValueError`` if neither."""
    tree: dict[str, Any] = {}
    if listen:
        tree["server"] = {"http": list(listen)}
    if os.path.isdir(target):
        tree["site"] = {"public": {"default": True, "files": os.path.abspath(target)}}
        return tree
    module, colon, attribute = target.partition(":")
    if "/" in target:
        raise ValueError(f"there is no folder {target!r}")
    if not colon:
        hint = f"; the attribute is missing, as {target}:app" if target.isidentifier() else ""
        raise ValueError(f'expected "module:attribute" or a folder, not {target!r}{hint}')
    name = re.sub(r"[^A-Za-z0-9_-]", "-", module) or "app"
    app: dict[str, Any] = {"entry": target}
    if attribute.endswith("()"):
        app |= {"entry": target.removesuffix("()"), "factory": True}
    if workers is not None:
        app["workers"] = workers
    tree["app"] = {name: app}
    tree["site"] = {name: {"default": True, "app": name}}
    return tree


def admin_candidates(paths: Sequence[str]) -> list[str]:
    """Return where the server of these files may be listening for commands, likeliest first.

    Never fails: a file that was broken while its server runs must not keep anybody from stopping it.
    """
    problems: list[Problem] = []
    for path in _expand(paths, problems):
        try:
            document = _read_document(path)
        except _Unreadable:
            continue
        server = document.tree.get("server")
        if isinstance(server, Mapping) and "admin" in server:
            # Only this key is decoded: what is wrong elsewhere is none of our business here.
            alone = document._replace(tree={"server": {"admin": server["admin"]}})
            admin = _decode([alone], lambda http: "", ()).config.server.admin
            return [admin] if admin else []
    return places.admin_candidates(places.server_name(paths))


def _checked(loaded: Loaded) -> Config:
    if loaded.form:
        raise ConfigError(list(loaded.problems))
    return loaded.config


def _decode(documents: list[Document], admin: Callable[[tuple[Listener, ...]], str], files: tuple[str, ...]) -> Loaded:
    facts = Facts(sys.executable, _cores(), admin, places.spool_folder(), places.state_folder())
    decoded = decode(documents, facts, _resolve)
    known: dict[tuple[str, str], str] = {}
    for expectation in decoded.expectations:
        key = (expectation.kind, expectation.target)
        if key not in known:
            known[key] = _what_is_missing(expectation)
        if message := known[key]:
            decoded.problems.add(expectation.place, message, surroundings=expectation.kind != "user")
    for app in decoded.config.apps:
        if app.isolation.user or app.isolation.group or app.isolation.tmp:
            place = decoded.places["app", app.name]
            for wanted_by, message in accounts.faults(app):
                decoded.problems.add(Place(place.document, (*place.path, wanted_by)), message, surroundings=True)
    problems = tuple(decoded.problems.rendered())
    missing = tuple(problem for problem in problems if problem.surroundings)
    form = tuple(problem for problem in problems if not problem.surroundings)
    config = decoded.config._replace(files=files, surroundings=missing)
    if faults := decoded.problems.missing_sites():
        sites = (site._replace(fault=faults.get(site.name, "")) for site in config.sites)
        config = config._replace(sites=tuple(sites))
    return Loaded(config, form, problems, decoded.problems, decoded.places)


def _cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


# -- reading


class _Unreadable(Exception):
    def __init__(self, message: str, line: int = 0) -> None:
        super().__init__(message)
        self.message = message
        self.line = line


def _expand(paths: Sequence[str], problems: list[Problem]) -> list[str]:
    """Return the files: a folder stands for its ``*.toml``, in the order of their names."""
    files = []
    for path in paths:
        if not os.path.isdir(path):
            files.append(path)
            continue
        try:
            names = sorted(name for name in os.listdir(path) if name.endswith(".toml") and not name.startswith("."))
        except OSError as error:
            problems.append(Problem(path, 0, "", f"can't be read: {error.strerror}"))
            continue
        if not names:
            problems.append(Problem(path, 0, "", "has no *.toml files"))
        files += [os.path.join(path, name) for name in names]
    return files


def _read_document(path: str) -> Document:
    data = _read_bytes(path, _MAX_FILE_BYTES)
    if not data:
        raise _Unreadable("is empty")
    try:
        # Editors on other systems put a byte order mark in front.
        text = data.decode("utf-8").removeprefix("\ufeff").replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise _Unreadable("expected UTF-8: there are other bytes in this line", line) from None
    # Here, because 10 ms of a start without a file would go into its import.
    import tomllib

    try:
        tree = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        message = str(error)
        place = _SYNTAX_PLACE.search(message)
        line = int(place[1]) if place and place[1] else text.rstrip("\n").count("\n") + 1
        raise _Unreadable(f"no valid TOML: {_SYNTAX_PLACE.sub('', message)}", line) from None
    except (RecursionError, ValueError) as error:
        # Not only what TOML forbids: integers of thousands of digits, brackets in brackets in brackets.
        what = "nested too deeply" if isinstance(error, RecursionError) else str(error)
        raise _Unreadable(f"no valid TOML: {what}") from None
    return Document(path, os.path.dirname(os.path.abspath(path)), tree, text)


def _read_bytes(path: str, limit_bytes: int) -> bytes:
    """The whole of a regular file. Anything else might never end (a device) or never begin (a pipe)."""
    try:
        # Not blocking: to open a pipe that nobody writes to would wait for ever.
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        with open(fd, "rb") as file:
            if not stat.S_ISREG(os.fstat(fd).st_mode):
                raise _Unreadable("is not a regular file")
            data = file.read(limit_bytes + 1)
    except FileNotFoundError:
        raise _Unreadable("no such file") from None
    except OSError as error:
        raise _Unreadable(f"can't be read: {error.strerror}") from None
    except ValueError:
        raise _Unreadable("has a NUL character in its name") from None
    if len(data) > limit_bytes:
        raise _Unreadable(f"is larger than {limit_bytes >> 20} MiB")
    return data


def _resolve(kind: str, name: str) -> str:
    """Follow ``{ file = … }`` (one newline at the end is dropped) or ``{ env = … }``. Raises ``LookupError``."""
    if kind == "env":
        if name not in os.environ:
            raise LookupError(f"the environment has no variable {name}")
        return os.environ[name]
    try:
        text = _read_bytes(name, _MAX_REFERENCED_BYTES).decode("utf-8")
    except _Unreadable as error:
        raise LookupError(f"{name}: {error.message}") from None
    except UnicodeDecodeError:
        raise LookupError(f"{name}: expected UTF-8") from None
    return text.removesuffix("\n").removesuffix("\r")


# -- surroundings


def _what_is_missing(expectation: Expectation) -> str:
    """Return what keeps an expectation from being met; "" if nothing does."""
    kind, target = expectation.kind, expectation.target
    if kind == "folder":
        return _folder_fault(target, os.R_OK | os.X_OK, "readable")
    if kind == "spool":
        return _folder_fault(target, os.W_OK | os.X_OK, "writable")
    if kind == "storage":
        return why_not_made(target)
    if kind == "log":
        if os.path.isdir(target):
            return f"{target} is a folder, not a file"
        return _folder_fault(os.path.dirname(target), os.W_OK | os.X_OK, "writable")
    if kind == "file":
        if not os.path.isfile(target):
            return f"no such file: {target}" if not os.path.exists(target) else f"{target} is no regular file"
        return "" if os.access(target, os.R_OK) else f"{target} is not readable"
    if kind == "python":
        if not os.path.isfile(target):
            return f"no such interpreter: {target} (a path, absolute or relative to root)"
        return "" if os.access(target, os.X_OK) else f"{target} is not executable"
    if kind == "venv":
        python = f"{target}/bin/python"
        return (
            ""
            if os.access(python, os.X_OK)
            else f"no virtual environment: {python} is missing; python3 -m venv {target}"
        )
    return _user_fault(target)


def _folder_fault(folder: str, mode: int, word: str) -> str:
    if not os.path.isdir(folder):
        return f"{folder} is not a folder" if os.path.exists(folder) else f"no such folder: {folder}"
    return "" if os.access(folder, mode) else f"the folder {folder} is not {word}"


def _user_fault(name: str) -> str:
    import pwd

    try:
        pwd.getpwnam(name)
    except KeyError:
        return f"there is no user {name!r} on this machine"
    return ""
