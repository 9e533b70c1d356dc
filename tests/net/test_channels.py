"""Messages with descriptors over a real socket pair, cut at odd places."""

from __future__ import annotations

import gc
import itertools
import os
import resource
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from pyserve.net.channels import MessageChannel, map_shared, read_only, shared_memory
from pyserve.wire import messages
from pyserve.wire.frames import WireError


@contextmanager
def channel_pair() -> Iterator[tuple[MessageChannel, MessageChannel]]:
    ours, theirs = MessageChannel.pair()
    other = MessageChannel(theirs)
    try:
        yield ours, other
    finally:
        ours.close()
        other.close()


def open_descriptors() -> int:
    gc.collect()  # what other tests left to the collector must not be closed in the middle of this one
    return len(os.listdir("/dev/fd"))


def _is_open(fd: int) -> bool:
    try:
        os.fstat(fd)
    except OSError:
        return False
    return True


def file_with(text: str, folder: Path) -> int:
    path = folder / text
    path.write_text(text)
    return os.open(path, os.O_RDONLY)


def read_and_close(fd: int) -> str:
    with open(fd) as file:
        return file.read()


def test_messages_arrive_in_order_with_their_own_descriptors(tmp_path: Path) -> None:
    with channel_pair() as (ours, theirs):
        fds = [file_with(name, tmp_path) for name in "abc"]
        ours.send(messages.pack_values(messages.DRAIN, (1.0,)))
        ours.send(messages.pack_values(messages.LOGS, (), 2), fds[:2])
        ours.send(messages.pack_bytes(messages.FRONT_READY))
        ours.send(messages.pack_values(messages.STATUS, ({},), 1), fds[2:])
        for fd in fds:
            os.close(fd)
        received = theirs.receive()
        assert [kind for kind, _, _ in received] == [
            messages.DRAIN,
            messages.LOGS,
            messages.FRONT_READY,
            messages.STATUS,
        ]
        assert [[read_and_close(fd) for fd in passed] for _, _, passed in received] == [[], ["a", "b"], [], ["c"]]


def test_received_descriptors_are_not_inherited_by_children() -> None:
    with channel_pair() as (ours, theirs):
        with open("/dev/null") as file:
            ours.send(messages.pack_values(messages.STATUS, (), 1), [file.fileno()])
        (_, _, (fd,)) = theirs.receive()[0]
        assert not os.get_inheritable(fd)
        os.close(fd)


def test_a_full_socket_keeps_bytes_and_descriptors_until_there_is_room(tmp_path: Path) -> None:
    before = open_descriptors()
    with channel_pair() as (ours, theirs):
        count = 400
        for number in range(count):
            fd = file_with(str(number), tmp_path)
            ours.send(messages.pack_values(messages.LOGS, (number, "x" * 3000), 1), [fd])
            os.close(fd)  # the channel keeps a duplicate where it has to
        assert ours.wants_write
        received: list[tuple[int, str]] = []
        while len(received) < count:
            ours.flush()
            for _, payload, (fd,) in theirs.receive():
                received.append((messages.values(payload)[0], read_and_close(fd)))
        assert received == [(number, str(number)) for number in range(count)]
        assert not ours.wants_write
    assert open_descriptors() == before


def test_a_message_that_is_larger_than_the_socket_takes_several_turns() -> None:
    with channel_pair() as (ours, theirs):
        text = b"y" * 900_000
        ours.send(messages.pack_bytes(messages.BOOT_FAILED, text))
        received = []
        while not received:
            ours.flush()
            received = theirs.receive()
        assert received == [(messages.BOOT_FAILED, text, [])]


def test_bytes_that_come_one_by_one_make_the_same_messages(tmp_path: Path) -> None:
    left, right = socket.socketpair()
    channel = MessageChannel(right)
    data = messages.pack_values(messages.LOGS, ("z",), 1) + messages.pack_number(messages.WORKER_READY, 7)
    fd = file_with("one", tmp_path)
    received = []
    for at in range(len(data)):
        if at == 0:
            socket.send_fds(left, [data[:1]], [fd])
        else:
            left.send(data[at : at + 1])
        received += channel.receive()
    os.close(fd)
    assert [kind for kind, _, _ in received] == [messages.LOGS, messages.WORKER_READY]
    assert read_and_close(received[0][2][0]) == "one"
    left.close()
    channel.close()


def test_the_end_is_told_after_the_last_message() -> None:
    with channel_pair() as (ours, theirs):
        ours.send(messages.pack_number(messages.WORKER_IDLE, 3))
        ours.close()
        assert theirs.receive() == [(messages.WORKER_IDLE, messages.pack_number(messages.WORKER_IDLE, 3)[6:], [])]
        assert theirs.is_ended
        assert theirs.receive() == []
        theirs.send(b"nobody hears this")


def test_what_was_said_before_the_end_is_read_although_sending_already_fails() -> None:
    with channel_pair() as (ours, theirs):
        ours.send(messages.pack_number(messages.WORKER_IDLE, 3))
        ours.close()
        theirs.send(messages.pack_bytes(messages.FRONT_READY))
        assert len(theirs.receive()) == 1
        assert theirs.is_ended


def test_descriptors_of_a_message_that_never_ends_are_closed() -> None:
    before = open_descriptors()
    left, right = socket.socketpair()
    channel = MessageChannel(right)
    with open("/dev/null") as file:
        socket.send_fds(left, [messages.pack_values(messages.STATUS, ({},), 1)[:-1]], [file.fileno()])
    left.close()
    assert channel.receive() == []
    assert channel.is_ended
    channel.close()
    assert open_descriptors() == before


def test_running_out_of_descriptors_is_an_error_that_leaks_none() -> None:
    with channel_pair() as (ours, theirs):
        with open("/dev/null") as file:
            for _ in range(20):
                ours.send(messages.pack_values(messages.LOGS, (), 10), [file.fileno()] * 10)
        before = open_descriptors()
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        free = (fd for fd in itertools.count() if not _is_open(fd))
        resource.setrlimit(resource.RLIMIT_NOFILE, (next(itertools.islice(free, 15, None)), hard))
        try:
            with pytest.raises(WireError, match="too many open files"):
                theirs.receive()
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        assert open_descriptors() == before


def test_a_message_of_impossible_length_is_an_error() -> None:
    left, right = socket.socketpair()
    channel = MessageChannel(right)
    left.send(b"\xff\xff\xff\xff\x01\x00")
    with pytest.raises(WireError, match="message of 4294967295 bytes"):
        channel.receive()
    left.close()
    channel.close()


def test_shared_memory_is_seen_by_whoever_maps_its_descriptor() -> None:
    fd = shared_memory(4096)
    one, two = map_shared(fd, 4096), map_shared(fd, 4096)
    os.close(fd)
    assert two[:4] == b"\0\0\0\0"
    one[:4] = b"seen"
    assert two[:4] == b"seen"
    one.close()
    two.close()


def test_what_is_read_only_can_not_be_changed_by_whoever_has_it() -> None:
    fd = read_only(b"code" * 100_000)
    assert os.pread(fd, 500_000, 0) == b"code" * 100_000
    with pytest.raises(OSError, match=r"not permitted|Bad file descriptor"):
        os.pwrite(fd, b"x", 0)
    if os.path.exists(f"/proc/self/fd/{fd}"):
        try:
            anew = os.open(f"/proc/self/fd/{fd}", os.O_RDWR)
        except OSError:
            pass
        else:
            with pytest.raises(PermissionError):
                os.pwrite(anew, b"x", 0)
            with pytest.raises(PermissionError):
                os.ftruncate(anew, 0)
            os.close(anew)
    os.close(fd)
