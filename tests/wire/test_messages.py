"""Messages with descriptors: cut anywhere, each comes with its own."""

from __future__ import annotations

import pytest

from pyserve.wire import messages
from pyserve.wire.frames import WireError
from pyserve.wire.messages import MessageSplitter

STREAM = (
    messages.pack_values(messages.FORK, (1, 0, 1), 2)
    + messages.pack_bytes(messages.TEMPLATE_READY)
    + messages.pack_values(messages.NEW_FRONT, (3,), 1)
)


def unpacked(found: list[tuple[int, bytes, list[int]]]) -> list[tuple[int, list[int]]]:
    return [(kind, descriptors) for kind, _, descriptors in found]


@pytest.mark.parametrize("cut", range(len(STREAM) + 1))
def test_messages_cut_in_two_anywhere_keep_their_descriptors(cut: int) -> None:
    # The kernel gives a message's descriptors with its first byte.
    second = STREAM.index(messages.pack_values(messages.NEW_FRONT, (3,), 1))
    early = [fd for fd, start in ((10, 0), (11, 0), (12, second)) if start < cut]
    splitter = MessageSplitter()
    found = splitter.feed(STREAM[:cut], early)
    found += splitter.feed(STREAM[cut:], [fd for fd in (10, 11, 12) if fd not in early])
    assert unpacked(found) == [(messages.FORK, [10, 11]), (messages.TEMPLATE_READY, []), (messages.NEW_FRONT, [12])]
    assert splitter.leftover_descriptors() == []


def test_descriptors_of_a_message_that_never_ends_are_given_back() -> None:
    splitter = MessageSplitter()
    assert splitter.feed(STREAM[:5], [10, 11]) == []
    assert splitter.leftover_descriptors() == [10, 11]
    assert splitter.leftover_descriptors() == []


def test_missing_descriptors_are_an_error() -> None:
    with pytest.raises(WireError):
        MessageSplitter().feed(STREAM, [10])


def test_a_message_beyond_the_limit_is_refused_before_it_is_there() -> None:
    header = messages.pack_bytes(messages.BOOT_FAILED, b"")
    with pytest.raises(WireError):
        MessageSplitter().feed((messages.MAX_MESSAGE + 1).to_bytes(4, "little") + header[4:], [])


def test_values_and_numbers_come_out_as_they_went_in() -> None:
    [(_, payload, _)] = MessageSplitter().feed(messages.pack_values(messages.SIGNAL, (7, 15)), [])
    assert messages.values(payload) == (7, 15)
    [(_, payload, _)] = MessageSplitter().feed(messages.pack_number(messages.WORKER_READY, 2**32 - 1), [])
    assert messages.number(payload) == 2**32 - 1
    [(_, payload, _)] = MessageSplitter().feed(messages.pack_forked(3, 4), [])
    assert messages.forked(payload) == (3, 4)
    [(_, payload, _)] = MessageSplitter().feed(messages.pack_exited(3, -1, 1 << 40), [])
    assert messages.exited(payload) == (3, -1, 1 << 40)


@pytest.mark.parametrize("read", [messages.number, messages.forked, messages.exited])
def test_payloads_of_the_wrong_size_are_refused(read: object) -> None:
    assert callable(read)
    for payload in (b"", b"123", b"123456789"):
        with pytest.raises(WireError):
            read(payload)
