"""The ends of the channels between fronts and one worker, while the master has them.

I/O: makes socketpairs, closes descriptors.
"""

from __future__ import annotations

import os
import socket

from pyserve.master.child import Worker


def front_pairs() -> tuple[tuple[int, int], tuple[int, int]]:
    """Return data and control ends for a front, and the same for the worker."""
    data_front, data_worker = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    control_front, control_worker = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    return (data_front.detach(), control_front.detach()), (data_worker.detach(), control_worker.detach())


def close_ends(worker: Worker) -> None:
    for ends in worker.front_ends.values():
        close_all([*ends])
    worker.front_ends.clear()


def close_all(descriptors: list[int]) -> None:
    for fd in descriptors:
        os.close(fd)
