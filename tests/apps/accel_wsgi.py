"""A WSGI application that hands over the file at ``path`` by ``wsgi.file_wrapper`` (PEP 3333), or ``accel`` by its name
in ``X-Accel-Redirect``. CPython 3.10.
"""

from urllib.parse import parse_qs


def application(environ, start_response):
    query = {key: values[0] for key, values in parse_qs(environ["QUERY_STRING"]).items()}
    fields = [("Content-Type", "text/plain"), ("X-Own", "yes")]
    if "accel" in query:
        start_response("200 OK", [*fields, ("X-Accel-Redirect", query["accel"])])
        return [b""]
    file = open(query["path"], "rb")  # noqa: SIM115
    start_response("200 OK", fields)
    return environ["wsgi.file_wrapper"](file, 65536)
