"""The template and its workers as real processes, driven as the master would."""

from __future__ import annotations

import contextlib
import marshal
import os
import resource
import select
import signal
import socket
import subprocess
import sys
import tempfile
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pyserve.wire import frames, messages
from pyserve.wire.scoreboard import PAGE_BYTES
from pyserve.worker.boot import check_command, template_command
from tests.support import tools
from tests.worker.fake_front import FakeFront

APPS = Path(__file__).resolve().parent.parent / "apps"
_TIMEOUT_S = 30.0


def spec(module: str = "worker_app", attribute: str = "wsgi", **values: Any) -> dict[str, Any]:
    defaults: dict[str, Any] = {
        "name": "shop",
        "type": "auto",
        "factory": False,
        "root": str(APPS),
        "threads": 1,
        "warmup": [],
        "warmup_at": ("localhost", ""),
        "startup_s": 60.0,
        "concurrency": 100,
        "websockets": 1000,
        "preload": False,
        "fronts": 1,
        "grace_s": 5.0,
    }
    return {**defaults, "module": module, "attribute": attribute, **values}


class Messages:
    """The other end of a channel that carries messages."""

    def __init__(self, end: socket.socket) -> None:
        end.settimeout(_TIMEOUT_S)
        self.end = end
        self._splitter = messages.MessageSplitter()
        self._ready: deque[tuple[int, bytes]] = deque()

    def next(self) -> tuple[int, bytes]:
        while not self._ready:
            data = self.end.recv(65536)
            if not data:
                raise EOFError
            self._ready.extend((kind, payload) for kind, payload, _ in self._splitter.feed(data, []))
        return self._ready.popleft()

    def expect(self, kind: int) -> bytes:
        got, payload = self.next()
        assert got == kind, f"message {got}: {payload!r}"
        return payload


class FakeWorker:
    """What the master keeps of a worker: its own pair, and the front's ends."""

    def __init__(self) -> None:
        master, self.theirs = socket.socketpair()
        self.master = Messages(master)
        self.front = FakeFront()
        self.page = tempfile.TemporaryFile()  # noqa: SIM115
        self.page.truncate(PAGE_BYTES)

    def descriptors(self) -> list[int]:
        ends = [self.theirs.fileno(), self.page.fileno()]
        return [*ends, self.front.worker_data.fileno(), self.front.worker_control.fileno()]

    def sent(self) -> None:
        """The worker has its ends now: ours are copies."""
        self.theirs.close()
        self.page.close()
        self.front.worker_data.close()
        self.front.worker_control.close()

    def close(self) -> None:
        self.sent()
        self.master.end.close()
        self.front.close()


class FakeMaster:
    def __init__(self, app_spec: dict[str, Any], python: str = sys.executable) -> None:
        ours, theirs = socket.socketpair()
        self.channel = Messages(ours)
        self.output = tempfile.TemporaryFile()  # noqa: SIM115
        environment = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "PYTHONWARNINGS")}
        self.process = subprocess.Popen(
            template_command(python, app_spec["name"], theirs.fileno()),
            pass_fds=[theirs.fileno()],
            cwd=app_spec["root"],
            env=environment,
            stdout=self.output,
            stderr=self.output,
            start_new_session=True,
        )
        theirs.close()
        self.workers: list[FakeWorker] = []
        ours.sendall(messages.pack_values(messages.SPEC, (app_spec,)))

    def fork(self) -> tuple[FakeWorker, int]:
        """Order a worker; return it and its pid."""
        worker = FakeWorker()
        self.workers.append(worker)
        number = len(self.workers)
        order = messages.pack_values(messages.FORK, (number, number - 1, 1), 4)
        socket.send_fds(self.channel.end, [order], worker.descriptors())
        worker.sent()
        told, pid = messages.forked(self.channel.expect(messages.FORKED))
        assert told == number
        return worker, pid

    def ready_worker(self, interface: int = frames.WSGI) -> tuple[FakeWorker, int]:
        worker, pid = self.fork()
        assert worker.master.expect(messages.BOOTED) == bytes([interface])
        worker.front.expect_hello(interface)
        return worker, pid

    def printed(self) -> str:
        self.output.seek(0)
        return self.output.read().decode()

    def close(self) -> None:
        self.channel.end.close()
        try:
            self.process.wait(_TIMEOUT_S)
        finally:
            if self.process.poll() is None:
                os.killpg(self.process.pid, signal.SIGKILL)
                self.process.wait()
            for worker in self.workers:
                worker.close()
            print(self.printed())
            self.output.close()


@contextlib.contextmanager
def template(app_spec: dict[str, Any], python: str = sys.executable) -> Iterator[FakeMaster]:
    master = FakeMaster(app_spec, python)
    try:
        yield master
    finally:
        master.close()


def wait_gone(pid: int) -> None:
    """Wait for a process that is not our child."""
    try:
        pidfd = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        assert select.select([pidfd], [], [], _TIMEOUT_S)[0], f"process {pid} is still there"
    finally:
        os.close(pidfd)


def test_a_template_forks_workers_that_answer() -> None:
    with template(spec()) as master:
        master.channel.expect(messages.TEMPLATE_READY)
        pids = set()
        for _ in range(2):
            worker, pid = master.ready_worker()
            imported, own, parent = worker.front.ask(path="/pid").body.split()
            assert (int(imported), int(own), int(parent)) == (pid, pid, master.process.pid)
            pids.add(pid)
        assert len(pids) == 2


@pytest.mark.parametrize(
    "version", [pytest.param(v, marks=pytest.mark.needs(f"python{v}")) for v in ("3.10", "3.12", "3.13")]
)
@pytest.mark.parametrize(("attribute", "interface"), [("wsgi", frames.WSGI), ("asgi", frames.ASGI)])
def test_other_pythons_run_the_worker_code(version: str, attribute: str, interface: int) -> None:
    python = tools.find(f"python{version}")
    assert python is not None
    with template(spec(attribute=attribute), python=str(python)) as master:
        master.channel.expect(messages.TEMPLATE_READY)
        worker, _ = master.ready_worker(interface)
        assert worker.front.ask().body == attribute.encode()


def test_nothing_of_ours_is_visible_to_the_application() -> None:
    with template(spec()) as master:
        master.channel.expect(messages.TEMPLATE_READY)
        worker, _ = master.ready_worker()
        modules = worker.front.ask(path="/modules").body.decode().split()
        assert "pyserve" not in {name.partition(".")[0] for name in modules}
        # No asyncio-laden module is loaded for a WSGI application either.
        assert "_pyserve.worker.asgi" not in modules
        path = worker.front.ask(path="/path").body.decode().split("\n")
        assert path[0] == str(APPS)
        assert not [entry for entry in path if entry.startswith(str(APPS.parent.parent / "pyserve"))]
        assert "" not in path


@pytest.mark.needs("linux")
def test_the_titles_tell_what_each_process_is() -> None:
    with template(spec()) as master:
        master.channel.expect(messages.TEMPLATE_READY)
        worker, _ = master.ready_worker()
        assert worker.front.ask(path="/title").body.rstrip(b"\0") == b"pyserve: worker shop 1 (wsgi)"
        command = Path(f"/proc/{master.process.pid}/cmdline").read_bytes()
        assert command.rstrip(b"\0") == b"pyserve: template shop"


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_an_exit_is_reported_with_its_status(how: signal.Signals) -> None:
    with template(spec()) as master:
        master.channel.expect(messages.TEMPLATE_READY)
        _, _pid = master.ready_worker()
        master.channel.end.sendall(messages.pack_values(messages.SIGNAL, (1, int(how))))
        number, status, _ = messages.exited(master.channel.expect(messages.EXITED))
        assert number == 1
        if how == signal.SIGKILL:
            assert os.WTERMSIG(status) == signal.SIGKILL
        else:
            assert os.waitstatus_to_exitcode(status) == 0


def test_a_worker_that_exits_in_a_request_is_reported() -> None:
    with template(spec()) as master:
        master.channel.expect(messages.TEMPLATE_READY)
        worker, _ = master.ready_worker()
        worker.front.request(path="/die")
        _, status, _ = messages.exited(master.channel.expect(messages.EXITED))
        assert os.waitstatus_to_exitcode(status) == 7
        with pytest.raises(EOFError):
            worker.front.next_frame()


@pytest.mark.parametrize(("attribute", "interface"), [("wsgi", frames.WSGI), ("asgi", frames.ASGI)])
def test_stop_of_the_master_s_ends_a_worker(attribute: str, interface: int) -> None:
    with template(spec(attribute=attribute)) as master:
        master.channel.expect(messages.TEMPLATE_READY)
        worker, _ = master.ready_worker(interface)
        worker.master.end.sendall(messages.pack_values(messages.STOP, ()))
        _, status, _ = messages.exited(master.channel.expect(messages.EXITED))
        assert os.waitstatus_to_exitcode(status) == 0
        if attribute == "asgi":
            assert "lifespan shutdown ran" in master.printed()


@pytest.mark.needs("linux")
def test_the_end_of_the_master_s_channel_ends_template_and_workers() -> None:
    master = FakeMaster(spec())
    try:
        master.channel.expect(messages.TEMPLATE_READY)
        pids = [master.ready_worker()[1] for _ in range(2)]
    finally:
        master.close()
    assert master.process.returncode == 0
    for pid in pids:
        wait_gone(pid)


@pytest.mark.needs("linux")
def test_a_worker_whose_template_died_ends_with_the_master() -> None:
    with template(spec()) as master:
        master.channel.expect(messages.TEMPLATE_READY)
        worker, pid = master.ready_worker()
        master.process.kill()
        master.process.wait()
        assert worker.front.ask().body == b"wsgi"
        worker.master.end.close()
        wait_gone(pid)


def test_a_front_that_died_is_replaced_by_a_new_one() -> None:
    with template(spec()) as master:
        master.channel.expect(messages.TEMPLATE_READY)
        worker, _ = master.ready_worker()
        assert worker.front.ask().body == b"wsgi"
        worker.front.close()
        fresh = FakeFront()
        order = messages.pack_values(messages.NEW_FRONT, (0,), 2)
        ends = [fresh.worker_data.fileno(), fresh.worker_control.fileno()]
        socket.send_fds(worker.master.end, [order], ends)
        fresh.worker_data.close()
        fresh.worker_control.close()
        try:
            fresh.expect_hello(frames.WSGI)
            assert fresh.ask().body == b"wsgi"
        finally:
            fresh.close()


def test_a_grandchild_holds_no_end_of_a_channel() -> None:
    with template(spec()) as master:
        master.channel.expect(messages.TEMPLATE_READY)
        worker, pid = master.ready_worker()
        grandchild = int(worker.front.ask(path="/fork").body)
        try:
            os.kill(pid, signal.SIGKILL)
            master.channel.expect(messages.EXITED)
            with pytest.raises(EOFError):
                worker.front.next_frame()
            with pytest.raises(EOFError):
                worker.master.next()
        finally:
            os.kill(grandchild, signal.SIGKILL)


@pytest.mark.parametrize(
    ("module", "attribute", "text"),
    [
        ("no_such_module", "app", "no_such_module"),
        ("worker_app", "nothing", "nothing"),
        ("worker_app", "failing_startup", "no database"),
    ],
)
def test_a_failed_boot_is_told_with_its_reason(module: str, attribute: str, text: str) -> None:
    with template(spec(module, attribute)) as master:
        master.channel.expect(messages.TEMPLATE_READY)
        worker, _ = master.fork()
        assert text in worker.master.expect(messages.BOOT_FAILED).decode()
        _, status, _ = messages.exited(master.channel.expect(messages.EXITED))
        assert os.waitstatus_to_exitcode(status) == 3


def test_preload_imports_once_in_the_template() -> None:
    with template(spec(preload=True)) as master:
        master.channel.expect(messages.TEMPLATE_READY)
        for _ in range(2):
            worker, pid = master.ready_worker()
            imported, own, _ = worker.front.ask(path="/pid").body.split()
            assert (int(imported), int(own)) == (master.process.pid, pid)


@pytest.mark.needs("linux")
def test_a_preload_that_starts_threads_is_dropped_and_workers_import_themselves() -> None:
    with template(spec("worker_threaded", "app", preload=True)) as master:
        assert "1 thread (poller)" in master.channel.expect(messages.PRELOAD_DROPPED).decode()
        master.channel.expect(messages.TEMPLATE_READY)
        worker, _ = master.ready_worker()
        assert worker.front.ask().body == b"True True"
        assert len(os.listdir(f"/proc/{master.process.pid}/task")) == 1


def test_a_preload_that_raises_is_told_and_the_template_exits() -> None:
    with template(spec("no_such_module", "app", preload=True)) as master:
        assert b"no_such_module" in master.channel.expect(messages.PRELOAD_FAILED)
        assert master.process.wait(_TIMEOUT_S) == 3


def checked(app_spec: dict[str, Any]) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        check_command(sys.executable),
        input=marshal.dumps((app_spec,), 2),
        capture_output=True,
        cwd=app_spec["root"],
        timeout=_TIMEOUT_S,
    )


@pytest.mark.parametrize("name", ["wsgi", "asgi"])
def test_check_says_interface_and_version(name: str) -> None:
    done = checked(spec(attribute=name))
    version = ".".join(map(str, sys.version_info[:3]))
    assert (done.returncode, done.stdout.decode().splitlines()[-1]) == (0, f"ok {name} {version}")


def test_check_of_what_can_t_be_loaded_exits_3_with_the_reason() -> None:
    done = checked(spec("no_such_module"))
    assert done.returncode == 3
    assert b"No module named 'no_such_module'" in done.stderr


def test_an_application_may_have_modules_that_are_named_like_ours(tmp_path: Path) -> None:
    for name in ("main", "wsgi", "websocket", "frames", "worker", "wire"):
        (tmp_path / f"{name}.py").write_text(f"NAME = {name!r}\n")
    (tmp_path / "pyserve").mkdir()
    (tmp_path / "pyserve" / "__init__.py").write_text("NAME = 'pyserve'\n")
    (tmp_path / "site_app.py").write_text(
        "import main, wsgi, websocket, frames, worker, wire, pyserve\n"
        "def app(environ, start_response):\n"
        "    start_response('200 OK', [])\n"
        "    return [' '.join(m.NAME for m in (main, wsgi, websocket, frames, worker, wire, pyserve)).encode()]\n"
    )
    with template(spec("site_app", "app", root=str(tmp_path))) as master:
        master.channel.expect(messages.TEMPLATE_READY)
        worker, _ = master.ready_worker()
        assert worker.front.ask().body == b"main wsgi websocket frames worker wire pyserve"


@pytest.mark.needs("linux")
def test_limits_are_set_by_the_template_and_cpu_time_ends_only_workers() -> None:
    limits = {"RLIMIT_NOFILE": 200, "RLIMIT_CPU": 1000, "RLIMIT_NONE": 1}
    with template(spec(limits=limits)) as master:
        master.channel.expect(messages.TEMPLATE_READY)
        _, pid = master.ready_worker()
        ignores = {}
        for process in (master.process.pid, pid):
            assert resource.prlimit(process, resource.RLIMIT_NOFILE) == (200, 200)
            assert resource.prlimit(process, resource.RLIMIT_CPU)[0] == 1000
            status = Path(f"/proc/{process}/status").read_text()
            ignored = int(status.split("SigIgn:\t")[1].split()[0], 16)
            ignores[process] = bool(ignored & 1 << signal.SIGXCPU - 1)
        assert ignores == {master.process.pid: True, pid: False}
        assert "the limit RLIMIT_NONE = 1 is not in force" in master.printed()
