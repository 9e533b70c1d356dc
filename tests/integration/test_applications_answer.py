"""Promise: WSGI and ASGI applications get the whole request and their whole answer goes out."""

from __future__ import annotations

import hashlib
import json
import uuid
from pathlib import Path

import pytest

from tests.support import trial
from tests.support.client import request
from tests.support.gate import Gate
from tests.support.site import StartSite

HOSTS = pytest.mark.parametrize("host", ["w", "a"], ids=["wsgi", "asgi"])


@HOSTS
def test_hello(start_site: StartSite, variant: dict[str, str], host: str) -> None:
    site = start_site(trial.both(), **variant)
    answer = site.get("/hello", host)
    assert (answer.status, answer.reason) == (200, "OK")
    assert answer.text == f"hello from {'WSGI' if host == 'w' else 'ASGI'}\n"
    assert answer.field("content-type") == "text/plain; charset=utf-8"


@HOSTS
def test_a_form_arrives(shared_site: StartSite, host: str) -> None:
    body = b"name=Ada&note=a%26b+c"
    fields = {"Content-Type": "application/x-www-form-urlencoded"}
    answer = shared_site(trial.both()).ask(request("/form", host, "POST", body, fields))
    assert json.loads(answer.body) == {"name": ["Ada"], "note": ["a&b c"]}


@HOSTS
def test_a_file_upload_arrives_bit_for_bit(shared_site: StartSite, host: str) -> None:
    data = uuid.uuid4().bytes * 40_000  # 640 KB: more than any single buffer on the way
    body = b'--xyz\r\nContent-Disposition: form-data; name="f"; filename="a.bin"\r\n\r\n' + data + b"\r\n--xyz--\r\n"
    fields = {"Content-Type": "multipart/form-data; boundary=xyz"}
    answer = shared_site(trial.both()).ask(request("/upload", host, "POST", body, fields))
    assert json.loads(answer.body) == {"name": "a.bin", "sha256": hashlib.sha256(data).hexdigest()}


@HOSTS
@pytest.mark.parametrize("size", [0, 1, 65_535, 65_536, 65_537, 1_000_000])
def test_a_body_comes_back_as_it_went(shared_site: StartSite, host: str, size: int) -> None:
    body = (b"0123456789abcdef" * (size // 16 + 1))[:size]
    assert shared_site(trial.both()).post("/echo", body, host).body == body


@HOSTS
def test_an_answer_without_length_is_chunked(shared_site: StartSite, host: str) -> None:
    answer = shared_site(trial.both()).get("/pieces", host)
    assert answer.is_chunked
    assert answer.text == "one\ntwo\nthree\n"


@HOSTS
def test_every_cookie_has_a_line_of_its_own(shared_site: StartSite, host: str) -> None:
    answer = shared_site(trial.both()).get("/cookies", host)
    assert [value for name, value in answer.fields if name == "set-cookie"] == ["a=1", "b=2"]


@HOSTS
def test_an_answer_of_204_has_no_body_and_no_length(shared_site: StartSite, host: str) -> None:
    answer = shared_site(trial.both()).get("/no-content", host)
    assert answer.status == 204
    assert answer.field("content-length") is None
    assert answer.field("transfer-encoding") is None


def test_environ_is_what_pep_3333_says(shared_site: StartSite) -> None:
    site = shared_site(trial.both())
    fields = {"X-Two": "2", "Cookie": "k=v", "Proxy": "http://evil/", "X_Under": "no", "Content-Type": "text/x"}
    data = request("/show-environ/caf%C3%A9/%20x?q=%2F1", "w", "POST", b"abc", fields)
    environ = json.loads(site.ask(data).body)
    expected = {
        "REQUEST_METHOD": "POST",
        "SCRIPT_NAME": "",
        "PATH_INFO": "/show-environ/café/ x".encode().decode("latin-1"),
        "QUERY_STRING": "q=%2F1",
        "CONTENT_TYPE": "text/x",
        "CONTENT_LENGTH": "3",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "HTTP_HOST": "w",
        "HTTP_X_TWO": "2",
        "HTTP_COOKIE": "k=v",
        "REMOTE_ADDR": "127.0.0.1",
        "wsgi.url_scheme": "http",
    }
    assert {key: environ.get(key) for key in expected} == expected
    assert "HTTP_PROXY" not in environ
    assert "HTTP_X_UNDER" not in environ


def test_scope_is_what_asgi_says(shared_site: StartSite) -> None:
    site = shared_site(trial.both())
    scope = json.loads(site.ask(request("/show-scope/caf%C3%A9?q=%2F1", "a", fields={"X-Two": "2"})).body)
    assert scope["type"] == "'http'"
    assert scope["method"] == "'GET'"
    assert scope["path"] == "'/show-scope/café'"
    assert scope["raw_path"] == "b'/show-scope/caf%C3%A9'"
    assert scope["query_string"] == "b'q=%2F1'"
    assert scope["http_version"] == "'1.1'"
    assert scope["scheme"] == "'http'"
    assert scope["root_path"] == "''"
    assert "(b'x-two', b'2')" in scope["headers"]
    assert "'127.0.0.1'" in scope["client"]


def test_mount_moves_the_prefix_out_of_the_path(start_site: StartSite) -> None:
    site = start_site(
        trial.app("wsgi")
        + trial.app("asgi")
        + """
[site.a]
hosts = ["a"]
respond = { status = 404 }

[[site.a.route]]
path = "/in/w/*"
app = "wsgi"
mount = true

[[site.a.route]]
path = "/in/a/*"
app = "asgi"
mount = true
"""
    )
    environ = json.loads(site.get("/in/w/show-environ").body)
    assert (environ["SCRIPT_NAME"], environ["PATH_INFO"]) == ("/in/w", "/show-environ")
    # ASGI leaves the path whole: the first part names no handler of the trial application.
    assert site.get("/in/a/show-scope").status == 404


def test_lifespan_runs_at_start_and_at_stop(start_site: StartSite, tmp_path: Path) -> None:
    shutdown = tmp_path / "shutdown.txt"
    site = start_site(trial.one("asgi", f'env = {{ TRIAL_SHUTDOWN = "{shutdown}" }}'))
    assert site.get("/show-lifespan").text == "started"
    pids = site.worker_pids("asgi")
    assert site.stop() == 0
    assert shutdown.read_text() == f"{pids[0]}\n"


def test_threads_run_requests_of_one_worker_side_by_side(start_site: StartSite) -> None:
    site = start_site(trial.one("wsgi", "threads = 2"))
    gate = Gate(site.folder)
    with site.connect() as first:
        first.send(request(gate.path, "a"))
        gate.wait_began()
        assert site.get("/hello").status == 200
        gate.open()
        assert first.read_response().text == "waited"
