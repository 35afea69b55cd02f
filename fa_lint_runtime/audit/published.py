"""The verdicts of the published CIFAR-10 table beside those of an audit: computed, method by method."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ..reference import Recipe
from .config import AuditConfig
from .table import Row

__all__ = ["PUBLISHED_VERDICTS", "against_published"]

# Method to (accuracy, walked back, what fired), as published; the data there are CIFAR-10.
PUBLISHED_VERDICTS: Mapping[str, tuple[float, bool, str]] = {
    "bp": (0.615, False, ""),
    "fa": (0.401, False, ""),
    "ep": (0.316, False, ""),
    "dfa": (0.306, True, "(a), (b), (d)"),
    "cb": (0.289, True, ""),
    "sb": (0.205, True, ""),
    "dfa+penalty": (0.360, True, "(d)"),
}


def against_published(rows: Sequence[Row], config: AuditConfig) -> list[str]:
    """One line a method that both have: the published verdict, the one here, and whether they agree.

    None for other data or another recipe than the published ones: there is nothing to agree with.

    A method is walked back here if most of its seeds are, by the original protocol's rules.
    """
    if config.data["name"] != "cifar10" or config.recipe != Recipe():
        return []
    lines = []
    for row in rows:
        if row.method not in PUBLISHED_VERDICTS or not row.reports:
            continue
        accuracy, published, fired = PUBLISHED_VERDICTS[row.method]
        back = sum(r.original_verdict in ("walked back", "invalid") for r in row.reports)
        here = 2 * back > len(row.reports)
        reasons: dict[str, int] = {}
        for report in row.reports:
            for name in report.original_fired:
                reasons[name] = reasons.get(name, 0) + 1
        why = ", ".join(f"{name} {count}/{len(row.reports)}" for name, count in sorted(reasons.items()))
        lines.append(
            f"{row.method}: {'agrees' if here == published else 'DISAGREES'}. Published (CIFAR-10, {accuracy:.3f}): "
            f"{'walked back' if published else 'trustworthy'}{f' by {fired}' if fired else ''}; here walked back on "
            f"{back} of {len(row.reports)} seeds{f' by {why}' if why else ''}, accuracy {row.accuracy.mean:.3f}"
        )
    return lines
