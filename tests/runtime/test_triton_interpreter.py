"""The CUDA kernels under Triton's interpreter, in a process of its own (the switch is read at import)."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

from fa_lint_runtime.kernels.triton import plan

_PROGRAM = """
import torch
from fa_lint_runtime.kernels import blocked, composite, triton

torch.manual_seed(0)
count = 0
for dtype in (torch.float32, torch.bfloat16, torch.float16):
    for rows, columns, scale in ((5, 7, 1.0), (33, 64, 1e-30), (3, 5000, 1.0), (2, 20000, 1e15), (2, 1, 1.0)):
        scale = 1.0 if dtype == torch.float16 else scale
        a = (torch.randn(rows, columns) * scale).to(dtype)
        b = (torch.randn(columns, rows) / scale).to(dtype).T
        a[1] = 0
        a.requires_grad_()
        b.requires_grad_()
        for units in (1, 8):
            triton._units = lambda device: units
            assert triton.usable(a, b)
            found = triton.cosine(a, b, dtype)
            expected = torch.empty(rows, dtype=dtype)
            blocked.cosine(a.detach(), b.detach(), expected, False)
            assert torch.equal(torch.isnan(found), torch.isnan(expected))
            assert torch.equal(found.nan_to_num(), expected.nan_to_num()), (dtype, rows, columns)
            weight = torch.randn(rows).to(dtype)
            grads = torch.autograd.grad(found, (a, b), weight)
            true = composite.cosine_gradients(a, b, weight, (True, True), False)
            for g, t in zip(grads, true):
                assert torch.isfinite(g).all()
                # the interpreter truncates fp32 to bf16 where a GPU rounds: one ulp there
                allowed = {torch.float32: 1e-7, torch.float16: 1e-3, torch.bfloat16: 8e-3}[dtype]
                size = float(t.double().norm())
                assert columns == 1 or float((g.double() - t.double()).norm()) <= allowed * size, (dtype, rows, columns)
            count += 1
print(count, "configurations")
"""


def test_plans_cover_every_shape() -> None:
    for rows in (1, 2, 100, 100_000):
        for columns in (1, 15, 64, 2048, 2049, 1_000_000):
            for units in (1, 132):
                cut = plan(rows, columns, units)
                assert cut.splits * cut.span >= columns > (cut.splits - 1) * cut.span
                assert cut.span % cut.tile_columns == 0
                assert cut.tile_rows * cut.tile_columns <= 2048


@pytest.mark.skipif(importlib.util.find_spec("triton") is None, reason="triton is not installed")
def test_kernels_equal_the_cpu_path_bit_by_bit() -> None:
    root = Path(__file__).parents[2]
    environment = {**os.environ, "TRITON_INTERPRET": "1", "PYTHONPATH": os.pathsep.join([str(root), *sys.path])}
    done = subprocess.run(
        [sys.executable, "-c", _PROGRAM], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "30 configurations"
