"""In which order those who wait get a worker."""

from __future__ import annotations

import pytest

from pyserve.balance.queue import MOST_IN_LANE, Queue


def queue(others: str = "", lane: str = "") -> Queue[str]:
    made: Queue[str] = Queue()
    made.extend(others)
    for name in lane:
        assert made.append_to_lane(name)
    return made


def order(waiting: Queue[str]) -> str:
    taken = ""
    while waiting:
        taken += waiting.take()
    assert waiting.lane == 0
    return taken


def test_without_a_lane_it_is_first_come_first_served() -> None:
    assert order(queue("abc")) == "abc"


def test_who_is_in_the_lane_goes_before_all_who_came_earlier() -> None:
    assert order(queue("abc", "H")) == "Habc"


def test_a_flood_in_the_lane_gets_every_second_place() -> None:
    assert order(queue("abc", "HIJKL")) == "HaIbJcKL"


def test_those_in_the_lane_keep_their_order() -> None:
    assert order(queue("", "HIJ")) == "HIJ"


def test_a_place_that_is_kept_for_the_lane_costs_it_no_turn() -> None:
    waiting = queue("ab", "HI")
    assert waiting.take_from_lane() == "H"
    assert order(waiting) == "Iab"


def test_a_full_lane_takes_nobody() -> None:
    waiting = queue("a", "H" * MOST_IN_LANE)
    assert not waiting.append_to_lane("I")
    assert len(waiting) == MOST_IN_LANE + 1


@pytest.mark.parametrize(("left", "rest"), [("a", "Hb"), ("b", "Ha"), ("H", "ab")])
def test_who_leaves_is_no_longer_waited_for(left: str, rest: str) -> None:
    waiting = queue("ab", "H")
    waiting.remove(left)
    assert order(waiting) == rest


def test_who_has_left_can_not_leave_again() -> None:
    with pytest.raises(ValueError, match="not in deque"):
        queue("a", "H").remove("b")


def test_who_comes_back_is_first_of_their_kind() -> None:
    waiting = queue("ab", "H")
    waiting.put_back("z", to_lane=False)
    waiting.put_back("G", to_lane=True)
    assert (list(waiting), waiting.lane) == (list("GHzab"), 2)


def test_all_may_be_sent_away_at_once() -> None:
    waiting = queue("a", "H")
    assert waiting.take_all() == ["H", "a"]
    waiting.append("b")
    assert order(waiting) == "b"
