"""A client of WebSockets that does exactly what a test says, right or wrong: frames over a plain socket."""

from __future__ import annotations

import base64
import os
import struct
from typing import NamedTuple

from pyserve.http.masking import apply_mask
from tests.support.client import Client, Response
from tests.support.h2_client import Answer, Tunnel

PIECE, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10


class Frame(NamedTuple):
    opcode: int
    payload: bytes
    is_final: bool = True
    rsv: int = 0


def handshake(path: str = "/", host: str = "a", *lines: str, key: str = "") -> bytes:
    key = key or base64.b64encode(os.urandom(16)).decode()
    fixed = ("Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Version: 13", f"Sec-WebSocket-Key: {key}")
    return "\r\n".join((f"GET {path} HTTP/1.1", f"Host: {host}", *fixed, *lines, "", "")).encode()


def frame(opcode: int, payload: bytes = b"", *, is_final: bool = True, rsv: int = 0) -> bytes:
    length = len(payload)
    mask = os.urandom(4)
    if length < 126:
        head = bytes((0x80 | length,))
    elif length < 65536:
        head = b"\xfe" + struct.pack(">H", length)
    else:
        head = b"\xff" + struct.pack(">Q", length)
    return bytes(((0x80 if is_final else 0) | rsv << 4 | opcode,)) + head + mask + apply_mask(payload, mask)


def close(code: int = 1000, reason: str = "") -> bytes:
    return frame(CLOSE, struct.pack(">H", code) + reason.encode())


class WebSocket:
    """An open WebSocket on a ``Client``, which stays the caller's."""

    client: Client | Tunnel

    def __init__(self, client: Client, path: str = "/", host: str = "a", *lines: str) -> None:
        self.client = client
        client.send(handshake(path, host, *lines))
        self.answer: Response | Answer = client.read_head()
        assert self.answer.status == 101, self.answer

    @classmethod
    def over(cls, tunnel: Tunnel) -> WebSocket:
        """Return one over HTTP/2."""
        self = cls.__new__(cls)
        self.client = tunnel
        self.answer = tunnel.answer
        assert tunnel.answer.status == 200, tunnel.answer
        return self

    def send(self, data: str | bytes) -> None:
        self.client.send(frame(TEXT, data.encode()) if isinstance(data, str) else frame(BINARY, data))

    def read_frame(self) -> Frame:
        first, length = self.client.read_exactly(2)
        assert length < 0x80, "a server has no masks"
        if length == 126:
            length = struct.unpack(">H", self.client.read_exactly(2))[0]
        elif length == 127:
            length = struct.unpack(">Q", self.client.read_exactly(8))[0]
        return Frame(first & 15, self.client.read_exactly(length), first >= 0x80, first >> 4 & 7)

    def read(self) -> str | bytes:
        """Return the next message, whole. Pings in between are answered."""
        got = b""
        opcode = 0
        while True:
            one = self.read_frame()
            if one.opcode == PING:
                self.client.send(frame(PONG, one.payload))
                continue
            assert one.opcode in (PIECE, TEXT, BINARY), one
            opcode = opcode or one.opcode
            got += one.payload
            if one.is_final:
                return got.decode() if opcode == TEXT else got

    def read_close(self) -> tuple[int, str]:
        """Return code and reason of the close that comes next."""
        one = self.read_frame()
        assert one.opcode == CLOSE, one
        return (int.from_bytes(one.payload[:2], "big") if one.payload else 1005), one.payload[2:].decode()

    def ends_with(self, answer: int = 1000) -> tuple[int, str]:
        """Return what the server closes with; answer it, and see that the connection ends."""
        told = self.read_close()
        self.client.send(close(answer))
        assert self.client.is_closed()
        return told
