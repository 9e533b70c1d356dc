"""Promise: real pages in a real browser load whole, with nothing to complain about in its console."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import environments
from tests.support.browser import Browser
from tests.support.site import StartSite
from tests.support.waiting import wait_until

pytestmark = pytest.mark.needs("chromium", "chromedriver")
CONF = Path(__file__).resolve().parents[2] / "conf"


@pytest.fixture
def browser(tmp_path: Path) -> Iterator[Browser]:
    (tmp_path / "browser").mkdir()
    with Browser(tmp_path / "browser") as browser:
        yield browser


def demo(*, is_tls: bool = False) -> str:
    """Return apps and sites of the shipped demo, for a free port: its paths are relative to its folder."""
    text = (CONF / "site.toml").read_text()
    text = text[text.index("[app.a-site]") :]
    if not is_tls:
        text = re.sub(r"^tls .*$", "", text, flags=re.MULTILINE)
    text = re.sub(r'^(root +)= "(.-site)"', rf'\1= "{CONF}/\2"', text, flags=re.MULTILINE)
    return text.replace('"a-site/', f'"{CONF}/a-site/').replace('"b-site/', f'"{CONF}/b-site/')


@pytest.mark.parametrize("site_name", ["a-site", "b-site"])
@pytest.mark.parametrize("scheme", ["http", "https"])
def test_the_demo_loads_without_an_error(start_site: StartSite, browser: Browser, site_name: str, scheme: str) -> None:
    if scheme == "https":
        site = start_site(demo(is_tls=True), server='https = "127.0.0.1:0"')
        origin = f"https://{site_name}.localhost:{site.https[1]}"
    else:
        site = start_site(demo())
        origin = f"http://{site_name}.localhost:{site.address[1]}"
    browser.open(f"{origin}/")
    links = browser.run("return [...document.querySelectorAll('a[href]')].map(link => link.href)")
    pages = sorted({link.split("#")[0] for link in links if link.startswith(origin)})
    assert browser.text().strip()
    for page in pages:
        browser.open(page)
        assert browser.text().strip(), page
        assert not browser.console_errors(), page


def test_two_tabs_chat_over_websockets(start_site: StartSite, browser: Browser) -> None:
    site = start_site(demo())
    page = f"http://b-site.localhost:{site.address[1]}/chat"
    browser.open(page)
    browser.wait_text("only you")
    browser.new_tab()
    browser.open(page)
    browser.wait_text("2 visitors")
    say = "for (const [id, text] of Object.entries(arguments[0])) document.getElementById(id).value = text"
    browser.run(say.replace("arguments[0]", "{name: 'Ada', text: 'is anybody here? <b>'}"))
    browser.click("#send")
    browser.wait_text("Ada is anybody here? <b>")
    browser.other_tab()
    browser.wait_text("Ada is anybody here? <b>")
    browser.run(say.replace("arguments[0]", "{name: 'Grace', text: 'yes'}"))
    browser.click("#send")
    browser.other_tab()
    browser.wait_text("Grace yes")
    assert site.admin("renew b-chat") == b'{"renewed": true}\n'
    browser.wait_text("2 visitors")  # both have come back, to a room with nothing in it
    wait_until(lambda: "Grace" not in browser.text(), "the new room is empty", 20)
    assert not browser.console_errors()


@pytest.mark.needs("npm")
def test_fastapi_docs_work_with_swagger_ui_served_from_a_folder(start_site: StartSite, browser: Browser) -> None:
    site = start_site(f"""
[app.desk]
entry = "fastapi_desk:app"
root = "APPS"
venv = "{environments.frameworks(environments.PYTHONS[0])}"

[site.desk]
hosts = ["fastapi.localhost"]
app = "desk"

[[site.desk.route]]
path = "/swagger/*"
files = "{environments.swagger_ui()}"
""")
    browser.open(f"http://fastapi.localhost:{site.address[1]}/docs")
    browser.wait_text("/items/{number}")
    browser.wait_text("Desk")
    assert not browser.console_errors()
