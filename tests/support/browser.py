"""Debian's Chromium, driven through plain WebDriver calls to chromedriver; no further package."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from types import TracebackType
from typing import Any

import httpx

from tests.support import tools
from tests.support.page_loads import Load, read_loads
from tests.support.waiting import wait_until

# Headless and without a word to the outside: tests talk to this machine only.
ARGUMENTS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disk-cache-size=300000000",  # what a test has loaded stays, however full the disk is
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE *.localhost, EXCLUDE 127.0.0.1",
]


class Browser:
    """One window. ``folder``: where the profile is; in a new one the browser has seen nothing yet.

    ``watches_loads`` has it keep an account of all that it loads; see ``loads``.
    """

    def __init__(self, folder: Path, *, watches_loads: bool = False) -> None:
        driver, chromium = tools.find("chromedriver"), tools.find("chromium")
        assert driver
        assert chromium
        self._log = (folder / "chromedriver.log").open("wb")
        self._driver = subprocess.Popen([driver, "--port=0"], stdout=subprocess.PIPE, stderr=self._log, text=True)
        assert self._driver.stdout
        port = None
        for line in self._driver.stdout:
            if found := re.search(r"successfully on port (\d+)", line):
                port = found[1]
                break
        assert port, "chromedriver did not start"
        self._client = httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60, trust_env=False)
        options = {"binary": chromium, "args": [*ARGUMENTS, f"--user-data-dir={folder / 'profile'}"]}
        logs = {"browser": "ALL", "performance": "ALL"} if watches_loads else {"browser": "ALL"}
        wanted = {"browserName": "chrome", "goog:chromeOptions": options, "goog:loggingPrefs": logs}
        wanted["acceptInsecureCerts"] = True  # local authorities of tests are in nobody's list
        answer = self._call("POST", "/session", {"capabilities": {"alwaysMatch": wanted}})
        self._session = f"/session/{answer['sessionId']}"

    def __enter__(self) -> Browser:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            self._call("DELETE", self._session)
        finally:
            self._client.close()
            self._driver.terminate()
            self._driver.wait(10)
            assert self._driver.stdout
            self._driver.stdout.close()
            self._log.close()

    def open(self, url: str) -> None:
        """Load a page, with everything that it loads itself."""
        self._call("POST", f"{self._session}/url", {"url": url})

    def reload(self) -> None:
        self._call("POST", f"{self._session}/refresh", {})

    def new_tab(self) -> None:
        """Open one more, and go on in it."""
        self._call("POST", f"{self._session}/window/new", {"type": "tab"})
        self.other_tab()

    def other_tab(self) -> None:
        """Go on in the other one of two."""
        now = self._call("GET", f"{self._session}/window")
        handles = self._call("GET", f"{self._session}/window/handles")
        (other,) = [handle for handle in handles if handle != now]
        self._call("POST", f"{self._session}/window", {"handle": other})

    def back(self) -> None:
        self._call("POST", f"{self._session}/back", {})

    def forward(self) -> None:
        self._call("POST", f"{self._session}/forward", {})

    def click(self, selector: str) -> None:
        """Press the first element that a CSS selector finds, as a mouse does: hidden or covered ones can't be."""
        wait_until(lambda: self.run(f"return document.querySelector({selector!r}) !== null"), selector, 20)
        found = self._call("POST", f"{self._session}/element", {"using": "css selector", "value": selector})
        (element,) = found.values()
        self._call("POST", f"{self._session}/element/{element}/click", {})

    @property
    def url(self) -> str:
        return str(self._call("GET", f"{self._session}/url"))

    def run(self, script: str) -> Any:
        """Return what a piece of JavaScript returns."""
        return self._call("POST", f"{self._session}/execute/sync", {"script": script, "args": []})

    def run_and_wait(self, script: str) -> Any:
        """Return what the promise becomes that a piece of JavaScript returns."""
        script = f"const done = arguments[0]; (async () => {{ {script} }})().then(done)"
        return self._call("POST", f"{self._session}/execute/async", {"script": script, "args": []})

    def text(self) -> str:
        """Return the page as a reader sees it."""
        return str(self.run("return document.body.innerText"))

    def wait_text(self, wanted: str) -> None:
        wait_until(lambda: wanted in self.text(), f"{wanted!r} on the page", 20)

    def console_errors(self, levels: tuple[str, ...] = ("SEVERE", "WARNING")) -> list[str]:
        """Return what went wrong on the pages since the last call: scripts, styles, pictures that did not load …"""
        return [entry["message"] for entry in self._entries("browser") if entry["level"] in levels]

    def loads(self) -> list[Load]:
        """Return what was asked for since the last call, and where each answer came from."""
        return read_loads([json.loads(entry["message"])["message"] for entry in self._entries("performance")])

    def _entries(self, kind: str) -> list[dict[str, Any]]:
        entries: list[dict[str, Any]] = self._call("POST", f"{self._session}/se/log", {"type": kind})
        return entries

    def _call(self, method: str, path: str, body: object = None) -> Any:
        answer = self._client.request(method, path, json=body if method == "POST" else None)
        value = answer.json()["value"]
        assert answer.is_success, value
        return value
