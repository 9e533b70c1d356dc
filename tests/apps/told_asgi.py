"""An ASGI application that does what each request says: the query is the source of its body. CPython 3.10.

``start`` and ``body`` send the two messages of an answer; anything else goes by ``send``. The path ``/plain`` is
answered by a plain function, whose result is no awaitable.
"""

import asyncio
import ctypes
import os
import sys
import textwrap
from urllib.parse import unquote


def application(scope, receive, send):
    if scope["type"] != "http":
        raise ValueError("no lifespan here")

    def start(status=200, headers=()):
        return send({"type": "http.response.start", "status": status, "headers": headers})

    def body(data=b"", more=False):
        return send({"type": "http.response.body", "body": data, "more_body": more})

    names = {"asyncio": asyncio, "ctypes": ctypes, "os": os, "sys": sys, "note": note, "start": start, "body": body}
    source = textwrap.indent(unquote(scope["query_string"].decode()), "    ")
    kind = "def" if scope["path"] == "/plain" else "async def"
    exec(f"{kind} call(scope, receive, send):\n{source}", names)
    return names["call"](scope, receive, send)


def note(path):
    with open(path, "a") as file:
        file.write(f"{os.getpid()}\n")
