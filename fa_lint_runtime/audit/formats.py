"""Methods × seeds as text, Markdown, LaTeX and CSV: one list of columns, a writer each."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from ..escaping import visible, visible_lines
from ..render.latex import escaped as latex_escaped
from .intervals import Summary
from .table import Row

__all__ = ["COLUMNS", "FORMATS", "NARROW", "Column", "chosen", "to_csv", "to_latex", "to_markdown", "to_text", "usual"]


@dataclass(frozen=True)
class Column:
    """A heading (plain and LaTeX) and what stands below it.

    Attributes:
        figures: what CSV has in its place: a column for each number, by its title.
    """

    title: str
    latex: str
    value: Callable[[Row], str]
    figures: Mapping[str, Callable[[Row], float | str]] = field(default_factory=dict)

    @property
    def plain(self) -> Mapping[str, Callable[[Row], float | str]]:
        """Columns of CSV."""
        return self.figures or {self.title: self.value}


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


def _figure(title: str, latex: str, value: Callable[[Row], float]) -> Column:
    return Column(title, latex, lambda r: _number(value(r)), {title: value})


def _over_seeds(name: str, interval: str, found: Callable[[Row], Summary], digits: int) -> tuple[Column, Column]:
    """Mean and deviation; the ends of the interval."""
    return (
        Column(
            name,
            name,
            lambda r: _spread(found(r), digits),
            {name: lambda r: found(r).mean, f"{name} std": lambda r: found(r).std},
        ),
        Column(
            interval,
            interval.replace("95 % t", r"95\,\% t"),
            lambda r: _interval(found(r), digits),
            {f"{name} low": lambda r: found(r).low, f"{name} high": lambda r: found(r).high},
        ),
    )


COLUMNS: tuple[Column, ...] = (
    Column("model", "model", lambda r: r.model),
    Column("method", "method", lambda r: r.method),
    Column(
        "seeds",
        "seeds",
        _seeds,
        {"seeds": lambda r: r.seeds, "diverged": lambda r: r.diverged, "failed": lambda r: len(r.failed)},
    ),
    *_over_seeds("accuracy", "95 % t", lambda r: r.accuracy, 3),
    *_over_seeds("margin, pp", "margin 95 % t", lambda r: r.margin, 1),
    _figure("growth", "growth", lambda r: r.growth),
    _figure("‖h_L‖", r"$\|h_L\|$", lambda r: r.h_last),
    _figure("‖g_L‖", r"$\|g_L\|$", lambda r: r.g_last),
    _figure("‖g_L‖/‖e‖", r"$\|g_L\|/\|e\|$", lambda r: r.credit_per_error),
    _figure("(c)", "(c)", lambda r: r.stability),
    _figure("Γ, l ≥ 1", r"$\Gamma_{l\ge1}$", lambda r: r.gamma),
    Column(
        "aligned",
        "aligned",
        lambda r: r.aligned or "–",
        # Spreadsheets read 3/6 as a date.
        {"aligned": lambda r: r.aligned.partition("/")[0], "aligned of": lambda r: r.aligned.partition("/")[2]},
    ),
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


def usual(rows: Sequence[Row]) -> tuple[Column, ...]:
    """The narrow ones; with several networks, their names too."""
    several = len({row.model for row in rows}) > 1
    return chosen(("model", *NARROW[:-1]) if several else NARROW)


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
    return [visible(f"{row.model} {row.method}: {reason}") for row in rows for reason in row.failed]


def to_text(rows: Sequence[Row], columns: Sequence[Column] = COLUMNS) -> str:
    """Columns in line, for a terminal."""
    cells = [[c.title for c in columns], *([visible(c.value(row)) for c in columns] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = ["  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)).rstrip() for line in cells]
    return visible_lines("\n".join([*lines, *(f"failed: {reason}" for reason in _failures(rows))])) + "\n"


def to_markdown(rows: Sequence[Row], columns: Sequence[Column] = COLUMNS) -> str:
    """A pipe table, then the failures."""
    lines = ["| " + " | ".join(c.title.replace("|", "\\|") for c in columns) + " |", "|" + "---|" * len(columns)]
    lines += ["| " + " | ".join(visible(c.value(row)).replace("|", "\\|") for c in columns) + " |" for row in rows]
    failures = [f"- {reason}" for reason in _failures(rows)]
    return "\n".join(lines) + "\n" + ("\nFailed:\n\n" + "\n".join(failures) + "\n" if failures else "")


def to_csv(rows: Sequence[Row], columns: Sequence[Column] = COLUMNS) -> str:
    """With a line of titles; numbers in full, each in a column of its own, nothing where there is none."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    plain = [column for c in columns for column in c.plain.items()]
    writer.writerow([title for title, _ in plain])
    writer.writerows([_plain(value(row)) for _, value in plain] for row in rows)
    return buffer.getvalue()


def _plain(value: float | str) -> float | str:
    if isinstance(value, str):
        return visible_lines(visible(value))
    return "" if isinstance(value, float) and math.isnan(value) else value


def to_latex(rows: Sequence[Row], columns: Sequence[Column] | None = None, caption: str = "") -> str:
    """A booktabs table of at most ten columns, or of those given; ``\\usepackage{booktabs}``."""
    columns = usual(rows) if columns is None else columns
    lines = [r"\begin{tabular}{" + "l" * len(columns) + "}", r"\toprule"]
    lines += [" & ".join(c.latex for c in columns) + r" \\", r"\midrule"]
    for row in rows:
        line = " & ".join(latex_escaped(c.value(row)) for c in columns) + r" \\"
        lines.append(
            "{}" + line if line[0] in "[*:" else line
        )  # \\ takes a bracket or a star behind it for its own; CI takes ::
    lines += [r"\bottomrule", r"\end{tabular}"]
    if caption:
        words = latex_escaped(" ".join(caption.split()))  # an empty line would end the caption
        lines = [r"\begin{table}", rf"\caption{{{words}}}", r"\centering", *lines, r"\end{table}"]
    return "\n".join(lines) + "\n"


FORMATS: Mapping[str, Callable[[Sequence[Row], Sequence[Column]], str]] = {
    "text": to_text,
    "markdown": to_markdown,
    "latex": to_latex,
    "csv": to_csv,
}
