"""The report as Markdown tables."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from ..diagnostics.outcomes import Outcome
from ..diagnostics.report import DiagnosticReport
from ..escaping import visible, visible_lines
from .words import EXPLANATIONS, SIGNS, figure, headline, interval, probability, signed

__all__ = ["to_markdown"]


def _escaped(text: str) -> str:
    return visible(text.replace("\n", " ")).replace("\\", "\\\\").replace("|", "\\|")


def _table(head: Sequence[str], rows: Iterable[Sequence[str]], left: int) -> list[str]:
    rule = ["---" if i < left else "---:" for i in range(len(head))]
    cells = [f"| {' | '.join(_escaped(cell) for cell in row)} |" for row in [head, *rows]]
    return [cells[0], f"|{'|'.join(rule)}|", *cells[1:], ""]


def _outcomes(outcomes: Iterable[Outcome]) -> list[str]:
    rows = [
        (SIGNS[o.state] + " " + o.state, o.name, o.text, "" if math.isnan(o.threshold) else figure(o.threshold))
        for o in outcomes
    ]
    return _table(("", "criterion", "found", "threshold"), rows, 3)


def to_markdown(report: DiagnosticReport) -> str:
    """Verdict, criteria, and a table per layer, for an issue, a README or a pull request.

    Example:
        >>> from fa_lint_runtime import DiagnosticThresholds
        >>> report = DiagnosticReport("DFA", "", [], [], 1, 0.0, 0.3, None, DiagnosticThresholds())
        >>> report.to_markdown().splitlines()[0]
        '**DFA: not measurable**'
    """
    lines = [f"**{_escaped(headline(report))}**", "", EXPLANATIONS[report.verdict], ""]
    if report.notes:
        lines += [_escaped(report.notes), ""]
    if report.provenance and report.provenance.caveats:
        lines += [*(f"- note: {_escaped(caveat)}" for caveat in report.provenance.caveats), ""]
    if report.layers:
        head = (
            "l",
            "made by",
            "‖h‖",
            "growth",
            "‖g‖",
            "‖g‖/‖e‖",
            "elasticity",
            "ρ dir",
            "s",
            "Γ",
            "95 %",
            "z",
            "p Holm",
        )
        rows = []
        for x in report.layers:
            a = x.alignment
            gamma = ("N/A", "", "", "") if a is None else (
                signed(a.gamma.value), interval(a.gamma.low, a.gamma.high), figure(a.z), probability(a.p_holm)
            )  # fmt: skip
            rows.append(
                (
                    str(x.index),
                    x.name,
                    figure(x.hidden_norm),
                    "" if x.index == 0 else figure(x.growth),
                    figure(x.gradient_norm),
                    figure(x.credit_per_error),
                    figure(x.elasticity),
                    signed(x.drift.rho_direction.value),
                    signed(x.drift.stability),
                    *gamma,
                )
            )
        lines += _table(head, rows, 2)
    lines += ["What decides:", "", *_outcomes(report.criteria)]
    lines += [f"The original protocol ({report.original_verdict}), deciding nothing:", "", *_outcomes(report.original)]
    lines += [f"- {_escaped(f'{o.name}: {o.action}')}" for o in report.criteria if o.action]
    if report.provenance:
        p = report.provenance
        text = f"{p.layers}; {p.mode}; {p.batches} batches, {p.samples} samples; {', '.join(p.versions)}"
        lines += ["", _escaped(text)]
    return visible_lines("\n".join(lines).rstrip()) + "\n"
