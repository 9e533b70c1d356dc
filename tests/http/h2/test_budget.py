"""What a connection puts up with: busy clients are let through, floods end, and memory stays small meanwhile."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable

import pytest

from pyserve.http.h2 import frames as f
from tests.support.h2_corpus import OPENING, block, turns
from tests.support.h2_sessions import Session, block_reader

HEAD = block("GET /")
MAX_ROUNDS = 3000


def opened(answers: int = -1) -> Session:
    made = Session(answers=answers)
    made.turn([OPENING])
    return made


def head(stream: int, flags: int = f.END_HEADERS | f.END_STREAM, data: bytes = HEAD) -> bytes:
    return f.frame(f.HEADERS, flags, stream, data)


def rounds(made: Session, make: Callable[[int], bytes], seconds: float, limit: int = MAX_ROUNDS) -> int:
    """Let frames come again and again, so many seconds apart; return how many rounds it took to end the connection."""
    for number in range(limit):
        made.turn([make(number)])
        if made.connection.is_over:
            return number
        if seconds:
            made.pass_time(seconds)
    return limit


def cancelled(number: int) -> bytes:
    return head(2 * number + 1) + f.rst_stream(2 * number + 1, f.CANCEL)


def test_rapid_reset_ends_at_two_hundred() -> None:
    made = opened()
    assert 195 <= rounds(made, cancelled, 0) <= 200
    assert made.events[-1] == "failed ENHANCE_YOUR_CALM"
    assert made.connection.open_streams == 0


def test_rapid_reset_that_takes_its_time_ends_too() -> None:
    made = opened()
    burst = 20
    made_rounds = rounds(
        made, lambda number: b"".join(cancelled(number * burst + other) for other in range(burst)), 0.25, 100
    )
    assert made_rounds < 20


def test_a_page_that_is_left_while_a_hundred_answers_are_under_way_is_no_attack() -> None:
    made = opened()
    for page in range(10):
        streams = range(200 * page + 1, 200 * page + 201, 2)
        made.turn([b"".join(head(stream) for stream in streams)])
        made.turn([b"".join(f.rst_stream(stream, f.CANCEL) for stream in streams)])
        made.pass_time(5)
    assert not made.connection.is_over


def test_a_proxy_may_cancel_for_many_clients_what_it_asks_for() -> None:
    """A thousand requests a second, five in a hundred cancelled."""
    made = opened(answers=10)

    def quarter_of_a_second(number: int) -> bytes:
        streams = range(500 * number + 1, 500 * number + 501, 2)
        return b"".join([cancelled(stream // 2) if stream % 40 == 1 else head(stream) for stream in streams])

    for number in range(120):
        data = quarter_of_a_second(number)
        size = len(data) // 5
        for at in range(0, len(data), size):
            made.turn([data[at : at + size]])
        made.turn([f.window_update(0, 4000)])
        made.pass_time(0.25)
    assert not made.connection.is_over


def test_a_client_that_gives_back_every_byte_at_once_is_no_attack() -> None:
    made = opened(answers=10)
    for number in range(1, 2000):
        made.turn([head(2 * number + 1)])
        made.turn([f.window_update(2 * number + 1, 10) + f.window_update(0, 10)])
    assert not made.connection.is_over


MADE_YOU_RESET: dict[str, Callable[[int], bytes]] = {
    "a WINDOW_UPDATE of 0": lambda stream: head(stream) + f.window_update(stream, 0),
    "a window too large": lambda stream: head(stream) + f.window_update(stream, f.MAX_WINDOW),
    "PRIORITY of another size": lambda stream: head(stream) + f.frame(f.PRIORITY, 0, stream, b"1234"),
    "a stream that depends on itself": lambda stream: (
        head(stream) + f.frame(f.PRIORITY, 0, stream, stream.to_bytes(4, "big") + b"\x10")
    ),
    "DATA behind the end": lambda stream: head(stream) + f.frame(f.DATA, f.END_STREAM, stream, b"x"),
    "HEADERS behind the end": lambda stream: head(stream) * 2,
    "content that is too long": lambda stream: (
        head(stream, f.END_HEADERS, block("POST / | content-length: 1")) + f.frame(f.DATA, f.END_STREAM, stream, b"xy")
    ),
    "a malformed head": lambda stream: head(stream, data=block("GET / | X: y")),
}


@pytest.mark.parametrize("kind", MADE_YOU_RESET)
def test_who_makes_us_reset_streams_is_told_to_calm_down(kind: str) -> None:
    made = opened()
    ended = rounds(made, lambda number: MADE_YOU_RESET[kind](2 * number + 1), 0)
    assert 100 <= ended <= 200
    assert made.events[-1] == "failed ENHANCE_YOUR_CALM"


@pytest.mark.parametrize("per_s", [1, 50])
def test_pings_of_a_careful_client_are_answered_for_ever(per_s: int) -> None:
    made = opened()
    pings = f.frame(f.PING, 0, 0, b"12345678") * per_s
    assert rounds(made, lambda _: pings, 1, 100) == 100


def test_a_chat_of_small_messages_is_no_attack() -> None:
    made = opened(answers=0)
    made.turn([head(1, f.END_HEADERS, block("POST /"))])
    messages = f.frame(f.DATA, 0, 1, b"\x81\x85abcdhello") * 200
    assert rounds(made, lambda _: messages, 0.25, 100) == 100


def test_a_large_download_may_be_acknowledged_in_small_steps() -> None:
    made = opened(answers=3_000_000)
    made.turn([head(1)])
    update = f.window_update(0, 2048) + f.window_update(1, 2048)
    assert rounds(made, lambda _: update, 0) == MAX_ROUNDS
    assert made.connection.open_streams == 0


def test_windows_of_one_byte_end() -> None:
    made = opened(answers=1_000_000)
    made.turn([head(1)])
    update = f.window_update(0, 1) + f.window_update(1, 1)
    assert rounds(made, lambda _: update, 0) < 1000


def test_a_body_of_single_bytes_ends() -> None:
    made = opened(answers=0)
    made.turn([head(1, f.END_HEADERS, block("POST /"))])
    assert rounds(made, lambda _: f.frame(f.DATA, 0, 1, b"x"), 0) <= 1000


def test_a_table_that_changes_its_size_again_and_again_ends() -> None:
    made = opened(answers=0)
    sizes = (b"\x20", b"\x3f\xe1\x1f")
    ended = rounds(made, lambda number: head(2 * number + 1, data=sizes[number % 2] + HEAD), 0)
    assert ended < MAX_ROUNDS
    assert made.events[-1] == "failed ENHANCE_YOUR_CALM"


def test_what_is_to_be_sent_is_bounded_though_nobody_takes_it() -> None:
    made = opened()
    data = f.frame(f.PING, 0, 0, b"12345678") * 5000 + f.frame(f.SETTINGS, 0, 0) * 5000
    made.take(made.connection.receive_data(data, 0.0))
    assert len(made.connection.data_to_send()) < 1001 * 17 + 100


BOMBS: dict[str, list[str]] = {
    "fields by index": [
        "HEADERS 1 END_STREAM END_HEADERS # 82 84 87 41 01 61 40 01 61 00",
        "HEADERS 3+ END_STREAM END_HEADERS # 82 84 87 bf, be x600 * 99",
    ],
    "a large entry by index": [
        "HEADERS 1 END_STREAM END_HEADERS # 82 84 87 41 01 61 40 01 61 7f 81 17, 61 x3072",
        "HEADERS 3+ END_STREAM END_HEADERS # 82 84 87 bf, be x9 * 99",
    ],
    "cookie crumbs": [
        "HEADERS 1 END_STREAM END_HEADERS # 82 84 87 41 01 61 60 7f 01, 61 x128",
        "HEADERS 3+ END_STREAM END_HEADERS # 82 84 87 bf, be x190 * 99",
    ],
    "large literals": ["HEADERS 1+ END_STREAM END_HEADERS # 82 84 87 01 01 61 00 01 61 7f 81 37, 61 x7168 * 99"],
    "long paths": [
        "HEADERS 1 END_STREAM END_HEADERS # 82 84 87 41 01 61 40 01 61 00",
        "HEADERS 3+ END_STREAM END_HEADERS # 82 87 bf 04 7f 81 37 2f, 61 x7167, be * 99",
    ],
    "blocks without an end": ["HEADERS 1 END_STREAM # 82", "CONTINUATION 1 # 00 x1000 * 31"],
    "early priorities": ["PRIORITY_UPDATE 0 # 00 00 00 07 69 * 900"],
    "coded literals": ["HEADERS 1+ END_STREAM END_HEADERS # 82 84 87 01 01 61 00 01 61 ff 81 16, 18 x3000 * 99"],
}


@pytest.mark.parametrize("bomb", BOMBS)
def test_what_a_connection_holds_is_less_than_a_mebibyte(bomb: str) -> None:
    """With a hundred streams whose answers it holds back by a window of 0 bytes."""
    data = turns(["SETTINGS 0 INITIAL_WINDOW_SIZE=0", *BOMBS[bomb]])[0]
    blocks = block_reader()
    for seen in ("HEADERS 1 END_STREAM END_HEADERS | GET /", *BOMBS["coded literals"][:1]):
        Session(blocks, answers=0).turn(turns([seen.split(" * ")[0]]))
    tracemalloc.start()
    try:
        made = Session(blocks)
        connection = made.connection
        for event in connection.receive_data(data, 0.0):
            if hasattr(event, "head") or hasattr(event, "status"):
                connection.send_answer(event.stream, 200, b"", b"", 3, b"abc")
        connection.data_to_send()
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert held < 1024 * 1024


def test_small_messages_of_a_tunnel_are_its_own_business() -> None:
    fields = block(":method: CONNECT | :protocol: websocket | :scheme: https | :path: /chat | :authority: a")
    made = opened()
    made.turn([head(1, f.END_HEADERS, fields)])
    for _ in range(30):
        made.turn([f.frame(f.DATA, 0, 1, b"x" * 20) * 1000])
        made.connection.return_credit(1, 20_000)
    assert not made.connection.is_over
