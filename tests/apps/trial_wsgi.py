"""A WSGI application with one path for each thing that a test wants an application to do. PEP 3333, CPython 3.10."""

import hashlib
import json
import os
import re
import signal
import sys
import threading
import time
from urllib.parse import parse_qs

import pattern

TEXT = [("Content-Type", "text/plain; charset=utf-8")]


def application(environ, start_response):
    name = environ["PATH_INFO"].strip("/").split("/")[0].replace("-", "_") or "hello"
    query = {key: values[0] for key, values in parse_qs(environ["QUERY_STRING"]).items()}
    handler = HANDLERS.get(name)
    if handler is None:
        return answer(start_response, "no such path\n", "404 Not Found")
    return handler(environ, start_response, query)


def answer(start_response, text, status="200 OK", fields=()):
    body = text.encode() if isinstance(text, str) else text
    start_response(status, [*TEXT, ("Content-Length", str(len(body))), *fields])
    return [body]


def hello(environ, start_response, query):
    return answer(start_response, "hello from WSGI\n")


def pid(environ, start_response, query):
    return answer(start_response, str(os.getpid()))


def python(environ, start_response, query):
    return answer(start_response, json.dumps({"version": sys.version_info[:2], "prefix": sys.prefix, "path": sys.path}))


def show_environ(environ, start_response, query):
    return answer(start_response, json.dumps({key: value for key, value in environ.items() if isinstance(value, str)}))


def echo(environ, start_response, query):
    return answer(start_response, environ["wsgi.input"].read())


def sha256(environ, start_response, query):
    """The digest and the length of the body, read in pieces."""
    total, size = hashlib.sha256(), 0
    while data := environ["wsgi.input"].read(65536):
        total.update(data)
        size += len(data)
    return answer(start_response, f"{total.hexdigest()} {size}")


def form(environ, start_response, query):
    return answer(start_response, json.dumps(parse_qs(environ["wsgi.input"].read().decode())))


def upload(environ, start_response, query):
    """The name and digest of the one file in a multipart form; just enough parsing for a test."""
    boundary = re.search("boundary=([^;]+)", environ["CONTENT_TYPE"])[1].encode()
    part = environ["wsgi.input"].read().split(b"--" + boundary)[1]
    head, _, data = part.partition(b"\r\n\r\n")
    name = re.search(rb'filename="([^"]*)"', head)[1].decode()
    return answer(start_response, json.dumps({"name": name, "sha256": hashlib.sha256(data[:-2]).hexdigest()}))


def generate(environ, start_response, query):
    """``bytes`` of the pattern; without a length when ``chunked``."""
    size = int(query["bytes"])
    start_response("200 OK", TEXT if "chunked" in query else [*TEXT, ("Content-Length", str(size))])
    return pattern.blocks(size)


def pieces(environ, start_response, query):
    start_response("200 OK", TEXT)
    yield from (b"one\n", b"", b"two\n", b"three\n")


def no_content(environ, start_response, query):
    start_response("204 No Content", [])
    return []


def cookies(environ, start_response, query):
    return answer(start_response, "", fields=[("Set-Cookie", "a=1"), ("Set-Cookie", "b=2")])


def fail(environ, start_response, query):
    raise ValueError("raised before the answer")


def fail_later(environ, start_response, query):
    start_response("200 OK", TEXT)
    yield b"the first piece\n" * 10_000
    raise ValueError("raised in the middle")


def short(environ, start_response, query):
    """Promise more than is sent."""
    start_response("200 OK", [*TEXT, ("Content-Length", "100")])
    return [b"only this"]


def die(environ, start_response, query):
    os._exit(7)


def wait(environ, start_response, query):
    """Note that it has begun (the pid in ``began``), then block until there is a byte in the FIFO ``until``."""
    note(query["began"])
    with open(query["until"], "rb", buffering=0) as fifo:
        fifo.read(1)
    return answer(start_response, "waited")


def slow(environ, start_response, query):
    """Take ``s`` seconds, and leave a line in ``began`` when it starts."""
    if "began" in query:
        note(query["began"])
    time.sleep(float(query["s"]))
    return answer(start_response, str(os.getpid()))


def keep(environ, start_response, query):
    """Never let go of so many bytes."""
    KEPT.append(os.urandom(int(query["bytes"])))
    return answer(start_response, str(os.getpid()))


def hang(environ, start_response, query):
    """Never come back, in the way that ``how`` names."""
    hang_for_good(query["how"])


def hang_for_good(how):
    if how == "sleep":
        time.sleep(600)
    elif how == "lock":
        lock = threading.Lock()
        lock.acquire()
        lock.acquire()
    elif how == "stop":
        os.kill(os.getpid(), signal.SIGSTOP)
    while how == "spin":
        pass


def orphan(environ, start_response, query):
    """Leave behind a process that is nobody's and ends with ``code``."""
    child = os.fork()
    if child == 0:
        os._exit(int(query["code"]) if os.fork() == 0 else 0)
    os.waitpid(child, 0)
    return answer(start_response, "orphaned")


KEPT = []


def note(path):
    with open(path, "a") as file:  # one short append: lines of several workers don't mix
        file.write(f"{os.getpid()}\n")


HANDLERS = {
    function.__name__: function
    for function in (
        *(hello, pid, python, show_environ, echo, sha256, form, upload, generate, pieces, no_content, cookies),
        *(fail, fail_later, short, die, wait, slow, keep, hang, orphan),
    )
}
