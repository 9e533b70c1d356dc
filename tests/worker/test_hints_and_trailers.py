"""What an application sends before and behind its answer: 103 Early Hints and trailers, over real socketpairs."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pyserve.wire import frames
from pyserve.wire.codec import COMPLETE, NOT_IN_TRAILERS, TRAILED
from tests.worker.fake_front import Answer, Failed, serving_asgi, serving_wsgi

LINK = "</app.css>; rel=preload; as=style"
LINE = f"link: {LINK}\r\n".encode()
LINKS = {"type": "http.response.early_hint", "links": [LINK.encode()]}
START = {"type": "http.response.start", "status": 200, "headers": [(b"trailer", b"x-sum")], "trailers": True}
BODY = {"type": "http.response.body", "body": b"hello"}
MORE = {**BODY, "more_body": True}
SUM = {"type": "http.response.trailers", "headers": [(b"X-Sum", b" 7 ")]}

WsgiApp = Callable[[dict[str, Any], Callable[..., Any]], Any]


def says(*messages: dict[str, Any]) -> Any:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            raise ValueError
        for message in messages:
            await send(message)

    return app


def ask_asgi(*messages: dict[str, Any], method: str = "GET") -> Answer:
    with serving_asgi(says(*messages)) as front:
        return front.ask(method)


# WSGI: environ["wsgi.early_hints"].


def hinting(headers: Any, times: int = 1) -> WsgiApp:
    def app(environ: dict[str, Any], start: Callable[..., Any]) -> list[bytes]:
        for _ in range(times):
            assert environ["wsgi.early_hints"](headers) is None
        start("200 OK", [])
        return [b"hello"]

    return app


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("headers", [[("Link", LINK)], [(b"link", LINK.encode())], {"Link": LINK}.items()])
def test_a_wsgi_application_sends_hints(threads: int, headers: Any) -> None:
    with serving_wsgi(hinting(headers), threads) as front:
        got = front.ask()
    assert (got.hints, got.body) == ((LINE,), b"hello")


def test_hints_are_out_before_the_application_goes_on() -> None:
    read, write = os.pipe()

    def app(environ: dict[str, Any], start: Callable[..., Any]) -> list[bytes]:
        environ["wsgi.early_hints"]([("Link", LINK)])
        start("200 OK", [])
        return [os.read(read, 1)]

    with serving_wsgi(app) as front:
        number = front.request()
        assert front.next_frame() == (frames.HINTS, number, LINE)
        os.write(write, b"1")
        assert front.answer(number).body == b"1"
    os.close(read)
    os.close(write)


def test_fields_that_belong_to_the_connection_are_no_hints() -> None:
    headers = [("Link", LINK), ("Content-Length", "5"), ("Transfer-Encoding", "chunked"), ("Connection", "close")]
    with serving_wsgi(hinting(headers)) as front:
        assert front.ask().hints == (LINE,)


@pytest.mark.parametrize(
    "headers",
    [
        *([("Link", "a\r\nb: c")], [("Li nk", "a")], [("Link", "\u20ac")], [("Link", 7)], "Link", None),
        [("Link", "x" * frames.MAX_LINES)],
    ],
)
def test_hints_that_can_t_be_sent_are_the_application_s_failure(headers: Any) -> None:
    with serving_wsgi(hinting(headers)) as front, pytest.raises(Failed, match=r"TypeError|ValueError|Unicode"):
        front.ask()


def test_hints_that_are_too_many_are_left_out() -> None:
    with serving_wsgi(hinting([("Link", LINK)], 100)) as front:
        got = front.ask()
        assert (len(got.hints), got.body) == (frames.MAX_HINTS, b"hello")


def test_hints_that_come_too_late_are_left_out() -> None:
    kept = []

    def app(environ: dict[str, Any], start: Callable[..., Any]) -> list[bytes]:
        for late in kept:
            late([("Link", LINK)])  # of a request that is over
        hint = environ["wsgi.early_hints"]
        kept.append(hint)
        start("200 OK", [])(b"first")
        hint([("Link", LINK)])
        return [b" second"]

    with serving_wsgi(app) as front:
        assert [(front.ask().hints, front.ask().body) for _ in range(2)] == [((), b"first second")] * 2


# ASGI: http.response.early_hint.


@pytest.mark.parametrize("before", [True, False], ids=["before the start", "after the start"])
def test_an_asgi_application_sends_hints(before: bool) -> None:
    start = {"type": "http.response.start", "status": 200, "headers": []}
    got = ask_asgi(*([LINKS, LINKS, start] if before else [start, LINKS, LINKS]), BODY)
    assert (got.hints, got.body, got.flags, got.length) == ((LINE, LINE), b"hello", COMPLETE, 5)


def test_all_links_of_a_hint_are_one_answer() -> None:
    got = ask_asgi({**LINKS, "links": (link for link in (b"</a>", b"</b>"))}, *answer())
    assert got.hints == (b"link: </a>\r\nlink: </b>\r\n",)


def answer() -> tuple[dict[str, Any], dict[str, Any]]:
    return {"type": "http.response.start", "status": 200, "headers": []}, BODY


def test_asgi_hints_that_come_too_late_or_too_often_are_left_out() -> None:
    start, _ = answer()
    assert ask_asgi(start, MORE, LINKS, BODY).hints == ()
    assert ask_asgi(start, {**LINKS, "links": []}, BODY).hints == ()
    assert ask_asgi(start, BODY, LINKS).body == b"hello"
    assert len(ask_asgi(*[LINKS] * 40, start, BODY).hints) == frames.MAX_HINTS


@pytest.mark.parametrize("links", [b"</a>", "</a>", ["</a>"], [b"a\r\nb: c"], [b"x" * frames.MAX_LINES], None])
def test_links_that_can_t_be_sent_are_the_application_s_failure(links: Any) -> None:
    with pytest.raises(Failed, match=r"TypeError|ValueError"):
        ask_asgi({**LINKS, "links": links}, *answer())


# ASGI: http.response.trailers.


def test_trailers_end_the_answer() -> None:
    got = ask_asgi(START, BODY, SUM)
    assert (got.body, got.trailers, got.flags, got.length) == (b"hello", b"x-sum: 7\r\n", TRAILED, -1)
    assert got.fields == [("trailer", "x-sum")]


def test_trailers_may_come_in_several_messages_and_go_out_together() -> None:
    got = ask_asgi(START, MORE, BODY, {**SUM, "more_trailers": True}, {"type": "http.response.trailers"})
    assert (got.body, got.trailers) == (b"hellohello", b"x-sum: 7\r\n")


def test_without_trailers_to_come_their_announcement_is_dropped() -> None:
    got = ask_asgi({**START, "trailers": False}, BODY)
    assert (got.fields, got.flags) == ([], COMPLETE)


@pytest.mark.parametrize("size", [0, 1, 65536, 65537, 1_000_000])
@pytest.mark.parametrize("has_length", [True, False])
def test_bodies_of_any_size_may_have_trailers(size: int, has_length: bool) -> None:
    headers = [(b"content-length", b"%d" % size)] if has_length else []
    got = ask_asgi({**START, "headers": headers}, {**BODY, "body": b"x" * size}, SUM)
    assert (len(got.body), got.trailers, got.length) == (size, b"x-sum: 7\r\n", size if has_length else -1)


@pytest.mark.parametrize("kind", ["pathsend", "zerocopysend"])
@pytest.mark.parametrize("size", [10, 200_000])
def test_files_may_have_trailers(tmp_path: Path, kind: str, size: int) -> None:
    (tmp_path / "file").write_bytes(b"f" * size)
    with open(tmp_path / "file", "rb") as file:
        message = {"type": f"http.response.{kind}", "path": str(tmp_path / "file"), "file": file}
        got = ask_asgi(START, message, SUM)
    assert (len(got.body), got.trailers) == (size, b"x-sum: 7\r\n")


@pytest.mark.parametrize(("method", "status"), [("HEAD", 200), ("GET", 204), ("GET", 304)])
@pytest.mark.parametrize("pieces", [1, 2])
def test_answers_without_a_body_have_no_trailers(method: str, status: int, pieces: int) -> None:
    got = ask_asgi({**START, "status": status}, *[MORE] * (pieces - 1), BODY, SUM, method=method)
    assert (got.body, got.trailers) == (b"", None)


def test_receive_says_disconnect_only_after_the_trailers() -> None:
    seen = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            raise ValueError
        await receive()
        await send(START)
        await send(BODY)
        seen.append("body")
        await send(SUM)
        seen.append((await receive())["type"])

    with serving_asgi(app) as front:
        assert front.ask().trailers
    assert seen == ["body", "http.disconnect"]


UNTRAILED = {**START, "trailers": False}


@pytest.mark.parametrize(
    ("messages", "error"),
    [
        ([SUM], "did not announce"),
        ([UNTRAILED, SUM], "did not announce"),
        ([UNTRAILED, MORE, SUM], "did not announce"),
        ([START, SUM], "before the end of the body"),
        ([START, MORE, SUM], "before the end of the body"),
        ([START, BODY, BODY], "already completed"),
        ([START, BODY, {"type": "http.response.pathsend", "path": "/"}], "already completed"),
        ([START, BODY], "without completing"),
        ([{**START, "headers": [(b"content-length", b"9")]}, BODY], "ends after 5 of the 9"),
        ([START, BODY, {**SUM, "headers": [("x", "y")]}], "must be bytes"),
        ([START, BODY, {**SUM, "headers": [(b"x y", b"z")]}], "not a token"),
        ([START, BODY, {**SUM, "headers": [(b"x", b"y\r\nz: 1")]}], "control character"),
        ([START, BODY, {**SUM, "headers": {b"x": b"y"}}], "list of pairs"),
        ([START, BODY, {**SUM, "headers": [(b"x", b"y" * frames.MAX_LINES)]}], "bytes of fields"),
        (
            [START, BODY, *[{**SUM, "headers": [(b"x", b"y" * 9000)], "more_trailers": True}] * 2],
            "bytes of trailers",
        ),
        *(([START, BODY, {**SUM, "headers": [(name, b"1")]}], "may not be a trailer") for name in NOT_IN_TRAILERS),
    ],
)
def test_trailers_that_can_t_be_sent_are_the_application_s_failure(messages: Any, error: str) -> None:
    with serving_asgi(says(*messages)) as front, pytest.raises(Failed, match=error):
        front.ask()


def test_more_trailers_than_announced_are_too_late() -> None:
    with serving_asgi(says(START, BODY, SUM, SUM)) as front:
        first, second = front.request(), front.request()
        assert front.answer(first).trailers == b"x-sum: 7\r\n"
        assert front.answer(second).trailers == b"x-sum: 7\r\n"
        assert "did not announce" in front.log[0]


def test_trailers_for_a_client_that_has_left_are_no_failure() -> None:
    raised: list[str] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            raise ValueError
        await receive()
        await send(START)
        await send(MORE)
        await receive()
        for message in (BODY, SUM, SUM):
            try:
                await send(message)
            except Exception as error:
                raised.append(type(error).__name__)

    with serving_asgi(app) as front:
        number = front.request()
        assert front.next_frame()[0] == frames.ANSWER
        front.tell(frames.DISCONNECT, number)
        assert front.next_frame() == (frames.FAILED, number, b"")
    assert raised == ["RuntimeError"]  # the third, which nobody asked for
