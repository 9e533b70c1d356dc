"""A WSGI application that gets stuck in every way that there is. CPython 3.10."""

import ctypes
import os
import signal
import threading
import time

LOCK = threading.Lock()
LOCK.acquire()


def application(environ, start_response):
    kind = environ["PATH_INFO"].strip("/")
    if kind == "sleep":
        time.sleep(600)
    elif kind == "spin":
        while True:
            pass
    elif kind == "lock":
        LOCK.acquire()
    elif kind == "interpreter":
        ctypes.PyDLL(None).sleep(600)  # keeps the interpreter to itself
    elif kind == "stopped":
        os.kill(os.getpid(), signal.SIGSTOP)
    elif kind == "segfault":
        ctypes.string_at(0)
    start_response("200 OK", [("Content-Length", "2")])
    return [b"ok"]
