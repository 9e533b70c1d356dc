"""The key ``websocket`` of ``[app.NAME]``: how its WebSockets are spoken.

Pure.
"""

from __future__ import annotations

import re

from pyserve.config.model import WebSocket
from pyserve.config.problems import show
from pyserve.config.table import Table

KEYS = ("max_message", "ping_interval", "ping_timeout", "close_timeout", "compress", "context_takeover", "origins")
_ORIGIN = re.compile(r"[a-z][a-z0-9+.-]*://[^/?#@\s]+")


def decode_websocket(table: Table) -> WebSocket:
    found = table.table("websocket", KEYS)
    default = WebSocket()
    if found is None:
        return default
    return WebSocket(
        max_message_bytes=found.size_bytes("max_message", default.max_message_bytes, 125),
        ping_interval_s=found.duration_s("ping_interval", default.ping_interval_s, may_be_zero=True),
        ping_timeout_s=found.duration_s("ping_timeout", default.ping_timeout_s, may_be_zero=True),
        close_timeout_s=found.duration_s("close_timeout", default.close_timeout_s),
        compress=found.flag("compress", default.compress),
        context_takeover=found.flag("context_takeover", default.context_takeover),
        origins=_origins(found),
    )


def _origins(table: Table) -> tuple[str, ...]:
    found = []
    for index, text in table.texts("origins", '["https://a-site.com"]') or ():
        origin = text.lower()
        if origin == "same" or _ORIGIN.fullmatch(origin):
            found.append(str(origin))
        else:
            table.problem(f'expected an origin, as "https://a-site.com", or "same", not {show(text)}', "origins", index)
    return tuple(found)
