"""Make HTTP/2 requests over TLS with h2load (one thread) and return what it and /proc saw."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.cpu import cpu_time, pss_bytes
from benchmarks.load import LoadError
from benchmarks.scenario import Sample, Settings
from benchmarks.servers import Running, die_with_parent

CONNECTIONS = 8
STREAMS = 16
"""At once on each connection."""
WARM_UP_REQUESTS = 5_000
# What a browser sends with each request of a page.
BROWSER = (
    "user-agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0 Safari/537.36",
    "accept: text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8",
    "accept-language: en-GB,en;q=0.9,de;q=0.8",
    "accept-encoding: gzip, deflate, br, zstd",
    "cookie: session=5f2e8c1d9a7b4e36; theme=dark; consent=yes",
    "referer: https://bench.localhost/index.html",
    'sec-ch-ua-platform: "Linux"',
    "sec-fetch-dest: document",
    "sec-fetch-mode: navigate",
    "sec-fetch-site: same-origin",
    "upgrade-insecure-requests: 1",
)
_FINISHED = re.compile(r"finished in [^,]+, ([\d.]+) req/s")
_REQUESTS = re.compile(r"requests: .* (\d+) succeeded, (\d+) failed, (\d+) errored, (\d+) timeout")
_CODES = re.compile(r"status codes: (\d+) 2xx")


@dataclass(frozen=True, slots=True)
class H2Requests:
    """``paths``: asked for in turn by each connection; ``fields``: of every request."""

    paths: Sequence[str]
    fields: tuple[str, ...] = ()


def run_h2load(running: Running, settings: Settings, requests: H2Requests, count: int) -> tuple[float, int, int]:
    """Return requests a second, how many were answered 2xx, and how many were not. Raises ``LoadError``."""
    stack = running.stack
    host = f"https://{stack.host}:{stack.port}"
    uris = Path(stack.folder / "uris.txt")
    uris.write_text("".join(f"{host}{path}\n" for path in requests.paths))
    argv = [
        *(settings.tools.find("h2load"), "-t1", f"-c{CONNECTIONS}", f"-m{STREAMS}", f"-n{count}"),
        *(argument for line in requests.fields for argument in ("-H", line)),
        *("--connect-to", f"127.0.0.1:{stack.port}", "-i", str(uris)),
    ]
    try:
        done = subprocess.run(
            argv, capture_output=True, text=True, check=False, timeout=120, preexec_fn=die_with_parent()
        )
    except subprocess.TimeoutExpired:
        raise LoadError("h2load did not end within two minutes") from None
    rate, results, codes = (pattern.search(done.stdout) for pattern in (_FINISHED, _REQUESTS, _CODES))
    if rate is None or results is None or codes is None or not int(codes[1]):
        raise LoadError(f"h2load said: {(done.stdout + done.stderr).strip()[-500:] or '(nothing)'}")
    answered = int(codes[1])
    return float(rate[1]), answered, count - answered


def sample_h2(running: Running, settings: Settings, requests: H2Requests, asked_per_s: dict[str, float]) -> Sample:
    """Load one server for about ``settings.seconds``. ``asked_per_s``: what it was seen to do, by name; kept here."""
    if running.name not in asked_per_s:
        asked_per_s[running.name] = run_h2load(running, settings, requests, WARM_UP_REQUESTS)[0]
    count = max(WARM_UP_REQUESTS, int(asked_per_s[running.name] * settings.seconds))
    running.empty_logs()
    before = cpu_time(running.roots)
    rate, answered, failed = run_h2load(running, settings, requests, count)
    after = cpu_time(running.roots)
    asked_per_s[running.name] = rate
    user_s, system_s = after.user_s - before.user_s, after.system_s - before.system_s
    sample = {
        "requests_per_s": rate,
        "cpu_us": (user_s + system_s) * 1e6 / answered,
        "user_us": user_s * 1e6 / answered,
        "system_us": system_s * 1e6 / answered,
        "pss_mib": pss_bytes(running.roots) / 1024**2,
        "log_bytes": running.log_bytes() / answered,
        "errors": float(failed),
    }
    running.empty_logs()
    return sample
