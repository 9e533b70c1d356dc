"""``python -m benchmarks``: run the scenarios, print the tables."""

from __future__ import annotations

import argparse
import importlib
import json
import shutil
import signal
import sys
import tempfile
from pathlib import Path
from types import FrameType

from benchmarks.report import commands_of, describe_machine, json_of, summary_of, text_of
from benchmarks.rounds import say
from benchmarks.scenario import Result, Settings
from benchmarks.servers import become_subreaper, interrupts_ignored, kill_descendants
from benchmarks.tools import HOW_TO_GET, find_tools

SCENARIOS = (
    "hello_asgi",
    "hello_wsgi",
    "websocket_echo",
    "mixed_sleep",
    "burst",
    "django",
    "files_small",
    "files_many",
    "files_large",
    "files_unchanged",
    "files_range",
    "files_gzip",
    "tls_files",
    "tls_handshakes",
    "tls_large",
    "h2_files",
    "h2_hello",
    "idle_connections",
    "preload",
    "startup",
    "scale_up",
    "sites",
)
GROUPS = {"files": tuple(name for name in SCENARIOS if name.startswith("files_"))}


def parse_arguments(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description="pyserve and its peers, side by side in one run, on loopback only."
    )
    parser.add_argument(
        "--scenario",
        action="append",
        choices=(*SCENARIOS, *GROUPS),
        metavar="NAME",
        help=f"only this one (repeatable); {', '.join(GROUPS)} = all that begin so",
    )
    parser.add_argument("--list", action="store_true", help="print the scenarios and end")
    parser.add_argument("--seconds", type=float, default=2, help="length of one measurement (default: 2)")
    parser.add_argument("--rounds", type=int, default=5, help="measurements of each server (default: 5)")
    parser.add_argument("--json", metavar="FILE", type=Path, help="write everything measured to this file, too")
    parser.add_argument(
        "--peers", default="", metavar="DIR", help="where uvicorn, gunicorn, granian are (a venv's bin)"
    )
    parser.add_argument(
        "--backend-logs",
        choices=("on", "off"),
        default="on",
        help="whether application servers behind nginx write an access log beside nginx's (default: on)",
    )
    return parser.parse_args(argv)


def main() -> int:
    arguments = parse_arguments()
    if arguments.list:
        for name in SCENARIOS:
            print(f"{name:<18} {(importlib.import_module(f'benchmarks.{name}').__doc__ or '').splitlines()[0]}")
        return 0
    if sys.platform != "linux":
        print("The benchmarks read /proc and need Linux.", file=sys.stderr)
        return 69
    tools = find_tools(arguments.peers)
    if not tools.find("wrk"):
        print(f"wrk makes the load and is not installed: {HOW_TO_GET['wrk']}", file=sys.stderr)
        return 69
    become_subreaper()
    signal.signal(signal.SIGTERM, _interrupt)
    machine = describe_machine(tools)
    print("\n".join(f"{name:<10} {value}" for name, value in machine.items()), flush=True)
    # Short: a Unix socket's path has room for about 100 bytes.
    folder = Path(tempfile.mkdtemp(prefix="psbench-"))
    results: list[Result] = []
    try:
        for name in scenarios_of(arguments.scenario):
            settings = Settings(
                tools,
                folder / name,
                max(1.0, arguments.seconds),
                max(1, arguments.rounds),
                backend_logs=arguments.backend_logs == "on",
            )
            settings.folder.mkdir()
            say(f"scenario {name}")
            for result in importlib.import_module(f"benchmarks.{name}").run(settings):
                results.append(result)
                print(text_of(result), flush=True)
        print(commands_of(results))
        print(summary_of(results))
        return 0
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    finally:
        with interrupts_ignored():
            killed = kill_descendants()
            if killed:
                say(f"killed {killed} process(es) that were still running")
            shutil.rmtree(folder, ignore_errors=True)
            if arguments.json:
                arguments.json.write_text(json.dumps(json_of(results, machine), indent=2) + "\n")


def scenarios_of(names: list[str] | None) -> list[str]:
    """Return the scenarios that were asked for, in the order of ``SCENARIOS``, each once."""
    wanted = {name for asked in names or SCENARIOS for name in GROUPS.get(asked, (asked,))}
    return [name for name in SCENARIOS if name in wanted]


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
