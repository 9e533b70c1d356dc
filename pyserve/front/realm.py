"""Step 4 of the request path: what a kind of connection can reach, and the memos that are true for it.

I/O: none. Plain http is one realm; https is one for each way in which clients have to show who they are, because an
answer that is kept ready, or a match, must never be found by a connection that could not have asked for it.
"""

from __future__ import annotations

from collections.abc import Callable

from pyserve.errors import Fate, RequestError
from pyserve.front.heads import Heads
from pyserve.handlers.interface import Handler
from pyserve.routing.router import Match, Router

MEMO_MATCHES = 16384
MEMO_PATH_CHARACTERS = 512
"""Longer paths are found anew each time: they could be as long as heads may be, and all of them different."""


class Realm:
    """``heads``: for everybody; ``trusted_heads``: for trusted proxies."""

    __slots__ = ("_matches", "_may_reach", "_router", "heads", "trusted_heads")

    def __init__(
        self,
        router: Router[Handler],
        heads: Heads,
        trusted_heads: Heads,
        may_reach: Callable[[str], str] | None = None,
    ) -> None:
        """``may_reach``: from the name of a site to what keeps connections of this realm out of it; "" = nothing."""
        self._router = router
        self.heads = heads
        self.trusted_heads = trusted_heads
        self._may_reach = may_reach
        self._matches: dict[tuple[str, str], Match[Handler]] = {}

    def find_match(self, host: str, path: str) -> Match[Handler]:
        """Return what answers; raise ``RequestError``. Real traffic asks for few paths, and for those often."""
        match = self._matches.get((host, path))
        if match is None:
            match = self._router.find(host, path)
            if self._may_reach is not None and (barrier := self._may_reach(match.site.name)):
                raise RequestError(421, barrier, Fate.KEEP)
            if len(path) <= MEMO_PATH_CHARACTERS:
                if len(self._matches) >= MEMO_MATCHES:
                    self._matches.clear()  # LIMIT: bounded; found again
                self._matches[host, path] = match
        return match

    def forget_matches(self) -> None:
        """What may be reached has changed."""
        self._matches.clear()
