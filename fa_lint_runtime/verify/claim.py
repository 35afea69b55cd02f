"""What a published claim is, and what measuring it gives."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from .lab import Lab
    from .networks import NetworkSpec

__all__ = ["LEVELS", "Claim", "Finding", "Level", "Outcome", "Verdict", "graded"]

Level = Literal["instant", "quick", "default", "full"]
LEVELS: tuple[Level, ...] = ("instant", "quick", "default", "full")

Verdict = Literal["reproduces", "reproduces in part", "does not reproduce", "not measured"]


def graded(whole: bool, partly: bool) -> Verdict:
    """Return the verdict on a claim of which all, part or nothing holds.

    Example:
        >>> graded(False, True)
        'reproduces in part'
    """
    if whole:
        return "reproduces"
    return "reproduces in part" if partly else "does not reproduce"


@dataclass(frozen=True)
class Finding:
    """A claim as measured on this machine.

    Attributes:
        verdict: computed from the figures, never written down.
        here: what was measured, one short sentence an entry, orders of magnitude only.
        remedy_works: whether this package's own answer was right where the claim offers one; None where there is none.
        figures: the raw numbers.
    """

    verdict: Verdict
    here: tuple[str, ...]
    remedy_works: bool | None = None
    figures: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Claim:
    """A published claim and the function that measures it.

    Attributes:
        key: as the publication numbers it: ``"1"`` … ``"6.5"``, ``"a"`` … ``"d"``.
        published: what it says.
        needs: the trained networks it is measured on, at a level.
        level: the first level that measures it.
    """

    key: str
    title: str
    published: str
    measure: Callable[[Lab], Finding]
    level: Level = "quick"
    needs: Callable[[Level], tuple[NetworkSpec, ...]] = field(default=lambda level: ())


@dataclass(frozen=True)
class Outcome:
    """A measured claim, as reported.

    Attributes:
        seconds: of measuring, without the training of networks that claims share.
        networks: what it was measured on.
    """

    claim: Claim
    finding: Finding
    seconds: float
    networks: tuple[str, ...]

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "key": self.claim.key,
            "title": self.claim.title,
            "published": self.claim.published,
            "here": list(self.finding.here),
            "verdict": self.finding.verdict,
            "remedy_works": self.finding.remedy_works,
            "figures": self.finding.figures,
            "seconds": round(self.seconds, 3),
            "networks": list(self.networks),
        }
