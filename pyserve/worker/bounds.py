"""Limits that a template sets on itself, before anything of the application is loaded (D14).

I/O: setrlimit and setpriority. The master sets them from outside where it may: that takes more than being root in
many containers, and is impossible outside of Linux. Lowering its own is allowed to everybody.
"""

from __future__ import annotations

import os
import sys

_SOFT_ONLY = "RLIMIT_CPU"
"""At the soft one comes SIGXCPU, which says why a worker died; at the hard one SIGKILL."""


def apply(limits: dict[str, int]) -> None:
    """Set the limits named as in ``resource``, and ``nice``; one that can't be set is said on stderr."""
    for name, value in limits.items():
        try:
            if name == "nice":
                os.setpriority(os.PRIO_PROCESS, 0, value)
                continue
            import resource

            kind = getattr(resource, name)
            resource.setrlimit(kind, (value, resource.getrlimit(kind)[1] if name == _SOFT_ONLY else value))
        except (OSError, ValueError, AttributeError, ImportError) as error:
            print(f"the limit {name} = {value} is not in force: {error}", file=sys.stderr)
