"""Accept-Encoding and Accept: tables, and what is remembered."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pyserve.http import negotiation
from pyserve.http.negotiation import MAX_MEMBERS, MAX_REMEMBERED, MAX_REMEMBERED_BYTES, accepted, choose, prefers

OFFERED = (b"br", b"zstd", b"gzip")
HTML = b"text/html"
JSON = b"application/json"


@pytest.mark.parametrize(
    ("value", "weights"),
    [
        (None, {}),
        (b"", {}),
        (b" , ,", {}),
        (b"gzip, deflate, br, zstd", {b"gzip": 1000, b"deflate": 1000, b"br": 1000, b"zstd": 1000}),
        (b"GZip;Q=0.5,\tBR ; q=1", {b"gzip": 500, b"br": 1000}),
        (b"x-gzip, X-Compress;q=0.1", {b"gzip": 1000, b"compress": 100}),
        (b"*;q=0, identity;q=0.001", {b"*": 0, b"identity": 1}),
        (b"a;q=0., b;q=1., c;q=0.0, d;q=1.000, e;q=0.999", {b"a": 0, b"b": 1000, b"c": 0, b"d": 1000, b"e": 999}),
        (b"gzip;q=0.5, gzip, gzip;q=0.7", {b"gzip": 500}),  # the lower counts
        (b"gzip, x-gzip;q=0", {b"gzip": 0}),
        # What is malformed is ignored.
        (b"a;q=2, b;q=1.001, c;q=-1, d;q=0.1234, d;q=0.0001, e;q=.5, f;q=, g;q, h;", {}),
        (b"a;q=1.0.0, b;q=0x1, c;q=1e0, d;q=00, e;q=01, f;q=+1, g;q=0.+1", {}),
        (b"a;level=9, b;q=1;x=y, c;q = 1, d;q= 1, e q=1", {}),
        ("a;q=0.\u0661, b;q=\u0661".encode(), {}),
        (b'a;q=0.\xb2, \xff, a b, a/b, "gzip", (gzip), a=b', {}),
    ],
)
def test_codings_are_read_with_their_weights(value: bytes | None, weights: dict[bytes, int]) -> None:
    assert accepted(value) == weights


@pytest.mark.parametrize(
    ("value", "coding"),
    [
        (None, None),  # nothing said: nothing coded
        (b"", None),
        (b",", None),
        (b"gzip, deflate, br, zstd", b"br"),
        (b"gzip, deflate", b"gzip"),
        (b"deflate", None),
        (b"*", b"br"),
        (b"identity", None),
        (b"gzip", b"gzip"),
        (b"x-gzip", b"gzip"),
        (b"X-GZIP;q=0.5", b"gzip"),
        (b"br;q=0.9, gzip", b"gzip"),  # the client's weight comes first
        (b"zstd;q=0.5, gzip;q=0.5, br;q=0.1", b"zstd"),
        (b"gzip;q=0.001", b"gzip"),  # any coding that is named before none
        (b"gzip;q=0", None),
        (b"gzip;q=0, *", b"br"),
        (b"br;q=0, *;q=0.1", b"zstd"),
        (b"*;q=0", None),
        (b"*;q=0, gzip", b"gzip"),
        (b"gzip;q=0.5, identity", None),  # what is not coded has a weight too
        (b"gzip;q=0.5, identity;q=0.5", b"gzip"),
        (b"gzip;q=0.5, identity;q=0.4", b"gzip"),
        (b"gzip;q=0.5, identity;q=0.6", None),
        (b"gzip;q=0.3, br;q=0, zstd;q=0, *;q=0.5", None),  # "*" is identity too
        (b"gzip;q=0.3, *;q=0.5", b"br"),
        (b"gzip, identity;q=0", b"gzip"),
        (b"identity;q=0", None),  # not 406
        (b"identity;q=0, *;q=0", None),
        (b"deflate, identity;q=0", None),
        (b"gzip;q=x, br;q=0.2", b"br"),
        (b"gzip;q=x", None),
    ],
)
def test_the_coding_with_the_highest_weight_is_chosen(value: bytes | None, coding: bytes | None) -> None:
    for _ in range(2):  # the second time it is remembered
        assert choose(value, OFFERED) == coding


def test_among_equals_the_servers_order_decides() -> None:
    for offered in ((b"br", b"gzip"), (b"gzip", b"br"), (b"zstd", b"gzip", b"br")):
        assert choose(b"gzip, br, zstd", offered) == offered[0]
    assert choose(b"gzip, br", (b"zstd",)) is None
    assert choose(b"gzip, br", ()) is None


def test_what_is_remembered_is_bounded() -> None:
    negotiation._chosen.clear()
    for number in range(MAX_REMEMBERED + 10):
        assert choose(b"gzip, x%d" % number, OFFERED) == b"gzip"
        assert len(negotiation._chosen) <= MAX_REMEMBERED
    negotiation._chosen.clear()
    assert choose(b"gzip," + b" " * MAX_REMEMBERED_BYTES, OFFERED) == b"gzip"
    assert not negotiation._chosen


def test_members_beyond_the_64th_are_not_read() -> None:
    assert choose(b"a," * (MAX_MEMBERS - 1) + b"gzip", OFFERED) == b"gzip"
    assert choose(b"a," * MAX_MEMBERS + b"gzip", OFFERED) is None
    assert prefers(b"a/b," * (MAX_MEMBERS - 1) + JSON, (HTML, JSON)) == JSON
    assert prefers(b"a/b," * MAX_MEMBERS + JSON, (HTML, JSON)) == HTML


names = st.sampled_from([b"br", b"zstd", b"gzip", b"identity", b"*", b"x-gzip", b"deflate", b"BR"])
weights = st.one_of(st.none(), st.integers(0, 1000))
member_lists = st.lists(st.tuples(names, weights), min_size=1, max_size=6)


@settings(deadline=None)
@given(member_lists, st.permutations(OFFERED))
def test_no_coding_is_worse_than_another_and_none_is_refused(
    members: list[tuple[bytes, int | None]], offered: list[bytes]
) -> None:
    value = b", ".join([name + (b"" if q is None else b";q=%d.%03d" % divmod(q, 1000)) for name, q in members])
    worth: dict[bytes, int] = {}
    for name, q in members:
        key = name.lower().removeprefix(b"x-")
        worth[key] = min(worth.get(key, 1000), 1000 if q is None else q)
    other = worth.get(b"*", 0)
    chosen = choose(value, tuple(offered))
    plain = worth.get(b"identity", other)
    best = max(worth.get(coding, other) for coding in offered)
    if chosen is None:
        assert not best or best < plain
    else:
        assert worth.get(chosen, other) == best >= plain
        assert best
        assert all(worth.get(coding, other) < best for coding in offered[: offered.index(chosen)])


@pytest.mark.parametrize(
    ("accept", "media_type"),
    [
        (None, HTML),
        (b"", HTML),
        (b"*/*", HTML),
        (b"text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8", HTML),
        (b"application/json", JSON),
        (b"Application/JSON", JSON),
        (b"application/*", JSON),
        (b"application/json, */*;q=0.5", JSON),
        (b"application/json, text/html", HTML),  # equal: the server's favourite
        (b"application/json, text/html;q=0.9", JSON),
        (b"*/*, text/html;q=0.1", JSON),  # the most specific range counts
        (b"*/*, text/*;q=0.1", JSON),
        (b"*/*;q=0.5, text/*;q=0.1, text/html;q=0.6", HTML),
        (b"text/html;q=0, */*;q=0.1", JSON),
        (b"text/html, text/html;q=0.1, application/json;q=0.5", JSON),  # the lower counts
        (b"image/png", HTML),  # neither: not 406
        (b"text/html;q=0, application/json;q=0", HTML),
        (b"text/html;level=1, application/json;q=0.1", JSON),  # a parameter that what is offered has not
        (b'text/html;x="a,application/json", application/json;q=0.1', JSON),
        (b'image/png;x="a,application/json;q=1,\\",b", text/html;q=0.1', HTML),
        (b'image/png;x=";q=0", application/json', JSON),
        (b'image/png;x="application/json, text/html;q=0', HTML),  # a quote without an end takes the rest
        (b'application/json;q=0.5;ext="x", text/html;q=0.4', JSON),
        # Malformed members are ignored.
        (b"*/json", HTML),
        (b"application/json;q=2, text/html;q=0.1", HTML),
        (b"application, json, /json, application/, application/json/, a b/json", HTML),
        (b"text/html, image/gif, image/jpeg, *; q=.2, */*; q=.2", HTML),
        (b"application/json ; q=0.9 , text/html ;\tq=0.8", JSON),
        (b"application/json;", JSON),
        (b",,application/json,,", JSON),
    ],
)
def test_the_media_type_with_the_highest_weight_is_preferred(accept: bytes | None, media_type: bytes) -> None:
    assert prefers(accept, (HTML, JSON)) == media_type


def test_a_range_with_parameters_matches_types_that_have_them() -> None:
    plain, flowed = b"text/plain; charset=utf-8", b"text/plain; charset=utf-8; format=flowed"
    assert prefers(b"text/plain", (plain, flowed)) == plain
    assert prefers(b"text/plain;format=flowed", (plain, flowed)) == flowed
    assert prefers(b"text/plain;q=0.5;x=y, text/plain;format=flowed", (plain, flowed)) == flowed
    assert prefers(b'text/plain;q=0.5, Text/Plain;Format="Flow\\ed"', (plain, flowed)) == flowed
    assert prefers(b"text/*;format=flowed;charset=utf-8;q=0.1, text/plain;q=0.9", (plain, flowed)) == plain
    assert prefers(b"text/plain;format=flowed;q=0.1, text/plain", (flowed, plain)) == plain
    assert prefers(b"application/json;charset=UTF-8, */*;q=0.1", (HTML, JSON + b";charset=utf-8")).startswith(JSON)


def test_who_has_one_type_sends_it() -> None:
    assert prefers(b"image/png", (HTML,)) == HTML


@settings(deadline=None)
@given(st.one_of(st.binary(max_size=60), st.text('a/*;,q="\\.=01 ', max_size=40).map(str.encode)))
def test_no_field_is_too_strange(value: bytes) -> None:
    assert choose(value, OFFERED) in (None, *OFFERED)
    assert prefers(value, (HTML, JSON)) in (HTML, JSON)
