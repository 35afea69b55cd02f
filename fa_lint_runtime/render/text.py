"""The report for a terminal: rich tables that fit 100 columns."""

from __future__ import annotations

import io
import math
from collections.abc import Iterable, Iterator

from rich import box
from rich.console import Console, RenderableType
from rich.table import Table
from rich.text import Text

from ..diagnostics.outcomes import Outcome
from ..diagnostics.report import DiagnosticReport, LayerReport
from ..escaping import visible, visible_copy, visible_lines
from .words import EXPLANATIONS, SIGNS, figure, headline, interval, percent, probability, signed, unmeasured

__all__ = ["add_row", "renderables", "to_text"]

_STYLES = {
    "passes": "green",
    "fires": "bold red",
    "invalid": "bold red",
    "inconclusive": "yellow",
    "not measured": "dim",
    "information": "cyan",
    "trustworthy": "bold green",
    "no fault found": "bold yellow",
    "walked back": "bold red",
    "not measurable": "bold yellow",
}


def to_text(report: DiagnosticReport, width: int = 100) -> str:
    """What ``print(report)`` shows, without colours, lines of at most ``width`` columns."""
    stream = io.StringIO()
    console = Console(file=stream, width=width, no_color=True, force_terminal=False, highlight=False)
    for part in renderables(report):
        console.print(part)
    return visible_lines("\n".join(line.rstrip() for line in stream.getvalue().rstrip().splitlines()))


def renderables(report: DiagnosticReport) -> Iterator[RenderableType]:
    """Everything that rich prints, in order."""
    notes = "\n".join(map(visible, report.notes.splitlines()))
    report = visible_copy(report)
    yield Text(headline(report), style=_STYLES.get(report.verdict, ""))
    yield Text(EXPLANATIONS[report.verdict])
    if notes:
        yield Text(notes, style="dim")
    if report.provenance is not None:
        yield from (Text(f"note: {caveat}") for caveat in report.provenance.caveats)
    if report.layers:
        yield _sizes(report.layers)
    if any(layer.alignment for layer in report.layers):
        yield _alignments(report.layers)
        yield from _below_alignments(report)
    yield _outcomes("what decides", report.criteria)
    yield _outcomes(f"the original protocol, deciding nothing ({report.original_verdict})", report.original)
    yield from (Text(f"→ {o.name}: {o.action}") for o in report.criteria if o.action)
    yield from _footer(report)


def add_row(table: Table, *cells: str, style: str | None = None) -> None:
    """Add a row of plain text: in a ``str``, rich takes ``[/b]`` for its own markup, drops it or raises."""
    table.add_row(*map(Text, cells), style=style)


def _table(title: str) -> Table:
    return Table(title=title, box=box.SIMPLE_HEAD, title_justify="left", title_style="bold", padding=(0, 1, 0, 0))


def _sizes(layers: Iterable[LayerReport]) -> Table:
    table = _table("per layer: medians over samples, gradients of the summed loss")
    for name in ("l", "made by"):
        table.add_column(name, overflow="fold", max_width=22 if name == "made by" else None)
    for name in ("‖h‖", "growth", "‖g‖", "‖g‖/‖e‖", "elasticity", "cos fp64", "fp16 bits", "ρ dir", "s"):
        table.add_column(name, justify="right", no_wrap=True)
    for x in layers:
        precision = x.precision
        bits = precision.headroom[0].bits if precision and precision.headroom else math.nan
        add_row(
            table,
            str(x.index),
            x.name,
            figure(x.hidden_norm),
            "" if x.index == 0 else figure(x.growth) + "×",
            figure(x.gradient_norm),
            figure(x.credit_per_error),
            figure(x.elasticity),
            "N/A" if precision is None or math.isnan(precision.resolution) else f"{precision.resolution:.4f}",
            "N/A" if math.isnan(bits) else f"{bits:+.1f}",
            signed(x.drift.rho_direction.value),
            "N/A" if math.isnan(x.drift.stability) else f"{x.drift.stability:+.2f}",
        )
    return table


def _alignments(layers: Iterable[LayerReport]) -> Table:
    table = _table("alignment Γ, each state with the credit that trains it")
    table.add_column("l")
    table.add_column("site", overflow="fold", max_width=16)
    for name in ("Γ mean", "95 %", "median", "null ±sd", "z", "p Holm", "mism.", "param."):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("", no_wrap=True)
    for x in layers:
        a = x.alignment
        if a is None:
            add_row(table, str(x.index), "N/A", *[""] * 9)
            continue
        add_row(
            table,
            str(x.index),
            a.site,
            signed(a.gamma.value),
            interval(a.gamma.low, a.gamma.high),
            signed(a.gamma_median.value),
            "N/A" if math.isnan(a.null_sd) else f"{a.null_sd:.3f}",
            "N/A" if math.isnan(a.z) else f"{a.z:+.1f}",
            probability(a.p_holm),
            signed(a.mismatched),
            signed(a.parameter_cosine),
            {"aligned": "✓", "opposed": "opposed", "undefined": "N/A"}.get(a.decision, "="),
            style=None if a.decision == "aligned" else "dim",
        )
    return table


def _below_alignments(report: DiagnosticReport) -> Iterator[RenderableType]:
    found = report.alignment
    if found is None:
        return
    if all(x.alignment is None or x.alignment.decision == "undefined" for x in report.layers):
        yield Text("no decision about Γ: see what decides, below")
    else:
        yield Text("✓ differs from fresh feedback, = does not (Holm over layers); the sample interval decides nothing")
    others = [x.alignment for x in report.layers if x.alignment and x.alignment.original_site]
    if others:
        pairs = ", ".join(signed(a.original_gamma) for a in others)
        yield Text(f"the original's pairing (h_l with B_min(l, L-1)) gives instead, in these layers: {pairs}")
    a = found.aggregations
    numbers = " · ".join(f"{v:.3f}" for v in (a.mean_mean, a.median_mean, a.mean_median, a.median_median))
    spread = "undefined" if math.isnan(a.spread) else f"{a.spread:.1f}×"
    yield Text(
        f"in one number, mean/median over samples then layers (mm dm md dd): {numbers}; spread {spread}; "
        f"share of layer 0: {percent(a.layer0_share)}"
    )
    source = f"{found.kind}, K = {found.draws}" + (f", feedback sha256 {found.digest[:12]}" if found.digest else "")
    yield Text(source + (f", seed {found.seed}" if found.seed is not None else ""), style="dim")
    if found.pairing:
        yield Text(f"pairing assumed: {found.pairing}", style="dim")


def _outcomes(title: str, outcomes: Iterable[Outcome]) -> Table:
    table = _table(title)
    table.add_column("", no_wrap=True)
    table.add_column("criterion", no_wrap=True)
    table.add_column("found", overflow="fold", ratio=1)
    table.add_column("threshold", justify="right", no_wrap=True)
    for o in outcomes:
        limit = "" if math.isnan(o.threshold) or o.state == "information" else figure(o.threshold)
        add_row(table, SIGNS[o.state], o.name, o.text, limit, style=_STYLES.get(o.state))
    return table


def _footer(report: DiagnosticReport) -> Iterator[RenderableType]:
    p = report.provenance
    if p is None:
        return
    yield Text(f"{p.layers}; {p.mode}; token {p.token}; {p.loss}; {p.dtype} on {p.device}", style="dim")
    accuracy = "" if math.isnan(p.measured_accuracy) else f", accuracy on them {p.measured_accuracy:.3f}"
    yield Text(f"{p.batches} batches, {p.samples} samples{accuracy}; {', '.join(p.versions)}", style="dim")
    if unmeasured(report.criteria):
        yield Text(f"not measured: {', '.join(unmeasured(report.criteria))}", style="dim")
