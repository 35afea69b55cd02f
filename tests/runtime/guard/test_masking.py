"""0/0 whose NaN the code masks is no mistake; the same 0/0 used as it is, is one."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest
import torch

from fa_lint_runtime import guard

MASKED = {
    "where": "return torch.where(b > 0, a / b, 0.0)",
    "where, last": "return torch.where(b == 0, torch.zeros(()), a / b)",
    "method where": "return (a / b).where(b > 0, 0.0)",
    "nan_to_num": "return torch.nan_to_num(a / b)",
    "method nan_to_num": "return (a / b).nan_to_num(0.0)",
    "in place": "return (a / b).nan_to_num_(0.0)",
    "masked_fill": "return (a / b).masked_fill(b == 0, 0.0)",
    "over lines": "return torch.where(\n        b > 0,\n        2 * (\n            a / b\n        ),\n        0.0,\n    )",
    "on the way": "return torch.where(b > 0, (a / b).clamp(max=1.0) + 1, 0.0)",
    "nanmean": "return (a / b).nanmean()",
    "selection": "return (a / b)[b > 0].sum()",
    "next statement": "r = a / b\n    return torch.where(b > 0, r, 0.0)",
    "assignment": "r = a / b\n    r[b == 0] = 0.0\n    return r",
    "in place and next": "r = a.clone()\n    r /= b\n    return r.nan_to_num(0.0)",
    "attribute": "class S: pass\n    s = S()\n    s.r = a / b\n    s.r = s.r.masked_fill(b == 0, 0.0)\n    return s.r",
    "tested": "r = a / b\n    return 0.0 if torch.isnan(r).any() else r",
    "cosine": "return F.cosine_similarity(a[None], b[None], eps=0).nan_to_num(0.0)",
    "umlaut": "ä = 'ä'; return torch.where(b > 0, a / b, 0.0)",
    "one line": "r = a / b; r.masked_fill_(torch.isnan(r), 0.0); return r",
    "expected": "torch.testing.assert_close(a / b, torch.full((3,), float('nan')), equal_nan=True)",
    "expected later": "r = a / b\n    return torch.allclose(r, a, equal_nan=True)",
    "np.where": "return numpy.where(b > 0, a / b, 0.0)",
}
BARE = {
    "plain": "return a / b",
    "mean": "return (a / b).mean()",
    "not expected": "return torch.allclose(a / b, a, equal_nan=False)",
    "constant index": "return (a / b)[0]",
    "named index": "i = 1\n    return (a / b)[i]",
    "other name": "r = a / b\n    q = torch.where(b > 0, b, 1.0)\n    return r + q",
    "masked before": "r = torch.where(b > 0, a, 0.0)\n    r = r / b\n    return r",
    "other statement": "torch.where(b > 0, a, 0.0); return a / b",
    "in place": "a = a.clone()\n    a /= b\n    return a",
    "other function": "def g(r): return torch.where(b > 0, r, 0.0)\n    return a / b",
    "cosine": "return F.cosine_similarity(a[None], b[None], eps=0)",
}


def events(folder: Path, body: str, *, gradient: bool = False, thorough: bool = False) -> list[str]:
    path = folder / "divides.py"
    head = "import numpy, torch\nimport torch.nn.functional as F\n\ndef f(a, b):\n    "
    path.write_text(head + body + "\n", encoding="utf-8")
    spec = importlib.util.spec_from_file_location("divides", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    with guard("record", rules=["FAL405"], thorough=thorough) as log:
        module.f(torch.zeros(3, requires_grad=gradient), torch.zeros(3))
    assert not log.unchecked
    return [event.code for event in log]


@pytest.mark.parametrize("name", MASKED)
def test_masked(name: str, tmp_path: Path) -> None:
    assert events(tmp_path, MASKED[name]) == []


@pytest.mark.parametrize("name", BARE)
def test_not_masked(name: str, tmp_path: Path) -> None:
    assert events(tmp_path, BARE[name]) == ["FAL405"]


def test_the_spelling_of_the_division(tmp_path: Path) -> None:
    assert events(tmp_path, "return torch.where(b > 0, torch.div(a, b), 0.0)", thorough=True) == []
    assert events(tmp_path, "return torch.div(a, b)", thorough=True) == ["FAL405"]


def test_a_mask_does_not_save_the_gradient(tmp_path: Path) -> None:
    a, b = torch.zeros(3, requires_grad=True), torch.zeros(3)
    torch.where(b > 0, a / b, 0.0).sum().backward()
    assert a.grad is not None and bool(a.grad.isnan().all())
    assert events(tmp_path, MASKED["where"], gradient=True) == ["FAL405"]


def test_code_without_a_source_is_reported() -> None:
    scope: dict[str, object] = {"torch": torch}
    exec("def f(a, b):\n    return torch.where(b > 0, a / b, 0.0)", scope)
    with guard("record") as log:
        scope["f"](torch.zeros(3), torch.zeros(3))  # type: ignore[operator]
    assert log.codes == ["FAL405"]


def test_the_message_compares_no_nan_with_a_nan() -> None:
    with guard("record") as log:
        torch.zeros(2) / torch.zeros(2)
    [event] = log
    assert "2 of 2 quotients are NaN: 0 divided by 0" in event.message() and "should be" not in event.message()
