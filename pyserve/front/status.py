"""What ``pyserve status`` shows: the master's facts and this front's, put together and written as JSON.

I/O: reads ``/proc/PID/statm`` of the workers, writes to the admin connection it was handed, and closes it.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import time
from typing import Any

from pyserve.config.model import Config, RunApp, Site
from pyserve.files.cache import Figures
from pyserve.handlers.pool import Pool
from pyserve.wire import board as cells
from pyserve.wire.board import Board
from pyserve.wire.frames import INTERFACE_NAMES

_POOL = ("recycled", "wanted", "least", "most", "memory_bytes", "deaths")
_PAGE = os.sysconf("SC_PAGE_SIZE")


def describe(facts: dict[str, Any], config: Config, pools: list[Pool], board: Board) -> dict[str, Any]:
    """Return the status as plain values; figures of other fronts come from the board (at most 250 ms old)."""
    apps: dict[str, Any] = {}
    for index, (app, pool, told) in enumerate(zip(config.apps, pools, facts["apps"], strict=True)):
        workers = []
        for told_worker in told["workers"]:
            slot = told_worker["slot"]
            running = board.slot_total(slot, cells.IN_FLIGHT)
            state = told_worker["state"]
            if state == "ready":
                state = "busy" if running else "idle"
            workers.append(
                {
                    "pid": told_worker["pid"],
                    "state": state,
                    "running": running,
                    "websockets": board.slot_total(slot, cells.SOCKETS),
                    "requests": board.slot_total(slot, cells.SERVED),
                    "memory_bytes": memory_bytes(told_worker["pid"]),
                }
            )
        apps[app.name] = {
            "release": told["release"],
            "interface": INTERFACE_NAMES.get(pool.interface, ""),
            "queue": board.app_total(index, cells.QUEUED),
            "restarts": told["restarts"],
            **{key: told[key] for key in _POOL if key in told},
            "reason": told["reason"],
            "workers": workers,
        }
    certificates = {told["site"]: _certificate(told) for told in facts.get("certificates", ())}
    told_acme = facts.get("acme", {})
    acme = {site.name: _acme(told_acme.get(site.name)) for site in config.sites if site.acme is not None}
    return {
        "master": facts["master"] | {"memory_bytes": memory_bytes(facts["master"]["pid"])},
        "generation": facts["generation"],
        "uptime_s": round(time.time() - facts["master"]["started_s"], 3),
        "fronts": [
            {
                "pid": front["pid"],
                "connections": board.front(number, cells.CONNECTIONS),
                "requests": board.front(number, cells.REQUESTS),
                "repeated": board.front(number, cells.REPEATED),
                "files": {name: board.front(number, cell) for cell, name in enumerate(Figures._fields, cells.FILES)},
                **_handshakes(board, number, config),
                "restarts": front["restarts"],
                "memory_bytes": memory_bytes(front["pid"]),
            }
            for number, front in enumerate(facts["fronts"])
        ],
        "apps": apps,
        "sites": {
            site.name: _site_state(site, apps, certificates.get(site.name), acme.get(site.name))
            for site in config.sites
        },
        **({"certificates": certificates} if certificates else {}),
        **({"acme": acme} if acme else {}),
    }


def _handshakes(board: Board, front: int, config: Config) -> dict[str, Any]:
    if not config.server.https:
        return {}
    from pyserve.front.tls.handshakes import FIGURES, KINDS

    counts = {name: board.front(front, cell) for cell, name in enumerate(FIGURES, cells.TLS)}
    return {"tls": {"failed": {kind: counts.pop(kind) for kind in KINDS}, **counts}}


def _certificate(told: dict[str, Any]) -> dict[str, Any]:
    """``fault``: why the site is refused, or why a newer certificate was not taken. ``not_for``: of which hosts it has
    none of the names."""
    import json

    if not told["facts"]:
        return {"fault": told["fault"]}
    left_s = told["not_after_s"] - time.time()
    # Rounded to zero on both sides, as the log says it: "expired 10 days ago" is -10.
    dates = {
        "not_before_s": told["not_before_s"],
        "not_after_s": told["not_after_s"],
        "days_left": int(left_s / 86400),
    }
    return {**json.loads(told["facts"]), **dates, "not_for": told["not_for"], "fault": told["fault"]}


def _acme(told: tuple[str, float, float, str] | None) -> dict[str, str]:
    """How a site that gets its certificate by itself stands with that; times are in UTC, "" = none."""
    state, not_after_s, next_s, reason = told or ("waiting", 0.0, 0.0, "")
    return {"state": state, "valid_until": _time(not_after_s), "next_attempt": _time(next_s), "reason": reason}


def _why(acme: dict[str, str] | None) -> str:
    """Return why there is no certificate yet, and when there may be one."""
    if acme is None or not acme["reason"] or acme["valid_until"]:
        return ""
    return f" ({acme['reason']}; next attempt at {acme['next_attempt'] or 'any moment'})"


def _time(at_s: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(at_s)) if at_s else ""


def _site_state(
    site: Site, apps: dict[str, Any], certificate: dict[str, Any] | None, acme: dict[str, str] | None
) -> dict[str, str]:
    """A site is degraded while an app that it names can't run, something was missing when its file was read, or there
    is something wrong with its certificate."""
    if site.fault:
        return {"state": "degraded", "reason": site.fault}
    if certificate is not None and certificate["fault"]:
        what = "refused on https" if "not_after_s" not in certificate else "its new certificate was not taken"
        return {"state": "degraded", "reason": f"{what}: {certificate['fault']}{_why(acme)}"}
    if certificate is not None and certificate["not_after_s"] < time.time():
        return {"state": "degraded", "reason": "its certificate has expired"}
    if certificate is not None and certificate["not_before_s"] > time.time():
        return {
            "state": "degraded",
            "reason": f"its certificate is not valid before {_time(certificate['not_before_s'])}",
        }
    handlers = [site.handler, *(route.handler for route in site.routes)]
    for name in dict.fromkeys(handler.app for handler in handlers if isinstance(handler, RunApp)):
        if apps[name]["reason"]:
            return {"state": "degraded", "reason": f"app {name}: {apps[name]['reason']}"}
    if certificate is not None and certificate["not_for"]:
        return {"state": "serving", "reason": f"its certificate {certificate['not_for']}"}
    return {"state": "serving", "reason": ""}


def memory_bytes(pid: int) -> int:
    """Return a process's private memory (resident less shared), 0 where the system does not tell."""
    try:
        with open(f"/proc/{pid}/statm", "rb") as statm:
            _, resident, shared = statm.read().split()[:3]
        return (int(resident) - int(shared)) * _PAGE
    except (OSError, ValueError):
        return 0


async def reply(connection: socket.socket, status: dict[str, Any]) -> None:
    """Write the status to an admin connection and close it; a client that does not read is given up after 5 s."""
    import json

    connection.setblocking(False)
    with connection, contextlib.suppress(OSError, TimeoutError):
        async with asyncio.timeout(5):
            await asyncio.get_running_loop().sock_sendall(connection, json.dumps(status).encode() + b"\n")
            connection.shutdown(socket.SHUT_WR)  # the master holds a copy, so closing alone would not end the answer
