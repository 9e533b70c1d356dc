"""A connection of HTTP/2 as the front uses it: answers, endings, deadlines. Transcripts; the corpus has the frames."""

from __future__ import annotations

from collections.abc import Callable

import hpack
import pytest

from pyserve.http.h2 import frames as f
from pyserve.http.h2.sending import Settings
from tests.support import h2_corpus
from tests.support.h2_corpus import turns
from tests.support.h2_sessions import SETTINGS, Session

GET = "HEADERS 1 END_STREAM END_HEADERS | GET /"
POST = "HEADERS 1 END_HEADERS | POST /"


def session(*lines: str, settings: Settings = SETTINGS, answers: int = -1) -> Session:
    """A session in which this has come, and been answered with what there is to say about SETTINGS."""
    made = Session(settings=settings, answers=answers)
    for turn in turns([*lines]):
        made.turn([turn])
    made.sent = b""
    return made


def come(made: Session, *lines: str) -> list[str]:
    """Let this come; return the events."""
    before = len(made.events)
    for turn in turns([*lines], bare=True):
        made.turn([turn])
    return made.events[before:]


def sent(made: Session) -> list[str]:
    """Return what has gone out since the last call."""
    data, made.sent = made.sent + made.connection.data_to_send(), b""
    return [*h2_corpus.sent_frames(data)]


# Answers.


def test_a_whole_answer_is_a_head_and_its_data() -> None:
    made = session(GET)
    assert made.connection.send_answer(1, 200, b"x-a: b\r\n", b"date: x\r\n", 2, b"hi") == 2
    data = made.connection.data_to_send()
    assert [*h2_corpus.sent_frames(data)] == ["HEADERS 1", "DATA 1 END_STREAM 2 bytes"]
    assert [tuple(field) for field in hpack.Decoder().decode(data[9 : 9 + data[2]])] == [
        *((":status", "200"), ("x-a", "b"), ("date", "x"), ("content-length", "2")),
    ]
    assert made.connection.open_streams == 0


def test_an_answer_without_a_body_ends_with_its_head() -> None:
    made = session(GET)
    made.connection.send_answer(1, 304, b"", b"", -1, b"")
    assert sent(made) == ["HEADERS 1 END_STREAM"]


def test_an_answer_in_pieces_has_hints_before_it_and_trailers_behind_it() -> None:
    made = session(GET)
    connection = made.connection
    connection.send_head(1, 103, b"link: </a.css>\r\n")
    connection.send_head(1, 200, b"x-a: b\r\n")
    assert connection.send_data(1, b"hello", False) == 5
    assert connection.send_data(1, b"", False) == 0
    connection.send_trailers(1, b"x-sum: 5\r\n")
    assert sent(made) == ["HEADERS 1", "HEADERS 1", "DATA 1 5 bytes", "HEADERS 1 END_STREAM"]
    assert connection.open_streams == 0


def test_the_end_may_come_alone() -> None:
    made = session(GET)
    made.connection.send_head(1, 200, b"")
    made.connection.send_data(1, b"", True)
    assert sent(made) == ["HEADERS 1", "DATA 1 END_STREAM 0 bytes"]


def test_a_large_head_goes_in_several_frames() -> None:
    made = session(GET)
    made.connection.send_head(1, 200, b"x-a: %b\r\n" % (b"v" * 40_000), end_stream=True)
    data = made.connection.data_to_send()
    assert [*h2_corpus.sent_frames(data)] == ["HEADERS 1 END_STREAM", "CONTINUATION 1", "CONTINUATION 1"]
    assert data[4] == f.END_STREAM
    assert data.count(b"\x09\x04\0\0\0\x01") == 1


def test_what_is_said_about_a_stream_that_is_over_is_dropped() -> None:
    made = session(GET, "RST_STREAM 1 CANCEL")
    connection = made.connection
    assert connection.send_answer(1, 200, b"", b"", 2, b"hi") == 0
    connection.send_head(1, 200, b"")
    connection.send_trailers(1, b"")
    assert connection.send_data(1, b"x", True) == 0
    assert connection.room(1) == 0
    connection.return_credit(1, 5)
    connection.ignore_body(1)
    connection.reset(1, f.CANCEL)
    assert connection.priority(1) == (3, False)
    assert sent(made) == []


def test_a_clients_smaller_table_is_acknowledged_once_in_the_next_head() -> None:
    made = session("SETTINGS 0 HEADER_TABLE_SIZE=0", GET, "HEADERS 3 END_STREAM END_HEADERS | GET /")
    decoder = hpack.Decoder()
    decoder.max_allowed_table_size = 0
    for stream in (1, 3):
        made.connection.send_answer(stream, 200, b"x-a: b\r\n", b"", 0, b"")
        data = made.connection.data_to_send()
        assert data[9:10] == (b"\x20" if stream == 1 else b"\x88")
        decoder.decode(data[9:])


def test_room_is_what_both_windows_have() -> None:
    made = session("SETTINGS 0 INITIAL_WINDOW_SIZE=70000", GET)
    assert made.connection.room(1) == 65_535
    come(made, "WINDOW_UPDATE 0 100000")
    assert made.connection.room(1) == 70_000
    come(made, "SETTINGS 0 INITIAL_WINDOW_SIZE=0")
    assert made.connection.room(1) == 0


def test_priorities_are_what_the_client_said_last() -> None:
    made = session(
        "PRIORITY_UPDATE 0 # 00 00 00 05 75 3d 30",
        *("HEADERS 1 END_STREAM END_HEADERS | GET / | priority: u=1, i", "HEADERS 3 END_STREAM END_HEADERS | GET /"),
        "HEADERS 5 END_STREAM END_HEADERS | GET / | priority: u=6",
    )
    priority = made.connection.priority
    assert [priority(stream) for stream in (1, 3, 5)] == [(1, True), (3, False), (0, False)]
    come(made, "PRIORITY_UPDATE 0 # 00 00 00 01 75 3d 37")
    assert priority(1) == (7, False)


def test_room_is_made_in_order_of_urgency() -> None:
    made = session(
        "SETTINGS 0 INITIAL_WINDOW_SIZE=1000000",
        *(f"HEADERS {stream} END_STREAM END_HEADERS | GET / | priority: u={7 - stream}" for stream in (1, 3, 5)),
        answers=100_000,
    )
    for _ in range(3):
        assert come(made, "WINDOW_UPDATE 0 1000") == ["room 5", "room 3", "room 1"]


def test_answers_that_are_of_use_in_parts_get_room_in_turn() -> None:
    made = session(
        "SETTINGS 0 INITIAL_WINDOW_SIZE=1000000",
        *(f"HEADERS {stream} END_STREAM END_HEADERS | GET / | priority: i" for stream in (1, 3, 5)),
        answers=100_000,
    )
    sent(made)
    data = []
    for _ in range(6):
        come(made, "WINDOW_UPDATE 0 1000")
        data += sent(made)
    assert data == [f"DATA {stream} 1000 bytes" for stream in (3, 5, 1)] * 2


# Bodies.


def test_credit_is_returned_at_half_a_window_and_only_for_what_came() -> None:
    made = session(POST, "DATA 1 # 00 x16384 * 4", answers=-2)
    connection = made.connection
    connection.return_credit(1, 65_535)
    assert sent(made) == []
    connection.return_credit(1, 1_000_000)
    assert sent(made) == ["WINDOW_UPDATE 1 65536"]


def test_the_connections_credit_comes_back_of_streams_that_are_over() -> None:
    lines = ["HEADERS 1+ END_HEADERS | POST / * 4"]
    for stream in (1, 3, 5, 7):
        lines += [f"DATA {stream} # 00 x16384 * 8", f"RST_STREAM {stream} CANCEL"]
    made = session(*lines, answers=-2)
    assert not made.connection.is_over
    come(made, "HEADERS 9 END_HEADERS | POST /", "DATA 9 # 00 x16384 * 8")
    assert not made.connection.is_over


def test_no_room_is_made_in_a_body_that_has_ended() -> None:
    made = session(POST, "DATA 1 END_STREAM # 00 x16384", settings=Settings(initial_window=16_384), answers=-2)
    made.connection.return_credit(1, 16_384)
    assert sent(made) == []


def test_an_ignored_body_is_taken_and_its_end_is_told() -> None:
    made = session(POST)
    made.connection.ignore_body(1)
    assert come(made, "DATA 1 = abc", "DATA 1 END_STREAM = d") == ["end 1"]


def test_a_body_behind_its_answer_is_taken_up_to_a_limit() -> None:
    made = session(POST, "DATA 1 = abc")
    made.connection.send_answer(1, 200, b"", b"", 0, b"")
    assert sent(made) == ["HEADERS 1 END_STREAM"]
    assert come(made, "DATA 1 # 00 x16384 * 3") == []
    assert sent(made) == []
    assert come(made, "DATA 1 # 00 x16384 * 2") == []
    assert sent(made) == []  # not in one read with the answer, which some clients would take for lost
    made.pass_time(0.5)
    assert sent(made) == ["RST_STREAM 1 NO_ERROR"]
    assert made.connection.open_streams == 0


def test_an_answer_to_too_much_of_a_body_is_not_followed_by_its_reset_at_once() -> None:
    made = session(POST, "DATA 1 # 00 x16384 * 5")
    made.connection.ignore_body(1)
    made.connection.send_answer(1, 413, b"", b"", 0, b"")
    assert "RST_STREAM 1 NO_ERROR" not in sent(made)
    made.pass_time(0.5)
    assert sent(made) == ["RST_STREAM 1 NO_ERROR"]


def test_a_body_that_ends_behind_its_answer_ends_the_stream() -> None:
    made = session(POST)
    made.connection.send_answer(1, 200, b"", b"", 0, b"")
    assert come(made, "DATA 1 END_STREAM = abc") == []
    assert made.connection.open_streams == 0


def test_a_body_behind_its_answer_is_not_waited_for_longer_than_that() -> None:
    made = session(POST)
    made.connection.send_answer(1, 200, b"", b"", 0, b"")
    made.pass_time(9)
    assert "RST_STREAM 1 NO_ERROR" not in sent(made)
    made.pass_time(1)
    assert sent(made) == ["RST_STREAM 1 NO_ERROR"]


# Deadlines.


@pytest.mark.parametrize(
    ("lines", "code"),
    [
        (["HEADERS 1 END_STREAM # 82"], "ENHANCE_YOUR_CALM"),
        (["raw # 00 00 08 06"], "ENHANCE_YOUR_CALM"),
        (["raw # 00"], "ENHANCE_YOUR_CALM"),
        (["raw # 00 00 05 01 05 00 00 00 01 82"], "ENHANCE_YOUR_CALM"),
    ],
    ids=["a block", "a frame's header", "a byte", "a frame"],
)
def test_what_was_begun_has_to_end_in_time(lines: list[str], code: str) -> None:
    made = session(*lines)
    made.pass_time(9)
    assert made.events == []
    made.pass_time(2)
    assert made.events == [f"failed {code}"]


def test_a_body_may_take_longer_than_a_head() -> None:
    made = session(POST, "raw # 00 40 00 00 00 00 00 00 01 61")
    made.pass_time(30)
    assert made.events == ["request 1 POST /"]


def test_a_byte_now_and_then_does_not_save_a_block() -> None:
    made = session("HEADERS 1 END_STREAM # 82")
    for _ in range(11):
        come(made, "CONTINUATION 1 # 84")
        made.pass_time(1)
    assert made.events == ["failed ENHANCE_YOUR_CALM"]


def test_a_busy_client_may_always_be_in_the_middle_of_a_frame() -> None:
    made = session()
    for _ in range(30):
        come(made, "raw # 00 00 08 06 00")
        made.pass_time(1)
        come(made, "raw # 00 00 00 00, 01 x8")
    assert made.events == []


@pytest.mark.parametrize("start", [b"", f.PREFACE[:10], f.PREFACE], ids=["nothing", "half a preface", "a preface"])
def test_the_preface_has_to_come_in_time(start: bytes) -> None:
    made = Session()
    made.turn([start])
    made.pass_time(11)
    assert made.events == ["failed PROTOCOL_ERROR"]


def test_settings_have_to_be_acknowledged_in_time() -> None:
    made = Session()
    made.turn([f.PREFACE + f.frame(f.SETTINGS, 0, 0)])
    made.pass_time(9)
    assert made.events == []
    made.pass_time(2)
    assert made.events == ["failed SETTINGS_TIMEOUT"]


def test_a_client_that_holds_its_answer_back_loses_it() -> None:
    made = session("SETTINGS 0 INITIAL_WINDOW_SIZE=0", GET, answers=100)
    made.pass_time(59)
    assert made.events == ["request 1 GET /"]
    made.pass_time(2)
    assert made.events[1:] == ["broken 1 CANCEL"]
    assert sent(made)[-1] == "RST_STREAM 1 CANCEL"


def test_a_client_that_drips_loses_its_answer_too() -> None:
    made = session("SETTINGS 0 INITIAL_WINDOW_SIZE=0", GET, answers=100_000)
    for _ in range(61):
        come(made, "WINDOW_UPDATE 1 400")
        made.pass_time(1)
    assert made.events[-1] == "broken 1 CANCEL"


def test_a_client_that_is_slow_but_fair_gets_its_answer() -> None:
    made = session("SETTINGS 0 INITIAL_WINDOW_SIZE=0", GET, answers=100_000)
    for _ in range(170):
        come(made, "WINDOW_UPDATE 1 600", "WINDOW_UPDATE 0 600")
        made.pass_time(1)
    assert made.connection.open_streams == 0
    assert not [line for line in made.events if line.startswith("broken")]


# Endings.


def test_a_graceful_end_lets_through_what_was_on_its_way() -> None:
    made = session(GET)
    made.connection.close()
    assert sent(made) == ["GOAWAY 2147483647 NO_ERROR"]
    assert come(made, "HEADERS 3 END_HEADERS | POST /") == ["request 3 POST /"]
    made.connection.close()
    made.connection.close()
    assert sent(made) == ["GOAWAY 3 NO_ERROR"]
    late = ["HEADERS 5 END_HEADERS | POST /", "DATA 5 = abc", "RST_STREAM 5 CANCEL", "WINDOW_UPDATE 5 10"]
    assert come(made, *late, "DATA 3 END_STREAM = abc") == ["body 3 abc", "end 3"]
    made.connection.send_answer(1, 200, b"", b"", 0, b"")
    made.connection.send_answer(3, 200, b"", b"", 0, b"")
    assert sent(made) == ["HEADERS 1 END_STREAM", "HEADERS 3 END_STREAM"]
    assert made.connection.open_streams == 0


def test_blocks_behind_the_end_still_count_for_the_table() -> None:
    made = session(GET)
    made.connection.close()
    made.connection.close()
    come(made, "HEADERS 3 END_STREAM END_HEADERS # 82 84 87 41 01 61")
    assert come(made, "HEADERS 5 END_STREAM END_HEADERS # 82 84 87 be") == []
    assert not made.connection.is_over


ENDS: list[Callable[[Session], object]] = [
    lambda made: made.connection.abort(f.INTERNAL_ERROR),
    lambda made: come(made, "PING 1 # 00 x8"),
]


@pytest.mark.parametrize("end", ENDS, ids=["aborted", "failed"])
def test_nothing_is_read_or_sent_behind_the_end(end: Callable[[Session], object]) -> None:
    made = session(GET)
    end(made)
    assert made.connection.is_over
    (line,) = sent(made)
    assert line in ("GOAWAY 1 INTERNAL_ERROR", "GOAWAY 1 PROTOCOL_ERROR")
    assert come(made, "HEADERS 3 END_STREAM END_HEADERS | GET /") == []
    made.connection.close()
    made.connection.abort(f.NO_ERROR)
    made.connection.send_answer(1, 200, b"", b"", 0, b"")
    made.pass_time(100)
    assert sent(made) == []


def test_a_reset_of_ours_ends_a_stream_at_once() -> None:
    made = session(POST)
    made.connection.reset(1, f.INTERNAL_ERROR)
    assert sent(made) == ["RST_STREAM 1 INTERNAL_ERROR"]
    assert come(made, "DATA 1 END_STREAM = abc") == []
    assert sent(made) == []
