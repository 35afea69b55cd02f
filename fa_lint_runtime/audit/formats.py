"""Methods × seeds as text, Markdown, LaTeX and CSV: one list of columns, a writer each."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from ..render.latex import escaped as latex_escaped
from .intervals import Summary
from .table import Row

__all__ = ["COLUMNS", "FORMATS", "NARROW", "Column", "chosen", "to_csv", "to_latex", "to_markdown", "to_text"]


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


# At most ten, in the order in which a page of paper wants them; the others are asked for by name.
NARROW = (
    "method",
    "seeds",
    "verdict",
    "accuracy",
    "95 % t",
    "margin, pp",
    "growth",
    "‖g_L‖/‖e‖",
    "Γ, l ≥ 1",
    "aligned",
)


def chosen(titles: Sequence[str]) -> tuple[Column, ...]:
    """The columns of these titles, in this order.

    Raises:
        ValueError: no such column; says which there are.
    """
    by_title = {column.title: column for column in COLUMNS}
    for title in titles:
        if title not in by_title:
            raise ValueError(f"no column {title!r}; there are: {'; '.join(by_title)}")
    return tuple(by_title[title] for title in titles)


def _failures(rows: Sequence[Row]) -> list[str]:
    return [f"{row.model} {row.method}: {reason}" for row in rows for reason in row.failed]


def to_text(rows: Sequence[Row], columns: Sequence[Column] = COLUMNS) -> str:
    """Columns in line, for a terminal."""
    cells = [[c.title for c in columns], *([c.value(row) for c in columns] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = ["  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)).rstrip() for line in cells]
    return "\n".join([*lines, *(f"failed: {reason}" for reason in _failures(rows))]) + "\n"


def to_markdown(rows: Sequence[Row], columns: Sequence[Column] = COLUMNS) -> str:
    """A pipe table, then the failures."""
    lines = ["| " + " | ".join(c.title.replace("|", "\\|") for c in columns) + " |", "|" + "---|" * len(columns)]
    lines += ["| " + " | ".join(c.value(row).replace("|", "\\|") for c in columns) + " |" for row in rows]
    failures = [f"- {reason}" for reason in _failures(rows)]
    return "\n".join(lines) + "\n" + ("\nFailed:\n\n" + "\n".join(failures) + "\n" if failures else "")


def to_csv(rows: Sequence[Row], columns: Sequence[Column] = COLUMNS) -> str:
    """With a line of titles."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow([c.title for c in columns])
    writer.writerows([c.value(row) for c in columns] for row in rows)
    return buffer.getvalue()


def to_latex(rows: Sequence[Row], columns: Sequence[Column] | None = None, caption: str = "") -> str:
    """A booktabs table of at most ten columns, or of those given; ``\\usepackage{booktabs}``."""
    if columns is None:
        several = len({row.model for row in rows}) > 1
        columns = chosen(("model", *NARROW[:-1]) if several else NARROW)
    lines = [r"\begin{tabular}{" + "l" * len(columns) + "}", r"\toprule"]
    lines += [" & ".join(c.latex for c in columns) + r" \\", r"\midrule"]
    lines += [" & ".join(latex_escaped(c.value(row)) for c in columns) + r" \\" for row in rows]
    lines += [r"\bottomrule", r"\end{tabular}"]
    if caption:
        lines = [r"\begin{table}", rf"\caption{{{latex_escaped(caption)}}}", r"\centering", *lines, r"\end{table}"]
    return "\n".join(lines) + "\n"


FORMATS: Mapping[str, Callable[[Sequence[Row], Sequence[Column]], str]] = {
    "text": to_text,
    "markdown": to_markdown,
    "latex": to_latex,
    "csv": to_csv,
}
