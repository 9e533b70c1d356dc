"""A WSGI application that answers with what it was asked, for the corpus. ``/--seen``: all that it was ever asked."""

import json

SEEN = []


def application(environ, start_response):
    path = environ["PATH_INFO"].encode("latin-1").decode("utf-8", "surrogateescape")
    if path == "/--seen":
        answer = SEEN
    else:
        try:
            body = environ["wsgi.input"].read()
        except OSError:  # the rest will never come: half a message is no message
            start_response("400 Bad Request", [])
            return []
        text = f"{environ['REQUEST_METHOD']} {path} {body.decode('latin-1')}"
        SEEN.append(text)
        answer = {
            "text": text,
            "fields": {key: value for key, value in environ.items() if key.startswith(("HTTP_", "CONTENT_"))},
            "client": environ["REMOTE_ADDR"],
            "scheme": environ["wsgi.url_scheme"],
            "forged": environ["SCRIPT_NAME"] + environ.get("REMOTE_USER", "") + environ.get("HTTPS", ""),
        }
    data = json.dumps(answer).encode()
    start_response("200 OK", [("Content-Type", "application/json"), ("Content-Length", str(len(data)))])
    return [data]
