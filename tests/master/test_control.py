"""The admin socket against a real one: who may talk, what is understood, how long it waits."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from pyserve.errors import CannotStart
from pyserve.master import control
from pyserve.master.control import Admin
from pyserve.master.loop import Loop
from pyserve.observe.error_log import ErrorLog


class Desk:
    """An admin socket and its loop; every command is answered with its own name."""

    def __init__(self, folder: Path) -> None:
        self.path = str(folder / "run" / "admin.sock")
        self.loop = Loop()
        log = ErrorLog(os.open("/dev/null", os.O_WRONLY), "info", "master")
        self.log = log
        self.commands: list[str] = []
        self.admin = Admin(self.loop, self.path, log, self._command)

    def _command(self, command: str, connection: socket.socket) -> None:
        self.commands.append(command)
        control.answer(connection, command.encode())

    def connect(self) -> socket.socket:
        client = socket.socket(socket.AF_UNIX)
        client.connect(self.path)
        client.setblocking(False)
        self.loop.turn()
        return client

    def answer(self, client: socket.socket) -> bytes:
        """Turn the loop until the client has an answer and the connection is closed."""
        received = b""
        while True:
            try:
                piece = client.recv(1000)
            except BlockingIOError:
                self.loop.turn()
                continue
            if not piece:
                client.close()
                return received
            received += piece

    def close(self) -> None:
        self.admin.close()
        self.loop.close()
        self.log.reopen(os.open("/dev/null", os.O_WRONLY))


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    desk = Desk(tmp_path)
    yield desk
    desk.close()


def test_folder_and_socket_are_for_the_owner_alone(desk: Desk) -> None:
    assert os.stat(os.path.dirname(desk.path)).st_mode & 0o777 == 0o700
    assert os.stat(desk.path).st_mode & 0o777 == 0o600


@pytest.mark.parametrize("command", [*control.COMMANDS, "renew shop", "renew-now caf\u00e9 two"])
def test_a_known_command_is_passed_on(desk: Desk, command: str) -> None:
    client = desk.connect()
    client.sendall(command.encode() + b"\n")
    assert desk.answer(client) == command.encode()
    assert desk.commands == [command]


@pytest.mark.parametrize(
    ("line", "answer"),
    [
        (b"reboot\n", control.UNKNOWN),
        (b"\n", control.UNKNOWN),
        (b"\xff\xfe\x00\n", control.UNKNOWN),
        (b'{"status": 1}\n', control.UNKNOWN),
        (b"x" * 300, control.TOO_LONG),
    ],
    ids=["unknown", "empty", "no text", "no JSON either", "endless"],
)
def test_anything_else_is_answered_by_a_fixed_line(desk: Desk, line: bytes, answer: bytes) -> None:
    client = desk.connect()
    client.sendall(line)
    assert desk.answer(client) == answer
    assert desk.commands == []


def test_a_line_may_come_in_pieces(desk: Desk) -> None:
    client = desk.connect()
    for byte in b"status\n":
        client.send(bytes([byte]))
        desk.loop.turn()
    assert desk.answer(client) == b"status"


def test_who_says_nothing_is_sent_away_at_the_deadline(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(control, "DEADLINE_S", 0.05)
    assert desk.answer(desk.connect()) == control.TOO_SLOW


def test_who_leaves_without_a_word_is_forgotten(desk: Desk) -> None:
    desk.connect().close()
    desk.loop.turn()
    assert not desk.admin._clients


def test_too_many_at_once_are_told_so(desk: Desk) -> None:
    clients = [desk.connect() for _ in range(control.MAX_CLIENTS)]
    assert desk.answer(desk.connect()) == control.TOO_MANY
    for client in clients:
        client.close()


def test_the_peer_is_known_by_its_uid() -> None:
    one, two = socket.socketpair()
    assert control.peer_uid(one) == os.geteuid()
    one.close()
    two.close()


def test_another_users_process_is_refused(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(control, "peer_uid", lambda connection: 65534)
    assert desk.answer(desk.connect()) == control.NOT_ALLOWED


def test_a_second_server_on_the_same_socket_is_refused(desk: Desk) -> None:
    with pytest.raises(CannotStart, match="another server answers there"):
        Admin(desk.loop, desk.path, desk.log, desk._command)
    client = desk.connect()
    client.sendall(b"status\n")
    assert desk.answer(client) == b"status"


def test_the_socket_is_removed_at_the_end(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    desk.close()
    assert not os.path.exists(desk.path)
