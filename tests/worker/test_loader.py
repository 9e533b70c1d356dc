"""Loading an application and deciding its interface by looking."""

from __future__ import annotations

import functools
import sys
from pathlib import Path
from typing import Any

import pytest

from pyserve.wire.frames import ASGI, WSGI
from pyserve.worker.loader import LoadError, find_interface, load


async def asgi_function(scope: Any, receive: Any, send: Any) -> None: ...
def wsgi_function(environ: Any, start_response: Any) -> Any: ...
def wsgi_with_default(environ: Any, start_response: Any, more: int = 1) -> Any: ...


@functools.wraps(asgi_function)
def wrapped_asgi(*args: Any) -> Any: ...


@functools.wraps(wsgi_function)
def wrapped_wsgi(*args: Any) -> Any: ...


def plain_asgi(scope: Any, receive: Any, send: Any) -> Any:
    return asgi_function(scope, receive, send)


class AsgiObject:
    async def __call__(self, scope: Any, receive: Any, send: Any) -> None: ...


class WsgiObject:
    def __call__(self, environ: Any, start_response: Any) -> Any: ...


class InheritedAsgi(AsgiObject): ...


class WsgiClass:
    def __init__(self, environ: Any, start_response: Any) -> None: ...


class AsgiClass:
    def __init__(self, scope: Any, receive: Any, send: Any) -> None: ...
    def __await__(self) -> Any: ...


class Method:
    async def asgi(self, scope: Any, receive: Any, send: Any) -> None: ...
    def wsgi(self, environ: Any, start_response: Any) -> Any: ...


def three(first: Any, environ: Any, start_response: Any) -> Any: ...


@pytest.mark.parametrize(
    ("app", "interface"),
    [
        (asgi_function, ASGI),
        (wsgi_function, WSGI),
        (wsgi_with_default, WSGI),
        (wrapped_asgi, ASGI),
        (wrapped_wsgi, WSGI),
        (plain_asgi, ASGI),
        (AsgiObject(), ASGI),
        (InheritedAsgi(), ASGI),
        (WsgiObject(), WSGI),
        (WsgiClass, WSGI),
        (AsgiClass, ASGI),
        (Method().asgi, ASGI),
        (Method().wsgi, WSGI),
        (functools.partial(asgi_function), ASGI),
        (functools.partial(functools.partial(AsgiObject())), ASGI),
        (functools.partial(three, 1), WSGI),
    ],
)
def test_the_interface_is_seen_by_looking(app: Any, interface: int) -> None:
    assert find_interface(app, "auto", "m:app") == interface


@pytest.mark.parametrize("app", [lambda *args: None, lambda: None, lambda one: None, print, int])
def test_where_looking_does_not_tell_type_is_asked_for(app: Any) -> None:
    with pytest.raises(LoadError, match="type"):
        find_interface(app, "auto", "m:app")


def test_type_is_believed() -> None:
    assert find_interface(asgi_function, "wsgi", "m:app") == WSGI
    assert find_interface(lambda *a: None, "asgi", "m:app") == ASGI


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(sys, "path", list(sys.path))
    return tmp_path


def spec(folder: Path, module: str, attribute: str, **values: Any) -> dict[str, Any]:
    return {"root": str(folder), "module": module, "attribute": attribute, "type": "auto", "factory": False, **values}


def test_dotted_attributes_and_factories_are_found(folder: Path) -> None:
    (folder / "worker_load_a.py").write_text(
        "class Box:\n    @staticmethod\n    def app(environ, start_response): ...\n"
        "class api:\n    box = Box\ndef make():\n    return Box.app\n"
    )
    assert load(spec(folder, "worker_load_a", "api.box.app"))[1] == WSGI
    app, interface = load(spec(folder, "worker_load_a", "make", factory=True))
    assert (app.__name__, interface) == ("app", WSGI)
    assert sys.path[0] == str(folder)


@pytest.mark.parametrize(
    ("text", "attribute", "factory", "message"),
    [
        ("1 / 0", "app", False, "ZeroDivisionError"),
        ("import sys; sys.exit(5)", "app", False, "SystemExit"),
        ("import nowhere_to_be_found", "app", False, "nowhere_to_be_found"),
        ("app = (", "app", False, "SyntaxError"),
        ("", "app", False, "has no attribute 'app'"),
        ("app = 7", "app", False, "a int object, which can't be called"),
        ("def app(): 1 / 0", "app", True, "ZeroDivisionError"),
        ("def app(): return 7", "app", True, "returned a int object"),
    ],
)
def test_what_can_t_be_loaded_says_why(folder: Path, text: str, attribute: str, factory: bool, message: str) -> None:
    (folder / "worker_load_bad.py").write_text(text)
    sys.modules.pop("worker_load_bad", None)
    with pytest.raises(LoadError, match=message):
        load(spec(folder, "worker_load_bad", attribute, factory=factory))


def test_a_missing_module_is_named_and_our_own_frames_are_not_shown(folder: Path) -> None:
    with pytest.raises(LoadError) as caught:
        load(spec(folder, "no_such_module_at_all", "app"))
    assert "No module named 'no_such_module_at_all'" in str(caught.value)
    assert "loader.py" not in str(caught.value)
    assert "importlib" not in str(caught.value)
