"""SCIENCE.md section 7, the rows about diagnostics: the original's answer, ours, the truth."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from training import CLASSES, DEPTH, accuracy, batches, trained
from zoo import D, NoContract, ResidualMLP, VisionTransformer, frozen, images, vectors

from fa_lint_runtime import (
    DiagnosticThresholds,
    Feedback,
    bp_grad_norms,
    cross_batch_direction_stability,
    diagnose,
    residual_norms,
)
from fa_lint_runtime.diagnostics.alignment import aggregate
from fa_lint_runtime.diagnostics.statistics import median

Batches = list[tuple[Tensor, Tensor]]


def random_batches(count: int = 4, size: int = 16, scale: float = 1.0) -> Batches:
    return [(scale * vectors(size), torch.randint(0, 5, (size,))) for _ in range(count)]


def old_hidden(model: nn.Module, x: Tensor) -> list[Tensor]:
    """The original's second forward: embed, then blocks with the skip outside."""
    h = model.embed(x)  # type: ignore[operator]
    hidden = [h]
    for block in model.blocks:  # type: ignore[union-attr]
        h = h + block(h)
        hidden.append(h)
    return hidden


def old_gradients(model: nn.Module, x: Tensor, y: Tensor) -> list[Tensor]:
    hidden = old_hidden(model, x)
    loss = F.cross_entropy(model.out_head(model.out_ln(hidden[-1])), y)  # type: ignore[operator]
    return list(torch.autograd.grad(loss, hidden))


def old_growth(model: nn.Module, x: Tensor) -> float:
    norms = [h.norm(dim=-1).median().item() for h in old_hidden(model, x)]
    return max(after / before for before, after in pairwise(norms))


def test_row_1_each_state_is_paired_with_the_credit_that_trains_it() -> None:
    model, feedback = trained("dfa")
    matrices = [matrix for _, matrix in feedback.items()]
    x, y = (torch.cat(parts) for parts in zip(*batches(), strict=True))
    error = F.softmax(model(x), 1) - F.one_hot(y, CLASSES)
    old = []
    for index, g in enumerate(old_gradients(model, x, y)):
        credit = error @ matrices[min(index, DEPTH - 1)].T
        old.append(F.cosine_similarity(credit.double(), g.double(), dim=1, eps=0).mean().item())
    report = diagnose(model, batches(), accuracy(model), feedback=matrices)  # the original's plain list
    found = [x.alignment for x in report.layers]
    assert all(a is not None for a in found)
    ours = [a.gamma.value for a in found if a is not None]
    # The truth: block 0, trained with B_0, makes h_1; its alignment is the strongest of all, and the original misses it.
    truth = F.cosine_similarity(
        (error @ matrices[0].T).double(), old_gradients(model, x, y)[1].double(), dim=1, eps=0
    ).mean()
    assert ours[1] == pytest.approx(truth.item(), abs=1e-5)
    assert ours[1] > old[1] + 0.1
    shown = [a.original_gamma if a.original_site else a.gamma.value for a in found if a is not None]
    assert shown == pytest.approx(old, abs=1e-4)  # the original's numbers stay visible
    explicit = diagnose(
        model,
        batches(),
        accuracy(model),
        feedback=feedback,
        sites={"blocks.0": ["embed", 1], "blocks.1": 2, "blocks.2": 3, "blocks.3": -1},
    )
    assert [a.gamma.value for x in explicit.layers if (a := x.alignment)] == ours
    assert explicit.alignment is not None
    assert explicit.alignment.pairing == ""


def test_row_4_a_nan_network_passed() -> None:
    model = ResidualMLP()
    with torch.no_grad():
        model.blocks[1].fc1.weight.fill_(math.nan)
    x, y = random_batches(1)[0]
    g = [v.norm(dim=-1).median().item() for v in old_gradients(model, x, y)]
    assert not g[-1] < 1e-7  # the original: (b) does not fire,
    assert not old_growth(model, x) > 50  # nor does (a): a pass
    report = diagnose(model, random_batches(), 0.1, 0.3)
    assert report.verdict == "invalid"
    assert report.original_verdict == "invalid"
    assert "NaN" in report.headline


def test_row_4_a_dead_head_read_as_healthy() -> None:
    model = ResidualMLP()
    with torch.no_grad():
        model.out_head.weight.zero_()
    data = random_batches()
    directions = torch.stack([old_gradients(model, x, y)[2].mean(0) for x, y in data])
    old = F.cosine_similarity(directions[0], directions[1], dim=0).item()
    assert old == 0.0  # "healthy: 0.05 to 0.18"
    assert math.isnan(cross_batch_direction_stability(model, data, 2))
    report = diagnose(model, data, 0.2)
    assert report.verdict == "invalid"
    assert "zero gradient" in report.headline


def test_row_4_the_median_hid_an_inf() -> None:
    values = torch.tensor([1.0, 2.0, math.inf])
    assert values.median().item() == 2.0
    model = ResidualMLP()
    data = random_batches()
    data[2][0][3] = 3e38  # one sample overflows
    report = diagnose(model, data, 0.2)
    assert report.verdict == "invalid"
    assert any(x.nonfinite_share > 0 for x in report.layers)


def test_row_5_an_aggregate_cannot_span_what_the_original_reports() -> None:
    # "Blocks are about 0" and "the four strategies span 0.085 to 0.211" contradict each other: the medians over layers are 0.
    gammas = [0.42, 0.002, 0.001, -0.001, 0.0005]
    found = aggregate(gammas, gammas)
    assert found.mean_mean == pytest.approx(0.0845, abs=1e-3)
    assert found.mean_median == found.median_median == 0.001
    assert found.spread > 80


def test_row_8_the_gradient_norm_carried_one_over_b() -> None:
    model, _ = trained("bp")
    x, y = (torch.cat(parts) for parts in zip(*batches(), strict=True))
    few, labels = x[:16], y[:16]
    old = {
        16 * k: old_gradients(model, few.repeat(k, 1), labels.repeat(k))[-1].norm(dim=-1).median().item()
        for k in (1, 64)
    }
    assert old[16] / old[1024] == pytest.approx(64, rel=0.01)  # the same network, the same samples
    ours = {b: diagnose(model, batches(b), accuracy(model)).layers[-1] for b in (128, 512)}
    assert ours[128].gradient_norm == pytest.approx(ours[512].gradient_norm, rel=1e-5)
    assert ours[128].credit_per_error == pytest.approx(ours[512].credit_per_error, rel=1e-5)
    assert bp_grad_norms(model, x[:16], y[:16])[-1] == pytest.approx(old[16], rel=0.3)  # the original's, on request


def test_row_9_a_hand_written_forward_lost_the_cls_token() -> None:
    model = VisionTransformer().eval()
    x = images(8)
    patches = model.patch_embed(x).flatten(2).transpose(1, 2)  # the original's _embed
    old = model.head(model.norm(model.blocks(patches))[:, 0])
    assert patches.shape[1] == 4
    assert (old - model(x)).abs().max() > 0.1  # another function, without a word
    batch = [(x, torch.randint(0, 5, (8,)))]
    report = diagnose(model, batch, 0.2, token="all")
    assert report.layers[0].width == 5 * D
    taken: list[Tensor] = []
    handle = model.blocks[0].register_forward_pre_hook(lambda _m, args: taken.append(args[0]))
    model(x)
    handle.remove()
    expected = taken[0].flatten(1).norm(dim=1).quantile(0.5).item()
    assert report.layers[0].hidden_norm == pytest.approx(expected, rel=1e-6)


def test_row_9_blocks_that_contain_their_skip() -> None:
    model = VisionTransformer().eval()
    x, y = images(8), torch.randint(0, 5, (8,))
    h = torch.cat([model.cls_token.expand(8, -1, -1), model.patch_embed(x).flatten(2).transpose(1, 2)], 1)
    h = h + model.pos_embed
    truth_hidden, old_h = [h], [h]
    for block in model.blocks:
        truth_hidden.append(block(truth_hidden[-1]))
        old_h.append(old_h[-1] + block(old_h[-1]))  # the original adds the skip a second time
    loss = F.cross_entropy(model.head(model.norm(truth_hidden[-1])[:, 0]), y, reduction="sum")
    truth = torch.autograd.grad(loss, truth_hidden[1])[0][:, 0].norm(dim=1).quantile(0.5).item()
    wrong_loss = F.cross_entropy(model.head(model.norm(old_h[-1])[:, 0]), y, reduction="sum")
    wrong = torch.autograd.grad(wrong_loss, old_h[1])[0][:, 0].norm(dim=1).quantile(0.5).item()
    report = diagnose(model, [(x, y)], 0.2)
    assert report.provenance is not None
    assert report.provenance.mode == "outputs of blocks"
    assert report.layers[1].gradient_norm == pytest.approx(truth, rel=1e-5)
    assert abs(wrong - truth) > 0.1 * truth


def test_row_9_a_contract_that_computes_something_else_is_refused() -> None:
    class Lying(ResidualMLP):
        def forward(self, x: Tensor, return_hidden: bool = False) -> object:
            result = super().forward(x, return_hidden)
            return (result[0] + 1, result[1]) if return_hidden else result

    with pytest.raises(ValueError, match="gives other logits than model"):
        diagnose(Lying(), random_batches(), 0.2)


def test_row_10_dropout_and_batch_norm() -> None:
    class Noisy(NoContract):
        def __init__(self) -> None:
            super().__init__()
            self.norm, self.drop = nn.BatchNorm1d(D), nn.Dropout(0.5)

        def forward(self, x: Tensor) -> Tensor:  # type: ignore[override]
            h = self.drop(self.norm(self.embed(x)))
            for block in self.blocks:
                h = h + block(h)
            return self.out_head(self.out_ln(h))  # type: ignore[no-any-return]

    model, data = Noisy().train(), random_batches()
    mean = model.norm.running_mean.clone()
    model(data[0][0])
    assert not torch.equal(mean, model.norm.running_mean)  # what the original did to the network it measured
    mean = model.norm.running_mean.clone()
    first = [cross_batch_direction_stability(model, data, 2) for _ in range(2)]
    assert first[0] == first[1]
    assert torch.equal(mean, model.norm.running_mean)
    assert model.training
    assert model.drop.training
    assert residual_norms(model, data[0][0]) == residual_norms(model, data[0][0])
    assert model.training


def test_row_12_frozen_networks_crashed() -> None:
    model = frozen(ResidualMLP())
    x, y = random_batches(1)[0]
    with pytest.raises(RuntimeError):
        old_gradients(model, x, y)
    report = diagnose(model, random_batches(), 0.2)
    assert all(layer.gradient_norm > 0 for layer in report.layers)
    assert not any(p.requires_grad for p in model.parameters())
    embed_frozen = diagnose(frozen(ResidualMLP(), "embed"), random_batches(), 0.2)
    assert embed_frozen.layers[0].gradient_norm > 0
    with torch.inference_mode():
        assert bp_grad_norms(model, x, y)[0] > 0


def test_row_14_one_batch_eight_times() -> None:
    model = ResidualMLP()
    data = random_batches(1) * 8
    directions = torch.stack([F.normalize(old_gradients(model, x, y)[2].mean(0), dim=0) for x, y in data])
    assert (directions @ directions.T).mean().item() == pytest.approx(1.0)  # "drift", of a fresh network
    report = diagnose(model, data, 0.2)
    assert report.verdict == "invalid"
    assert "not disjoint" in report.headline
    with pytest.raises(ValueError, match="at least two batches"):
        cross_batch_direction_stability(model, data[:1])
    with pytest.raises(ValueError, match="eval_batches is empty"):
        diagnose(model, [], 0.2)
    alone = diagnose(model, data[:1], 0.2)
    assert math.isnan(alone.cross_batch_stability)
    assert [o.state for o in alone.original if o.name == "(c)"] == ["not measured"]
    unlike = diagnose(model, [*random_batches(2), *random_batches(1, size=64)], 0.2)
    assert unlike.provenance is not None
    assert any("unlike size" in caveat for caveat in unlike.provenance.caveats)


def test_row_15_norms_of_half_precision_states() -> None:
    class Wide(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.blocks = nn.ModuleList(nn.Identity() for _ in range(2))
            self.head = nn.Linear(4096, 5, bias=False)

        def forward(self, x: Tensor) -> Tensor:
            for block in self.blocks:
                x = block(x)
            return self.head(x * 1e-4)  # type: ignore[no-any-return]

    x = torch.full((4, 4096), 1500.0, dtype=torch.float16)
    assert x.norm(dim=-1).isinf().all()  # 96000 > 65504
    assert residual_norms(Wide().half(), x, layers="blocks.*") == [96_000.0] * 3


def test_row_17_fresh_draws_are_enough_to_decide_and_counted() -> None:
    model, feedback = trained("dfa")
    report = diagnose(model, batches(), accuracy(model), feedback=feedback)
    assert report.alignment is not None
    assert report.alignment.draws >= 199  # 10 draws cannot give p < 1/11
    layer = report.layers[2].alignment
    assert layer is not None
    assert 1 / 11 > layer.p >= 1 / (report.alignment.draws + 1)
    with pytest.raises(ValueError, match="decide nothing"):
        DiagnosticThresholds(null_draws=10)


def test_row_18_the_median_of_two() -> None:
    assert torch.tensor([1.0, 3.0]).median().item() == 1.0
    assert median(torch.tensor([1.0, 3.0])) == 2.0
    assert math.isnan(median(torch.tensor([1.0, math.nan])))
    assert math.isnan(median(torch.tensor([])))


@pytest.mark.parametrize(
    ("gammas", "old"), [([0.4, -0.2, -0.1], 4.0), ([-0.1, 0.6, 0.4], -0.111), ([0.4, 0.3, 0.1], 0.5)]
)
def test_row_19_the_share_of_layer_0_has_no_bounds(gammas: list[float], old: float) -> None:
    assert gammas[0] / sum(gammas) == pytest.approx(old, abs=0.01)
    share = aggregate(gammas, gammas).layer0_share
    if min(gammas) > 0:
        assert share == pytest.approx(old)
    else:
        assert math.isnan(share)


def test_row_21_growth_is_blind_to_an_exploded_embedding() -> None:
    model, data = ResidualMLP(), random_batches()
    initial = residual_norms(model, data[0][0])[0]
    with torch.no_grad():
        model.embed.weight.mul_(300)
        model.embed.bias.mul_(300)
    assert old_growth(model, data[0][0]) < 2
    known = diagnose(model, data, 0.2, thresholds={"initial_h0_norm": initial})
    assert "h_0 growth" in known.fired
    assert known.verdict == "walked back"
    assert "h_0 growth" not in [o.name for o in diagnose(model, data, 0.2).criteria]


def test_row_22_small_gradients_are_large_hidden_states() -> None:
    """(b) is (a) in disguise, plus 1/B, plus the remaining error; what is free of the scale of h does not move."""
    model, data = ResidualMLP(), random_batches()
    before = diagnose(model, data, 0.2)
    with torch.no_grad():  # scale h_L by 1e6 without changing a single output
        model.embed.weight.mul_(1e6)
        model.embed.bias.mul_(1e6)
        for block in model.blocks:
            block.fc2.weight.mul_(1e6)
            block.fc2.bias.mul_(1e6)
            block.ln.eps = model.out_ln.eps = 0.0
    after = diagnose(model, data, 0.2)
    assert after.bp_grad_norms[-1] == pytest.approx(before.bp_grad_norms[-1] * 1e-6, rel=0.05)
    assert [o.state for o in after.original if o.name == "(b)"] == ["fires"]  # "the reference is noise"
    states = {o.name: o.state for o in after.criteria}
    assert states["resolution"] == states["elasticity"] == "passes"  # it is resolved, and credit is there
    assert states["credit size"] == "information"
    assert after.verdict == before.verdict
    for a, b in zip(before.layers, after.layers, strict=True):
        assert b.elasticity == pytest.approx(a.elasticity, rel=0.05)


def test_the_original_fires_on_backprop_that_simply_fits_and_the_criteria_do_not() -> None:
    """SCIENCE.md, section 2, item 2: (b) goes below 1e-7 as the error goes to zero."""
    torch.manual_seed(0)
    x, y = vectors(256), torch.randint(0, 5, (256,))
    model = ResidualMLP(d=64)
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    for _ in range(700):
        optimizer.zero_grad()
        F.cross_entropy(model(x), y).backward()
        optimizer.step()
    data = list(zip(x.split(128), y.split(128), strict=True))
    report = diagnose(model, data, 1.0, thresholds={"min_grad_norm": 1e-5})
    assert "(b)" in report.original_fired
    assert "credit size" not in report.fired
    assert report.layers[-1].credit_per_error > 1e-2


def test_missing_feedback_is_not_a_number() -> None:
    report = diagnose(ResidualMLP(), random_batches(), 0.2)
    assert all(x.alignment is None for x in report.layers)
    assert report.alignment is None
    assert "N/A" in str([o.text for o in report.criteria if o.name == "alignment"])
    wrong = Feedback.dfa([D] * 4, classes=7, seed=0)
    with pytest.raises(ValueError, match="takes 7 values, the output error has 5"):
        diagnose(ResidualMLP(), random_batches(), 0.2, feedback=wrong)
    with pytest.raises(ValueError, match="say which belongs to which"):
        diagnose(ResidualMLP(), random_batches(), 0.2, feedback=Feedback.dfa([D] * 2, 5, 0, sites=["a", "b"]))


@pytest.mark.parametrize(("claimed", "state"), [(None, "passes"), (0.95, "fires"), (0.02, "fires"), (0.9501, "fires")])
def test_a_headline_that_the_batches_contradict_walks_the_result_back(claimed: float | None, state: str) -> None:
    model, _ = trained("bp")
    report = diagnose(model, batches(), accuracy(model) if claimed is None else claimed)
    (found,) = [o for o in report.criteria if o.name == "headline"]
    assert found.state == state
    assert found.value == pytest.approx(accuracy(model))
    assert ("headline" in report.fired) == (state == "fires")
    assert report.verdict == "walked back" or state == "passes"


def test_a_headline_of_other_samples_of_the_same_kind_is_not_contradicted() -> None:
    model, _ = trained("bp")
    for size in (64, 128, 256):
        part = [(x[: size // 8], y[: size // 8]) for x, y in batches()]
        report = diagnose(model, part, accuracy(model))
        assert [o.state for o in report.criteria if o.name == "headline"] == ["passes"]


def test_without_a_headline_or_without_classes_there_is_none_to_contradict() -> None:
    model, _ = trained("bp")
    assert [o.state for o in diagnose(model, batches()).criteria if o.name == "headline"] == ["not measured"]
    x, y = batches()[0]
    data = [(x[:64], y[:64].float()), (x[64:], y[64:].float())]
    report = diagnose(model, data, loss_fn=lambda out, y: (out[:, 0] - y).square().sum())
    assert [o.state for o in report.criteria if o.name == "headline"] == ["not measured"]
    assert "headline" not in report.fired
