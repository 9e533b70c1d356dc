"""What does a 100 MiB file cost over TLS 1.3, where no ``sendfile`` helps?

Asked for by four connections; so few requests complete in a run that they are counted by bytes.
"""

from __future__ import annotations

from benchmarks.answers import check_answer, expected
from benchmarks.files import Case, run_case
from benchmarks.folders import write_old
from benchmarks.identity import make_identity
from benchmarks.load import Requests
from benchmarks.scenario import Result, Settings
from benchmarks.servers import Running
from benchmarks.stacks import nginx_files, pyserve_files

PATH = "/100m.bin"
SIZE_BYTES = 100 * 1024**2


def run(settings: Settings) -> list[Result]:
    public = settings.folder / "tls-large"
    content = bytes(range(256)) * (SIZE_BYTES // 256)
    write_old(public / PATH[1:], content)
    identity = make_identity(settings.folder)
    right = expected(content)

    def prepare(running: Running) -> Requests:
        check_answer(running, PATH, right)
        return Requests(PATH)

    case = Case("tls_large", "100 MiB file over TLS 1.3", PATH, prepare, 1.6, 1.2, 4, SIZE_BYTES, 2)
    return [
        run_case(settings, case, [pyserve_files(public, identity), nginx_files(settings, public, identity=identity)])
    ]
