"""Step 3 of the request path: the handshakes of a front, a few in each turn of the loop.

I/O: none of its own. A handshake is a hundred times dearer than a request, so a storm of them waits in line while
requests go on being answered. Counts what becomes of them, for ``status``.
"""

from __future__ import annotations

import asyncio
from collections import deque
from time import monotonic
from typing import TYPE_CHECKING, Protocol

from pyserve.front.tls.certificates import Certificates

if TYPE_CHECKING:
    from pyserve.front.tls.challenges import ChallengeCertificates

AT_ONCE = 8
AT_ONCE_S = 0.002
"""So many in so long, which is about one turn of the loop; the next ones wait for the next turn."""
KINDS = (
    *("timeout", "no_tls", "bad_hello", "unknown_name", "refused", "no_protocol", "client_certificate"),
    *("old_version", "no_shared_cipher", "untrusted", "other"),
)
"""Of failures: the client was too slow, speaks something else, named no site, a site without certificate, no protocol
that is spoken here, has no certificate that is let in, only versions of TLS that are not, nothing to encrypt with that
we have too, does not believe our certificate, and everything else that the TLS library says."""
FIGURES = ("handshakes", "resumed", *KINDS)


_OLD_VERSION = ("unsupported protocol", "version too low", "wrong version number", "wrong ssl version")
_NOTHING_SHARED = (
    *("no shared cipher", "no suitable key share", "no shared group", "no shared groups"),
    *("no suitable signature algorithm", "no shared signature algorithms", "no suitable groups"),
)
_UNTRUSTED = ("unknown ca", "bad certificate", "certificate unknown", "certificate expired", "unsupported certificate")


def judge_failure(reason: str) -> tuple[str, str]:
    """Return the kind of a failure by the TLS library's reason for it, and what to say of it."""
    reason = reason.replace("_", " ").lower()
    if "alert" in reason:  # the client's own word
        if reason.endswith(_UNTRUSTED):
            return "untrusted", f"it does not trust our certificate ({reason})"
    elif "certificate" in reason:
        return "client_certificate", reason
    elif reason in _OLD_VERSION:
        return "old_version", f"it speaks only versions of TLS that are too old here ({reason})"
    elif reason in _NOTHING_SHARED:
        return "no_shared_cipher", f"it has no cipher, curve or signature in common with us ({reason})"
    return "other", reason


class Waiting(Protocol):
    def begin(self) -> None:
        """It is its turn; it may have been given up meanwhile."""


class Handshakes:
    """One per front. ``counts``: in the order of ``FIGURES``."""

    __slots__ = ("_left", "_line", "_loop", "_since", "certificates", "challenges", "counts")

    def __init__(self, loop: asyncio.AbstractEventLoop, certificates: Certificates) -> None:
        self._loop = loop
        self._left = 0
        self._since = 0.0
        self._line: deque[Waiting] = deque()
        self.certificates = certificates
        self.counts = [0] * len(FIGURES)
        self.challenges: ChallengeCertificates | None = None
        """None where no site gets its certificate by itself."""

    def enter(self, handshake: Waiting) -> None:
        """Begin it now, or in a turn to come if many have been begun just now."""
        if not self._line:
            now = monotonic()
            if now - self._since >= AT_ONCE_S:
                self._since, self._left = now, AT_ONCE
            if self._left:
                self._left -= 1
                handshake.begin()
                return
            self._loop.call_soon(self._next_turn)
        self._line.append(handshake)

    def _next_turn(self) -> None:
        line = self._line
        self._since, self._left = monotonic(), AT_ONCE
        try:
            while line and self._left:
                self._left -= 1
                line.popleft().begin()
        finally:
            if line:  # also behind one that has failed: who waits in a line that does not move waits for ever
                self._loop.call_soon(self._next_turn)

    def failed(self, kind: str) -> None:
        self.counts[2 + KINDS.index(kind)] += 1
