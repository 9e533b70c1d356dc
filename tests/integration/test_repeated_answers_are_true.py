"""An answer sent again without asking is the same, is logged each time, and never outlives a change by a second."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.client import request
from tests.support.site import StartSite
from tests.support.waiting import wait_until

SITES = """
[site.f]
hosts = ["f"]
files = "public"
[[site.f.route]]
path = "/ping"
respond = { body = "pong" }
[[site.f.route]]
path = "/old/*"
redirect = { to = "/new/{rest}" }
"""


@pytest.fixture
def public(tmp_path: Path) -> Path:
    folder = tmp_path / "public"
    folder.mkdir()
    (folder / "a.txt").write_text("first")
    return folder


@pytest.mark.parametrize("log_format", ["combined", "json"])
@pytest.mark.parametrize("target", ["/a.txt", "/ping", "/old/x"])
def test_ten_equal_requests_get_ten_equal_answers_and_ten_lines(
    start_site: StartSite, public: Path, target: str, log_format: str
) -> None:
    site = start_site(SITES, access=f'{{ file = "access.log", format = "{log_format}" }}')
    with site.connect() as client:
        answers = []
        for _ in range(10):
            client.send(request(target, "f"))
            answer = client.read_response()
            answers.append((answer.status, answer.body, sorted(f for f in answer.fields if f[0] != "date")))
    assert answers[1:] == answers[:-1]
    assert [target in line for line in site.access_lines(10)] == [True] * 10


def test_head_and_get_of_one_file_are_never_mixed_up(start_site: StartSite, public: Path) -> None:
    site = start_site(SITES)
    with site.connect() as client:
        for _ in range(4):
            client.send(request("/a.txt", "f"))
            assert client.read_response().body == b"first"
            client.send(request("/a.txt", "f", method="HEAD"))
            head = client.read_response(to_head=True)
            assert (head.status, head.body, dict(head.fields)["content-length"]) == (200, b"", "5")


def test_a_change_is_seen_within_a_second_or_so(start_site: StartSite, public: Path) -> None:
    site = start_site(SITES)
    with site.connect() as client:

        def body() -> bytes:
            client.send(request("/a.txt", "f"))
            return client.read_response().body

        for _ in range(5):
            assert body() == b"first"
        (public / "a.txt").write_text("second")
        wait_until(lambda: body() == b"second", "the change")
