"""The guard where backward runs in a thread of the device and nothing may wait for it."""

from __future__ import annotations

import sys
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fa_lint_runtime import guard

from .conftest import Waiting


def test_backward_through_float16_autocast_runs_and_its_events_lie_at_the_forward_pass() -> None:
    torch.manual_seed(0)
    model, x = nn.Sequential(nn.Linear(8, 6), nn.Linear(6, 4)).cuda(), torch.randn(3, 8, device="cuda")
    with guard("record") as log:
        with torch.autocast("cuda", torch.float16):
            loss = F.mse_loss(model(x), torch.zeros(3, 4, device="cuda"))
            line = sys._getframe().f_lineno - 1
        (loss * 1e-9).backward()
    assert [(e.kind, e.file, e.line) for e in log] == [("gradient-flush", __file__, line)]
    assert not log.unchecked and model[0].weight.grad is not None


def test_training_with_the_scaler_of_gradients_is_unchanged() -> None:
    def train(watched: bool) -> list[torch.Tensor]:
        torch.manual_seed(0)
        model, x = nn.Linear(8, 4).cuda(), torch.randn(16, 8, device="cuda")
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        scaler = torch.amp.GradScaler("cuda", init_scale=256.0)
        for _ in range(5):
            optimizer.zero_grad()
            with guard("error") if watched else torch.enable_grad():
                with torch.autocast("cuda", torch.float16):
                    loss = F.mse_loss(model(x), torch.ones(16, 4, device="cuda"))
                scaler.scale(loss).backward()
            scaler.step(optimizer)
            scaler.update()
        return [p.detach().cpu() for p in model.parameters()]

    for watched, alone in zip(train(True), train(False), strict=True):
        assert torch.equal(watched, alone)


def test_gradients_that_float16_loses_between_two_layers() -> None:
    x, first = torch.ones(4, 8, device="cuda"), torch.full((8, 8), 0.1, device="cuda", requires_grad=True)
    second = torch.full((8, 2), 1e-4, device="cuda", requires_grad=True)
    with guard("record") as log:
        with torch.autocast("cuda", torch.float16):
            h = x @ first
            line = sys._getframe().f_lineno - 1
            y = h @ second
        (y.float() * 1e-5).sum().backward()
    assert [(e.kind, e.file, e.line) for e in log] == [("gradient-flush", __file__, line)]


def _divided(x: Tensor, by: Tensor) -> Tensor:
    x /= by
    return x


# Of small, ones and halves (3, 4): what is watched, and what the guard calls it.
WATCHED: dict[str, tuple[str, Callable[[Tensor, Tensor, Tensor], object]]] = {
    "cosine": ("clamped-cosine", lambda x, one, half: F.cosine_similarity(x, one)),
    "cosine of one row": ("clamped-cosine", lambda x, one, half: F.cosine_similarity(x, one[:1])),
    "cosine without eps": ("zero-by-zero", lambda x, one, half: F.cosine_similarity(x * 0, one, eps=0)),
    "cosine with itself": ("self-cosine", lambda x, one, half: F.cosine_similarity(one, one)),
    "loss": ("floored-embedding-loss", lambda x, one, half: F.cosine_embedding_loss(x, one, one[:, 0])),
    "normalize": ("floored-normalize", lambda x, one, half: F.normalize(x * 1e-5)),
    "norm": ("underflowed-norm", lambda x, one, half: (x * 1e-16).norm(dim=1)),
    "overflowed cosine": ("overflowed-cosine", lambda x, one, half: F.cosine_similarity(one * 3e19, one)),
    "overflowed norm": ("overflowed-norm", lambda x, one, half: (one * 3e19).norm(dim=1)),
    "overflowed normalize": ("overflowed-norm", lambda x, one, half: F.normalize(one * 3e19)),
    "negative order": ("negative-norm-order", lambda x, one, half: one.norm(-1)),
    "distance": ("negative-norm-order", lambda x, one, half: F.pairwise_distance(one, x, -1)),
    "acos": ("acos-out-of-range", lambda x, one, half: torch.acos(one * 1.5)),
    "division": ("zero-by-zero", lambda x, one, half: x * 0 / (one * 0)),
    "division in place": ("zero-by-zero", lambda x, one, half: _divided(x * 0, one * 0)),
    "half": ("half-flush", lambda x, one, half: x.half()),
    "copy": ("half-flush", lambda x, one, half: half.copy_(x)),
}


@pytest.mark.parametrize("name", WATCHED)
def test_nothing_waits_for_the_device_before_the_log_is_read(name: str, no_wait: Waiting) -> None:
    kind, call = WATCHED[name]
    x, one = torch.full((3, 4), 1e-10, device="cuda"), torch.ones(3, 4, device="cuda")
    half = torch.ones(3, 4, device="cuda", dtype=torch.float16)
    with guard("record", thorough=True) as log:
        call(x, one, half)
        with no_wait():
            call(x, one, half)
            call(x, one, half)
    assert [(event.kind, event.calls) for event in log] == [(kind, 3)] and not log.unchecked


def test_what_was_measured_is_what_the_host_measures() -> None:
    def events(device: str) -> list[tuple[object, ...]]:
        x, one = torch.full((3, 4), 1e-10, device=device), torch.ones(3, 4, device=device)
        half = torch.ones(3, 4, device=device, dtype=torch.float16)
        with guard("record") as log:
            for kind, call in WATCHED.values():
                if kind in ("clamped-cosine", "floored-normalize", "underflowed-norm", "half-flush"):
                    call(x, one, half)
        return [(e.kind, e.count, e.total, e.magnitude) for e in log]

    assert events("cuda") == [
        (kind, count, total, pytest.approx(magnitude, rel=1e-6)) for kind, count, total, magnitude in events("cpu")
    ]
