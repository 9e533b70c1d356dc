"""A session of HTTP/2 that we accept in full is accepted by ``h2`` as the same requests with the same bodies."""

from __future__ import annotations

from tests.fuzz.targets.h2_sessions import DICTIONARY, make, seeds
from tests.support.h2_peer import Peer
from tests.support.h2_sessions import Session, block_reader

__all__ = ["DICTIONARY", "check", "make", "seeds"]

# What we did not accept in full; and after a GOAWAY of the client h2 reads nothing more, though it may have to.
NOT_COMPARED = ("failed", "broken", "refused", "goaway")
EXPLAINED = (
    "non-compliant data",  # the reserved bit of a window's increment, on a stream that is over
    "mismatched :authority and Host",  # it compares them with their case
    "Max inbound streams",  # to us an error of that stream alone
    "Frame data missing or invalid",  # of ALTSVC, which it reads though a client's means nothing
    "invalid header: Stream ID",  # of a frame that has not come to its end
)


def check(data: bytes) -> None:
    ours = Session(block_reader())
    ours.turn([data])
    if any(line.startswith(NOT_COMPARED) for line in ours.events):
        return
    theirs = Peer(-1)
    theirs.turn(data)
    if any(words in theirs.fault for words in EXPLAINED):
        return
    assert not theirs.fault, f"{theirs.fault}, but we have {ours.events}"
    for stream, request in ours.requests.items():
        pseudo = dict(theirs.heads[stream][:5])
        assert (request.method.encode(), request.raw_target) == (pseudo[b":method"], pseudo[b":path"])
        made = (b"host", b"cookie")  # of :authority, and of crumbs
        plain = [field for field in theirs.heads[stream] if field[0][:1] != b":" and field[0] not in made]
        assert [field for field in request.fields if field[0] not in made] == plain
        if stream not in theirs.resets:
            assert ours.bodies.get(stream, b"") == theirs.bodies.get(stream, b""), "different bodies"
    assert len(theirs.heads) == len(ours.requests), "a request that we have not seen"
