"""What does a 1 KiB file cost over HTTP/2 and TLS: one URL, and a thousand of them with a browser's head?"""

from __future__ import annotations

from benchmarks.files_small import PATHS, check_some, write_files
from benchmarks.h2load import BROWSER, CONNECTIONS, STREAMS, H2Requests, sample_h2
from benchmarks.identity import make_identity
from benchmarks.load import Requests
from benchmarks.rounds import run_rounds
from benchmarks.scenario import Bar, Result, Settings
from benchmarks.servers import Running
from benchmarks.stacks import nginx_files, pyserve_files
from benchmarks.tools import missing_for

CASES = (
    ("h2_files one", "1 KiB file, one URL", H2Requests(PATHS[:1]), 1.2, 0.6),
    ("h2_files varied", f"1 KiB files, {len(PATHS):,} URLs, a browser's head", H2Requests(PATHS, BROWSER), 2.0, 1.0),
)


def run(settings: Settings) -> list[Result]:
    missing = missing_for(settings.tools, "h2load")
    if missing:
        return [Result("h2_files", "1 KiB files over HTTP/2", (), missing={"h2load": missing})]
    public = settings.folder / "h2"
    write_files(public)
    identity = make_identity(settings.folder)
    contenders = [pyserve_files(public, identity), nginx_files(settings, public, identity=identity)]

    def prepare(running: Running) -> Requests:
        check_some(running, PATHS)
        return Requests(PATHS[0])

    results = []
    for name, question, requests, limit, goal in CASES:
        seen: dict[str, float] = {}
        results.append(
            run_rounds(
                settings,
                name,
                f"{question}, {CONNECTIONS} connections of {STREAMS} streams",
                contenders,
                (Bar("CPU per request against nginx", "cpu_us", limit, goal, against="nginx"),),
                lambda running, requests=requests, seen=seen: sample_h2(running, settings, requests, seen),
                Requests(PATHS[0]),
                prepare=prepare,
            )
        )
    return results
