"""An application whose own modules have the names of the server's: main, wsgi, websocket, pyserve."""

import pyserve
import pyserve.front
import websocket
import wsgi


def application(environ, start_response):
    body = " ".join([wsgi.WHO, websocket.WHO, pyserve.WHO, pyserve.front.WHO]).encode()
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))])
    return [body]
