"""Sites get their certificates from an authority, and new ones in time: against Pebble, with real challenges."""

from __future__ import annotations

import json
import os
import re
import signal
import stat
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pyserve.acme import material
from pyserve.acme.schedule import Certificate
from tests.support.authority import Pebble, RefusingAuthority
from tests.support.client import request
from tests.support.site import Site, StartSite
from tests.support.tls_client import TlsClient, alert_of, client_context
from tests.support.waiting import wait_until

pytestmark = pytest.mark.needs("pebble")

StartPebble = Callable[..., Pebble]
SITE = '[site.a]\nhosts = {hosts}\nrespond = {{ body = "here" }}\ntls = {{ acme = true }}\n'
LONG_S = 30.0


@pytest.fixture
def start_pebble(tmp_path: Path) -> Iterator[StartPebble]:
    started: list[Pebble] = []

    def start(**options: Any) -> Pebble:
        started.append(Pebble(tmp_path / f"pebble{len(started)}", **options))
        return started[-1]

    try:
        yield start
    finally:
        for pebble in started:
            pebble.close()
            print(pebble.log()[-5000:])


def server(pebble: Pebble | RefusingAuthority, more: str = "", https: int = 0) -> str:
    """``https``: the port, 0 = any."""
    return (
        f'https = "127.0.0.1:{https}"\n'
        f'acme = {{ email = "ops@a.test", directory = "{pebble.directory}", ca = "{pebble.ca}", '
        f'storage = "{pebble.ca.parent.parent}/st"{more} }}'
    )


def site(*hosts: str) -> str:
    return SITE.format(hosts=json.dumps(hosts or ("a.test",)))


def http(pebble: Pebble) -> str:
    return f'"127.0.0.1:{pebble.http_port}"'


def acme(site: Site, name: str = "a") -> dict[str, Any]:
    found = site.status()["acme"].get(name, {})
    assert isinstance(found, dict)
    return found


def wait_for(site: Site, state: str, name: str = "a") -> dict[str, Any]:
    return wait_until(
        lambda: found if (found := acme(site, name)).get("state") == state else None, f"a certificate {state}", LONG_S
    )  # type: ignore[return-value]


def certificate(folder: Path, host: str = "a.test") -> Certificate:
    found = material.read((folder / f"st/certificates/{host}.pem").read_bytes())
    assert found is not None
    return found[0]


def record(folder: Path, host: str = "a.test") -> dict[str, Any]:
    found = json.loads((folder / f"st/certificates/{host}.json").read_bytes())
    assert isinstance(found, dict)
    return found


def files(folder: Path, name: str) -> list[str]:
    return sorted(path.name for path in (folder / "st" / name).rglob("*") if path.is_file())


def test_a_site_gets_a_certificate_for_all_its_names_by_http(
    start_pebble: StartPebble, start_site: StartSite, tmp_path: Path
) -> None:
    pebble = start_pebble()
    running = start_site(site("a.test", "b.test"), server=server(pebble), http=http(pebble))
    state = wait_for(running, "valid")
    assert state["reason"] == ""
    found = certificate(tmp_path)
    assert found.names == {"a.test", "b.test"}
    assert record(tmp_path)["challenge"] == "http-01"
    # Nothing of it is for others, nothing is left of the challenges.
    for path in [tmp_path / "st", *(tmp_path / "st").rglob("*")]:
        assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600), path
    assert files(tmp_path, "challenges") == files(tmp_path, "locks") == []
    running.wait_line(r"made an account at .*; its terms are agreed to: ")
    assert len([line for line in running.lines if re.search(r"\[acme\] certificate of site a: got one", line)]) == 1


@pytest.mark.parametrize("challenge", ["http-01", "tls-alpn-01"])
def test_a_site_is_served_on_https_as_soon_as_it_has_its_certificate(
    start_pebble: StartPebble, start_site: StartSite, tmp_path: Path, challenge: str
) -> None:
    pebble = start_pebble()
    # Nobody answers where the other kind is looked for.
    where = {"http": http(pebble)} if challenge == "http-01" else {}
    https = pebble.tls_port if challenge == "tls-alpn-01" else 0
    more = f', challenge = "{challenge}"'
    running = start_site(site("a.test", "b.test"), server=server(pebble, more, https), **where)
    wait_for(running, "valid")
    assert record(tmp_path)["challenge"] == challenge
    assert files(tmp_path, "challenges") == []
    wait_until(lambda: running.status()["sites"]["a"]["state"] == "serving", "the site on https")
    strict = client_context(pebble.root().encode())
    for host in ("a.test", "b.test"):
        with TlsClient(running.https, strict, host) as client:
            assert client.ask(request("/", host)).body == b"here"
    answer = running.get("/x", "a.test")
    assert (answer.status, answer.field("location")) == (308, f"https://a.test:{running.https[1]}/x")
    # Its challenges are over, those of others never were.
    asking = client_context(None, protocols=["acme-tls/1"])
    for host in ("a.test", "other.test"):
        assert "unrecognized name" in alert_of(running.https, asking, host).lower()


def test_it_is_renewed_when_a_third_of_its_life_is_left_without_a_failed_handshake(
    start_pebble: StartPebble, start_site: StartSite, tmp_path: Path
) -> None:
    pebble = start_pebble(valid_s=15)  # five seconds for the renewal, however busy the machine is
    running = start_site(site(), server=server(pebble), http=http(pebble))
    running.tolerate_error("expires in")
    wait_until(lambda: running.status()["sites"]["a"]["state"] == "serving", "the site on https", LONG_S)
    first = certificate(tmp_path)
    strict = client_context(pebble.root().encode())
    seen: set[bytes | None] = set()

    def shake_hands() -> bool:
        with TlsClient(running.https, strict, "a.test") as client:
            assert client.ask(request("/", "a.test")).body == b"here"
            seen.add(client.tls.getpeercert(binary_form=True))
        # One with a certificate that has ended would fail.
        return time.time() > first.not_after_s + 0.5

    wait_until(shake_hands, "the end of the first certificate", LONG_S)
    assert len(seen) >= 2
    failed = running.status()["fronts"][0]["tls"]["failed"]
    assert not any(failed.values()), failed
    running.wait_line("for one: it is time to renew it")
    assert certificate(tmp_path).not_before_s < first.not_after_s
    assert pebble.accounts() == 1


def test_after_a_restart_account_and_certificate_are_used_on(
    start_pebble: StartPebble, start_site: StartSite, tmp_path: Path
) -> None:
    pebble = start_pebble()
    running = start_site(site(), server=server(pebble), http=http(pebble))
    wait_for(running, "valid")
    assert running.stop() == 0
    again = start_site(site(), server=server(pebble), http=http(pebble))
    wait_for(again, "valid")
    assert pebble.issued() == 1
    again.stop()
    # One name more needs a new certificate, of an authority that has forgotten the account.
    pebble.forget()
    more = start_site(site("a.test", "b.test"), server=server(pebble), http=http(pebble))
    wait_until(lambda: certificate(tmp_path).names == {"a.test", "b.test"}, "both names", LONG_S)
    more.wait_line("asking .* for one: the certificate is not for b.test")
    more.wait_line("made an account at")


def test_many_sites_get_theirs_side_by_side_each_in_its_way(
    start_pebble: StartPebble, start_site: StartSite, tmp_path: Path
) -> None:
    pebble = start_pebble()
    ways = ("challenge = 'http-01'", "challenge = 'tls-alpn-01'", "key = 'rsa-2048'", "key = 'ecdsa-p384'", "")
    text = "".join(
        f'[site.s{number}]\nhosts = ["s{number}.test"]\nrespond = {{ body = "{number}" }}\n'
        f"tls = {{ acme = {{ {way} }} }}\n"
        for number, way in enumerate(ways)
    )
    text += '[site.ip]\nhosts = ["127.0.0.1"]\nrespond = { body = "ip" }\ntls = { acme = true }\n'
    running = start_site(text, server=server(pebble, https=pebble.tls_port), http=http(pebble))
    names = [f"s{number}" for number in range(len(ways))]
    wait_until(lambda: all(s["state"] == "serving" for s in running.status()["sites"].values()), "all", LONG_S)
    strict = client_context(pebble.root().encode())
    for name in names:
        with TlsClient(running.https, strict, f"{name}.test") as client:
            assert client.ask(request("/", f"{name}.test")).body == name[1:].encode()
    with TlsClient(running.https, strict, "127.0.0.1") as client:
        assert client.ask(request("/", "127.0.0.1")).body == b"ip"
    assert record(tmp_path, "s1.test")["challenge"] == "tls-alpn-01"
    assert pebble.accounts() == 1


def test_a_refused_challenge_is_said_with_its_reason_and_tried_again_later_and_otherwise(
    start_pebble: StartPebble, start_site: StartSite, tmp_path: Path
) -> None:
    pebble = start_pebble()
    # Nobody is where it looks.
    running = start_site(site(), server=server(pebble))
    running.expect_error(r"certificate of site a: a.test: http-01: connection: .*; next attempt at 20")
    state = wait_for(running, "failed")
    assert "a.test: http-01: connection:" in state["reason"]
    known = record(tmp_path)
    assert known["failures"] == 1
    assert 50 < known["next_attempt"] - time.time() < 90
    assert files(tmp_path, "challenges") == files(tmp_path, "locks") == []
    # Until there is a certificate it is served in clear text, and refused on https.
    assert running.get("/", "a.test").body == b"here"
    assert "unrecognized name" in alert_of(running.https, client_context(None), "a.test").lower()
    site_state = running.status()["sites"]["a"]
    assert site_state["state"] == "degraded"
    assert "refused on https: waiting for its first certificate (a.test: http-01: connection:" in site_state["reason"]
    # A restart asks for nothing before its time.
    running.stop()
    orders = pebble.log().count("Added order")
    again = start_site(site(), server=server(pebble))
    assert wait_for(again, "failed")["reason"] == state["reason"]
    assert pebble.log().count("Added order") == orders == 1


def test_a_name_that_the_authority_refuses_is_said_and_the_old_certificate_stays(
    start_pebble: StartPebble, start_site: StartSite, tmp_path: Path
) -> None:
    pebble = start_pebble(blocked=("blocked.test",))
    running = start_site(site(), server=server(pebble), http=http(pebble))
    wait_for(running, "valid")
    before = certificate(tmp_path)
    running.stop()
    again = start_site(site("a.test", "blocked.test"), server=server(pebble), http=http(pebble))
    again.expect_error(r"certificate of site a: .*rejectedIdentifier: .*blocked.test.*; the old one is valid until")
    state = wait_until(lambda: found if (found := acme(again)).get("reason") else None, "a reason", LONG_S)
    assert "rejectedIdentifier" in state["reason"]
    assert state["state"] == "valid"
    assert certificate(tmp_path) == before


def test_an_authority_that_asks_for_an_account_of_its_own_gets_it(
    start_pebble: StartPebble, start_site: StartSite
) -> None:
    key = "zWNDZM6eQGHWpSRTPal5eIUYFTu7EajVIoguysqZ9wG44nMEtx3MUAsUDkMTQ12W"
    pebble = start_pebble(binding=key)
    without = start_site(site(), server=server(pebble), http=http(pebble))
    without.expect_error("asks for an account of its own: give it as acme.external_account")
    wait_for(without, "failed")
    without.stop()
    bound = server(pebble, f', external_account = {{ id = "me", key = "{key}" }}')
    running = start_site(site(), server=bound, http=http(pebble))
    wait_for(running, "valid")


def test_machines_that_share_the_folder_get_one_certificate_together(
    start_pebble: StartPebble, start_site: StartSite, tmp_path: Path
) -> None:
    pebble = start_pebble()
    shared = server(pebble)
    # Only the first is where the authority looks: it answers for whoever has asked.
    machines = [
        start_site(site(), server=shared, http=http(pebble)),
        start_site(site(), server=shared),
        start_site(site(), server=shared),
    ]
    for machine in machines:
        wait_for(machine, "valid")
    assert pebble.issued() == 1
    assert pebble.accounts() == 1
    assert not os.listdir(tmp_path / "st/locks")


def test_a_machine_that_died_in_the_middle_holds_up_nobody(
    start_pebble: StartPebble, start_site: StartSite, tmp_path: Path
) -> None:
    pebble = start_pebble()
    running = start_site(site(), server=server(pebble))  # not where the authority looks
    running.tolerate_error("certificate of site a")
    running.wait_line("asking https")
    (pid,) = [process.pid for process in running.observe() if "certificates" in process.title]
    running.kill(pid)
    running.wait_line(r"the process that gets certificates \(pid \d+\) killed by signal 9")
    # Another one is there, and goes by what the first has written down before it asked.
    state = wait_until(lambda: found if (found := acme(running)).get("reason") else None, "a reason", LONG_S)
    assert state["state"] == "failed"
    assert record(tmp_path)["failures"] == 1


def test_an_authority_that_is_asked_too_often_is_left_alone_for_as_long_as_it_says(
    start_site: StartSite, tmp_path: Path
) -> None:
    authority = RefusingAuthority(tmp_path / "authority", retry_after_s=7200)
    try:
        running = start_site(site(), server=server(authority))
        running.expect_error("certificate of site a: rateLimited: too many new accounts; next attempt at")
        state = wait_for(running, "failed")
        assert state["reason"] == "rateLimited: too many new accounts"
        assert 7100 < record(tmp_path)["next_attempt"] - time.time() < 7300
        running.stop()
        for _ in range(2):
            again = start_site(site(), server=server(authority))
            assert wait_for(again, "failed")["reason"] == state["reason"]
            again.stop()
        assert len(authority.posts) == 1
    finally:
        authority.close()


def test_an_authority_that_is_not_there_or_not_trusted_is_said(start_site: StartSite, tmp_path: Path) -> None:
    authority = RefusingAuthority(tmp_path / "authority", retry_after_s=1)
    try:
        text = server(authority).replace(f', ca = "{authority.ca}"', "")
        running = start_site(site(), server=text)
        running.expect_error("certificate of site a: .*its certificate is not trusted")
        wait_for(running, "failed")
        assert authority.posts == []
    finally:
        authority.close()
    other = start_site(site(), server=text.replace('/st"', '/other"'))
    other.expect_error("certificate of site a: .* can't be reached: .*Connection refused")
    wait_for(other, "failed")


def test_a_storage_that_cannot_be_written_to_is_said_and_the_site_is_served(
    start_pebble: StartPebble, start_site: StartSite, tmp_path: Path
) -> None:
    (tmp_path / "st").write_text("a file")
    pebble = start_pebble()
    running = start_site(site(), server=server(pebble))
    running.expect_error("certificate of site a: the storage of certificates .*st: File exists; next attempt at 20")
    assert "File exists" in wait_for(running, "failed")["reason"]
    assert running.get("/", "a.test").body == b"here"
    assert running.status()["sites"]["a"]["state"] == "degraded"


def test_challenges_never_reach_an_application_and_other_sites_are_as_before(
    start_site: StartSite, tmp_path: Path
) -> None:
    text = site() + '[site.b]\nhosts = ["b.test"]\nrespond = { body = "mine" }\n'
    acme = 'acme = { storage = "st", directory = "https://127.0.0.1:9/dir" }'
    running = start_site(text, server=f'https = "127.0.0.1:0"\n{acme}')
    running.tolerate_error("certificate of site a")
    path = "/.well-known/acme-challenge/token"
    wait_until(lambda: (tmp_path / "st/challenges").is_dir(), "the storage")
    assert running.get(path, "a.test").status == 404
    (tmp_path / "st/challenges/token").write_text("token.thumbprint")
    assert running.get(path, "a.test").body == b"token.thumbprint"
    assert running.ask(request(path, "a.test", "POST", b"x")).status == 405
    assert running.get(path, "b.test").body == b"mine"
    # Its process takes part in the rotation of logs.
    (before,) = [process for process in running.observe() if "certificates" in process.title]
    running.child.send_signal(signal.SIGUSR1)
    running.wait_line("logs reopened")
    assert before.is_alive
    assert running.stop() == 0
    assert not [line for line in running.lines if "the process that gets certificates" in line]


def test_sigterm_ends_it_in_the_middle_and_leaves_no_lock(
    start_pebble: StartPebble, start_site: StartSite, tmp_path: Path
) -> None:
    pebble = start_pebble()
    running = start_site(site(), server=server(pebble), http=http(pebble))
    running.wait_line("asking https")
    running.child.send_signal(signal.SIGTERM)
    assert running.wait_exit() == 0
    assert files(tmp_path, "locks") == files(tmp_path, "challenges") == []
