"""Talk to a running server over its admin socket: one line out, what comes until it closes.

I/O: one Unix socket. What it says is shown, never obeyed.
"""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Sequence
from typing import Any

from pyserve.cli.arguments import DEFAULT_FILE
from pyserve.config import load, places
from pyserve.errors import NoServer
from pyserve.observe.error_log import printable

_MAX_ANSWER_BYTES = 256 * 1024 * 1024


def find_server(files: Sequence[str], admin: str | None) -> socket.socket:
    """Return a connection to the server of these files, or at ``admin``. Raises ``NoServer``, saying what to try."""
    if admin:
        candidates = [os.path.abspath(admin.removeprefix("unix:"))]
        what = "there"
    elif files or os.path.exists(DEFAULT_FILE):
        files = files or [DEFAULT_FILE]
        candidates = load.admin_candidates(files)
        what = " ".join(files)
    else:
        # As `pyserve run module:attribute` does without a file.
        candidates = places.admin_candidates(places.server_name(()))
        what = f"(there is no ./{DEFAULT_FILE})"
    refused = ""
    for path in candidates:
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            connection.connect(path)
        except PermissionError:
            refused = refused or path
        except OSError:
            pass  # nothing there, or a socket that a dead server left
        else:
            return connection
        connection.close()
    if refused:
        raise NoServer(f"no permission for {refused}\ntry: as the user who runs the server, or as root")
    tried = "".join(f"\n  {path}" for path in candidates) or " nowhere: [server] admin of the file is not usable"
    if admin:
        hint = "is the server running, and is this the path in [server] admin of its file?"
    else:
        file = files[0] if files else "FILE"
        hint = f"start it (pyserve run -c {file}), name the file that it runs (-c FILE), or its socket (--admin PATH)"
    raise NoServer(f"no server is running {what}; tried:{tried}\ntry: {hint}")


def send(connection: socket.socket, command: str) -> None:
    try:
        connection.sendall(command.encode("ascii") + b"\n")
    except OSError:
        raise NoServer("the server closed the connection; it may be stopping") from None


def read_until_closed(connection: socket.socket) -> bytes:
    """Return all until the other end closes; a reset counts as a close."""
    data = bytearray()
    while len(data) < _MAX_ANSWER_BYTES:
        try:
            piece = connection.recv(65536)
        except ConnectionError:
            break
        if not piece:
            break
        data += piece
    return bytes(data)


def parse_answer(data: bytes) -> dict[str, Any]:
    """Return the JSON object that a server sent. Raises ``NoServer`` for none, and for a refusal with its words."""
    if not data:
        raise NoServer("the server closed the connection without an answer; it may be stopping")
    try:
        answer = json.loads(data)
    except ValueError:
        answer = None
    if not isinstance(answer, dict):
        raise NoServer("what is listening there does not answer as pyserve does")
    if "error" in answer:
        raise NoServer(printable(str(answer["error"])))
    return answer
