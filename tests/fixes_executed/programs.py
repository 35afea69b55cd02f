"""Run a program before and after its fixes, over shapes, dtypes and zero rows."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from fa_lint.fixes.edits import fix_data
from fa_lint.project.config import Settings
from fa_lint.project.engine import lint_text

torch = pytest.importorskip("torch")

HEAD = "import math\nimport numpy as np\nimport torch\nimport torch.nn.functional as F\n"
# 1-D to 4-D, square and not, a batch of one.
SHAPES = [(5,), (1,), (3, 5), (4, 4), (1, 6), (2, 3, 5), (3, 3, 3), (2, 1, 4), (2, 3, 4, 5), (4, 4, 4, 4)]
DTYPES = [torch.float16, torch.bfloat16, torch.float32, torch.float64]


def fixed(code: str, *, unsafe: bool = True, **settings: Any) -> str:
    """The program after its fixes; an internal error fails the test."""
    configured = Settings(**settings)
    report = lint_text("program.py", code.encode(), configured)
    assert report.problems == []
    return fix_data("program.py", code.encode(), report.diagnostics, configured, unsafe=unsafe).data.decode()


def run(code: str) -> dict[str, Any]:
    """The names that a program binds."""
    names: dict[str, Any] = {}
    exec(compile(code, "program.py", "exec"), names)
    return names


def tensors(
    *, least: int = 1, most: int = 4, dtypes: list[Any] | None = None, zero: bool = True, many: int = 1
) -> Iterator[tuple[Any, ...]]:
    """Inputs over shapes and dtypes, some with a row of zeros; ``many`` tensors of one shape at a time."""
    generator = torch.Generator().manual_seed(0)
    for shape in SHAPES:
        if not least <= len(shape) <= most:
            continue
        for dtype in dtypes or DTYPES:
            for zeros in (False, True) if zero else (False,):
                made = [torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype) for _ in range(many)]
                if zeros:
                    made[0].view(-1, shape[-1])[0] = 0
                yield tuple(made)


def same(got: Any, want: Any, *, dtype: Any = None) -> None:
    """Equal in shape and value, a NaN where a NaN is wanted."""
    got, want = torch.as_tensor(got), torch.as_tensor(want)
    assert got.shape == want.shape, f"{tuple(got.shape)} instead of {tuple(want.shape)}"
    exact = dtype in (None, torch.float32, torch.float64)
    bounds = {} if exact else {"rtol": 2e-2, "atol": 1e-2}
    torch.testing.assert_close(got.double(), want.double(), equal_nan=True, **(bounds or {"rtol": 1e-5, "atol": 1e-6}))
