"""The engine that looks where an input gets to: atheris (libFuzzer), with our grammar and dictionary as its mutator.

I/O: libFuzzer keeps what found new code in a folder, so the next run begins there. It never returns; the process ends.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["pyserve", "h11"]):
    from tests.fuzz import peers, reading

from tests.fuzz import registry
from tests.fuzz.chance import RandomChance
from tests.fuzz.mutation import mutate
from tests.fuzz.session import Session

__all__ = ["peers", "reading", "run"]

_MAX_BYTES = 4096
"""libFuzzer gets on better with short inputs."""


def run(name: str, runs: int, seconds: float, folder: Path, corpus: Path, seed: int) -> None:
    """Fuzz until a limit is reached, then end the process: 0 if the invariant held, else 1."""
    with atheris.instrument_imports(include=["pyserve", "h11"]):
        target = registry.load(name)
    session = Session(target, runs, seconds, folder)
    kept = corpus / name
    kept.mkdir(parents=True, exist_ok=True)
    for number, data in enumerate(target.seeds):
        (kept / f"seed-{number}").write_bytes(data)

    def execute(data: bytes) -> None:
        session.execute(data)
        if session.is_done:
            print(session.totals(), flush=True)
            sys.stderr.flush()
            os._exit(1 if session.failures else 0)  # libFuzzer's own end would say that it was interrupted

    def change(data: bytes, max_size: int, seed: int) -> bytes:
        chance = RandomChance(seed)
        kind = chance.below(8)
        if kind == 0:
            data = target.make(chance)
        elif kind < 5:
            data = mutate(chance, data, target.dictionary, target.seeds)
        else:
            data = atheris.Mutate(data, max_size)
        return data[:max_size]

    arguments = ["fuzz", f"-max_len={_MAX_BYTES}", f"-artifact_prefix={folder}/", "-timeout=10", "-verbosity=0"]
    if seed:
        arguments.append(f"-seed={seed}")
    folder.mkdir(parents=True, exist_ok=True)
    atheris.Setup([*arguments, str(kept)], execute, custom_mutator=change)
    atheris.Fuzz()
