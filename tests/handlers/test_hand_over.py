"""Files that applications name: which, as what, and what becomes of the application's own answer."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import ClassVar

import pytest

from pyserve.config.model import Compress
from pyserve.config.model import Modifiers as Configured
from pyserve.files.cache import FileCache
from pyserve.files.entry import SMALL_BYTES
from pyserve.handlers.app import AppHandler
from pyserve.handlers.compressed import Compression, Streams
from pyserve.handlers.hand_over import HandOver
from pyserve.handlers.interface import Lanes
from pyserve.handlers.modifiers import Modifiers, prepare
from pyserve.wire import frames
from pyserve.wire.codec import CLOSE, COMPLETE, HAS_DATE, HAS_SERVER, TRAILED, pack_answer
from tests.handlers.test_pool import Table
from tests.support.exchanges import FakeExchange, make_request
from tests.support.lanes import Inline, inline_lanes

BIG = bytes(range(256)) * 1024  # sent from a descriptor
INTERFACES = pytest.mark.parametrize("interface", [frames.WSGI, frames.ASGI], ids=["wsgi", "asgi"])
PDF = b"x-accel-redirect: /protected/a.pdf\r\n"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "media"
    (folder / "docs").mkdir(parents=True)
    (folder / "docs" / "index.html").write_bytes(b"index")
    (folder / "docs" / "b.txt").write_bytes(b"inside")
    (folder / "a.pdf").write_bytes(b"0123456789")
    (folder / "big.bin").write_bytes(BIG)
    (folder / "edge.bin").write_bytes(BIG[:SMALL_BYTES])
    (folder / ".env").write_bytes(b"chosen")
    (folder / "sp ace?é.txt").write_bytes(b"odd")
    os.mkfifo(folder / "pipe")
    (tmp_path / "protectedx").mkdir()
    for name in ("canary", "media-canary", "protectedx/canary"):
        (tmp_path / name).write_bytes(b"canary")
    (folder / "out").symlink_to(tmp_path / "canary")
    (folder / "out-folder").symlink_to(tmp_path)
    (folder / "in").symlink_to("a.pdf")
    return folder


class Play:
    """One application with a worker, and folders of which it may name files."""

    caches: ClassVar[list[FileCache]] = []

    def __init__(
        self,
        root: Path,
        *,
        interface: int = frames.WSGI,
        folders: tuple[tuple[str, str], ...] = (),
        modifiers: Modifiers | None = None,
        lanes: Lanes | None = None,
    ) -> None:
        self.table = Table(interface=interface)
        self.cache = FileCache()
        self.caches.append(self.cache)
        self.logged: list[tuple[str, str]] = []
        self.modifiers = modifiers
        lanes = lanes or inline_lanes()
        hand_over = HandOver("shop", folders or (("/protected", str(root)),), self.cache, lanes, self._report)
        compress = None if modifiers is None else modifiers.compress
        compression = None if compress is None else Compression(compress, lanes.cpu, Streams())
        self.table.handler = AppHandler(self.table.pool, "", compression, hand_over)

    def _report(self, level: str, kind: object, text: str) -> None:
        self.logged.append((level, text))

    def begin(self, method: str = "GET", body: int = 0, **fields: str) -> FakeExchange:
        request = make_request("/download?id=7", method, **fields)
        request.content_length = body or None
        request.has_body = bool(body)
        exchange = FakeExchange(request)
        if self.modifiers is not None:
            exchange.modifiers = self.modifiers
        self.table.handler.handle(exchange, None)  # type: ignore[arg-type]
        if self.table.streams():
            self.table.start(self.stream)
        return exchange

    @property
    def stream(self) -> int:
        return self.table.streams()[-1]

    def say(self, kind: int, payload: bytes = b"") -> None:
        self.table.pool.frames_received(self.table.worker(), [(kind, self.stream, payload)])

    def answer(self, block: bytes, status: int = 200, body: bytes = b"ignored", flags: int = 0) -> None:
        self.say(frames.ANSWER, pack_answer(status, COMPLETE | flags, len(body), block, body))

    def ask(self, block: bytes, method: str = "GET", status: int = 200, flags: int = 0, **fields: str) -> FakeExchange:
        exchange = self.begin(method, **fields)
        self.answer(block, status, flags=flags)
        if not exchange.over:
            exchange.transmit()
        return exchange

    @property
    def credit(self) -> int:
        control = self.table.channel().control
        return sum(frames.number(payload) for kind, _, payload in control if kind == frames.CREDIT)

    @property
    def is_idle(self) -> bool:
        return self.table.streams() == [] and self.table.worker().outstanding == 0


@pytest.fixture
def play(root: Path) -> Play:
    return Play(root)


@pytest.fixture(autouse=True)
def _every_descriptor_is_closed_once() -> Iterator[None]:
    before = len(os.listdir("/dev/fd"))
    Play.caches.clear()
    yield
    for cache in Play.caches:
        for entry in list(cache.entries.values()):
            assert entry.users == 0, "nobody sends it any more"
            cache.remove(entry.key)
    assert len(os.listdir("/dev/fd")) == before


# Which file.


@pytest.mark.parametrize(
    ("name", "body"),
    [
        (b"/protected/a.pdf", b"0123456789"),
        (b" /protected/a.pdf ", b"0123456789"),
        (b"/protected/%61.pdf", b"0123456789"),
        (b"/protected/a.pdf?token=1&x=/../", b"0123456789"),
        (b"/protected/docs/b.txt", b"inside"),
        (b"/protected/docs/../a.pdf", b"0123456789"),
        (b"/protected/docs/%2e%2e/a.pdf", b"0123456789"),
        (b"/x/../protected/./a.pdf", b"0123456789"),
        (b"/protected/sp%20ace%3F%C3%A9.txt", b"odd"),
        (b"/protected/sp ace%3f\xc3\xa9.txt", b"odd"),
        (b"/protected/.env", b"chosen"),
        (b"/protected/in", b"0123456789"),
        (b"/protected/edge.bin", BIG[:SMALL_BYTES]),
        (b"/protected/big.bin", BIG),
    ],
)
def test_the_file_is_sent_that_x_accel_redirect_names(play: Play, name: bytes, body: bytes) -> None:
    for _ in ("cold", "hot"):
        exchange = play.ask(b"x-accel-redirect: %b\r\n" % name)
        assert (exchange.status, exchange.body, exchange.length, exchange.reason) == (200, body, len(body), "")
        assert play.is_idle


@pytest.mark.parametrize(
    ("name", "body"),
    [
        (b"a.pdf", b"0123456789"),
        (b"docs/b.txt", b"inside"),
        (b"sp ace?\xc3\xa9.txt", b"odd"),
        (b".env", b"chosen"),
        (b"in", b"0123456789"),
        (b"big.bin", BIG),
    ],
)
def test_the_file_is_sent_that_x_sendfile_names(play: Play, root: Path, name: bytes, body: bytes) -> None:
    exchange = play.ask(b"x-sendfile: %b/%b\r\n" % (bytes(root), name))
    assert (exchange.status, exchange.body) == (200, body)


@pytest.mark.parametrize(
    "name",
    [
        *(b"/protected/missing", b"/protected/a.pdf/", b"/protected/a.pdf/x", b"/protected/" + b"x" * 300),
        *(b"/protected/", b"/protected/docs", b"/protected/docs/", b"/protected/docs/."),
        *(b"/protected//a.pdf", b"/protected/docs//b.txt", b"/protected///", b"/protected/docs//"),
        *(b"/protected/out", b"/protected/out-folder/canary"),
        *(b"/protected/pipe", b"/protected/{path}", b"/protected/%7Bpath%7D", b"/protected/\xff"),
    ],
)
def test_what_is_no_file_in_the_folder_is_not_found(play: Play, name: bytes) -> None:
    exchange = play.ask(b"x-accel-redirect: %b\r\nset-cookie: a=b\r\n" % name)
    assert (exchange.status, exchange.block, exchange.body) == (404, b"", b"")
    assert play.is_idle


@pytest.mark.parametrize(
    "name",
    [
        *(b"missing", b"docs", b"docs/", b"", b"/a.pdf", b"../media/a.pdf", b"../canary", b"docs/../a.pdf", b"./a.pdf"),
        *(b"a.pdf?x", b"%61.pdf", b"out", b"out-folder/canary", b"pipe"),
    ],
)
def test_what_x_sendfile_names_has_to_be_a_plain_path_to_a_file(play: Play, root: Path, name: bytes) -> None:
    assert play.ask(b"x-sendfile: %b/%b\r\n" % (bytes(root), name)).status == 404


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        (b"/protectedx/canary", "/protectedx/canary is below no prefix of hand_over"),
        (b"/protected", "/protected is below no prefix of hand_over"),
        (b"/other/a.pdf", "/other/a.pdf is below no prefix of hand_over"),
        (b"protected/a.pdf", "protected/a.pdf is below no prefix of hand_over"),
        (b"//protected/a.pdf", "//protected/a.pdf is below no prefix of hand_over"),
        (b"@fallback", "@fallback is below no prefix of hand_over"),
        (b"http://a.test/protected/a.pdf", "http://a.test/protected/a.pdf is below no prefix of hand_over"),
        (b"", " is below no prefix of hand_over"),
        (b"/protected/../etc/passwd", "/protected/../etc/passwd is below no prefix of hand_over"),
        (b"/protected/%2e%2e/canary", "/protected/%2e%2e/canary is below no prefix of hand_over"),
        (b"/protected/%2E./%2e./canary", "/protected/%2E./%2e./canary is below no prefix of hand_over"),
        (b"/protected/..", "/protected/.. is below no prefix of hand_over"),
        (b"/protected/a.pdf%00.txt", "/protected/a.pdf%00.txt: path has an encoded slash or NUL"),
        (b"/protected/docs%2Fb.txt", "/protected/docs%2Fb.txt: path has an encoded slash or NUL"),
        (b"/protected/100%.pdf", "/protected/100%.pdf: path has a bad percent-escape"),
        (b"/\xc3\xa9\xff", "/é\\xff is below no prefix of hand_over"),
    ],
)
def test_what_no_prefix_covers_is_the_applications_error(play: Play, name: bytes, reason: str) -> None:
    exchange = play.ask(b"x-accel-redirect: %b\r\n" % name)
    assert exchange.status == 500
    assert exchange.reason == f"the application names a file that it may not: {reason}"
    assert play.is_idle


def test_x_sendfile_names_nothing_outside_the_folders(play: Play, root: Path) -> None:
    for name in (b"/etc/passwd", bytes(root), bytes(root) + b"-canary", b"a.pdf", b"media/a.pdf", b"", b"/"):
        exchange = play.ask(b"x-sendfile: %b\r\n" % name)
        assert (exchange.status, "below no folder of hand_over" in exchange.reason) == (500, True)


def test_the_nearest_prefix_and_the_nearest_folder_count(root: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "a.pdf").write_bytes(b"elsewhere")
    (root / "linked").symlink_to(tmp_path / "elsewhere")
    folders = (("", str(root)), ("/long/prefix", str(root / "docs")), ("/long", str(root / "linked")))
    play = Play(root, folders=folders)
    assert play.ask(b"x-accel-redirect: /a.pdf\r\n").body == b"0123456789"
    assert play.ask(b"x-accel-redirect: /long/a.pdf\r\n").body == b"elsewhere"
    assert play.ask(b"x-accel-redirect: /long/prefix/b.txt\r\n").body == b"inside"
    assert play.ask(b"x-accel-redirect: /longer\r\n").status == 404
    # A link out of one folder, but a folder of its own.
    assert play.ask(b"x-sendfile: %b/linked/a.pdf\r\n" % bytes(root)).body == b"elsewhere"
    assert play.ask(b"x-accel-redirect: /linked/a.pdf\r\n").status == 404


def test_the_root_of_everything_may_be_such_a_folder(root: Path) -> None:
    play = Play(root, folders=(("/all", "/"),))
    assert play.ask(b"x-sendfile: %b/a.pdf\r\n" % bytes(root)).body == b"0123456789"
    assert play.ask(b"x-accel-redirect: /all%b/a.pdf\r\n" % bytes(root)).body == b"0123456789"


def test_the_first_of_two_names_counts(play: Play, root: Path) -> None:
    block = PDF + b"x-sendfile: %b/big.bin\r\nx-accel-redirect: /etc/passwd\r\n" % bytes(root)
    assert play.ask(block).body == b"0123456789"


def test_a_folder_that_is_gone_is_said(root: Path, tmp_path: Path) -> None:
    exchange = Play(root, folders=(("/protected", str(tmp_path / "gone")),)).ask(PDF)
    assert (exchange.status, exchange.reason) == (503, f"the folder {tmp_path}/gone is missing")


def test_a_file_that_has_changed_is_sent_as_it_is(play: Play, root: Path) -> None:
    assert play.ask(PDF).body == b"0123456789"
    (root / "a.pdf").write_bytes(b"new")
    for entry in play.cache.entries.values():
        entry.fresh_until_s = 0.0
    assert play.ask(PDF).body == b"new"
    (root / "a.pdf").unlink()
    for entry in play.cache.entries.values():
        entry.fresh_until_s = 0.0
    assert play.ask(PDF).status == 404


# With which fields.


def test_the_applications_own_fields_go_out_and_what_it_cannot_know_does_not(play: Play) -> None:
    own = (
        b"content-disposition: attachment; filename=x\r\ncache-control: private\r\nset-cookie: a=b\r\n"
        b"set-cookie: c=d\r\nexpires: 0\r\nvary: Cookie\r\nx-frame-options: DENY\r\n"
    )
    gone = (
        b'etag: "mine"\r\nlast-modified: never\r\naccept-ranges: none\r\ncontent-encoding: gzip\r\n'
        b"content-range: bytes 0-1/2\r\ncontent-md5: x\r\ndigest: x\r\nrepr-digest: x\r\ncontent-digest: x\r\n"
        b"x-accel-buffering: no\r\nx-accel-expires: 5\r\nx-accel-limit-rate: 1\r\nx-accel-charset: x\r\n"
        b"x-sendfile: /x\r\n"
    )
    exchange = play.ask(PDF + own + gone)
    assert exchange.block.startswith(own)
    assert set(exchange.headers) - {line.split(b":")[0].decode() for line in own.split(b"\r\n")} == {
        *("content-type", "etag", "last-modified", "accept-ranges")
    }
    assert exchange.headers["content-type"] == "application/pdf"
    assert exchange.headers["etag"] != '"mine"'


def test_date_and_server_are_the_fronts_and_come_once(play: Play) -> None:
    exchange = play.ask(PDF + b"date: then\r\nserver: mine\r\n", flags=HAS_DATE | HAS_SERVER | CLOSE)
    assert not {"date", "server"} & set(exchange.headers)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (b"", "application/pdf"),
        (b"content-type: image/x-own; a=b\r\n", "image/x-own; a=b"),
        (b"content-type: \r\n", "application/pdf"),
        (b"content-type:\r\n", "application/pdf"),
    ],
)
@pytest.mark.parametrize("method", ["GET", "HEAD", "POST"])
def test_the_applications_type_comes_before_the_names(play: Play, line: bytes, expected: str, method: str) -> None:
    exchange = play.ask(line + PDF, method)
    assert exchange.block.count(b"content-type:") == 1
    assert exchange.headers["content-type"] == expected


def test_fields_of_other_answers_lose_only_the_names(play: Play) -> None:
    block = PDF + b"x-accel-buffering: no\r\nx-sendfile: /a\r\nx-own: yes\r\n"
    for status in (304, 403, 302, 500):
        exchange = play.ask(block, status=status)
        assert (exchange.status, exchange.block) == (status, b"x-accel-buffering: no\r\nx-own: yes\r\n")


def test_answers_without_a_name_are_untouched(play: Play) -> None:
    block = b"x-accel-buffering: no\r\nx-own: x-sendfile: x-accel-redirect:\r\ncontent-type: a/b\r\n"
    exchange = play.ask(block)
    assert (exchange.block, exchange.body, exchange.calls[-1]) == (block, b"ignored", "send")


@pytest.mark.parametrize("status", [200, 201, 204, 206])
def test_any_success_becomes_the_files(play: Play, status: int) -> None:
    exchange = play.ask(PDF, status=status)
    assert (exchange.status, exchange.body) == (200, b"0123456789")


@pytest.mark.parametrize("name", [b"a.pdf", b"big.bin"])
def test_head_gets_the_fields_and_the_length(play: Play, name: bytes) -> None:
    block = b"x-accel-redirect: /protected/%b\r\nset-cookie: a=b\r\n" % name
    get, head = play.ask(block), play.ask(block, "HEAD")
    assert (head.status, head.block, head.length) == (200, get.block, len(get.body))
    assert (head.lent, play.is_idle) == ([], True)


def test_a_post_gets_the_whole_file_whatever_it_asks_for(play: Play) -> None:
    exchange = play.ask(PDF, "POST", range="bytes=0-1", if_none_match="*")
    assert (exchange.status, exchange.body) == (200, b"0123456789")


@pytest.mark.parametrize("name", [b"a.pdf", b"big.bin"])
def test_one_range_is_sent_with_the_applications_fields(play: Play, name: bytes) -> None:
    block = b"x-accel-redirect: /protected/%b\r\nset-cookie: a=b\r\ncontent-type: own/type\r\n" % name
    exchange = play.ask(block, range="bytes=2-4")
    size = 10 if name == b"a.pdf" else len(BIG)
    assert (exchange.status, exchange.headers["content-range"]) == (206, f"bytes 2-4/{size}")
    assert exchange.body == (b"234" if size == 10 else BIG[2:5])
    assert (exchange.headers["set-cookie"], exchange.headers["content-type"]) == ("a=b", "own/type")


@pytest.mark.parametrize("has_type", [False, True])
def test_several_ranges_are_sent_with_the_applications_fields(play: Play, has_type: bool) -> None:
    own = b"set-cookie: a=b\r\n" + (b"content-type: own/type\r\n" if has_type else b"")
    exchange = play.ask(own + b"x-accel-redirect: /protected/big.bin\r\n", range="bytes=0-1,100000-100009")
    assert exchange.status == 206
    assert exchange.block.count(b"content-type:") == 1
    assert exchange.headers["content-type"].startswith("multipart/byteranges")
    assert exchange.headers["set-cookie"] == "a=b"
    part = b"own/type" if has_type else b"application/octet-stream"
    assert exchange.body.lower().count(b"content-type: " + part) == 2
    assert BIG[100_000:100_010] in exchange.body


def test_a_range_beyond_the_end_is_answered_with_416(play: Play) -> None:
    exchange = play.ask(PDF, range="bytes=10-")
    assert (exchange.status, exchange.headers) == (416, {"content-range": "bytes */10"})


def test_who_has_the_file_is_told_so_with_the_applications_fields(play: Play) -> None:
    own = b"set-cookie: a=b\r\ncache-control: private\r\ncontent-type: own/type\r\n"
    headers = play.ask(PDF).headers
    for fields in ({"if_none_match": headers["etag"]}, {"if_modified_since": headers["last-modified"]}):
        exchange = play.ask(own + PDF, **fields)
        assert (exchange.status, exchange.body) == (304, b"")
        assert (exchange.headers["set-cookie"], exchange.headers["cache-control"]) == ("a=b", "private")
        assert exchange.headers["etag"] == headers["etag"]
        assert "content-type" not in exchange.headers


def test_an_etag_of_the_applications_own_never_matches(play: Play) -> None:
    assert play.ask(PDF + b'etag: "mine"\r\n', if_none_match='"mine"').status == 200
    assert play.ask(PDF + b'etag: "mine"\r\n', if_match='"mine"').status == 412


# The application's own answer.


@INTERFACES
@pytest.mark.parametrize("name", [b"a.pdf", b"big.bin", b"missing", b"../x"])
def test_a_long_answer_behind_the_name_is_taken_and_dropped(root: Path, interface: int, name: bytes) -> None:
    play = Play(root, interface=interface)
    exchange = play.begin()
    block = b"x-accel-redirect: /protected/%b\r\n" % name
    play.say(frames.ANSWER, pack_answer(200, 0, 50_000_000, block, b"x" * 1000))
    for _ in range(100):
        play.say(frames.DATA, b"x" * 60_000)
    assert play.credit > 100 * 60_000 - frames.WINDOW, "the application is never held up"
    play.say(frames.DATA_LAST, b"end")
    assert play.is_idle
    if not exchange.over:
        exchange.transmit()
    assert exchange.body == {b"a.pdf": b"0123456789", b"big.bin": BIG}.get(name, b"")
    assert play.logged == []


def test_a_file_that_the_application_passes_beside_the_name_is_closed(root: Path) -> None:
    play = Play(root, interface=frames.WSGI)
    exchange = play.begin()
    for _ in range(2):  # one before its answer, one behind it
        fd = os.open(root / "edge.bin", os.O_RDONLY)
        play.table.pool.descriptor_received(play.table.worker(), play.stream, fd)
        if not exchange.status:
            play.say(frames.ANSWER, pack_answer(200, 0, -1, b"x-accel-redirect: /protected/big.bin\r\n"))
    payload = frames.file_frame(frames.FILE_LAST, play.stream, 0, 1000)[frames.HEADER_BYTES :]
    play.say(frames.FILE_LAST, payload)
    assert play.is_idle
    exchange.transmit()
    assert exchange.body == BIG


def test_an_application_that_fails_behind_the_name_is_a_line_in_the_log(play: Play) -> None:
    exchange = play.begin()
    play.say(frames.ANSWER, pack_answer(200, 0, -1, b"x-accel-redirect: /protected/big.bin\r\n"))
    play.say(frames.FAILED, b"Traceback: oh")
    assert play.logged == [("error", "app shop named a file, and then: app shop failed\nTraceback: oh")]
    exchange.transmit()
    assert (exchange.status, exchange.body, play.is_idle) == (200, BIG, True)


def test_a_worker_that_dies_behind_the_name_takes_nothing_along(play: Play) -> None:
    exchange = play.begin()
    play.say(frames.ANSWER, pack_answer(200, 0, -1, b"x-accel-redirect: /protected/big.bin\r\n"))
    play.table.pool.remove(1, "was killed")
    exchange.transmit()
    assert (exchange.status, exchange.body, exchange.reason) == (200, BIG, "")


@INTERFACES
def test_an_application_whose_client_leaves_hears_of_it(root: Path, interface: int) -> None:
    play = Play(root, interface=interface)
    exchange = play.begin()
    play.say(frames.ANSWER, pack_answer(200, 0, -1, b"x-accel-redirect: /protected/big.bin\r\n"))
    exchange.end()
    assert exchange.receiver is not None
    exchange.receiver.client_gone()
    assert play.table.channel().control == [(frames.DISCONNECT, play.stream, b"")]


def test_clients_that_wait_for_one_look_at_the_disk_get_the_same(root: Path) -> None:
    lane = Inline()
    lane.is_held = True
    play = Play(root, lanes=Lanes(lane, lane, lane))
    waiting = []
    for cookie in (b"a", b"b"):
        waiting.append(play.begin())
        play.answer(PDF + b"set-cookie: %b\r\n" % cookie)
        assert (waiting[-1].over, play.is_idle) == (False, True)
    lane.go_on()
    assert [exchange.body for exchange in waiting] == [b"0123456789"] * 2
    assert [exchange.headers["set-cookie"] for exchange in waiting] == ["a", "b"]
    assert lane.jobs == 1


# The request's body.


def upload(root: Path, block: bytes, *, is_whole: bool) -> tuple[Play, FakeExchange]:
    """An ASGI application answers before its client has sent the body."""
    play = Play(root, interface=frames.ASGI)
    exchange = play.begin("POST", body=1_000_000)
    assert exchange.receiver is not None
    exchange.receiver.body_data(b"x" * 1000)
    if is_whole:
        play.answer(block)
    else:
        play.say(frames.ANSWER, pack_answer(200, 0, -1, block))
    return play, exchange


def test_the_rest_of_a_body_is_read_and_dropped_when_the_application_is_done(root: Path) -> None:
    play, exchange = upload(root, b"x-accel-redirect: /protected/big.bin\r\n", is_whole=True)
    sent = len(play.table.channel().data)
    assert (exchange.calls[-1], exchange.receiver is not None) == ("resume_body", True)
    assert exchange.receiver is not None
    for _ in range(20):
        exchange.receiver.body_data(b"x" * 50_000)
    exchange.receiver.body_end()
    assert len(play.table.channel().data) == sent, "nobody reads it any more"
    assert exchange.calls[-1] == "resume_body"
    exchange.transmit()
    assert exchange.body == BIG


def test_an_application_may_read_the_body_behind_the_name(root: Path) -> None:
    play, exchange = upload(root, b"x-accel-redirect: /protected/big.bin\r\n", is_whole=False)
    assert exchange.receiver is not None
    exchange.receiver.body_data(b"x" * 1000)
    kinds = [(kind, len(payload)) for kind, _, payload in play.table.channel().data]
    assert kinds[-1] == (frames.BODY, 1000)
    for _ in range(10):
        exchange.receiver.body_data(b"x" * 50_000)
    assert exchange.calls[-1] == "pause_body"
    play.say(frames.DATA_LAST)
    assert exchange.calls[-1] == "resume_body"
    assert play.is_idle
    exchange.transmit()
    assert exchange.body == BIG


# What a route has beside.


@pytest.mark.parametrize("name", [b"a.pdf", b"docs/b.txt", b"big.bin", b"missing"])
def test_a_route_that_compresses_sends_files_as_they_are(root: Path, name: bytes) -> None:
    configured = Compress(min_bytes=0)
    play = Play(root, modifiers=prepare(Configured(compress=configured)))
    exchange = play.ask(b"x-accel-redirect: /protected/%b\r\n" % name, accept_encoding="gzip")
    if name == b"missing":
        assert exchange.status == 404
    else:
        assert (exchange.status, exchange.body) == (200, (root / name.decode()).read_bytes())
        assert not {"content-encoding", "vary"} & set(exchange.headers)
    other = play.ask(b"content-type: text/plain\r\n", accept_encoding="gzip")
    assert other.headers["vary"] == "accept-encoding"


def test_hints_are_sent_before_the_file(root: Path) -> None:
    hinting = prepare(Configured(early_hints=("</a.css>; rel=preload",)))
    assert hinting is not None
    assert hinting.hinting is not None
    exchange = Play(root, modifiers=hinting.hinting).ask(PDF)
    assert exchange.calls[0] == "hint"
    assert exchange.body == b"0123456789"


def test_an_answer_that_names_a_file_has_the_files_end(play: Play) -> None:
    exchange = FakeExchange(make_request("/"))
    hand_over = play.table.handler._hand_over
    assert hand_over is not None
    around = hand_over.around(exchange, exchange)
    around.send_hints(b"link: </a.css>\r\n")
    around.send_head(200, PDF, None, TRAILED)
    around.send_hints(b"link: </a.css>\r\n")
    around.send_trailers(b"x-sum: 7\r\n")
    around.finish()
    assert (exchange.hints, exchange.trailers, exchange.body) == ([b"link: </a.css>\r\n"], b"", b"0123456789")


def test_any_other_answer_beside_named_files_has_its_own(play: Play) -> None:
    exchange = FakeExchange(make_request("/"))
    hand_over = play.table.handler._hand_over
    assert hand_over is not None
    around = hand_over.around(exchange, exchange)
    around.send_head(200, b"content-type: text/plain\r\n", None, TRAILED)
    around.send_trailers(b"x-sum: 7\r\n")
    assert exchange.trailers == b"x-sum: 7\r\n"


@pytest.mark.parametrize("call", ["flush_soon", "finish", "abort"])
def test_what_an_exchange_is_told_behind_the_name_means_nothing(play: Play, call: str) -> None:
    exchange = FakeExchange(make_request("/"))
    hand_over = play.table.handler._hand_over
    assert hand_over is not None
    around = hand_over.around(exchange, exchange)
    around.send_head(200, b"x-accel-redirect: /protected/big.bin\r\n", None)
    before = list(exchange.calls)
    tell: Callable[[], None] = getattr(around, call)
    tell()
    around.send_data(b"x")
    around.send_file(0, 0, 1)
    around.send(200, b"", b"")
    assert (around.over, around.is_writable, exchange.calls) == (True, True, before)
    exchange.transmit()
    assert exchange.body == BIG
