"""Batches that are not eight times 128 samples with a class each."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from zoo import C, ResidualBlock, ResidualMLP, vectors

from fa_lint_runtime import cross_batch_direction_stability, diagnose


def test_sequences_of_unlike_length_have_no_common_direction_over_all_tokens() -> None:
    batches = [(torch.randint(0, 11, (6, t)), torch.randint(0, C, (6,))) for t in (5, 7)]

    class Words(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.table, self.head = nn.Embedding(11, 8), nn.Linear(8, C)
            self.blocks = nn.ModuleList(ResidualBlock() for _ in range(2))

        def forward(self, ids: Tensor) -> Tensor:
            h = self.table(ids)
            for block in self.blocks:
                h = block(h)
            return self.head(h.mean(1))  # type: ignore[no-any-return]

    expected = "has 40 numbers a sample in batch 0 and 56 in batch 1: give batches of one length"
    for measure in (
        lambda token: diagnose(Words(), batches, 0.5, token=token),
        lambda token: cross_batch_direction_stability(Words(), batches, token=token),
    ):
        with pytest.raises(ValueError, match=expected):
            measure("all")
        measure("mean")


def test_samples_that_cross_entropy_ignores_are_left_out() -> None:
    torch.manual_seed(0)
    model, ignored = ResidualMLP(), torch.zeros(40, dtype=torch.bool)
    ignored[::5] = True
    x, y = vectors(40), torch.randint(0, C, (40,))
    whole = [(x[i::2], torch.where(ignored, -100, y)[i::2]) for i in range(2)]
    part = [(x[i::2][~ignored[i::2]], y[i::2][~ignored[i::2]]) for i in range(2)]
    ours, theirs = (diagnose(model, batches, 0.5) for batches in (whole, part))
    assert ours.provenance is not None
    assert theirs.provenance is not None
    assert ours.provenance.measured_accuracy == theirs.provenance.measured_accuracy
    assert ours.layers[1].credit_per_error == pytest.approx(theirs.layers[1].credit_per_error, rel=1e-5)
    assert ours.layers[1].drift.rho_energy.value == pytest.approx(theirs.layers[1].drift.rho_energy.value, rel=1e-4)
    assert ours.error_drift is not None
    assert theirs.error_drift is not None
    assert ours.error_drift.bias_share == pytest.approx(theirs.error_drift.bias_share, rel=1e-4)
    assert ours.layers[1].undefined_share == 0.2


def test_integer_targets_that_are_no_classes_belong_to_a_loss_of_their_own() -> None:
    batches = [(vectors(16), 2 * torch.randint(0, 2, (16,)) - 1) for _ in range(3)]

    def hinge(logits: Tensor, y: Tensor) -> Tensor:
        return F.relu(1 - logits[:, 0] * y).sum()

    report = diagnose(ResidualMLP(), batches, 0.5, loss_fn=hinge)
    assert report.provenance is not None
    assert math.isnan(report.provenance.measured_accuracy)
    assert report.error_drift is not None
    assert math.isnan(report.error_drift.bias_share)


@pytest.mark.parametrize("dtype", [torch.bool, torch.int32, torch.float32])
def test_targets_that_cross_entropy_does_not_take(dtype: torch.dtype) -> None:
    batches = [(vectors(8), torch.randint(0, 2, (8,)).to(dtype))]
    with pytest.raises(TypeError, match=rf"integer class indices \(y.long\(\)\) as y, got {dtype}; give loss_fn"):
        diagnose(ResidualMLP(), batches, 0.5)


def test_one_sample_has_no_agreement_between_samples() -> None:
    report = diagnose(ResidualMLP(), [(vectors(1), torch.randint(0, C, (1,)))], 0.5)
    assert all(math.isnan(x.drift.rho_energy.value) for x in report.layers)
    assert all(math.isnan(x.drift.rho_direction.value) for x in report.layers)
