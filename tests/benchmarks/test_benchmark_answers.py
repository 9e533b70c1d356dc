"""Before a server is measured, what it answers is compared: status, fields, every byte."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from benchmarks.answers import Expected, WrongAnswer, check_answer, expected
from benchmarks.servers import Running, Stack

BODY = b"what stands in the file"


class Answering(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(206 if "Range" in self.headers else 200)
        self.send_header("Content-Length", str(len(BODY)))
        self.send_header("ETag", '"one"')
        self.send_header("X-Asked", self.headers.get("Accept-Encoding", ""))
        self.end_headers()
        self.wfile.write(BODY)

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Running]:
    with HTTPServer(("127.0.0.1", 0), Answering) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield Running(Stack("answering", tmp_path, (), server.server_port))
        server.shutdown()
        thread.join()


def test_a_right_answer_gives_its_fields(running: Running) -> None:
    assert check_answer(running, "/", expected(BODY, content_encoding=""))["etag"] == '"one"'
    check_answer(running, "/", expected(BODY, 206), {"Range": "bytes=0-"})


def test_nothing_is_asked_that_was_not_told(running: Running) -> None:
    assert check_answer(running, "/", expected(BODY))["x-asked"] == ""


@pytest.mark.parametrize(
    ("right", "reason"),
    [
        (expected(BODY, 304), "status 200 in place of 304"),
        (expected(BODY, content_encoding="gzip"), "content-encoding '' in place of 'gzip'"),
        (expected(BODY, etag=""), "etag '\"one\"' in place of ''"),
        (expected(BODY.upper()), "23 bytes that are not"),
        (expected(BODY + b"!"), "24 that were expected"),
    ],
)
def test_a_wrong_answer_is_told_with_its_reason(running: Running, right: Expected, reason: str) -> None:
    with pytest.raises(WrongAnswer, match=reason):
        check_answer(running, "/", right)


def test_a_server_that_does_not_answer_is_wrong_too(tmp_path: Path) -> None:
    with pytest.raises(WrongAnswer, match="refused"):
        check_answer(Running(Stack("nobody", tmp_path, (), 1)), "/", expected(BODY))
