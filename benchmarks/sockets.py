"""Open WebSockets with plain sockets, and let each send one message as soon as the last one came back.

The frame is made once and its echo is counted, not read: the client takes as little of the machine as it can.
"""

from __future__ import annotations

import base64
import contextlib
import os
import select
import socket
import time

from benchmarks.cpu import cpu_time, pss_bytes
from benchmarks.scenario import Sample
from benchmarks.servers import Running, StackError

HANDSHAKE = (
    "GET / HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nUser-Agent: benchmark\r\n"
    "Accept-Encoding: gzip, deflate, br\r\nAccept-Language: en\r\nCache-Control: no-cache\r\nPragma: no-cache\r\n"
    "Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\r\n"
)


def open_sockets(running: Running, count: int, cleanup: contextlib.ExitStack) -> list[socket.socket]:
    """Return open WebSockets; raise ``StackError`` where one is refused."""
    opened = []
    for _ in range(count):
        key = base64.b64encode(os.urandom(16)).decode()
        handshake = HANDSHAKE.format(host=running.stack.host, key=key).encode()
        connection = cleanup.enter_context(socket.create_connection(("127.0.0.1", running.stack.port), timeout=10))
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.sendall(handshake)
        answer = b""
        while b"\r\n\r\n" not in answer:
            piece = connection.recv(4096)
            if not piece:
                raise StackError(f"no WebSocket: {answer[:200]!r}")
            answer += piece
        if not answer.startswith(b"HTTP/1.1 101 "):
            raise StackError(f"no WebSocket: {answer[:200]!r}")
        opened.append(connection)
    return opened


def masked(payload: bytes) -> bytes:
    """Return a binary frame of a client, with a mask that changes something."""
    mask = b"\x12\x34\x56\x78"
    body = bytes(byte ^ mask[at & 3] for at, byte in enumerate(payload))
    return bytes((0x82, 0x80 | len(payload))) + mask + body


def echo(running: Running, connections: int, size: int, seconds: float) -> Sample:
    """Send and receive messages for so long; return messages per second and the server's CPU for each."""
    payload = b"e" * size
    frame, expected = masked(payload), bytes((0x82, size)) + payload
    with contextlib.ExitStack() as cleanup:
        opened = {one.fileno(): one for one in open_sockets(running, connections, cleanup)}
        for one in opened.values():  # the first one is looked at
            one.sendall(frame)
            got = one.recv(4096)
            if got != expected:
                raise StackError(f"{got[:80]!r} is no echo")
        poll = cleanup.enter_context(contextlib.closing(select.epoll()))
        for fd, one in opened.items():
            one.setblocking(False)
            poll.register(fd, select.EPOLLIN)
        before = cpu_time(running.roots)
        begun = time.perf_counter()
        for one in opened.values():
            one.send(frame)
        until = begun + seconds
        received = 0
        while time.perf_counter() < until:
            for fd, _ in poll.poll(5.0) or [(-1, 0)]:
                if fd < 0:
                    raise StackError("it stopped answering")
                one = opened[fd]
                data = one.recv(4096)
                if len(data) != len(expected):
                    raise StackError(f"{data[:80]!r} is no echo")
                received += 1
                one.send(frame)
        took_s = time.perf_counter() - begun
        after = cpu_time(running.roots)
        user_s, system_s = after.user_s - before.user_s, after.system_s - before.system_s
    return {
        "messages_per_s": received / took_s,
        "cpu_us": (user_s + system_s) / received * 1e6,
        "user_us": user_s / received * 1e6,
        "system_us": system_s / received * 1e6,
        "pss_mib": pss_bytes(running.roots) / 1024**2,
    }
