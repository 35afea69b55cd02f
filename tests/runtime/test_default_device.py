"""Another default device than that of the operands: ``torch.set_default_device("cuda")`` is one line in many scripts.

``meta`` stands in for CUDA: what is made there by mistake has no values, so that nothing works with it by chance.
"""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor

import fa_lint_runtime
from fa_lint_runtime import safe_angle, safe_cosine, safe_cosine_matrix, safe_norm, safe_unit

PACKAGE = Path(fa_lint_runtime.__file__).parent
Call = Callable[..., Tensor]


@pytest.fixture
def meta_default() -> Iterator[None]:
    torch.set_default_device("meta")
    try:
        yield
    finally:
        torch.set_default_device(None)


def _with_gradients(call: Call, operands: tuple[Tensor, ...]) -> list[Tensor]:
    inputs = [x.clone().requires_grad_() for x in operands]
    value = call(*inputs)
    value.nansum().backward()
    return [call(*operands), value.detach(), *(x.grad for x in inputs if x.grad is not None)]


def _calls(a: Tensor, b: Tensor) -> list[Tensor]:
    return [
        *_with_gradients(safe_cosine, (a, b)),
        *_with_gradients(lambda x, y: safe_cosine(x, y, exact=True), (a[:9], b[:9])),
        *_with_gradients(safe_angle, (a, b)),
        *_with_gradients(safe_norm, (a,)),
        *_with_gradients(safe_unit, (a,)),
        safe_cosine_matrix(a[..., :9, :], b[..., :9, :]),
        safe_cosine(a, b.double()),
    ]


SHAPES: dict[str, Call] = {
    "small": lambda x: x[:8, :40],
    "beyond a slab": lambda x: x,
    "one long row": lambda x: x.reshape(1, -1),
    "three dimensions without a matrix view": lambda x: x.view(8, -1, 50).transpose(0, 1),
    "vectors across": lambda x: x.t(),
    "vectors of one": lambda x: x[:, :1],
    "tiny": lambda x: x[:8, :40] * 2.0**-120,
    "with a zero vector": lambda x: x[:8, :40] * (torch.arange(8, device="cpu") > 0)[:, None],
}


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16, torch.bfloat16])
def test_cosines_norms_and_angles_do_not_see_the_default_device(
    shape: str, dtype: torch.dtype, request: pytest.FixtureRequest
) -> None:
    operands = [SHAPES[shape](torch.randn(3000, 50)).to(dtype) for _ in range(2)]
    expected = _calls(*operands)
    request.getfixturevalue("meta_default")
    found = _calls(*operands)
    assert [x.device.type for x in found] == ["cpu"] * len(expected)
    for x, y in zip(found, expected, strict=True):
        assert torch.equal(x.nan_to_num(7.0), y.nan_to_num(7.0))


def test_a_thread_whose_first_cosine_saw_another_default_device_still_works() -> None:
    program = """
import torch
from fa_lint_runtime import safe_cosine
a = torch.ones(3, 4, requires_grad=True)
b = torch.ones(3, 4)
with torch.device("meta"):
    safe_cosine(a, b).sum().backward()
big = torch.ones(300, 1000)
with torch.device("meta"):
    safe_cosine(big, big)
assert safe_cosine(a, b).tolist() == [1.0] * 3
safe_cosine(a, b).sum().backward()
assert safe_cosine(big, big).eq(1).all()
"""
    subprocess.run([sys.executable, "-W", "error", "-c", program], check=True, timeout=300)


_FACTORIES = frozenset(
    "arange asarray as_tensor empty eye full linspace logspace ones rand randint randn randperm scalar_tensor tensor "
    "tril_indices triu_indices zeros".split()
)


def _without_device(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in _FACTORIES:
            if ast.unparse(node.func.value) == "torch" and not any(k.arg in ("device", None) for k in node.keywords):
                yield f"{path.name}:{node.lineno}: {ast.unparse(node)}"


def test_kernels_name_the_device_of_every_tensor_they_make() -> None:
    """Those of ``compiled`` run only where numba is installed, and once a process."""
    assert [found for path in sorted((PACKAGE / "kernels").glob("*.py")) for found in _without_device(path)] == []
