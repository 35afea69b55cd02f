"""Per-layer figures as SVG: sizes of hidden states, credit per unit error, Γ with its null."""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Sequence
from typing import Any

from ..dependencies import install_command
from ..diagnostics.report import DiagnosticReport, LayerReport

__all__ = ["figures"]

_INK, _BLUE, _RED, _GREY = "#1f2933", "#1f6feb", "#c0362c", "#8a94a0"
_STYLE: Any = {
    "svg.fonttype": "none",
    "svg.hashsalt": "fa-lint",
    "font.family": "sans-serif",
    "font.size": 9,
    "axes.edgecolor": _GREY,
    "axes.labelcolor": _INK,
    "text.color": _INK,
    "xtick.color": _INK,
    "ytick.color": _INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
}


def figures(report: DiagnosticReport) -> list[tuple[str, str]]:
    """(caption, SVG) of every figure that this report has numbers for.

    Raises:
        ImportError: without matplotlib (extra ``report``).
    """
    layers = report.layers
    if not layers:
        return []
    found = [
        (
            "Size of the hidden states: median ‖h_l‖. The dashed line is what the growth threshold allows from one "
            "layer to the next.",
            _drawn(lambda axes: _norms(axes, report)),
        ),
        (
            "Credit per unit error: median ‖g_l‖/‖e‖, and the least that counts as credit (dashed).",
            _drawn(lambda axes: _credit(axes, report)),
        ),
    ]
    if any(x.alignment for x in layers):
        caption = (
            "Γ_l with the bootstrap interval over samples, and the band of fresh feedback (grey): inside it, Γ is what "
            "any random feedback gives. Crosses: the pairing of the original protocol."
        )
        found.append((caption, _drawn(lambda axes: _gamma(axes, layers))))
    return found


def _drawn(draw: Callable[[Any], None]) -> str:
    try:
        import matplotlib as mpl
        from matplotlib.figure import Figure
    except ImportError:
        raise ImportError(f"figures need matplotlib: {install_command('report')}") from None
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(5.2, 2.9), layout="constrained")
        draw(figure.subplots())
        stream = io.StringIO()
        figure.savefig(stream, format="svg", metadata={"Date": None, "Creator": None})
    text = stream.getvalue()
    return text[text.index("<svg") :].strip()


def _label(axes: Any, layers: Sequence[LayerReport], y: str) -> None:
    axes.set_xticks([x.index for x in layers][:: max(1, len(layers) // 12)])
    axes.set_xlabel("layer l")
    axes.set_ylabel(y)
    axes.grid(axis="y", color="#e4e8ec", linewidth=0.8)
    axes.set_axisbelow(True)


def _positive(layers: Sequence[LayerReport], values: Sequence[float]) -> tuple[list[int], list[float]]:
    kept = [(x.index, v) for x, v in zip(layers, values, strict=True) if v > 0 and math.isfinite(v)]
    return [i for i, _ in kept], [v for _, v in kept]


def _norms(axes: Any, report: DiagnosticReport) -> None:
    indices, values = _positive(report.layers, [x.hidden_norm for x in report.layers])
    axes.set_yscale("log")
    axes.plot(indices, values, "o-", color=_BLUE, gid="hidden-norm")
    limits = [v * report.thresholds.max_block_growth for v in values[:-1]]
    for index, limit in zip(indices[1:], limits, strict=False):
        axes.plot(
            [index - 0.3, index + 0.3], [limit, limit], "--", color=_RED, linewidth=1, gid=f"growth-limit-{index}"
        )
    _label(axes, report.layers, "‖h‖")


def _credit(axes: Any, report: DiagnosticReport) -> None:
    indices, values = _positive(report.layers, [x.credit_per_error for x in report.layers])
    axes.set_yscale("log")
    axes.plot(indices, values, "o-", color=_BLUE, gid="credit-per-error")
    axes.axhline(report.thresholds.min_credit_per_error, linestyle="--", color=_RED, linewidth=1, gid="credit-limit")
    _label(axes, report.layers, "‖g‖/‖e‖")


def _gamma(axes: Any, layers: Sequence[LayerReport]) -> None:
    for x in layers:
        a = x.alignment
        if a is None or math.isnan(a.gamma.value):
            continue
        if not math.isnan(a.null_low):
            height = a.null_high - a.null_low
            axes.bar(x.index, height, 0.7, a.null_low, color="#d5dbe1", linewidth=0, gid=f"null-band-{x.index}")
        color = _BLUE if a.decision == "aligned" else _RED if a.decision == "opposed" else _GREY
        if not math.isnan(a.gamma.low):
            axes.plot([x.index] * 2, [a.gamma.low, a.gamma.high], color=color, linewidth=2, gid=f"interval-{x.index}")
        axes.plot(x.index, a.gamma.value, "o", color=color, gid=f"gamma-{x.index}")
        if a.original_site and not math.isnan(a.original_gamma):
            axes.plot(x.index, a.original_gamma, "x", color=_INK, markersize=5, gid=f"original-{x.index}")
    axes.axhline(0, color=_INK, linewidth=0.8)
    _label(axes, layers, "Γ")
