"""The keys of ``[app.NAME]`` that say whom its processes run as, and how much of the machine they may take.

Pure: whether the user exists and may enter what the application needs is looked up by ``config.accounts``.
"""

from __future__ import annotations

import re
from math import ceil

from pyserve.config.model import Isolation, ResourceLimits
from pyserve.config.problems import show
from pyserve.config.table import Table

KEYS = ("user", "group", "umask", "tmp", "limits")
_LIMITS = ("open_files", "address_space", "cpu_time", "nice", "memory", "cpus", "processes")
_UMASK = re.compile(r"0?[0-7]{3}")
# An interpreter that has imported nothing has about 20 MiB mapped, and each thread 8 MiB.
_LEAST_MEMORY_BYTES = 32 << 20
MAX_CPUS = 4096


def decode_isolation(table: Table) -> Isolation:
    """Return what the keys say; call it when the scope's base is the application's root."""
    return Isolation(
        user=str(table.text("user")),
        group=str(table.text("group")),
        umask=_umask(table),
        tmp=str(table.file_path("tmp")),
        limits=_limits(table),
    )


def _umask(table: Table) -> int | None:
    if "umask" not in table:
        return None
    value = table.values["umask"]
    # An integer would be taken for decimal by TOML, and 027 is not even one.
    if not isinstance(value, str):
        table.wrong_type(value, 'octal digits in quotes, as "027"', "umask")
    elif not _UMASK.fullmatch(value):
        table.problem(f'expected three octal digits, as "027", not {show(value)}', "umask")
    else:
        return int(value, 8)
    return None


def _limits(app: Table) -> ResourceLimits:
    table = app.table("limits", _LIMITS)
    if table is None:
        return ResourceLimits()
    cpu_time_s = table.duration_s("cpu_time", 0.0)
    if 0 < cpu_time_s < 1:
        table.problem('expected at least "1s": the kernel counts whole seconds', "cpu_time")
    return ResourceLimits(
        open_files=table.integer("open_files", 64, 64, 1 << 30) if "open_files" in table else 0,
        address_space_bytes=table.size_bytes("address_space", 0, _LEAST_MEMORY_BYTES),
        cpu_time_s=ceil(cpu_time_s),
        nice=table.integer("nice", 0, -20, 19) if "nice" in table else None,
        memory_bytes=table.size_bytes("memory", 0, _LEAST_MEMORY_BYTES),
        cpus=_cpus(table),
        # Its template and one worker with its watcher are three.
        processes=table.integer("processes", 8, 8, 1 << 22) if "processes" in table else 0,
    )


def _cpus(table: Table) -> float:
    value = table.values.get("cpus", 0.01)
    if type(value) not in (int, float):
        table.wrong_type(value, "a number of processors, as 1.5", "cpus")
    elif not 0.01 <= value <= MAX_CPUS:
        table.problem(f"expected a number of processors from 0.01 to {MAX_CPUS}, not {value!r:.20}", "cpus")
    elif "cpus" in table:
        return float(value)
    return 0.0
