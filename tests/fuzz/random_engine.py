"""The engine that is always there: inputs from the grammar, from the corpus, and changed copies of both.

Pure but for what ``Session`` does. The same seed gives the same inputs in the same order.
"""

from __future__ import annotations

from tests.fuzz.chance import RandomChance, pick
from tests.fuzz.mutation import mutate
from tests.fuzz.session import Session

_KEPT = 256


def run(session: Session, seed: int) -> None:
    target = session.target
    chance = RandomChance(seed)
    seeds = target.seeds
    kept = list(seeds)[:_KEPT] or [b""]
    for data in seeds:
        session.execute(data)
    while not session.is_done:
        kind = chance.below(10)
        if kind < 5:
            data = target.make(chance)
        else:
            start = pick(chance, seeds) if seeds and kind == 9 else pick(chance, kept)
            data = mutate(chance, start, target.dictionary, kept)
        session.execute(data)
        # What was made lives on for a while, so that changes add up.
        if kind < 7:
            if len(kept) < _KEPT:
                kept.append(data)
            else:
                kept[chance.below(_KEPT)] = data
