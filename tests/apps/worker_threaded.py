"""Starts a thread while it is imported: it can't be loaded before a fork."""

import os
import threading

IMPORTED_IN = os.getpid()
threading.Thread(target=threading.Event().wait, daemon=True, name="poller").start()


def app(environ, start_response):
    start_response("200 OK", [])
    return [f"{os.getpid() == IMPORTED_IN} {threading.active_count() >= 2}".encode()]
