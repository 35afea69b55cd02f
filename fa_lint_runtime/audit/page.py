"""An audit as one self-contained HTML page with figures."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from math import nan

from ..diagnostics import LayerReport
from ..escaping import visible
from .figures import accuracy_figure, layer_figure
from .formats import COLUMNS, Column, chosen
from .table import Row

__all__ = ["audit_page"]

_STYLE = """
body{font:16px/1.5 system-ui,sans-serif;max-width:80rem;margin:2rem auto;padding:0 1rem;color:#1b1f24;background:#fff}
.scroll{overflow-x:auto}table{border-collapse:collapse;font-size:.85rem}th,td{text-align:left;vertical-align:top;
padding:.4rem .6rem;border-bottom:1px solid #d8dee4;white-space:nowrap}
td.words{white-space:normal;min-width:14rem}th{border-bottom:2px solid #57606a}
svg{max-width:100%;height:auto}figure{margin:1.5rem 0}
"""


def _gamma(layer: LayerReport) -> tuple[float, float]:
    return (nan, nan) if layer.alignment is None else (layer.alignment.gamma.low, layer.alignment.gamma.high)


def _null(layer: LayerReport) -> tuple[float, float]:
    return (nan, nan) if layer.alignment is None else (layer.alignment.null_low, layer.alignment.null_high)


def _shown(text: str) -> str:
    return escape(visible(text))


def _cell(column: Column, row: Row) -> str:
    kind = ' class="words"' if column.title.endswith("verdict") else ""
    return f"<td{kind}>{_shown(column.value(row))}</td>"


def audit_page(title: str, description: str, rows: Sequence[Row], columns: Sequence[Column] | None = None) -> str:
    """No script, no outside resource; all columns, or those given.

    Raises:
        MissingDependencyError: matplotlib is not installed.
    """
    if columns is None:
        # The verdict stands among the first columns: a screen shows it without scrolling.
        first = chosen(("model", "method", "verdict", "original verdict"))
        columns = [*first, *(c for c in COLUMNS if c not in first)]
    head = "".join(f"<th>{escape(c.title)}</th>" for c in columns)
    body = "".join("<tr>" + "".join(_cell(c, row) for c in columns) + "</tr>" for row in rows)
    figures = [
        ("Accuracy", accuracy_figure(rows)),
        ("Size of the hidden states", layer_figure(rows, "median ‖h_l‖", lambda x: x.hidden_norm)),
        (
            "Credit per unit error",
            layer_figure(rows, "median ‖g_l‖/‖e‖", lambda x: x.credit_per_error),
        ),
        (
            "Alignment",
            layer_figure(rows, "Γ_l", lambda x: nan if x.alignment is None else x.alignment.gamma.value, _gamma, _null),
        ),
    ]
    drawn = "".join(f"<figure><figcaption>{escape(name)}</figcaption>{svg}</figure>" for name, svg in figures)
    failures = "".join(f"<li>{_shown(row.method)}: {_shown(text)}</li>" for row in rows for text in row.failed)
    failed = f"<h2>Failed</h2><ul>{failures}</ul>" if failures else ""
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>{_shown(title)}</title><style>{_STYLE}</style></head><body><h1>{_shown(title)}</h1>"
        f'<p>{_shown(description)}</p><div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody>'
        f"</table></div>{failed}{drawn}</body></html>\n"
    )
