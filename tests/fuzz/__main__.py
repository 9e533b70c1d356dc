"""The command ``python -m tests.fuzz``: longer runs than the suite's, with progress and a line of totals per target."""

from __future__ import annotations

import argparse
import importlib.util
import os
import signal
import sys
import tempfile
from pathlib import Path

from tests.fuzz import registry

REPLAY_S = 20
DESCRIPTION = """\
Look for bytes that break an invariant. Without TARGET every target is run in turn.

  python -m tests.fuzz                               10,000 executions of each target, about a minute
  python -m tests.fuzz parsers --runs 1000000        the run that "0 differences in 1,000,000" is about
  python -m tests.fuzz reader --minutes 5 --coverage-guided
                                                     the same target, led by coverage (needs atheris)
  python -m tests.fuzz reader --replay FILE          run one saved input again, with its traceback

A failing input is made small, saved, and shown with the command that replays it. To keep it for good, copy it to
tests/fuzz/saved/TARGET/what-it-is: the suite replays what is there."""


def epilog() -> str:
    lines = [f"  {name:<22}{registry.invariant(name)}" for name in registry.NAMES]
    return "\n".join(
        (
            "targets and their invariants:",
            *lines,
            "",
            "exit code: 0 all invariants held · 1 one was broken · 2 wrong arguments, or no atheris",
        )
    )


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.fuzz",
        description=DESCRIPTION,
        epilog=epilog(),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("targets", metavar="TARGET", nargs="*", help="see below; default: all")
    limit = parser.add_mutually_exclusive_group()
    limit.add_argument("--runs", type=int, default=0, metavar="N", help="executions per target")
    limit.add_argument("--minutes", type=float, default=0.0, metavar="N", help="time per target")
    parser.add_argument("--seed", type=int, default=1, metavar="N", help="same seed, same inputs (default 1)")
    parser.add_argument("--coverage-guided", action="store_true", help="use atheris instead of the random engine")
    parser.add_argument("--replay", type=Path, metavar="FILE", help="run one saved input and show what it does")
    parser.add_argument(
        "--folder",
        type=Path,
        default=Path(tempfile.gettempdir()) / "pyserve-fuzz",
        help="for failing inputs and atheris' corpus (default %(default)s)",
    )
    options = parser.parse_args(arguments)
    unknown = [name for name in options.targets if name not in registry.NAMES]
    if unknown:
        parser.error(f"no target {unknown[0]!r}; there are: {', '.join(registry.NAMES)}")
    names = options.targets or list(registry.NAMES)
    if options.replay is not None:
        if len(options.targets) != 1:
            parser.error("--replay needs one TARGET")
        if not options.replay.is_file():
            parser.error(f"--replay: no file {options.replay}")
        return replay(names[0], options.replay)
    runs = options.runs or (0 if options.minutes else 10_000)
    if runs < 0 or options.minutes < 0:
        parser.error("--runs and --minutes count up from 0")
    seconds = options.minutes * 60
    if options.coverage_guided:
        if importlib.util.find_spec("atheris") is None:
            print(
                "--coverage-guided needs atheris, which is not installed: pip install atheris\n"
                "(it has wheels for some CPythons on Linux; without it the random engine runs)",
                file=sys.stderr,
            )
            return 2
        return run_coverage_guided(names, runs, seconds, options.folder, options.seed)
    return run_random(names, runs, seconds, options.folder, options.seed)


def stop_replay(*_: object) -> None:
    from tests.fuzz.session import Hang

    raise Hang(f"still not done after {REPLAY_S} s")


def replay(name: str, path: Path) -> int:
    from tests.fuzz.session import describe

    target = registry.load(name)
    signal.signal(signal.SIGALRM, stop_replay)
    signal.alarm(REPLAY_S)
    text = describe(target, path.read_bytes())
    signal.alarm(0)
    print(text)
    return 0 if text.endswith("\nholds") else 1


def run_random(names: list[str], runs: int, seconds: float, folder: Path, seed: int) -> int:
    from tests.fuzz import random_engine
    from tests.fuzz.session import Session

    sessions = []
    for target in [registry.load(name) for name in names]:
        session = Session(target, runs, seconds, folder)
        session.watch_for_hangs()
        sessions.append(session)
        try:
            random_engine.run(session, seed)
        except KeyboardInterrupt:
            break
    print()
    for session in sessions:
        print(session.totals())
        for failure in session.failures.values():
            print(f"  {failure.kind}: {failure.summary}  ({failure.path})")
    return 1 if any(session.failures for session in sessions) else 0


def run_coverage_guided(names: list[str], runs: int, seconds: float, folder: Path, seed: int) -> int:
    """One process for each target, because libFuzzer ends its own."""
    code = 0
    for name in names:
        child = os.fork()
        if not child:
            from tests.fuzz import coverage_engine

            coverage_engine.run(name, runs, seconds, folder, folder / "corpus", seed)
            os._exit(1)
        _, status = os.waitpid(child, 0)
        code = code or os.waitstatus_to_exitcode(status)
    return 1 if code else 0


if __name__ == "__main__":
    sys.exit(main())
