"""A coding that is chosen was accepted, and no better one was; what is remembered is what a fresh look says.

A client that says nothing, or nothing that is well formed, gets no coding.
"""

from __future__ import annotations

import re

from pyserve.http import negotiation
from pyserve.http.negotiation import MAX_MEMBERS, choose, prefers
from tests.fuzz.chance import Chance, mostly, pick, some_bytes

OFFERED = (b"br", b"zstd", b"gzip")
TYPES = (b"text/html", b"application/json")
NAMES = (b"gzip", b"br", b"zstd", b"deflate", b"identity", b"*", b"x-gzip", b"GZIP")
NASTY_NAMES = (
    b"", b'"gzip"', b"gzip br", b"g\xc5\xbazip", b"gzip\x00", b"text/html", b"*/*", b"application/*;x=y", b"gzip=1",
    b"\xff", b'a/b;c="', b'a/b;c="d,\\"', b"*/html",
)  # fmt: skip
WEIGHTS = (b"", b";q=0.5", b";q=0", b";q=1", b" ; q=0.25", b";Q=0.001", b";q=1.000", b";q=0.")
NASTY_WEIGHTS = (
    b";", b";q", b";q=", b";q=.5", b";q=2", b";q=1.001", b";q=-1", b";q=0.1234", b";q=1;a=b", b";q =1", b";q= 1",
    b";a=b", b";q=\xb2", b";q=0.+1", b";q=1e0", b";q=00", b";q=0_1",
)  # fmt: skip
SEPARATORS = (b", ", b",", b" ,\t", b",,")
DICTIONARY = (*NAMES, *NASTY_NAMES[1:], *WEIGHTS[1:], *NASTY_WEIGHTS, *SEPARATORS, *TYPES, b'"', b"\\")
_MEMBER = re.compile(
    rb"[ \t]*([!#$%&'*+\-.^_`|~0-9A-Za-z]+)(?:[ \t]*;[ \t]*[qQ]=(0(?:\.[0-9]{0,3})?|1(?:\.0{0,3})?))?[ \t]*"
)


def make(chance: Chance) -> bytes:
    made = b""
    for _ in range(chance.below(8)):
        made += mostly(chance, NAMES, NASTY_NAMES) + mostly(chance, WEIGHTS, NASTY_WEIGHTS) + pick(chance, SEPARATORS)
    return made + (some_bytes(chance, 3) if chance.below(10) == 9 else b"")


def seeds() -> tuple[bytes, ...]:
    return (
        b"gzip, deflate, br, zstd",
        b"gzip;q=1.0, identity; q=0.5, *;q=0",
        b"text/html,application/xml;q=0.9,*/*;q=0.8",
    )


def check(data: bytes) -> None:
    negotiation._chosen.clear()  # the choice has to be from these bytes alone
    chosen = choose(data, OFFERED)
    assert choose(data, OFFERED) == chosen, "another choice at second sight"
    weights = read(data)
    other = weights.get(b"*", 0.0)
    plain = weights.get(b"identity", other)
    best = max(weights.get(coding, other) for coding in OFFERED)
    expected = None
    if best > 0 and best >= plain:
        expected = next(coding for coding in OFFERED if weights.get(coding, other) == best)
    assert chosen == expected, f"{chosen!r} is chosen, not {expected!r}"
    assert prefers(data, TYPES) in TYPES


def read(value: bytes) -> dict[bytes, float]:
    weights: dict[bytes, float] = {}
    for member in value.split(b",")[:MAX_MEMBERS]:
        found = _MEMBER.fullmatch(member)
        if found is None:
            continue
        name = found[1].lower()
        name = b"gzip" if name == b"x-gzip" else name
        weights[name] = min(weights.get(name, 1.0), float(found[2] or b"1"))
    return weights
