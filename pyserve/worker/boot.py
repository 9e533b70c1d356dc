"""The boot line: how the application's interpreter loads our worker code without seeing anything else of ours (D13).

Pure. ``python -c`` puts '' first on sys.path, so the application's folder could shadow the standard library before we
have imported it: the line takes it away first. Then ``wire`` and ``worker`` become ``_pyserve.wire`` and
``_pyserve.worker``, found by their own folder and by nothing else. The application's ``root`` goes on sys.path only
when the application is loaded.
"""

from __future__ import annotations

import os

PRIVATE_NAME = "_pyserve"

# `type(sys)` is the module type: no import but sys may happen before sys.path is clean.
_BOOT = (
    "import sys; sys.path[:] = [p for p in sys.path if p]; "
    "package = type(sys)({name!r}); package.__path__ = [{folder!r}]; sys.modules[{name!r}] = package; "
    "argv, sys.argv = sys.argv[1:], ['pyserve']; del package; "
    "from {name}.worker.{module} import main; main(argv)"
)


def _command(python: str, module: str, arguments: list[str]) -> list[str]:
    folder = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    line = _BOOT.format(name=PRIVATE_NAME, folder=folder, module=module)
    return [python, "-c", line, *arguments]


def template_command(python: str, title: str, fd: int, resume_fd: int = -1) -> list[str]:
    """Return the command of a template whose channel to the master is ``fd``.

    ``title`` is the application's name, for ``ps``. ``resume_fd`` is the template's own: a pipe with its SPEC, when it
    starts itself afresh because the application must not be loaded before the fork.
    """
    return _command(python, "template", [title, str(fd), str(resume_fd)])


def check_command(python: str) -> list[str]:
    """Return the command that proves that an application can be loaded; see ``worker.check``."""
    return _command(python, "check", [])
