"""Where the choices of a grammar come from: a fast random generator, or hypothesis, which can make them smaller.

Pure. A grammar is a function of a ``Chance``, so the suite, the random engine and atheris share every grammar.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import Protocol


class Chance(Protocol):
    def below(self, count: int) -> int:
        """Return one of 0 … ``count`` - 1. The smaller, the simpler what comes out should be."""


class RandomChance:
    """Half as dear as ``randrange``, and the choice is most of what a grammar does."""

    __slots__ = ("_random",)

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed).random

    def below(self, count: int) -> int:
        return int(self._random() * count)


def pick(chance: Chance, choices: Sequence[bytes]) -> bytes:
    return choices[chance.below(len(choices))]


def mostly(chance: Chance, good: Sequence[bytes], nasty: Sequence[bytes], one_in: int = 12) -> bytes:
    """Return one of ``good``, one time in ``one_in`` one of ``nasty``: an input with ten wrong things stops at one."""
    return pick(chance, nasty if chance.below(one_in) == one_in - 1 else good)


def repeat(chance: Chance, most: int, make: Callable[[Chance], bytes]) -> bytes:
    """Return up to ``most`` of what ``make`` makes, few more often than many."""
    return b"".join([make(chance) for _ in range(chance.below(chance.below(most + 1) + 1))])


def some_bytes(chance: Chance, most: int) -> bytes:
    return bytes([chance.below(256) for _ in range(chance.below(most + 1))])
