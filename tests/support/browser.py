"""Debian's Chromium, driven through plain WebDriver calls to chromedriver; no further package."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from types import TracebackType
from typing import Any

import httpx

from tests.support import tools
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
]


class Browser:
    """One window. ``folder``: a new one for the profile."""

    def __init__(self, folder: Path) -> None:
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
        wanted = {"browserName": "chrome", "goog:chromeOptions": options, "goog:loggingPrefs": {"browser": "ALL"}}
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

    def run(self, script: str) -> Any:
        """Return what a piece of JavaScript returns."""
        return self._call("POST", f"{self._session}/execute/sync", {"script": script, "args": []})

    def text(self) -> str:
        """Return the page as a reader sees it."""
        return str(self.run("return document.body.innerText"))

    def wait_text(self, wanted: str) -> None:
        wait_until(lambda: wanted in self.text(), f"{wanted!r} on the page", 20)

    def console_errors(self) -> list[str]:
        """Return what went wrong on the pages since the last call: scripts, styles, pictures that did not load …"""
        entries = self._call("POST", f"{self._session}/se/log", {"type": "browser"})
        return [entry["message"] for entry in entries if entry["level"] in ("SEVERE", "WARNING")]

    def _call(self, method: str, path: str, body: object = None) -> Any:
        answer = self._client.request(method, path, json=body if method == "POST" else None)
        value = answer.json()["value"]
        assert answer.is_success, value
        return value
