"""The memory that all applications share: who gets more, and who gives some up."""

from __future__ import annotations

from pyserve.master.budget import Budget


class App:
    """``idle``: how many of its workers it does not need now."""

    def __init__(self, budget: Budget, workers: int, each: int, idle: int = 0) -> None:
        self.workers = workers
        self.each = each
        self.idle = idle
        budget.members.append(self)

    @property
    def memory_bytes(self) -> int:
        return self.workers * self.each

    @property
    def pids(self) -> list[int]:
        return [self.each] * self.workers

    def shrink(self) -> bool:
        if not self.idle:
            return False
        self.idle -= 1
        self.workers -= 1
        return True


def budget(limit: int, said: list[str] | None = None, shared: int = 0) -> Budget:
    return Budget(limit, lambda each: each - shared, [].append if said is None else said.append)


def test_there_is_no_limit_without_a_budget() -> None:
    assert budget(0).allows(App(budget(0), 9, 999), 10**12)


def test_growth_is_allowed_as_long_as_there_is_room() -> None:
    shared = budget(100)
    app = App(shared, 4, 20)
    assert shared.allows(app, 20)
    assert not shared.allows(app, 21)


def test_idle_workers_of_others_make_room_the_largest_first_and_no_more_than_needed() -> None:
    shared = budget(100)
    grower, small, large = App(shared, 2, 20), App(shared, 2, 10, idle=2), App(shared, 2, 20, idle=2)
    assert shared.allows(grower, 20)
    assert (small.workers, large.workers) == (2, 1)


def test_where_nothing_is_idle_it_is_said_once() -> None:
    said: list[str] = []
    shared = budget(100 << 20, said)
    app = App(shared, 5, 20 << 20)
    assert not shared.allows(app, 20 << 20)
    assert not shared.allows(app, 20 << 20)
    assert len(said) == 1
    assert "100 of 100 MiB, and 20 MiB more are needed" in said[0]


def test_what_workers_share_is_counted_once() -> None:
    shared = budget(100, shared=10)
    assert shared.allows(App(shared, 5, 25), 20), "125 at first sight, 75 in truth"


def test_workers_that_have_grown_cost_idle_ones_their_place() -> None:
    shared = budget(100)
    app = App(shared, 5, 25, idle=1)
    shared.enforce()
    assert app.workers == 4
    shared.enforce()
    assert app.workers == 4
