"""Tells whom it runs as, within which bounds, and what it can reach; tries to go beyond them when asked."""

import contextlib
import json
import os
import resource
import sys
import tempfile
from urllib.parse import parse_qs


def who() -> dict[str, object]:
    umask = os.umask(0)
    os.umask(umask)
    loader = sys.modules["_pyserve.worker.loader"]
    return {
        "user": os.getuid(),
        "group": os.getgid(),
        "groups": sorted(os.getgroups()),
        "umask": umask,
        "folder": os.getcwd(),
        "tmp": tempfile.gettempdir(),
        "nice": os.getpriority(os.PRIO_PROCESS, 0),
        "python": list(sys.version_info[:2]),
        "open_files": resource.getrlimit(resource.RLIMIT_NOFILE),
        "address_space": resource.getrlimit(resource.RLIMIT_AS),
        "cpu_time": resource.getrlimit(resource.RLIMIT_CPU)[0],
        "environment": dict(os.environ),
        "code": loader.__file__,
        "stock": getattr(sys.modules.get("stock"), "VERSION", None),
    }


def reach(path: str) -> str:
    try:
        with open(path) as file:
            return file.read()
    except OSError as error:
        return type(error).__name__


def open_many(count: int) -> str:
    try:
        with contextlib.ExitStack() as files:
            for _ in range(count):
                files.enter_context(open("/dev/null"))
    except OSError as error:
        return error.strerror or ""
    return "opened"


def application(environ, start_response):
    query = {name: values[0] for name, values in parse_qs(environ["QUERY_STRING"]).items()}
    path = environ["PATH_INFO"]
    answer: object = None
    if path == "/who":
        answer = who()
    elif path == "/pid":
        answer = os.getpid()
    elif path == "/reach":
        answer = reach(query["path"])
    elif path == "/write":
        print(query["words"], file=sys.stderr, flush=True)
    elif path == "/open":
        answer = open_many(int(query["count"]))
    elif path == "/hoard":
        answer = len(bytearray(b"x" * int(query["bytes"])))
    elif path == "/spin":
        while True:
            pass
    start_response("200 OK", [("Content-Type", "application/json")])
    return [json.dumps(answer).encode()]


try:
    import stock  # noqa: F401
except ImportError:
    pass
