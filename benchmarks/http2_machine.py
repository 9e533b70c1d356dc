"""``python -m benchmarks.http2_machine``: what a request of HTTP/2 costs without a socket: frames in, frames out.

A browser's head of 14 fields and a body of 1 KiB, 16 streams a turn, on one connection: one URL again and again, a
thousand of them, and never the same. ``h2`` does the same beside it. Needs ``h2`` and ``hpack`` (test dependencies).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import h2.config
import h2.connection
import h2.events
import hpack

from pyserve.http.h1_httptools import parse_fields
from pyserve.http.h2 import frames as f
from pyserve.http.h2.connection import Connection
from pyserve.http.h2.events import RequestReceived
from pyserve.http.h2.heads import BlockReader
from pyserve.http.h2.sending import Settings
from pyserve.http.head import HeadReader

REQUESTS = 32_000
STREAMS = 16
ROUNDS = 3
BODY = b"x" * 1024
HEAD = [
    (b"sec-ch-ua", b'"Chromium";v="130", "Google Chrome";v="130", "Not?A_Brand";v="99"'),
    (b"sec-ch-ua-mobile", b"?0"),
    (b"sec-ch-ua-platform", b'"Linux"'),
    (b"user-agent", b"Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/130.0.0.0"),
    (b"accept", b"text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8"),
    (b"sec-fetch-site", b"same-origin"),
    (b"sec-fetch-mode", b"navigate"),
    (b"sec-fetch-dest", b"document"),
    (b"referer", b"https://a-site.test/"),
    (b"accept-encoding", b"gzip, deflate, br, zstd"),
    (b"accept-language", b"en-US,en;q=0.9"),
    (b"cookie", b"session=abcdef0123456789"),
    (b"cookie", b"theme=dark"),
    (b"priority", b"u=0, i"),
]
PATHS: dict[str, Callable[[int], bytes]] = {
    "one URL": lambda number: b"/index.html",
    "1,000 URLs": lambda number: b"/static/assets/app-%04d.js" % (number % 1000),
    "never the same": lambda number: b"/static/assets/app-%06d.js" % number,
}


def turns(path: Callable[[int], bytes]) -> Iterator[bytes]:
    """Requests as a browser codes them, who puts no path into the table."""
    encoder = hpack.Encoder()
    stream = 1
    for start in range(0, REQUESTS, STREAMS):
        data = []
        for number in range(start, start + STREAMS):
            coded = encoder.huffman_coder.encode(path(number))
            pseudo = encoder.encode([(b":method", b"GET"), (b":authority", b"a-site.test"), (b":scheme", b"https")])
            block = pseudo + b"\x04" + bytes((0x80 | len(coded),)) + coded + encoder.encode(HEAD)
            data.append(f.frame(f.HEADERS, f.END_HEADERS | f.END_STREAM, stream, block))
            stream += 2
        yield b"".join(data)


def ours(data: list[bytes]) -> float:
    blocks = BlockReader(HeadReader(parse_fields, 100), 32 * 1024)
    connection = Connection(Settings(), blocks, 0.0)
    connection.receive_data(f.PREFACE + f.settings({f.INITIAL_WINDOW_SIZE: 2**20}), 0.0)
    room = f.window_update(0, STREAMS * len(BODY))
    started = time.perf_counter()
    for turn in data:
        for event in connection.receive_data(room + turn, 0.0):
            assert type(event) is RequestReceived
            connection.send_answer(event.stream, 200, b'etag: "abc"\r\n', b"server: pyserve\r\n", len(BODY), BODY)
        connection.data_to_send()
    return time.perf_counter() - started


def theirs(data: list[bytes]) -> float:
    connection = h2.connection.H2Connection(h2.config.H2Configuration(client_side=False))
    connection.initiate_connection()
    connection.receive_data(f.PREFACE + f.settings({f.INITIAL_WINDOW_SIZE: 2**20}))
    room = f.window_update(0, STREAMS * len(BODY))
    started = time.perf_counter()
    for turn in data:
        for event in connection.receive_data(room + turn):
            if isinstance(event, h2.events.RequestReceived):
                stream = event.stream_id
                head = [(":status", "200"), ("etag", '"abc"'), ("server", "h2"), ("content-length", str(len(BODY)))]
                connection.send_headers(stream, head)
                connection.send_data(stream, BODY, end_stream=True)
        connection.data_to_send()
    return time.perf_counter() - started


def main() -> None:
    print(f"{'µs a request':>16} {'ours':>8} {'h2':>8}")
    for name, path in PATHS.items():
        data = [*turns(path)]
        best = min(ours(data) for _ in range(ROUNDS)) / REQUESTS * 1e6
        peer = theirs(data[: len(data) // 10]) / (len(data) // 10 * STREAMS) * 1e6
        print(f"{name:>16} {best:8.2f} {peer:8.2f}")


if __name__ == "__main__":
    main()
