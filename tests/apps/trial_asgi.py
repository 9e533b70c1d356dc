"""The ASGI twin of ``trial_wsgi``: the same paths and answers, so that one test can run against both. CPython 3.10."""

import asyncio
import hashlib
import json
import os
import re
import signal
import sys
import time
from urllib.parse import parse_qs

import pattern

TEXT = (b"content-type", b"text/plain; charset=utf-8")
state = {"lifespan": "none"}


async def application(scope, receive, send):
    if scope["type"] == "lifespan":
        await lifespan(receive, send)
        return
    assert scope["type"] == "http"
    name = scope["path"].strip("/").split("/")[0].replace("-", "_") or "hello"
    query = {key: values[0] for key, values in parse_qs(scope["query_string"].decode()).items()}
    handler = HANDLERS.get(name)
    if handler is None:
        await answer(send, "no such path\n", 404)
    else:
        await handler(scope, receive, send, query)


async def lifespan(receive, send):
    while True:
        message = await receive()
        if message["type"] == "lifespan.startup":
            state["lifespan"] = "started"
            await send({"type": "lifespan.startup.complete"})
        else:
            if path := os.environ.get("TRIAL_SHUTDOWN"):
                note(path)
            await send({"type": "lifespan.shutdown.complete"})
            return


async def start(send, status=200, fields=(), length=None):
    headers = [TEXT, *fields]
    if length is not None:
        headers.append((b"content-length", str(length).encode()))
    await send({"type": "http.response.start", "status": status, "headers": headers})


async def answer(send, text, status=200, fields=()):
    body = text.encode() if isinstance(text, str) else text
    await start(send, status, fields, len(body))
    await send({"type": "http.response.body", "body": body})


async def body_pieces(receive):
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ConnectionError("the client left")
        yield message.get("body", b"")
        if not message.get("more_body"):
            return


async def whole_body(receive):
    return b"".join([piece async for piece in body_pieces(receive)])


async def hello(scope, receive, send, query):
    await answer(send, "hello from ASGI\n")


async def pid(scope, receive, send, query):
    await answer(send, str(os.getpid()))


async def python(scope, receive, send, query):
    loop = type(asyncio.get_running_loop()).__module__
    await answer(
        send, json.dumps({"version": sys.version_info[:2], "prefix": sys.prefix, "path": sys.path, "loop": loop})
    )


async def show_scope(scope, receive, send, query):
    await answer(send, json.dumps({key: repr(value) for key, value in scope.items()}))


async def show_lifespan(scope, receive, send, query):
    await answer(send, state["lifespan"])


async def echo(scope, receive, send, query):
    await answer(send, await whole_body(receive))


async def stream(scope, receive, send, query):
    """Send each piece of the body back as it comes."""
    await start(send)
    async for piece in body_pieces(receive):
        await send({"type": "http.response.body", "body": piece, "more_body": True})
    await send({"type": "http.response.body", "body": b""})


async def sha256(scope, receive, send, query):
    total, size = hashlib.sha256(), 0
    async for piece in body_pieces(receive):
        total.update(piece)
        size += len(piece)
    await answer(send, f"{total.hexdigest()} {size}")


async def form(scope, receive, send, query):
    await answer(send, json.dumps(parse_qs((await whole_body(receive)).decode())))


async def upload(scope, receive, send, query):
    content_type = dict(scope["headers"])[b"content-type"]
    boundary = re.search(b"boundary=([^;]+)", content_type)[1]
    head, _, data = (await whole_body(receive)).split(b"--" + boundary)[1].partition(b"\r\n\r\n")
    name = re.search(rb'filename="([^"]*)"', head)[1].decode()
    await answer(send, json.dumps({"name": name, "sha256": hashlib.sha256(data[:-2]).hexdigest()}))


async def generate(scope, receive, send, query):
    size = int(query["bytes"])
    await start(send, length=None if "chunked" in query else size)
    for data in pattern.blocks(size):
        await send({"type": "http.response.body", "body": data, "more_body": True})
    await send({"type": "http.response.body", "body": b""})


async def pieces(scope, receive, send, query):
    await start(send)
    for data in (b"one\n", b"", b"two\n", b"three\n"):
        await send({"type": "http.response.body", "body": data, "more_body": True})
    await send({"type": "http.response.body"})


async def no_content(scope, receive, send, query):
    await send({"type": "http.response.start", "status": 204, "headers": []})
    await send({"type": "http.response.body"})


async def cookies(scope, receive, send, query):
    await answer(send, "", fields=[(b"set-cookie", b"a=1"), (b"set-cookie", b"b=2")])


async def fail(scope, receive, send, query):
    raise ValueError("raised before the answer")


async def fail_later(scope, receive, send, query):
    await start(send)
    await send({"type": "http.response.body", "body": b"the first piece\n" * 10_000, "more_body": True})
    raise ValueError("raised in the middle")


async def short(scope, receive, send, query):
    await start(send, length=100)
    await send({"type": "http.response.body", "body": b"only this"})


async def die(scope, receive, send, query):
    os._exit(7)


async def wait(scope, receive, send, query):
    note(query["began"])
    await asyncio.to_thread(read_fifo, query["until"])
    await answer(send, "waited")


async def until_gone(scope, receive, send, query):
    """Note in ``began`` that it runs and in ``gone`` that ``http.disconnect`` came."""
    note(query["began"])
    while (await receive())["type"] != "http.disconnect":
        pass
    note(query["gone"])


async def slow(scope, receive, send, query):
    if "began" in query:
        note(query["began"])
    await asyncio.sleep(float(query["s"]))
    await answer(send, str(os.getpid()))


async def keep(scope, receive, send, query):
    KEPT.append(os.urandom(int(query["bytes"])))
    await answer(send, str(os.getpid()))


KEPT = []


async def hang(scope, receive, send, query):
    """Never come back, in the way that ``how`` names; all but "await" hold the loop."""
    if query["how"] == "await":
        await asyncio.get_running_loop().create_future()
    hang_for_good(query["how"])


def hang_for_good(how):
    if how == "sleep":
        time.sleep(600)
    elif how == "stop":
        os.kill(os.getpid(), signal.SIGSTOP)
    while how == "spin":
        pass


def read_fifo(path):
    with open(path, "rb", buffering=0) as fifo:
        fifo.read(1)


def note(path):
    with open(path, "a") as file:
        file.write(f"{os.getpid()}\n")


HANDLERS = {
    function.__name__: function
    for function in (
        *(hello, pid, python, show_scope, show_lifespan, echo, stream, sha256, form, upload, generate, pieces),
        *(no_content, cookies, fail, fail_later, short, die, wait, until_gone, slow, keep, hang),
    )
}
