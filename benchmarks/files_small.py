"""What does a 1 KiB file cost: one frozen request, and browser-like ones with varied cookies for 1,000 files?

The frozen one is what benchmarks ask for and caches love; the varied ones are nearer to traffic.
"""

from __future__ import annotations

import os

from benchmarks.load import Requests, sample_load
from benchmarks.rounds import run_rounds
from benchmarks.scenario import Bar, Result, Settings
from benchmarks.stacks import nginx_files, pyserve

FILES = 1000
SIZE_BYTES = 1024
LONG_AGO_S = 1_700_000_000  # deployed files are old; a server may look twice at one that was just written

CASES = (
    ("files_small frozen", "1 KiB file, one frozen request", Requests("/f/0000.txt"), 1.1, 0.85),
    (
        "files_small varied",
        f"1 KiB files, varied cookies and {FILES:,} paths, a browser's head",
        Requests(prefix="/f/", suffix=".txt", count=FILES),
        1.4,
        1.1,
    ),
)


def run(settings: Settings) -> list[Result]:
    public = settings.folder / "small"
    (public / "f").mkdir(parents=True)
    for number in range(FILES):
        text = f"file {number:04d} " * SIZE_BYTES
        file = public / "f" / f"{number:04d}.txt"
        file.write_text(text[:SIZE_BYTES])
        os.utime(file, (LONG_AGO_S, LONG_AGO_S))
    results = []
    for name, question, requests, limit, goal in CASES:
        contenders = [
            pyserve(f'\n[site.bench]\nhosts = ["bench.localhost"]\nfiles = "{public}"\n'),
            nginx_files(settings, public),
        ]
        results.append(
            run_rounds(
                settings,
                name,
                f"{question}, {settings.connections} connections",
                contenders,
                (Bar("CPU per request against nginx", "cpu_us", limit, goal, against="nginx"),),
                lambda running, requests=requests: sample_load(running, settings, requests),  # type: ignore[misc]
                requests,
            )
        )
    return results
