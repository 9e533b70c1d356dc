"""Print the problems of a configuration, one a line, with a last line that counts them.

I/O: stderr.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence

from pyserve.errors import Problem
from pyserve.observe.error_log import printable


def print_problems(problems: Sequence[Problem], details: Mapping[str, str] | None = None) -> None:
    """``details``: by key path, what is to follow a problem, indented (a traceback)."""
    lines = []
    for problem in problems:
        lines.append(printable(str(problem)).replace("\n", " "))
        if details and (detail := details.get(problem.key)):
            lines += [f"    {line}" for line in printable(detail.rstrip()).splitlines()]
    count = "1 problem" if len(problems) == 1 else f"{len(problems)} problems"
    files = list(dict.fromkeys(printable(problem.file) for problem in problems))
    where = files[0] if len(files) == 1 else f"{len(files)} files"
    lines.append(f"pyserve: {count} in {where}")
    print("\n".join(lines), file=sys.stderr)
