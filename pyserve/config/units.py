"""Values with units and addresses: the words of site.toml that are more than a string.

Pure. Every function raises ``ValueError`` with what was expected, and never repeats the value: it may be a secret.
"""

from __future__ import annotations

import re
from functools import lru_cache

from pyserve.config.model import Listener

_DURATION_UNITS_S = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "y": 365 * 86400.0}
_SIZE_UNITS_BYTES = {
    "B": 1,
    "KB": 10**3,
    "MB": 10**6,
    "GB": 10**9,
    "TB": 10**12,
    "KiB": 1 << 10,
    "MiB": 1 << 20,
    "GiB": 1 << 30,
    "TiB": 1 << 40,
}
_DURATION = re.compile(r"(?:[0-9]{1,12}(?:\.[0-9]{1,9})?(?:ms|[smhdy]))+")
_DURATION_PART = re.compile(r"([0-9]+(?:\.[0-9]+)?)(ms|[smhdy])")
_SIZE = re.compile(r"([0-9]{1,12}(?:\.[0-9]{1,9})?) ?([KMGT]?i?B)")
_DURATION_EXPECTED = 'expected a duration, as "500ms", "10s", "5m", "2h", "30d" or "1h30m"'
_SIZE_EXPECTED = 'expected a size, as "500B", "32KiB", "100MiB" or "1GiB" (or KB, MB, GB: powers of ten)'
MAX_DURATION_S = 10 * 366 * 86400.0
MAX_SIZE_BYTES = 1 << 50
# The kernel's limit is 108 bytes with the final zero, 104 on macOS.
MAX_UNIX_PATH_BYTES = 100


@lru_cache(maxsize=256)  # thousands of routes, a handful of cache times
def parse_duration_s(text: str) -> float:
    """Return seconds for "500ms", "10s", "5m", "2h", "30d" or a combination such as "1h30m"."""
    if not _DURATION.fullmatch(text):
        raise ValueError(_DURATION_EXPECTED)
    seconds = sum(float(number) * _DURATION_UNITS_S[unit] for number, unit in _DURATION_PART.findall(text))
    if seconds > MAX_DURATION_S:
        raise ValueError("expected at most ten years")
    return seconds


def parse_size_bytes(text: str) -> int:
    """Return bytes for "32KiB", "100MiB", "1.5GiB", "10MB"."""
    match = _SIZE.fullmatch(text)
    if match is None or match[2] not in _SIZE_UNITS_BYTES:
        raise ValueError(_SIZE_EXPECTED)
    count = (
        int(float(match[1]) * _SIZE_UNITS_BYTES[match[2]])
        if "." in match[1]
        else int(match[1]) * _SIZE_UNITS_BYTES[match[2]]
    )
    if count > MAX_SIZE_BYTES:
        raise ValueError("expected at most 1024TiB")
    return count


def check_unix_path(path: str) -> str:
    """Return ``path`` if it fits into a socket address."""
    try:
        length = len(path.encode("utf-8", "surrogateescape"))
    except UnicodeEncodeError:
        raise ValueError("expected a path that can be written in UTF-8") from None
    if "\0" in path:
        raise ValueError("expected a path without a NUL character")
    if length > MAX_UNIX_PATH_BYTES:
        raise ValueError(
            f"the absolute path of the socket is {length} bytes long; a Unix socket takes at most {MAX_UNIX_PATH_BYTES}"
        )
    return path


def parse_listener(text: str) -> Listener:
    """Return the address of ":80", "127.0.0.1:8000", "[::1]:8000" or "unix:run/web.sock" (its path as written)."""
    if text.startswith("unix:"):
        path = text.removeprefix("unix:")
        if not path or "\0" in path:
            raise ValueError('expected a path after "unix:"')
        return Listener(unix_path=path)
    if "://" in text:
        raise ValueError('expected an address without a scheme, as "127.0.0.1:8000"')
    host, colon, port_text = text.rpartition(":")
    if not colon:
        raise ValueError(
            'expected an address with a port, as ":80", "127.0.0.1:8000", "[::1]:8000" or "unix:run/web.sock"'
        )
    if not (port_text.isascii() and port_text.isdigit() and len(port_text) <= 5 and int(port_text) <= 65535):
        raise ValueError("expected a port from 0 to 65535 after the last colon")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
        if ":" not in host or not re.fullmatch(r"[0-9A-Fa-f:.]+(?:%[0-9A-Za-z_.-]+)?", host):
            raise ValueError('expected an IPv6 address in the brackets, as "[::1]:8000"')
    elif ":" in host:
        raise ValueError('expected an IPv6 address in brackets, as "[::1]:8000"')
    elif host == "*":
        host = ""
    elif host and not re.fullmatch(r"[0-9A-Za-z_.-]+", host):
        raise ValueError('expected an IP address or a host name before the port, as "127.0.0.1:8000"')
    return Listener(host=host.lower(), port=int(port_text))
