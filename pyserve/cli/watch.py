"""``--reload``: a process beside the server that looks for changed files, and asks the master to renew what they
belong to.

I/O: reads the folders, writes stderr, talks to the admin socket as anybody may; ends when its channel does, which the
master holds the other end of. It is a process of its own because the master looks at no file of an application's.

A change counts when two looks in a row agree, so that a file half written, or a branch that is being checked out, is
one change when it is complete.
"""

from __future__ import annotations

import json
import os
import select
import socket
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

from pyserve.cli.sources import MOST_ENTRIES, Signature, Sources, changes, forget_bytecode
from pyserve.config.model import Config
from pyserve.observe.error_log import printable

_SHARE = 20
"""Looking takes a twentieth of the time at most: a project that takes 50 ms is looked at once a second."""
_LEAST_PAUSE_S, _MOST_PAUSE_S = 0.1, 1.0
_SETTLE_PAUSE_S = 0.03
_SETTLE_MOST_S = 3.0
"""What still changes then is taken as it is."""


def start(config: Config, patterns: Sequence[str]) -> int:
    """Start the process; return a descriptor that it lives as long as."""
    from pyserve.master import child

    ours, theirs = socket.socketpair()
    apps = [[app.name, app.root] for app in config.apps]
    # At once in the socket's buffer, which is larger than what any number of apps takes.
    settings = {"admin": config.server.admin, "apps": apps, "patterns": list(patterns)}
    with theirs:
        command, cwd = child.module_command("pyserve.cli.watch", theirs.fileno())
        child.start(command, theirs.fileno(), 2, cwd=cwd)
    ours.sendall(json.dumps(settings).encode() + b"\n")
    return ours.detach()


class Root:
    """A folder, the apps whose root it is, and what was last seen there."""

    def __init__(self, sources: Sources, apps: list[str]) -> None:
        self.sources = sources
        self.apps = apps
        self.seen: dict[str, Signature] = sources.look()

    def changed(self, pause: Callable[[float], object]) -> list[str]:
        """Return what is different from the last time, once it is complete."""
        before, now = self.seen, self.sources.look()
        deadline = time.monotonic() + _SETTLE_MOST_S
        while now != self.seen and time.monotonic() < deadline:
            self.seen = now
            pause(_SETTLE_PAUSE_S)
            now = self.sources.look()
        self.seen = now
        return changes(before, now)


class Watch:
    """``end``: the descriptor whose end is ours."""

    def __init__(self, end: int, settings: dict[str, Any], say: Callable[[str, bool], None]) -> None:
        self._admin: str = settings["admin"]
        self._say = say
        self._poll = select.poll()
        self._poll.register(end, select.POLLIN)
        self._end = end
        self._asked: dict[int, tuple[socket.socket, str, float]] = {}
        by_root: dict[str, list[str]] = {}
        for name, root in settings["apps"]:
            by_root.setdefault(root, []).append(name)
        self._roots = [Root(Sources(root, settings["patterns"]), apps) for root, apps in by_root.items()]

    def run(self) -> None:
        for root in self._roots:
            if root.sources.is_cut:
                self._say(f"only {MOST_ENTRIES:,} entries below {root.sources.root} are watched; there are more", True)
        pause_s = _LEAST_PAUSE_S
        while self._wait(pause_s):
            begun = time.monotonic()
            found = [(root, root.changed(time.sleep)) for root in self._roots]
            took_s = time.monotonic() - begun
            renewed = set()
            for root, paths in found:
                if paths:
                    forget_bytecode(root.sources.root, paths)
            for root, paths in found:
                for app in root.apps if paths else ():
                    if app not in renewed:
                        renewed.add(app)
                        self._renew(app, paths)
            if not renewed:
                pause_s = min(max(_LEAST_PAUSE_S, _SHARE * took_s), _MOST_PAUSE_S)

    def _wait(self, pause_s: float) -> bool:
        """Wait for the next look; False = the server has ended."""
        deadline = time.monotonic() + pause_s
        while True:
            left_ms = int((deadline - time.monotonic()) * 1000)
            if left_ms <= 0:
                return True
            for fd, _ in self._poll.poll(left_ms):
                if fd == self._end:
                    return False
                self._answered(fd)

    def _renew(self, app: str, paths: list[str]) -> None:
        more = f" and {len(paths) - 1} more" if len(paths) > 1 else ""
        self._say(f"{app}: {paths[0]}{more} changed: starting the new code", False)
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            connection.connect(self._admin)
            connection.sendall(f"renew-now {app}\n".encode())
        except OSError as error:
            connection.close()
            self._say(f"{app}: can't ask the server for it: {error}", True)
            return
        self._poll.register(connection.fileno(), select.POLLIN)
        self._asked[connection.fileno()] = (connection, app, time.monotonic())

    def _answered(self, fd: int) -> None:
        connection, app, asked_at = self._asked.pop(fd)
        self._poll.unregister(fd)
        with connection:
            try:
                answer = json.loads(connection.recv(4096))
            except (OSError, ValueError):
                return  # the server is ending
        if answer.get("renewed"):
            self._say(f"{app}: the new code runs ({time.monotonic() - asked_at:.2f} s)", False)
        elif "error" in answer:
            self._say(f"{app}: {answer['error']}", True)
        elif answer["serves"] == "the old code":
            self._say(f"{app}: THE OLD CODE STILL ANSWERS: the new code does not start, see above", True)
        elif answer["serves"] == "nothing":
            self._say(f"{app}: NOTHING ANSWERS: the code does not start, see above", True)


def _speaker() -> Callable[[str, bool], None]:
    is_coloured = sys.stderr.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"

    def say(text: str, is_bad: bool) -> None:
        line = f"pyserve: reload: {printable(text)}"
        if is_coloured:
            line = f"\x1b[{'1;31' if is_bad else '32'}m{line}\x1b[0m"
        print(line, file=sys.stderr, flush=True)

    return say


def main(arguments: Sequence[str]) -> int:
    end = int(arguments[0])
    os.set_inheritable(end, False)
    with open(os.dup(end), "rb") as lines:
        line = lines.readline()
    if line:
        Watch(end, json.loads(line), _speaker()).run()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
