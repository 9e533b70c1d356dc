"""``python -m tests.reliability``: run checks, print a table, say by the exit code whether everything holds."""

from __future__ import annotations

import argparse
import importlib
import json
import os
import shutil
import signal
import sys
import tempfile
import time
import traceback
from pathlib import Path
from types import FrameType

from benchmarks.servers import become_subreaper, interrupts_ignored, kill_descendants
from tests.reliability.attackers import raise_descriptor_limit
from tests.reliability.figures import Figure
from tests.reliability.settings import Settings

CHECKS = (
    "slow_heads",
    "slow_bodies",
    "slow_readers",
    "slow_downloads",
    "idle",
    "churn",
    "descriptors",
    "app_raises",
    "killed_workers",
    "killed_pools",
    "killed_master",
    "memory",
    "leak",
    "hangs",
    "crash_loop",
    "overload",
    "neighbours",
    "signals",
    "disconnects",
    "storm",
    "h2_attacks",
    "uploads",
)
MOST_SECONDS = 60.0
LARGE_TEMPORARY = "/var/tmp"

EPILOG = """\
examples:
  python -m tests.reliability                      every check at full size, about twenty-five minutes
  python -m tests.reliability --quick              a tenth of the clients, shorter time-outs: about six minutes
  python -m tests.reliability slow_heads storm     these two
  python -m tests.reliability idle --seconds 60    held for longer
  python -m tests.reliability --json figures.json  for comparing runs

Every check starts a server of its own from a generated site.toml (one front, WSGI with 2 workers, ASGI, files),
measures the normal load alone ("base": 300 requests/s on 30 kept connections and 30 new connections/s, open loop),
then attacks beside it. A normal request has failed when it was refused, reset, later than 10 s, or not answered 200
with exactly its own bytes. Progress goes to stderr, the table to stdout. It talks to nothing but 127.0.0.1 and leaves
no process and no file behind.
Exit code: 0 all holds · 1 something does not, or a check broke · 130 interrupted.
"""


def first_line(name: str) -> str:
    return (importlib.import_module(f"tests.reliability.checks.{name}").__doc__ or "").splitlines()[0]


def parse_arguments(argv: list[str] | None = None) -> argparse.Namespace:
    checks = "\n".join(f"  {name:<14} {first_line(name)}" for name in CHECKS)
    parser = argparse.ArgumentParser(
        prog="python -m tests.reliability",
        description=f"Hold a real server to its promises under attack.\n\nchecks:\n{checks}",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help="only these checks (default: all)")
    parser.add_argument("--quick", action="store_true", help="a tenth of the size: does it work at all?")
    parser.add_argument(
        "--seconds", type=float, metavar="N", help="how long attacks are held (default 30, with --quick 3; at most 60)"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures to this file, too")
    arguments = parser.parse_args(argv)
    if unknown := [name for name in arguments.names if name not in CHECKS]:
        parser.error(f"no such check: {', '.join(unknown)} (there are: {', '.join(CHECKS)})")
    return arguments


def run_check(name: str, settings: Settings) -> list[Figure]:
    """Return a check's figures; one that breaks is a figure that does not hold."""
    try:
        figures: list[Figure] = importlib.import_module(f"tests.reliability.checks.{name}").run(settings)
    except Exception as error:
        traceback.print_exc()
        reason = str(error).splitlines()[0][:120] if str(error) else ""
        figures = [Figure("the check itself", f"broke: {type(error).__name__}: {reason}", "runs", False)]
    finally:
        with interrupts_ignored():
            shutil.rmtree(settings.folder / name, ignore_errors=True)
    return figures


def text_of(name: str, figures: list[Figure], seconds: float) -> str:
    verdicts = {None: "", True: "holds", False: "DOES NOT HOLD"}
    rows = [(figure.what, figure.value, figure.bar, verdicts[figure.holds]) for figure in figures]
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    lines = [f"\n{name}  ({seconds:.0f} s)  {first_line(name)}"]
    for row in rows:
        cells = [cell.ljust(width) for cell, width in zip(row[:3], widths, strict=True)]
        lines.append(("  " + "   ".join([*cells, row[3]])).rstrip())
    return "\n".join(lines)


def json_of(figures: list[Figure]) -> list[dict[str, object]]:
    return [{"what": f.what, "figure": f.value, "bar": f.bar, "holds": f.holds} for f in figures]


def main() -> int:
    arguments = parse_arguments()
    if sys.platform != "linux":
        print("These checks read /proc and need Linux.", file=sys.stderr)
        return 69
    seconds = min(MOST_SECONDS, arguments.seconds or (3.0 if arguments.quick else 30.0))
    raise_descriptor_limit()
    become_subreaper()
    signal.signal(signal.SIGTERM, _interrupt)
    folder = Path(tempfile.mkdtemp(prefix="psrel-", dir=_disk()))
    all_figures: dict[str, list[Figure]] = {}
    try:
        for name in arguments.names or CHECKS:
            began = time.monotonic()
            print(f"{time.strftime('%H:%M:%S')} {name}", file=sys.stderr, flush=True)
            all_figures[name] = run_check(name, Settings(folder, seconds, arguments.quick))
            print(text_of(name, all_figures[name], time.monotonic() - began), flush=True)
        failed = [f"{name}: {f.what}" for name, figures in all_figures.items() for f in figures if f.holds is False]
        print("\n" + ("\n".join(["DOES NOT HOLD:", *failed]) if failed else "everything holds"))
        return 1 if failed else 0
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    finally:
        with interrupts_ignored():
            kill_descendants()
            shutil.rmtree(folder, ignore_errors=True)
            if arguments.json:
                found = {name: json_of(figures) for name, figures in all_figures.items()}
                arguments.json.write_text(json.dumps(found, indent=2, ensure_ascii=False) + "\n")


def _disk() -> str | None:
    """Return a place for gigabytes of spool that is not memory; None = the system's own choice."""
    with open("/proc/mounts") as mounts:
        in_memory = [fields[1] for fields in map(str.split, mounts) if fields[2] == "tmpfs"]
    own = tempfile.gettempdir()
    if any(own == place or own.startswith(place + "/") for place in in_memory) and os.path.isdir(LARGE_TEMPORARY):
        return LARGE_TEMPORARY
    return None


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
