"""Which coding and which media type a client prefers among those that there are (RFC 9110 §12.4, §12.5).

Pure. Proactive negotiation only. Never raises for what a client sent: a member that breaks its grammar is as if it were
absent, of one thing named twice the lower weight counts, and what stands behind the 64th member isn't read.

HOT: browsers of one kind send the same Accept-Encoding, so what was chosen is remembered: 1024 answers at most, to
values of up to 256 bytes.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

CODING_ALIASES = {b"x-gzip": b"gzip", b"x-compress": b"compress"}
"""Old names that mean the same (RFC 9110 §8.4.1)."""
MAX_MEMBERS = 64
MAX_REMEMBERED = 1024
MAX_REMEMBERED_BYTES = 256
"""Of one value."""
_FULL = 1000
"""Weights are counted in thousandths: three digits are all that the grammar has (RFC 9110 §12.4.2)."""
_TOKEN = b"!#$%&'*+-.^_`|~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
# A member, or a parameter, in whose quoted strings separators mean nothing; a quote that doesn't end takes the rest.
# Possessive, so that it fails in one pass; as text, so that only who meets such a value compiles it.
_BETWEEN_COMMAS = rb'(?:[^,"]++|"(?:[^"\\]++|\\.)*+(?:"|\\?$))++'
_BETWEEN_SEMICOLONS = rb'(?:[^;"]++|"(?:[^"\\]++|\\.)*+(?:"|\\?$))++'

_chosen: dict[tuple[bytes, tuple[bytes, ...]], bytes | None] = {}


def accepted(value: bytes | None) -> dict[bytes, int]:
    """Return the codings that Accept-Encoding names, in lower case, ``*`` too, each with its weight of 0 to 1000.

    ``value``: the field, lines joined by commas; None = absent.
    """
    weights: dict[bytes, int] = {}
    # LIMIT: members are counted with the empty ones; hurts nobody who writes a list.
    for member in (value or b"").split(b",", MAX_MEMBERS)[:MAX_MEMBERS]:
        name, semicolon, parameter = member.partition(b";")
        name = name.strip(b" \t").lower()
        weight = _read_weight(parameter.strip(b" \t")) if semicolon else _FULL
        if weight is None or not _is_token(name):
            continue
        name = CODING_ALIASES.get(name, name)
        weights[name] = min(weight, weights.get(name, _FULL))
    return weights


def choose(value: bytes | None, offered: tuple[bytes, ...]) -> bytes | None:
    """Return the coding to send, of those ``offered`` (lower case, the server's favourite first); None = no coding.

    The highest weight wins, among equals the server's favourite, and any coding before none. No coding is worth what
    the client says of ``identity``, else of ``*``, else less than anything that it names. To a client that says
    nothing, nothing is coded, though it would have to take it (RFC 9110 §12.5.3).

    A client that takes nothing of what there is, not even ``identity``, gets it without a coding: 406 is allowed too
    (§15.5.7), but says less, and who refuses every coding and none mostly just meant the codings.
    """
    if not value or not offered:
        return None
    try:
        return _chosen[value, offered]
    except KeyError:
        coding = _choose(accepted(value), offered)
    if len(value) <= MAX_REMEMBERED_BYTES:
        if len(_chosen) >= MAX_REMEMBERED:
            _chosen.clear()  # LIMIT: bounded; what comes again is read again
        _chosen[value, offered] = coding
    return coding


def prefers(accept: bytes | None, offered_types: tuple[bytes, ...]) -> bytes:
    """Return the media type to send, of those offered (at least one, the server's favourite first).

    The most specific range of Accept that matches a type says its weight (RFC 9110 §12.5.1); a range with parameters
    matches types that have them all. The highest weight wins, among equals the server's favourite, which is also what a
    client gets that says nothing, or takes none of them: better than 406 for somebody who can read it all the same.
    """
    best = offered_types[0]
    if not accept or len(offered_types) == 1:
        return best
    media_ranges = list(_read_media_ranges(accept))
    best_weight = 0
    for offered in offered_types:
        weight = _weigh(offered, media_ranges)
        if weight > best_weight:
            best = offered
            best_weight = weight
    return best


_MediaRange = tuple[bytes, bytes, frozenset[bytes], int]
"""Type, subtype (``*`` = any), parameters as ``name=value``, weight; names in lower case."""


def _choose(weights: dict[bytes, int], offered: tuple[bytes, ...]) -> bytes | None:
    other = weights.get(b"*", 0)
    best = None
    # A coding has to be worth more than this: as much as none at least, and more than 0, which is a refusal.
    best_weight = max(weights.get(b"identity", other) - 1, 0)
    for coding in offered:
        weight = weights.get(coding, other)
        if weight > best_weight:
            best = coding
            best_weight = weight
    return best


def _read_media_ranges(accept: bytes) -> Iterator[_MediaRange]:
    for member in _split(accept, b",", _BETWEEN_COMMAS)[:MAX_MEMBERS]:
        name, *rest = _split(member, b";", _BETWEEN_SEMICOLONS) or [b""]
        kind, _, subtype = name.strip(b" \t").lower().partition(b"/")
        if not _is_token(kind) or not _is_token(subtype) or (kind == b"*" and subtype != b"*"):
            continue
        weight: int | None = _FULL
        parameters = set()
        for text in rest:
            parameter = text.strip(b" \t")
            if parameter[:2].lower() == b"q=":
                weight = _read_weight(parameter)
                break  # what stood behind the weight once were extensions (RFC 7231 §5.3.2); nobody has one
            if parameter:
                parameters.add(_normal(parameter))
        if weight is not None:
            yield kind, subtype, frozenset(parameters), weight


def _weigh(offered: bytes, media_ranges: list[_MediaRange]) -> int:
    """Return what the most specific range says that matches; of two that are alike the lower weight."""
    name, *rest = offered.split(b";")
    kind, _, subtype = name.strip(b" \t").lower().partition(b"/")
    parameters = {_normal(parameter.strip(b" \t")) for parameter in rest}
    best: tuple[int, int, int] | None = None  # how much of the name, how many parameters, weight * -1
    for range_kind, range_subtype, range_parameters, weight in media_ranges:
        if range_kind not in (kind, b"*") or range_subtype not in (subtype, b"*") or range_parameters - parameters:
            continue
        found = ((range_kind != b"*") + (range_subtype != b"*"), len(range_parameters), -weight)
        if best is None or found > best:
            best = found
    return -best[2] if best is not None else 0


def _read_weight(parameter: bytes) -> int | None:
    """Return the thousandths of ``q=0.5``; None for anything that is no weight (RFC 9110 §12.4.2)."""
    if parameter[:2] not in (b"q=", b"Q="):
        return None
    whole, _, fraction = parameter[2:].partition(b".")
    if whole not in (b"0", b"1") or len(fraction) > 3 or (fraction and not fraction.isdigit()):
        return None
    weight = int(whole) * _FULL + int(fraction.ljust(3, b"0"))
    return weight if weight <= _FULL else None


def _normal(parameter: bytes) -> bytes:
    """Return a parameter as it is compared: without quotes, in lower case, which is right for charset and harmless
    for the rest."""
    name, _, value = parameter.partition(b"=")
    if len(value) > 1 and value[:1] == value[-1:] == b'"':
        value = re.sub(rb"\\(.)", rb"\1", value[1:-1])
    return name.lower() + b"=" + value.lower()


def _split(value: bytes, separator: bytes, between: bytes) -> list[bytes]:
    """Split at what stands in no quoted string."""
    if b'"' not in value:
        return value.split(separator, MAX_MEMBERS)
    return re.findall(between, value)


def _is_token(name: bytes) -> bool:
    return bool(name) and not name.translate(None, _TOKEN)
