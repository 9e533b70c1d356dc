"""What the master says is obeyed in order, also when much of it comes in one read."""

from __future__ import annotations

import asyncio
import os
import socket

from pyserve.front.main import Front
from pyserve.net.channels import MessageChannel, shared_memory
from pyserve.wire import messages
from pyserve.wire.scoreboard import PAGE_BYTES
from tests.handlers.test_pool import Table


def test_a_worker_that_is_gone_in_the_same_read_in_which_it_came_does_not_stay() -> None:
    loop = asyncio.new_event_loop()
    table = Table(workers=0)
    ours, theirs = MessageChannel.pair()
    front = Front(loop, ours, loop.stop)
    front._pools = [table.pool]
    front._is_started = True
    data, far_data = socket.socketpair()
    control, far_control = socket.socketpair()
    descriptors = [data.detach(), control.detach(), shared_memory(PAGE_BYTES)]
    front.take(
        [
            (messages.WORKER_ADDED, messages.pack_values(0, (0, 7, 1, 4711))[6:], descriptors),
            (messages.WORKER_GONE, messages.pack_values(0, (7, "was killed"))[6:], []),
        ]
    )
    far_data.close()
    far_control.close()

    async def until_buried() -> None:
        while table.pool.workers or front._tasks:
            await asyncio.sleep(0.01)

    before = len(os.listdir("/dev/fd"))
    loop.run_until_complete(asyncio.wait_for(until_buried(), 10))
    assert front._links == {}
    assert len(os.listdir("/dev/fd")) < before
    loop.remove_reader(ours.fileno())
    ours.close()
    theirs.close()
    loop.close()
