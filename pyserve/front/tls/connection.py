"""Steps 3 and 6 of the request path: an HTTP/1 connection over TLS.

I/O: that of ``Connection``. What is different: files are read and encrypted.
"""

from __future__ import annotations

import os

from pyserve.front.h1.connection import Connection
from pyserve.front.tls.files import TlsFiles


class TlsConnection(Connection):
    __slots__ = ()

    def _make_files(self) -> TlsFiles:
        files = self._files = TlsFiles(self)
        return files


def address_of(sockname: object) -> str:
    """Return the address that was connected to, as a host of the config may be; "" on a Unix socket."""
    if not isinstance(sockname, tuple):
        return ""
    host = os.fsdecode(sockname[0])
    if host.startswith("::ffff:") and "." in host:
        return host.removeprefix("::ffff:")
    return f"[{host}]" if ":" in host else host
