"""``python -m pyserve.front FD``: a front process; FD is its end of the master's channel.

The collector is off from here until ``front.main`` has frozen what there is: imports make much and drop
nearly nothing, and looking for it fifty times would take 14 ms of 130.
"""

from __future__ import annotations

import gc
import sys

if __name__ == "__main__":
    gc.disable()
    from pyserve.front.main import main

    sys.exit(main(sys.argv))
