"""WebSockets of an ASGI application over real socketpairs: what it may say when, and what becomes of what it says."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from pyserve.wire import frames
from pyserve.wire.codec import TlsPeer, pack_head, pack_peer, pack_request, unpack_answer
from pyserve.wire.frames import MESSAGE_COST, WINDOW
from tests.support.waiting import wait_until
from tests.worker.fake_front import PEER, FakeFront, parse_block, serving_asgi

App = Callable[[dict[str, Any], Any, Any], Awaitable[None]]
FIELDS = ((b"host", b"test"), (b"sec-websocket-protocol", b"chat, b"))


def open_socket(front: FakeFront, fields: Any = FIELDS, peer: Any = PEER) -> int:
    number = front.next_number()
    head = front.head("GET", "/ws", fields=fields, query=b"q=1")
    front.send(frames.SOCKET, number, pack_request(0, pack_peer(peer), pack_head(head)))
    return number


def next_of(front: FakeFront, number: int) -> tuple[int, bytes]:
    """Return kind and payload of the next frame of a stream; log lines are kept."""
    while True:
        kind, stream, payload = front.next_frame()
        if kind == frames.LOG:
            front.log.append(payload[1:].decode())
            continue
        assert stream == number
        return kind, payload


def accepted(front: FakeFront, **options: Any) -> int:
    number = open_socket(front, **options)
    assert next_of(front, number)[0] == frames.SOCKET_ACCEPT
    return number


def close_of(front: FakeFront, number: int) -> tuple[int, str]:
    kind, payload = next_of(front, number)
    assert kind == frames.SOCKET_CLOSE, (kind, payload)
    return frames.unpack_close(payload)


def tell_gone(front: FakeFront, number: int, code: int = 1001, reason: str = "bye") -> None:
    front.data.sendall(frames.close_frame(frames.SOCKET_GONE, number, code, reason))


async def accept(receive: Any, send: Any, **options: Any) -> None:
    assert await receive() == {"type": "websocket.connect"}
    await send({"type": "websocket.accept", **options})


async def echo(scope: Any, receive: Any, send: Any) -> None:
    await accept(receive, send)
    while (message := await receive())["type"] == "websocket.receive":
        await send({**message, "type": "websocket.send"})


def test_the_scope_is_that_of_the_specification() -> None:
    scopes: list[dict[str, Any]] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            raise ValueError("not known")
        scopes.append(scope)
        await accept(receive, send)

    with serving_asgi(app) as front:
        for scheme in ("http", "https"):
            number = accepted(front, peer=PEER._replace(scheme=scheme))
            assert close_of(front, number) == (1000, "")
    assert scopes[0] == {
        "type": "websocket",
        "asgi": {"version": "3.0", "spec_version": "2.4"},
        "http_version": "1.1",
        "scheme": "ws",
        "path": "/ws",
        "raw_path": b"/ws",
        "query_string": b"q=1",
        "root_path": "",
        "headers": list(FIELDS),
        "client": ("192.0.2.7", 40001),
        "server": ("127.0.0.1", 8000),
        "subprotocols": ["chat", "b"],
        "state": {},
        "extensions": {"websocket.http.response": {}},
    }
    assert scopes[1]["scheme"] == "wss"


def test_the_scope_of_an_encrypted_one_says_so() -> None:
    scopes: list[dict[str, Any]] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        scopes.append(scope)
        await accept(receive, send)

    tls = TlsPeer(*(0x0304, 0x1301, "", "", "PEM", (), None, None))
    with serving_asgi(app) as front:
        accepted(front, peer=PEER._replace(scheme="https", tls=tls))
    assert (scopes[-1]["scheme"], scopes[-1]["extensions"]["tls"]["tls_version"]) == ("wss", 0x0304)


@pytest.mark.parametrize("use_uvloop", [False, True], ids=["asyncio", "uvloop"])
def test_messages_come_back(use_uvloop: bool) -> None:
    with serving_asgi(echo, use_uvloop=use_uvloop) as front:
        number = accepted(front)
        for kind, payload in ((frames.SOCKET_TEXT, "é".encode()), (frames.SOCKET_BINARY, b"\xff\0"), (65, b"")):
            front.send(kind, number, payload)
            assert next_of(front, number) == (kind, payload)
        tell_gone(front, number)
        assert close_of(front, number) == (1000, "")


def test_a_message_in_pieces_is_received_whole_and_sent_in_pieces() -> None:
    with serving_asgi(echo) as front:
        number = accepted(front)
        whole = b"".join(bytes((one,)) * frames.MAX_PAYLOAD for one in range(3)) + b"end"
        at = 0
        while len(whole) - at > frames.MAX_PAYLOAD:
            front.send(frames.SOCKET_PIECE, number, whole[at : at + frames.MAX_PAYLOAD])
            at += frames.MAX_PAYLOAD
        front.send(frames.SOCKET_BINARY, number, whole[at:])
        got = b""
        while True:
            kind, payload = next_of(front, number)
            if kind == frames.CREDIT_BODY:
                continue
            got += payload
            if kind == frames.SOCKET_BINARY:
                break
            assert kind == frames.SOCKET_BINARY_PIECE
        assert got == whole


def test_what_is_in_pieces_is_paid_back_at_once() -> None:
    """Nobody can take it before it is whole, so it must not hold up its own rest."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await accept(receive, send)
        assert (await receive())["type"] == "websocket.disconnect"

    with serving_asgi(app) as front:
        number = accepted(front)
        for _ in range(2):
            front.send(frames.SOCKET_PIECE, number, bytes(frames.MAX_PAYLOAD))
        kind, payload = next_of(front, number)
        assert (kind, frames.number(payload)) == (frames.CREDIT_BODY, 2 * (frames.MAX_PAYLOAD + MESSAGE_COST))
        tell_gone(front, number)
        assert close_of(front, number) == (1000, "")


def test_whole_messages_are_paid_back_when_they_are_taken() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await accept(receive, send)
        assert (await receive())["text"] == "go"
        while (await receive())["type"] == "websocket.receive":
            pass

    with serving_asgi(app) as front:
        number = accepted(front)
        front.send(frames.SOCKET_TEXT, number, b"go")
        for _ in range(14):
            front.send(frames.SOCKET_BINARY, number, bytes(10_000))
        kind, payload = next_of(front, number)
        assert kind == frames.CREDIT_BODY
        assert frames.number(payload) >= WINDOW // 2
        tell_gone(front, number)
        assert close_of(front, number) == (1000, "")


def test_send_waits_for_credit_and_messages_are_never_mixed() -> None:
    big = bytes(3 * WINDOW)

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await accept(receive, send)
        await asyncio.gather(
            send({"type": "websocket.send", "bytes": big}),
            send({"type": "websocket.send", "text": "small"}),
            send({"type": "websocket.send", "bytes": big}),
        )

    with serving_asgi(app) as front:
        number = accepted(front)
        seen: list[tuple[int, int]] = []
        size = held = 0
        while True:
            kind, payload = next_of(front, number)
            if kind == frames.SOCKET_CLOSE:
                break
            size += len(payload)
            held += len(payload) + MESSAGE_COST
            assert held <= WINDOW
            if held > WINDOW - 2 * (frames.MAX_PAYLOAD + MESSAGE_COST):
                front.tell(frames.CREDIT, number, held)
                held = 0
            if kind in (frames.SOCKET_TEXT, frames.SOCKET_BINARY):
                seen.append((kind, size))
                size = 0
        assert sorted(seen) == [
            (frames.SOCKET_TEXT, 5),
            (frames.SOCKET_BINARY, len(big)),
            (frames.SOCKET_BINARY, len(big)),
        ]


def outcome(
    script: Callable[[Any, Any, Any], Awaitable[None]], *, before: Callable[[FakeFront, int], None] | None = None
) -> tuple[list[tuple[int, bytes]], list[str]]:
    """Run a WebSocket to the end of its stream; return its frames and the lines for the log."""
    with serving_asgi(script) as front:
        number = open_socket(front)
        if before is not None:
            before(front, number)
        got: list[tuple[int, bytes]] = []
        while True:
            kind, payload = next_of(front, number)
            got.append((kind, payload))
            if kind in (frames.SOCKET_CLOSE, frames.FAILED, frames.DATA_LAST) or (
                kind == frames.ANSWER and payload[2] & 1
            ):
                break
        # What is said of the application after the end of its stream comes before the answer to the next request.
        other = open_socket(front)
        while True:
            kind, stream, payload = front.next_frame()
            if kind == frames.LOG:
                front.log.append(payload[1:].decode())
            elif stream == other:
                break
        return got, front.log


def test_accepting_has_a_subprotocol_and_fields() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await accept(receive, send, subprotocol="b", headers=[(b"X-A", b"1"), (b"set-cookie", b"c=d")])

    (kind, payload), *_ = outcome(app)[0]
    assert kind == frames.SOCKET_ACCEPT
    protocol, block = frames.unpack_accept(payload)
    assert (protocol, parse_block(block)) == ("b", [("x-a", "1"), ("set-cookie", "c=d")])


@pytest.mark.parametrize(
    ("message", "words"),
    [
        ({"subprotocol": "other"}, "none of those that the client offers"),
        ({"headers": [(b"sec-websocket-protocol", b"chat")]}, "not the application's to send"),
        ({"headers": [(b"sec-websocket-accept", b"x")]}, "not the application's to send"),
        ({"headers": [(b"x", b"a\r\nb: c")]}, "control character"),
    ],
)
def test_what_can_t_be_accepted_with_raises(message: dict[str, Any], words: str) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await accept(receive, send, **message)

    [(kind, payload)], _ = outcome(app)
    assert kind == frames.FAILED
    assert words in payload.decode()


def test_a_close_before_accepting_is_403() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "websocket.close", "code": 4000})
        assert (await receive())["type"] == "websocket.disconnect"

    [(kind, payload)], log = outcome(app)
    assert (kind, unpack_answer(payload)[0], log) == (frames.ANSWER, 403, [])


def test_returning_before_accepting_is_403_and_a_line_in_the_log() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()

    [(kind, payload)], log = outcome(app)
    assert (kind, unpack_answer(payload)[0]) == (frames.ANSWER, 403)
    assert "without accepting or refusing" in log[0]


def test_raising_is_told_with_its_traceback() -> None:
    async def before(scope: Any, receive: Any, send: Any) -> None:
        raise ValueError("before")

    async def after(scope: Any, receive: Any, send: Any) -> None:
        await accept(receive, send)
        raise ValueError("behind")

    [(kind, payload)], _ = outcome(before)
    assert kind == frames.FAILED
    assert "ValueError: before" in payload.decode()
    _, (kind, payload) = outcome(after)[0]
    assert kind == frames.FAILED
    assert "ValueError: behind" in payload.decode()


def test_a_refusal_may_be_an_answer_of_its_own() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "websocket.http.response.start", "status": 451, "headers": [(b"x-a", b"1")]})
        await send({"type": "websocket.http.response.body", "body": b"no", "more_body": True})
        await send({"type": "websocket.http.response.body", "body": b"pe"})
        assert (await receive())["type"] == "websocket.disconnect"

    (kind, payload), *rest = outcome(app)[0]
    status, _, _, block, body = unpack_answer(payload)
    assert (kind, status, parse_block(block)) == (frames.ANSWER, 451, [("x-a", "1")])
    assert body + b"".join(piece for _, piece in rest) == b"nope"
    assert rest[-1][0] == frames.DATA_LAST


def test_a_refusal_that_has_no_end_fails() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "websocket.http.response.start", "status": 451, "headers": []})

    [(kind, payload)], _ = outcome(app)
    assert (kind, b"without completing its refusal" in payload) == (frames.FAILED, True)


MISUSES: dict[str, tuple[list[dict[str, Any]], str]] = {
    "a message too early": ([{"type": "websocket.send", "text": "x"}], "too early"),
    "accepted twice": ([{"type": "websocket.accept"}, {"type": "websocket.accept"}], "already sent"),
    "nothing to send": ([{"type": "websocket.accept"}, {"type": "websocket.send"}], "without text or bytes"),
    "text that is none": ([{"type": "websocket.accept"}, {"type": "websocket.send", "text": b"x"}], "must be a str"),
    "bytes that are none": ([{"type": "websocket.accept"}, {"type": "websocket.send", "bytes": "x"}], "must be bytes"),
    "a surrogate": ([{"type": "websocket.accept"}, {"type": "websocket.send", "text": "\ud800"}], "surrogates"),
    "a code that may not be sent": ([{"type": "websocket.accept"}, {"type": "websocket.close", "code": 1006}], "1006"),
    "a reason that is too long": (
        [{"type": "websocket.accept"}, {"type": "websocket.close", "reason": "é" * 62}],
        "more than 123 bytes",
    ),
    "a body without its head": ([{"type": "websocket.http.response.body"}], "before websocket.http.response.start"),
    "a refusal behind the acceptance": (
        [{"type": "websocket.accept"}, {"type": "websocket.http.response.start", "status": 400}],
        "after the WebSocket was accepted",
    ),
    "a message of HTTP": ([{"type": "http.response.start", "status": 200, "headers": []}], "unexpected ASGI message"),
    "a message without a sense": ([{"type": "websocket.nonsense"}], "unexpected ASGI message"),
}


@pytest.mark.parametrize("name", MISUSES)
def test_misuse_raises(name: str) -> None:
    messages, words = MISUSES[name]

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        for message in messages:
            await send(message)

    kind, payload = outcome(app)[0][-1]
    assert kind == frames.FAILED
    assert words in payload.decode()


def test_what_follows_a_close_raises_and_is_logged() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await accept(receive, send)
        await send({"type": "websocket.close", "code": 4001, "reason": "enough"})
        assert await receive() == {"type": "websocket.disconnect", "code": 4001, "reason": "enough"}
        with pytest.raises(RuntimeError, match="already closed"):
            await send({"type": "websocket.close"})
        await send({"type": "websocket.send", "text": "x"})

    got, log = outcome(app)
    assert (got[-1][0], frames.unpack_close(got[-1][1])) == (frames.SOCKET_CLOSE, (4001, "enough"))
    assert "after it was closed" in log[0]


def test_a_client_that_leaves_is_told_behind_what_it_sent() -> None:
    seen: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await accept(receive, send)
        seen.extend([await receive() for _ in range(3)])
        for message in ({"type": "websocket.send", "text": "x"}, {"type": "websocket.close"}):
            with pytest.raises(OSError, match="client has gone"):
                await send(message)
        seen.append("end")

    with serving_asgi(app) as front:
        number = accepted(front)
        front.send(frames.SOCKET_TEXT, number, b"last words")
        tell_gone(front, number, 4002, "é")
        assert close_of(front, number) == (1000, "")
    disconnect = {"type": "websocket.disconnect", "code": 4002, "reason": "é"}
    assert seen == [{"type": "websocket.receive", "text": "last words"}, disconnect, disconnect, "end"]


def test_what_came_before_a_close_may_be_answered_and_the_front_hears_when_it_was() -> None:
    with serving_asgi(echo) as front:
        number = accepted(front)
        front.send(frames.SOCKET_TEXT, number, b"last words")
        front.data.sendall(frames.close_frame(frames.SOCKET_CLOSED, number, 1000, ""))
        assert next_of(front, number) == (frames.SOCKET_TEXT, b"last words")
        assert next_of(front, number) == (frames.SOCKET_TOLD, b"")
        assert close_of(front, number) == (1000, "")


def test_what_an_application_raises_because_its_client_left_is_no_failure() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await accept(receive, send)
        while True:
            await send({"type": "websocket.send", "bytes": bytes(1000)})

    with serving_asgi(app) as front:
        number = accepted(front)
        tell_gone(front, number)
        while (last := next_of(front, number))[0] != frames.FAILED:
            assert last[0] == frames.SOCKET_BINARY
        assert last == (frames.FAILED, b"")


def test_more_than_may_be_open_are_given_back_and_do_not_count_as_running() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "websocket":
            await echo(scope, receive, send)
        else:
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": b"http"})

    with serving_asgi(app, concurrency=1, websockets=2) as front:
        first, second = accepted(front), accepted(front)
        third = open_socket(front)
        assert next_of(front, third) == (frames.BUSY, b"")
        assert front.ask().body == b"http"
        tell_gone(front, first)
        assert close_of(front, first)[0] == 1000
        accepted(front)
        assert second


def test_a_worker_that_is_ended_by_somebody_else_closes_with_1012() -> None:
    front: FakeFront
    seen: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await accept(receive, send)
        seen.append(await receive())

    with serving_asgi(app) as front:
        number = accepted(front)
        front.stop()
        assert close_of(front, number) == (1012, "")
    assert seen == [{"type": "websocket.disconnect", "code": 1012, "reason": ""}]


def test_a_front_that_dies_is_a_client_that_has_gone() -> None:
    seen: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await accept(receive, send)
        seen.append(await receive())

    with serving_asgi(app) as front:
        accepted(front)
        front.data.close()
        wait_until(lambda: seen, "the application is told")
    assert seen == [{"type": "websocket.disconnect", "code": 1006, "reason": ""}]
