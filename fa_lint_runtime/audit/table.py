"""The table of an audit: one row for each model and method, mean ± sample std and t interval over seeds."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ..diagnostics import DiagnosticReport
from .cells import FROZEN, Cell, CellResult
from .intervals import Summary, summary

__all__ = ["Row", "exit_code", "rows_of", "rows_of_files", "rows_of_reports"]


@dataclass(frozen=True)
class Row:
    """One model and method over its seeds.

    Attributes:
        accuracy, margin: shares and percentage points over frozen blocks, paired by seed.
        growth, h_last, g_last, stability: medians over seeds of (a), ``‖h_L‖``, (b) and (c).
        gamma: mean over seeds of Γ beyond layer 0, the median over layers; NaN without credit.
        aligned: layers beyond 0 whose Γ differs from fresh feedback, over all layers and seeds; "" if not measured.
        original, verdicts: how often each verdict was given, and what fired.
        diverged, failed: seeds without a result.
    """

    model: str
    method: str
    seeds: int
    accuracy: Summary
    margin: Summary
    growth: float
    h_last: float
    g_last: float
    credit_per_error: float
    stability: float
    gamma: float
    aligned: str
    original: str
    verdicts: str
    diverged: int
    failed: tuple[str, ...]
    reports: tuple[DiagnosticReport, ...]


def _median(values: Sequence[float]) -> float:
    known = sorted(value for value in values if not math.isnan(value))
    if not known:
        return math.nan
    middle = len(known) // 2
    return known[middle] if len(known) % 2 else (known[middle - 1] + known[middle]) / 2


def _gamma(report: DiagnosticReport) -> float:
    own = [layer.alignment for layer in report.layers[1:] if layer.alignment is not None]
    return _median([a.gamma.value for a in own if a.decision != "undefined"])


def _aligned(reports: Sequence[DiagnosticReport]) -> str:
    decided = [layer.alignment.decision for r in reports for layer in r.layers[1:] if layer.alignment is not None]
    return f"{decided.count('aligned')}/{len(decided)}" if decided else ""


def _verdicts(pairs: Sequence[tuple[str, tuple[str, ...]]]) -> str:
    """``walked back 3/3: (a) 3, (b) 2``."""
    if not pairs:
        return "none"
    names = Counter(verdict for verdict, _ in pairs)
    fired = Counter(name for _, reasons in pairs for name in reasons)
    text = ", ".join(f"{name} {count}/{len(pairs)}" for name, count in names.most_common())
    return text + (": " + ", ".join(f"{name} {count}" for name, count in fired.items()) if fired else "")


@dataclass(frozen=True)
class _Entry:
    """A result, the audit whose baselines it pairs with, and what tells its network from others of that name."""

    result: CellResult
    audit: Path | None = None
    network: Hashable = None

    @property
    def row(self) -> tuple[str, Hashable, str]:
        return self.result.cell.model, self.network, self.result.cell.method


def rows_of(results: Sequence[CellResult]) -> list[Row]:
    """Rows in the order of the configuration; frozen blocks come last."""
    return _rows([_Entry(result) for result in results])


def rows_of_reports(reports: Sequence[DiagnosticReport]) -> list[Row]:
    """A row for each network and method of reports that no audit made; each report is a seed."""
    return rows_of_files([(Path(), report) for report in reports])


def rows_of_files(found: Sequence[tuple[Path, DiagnosticReport | CellResult]]) -> list[Row]:
    """A row for each network and method of reports and of cells of any audits, with the files they are in.

    Networks differ by the names and widths of their hidden states. Where a cell has no report, these are those of
    another cell of its audit.
    """
    placed = [(file.parent.resolve(), one) for file, one in found]
    networks: dict[tuple[Path, str], Hashable] = {}
    for audit, one in placed:
        if isinstance(one, CellResult) and one.report is not None:
            networks.setdefault((audit, one.cell.model), _states(one.report))
    entries = []
    for number, (audit, one) in enumerate(placed):
        if isinstance(one, CellResult):
            network = networks.get((audit, one.cell.model)) if one.report is None else _states(one.report)
            entries.append(_Entry(one, audit, network))
        else:
            cell = Cell(_size(one), one.method_name, number)
            entries.append(_Entry(CellResult(cell, one.headline_acc, None, math.nan, one, ""), None, _states(one)))
    return _rows(entries)


def _states(report: DiagnosticReport) -> Hashable:
    return tuple((layer.name, layer.width) for layer in report.layers)


def _size(report: DiagnosticReport) -> str:
    """A name for a network that has none: ``5 × 256``, its hidden states and their widths."""
    widths = list(dict.fromkeys(layer.width for layer in report.layers))
    return f"{len(report.layers)} × {'/'.join(map(str, widths))}" if any(widths) else f"{len(report.layers)} states"


def _rows(entries: Sequence[_Entry]) -> list[Row]:
    found = {(entry.audit, entry.result.cell): entry.result for entry in entries}
    keys = list(dict.fromkeys(entry.row for entry in entries))
    keys.sort(key=lambda key: key[2] == FROZEN)
    return [_row([entry for entry in entries if entry.row == key], found) for key in keys]


def _row(members: Sequence[_Entry], found: dict[tuple[Path | None, Cell], CellResult]) -> Row:
    cell = members[0].result.cell
    sound = [m for m in members if not m.result.error]
    reports = tuple(m.result.report for m in sound if m.result.report is not None)
    margins = []
    for member in sound:
        own, report = member.result, member.result.report
        frozen = found.get((member.audit, Cell(own.cell.model, FROZEN, own.cell.seed)))
        if frozen is not None and cell.method != FROZEN:
            margins.append(100 * (own.accuracy - frozen.accuracy))
        elif report is not None and report.margin is not None:
            margins.append(report.margin.pp.value)
    row = _of_reports(cell.model, cell.method, [m.result.accuracy for m in sound], margins, reports)
    diverged = sum(m.result.diverged is not None for m in sound)
    errors = tuple(m.result.error for m in members if m.result.error)
    return replace(row, seeds=len(members), diverged=diverged, failed=errors)


def _of_reports(
    model: str,
    method: str,
    accuracies: Sequence[float],
    margins: Sequence[float],
    reports: tuple[DiagnosticReport, ...],
) -> Row:
    return Row(
        model=model,
        method=method,
        seeds=len(reports),
        accuracy=summary(accuracies),
        margin=summary(margins),
        growth=_median([r.max_growth for r in reports]),
        h_last=_median([r.residual_norms[-1] for r in reports]),
        g_last=_median([r.bp_grad_norms[-1] for r in reports]),
        credit_per_error=_median([r.layers[-1].credit_per_error for r in reports if r.layers]),
        stability=_median([r.cross_batch_stability for r in reports]),
        gamma=_median([_gamma(r) for r in reports]),
        aligned=_aligned(reports),
        original=_verdicts([(r.original_verdict, r.original_fired) for r in reports]),
        verdicts=_verdicts([(r.verdict, r.fired) for r in reports]),
        diverged=0,
        failed=(),
        reports=reports,
    )


def exit_code(results: Sequence[CellResult]) -> int:
    """The worst of all cells: 1 if one failed, diverged, was walked back or is invalid; 3 if one is open; else 0."""
    codes = [r.report.exit_code for r in results if r.report is not None]
    if any(r.error or r.diverged is not None for r in results) or 1 in codes:
        return 1
    return 3 if 3 in codes else 0
