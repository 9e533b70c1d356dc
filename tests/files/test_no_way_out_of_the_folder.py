"""Nothing outside the folder is ever served, and nothing in it can hang the front: real folders, links, FIFOs,
races."""

from __future__ import annotations

import itertools
import os
import socket
import threading
from pathlib import Path

import pytest

from pyserve.config.model import Files
from pyserve.errors import RequestError
from pyserve.files import opening
from pyserve.files.cache import FileCache
from pyserve.files.opening import open_below, open_root
from pyserve.handlers.static import StaticHandler
from tests.support.exchanges import FakeExchange, ask
from tests.support.lanes import inline_lanes

CANARY = b"the canary"
STEADY: set[str] = set()
"""Folders in which nothing changes meanwhile."""
STEPS = [
    "..",
    "%2e%2e",
    "%2E.",
    ".%2e",
    "%252e%252e",
    "..;",
    "..%5c",
    "..\\",
    "%c0%ae%c0%ae",
    "%u002e%u002e",
    ". .",
    "..%20",
]
JOINS = ["/", "//", "/./", "%2f", "%252f", "\\", "%5c", "/;/", "/%20/", "%c0%af", "%00/"]
GOALS = ["canary", "public-sibling/canary", "etc/passwd"]


@pytest.fixture(autouse=True, params=["the kernel looks after links", "every step is looked at"])
def way_of_opening(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "every step is looked at":
        monkeypatch.setattr(opening, "_system_call", lambda: None)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "public"
    (folder / "inner").mkdir(parents=True)
    (folder / "a.txt").write_bytes(b"a")
    (folder / "inner" / "b.txt").write_bytes(b"b")
    (tmp_path / "canary").write_bytes(CANARY)
    (tmp_path / "public-sibling").mkdir()
    (tmp_path / "public-sibling" / "canary").write_bytes(CANARY)
    STEADY.add(str(folder))
    return folder


def get(config: Files, target: str | bytes, route: str = "") -> FakeExchange:
    """Ask a thread first, as for what nobody knows, then (where the system can) what is in memory."""
    handler = StaticHandler(config, FileCache(), inline_lanes())
    first = ask(handler, config, target, route=route)
    handler._cache.clear()
    again = ask(handler, config, target, route=route)
    if config.path in STEADY:
        assert (first.status, first.body) == (again.status, again.body)
    return again


def payloads() -> list[str]:
    return [
        start + join.join([step] * depth + [goal])
        for step, join, depth, goal in itertools.product(STEPS, JOINS, (1, 2, 6), GOALS)
        for start in ("/", "/inner/", "/static", "/static/")
    ]


@pytest.mark.parametrize("symlinks", [False, True])
@pytest.mark.parametrize("route", ["", "/static/*", "~^/static(.*)$", "~^/(.*)$"])
def test_no_traversal_reaches_the_canary(root: Path, route: str, symlinks: bool) -> None:
    config = Files(str(root), symlinks=symlinks)
    handler = StaticHandler(config, FileCache(), inline_lanes())
    asked = 0
    for payload in payloads():
        try:
            exchange = ask(handler, config, payload, route=route)
        except RequestError:
            continue  # refused before it came to a handler
        asked += 1
        assert exchange.status in (301, 404), payload
        assert exchange.body == b"", payload
    assert asked > 300


@pytest.mark.parametrize(
    "name", [b"..", b"../canary", b"inner/../../canary", b"./a.txt", b"/etc/passwd", b"", b"inner//b.txt", b"a.txt/"]
)
@pytest.mark.parametrize("follows_links", [False, True])
def test_opening_refuses_every_step_out_by_itself(root: Path, name: bytes, follows_links: bool) -> None:
    with pytest.raises(OSError, match=r"relative path|folder"):
        open_below(open_root(os.fsencode(root)), os.fsencode(root), name, follows_links=follows_links)


@pytest.mark.parametrize(
    ("link", "goal", "target", "without", "with_links"),
    [
        ("out", "../canary", "/out", 404, 200),
        ("out", "../public-sibling", "/out/canary", 404, 200),
        ("out", "/etc/hostname", "/out", 404, None),
        ("out", "..", "/out/canary", 404, 200),
        ("in", "a.txt", "/in", 200, 200),
        ("in", "inner", "/in/b.txt", 200, 200),
        ("inner/up", "../a.txt", "/inner/up", 200, 200),
        ("inner/up", "..", "/inner/up/a.txt", 200, 200),
        ("inner/around", "../../public/a.txt", "/inner/around", 200, 200),
        ("loop", "loop", "/loop", 404, 404),
        ("dangling", "nowhere", "/dangling", 404, 404),
        ("self", ".", "/self", 301, 301),
        ("folder", "inner", "/folder", 301, 301),
    ],
)
def test_links_stay_inside_unless_they_are_allowed(
    root: Path, link: str, goal: str, target: str, without: int, with_links: int | None
) -> None:
    (root / link).symlink_to(goal)
    assert get(Files(str(root)), target).status == without
    if with_links is not None:
        assert get(Files(str(root), symlinks=True), target).status == with_links


def test_an_absolute_link_that_stays_inside_is_followed(root: Path) -> None:
    (root / "abs").symlink_to(root / "inner")
    assert get(Files(str(root)), "/abs/b.txt").body == b"b"


def test_a_root_behind_a_link_is_its_own_measure(root: Path, tmp_path: Path) -> None:
    (tmp_path / "current").symlink_to("public")
    (root / "in").symlink_to("a.txt")
    (root / "out").symlink_to("../canary")
    config = Files(str(tmp_path / "current"))
    assert get(config, "/in").body == b"a"
    assert get(config, "/out").status == 404


@pytest.mark.parametrize("symlinks", [False, True])
def test_only_regular_files_are_opened(root: Path, symlinks: bool) -> None:
    os.mkfifo(root / "fifo")
    (root / "linked").symlink_to("fifo")
    with socket.socket(socket.AF_UNIX) as listener:
        here = os.getcwd()
        os.chdir(root)  # the name of a socket is short
        try:
            listener.bind("sock")
        finally:
            os.chdir(here)
        for target in ("/fifo", "/linked", "/sock"):
            assert get(Files(str(root), symlinks=symlinks), target).status == 404
    (root / "null").symlink_to("/dev/null")
    assert get(Files(str(root), symlinks=symlinks), "/null").status == 404
    assert get(Files("/dev", symlinks=symlinks), "/null").status == 404
    assert get(Files(str(root / "fifo"), is_single=True), "/f", route="/f").status == 404


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_what_may_not_be_read_is_forbidden(root: Path) -> None:
    (root / "a.txt").chmod(0)
    (root / "inner").chmod(0)
    try:
        assert get(Files(str(root)), "/a.txt").status == 403
        assert get(Files(str(root)), "/inner/b.txt").status == 403
    finally:
        (root / "inner").chmod(0o755)


def test_the_system_saying_no_is_forbidden(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def denied(*args: object, **kwargs: object) -> int:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(opening, "_system_call", lambda: None)
    monkeypatch.setattr(os, "open", denied)
    assert get(Files(str(root)), "/a.txt").status == 403


@pytest.mark.parametrize(
    "name", [b"\xff", b"caf\xe9.txt", b"line\nbreak", b"back\\slash", b"per%cent", b"\xed\xb3\xbf"]
)
def test_names_are_bytes(root: Path, name: bytes) -> None:
    with open(os.path.join(os.fsencode(root), name), "wb") as file:
        file.write(name)
    target = b"/" + b"".join(b"%%%02X" % byte for byte in name)
    assert get(Files(str(root)), target).body == name


def test_a_link_that_comes_and_goes_never_leads_out(root: Path, tmp_path: Path) -> None:
    config = Files(str(root))
    STEADY.discard(config.path)
    (root / "swap").mkdir()
    (root / "swap" / "canary").write_bytes(b"inside")
    (tmp_path / "link").symlink_to(tmp_path / "public-sibling")
    stopped = threading.Event()

    def swap() -> None:
        while not stopped.is_set():
            os.rename(root / "swap", tmp_path / "aside")
            os.rename(tmp_path / "link", root / "swap")
            os.rename(root / "swap", tmp_path / "link")
            os.rename(tmp_path / "aside", root / "swap")

    thread = threading.Thread(target=swap)
    thread.start()
    bodies = set()
    try:
        for _ in range(2000):
            bodies.add(get(config, "/swap/canary").body)
    finally:
        stopped.set()
        thread.join()
    assert bodies <= {b"", b"inside"}
