"""Across files: a gradient taken in one file under an fp16 autocast that another opens."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from tests.conftest import Lint, write

Codes = Callable[..., list[str]]

PROBE = """import torch

class Probe:
    def gamma(self, model, x, credit):
        return self._cosine(model(x).mean(), x, credit)

    def _cosine(self, loss, x, credit):
        (g,) = torch.autograd.grad(loss, x)
        return torch.dot(g.flatten(), credit)

def norms(model, x):
    loss = model(x).mean()
    return [g.norm() for g in torch.autograd.grad(loss, list(model.parameters()))]

def outer(model, x):
    return norms(model, x)
"""
FOUND = "a.py:13:31 FAL301"
CALLER = (
    "import torch\n{imports}\n\ndef evaluate(model, x, c, scaler=None):\n    with {context}:\n        return {call}\n"
)
FP16 = "torch.autocast('cuda')"


def caller(imports: str, call: str, context: str = FP16) -> str:
    return CALLER.format(imports=imports, call=call, context=context)


def found(codes: Codes) -> list[str]:
    return [place for place in codes(".") if "FAL301" in place]


@pytest.mark.parametrize(
    ("imports", "call"),
    [
        ("from a import norms", "norms(model, x)"),
        ("from a import norms as n", "n(model, x)"),
        ("import a", "a.norms(model, x)"),
        ("from a import *", "norms(model, x)"),
        ("from a import outer", "outer(model, x)"),  # through another function of that file
    ],
)
def test_a_function_called_under_autocast_elsewhere(codes: Codes, imports: str, call: str) -> None:
    write("a.py", PROBE)
    write("b.py", caller(imports, call))
    assert found(codes) == [FOUND]


def test_a_method_of_an_imported_class(codes: Codes) -> None:
    write("a.py", PROBE)
    write("b.py", caller("from a import Probe\nprobe = Probe()", "probe.gamma(model, x, c)"))
    assert found(codes) == ["a.py:8:16 FAL301"]


@pytest.mark.parametrize("context", [FP16, "torch.cuda.amp.autocast()", "torch.autocast('cuda', dtype=torch.float16)"])
def test_the_ways_to_open_fp16(codes: Codes, context: str) -> None:
    write("a.py", PROBE)
    write("b.py", caller("from a import norms", "norms(model, x)", context))
    assert found(codes) == [FOUND]


@pytest.mark.parametrize(
    ("imports", "call", "context"),
    [
        ("from a import norms", "norms(model, x)", "torch.autocast('cuda', dtype=torch.bfloat16)"),
        ("from a import norms", "norms(model, x)", "torch.autocast('cpu')"),
        ("from a import norms", "norms(model, x)", "torch.autocast('cuda', enabled=False)"),
        ("from a import norms", "norms(model, x)", "torch.no_grad()"),
        ("from other import norms", "norms(model, x)", FP16),
        ("from a import norms", "model(x)", FP16),
        ("def norms(model, x):\n    return model(x)", "norms(model, x)", FP16),
    ],
)
def test_other_contexts_and_other_functions_are_none(codes: Codes, imports: str, call: str, context: str) -> None:
    write("a.py", PROBE)
    write("b.py", caller(imports, call, context))
    assert found(codes) == []


def test_one_file_alone_proves_nothing(codes: Codes) -> None:
    write("a.py", PROBE)
    write("b.py", caller("from a import norms", "norms(model, x)"))
    assert codes("a.py") == []
    assert codes("b.py") == []


def test_a_loss_that_is_scaled_there_is_fine(codes: Codes) -> None:
    write(
        "a.py",
        "import torch\n\ndef norms(model, x, scaler):\n    loss = scaler.scale(model(x).mean())\n"
        "    return [g.norm() / scaler.get_scale() for g in torch.autograd.grad(loss, list(model.parameters()))]\n",
    )
    write("b.py", caller("from a import norms", "norms(model, x, scaler)"))
    assert found(codes) == []


def test_the_evidence_names_the_other_file_and_a_flag_makes_it_a_warning(fa_lint: Lint) -> None:
    write("a.py", PROBE)
    write("b.py", caller("from a import norms", "norms(model, x)"))
    (sure,) = json.loads(fa_lint("a.py", "b.py", "--output-format", "json").stdout)
    assert sure["level"] == "error"
    assert [(r["location"]["row"], r["message"]) for r in sure["related"]] == [
        (5, "fp16 autocast opens here"),
        (6, "`norms` is called under it"),
    ]
    assert all(r["filename"].endswith("b.py") for r in sure["related"])
    write("b.py", caller("from a import norms", "norms(model, x)", "torch.autocast('cuda', enabled=c.amp)"))
    (open_,) = json.loads(fa_lint("a.py", "b.py", "--output-format", "json").stdout)
    assert open_["level"] == "warning"


def test_a_suppression_at_the_gradient_counts_and_is_used(codes: Codes) -> None:
    write("a.py", PROBE.replace("list(model.parameters()))]", "list(model.parameters()))]  # noqa: FAL301"))
    write("b.py", caller("from a import norms", "norms(model, x)"))
    assert codes("a.py", "b.py") == []


def test_through_a_file_between_the_two(codes: Codes) -> None:
    write("a.py", PROBE)
    write("between.py", "from a import norms\n\ndef sizes(model, x):\n    return [n.item() for n in norms(model, x)]\n")
    write("b.py", caller("from between import sizes", "sizes(model, x)"))
    assert found(codes) == [FOUND]


def test_a_loss_that_is_passed_to_another_file(codes: Codes) -> None:
    write("a.py", "import torch\n\ndef slope(loss, x):\n    return torch.autograd.grad(loss, x)[0].norm()\n")
    write("b.py", "import torch\nfrom a import slope\n\ndef run(model, x, scaler):\n    with torch.autocast('cuda'):\n"
          "        loss = model(x).sum()\n    return slope(loss, x)\n")  # fmt: skip
    assert found(codes) == ["a.py:4:12 FAL301"]
    write("b.py", "import torch\nfrom a import slope\n\ndef run(model, x, scaler):\n    with torch.autocast('cuda'):\n"
          "        loss = model(x).sum()\n    return slope(scaler.scale(loss), x)\n")  # fmt: skip
    assert found(codes) == []
