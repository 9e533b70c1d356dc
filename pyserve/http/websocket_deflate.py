"""Step 3 of the request path, of a WebSocket: permessage-deflate (RFC 7692), agreed on and done.

Pure. Without context takeover, which is the default, an idle WebSocket has no state at all: what is needed to inflate
and to deflate is made for a message and dropped behind it. With it each costs up to 33 KiB to inflate and
(1 << WINDOW_BITS + 2) + (1 << MEMORY_LEVEL + 9) bytes, 32 KiB, to deflate, from its first compressed message on.
"""

from __future__ import annotations

import zlib
from typing import NamedTuple

EXTENSION = b"permessage-deflate"
WINDOW_BITS = 12
MEMORY_LEVEL = 5
LEVEL = 1
"""Of compression: a front has other things to do. A piece of 64 KiB of JSON takes 0.5 ms, with level 6 it takes 2."""
MIN_BYTES = 256
"""Shorter messages hardly shrink by themselves."""
TAIL = b"\x00\x00\xff\xff"


class Agreement(NamedTuple):
    """What both sides keep to."""

    window_bits: int
    """Of what we send."""
    keeps_ours: bool
    """Do we go on with the context of our last message?"""
    keeps_theirs: bool

    def line(self, has_said_bits: bool) -> bytes:
        """Return the value of Sec-WebSocket-Extensions that says so."""
        words = [EXTENSION]
        if not self.keeps_ours:
            words.append(b"server_no_context_takeover")
        if not self.keeps_theirs:
            words.append(b"client_no_context_takeover")
        if has_said_bits:
            words.append(b"server_max_window_bits=%d" % self.window_bits)
        return b"; ".join(words)


Offer = tuple[bytes, tuple[tuple[bytes, bytes | None], ...]]
"""An extension's name and its parameters."""


def agree(offers: tuple[Offer, ...], keeps_context: bool) -> tuple[Agreement, bytes] | None:
    """Return what to do for the first offer that we can live up to, and the line that says so; None = there is none."""
    for name, parameters in offers:
        if name != EXTENSION:
            continue
        agreed = _take_up(parameters, keeps_context)
        if agreed is not None:
            return agreed
    return None


def _take_up(parameters: tuple[tuple[bytes, bytes | None], ...], keeps_context: bool) -> tuple[Agreement, bytes] | None:
    seen: dict[bytes, bytes | None] = {}
    for name, value in parameters:
        if name in seen:
            return None
        seen[name] = value
        if name in (b"server_no_context_takeover", b"client_no_context_takeover"):
            if value is not None:
                return None
        elif name == b"server_max_window_bits":
            if value is None or not _is_bits(value):
                return None
        elif name != b"client_max_window_bits" or (value is not None and not _is_bits(value)):
            return None
    said = seen.get(b"server_max_window_bits")
    bits = WINDOW_BITS if said is None else min(WINDOW_BITS, int(said))
    if bits < 9:
        return None  # zlib has no such window
    agreement = Agreement(
        bits,
        keeps_context and b"server_no_context_takeover" not in seen,
        keeps_context and b"client_no_context_takeover" not in seen,
    )
    return agreement, agreement.line(said is not None)


def _is_bits(value: bytes) -> bool:
    return value in (b"8", b"9", b"10", b"11", b"12", b"13", b"14", b"15")


class Inflater:
    """What a client sends. ``begin`` and ``end`` a message; ``inflate`` what has come of it."""

    __slots__ = ("_keeps", "_state")

    def __init__(self, keeps_context: bool) -> None:
        self._keeps = keeps_context
        self._state: zlib._Decompress | None = None

    def begin(self) -> None:
        if self._state is None:
            self._state = zlib.decompressobj(wbits=-15)

    def end(self) -> None:
        if not self._keeps:
            self._state = None

    def inflate(self, data: bytes, most: int) -> tuple[bytes, bytes | None]:
        """Return at most ``most`` bytes, and what to call this with again: None = nothing is left. Raises
        ``zlib.error``.
        """
        state = self._state
        assert state is not None
        out = state.decompress(data, most)
        if state.eof:
            # The end of a stream, which a message may have in it (RFC 7692 §7.2.3.4); what follows is another one.
            # LIMIT: that one can't refer to bytes before it, which no deflater does behind an end.
            rest = state.unused_data
            self._state = zlib.decompressobj(wbits=-15)
            return out, rest or None
        if len(out) == most:
            return out, state.unconsumed_tail  # also where that is empty: some may be held back
        return out, None


class Deflater:
    """What we send. Made at the first message that is worth it."""

    __slots__ = ("_bits", "_keeps", "_state")

    def __init__(self, agreement: Agreement) -> None:
        self._bits = agreement.window_bits
        self._keeps = agreement.keeps_ours
        self._state: zlib._Compress | None = None

    def deflate(self, data: bytes, is_last: bool) -> bytes:
        """Return the next bytes of a message; ``is_last``: they are its end."""
        state = self._state
        if state is None:
            state = self._state = zlib.compressobj(LEVEL, zlib.DEFLATED, -self._bits, MEMORY_LEVEL)
        out = state.compress(data)
        if is_last:
            out += state.flush(zlib.Z_SYNC_FLUSH)
            out = out[:-4]
            if not self._keeps:
                self._state = None
        return out
