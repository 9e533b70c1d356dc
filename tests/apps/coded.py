"""Answers that are worth compressing, as ``wsgi`` and as ``asgi``. CPython 3.10.

``/json?bytes=N`` whole, ``/rows?bytes=N`` in pieces (``length`` = with Content-Length), ``/tag`` with a strong ETag,
``/fail`` in the middle, ``/ticks?until=FIFO`` a piece for each byte of a FIFO, ``/endless``. ``cache`` and ``vary`` are
values of fields.
"""

import asyncio
import functools
import json
from urllib.parse import parse_qs

TAG = '"tag"'


@functools.lru_cache(maxsize=8)
def document(size):
    rows = []
    total = 0
    while total < size:
        number = len(rows)
        rows.append(json.dumps({"id": number * 7919, "name": f"item {number % 97}", "price": number * 31 % 1009 / 10}))
        total += len(rows[-1]) + 2
    return ("[" + ", ".join(rows)).encode()[: size - 1] + b"]"


def plan(path, query, none_match):
    """Return status, fields, length or None, and pieces."""
    values = {key: found[0] for key, found in parse_qs(query, keep_blank_values=True).items()}
    fields = [("content-type", values.get("type", "application/json"))]
    if "cache" in values:
        fields.append(("cache-control", values["cache"]))
    if "vary" in values:
        fields.append(("vary", values["vary"]))
    data = document(int(values.get("bytes", 5000)))
    if path == "/json":
        return "200 OK", fields, len(data), [data]
    if path == "/rows":
        cut = int(values.get("cut", 7000))
        pieces = (data[at : at + cut] for at in range(0, len(data), cut))
        return "200 OK", fields, len(data) if "length" in values else None, pieces
    if path == "/tag":
        fields.append(("etag", TAG))
        if none_match and TAG in none_match:
            return "304 Not Modified", fields[1:], None, []
        return "200 OK", fields, len(data), [data]
    if path == "/fail":
        return "200 OK", fields, None, failing(data)
    if path == "/ticks":
        return "200 OK", fields, None, ticks(values["until"])
    if path == "/endless":
        return "200 OK", fields, None, endless(data)
    return "200 OK", [("content-type", "text/plain")], 5, [b"hello"]


def failing(data):
    for _ in range(10):
        yield data
    raise ValueError("raised in the middle")


def ticks(path):
    with open(path, "rb", buffering=0) as fifo:
        while byte := fifo.read(1):
            yield b"tick %b\n" % byte


def endless(data):
    while True:
        yield data


def wsgi(environ, start_response):
    status, fields, length, pieces = plan(
        environ["PATH_INFO"], environ["QUERY_STRING"], environ.get("HTTP_IF_NONE_MATCH")
    )
    if length is not None:
        fields.append(("content-length", str(length)))
    start_response(status, fields)
    return pieces


async def asgi(scope, receive, send):
    if scope["type"] != "http":
        raise NotImplementedError
    none_match = dict(scope["headers"]).get(b"if-none-match", b"").decode()
    status, fields, length, pieces = plan(scope["path"], scope["query_string"].decode(), none_match)
    if length is not None:
        fields.append(("content-length", str(length)))
    headers = [(name.encode(), value.encode()) for name, value in fields]
    await send({"type": "http.response.start", "status": int(status[:3]), "headers": headers})
    if isinstance(pieces, list):
        await send({"type": "http.response.body", "body": b"".join(pieces)})
        return
    try:
        while True:
            data = await asyncio.to_thread(next, pieces, b"") if scope["path"] == "/ticks" else next(pieces, b"")
            if not data:
                break
            await send({"type": "http.response.body", "body": data, "more_body": True})
        await send({"type": "http.response.body"})
    except OSError:
        pass  # the client left
