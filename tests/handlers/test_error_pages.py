"""Error pages of the operator's own: what a client gets from a file or an application, and when it can't be had."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from pyserve.config import model
from pyserve.front.build import build_error_pages
from pyserve.handlers import file_page
from pyserve.handlers.app_page import WAIT_S, AppPage, page_request
from pyserve.handlers.file_page import MAX_PAGE_BYTES, FilePage
from pyserve.handlers.modifiers import Modifiers
from pyserve.http.response import ERROR_BLOCK, error_page
from pyserve.wire import frames
from pyserve.wire.codec import COMPLETE, pack_answer, unpack_request
from tests.handlers.test_pool import FakeTimers, Table
from tests.support.exchanges import FakeExchange, make_request


class Desk:
    """One page, a clock, and what was reported."""

    def __init__(self, path: Path) -> None:
        self.now_s = 100.0
        self.wall_ns = 4_000_000_000_000_000_000  # far ahead: files count as settled
        self.reported: list[str] = []
        self.page = FilePage(str(path), self.report, lambda: self.now_s, lambda: self.wall_ns)

    def report(self, level: str, kind: object, text: str) -> None:
        self.reported.append(f"{level}: {text}")

    def ask(self, status: int = 404, block: bytes = b"", incident: str = "") -> FakeExchange:
        exchange = FakeExchange(make_request("/missing"))
        self.page.answer(exchange, status, block, incident)
        assert exchange.calls == ["send"]
        return exchange


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "404.html"
    path.write_text("first")
    return path


def is_built_in(exchange: FakeExchange, status: int, block: bytes = b"", incident: str = "") -> bool:
    return (exchange.status, exchange.block, exchange.body) == (
        status,
        ERROR_BLOCK + block,
        error_page(status, incident),
    )


# Files.


def test_a_file_is_sent_with_the_status_and_the_lines_of_the_failure(file: Path) -> None:
    exchange = Desk(file).ask(405, b"allow: GET\r\n")
    assert (exchange.status, exchange.body) == (405, b"first")
    assert exchange.block == b"content-type: text/html; charset=utf-8\r\ncache-control: no-store\r\nallow: GET\r\n"


def test_the_type_of_a_page_is_that_of_its_name(tmp_path: Path) -> None:
    (tmp_path / "e.json").write_text('{"error": "{status}"}')
    exchange = Desk(tmp_path / "e.json").ask()
    assert exchange.headers["content-type"] == "application/json; charset=utf-8"
    assert exchange.body == b'{"error": "{status}"}'  # filled in HTML only


def test_an_html_page_shows_status_and_incident(file: Path) -> None:
    file.write_text("<h1>{status}</h1> {incident} {status} {other} {{incident}")
    desk = Desk(file)
    assert desk.ask(502, incident="0123456789").body == b"<h1>502</h1> 0123456789 502 {other} {0123456789"
    assert desk.ask(404).body == b"<h1>404</h1>  404 {other} {"


def test_a_change_is_seen_within_a_second_and_no_sooner_looked_for(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    desk = Desk(file)
    assert desk.ask().body == b"first"
    file.write_text("second")
    assert desk.ask().body == b"first"
    desk.now_s += 1
    assert desk.ask().body == b"second"
    desk.now_s += 1

    def never(path: bytes) -> int:
        raise AssertionError("the file is as it was")

    monkeypatch.setattr(file_page, "open_single", never)
    assert desk.ask().body == b"second"


def test_a_file_changed_twice_in_a_moment_is_read_again(file: Path) -> None:
    desk = Desk(file)
    desk.wall_ns = file.stat().st_mtime_ns
    times = (file.stat().st_atime_ns, file.stat().st_mtime_ns)
    assert desk.ask().body == b"first"
    file.write_text("other")
    os.utime(file, ns=times)
    desk.now_s += 1
    assert desk.ask().body == b"other"


def test_a_page_that_can_not_be_read_is_the_built_in_one_and_said_once(file: Path) -> None:
    file.unlink()
    desk = Desk(file)
    for _ in range(3):
        assert is_built_in(desk.ask(503, b"retry-after: 1\r\n", "abc"), 503, b"retry-after: 1\r\n", "abc")
    assert desk.reported == [f"error: error page {file}: No such file or directory: sent the built-in one"]
    file.write_text("back")
    desk.now_s += 1
    assert desk.ask().body == b"back"


@pytest.mark.parametrize("kind", ["folder", "fifo", "large", "gone"])
def test_what_is_no_page_any_more_is_the_built_in_one(file: Path, kind: str) -> None:
    desk = Desk(file)
    desk.ask()
    file.unlink()
    if kind == "folder":
        file.mkdir()
    elif kind == "fifo":
        os.mkfifo(file)
    elif kind == "large":
        file.write_bytes(b"x" * (MAX_PAGE_BYTES + 1))
    desk.now_s += 1
    assert is_built_in(desk.ask(), 404)
    assert len(desk.reported) == 1


def test_a_page_of_exactly_the_most_is_sent(file: Path) -> None:
    file.write_bytes(b"x" * MAX_PAGE_BYTES)
    assert len(Desk(file).ask().body) == MAX_PAGE_BYTES


def test_without_descriptors_the_page_at_hand_is_sent(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    desk = Desk(file)
    desk.ask()
    file.write_text("second")

    def none_left(path: bytes) -> int:
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr(file_page, "open_single", none_left)
    desk.now_s += 1
    assert desk.ask().body == b"first"
    assert not desk.reported


# Which page.


def pages(*configured: model.ErrorPage) -> dict[int, str]:
    built = build_error_pages({}, lambda *_: None)(configured)
    return {} if built is None else {status: page._path for status, page in built.items()}  # type: ignore[attr-defined]


def test_an_exact_status_wins_over_its_class_in_any_order() -> None:
    for configured in (
        (model.ErrorPage("5xx", "/class"), model.ErrorPage("502", "/exact"), model.ErrorPage("503")),
        (model.ErrorPage("503"), model.ErrorPage("502", "/exact"), model.ErrorPage("5xx", "/class")),
    ):
        found = pages(*configured)
        assert set(found) == set(range(500, 600)) - {503}
        assert {status for status, path in found.items() if path == "/exact"} == {502}
    assert pages() == pages(model.ErrorPage("404")) == {}


def test_equal_pages_are_read_once() -> None:
    build = build_error_pages({}, lambda *_: None)
    first, second = build((model.ErrorPage("5xx", "/e"),)), build((model.ErrorPage("404", "/e"),))
    assert first is not None
    assert second is not None
    assert first[500] is first[599] is second[404]


# Applications.


class Shop(Table):
    """A pool whose application has the page."""

    def __init__(self, *, workers: int = 1, **settings: int) -> None:
        super().__init__(workers=workers, **settings)
        self.reported: list[str] = []
        self.page = AppPage(self.pool, "/oops?a=1", lambda level, kind, text: self.reported.append(text))

    def fail(self, status: int = 502, block: bytes = b"", incident: str = "abc", **fields: str) -> FakeExchange:
        """Return what the client of a request that failed gets."""
        failed = FakeExchange(make_request("/x%20y?q", "POST", **fields))
        failed.modifiers = Modifiers(pages={status: self.page})
        self.page.answer(failed, status, block, incident)
        assert failed.calls == ["renew"]
        assert failed.over
        return failed.renewed

    def answer_page(
        self, status: int, block: bytes, body: bytes = b"", flags: int = COMPLETE, length: int = -1
    ) -> None:
        (stream,) = self.streams()
        payload = pack_answer(status, flags, length, block, body)
        self.pool.frames_received(self.worker(), [(frames.ANSWER, stream, payload)])


def test_an_application_is_asked_for_the_page_and_told_of_the_failure() -> None:
    shop = Shop()
    fields = {"cookie": "a=1", "if_none_match": "x", "range": "bytes=0-1", "x_error_status": "200", "expect": "x"}
    shop.fail(502, incident="abc", content_length="5", content_type="text/x", **fields)
    ((_, _, payload),) = shop.channel().data
    flags, _, head = unpack_request(payload)
    assert (flags, head[0], head[1], head[2], head[3], head[6]) == (0, "GET", b"/oops", "/oops", b"a=1", None)
    assert head[7] == (
        (b"cookie", b"a=1"),
        (b"x-error-status", b"502"),
        (b"x-error-method", b"POST"),
        (b"x-error-uri", b"/x%20y?q"),
        (b"x-error-incident", b"abc"),
    )


def test_the_host_of_a_page_is_the_one_that_was_asked() -> None:
    failed = make_request(b"http://a.test/x", host="evil")
    request = page_request(failed, b"/oops", 404, "")
    assert request.fields[0] == (b"host", b"a.test")
    assert (b"x-error-uri", b"/x") in request.fields
    assert not any(name == b"x-error-incident" for name, _ in request.fields)


def test_the_page_has_the_status_and_the_lines_of_the_failure() -> None:
    shop = Shop()
    exchange = shop.fail(416, b"content-range: bytes */5\r\n")
    shop.answer_page(200, b"content-type: text/plain\r\ncontent-range: none\r\nx-a: b\r\n", b"sorry")
    assert (exchange.status, exchange.body) == (416, b"sorry")
    assert exchange.block == (
        b"content-type: text/plain\r\nx-a: b\r\ncache-control: no-store\r\ncontent-range: bytes */5\r\n"
    )
    assert not shop.streams()
    assert not shop.reported


def test_what_a_page_says_of_caches_is_kept() -> None:
    shop = Shop()
    exchange = shop.fail(404)
    shop.answer_page(404, b"cache-control: max-age=9\r\n", b"not here")
    assert (exchange.status, exchange.block, exchange.body) == (404, b"cache-control: max-age=9\r\n", b"not here")


@pytest.mark.parametrize("status", [204, 206, 301, 304, 403, 404, 500, 502, 503])
def test_a_page_that_fails_itself_is_the_built_in_one(status: int) -> None:
    shop = Shop()
    exchange = shop.fail(502, b"x: y\r\n")
    shop.answer_page(status, b"", b"" if status in (204, 304) else b"no page")
    assert is_built_in(exchange, 502, b"x: y\r\n", "abc")
    assert shop.reported == [f"error page /oops?a=1 of app shop: it was answered with {status}"]
    assert not shop.streams()


def test_a_page_that_fails_as_a_stream_is_told_to_end() -> None:
    shop = Shop()
    exchange = shop.fail(502)
    (stream,) = shop.streams()
    shop.answer_page(500, b"", b"", flags=0)
    assert is_built_in(exchange, 502, incident="abc")
    assert shop.channel().control == [(frames.DISCONNECT, stream, b"")]
    shop.pool.frames_received(shop.worker(), [(frames.DATA, stream, b"x"), (frames.DATA_LAST, stream, b"")])
    assert not shop.streams()
    assert is_built_in(exchange, 502, incident="abc")


def test_a_page_may_be_a_stream() -> None:
    shop = Shop()
    exchange = shop.fail(502)
    (stream,) = shop.streams()
    shop.answer_page(200, b"cache-control: no-cache\r\n", b"one", flags=0)
    shop.pool.frames_received(shop.worker(), [(frames.DATA, stream, b"two"), (frames.DATA_LAST, stream, b"")])
    assert (exchange.status, exchange.body, exchange.length) == (502, b"onetwo", None)
    assert exchange.calls == ["attach", "send_head", "send_data", "send_data", "finish"]


def test_a_page_that_breaks_in_the_middle_is_cut() -> None:
    shop = Shop()
    exchange = shop.fail(502)
    (stream,) = shop.streams()
    shop.answer_page(200, b"", b"one", flags=0)
    shop.pool.frames_received(shop.worker(), [(frames.FAILED, stream, b"oh")])
    assert exchange.calls[-1] == "fail"


def test_an_application_that_raises_for_its_page_is_not_asked_again() -> None:
    shop = Shop()
    exchange = shop.fail(500)
    (stream,) = shop.streams()
    shop.pool.frames_received(shop.worker(), [(frames.FAILED, stream, b"Traceback")])
    assert is_built_in(exchange, 500, incident="abc")
    assert "app shop failed\nTraceback" in shop.reported[0]
    assert not shop.streams()
    assert not shop.pool.queue


def test_an_application_that_is_down_has_no_page() -> None:
    shop = Shop(workers=0)
    shop.pool.set_reason("no module named shop")
    assert is_built_in(shop.fail(503, b"retry-after: 1\r\n"), 503, b"retry-after: 1\r\n", "abc")


def test_a_full_queue_has_no_place_for_a_page() -> None:
    shop = Shop(queue_size=1)
    shop.ask()
    shop.ask()
    assert is_built_in(shop.fail(404, incident=""), 404)


def test_a_page_waits_a_moment_for_a_worker_and_after_a_503_not_at_all() -> None:
    shop = Shop(workers=0)
    waiting = shop.fail(502)
    refused = shop.fail(503)
    now = shop.pool.queue[-1].deadline
    shop.pool.sweep(now)
    assert is_built_in(refused, 503, incident="abc")
    assert not waiting.over
    shop.pool.sweep(now + WAIT_S)
    assert is_built_in(waiting, 502, incident="abc")
    assert isinstance(shop.timers, FakeTimers)


def test_a_page_that_takes_too_long_is_the_built_in_one_and_costs_the_worker() -> None:
    shop = Shop()
    exchange = shop.fail(404, incident="")
    (stream,) = shop.streams()
    shop.start(stream)
    shop.pool.sweep(shop.worker().streams[stream].deadline)
    shop.timers.fire()
    assert is_built_in(exchange, 404)
    assert ("stuck", 1) in shop.told


def test_the_late_answer_to_a_request_that_timed_out_does_not_get_into_its_page() -> None:
    shop = Shop(workers=2)
    request = make_request("/slow")
    failed = FakeExchange(request)
    shop.handler.handle(failed, None)  # type: ignore[arg-type]
    number = next(number for number in (1, 2) if shop.streams(number))
    (slow,) = shop.streams(number)
    failed.fail = lambda status, reason, block=b"": shop.page.answer(failed, status, block, "abc") or ""  # type: ignore[method-assign,misc,func-returns-value]
    shop.start(slow, number)
    shop.pool.sweep(shop.worker(number).streams[slow].deadline)
    shop.timers.fire()
    page = failed.renewed
    (stream,) = shop.streams(3 - number)
    shop.answer(slow, b"late", number)
    assert not page.over
    shop.answer(stream, b"sorry", 3 - number)
    assert (page.status, page.body) == (504, b"sorry")


def test_a_client_that_leaves_while_its_page_is_made_is_told_to_the_worker() -> None:
    shop = Shop()
    exchange = shop.fail(404)
    (stream,) = shop.streams()
    exchange.end()
    assert exchange.receiver is not None
    exchange.receiver.client_gone()
    assert shop.channel().control == [(frames.DISCONNECT, stream, b"")]
    shop.answer_page(200, b"", b"late")
    assert exchange.status == 0


def test_the_body_of_the_failed_request_is_none_of_the_pages_business() -> None:
    shop = Shop()
    exchange = shop.fail(413)
    (stream,) = shop.streams()
    shop.pool.frames_received(shop.worker(), [(frames.WANT_BODY, stream, b"")])
    assert exchange.calls == ["attach"]
