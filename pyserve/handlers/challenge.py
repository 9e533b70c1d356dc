"""Step 4 of the request path: answer an authority that looks whether a name is ours (RFC 8555 §8.3, http-01).

I/O: reads one small file, in a thread of the lane for what may hang: the folder may be shared between machines. What
is no token by the grammar never becomes part of a path. Applications don't see these requests.
"""

from __future__ import annotations

import os

from pyserve.config.acme import TOKEN, token_path
from pyserve.handlers.interface import Exchange, Handler, Threads
from pyserve.routing.router import Match

MAX_BYTES = 1024
_BLOCK = b"content-type: application/octet-stream\r\ncache-control: no-store\r\n"


class ChallengeHandler:
    __slots__ = ("_lane", "_storage")

    def __init__(self, storage: str, lane: Threads) -> None:
        self._storage = storage
        self._lane = lane

    def handle(self, exchange: Exchange, match: Match[Handler]) -> None:
        if exchange.request.method not in ("GET", "HEAD"):
            exchange.fail(405, "a challenge is only read", b"allow: GET, HEAD\r\n")
            return
        if not TOKEN.fullmatch(match.rest):
            exchange.fail(404, "no token of a challenge")
            return
        path = token_path(self._storage, match.rest)

        def done(answer: bytes | None, error: BaseException | None) -> None:
            if answer:
                exchange.send(200, _BLOCK, answer)
            else:
                exchange.fail(404, "no challenge of that token")

        self._lane.run(lambda: _read(path), done)


def _read(path: str) -> bytes:
    """Return the answer, b"" if there is none: never a whole file of something else."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    with open(fd, "rb") as file:
        data = file.read(MAX_BYTES + 1)
    return data if len(data) <= MAX_BYTES else b""
