"""What goes through an exchange that compresses, told by a fake on either side and by threads that the test runs."""

from __future__ import annotations

import os
import zlib
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

import brotli
import pytest
from backports import zstd
from hypothesis import given, settings
from hypothesis import strategies as st

from pyserve.config.model import Compress
from pyserve.config.model import Modifiers as Configured
from pyserve.handlers.coded_stream import WAITING_BYTES
from pyserve.handlers.compressed import INLINE_BYTES, Compression, Streams
from pyserve.handlers.interface import Exchange
from pyserve.handlers.modifiers import prepare
from pyserve.handlers.spool import Spool
from tests.support.exchanges import FakeExchange, make_request

DECODE = {"gzip": lambda data: zlib.decompress(data, 31), "br": brotli.decompress, "zstd": zstd.decompress}
CODINGS = pytest.mark.parametrize("coding", DECODE)
JSON = b"content-type: application/json\r\n"
TEXT = b"".join(b'{"id":%d,"name":"item %d"},' % (number * 7919, number % 97) for number in range(20_000))


class FakeThreads:
    def __init__(self) -> None:
        self.jobs: deque[tuple[Callable[[], Any], Callable[[Any, BaseException | None], None]]] = deque()

    def run(self, work: Callable[[], Any], done: Callable[[Any, BaseException | None], None]) -> None:
        self.jobs.append((work, done))

    def step(self) -> None:
        """Run one job and tell its result."""
        work, done = self.jobs.popleft()
        try:
            result = work()
        except OSError as error:
            done(None, error)
        else:
            done(result, None)

    def settle(self) -> None:
        while self.jobs:
            self.step()


class FakeReceiver:
    def __init__(self) -> None:
        self.calls: list[str] = []

    def body_data(self, data: bytes) -> None:
        self.calls.append(f"body {data.decode()}")

    def body_end(self) -> None:
        self.calls.append("end")

    def client_half_closed(self) -> None:
        self.calls.append("half closed")

    def client_gone(self) -> None:
        self.calls.append("gone")

    def on_writable(self) -> None:
        self.calls.append("writable")


class Stage:
    """One request on a route that compresses. ``inner`` is the transport's side, ``exchange`` the handler's."""

    def __init__(
        self, accepts: str | None = "gzip", method: str = "GET", config: Compress | None = None, **fields: str
    ) -> None:
        config = config or Compress()
        if accepts is not None:
            fields["accept_encoding"] = accepts
        self.threads = FakeThreads()
        self.inner = FakeExchange(make_request("/", method, **fields))
        self.inner.modifiers = prepare(Configured(compress=config))
        self.compression = Compression(config, self.threads, Streams(most=2))
        self.receiver = FakeReceiver()
        self.exchange = self.wrap()

    def wrap(self) -> Exchange:
        exchange = self.compression.around(self.inner)
        exchange.attach(self.receiver)
        return exchange

    def send(self, body: bytes = TEXT, block: bytes = JSON, status: int = 200) -> None:
        self.exchange.send(status, block, body)
        self.threads.settle()

    def stream(self, *pieces: bytes, length: int | None = None, block: bytes = JSON) -> None:
        self.exchange.send_head(200, block, length)
        for piece in pieces:
            self.exchange.send_data(piece)
        self.exchange.finish()
        self.threads.settle()

    @property
    def coding(self) -> str | None:
        return self.inner.headers.get("content-encoding")

    @property
    def content(self) -> bytes:
        return DECODE[self.coding](self.inner.body) if self.coding else self.inner.body


# Whole answers.


@CODINGS
@pytest.mark.parametrize("size", [1024, INLINE_BYTES, INLINE_BYTES + 1, len(TEXT)])
def test_a_whole_answer_is_coded(coding: str, size: int) -> None:
    stage = Stage(coding)
    stage.send(TEXT[:size])
    assert (stage.coding, stage.content, stage.inner.calls) == (coding, TEXT[:size], ["attach", "send"])
    assert stage.inner.headers["vary"] == "accept-encoding"
    assert stage.inner.length == len(stage.inner.body) < size


def test_a_small_answer_is_coded_at_once_and_a_large_one_holds_nobody_up() -> None:
    stage = Stage()
    stage.exchange.send(200, JSON, TEXT[:INLINE_BYTES])
    assert not stage.threads.jobs
    assert stage.inner.over
    stage = Stage()
    stage.exchange.send(200, JSON, TEXT)
    assert len(stage.threads.jobs) == 1
    assert not stage.inner.over


@pytest.mark.parametrize(
    ("accepts", "coding"),
    [
        ("gzip, deflate, br, zstd", "br"),
        ("gzip, zstd", "zstd"),
        ("gzip;q=1, br;q=0.5", "gzip"),
        ("*", "br"),
        ("br;q=0, *", "zstd"),
        ("gzip;q=0", None),
        ("deflate", None),
        ("identity", None),
        ("identity, gzip;q=0.5", None),
        ("", None),
        (None, None),
    ],
)
def test_the_client_chooses_then_the_order_of_the_config(accepts: str | None, coding: str | None) -> None:
    stage = Stage(accepts)
    stage.send()
    assert (stage.coding, stage.content) == (coding, TEXT)
    assert stage.inner.headers["vary"] == "accept-encoding", "coded or not"


def test_codings_that_the_config_leaves_out_are_not_used() -> None:
    stage = Stage("br, gzip", config=Compress(codings=("gzip",)))
    stage.send()
    assert stage.coding == "gzip"


@pytest.mark.parametrize(
    ("status", "block", "size"),
    [
        (206, JSON, 5000),
        (205, JSON, 0),
        (204, JSON, 0),
        (416, JSON + b"content-range: bytes */9\r\n", 5000),
        (200, JSON + b"content-encoding: br\r\n", 5000),
        (200, JSON + b"cache-control: no-transform\r\n", 5000),
        (200, JSON, 1023),
    ],
)
def test_what_must_not_or_need_not_be_coded_goes_as_it_is(status: int, block: bytes, size: int) -> None:
    for is_stream in (False, True):
        stage = Stage()
        if is_stream:
            stage.exchange.send_head(status, block, size)
            stage.exchange.send_data(TEXT[:size])
            stage.exchange.finish()
        else:
            stage.send(TEXT[:size], block, status)
        assert (stage.inner.status, stage.inner.body, stage.inner.length) == (status, TEXT[:size], size)
        assert stage.inner.block == block + b"vary: accept-encoding\r\n"


def test_other_types_are_not_touched_at_all() -> None:
    stage = Stage()
    stage.send(TEXT, b"content-type: image/png\r\n")
    assert (stage.inner.block, stage.inner.body) == (b"content-type: image/png\r\n", TEXT)


def test_events_go_as_they_are_unless_they_are_listed() -> None:
    events = b"content-type: text/event-stream\r\n"
    stage = Stage()
    stage.stream(b"data: 1\n\n", block=events)
    assert (stage.coding, stage.inner.block) == (None, events)
    stage = Stage(config=Compress(types=("text/event-stream",)))
    stage.stream(b"data: 1\n\n", block=events)
    assert (stage.coding, stage.content) == ("gzip", b"data: 1\n\n")


@pytest.mark.parametrize("size", [2000, 200_000])
def test_an_answer_that_would_grow_goes_as_it_is(size: int) -> None:
    noise = os.urandom(size)
    stage = Stage()
    stage.send(noise, JSON + b'etag: "a"\r\n')
    assert (stage.coding, stage.inner.body, stage.inner.length) == (None, noise, size)
    assert (stage.inner.headers["etag"], stage.inner.headers["vary"]) == ('"a"', "accept-encoding")


def test_an_error_of_the_application_is_coded_too() -> None:
    stage = Stage()
    stage.send(TEXT, status=500)
    assert (stage.inner.status, stage.coding) == (500, "gzip")


def test_a_client_that_left_while_its_answer_was_coded_gets_nothing() -> None:
    stage = Stage()
    stage.exchange.send(200, JSON, TEXT)
    stage.inner.end()
    stage.exchange.client_gone()  # type: ignore[attr-defined]
    calls = list(stage.inner.calls)
    stage.threads.settle()
    assert stage.exchange.over
    assert stage.inner.calls == calls


@pytest.mark.parametrize("etag", ['"a"', 'W/"a"'])
def test_a_304_has_the_tag_that_the_client_has(etag: str) -> None:
    stage = Stage(if_none_match=etag)
    stage.send(b"", b'etag: "a"\r\n', 304)
    assert stage.inner.headers == {"etag": etag, "vary": "accept-encoding"}


def test_what_the_config_sets_is_part_of_the_answer() -> None:
    stage = Stage()
    stage.inner.modifiers = prepare(
        Configured(headers=(("vary", "Origin"), ("etag", '"x"'), ("x-no", "")), compress=Compress())
    )
    stage.exchange = stage.wrap()
    stage.send(TEXT, JSON + b"vary: cookie\r\nx-no: 1\r\n")
    assert stage.inner.headers["vary"] == "cookie, Origin, accept-encoding"
    assert stage.inner.headers["etag"] == 'W/"x"'
    assert not stage.inner.modifiers.dropped, "they are in the block already"


def test_no_transform_from_the_config_counts() -> None:
    stage = Stage()
    stage.inner.modifiers = prepare(Configured(headers=(("cache-control", "no-transform"),), compress=Compress()))
    stage.exchange = stage.wrap()
    stage.send()
    assert stage.coding is None


# HEAD.


@pytest.mark.parametrize("whole", [True, False])
def test_head_shows_the_fields_of_get_but_for_the_length(whole: bool) -> None:
    stage = Stage(method="HEAD")
    if whole:
        stage.send()
    else:
        stage.stream(TEXT, length=len(TEXT))
    assert (stage.coding, stage.inner.headers["vary"]) == ("gzip", "accept-encoding")
    assert (stage.inner.length, stage.inner.body) == (None, b"")
    assert not stage.threads.jobs
    assert stage.inner.calls[-1] == "finish"


def test_head_of_what_is_not_coded_has_its_length() -> None:
    stage = Stage(method="HEAD")
    stage.stream(length=100)
    assert (stage.coding, stage.inner.length) == (None, 100)


# Streams.


@CODINGS
@settings(deadline=None, max_examples=60)
@given(sizes=st.lists(st.integers(0, 90_000), max_size=8), has_length=st.booleans(), chance=st.randoms())
def test_any_cut_gives_the_same_content(coding: str, sizes: list[int], has_length: bool, chance: Any) -> None:
    pieces = [TEXT[at * 11 : at * 11 + size] for at, size in enumerate(sizes)]
    whole = b"".join(pieces)
    stage = Stage(coding, config=Compress(min_bytes=0))
    stage.exchange.send_head(200, JSON, len(whole) if has_length else None)
    for piece in pieces:
        stage.exchange.send_data(piece)
        while stage.threads.jobs and chance.random() < 0.5:
            stage.threads.step()
        if chance.random() < 0.3:
            stage.inner.is_writable = not stage.inner.is_writable
            if stage.inner.is_writable:
                stage.exchange.on_writable()  # type: ignore[attr-defined]
    stage.exchange.finish()
    stage.inner.is_writable = True
    stage.exchange.on_writable()  # type: ignore[attr-defined]
    stage.threads.settle()
    assert (stage.coding, stage.content, stage.inner.length) == (coding, whole, None)
    assert stage.inner.calls.count("finish") == 1


def test_what_was_sent_can_be_read_before_more_comes() -> None:
    stage = Stage()
    decode = zlib.decompressobj(31)
    stage.exchange.send_head(200, JSON, None)
    for number in range(3):
        before = len(stage.inner.body)
        stage.exchange.send_data(b"tick %d" % number)
        stage.threads.settle()
        assert decode.decompress(stage.inner.body[before:]) == b"tick %d" % number


def test_what_comes_together_is_coded_together() -> None:
    stage = Stage()
    stage.exchange.send_head(200, JSON, None)
    for at in range(0, 40_000, 10_000):
        stage.exchange.send_data(TEXT[at : at + 10_000])
    stage.exchange.finish()
    stage.threads.step()
    assert (stage.content, stage.threads.jobs) == (TEXT[:40_000], deque())
    assert stage.inner.calls == ["attach", "send_head", "send_data", "finish"]


def test_a_long_answer_takes_turns() -> None:
    stage = Stage()
    stage.exchange.send_head(200, JSON, None)
    for at in range(0, 100_000, 10_000):
        stage.exchange.send_data(TEXT[at : at + 10_000])
    stage.threads.step()
    assert len(stage.threads.jobs) == 1, "the rest is another job"


def test_no_more_is_taken_than_can_wait() -> None:
    stage = Stage()
    stage.exchange.send_head(200, JSON, None)
    sent = 0
    while stage.exchange.is_writable:
        stage.exchange.send_data(TEXT[:10_000])
        sent += 10_000
    assert sent <= WAITING_BYTES + 10_000
    stage.threads.settle()
    assert stage.exchange.is_writable
    assert stage.receiver.calls == ["writable"]


def test_nothing_is_coded_for_a_client_that_takes_nothing() -> None:
    stage = Stage()
    stage.exchange.send_head(200, JSON, None)
    stage.inner.is_writable = False
    assert not stage.exchange.is_writable
    stage.exchange.send_data(TEXT)
    assert not stage.threads.jobs
    stage.inner.is_writable = True
    stage.exchange.on_writable()  # type: ignore[attr-defined]
    assert stage.receiver.calls == [], "not yet: too much waits"
    stage.threads.settle()
    assert stage.receiver.calls == ["writable"]
    stage.exchange.finish()
    stage.threads.settle()
    assert stage.content == TEXT


def test_an_answer_that_is_shorter_than_promised_is_cut() -> None:
    stage = Stage()
    stage.stream(TEXT[:5000], length=5001)
    assert stage.inner.calls[-1] == "abort"


def test_what_is_beyond_the_promised_length_is_cut_off() -> None:
    stage = Stage()
    stage.stream(TEXT[:5000], TEXT[:100], length=5050)
    assert stage.content == TEXT[:5000] + TEXT[:50]


@pytest.mark.parametrize("how", ["fail", "abort"])
def test_an_answer_that_fails_in_the_middle_ends_there(how: str) -> None:
    stage = Stage()
    stage.exchange.send_head(200, JSON, None)
    stage.exchange.send_data(TEXT)
    if how == "fail":
        stage.exchange.fail(502, "the worker died")
    else:
        stage.exchange.abort()
    stage.threads.settle()
    assert stage.inner.calls == ["attach", "send_head", how]


@pytest.mark.parametrize("moment", range(4))
def test_a_client_may_leave_at_any_moment(moment: int) -> None:
    stage = Stage()
    stage.exchange.send_head(200, JSON, None)
    for piece in range(moment):
        stage.exchange.send_data(TEXT[:70_000])
        if piece % 2:
            stage.threads.step()
    stage.inner.end()
    stage.exchange.client_gone()  # type: ignore[attr-defined]
    calls = list(stage.inner.calls)
    stage.exchange.send_data(TEXT)
    stage.exchange.finish()
    stage.threads.settle()
    assert stage.inner.calls == calls
    assert stage.receiver.calls[-1] == "gone"


def test_only_so_many_streams_are_coded_at_once() -> None:
    stage = Stage()
    first = stage.inner
    stage.exchange.send_head(200, JSON, None)
    codings = []
    for _ in range(2):
        stage.inner = FakeExchange(first.request)
        stage.exchange = stage.wrap()
        stage.stream(TEXT)
        codings.append(stage.coding)
        assert stage.content == TEXT
    assert codings == ["gzip", None], "as it is, rather than another encoder for a client that may be slow"
    assert stage.inner.headers["vary"] == "accept-encoding"
    first.end()
    stage.inner = FakeExchange(first.request)
    stage.exchange = stage.wrap()
    stage.stream(TEXT)
    assert stage.coding == "gzip"


# Pieces of files.


def test_pieces_of_files_keep_their_place(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(TEXT)
    stage = Stage()
    with open(path, "rb") as file:
        stage.exchange.send_head(200, JSON, None)
        stage.exchange.send_data(b"before")
        stage.exchange.send_file(file.fileno(), 100, 200_000)
        assert not stage.exchange.is_writable
        stage.exchange.send_data(b"between")
        stage.exchange.send_file(file.fileno(), 0, 10)
        stage.exchange.send_data(b"behind")
        stage.exchange.finish()
        stage.threads.settle()
    assert stage.content == b"before" + TEXT[100:200_100] + b"between" + TEXT[:10] + b"behind"


def test_a_file_is_in_use_until_it_was_read(tmp_path: Path) -> None:
    """A spool gives its disk back as soon as there is room again, so there must be none before."""
    spool = Spool(str(tmp_path), 0)
    spool.append(TEXT)
    stage = Stage()
    stage.exchange.send_head(200, JSON, None)
    piece = spool.take_file(len(TEXT))
    assert piece is not None
    stage.exchange.send_file(*piece)
    while not stage.exchange.is_writable:
        stage.threads.step()
    spool.rewind()
    stage.exchange.finish()
    stage.threads.settle()
    assert stage.content == TEXT
    spool.close()


def test_a_file_stays_open_while_a_thread_reads_from_it() -> None:
    stage = Stage()
    closed: list[bool] = []
    stage.exchange.at_end(lambda: closed.append(True))
    stage.exchange.send_head(200, JSON, None)
    stage.exchange.send_data(TEXT)
    stage.inner.end()
    assert not closed, "its job may be under way"
    stage.threads.settle()
    assert closed
    stage.exchange.at_end(lambda: closed.append(True))
    assert len(closed) == 2, "at once: it is over"


def test_a_file_that_became_shorter_is_an_error_and_a_cut(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"short")
    stage = Stage()
    with open(path, "rb") as file:
        stage.exchange.send_head(200, JSON, None)
        stage.exchange.send_file(file.fileno(), 0, 10)
        stage.exchange.finish()
        stage.threads.settle()
    assert stage.inner.calls[-1] == "fail"
    assert "shorter" in stage.inner.reason


def test_a_lent_file_is_held_until_the_end(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(TEXT)

    class File:
        fd = os.open(path, os.O_RDONLY)
        held = 0

        def retain(self) -> None:
            self.held += 1

        def release(self) -> None:
            self.held -= 1

    file = File()
    try:
        stage = Stage()
        stage.exchange.send_lent(200, JSON, file, 0, len(TEXT))
        assert file.held == 1
        stage.threads.settle()
        assert stage.content == TEXT
        stage.inner.end()
        assert file.held == 0
    finally:
        os.close(file.fd)


# The request goes through.


def test_the_request_and_its_end_go_through() -> None:
    stage = Stage()
    for call in ("want_body", "pause_body", "resume_body", "hint", "flush_soon"):
        getattr(stage.exchange, call)()
    assert stage.inner.calls == ["attach", "want_body", "pause_body", "resume_body", "hint", "flush_soon"]
    receiver = stage.inner.receiver
    assert receiver is not None
    receiver.body_data(b"x")
    receiver.body_end()
    receiver.client_half_closed()
    receiver.on_writable()
    receiver.client_gone()
    assert stage.receiver.calls == ["body x", "end", "half closed", "writable", "gone"]


def test_what_is_remembered_of_requests_and_answers_is_bounded() -> None:
    stage = Stage()
    for number in range(1000):
        stage.inner = FakeExchange(make_request("/", accept_encoding=f"gzip, x-{number}"))
        stage.exchange = stage.wrap()
        stage.send(TEXT[:2000], JSON + b"x-number: %d\r\n" % number)
        assert stage.coding == "gzip"
    assert len(stage.compression._known) <= 256
