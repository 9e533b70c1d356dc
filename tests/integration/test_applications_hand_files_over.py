"""Promise: a file that an application hands over arrives bit for bit, costs its worker nothing while it is sent, and
leaves no descriptor open in any process.

WSGI's ``wsgi.file_wrapper`` (PEP 3333), ASGI's Path Send and Zero Copy Send, and what frameworks make of them.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support import environments, processes
from tests.support.client import Client, request
from tests.support.site import Site, StartSite
from tests.support.waiting import wait_until

BIG = 200 * 1024 * 1024
SLOW = 64 * 1024  # the receive buffer of a client that reads when the test says so
KINDS = pytest.mark.parametrize(
    ("kind", "threads"), [("wsgi", 1), ("wsgi", 4), ("asgi", 1)], ids=["wsgi-1", "wsgi-4", "asgi"]
)


def files(kind: str, threads: int = 1, workers: int = 1) -> str:
    return f"""
[app.{kind}]
entry = "files_{kind}:application"
root = "APPS"
workers = {workers}
threads = {threads}

[site.a]
hosts = ["a"]
app = "{kind}"
"""


def make_file(folder: Path, size: int) -> Path:
    """Make a file of which no two MiB are alike; what is large is mostly a hole."""
    path = folder / f"file-{size}"
    with open(path, "wb") as file:
        file.truncate(size)
        for at in range(0, size, 1024 * 1024):
            file.seek(at)
            file.write(os.urandom(min(3000, size - at)))
        file.seek(max(0, size - 10))
        file.write(os.urandom(min(10, size)))
    return path


def assert_same(client: Client, path: Path, size: int, offset: int = 0) -> None:
    """Read ``size`` bytes of a body and compare them with the file's."""
    with open(path, "rb") as file:
        file.seek(offset)
        while size:
            piece = file.read(min(size, 1024 * 1024))
            assert client.read_exactly(len(piece)) == piece
            size -= len(piece)


def download(client: Client, path: Path, size: int, more: str = "") -> None:
    client.send(request(f"/?path={path}{more}", "a"))
    head = client.read_head()
    assert (head.status, head.field("content-length")) == (200, str(size))
    assert_same(client, path, size)


@contextmanager
def nothing_left(site: Site, app: str) -> Iterator[None]:
    """Check that the block costs no worker and leaves no descriptor, once what came before has settled."""
    site.get("/")
    workers = site.worker_pids(app)
    settle(site)
    with site.same_descriptors():
        yield
    assert site.worker_pids(app) == workers


def settle(site: Site) -> None:
    """Wait until connections that were closed here are closed there."""

    def is_steady() -> bool:
        before = [processes.descriptors(pid) for pid in site.pids()]
        time.sleep(0.02)
        return before == [processes.descriptors(pid) for pid in site.pids()]

    wait_until(is_steady, "steady descriptors")


def bytes_read(pid: int) -> int:
    for line in Path(f"/proc/{pid}/io").read_text().splitlines():
        if line.startswith("rchar:"):
            return int(line.split()[1])
    raise AssertionError("no figure for what was read")


@KINDS
@pytest.mark.parametrize("loop", ["uvloop", "asyncio"])
def test_files_of_any_size_arrive_and_are_closed(
    start_site: StartSite, tmp_path: Path, kind: str, threads: int, loop: str
) -> None:
    site = start_site(files(kind, threads), loop=loop)
    paths = {size: make_file(tmp_path, size) for size in (0, 1, 64 * 1024, 64 * 1024 + 1, 100 * 1024, BIG)}
    with nothing_left(site, kind), site.connect() as client:
        for size, path in paths.items():
            download(client, path, size)
            assert client.get("/").body == b"hello", "the connection goes on"


@KINDS
def test_the_worker_reads_nothing_of_a_file_that_the_front_sends(
    start_site: StartSite, tmp_path: Path, kind: str, threads: int
) -> None:
    site = start_site(files(kind, threads))
    path = make_file(tmp_path, BIG)
    with site.connect() as client:
        download(client, path, BIG)
        (worker,), (front,) = site.worker_pids(kind), site.front_pids()
        before, sent = bytes_read(worker), bytes_read(front)
        download(client, path, BIG)
    assert bytes_read(worker) - before < 1024 * 1024
    assert bytes_read(front) - sent >= BIG, "sendfile counts as reading"


@KINDS
def test_a_head_request_is_told_the_length_and_nothing_more(
    start_site: StartSite, tmp_path: Path, kind: str, threads: int
) -> None:
    site = start_site(files(kind, threads))
    path = make_file(tmp_path, 100_000)
    with nothing_left(site, kind), site.connect() as client:
        answer = client.ask(request(f"/?path={path}", "a", "HEAD"), to_head=True)
        assert (answer.status, answer.field("content-length")) == (200, "100000")
        assert client.get("/").body == b"hello"


@KINDS
def test_an_announced_length_is_kept(start_site: StartSite, tmp_path: Path, kind: str, threads: int) -> None:
    site = start_site(files(kind, threads))
    path = make_file(tmp_path, 300_000)
    with site.connect() as client:
        client.send(request(f"/?path={path}&length=200000", "a"))
        assert client.read_head().field("content-length") == "200000"
        assert_same(client, path, 200_000)
        assert client.get("/").body == b"hello"


@KINDS
def test_ranges_that_the_application_makes_arrive(
    start_site: StartSite, tmp_path: Path, kind: str, threads: int
) -> None:
    site = start_site(files(kind, threads))
    size = 5_000_000
    path = make_file(tmp_path, size)
    with site.connect() as client:
        for start, end in ((0, 0), (1, 100), (1_000_000, 2_999_999), (size - 100_000, size - 1), (0, size - 1)):
            client.send(request(f"/?path={path}&start={start}&end={end}", "a"))
            head = client.read_head()
            assert (head.status, head.field("content-length")) == (206, str(end + 1 - start))
            assert_same(client, path, end + 1 - start, start)


@KINDS
def test_a_client_that_leaves_in_the_middle_leaves_nothing_open(
    start_site: StartSite, tmp_path: Path, kind: str, threads: int
) -> None:
    site = start_site(files(kind, threads))
    path = make_file(tmp_path, BIG)
    with nothing_left(site, kind):
        for number in range(20):
            client = site.connect(receive_buffer=SLOW)
            client.send(request(f"/?path={path}", "a"))
            if number % 2:
                client.read_exactly(100_000)
                client.reset()
            client.close()
        assert site.get("/").body == b"hello"


@KINDS
def test_slow_clients_hold_no_worker(start_site: StartSite, tmp_path: Path, kind: str, threads: int) -> None:
    site = start_site(files(kind, threads))
    path = make_file(tmp_path, BIG)
    with nothing_left(site, kind):
        slow = [site.connect(receive_buffer=SLOW) for _ in range(10)]
        for client in slow:
            client.send(request(f"/?path={path}", "a"))
            client.read_head()
        assert site.get("/").body == b"hello"
        wait_until(lambda: [worker["running"] for worker in site.workers(kind)] == [0], "an idle worker")
        for client in slow[:2]:
            assert_same(client, path, BIG)
        for client in slow:
            client.close()


@KINDS
def test_a_worker_that_is_killed_in_the_middle_takes_no_file_along(
    start_site: StartSite, tmp_path: Path, kind: str, threads: int
) -> None:
    site = start_site(files(kind, threads))
    path = make_file(tmp_path, BIG)
    (worker,) = site.worker_pids(kind)
    (front,) = site.front_pids()
    site.get("/")
    settle(site)
    before = processes.descriptors(front)
    with site.connect(receive_buffer=SLOW) as client:
        client.send(request(f"/?path={path}", "a"))
        client.read_head()
        site.kill(worker, signal.SIGKILL)
        wait_until(lambda: site.worker_pids(kind) not in ([], [worker]), "another worker")
        assert_same(client, path, BIG)
        assert client.get("/").body == b"hello"
    wait_until(lambda: processes.descriptors(front) == before, "the descriptors of before")


def test_files_and_bytes_of_one_answer_arrive_in_order(start_site: StartSite, tmp_path: Path) -> None:
    site = start_site(files("asgi"))
    size, count = 3_000_000, 7
    path = make_file(tmp_path, size)
    expected = b"".join(b"<%d>" % number + path.read_bytes() for number in range(count)) + b"<end>"
    with nothing_left(site, "asgi"):
        for receive_buffer in (0, SLOW):
            with site.connect(receive_buffer=receive_buffer) as client:
                assert client.get(f"/?path={path}&mixed={count}").body == expected
        slow = site.connect(receive_buffer=SLOW)
        slow.send(request(f"/?path={path}&mixed={count}", "a"))
        slow.read_head()
        slow.reset()


def test_a_path_that_is_not_there_is_an_error_of_the_application(start_site: StartSite, tmp_path: Path) -> None:
    site = start_site(files("asgi"))
    site.expect_error("FileNotFoundError|app asgi failed")
    os.mkfifo(tmp_path / "fifo")
    with nothing_left(site, "asgi"), site.connect() as client:
        for name in ("missing", "fifo", "spool"):
            assert client.get(f"/?path={tmp_path / name}").status == 500
        assert client.get("/").body == b"hello"


def test_a_file_that_shrinks_while_it_is_sent_cuts_the_connection(start_site: StartSite, tmp_path: Path) -> None:
    site = start_site(files("wsgi"))
    path = make_file(tmp_path, BIG)
    with nothing_left(site, "wsgi"), site.connect(receive_buffer=SLOW) as client:
        client.send(request(f"/?path={path}", "a"))
        client.read_head()
        os.truncate(path, 1024)
        with pytest.raises((OSError, AssertionError)):
            assert len(client.read_to_end()) == BIG


@pytest.mark.parametrize("kind", ["wsgi", "asgi"])
def test_many_downloads_at_once_do_not_mix(start_site: StartSite, tmp_path: Path, kind: str) -> None:
    """Two fronts and two workers: every descriptor has to find its own answer."""
    site = start_site(files(kind, threads=4, workers=2), fronts=2)
    paths = [make_file(tmp_path / str(number), 200_000 + number) for number in _folders(tmp_path, 8)]
    failures: list[BaseException] = []

    def ask(number: int) -> None:
        try:
            with site.connect() as client:
                for turn in range(40):
                    at = (number + turn) % len(paths)
                    download(client, paths[at], 200_000 + at)
        except BaseException as error:
            failures.append(error)

    with nothing_left(site, kind):
        threads = [threading.Thread(target=ask, args=(number,)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert failures == []


def _folders(tmp_path: Path, count: int) -> range:
    for number in range(count):
        (tmp_path / str(number)).mkdir()
    return range(count)


FRAMEWORKS = {
    "flask": ("flask_box:app", ""),
    "django": ("shop.wsgi:application", "/django_shop"),
    "django-asgi": ("shop.asgi:application", "/django_shop"),
    "fastapi": ("fastapi_desk:app", ""),
}
HANDED_OVER = ("flask", "django", "fastapi")


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_what_frameworks_call_a_file_response_arrives(start_site: StartSite, tmp_path: Path, framework: str) -> None:
    size = 20_000_000
    path = make_file(tmp_path, size)
    entry, folder = FRAMEWORKS[framework]
    env = f'DJANGO_SETTINGS_MODULE = "shop.settings", SECRET_KEY = "only for this test", DOWNLOAD = "{path}"'
    site = start_site(f"""
[app.box]
entry = "{entry}"
root = "APPS{folder}"
venv = "{environments.frameworks(environments.PYTHONS[0])}"
env = {{ {env}, SHOP_DATABASE = "", SHOP_STATIC = "" }}
workers = 1

[site.a]
hosts = ["a", "django.test"]
app = "box"
""")
    _use(site, path, size)
    (worker,) = site.worker_pids("box")
    before = bytes_read(worker)
    with nothing_left(site, "box"):
        _use(site, path, size)
    if framework in HANDED_OVER:
        assert bytes_read(worker) - before < size, "it reads a range at most"


def _use(site: Site, path: Path, size: int) -> None:
    with site.connect() as client:
        client.send(request("/download", "django.test"))
        head = client.read_head()
        assert (head.status, head.field("content-length")) == (200, str(size))
        assert_same(client, path, size)
        client.send(request("/download", "django.test", fields={"Range": "bytes=1000000-1999999"}))
        head = client.read_head()
        if head.status == 206:
            assert_same(client, path, 1_000_000, 1_000_000)
        else:  # Django knows no ranges
            assert_same(client, path, size)
