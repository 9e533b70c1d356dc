"""What does a large file cost, where ``sendfile`` does the work: 100 KiB and 100 MiB?

100 MiB is asked for by four connections; so few requests complete in a run that they are counted by bytes.
"""

from __future__ import annotations

import os
from pathlib import Path

from benchmarks.files_small import LONG_AGO_S
from benchmarks.load import Requests, sample_load
from benchmarks.rounds import run_rounds
from benchmarks.scenario import Bar, Result, Sample, Settings
from benchmarks.servers import Running
from benchmarks.stacks import nginx_files, pyserve

BAR = Bar("CPU per request against nginx", "cpu_us", 1.15, 1.0, against="nginx")
CASES = (
    ("files_large 100KiB", "100 KiB file", "100k.bin", 100 * 1024, 64),
    ("files_large 100MiB", "100 MiB file", "100m.bin", 100 * 1024**2, 4),
)


def run(settings: Settings) -> list[Result]:
    public = settings.folder / "large"
    public.mkdir()
    results = []
    for name, question, file_name, size_bytes, connections in CASES:
        _write_file(public / file_name, size_bytes)
        requests = Requests(f"/{file_name}")
        contenders = [
            pyserve(f'\n[site.bench]\nhosts = ["bench.localhost"]\nfiles = "{public}"\n'),
            nginx_files(settings, public),
        ]

        def once(
            running: Running, requests: Requests = requests, n: int = connections, size: int = size_bytes
        ) -> Sample:
            return sample_load(running, settings, requests, n, body_bytes=size)

        question = f"{question}, {connections} connections"
        results.append(
            run_rounds(settings, name, question, contenders, (BAR,), once, requests, warm_up_connections=connections)
        )
    return results


def _write_file(path: Path, size_bytes: int) -> None:
    """Not sparse and not random: real pages, made quickly."""
    piece = bytes(range(256)) * 4096
    with open(path, "wb") as file:
        for start in range(0, size_bytes, len(piece)):
            file.write(piece[: size_bytes - start])
    os.utime(path, (LONG_AGO_S, LONG_AGO_S))
