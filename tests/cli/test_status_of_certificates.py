"""What ``pyserve status`` prints of certificates that sites get by themselves."""

from __future__ import annotations

from typing import Any

import pytest

from pyserve.cli.status import print_status

UNTIL, NEXT = "2030-01-31T00:00:00Z", "2030-01-01T00:00:00Z"


@pytest.mark.parametrize(
    ("facts", "expected"),
    [
        ({"state": "waiting"}, "site a: waiting for its first certificate"),
        ({"state": "ordering"}, "site a: asking for a certificate"),
        (
            {"state": "valid", "valid_until": UNTIL, "next_attempt": NEXT},
            f"site a: certificate valid until {UNTIL} · renewal at {NEXT}",
        ),
        ({"state": "ordering", "valid_until": UNTIL}, f"site a: certificate valid until {UNTIL}, being renewed"),
        (
            {"state": "valid", "valid_until": UNTIL, "next_attempt": NEXT, "reason": "no"},
            f"site a: certificate valid until {UNTIL} · no · next attempt at {NEXT}",
        ),
        (
            {"state": "failed", "next_attempt": NEXT, "reason": "no"},
            f"site a: no certificate · no · next attempt at {NEXT}",
        ),
        ({"state": "failed", "reason": "\x1b[31mno"}, "site a: no certificate · \\x1b[31mno"),
        ({}, "site a: no certificate"),
    ],
)
def test_each_state_has_its_words(
    facts: dict[str, Any], expected: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    print_status({"acme": {"a": facts}})
    assert expected in capsys.readouterr().out.splitlines()


def test_what_the_table_of_sites_says_already_is_not_said_twice(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    reason = "refused on https: waiting for its first certificate (why; next attempt at any moment)"
    site = {"state": "degraded", "reason": reason}
    print_status({"sites": {"a": site}, "acme": {"a": {"state": "failed", "reason": "why"}}})
    assert "site a:" not in capsys.readouterr().out
