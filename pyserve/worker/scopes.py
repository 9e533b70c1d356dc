"""Step 5: the ASGI scope of a request (ASGI 3.0, HTTP spec 2.3) or of a WebSocket.

Pure, with bounded memos: the peer blob is the same for a connection and the head blob for equal heads. Each scope is
the application's own, with its own ``headers`` list, ``state`` and ``extensions``.

HOT: benchmarks/hello_asgi.py.
"""

from __future__ import annotations

import marshal
from typing import Any

_MAX_HEADS = 256
_MAX_HEAD_BYTES = 2048
_MAX_PEERS = 1024

_EXTENSIONS: dict[str, dict[str, Any]] = {
    "http.response.pathsend": {},
    "http.response.zerocopysend": {},
    "http.response.early_hint": {},
    "http.response.trailers": {},
}
ASGI_VERSIONS = {"version": "3.0", "spec_version": "2.3"}
"""Not 2.4, although ``send`` raises as that says: from 2.4 on Starlette waits for nothing but such an error, so that a
stream with nothing to send would hold its place long after its client has left."""

WEBSOCKET_VERSIONS = {"version": "3.0", "spec_version": "2.4"}
"""``send`` raises an OSError when the client has gone, as 2.4 says."""


class Scopes:
    """``state``: the lifespan's, copied (not deeply) into each scope."""

    def __init__(self, state: dict[str, Any]) -> None:
        self._state = state
        self._peers: dict[bytes, tuple[Any, Any, str, dict[str, Any] | None]] = {}
        self._heads: dict[bytes, dict[str, Any]] = {}

    def make(self, payload: bytes) -> dict[str, Any]:
        """Return a new scope for a REQUEST payload."""
        at = 3 + payload[1] + (payload[2] << 8)
        peer_blob = payload[3:at]
        head_blob = payload[at:]
        head = self._heads.get(head_blob)
        if head is None:
            head = _make_head(marshal.loads(head_blob))
            if len(head_blob) <= _MAX_HEAD_BYTES:
                if len(self._heads) >= _MAX_HEADS:
                    self._heads.clear()
                self._heads[head_blob] = head
        peer = self._peers.get(peer_blob)
        if peer is None:
            if len(self._peers) >= _MAX_PEERS:
                self._peers.clear()
            peer = self._peers[peer_blob] = _make_peer(*marshal.loads(peer_blob))
        scope = head.copy()
        scope["client"], scope["server"], scope["scheme"], tls = peer
        scope["headers"] = list(scope["headers"])
        scope["state"] = self._state.copy()
        extensions = scope["extensions"] = _EXTENSIONS.copy()
        if tls is not None:
            extensions["tls"] = tls.copy()
        return scope

    def make_websocket(self, payload: bytes) -> dict[str, Any]:
        """Return a new scope for a SOCKET payload. Nothing of it is remembered: each handshake has a key of its own."""
        at = 3 + payload[1] + (payload[2] << 8)
        scope = _make_head(marshal.loads(payload[at:]))
        del scope["method"]
        scope["type"] = "websocket"
        scope["asgi"] = WEBSOCKET_VERSIONS
        scope["client"], scope["server"], scheme, tls = _make_peer(*marshal.loads(payload[3:at]))
        scope["scheme"] = "wss" if scheme == "https" else "ws"
        scope["headers"] = list(scope["headers"])
        offered = b",".join([value for name, value in scope["headers"] if name == b"sec-websocket-protocol"])
        scope["subprotocols"] = [word.strip() for word in offered.decode("latin-1").split(",")] if offered else []
        scope["state"] = self._state.copy()
        scope["extensions"] = {"websocket.http.response": {}}
        if tls is not None:
            scope["extensions"]["tls"] = tls
        return scope


def _make_peer(
    client: Any, server: Any, scheme: str, tls: tuple[Any, ...] = ()
) -> tuple[Any, Any, str, dict[str, Any] | None]:
    """The extension is that of asgi.readthedocs.io/en/latest/specs/tls.html."""
    if not tls:
        return client, server, scheme, None
    version, cipher, _, _, server_cert, client_chain, client_name, client_error = tls
    extension = {
        "server_cert": server_cert,
        "client_cert_chain": list(client_chain),
        "client_cert_name": client_name,
        "client_cert_error": client_error,
        "tls_version": version or None,
        "cipher_suite": cipher or None,
    }
    return client, server, scheme, extension


def _make_head(head: tuple[Any, ...]) -> dict[str, Any]:
    method, raw_path, path, query, version, mount, _, fields = head
    return {
        "type": "http",
        "asgi": ASGI_VERSIONS,
        "http_version": version,
        "method": method,
        "scheme": "",
        "path": path if path.isascii() else path.encode("utf-8", "surrogateescape").decode("utf-8", "replace"),
        "raw_path": raw_path,
        "query_string": query,
        "root_path": mount,
        "headers": fields,
        "client": None,
        "server": None,
    }
