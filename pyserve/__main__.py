"""``python -m pyserve`` is the same as ``pyserve``."""

import sys

from pyserve.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
