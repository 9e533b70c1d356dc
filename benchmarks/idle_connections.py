"""What memory does an idle keep-alive connection take in the server?

Each connection makes one request, reads the answer and stays open. The difference of memory between the first hundred
and all of them, divided by their number. The kernel's socket buffers are not in it: they are the same for everyone.
"""

from __future__ import annotations

import contextlib
import resource
import socket
import time

from benchmarks.cpu import pss_bytes
from benchmarks.rounds import run_fresh_rounds
from benchmarks.scenario import Bar, Result, Sample, Settings
from benchmarks.servers import Running, StackError
from benchmarks.stacks import granian_alone, nginx_files, pyserve_files, uvicorn_alone

CONNECTIONS = 10_000
FIRST = 100
SPARE_DESCRIPTORS = 200

BARS = (Bar("memory of an idle keep-alive connection", "kib_per_connection", 4.0, 2.5, unit="KiB"),)


def run(settings: Settings) -> list[Result]:
    count = min(CONNECTIONS, _raise_descriptor_limit() - SPARE_DESCRIPTORS)
    public = settings.folder / "idle"
    public.mkdir()
    (public / "index.html").write_text("Hello, World!")
    contenders = [
        pyserve_files(public),
        nginx_files(settings, public),
        uvicorn_alone(settings),
        granian_alone(settings, "asgi", workers=1, connections=2 * CONNECTIONS),
    ]

    def once(running: Running) -> Sample:
        running.start()
        running.wait_ready()
        with contextlib.ExitStack() as sockets:
            _open(running, FIRST, sockets)
            before = _settled_memory(running)
            held = _open(running, count - FIRST, sockets)
            after = _settled_memory(running)
            lost = sum(_is_closed(connection) for connection in held)
        return {
            "kib_per_connection": (after - before) / (count - FIRST) / 1024,
            "pss_mib": after / 1024**2,
            "errors": lost,
        }

    question = f"{count:,} idle keep-alive connections"
    result = run_fresh_rounds(settings, "idle_connections", question, contenders, BARS, once)
    if count < CONNECTIONS:
        result.notes.append(f"The descriptor limit (ulimit -Hn) allows only {count:,} connections here.")
    return [result]


def _raise_descriptor_limit() -> int:
    """Raise the soft limit to the hard one, for us and the servers that we start; return it."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    limit = hard if hard != resource.RLIM_INFINITY else 1_000_000
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))
    return limit


def _open(running: Running, count: int, sockets: contextlib.ExitStack) -> list[socket.socket]:
    request = f"GET / HTTP/1.1\r\nHost: {running.stack.host}\r\nUser-Agent: idle\r\nAccept: */*\r\n\r\n".encode()
    held: list[socket.socket] = []
    for _ in range(count):
        connection = sockets.enter_context(socket.create_connection(("127.0.0.1", running.stack.port), timeout=10))
        connection.sendall(request)
        answer = b""
        while b"Hello, World!" not in answer:
            piece = connection.recv(4096)
            if not piece:
                raise StackError(f"closed a connection after {len(held):,}: {answer[:60]!r}")
            answer += piece
        held.append(connection)
    return held


def _is_closed(connection: socket.socket) -> bool:
    connection.setblocking(False)
    try:
        return connection.recv(1) == b""
    except BlockingIOError:
        return False
    except OSError:
        return True


def _settled_memory(running: Running) -> int:
    """Wait a moment for what is cleaned up after a request."""
    time.sleep(1.0)
    return pss_bytes(running.roots)
