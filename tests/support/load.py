"""Steady traffic from a few threads, and a ledger of what became of every request."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field

from tests.support.client import Client, Closed, Response
from tests.support.waiting import wait_until


@dataclass
class Ledger:
    answers: list[Response] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)
    """Requests without an answer: the connection was cut."""

    def statuses(self) -> dict[int, int]:
        return {status: sum(a.status == status for a in self.answers) for status in {a.status for a in self.answers}}


class Load:
    """``with Load(address, data) as load:`` asks the same again and again on ``clients`` connections."""

    def __init__(self, address: tuple[str, int], data: bytes, clients: int = 4) -> None:
        self._address = address
        self._data = data
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._run) for _ in range(clients)]
        self.ledger = Ledger()

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(30)

    def wait_answers(self, more: int) -> None:
        """Wait until so many further answers have come."""
        enough = len(self.ledger.answers) + more
        wait_until(lambda: len(self.ledger.answers) >= enough, f"{more} more answers", 20)

    def _run(self) -> None:
        client: Client | None = None
        while not self._stop.is_set():
            try:
                if client is None:
                    client = Client(self._address)
                answer = client.ask(self._data)
                self.ledger.answers.append(answer)
                if answer.field("connection") == "close":
                    client.close()
                    client = None
            except (Closed, OSError) as error:
                self.ledger.lost.append(repr(error))
                if client is not None:
                    client.close()
                client = None
        if client is not None:
            client.close()
