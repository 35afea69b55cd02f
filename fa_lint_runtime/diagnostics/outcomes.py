"""Each diagnostic's answer, and the verdict that follows from all of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

__all__ = ["Outcome", "State", "Verdict", "verdict_of"]

State = Literal["passes", "fires", "inconclusive", "not measured", "invalid", "information"]
Verdict = Literal["trustworthy", "no fault found", "walked back", "inconclusive", "not measurable", "invalid"]
_CLAIMS = ("alignment", "margin")  # what a result is reported for


@dataclass(frozen=True)
class Outcome:
    """The answer of one criterion.

    Attributes:
        name: short and stable, for example ``"(a)"`` or ``"resolution"``.
        title: what it asks.
        state: ``"information"`` never takes part in a verdict.
        value, threshold: the statistic and what it is compared with; NaN if there is none.
        text: one plain sentence with the figures.
        action: what to do if it does not pass, else "".
        essential: without it nothing can be said: not measured makes the verdict ``"not measurable"``.

    Example:
        >>> Outcome("(a)", "growth", "passes", 1.2, 50.0, "1.2x", "").state
        'passes'
    """

    name: str
    title: str
    state: State
    value: float
    threshold: float
    text: str
    action: str
    essential: bool = False


def verdict_of(outcomes: Sequence[Outcome]) -> Verdict:
    """Invalid before walked back before not measurable before inconclusive before trustworthy.

    "No fault found" is what is left where neither Γ nor the margin was measured: nothing that could be trusted.

    Example:
        >>> verdict_of([Outcome("x", "", "fires", 0.0, 0.0, "", ""), Outcome("y", "", "invalid", 0.0, 0.0, "", "")])
        'invalid'
    """
    states = {outcome.state for outcome in outcomes}
    if "invalid" in states:
        return "invalid"
    if "fires" in states:
        return "walked back"
    if not outcomes or any(outcome.state == "not measured" and outcome.essential for outcome in outcomes):
        return "not measurable"
    if "inconclusive" in states:
        return "inconclusive"
    claims = [outcome.state for outcome in outcomes if outcome.name in _CLAIMS]
    return "no fault found" if claims and set(claims) <= {"not measured", "information"} else "trustworthy"
