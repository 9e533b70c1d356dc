"""What the tests of ``files`` share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from pyserve.files import disks, opening
from tests.support.served import Serve, Served, open_descriptors


@pytest.fixture
def serve(monkeypatch: pytest.MonkeyPatch) -> Iterator[Serve]:
    """Make a ``Served`` from its arguments; afterwards not one descriptor more is open than before."""
    monkeypatch.setattr(disks, "is_local", lambda fd: True)
    opening._system_call()
    before = open_descriptors()
    made: list[Served] = []

    def make(*arguments: object, **options: object) -> Served:
        made.append(Served(*arguments, **options))  # type: ignore[arg-type]
        return made[-1]

    yield make
    monkeypatch.undo()
    for served in made:
        served.cache.clear()
        assert not served.cache.look_ups
    assert open_descriptors() == before
