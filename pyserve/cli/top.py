"""``pyserve top``: what runs and waits in the applications just now; where one of them stands; the end of one.

I/O: the admin socket, once per front and look; stdout. rich is imported only for tables.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from pyserve.cli import admin, exit_codes
from pyserve.errors import NoServer
from pyserve.observe.error_log import printable

if TYPE_CHECKING:
    from rich.table import Table

_ANSWER_TIMEOUT_S = 10.0
_ROWS = 40


def top(files: Sequence[str], admin_path: str | None, *, once: bool, as_json: bool, interval_s: float) -> int:
    """Show running requests until interrupted; once where nobody watches."""
    if as_json:
        print(json.dumps(ask_all(files, admin_path)))
    elif once or not sys.stdout.isatty():
        from rich.console import Console

        Console(markup=False, highlight=False, emoji=False).print(_table(ask_all(files, admin_path), None))
    else:
        _watch(files, admin_path, interval_s)
    sys.stdout.flush()
    return exit_codes.STOPPED


def _watch(files: Sequence[str], admin_path: str | None, interval_s: float) -> None:
    from rich.live import Live

    with Live(_table(ask_all(files, admin_path), _ROWS), screen=True, auto_refresh=False) as live:
        while True:
            time.sleep(interval_s)
            live.update(_table(ask_all(files, admin_path), _ROWS), refresh=True)


def stack(files: Sequence[str], admin_path: str | None, request: str, *, as_json: bool) -> int:
    """Print where a request stands."""
    answer = ask(files, admin_path, "stack", *_parts(request))
    if as_json:
        print(json.dumps(answer))
    else:
        print(_words(answer))
        print(printable(str(answer.get("stack") or "it has no stack there: not begun, or just over\n")), end="")
    return exit_codes.STOPPED


def cancel(files: Sequence[str], admin_path: str | None, request: str, *, as_json: bool) -> int:
    """End a request."""
    answer = ask(files, admin_path, "cancel", *_parts(request))
    print(json.dumps(answer) if as_json else f"cancelled: {_words(answer)}")
    return exit_codes.STOPPED


def _parts(request: str) -> list[int]:
    return [int(part) for part in request.split(".")]


def ask_all(files: Sequence[str], admin_path: str | None) -> dict[str, Any]:
    """Return the requests of all fronts, the oldest first. A front that is just being replaced has none."""
    requests: list[dict[str, Any]] = []
    total = sockets = front = 0
    fronts = 1
    while front < fronts:
        try:
            answer = ask(files, admin_path, "top", front)
        except NoServer:
            if front == 0:
                raise
            answer = {}
        fronts = max(fronts, int(answer.get("fronts", 1)))
        total += int(answer.get("total", 0))
        sockets += int(answer.get("websockets", 0))
        requests += answer.get("requests", [])
        front += 1
    requests.sort(key=lambda row: -float(row.get("age_s", 0)))
    return {"total": total, "websockets": sockets, "requests": requests}


def ask(files: Sequence[str], admin_path: str | None, *words: str | int) -> dict[str, Any]:
    """Return the answer to one command. Raises ``NoServer``."""
    with admin.find_server(files, admin_path) as connection:
        connection.settimeout(_ANSWER_TIMEOUT_S)
        admin.send(connection, " ".join(map(str, words)))
        try:
            return admin.parse_answer(admin.read_until_closed(connection))
        except TimeoutError:
            raise NoServer(f"the server did not answer within {_ANSWER_TIMEOUT_S:g} s; its log may say why") from None


def _words(row: dict[str, Any]) -> str:
    told = {key: printable(str(value)) for key, value in row.items()}
    return (
        f"{told.get('id')} {told.get('method')} {told.get('path')}, {told.get('age_s')} s, "
        f"app {told.get('app')}, worker {told.get('worker')} (pid {told.get('pid')})"
    )


def _table(answer: dict[str, Any], most: int | None) -> Table:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    rows = answer["requests"]
    title = f"{answer['total']} requests"
    if sockets := answer.get("websockets"):
        title += f", {sockets} WebSockets beside them"
    table = Table(box=SIMPLE_HEAD, pad_edge=False, show_edge=False, title=title, title_justify="left")
    for name in ("id", "age", "phase", "app", "worker", "request", "client"):
        table.add_column(name, justify="right" if name == "age" else "left", overflow="fold")
    for row in rows[:most]:
        worker = "" if row.get("worker") is None else f"{row.get('worker')} ({row.get('pid')})"
        request = f"{row.get('method')} {row.get('path')}"
        cells = (row.get("id"), f"{row.get('age_s', 0):.1f} s", row.get("phase"), row.get("app"), worker, request)
        table.add_row(*(Text(printable(str(cell))) for cell in (*cells, row.get("client"))))
    return table
