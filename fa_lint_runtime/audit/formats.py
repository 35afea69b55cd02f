"""An audit as text, Markdown and LaTeX: one list of columns, three writers."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from .intervals import Summary
from .table import Row

__all__ = ["COLUMNS", "Column", "to_latex", "to_markdown"]


@dataclass(frozen=True)
class Column:
    """A heading (plain and LaTeX) and what stands below it."""

    title: str
    latex: str
    value: Callable[[Row], str]


def _number(value: float) -> str:
    if math.isnan(value):
        return "–"
    return f"{value:.2g}" if 1e-2 <= abs(value) < 1e3 or value == 0 else f"{value:.0e}"


def _spread(found: Summary, digits: int) -> str:
    if found.n == 0:
        return "–"
    text = f"{found.mean:.{digits}f}"
    return text if found.n == 1 else f"{text} ± {found.std:.{digits}f}"


def _interval(found: Summary, digits: int) -> str:
    return "–" if found.n < 2 else f"[{found.low:.{digits}f}, {found.high:.{digits}f}]"


def _seeds(row: Row) -> str:
    notes = ([f"{row.diverged} diverged"] if row.diverged else []) + (
        [f"{len(row.failed)} failed"] if row.failed else []
    )
    return str(row.seeds) + (f" ({', '.join(notes)})" if notes else "")


COLUMNS: tuple[Column, ...] = (
    Column("model", "model", lambda r: r.model),
    Column("method", "method", lambda r: r.method),
    Column("seeds", "seeds", _seeds),
    Column("accuracy", "accuracy", lambda r: _spread(r.accuracy, 3)),
    Column("95 % t", r"95\,\% t", lambda r: _interval(r.accuracy, 3)),
    Column("margin, pp", "margin, pp", lambda r: _spread(r.margin, 1)),
    Column("margin 95 % t", r"margin 95\,\% t", lambda r: _interval(r.margin, 1)),
    Column("growth", "growth", lambda r: _number(r.growth)),
    Column("‖h_L‖", r"$\|h_L\|$", lambda r: _number(r.h_last)),
    Column("‖g_L‖", r"$\|g_L\|$", lambda r: _number(r.g_last)),
    Column("‖g_L‖/‖e‖", r"$\|g_L\|/\|e\|$", lambda r: _number(r.credit_per_error)),
    Column("(c)", "(c)", lambda r: _number(r.stability)),
    Column("Γ, l ≥ 1", r"$\Gamma_{l\ge1}$", lambda r: _number(r.gamma)),
    Column("aligned", "aligned", lambda r: r.aligned or "–"),
    Column("original verdict", "original verdict", lambda r: r.original),
    Column("verdict", "verdict", lambda r: r.verdicts),
)


def to_markdown(rows: Sequence[Row]) -> str:
    """A pipe table, then the failures."""
    lines = ["| " + " | ".join(c.title.replace("|", "\\|") for c in COLUMNS) + " |", "|" + "---|" * len(COLUMNS)]
    lines += ["| " + " | ".join(c.value(row).replace("|", "\\|") for c in COLUMNS) + " |" for row in rows]
    failures = [f"- {row.model} {row.method}: {reason}" for row in rows for reason in row.failed]
    return "\n".join(lines) + "\n" + ("\nFailed:\n\n" + "\n".join(failures) + "\n" if failures else "")


_LATEX = str.maketrans(
    {"_": r"\_", "%": r"\%", "&": r"\&", "#": r"\#", "±": r"$\pm$", "–": "--", "≥": r"$\ge$", "‖": r"$\|$"}
)


def to_latex(rows: Sequence[Row]) -> str:
    """A booktabs table; ``\\usepackage{booktabs}``."""
    lines = [r"\begin{tabular}{" + "l" * len(COLUMNS) + "}", r"\toprule"]
    lines += [" & ".join(c.latex for c in COLUMNS) + r" \\", r"\midrule"]
    lines += [" & ".join(c.value(row).translate(_LATEX) for c in COLUMNS) + r" \\" for row in rows]
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}"]) + "\n"
