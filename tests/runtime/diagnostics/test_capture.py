"""Gradients against central differences on networks of every shape, and no trace left in any of them."""

from __future__ import annotations

import collections
import copy
import random
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from zoo import GPT, ZOO, C, NoContract, ResidualMLP, VisionTransformer, images, tokens, vectors

from fa_lint_runtime import Feedback, bp_grad_norms, diagnose, residual_norms
from fa_lint_runtime.diagnostics.batches import Batch, fingerprints
from fa_lint_runtime.diagnostics.capture import BatchStatistics, Capture
from fa_lint_runtime.diagnostics.losses import summed_loss
from fa_lint_runtime.diagnostics.restore import measured, unwrapped
from fa_lint_runtime.diagnostics.rows import as_rows
from fa_lint_runtime.diagnostics.stability import batch_directions_stability, error_drift
from fa_lint_runtime.diagnostics.taps import Plan, make_plan, run

N = 6
MODES = {
    "residual outside": "inputs of blocks",
    "residual outside, all frozen": "inputs of blocks",
    "checkpoint": "inputs of blocks",
    "checkpoint, re-entrant": "inputs of blocks",
    "checkpoint, re-entrant, frozen": "inputs of blocks",
    "plain layers": "outputs of layers",
}


def captured(model: nn.Module, batch: Batch, layers: Any) -> tuple[Plan, BatchStatistics]:
    """Whole gradients of one batch: every token, every row."""
    with measured(model, track_parameters=True):
        plan, _ = make_plan(model, layers, batch.head(3))
        capture = Capture(model, plan, summed_loss(None, torch.zeros(N, C), batch.y), token="all", rows=N)
        return plan, capture(batch, 0)


def central_difference(model: nn.Module, plan: Plan, batch: Batch, index: int, direction: Tensor) -> float:
    """d(summed cross-entropy)/dh_l along a direction given batch first and flat."""
    step = 1e-5

    def value(sign: int) -> float:
        def move(position: int, h: Tensor) -> None:
            if position == index:
                dim = plan.batch_dims[index]
                h.add_(direction.reshape(h.movedim(dim, 0).shape).movedim(0, dim), alpha=sign * step)

        with measured(model, track_parameters=False), torch.no_grad():
            x = batch.x.clone()
            return float(F.cross_entropy(run(model, plan, x, move), batch.y, reduction="sum"))

    return (value(1) - value(-1)) / (2 * step)


@pytest.mark.parametrize("compiled", [False, True], ids=["eager", "compiled"])
@pytest.mark.parametrize("name", ZOO)
def test_gradients_agree_with_central_differences(name: str, compiled: bool) -> None:
    make, inputs, layers, count = ZOO[name]
    torch.manual_seed(3)
    model = make().double()
    x = inputs(N)
    batch = Batch(x.double() if x.is_floating_point() else x, torch.randint(0, C, (N,)), N)
    wrapped = torch.compile(model, backend="eager") if compiled else model
    inner = unwrapped(wrapped)  # type: ignore[arg-type]
    assert inner is model
    plan, stats = captured(inner, batch, layers)
    assert plan.count == count
    assert plan.mode == MODES.get(name, "outputs of blocks")
    worst = 0.0
    for index, rows in enumerate(stats.first_rows):
        assert rows is not None
        direction = torch.randn(rows.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(index))
        measured_slope = central_difference(inner, plan, batch, index, direction)
        claimed = float((rows * direction).sum())
        worst = max(worst, abs(measured_slope - claimed) / float(rows.norm() * direction.norm()))
    assert worst < 1e-6


@pytest.mark.parametrize("name", ZOO)
def test_diagnose_runs_and_leaves_no_trace(name: str) -> None:
    make, inputs, layers, count = ZOO[name]
    model = make().train()
    list(model.modules())[-1].eval()  # a mixed state, as fine-tuning has it
    batches = [(inputs(N), torch.randint(0, C, (N,))) for _ in range(3)]
    for parameter in list(model.parameters())[::2]:
        parameter.grad = torch.randn_like(parameter)
    before = trace(model)
    report = diagnose(model, batches, 0.5, 0.2, layers=layers, token="last" if "gpt" in name else "cls")
    assert identical(before, trace(model))
    assert len(report.layers) == count
    assert all(np.isfinite(x.gradient_norm) for x in report.layers)
    assert report.provenance is not None
    assert report.provenance.derivative_error < 1e-6
    assert all(x.precision is not None and x.precision.resolution > 0.9999 for x in report.layers)


def trace(model: nn.Module) -> list[Any]:
    state = [
        (p.detach().clone(), None if p.grad is None else p.grad.clone(), p.requires_grad) for p in model.parameters()
    ]
    return [
        state,
        [b.clone() for b in model.buffers()],
        [m.training for m in model.modules()],
        [len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules()],
        torch.get_rng_state(),
        random.getstate(),
        np.random.get_state()[1].tolist(),
    ]


def identical(a: Any, b: Any) -> bool:
    if isinstance(a, Tensor):
        return torch.equal(a, b)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(identical(x, y) for x, y in zip(a, b, strict=True))
    return bool(a == b)


class Dirty(NoContract):
    """Writes to buffers and attributes, calls backward on its own blocks and draws, in evaluation mode too."""

    seen: Tensor | None = None

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("calls", torch.zeros(()))
        self.register_buffer("last", torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        self.calls.add_(1)
        self.seen = x
        if torch.is_grad_enabled():
            self.embed(x).sum().backward()  # as TinyDFA does inside its backward
        self.last = x.detach().mean() + torch.rand(()) + random.random() + np.random.rand()
        return super().forward(x)


def test_buffers_and_random_states_that_the_model_itself_touches_come_back() -> None:
    model = Dirty()
    batches = [(vectors(N), torch.randint(0, C, (N,))) for _ in range(2)]
    last, before = model.last, trace(model)
    diagnose(model, batches, 0.5)
    assert identical(before, trace(model))
    assert model.last is last
    assert model.seen is None
    assert "seen" not in vars(model)


def test_containers_that_a_forward_fills_hold_what_they_held() -> None:
    class Filling(NoContract):
        def __init__(self) -> None:
            super().__init__()
            self.seen, self.cache, self.sizes = ["before"], {"before": 1}, {1}
            self.bridge = collections.deque(["a", "b", "c"], maxlen=3)

        def forward(self, x: Tensor) -> Tensor:
            out = super().forward(x)
            self.seen.append(out)
            self.cache["before"] = self.cache["out"] = out
            self.sizes.add(len(x))
            self.bridge.append(out)
            return out

    model = Filling()
    held = model.seen, model.cache, model.sizes, model.bridge
    diagnose(model, [(vectors(N), torch.randint(0, C, (N,))) for _ in range(2)], 0.5)
    assert all(a is b for a, b in zip(held, (model.seen, model.cache, model.sizes, model.bridge), strict=True))
    assert held == (["before"], {"before": 1}, {1}, collections.deque(["a", "b", "c"], maxlen=3))


def test_an_exception_in_the_model_leaves_no_trace_either() -> None:
    model = NoContract().train()
    batches = [(vectors(N), torch.rand(N))]
    before = trace(model)
    with pytest.raises(TypeError, match="cross-entropy needs integer class indices"):
        diagnose(model, batches, 0.5)
    assert identical(before, trace(model))


def test_hooks_see_what_the_contract_returns() -> None:
    model = ResidualMLP()
    batches = [(vectors(16), torch.randint(0, C, (16,))) for _ in range(3)]
    contract, hooks = diagnose(model, batches, 0.5), diagnose(model, batches, 0.5, layers="blocks.*")
    assert contract.provenance is not None
    assert contract.provenance.mode == "contract"
    assert hooks.provenance is not None
    assert hooks.provenance.mode == "inputs of blocks"
    for a, b in zip(contract.layers, hooks.layers, strict=True):
        assert (a.hidden_norm, a.gradient_norm, a.drift) == (b.hidden_norm, b.gradient_norm, b.drift)


def test_values_are_those_of_an_explicit_forward() -> None:
    model = ResidualMLP().eval()
    x, y = vectors(32), torch.randint(0, C, (32,))
    h = model.embed(x)
    hidden = [h]
    for block in model.blocks:
        h = h + block(h)
        hidden.append(h)
    loss = F.cross_entropy(model.out_head(model.out_ln(h)), y)
    gradients = torch.autograd.grad(loss, hidden)
    ours = residual_norms(model, x), bp_grad_norms(model, x, y)
    for explicit, mine in zip((hidden, gradients), ours, strict=True):
        old = [v.detach().double().norm(dim=-1).quantile(0.5).item() for v in explicit]
        assert mine == pytest.approx(old, rel=1e-6)
    summed = bp_grad_norms(model, x, y, lambda z, t: F.cross_entropy(z, t, reduction="sum"))
    assert summed == pytest.approx([32 * v for v in ours[1]], rel=1e-6)
    assert bp_grad_norms(model, x, y, F.cross_entropy) == ours[1]


@pytest.mark.parametrize("reduction", ["sum", "mean", "none"])
@pytest.mark.parametrize("plain", [True, False])
def test_any_reduction_gives_per_sample_gradients(reduction: str, plain: bool) -> None:
    model = ResidualMLP()
    batches = [(vectors(16), torch.randint(0, C, (16,))) for _ in range(2)]
    criterion = nn.CrossEntropyLoss(reduction=reduction)
    loss_fn = criterion if plain else lambda z, y: 3.0 * criterion(z, y)
    report = diagnose(model, batches, 0.5, loss_fn=loss_fn)
    factor = 1.0 if plain else 3.0
    for a, b in zip(report.layers, diagnose(model, batches, 0.5).layers, strict=True):
        assert a.gradient_norm == pytest.approx(factor * b.gradient_norm, rel=1e-5)
        assert a.credit_per_error == pytest.approx(b.credit_per_error, rel=1e-5)


def test_a_loss_that_is_neither_sum_nor_mean_is_refused() -> None:
    model = ResidualMLP()
    with pytest.raises(ValueError, match="neither a sum nor a mean over samples"):
        diagnose(model, [(vectors(8), torch.randint(0, C, (8,)))], 0.5, loss_fn=lambda z, y: z.sum().square())


def test_half_precision_weights() -> None:
    batches = [(vectors(32).bfloat16(), torch.randint(0, C, (32,))) for _ in range(2)]
    report = diagnose(ResidualMLP(d=32).bfloat16(), batches, 0.5)
    assert {x.dtype for x in report.layers} == {"bfloat16"}
    assert report.layers[-1].absorption > 1e-3  # 8 bits
    assert all(0.9 < x.precision.resolution < 0.999999 for x in report.layers if x.precision)


def test_fp16_activations_beyond_its_range_are_invalid_not_trustworthy() -> None:
    model = ResidualMLP(d=32)
    with torch.no_grad():
        model.blocks[1].fc2.weight.mul_(1e6)
    report = diagnose(model.half(), [(vectors(16).half(), torch.randint(0, C, (16,))) for _ in range(2)], 0.5)
    assert report.verdict == "invalid"
    assert report.original_verdict == "invalid"


def test_tokens() -> None:
    torch.manual_seed(0)
    model = VisionTransformer()
    batches = [(images(8), torch.randint(0, C, (8,))) for _ in range(2)]
    widths = {t: diagnose(model, batches, 0.5, token=t).layers[0].width for t in ("cls", "last", "mean", "all", 2)}
    assert widths == {"cls": 8, "last": 8, "mean": 8, "all": 40, 2: 8}
    whole = diagnose(model, batches, 0.5, token="all").layers[0]
    # The last hidden state is read at the cls token alone: the rest of it has no gradient.
    assert diagnose(model, batches, 0.5, token="last").layers[-1].undefined_share == 1.0
    assert whole.gradient_norm > diagnose(model, batches, 0.5, token="cls").layers[0].gradient_norm
    with pytest.raises(ValueError, match='token must be "cls"'):
        diagnose(model, batches, 0.5, token="first")  # type: ignore[arg-type]


def test_language_models_have_targets_at_every_position() -> None:
    model = GPT(whole=True)
    batches = [(tokens(8), tokens(8)) for _ in range(3)]
    feedback = Feedback.dfa([8] * 3, classes=11, seed=0, sites=[f"transformer.h.{i}" for i in range(3)])
    report = diagnose(model, batches, 0.1, feedback=feedback, token="all")
    assert report.layers[1].width == 48
    assert report.layers[1].alignment is not None
    assert -1 < report.layers[1].alignment.gamma.value < 1
    assert diagnose(model, batches, 0.1, feedback=feedback, token="last").layers[0].alignment is not None


def test_inputs_as_tuples_and_dicts() -> None:
    class TwoInputs(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = NoContract()

        def forward(self, a: Tensor, b: Tensor) -> Tensor:
            return self.net(a + b)  # type: ignore[no-any-return]

    model = TwoInputs()
    a, b, y = vectors(12), vectors(12), torch.randint(0, C, (12,))
    as_tuple = diagnose(model, [((a, b), y)], 0.5)
    assert repr(diagnose(model, [({"a": a, "b": b}, y)], 0.5).layers) == repr(as_tuple.layers)


def test_inference_mode_around_the_call() -> None:
    model = ResidualMLP()
    with torch.inference_mode():
        batches = [(vectors(8), torch.randint(0, C, (8,)))]
        report = diagnose(model, batches, 0.5)
    assert report.layers[0].gradient_norm > 0


def test_autograd_grad_never_touches_parameters() -> None:
    model = ResidualMLP()
    touched = []
    for parameter in model.parameters():
        parameter.register_post_accumulate_grad_hook(lambda p: touched.append(p))
        parameter.register_hook(lambda g: touched.append(g))
    diagnose(model, [(vectors(8), torch.randint(0, C, (8,))) for _ in range(2)], 0.5)
    assert touched == []
    assert all(p.grad is None for p in model.parameters())


def test_data_parallel_wrappers_are_looked_through() -> None:
    model = copy.deepcopy(ResidualMLP())
    batches = [(vectors(8), torch.randint(0, C, (8,))) for _ in range(2)]
    assert repr(diagnose(nn.DataParallel(model), batches, 0.5).layers) == repr(diagnose(model, batches, 0.5).layers)


@pytest.mark.parametrize("width", [1, 3, 8, 13, 64])
@pytest.mark.parametrize("dtype", [torch.bool, torch.uint8, torch.int64, torch.float16, torch.bfloat16, torch.float32])
def test_fingerprints_know_equal_samples_wherever_they_lie(width: int, dtype: torch.dtype) -> None:
    generator = torch.Generator().manual_seed(width)
    x = torch.randint(0, 2 if dtype == torch.bool else 100, (N, width), generator=generator).to(dtype)
    x[3] = x[1]
    own = fingerprints(Batch(x, None, N)).tolist()
    assert own[3] == own[1]
    assert len(set(own)) == len({tuple(row) for row in x.tolist()})
    # The same values in the middle of a storage, transposed, and in another order.
    shifted = torch.cat([x.flatten()[:1], x.flatten()])[1:].view(N, width)
    assert fingerprints(Batch(shifted, None, N)).tolist() == own
    assert fingerprints(Batch(x.mT.contiguous().mT, None, N)).tolist() == own
    assert fingerprints(Batch(x.flip(0), None, N)).tolist() == own[::-1]
    assert fingerprints(Batch((x, x), None, N)).tolist() != own


@pytest.mark.parametrize("scale", [0.0, 1e-300, 1e-160, 1e-20, 1.0, 1e150, 1e300])
def test_rows_in_fp64_have_a_direction_at_any_magnitude(scale: float) -> None:
    x = torch.tensor([[3.0, 4.0], [5.0, 12.0]], dtype=torch.float64) * scale
    rows = as_rows(torch.stack([x, torch.ones_like(x)]))
    true = torch.tensor([5.0, 13.0], dtype=torch.float64) * scale
    assert torch.allclose(rows.norms[0], true, rtol=1e-15, atol=0.0)
    assert torch.allclose(rows.unit[0].norm(dim=-1), (true > 0).double(), rtol=1e-15, atol=0.0)


def test_a_block_that_makes_the_logits_is_the_head() -> None:
    """As in target-propagation code: every layer a block, the last one included, and layers that are never called."""

    class Stages(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stages = nn.Sequential(
                nn.Sequential(nn.Linear(7, 8), nn.Tanh()),
                nn.Sequential(nn.Linear(8, 8), nn.Tanh()),
                nn.Sequential(nn.Linear(8, C)),
            )
            self.feedback = nn.Linear(C, 8)

        def forward(self, x: Tensor) -> Any:
            return {"logits": self.stages(x)}

    batches = [(vectors(16), torch.randint(0, C, (16,))) for _ in range(3)]
    report = diagnose(Stages(), batches, 0.2, progress=False)
    assert [layer.name for layer in report.layers] == ["input of stages.0", "stages.0", "stages.1"]
    assert report.provenance is not None
    assert "stages.2 makes the logits" in report.provenance.caveats[0]
    # Whoever names the layers gets them.
    named = diagnose(Stages(), batches, 0.2, layers="stages.*", progress=False)
    assert named.layers[-1].name == "stages.2"
    assert named.layers[-1].credit_per_error == pytest.approx(1.0)


@pytest.mark.parametrize(("scale", "read"), [(1.0, True), (0.0, False)])
def test_a_position_that_nobody_reads_is_told_from_a_dead_layer(scale: float, read: bool) -> None:
    class Last(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.blocks = nn.ModuleList(nn.Linear(8, 8) for _ in range(2))
            self.head = nn.Linear(8, C)

        def forward(self, x: Tensor) -> Any:
            for block in self.blocks:
                x = torch.tanh(block(x))
            return self.head(x[:, -1] * scale)

    batches = [(torch.randn(16, 4, 8), torch.randint(0, C, (16,))) for _ in range(2)]
    first = diagnose(Last(), batches, 0.2, token="cls", progress=False).layers[0]
    assert first.gradient_norm == 0.0
    assert first.other_tokens is read


def test_error_drift_of_batches_of_unlike_size() -> None:
    batches = [Batch(vectors(n), torch.randint(0, C, (n,)), n) for n in (6, 10, 31)]
    model = ResidualMLP()
    loss = summed_loss(None, torch.zeros(N, C), batches[0].y)
    with measured(model, track_parameters=True):
        plan, _ = make_plan(model, None, batches[0].head(3))
        stats = [Capture(model, plan, loss)(batch, i) for i, batch in enumerate(batches)]
    found = error_drift(stats, loss.error, 0.05)
    halves = [error[1::2].sum(0) for s in stats if (error := loss.error(s.logits, s.target)) is not None]
    assert found.halves_stability == pytest.approx(batch_directions_stability(halves), rel=1e-12)
