"""What trusted proxies say about a client: tables of fields, and what is believed of them."""

from __future__ import annotations

import pytest

from pyserve.errors import RequestError
from pyserve.http import h1_httptools
from pyserve.http.forwarded import Forwarded, TrustedProxies, parse_hop
from pyserve.http.head import HeadReader
from pyserve.http.hidden import visible_fields

PROXIES = TrustedProxies(["10.0.0.0/8", "2001:db8::/32", "unix:"])
X_FOR = b"x-forwarded-for"


def read(*fields: tuple[bytes, bytes]) -> Forwarded:
    return PROXIES.read(fields)


@pytest.mark.parametrize(
    ("address", "is_trusted"),
    [
        ("10.1.2.3", True),
        ("11.1.2.3", False),
        ("::ffff:10.1.2.3", True),
        ("2001:db8::1", True),
        ("fe80::1%eth0", False),
        (None, True),
        ("nonsense", False),
    ],
)
def test_who_is_trusted(address: str | None, is_trusted: bool) -> None:
    assert PROXIES.trust(address) is is_trusted
    assert PROXIES.trust(address) is is_trusted  # and the memo agrees


def test_a_unix_socket_is_trusted_only_where_it_is_named() -> None:
    assert not TrustedProxies(["10.0.0.0/8"]).trust(None)


@pytest.mark.parametrize(
    ("text", "hop"),
    [
        (b"192.0.2.1", ("192.0.2.1", 0)),
        (b"192.0.2.1:8080", ("192.0.2.1", 8080)),
        (b"2001:DB8::1", ("2001:db8::1", 0)),
        (b"[2001:db8::1]", ("2001:db8::1", 0)),
        (b"[2001:db8::1]:80", ("2001:db8::1", 80)),
        *(
            (text, None)
            for text in (b"", b"unknown", b"_hidden", b"1.2.3", b"1.2.3.4:99999", b"[1.2.3.4]", b"a" * 4000)
        ),
        *((text, None) for text in (b"1.2.3.4 ", b"1.2.3.4\t", b"01.2.3.4", b"::1%eth0", b"[::1", b"::1]:80")),
    ],
)
def test_a_hop_is_an_address_or_nothing(text: bytes, hop: tuple[str, int] | None) -> None:
    assert parse_hop(text) == hop


@pytest.mark.parametrize(
    ("values", "client", "seen"),
    [
        ([b"192.0.2.1"], ("192.0.2.1", 0), b"192.0.2.1"),
        ([b"6.6.6.6, 192.0.2.1"], ("192.0.2.1", 0), b"192.0.2.1"),  # the left one is hearsay
        ([b"6.6.6.6, 192.0.2.1, 10.0.0.7"], ("192.0.2.1", 0), b"192.0.2.1, 10.0.0.7"),
        ([b"192.0.2.1", b"10.0.0.7"], ("192.0.2.1", 0), b"192.0.2.1, 10.0.0.7"),  # several fields are one list
        ([b"10.0.0.9, 10.0.0.7"], ("10.0.0.9", 0), b"10.0.0.9, 10.0.0.7"),  # all trusted: the first of them
        ([b"192.0.2.1, garbage, 10.0.0.7"], ("10.0.0.7", 0), b"10.0.0.7"),  # what can't be read ends the walk
        ([b"192.0.2.1, garbage"], None, None),
        ([b""], None, None),
        ([b"192.0.2.1:4711"], ("192.0.2.1", 4711), b"192.0.2.1"),
        ([b", ".join([b"10.0.0.1"] * 1000)], ("10.0.0.1", 0), b", ".join([b"10.0.0.1"] * 64)),  # bounded
    ],
)
def test_the_client_is_the_right_most_hop_that_is_not_trusted(
    values: list[bytes], client: tuple[str, int] | None, seen: bytes | None
) -> None:
    forwarded = read(*((X_FOR, value) for value in values))
    assert forwarded.client == client
    assert dict(forwarded.fields).get(X_FOR) == seen


def test_scheme_host_and_port_are_believed() -> None:
    forwarded = read(
        (X_FOR, b"192.0.2.1"),
        (b"x-forwarded-proto", b"HTTPS"),
        (b"x-forwarded-host", b"Shop.Example:8443"),
        (b"x-forwarded-port", b"8443"),
    )
    assert (forwarded.scheme, forwarded.authority, forwarded.port) == ("https", b"shop.example:8443", 8443)


def test_what_a_client_adds_to_the_left_of_a_list_counts_for_nothing() -> None:
    chain = (X_FOR, b"192.0.2.1, 10.0.0.7")
    assert read(chain, (b"x-forwarded-host", b"evil.example, good.example")).authority == b"good.example"
    assert read(chain, (b"x-forwarded-proto", b"https, http")).scheme == "http"


@pytest.mark.parametrize(
    "value", [b"gopher", b"", b"https\x00", b"https;", b"httpss"], ids=["other", "empty", "NUL", "semicolon", "longer"]
)
def test_a_scheme_that_is_none_says_nothing(value: bytes) -> None:
    assert read((b"x-forwarded-proto", value)).scheme == ""


@pytest.mark.parametrize("value", [b"0", b"65536", b"x", b"-1", b"", b"8 0"])
def test_a_port_that_is_none_says_nothing(value: bytes) -> None:
    assert read((b"x-forwarded-port", value)).port == 0


@pytest.mark.parametrize("value", [b"user@a", b"a/b", b"a b", b"a:99999"])
def test_a_host_that_is_none_is_refused(value: bytes) -> None:
    with pytest.raises(RequestError) as refused:
        read((b"x-forwarded-host", value))
    assert refused.value.status == 400


@pytest.mark.parametrize(
    ("value", "client", "scheme", "authority"),
    [
        (b"for=192.0.2.1", ("192.0.2.1", 0), "", None),
        (b'For="[2001:db9::1]:4711";Proto=https;host="a.example:81"', ("2001:db9::1", 4711), "https", b"a.example:81"),
        (b"for=6.6.6.6;proto=http, for=192.0.2.1;proto=https, for=10.0.0.7", ("192.0.2.1", 0), "https", None),
        (b'for="192.0.2.1, 10.0.0.1"', None, "", None),  # a comma in quotes is no list
        (b'for="\\1\\92.0.2.1"', ("192.0.2.1", 0), "", None),
        (b"for=_secret, for=10.0.0.7", ("10.0.0.7", 0), "", None),
        (b"for=192.0.2.1;for=6.6.6.6", None, "", None),  # twice in one element
        (b'for="192.0.2.1', None, "", None),
        (b"for=192.0.2.1 proto=https", None, "", None),
        (b"", None, "", None),
        (b" " * 30_000 + b"x", None, "", None),  # in one pass: it would take seconds otherwise
    ],
)
def test_forwarded_is_read_as_the_rfc_has_it(
    value: bytes, client: tuple[str, int] | None, scheme: str, authority: bytes | None
) -> None:
    forwarded = read((b"forwarded", value))
    assert (forwarded.client, forwarded.scheme, forwarded.authority) == (client, scheme, authority)


def test_forwarded_counts_only_without_the_other_fields() -> None:
    assert read((b"forwarded", b"for=6.6.6.6"), (X_FOR, b"192.0.2.1")).client == ("192.0.2.1", 0)
    assert read((b"forwarded", b"proto=https"), (X_FOR, b"192.0.2.1")).scheme == ""


HEAD = (
    b"GET / HTTP/1.1\r\nHost: inner\r\nX-Forwarded-For: 6.6.6.6, 192.0.2.1\r\nX-Forwarded-Host: outer.example\r\n"
    b"Forwarded: for=6.6.6.6\r\nX-Real-IP: 6.6.6.6\r\nX-Forwarded-Ssl: on\r\nX_Forwarded_For: 6.6.6.6\r\n"
    b"X-Own: 1\r\n\r\n"
)


def test_from_everybody_else_such_fields_never_reach_an_application() -> None:
    request = HeadReader(h1_httptools.parse_fields, 100).read(HEAD)
    assert request.forwarded is None
    assert (request.host, visible_fields(request)) == ("inner", ((b"host", b"inner"), (b"x-own", b"1")))


def test_from_a_trusted_proxy_an_application_sees_what_was_believed() -> None:
    request = HeadReader(h1_httptools.parse_fields, 100, PROXIES).read(HEAD)
    assert request.host == "outer.example"
    assert dict(visible_fields(request)) == {
        b"host": b"outer.example",
        b"x-own": b"1",
        b"x-forwarded-for": b"192.0.2.1",
        b"x-forwarded-host": b"outer.example",
    }
