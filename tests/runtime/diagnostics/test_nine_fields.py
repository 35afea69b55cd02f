"""A report made of its nine original fields, as a reader of the protocol would; and what it is made from, public."""

from __future__ import annotations

import pytest
import torch
from zoo import NoContract, vectors

from fa_lint_runtime import (
    DiagnosticReport,
    DiagnosticThresholds,
    bp_grad_norms,
    per_sample_cosines,
    per_sample_gradients,
    safe_cosine_matrix,
)

HEALTHY = ([9.0, 10.0, 12.0], [3e-4, 2e-4, 4e-4])
BLOWN_UP = ([9.0, 1e4, 4e8], [4e-9, 4e-9, 4e-9])


def report(
    norms: tuple[list[float], list[float]], frozen: float | None = 0.349, acc: float = 0.615
) -> DiagnosticReport:
    return DiagnosticReport("m", "", *norms, 1, 0.1, acc, frozen, DiagnosticThresholds())


def test_growth_fired_criteria_and_the_verdict_are_derived() -> None:
    dfa = report(BLOWN_UP, acc=0.306)
    assert dfa.num_blocks == 2
    assert dfa.max_growth == pytest.approx(4e4)
    assert dfa.fired == dfa.original_fired == ("(a)", "(b)", "(d)")
    assert (dfa.verdict, dfa.original_verdict, dfa.exit_code) == ("walked back", "walked back", 1)
    assert [x.growth for x in dfa.layers[1:]] == pytest.approx([1e4 / 9, 4e4])


def test_what_does_not_fire_is_not_trusted_without_a_margin() -> None:
    assert report(HEALTHY).verdict == "trustworthy"
    assert report(HEALTHY, frozen=None).verdict == "no fault found"
    assert report(([], [])).verdict == "not measurable"
    assert report(([float("nan")] * 3, HEALTHY[1])).verdict == "invalid"


def test_tables_are_derived() -> None:
    text = report(BLOWN_UP, acc=0.306).to_text()
    assert "4.0e+08" in text
    assert "h_2" in text
    assert "‖g_L‖ = 4e-09" in text
    assert "| 2 | h_2 |" in report(BLOWN_UP).to_markdown()
    assert "4.0" in report(BLOWN_UP).to_latex()
    again = DiagnosticReport.from_json(report(BLOWN_UP).to_json())
    assert again.to_text() == report(BLOWN_UP).to_text()


def test_per_sample_gradients_and_their_cosines_are_public() -> None:
    torch.manual_seed(0)
    model, x, y = NoContract(), vectors(12), torch.randint(0, 5, (12,))
    gradients = per_sample_gradients(model, x, y)
    assert len(gradients) == 5
    assert all(g is not None and g.shape == (12, 8) for g in gradients)
    norms = [float(g.double().norm(dim=1).quantile(0.5)) / 12 for g in gradients if g is not None]
    assert bp_grad_norms(model, x, y) == pytest.approx(norms, rel=1e-5)
    matrix = per_sample_cosines(model, x, y, 2)
    assert gradients[2] is not None
    assert torch.equal(matrix, safe_cosine_matrix(gradients[2]))
    with pytest.raises(ValueError, match="layer_index"):
        per_sample_cosines(model, x, y, 9)
