"""What does a 1 KiB file cost that is asked for rarely: 10,000 files in 100 folders, in random order?

More files than a cache of moderate size holds. nginx's may hold them all, which is the bar; beside it stands one with
the 1,000 of the example in nginx's documentation.
"""

from __future__ import annotations

from benchmarks.files import Case, run_case
from benchmarks.files_small import SIZE_BYTES, check_some
from benchmarks.folders import small_content, write_old
from benchmarks.load import Requests
from benchmarks.scenario import Result, Settings
from benchmarks.servers import Running
from benchmarks.stacks import nginx_files, pyserve_files

FOLDERS = 100
FILES_EACH = 100
PATHS = tuple(f"/d{folder:02d}/{number:02d}.txt" for folder in range(FOLDERS) for number in range(FILES_EACH))
NGINX_DOCUMENTED = 1000


def prepare(running: Running) -> Requests:
    check_some(running, PATHS)
    return Requests(paths=PATHS)


CASE = Case(
    "files_many",
    f"1 KiB files, {len(PATHS):,} in {FOLDERS} folders in random order, varied cookies, heads of five browsers",
    PATHS[0],
    prepare,
    1.5,
    1.2,
)


def run(settings: Settings) -> list[Result]:
    public = settings.folder / "many"
    for number, path in enumerate(PATHS):
        write_old(public / path[1:], small_content(number, SIZE_BYTES))
    contenders = [
        pyserve_files(public),
        nginx_files(settings, public, open_file_cache=len(PATHS)),
        nginx_files(settings, public, name=f"nginx, cache of {NGINX_DOCUMENTED}", open_file_cache=NGINX_DOCUMENTED),
    ]
    return [run_case(settings, CASE, contenders)]
