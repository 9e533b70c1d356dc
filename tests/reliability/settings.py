"""How large a run is. Pure values."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Settings:
    folder: Path
    """Everything that a run writes is in here."""
    seconds: float = 30.0
    """How long an attack is held where the check leaves it open; never more than 60."""
    is_quick: bool = False

    @property
    def base_s(self) -> float:
        """How long the normal load is measured alone."""
        return 1.5 if self.is_quick else 8.0

    @property
    def ramp_s(self) -> float:
        """In which the attacking clients come."""
        return 1.0 if self.is_quick else 5.0

    def count(self, full: int) -> int:
        return full // 10 if self.is_quick else full

    def timeout_s(self, full: float, quick: float) -> float:
        """Return a time-out of the server's: as in the check's description, or shorter where time is short."""
        return quick if self.is_quick else full
