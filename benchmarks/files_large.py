"""What does a large file cost, where ``sendfile`` does the work: 100 KiB and 100 MiB?

100 MiB is asked for by four connections; so few requests complete in a run that they are counted by bytes.
"""

from __future__ import annotations

from pathlib import Path

from benchmarks.answers import check_answer, expected
from benchmarks.files import Case, run_case
from benchmarks.folders import write_old
from benchmarks.load import Requests
from benchmarks.scenario import Result, Settings
from benchmarks.servers import Running
from benchmarks.stacks import nginx_files, pyserve_files

CASES = (
    ("files_large 100KiB", "100 KiB file", "/100k.bin", 100 * 1024, 64, 1.1, 1.0, 1),
    # Twice the rounds: what a MiB costs doubles and halves with who of client and server waits for whom.
    ("files_large 100MiB", "100 MiB file", "/100m.bin", 100 * 1024**2, 4, 1.05, 1.0, 2),
)


def run(settings: Settings) -> list[Result]:
    public = settings.folder / "large"
    return [_run_one(settings, public, *case) for case in CASES]


def _run_one(
    settings: Settings,
    public: Path,
    name: str,
    question: str,
    path: str,
    size_bytes: int,
    connections: int,
    limit: float,
    goal: float,
    rounds_times: int,
) -> Result:
    # Not sparse and not random: real pages, made quickly.
    content = bytes(range(256)) * (size_bytes // 256)
    write_old(public / path[1:], content)
    right = expected(content)

    def prepare(running: Running) -> Requests:
        check_answer(running, path, right)
        return Requests(path)

    case = Case(name, question, path, prepare, limit, goal, connections, size_bytes, rounds_times)
    return run_case(settings, case, [pyserve_files(public), nginx_files(settings, public)])
