"""The master with real processes, against a front and a template that only keep to the contract."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pyserve.config.model import Listener, Recycling, Scaling
from tests.support import processes
from tests.support.master_run import MasterRun, app
from tests.support.waiting import wait_until

StartMaster = Callable[..., MasterRun]
pytestmark = pytest.mark.skipif(not os.path.exists("/proc/self"), reason="looks at processes in /proc")


@pytest.fixture
def start_master(tmp_path: Path) -> Iterator[StartMaster]:
    started: list[MasterRun] = []
    processes.adopt_orphans()

    def start(*args: object, **options: object) -> MasterRun:
        folder = tmp_path / str(len(started))
        folder.mkdir()
        started.append(MasterRun(folder, *args, **options))  # type: ignore[arg-type]
        return started[-1]

    try:
        yield start
    finally:
        for run in started:
            run.end_by_force()
            print(*run.lines, sep="\n")


def test_ready_is_said_once_with_addresses_and_apps(start_master: StartMaster) -> None:
    run = start_master(app("boots", 2), fronts=2).wait_ready()
    ready = [line for line in run.lines if "pyserve: ready" in line]
    assert ready == [f"pyserve: ready: http://127.0.0.1:{run.port} (0 sites, app boots: 2 workers wsgi)"]
    # Each front got the snapshot, its number and every worker with data, control and scoreboard.
    assert sorted(row[2:] for row in run.heard("SNAPSHOT")) == [[0, 2, 66, 5], [1, 2, 66, 5]]
    added = run.wait_heard("WORKER_ADDED", 4)
    assert sorted((row[1], row[3], row[-1]) for row in added) == [(0, 1, 3), (0, 2, 3), (1, 1, 3), (1, 2, 3)]
    assert run.stop() == 0
    assert not run.survivors()
    assert not os.path.exists(run.admin_path)


def test_a_dead_worker_is_told_to_the_fronts_in_words_and_replaced(start_master: StartMaster) -> None:
    run = start_master(app("boots", 2)).wait_ready()
    first, second = run.wait_workers(2)
    os.kill(first["pid"], signal.SIGKILL)
    assert run.wait_heard("WORKER_GONE")[0][2:] == [first["worker"], "killed by signal 9 (SIGKILL)", 0]
    now = run.wait_workers(2, not_pid=first["pid"])
    assert second["pid"] in [worker["pid"] for worker in now]
    assert max(worker["worker"] for worker in now) == 3


def test_a_dead_front_is_replaced_on_the_same_socket_and_gets_all_workers(start_master: StartMaster) -> None:
    run = start_master(app("boots", 2)).wait_ready()
    run.wait_heard("WORKER_ADDED", 2)  # ready is said with the first
    old = run.heard("SNAPSHOT")[0][0]
    os.kill(old, signal.SIGKILL)
    run.wait_heard("SNAPSHOT", 2)
    added = run.wait_heard("WORKER_ADDED", 4)
    assert {row[3] for row in added if row[0] != old} == {1, 2}
    run.order("say WORKER_IDLE 1")  # the new one accepts where the old one did
    assert [front["restarts"] for front in run.facts()["fronts"]] == [1]
    assert run.stop() == 0


def test_workers_outlive_their_template_and_a_new_one_takes_over(start_master: StartMaster) -> None:
    run = start_master(app("boots", 2)).wait_ready()
    before = run.wait_workers(2)
    template = next(process for process in run.observe() if " template " in process.title)
    os.kill(template.pid, signal.SIGKILL)
    run.wait_line("template .* killed by signal 9")
    assert [worker["pid"] for worker in run.workers()] == [worker["pid"] for worker in before]
    # An adopted worker's death is seen and mended too.
    os.kill(before[0]["pid"], signal.SIGKILL)
    assert run.wait_heard("WORKER_GONE")[0][2:4] == [before[0]["worker"], "killed by signal 9 (SIGKILL)"]
    run.wait_workers(2, not_pid=before[0]["pid"])
    assert run.stop() == 0
    assert not run.survivors()


def test_an_app_that_does_not_boot_is_named_and_the_others_serve(start_master: StartMaster) -> None:
    run = start_master(app("fails", 3), app("boots")).wait_ready()
    line = run.wait_line("pyserve: ready")
    assert "app fails: FAILED: ValueError: bad app" in line
    assert "app boots: 1 worker wsgi" in line
    assert run.heard("APP_STATE")[0][2:] == [0, "ValueError: bad app", 0]
    assert "ValueError: bad app" in "\n".join(run.lines)
    # Tried again, one at a time and more and more slowly.
    run.wait_line("could not start; the reason is the same as before")
    wait_until(lambda: run.facts()["apps"][0]["restarts"] >= 2, "tried again")
    assert len(run.workers(0)) <= 1
    assert run.facts()["apps"][0]["reason"] == "ValueError: bad app"


def test_a_worker_that_dies_while_it_starts_is_a_failed_start(start_master: StartMaster) -> None:
    run = start_master(app("dies")).wait_ready()
    assert "app dies: FAILED: a worker exited with status 9 while it started" in run.wait_line("pyserve: ready")


def test_a_worker_that_is_not_ready_in_time_is_killed(start_master: StartMaster) -> None:
    run = start_master(app("hangs", startup_timeout_s=3.0)).wait_ready()
    assert "FAILED: not ready within 3 s (startup_timeout)" in run.wait_line("pyserve: ready")
    assert run.wait_heard("WORKER_GONE")[0][3] == "killed by signal 9 (SIGKILL)"


def test_a_missing_interpreter_fails_its_own_app_only(start_master: StartMaster, tmp_path: Path) -> None:
    gone = app("gone")._replace(python=str(tmp_path / "no" / "python"))
    run = start_master(gone, app("boots")).wait_ready()
    assert f"app gone: FAILED: {gone.python}: No such file or directory" in run.wait_line("pyserve: ready")
    assert run.stop() == 0


def test_an_app_with_a_missing_secret_is_not_started(start_master: StartMaster) -> None:
    run = start_master(app("boots")._replace(fault="no such file: secret.key")).wait_ready()
    assert "app boots: FAILED: no such file: secret.key" in run.wait_line("pyserve: ready")
    assert not any(" template " in process.title for process in run.observe())


def test_a_stuck_worker_is_replaced_at_once_and_killed_when_idle_everywhere(start_master: StartMaster) -> None:
    run = start_master(app("boots")).wait_ready()
    (stuck,) = run.wait_workers(1)
    run.order(f"say WORKER_STUCK {stuck['worker']}")
    assert run.wait_heard("WORKER_DRAIN")[0][2] == stuck["worker"]
    wait_until(lambda: len(run.workers()) == 2, "the replacement runs beside it")
    assert stuck["pid"] in [worker["pid"] for worker in run.workers()]
    run.order(f"say WORKER_IDLE {stuck['worker']}")
    assert run.wait_heard("WORKER_GONE")[0][2] == stuck["worker"]
    run.wait_workers(1, not_pid=stuck["pid"])


def test_a_worker_that_broke_the_wire_is_killed_at_once(start_master: StartMaster) -> None:
    run = start_master(app("boots")).wait_ready()
    (broken,) = run.wait_workers(1)
    run.order(f"say WORKER_BROKE {broken['worker']}")
    run.wait_workers(1, not_pid=broken["pid"])


def test_a_worker_that_lies_to_the_master_is_killed(start_master: StartMaster) -> None:
    run = start_master(app("lies")).wait_ready()
    run.wait_line(r"message 81 of 4 bytes from a worker; killed")
    assert run.stop() == 0


def test_numbers_that_nobody_has_are_ignored(start_master: StartMaster) -> None:
    run = start_master(app("boots")).wait_ready()
    for kind in ("WORKER_READY", "WORKER_IDLE", "WORKER_STUCK", "WORKER_BROKE"):
        run.order(f"say {kind} 4000000000")
    assert len(run.wait_workers(1)) == 1


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=["TERM", "INT"])
def test_asked_to_stop_everything_ends_and_the_port_is_free(start_master: StartMaster, number: int) -> None:
    run = start_master(app("boots", 2), fronts=2).wait_ready()
    run.terminate(number)
    assert run.wait_exit() == 0
    assert len(run.heard("DRAIN")) == 2
    assert not run.survivors()
    with socket.create_server(("127.0.0.1", run.port)):
        pass


def test_the_stop_command_is_answered_and_ends_with_the_server(start_master: StartMaster) -> None:
    run = start_master(app("boots")).wait_ready()
    run.observe()
    assert run.admin("stop") == b'{"stopping": true}\n'
    assert run.wait_exit() == 0
    assert not run.survivors()


def test_what_outstays_the_grace_time_is_killed_and_named(start_master: StartMaster) -> None:
    run = start_master(app("stays"), grace_s=0.5).wait_ready()
    run.order("ignore drain")
    assert run.stop() == 0
    assert not run.survivors()
    assert "the grace time of 0.5 s is over" in "\n".join(run.lines)
    killed = "\n".join(line for line in run.lines if " killed: " in line)
    assert "front 0 (pid " in killed


def test_asked_twice_it_stops_now(start_master: StartMaster) -> None:
    run = start_master(app("stays"), grace_s=600.0).wait_ready()
    run.order("ignore drain")
    run.terminate()
    run.wait_line("stopping: SIGTERM")
    run.terminate()
    assert run.wait_exit() == 0
    assert not run.survivors()


def test_a_killed_master_leaves_nothing_behind(start_master: StartMaster) -> None:
    run = start_master(app("boots", 2)).wait_ready()
    run.wait_workers(2)
    run.observe()
    run.child.kill()
    run.wait_exit()
    wait_until(lambda: not run.survivors(), "everything ends with its channels")


def test_logs_are_reopened_by_name(start_master: StartMaster, tmp_path: Path) -> None:
    log = tmp_path / "error.log"
    run = start_master(app("boots"), error_file=str(log)).wait_ready()
    assert log.stat().st_mode & 0o777 == 0o640
    log.rename(tmp_path / "error.log.1")
    run.terminate(signal.SIGUSR1)
    assert run.wait_heard("LOGS")[0][-1] == 2
    wait_until(lambda: log.exists() and "logs reopened" in log.read_text(), "the new file")


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGUSR2])
def test_a_signal_of_a_later_day_is_answered_by_a_line(start_master: StartMaster, number: signal.Signals) -> None:
    run = start_master().wait_ready()
    run.terminate(number)
    run.wait_line(f"{number.name}: not yet")
    assert run.stop() == 0


def test_a_front_that_never_comes_up_ends_the_start(start_master: StartMaster) -> None:
    run = start_master(app("boots"), env={"FRONT_FAILS": "1"})
    assert run.wait_exit() == 70
    assert "the front process ends before it is ready" in run.lines[-1]


def test_a_status_that_a_dying_front_was_asked_for_is_answered_all_the_same(start_master: StartMaster) -> None:
    run = start_master(app("boots")).wait_ready()
    run.order("mute")
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(run.admin_path)
        client.sendall(b"status\n")
        run.wait_heard("STATUS")
        run.order("exit 0")
        assert client.recv(1000) == b'{"error": "no front is running; try again"}\n'


def test_a_status_goes_to_another_front_when_the_first_dies(start_master: StartMaster) -> None:
    run = start_master(app("boots"), fronts=2).wait_ready()
    first = next(row[0] for row in run.heard("SNAPSHOT") if row[1] == 0)
    os.kill(first, signal.SIGSTOP)
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(run.admin_path)
        client.sendall(b"status\n")
        os.kill(first, signal.SIGKILL)
        assert b'"master"' in client.recv(1000)


def test_a_second_server_on_the_admin_socket_is_refused(start_master: StartMaster, tmp_path: Path) -> None:
    first = start_master().wait_ready()
    (tmp_path / "1").mkdir()
    os.symlink(os.path.dirname(first.admin_path), tmp_path / "1" / "run")
    second = MasterRun(tmp_path / "1")
    try:
        assert second.wait_exit() == 70
        assert "another server answers there" in second.lines[-1]
    finally:
        second.end_by_force()
    assert first.facts()["master"]["pid"] == first.child.pid


def test_a_second_server_on_the_port_is_refused_and_names_the_first(start_master: StartMaster) -> None:
    first = start_master().wait_ready()
    second = start_master(http=(Listener("127.0.0.1", first.port),))
    assert second.wait_exit() == 70
    assert "the port is busy" in second.lines[-1]
    assert not os.path.exists(second.admin_path)


def test_systemd_is_told(start_master: StartMaster, tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(10)
        run = start_master(app("boots"), env={"NOTIFY_SOCKET": str(tmp_path / "notify")}).wait_ready()
        assert manager.recv(100) == b"READY=1"
        assert run.stop() == 0
        assert manager.recv(100) == b"STOPPING=1"


def test_the_masters_descriptors_are_the_same_after_many_deaths(start_master: StartMaster) -> None:
    run = start_master(app("boots", 2)).wait_ready()
    run.wait_workers(2)
    before = processes.descriptors(run.child.pid)
    for _ in range(2):
        pid = run.wait_workers(2)[0]["pid"]
        os.kill(pid, signal.SIGKILL)
        run.wait_workers(2, not_pid=pid)
    os.kill(run.heard("SNAPSHOT")[0][0], signal.SIGKILL)
    run.wait_heard("SNAPSHOT", 2)
    run.wait_heard("WORKER_ADDED", 6)
    # Not "equal": the last question before may still have been open for a moment.
    wait_until(lambda: not processes.descriptors(run.child.pid) - before, "no descriptor more")


def test_ttin_and_ttou_are_one_worker_more_and_one_fewer(start_master: StartMaster) -> None:
    run = start_master(app("boots", 2)).wait_ready()
    first = run.wait_workers(2)
    run.terminate(signal.SIGTTIN)
    run.wait_workers(3)
    run.terminate(signal.SIGTTOU)
    drained = run.wait_heard("WORKER_DRAIN")[0][2]
    assert drained == 3, "the newest of those that are equally idle"
    run.order(f"say WORKER_IDLE {drained}")
    wait_until(lambda: [w["pid"] for w in run.workers()] == [w["pid"] for w in first], "the first two are left")
    facts = run.facts()["apps"][0]
    assert (facts["wanted"], facts["recycled"], facts["restarts"]) == (2, {"idle": 1}, 0)


def test_an_application_that_may_have_no_worker_is_started_when_somebody_asks(start_master: StartMaster) -> None:
    run = start_master(app("boots", 3, scaling=Scaling(0, 60.0))).wait_ready()
    assert "no worker until somebody asks" in "".join(run.lines)
    assert not [process for process in run.observe() if " template " in process.title]
    run.order("say APP_WANTED 0")
    run.wait_workers(1)
    assert run.stop() == 0


def test_a_worker_that_is_not_needed_goes_and_the_last_one_takes_its_template_with_it(
    start_master: StartMaster,
) -> None:
    run = start_master(app("boots", 3, scaling=Scaling(0, 0.5))).wait_ready()

    def is_there(count: int) -> bool:
        run.order("say APP_WANTED 0")  # as a front does again and again while somebody waits
        return len(run.heard("WORKER_ADDED")) >= count

    wait_until(lambda: is_there(1), "a worker")
    worker = run.wait_heard("WORKER_DRAIN")[0][2]
    run.order(f"say WORKER_IDLE {worker}")
    wait_until(lambda: not run.workers(), "no worker")
    wait_until(lambda: not [p for p in run.observe() if " template " in p.title], "no template")
    wait_until(lambda: is_there(2), "another one")


def test_an_old_worker_goes_only_when_its_successor_is_ready(start_master: StartMaster) -> None:
    run = start_master(app("boots", 1, recycling=Recycling(max_age_s=1.0))).wait_ready()
    first = run.wait_workers(1)[0]
    drained = run.wait_heard("WORKER_DRAIN")[0]
    assert drained[2] == first["worker"]
    assert len(run.heard("WORKER_ADDED")) == 2, "there is another one already"
    run.order(f"say WORKER_IDLE {first['worker']}")
    run.wait_workers(1, not_pid=first["pid"])
    assert run.heard("WORKER_GONE")[0][3] == "exited with status 0", "it was asked to stop, not killed"


def test_a_worker_with_too_much_memory_is_killed_and_replaced(start_master: StartMaster) -> None:
    run = start_master(app("boots", 1, recycling=Recycling(hard_memory_bytes=1))).wait_ready()
    gone = run.wait_heard("WORKER_GONE", 2)
    assert "of private memory, at most 0 MiB (max_memory)" in gone[0][3]
    assert run.facts()["apps"][0]["recycled"]["max_memory"] >= 2
