"""SCIENCE.md section 7, items 2, 3, 6, 7, 13 and 15: the old formula's answer beside ours beside the truth."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fa_lint_runtime import (
    CheckpointError,
    Feedback,
    load_checkpoint,
    output_error,
    safe_cosine,
    safe_norm,
    save_checkpoint,
)


def old_cosine_no_clamp(a: Tensor, b: Tensor) -> Tensor:
    """The original protocol's own helper."""
    return (a * b).sum(-1) / (a.norm(dim=-1).clamp_min(1e-30) * b.norm(dim=-1).clamp_min(1e-30))


@pytest.mark.parametrize(
    ("entry", "old"), [(1e-22, 1.0097), (1e-23, 1.6e8), (1e-24, 1.6e7), (1e-30, 16.0), (1e-40, 0.0)]
)
def test_item_2_the_clamp_free_helper_explodes(entry: float, old: float) -> None:
    a, b = torch.full((256,), entry), torch.ones(256)
    truth = 1.0
    assert old_cosine_no_clamp(a, b).item() == pytest.approx(old, rel=0.02, abs=1e-6)
    assert safe_cosine(a, b).item() == truth


def test_item_2_zero_vectors_were_averaged_in_and_half_gave_nan() -> None:
    a, b = torch.zeros(2, 256), torch.ones(2, 256)
    a[1] = 1
    assert old_cosine_no_clamp(a, b).mean().item() == 0.5  # one defined cosine, 1; reported 0.5
    assert math.isnan(safe_cosine(a, b)[0].item())
    assert safe_cosine(a, b).nanmean().item() == 1.0
    assert math.isnan(old_cosine_no_clamp(a.half(), b.half())[0].item())


def test_item_3_a_clamped_value_printed_as_correct() -> None:
    torch.manual_seed(0)
    g, a = torch.randn(256), torch.randn(256)
    g = g / g.norm() * 5e-10
    truth = F.cosine_similarity(g.double() * 1e10, a.double(), dim=0).item()
    old = F.cosine_similarity(g, a, dim=0).item()
    assert old / truth == pytest.approx(0.05, rel=1e-3)
    assert safe_cosine(g, a).item() == pytest.approx(truth, rel=1e-7)
    assert F.cosine_similarity(g.bfloat16(), a.bfloat16(), dim=0).item() / truth == pytest.approx(0.05, rel=0.05)
    assert safe_cosine(g.bfloat16(), a.bfloat16()).item() == pytest.approx(truth, rel=0.05)
    assert math.isnan(safe_cosine(g.half(), a.half()).item())  # flushed to zero: undefined, and it says so


def test_item_6_feedback_rebuilt_from_the_random_state(tmp_path: Path) -> None:
    def old_rebuild(disturb: bool) -> Tensor:
        torch.manual_seed(42)
        if disturb:
            torch.randperm(4)  # one shuffle earlier
        nn.Linear(8, 8)
        return torch.randn(256, 10) / math.sqrt(10)

    trained, rebuilt = old_rebuild(False), old_rebuild(True)
    error = torch.randn(64, 10)
    truth = 1.0  # a credit compared with itself
    old = safe_cosine(error @ trained.T, error @ rebuilt.T).mean().item()
    assert abs(old) < 0.2  # and no error was raised
    save_checkpoint(tmp_path / "run.pt", nn.Linear(8, 8), feedback={"blocks.0": trained})
    torch.randperm(4)
    loaded = load_checkpoint(tmp_path / "run.pt").feedback()["blocks.0"]
    assert safe_cosine(error @ trained.T, error @ loaded.T).mean().item() == truth
    torch.manual_seed(1)
    first = Feedback.dfa([256], 10, seed=42)
    torch.manual_seed(2)
    assert Feedback.dfa([256], 10, seed=42).digest == first.digest
    assert Feedback.dfa([256], 10, seed=43).digest != first.digest
    data = bytearray((tmp_path / "run.pt").read_bytes())
    data[len(data) // 2] ^= 1
    (tmp_path / "run.pt").write_bytes(bytes(data))
    with pytest.raises(CheckpointError):
        load_checkpoint(tmp_path / "run.pt")


@pytest.mark.parametrize(("norm", "old"), [(5e-10, 0.05), (1e-12, 1e-4)])
def test_item_7_each_norm_is_clamped_not_the_product(norm: float, old: float) -> None:
    a, b = torch.full((4,), 50.0), torch.full((4,), norm / 2)
    truth = 1.0
    product_rule = (a @ b / max(100.0 * norm, 1e-8)).item()
    assert F.cosine_similarity(a, b, dim=0).item() == pytest.approx(old, rel=1e-3)
    assert product_rule == pytest.approx(1.0 if norm == 5e-10 else 0.01, rel=1e-3)
    assert safe_cosine(a, b).item() == truth


def test_item_13_the_output_error_cancels() -> None:
    logits, target = torch.tensor([[18.0] + [0.0] * 9]), torch.tensor([0])
    truth = torch.softmax(logits.double(), -1)
    truth[0, 0] = -truth[0, 1:].sum()
    old = torch.softmax(logits, -1) - F.one_hot(target, 10)
    assert truth[0, 0].item() == pytest.approx(-1.4e-7, rel=0.03)
    assert old[0, 0].item() == 0.0
    assert safe_cosine(old.double(), truth).item() == pytest.approx(0.316, abs=0.001)
    ours = output_error(logits, target)
    assert safe_cosine(ours.double(), truth).item() == pytest.approx(1.0, abs=1e-12)
    assert ours[0, 0].item() == pytest.approx(truth[0, 0].item(), rel=1e-7)
    far = torch.tensor([[60.0] + [0.0] * 9])
    assert output_error(far, target)[0, 0].item() == pytest.approx(-9 * math.exp(-60), rel=1e-6)


def test_item_15_norms_in_half_precision() -> None:
    h = torch.full((230_400,), 200.0, dtype=torch.float16)
    truth = 96_000.0
    assert h.norm(dim=-1).item() == math.inf
    assert safe_norm(h).item() == math.inf  # 96000 is no fp16 number either, so
    assert safe_norm(h.float()).item() == truth  # measure it in a dtype that holds it,
    assert safe_cosine(h, h).item() == 1.0  # and a ratio needs no such care
    other = torch.randn(230_400).half()
    old = (h * other).sum(-1) / (h.norm(dim=-1) * other.norm(dim=-1))
    assert math.isnan(old.item())  # inf / inf
    assert safe_cosine(h, other).item() == pytest.approx(
        F.cosine_similarity(h.double(), other.double(), dim=0).item(), rel=1e-3
    )
