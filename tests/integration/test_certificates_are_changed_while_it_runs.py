"""Certificates that change are proved and taken without a failed handshake; bad ones are not taken (I3)."""

from __future__ import annotations

import os
import ssl
import threading
from pathlib import Path

from tests.support.certificates import Authority
from tests.support.site import Site, StartSite
from tests.support.tls_client import TlsClient, alert_of, client_context
from tests.support.waiting import wait_until

CA = Authority()
STRICT = client_context(CA.pem)
SITES = """
[site.a]
hosts = ["a.test"]
respond = { body = "a" }
tls = { cert = "a.pem", key = "a.key" }

[site.late]
hosts = ["late.test"]
respond = { body = "late" }
tls = { cert = "late.pem", key = "late.key" }
"""


def serial_of(site: Site, name: str = "a.test") -> str:
    with TlsClient(site.https, STRICT, name) as client:
        found = client.tls.getpeercert()
        assert found is not None
        return str(found["serialNumber"])


def replace(folder: Path, stem: str, cert: bytes, key: bytes) -> None:
    """As ACME clients do it: each file in one step, the pair in two."""
    for name, data in ((f"{stem}.pem", cert), (f"{stem}.key", key)):
        (folder / f"{name}.new").write_bytes(data)
        os.replace(folder / f"{name}.new", folder / name)


class Load:
    """Clients that make one handshake after the other; ``failures``: what went wrong."""

    def __init__(self, site: Site) -> None:
        self.failures: list[str] = []
        self.done = 0
        self._site = site
        self._is_over = threading.Event()
        self._threads = [threading.Thread(target=self._run) for _ in range(3)]
        for thread in self._threads:
            thread.start()

    def _run(self) -> None:
        while not self._is_over.wait(0.003):
            try:
                with TlsClient(self._site.https, STRICT, "a.test") as client:
                    if client.get("/", "a.test").text != "a":
                        self.failures.append("another answer")
                self.done += 1
            except (OSError, ssl.SSLError) as error:
                self.failures.append(repr(error))

    def stop(self) -> None:
        self._is_over.set()
        for thread in self._threads:
            thread.join()


def test_new_ones_are_taken_and_bad_ones_are_not(start_site: StartSite, tmp_path: Path) -> None:
    CA.write(tmp_path, "a", "a.test", days=20)
    site = start_site(SITES, server='https = "127.0.0.1:0"', fronts=2)
    site.expect_error("site late: refused on https: no such file: .*late.pem")
    site.wait_line(r"warning .*site a: its certificate .*a.pem expires in 19 days")
    assert alert_of(site.https, STRICT, "late.test") == "tlsv1 unrecognized name"
    first = serial_of(site)
    load = Load(site)
    try:
        replace(tmp_path, "a", *CA.issue("a.test"))
        wait_until(lambda: serial_of(site) != first, "the new certificate", 20)
        site.wait_line(r"info .*site a: new certificate .*a.pem")
        second = wait_until(lambda: serial_of(site) if serial_of(site) == serial_of(site) else "", "both fronts", 20)

        # Bad ones, one kind at a time, and a site whose first one comes late.
        bad = {
            "does not belong to the certificate": (CA.issue("a.test")[0], (tmp_path / "a.key").read_bytes()),
            "expired .* ago": CA.issue("a.test", days=-2),
        }
        for number, (reason, pair) in enumerate(bad.items()):
            if number == 1:
                CA.write(tmp_path, "late", "late.test")
            replace(tmp_path, "a", *pair)
            site.expect_error(f"site a: new certificate not taken, the old one stays: .*{reason}")
            site.wait_line(f"the old one stays: .*{reason}", 20)
            assert serial_of(site) == second
        state = site.status()["sites"]["a"]
        assert state["state"] == "degraded"
        assert "its new certificate was not taken" in state["reason"]
        wait_until(lambda: serial_of_or_none(site, "late.test"), "the late one", 20)

        replace(tmp_path, "a", *CA.issue("a.test"))
        wait_until(lambda: serial_of(site) not in (first, second), "the third one", 20)
        assert site.status()["sites"]["a"]["state"] == "serving"
    finally:
        load.stop()
    assert not load.failures
    assert load.done > 20


def test_a_front_that_takes_the_place_of_a_dead_one_has_them_too(start_site: StartSite, tmp_path: Path) -> None:
    CA.write(tmp_path, "a", "a.test")
    CA.write(tmp_path, "late", "late.test")
    site = start_site(SITES, server='https = "127.0.0.1:0"')
    (first,) = site.front_pids()
    site.kill(first)
    assert wait_until(lambda: serial_of_or_none(site, "a.test"), "a handshake")
    assert serial_of_or_none(site, "late.test")
    assert site.front_pids() != [first]


def serial_of_or_none(site: Site, name: str) -> str:
    try:
        return serial_of(site, name)
    except OSError:
        return ""
