"""Promise: a folder may change while it is served. Every answer is whole and from one moment, a change is seen within a
second or so, and no file, whatever becomes of it, keeps the front from serving the others."""

from __future__ import annotations

import contextlib
import itertools
import os
import socket
import subprocess
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import brotli
import pytest

from tests.support import processes, tools
from tests.support.client import Client, Closed, request
from tests.support.load import Load
from tests.support.site import Site, StartSite
from tests.support.waiting import wait_until

SITE = """
[site.a]
hosts = ["a"]
files = "current"

[site.b]
hosts = ["b"]
files = "other"

[[site.b.route]]
path = "/pong"
respond = { body = "pong" }
"""
SIZES = {"page.html": 2_000, "style.css": 20_000, "large.js": 200 * 1024}
CODINGS: dict[str, Callable[[bytes], bytes]] = {
    "": bytes,
    ".gz": lambda data: zlib.compress(data, 6, 31),
    ".br": lambda data: brotli.compress(data, quality=1),
}


def release(folder: Path, name: str) -> dict[bytes, str]:
    """Make a folder of which every file says in every line which release it is of; return that by content."""
    path = folder / name
    path.mkdir()
    contents = {}
    for file, size in SIZES.items():
        content = f"of {name}\n".encode() * (size // (len(name) + 4))
        for suffix, code in CODINGS.items():
            coded = code(content)
            (path / (file + suffix)).write_bytes(coded)
            contents[coded] = name
    return contents


def flip(folder: Path, name: str) -> None:
    """As deployments do: the link is replaced in one step."""
    (folder / "next").symlink_to(name)
    os.replace(folder / "next", folder / "current")


@pytest.fixture
def other(tmp_path: Path) -> Path:
    folder = tmp_path / "other"
    folder.mkdir()
    (folder / "hot.txt").write_text("hot")
    return folder


@pytest.mark.parametrize("loop", ["uvloop", "asyncio"])
def test_every_answer_is_of_one_release_while_they_are_flipped(
    start_site: StartSite, tmp_path: Path, other: Path, loop: str
) -> None:
    release_of = release(tmp_path, "one") | release(tmp_path, "two")
    flip(tmp_path, "one")
    site = start_site(SITE, loop=loop)
    loads = [
        Load(site.address, request(f"/{file}", "a", fields={"Accept-Encoding": coding}), clients=1)
        for file in SIZES
        for coding in ("identity", "gzip", "br")
    ]
    with contextlib.ExitStack() as running:
        for load in loads:
            running.enter_context(load)
        for load in loads:
            load.wait_answers(1)
        for name in ["two", "one"] * 3:
            flip(tmp_path, name)
            for load in loads:

                def is_new(load: Load = load, name: str = name) -> bool:
                    return release_of[load.ledger.answers[-1].body] == name

                wait_until(is_new, f"release {name}", 5)
    for load in loads:
        assert load.ledger.lost == []
        assert load.ledger.statuses().keys() == {200}
        seen = [release_of[answer.body] for answer in load.ledger.answers]
        # What has seen the new release of a file never sees the old one again.
        assert sum(before != after for before, after in itertools.pairwise(seen)) == 6


@contextmanager
def slow_download(site: Site, path: str) -> Iterator[Client]:
    """A client that has read the head and takes nothing more."""
    with site.connect(receive_buffer=4096) as client:
        client.send(request(path, "a"))
        assert client.read_head().status == 200
        yield client


def rest_of(client: Client) -> bytes:
    """Read until the server ends the connection."""
    data = client.rest
    client.socket.settimeout(20)
    try:
        while piece := client.socket.recv(1 << 20):
            data += piece
    except ConnectionResetError:
        pass
    return data


def head_of(site: Site, path: str) -> int:
    return site.ask(request(path, "a", "HEAD"), to_head=True).status


@pytest.fixture
def current(tmp_path: Path, other: Path) -> Path:
    folder = tmp_path / "current"
    folder.mkdir()
    (folder / "small.txt").write_text("small")
    return folder


SIZE = 50 * 1024 * 1024


@pytest.mark.parametrize("how", ["truncated", "replaced", "deleted", "overwritten"])
@pytest.mark.parametrize("loop", ["uvloop", "asyncio"])
def test_a_download_under_way_ends_in_time_whatever_becomes_of_its_file(
    start_site: StartSite, current: Path, loop: str, how: str
) -> None:
    path = current / "film.bin"
    with open(path, "wb") as file:
        file.truncate(SIZE)
    site = start_site(SITE, loop=loop)
    (front,) = site.front_pids()
    site.get("/small.txt")
    with site.same_descriptors():
        with slow_download(site, "/film.bin") as client:
            match how:
                case "truncated":
                    os.truncate(path, 1024 * 1024)
                case "replaced":
                    (current / "new").write_bytes(b"new")
                    os.replace(current / "new", path)
                case "deleted":
                    path.unlink()
                case "overwritten":
                    with open(path, "r+b") as file:
                        file.write(b"x" * SIZE)
            assert site.get("/small.txt").text == "small"
            if how == "truncated":
                assert len(rest_of(client)) < SIZE  # a short answer, and the connection says that it is one
            else:
                assert len(client.read_exactly(SIZE)) == SIZE
                client.send(request("/small.txt", "a"))
                assert client.read_response().text == "small"
        # Who asks for it when it has gone lets go of it, so nothing is held for the download any more.
        path.unlink(missing_ok=True)
        wait_until(lambda: head_of(site, "/film.bin") == 404, "the end of the file")
        wait_until(lambda: not any("film" in name for name in processes.descriptors(front)), "its descriptor")
    assert site.front_pids() == [front]


def test_nothing_but_files_is_served_and_nothing_hangs(start_site: StartSite, current: Path) -> None:
    os.mkfifo(current / "fifo")
    os.mkfifo(current / "small.txt.gz")
    (current / "null").symlink_to("/dev/null")
    (current / "tty").symlink_to("/dev/tty")
    (current / "folder").mkdir()
    with socket.socket(socket.AF_UNIX) as listener:
        here = os.getcwd()
        os.chdir(current)  # the name of a socket is short
        try:
            listener.bind("socket")
        finally:
            os.chdir(here)
        site = start_site(SITE)
        with site.same_descriptors():
            for _ in range(3):
                for name in ("fifo", "socket", "null", "tty", "folder/"):
                    assert site.get(f"/{name}").status == 404, name
                    with site.connect() as client:
                        assert client.ask(request(f"/{name}", "a", "HEAD"), to_head=True).status == 404
                answer = site.get("/small.txt", **{"Accept-Encoding": "gzip"})
                assert (answer.text, answer.field("content-encoding")) == ("small", None)


@contextmanager
def slow_helpers(front: int, delay_s: float) -> Iterator[None]:
    """Every ``openat`` of a front takes so long: threads use it, while its loop asks with ``openat2``."""
    strace = tools.find("strace")
    assert strace
    delay = f"inject=openat:delay_enter={int(delay_s * 1_000_000)}"
    command = [strace, "-f", "-p", str(front), "-o", os.devnull, "-e", "trace=openat", "-e", delay]
    with subprocess.Popen(command, stderr=subprocess.PIPE) as tracing:
        assert tracing.stderr
        for line in tracing.stderr:
            if b"attached" in line:
                break
        else:
            tools.not_run("strace may attach to nothing here", installable=False)
        try:
            yield
        finally:
            tracing.kill()  # and so the disk comes back to life


@pytest.mark.needs("strace")
@pytest.mark.parametrize("loop", ["uvloop", "asyncio"])
def test_who_asks_for_what_is_at_hand_does_not_wait_for_a_slow_disk(
    start_site: StartSite, current: Path, other: Path, loop: str
) -> None:
    site = start_site(SITE, loop=loop)
    (front,) = site.front_pids()
    assert site.get("/hot.txt", "b").text == "hot"
    with slow_helpers(front, 2.0), site.connect() as cold, site.connect() as hot:
        cold.send(request("/small.txt", "a"))  # the first look at this folder is a thread's
        for _ in range(50):
            assert hot.get("/hot.txt", "b").text == "hot"
            assert hot.get("/pong", "b").text == "pong"
        assert not is_readable(cold)
        assert cold.read_response().text == "small"


def is_readable(client: Client) -> bool:
    client.socket.setblocking(False)
    try:
        client.socket.recv(1, socket.MSG_PEEK)
    except BlockingIOError:
        return False
    finally:
        client.socket.settimeout(20)
    return True


@pytest.mark.needs("strace")
def test_many_who_wait_for_a_slow_disk_wait_once(start_site: StartSite, current: Path, other: Path) -> None:
    site = start_site(SITE)
    (front,) = site.front_pids()
    with slow_helpers(front, 0.2):
        clients = [site.connect() for _ in range(20)]
        for client in clients:
            client.send(request("/small.txt", "a"))
        gone = site.connect()
        gone.send(request("/small.txt", "a"))
        gone.close()
        assert [client.read_response().text for client in clients] == ["small"] * 20


@pytest.mark.needs("strace")
def test_a_stop_does_not_wait_for_a_disk_that_hangs(start_site: StartSite, current: Path) -> None:
    site = start_site(SITE, server='graceful_timeout = "1s"')
    (front,) = site.front_pids()
    with slow_helpers(front, 600.0), site.connect() as client:
        client.send(request("/small.txt", "a"))
        wait_until(lambda: len(os.listdir(f"/proc/{front}/task")) > 1, "a helper thread")
        site.terminate()
        with pytest.raises((Closed, OSError)):
            client.read_response()
    assert site.wait_exit() == 0
    site.wait_line("1 connections cut")


def test_descriptors_are_given_back_after_many_files_came_and_went(start_site: StartSite, current: Path) -> None:
    site = start_site(SITE)
    site.get("/small.txt")
    with site.same_descriptors():
        for number in range(200):
            path = current / f"{number}.bin"
            path.write_bytes(b"x" * 70_000)
            assert len(site.get(f"/{number}.bin").body) == 70_000
            path.unlink()
            # Not one by one: the next request finds that it has gone.
        wait_until(lambda: all(head_of(site, f"/{number}.bin") == 404 for number in range(200)), "the end of all")


def test_files_that_are_rewritten_without_pause_are_answered_whole(start_site: StartSite, current: Path) -> None:
    """Each by rename, as editors and deployments do; one length and one letter for each version."""
    versions = [bytes([65 + number]) * (30_000 + 10_000 * number) for number in range(6)]
    path = current / "page.html"
    path.write_bytes(versions[0])
    site = start_site(SITE)
    stopped = threading.Event()

    def rewrite() -> None:
        number = 0
        while not stopped.is_set():
            number += 1
            (current / ".new").write_bytes(versions[number % 6])
            os.replace(current / ".new", path)
            time.sleep(0.005)

    writer = threading.Thread(target=rewrite)
    writer.start()
    try:
        with Load(site.address, request("/page.html", "a"), clients=3) as load:
            wait_until(lambda: len({answer.body for answer in load.ledger.answers}) == 6, "all versions", 30)
    finally:
        stopped.set()
        writer.join()
    assert load.ledger.lost == []
    assert {answer.body for answer in load.ledger.answers} == set(versions)
