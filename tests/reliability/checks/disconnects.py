"""R17: 1,000 clients each leave in the middle of an upload, of a download, and while they wait in the queue.

Worker slots are free within a second, no spool file stays, no line of level error, and who left the queue never starts.
"""

from __future__ import annotations

import contextlib
import socket
import threading
import time

from tests.reliability.attackers import connected, reset, status_of
from tests.reliability.figures import Figure, all_of, at_most, none_of, told
from tests.reliability.ledger import compare
from tests.reliability.settings import Settings
from tests.reliability.sites import LARGE, QUEUE
from tests.reliability.stage import Stage, beside, say, seconds_until

CLIENTS = 1000
UPLOAD = 1024 * 1024
SENT = 100 * 1024
READ = 64 * 1024
BUSY_S = 12.0


def _leave(client: socket.socket, number: int) -> None:
    if number % 2:
        reset(client)
    else:
        client.close()


def _leave_upload(stage: Stage, number: int) -> None:
    host = "wa"[number // 2 % 2]
    client = connected(stage.address)
    with contextlib.suppress(OSError):
        head = f"POST /echo/left HTTP/1.1\r\nHost: {host}\r\nContent-Length: {UPLOAD}\r\n\r\n".encode()
        client.sendall(head + b"x" * SENT)
    _leave(client, number)


def _leave_download(stage: Stage, number: int) -> None:
    host, path = (("w", f"/bytes/{LARGE}"), ("a", f"/bytes/{LARGE}"), ("f", "/large.bin"))[number // 2 % 3]
    client = connected(stage.address, receive_buffer=32768)
    with contextlib.suppress(OSError):
        client.sendall(f"GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
        left = READ
        while left > 0 and (data := client.recv(left)):
            left -= len(data)
    _leave(client, number)


def _ask(stage: Stage, path: str) -> bytes:
    with contextlib.closing(connected(stage.address, 60)) as client:
        client.sendall(f"GET {path} HTTP/1.1\r\nHost: q\r\nConnection: close\r\n\r\n".encode())
        answer = b""
        while data := client.recv(65536):
            answer += data
    assert status_of(answer) == 200, answer[:60]
    return answer.partition(b"\r\n\r\n")[2]


def _leave_queue(stage: Stage, count: int) -> list[Figure]:
    busy_s = 3.0 if stage.settings.is_quick else BUSY_S
    sleeper = threading.Thread(target=_ask, args=(stage, f"/sleep/{busy_s:g}"), daemon=True)
    sleeper.start()
    seconds_until(lambda: stage.running("slow") == 1, 2)
    clients = []
    for number in range(count):
        client = connected(stage.address)
        client.sendall(b"GET /count/%s HTTP/1.1\r\nHost: q\r\n\r\n" % (b"reset" if number % 2 else b"fin"))
        clients.append(client)

    def queued() -> int:
        return int(stage.status()["apps"]["slow"]["queue"])

    seconds_until(lambda: queued() >= count, busy_s / 2)
    waited = queued()
    for number, client in enumerate(clients):
        _leave(client, number)
    resets = count // 2
    emptied_s = seconds_until(lambda: queued() <= count - resets, 5)
    still = queued()
    was_busy = sleeper.is_alive()
    sleeper.join(60)
    time.sleep(0.3)
    started = {how: int(_ask(stage, f"/counted/{how}")) for how in ("reset", "fin")}
    return [
        all_of("clients that waited in the queue", waited, count),
        at_most("those that reset are out of the queue after", emptied_s, 1, "s"),
        told("in the queue then", f"{still}; the worker was busy all the while: {'yes' if was_busy else 'NO'}"),
        none_of("started although their client had reset", started["reset"], resets),
        # close() sends what a half-close sends, and after that the answer is still due (F5): told, not held.
        told("started although their client had closed", f"{started['fin']} of {count - resets}"),
    ]


def run(settings: Settings) -> list[Figure]:
    with Stage(settings, "disconnects", more=QUEUE) as stage:
        base = stage.base()
        count = settings.count(CLIENTS)
        lines = len(stage.error_lines())
        before = stage.descriptors()
        rows: list[Figure] = []
        with beside(stage) as summaries:
            for name, leave in (("upload", _leave_upload), ("download", _leave_download)):
                say(f"disconnects: {count} leave in the middle of an {name}".replace("an down", "a down"))
                for number in range(count * 9 // 10):
                    leave(stage, number)
            say(f"disconnects: {count} leave the queue")
            rows += _leave_queue(stage, count)
        # The last tenth without the normal load, whose own requests would be seen in the slots.
        for name, leave in (("upload", _leave_upload), ("download", _leave_download)):
            for number in range(max(12, count // 10)):
                leave(stage, number)
            took = seconds_until(lambda: stage.running("wsgi") + stage.running("asgi") == 0, 5)
            rows.append(at_most(f"worker slots free after a left {name}", took, 1, "s"))
        spool_s = seconds_until(lambda: stage.spool()[0] == 0, 5)
        time.sleep(1.5)
        leaked = max(abs(stage.descriptors().get(pid, 0) - was) for pid, was in before.items())
        bad = stage.bad_lines(lines)
        return [
            *rows,
            at_most("spool files gone after", spool_s, 1, "s"),
            at_most("descriptors leaked, worst process", leaked, 5),
            none_of("lines of level error", len(bad), len(stage.error_lines()) - lines, bad[0][:120] if bad else ""),
            *compare(base, summaries[0]),
        ]
