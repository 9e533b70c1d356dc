"""What the master opens once and shares with everyone: listeners, logs, the board, the snapshot of the config.

I/O: binds, opens, maps. Invariant: everything is opened or nothing (``CannotStart``), before any process is started;
nothing here is inherited by accident, descriptors are passed by messages only.
"""

from __future__ import annotations

import os
import pickle
import time

from pyserve.config.model import App, Config
from pyserve.master import logs
from pyserve.master.figures import OomKills
from pyserve.master.isolation import Isolator
from pyserve.net.channels import map_shared, shared_memory
from pyserve.net.listen import bind_all, close_all
from pyserve.observe.error_log import ErrorLog
from pyserve.wire import messages
from pyserve.wire.board import Board

SCALABLE = 32
"""So many workers an operator may ask for by hand, whatever the file says."""


def most_workers(app: App) -> int:
    """Return how many workers an app may have."""
    return max(app.workers, SCALABLE) if app.workers else 0


def slots_of(app: App) -> int:
    """Return how many workers of an app may exist at once: all, each with a replacement, and some on their way out."""
    return 2 * most_workers(app) + 2


def _public(config: Config) -> Config:
    """A front has no use for the applications' environments and the key of an account: they may hold secrets."""
    apps = tuple(app._replace(env=()) for app in config.apps)
    server = config.server._replace(acme=config.server.acme._replace(external_key=""))
    sites = tuple(
        site if site.acme is None else site._replace(acme=site.acme._replace(external_key="")) for site in config.sites
    )
    return config._replace(apps=apps, server=server, sites=sites)


class Resources:
    def __init__(self, config: Config) -> None:
        self.config = config
        self.started_s = time.time()
        self.is_subreaper = False
        self.listeners = bind_all(config.server.listeners)
        self._access_fd = self.error_fd = self._board_fd = -1
        try:
            self._access_fd = logs.open_access_log(config.log.access)
            self.error_fd = logs.open_error_log(config.log.error)
            # The log's own descriptor, so that reopening swaps both at moments of our choice.
            self.log = ErrorLog(os.dup(self.error_fd), config.log.error.level, "master")
            fronts, apps = config.server.fronts, len(config.apps)
            self.slots = sum(map(slots_of, config.apps))
            size = Board.size_bytes(fronts, self.slots, apps)
            self._board_fd = shared_memory(size)
            self._board_memory = map_shared(self._board_fd, size)
            self._board_view = memoryview(self._board_memory)
            self.board = Board(self._board_view, fronts, self.slots, apps)
            self.isolator = Isolator(config.apps, self.log)
        except BaseException:
            close_all(self.listeners)
            self._close_descriptors()
            raise
        self._snapshot = pickle.dumps(_public(config), pickle.HIGHEST_PROTOCOL)
        self.oom_kills = OomKills()

    def snapshot_for(self, front: int) -> tuple[bytes, list[int], int]:
        """Return the first message to a front, its descriptors, and the one of them to close after sending.

        The snapshot is a file of its own each time: a shared one would share the reading position.
        """
        snapshot_fd = shared_memory(0)
        with open(os.dup(snapshot_fd), "wb") as file:
            file.write(self._snapshot)
        os.lseek(snapshot_fd, 0, os.SEEK_SET)
        descriptors = [snapshot_fd, self._board_fd, self._access_fd, self.error_fd]
        descriptors += [listener.fileno() for listener in self.listeners]
        values = (front, self.config.server.fronts, self.slots)
        return messages.pack_values(messages.SNAPSHOT, values, len(descriptors)), descriptors, snapshot_fd

    def reopen_logs(self) -> tuple[bytes, list[int]]:
        """Open the log files anew by name; return the message that hands them out. Raises ``CannotStart``."""
        access_fd = logs.open_access_log(self.config.log.access)
        try:
            error_fd = logs.open_error_log(self.config.log.error)
        except BaseException:
            os.close(access_fd)
            raise
        os.close(self._access_fd)
        os.close(self.error_fd)
        self._access_fd, self.error_fd = access_fd, error_fd
        self.log.reopen(os.dup(error_fd))
        return messages.pack_values(messages.LOGS, (), 2), [access_fd, error_fd]

    def close_listeners(self) -> None:
        close_all(self.listeners)
        self.listeners = []

    def close(self) -> None:
        self.close_listeners()
        self._board_view.release()
        self._board_memory.close()
        self.isolator.close()
        self.log.reopen(-1)
        self._close_descriptors()

    def _close_descriptors(self) -> None:
        for fd in (self._access_fd, self.error_fd, self._board_fd):
            if fd >= 0:
                os.close(fd)
