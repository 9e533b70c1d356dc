"""Step 5: the WSGI environ of a request (PEP 3333).

Pure, with bounded memos: the peer blob is the same for a connection and the head blob for equal heads, so both halves
of an environ are made once and copied. Everything in them is immutable or shared on purpose (wsgi.errors).

A field name with an underscore never gets in: HTTP_X_FORWARDED_FOR must mean the field that the front checked.
``Proxy`` neither (httpoxy).

HOT: benchmarks/hello_wsgi.py.
"""

from __future__ import annotations

import marshal
from typing import Any, TextIO

from .files import FileWrapper

_MAX_HEADS = 256
_MAX_HEAD_BYTES = 2048
_MAX_PEERS = 1024
_MAX_NAMES = 512


class Environs:
    """Makes environs. One per worker; called with its lock held by nobody: every step is a plain dict operation."""

    def __init__(self, errors: TextIO, is_multithread: bool, is_multiprocess: bool) -> None:
        self._common: dict[str, Any] = {
            "wsgi.version": (1, 0),
            "wsgi.errors": errors,
            "wsgi.multithread": is_multithread,
            "wsgi.multiprocess": is_multiprocess,
            "wsgi.run_once": False,
            "wsgi.input_terminated": True,
            "wsgi.file_wrapper": FileWrapper,
            "SERVER_SOFTWARE": "pyserve",
        }
        self._peers: dict[bytes, dict[str, Any]] = {}
        self._heads: dict[bytes, dict[str, Any]] = {}
        self._names: dict[bytes, str] = {}

    def make(self, payload: bytes) -> dict[str, Any]:
        """Return a new environ for a REQUEST payload; ``wsgi.input`` is for the caller to put in."""
        at = 3 + payload[1] + (payload[2] << 8)
        peer_blob = payload[3:at]
        head_blob = payload[at:]
        head = self._heads.get(head_blob)
        if head is None:
            head = self._make_head(marshal.loads(head_blob))
            if len(head_blob) <= _MAX_HEAD_BYTES:
                if len(self._heads) >= _MAX_HEADS:
                    self._heads.clear()
                self._heads[head_blob] = head
        peer = self._peers.get(peer_blob)
        if peer is None:
            if len(self._peers) >= _MAX_PEERS:
                self._peers.clear()
            peer = self._peers[peer_blob] = _make_peer(*marshal.loads(peer_blob))
        environ = head.copy()
        environ.update(peer)
        if "SERVER_NAME" not in peer:
            _name_server(environ)
        return environ

    def _make_head(self, head: tuple[Any, ...]) -> dict[str, Any]:
        method, raw_path, path, query, version, mount, content_length, fields = head
        environ = self._common.copy()
        environ["REQUEST_METHOD"] = method
        environ["SCRIPT_NAME"] = _latin(mount)
        environ["PATH_INFO"] = _latin(path[len(mount) :])
        environ["QUERY_STRING"] = query_text = query.decode("latin-1")
        raw_text = raw_path.decode("latin-1")
        environ["REQUEST_URI"] = environ["RAW_URI"] = f"{raw_text}?{query_text}" if query else raw_text
        environ["SERVER_PROTOCOL"] = "HTTP/" + version
        if content_length is not None:
            environ["CONTENT_LENGTH"] = str(content_length)
        names = self._names
        for name, value in fields:
            key = names.get(name)
            if key is None:
                key = self._name(name)
            if not key:
                continue
            text = value.decode("latin-1")
            if key in environ:
                text = f"{environ[key]}{'; ' if key == 'HTTP_COOKIE' else ','}{text}"
            environ[key] = text
        return environ

    def _name(self, name: bytes) -> str:
        """Return the environ key of a field, "" for one that must not get in."""
        if b"_" in name or name in (b"proxy", b"content-length"):
            key = ""
        elif name == b"content-type":
            key = "CONTENT_TYPE"
        else:
            key = "HTTP_" + name.decode("latin-1").upper().replace("-", "_")
        if len(self._names) < _MAX_NAMES:
            self._names[name] = key
        return key


_VERSIONS = {0x0303: "TLSv1.2", 0x0304: "TLSv1.3"}


def _latin(path: str) -> str:
    """Return the path's bytes as latin-1 text, which is what PEP 3333 calls a native string."""
    return path if path.isascii() else path.encode("utf-8", "surrogateescape").decode("latin-1")


def _make_peer(client: Any, server: Any, scheme: str, tls: tuple[Any, ...] = ()) -> dict[str, Any]:
    """Names of variables as Apache's mod_ssl has them; no field of a request can have these names."""
    peer = {"wsgi.url_scheme": scheme, "REMOTE_ADDR": "", "REMOTE_PORT": ""}
    if scheme == "https":
        peer["HTTPS"] = "on"
    if client is not None:
        # A trusted proxy may name a client without its port.
        peer["REMOTE_ADDR"], peer["REMOTE_PORT"] = client[0], str(client[1] or "")
    if server[1] is not None:
        peer["SERVER_NAME"], peer["SERVER_PORT"] = server[0], str(server[1])
    if tls:
        version, _, cipher_name, asks_client, _, client_chain, client_name, _ = tls
        peer["SSL_PROTOCOL"] = _VERSIONS.get(version, "")
        peer["SSL_CIPHER"] = cipher_name
        if asks_client:
            peer["SSL_CLIENT_VERIFY"] = "SUCCESS" if client_chain else "NONE"
        if client_chain:
            peer["SSL_CLIENT_S_DN"] = _latin(client_name)
            peer["SSL_CLIENT_CERT"] = client_chain[0]
    return peer


def _name_server(environ: dict[str, Any]) -> None:
    """A Unix socket has no name and port, PEP 3333 wants both: take what the client asked for."""
    host, _, port = environ.get("HTTP_HOST", "").rpartition(":")
    if not port.isdigit() or not host:
        host = environ.get("HTTP_HOST", "")
        port = "443" if environ["wsgi.url_scheme"] == "https" else "80"
    environ["SERVER_NAME"] = host or "localhost"
    environ["SERVER_PORT"] = port
