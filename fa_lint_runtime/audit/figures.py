"""Figures of an audit as SVG text: accuracy with intervals, and ‖h‖, ‖g‖/‖e‖, Γ by layer."""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Sequence
from typing import Any

from ..dependencies import MissingDependencyError
from ..diagnostics import LayerReport
from ..escaping import visible
from .sensitivity import Sensitivity
from .table import Row

__all__ = ["accuracy_figure", "layer_figure", "threshold_figure"]


def _pyplot() -> Any:
    try:
        import matplotlib
    except ImportError:
        raise MissingDependencyError("matplotlib", "the page with figures", "report") from None
    from matplotlib.figure import Figure

    matplotlib.rcParams["svg.hashsalt"] = "fa-lint"  # the same figures give the same bytes
    return Figure


def _label(name: str) -> str:
    """A name as matplotlib sets it: it takes what stands between dollars for TeX, and hides what begins with ``_``."""
    shown = visible(name).replace("$", r"\$")
    return f" {shown}" if shown.startswith("_") else shown


def _svg(figure: Any) -> str:
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None})
    text = buffer.getvalue()
    return text[text.index("<svg") :]


def accuracy_figure(rows: Sequence[Row]) -> str:
    """Each seed as a point, the mean as a bar end, the t interval as a line.

    Raises:
        MissingDependencyError: matplotlib is not installed.
    """
    figure = _pyplot()(figsize=(7, 0.5 * len(rows) + 1.2), layout="constrained")
    axes = figure.subplots()
    places = range(len(rows))
    means = [row.accuracy.mean for row in rows]
    errors = [0.0 if math.isnan(row.accuracy.half) else row.accuracy.half for row in rows]
    axes.barh(places, means, color="#b6c7d6", height=0.6)
    axes.errorbar(means, places, xerr=errors, fmt="none", ecolor="#24292f", capsize=3)
    for place, row in zip(places, rows, strict=True):
        axes.plot([r.headline_acc for r in row.reports], [place] * len(row.reports), "o", color="#0a4a7a", ms=4)
    axes.set_yticks(list(places), [_label(f"{row.method} ({row.model})") for row in rows])
    axes.invert_yaxis()
    axes.set_xlim(0, 1)
    axes.set_xlabel("accuracy (points: seeds; line: 95 % t interval)")
    return _svg(figure)


Limits = Callable[[LayerReport], tuple[float, float]]


def layer_figure(
    rows: Sequence[Row],
    title: str,
    value: Callable[[LayerReport], float],
    interval: Limits | None = None,
    band: Limits | None = None,
) -> str:
    """One line a method: the median over seeds at each layer; logarithmic unless there are intervals.

    Args:
        rows: of the table.
        title: of the axis.
        value: what is drawn.
        interval: of the value in one network: from the lowest to the highest over seeds.
        band: where it lies without alignment: likewise, shaded.

    Raises:
        MissingDependencyError: matplotlib is not installed.
    """
    figure = _pyplot()(figsize=(7, 3.4), layout="constrained")
    axes = figure.subplots()
    for number, row in enumerate(rows):
        layers = list(zip(*(r.layers for r in row.reports), strict=False))
        medians = [_median([value(x) for x in own], positive=interval is None) for own in layers]
        if not any(math.isfinite(m) for m in medians):
            continue
        aside = 0.0 if interval is None else 0.06 * (number - (len(rows) - 1) / 2)  # intervals stand side by side
        places = [index + aside for index in range(len(layers))]
        color, label = f"C{number}", f"{row.method} ({row.model})" if row.model else row.method
        axes.plot(places, medians, marker="os^vDPX*"[number % 8], label=_label(label), color=color)
        if interval is not None:
            axes.vlines(places, *_limits(layers, interval), color=color, gid=f"interval-{number}")
        if band is not None:
            axes.fill_between(
                places, *_limits(layers, band), color=color, alpha=0.15, linewidth=0, gid=f"null-{number}"
            )
    if interval is None:
        axes.set_yscale("log")
    axes.set_xticks(range(max((len(r.layers) for row in rows for r in row.reports), default=1)))
    axes.set_xlabel("hidden state l")
    axes.set_ylabel(title)
    if axes.lines:
        axes.legend(fontsize=8, loc="center left", bbox_to_anchor=(1, 0.5), frameon=False)
    return _svg(figure)


def _median(values: Sequence[float], *, positive: bool) -> float:
    known = sorted(v for v in values if math.isfinite(v) and (v > 0 or not positive))
    return known[len(known) // 2] if known else math.nan


def _limits(layers: Sequence[Sequence[LayerReport]], limits: Limits) -> tuple[list[float], list[float]]:
    found = [[limits(x) for x in own] for own in layers]
    return [min(low for low, _ in own) for own in found], [max(high for _, high in own) for own in found]


def threshold_figure(found: Sequence[Sensitivity]) -> str:
    """One strip a diagnostic: every report as a point, the threshold as a line, its plateau shaded.

    Raises:
        MissingDependencyError: matplotlib is not installed.
    """
    figure = _pyplot()(figsize=(7, 1.6 * len(found) + 0.4), layout="constrained")
    for axes, one in zip(figure.subplots(len(found), squeeze=False)[:, 0], found, strict=True):
        for place, (method, values) in enumerate(one.values.items()):
            drawn = [v for v in values if math.isfinite(v) and (v > 0 or not one.log)]
            if drawn:
                axes.plot(drawn, [place] * len(drawn), "o", ms=4, color="#0a4a7a")
            axes.text(1.01, place, _label(method), transform=axes.get_yaxis_transform(), fontsize=8, va="center")
        if one.log and axes.lines:  # around one line alone a logarithmic axis has no limits
            axes.set_xscale("log")
        if math.isfinite(one.low) and math.isfinite(one.high):
            axes.axvspan(one.low, one.high, color="#cfe3d4", zorder=0)
        axes.axvline(one.threshold, color="#a40e26", lw=1)
        axes.set_yticks([])
        axes.set_ylim(-0.7, max(0, len(one.values) - 1) + 0.7)
        axes.set_title(f"{one.name}: threshold {one.threshold:g}", fontsize=9, loc="left")
    return _svg(figure)
