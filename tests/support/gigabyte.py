"""The large version of the body tests, run by hand: ``python -m tests.support.gigabyte`` (takes minutes).

1 GiB up to an application that hashes and 1 GiB down from one that generates to a client that reads slowly, then 50
slow clients at once; for WSGI and ASGI. Checks every bit and that no process grows by more than 64 MiB, and prints
what it saw.
"""

from __future__ import annotations

import hashlib
import tempfile
import threading
import time
from pathlib import Path

from tests.apps import pattern
from tests.support import trial
from tests.support.client import Client, request
from tests.support.site import Site

SIZE = 1024**3
GROWTH = 64 * 1024**2
SLOW_CLIENTS = 50


def upload(client: Client, size: int, pause_s: float) -> None:
    client.send(f"POST /sha256 HTTP/1.1\r\nHost: a\r\nContent-Length: {size}\r\n\r\n".encode())
    for data in pattern.blocks(size):
        client.send(data)
        if pause_s:
            time.sleep(pause_s)
    answer = client.read_response()
    assert answer.text == f"{pattern.digest(size)} {size}", answer


def download(client: Client, size: int, pause_s: float) -> None:
    client.send(request(f"/generate?bytes={size}", "a"))
    assert client.read_head().status == 200
    total, rest = hashlib.sha256(), size
    while rest:
        data = client.read_exactly(min(rest, 256 * 1024))
        total.update(data)
        rest -= len(data)
        if pause_s:
            time.sleep(pause_s)
    assert total.hexdigest() == pattern.digest(size)


def measure(kind: str) -> None:
    with tempfile.TemporaryDirectory(prefix="pyserve-") as folder:
        site = Site(
            Path(folder), trial.one(kind, 'timeout = "600s"'), limits='max_body = "2GiB"\nresponse_spool = "2GiB"'
        )
        try:
            site.wait_ready()
            site.get("/hello")
            for name, work in (("up", upload), ("down, read slowly", download)):
                began = time.monotonic()
                with site.memory_within(GROWTH), site.connect(600) as client:
                    work(client, SIZE, 0 if work is upload else 0.002)
                print(f"{kind}: 1 GiB {name}: {time.monotonic() - began:.1f} s", flush=True)
            failed: list[str] = []

            def slow(work: object) -> None:
                try:
                    with site.connect(600, receive_buffer=65536) as client:
                        work(client, 16 * 1024**2, 0.05)  # type: ignore[operator]
                except Exception as error:
                    failed.append(repr(error))

            threads = [
                threading.Thread(target=slow, args=((upload, download)[number % 2],)) for number in range(SLOW_CLIENTS)
            ]
            waits = []
            with site.memory_within(GROWTH):
                for thread in threads:
                    thread.start()
                while any(thread.is_alive() for thread in threads):
                    began = time.monotonic()
                    assert site.get("/hello").status == 200
                    waits.append(time.monotonic() - began)
                    time.sleep(0.02)
            assert not failed, failed
            waits.sort()
            print(
                f"{kind}: beside {SLOW_CLIENTS} slow clients {len(waits)} fast requests: "
                f"median {waits[len(waits) // 2] * 1000:.1f} ms, p99 {waits[len(waits) * 99 // 100] * 1000:.1f} ms"
            )
            site.assert_no_trace()
        finally:
            site.end_by_force()


if __name__ == "__main__":
    for kind in ("wsgi", "asgi"):
        measure(kind)
