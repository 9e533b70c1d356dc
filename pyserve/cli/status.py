"""``pyserve status``: what a running server tells of itself, as a table or as it is.

I/O: the admin socket, stdout. rich is imported only for the table.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from pyserve.cli import admin, exit_codes
from pyserve.errors import NoServer
from pyserve.observe.error_log import printable

if TYPE_CHECKING:
    from rich.table import Table

_ANSWER_TIMEOUT_S = 10.0


def status(files: Sequence[str], admin_path: str | None, *, as_json: bool) -> int:
    """Return 0. Raises ``NoServer`` if there is none, or none that answers."""
    with admin.find_server(files, admin_path) as connection:
        connection.settimeout(_ANSWER_TIMEOUT_S)
        admin.send(connection, "status")
        try:
            data = admin.read_until_closed(connection)
        except TimeoutError:
            raise NoServer(f"the server did not answer within {_ANSWER_TIMEOUT_S:g} s; its log may say why") from None
    answer = admin.parse_answer(data)
    if as_json:
        sys.stdout.write(data.decode("utf-8", "replace").rstrip("\n") + "\n")
    else:
        print_status(answer)
    sys.stdout.flush()
    return exit_codes.STOPPED


def print_status(answer: dict[str, Any]) -> None:
    """Print for people. Takes whatever a server of another version may leave out."""
    from rich.console import Console

    console = Console(markup=False, highlight=False, emoji=False)
    fronts = _rows(answer.get("fronts"))
    connections = sum(_count(front.get("connections")) for front in fronts)
    pids = ", ".join(_text(front.get("pid")) for front in fronts)
    console.print(
        f"master {_text(_row(answer.get('master')).get('pid'))} · generation {_text(answer.get('generation'))} · "
        f"{'front' if len(fronts) == 1 else 'fronts'} {pids or 'none'} · {connections} connections"
    )
    files = [_row(front.get("files")) for front in fronts]
    if any(_count(row.get("loads")) for row in files):
        total = {name: sum(_count(row.get(name)) for row in files) for name in _FILE_FIGURES}
        total["hits"] += sum(_count(front.get("repeated")) for front in fronts)
        console.print(
            f"files: {total['entries']} ready ({_megabytes(total['bytes'])}, {total['open']} open) · "
            f"{total['hits']} hits, {total['checks']} checked again, {total['loads']} loaded, "
            f"{total['evictions']} pushed out · {total['waits']} looks in a thread"
        )
    handshakes = [_row(front.get("tls")) for front in fronts if "tls" in front]
    if handshakes:
        console.print(_handshakes(handshakes))
    sites = _row(answer.get("sites"))
    if sites:
        console.print(_sites(sites))
    certificates = _row(answer.get("certificates"))
    if certificates:
        console.print(_certificates(certificates))
    for name, facts in _row(answer.get("acme")).items():
        reason = _row(facts).get("reason")
        if not reason or str(reason) not in str(_row(sites.get(name)).get("reason")):
            console.print(f"site {_text(name)}: {_acme(_row(facts))}")
    apps = _row(answer.get("apps"))
    if apps:
        console.print(_workers(apps))
    for name, app in apps.items():
        facts = _row(app)
        if reason := facts.get("reason"):
            console.print(f"app {_text(name)}: {_text(reason)}")
        if words := _history(facts):
            console.print(f"app {_text(name)}: {words}")


def _acme(facts: dict[str, Any]) -> str:
    """Return how it stands with a certificate that a site gets by itself."""
    state = facts.get("state")
    words = {"waiting": "waiting for its first certificate", "ordering": "asking for a certificate"}
    parts = [words.get(str(state), "no certificate")]
    if until := facts.get("valid_until"):
        renewed = ", being renewed" if state == "ordering" else ""
        parts = [f"certificate valid until {_text(until)}{renewed}"]
    if reason := facts.get("reason"):
        parts.append(_text(reason))
    if (at := facts.get("next_attempt")) and state != "ordering":
        parts.append(f"{'renewal' if state == 'valid' and not reason else 'next attempt'} at {_text(at)}")
    return " · ".join(parts)


def _history(app: dict[str, Any]) -> str:
    """Return what became of an application's workers so far, and how many there are to be."""
    words = []
    if app.get("least") != app.get("most"):
        words.append(f"{_text(app.get('wanted'))} of {_text(app.get('least'))} to {_text(app.get('most'))} workers")
    if restarts := _count(app.get("restarts")):
        words.append(f"{restarts} died or were killed")
    replaced = _row(app.get("recycled"))
    if replaced:
        words.append("replaced or given up: " + ", ".join(f"{_text(why)} {_text(n)}" for why, n in replaced.items()))
    deaths = _rows(app.get("deaths"))
    if deaths:
        words.append(f"last death: pid {_text(deaths[0].get('pid'))}, {_text(deaths[0].get('how'))}")
    return " · ".join(words)


def _sites(sites: dict[str, Any]) -> Table:
    table = _table("site", "state", "reason")
    for name, site in sites.items():
        facts = _row(site)
        table.add_row(_text(name), _text(facts.get("state")), _text(facts.get("reason", "")))
    return table


def _handshakes(fronts: list[dict[str, Any]]) -> str:
    done, resumed = (sum(_count(front.get(name)) for front in fronts) for name in ("handshakes", "resumed"))
    failed: dict[str, int] = {}
    for front in fronts:
        for kind, count in _row(front.get("failed")).items():
            failed[kind] = failed.get(kind, 0) + _count(count)
    words = ", ".join(f"{_text(kind).replace('_', ' ')} {count}" for kind, count in failed.items() if count)
    return f"https: {done} handshakes, {resumed} of them resumed · failed: {words or 'none'}"


def _certificates(certificates: dict[str, Any]) -> Table:
    table = _table("certificate of", "names", "days left", "fault", right=("days left",))
    for name, certificate in certificates.items():
        facts = _row(certificate)
        names = facts.get("names")
        shown = ", ".join(map(_text, names[:6])) if isinstance(names, list) else "-"
        table.add_row(_text(name), shown, _text(facts.get("days_left")), _text(facts.get("fault", "")))
    return table


def _workers(apps: dict[str, Any]) -> Table:
    columns = ("app", "queue", "worker", "state", "running", "websockets", "requests", "memory")
    table = _table(*columns, right=("queue", *_FIGURES))
    for name, app in apps.items():
        facts = _row(app)
        workers = _rows(facts.get("workers"))
        first = (_text(name), _text(facts.get("queue")))
        if not workers:
            table.add_row(*first, "none")
        for worker in workers:
            table.add_row(
                *first,
                _text(worker.get("pid")),
                _text(worker.get("state")),
                _text(worker.get("running")),
                _text(worker.get("websockets", 0)),
                _text(worker.get("requests")),
                _megabytes(worker.get("memory_bytes")),
            )
            first = ("", "")
    return table


_FILE_FIGURES = ("entries", "bytes", "open", "hits", "checks", "loads", "evictions", "waits")
_FIGURES = ("worker", "running", "websockets", "requests", "memory")


def _table(*columns: str, right: Sequence[str] = ()) -> Table:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    table = Table(box=SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for column in columns:
        table.add_column(column, justify="right" if column in right else "left", overflow="fold")
    return table


def _row(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _rows(value: object) -> list[dict[str, Any]]:
    return [_row(item) for item in value] if isinstance(value, list) else []


def _count(value: object) -> int:
    return value if isinstance(value, int) else 0


def _text(value: object) -> str:
    return "-" if value is None else printable(str(value)).replace("\n", " ")


def _megabytes(value: object) -> str:
    return f"{value / (1 << 20):.1f} MiB" if isinstance(value, int | float) else "-"
