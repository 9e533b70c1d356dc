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
    elif kind == "late-segfault":
        while not os.path.exists(environ["QUERY_STRING"]):
            time.sleep(0.01)
        ctypes.string_at(0)
    elif kind == "child":
        pid = os.fork()
        if pid == 0:
            ctypes.string_at(0)
        os.waitpid(pid, 0)
    start_response("200 OK", [("Content-Length", "2")])
    return [b"ok"]
