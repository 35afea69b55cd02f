"""Cosines, norms and angles of tensors on a device."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from fa_lint_runtime import safe_angle, safe_cosine, safe_cosine_matrix, safe_norm, safe_unit
from fa_lint_runtime.kernels import triton as triton_kernels


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
@pytest.mark.parametrize("shape", [(5, 7), (1024, 256), (12_608, 768), (4, 1_000_000)])
def test_cuda_agrees_with_cpu(dtype: torch.dtype, shape: tuple[int, int]) -> None:
    a, b = torch.randn(shape).to(dtype), torch.randn(shape).to(dtype)
    x, y = a.cuda().requires_grad_(), b.cuda()
    result = safe_cosine(x, y)
    torch.testing.assert_close(result.cpu(), safe_cosine(a, b), rtol=torch.finfo(dtype).eps, atol=1e-12)
    (grad,) = torch.autograd.grad(result.float().sum(), x)
    a.requires_grad_()
    (true,) = torch.autograd.grad(safe_cosine(a, b).float().sum(), a)
    torch.testing.assert_close(grad.cpu(), true, rtol=torch.finfo(dtype).eps, atol=1e-12)


def test_norms_units_angles_and_matrices_stay_on_their_device(last: torch.device) -> None:
    a, b = torch.randn(9, 40), torch.randn(9, 40)
    x, y = a.to(last), b.to(last)
    pairs = [
        (safe_norm(x), safe_norm(a)),
        (safe_unit(x), safe_unit(a)),
        (safe_angle(x, y), safe_angle(a, b)),
        (safe_cosine_matrix(x, y), safe_cosine_matrix(a, b)),
        (safe_cosine(x, y, dim=0), safe_cosine(a, b, dim=0)),
    ]
    for found, expected in pairs:
        assert found.device == last
        torch.testing.assert_close(found.cpu(), expected)


@pytest.mark.usefixtures("cuda_default")
def test_one_cosine_of_the_host_does_not_break_those_that_follow() -> None:
    a, b = torch.randn(64, 40, device="cpu"), torch.randn(64, 40, device="cpu")
    under_the_default = safe_cosine(a.requires_grad_(), b)
    under_the_default.sum().backward()
    assert under_the_default.is_cpu and a.grad is not None and a.grad.is_cpu
    torch.set_default_device(None)
    assert torch.equal(safe_cosine(a, b), under_the_default)


def test_kernels_start_on_the_device_of_their_operands(last: torch.device, monkeypatch: pytest.MonkeyPatch) -> None:
    """Triton asks for the current device alone; where it is not that of the operands, it reads foreign addresses."""
    started: list[int] = []

    class Kernel:
        def __getitem__(self, grid: tuple[int, ...]) -> Any:
            return lambda *operands, **options: started.append(torch.cuda.current_device())

    kernels = SimpleNamespace(gram_kernel=Kernel(), gradient_kernel=Kernel())
    monkeypatch.setattr(triton_kernels, "_device", lambda: kernels)
    for device in (last, torch.device("cuda", 0)):
        started.clear()
        a, b = torch.ones(3, 4, device=device), torch.ones(3, 4, device=device)
        _, numbers = triton_kernels.gram(a, b, triton_kernels.plan(3, 4, 1))
        triton_kernels.gradients(a, b, numbers, torch.ones(3, device=device), (True, True))
        assert started == [device.index, device.index] and torch.cuda.current_device() == 0
