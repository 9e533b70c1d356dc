"""What ``ps`` shows: the title is written over the command line in this process's own memory.

I/O: /proc/self/stat and /proc/self/mem, so without ctypes and without setproctitle (the application's interpreter has
neither to offer). Where that is not possible (macOS, a hardened kernel) nothing happens.
"""

from __future__ import annotations


def set_title(title: str) -> None:
    """Show ``title`` as this process's command line; cut to the room that the command line had."""
    try:
        with open("/proc/self/stat", "rb") as file:
            fields = file.read().rpartition(b")")[2].split()
        # proc(5): arg_start and arg_end are fields 48 and 49; the first after the ")" is field 3.
        start, end = int(fields[45]), int(fields[46])
        room = end - start
        if start <= 0 or room < 2:
            return
        text = title.encode("utf-8", "replace")[: room - 1]
        with open("/proc/self/mem", "r+b", buffering=0) as memory:
            memory.seek(start)
            memory.write(text + b"\0" * (room - len(text)))
        with open("/proc/self/comm", "wb", buffering=0) as comm:
            comm.write(b"pyserve")
    except (OSError, ValueError, IndexError):
        pass
