"""FAL206 executed: where the vectors agree, the fixed loss has a finite gradient, and elsewhere its value is as before."""

from __future__ import annotations

import pytest

from tests.fixes_executed.programs import HEAD, fixed, run, tensors, torch

LOSS = "def loss(a, b):\n    {body}\n"
BODIES = [
    "cos = F.cosine_similarity(a, b, dim=-1)\n    return torch.acos(cos.clamp(-1.0, 1.0)).mean()",
    "cos = F.cosine_similarity(a, b, dim=-1)\n    return torch.acos(torch.clamp(cos, -1, 1)).mean()",
    "return torch.acos(F.cosine_similarity(a, b, dim=-1).clamp(-1, 1)).mean()",
    "u, v = F.normalize(a, dim=-1), F.normalize(b, dim=-1)\n    return (u * v).sum(-1).clamp(max=1).acos().mean()",
]


@pytest.mark.parametrize("style", ["runtime", "torch"])
@pytest.mark.parametrize("body", BODIES)
def test_the_gradient_is_finite_where_the_vectors_agree(body: str, style: str) -> None:
    before = HEAD + LOSS.format(body=body)
    after = fixed(before, select=("FAL206",), fix_style=style)
    assert after != before
    old, new = run(before)["loss"], run(after)["loss"]
    a, b = torch.randn(2, 64, 8)
    torch.testing.assert_close(new(a, b), old(a, b), rtol=1e-4, atol=1e-5)
    equal = a.clone().requires_grad_()
    new(equal, a).backward()
    assert torch.isfinite(equal.grad).all()
    lost = a.clone().requires_grad_()
    old(lost, a).backward()
    assert not torch.isfinite(lost.grad).all()


@pytest.mark.parametrize("style", ["runtime", "torch"])
@pytest.mark.parametrize("body", BODIES)
def test_over_shapes_and_dtypes(body: str, style: str) -> None:
    """Dtype, shape and value stay, to what acos can tell of a rounded cosine; of a zero row there may be no angle."""
    before = HEAD + LOSS.format(body=body)
    old, new = run(before)["loss"], run(fixed(before, select=("FAL206",), fix_style=style))["loss"]
    for zero in (False, True):
        for a, b in tensors(many=2, zero=zero):
            want, got = old(a, b), new(a.clone().requires_grad_(), b).detach()
            assert (got.dtype, got.shape) == (want.dtype, want.shape)
            if not (zero and (got.isnan() or (a == 0).any())):
                # A cosine that is off by eps is an angle off by sqrt(2 eps) at the end of the range.
                atol = 6 * (2 * torch.finfo(a.dtype).eps) ** 0.5
                torch.testing.assert_close(got, want, rtol=2e-2, atol=max(atol, 1e-3))
