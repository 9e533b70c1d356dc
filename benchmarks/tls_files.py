"""What does a 1 KiB file cost over TLS 1.3, on connections that are kept alive?"""

from __future__ import annotations

from benchmarks.answers import check_answer, expected
from benchmarks.files import Case, run_case
from benchmarks.folders import small_content, write_old
from benchmarks.identity import make_identity
from benchmarks.load import Requests
from benchmarks.scenario import Result, Settings
from benchmarks.servers import Running
from benchmarks.stacks import nginx_files, pyserve_files

PATH = "/f.txt"


def run(settings: Settings) -> list[Result]:
    public = settings.folder / "tls"
    content = small_content(0, 1024)
    write_old(public / PATH[1:], content)
    identity = make_identity(settings.folder)

    def prepare(running: Running) -> Requests:
        check_answer(running, PATH, expected(content))
        return Requests(PATH)

    case = Case("tls_files", "1 KiB file over TLS 1.3, one frozen request", PATH, prepare, 1.15, 1.0)
    return [
        run_case(settings, case, [pyserve_files(public, identity), nginx_files(settings, public, identity=identity)])
    ]
