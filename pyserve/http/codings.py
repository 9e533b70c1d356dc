"""Content codings (RFC 9110 §8.4.1): gzip (RFC 1952), br (RFC 7932) and zstd (RFC 8878), and what is worth coding.

Pure: bytes in, bytes out; equal content gives equal bytes (gzip's header has no time). Every coder lets other threads
run while it works, so long contents belong into a helper thread. The packages are imported when first used: a front
that compresses nothing does not pay for them.

Levels: measured over 780 KB of JavaScript, 280 KB of HTML, 170 KB of CSS and 285 KB of JSON records, in this order:
what is left of them, and MB/s. The next step costs more than it saves.

    kept          gzip 6   22.1 16.8 21.6 23.0 %    49 107  87  56    (9: 21.8 16.7 21.1 22.3 %, half as fast)
                  br 6     20.3 15.2 19.8 21.6 %    57  91  74  59    (7: 0.2 % less, 1.6 times the time; 9: ten times)
                  zstd 9   20.7 16.2 20.7 22.0 %    77 109  77  63    (12: 0.3 % less, half as fast)
    on the fly    gzip 4   23.4 17.6 23.0 24.9 %   100 164 148 102    (5: 0.8 % less, 1.3 times the time)
                  br 4     22.3 16.5 22.1 23.7 %   103 137 110 114    (5: 1.5 % less, 1.6 times the time)
                  zstd 3   23.4 17.9 23.3 24.0 %   347 512 360 384    (5: 1.3 % less, 2.4 times the time)
"""

from __future__ import annotations

import fnmatch
import functools
import re
import sys
import zlib
from collections.abc import Callable
from types import ModuleType
from typing import Protocol

GZIP, BROTLI, ZSTD = b"gzip", b"br", b"zstd"

_KEPT = {GZIP: 6, BROTLI: 6, ZSTD: 9}
_ON_THE_FLY = {GZIP: 4, BROTLI: 4, ZSTD: 3}
_GZIP_BITS = 31  # a window of 32 KiB, and gzip's header and trailer instead of zlib's
# A stream may live as long as its client is slow, and each has its encoder: small windows and tables. 3 MB of JSON take
# 0.3 MiB (gzip), 0.9 (br; 3.7 by default) and 0.6 (zstd; 3.1 by default), and come out no larger and no later.
_BROTLI_BITS = 16
_ZSTD_BITS = 17
_ZSTD_TABLE_BITS = 15
_MOST_TYPE_BYTES = 128
_MOST_KNOWN = 1024
_EVENT_STREAM = "text/event-stream"


def compress(coding: bytes, data: bytes) -> bytes:
    """Return a whole content, coded well: for what is kept and sent again."""
    return _whole(coding, data, _KEPT[coding])


def compress_fast(coding: bytes, data: bytes) -> bytes:
    """Return a whole content, coded at the price of one answer: 2 KiB of JSON take 15 µs (gzip), 33 (br), 17 (zstd)."""
    return _whole(coding, data, _ON_THE_FLY[coding])


def _whole(coding: bytes, data: bytes, level: int) -> bytes:
    if coding == GZIP:
        return zlib.compress(data, level, _GZIP_BITS)
    if coding == BROTLI:
        import brotli

        return bytes(brotli.compress(data, quality=level))
    return bytes(_zstd().compress(data, level))


class Encoder:
    """One content in pieces, at the levels of ``compress_fast``. Not for two threads at once."""

    __slots__ = ("_encode", "_flush", "finish")

    finish: Callable[[], bytes]
    """Return the end of the content; nothing may follow it."""

    def __init__(self, coding: bytes) -> None:
        level = _ON_THE_FLY[coding]
        if coding == GZIP:
            gzip = zlib.compressobj(level, zlib.DEFLATED, _GZIP_BITS)
            self._encode: Callable[[bytes], bytes] = gzip.compress
            self._flush: Callable[[], bytes] = functools.partial(gzip.flush, zlib.Z_SYNC_FLUSH)
            self.finish = gzip.flush
        elif coding == BROTLI:
            import brotli

            compressor = brotli.Compressor(quality=level, lgwin=_BROTLI_BITS)
            self._encode = compressor.process
            self._flush = compressor.flush
            self.finish = compressor.finish
        else:
            zstd = _zstd()
            name = zstd.CompressionParameter
            options = {
                name.compression_level: level,
                name.window_log: _ZSTD_BITS,
                name.hash_log: _ZSTD_TABLE_BITS,
                name.chain_log: _ZSTD_TABLE_BITS,
            }
            frame = zstd.ZstdCompressor(options=options)
            self._encode = frame.compress
            self._flush = functools.partial(frame.flush, frame.FLUSH_BLOCK)
            self.finish = frame.flush

    def encode(self, data: bytes, flush: bool) -> bytes:
        """Return what comes out; with ``flush`` everything so far can be decoded from what has come out so far."""
        coded = self._encode(data)
        return coded + self._flush() if flush else coded


@functools.cache
def _zstd() -> ModuleType:
    """The standard library has it from 3.14 on; before, the same module is a package."""
    if sys.version_info >= (3, 14):
        from compression import zstd
    else:
        from backports import zstd
    module: ModuleType = zstd
    return module


class HasTypes(Protocol):
    @property
    def types(self) -> tuple[str, ...]:
        """Media types in lower case; ``*`` stands for any run of characters."""


_known: dict[tuple[tuple[str, ...], bytes], bool] = {}


def is_compressible(compress: HasTypes, content_type: bytes) -> bool:
    """Is this ``Content-Type`` on the list? Parameters and case don't count.

    ``text/event-stream`` only where it is listed by its own name: whoever reads events wants no encoder in between, and
    each stream would hold one for hours.
    """
    key = compress.types, content_type
    answer = _known.get(key)
    if answer is None:
        media_type = content_type.partition(b";")[0].strip(b" \t").lower().decode("latin-1")
        if media_type == _EVENT_STREAM:
            answer = _EVENT_STREAM in compress.types
        else:
            answer = len(media_type) <= _MOST_TYPE_BYTES and _pattern(compress.types).match(media_type) is not None
        if len(content_type) <= _MOST_TYPE_BYTES:
            if len(_known) >= _MOST_KNOWN:
                _known.clear()  # LIMIT: bounded; a type is looked at again in two microseconds
            _known[key] = answer
    return answer


@functools.lru_cache(maxsize=256)
def _pattern(types: tuple[str, ...]) -> re.Pattern[str]:
    # What fnmatch makes of several stars takes linear time, whatever an application calls its types. Its other special
    # characters can't be in a media type.
    return re.compile("|".join(map(fnmatch.translate, types)) or "(?!)")
