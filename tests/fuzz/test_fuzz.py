"""Every target of ``tests.fuzz`` in a short run that is the same each time, and the inputs that once broke one.

Longer runs: ``python -m tests.fuzz --help``.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.fuzz import __main__ as command
from tests.fuzz import random_engine, registry
from tests.fuzz.mutation import mutate
from tests.fuzz.peers import EXPLAINED, PEERS, Explained, assert_agreement, disagreement
from tests.fuzz.reading import head_reader, read
from tests.fuzz.registry import Target
from tests.fuzz.session import Session, shrink

EXAMPLES = 200
RUNS = 3_000


class DrawnChance:
    """Hypothesis makes the choices, so that it can make a failing input smaller."""

    def __init__(self, draw: Callable[[st.SearchStrategy[int]], int]) -> None:
        self._draw = draw

    def below(self, count: int) -> int:
        return self._draw(st.integers(0, count - 1)) if count > 1 else 0


@st.composite
def inputs(draw: Callable[[st.SearchStrategy[int]], int], target: Target) -> bytes:
    """What the grammar makes, or a seed, or either with some changes; and sometimes any bytes at all."""
    chance = DrawnChance(draw)
    kind = chance.below(8)
    if kind < 4:
        return target.make(chance)
    if kind == 7:
        return draw(st.binary(max_size=80))  # type: ignore[arg-type, return-value]
    start = target.make(chance) if kind == 4 or not target.seeds else target.seeds[chance.below(len(target.seeds))]
    return mutate(chance, start, target.dictionary, target.seeds)


@pytest.mark.parametrize("name", registry.NAMES)
def test_the_invariant_holds_for_what_hypothesis_makes(name: str) -> None:
    target = registry.load(name)

    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    )
    @given(inputs(target))
    def hold(data: bytes) -> None:
        target.check(data)

    hold()


@pytest.mark.parametrize("name", registry.NAMES)
def test_the_invariant_holds_in_a_short_run_of_the_random_engine(name: str, tmp_path: Path) -> None:
    session = Session(registry.load(name), RUNS, 0, tmp_path)
    random_engine.run(session, seed=1)
    assert not session.failures, "\n".join(str(failure) for failure in session.failures.values())


@pytest.mark.parametrize("case", [(name, key) for name in registry.NAMES for key in registry.saved(name)], ids="/".join)
def test_what_once_broke_the_invariant_no_longer_does(case: tuple[str, str]) -> None:
    name, key = case
    registry.load(name).check(registry.saved(name)[key])


@pytest.mark.parametrize("name", registry.NAMES)
def test_the_first_line_of_a_target_says_its_invariant(name: str) -> None:
    line = (registry.FOLDER / "targets" / f"{name}.py").read_text().split("\n", 1)[0]
    assert line.startswith('"""')
    assert line.rstrip('"').endswith(".")


def test_a_broken_invariant_is_made_small_and_saved_and_can_be_replayed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def check(data: bytes) -> None:
        assert b"\r\n " not in data, "a folded line"

    paths = registry.load("reader")
    session = Session(Target("reader", check, paths.make, paths.dictionary, paths.seeds), 20_000, 0, tmp_path)
    random_engine.run(session, seed=1)
    (failure,) = session.failures.values()
    assert failure.path.read_bytes() == b"\r\n "
    assert failure.kind == "difference"
    assert f"--replay {failure.path}" in capsys.readouterr().err
    assert "1 differences, 0 crashes, 0 hangs" in session.totals()


def test_the_same_seed_gives_the_same_inputs(tmp_path: Path) -> None:
    def inputs_of(seed: int) -> list[bytes]:
        made: list[bytes] = []
        target = registry.load("hosts")
        session = Session(Target("hosts", made.append, target.make, target.dictionary, target.seeds), 500, 0, tmp_path)
        random_engine.run(session, seed)
        return made

    assert inputs_of(3) == inputs_of(3) != inputs_of(4)


def test_a_failing_input_loses_what_it_does_not_need() -> None:
    assert shrink(b"aaaaXbbbbYcccc", lambda data: b"X" in data and b"Y" in data) == b"XY"


POST = b"POST /x HTTP/1.1\r\nHost: a\r\nX: y\r\nContent-Length: 2\r\n\r\nhi"


@pytest.mark.parametrize("peer", PEERS)
@pytest.mark.parametrize(
    "other",
    [
        POST.replace(b"POST", b"PUT"),
        POST.replace(b"/x", b"/y"),
        POST.replace(b"1.1", b"1.0"),
        POST.replace(b"X: y", b"X: z"),
        POST.replace(b"X: y\r\n", b""),
        POST.replace(b"hi", b"ho"),
        POST.replace(b"Length: 2", b"Length: 1"),
        POST.replace(b"X: y", b"X : y"),
    ],
    ids=["method", "target", "version", "value", "field", "body", "end", "refusal"],
)
def test_the_comparison_with_a_peer_notices_another(peer: str, other: bytes) -> None:
    (message,) = read([POST], head_reader()).messages
    assert_agreement(peer, message, POST, b"")
    with pytest.raises(AssertionError):
        assert_agreement(peer, message, other, b"")


@pytest.mark.parametrize("explained", EXPLAINED, ids=lambda explained: f"{explained.peer}: {explained.what}")
def test_every_explained_difference_is_there(explained: Explained) -> None:
    (message,) = read([explained.example], head_reader()).messages
    assert message.is_whole
    assert disagreement(PEERS[explained.peer](explained.example, b""), message, b"")
    assert_agreement(explained.peer, message, explained.example, b"")


def test_the_command_replays_a_saved_input(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "input"
    path.write_bytes(POST)
    assert command.main(["reader", "--replay", str(path)]) == 0
    assert "holds" in capsys.readouterr().out


def test_the_command_names_the_targets_that_there_are(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        command.main(["readers"])
    assert left.value.code == 2
    assert "agrees_with_h11" in capsys.readouterr().err
