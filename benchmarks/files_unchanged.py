"""What does a 304 cost, for a client that has the file: one frozen request, and varied ones for 1,000 files?

Each server is asked for its own entity tags first.
"""

from __future__ import annotations

from benchmarks.answers import check_answer, expected
from benchmarks.files import Case, run_case
from benchmarks.files_small import CHECKED, PATHS, SIZE_BYTES, write_files
from benchmarks.folders import small_content
from benchmarks.load import Requests
from benchmarks.scenario import Result, Settings
from benchmarks.servers import Running
from benchmarks.stacks import nginx_files, pyserve_files

UNCHANGED = expected(b"", 304)


def condition_of(running: Running, number: int) -> str:
    """Return the header line that asks for a file only if it is no longer what it is now."""
    path = PATHS[number]
    tag = check_answer(running, path, expected(small_content(number, SIZE_BYTES)))["etag"]
    if number % (len(PATHS) // CHECKED) == 0:
        check_answer(running, path, UNCHANGED, {"If-None-Match": tag})
    return f"If-None-Match: {tag}"


def frozen(running: Running) -> Requests:
    return Requests(PATHS[0], fields=(condition_of(running, 0),))


def varied(running: Running) -> Requests:
    return Requests(paths=PATHS, lines=tuple(condition_of(running, number) for number in range(len(PATHS))))


CASES = (
    Case("files_unchanged", "304 to If-None-Match, one frozen request", PATHS[0], frozen, 1.0, 0.85),
    # The head costs what it costs for a 200, so its bar is that one's.
    Case(
        "files_unchanged varied",
        f"304 to If-None-Match, varied cookies and {len(PATHS):,} paths, heads of five browsers",
        PATHS[0],
        varied,
        1.3,
        1.1,
    ),
)


def run(settings: Settings) -> list[Result]:
    public = settings.folder / "unchanged"
    write_files(public)
    return [run_case(settings, case, [pyserve_files(public), nginx_files(settings, public)]) for case in CASES]
