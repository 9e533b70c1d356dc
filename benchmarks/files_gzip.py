"""What does a precompressed file cost: 20 KiB of gzip that lie beside the script they were made of?"""

from __future__ import annotations

import base64
import gzip
import random

from benchmarks.answers import check_answer, expected
from benchmarks.files import Case, run_case
from benchmarks.folders import write_old
from benchmarks.load import Requests
from benchmarks.scenario import Result, Settings
from benchmarks.servers import Running
from benchmarks.stacks import nginx_files, pyserve_files

PATH = "/file.js"
COMPRESSED_BYTES = 20 * 1024
# Text that gzip makes about four bytes of three of, and repetitions; the same in every run.
_RANDOM = base64.b64encode(random.Random(1).randbytes(COMPRESSED_BYTES - 256))
PLAIN = b"// " + _RANDOM + b"\n" + b"export const nothing = null;\n" * 2000
COMPRESSED = gzip.compress(PLAIN, 9, mtime=0)


def prepare(running: Running) -> Requests:
    check_answer(running, PATH, expected(PLAIN, content_encoding=""))
    right = expected(COMPRESSED, content_encoding="gzip", content_length=str(len(COMPRESSED)))
    check_answer(running, PATH, right, {"Accept-Encoding": "gzip"})
    return Requests(PATH, fields=("Accept-Encoding: gzip",))


CASE = Case(
    "files_gzip",
    f"{len(COMPRESSED) / 1024:.0f} KiB of precompressed gzip, one frozen request",
    PATH,
    prepare,
    1.0,
    0.85,
)


def run(settings: Settings) -> list[Result]:
    public = settings.folder / "gzip"
    write_old(public / PATH[1:], PLAIN)
    write_old(public / f"{PATH[1:]}.gz", COMPRESSED)
    return [run_case(settings, CASE, [pyserve_files(public), nginx_files(settings, public, more="gzip_static on;")])]
