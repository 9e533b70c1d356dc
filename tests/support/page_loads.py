"""What a browser loaded and where each answer came from, read from the events of the DevTools protocol (``Network``).

Pure. What the browser loads for itself (``chrome:``) or makes from the page (``data:``, ``blob:``) is left out.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

_ANSWERED = "Network.responseReceived"
_ANSWERED_ON_THE_WIRE = "Network.responseReceivedExtraInfo"
_FROM_MEMORY = "Network.requestServedFromCache"
_FINISHED = "Network.loadingFinished"
_FAILED = "Network.loadingFailed"


@dataclass
class Load:
    """One request of a page and its answer; a redirect and what follows it are two."""

    url: str
    kind: str
    """``Document``, ``Stylesheet``, ``Script``, ``Image``, ``Font``, ``Fetch`` …"""
    status: int = 0
    """What the page was told: 200 also where 304 was sent. 0: there was no answer."""
    wire_status: int = 0
    """What the server sent; 0 where it was not asked."""
    is_from_cache: bool = False
    media_type: str = ""
    encoding: str = ""
    """``Content-Encoding``."""
    error: str = ""
    """Why the answer, or the rest of it, did not come."""
    is_cancelled: bool = False
    """The page itself did not want it any more: it was left, or has changed its mind."""
    is_done: bool = False

    @property
    def costs_nothing(self) -> bool:
        """Whether no byte of content was sent for it."""
        return self.wire_status == 304 if self.wire_status else self.is_from_cache


def read_loads(events: list[dict[str, Any]]) -> list[Load]:
    """Return the loads that began in these events, in the order in which they began."""
    current: dict[str, Load] = {}
    loads = []
    # The statuses of one request come in order but in a stream of their own, before or after its other events.
    on_the_wire: dict[str, list[Load]] = {}
    wire_statuses: dict[str, list[int]] = {}
    for event in events:
        method, params = event["method"], event["params"]
        number = params.get("requestId", "")
        load = current.get(number)
        if method == "Network.requestWillBeSent":
            if load is not None and "redirectResponse" in params:
                _answer(load, params["redirectResponse"])
                load.is_done = True
                if params.get("redirectHasExtraInfo"):
                    on_the_wire.setdefault(number, []).append(load)
            if params["request"]["url"].startswith("http"):
                current[number] = load = Load(params["request"]["url"], params.get("type", ""))
                loads.append(load)
        elif method == _ANSWERED_ON_THE_WIRE:
            wire_statuses.setdefault(number, []).append(params["statusCode"])
        elif load is None:
            pass
        elif method == _FROM_MEMORY:
            load.is_from_cache = True
        elif method == _ANSWERED:
            _answer(load, params["response"])
            if params.get("hasExtraInfo"):
                on_the_wire.setdefault(number, []).append(load)
        elif method == _FINISHED:
            load.is_done = True
        elif method == _FAILED:
            load.is_done = True
            load.error = params["errorText"]
            load.is_cancelled = params.get("canceled", False)
    for number, asked in on_the_wire.items():
        for load, status in zip(asked, wire_statuses.get(number, []), strict=False):
            load.wire_status = status
    return loads


def _answer(load: Load, response: dict[str, Any]) -> None:
    load.status = response["status"]
    load.is_from_cache |= bool(response.get("fromDiskCache") or response.get("fromPrefetchCache"))
    load.media_type = response["mimeType"]
    headers = {name.lower(): value for name, value in response["headers"].items()}
    load.encoding = headers.get("content-encoding", "")
