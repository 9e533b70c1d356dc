"""Load the application and decide its interface by looking at it (D16).

I/O: imports the application's module, which may do anything. Everything it raises, SystemExit too, becomes a
``LoadError`` whose text is the application's own traceback. Never calls the application, but a factory when told so.
"""

from __future__ import annotations

import functools
import importlib
import os
import sys
from collections.abc import Callable
from types import FunctionType, ModuleType, TracebackType
from typing import Any

from ..wire.frames import ASGI, WSGI

_OURS = os.path.dirname(os.path.abspath(__file__))
_COROUTINE = 0x80  # inspect.CO_COROUTINE


class LoadError(Exception):
    """The application can't be loaded; the text says why, for the operator."""


def load(spec: dict[str, Any]) -> tuple[Callable[..., Any], int]:
    """Return the application and ``WSGI`` or ``ASGI``. Puts ``root`` first on sys.path. Raises ``LoadError``."""
    root = spec["root"]
    if root and (not sys.path or sys.path[0] != root):
        sys.path.insert(0, root)
    name = f"{spec['module']}:{spec['attribute']}"
    try:
        found: Any = importlib.import_module(spec["module"])
    except BaseException as error:
        raise LoadError(text_of(error)) from None
    for part in spec["attribute"].split("."):
        try:
            found = getattr(found, part)
        except BaseException as error:
            if not isinstance(error, AttributeError):
                raise LoadError(text_of(error)) from None
            raise LoadError(f"{name}: {_described(found)} has no attribute {part!r}") from None
    if not callable(found):
        raise LoadError(f"{name} is {_described(found)}, which can't be called")
    if spec["factory"]:
        try:
            found = found()
        except BaseException as error:
            raise LoadError(text_of(error)) from None
        if not callable(found):
            raise LoadError(f"the factory {name} returned {_described(found)}, which can't be called")
    return found, find_interface(found, spec["type"], name)


def find_interface(app: Callable[..., Any], wanted: str, name: str) -> int:
    """Return ``WSGI`` or ``ASGI``; raise ``LoadError`` that asks for ``type`` where looking does not tell.

    A coroutine function, or an object whose ``__call__`` is one, is ASGI. Else three required positional parameters
    mean ASGI and two mean WSGI.
    """
    if wanted != "auto":
        return WSGI if wanted == "wsgi" else ASGI
    if type(app) is FunctionType and not hasattr(app, "__wrapped__") and app.__defaults__ is None:
        # A plain function, as most hand-written applications are, needs no `inspect` (10 ms of a worker's start).
        if app.__code__.co_flags & _COROUTINE:
            return ASGI
        if app.__code__.co_argcount in (2, 3):
            return WSGI if app.__code__.co_argcount == 2 else ASGI
    import inspect

    positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    inner = app
    while isinstance(inner, functools.partial):
        inner = inner.func
    if inspect.iscoroutinefunction(inner):
        return ASGI
    if not inspect.isclass(inner) and inspect.iscoroutinefunction(getattr(type(inner), "__call__", None)):  # noqa: B004
        return ASGI
    try:
        parameters = inspect.signature(app).parameters.values()
    except (ValueError, TypeError):
        raise LoadError(f"{name}: can't see whether it is WSGI or ASGI; set type") from None
    count = sum(1 for p in parameters if p.kind in positional and p.default is p.empty)
    if count == 3:
        return ASGI
    if count == 2:
        return WSGI
    hint = " (or factory = true, if it makes the application)" if count == 0 else ""
    raise LoadError(
        f'{name} takes {count} positional parameters, WSGI has two and ASGI three; set type = "wsgi" or "asgi"{hint}'
    )


def text_of(error: BaseException) -> str:
    """Return the traceback from the application's first frame on: ours and the import system's say nothing to its
    author.
    """
    try:
        import traceback  # most applications load

        return "".join(traceback.format_exception(type(error), error, _without_ours(error.__traceback__)))
    except BaseException as another:
        # Its class is the application's: whatever is asked of it may raise, and telling an error must not be one.
        return f"{type(error).__name__}, and {type(another).__name__} while its traceback was written\n"


def _without_ours(tb: TracebackType | None) -> TracebackType | None:
    whole = tb
    while tb is not None:
        file = tb.tb_frame.f_code.co_filename
        if not (file.startswith((_OURS, "<frozen importlib")) or file == importlib.__file__):
            return tb
        tb = tb.tb_next
    # A module that does not exist has no frame of the application's: the message is enough.
    return None if whole is None else tb


def _described(thing: Any) -> str:
    if isinstance(thing, ModuleType):
        return f"module {thing.__name__!r}"
    return f"a {type(thing).__name__} object"
