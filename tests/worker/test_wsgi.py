"""WSGI calls over real socketpairs, inline and in threads."""

from __future__ import annotations

import io
import threading
from collections.abc import Iterator
from typing import Any
from wsgiref.validate import validator

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pyserve.wire import frames
from pyserve.wire.codec import (
    CLOSE,
    COMPLETE,
    HAS_BODY,
    HAS_DATE,
    HAS_SERVER,
    RESERVED,
    Peer,
    pack_head,
    pack_peer,
    pack_request,
)
from pyserve.worker.wsgi import WsgiStream
from pyserve.worker.wsgi_input import Input
from tests.worker.fake_front import PEER, Failed, FakeFront, serving_wsgi

THREADS = pytest.mark.parametrize("threads", [1, 3])


def hello(environ: dict[str, Any], start_response: Any) -> list[bytes]:
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"hello"]


@THREADS
def test_a_small_answer_is_one_complete_frame(threads: int) -> None:
    with serving_wsgi(hello, threads) as front:
        answer = front.ask()
    assert (answer.status, answer.length, answer.body, answer.frames) == (200, 5, b"hello", 1)
    assert answer.fields == [("content-type", "text/plain")]


def environ_of(front_path: str, method: str = "GET", peer: Peer | None = None, **values: Any) -> dict[str, Any]:
    seen: dict[str, Any] = {}

    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        seen.update(environ)
        start_response("200 OK", [])
        return [b""]

    with serving_wsgi(app) as front:
        if peer is not None:
            values["peer"] = peer
        front.ask(method, front_path, **values)
    return seen


def test_the_environ_says_what_pep_3333_asks_for() -> None:
    environ = environ_of(
        "/a/b", "POST", query=b"x=1&y", body=b"abc", fields=((b"host", b"shop"), (b"content-type", b"text/x"))
    )
    assert {k: environ[k] for k in environ if k.isupper()} == {
        "REQUEST_METHOD": "POST",
        "SCRIPT_NAME": "",
        "PATH_INFO": "/a/b",
        "QUERY_STRING": "x=1&y",
        "REQUEST_URI": "/a/b?x=1&y",
        "RAW_URI": "/a/b?x=1&y",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "SERVER_NAME": "127.0.0.1",
        "SERVER_SOFTWARE": "pyserve",
        "SERVER_PORT": "8000",
        "REMOTE_ADDR": "192.0.2.7",
        "REMOTE_PORT": "40001",
        "CONTENT_LENGTH": "3",
        "CONTENT_TYPE": "text/x",
        "HTTP_HOST": "shop",
    }
    assert environ["wsgi.version"] == (1, 0)
    assert environ["wsgi.url_scheme"] == "http"
    assert environ["wsgi.input_terminated"] is True
    assert (environ["wsgi.multithread"], environ["wsgi.multiprocess"], environ["wsgi.run_once"]) == (False, True, False)


@pytest.mark.parametrize(
    ("path", "mount", "script_name", "path_info"),
    [
        ("/é", "", "", "/\xc3\xa9"),
        ("/\udcff", "", "", "/\xff"),
        ("/shop/x", "/shop", "/shop", "/x"),
        ("/shop", "/shop", "/shop", ""),
    ],
)
def test_paths_are_latin_1_text_of_their_bytes(path: str, mount: str, script_name: str, path_info: str) -> None:
    environ = environ_of(path, mount=mount)
    assert (environ["SCRIPT_NAME"], environ["PATH_INFO"]) == (script_name, path_info)


def test_fields_with_underscores_and_proxy_never_get_in() -> None:
    fields = ((b"x_forwarded_for", b"6.6.6.6"), (b"proxy", b"evil"), (b"x-forwarded-for", b"1.2.3.4"))
    environ = environ_of("/", fields=fields)
    assert environ["HTTP_X_FORWARDED_FOR"] == "1.2.3.4"
    assert "HTTP_PROXY" not in environ


def test_repeated_fields_are_joined() -> None:
    fields = ((b"accept", b"a"), (b"cookie", b"x=1"), (b"accept", b"b"), (b"cookie", b"y=2"))
    environ = environ_of("/", fields=fields)
    assert (environ["HTTP_ACCEPT"], environ["HTTP_COOKIE"]) == ("a,b", "x=1; y=2")


@pytest.mark.parametrize(
    ("host", "name", "port"), [(b"shop:8080", "shop", "8080"), (b"shop", "shop", "80"), (b"[::1]:81", "[::1]", "81")]
)
def test_a_unix_socket_takes_its_name_from_the_host_field(host: bytes, name: str, port: str) -> None:
    environ = environ_of("/", peer=Peer(None, ("/run/web.sock", None), "http"), fields=((b"host", host),))
    assert (environ["SERVER_NAME"], environ["SERVER_PORT"], environ["REMOTE_ADDR"]) == (name, port, "")


def test_equal_heads_never_share_an_environ() -> None:
    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        start_response("200 OK", [])
        seen = "marked" in environ
        environ["marked"] = environ["PATH_INFO"] = "1"
        return [str(seen).encode()]

    with serving_wsgi(app) as front:
        assert [front.ask().body for _ in range(3)] == [b"False"] * 3


@THREADS
def test_the_validator_of_the_standard_library_is_content(threads: int) -> None:
    def app(environ: dict[str, Any], start_response: Any) -> Iterator[bytes]:
        data = environ["wsgi.input"].read(4) + environ["wsgi.input"].readline(100)
        start_response("200 OK", [("Content-Type", "text/plain")])
        return iter([data, b"", b"end"])

    def with_tail(environ: dict[str, Any], start_response: Any) -> Any:
        return validator(app)(environ, start_response)

    with serving_wsgi(with_tail, threads) as front:
        answer = front.ask(
            "POST", "/x", query=b"q=1", body=b"one two\n", fields=((b"host", b"h"), (b"content-type", b"a/b"))
        )
        assert (answer.status, answer.body) == (200, b"one two\nend")
        assert front.ask("GET", "/").body == b"end"


@THREADS
@pytest.mark.parametrize("size", [0, 1, 65536, 65537, 300_000])
def test_request_bodies_come_whole_with_credit(threads: int, size: int) -> None:
    body = bytes(range(256)) * (size // 256) + b"x" * (size % 256)

    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        start_response("200 OK", [])
        return [b"same" if environ["wsgi.input"].read() == body else b"other"]

    with serving_wsgi(app, threads) as front:
        number = front.next_number()
        head = front.head("POST", content_length=size)
        front.send(
            frames.REQUEST, number, pack_request(HAS_BODY, pack_peer(Peer(None, ("h", 1), "http")), pack_head(head))
        )
        window = frames.WINDOW
        pieces = [body[at : at + 65536] for at in range(0, size, 65536)]
        for piece in pieces:
            while window < len(piece):
                kind, stream, payload = front.next_frame()
                assert (kind, stream) == (frames.CREDIT_BODY, number)
                window += frames.number(payload)
            window -= len(piece)
            front.send(frames.BODY, number, piece)
        front.send(frames.BODY_LAST, number)
        assert front.answer(number).body == b"same"


def test_the_input_reads_like_a_file() -> None:
    calls = {
        "/read": lambda f: [f.read(2), f.read(0), f.read(100), f.read(1)],
        "/readline": lambda f: [f.readline(), f.readline(2), f.readline(), f.readline(), f.readline()],
        "/readlines": lambda f: f.readlines(),
        "/hint": lambda f: f.readlines(1),
        "/iter": lambda f: list(f),
        "/mixed": lambda f: [f.readline(), f.read(), f.readline()],
        "/next": lambda f: [next(f), f.read(1), *f, next(f, b"end")],
    }
    text = b"a\nbcd\n\nlast"

    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        start_response("200 OK", [])
        return [repr(calls[environ["PATH_INFO"]](environ["wsgi.input"])).encode()]

    with serving_wsgi(app) as front:
        for path, call in calls.items():
            assert front.ask("POST", path, body=text).body.decode() == repr(call(io.BytesIO(text)))


CALLS = st.sampled_from(
    [
        *(("read", size) for size in (-1, 0, 1, 3, 100, None)),
        *(("readline", size) for size in (-1, 0, 1, 3, 100, None)),
        *(("readlines", hint) for hint in (-1, 0, 1, 5, 100, None)),
    ]
)


PIECES = st.lists(st.text("ab\n", min_size=1, max_size=6).map(str.encode), max_size=6)


@given(PIECES, st.lists(CALLS, max_size=6))
@example([b"a\nb", b"c\n", b"\n"], [("readline", None), ("readlines", 3), ("read", 1)])
def test_however_a_body_comes_in_pieces_it_reads_like_a_file(
    pieces: list[bytes], calls: list[tuple[str, int | None]]
) -> None:
    stream = WsgiStream(None, 1, b"\1", None)  # type: ignore[arg-type]
    stream.chunks.extend(pieces)
    stream.has_whole_body = True
    own, file = Input(stream), io.BytesIO(b"".join(pieces))
    for name, size in calls:
        arguments = () if size is None else (size,)
        assert getattr(own, name)(*arguments) == getattr(file, name)(*arguments)
    assert list(own) == list(file)
    assert own.read() == b""


def test_a_body_that_nobody_reads_disturbs_no_later_request() -> None:
    with serving_wsgi(hello) as front:
        for _ in range(3):
            assert front.ask("POST", body=b"x" * 100_000).body == b"hello"


@THREADS
def test_a_request_behind_a_body_being_read_waits_its_turn(threads: int) -> None:
    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        start_response("200 OK", [])
        return [environ["PATH_INFO"].encode() + environ["wsgi.input"].read()]

    with serving_wsgi(app, threads) as front:
        first = front.next_number()
        peer = pack_peer(Peer(None, ("h", 1), "http"))
        front.send(frames.REQUEST, first, pack_request(HAS_BODY, peer, pack_head(front.head("POST", "/first"))))
        front.send(frames.BODY, first, b" one")
        second = front.request("POST", "/second", body=b" all")
        front.send(frames.BODY_LAST, first, b" two")
        bodies = {}
        for _ in range(2):
            _, stream, payload = front.next_frame()
            bodies[stream] = payload[15:]
    assert bodies == {first: b"/first one two", second: b"/second all"}


def answer_of(status: str, headers: list[Any], result: Any, method: str = "GET") -> Any:
    def app(environ: dict[str, Any], start_response: Any) -> Any:
        start_response(status, headers)
        return result

    with serving_wsgi(app) as front:
        return front.ask(method)


@pytest.mark.parametrize(
    ("result", "length"),
    [([b"one"], 3), ((b"one",), 3), ([b"o", b"ne"], -1), (iter([b"one"]), -1), ([], 0), ([b""], 0)],
)
def test_the_length_is_computed_where_one_element_tells_it(result: Any, length: int) -> None:
    answer = answer_of("200 OK", [], result)
    assert answer.length == length
    assert answer.body in (b"one", b"")


def test_large_answers_go_by_credit_and_come_whole() -> None:
    data = bytes(range(256)) * 4096
    for result in ([data], iter([data]), iter([data[:1000], data[1000:]])):
        answer = answer_of("200 OK", [], result)
        assert answer.body == data


@pytest.mark.parametrize("result", [[b"12345"], iter([b"123", b"45"]), [b"1" * 200_000]])
def test_bytes_beyond_the_announced_length_are_cut(result: Any) -> None:
    answer = answer_of("200 OK", [("Content-Length", "4")], result)
    assert (answer.length, len(answer.body)) == (4, 4)


def test_an_announced_length_completes_the_answer_with_its_last_byte() -> None:
    answer = answer_of("200 OK", [("Content-Length", "3")], iter([b"abc"]))
    assert (answer.flags & COMPLETE, answer.frames) == (COMPLETE, 1)


@pytest.mark.parametrize(
    ("status", "method", "headers", "result", "length"),
    [
        ("200 OK", "HEAD", [], [b"12345"], 5),
        ("200 OK", "HEAD", [("Content-Length", "9")], [], 9),
        ("200 OK", "HEAD", [], iter([b"12345"]), -1),
        ("200 OK", "HEAD", [], [], -1),
        ("204 No Content", "GET", [], [b"12345"], -1),
        ("204 No Content", "GET", [("Content-Length", "9")], [], -1),
        ("304 Not Modified", "GET", [], [b"12345"], -1),
        ("304 Not Modified", "GET", [("Content-Length", "9")], [], 9),
        ("200 OK", "HEAD", [], [b"x" * 70_000], 70_000),
    ],
)
def test_answers_that_have_no_body_never_carry_one(
    status: str, method: str, headers: Any, result: Any, length: int
) -> None:
    answer = answer_of(status, headers, result, method)
    assert (answer.body, answer.length) == (b"", length)


def test_hop_by_hop_fields_are_the_front_s_business() -> None:
    headers = [("Connection", "close"), ("Transfer-Encoding", "chunked"), ("Keep-Alive", "5"), ("X-Own", "kept")]
    answer = answer_of("200 OK", headers, [b""])
    assert answer.fields == [("x-own", "kept")]
    assert answer.flags == COMPLETE | CLOSE


def test_date_and_server_of_the_application_are_marked() -> None:
    answer = answer_of("200 OK", [("Date", "today"), ("Server", "mine")], [b""])
    assert answer.flags == COMPLETE | HAS_DATE | HAS_SERVER
    assert answer.fields == [("date", "today"), ("server", "mine")]


@pytest.mark.parametrize(
    ("status", "headers", "result"),
    [
        ("200", [], []),
        ("099 Low", [], []),
        ("20x OK", [], []),
        ("101 Switching", [], []),
        ("200 OK\r\nX: y", [], []),
        (200, [], []),
        ("200 OK", [("X", "a\r\nb")], []),
        ("200 OK", [("X", "a\nb: c")], []),
        ("200 OK", [("X", "a\0")], []),
        ("200 OK", [("X", "\x7f")], []),
        ("200 OK", [("X", "\u20ac")], []),
        ("200 OK", [("X\r\nY", "a")], []),
        ("200 OK", [("", "a")], []),
        ("200 OK", [("X ", "a")], []),
        ("200 OK", [("X:", "a")], []),
        ("200 OK", [("X", b"a")], []),
        ("200 OK", [("X", 1)], []),
        ("200 OK", [("Content-Length", "-1")], []),
        ("200 OK", [("Content-Length", "1_0")], []),
        ("200 OK", [("Content-Length", "3"), ("Content-Length", "4")], []),
        ("200 OK", [], ["text"]),
        ("200 OK", [], [None]),
        ("200 OK", [], None),
        ("200 OK", [], 7),
    ],
)
def test_an_answer_that_can_t_be_sent_is_the_application_s_failure(status: Any, headers: Any, result: Any) -> None:
    with pytest.raises(Failed):
        answer_of(status, headers, result)


@pytest.mark.parametrize("error", [ValueError, SystemExit, KeyboardInterrupt, GeneratorExit, MemoryError])
@THREADS
def test_whatever_the_application_raises_is_told_and_survived(error: type[BaseException], threads: int) -> None:
    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        if environ["PATH_INFO"] == "/bad":
            raise error("on purpose")
        return hello(environ, start_response)

    with serving_wsgi(app, threads) as front:
        with pytest.raises(Failed, match=error.__name__):
            front.ask(path="/bad")
        assert front.ask().body == b"hello"


def test_a_failure_in_the_middle_ends_the_stream_after_what_was_sent() -> None:
    def app(environ: dict[str, Any], start_response: Any) -> Iterator[bytes]:
        start_response("200 OK", [])
        yield b"part"
        raise ValueError("on purpose")

    with serving_wsgi(app) as front:
        number = front.request()
        kinds = [front.next_frame()[0], front.next_frame()[0]]
        assert kinds == [frames.ANSWER, frames.FAILED]
        assert number


def test_the_traceback_begins_with_the_application_s_own_frame() -> None:
    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        raise ValueError("on purpose")

    with serving_wsgi(app) as front, pytest.raises(Failed) as caught:
        front.ask()
    lines = str(caught.value).splitlines()
    assert lines[0].startswith("Traceback")
    assert "test_wsgi.py" in lines[1]


def test_start_response_may_be_called_again_with_exc_info_until_the_head_is_out() -> None:
    import sys

    def app(environ: dict[str, Any], start_response: Any) -> Iterator[bytes]:
        start_response("200 OK", [("X", "first")])
        if environ["PATH_INFO"] == "/late":
            yield b"out"
        try:
            raise ValueError("on purpose")
        except ValueError:
            start_response("500 Oops", [("X", "second")], sys.exc_info())
        yield b"sorry"

    with serving_wsgi(app) as front:
        answer = front.ask()
        assert (answer.status, answer.fields, answer.body) == (500, [("x", "second")], b"sorry")
        with pytest.raises(Failed, match="on purpose"):
            front.ask(path="/late")


def test_start_response_twice_is_a_failure() -> None:
    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        start_response("200 OK", [])
        return hello(environ, start_response)

    with serving_wsgi(app) as front, pytest.raises(Failed, match="already called"):
        front.ask()


def test_write_sends_before_the_iterable() -> None:
    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        write = start_response("200 OK", [])
        write(b"one ")
        write(b"two ")
        return [b"three"]

    with serving_wsgi(app) as front:
        assert front.ask().body == b"one two three"


def test_each_block_of_an_iterable_is_sent_before_the_next_is_asked_for() -> None:
    gate = threading.Event()

    def app(environ: dict[str, Any], start_response: Any) -> Iterator[bytes]:
        start_response("200 OK", [])
        yield b"first"
        assert gate.wait(20)
        yield b"second"

    with serving_wsgi(app) as front:
        front.request()
        assert front.next_frame()[2].endswith(b"first")
        gate.set()
        assert front.next_frame()[2] == b"second"


class Closing:
    def __init__(self, blocks: Any) -> None:
        self.blocks = blocks
        self.closed = threading.Event()

    def __iter__(self) -> Iterator[bytes]:
        yield from self.blocks

    def close(self) -> None:
        self.closed.set()


@THREADS
def test_the_iterable_is_closed_and_the_rest_dropped_when_the_client_leaves(threads: int) -> None:
    def endless() -> Iterator[bytes]:
        while True:
            yield b"x" * 65536

    result = Closing(endless())

    def app(environ: dict[str, Any], start_response: Any) -> Any:
        if environ["PATH_INFO"] == "/":
            return hello(environ, start_response)
        start_response("200 OK", [])
        return result

    with serving_wsgi(app, threads) as front:
        number = front.request(path="/endless")
        assert front.next_frame()[0] == frames.ANSWER
        front.tell(frames.DISCONNECT, number)
        while (kind := front.next_frame()[0]) != frames.FAILED:
            assert kind == frames.DATA
        assert result.closed.wait(20)
        assert front.ask().body == b"hello"


def test_an_answer_never_exceeds_its_credit() -> None:
    with serving_wsgi(lambda e, s: (s("200 OK", []), [b"x" * 1_000_000])[1]) as front:
        number = front.request()
        got = len(front.next_frame()[2]) - 15
        while got < frames.WINDOW:
            got += len(front.next_frame()[2])
        assert got == frames.WINDOW
        front.tell(frames.CREDIT, number, 1000)
        assert len(front.next_frame()[2]) == 1000


@THREADS
def test_a_disconnect_ends_a_read_that_waits_for_the_body(threads: int) -> None:
    outcome = []

    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        try:
            environ["wsgi.input"].read()
        except OSError as error:
            outcome.append(str(error))
            raise
        return []

    with serving_wsgi(app, threads) as front:
        number = front.next_number()
        peer = pack_peer(Peer(None, ("h", 1), "http"))
        front.send(frames.REQUEST, number, pack_request(HAS_BODY, peer, pack_head(front.head("POST"))))
        front.send(frames.BODY, number, b"part")
        front.tell(frames.DISCONNECT, number)
        assert front.next_frame() == (frames.FAILED, number, b"")
    # It may also have been told before it began.
    assert outcome in ([], ["the client has gone before its request body was complete"])


def gated() -> tuple[Any, threading.Event, threading.Event]:
    began, gate = threading.Event(), threading.Event()

    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        if environ["PATH_INFO"] == "/slow":
            began.set()
            assert gate.wait(20)
        return hello(environ, start_response)

    return app, began, gate


def test_a_recall_takes_back_what_has_not_started_even_if_it_was_not_read_yet() -> None:
    app, began, gate = gated()
    with serving_wsgi(app) as front:
        slow = front.request(path="/slow")
        assert began.wait(20)
        second = front.request("POST", body=b"with a body")
        third = front.request()
        for number in (slow, second):
            front.tell(frames.RECALL, number)
        # The answer to the recall comes while the application is still busy.
        assert front.next_control() == (frames.RECALLED, second)
        assert front.page.last_started(0) == slow
        gate.set()
        assert front.answer(slow).body == b"hello"
        assert front.answer(third).body == b"hello"
        assert front.page.last_started(0) == third


def test_a_recall_flushes_finished_answers_of_an_inline_worker() -> None:
    app, began, gate = gated()
    with serving_wsgi(app) as front:
        quick = front.next_number()
        slow = front.next_number()
        payload = pack_request(0, pack_peer(Peer(None, ("h", 1), "http")), pack_head(front.head()))
        slow_payload = pack_request(0, pack_peer(Peer(None, ("h", 1), "http")), pack_head(front.head(path="/slow")))
        front.data.sendall(
            frames.frame(frames.REQUEST, quick, payload) + frames.frame(frames.REQUEST, slow, slow_payload)
        )
        assert began.wait(20)
        front.tell(frames.RECALL, slow)
        assert front.answer(quick).body == b"hello"
        gate.set()
        assert front.answer(slow).body == b"hello"


def test_a_request_whose_client_left_is_never_run() -> None:
    ran = []
    app, began, gate = gated()

    def recording(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        ran.append(environ["PATH_INFO"])
        return app(environ, start_response)  # type: ignore[no-any-return]

    with serving_wsgi(recording) as front:
        slow = front.request(path="/slow")
        assert began.wait(20)
        left = front.request(path="/left")
        front.tell(frames.DISCONNECT, left)
        front.tell(frames.RECALL, left + 1)  # its answer says that the watcher has come so far
        assert front.next_control() == (frames.RECALLED, left + 1)
        gate.set()
        assert front.answer(slow).body == b"hello"
        assert front.next_frame() == (frames.FAILED, left, b"")
    assert ran == ["/slow"]


def test_threads_run_as_many_as_they_are_and_mark_what_they_run() -> None:
    barrier = threading.Barrier(4)

    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        barrier.wait(20)
        barrier.wait(20)
        return hello(environ, start_response)

    with serving_wsgi(app, threads=3) as front:
        numbers = {front.request() for _ in range(3)}
        barrier.wait(20)
        running = [front.page.running(thread) for thread in range(3)]
        assert {r[0] for r in running if r is not None} == numbers
        barrier.wait(20)
        assert {front.next_frame()[1] for _ in range(3)} == numbers


def test_one_reserved_request_runs_beside_as_many_as_there_are_threads() -> None:
    app, began, gate = gated()
    with serving_wsgi(app, threads=2) as front:
        slow = [front.request(path="/slow") for _ in range(2)]
        assert began.wait(20)
        assert front.ask(path="/up", flags=RESERVED).body == b"hello", "twice: once with a new thread"
        assert front.ask(path="/up", flags=RESERVED).body == b"hello"
        ordinary = front.request()
        behind = front.request(path="/up", flags=RESERVED)
        front.tell(frames.RECALL, behind)
        assert front.next_control() == (frames.RECALLED, behind), "what is older begins first, and it has no thread"
        front.tell(frames.RECALL, ordinary)
        assert front.next_control() == (frames.RECALLED, ordinary)
        assert front.ask(path="/up", flags=RESERVED).body == b"hello", "what was taken back is in nobody's way"
        gate.set()
        assert {front.next_frame()[1] for _ in range(2)} == set(slow)


def test_a_reserved_request_behind_others_begins_with_the_last_of_them() -> None:
    app, _, gate = gated()
    with serving_wsgi(app, threads=2) as front:
        payload = [
            pack_request(flags, pack_peer(PEER), pack_head(front.head(path=path)))
            for path, flags in (("/slow", 0), ("/slow", 0), ("/up", RESERVED))
        ]
        numbers = [front.next_number() for _ in range(3)]
        front.data.sendall(b"".join(frames.frame(frames.REQUEST, *each) for each in zip(numbers, payload, strict=True)))
        assert front.answer(numbers[2]).body == b"hello"
        gate.set()
        assert {front.next_frame()[1] for _ in range(2)} == set(numbers[:2])


def test_more_than_could_ever_wait_is_given_back_as_busy() -> None:
    app, began, gate = gated()
    with serving_wsgi(app, threads=2) as front:
        for _ in range(2):
            front.request(path="/slow")
        assert began.wait(20)
        for _ in range(40):
            front.request()
        kind, number, _ = front.next_frame()
        assert kind == frames.BUSY
        assert number > 32
        gate.set()


@THREADS
def test_stop_gives_back_what_has_not_started(threads: int) -> None:
    app, began, gate = gated()
    context = serving_wsgi(app, threads)
    front: FakeFront = context.__enter__()
    try:
        slow = [front.request(path="/slow") for _ in range(threads)]
        assert began.wait(20)
        assert slow
    finally:
        gate.set()
        context.__exit__(None, None, None)


def test_a_late_failure_is_a_log_line() -> None:
    class Bad(Closing):
        def close(self) -> None:
            raise ValueError("in close")

    with serving_wsgi(lambda e, s: (s("200 OK", [("Content-Length", "2")]), Bad([b"ok"]))[1]) as front:
        assert front.ask().body == b"ok"
        kind, _, payload = front.next_frame()
        assert kind == frames.LOG
        assert b"in close" in payload


def test_the_file_wrapper_sends_a_file_and_closes_it() -> None:
    file = io.BytesIO(b"f" * 200_000)

    def app(environ: dict[str, Any], start_response: Any) -> Any:
        start_response("200 OK", [])
        return environ["wsgi.file_wrapper"](file, 4096)

    with serving_wsgi(app) as front:
        answer = front.ask()
    assert answer.body == b"f" * 200_000
    assert answer.frames < 8
    assert file.closed
