"""What does a piece of a large file cost: 64 KiB anywhere in 1 GiB, as video players and resumed downloads ask?

The file is sparse but for a few marks, by which pieces can be told apart when the answers are checked. It is read once
before, so that whoever comes first does not pay for making its pages.
"""

from __future__ import annotations

import os
from pathlib import Path

from benchmarks.answers import check_answer, expected
from benchmarks.files import Case, run_case
from benchmarks.folders import make_old
from benchmarks.load import Requests
from benchmarks.scenario import Result, Settings
from benchmarks.servers import Running
from benchmarks.stacks import nginx_files, pyserve_files

PATH = "/1g.bin"
SIZE_BYTES = 1024**3
PIECE_BYTES = 64 * 1024
PIECES = SIZE_BYTES // PIECE_BYTES
MARKED = (0, 1, PIECES // 2, PIECES - 1)


def write_sparse(path: Path) -> None:
    with open(path, "wb") as file:
        os.truncate(file.fileno(), SIZE_BYTES)
        for number in MARKED:
            os.pwrite(file.fileno(), _mark(number), number * PIECE_BYTES)
    make_old(path)


def read_once(path: Path) -> None:
    buffer = bytearray(1024 * 1024)
    with open(path, "rb", buffering=0) as file:
        while file.readinto(buffer):
            pass


def _mark(number: int) -> bytes:
    return b"piece %d" % number


def prepare(running: Running) -> Requests:
    for number in (*MARKED, PIECES // 3):
        first = number * PIECE_BYTES
        span = f"{first}-{first + PIECE_BYTES - 1}"
        mark = _mark(number) if number in MARKED else b""
        right = expected(mark.ljust(PIECE_BYTES, b"\0"), 206, content_range=f"bytes {span}/{SIZE_BYTES}")
        check_answer(running, PATH, right, {"Range": f"bytes={span}"})
    return Requests(PATH, piece_bytes=PIECE_BYTES, pieces=PIECES)


CASE = Case("files_range", "64 KiB at random places of 1 GiB", PATH, prepare, 1.1, 1.0)


def run(settings: Settings) -> list[Result]:
    public = settings.folder / "range"
    public.mkdir()
    write_sparse(public / PATH[1:])
    read_once(public / PATH[1:])
    return [run_case(settings, CASE, [pyserve_files(public), nginx_files(settings, public)])]
