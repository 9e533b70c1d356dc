"""R35: 50 slow downloads of a 2 GiB file, with pauses; then files are cut, replaced and deleted under a slow download.

Bytes are right, memory does not grow with them, and the front's loop never pauses. A file that was cut ends its
download short, one that was replaced or deleted is sent to its end as it was; no descriptor stays.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from tests.reliability.attackers import connected, new_socket, reset, status_of
from tests.reliability.figures import Figure, all_of, at_most, none_of, told
from tests.reliability.ledger import compare
from tests.reliability.probe import Probe
from tests.reliability.settings import Settings
from tests.reliability.stage import Stage, beside, say, seconds_until
from tests.reliability.watch import Watch

CLIENTS = 50
SIZE = 2 * 1024**3
PIECE = 256 * 1024
EVERY_S = 0.25
"""A piece so often: 1 MiB/s each."""
PAUSE_S = 2.0
PAUSE_EVERY = 16
"""Pieces between two pauses."""
MARK_EVERY = 64 * 1024**2
TAIL = 3 * 1024**2
"""Every tenth client asks for no more than this from the end, so that some come to it."""
CHANGED_SIZE = 256 * 1024**2
ENDED_S = 5.0
"""Most that the rest of a download takes, read as fast as it comes."""
SEEN_S = 1.2
DESCRIPTORS_S = 20.0
"""In which the cache lets go of files that nobody has asked for lately."""


def write_marked(path: Path, size: int, letter: bytes) -> None:
    """A sparse file: its offset, written out, every 64 MiB, and a letter as its last byte."""
    with open(path, "wb") as file:
        os.truncate(file.fileno(), size)
        for offset in range(0, size, MARK_EVERY):
            os.pwrite(file.fileno(), mark(offset, letter), offset)
        os.pwrite(file.fileno(), letter, size - 1)


def mark(offset: int, letter: bytes) -> bytes:
    return b"%b%d" % (letter, offset)


def is_right(data: bytes, offset: int, size: int, letter: bytes) -> bool:
    """Whether these bytes stand at this offset of a marked file."""
    right = bytearray(len(data))
    first = offset // MARK_EVERY * MARK_EVERY
    pieces = [(place, mark(place, letter)) for place in range(first, min(offset + len(data), size), MARK_EVERY)]
    for place, piece in [*pieces, (size - 1, letter)]:
        for index, byte in enumerate(piece, place - offset):
            if 0 <= index < len(right):
                right[index] = byte
    return data == right


class Reader:
    """One slow client. ``wrong``: "" or what it met that is not right."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.offset = SIZE - TAIL if number % 10 == 9 else 0
        self.status = 0
        self.received = 0
        self.is_whole = False
        self.wrong = ""

    @property
    def ends(self) -> bool:
        return self.offset > 0

    async def run(self, stage: Stage, seconds: float) -> None:
        settings = stage.settings
        began = time.monotonic()
        await asyncio.sleep(settings.ramp_s * self.number / CLIENTS)
        client = new_socket(receive_buffer=PIECE)
        client.setblocking(False)
        try:
            await self._download(client, stage, began + seconds)
        except (OSError, TimeoutError) as error:
            self.wrong = f"{error or 'no byte for 10 s'} after {self.received:,} bytes"
        finally:
            reset(client)

    async def _download(self, client: socket.socket, stage: Stage, deadline: float) -> None:
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(10):
            await loop.sock_connect(client, stage.address)
        await loop.sock_sendall(
            client, f"GET /huge.bin HTTP/1.1\r\nHost: f\r\nRange: bytes={self.offset}-\r\n\r\n".encode()
        )
        async with asyncio.timeout(10):
            data = await loop.sock_recv(client, 65536)
        head, _, data = data.partition(b"\r\n\r\n")
        self.status = status_of(head + b" ")
        size = SIZE - self.offset
        pieces = 0
        while True:
            if data and not is_right(data, self.offset + self.received, SIZE, b"h"):
                self.wrong = f"wrong bytes after {self.received:,}"
                return
            self.received += len(data)
            if self.received >= size:
                self.is_whole = self.received == size
                return
            if self.received >= (pieces + 1) * PIECE:
                pieces += 1
                await asyncio.sleep(PAUSE_S if (pieces + self.number) % PAUSE_EVERY == 0 else EVERY_S)
            if time.monotonic() > deadline:
                return
            async with asyncio.timeout(10):
                data = await loop.sock_recv(client, PIECE)
            if not data:
                self.wrong = f"closed after {self.received:,} bytes"
                return


async def _download_all(stage: Stage, seconds: float) -> list[Reader]:
    readers = [Reader(number) for number in range(CLIENTS)]
    await asyncio.gather(*[reader.run(stage, seconds) for reader in readers])
    return readers


def _downloads(stage: Stage) -> list[Figure]:
    settings = stage.settings
    with Probe(stage.address[1], stage.front_pid) as probe:
        base = stage.base()
        quiet = probe.end()
    seconds = settings.ramp_s + max(settings.seconds, 6.0)
    say(f"slow_downloads: {CLIENTS} clients for {seconds:g} s")
    with (
        Probe(stage.address[1], stage.front_pid) as probe,
        Watch(stage) as watch,
        beside(stage) as summaries,
    ):
        readers = asyncio.run(_download_all(stage, seconds))
        seen = probe.end()
    wrong = [reader.wrong for reader in readers if reader.wrong]
    to_the_end = [reader for reader in readers if reader.ends]
    received = sum(reader.received for reader in readers)
    return [
        all_of("answers that began", sum(reader.status == 206 for reader in readers), CLIENTS),
        none_of("downloads cut, stuck or with wrong bytes", len(wrong), CLIENTS, wrong[0] if wrong else ""),
        all_of("pieces of the end that came whole", sum(r.is_whole for r in to_the_end), len(to_the_end)),
        told("downloaded", f"{received / 1e6:,.0f} MB, {received / 1e6 / seconds:,.0f} MB/s"),
        at_most("memory grew by (PSS, all processes)", watch.grown_mb, 20, "MB"),
        told("that of the front", f"{watch.front_grown_mb:.1f} MB"),
        none_of("probe: failed requests", seen.failed, seen.count),
        at_most("probe: worst answer less that of base", max(0.0, seen.worst_busy_ms - quiet.worst_busy_ms), 50, "ms"),
        told(
            "probe: p99 / worst / worst without waits for a CPU",
            f"{seen.p99_ms:.1f} / {seen.worst_ms:.1f} / {seen.worst_busy_ms:.1f} ms (base {quiet.p99_ms:.1f} / "
            f"{quiet.worst_ms:.1f} / {quiet.worst_busy_ms:.1f}; {seen.count:,} requests)",
        ),
        *compare(base, summaries[0]),
    ]


def _cut(path: Path) -> None:
    os.truncate(path, PIECE)


def _replace(path: Path) -> None:
    new = path.with_suffix(".new")
    write_marked(new, CHANGED_SIZE, b"n")
    new.replace(path)


class Fate(NamedTuple):
    """What became of one download. ``first``: the status and first byte of a new client's answer, a little later."""

    received: int
    are_right: bool
    end: str
    """"whole", "fin", "reset" or "open": it came to no end in time."""
    seconds: float
    """From where it no longer read slowly to the end."""
    first: tuple[int, bytes]


def _change_during_download(stage: Stage, name: str, change: Callable[[Path], None]) -> Fate:
    """Download slowly, change the file, go on slowly, and then read the rest as fast as it comes."""
    path = stage.folder / "public" / name
    write_marked(path, CHANGED_SIZE, b"o")
    received, are_right, end = 0, True, "open"
    slowly_until = 2 * PIECE
    with contextlib.closing(connected(stage.address, 10, receive_buffer=PIECE)) as client:
        client.sendall(_request(name))
        data = client.recv(65536).partition(b"\r\n\r\n")[2]
        began = 0.0
        while True:
            are_right = are_right and is_right(data, received, CHANGED_SIZE, b"o")
            received += len(data)
            if received >= CHANGED_SIZE:
                end = "whole"
                break
            if received >= slowly_until and slowly_until <= 6 * PIECE:
                if slowly_until == 2 * PIECE:
                    change(path)
                slowly_until += PIECE
                time.sleep(EVERY_S)
                began = time.monotonic()
            try:
                data = client.recv(PIECE)
            except TimeoutError:
                break
            except OSError:
                end = "reset"
                break
            if not data:
                end = "fin"
                break
        seconds = time.monotonic() - began
    time.sleep(SEEN_S)
    with contextlib.closing(connected(stage.address, 10)) as client:
        client.sendall(_request(name, "Range: bytes=0-0\r\nConnection: close\r\n"))
        answer = b""
        while data := client.recv(65536):
            answer += data
    return Fate(received, are_right, end, seconds, (status_of(answer), answer.partition(b"\r\n\r\n")[2]))


def _request(name: str, more: str = "") -> bytes:
    return f"GET /{name} HTTP/1.1\r\nHost: f\r\n{more}\r\n".encode()


def _changes(stage: Stage, before: dict[int, int]) -> list[Figure]:
    """``before``: the descriptors of each process when no file had been asked for."""
    rows: list[Figure] = []
    pid, lines = stage.front_pid, len(stage.error_lines())
    with beside(stage) as summaries:
        for what, change, is_short, seen in (
            ("cut", _cut, True, (206, b"o")),
            ("replaced", _replace, False, (206, b"n")),
            ("deleted", Path.unlink, False, (404, None)),
        ):
            say(f"slow_downloads: a file is {what}")
            fate = _change_during_download(stage, f"{what}.bin", change)
            is_right_end = fate.end in ("fin", "reset") if is_short else fate.end == "whole" and fate.are_right
            rows.append(
                Figure(
                    f"{what} during its download",
                    f"{fate.end} after {fate.received / 1e6:.1f} MB" + ("" if fate.are_right else ", wrong bytes"),
                    "closed short" if is_short else "whole, as it was",
                    is_right_end,
                )
            )
            rows.append(at_most(f"{what}: ended after", fate.seconds, ENDED_S, "s"))
            status, first = fate.first
            holds = status == seen[0] and seen[1] in (None, first)
            rows.append(Figure(f"{what}: seen by a new client", f"{status}", f"{seen[0]}, as it is now", holds))
    back_s = seconds_until(lambda: stage.descriptors() == before, DESCRIPTORS_S)
    after = stage.descriptors()
    grown = sum(after.values()) - sum(before.values())
    bad = stage.bad_lines(lines)
    return [
        *rows,
        Figure("descriptors back to what they were", f"{grown:+d} after {back_s:.1f} s", "0", after == before),
        Figure("the front", "lives" if stage.front_pid == pid else "was started anew", "lives", stage.front_pid == pid),
        none_of("lines of level error", len(bad), len(stage.error_lines()) - lines, bad[0][:120] if bad else ""),
        none_of("normal: failed, meanwhile", summaries[0].failed, summaries[0].total, summaries[0].main_causes()),
    ]


def run(settings: Settings) -> list[Figure]:
    with Stage(settings, "slow_downloads") as stage:
        write_marked(stage.folder / "public" / "huge.bin", SIZE, b"h")
        time.sleep(0.5)  # until the connections that warmed it up are closed
        before = stage.descriptors()
        return [*_downloads(stage), *_changes(stage, before)]
