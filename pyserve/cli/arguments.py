"""What may be written after ``pyserve``, and the help that teaches it.

Pure. Only the parser of the command that was given is built: every start of a server pays for it.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import NoReturn

DEFAULT_FILE = "site.toml"
LATER = ("reload",)

HELP = """\
usage: pyserve -c site.toml
       pyserve COMMAND [OPTION ...]

A web server and a Python application server in one program.

Start a server (it stays in the foreground; Ctrl-C drains and stops it):
  pyserve -c site.toml               the sites of a file; the same as: pyserve run -c site.toml
  pyserve run shop.wsgi:application  one WSGI or ASGI application, no file, on http://127.0.0.1:8000
  pyserve run ./public               one folder of files

Before:
  pyserve check -c site.toml         every problem of the file at once; applications are imported on trial
  pyserve cert self-signed HOST ...  certificates for development, from a local authority that is trusted once

While it runs, from another terminal:
  pyserve status -c site.toml        processes, queues, sites and what is wrong with them (--json for scripts)
  pyserve top -c site.toml           the requests that run just now; where one stands (--stack), end it (--cancel)
  pyserve scale shop 4 -c site.toml  another number of workers for an application
  pyserve stop -c site.toml          let running requests end, then stop

The smallest site.toml for an application:
  [app.shop]
  entry = "shop.wsgi:application"

  [site.shop]
  default = true
  app = "shop"

Exit codes: 0 stopped as asked, 64 usage, 69 no server to talk to, 70 could not start, 78 problems in the file.
More on a command: pyserve COMMAND --help
"""

_RUN_HELP = """\
examples:
  pyserve run -c site.toml                     the sites of a file
  pyserve run -c sites.d                       all *.toml of a folder, merged by name
  pyserve run shop.wsgi:application            one application, on http://127.0.0.1:8000
  pyserve run shop.main:app --listen :8080 --workers 4
  pyserve run ./public                         one folder of files
  pyserve run shop:app --reload                while you write it; also: pyserve -c site.toml --reload

What happens next: the file is checked (problems end it here, exit 78), the addresses are bound, the applications are
imported by their own interpreters. "ready" is said once, when all accept and answer. An application that can't be
imported does not stop the others: its site answers 503, and the log has the traceback.
Ctrl-C or SIGTERM: running requests end, then it stops with exit 0. Twice: it stops now.

With --reload, a change below the root of an application starts its new code, and the old one answers until that has
come up. Code that does not start is said in red, with its traceback, and changes nothing.
"""
_CHECK_HELP = """\
example:
  pyserve check -c site.toml && sudo systemctl restart shop

Everything that run does, short of binding: the file, the folders and interpreters that it names, and an import of each
application by its own interpreter. Each problem is one line, file:line: key: what was expected; an import that fails
comes with its traceback. Exit 0, or 78 if there is anything.
"""
_STATUS_HELP = """\
examples:
  pyserve status                     the server that runs ./site.toml
  pyserve status -c /etc/site.toml --json | python3 -m json.tool
  pyserve status --admin run/admin.sock
"""
_TOP_HELP = """\
examples:
  pyserve top                        a live table of the requests that run or wait, oldest first; Ctrl-C ends it
  pyserve top --once                 the table once (also where the output is no terminal)
  pyserve top --stack 0.0.1234       where this request stands in the application just now
  pyserve top --cancel 0.0.1234      end it: 503 for its client; an application that goes on loses its worker

An id is made of the numbers of front, application and request, as the table shows it. A request that waits in the queue
has none yet.
"""
_SCALE_HELP = """\
examples:
  pyserve scale shop 4               four workers for [app.shop], until the server's next start
  pyserve scale shop 8 -c /etc/site.toml

New workers boot; those that are too many finish what they run and end. No request is lost. workers in the file decides
again at the next start; where it is a table (min, max), the number stays fixed until then.
"""
_STOP_HELP = """\
examples:
  pyserve stop                       the server that runs ./site.toml
  pyserve stop -c /etc/site.toml

The server takes no new connections, lets running requests end (for graceful_timeout at most) and ends. This command
waits for that, then exits with 0.
"""


_CERT_HELP = """\
examples:
  pyserve cert self-signed a-site.localhost b-site.localhost
  pyserve cert self-signed shop.test '*.shop.test' 127.0.0.1 --out certs

Writes HOST.pem and HOST.key, signed by an authority of your own that is made at the first call and kept with your data
(its key for you alone). Trust it once, as the output says, and browsers believe all its certificates.
For sites that others visit ask a public authority.
"""


class UsageError(Exception):
    """The command line can't be understood; the text says what to write instead. Exit code 64."""


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message}\n{self.format_usage().rstrip()}\nmore: {self.prog} --help")


class _Formatter(argparse.RawDescriptionHelpFormatter):
    """Of one width: to ask for the terminal's, argparse imports shutil and its compressors, 6 ms a start."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, width=100)


def _new(command: str, summary: str, epilog: str) -> _Parser:
    return _Parser(
        prog=f"pyserve {command}",
        description=summary,
        epilog=epilog,
        formatter_class=_Formatter,
        allow_abbrev=False,
    )


def _add_files(parser: _Parser, words: str) -> None:
    parser.add_argument(
        *("-c", "--config"),
        dest="files",
        metavar="FILE",
        action="append",
        default=[],
        help=f"{words} (may be given several times; a folder stands for its *.toml; default: ./{DEFAULT_FILE})",
    )


def _run() -> _Parser:
    parser = _new("run", "Run a server in the foreground.", _RUN_HELP)
    _add_files(parser, "the file to serve")
    parser.add_argument("target", nargs="?", metavar="TARGET", help="instead of a file: module:attribute, or a folder")
    parser.add_argument(
        *("--listen", "-l"),
        metavar="ADDRESS",
        action="append",
        default=[],
        help='for a TARGET: ":8080", "[::1]:8000", "unix:web.sock"; as often as needed (default: 127.0.0.1:8000)',
    )
    parser.add_argument(
        *("--workers", "-w"),
        metavar="N",
        type=int,
        help="for module:attribute: processes (default: one per core, at most 4)",
    )
    parser.add_argument("--reload", action="store_true", help="for development: new code runs when its files change")
    parser.add_argument(
        "--reload-include",
        metavar="PATTERN",
        action="append",
        default=[],
        help="files to watch besides *.py, *.html and .env (may be given several times)",
    )
    return parser


def _check() -> _Parser:
    parser = _new("check", "Find every problem of a file without starting a server.", _CHECK_HELP)
    _add_files(parser, "the file to check")
    return parser


def _status() -> _Parser:
    parser = _new("status", "Show what a running server is doing.", _STATUS_HELP)
    _add_files(parser, "the file that the server runs")
    parser.add_argument("--admin", metavar="PATH", help="the server's admin socket, instead of a file")
    parser.add_argument("--json", action="store_true", help="as the server tells it, for scripts")
    return parser


def _stop() -> _Parser:
    parser = _new("stop", "Stop a running server and wait for its end.", _STOP_HELP)
    _add_files(parser, "the file that the server runs")
    parser.add_argument("--admin", metavar="PATH", help="the server's admin socket, instead of a file")
    return parser


def _top() -> _Parser:
    parser = _new("top", "Show the requests that run or wait in applications.", _TOP_HELP)
    _add_files(parser, "the file that the server runs")
    parser.add_argument("--admin", metavar="PATH", help="the server's admin socket, instead of a file")
    parser.add_argument("--once", action="store_true", help="show them once and end")
    parser.add_argument("--interval", metavar="SECONDS", type=float, default=1.0, help="between two looks (default: 1)")
    parser.add_argument("--json", action="store_true", help="as the server tells it, for scripts; implies --once")
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--stack", metavar="ID", help="where a request stands")
    what.add_argument("--cancel", metavar="ID", help="end a request")
    return parser


def _scale() -> _Parser:
    parser = _new("scale", "Change the number of workers of an application that runs.", _SCALE_HELP)
    parser.add_argument("app", metavar="APP", help="its name: [app.NAME]")
    parser.add_argument("count", metavar="N", type=int, help="how many workers")
    _add_files(parser, "the file that the server runs")
    parser.add_argument("--admin", metavar="PATH", help="the server's admin socket, instead of a file")
    return parser


def _cert() -> _Parser:
    parser = _new("cert", "Make certificates for development.", _CERT_HELP)
    parser.add_argument("kind", metavar="self-signed", choices=("self-signed",), help="by a local authority")
    parser.add_argument("hosts", metavar="HOST", nargs="+", help="names, *.names and addresses that it is for")
    parser.add_argument("--out", metavar="DIR", default=".", help="where to put it (default: here)")
    parser.add_argument("--days", metavar="N", type=int, default=365, help="how long it is good for (default: 365)")
    parser.add_argument("--ca", metavar="DIR", help="another folder for the local authority")
    return parser


_PARSERS = {"cert": _cert, "top": _top, "scale": _scale, "run": _run, "check": _check, "status": _status, "stop": _stop}


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """Return the options of a command, with its name as ``command`` (run, check, status, stop, help, version).

    Raises ``UsageError``; ``COMMAND --help`` prints and raises ``SystemExit(0)`` as argparse does.
    """
    first = arguments[0] if arguments else ""
    if first in ("-h", "--help", "help"):
        return argparse.Namespace(command="help")
    if first in ("-V", "--version", "version"):
        return argparse.Namespace(command="version")
    if not first:
        raise UsageError(HELP.rstrip())
    if first.startswith("-"):
        first, rest = "run", arguments
    else:
        rest = arguments[1:]
    if first in LATER:
        raise UsageError(f"{first}: not yet: this version of pyserve does not have it")
    if first not in _PARSERS:
        raise UsageError(_unknown_command(first))
    options = _PARSERS[first]().parse_args(rest)
    options.command = first
    if first == "run":
        _check_run(options)
    elif first == "top":
        _check_top(options)
    elif first == "scale" and options.count < 0:
        raise UsageError(f"scale: expected a number of workers, not {options.count}")
    return options


def _check_top(options: argparse.Namespace) -> None:
    for request in (options.stack, options.cancel):
        parts = (request or "0.0.0").split(".")
        if not (len(parts) == 3 and all(part.isascii() and part.isdigit() and len(part) <= 10 for part in parts)):
            raise UsageError(f"top: expected an id as the table shows it, as 0.0.1234, not {request!r}")
    if not 0.05 <= options.interval <= 3600:
        raise UsageError("top: expected an --interval from 0.05 to 3600 seconds")


def _unknown_command(word: str) -> str:
    if word.endswith(".toml"):
        return f"to serve a file write: pyserve -c {word}"
    if ":" in word or "/" in word:
        return f"there is no command {word!r}; to serve an application or a folder write: pyserve run {word}"
    from difflib import get_close_matches

    near = get_close_matches(word, [*_PARSERS, *LATER], n=1)
    hint = f"did you mean {near[0]}?" if near else f"there are: {', '.join(_PARSERS)}"
    return f"there is no command {word!r}; {hint}\nmore: pyserve --help"


def _check_run(options: argparse.Namespace) -> None:
    target = options.target
    if options.reload_include and not options.reload:
        raise UsageError("--reload-include goes with --reload")
    if target is None:
        if options.listen or options.workers is not None:
            raise UsageError(
                "--listen and --workers go with module:attribute or a folder; a file has them as [server] http and "
                "[app.NAME] workers"
            )
    elif options.files:
        if target in _PARSERS:
            raise UsageError(f"write the command first: pyserve {target} -c {options.files[0]}")
        raise UsageError(f"give a file (-c) or a target ({target}), not both")
    elif target.endswith(".toml"):
        raise UsageError(f"to serve a file write: pyserve run -c {target}")
