"""The boot line: how the application's interpreter loads our worker code without seeing anything else of ours (D13).

Pure. ``python -c`` puts '' first on sys.path, so the application's folder could shadow the standard library before we
have imported it: the line takes it away first. Then ``wire`` and ``worker`` become ``_pyserve.wire`` and
``_pyserve.worker``, found by their own folder and by nothing else; or, where the application's user may not be able to
enter that folder, read from a descriptor (``carried``), which is closed at once. The application's ``root`` goes on
sys.path only when the application is loaded.
"""

from __future__ import annotations

import os

PRIVATE_NAME = "_pyserve"

# `type(sys)` is the module type: no import but sys may happen before sys.path is clean.
_CLEAN = "import sys; sys.path[:] = [p for p in sys.path if p]; "
_FROM_FOLDER = "package = type(sys)({name!r}); package.__path__ = [{folder!r}]; sys.modules[{name!r}] = package; "
# These modules are built in. `pread`: others who got the same descriptor share its position.
_FROM_DESCRIPTOR = (
    "from posix import close, fstat, pread; from marshal import loads; "
    "sources = loads(pread({fd}, fstat({fd}).st_size, 0)); close({fd}); "
    "package = type(sys)('{name}.worker.carried'); sys.modules[package.__name__] = package; "
    "exec(compile(sources['worker.carried'][2], sources['worker.carried'][0], 'exec'), package.__dict__); "
    "package.install({name!r}, sources); del close, fstat, pread, loads, sources; "
)
_START = "argv, sys.argv = sys.argv[1:], ['pyserve']; del package; from {name}.worker.{module} import main; main(argv)"


def _command(python: str, module: str, arguments: list[str], code_fd: int) -> list[str]:
    folder = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    line = _CLEAN + (_FROM_FOLDER if code_fd < 0 else _FROM_DESCRIPTOR) + _START
    return [python, "-c", line.format(name=PRIVATE_NAME, folder=folder, module=module, fd=code_fd), *arguments]


def template_command(python: str, title: str, fd: int, resume_fd: int = -1, code_fd: int = -1) -> list[str]:
    """Return the command of a template whose channel to the master is ``fd``.

    ``title`` is the application's name, for ``ps``. ``resume_fd`` is the template's own: a pipe with its SPEC, when it
    starts itself afresh because the application must not be loaded before the fork. ``code_fd``: a file with what
    ``carried.pack`` returned, instead of our folder.
    """
    return _command(python, "template", [title, str(fd), str(resume_fd)], code_fd)


def check_command(python: str, code_fd: int = -1) -> list[str]:
    """Return the command that proves that an application can be loaded; see ``worker.check``."""
    return _command(python, "check", [], code_fd)
