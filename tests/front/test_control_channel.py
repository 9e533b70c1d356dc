"""The front's end of a control channel against a worker that is played by the test, honest or not."""

from __future__ import annotations

import asyncio
import os
import resource
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pyserve.front.workers import WorkerLink
from pyserve.net.channels import shared_memory
from pyserve.wire import frames
from pyserve.wire.frames import WireError, frame
from pyserve.wire.scoreboard import PAGE_BYTES


class FakePool:
    def __init__(self) -> None:
        self.descriptors: list[tuple[int, int]] = []
        self.frames: list[tuple[int, int, bytes]] = []
        self.broken: list[str] = []

    def descriptor_received(self, worker: Any, stream: int, fd: int) -> None:
        self.descriptors.append((stream, fd))

    def frames_received(self, worker: Any, received: list[tuple[int, int, bytes]]) -> None:
        self.frames += received

    def break_off(self, worker: Any, why: str) -> None:
        self.broken.append(why)

    def remove(self, number: int, how: str) -> None:
        """The link was buried."""

    def close(self) -> None:
        for _, fd in self.descriptors:
            if fd >= 0:
                os.close(fd)


class FakeWorker:
    number = 1
    is_open = True


class Stage:
    """Both ends: ``link`` is the front's, ``control`` the worker's."""

    async def open(self) -> None:
        loop = asyncio.get_running_loop()
        self.pool = FakePool()
        page = shared_memory(PAGE_BYTES)
        self.link = WorkerLink(loop, self.pool, page)  # type: ignore[arg-type]
        os.close(page)
        data, self.data = socket.socketpair()
        control, self.control = socket.socketpair()
        self.data.setblocking(False)
        self.control.setblocking(False)
        await self.link.connect(FakeWorker(), data, control)  # type: ignore[arg-type]

    async def turns(self, count: int = 5) -> None:
        for _ in range(count):
            await asyncio.sleep(0.001)

    async def close(self) -> None:
        self.link.close()
        self.pool.close()
        self.data.close()
        self.control.close()
        self.link.died("was killed")
        await self.turns(2)

    def pass_file(self, path: Path, stream: int, *, copies: int = 1, data: bytes | None = None) -> None:
        with open(path, "rb") as file:
            payload = frame(frames.DESCRIPTOR, stream) if data is None else data
            socket.send_fds(self.control, [payload], [file.fileno()] * copies)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    (tmp_path / "file").write_bytes(b"the file")
    return tmp_path / "file"


@pytest.fixture(autouse=True)
def _no_descriptor_is_left() -> Iterator[None]:
    before = set(os.listdir("/dev/fd"))
    yield
    assert len(os.listdir("/dev/fd")) <= len(before)


async def opened() -> Stage:
    stage = Stage()
    await stage.open()
    return stage


async def test_descriptors_and_frames_come_apart(path: Path) -> None:
    stage = await opened()
    stage.control.send(frame(frames.RECALLED, 1))
    stage.pass_file(path, 7)
    stage.control.send(frame(frames.RECALLED, 2))
    stage.pass_file(path, 8)
    await stage.turns()
    assert [stream for stream, _ in stage.pool.descriptors] == [7, 8]
    for _, fd in stage.pool.descriptors:
        assert (os.pread(fd, 100, 0), os.get_inheritable(fd)) == (b"the file", False)
    assert stage.pool.frames == [(frames.RECALLED, 1, b""), (frames.RECALLED, 2, b"")]
    await stage.close()


async def test_descriptors_can_be_fetched_at_once_and_frames_follow_in_the_next_turn(path: Path) -> None:
    stage = await opened()
    for stream in range(50):
        stage.control.send(frame(frames.RECALLED, stream))
        stage.pass_file(path, stream)
    stage.link.receive_descriptors()
    assert ([stream for stream, _ in stage.pool.descriptors], stage.pool.frames) == (list(range(50)), [])
    await stage.turns()
    assert [stream for _, stream, _ in stage.pool.frames] == list(range(50))
    await stage.close()


async def test_a_frame_in_pieces_is_matched_with_its_descriptor(path: Path) -> None:
    stage = await opened()
    data = frame(frames.DESCRIPTOR, 5)
    stage.pass_file(path, 5, data=data[:4])
    await stage.turns()
    assert stage.pool.descriptors == []
    stage.control.send(data[4:])
    await stage.turns()
    assert [stream for stream, _ in stage.pool.descriptors] == [5]
    await stage.close()


async def test_descriptors_that_nobody_announced_end_the_worker_and_are_closed(path: Path) -> None:
    stage = await opened()
    for _ in range(3):
        stage.pass_file(path, 1, data=frame(frames.RECALLED, 1))
    await stage.turns()
    assert stage.pool.broken[0] == "descriptors that were not announced"
    await stage.close()


async def test_a_message_with_many_descriptors_is_cut_short(path: Path) -> None:
    stage = await opened()
    before = len(os.listdir("/dev/fd"))
    stage.pass_file(path, 1, copies=200)
    with pytest.raises(WireError, match="not announced"):
        stage.link.receive_descriptors()
    assert len(os.listdir("/dev/fd")) <= before + 2
    await stage.close()


async def test_a_descriptor_that_was_announced_and_did_not_come_ends_the_worker() -> None:
    stage = await opened()
    stage.control.send(frame(frames.DESCRIPTOR, 1))
    with pytest.raises(WireError, match="none came"):
        stage.link.receive_descriptors()
    await stage.close()


async def test_a_front_without_room_loses_this_descriptor_and_no_other(path: Path) -> None:
    stage = await opened()
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    stage.pass_file(path, 1)
    stage.pass_file(path, 2)
    free = os.dup(0)
    os.close(free)
    resource.setrlimit(resource.RLIMIT_NOFILE, (free, limits[1]))
    try:
        stage.link.receive_descriptors()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    assert stage.pool.descriptors == [(1, -1), (2, -1)]
    stage.pass_file(path, 3)
    await stage.turns()
    assert stage.pool.descriptors[2][0] == 3
    assert stage.pool.descriptors[2][1] >= 0
    assert stage.pool.broken == []
    await stage.close()


async def test_what_was_passed_before_the_worker_died_is_still_there(path: Path) -> None:
    stage = await opened()
    stage.pass_file(path, 1)
    stage.control.close()
    stage.link.receive_descriptors()
    assert [stream for stream, _ in stage.pool.descriptors] == [1]
    await stage.turns()
    assert stage.pool.broken == []
    stage.link.receive_descriptors()
    await stage.close()


async def test_frames_wait_for_a_worker_that_does_not_read_and_keep_their_order() -> None:
    stage = await opened()
    count = 30_000
    for stream in range(count):
        stage.link.send_control(frames.number_frame(frames.CREDIT, stream, 1))
        if stream % 10_000 == 0:
            await stage.turns(1)
    await stage.turns()
    splitter = frames.Splitter()
    seen: list[int] = []
    while len(seen) < count:
        try:
            seen += [stream for _, stream, _ in splitter.feed(stage.control.recv(65536))]
        except BlockingIOError:
            await asyncio.sleep(0.001)
    assert seen == list(range(count))
    await stage.close()


async def test_a_worker_that_has_gone_is_told_nothing() -> None:
    stage = await opened()
    stage.control.close()
    stage.link.send_control(frame(frames.DISCONNECT, 1))
    await stage.turns()
    stage.link.send_control(frame(frames.DISCONNECT, 2))
    await stage.turns()
    assert stage.pool.broken == []
    await stage.close()
