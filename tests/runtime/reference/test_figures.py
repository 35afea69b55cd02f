"""Where points, intervals and bands lie in the figures of an audit, and what the page says beside them."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import nn

from fa_lint_runtime import DiagnosticReport, Feedback, diagnose
from fa_lint_runtime.audit import Row, audit_page, figures
from fa_lint_runtime.audit.table import rows_of_reports

pytest.importorskip("matplotlib")


def reports(name: str, seeds: tuple[int, ...]) -> list[DiagnosticReport]:
    found = []
    for seed in seeds:
        torch.manual_seed(seed)
        model = nn.Sequential(nn.Linear(6, 16), nn.Tanh(), nn.Linear(16, 16), nn.Tanh(), nn.Linear(16, 3))
        batches = [(torch.randn(32, 6), torch.randint(0, 3, (32,))) for _ in range(2)]
        feedback = Feedback.dfa([16, 16], 3, seed=seed, sites=["0", "2"])
        found.append(diagnose(model, batches, 0.3 + seed / 50, 0.3, name, feedback=feedback, progress=False))
    return found


@pytest.fixture(scope="module")
def rows() -> list[Row]:
    return rows_of_reports(reports("dfa", (1, 2, 3)) + reports("fa", (4, 5, 6)))


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The axes of each figure, as they are when it becomes text."""
    found: list[Any] = []
    svg = figures._svg

    def kept(figure: Any) -> str:
        found.append(figure.axes[0])
        return svg(figure)

    monkeypatch.setattr(figures, "_svg", kept)
    return found


def test_bars_points_and_intervals_of_accuracies(rows: list[Row], drawn: list[Any]) -> None:
    figures.accuracy_figure(rows)
    axes = drawn[0]
    assert [bar.get_width() for bar in axes.patches] == [row.accuracy.mean for row in rows]
    assert [bar.get_y() + bar.get_height() / 2 for bar in axes.patches] == pytest.approx([0, 1])
    points = [line for line in axes.lines if line.get_marker() == "o"]
    for place, (row, line) in enumerate(zip(rows, points, strict=True)):
        assert list(line.get_xdata()) == [r.headline_acc for r in row.reports]
        assert list(line.get_ydata()) == [place] * 3
    ends = [segment[:, 0].tolist() for segment in axes.collections[0].get_segments()]
    assert ends == [pytest.approx([row.accuracy.low, row.accuracy.high]) for row in rows]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["dfa (2 × 16)", "fa (2 × 16)"]
    assert axes.yaxis_inverted()
    assert axes.get_xlim() == (0, 1)


def _median(values: list[float]) -> float:
    return sorted(values)[1]


def test_lines_intervals_and_bands_by_layer(rows: list[Row], drawn: list[Any]) -> None:
    audit_page("t", "d", rows)
    _, hidden, credit, gamma = drawn
    for axes, name in ((hidden, "hidden_norm"), (credit, "credit_per_error")):
        for row, line in zip(rows, axes.lines, strict=True):
            values = [_median([getattr(r.layers[index], name) for r in row.reports]) for index in (0, 1)]
            assert (list(line.get_xdata()), list(line.get_ydata())) == ([0, 1], values)
        assert axes.get_yscale() == "log"
    assert gamma.get_yscale() == "linear"
    named = {c.get_gid(): c for c in gamma.collections}
    for number, (row, line) in enumerate(zip(rows, gamma.lines, strict=True)):
        places = [index + (-0.03, 0.03)[number] for index in (0, 1)]
        layers = [[r.layers[index].alignment for r in row.reports] for index in (0, 1)]
        assert list(line.get_xdata()) == pytest.approx(places)
        assert list(line.get_ydata()) == [_median([a.gamma.value for a in own if a]) for own in layers]
        segments = named[f"interval-{number}"].get_segments()
        assert [s[0, 0] for s in segments] == [s[1, 0] for s in segments] == pytest.approx(places)
        lows = [min(a.gamma.low for a in own if a) for own in layers]
        highs = [max(a.gamma.high for a in own if a) for own in layers]
        assert [(s[0, 1], s[1, 1]) for s in segments] == list(zip(lows, highs, strict=True))
        corners = named[f"null-{number}"].get_paths()[0].vertices
        for place, own in zip(places, layers, strict=True):
            at = [y for x, y in corners if x == pytest.approx(place)]
            assert (min(at), max(at)) == (min(a.null_low for a in own if a), max(a.null_high for a in own if a))
    assert [text.get_text() for text in gamma.get_legend().get_texts()] == ["dfa (2 × 16)", "fa (2 × 16)"]


def test_the_page_puts_each_figure_under_its_name(rows: list[Row], drawn: list[Any]) -> None:
    page = audit_page("t", "d", [replace(rows[0], failed=("ValueError: no <luck>",)), rows[1]])
    captions = ["Accuracy", "Size of the hidden states", "Credit per unit error", "Alignment"]
    places = [page.index(f"<figcaption>{name}</figcaption><svg") for name in captions]
    assert places == sorted(places)
    assert [axes.get_ylabel() for axes in drawn] == ["", "median ‖h_l‖", "median ‖g_l‖/‖e‖", "Γ_l"]
    assert "<h2>Failed</h2><ul><li>dfa: ValueError: no &lt;luck&gt;</li></ul>" in page


def test_a_network_without_credit_has_no_line(rows: list[Row], drawn: list[Any]) -> None:
    bare = tuple(replace(r, layers=tuple(replace(x, alignment=None) for x in r.layers)) for r in rows[0].reports)
    audit_page("t", "d", [replace(rows[0], reports=bare, accuracy=replace(rows[0].accuracy, half=math.nan))])
    assert [len(axes.lines) for axes in drawn[1:]] == [1, 1, 0]
    assert [s[0, 0] == s[1, 0] for s in drawn[0].collections[0].get_segments()] == [True], "no interval"
