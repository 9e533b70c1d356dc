"""Files on disks that take their time: who waits for what, who is told, and what is closed in the end."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from pyserve.config.model import Compress, Files
from pyserve.files import disks, opening
from pyserve.files.cache import LOOK_UP_S, FileCache
from pyserve.handlers import static
from tests.support.exchanges import FakeExchange
from tests.support.served import Serve, write

BIG = bytes(range(256)) * 1024
TEXT = b"a line of text\n" * 300
LONG_TEXT = b"a line of text\n" * 20_000
EVERY = Compress(types=("text/*",), min_bytes=1, codings=("gzip",))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "public"
    write(folder / "a.txt", b"a")
    write(folder / "b.txt", b"b")
    write(folder / "big.bin", BIG)
    write(folder / "text.txt", TEXT)
    write(folder / "long.txt", LONG_TEXT)
    return folder


@pytest.fixture
def cold(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """From now on the kernel has nothing in memory: whatever is asked for without waiting would have to wait."""

    def make_cold() -> None:
        real = opening._system_call()

        def openat2(folder: int, name: bytes, flags: int, resolve: int) -> int:
            if resolve & opening._CACHED:
                return -errno.EAGAIN
            assert real is not None
            return real(folder, name, flags, resolve)

        monkeypatch.setattr(opening, "_system_call", lambda: openat2)

    return make_cold


def finish(*exchanges: FakeExchange) -> list[bytes]:
    for exchange in exchanges:
        if not exchange.over:
            exchange.transmit()
    return [exchange.body for exchange in exchanges]


# What goes where.


def test_the_first_look_at_a_folder_is_taken_where_a_network_would_hang(serve: Serve, root: Path) -> None:
    served = serve(Files(str(root), precompressed=False))
    served.ask("/a.txt")
    assert [lane.jobs for lane in served.lanes] == [0, 1, 0]
    served.ask("/b.txt")
    served.wait()
    served.ask("/a.txt")
    assert served.jobs == 1  # what the kernel has in memory needs no thread


def test_a_network_disk_is_never_asked_on_the_loop(serve: Serve, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    served = serve(Files(str(root)))
    monkeypatch.setattr(disks, "is_local", lambda fd: False)
    served.ask("/a.txt")
    served.hold()

    def on_the_loop(*arguments: object, **options: object) -> None:
        raise AssertionError("asked on the loop")

    asked = [served.begin("/a.txt"), served.begin("/b.txt")]
    served.wait()
    for name in ("stat", "open", "fstat", "pread", "preadv"):
        monkeypatch.setattr(os, name, on_the_loop)
    monkeypatch.setattr(opening, "_system_call", on_the_loop)
    asked.append(served.begin("/a.txt"))
    assert [exchange.over for exchange in asked] == [True, False, False]
    monkeypatch.undo()
    monkeypatch.setattr(disks, "is_local", lambda fd: False)
    served.go_on()
    assert finish(*asked) == [b"a", b"b", b"a"]
    assert [lane.jobs for lane in served.lanes] == [0, 3, 0]


@pytest.mark.parametrize(("target", "is_in_memory"), [("/text.txt", True), ("/long.txt", False)])
def test_nobody_waits_to_be_compressed_behind_a_network(
    serve: Serve, root: Path, monkeypatch: pytest.MonkeyPatch, target: str, is_in_memory: bool
) -> None:
    served = serve(Files(str(root)), compress=EVERY)
    monkeypatch.setattr(disks, "is_local", lambda fd: False)
    assert served.ask(target, accept_encoding="gzip").headers["content-encoding"] == "gzip"
    assert [lane.jobs for lane in served.lanes] == ([0, 1, 1] if is_in_memory else [0, 2, 0])


def test_what_the_kernel_does_not_have_in_memory_is_asked_for_in_a_thread(
    serve: Serve, root: Path, cold: Callable[[], None]
) -> None:
    served = serve(Files(str(root)))
    served.ask("/a.txt")
    cold()
    served.hold()
    waiting = served.begin("/b.txt")
    assert served.ask("/a.txt").body == b"a"  # nobody else waits
    assert not waiting.over
    served.go_on()
    assert waiting.body == b"b"
    assert [lane.jobs for lane in served.lanes] == [1, 1, 0]


def test_without_openat2_every_look_but_a_stat_of_what_is_known_is_a_threads(
    serve: Serve, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(opening, "_system_call", lambda: None)
    served = serve(Files(str(root)))
    assert [served.ask(path).body for path in ("/a.txt", "/b.txt", "/big.bin")] == [b"a", b"b", BIG]
    assert served.jobs == 3
    served.wait()
    assert served.ask("/a.txt").body == b"a"
    assert served.jobs == 3
    served.wait(static.ASKED_LATELY_S + 1)
    assert served.ask("/a.txt").body == b"a"
    assert served.jobs == 4


def test_a_fallback_on_another_disk_is_not_looked_at_on_the_loop(
    serve: Serve, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    served = serve(Files(str(root), tries=("{path}", "a.txt"), precompressed=False))
    assert served.ask("/one").body == b"a"
    looks: list[object] = []
    real = os.stat
    monkeypatch.setattr(os, "stat", lambda path, **options: looks.append(path) or real(path, **options))
    served.wait()
    assert served.ask("/one").body == b"a"
    assert looks == [os.fsencode(root / "a.txt")]
    served.entry("a.txt").is_local = False
    served.wait()
    assert served.ask("/one").body == b"a"
    served.wait(static.ASKED_LATELY_S + 1)
    assert served.ask("/one").body == b"a"
    assert len(looks) == 1


# Many who wait for one look.


@pytest.mark.parametrize("target", ["/b.txt", "/big.bin"])
def test_one_look_serves_all_who_ask_meanwhile(serve: Serve, root: Path, cold: Callable[[], None], target: str) -> None:
    served = serve(Files(str(root)))
    served.ask("/a.txt")
    cold()
    served.hold()
    many = [served.begin(target) for _ in range(100)]
    part = served.begin(target, range="bytes=0-0")
    head = served.begin(target, "HEAD")
    assert served.disk.jobs == 1
    served.go_on()
    content = (root / target[1:]).read_bytes()
    assert finish(*many) == [content] * 100
    assert finish(part) == [content[:1]]
    finish(head)
    assert (head.status, head.length) == (200, len(content))
    assert served.cache.figures().loads == 2


def test_an_error_reaches_all_who_wait(serve: Serve, root: Path, cold: Callable[[], None]) -> None:
    served = serve(Files(str(root)))
    served.ask("/a.txt")
    cold()
    served.hold()
    many = [served.begin("/missing") for _ in range(10)]
    folders = [served.begin("/") for _ in range(10)]
    served.go_on()
    assert {exchange.status for exchange in many + folders} == {404}
    assert served.disk.jobs == 2


def test_who_has_left_meanwhile_is_not_answered(serve: Serve, root: Path, cold: Callable[[], None]) -> None:
    served = serve(Files(str(root)), compress=EVERY)
    served.ask("/a.txt")
    cold()
    served.hold()
    gone = [
        served.begin("/big.bin"),
        served.begin("/b.txt"),
        served.begin("/long.txt", accept_encoding="gzip"),
        served.begin("/missing"),
        served.begin("/big.bin", range="bytes=0-9,1000-1009"),
    ]
    stays = served.begin("/big.bin")
    for exchange in gone:
        exchange.end()
    served.go_on()
    assert finish(stays) == [BIG]
    assert [exchange.calls for exchange in gone] == [[], [], [], [], []]
    assert all(entry.users == 0 for entry in served.cache.entries.values())


# Dead disks.


def test_a_disk_that_gives_no_answer_is_told_of_after_a_while_and_at_once_to_who_comes_later(
    serve: Serve, root: Path, cold: Callable[[], None]
) -> None:
    served = serve(Files(str(root)))
    served.ask("/a.txt")
    cold()
    served.hold()
    waiting = [served.begin("/b.txt") for _ in range(3)]
    served.wait(LOOK_UP_S - 1)
    assert not any(exchange.over for exchange in waiting)
    late = served.begin("/b.txt")
    served.wait(2)
    assert [exchange.status for exchange in [*waiting, late]] == [504] * 4
    assert served.ask("/b.txt").status == 504
    served.wait(1)  # nobody is told twice
    assert served.disk.jobs == 1
    served.go_on()  # it is alive again, and what it said is good
    assert served.ask("/b.txt").body == b"b"
    assert served.disk.jobs == 1


@pytest.mark.parametrize("target", ["/a.txt", "/big.bin"])
def test_a_file_that_was_let_go_of_while_its_disk_was_asked_is_served_all_the_same(
    serve: Serve, root: Path, monkeypatch: pytest.MonkeyPatch, target: str
) -> None:
    served = serve(Files(str(root)))
    monkeypatch.setattr(disks, "is_local", lambda fd: False)
    content = served.ask(target).body
    served.wait(1)
    served.hold()
    waiting = [served.begin(target), served.begin(target)]
    served.wait(15)  # the sweep gives its descriptor back
    served.go_on()
    assert finish(*waiting) == [content, content]
    assert served.ask(target).body == content
    assert served.network.jobs == 2


def test_a_file_is_not_closed_by_what_the_first_of_those_who_wait_asks_for(
    serve: Serve, root: Path, cold: Callable[[], None]
) -> None:
    write(root / "long.txt.gz", BIG)
    served = serve(Files(str(root)), cache=FileCache(max_open=1))
    served.ask("/a.txt")
    cold()
    served.hold()
    coded = served.begin("/long.txt", accept_encoding="gzip")
    plain = served.begin("/long.txt")
    served.go_on()
    assert finish(coded, plain) == [BIG, LONG_TEXT]


def test_an_original_that_was_let_go_of_stands_in_for_what_could_not_be_coded(
    serve: Serve, root: Path, cold: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(coding: bytes, data: bytes) -> bytes:
        raise MemoryError

    monkeypatch.setattr("pyserve.http.codings.compress", broken)
    served = serve(Files(str(root)), compress=EVERY)
    served.ask("/long.txt")
    served.hold()
    waiting = [served.begin("/long.txt", accept_encoding="gzip") for _ in range(2)]
    served.cache.clear()
    served.go_on()
    assert finish(*waiting) == [LONG_TEXT] * 2


def test_an_original_that_was_let_go_of_stands_in_for_a_coded_file_that_has_gone(
    serve: Serve, root: Path, cold: Callable[[], None]
) -> None:
    write(root / "long.txt.gz", b"packed")
    served = serve(Files(str(root)))
    served.ask("/long.txt")
    cold()
    served.hold()
    waiting = [served.begin("/long.txt", accept_encoding="gzip") for _ in range(2)]
    (root / "long.txt.gz").unlink()
    served.cache.clear()
    served.go_on()
    assert finish(*waiting) == [LONG_TEXT] * 2


# Descriptors that run out.


def no_descriptors(*arguments: object, **options: object) -> int:
    raise OSError(errno.EMFILE, "Too many open files")


def test_without_descriptors_those_that_nobody_uses_are_given_back_first(
    serve: Serve, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    served = serve(Files(str(root)))
    served.ask("/big.bin")
    assert served.cache.figures().open == 1
    real = opening._system_call()
    failures = [errno.EMFILE]

    def openat2(folder: int, name: bytes, flags: int, resolve: int) -> int:
        assert real is not None
        return -failures.pop() if failures else real(folder, name, flags, resolve)

    monkeypatch.setattr(opening, "_system_call", lambda: openat2)
    assert served.ask("/b.txt").body == b"b"
    assert served.cache.figures().open == 0


def test_without_any_descriptor_a_thread_tries_once_more_and_then_says_so(
    serve: Serve, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    served = serve(Files(str(root)))
    monkeypatch.setattr(disks, "is_local", lambda fd: False)
    served.ask("/big.bin")
    monkeypatch.setattr(os, "open", no_descriptors)
    monkeypatch.setattr(opening, "_system_call", lambda: None)
    assert served.ask("/b.txt").status == 503
    assert served.network.jobs == 3
    assert served.ask("/b.txt").status == 503
    assert served.network.jobs == 4  # there was nothing to give back any more
    monkeypatch.undo()
    assert served.ask("/b.txt").body == b"b"


@pytest.mark.parametrize("target", ["/a.txt", "/long.txt"])
def test_a_shortage_of_descriptors_hides_no_coded_file_for_good(
    serve: Serve, root: Path, monkeypatch: pytest.MonkeyPatch, target: str
) -> None:
    write(root / f"{target[1:]}.gz", b"packed")
    served = serve(Files(str(root)))
    served.ask("/b.txt")
    real = opening._system_call()

    def openat2(folder: int, name: bytes, flags: int, resolve: int) -> int:
        assert real is not None
        return -errno.EMFILE if name.endswith(b".gz") else real(folder, name, flags, resolve)

    monkeypatch.setattr(opening, "_system_call", lambda: openat2)
    assert served.ask(target, accept_encoding="gzip").body == (root / target[1:]).read_bytes()
    monkeypatch.setattr(opening, "_system_call", lambda: real)
    served.wait()
    assert served.ask(target, accept_encoding="gzip").body == b"packed"


@pytest.mark.parametrize("number", [errno.EIO, errno.EACCES, errno.ENOMEM, errno.EMFILE])
@pytest.mark.parametrize("at", range(8))
def test_no_call_that_fails_leaves_a_descriptor_open(
    serve: Serve, root: Path, monkeypatch: pytest.MonkeyPatch, number: int, at: int
) -> None:
    """Whichever call to the system fails, on the loop or in a thread."""
    write(root / "long.txt.gz", b"packed")
    served = serve(Files(str(root)))
    served.ask("/b.txt")
    calls = 0
    real_call = opening._system_call()

    def counts() -> bool:
        nonlocal calls
        calls += 1
        return calls == at + 1

    def openat2(folder: int, name: bytes, flags: int, resolve: int) -> int:
        assert real_call is not None
        return -number if counts() else real_call(folder, name, flags, resolve)

    def failing(real: Callable[..., object]) -> Callable[..., object]:
        def call(*arguments: object, **options: object) -> object:
            if counts():
                raise OSError(number, os.strerror(number))
            return real(*arguments, **options)

        return call

    monkeypatch.setattr(opening, "_system_call", lambda: openat2)
    for name in ("fstat", "pread", "preadv", "stat"):
        monkeypatch.setattr(os, name, failing(getattr(os, name)))
    exchanges = [served.begin("/a.txt"), served.begin("/long.txt", accept_encoding="gzip")]
    monkeypatch.undo()
    assert all(exchange.over or exchange.lent for exchange in exchanges)
    finish(*exchanges)
    served.wait()
    assert served.ask("/a.txt").body == b"a"
    assert served.ask("/long.txt", accept_encoding="gzip").body == b"packed"
