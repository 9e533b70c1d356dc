"""What goes out by ``sendfile``: in order, whatever the kernel takes at a time, and without waiting for a disk."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from pyserve.front.h1 import file_output
from pyserve.front.h1.file_output import FileOutput
from pyserve.handlers.interface import Lanes
from pyserve.net.sendfile import FileSender
from tests.support.lanes import Inline

CONTENT = bytes(range(256)) * 64
HEAD = b"a head\r\n\r\n"


class Desk:
    """A connection as its file output sees it; ``client`` reads what was sent."""

    def __init__(self, path: Path) -> None:
        path.write_bytes(CONTENT)
        self.fd = os.open(path, os.O_RDONLY)
        self.client, self.server = socket.socketpair()
        self.server.setblocking(False)
        self.client.setblocking(False)
        self.disk, self.network = Inline(), Inline()
        self.is_aborted = False
        transport = SimpleNamespace(
            get_extra_info=lambda name: self.server, get_write_buffer_size=lambda: 0, is_closing=lambda: self.is_aborted
        )
        context = SimpleNamespace(sending=0, lanes=Lanes(self.disk, self.network, Inline()))
        connection = SimpleNamespace(
            transport=transport,
            context=context,
            exchange=None,
            written=0,
            abort=lambda: setattr(self, "is_aborted", True),
        )
        self.output = FileOutput(cast(Any, connection))

    def received(self) -> bytes:
        return self.client.recv(1 << 20)

    def close(self) -> None:
        self.output.close()
        self.client.close()
        self.server.close()
        os.close(self.fd)


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    made = Desk(tmp_path / "file")
    yield made
    made.close()


def send(desk: Desk) -> None:
    """As an exchange does: at once, and then what is missing."""
    done = desk.output.send_at_once(HEAD, desk.fd, 0, len(CONTENT))
    if done != len(CONTENT):
        desk.output.send(HEAD if done is None else b"", desk.fd, done or 0, len(CONTENT) - (done or 0), b"")


def test_a_head_and_its_file_go_out_at_once(desk: Desk) -> None:
    assert desk.output.send_at_once(HEAD, desk.fd, 0, len(CONTENT)) == len(CONTENT)
    assert desk.received() == HEAD + CONTENT


@pytest.mark.parametrize("taken", range(len(HEAD)))
def test_a_head_that_the_kernel_takes_a_part_of_is_finished(
    desk: Desk, taken: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, calls = FileSender.send_bytes, []

    def some(sender: FileSender, data: bytes, more: bool) -> int:
        calls.append(data)
        if len(calls) > 1:
            return real(sender, data, more)
        return real(sender, data[:taken], more) if taken else 0

    monkeypatch.setattr(FileSender, "send_bytes", some)
    send(desk)
    assert desk.received() == HEAD + CONTENT
    assert not desk.is_aborted
    assert not desk.output.is_pending


def test_what_is_not_in_memory_is_read_by_a_thread_first(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(FileSender, "is_in_memory", lambda sender, fd, at: False)
    desk.disk.is_held = True
    send(desk)
    assert desk.received() == HEAD  # it waits for no disk
    desk.disk.go_on()
    assert desk.received() == CONTENT
    assert (desk.disk.jobs, desk.network.jobs) == (1, 0)


@pytest.mark.parametrize(("is_local", "jobs"), [(True, 0), (False, 1)])
def test_where_the_kernel_does_not_tell_it_depends_on_the_disk(
    desk: Desk, is_local: bool, jobs: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Containers' file systems (overlay) and tmpfs don't tell: no thread for each file there."""
    monkeypatch.setattr(FileSender, "is_in_memory", lambda sender, fd, at: None)
    monkeypatch.setattr(file_output, "was_local", lambda fd: is_local)
    desk.network.is_held = True
    send(desk)
    desk.network.go_on()
    assert desk.received() == HEAD + CONTENT
    assert (desk.disk.jobs, desk.network.jobs) == (0, jobs)


def test_a_thread_that_comes_back_to_a_closed_connection_sends_nothing(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(FileSender, "is_in_memory", lambda sender, fd, at: False)
    desk.disk.is_held = True
    send(desk)
    assert desk.received() == HEAD
    desk.output.close()
    desk.disk.go_on()
    with pytest.raises(BlockingIOError):
        desk.received()
