"""Which targets there are: every file in ``targets/``. A new file is a new target, in the suite and in the command.

A target is a module with ``check(data)``, which raises ``AssertionError`` when its invariant is broken, and
``make(chance)``, its grammar; both pure. The first line of the file says the invariant. ``DICTIONARY`` (fragments for
mutations) and ``seeds()`` are optional.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from tests.fuzz.chance import Chance

FOLDER = Path(__file__).resolve().parent
SAVED = FOLDER / "saved"
"""Inputs that once broke an invariant, by target: ``saved/reader/two-empty-lines``. The suite replays them."""
_MAX_SEED_BYTES = 2048
NAMES = tuple(sorted(path.stem for path in (FOLDER / "targets").glob("*.py") if path.stem != "__init__"))


class Target(NamedTuple):
    name: str
    check: Callable[[bytes], None]
    make: Callable[[Chance], bytes]
    dictionary: Sequence[bytes]
    seeds: tuple[bytes, ...]


def invariant(name: str) -> str:
    """Return the first line of a target's file, without importing it: atheris wants to see its imports."""
    return (FOLDER / "targets" / f"{name}.py").read_text().split("\n", 1)[0].strip('" ')


def load(name: str) -> Target:
    from tests.fuzz.fragments import DICTIONARY

    module = importlib.import_module(f"tests.fuzz.targets.{name}")
    seeds = module.seeds() if hasattr(module, "seeds") else corpus()
    return Target(
        name, module.check, module.make, getattr(module, "DICTIONARY", DICTIONARY), (*seeds, *saved(name).values())
    )


def corpus() -> tuple[bytes, ...]:
    """Return the cases of tests/corpus/ that are not about size."""
    from tests.support.corpus import load as load_cases

    return tuple(case.data for case in load_cases() if len(case.data) <= _MAX_SEED_BYTES)


def saved(name: str) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted((SAVED / name).glob("*"))}
