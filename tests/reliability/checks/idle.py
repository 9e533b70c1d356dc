"""R13, F4: 10,000 idle keep-alive connections, opened at 500/s, each after one request, held beside the normal load.

None refused, none lost; memory of each; CPU of all processes while nothing happens.
"""

from __future__ import annotations

import contextlib
import resource
import socket
import time

from tests.reliability import sites
from tests.reliability.attackers import connected
from tests.reliability.figures import Figure, at_most, none_of, told
from tests.reliability.ledger import compare
from tests.reliability.settings import Settings
from tests.reliability.stage import Stage, beside, say

CONNECTIONS = 10_000
A_SECOND = 500
SPARE = 300
REQUEST = b"GET /0.bin HTTP/1.1\r\nHost: f\r\nUser-Agent: idle\r\nAccept: */*\r\n\r\n"
LIMITS = 'max_connections = 12_000\nkeepalive_timeout = "300s"'


def _open(stage: Stage, count: int) -> tuple[list[socket.socket], list[str]]:
    """Return the connections that got a right answer, and what happened to the others."""
    body = sites.file_content(0)
    held, failed = [], []
    began = time.monotonic()
    for number in range(count):
        time.sleep(max(0.0, began + number / A_SECOND - time.monotonic()))
        try:
            client = connected(stage.address, 10)
        except OSError as error:
            failed.append(f"connect: {error}")
            continue
        try:
            client.sendall(REQUEST)
            answer = b""
            while not answer.endswith(body):
                piece = client.recv(8192)
                if not piece:
                    raise ConnectionResetError("closed before the answer's end")
                answer += piece
        except OSError as error:
            failed.append(str(error))
            client.close()
            continue
        held.append(client)
    return held, failed


def _is_lost(client: socket.socket) -> bool:
    client.setblocking(False)
    try:
        client.recv(1)
    except BlockingIOError:
        return False
    except OSError:
        pass
    return True


def run(settings: Settings) -> list[Figure]:
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[0] - SPARE
    count = min(settings.count(CONNECTIONS), most)
    with Stage(settings, "idle", limits=LIMITS) as stage, contextlib.ExitStack() as sockets:
        base = stage.base()
        before = stage.memory_bytes()
        say(f"idle: open {count:,} connections at {A_SECOND}/s")
        began = time.monotonic()
        held, failed = _open(stage, count)
        opening_s = time.monotonic() - began
        for client in held:
            sockets.enter_context(client)
        time.sleep(3)  # what is cleaned up after a request
        grown = stage.memory_bytes() - before
        quiet_s = min(10.0, settings.seconds)
        say(f"idle: quiet for {quiet_s:g} s")
        cpu = stage.all_cpu_s()
        time.sleep(quiet_s)
        cpu = stage.all_cpu_s() - cpu
        say(f"idle: normal load beside them, {settings.seconds:g} s")
        with beside(stage) as summaries:
            time.sleep(settings.seconds)
        lost = sum(map(_is_lost, held))
        rows = [
            none_of("refused or not answered", len(failed), count, failed[0] if failed else ""),
            none_of("lost while held", lost, len(held)),
            told("opened in", f"{opening_s:.1f} s ({count / opening_s:.0f}/s)"),
            at_most("memory of each (PSS, all processes)", grown / max(1, len(held)) / 1000, 20, "KB"),
            at_most("CPU while idle, of one core", 100 * cpu / quiet_s, 3, "%"),
            *compare(base, summaries[0], 1.5),
        ]
        if count < settings.count(CONNECTIONS):
            rows.append(told("note", f"the hard descriptor limit allows only {count:,} here"))
        return rows
