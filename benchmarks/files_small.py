"""What does a 1 KiB file cost: one frozen request, and browser-like ones with varied cookies for 1,000 files?

The frozen one is what benchmarks ask for and caches love; the varied ones are nearer to traffic.
"""

from __future__ import annotations

from pathlib import Path

from benchmarks.answers import check_answer, expected
from benchmarks.files import Case, run_case
from benchmarks.folders import small_content, write_old
from benchmarks.load import Requests
from benchmarks.scenario import Result, Settings
from benchmarks.servers import Running
from benchmarks.stacks import nginx_files, pyserve_files

FILES = 1000
SIZE_BYTES = 1024
PATHS = tuple(f"/f/{number:04d}.txt" for number in range(FILES))
CHECKED = 50
"""Of so many files every byte is compared."""


def write_files(public: Path) -> None:
    for number, path in enumerate(PATHS):
        write_old(public / path[1:], small_content(number, SIZE_BYTES))


def check_some(running: Running, paths: tuple[str, ...]) -> None:
    for number in range(0, len(paths), len(paths) // CHECKED):
        check_answer(running, paths[number], expected(small_content(number, SIZE_BYTES)))


def frozen(running: Running) -> Requests:
    check_some(running, PATHS)
    return Requests(PATHS[0])


def varied(running: Running) -> Requests:
    check_some(running, PATHS)
    return Requests(paths=PATHS)


CASES = (
    Case("files_small frozen", "1 KiB file, one frozen request", PATHS[0], frozen, 1.0, 0.85),
    Case(
        "files_small varied",
        f"1 KiB files, varied cookies and {FILES:,} paths, heads of five browsers",
        PATHS[0],
        varied,
        1.3,
        1.1,
    ),
)


def run(settings: Settings) -> list[Result]:
    public = settings.folder / "small"
    write_files(public)
    return [run_case(settings, case, [pyserve_files(public), nginx_files(settings, public)]) for case in CASES]
