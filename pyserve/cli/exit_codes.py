"""What the exit codes say, as in sysexits.h. Pure."""

from __future__ import annotations

STOPPED = 0
"""Stopped as asked, or done what was asked."""
USAGE = 64
NO_SERVER = 69
CANNOT_START = 70
CONFIG = 78
