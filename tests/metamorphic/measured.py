"""What is measured today, rounded down: a regression is below one of these. Raise them with every mend."""

from __future__ import annotations

from collections.abc import Iterable

from .runner import Outcome
from .table import silence, survival

# By rule, over all siblings: (survival, silence of the look-alikes).
ALL: dict[str, tuple[float, float]] = {
    "FAL101": (0.99, 1.0),
    "FAL102": (0.94, 1.0),
    "FAL201": (0.95, 0.99),
    "FAL202": (0.96, 0.99),
    "FAL203": (0.97, 0.99),
    "FAL204": (0.98, 1.0),
    "FAL404": (0.90, 0.99),
    "FAL405": (0.98, 1.0),
    "FAL501": (0.94, 1.0),
}
# The same over every SAMPLE_EVERY-th sibling, for the fast suite.
SAMPLE_EVERY = 37
SAMPLE: dict[str, tuple[float, float]] = {
    "FAL101": (0.99, 1.0),
    "FAL102": (0.92, 1.0),
    "FAL201": (0.99, 0.99),
    "FAL202": (0.99, 0.99),
    "FAL203": (0.98, 1.0),
    "FAL204": (0.90, 1.0),
    "FAL404": (0.87, 0.99),
    "FAL405": (0.99, 1.0),
    "FAL501": (0.94, 1.0),
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
