"""Step 3 of the request path, of a WebSocket: take the mask off a frame's payload (RFC 6455 §5.3).

Pure. The work is done by the C function of ``websockets``, which takes 0.09 µs for 64 bytes and 35 µs for a mebibyte;
the best that plain Python has are integers, 0.3 µs and 1.6 ms.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from importlib.machinery import EXTENSION_SUFFIXES, ExtensionFileLoader
from typing import cast


def _mask_by_integers(data: bytes, mask: bytes) -> bytes:
    """For where ``websockets`` was installed without its C part."""
    length = len(data)
    key = (mask * ((length + 3) // 4))[:length]
    return (int.from_bytes(data, "little") ^ int.from_bytes(key, "little")).to_bytes(length, "little")


def _find() -> Callable[[bytes, bytes], bytes]:
    """Load that one function's module by itself: the package around it reads metadata of distributions at its import,
    which would hold up a front's loop by 20 ms at the first WebSocket.
    """
    package = importlib.util.find_spec("websockets")
    for folder in (package and package.submodule_search_locations) or ():
        for suffix in EXTENSION_SUFFIXES:
            path = f"{folder}/speedups{suffix}"
            spec = importlib.util.spec_from_file_location(
                "websockets.speedups", path, loader=ExtensionFileLoader("websockets.speedups", path)
            )
            try:
                assert spec is not None
                assert spec.loader is not None
                module = importlib.util.module_from_spec(spec)
                spec.loader.exec_module(module)
                return cast(Callable[[bytes, bytes], bytes], module.apply_mask)
            except (ImportError, AttributeError):
                continue
    return _mask_by_integers


apply_mask = _find()
"""``apply_mask(data, mask)``: the same function takes a mask off and puts it on; ``mask`` has four bytes."""
