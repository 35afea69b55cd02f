"""What many diagnostics share, against the plain definition: medians, delete-one-group intervals, drift from sums."""

from __future__ import annotations

import math
import statistics

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from torch import Tensor

from fa_lint_runtime.diagnostics.rows import as_rows, group_sums
from fa_lint_runtime.diagnostics.stability import batch_directions_stability, drifts
from fa_lint_runtime.diagnostics.statistics import binomial_interval, jackknife, medians, student_quantile

numbers = st.one_of(st.floats(-1e6, 1e6), st.sampled_from([math.inf, math.nan, 0.0]))


def plain_median(values: list[float]) -> float:
    if not values or any(math.isnan(v) for v in values):
        return math.nan
    return statistics.median(values)


@given(
    st.integers(0, 9).flatmap(
        lambda n: st.lists(st.lists(st.tuples(numbers, st.booleans()), min_size=n, max_size=n), min_size=1, max_size=4)
    )
)
def test_medians_are_those_of_each_row(table: list[list[tuple[float, bool]]]) -> None:
    values = torch.tensor([[v for v, _ in row] for row in table], dtype=torch.float64)
    used = torch.tensor([[u for _, u in row] for row in table], dtype=torch.bool)
    whole = [plain_median([v for v, _ in row]) for row in table]
    part = [plain_median([v for v, u in row if u]) for row in table]
    assert medians(values) == pytest.approx(whole, rel=1e-15, nan_ok=True)
    assert medians(values, used) == pytest.approx(part, rel=1e-15, nan_ok=True)


def test_jackknife_is_the_textbook_interval_of_the_groups_that_hold_anything() -> None:
    rng = np.random.default_rng(0)
    values = rng.standard_normal((4, 9)) + 2.0
    without = (values.sum(1, keepdims=True) - values) / 8
    used = np.ones((4, 9), dtype=bool)
    used[1, 3:5] = False
    used[2] = False
    without[3, 0] = math.inf
    found = jackknife(values.mean(1), without, used, 0.05)
    for row in (0, 1):
        kept = without[row][used[row]]
        n = len(kept)
        half = student_quantile(0.975, n - 1) * math.sqrt((n - 1) / n * sum((v - kept.mean()) ** 2 for v in kept))
        assert (found[row].low, found[row].high) == pytest.approx(
            (values[row].mean() - half, values[row].mean() + half)
        )
    for row in (2, 3):
        assert found[row].value == pytest.approx(values[row].mean())
        assert math.isnan(found[row].low)
        assert math.isnan(found[row].high)


@pytest.mark.parametrize("probability", [0.75, 0.95, 0.975, 0.9995])
@pytest.mark.parametrize("degrees", [1, 2, 3, 4.5, 7, 30, 101])
def test_a_student_variable_stays_below_its_quantile_that_often(probability: float, degrees: float) -> None:
    assert stats.t.cdf(student_quantile(probability, degrees), degrees) == pytest.approx(probability, rel=1e-9)


@pytest.mark.parametrize(("probability", "degrees"), [(0.975, 0), (0.975, -1), (0.0, 3), (1.0, 3), (math.nan, 3)])
def test_no_quantile_without_a_degree_of_freedom(probability: float, degrees: float) -> None:
    with pytest.raises(ValueError, match="degrees > 0"):
        student_quantile(probability, degrees)


@pytest.mark.parametrize("groups", [2, 3, 5])
def test_intervals_over_few_groups_cover_as_often_as_they_say(groups: int) -> None:
    values = np.random.default_rng(0).standard_normal((20_000, groups))
    without = (values.sum(1, keepdims=True) - values) / (groups - 1)
    found = jackknife(values.mean(1), without, np.ones_like(values, dtype=bool), 0.05)
    covered = [e.low <= 0 <= e.high for e in found]
    interval = binomial_interval(sum(covered), len(covered), 0.001)
    assert interval.low <= 0.95 <= interval.high


@pytest.mark.parametrize("scale", [1.0, 1e-30])
@pytest.mark.parametrize("zero", [False, True])
def test_drift_is_the_mean_over_all_pairs_of_samples(scale: float, zero: bool) -> None:
    rng = torch.Generator().manual_seed(1)
    batches: list[list[Tensor]] = [
        [torch.randn(n, d, generator=rng, dtype=torch.float64) * scale + 0.3 * scale for n in (12, 7, 3)]
        for d in (5, 6, 5)
    ]
    if zero:
        batches[0][1][2] = 0.0
    found = drifts([[group_sums(as_rows(b.unsqueeze(0)), 4)[0] for b in layer] for layer in batches], 0.05)
    for layer, ours in zip(batches, found, strict=True):
        g = torch.cat(layer) / scale
        g = g[g.any(1)]
        n = len(g)
        unit = g / g.norm(dim=1, keepdim=True)
        off = ~torch.eye(n, dtype=torch.bool)
        energy = (g @ g.mT)[off].sum() / (n * (n - 1)) / g.square().sum(1).mean()
        assert ours.rho_energy.value == pytest.approx(float(energy), rel=1e-5)
        assert ours.rho_direction.value == pytest.approx(float((unit @ unit.mT)[off].mean()), rel=1e-5)
        assert ours.rho_energy.low < ours.rho_energy.value < ours.rho_energy.high
        means = torch.stack([b.sum(0) / scale for b in layer])
        assert ours.stability == pytest.approx(batch_directions_stability(list(means)), rel=1e-5)
