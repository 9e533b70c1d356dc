"""Step 5 of the request path: a worker as one front sees it, and whom a pool talks to beside its workers.

I/O: none; ``Channel``, ``Reports`` and ``Timers`` are what others do for a pool.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from pyserve.balance.dispatch import Seat
from pyserve.wire.scoreboard import Scoreboard

if TYPE_CHECKING:
    from pyserve.handlers.call import AppCall
    from pyserve.handlers.websocket import SocketCall


class Channel(Protocol):
    def send_data(self, frame: bytes) -> None: ...
    def send_control(self, frame: bytes) -> None: ...
    def receive_descriptors(self) -> None:
        """Take what has arrived of ``descriptor_received``, now. Raises ``WireError``."""

    def close(self) -> None: ...


class Reports(Protocol):
    """What a pool tells the master, and the error log."""

    def worker_ready(self, worker: int) -> None: ...
    def worker_idle(self, worker: int) -> None: ...
    def worker_stuck(self, worker: int) -> None: ...
    def worker_broke(self, worker: int, why: str) -> None: ...
    def worker_mute(self, worker: int, request: str) -> None: ...
    def worker_left(self, worker: int, running: str) -> None: ...
    def app_wanted(self, app: int) -> None: ...
    def client_refused(self, kind: object, text: str) -> None:
        """Say what a client did wrong; of one kind a line a second."""

    def log(self, text: str) -> None: ...


class Timers(Protocol):
    def call_later(self, delay: float, callback: Callable[[], None]) -> object: ...


class Worker(Seat):
    """A worker as this front sees it."""

    __slots__ = (
        "channel",
        "interface",
        "is_draining",
        "is_idle_told",
        "measured_at",
        "measured_work",
        "number",
        "pid",
        "scoreboard",
        "served",
        "slot",
        "sockets",
        "streams",
    )

    def __init__(self, number: int, slot: int, pid: int, slots: int, channel: Channel, scoreboard: Scoreboard) -> None:
        super().__init__(slots)
        self.number = number
        self.slot = slot
        self.pid = pid
        self.channel = channel
        self.scoreboard = scoreboard
        self.interface = 0
        self.streams: dict[int, AppCall] = {}
        self.sockets: dict[int, SocketCall] = {}
        self.measured_at = 0.0
        self.measured_work = (0, 0)
        self.served = 0
        self.is_draining = False
        self.is_idle_told = False
