"""``pyserve``: from the command line to one of the commands, and from errors to exit codes.

I/O: stdout and stderr. Each command is imported when it is asked for: ``run`` loads nothing that only the others need.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

from pyserve.cli import exit_codes
from pyserve.cli.arguments import HELP, UsageError, parse
from pyserve.errors import CannotStart, ConfigError, NoServer


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code. ``argv`` without the program's name; by default the process's own."""
    try:
        return _command(sys.argv[1:] if argv is None else argv)
    except UsageError as error:
        _say(error)
        return exit_codes.USAGE
    except ConfigError as error:
        from pyserve.cli.problems import print_problems

        print_problems(error.problems)
        return exit_codes.CONFIG
    except CannotStart as error:
        _say(error)
        return exit_codes.CANNOT_START
    except NoServer as error:
        _say(error)
        return exit_codes.NO_SERVER
    except KeyboardInterrupt:
        # Before the server has its own handlers, or in a command that waits.
        return exit_codes.STOPPED
    except BrokenPipeError:
        # Whoever read our output has had enough; without this the interpreter would complain at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return exit_codes.STOPPED


def _command(arguments: Sequence[str]) -> int:
    options = parse(arguments)
    if options.command == "run":
        from pyserve.cli.run import run

        return run(options.files, options.target, options.listen, options.workers, _reload_patterns(options))
    if options.command == "check":
        from pyserve.cli.check import check

        return check(options.files)
    if options.command == "cert":
        from pyserve.cli.cert import self_signed

        return self_signed(options.hosts, options.out, options.days, options.ca)
    if options.command == "status":
        from pyserve.cli.status import status

        return status(options.files, options.admin, as_json=options.json)
    if options.command == "top":
        from pyserve.cli import top

        if options.stack or options.cancel:
            act = top.stack if options.stack else top.cancel
            return act(options.files, options.admin, options.stack or options.cancel, as_json=options.json)
        return top.top(
            options.files, options.admin, once=options.once, as_json=options.json, interval_s=options.interval
        )
    if options.command == "scale":
        from pyserve.cli.scale import scale

        return scale(options.files, options.admin, options.app, options.count)
    if options.command == "stop":
        from pyserve.cli.stop import stop

        return stop(options.files, options.admin)
    if options.command == "version":
        from pyserve import __version__

        print(f"pyserve {__version__}")
    else:
        print(HELP, end="")
    sys.stdout.flush()
    return exit_codes.STOPPED


def _reload_patterns(options: argparse.Namespace) -> list[str] | None:
    if not options.reload:
        return None
    from pyserve.cli.sources import DEFAULT_PATTERNS

    return [*DEFAULT_PATTERNS, *options.reload_include]


def _say(error: Exception) -> None:
    text = str(error)
    print(text if text.startswith("usage:") else f"pyserve: {text}", file=sys.stderr)
