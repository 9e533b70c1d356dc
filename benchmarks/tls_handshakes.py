"""How many full TLS 1.3 handshakes a second: each request comes on a connection of its own, and none is resumed?

ECDSA on P-256 and X25519. wrk computes about as much as the server, on a core of its own.
"""

from __future__ import annotations

from benchmarks.answers import check_answer, expected
from benchmarks.folders import small_content, write_old
from benchmarks.identity import make_identity
from benchmarks.load import Requests, sample_load
from benchmarks.rounds import run_rounds
from benchmarks.scenario import Bar, Result, Sample, Settings
from benchmarks.servers import Running
from benchmarks.stacks import nginx_files, pyserve_files

PATH = "/f.txt"
REQUESTS = Requests(PATH, fields=("Connection: close",))
CONNECTIONS = 32


def run(settings: Settings) -> list[Result]:
    public = settings.folder / "tls-handshakes"
    content = small_content(0, 100)
    write_old(public / PATH[1:], content)
    identity = make_identity(settings.folder)

    def prepare(running: Running) -> Requests:
        check_answer(running, PATH, expected(content))
        return REQUESTS

    def once(running: Running) -> Sample:
        return sample_load(running, settings, REQUESTS, CONNECTIONS)

    return [
        run_rounds(
            settings,
            "tls_handshakes",
            f"one request of 100 bytes for each handshake, {CONNECTIONS} connections",
            [pyserve_files(public, identity), nginx_files(settings, public, identity=identity)],
            (Bar("handshakes/s against nginx", "requests_per_s", 0.8, 1.0, against="nginx", at_least=True),),
            once,
            REQUESTS,
            CONNECTIONS,
            prepare,
        )
    ]
