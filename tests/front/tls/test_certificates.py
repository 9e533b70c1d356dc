"""Which site a handshake is for; contexts are made when they are asked for; handshakes wait in line."""

from __future__ import annotations

import os
import ssl
from collections.abc import Callable

import pytest

from pyserve.config.model import Respond, Site, Tls
from pyserve.front.realm import Realm
from pyserve.front.tls import certificates as module
from pyserve.front.tls.certificates import TICKET_KEYS_S, Certificates, Identity
from pyserve.front.tls.connection import address_of
from pyserve.front.tls.handshakes import AT_ONCE, FIGURES, KINDS, Handshakes, judge_failure
from pyserve.net.channels import read_only
from pyserve.wire import board as cells
from tests.support.certificates import Authority

CA = Authority()
CERT, KEY = CA.issue("a.test")
TLS = Tls("a.pem", "a.key")


def site(name: str, *hosts: str, tls: Tls | None = TLS, default: bool = False) -> Site:
    return Site(name, hosts, default, Respond(), tls=tls)


def realm(certificates: Certificates, tls: Tls) -> Realm:
    return Realm(None, None, None)  # type: ignore[arg-type]


def handed_over(*numbers: int) -> tuple[list[tuple[int, int, int, int, int]], int]:
    """What the master says of sites, all with the same certificate."""
    return [(number, 0, len(CERT), len(KEY), 0) for number in numbers], read_only(CERT + KEY)


PROTOCOLS = ("h2", "http/1.1")
SITES = [
    site("a", "a.test", "[::1]", "10.0.0.1"),
    site("wild", "*.wild.test"),
    site("regex", "~^r[0-9]+\\.test$"),
    site("plain", "plain.test", tls=None),
    site("rest", default=True),
]


@pytest.mark.parametrize(
    ("name", "address", "found"),
    [
        ("a.test", "", "a"),
        ("x.wild.test", "", "wild"),
        ("wild.test", "", "rest"),
        ("r7.test", "", "regex"),
        ("plain.test", "", None),
        ("other.test", "", "rest"),
        ("", "10.0.0.1", "a"),
        ("", "[::1]", "a"),
        ("", "10.0.0.2", "rest"),
        ("", "", "rest"),
    ],
)
def test_a_site_is_found_as_by_its_hosts(name: str, address: str, found: str | None) -> None:
    identity = Certificates(SITES, PROTOCOLS, realm).find(name, address)
    assert (identity and identity.site.name) == found


def test_without_a_default_site_a_name_is_nobodys() -> None:
    assert Certificates(SITES[:-1], PROTOCOLS, realm).find("other.test", "") is None


@pytest.mark.parametrize(
    ("sockname", "address"),
    [
        (("10.0.0.1", 443), "10.0.0.1"),
        (("::1", 443, 0, 0), "[::1]"),
        (("::ffff:10.0.0.1", 443, 0, 0), "10.0.0.1"),
        ("/run/web.sock", ""),
        (None, ""),
    ],
)
def test_an_address_is_written_as_hosts_are(sockname: object, address: str) -> None:
    assert address_of(sockname) == address


def test_a_thousand_certificates_cost_nothing_until_they_are_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[object] = []
    build = module.build_context

    def counting(*arguments: object) -> ssl.SSLContext:
        made.append(arguments)
        return build(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(module, "build_context", counting)
    certificates = Certificates([site(f"s{number}", f"s{number}.test") for number in range(1000)], PROTOCOLS, realm)
    certificates.take(*handed_over(*range(1000)))
    assert not made
    identity = certificates.find("s500.test", "")
    assert identity is not None
    context = identity.context(0.0)
    assert identity.context(TICKET_KEYS_S) is context
    assert len(made) == 1
    # Its ticket keys are not used for ever.
    assert identity.context(TICKET_KEYS_S + 1) is not context
    certificates.close()


def test_memory_that_nobody_needs_is_given_back() -> None:
    certificates = Certificates([site("a", "a.test"), site("b", "b.test")], PROTOCOLS, realm)
    entries, first = handed_over(0, 1)
    certificates.take(entries, first)
    entries, second = handed_over(0)
    certificates.take(entries, second)
    os.fstat(first)
    entries, third = handed_over(1)
    certificates.take(entries, third)
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(first)
    assert certificates.find("a.test", "").leaf == CERT.decode()  # type: ignore[union-attr]
    certificates.close()
    for fd in (second, third):
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.fstat(fd)


def test_a_site_is_refused_until_it_has_a_certificate() -> None:
    certificates = Certificates([site("a", "a.test"), site("b", "b.test", tls=None)], PROTOCOLS, realm)
    assert certificates.fault_of("a") == ("its certificate has not been proved yet", False)
    certificates.refuse(0, "no such file")
    assert certificates.fault_of("a") == ("no such file", False)
    assert "refused" in certificates.barrier(TLS, "a")
    certificates.take(*handed_over(0))
    assert certificates.fault_of("a") == ("", False)
    assert certificates.barrier(TLS, "a") == ""
    assert "not served on https" in certificates.barrier(TLS, "b")
    assert certificates.barrier(TLS._replace(min_version="1.3"), "a")
    assert certificates.barrier(TLS._replace(client_ca="ca.pem", client_auth="required"), "a")
    certificates.close()


def test_sites_that_ask_the_same_of_a_client_share_what_can_be_reached() -> None:
    made: list[Tls] = []

    def make(certificates: Certificates, tls: Tls) -> Realm:
        made.append(tls)
        return realm(certificates, tls)

    members = TLS._replace(client_ca="ca.pem", client_auth="required")
    certificates = Certificates(
        [site("a", "a.test"), site("b", "b.test"), site("m", "m.test", tls=members)], PROTOCOLS, make
    )

    def realm_of(name: str) -> Realm:
        identity = certificates.find(name, "")
        assert isinstance(identity, Identity)
        return certificates.realm_of(identity)

    assert realm_of("a.test") is realm_of("b.test") is realm_of("a.test")
    assert realm_of("m.test") is not realm_of("a.test")
    assert made == [TLS, members]


class Loop:
    def __init__(self) -> None:
        self.due: list[Callable[[], object]] = []

    def call_soon(self, callback: Callable[[], object]) -> None:
        self.due.append(callback)

    def turn(self) -> None:
        due, self.due = self.due, []
        for callback in due:
            callback()


class Handshake:
    def __init__(self, done: list[int], number: int) -> None:
        self._done = done
        self._number = number

    def begin(self) -> None:
        self._done.append(self._number)


def test_a_storm_of_handshakes_waits_in_line() -> None:
    loop, done = Loop(), []  # type: ignore[var-annotated]
    handshakes = Handshakes(loop, Certificates([], PROTOCOLS, realm))  # type: ignore[arg-type]
    for number in range(3 * AT_ONCE):
        handshakes.enter(Handshake(done, number))
    assert done == list(range(AT_ONCE))
    loop.turn()
    assert done == list(range(2 * AT_ONCE))
    handshakes.enter(Handshake(done, 3 * AT_ONCE))  # behind those that wait
    loop.turn()
    loop.turn()
    assert done == list(range(3 * AT_ONCE + 1))
    loop.turn()
    assert not loop.due  # nothing is left to be looked after
    handshakes.enter(Handshake(done, -1))
    assert done[-1] == -1


class Failing:
    def begin(self) -> None:
        raise ValueError("of our own")


def test_a_handshake_that_fails_holds_up_nobody_behind_it() -> None:
    loop, done = Loop(), []  # type: ignore[var-annotated]
    handshakes = Handshakes(loop, Certificates([], PROTOCOLS, realm))  # type: ignore[arg-type]
    for number in range(AT_ONCE):
        handshakes.enter(Handshake(done, number))
    handshakes.enter(Failing())
    handshakes.enter(Handshake(done, AT_ONCE))
    with pytest.raises(ValueError, match="of our own"):  # which the loop says
        loop.turn()
    loop.turn()
    assert done == list(range(AT_ONCE + 1))


@pytest.mark.parametrize(
    ("reason", "kind"),
    [
        ("TLSV1_ALERT_UNKNOWN_CA", "untrusted"),
        ("SSLV3_ALERT_BAD_CERTIFICATE", "untrusted"),
        ("ssl/tls alert certificate unknown", "untrusted"),
        ("SSLV3_ALERT_CERTIFICATE_EXPIRED", "untrusted"),
        ("PEER_DID_NOT_RETURN_A_CERTIFICATE", "client_certificate"),
        ("CERTIFICATE_VERIFY_FAILED", "client_certificate"),
        ("UNSUPPORTED_PROTOCOL", "old_version"),
        ("NO_SHARED_CIPHER", "no_shared_cipher"),
        ("NO_SUITABLE_KEY_SHARE", "no_shared_cipher"),
        ("TLSV1_ALERT_INTERNAL_ERROR", "other"),
        ("DECRYPTION_FAILED_OR_BAD_RECORD_MAC", "other"),
    ],
)
def test_the_librarys_reasons_are_of_few_kinds_and_stay_in_the_words(reason: str, kind: str) -> None:
    found, words = judge_failure(reason)
    assert found == kind
    assert reason.replace("_", " ").lower() in words


def test_each_kind_of_failure_has_a_cell_of_the_board() -> None:
    handshakes = Handshakes(Loop(), Certificates([], PROTOCOLS, realm))  # type: ignore[arg-type]
    for number, kind in enumerate(KINDS):
        for _ in range(number + 1):
            handshakes.failed(kind)
    assert dict(zip(FIGURES, handshakes.counts, strict=True)) == {
        "handshakes": 0,
        "resumed": 0,
        **{kind: number + 1 for number, kind in enumerate(KINDS)},
    }
    assert cells.TLS + len(FIGURES) <= cells.FRONT_CELLS
