"""``pyserve check``: prove in the application's own interpreter that it can be loaded.

I/O: reads a marshal tuple ``(spec,)`` from stdin; prints ``ok wsgi 3.11.7`` as the last line of stdout and exits 0, or
the reason on stderr and exits 3. Runs no lifespan and answers no request.
"""

from __future__ import annotations

import marshal
import os
import sys

from ..wire.frames import INTERFACE_NAMES
from .bounds import apply
from .loader import LoadError, load


def main(arguments: list[str]) -> None:
    (spec,) = marshal.loads(sys.stdin.buffer.read())
    apply(spec.get("limits", {}))
    code = 0
    try:
        interface = load(spec)[1]
        # What the application printed may not end with a newline.
        print(f"\nok {INTERFACE_NAMES[interface]} {'.'.join(map(str, sys.version_info[:3]))}")
    except LoadError as error:
        print(error, file=sys.stderr)
        code = 3
    sys.stdout.flush()
    sys.stderr.flush()
    # Threads that the import started must not keep this process.
    os._exit(code)
