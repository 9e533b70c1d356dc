"""A WSGI application that does what each request says: the query is the source of its body. CPython 3.10.

``start`` is start_response. The path ``/valid`` puts the standard library's validator between, which raises
AssertionError at whatever the server or the source does against PEP 3333; what it only warns of is raised too.
"""

import asyncio
import ctypes
import os
import sys
import textwrap
import time
import warnings
from urllib.parse import unquote
from wsgiref.validate import WSGIWarning, validator

warnings.simplefilter("error", WSGIWarning)


def told(environ, start):
    names = {"asyncio": asyncio, "ctypes": ctypes, "os": os, "sys": sys, "time": time, "Blocks": Blocks, "note": note}
    source = textwrap.indent(unquote(environ["QUERY_STRING"]), "    ")
    exec(f"def call(environ, start):\n{source}", names)
    return names["call"](environ, start)


def application(environ, start_response):
    if environ["PATH_INFO"] == "/valid":
        return validator(told)(environ, start_response)
    return told(environ, start_response)


class Blocks:
    """An iterable whose ``close`` notes or raises."""

    def __init__(self, blocks, path=None, error=None):
        self.blocks = blocks
        self.path = path
        self.error = error

    def __iter__(self):
        return iter(self.blocks)

    def close(self):
        if self.path:
            note(self.path)
        if self.error:
            raise self.error


def note(path):
    with open(path, "a") as file:
        file.write(f"{os.getpid()}\n")
