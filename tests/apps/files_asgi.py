"""An ASGI application that hands over the file that the query names, by path or piece by piece. CPython 3.10."""

import os
from urllib.parse import parse_qs


async def application(scope, receive, send):
    assert scope["type"] == "http"
    assert {"http.response.pathsend", "http.response.zerocopysend"} <= set(scope["extensions"])
    query = {key: values[0] for key, values in parse_qs(scope["query_string"].decode()).items()}
    headers = [(b"content-length", query["length"].encode())] if "length" in query else []
    start = int(query.get("start", 0))
    if "end" in query:
        end, size = int(query["end"]), os.path.getsize(query["path"])
        headers.append((b"content-range", b"bytes %d-%d/%d" % (start, end, size)))
        headers.append((b"content-length", b"%d" % (end + 1 - start)))
    status = 206 if "end" in query else 200
    await send({"type": "http.response.start", "status": status, "headers": headers})
    if "path" not in query:
        await send({"type": "http.response.body", "body": b"hello"})
    elif "mixed" in query:
        with open(query["path"], "rb") as file:
            for number in range(int(query["mixed"])):
                await send({"type": "http.response.body", "body": b"<%d>" % number, "more_body": True})
                await send({"type": "http.response.zerocopysend", "file": file, "offset": 0, "more_body": True})
        await send({"type": "http.response.body", "body": b"<end>"})
    elif "end" in query:
        with open(query["path"], "rb") as file:
            await send({"type": "http.response.zerocopysend", "file": file, "offset": start, "count": end + 1 - start})
    else:
        await send({"type": "http.response.pathsend", "path": query["path"]})
