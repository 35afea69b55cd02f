"""What is measured today, rounded down: a regression is below one of these. Raise them with every mend."""

from __future__ import annotations

from collections.abc import Iterable

from .runner import Outcome
from .table import silence, survival

# By rule, over all siblings: (survival, silence of the look-alikes).
ALL: dict[str, tuple[float, float]] = {
    "FAL101": (0.98, 1.0),
    "FAL102": (0.94, 1.0),
    "FAL201": (0.85, 0.91),
    "FAL202": (0.79, 0.97),
    "FAL203": (0.78, 0.95),
    "FAL204": (0.83, 1.0),
    "FAL404": (0.5, 0.99),
    "FAL405": (0.78, 1.0),
    "FAL501": (0.76, 1.0),
}
# The same over every SAMPLE_EVERY-th sibling, for the fast suite.
SAMPLE_EVERY = 37
SAMPLE: dict[str, tuple[float, float]] = {
    "FAL101": (0.96, 1.0),
    "FAL102": (0.76, 1.0),
    "FAL201": (0.94, 0.92),
    "FAL202": (0.71, 0.98),
    "FAL203": (0.82, 0.97),
    "FAL204": (1.0, 1.0),
    "FAL404": (0.4, 1.0),
    "FAL405": (0.76, 1.0),
    "FAL501": (0.67, 1.0),
}

# Seeds that are found in their fixture only, not by themselves.
LOST = {("FAL501", "collapsed_layers-by_named_layer")}


def below(outcomes: list[Outcome], rules: Iterable[str], floors: dict[str, tuple[float, float]] = ALL) -> list[str]:
    """One line for each measure under its floor."""
    found = []
    for rule in rules:
        for what, measured, floor in zip(
            ("survival", "silence"), (survival(outcomes, rule), silence(outcomes, rule)), floors[rule], strict=True
        ):
            if measured < floor:
                found.append(f"{rule}: {what} {measured:.3f} is below {floor}")
    return found
