"""``h2`` agrees: what we accept it accepts as the same requests, and what we send its client understands."""

from __future__ import annotations

from typing import Any

import h2.config
import h2.connection
import h2.events
import h2.settings
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pyserve.http.h2.connection import Connection
from pyserve.http.h2.sending import Settings
from tests.support import h2_corpus
from tests.support.h2_corpus import Case
from tests.support.h2_peer import Peer
from tests.support.h2_sessions import Session, block_reader

CASES = h2_corpus.load()
BLOCKS = block_reader()

# What ``h2`` refuses and we let through, with the reason.
STRICTER = {
    "6.8 GOAWAY of a client, and what it asked for before": "what is under way goes on (RFC 9113 §6.8)",
    "5.1.2 one stream too many": "an error of that stream alone (RFC 9113 §5.1.2)",
    "5.1.2 the table is kept though a stream is refused": "the same",
    "8.3.1 fine: Host in another case": "hosts have no case (RFC 9110 §4.2.3)",
}


@pytest.mark.parametrize(
    "case",
    [case for case in CASES if case.turns[0].startswith(b"PRI * HTTP/2.0\r\n\r\nSM")],
    ids=lambda case: case.name,
)
def test_what_we_accept_of_the_corpus_h2_accepts_as_the_same(case: Case) -> None:
    ours, theirs = Session(BLOCKS, answers=case.answers), Peer(case.answers)
    for turn in case.turns:
        ours.turn([turn])
        theirs.turn(turn)
    if case.name in STRICTER:
        assert theirs.fault or theirs.resets
        return
    bad = [line for line in ours.events if line.split(" ")[0] in ("failed", "broken", "refused")]
    if not bad:
        assert theirs.fault == ""
    for stream, request in ours.requests.items():
        if theirs.fault and stream not in theirs.heads:
            continue  # it has refused more, and before
        pseudo = dict(theirs.heads[stream][:5])
        assert request.method.encode() == pseudo[b":method"]
        assert request.raw_target == pseudo[b":path"]
        plain = [
            field for field in theirs.heads[stream] if field[0][:1] != b":" and field[0] not in (b"host", b"cookie")
        ]
        assert [field for field in request.fields if field[0] not in (b"host", b"cookie")] == plain
        crumbs = [value for name, value in theirs.heads[stream] if name == b"cookie"]
        assert (request.field(b"cookie") or b"") == b"; ".join(crumbs)
        if not bad and not theirs.fault:
            assert ours.bodies.get(stream, b"") == theirs.bodies.get(stream, b"")


class Talk:
    """A client of ``h2`` and a server of ours, who answer each other in any order, in pieces of any size."""

    def __init__(self) -> None:
        self.client = h2.connection.H2Connection(h2.config.H2Configuration(header_encoding=None))
        self.client.initiate_connection()
        self.server = Connection(Settings(budget=10**9, initial_window=70_000, connection_window=100_000), BLOCKS, 0.0)
        self.asked: dict[int, bytes] = {}  # bodies that were sent whole
        self.sending: dict[int, bytes] = {}
        self.came: dict[int, bytes] = {}
        self.whole: dict[int, bytes] = {}
        self.answers: dict[int, int] = {}  # what is left of each
        self.got: dict[int, int] = {}
        self.ended: set[int] = set()
        self.gone: set[int] = set()

    def ask(self, number: int, body: bytes, fields: list[tuple[bytes, bytes]]) -> None:
        head = [(b":method", b"POST"), (b":scheme", b"https"), (b":authority", b"a"), (b":path", b"/%d" % number)]
        stream = self.client.get_next_available_stream_id()
        if self.client.open_outbound_streams < 90:
            self.client.send_headers(stream, head + fields, end_stream=not body)
            self.asked[stream] = body
            self.sending[stream] = body
            self.upload()

    def upload(self) -> None:
        for stream, body in list(self.sending.items()):
            if stream in self.gone or not body:
                del self.sending[stream]
                continue
            room = min(self.client.local_flow_control_window(stream), self.client.max_outbound_frame_size)
            piece = body[:room]
            if piece:
                self.client.send_data(stream, piece, end_stream=len(piece) == len(body), pad_length=None)
                self.sending[stream] = body[len(piece) :]

    def cancel(self, number: int) -> None:
        streams = [stream for stream in self.asked if stream not in self.gone and stream not in self.ended]
        if streams:
            stream = streams[number % len(streams)]
            self.client.reset_stream(stream)
            self.gone.add(stream)

    def to_server(self, size: int) -> None:
        data = self.client.data_to_send()
        for at in range(0, len(data), size):
            for event in self.server.receive_data(data[at : at + size], 0.0):
                self.server_event(event)

    def server_event(self, event: Any) -> None:
        kind = type(event).__name__
        assert kind in ("RequestReceived", "BodyReceived", "MessageEnded", "RoomMade", "StreamReset"), vars(event)
        stream = event.stream
        if kind == "RequestReceived":
            self.came[stream] = b""
            if event.is_end:
                self.whole[stream] = b""
        elif kind == "BodyReceived":
            self.came[stream] += event.data
            self.server.return_credit(stream, len(event.data))
        elif kind == "MessageEnded":
            self.whole[stream] = self.came[stream]
        elif kind == "RoomMade":
            self.go_on(stream)

    def answer(self, size: int, *, is_early: bool = False) -> None:
        waiting = [stream for stream in (self.came if is_early else self.whole) if stream not in self.answers]
        for stream in waiting[:2]:
            taken = self.server.send_answer(stream, 200, b"x-a: b\r\n", b"", size, b"x" * size)
            self.answers[stream] = size - taken

    def go_on(self, stream: int) -> None:
        left = self.answers.get(stream, 0)
        if left:
            self.answers[stream] = left - self.server.send_data(stream, b"x" * left, True)

    def to_client(self) -> None:
        for event in self.client.receive_data(self.server.data_to_send()):
            stream = getattr(event, "stream_id", 0)
            if isinstance(event, h2.events.DataReceived):
                self.got[stream] = self.got.get(stream, 0) + len(event.data)
                self.client.acknowledge_received_data(event.flow_controlled_length, stream)
            elif isinstance(event, h2.events.StreamEnded):
                self.ended.add(stream)
            elif isinstance(event, h2.events.StreamReset):
                assert event.error_code == 0, "only of a body that is not wanted any more"
                self.gone.add(stream)
        self.upload()


steps = st.one_of(
    st.tuples(st.just("ask"), st.integers(0, 5), st.sampled_from([0, 0, 1, 300, 20_000, 90_000])),
    st.tuples(st.just("answer"), st.sampled_from([0, 5, 1_000, 20_000, 100_000]), st.booleans()),
    st.tuples(st.just("cancel"), st.integers(0, 20), st.just(0)),
    st.tuples(st.just("settings"), st.sampled_from([0, 1, 500, 65_535, 100_000]), st.sampled_from([16_384, 40_000])),
    st.tuples(st.just("ping"), st.just(0), st.just(0)),
    st.tuples(st.just("pass"), st.sampled_from([1, 7, 1_000, 100_000]), st.just(0)),
    st.tuples(st.just("pass"), st.just(100_000), st.just(0)),
)


@settings(max_examples=120, deadline=None, derandomize=True)
@given(st.lists(steps, max_size=30))
def test_a_client_of_h2_gets_what_it_asks_for(plan: list[tuple[str, int, Any]]) -> None:
    talk = Talk()
    for step, number, other in plan:
        if step == "ask":
            talk.ask(number, b"y" * other, [(b"x-a", b"v%d" % number), (b"cookie", b"a=b")])
        elif step == "answer":
            talk.answer(number, is_early=other)
        elif step == "cancel":
            talk.cancel(number)
        elif step == "settings":
            codes = h2.settings.SettingCodes
            table = 0 if number == 1 else 4096
            talk.client.update_settings(
                {codes.INITIAL_WINDOW_SIZE: number, codes.MAX_FRAME_SIZE: other, codes.HEADER_TABLE_SIZE: table}
            )
        elif step == "ping":
            talk.client.ping(b"12345678")
        else:
            talk.to_server(number)
            talk.to_client()
    talk.client.update_settings({h2.settings.SettingCodes.INITIAL_WINDOW_SIZE: 200_000})
    for _ in range(40):
        talk.to_server(100_000)
        talk.answer(7)
        talk.to_client()
    for stream, body in talk.asked.items():
        if stream in talk.gone:
            continue
        assert stream in talk.ended
        if stream in talk.whole:
            assert talk.whole[stream] == body
    assert talk.server.open_streams == len([s for s in talk.asked if s not in talk.ended and s not in talk.gone])
    assert not talk.server.is_over
