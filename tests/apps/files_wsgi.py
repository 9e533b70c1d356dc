"""A WSGI application that hands over the file that the query names. PEP 3333, CPython 3.10."""

import os
from urllib.parse import parse_qs


def application(environ, start_response):
    query = {key: values[0] for key, values in parse_qs(environ["QUERY_STRING"]).items()}
    if "path" not in query:
        start_response("200 OK", [("Content-Length", "5")])
        return [b"hello"]
    headers = []
    file = open(query["path"], "rb")  # noqa: SIM115
    start = int(query.get("start", 0))
    file.seek(start)
    if "length" in query:
        headers.append(("Content-Length", query["length"]))
    if "end" in query:
        end, size = int(query["end"]), os.fstat(file.fileno()).st_size
        headers += [("Content-Range", f"bytes {start}-{end}/{size}"), ("Content-Length", str(end + 1 - start))]
    start_response("206 Partial Content" if "end" in query else "200 OK", headers)
    return environ["wsgi.file_wrapper"](file, 8192)
