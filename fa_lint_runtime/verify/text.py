"""A verification on the terminal: a table that fits 100 columns, then what does not reproduce."""

from __future__ import annotations

from rich import box
from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from .running import Verification

__all__ = ["COLOURS", "print_verification"]

COLOURS = {
    "reproduces": "green",
    "reproduces in part": "yellow",
    "does not reproduce": "red",
    "not measured": "bold red",
}


def print_verification(found: Verification, console: Console) -> None:
    """Claim · measured here · verdict, then the lists a reader must see."""
    table = Table(box=box.SIMPLE_HEAD, show_lines=True, width=min(100, console.width))
    table.add_column("", no_wrap=True, max_width=7)
    table.add_column("published claim", ratio=30)
    table.add_column("measured here", ratio=50)
    table.add_column("verdict", min_width=11, no_wrap=False)
    for outcome in found.outcomes:
        claim, finding = outcome.claim, outcome.finding
        verdict: RenderableType = Text(finding.verdict, style=COLOURS[finding.verdict])
        if finding.remedy_works is False:
            verdict = Group(verdict, Text("our remedy fails", style="bold red"))
        table.add_row(
            claim.key.split(",")[0],
            Group(Text(claim.title, style="bold"), Text(claim.published)),
            Text("\n".join(finding.here)),
            verdict,
        )
    console.print(table)
    console.print(Text("Published claims that do not reproduce here, or only in part:", style="bold"))
    for outcome in found.unreproduced:
        console.print(Text(f"  {outcome.claim.key}: {outcome.claim.title} ({outcome.finding.verdict})"))
    console.print(
        Text(
            f"{len(found.outcomes)} claims, {len(found.network_seconds)} networks "
            f"({sum(found.network_seconds.values()):.0f} CPU s of training), {found.wall_seconds:.0f} s in all. "
            "Configurations were chosen by a search; digits differ by machine, orders of magnitude do not.",
            style="dim",
        )
    )
