"""``python -m pyserve.acme FD``: the process that gets certificates; FD is its end of the master's channel."""

from __future__ import annotations

import sys

if __name__ == "__main__":
    from pyserve.acme.main import main

    sys.exit(main(sys.argv))
