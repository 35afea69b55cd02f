"""The guard where backward runs in a thread of the device and nothing may wait for it."""

from __future__ import annotations

import sys

import torch
import torch.nn.functional as F
from torch import nn

from fa_lint_runtime import guard


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
