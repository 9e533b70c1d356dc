"""Small applications for the tests of the worker; none of them knows pyserve."""

import os
import sys
import threading

IMPORTED_IN = os.getpid()


def wsgi(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    path = environ["PATH_INFO"]
    if path == "/pid":
        return [f"{IMPORTED_IN} {os.getpid()} {os.getppid()}".encode()]
    if path == "/modules":
        return [" ".join(sorted(m for m in sys.modules if m.partition(".")[0] in ("pyserve", "_pyserve"))).encode()]
    if path == "/path":
        return ["\n".join(sys.path).encode()]
    if path == "/title":
        with open("/proc/self/cmdline", "rb") as file:
            return [file.read()]
    if path == "/threads":
        return [str(threading.active_count()).encode()]
    if path == "/fork":
        # A grandchild that lives on must not hold our ends of the channels.
        pid = os.fork()
        if pid == 0:
            import time

            time.sleep(30)
            os._exit(0)
        return [str(pid).encode()]
    if path == "/die":
        os._exit(7)
    return [b"wsgi"]


async def asgi(scope, receive, send):
    if scope["type"] == "lifespan":
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        print("lifespan shutdown ran", flush=True)
        await send({"type": "lifespan.shutdown.complete"})
        return
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"asgi"})


async def failing_startup(scope, receive, send):
    await receive()
    await send({"type": "lifespan.startup.failed", "message": "no database today"})
