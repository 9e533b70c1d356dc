"""Promise: Django, Flask and FastAPI projects run as they are, in their own interpreters, which have no pyserve."""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
from pathlib import Path

import httpx
import pytest

from tests.support import environments
from tests.support.site import APPS, Site, StartSite
from tests.support.waiting import wait_until

PYTHONS = pytest.mark.parametrize(
    "python", [pytest.param(python, marks=pytest.mark.needs(python)) for python in environments.PYTHONS]
)


def browse(site: Site, host: str) -> httpx.Client:
    """Return a client with cookies that talks to one host of the site."""
    return httpx.Client(
        base_url=f"http://127.0.0.1:{site.address[1]}", headers={"Host": host}, timeout=20, trust_env=False
    )


def version(python: str) -> list[int]:
    return [int(part) for part in python.removeprefix("python").split(".")]


@PYTHONS
def test_the_environment_of_an_application_has_no_pyserve(python: str) -> None:
    """Guards the other tests here: they would prove nothing if it had."""
    venv = environments.frameworks(python)
    answer = subprocess.run([venv / "bin/python", "-P" if version(python) > [3, 10] else "-I", "-c", "import pyserve"],
        cwd="/", capture_output=True, check=False)  # fmt: skip
    assert b"No module named 'pyserve'" in answer.stderr


@PYTHONS
@pytest.mark.parametrize("kind", ["wsgi", "asgi"])
def test_the_django_admin_is_usable(start_site: StartSite, tmp_path: Path, python: str, kind: str) -> None:
    venv = environments.frameworks(python)
    env = {
        "DJANGO_SETTINGS_MODULE": "shop.settings",
        "SECRET_KEY": "only-for-this-test",
        "SHOP_DATABASE": str(tmp_path / "shop.sqlite3"),
        "SHOP_STATIC": str(tmp_path / "static"),
    }
    for words in (["migrate", "-v0"], ["collectstatic", "-v0", "--no-input"], ["createsuperuser", "--no-input"]):
        more = {
            "DJANGO_SUPERUSER_USERNAME": "ada",
            "DJANGO_SUPERUSER_PASSWORD": "pw",
            "DJANGO_SUPERUSER_EMAIL": "ada@example.com",
        }
        subprocess.run(
            [venv / "bin/python", "-m", "django", *words],
            cwd=APPS / "django_shop",
            env={**os.environ, **env, **more, "PYTHONDONTWRITEBYTECODE": "1", "PYTHONPATH": str(APPS / "django_shop")},
            check=True,
        )
    table = ", ".join(f'{name} = "{value}"' for name, value in env.items())
    site = start_site(f"""
[app.shop]
entry = "shop.{kind}:application"
root = "APPS/django_shop"
venv = "{venv}"
env = {{ {table} }}
workers = 2
threads = 2

[site.shop]
hosts = ["django.test"]
app = "shop"

[[site.shop.route]]
path = "/static/*"
files = "static"
""")
    with browse(site, "django.test") as client:
        page = client.get("/admin/", follow_redirects=True)
        assert "Django administration" in page.text
        form = {"username": "ada", "password": "pw", "next": "/admin/", "csrfmiddlewaretoken": token(page)}
        page = client.post("/admin/login/", data=form, follow_redirects=True)
        assert "Site administration" in page.text

        page = client.get("/admin/shop/item/add/")
        form = {"name": "a lamp", "csrfmiddlewaretoken": token(page), "_save": "Save"}
        page = client.post("/admin/shop/item/add/", data=form, follow_redirects=True)
        assert "was added successfully" in page.text
        assert "a lamp" in page.text

        links = re.findall(r'(?:href|src)="(/static/[^"]+)"', page.text)
        assert links
        for link in links:
            answer = client.get(link)
            assert answer.status_code == 200, link
            assert answer.content == (tmp_path / link.lstrip("/")).read_bytes()


def token(page: httpx.Response) -> str:
    found = re.search(r'name="csrfmiddlewaretoken" value="([^"]+)"', page.text)
    assert found
    return found[1]


@PYTHONS
def test_flask_keeps_sessions_and_takes_files(start_site: StartSite, python: str) -> None:
    site = start_site(f"""
[app.box]
entry = "flask_box:app"
root = "APPS"
venv = "{environments.frameworks(python)}"
workers = 2

[site.box]
hosts = ["flask.test"]
app = "box"
""")
    with browse(site, "flask.test") as client:
        assert client.get("/").text == f"hello stranger, Python {python.removeprefix('python')}"
        page = client.post("/login", data={"name": "Ada"}, follow_redirects=True)
        assert page.text.startswith("hello Ada")
        data = os.urandom(3_000_000)
        answer = client.post("/upload", files={"file": ("photo.jpg", data)}).json()
        assert answer == {"name": "photo.jpg", "bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
        assert client.get("/stream").text.split() == [str(number) for number in range(1000)]


@PYTHONS
def test_fastapi_streams_and_works_in_the_background(start_site: StartSite, python: str) -> None:
    site = start_site(f"""
[app.desk]
entry = "fastapi_desk:app"
root = "APPS"
venv = "{environments.frameworks(python)}"
workers = 1

[site.desk]
hosts = ["fastapi.test"]
app = "desk"
""")
    with browse(site, "fastapi.test") as client:
        assert client.get("/").json() == {"python": version(python), "started": True}
        assert client.get("/items/7", params={"q": "ä"}).json() == {"number": 7, "q": "ä"}
        assert client.get("/items/x").status_code == 422
        assert "swagger-ui" in client.get("/docs").text
        assert "/items/{number}" in client.get("/openapi.json").json()["paths"]
        with client.stream("GET", "/stream") as streamed:
            assert list(streamed.iter_lines()) == [str(number) for number in range(1000)]
        assert client.post("/later/tea").json() == {"accepted": "tea"}
        wait_until(lambda: client.get("/done").json() == ["tea"], "the background task")
        data = os.urandom(2_000_000)
        answer = client.post("/upload", files={"file": data}).json()
        assert answer["sha256"] == hashlib.sha256(data).hexdigest()


@PYTHONS
@pytest.mark.parametrize(
    ("entry", "body"),
    [
        ("main:application", "own wsgi own websocket own pyserve own pyserve.front"),
        ("wsgi:application", "own wsgi"),
        ("pyserve.front:application", "own pyserve.front"),
    ],
)
def test_modules_named_like_ours_are_the_applications_own(
    start_site: StartSite, python: str, entry: str, body: str
) -> None:
    site = start_site(f"""
[app.shadow]
entry = "{entry}"
root = "APPS/shadow"
venv = "{environments.frameworks(python)}"
workers = 1

[site.a]
hosts = ["a"]
app = "shadow"
""")
    assert site.get("/").text == body
