"""What all tests share: the marker ``needs``, the list of what was NOT RUN, and the fixture that runs the program."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import tools
from tests.support.site import Site, StartSite

HANGS_AFTER_S = 180
LONG_ONES_HANG_AFTER_S = 600


def pytest_runtest_setup(item: pytest.Item) -> None:
    for marker in item.iter_markers("needs"):
        for tool in marker.args:
            reason, is_installable = tools.why_missing(tool)
            if reason:
                tools.not_run(reason, installable=is_installable)


@pytest.hookimpl(wrapper=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> Iterator[None]:
    """End a test that hangs, so that a run always ends with a report."""

    def give_up(*_: object) -> None:
        pytest.fail(f"still not done after {HANGS_AFTER_S} s")

    before = signal.signal(signal.SIGALRM, give_up)
    signal.alarm(LONG_ONES_HANG_AFTER_S if pyfuncitem.get_closest_marker("long") else HANGS_AFTER_S)
    try:
        return (yield)
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """List what was skipped, with reasons. Never silently: a reader has to know what a green run does not say."""
    skipped = terminalreporter.stats.get("skipped", [])
    if not skipped:
        return
    terminalreporter.section("NOT RUN")
    for report in skipped:
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        terminalreporter.line(f"{report.nodeid}: {reason.removeprefix('Skipped: ')}")


@pytest.fixture
def start_site(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[StartSite]:
    """Start the program and wait until it is ready; afterwards it is stopped and must have left no trace.

    Takes the arguments of ``Site``; ``ready=False`` does not wait. Several calls make several servers.
    """
    started: list[Site] = []

    def start(
        text: str, *, ready: bool = True, ready_timeout_s: float = 30.0, folder: Path | None = None, **options: object
    ) -> Site:
        folder = folder or (tmp_path / f"s{len(started)}" if started else tmp_path)
        folder.mkdir(exist_ok=True)
        site = Site(folder, text, **options)  # type: ignore[arg-type]
        started.append(site)
        if ready:
            site.wait_ready(ready_timeout_s)
        return site

    try:
        yield start
        # A failed test has said what is wrong; what follows from it would only hide that.
        if not request.node.stash.get(_HAS_FAILED, False):
            for site in started:
                site.assert_no_trace()
    finally:
        for site in started:
            site.end_by_force()
            print(f"--- {site.config} stderr ---", *site.lines[-200:], sep="\n")


@pytest.fixture(scope="module")
def shared_site(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Iterator[StartSite]:
    """Like ``start_site``, but one server per text for all tests of a file, which only ask and leave it as it is."""
    started: dict[str, Site] = {}
    failed_before = request.session.testsfailed

    def start(text: str, **options: object) -> Site:
        key = repr((text, sorted(options.items())))
        if key not in started:
            started[key] = Site(tmp_path_factory.mktemp("site"), text, **options)  # type: ignore[arg-type]
            started[key].wait_ready()
        return started[key]

    try:
        yield start
        if request.session.testsfailed == failed_before:
            for site in started.values():
                site.assert_no_trace()
    finally:
        for site in started.values():
            site.end_by_force()
            print(f"--- {site.config} stderr ---", *site.lines[-200:], sep="\n")


_HAS_FAILED = pytest.StashKey[bool]()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
    report = yield
    if report.failed and report.when == "call":
        item.stash[_HAS_FAILED] = True
    return report
