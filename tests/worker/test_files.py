"""Files of applications: what is handed over as a descriptor, and what is read as ever."""

from __future__ import annotations

import contextlib
import gzip
import io
import os
import socket
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pyserve.wire import frames
from pyserve.worker import files
from pyserve.worker.channel import Channel
from pyserve.worker.files import FileWrapper, open_file
from tests.worker.fake_front import Failed, serving_asgi, serving_wsgi

SIZE = 300_000
DATA = os.urandom(SIZE)
THREADS = pytest.mark.parametrize("threads", [1, 3])


@pytest.fixture
def path(tmp_path: Path) -> str:
    (tmp_path / "file").write_bytes(DATA)
    return str(tmp_path / "file")


def open_descriptors() -> int:
    return len(os.listdir("/dev/fd"))


# -- what is a file


def test_a_real_file_is_known_with_its_position(path: str) -> None:
    with open(path, "rb") as buffered, open(path, "rb", buffering=0) as raw, open(path, "r+b") as both:
        for file in (buffered, raw, both):
            assert open_file(file) == (file.fileno(), 0, SIZE)
            file.read(10)  # a buffer reads ahead: the descriptor's own position is further on
            assert open_file(file) == (file.fileno(), 10, SIZE - 10)


def test_what_was_written_and_not_flushed_is_there(tmp_path: Path) -> None:
    with tempfile.NamedTemporaryFile(dir=tmp_path) as named, tempfile.TemporaryFile(dir=tmp_path) as plain:
        for file in (named, plain):
            file.write(b"some bytes")
            file.seek(5)
            assert open_file(file) == (file.fileno(), 5, 5)


def test_a_wrapper_that_reads_through_the_file_s_own_method_is_that_file(path: str) -> None:
    class Wrapper:
        """As Django's File does it."""

        def __init__(self, file: Any) -> None:
            self.file = file

        read = property(lambda self: self.file.read)

    with open(path, "rb") as file:
        assert open_file(Wrapper(file)) == (file.fileno(), 0, SIZE)


class Half:
    """A file-like object with a descriptor that is not what it reads."""

    def __init__(self, file: Any) -> None:
        self._file = file
        self.fileno = file.fileno
        self.tell = file.tell
        self.close = file.close

    def read(self, size: int = -1) -> bytes:
        return bytes(self._file.read(size)[::2])


class Broken:
    @property
    def read(self) -> Any:
        raise OSError("not today")


def test_what_reads_as_something_else_is_no_file(path: str, tmp_path: Path) -> None:
    with gzip.open(tmp_path / "packed", "wb") as packed:
        packed.write(DATA)
    with (
        open(path, "rb") as file,
        gzip.open(tmp_path / "packed") as unpacked,
        open(path, encoding="latin-1") as text,
        open(path, "ab", buffering=0) as only_written,
        tempfile.SpooledTemporaryFile() as spooled,
    ):
        for other in (Half(file), Broken(), unpacked, text, only_written, spooled, io.BytesIO(DATA), object(), None):
            assert open_file(other) is None
    assert open_file(file) is None, "it is closed"


def test_pipes_empty_files_and_positions_at_the_end_are_left_to_reading(path: str, tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    reader, writer = os.pipe()
    with (
        open(reader, "rb") as pipe,
        open(writer, "wb"),
        open(tmp_path / "empty", "rb") as empty,
        open(path, "rb") as end,
    ):
        end.seek(SIZE)
        assert [open_file(file) for file in (pipe, empty, end)] == [None] * 3
        end.seek(SIZE + 1)
        assert open_file(end) is None
    if os.path.exists("/proc/version"):
        with open("/proc/version", "rb") as kernel:
            assert open_file(kernel) is None, "its size says nothing"


# -- WSGI


def sending(make: Callable[[], Any], headers: Any = (), status: str = "200 OK", block: int = 4096) -> Any:
    def app(environ: dict[str, Any], start_response: Any) -> Any:
        start_response(status, list(headers))
        return environ["wsgi.file_wrapper"](make(), block)

    return app


@THREADS
def test_a_wrapped_file_is_handed_over_and_closed(path: str, threads: int) -> None:
    made: list[Any] = []

    def make() -> Any:
        made.append(open(path, "rb"))  # noqa: SIM115
        return made[-1]

    with serving_wsgi(sending(make), threads) as front:
        for _ in range(20):
            answer = front.ask()
            assert (answer.length, answer.files, answer.frames) == (SIZE, ((0, SIZE),), 2)
            assert answer.body == DATA
    assert all(file.closed for file in made)


def test_a_file_goes_on_from_where_the_application_has_read_to(path: str) -> None:
    def make() -> Any:
        file = open(path, "rb")  # noqa: SIM115
        file.seek(1000)
        file.read(234)
        return file

    with serving_wsgi(sending(make)) as front:
        answer = front.ask()
    assert (answer.files, answer.length) == (((1234, SIZE - 1234),), SIZE - 1234)
    assert answer.body == DATA[1234:]


def test_an_announced_length_ends_a_file(path: str) -> None:
    with serving_wsgi(sending(lambda: open(path, "rb"), [("Content-Length", "100000")])) as front:
        answer = front.ask()
        assert (answer.length, answer.files, answer.body) == (100_000, ((0, 100_000),), DATA[:100_000])
    assert front.log == []


def test_a_file_that_is_shorter_than_announced_is_a_failure(path: str) -> None:
    with (
        serving_wsgi(sending(lambda: open(path, "rb"), [("Content-Length", "300001")])) as front,
        pytest.raises(Failed, match="300000 of the 300001"),
    ):
        front.ask()


@pytest.mark.parametrize("size", [1, 1000, frames.MAX_PAYLOAD])
def test_a_small_file_is_one_frame(tmp_path: Path, size: int) -> None:
    (tmp_path / "small").write_bytes(DATA[:size])
    with serving_wsgi(sending(lambda: open(tmp_path / "small", "rb"))) as front:
        answer = front.ask()
    assert (answer.length, answer.body, answer.frames, answer.files) == (size, DATA[:size], 1, ())


@pytest.mark.parametrize(
    ("method", "status", "length"),
    [("HEAD", "200 OK", SIZE), ("GET", "204 No Content", -1), ("GET", "304 Not Modified", -1), ("GET", "205 Reset", 0)],
)
def test_a_file_that_may_not_be_sent_is_not_handed_over(path: str, method: str, status: str, length: int) -> None:
    with serving_wsgi(sending(lambda: open(path, "rb"), status=status)) as front:
        answer = front.ask(method)
        assert (answer.length, answer.body, answer.files) == (length, b"", ())


def test_a_wrapped_file_in_middleware_is_read(path: str) -> None:
    def app(environ: dict[str, Any], start_response: Any) -> Any:
        with open(path, "rb") as file:
            for block in sending(lambda: file)(environ, start_response):
                yield block.upper()

    with serving_wsgi(app) as front:
        answer = front.ask()
    assert (answer.files, answer.body) == ((), DATA.upper())


def test_what_is_no_real_file_is_iterated(path: str) -> None:
    with serving_wsgi(sending(lambda: Half(open(path, "rb")))) as front:
        answer = front.ask()
    assert (answer.files, answer.body[:10]) == ((), DATA[:20:2])


def test_bytes_that_were_written_before_stay_before_the_file(path: str) -> None:
    def app(environ: dict[str, Any], start_response: Any) -> Any:
        start_response("200 OK", [])(b"before ")
        return environ["wsgi.file_wrapper"](open(path, "rb"))

    with serving_wsgi(app) as front:
        answer = front.ask()
    assert (answer.length, answer.files, answer.body) == (-1, ((0, SIZE),), b"before " + DATA)


def test_a_file_without_credit_for_it_is_read(path: str) -> None:
    written = b"w" * (frames.WINDOW - frames.FILE_COST + 1)

    def app(environ: dict[str, Any], start_response: Any) -> Any:
        start_response("200 OK", [])(written)
        return environ["wsgi.file_wrapper"](open(path, "rb"))

    with serving_wsgi(app) as front:
        answer = front.answer(front.request(), credit_after=len(written))
    assert (answer.files, answer.body) == ((), written + DATA)


def test_a_descriptor_that_can_t_be_passed_costs_nothing_but_time(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Channel, "pass_file", lambda self, number, fd: False)
    with serving_wsgi(sending(lambda: open(path, "rb"))) as front:
        answer = front.ask()
    assert (answer.files, answer.body) == ((), DATA)


def test_an_error_in_close_after_the_hand_over_is_a_log_line(path: str) -> None:
    class Wrapper:
        def __init__(self, file: Any) -> None:
            self._file = file
            self.read = file.read

        def close(self) -> None:
            self._file.close()
            raise ValueError("in close")

    with serving_wsgi(sending(lambda: Wrapper(open(path, "rb")))) as front:
        assert front.ask().files == ((0, SIZE),)
        kind, _, payload = front.next_frame()
        assert (kind, b"in close" in payload) == (frames.LOG, True)


def test_descriptors_of_threads_and_frames_of_the_watcher_share_the_control_channel(path: str) -> None:
    gate = threading.Event()

    def app(environ: dict[str, Any], start_response: Any) -> Any:
        if environ["PATH_INFO"] == "/wait":
            gate.wait(20)
        return sending(lambda: open(path, "rb"))(environ, start_response)

    splitter = frames.Splitter()
    handed = 0
    with serving_wsgi(app, 2) as front:
        blocked = front.request("GET", "/wait")
        for _ in range(30):
            numbers = {front.request() for _ in range(6)}
            for number in numbers:
                front.tell(frames.RECALL, number)
            while numbers:
                # Each is given back or answered with a file, and either is said here.
                data, descriptors, _, _ = socket.recv_fds(front.control, 4096, 8)
                for kind, number, payload in splitter.feed(data):
                    assert (kind in (frames.RECALLED, frames.DESCRIPTOR), payload) == (True, b"")
                    numbers.remove(number)
                    if kind == frames.DESCRIPTOR:
                        handed += 1
                        os.close(descriptors.pop())
                assert not descriptors
        gate.set()
        while handed + 1:
            kind, number, _ = front.next_frame()
            handed -= kind == frames.FILE_LAST
        os.close(front.next_descriptor(blocked))


# -- the control socket


def channel_pair() -> tuple[Channel, socket.socket, socket.socket]:
    data, other_data = socket.socketpair()
    control, front = socket.socketpair()
    return Channel(0, data, control), front, other_data


def test_a_full_control_socket_is_no_reason_to_wait(path: str) -> None:
    channel, front, other = channel_pair()
    with front, other, channel.data, channel.control, open(path, "rb") as file:
        channel.control.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            while channel.control.send(b"\0" * 4096):
                pass
        assert not channel.pass_file(1, file.fileno())


def test_a_descriptor_never_gets_into_a_frame_that_was_sent_in_part(path: str) -> None:
    channel, front, other = channel_pair()
    with front, other, channel.data, channel.control, open(path, "rb") as file:
        channel.control_out += b"the rest of a frame"
        assert not channel.pass_file(1, file.fileno())
        channel.control_out.clear()
        assert channel.pass_file(1, file.fileno())
        data, (fd,), _, _ = socket.recv_fds(front, 100, 1)
        os.close(fd)
        assert data == frames.frame(frames.DESCRIPTOR, 1)


def test_a_front_that_died_is_passed_nothing(path: str) -> None:
    channel, front, other = channel_pair()
    with other, channel.data, channel.control, open(path, "rb") as file:
        front.close()
        assert not channel.pass_file(1, file.fileno())


# -- ASGI


def asgi(play: Callable[[Any], Any], headers: Any = (), status: int = 200) -> Any:
    """Return an application that starts its answer and then does what ``play(send)`` does."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            raise ValueError("not known")
        await send({"type": "http.response.start", "status": status, "headers": list(headers)})
        await play(send)

    return app


def path_send(path: Any) -> Callable[[Any], Any]:
    return lambda send: send({"type": "http.response.pathsend", "path": path})


def test_a_path_is_opened_and_handed_over(path: str) -> None:
    before = open_descriptors()
    with serving_asgi(asgi(path_send(path))) as front:
        for _ in range(5):
            answer = front.ask()
            assert (answer.length, answer.files, answer.frames) == (SIZE, ((0, SIZE),), 2)
            assert answer.body == DATA
    assert open_descriptors() == before


def test_a_path_with_the_length_that_the_application_announced_is_handed_over(path: str) -> None:
    with serving_asgi(asgi(path_send(path), [(b"content-length", b"300000")])) as front:
        assert front.ask().files == ((0, SIZE),)
    with serving_asgi(asgi(path_send(path), [(b"content-length", b"200000")])) as front:
        answer = front.ask()
        assert (answer.length, answer.files, answer.body) == (200_000, ((0, 200_000),), DATA[:200_000])
        assert "cut at the 200000 bytes" in front.log[0]
    longer = asgi(path_send(path), [(b"content-length", b"300001")])
    with serving_asgi(longer) as front, pytest.raises(Failed, match="300001"):
        front.ask()


@pytest.mark.parametrize("size", [0, 1, frames.MAX_PAYLOAD])
def test_a_path_to_a_small_file_is_one_frame(tmp_path: Path, size: int) -> None:
    (tmp_path / "small").write_bytes(DATA[:size])
    with serving_asgi(asgi(path_send(str(tmp_path / "small")))) as front:
        answer = front.ask()
    assert (answer.length, answer.body, answer.frames, answer.files) == (size, DATA[:size], 1, ())


@pytest.mark.parametrize(("method", "status", "length"), [("HEAD", 200, SIZE), ("GET", 204, -1), ("GET", 304, -1)])
def test_a_path_whose_file_may_not_be_sent_is_not_handed_over(path: str, method: str, status: int, length: int) -> None:
    with serving_asgi(asgi(path_send(path), status=status)) as front:
        answer = front.ask(method)
        assert (answer.length, answer.body, answer.files, answer.frames) == (length, b"", (), 1)


@pytest.mark.parametrize(
    ("make", "error"),
    [
        (lambda folder: str(folder / "missing"), "FileNotFoundError"),
        (lambda folder: str(folder), "IsADirectoryError"),
        (lambda folder: str(folder / "fifo"), "OSError: [Errno 22] not a regular file"),
        (lambda folder: "/dev/null", "OSError: [Errno 22] not a regular file"),
        (lambda folder: "relative", "ValueError: path 'relative' is not absolute"),
        (lambda folder: str(folder / "nul\0"), "ValueError"),
        (lambda folder: b"/bytes", "TypeError: path must be a str, not bytes"),
        (lambda folder: folder / "missing", "TypeError"),
    ],
)
def test_a_path_that_can_t_be_sent_raises_before_the_head_is_out(
    tmp_path: Path, make: Callable[[Path], Any], error: str
) -> None:
    os.mkfifo(tmp_path / "fifo")
    before = open_descriptors()
    with serving_asgi(asgi(path_send(make(tmp_path)))) as front:
        front.request()
        kind, _, payload = front.next_frame()
    assert (kind, error in payload.decode()) == (frames.FAILED, True), payload.decode()
    assert open_descriptors() == before


@pytest.mark.parametrize("kind", ["http.response.pathsend", "http.response.zerocopysend"])
def test_files_out_of_order_are_the_application_s_failure(path: str, kind: str) -> None:
    message = {"type": kind, "path": path, "file": 0}

    async def early(scope: Any, receive: Any, send: Any) -> None:
        await send(message)

    async def late(send: Any) -> None:
        await send({"type": "http.response.body", "body": b"all"})
        with pytest.raises(RuntimeError, match="already completed"):
            await send(message)

    with serving_asgi(early) as front, pytest.raises(Failed, match=r"before http\.response\.start"):
        front.ask()
    with serving_asgi(asgi(late)) as front:
        assert front.ask().body == b"all"


def test_a_path_can_t_be_mixed_with_a_body(path: str) -> None:
    async def play(send: Any) -> None:
        await send({"type": "http.response.body", "body": b"some", "more_body": True})
        await path_send(path)(send)

    with serving_asgi(asgi(play)) as front, pytest.raises(Failed, match="can't be mixed"):
        front.ask()


def zero_copy(file: Any, more_body: bool = False, **values: Any) -> dict[str, Any]:
    return {"type": "http.response.zerocopysend", "file": file, "more_body": more_body, **values}


@pytest.mark.parametrize("use_uvloop", [False, True])
def test_files_and_bytes_of_one_answer_keep_their_order(path: str, use_uvloop: bool) -> None:
    async def play(send: Any) -> None:
        with open(path, "rb") as file:
            await send({"type": "http.response.body", "body": b"one ", "more_body": True})
            await send(zero_copy(file, True, offset=100_000, count=100_000))
            await send({"type": "http.response.body", "body": b" two ", "more_body": True})
            for _ in range(6):
                await send(zero_copy(file, True))
                file.seek(0)
            await send(zero_copy(file.fileno(), True, offset=5, count=10))
            await send(zero_copy(file, offset=150_000))

    with serving_asgi(asgi(play), use_uvloop=use_uvloop) as front:
        answer = front.ask()
    expected = b"one " + DATA[100_000:200_000] + b" two " + DATA * 6 + DATA[5:15] + DATA[150_000:]
    assert answer.body == expected
    assert answer.files == ((100_000, 100_000), *[(0, SIZE)] * 6, (150_000, 150_000))


def test_a_file_sent_without_an_offset_moves_on(path: str) -> None:
    async def play(send: Any) -> None:
        with open(path, "rb") as file:
            await send(zero_copy(file, True, count=70_000))
            assert file.tell() == 70_000
            await send(zero_copy(file, True, count=70_000))
            fd = os.open(path, os.O_RDONLY)
            await send(zero_copy(fd, True, count=1000))
            await send(zero_copy(fd, count=SIZE))
            os.close(fd)

    with serving_asgi(asgi(play)) as front:
        assert front.ask().body == DATA[:140_000] + DATA


@pytest.mark.parametrize(
    ("values", "error"),
    [
        ({"file": io.BytesIO(b"x")}, "fileno"),
        ({"file": -1}, "Bad file descriptor"),
        ({"offset": -1}, "ValueError"),
        ({"count": "10"}, "ValueError"),
        ({"file": "written"}, "writing only"),
        ({"file": "pipe"}, "not a regular file"),
    ],
)
def test_a_zero_copy_of_what_can_t_be_copied_raises_before_the_head_is_out(
    path: str, values: dict[str, Any], error: str
) -> None:
    reader, writer = os.pipe()
    with open(path, "rb") as file, open(path, "ab") as written, open(reader, "rb") as pipe, open(writer, "wb"):
        values = {"file": file, **values}
        values["file"] = {"written": written, "pipe": pipe}.get(values["file"], values["file"])
        with serving_asgi(asgi(lambda send: send(zero_copy(**values)))) as front:
            front.request()
            kind, _, payload = front.next_frame()
    assert (kind, error in payload.decode()) == (frames.FAILED, True), payload.decode()


def test_two_files_at_most_are_under_way_without_credit(path: str) -> None:
    sent: list[int] = []

    async def play(send: Any) -> None:
        with open(path, "rb") as file:
            for number in range(4):
                await send(zero_copy(file, number < 3, offset=0))
                sent.append(number)

    with serving_asgi(asgi(play)) as front:
        number = front.request()
        for _ in range(2 + 1):
            front.next_frame()  # the head and two files
        assert sent == [0, 1]
        front.tell(frames.CREDIT, number, frames.FILE_COST)
        assert front.next_frame()[0] == frames.FILE
        front.tell(frames.CREDIT, number, frames.FILE_COST)
        assert front.next_frame()[0] == frames.FILE_LAST
        for _ in range(4):
            os.close(front.next_descriptor(number))


def test_a_file_that_waits_for_credit_is_let_go_when_the_client_leaves(path: str) -> None:
    errors: list[BaseException] = []

    async def play(send: Any) -> None:
        with open(path, "rb") as file:
            try:
                while True:
                    await send(zero_copy(file, True, offset=0))
            except OSError as error:
                errors.append(error)

    before = open_descriptors()
    with serving_asgi(asgi(play)) as front:
        number = front.request()
        for _ in range(3):
            front.next_frame()
        front.tell(frames.DISCONNECT, number)
        assert front.next_frame()[:2] == (frames.FAILED, number)
        for _ in range(2):
            os.close(front.next_descriptor(number))
    assert "the client has gone" in str(errors)
    assert open_descriptors() == before


def test_asgi_sends_bytes_where_a_descriptor_can_t_be_passed(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Channel, "pass_file", lambda self, number, fd: False)

    async def play(send: Any) -> None:
        with open(path, "rb") as file:
            await send(zero_copy(file, True))
            await send(zero_copy(file, offset=10, count=200_000))

    with serving_asgi(asgi(play)) as front:
        answer = front.ask()
        assert (answer.files, answer.body) == ((), DATA + DATA[10:200_010])
    with serving_asgi(asgi(path_send(path))) as front:
        answer = front.ask()
        assert (answer.length, answer.files, answer.body) == (SIZE, (), DATA)


def test_a_file_beyond_the_announced_length_is_cut(path: str) -> None:
    async def play(send: Any) -> None:
        with open(path, "rb") as file:
            await send(zero_copy(file, True, count=200_000))
            await send(zero_copy(file, True, offset=0))
            await send(zero_copy(file, offset=0))

    with serving_asgi(asgi(play, [(b"content-length", b"250000")])) as front:
        answer = front.ask()
    assert answer.body == DATA[:200_000] + DATA[:50_000]
    assert len(front.log) == 1


def test_a_last_file_that_is_too_short_is_an_error_in_send(path: str) -> None:
    async def play(send: Any) -> None:
        with open(path, "rb") as file:
            await send(zero_copy(file, True, count=200_000))
            await send(zero_copy(file, offset=0, count=100_000))

    with serving_asgi(asgi(play, [(b"content-length", b"400000")])) as front, pytest.raises(Failed, match="300000 of"):
        front.ask()


def test_the_extensions_of_a_request_are_its_own() -> None:
    seen: list[bool] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.append("mine" in scope["extensions"])
        scope["extensions"]["mine"] = {}
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    with serving_asgi(app) as front:
        front.ask()
        front.ask()
    assert seen[-2:] == [False, False]


def test_the_wrapper_iterates_in_blocks() -> None:
    file = io.BytesIO(DATA)
    wrapper = FileWrapper(file, 10)
    assert [len(block) for block in wrapper] == [65536] * 4 + [SIZE - 4 * 65536]
    wrapper.close()
    assert file.closed
    assert files.LEAST_BYTES == frames.MAX_PAYLOAD + 1
