"""FAL401 and FAL402 for every way to multiply an error with a drawn matrix, and every way to hand over what is saved."""

from __future__ import annotations

import pytest

from tests.rules.shapes import rows

TRAINER = """\
import numpy as np
import torch
import torch.nn.functional as F


class Trainer:
    def __init__(self, model):
        self.model = model
        self.R = torch.randn(10, 256)

    def step(self, x, y):
        h, logits = self.model(x)
        err = logits.softmax(-1) - F.one_hot(y, 10)
        self.model.update({product})


"""
PRODUCTS = [
    "err @ self.R",
    "err.mm(self.R)",
    "err.matmul(self.R)",
    "err.dot(self.R)",
    "self.R.t().mv(err)",
    "err.inner(self.R.T)",
    "torch.mm(err, self.R)",
    "torch.mv(self.R.T, err)",
    "torch.inner(err, self.R.T)",
    "torch.addmm(h, err, self.R)",
    "torch.tensordot(err, self.R, dims=1)",
    "torch.einsum('bo,oh->bh', err, self.R)",
    "F.linear(err, self.R.T)",
    "np.tensordot(err, self.R, 1)",
]
SAVED = "torch.save(run.model.state_dict(), 'ck.pt')\n"


@pytest.mark.parametrize("product", PRODUCTS)
def test_a_product_with_an_error_is_feedback(product: str) -> None:
    text = TRAINER.format(product=product) + "run = Trainer(net)\n" + SAVED
    assert rows("FAL401", text) == [18]


@pytest.mark.parametrize("product", ["err * self.R[0]", "err + self.R", "torch.cat([err, self.R])"])
def test_what_is_no_product_is_none(product: str) -> None:
    assert rows("FAL401", TRAINER.format(product=product) + "run = Trainer(net)\n" + SAVED) == []


@pytest.mark.parametrize(
    ("parameters", "call", "is_lost"),
    [
        ("run: Trainer", "print(mine)", True),
        ("run", "keep(mine)", True),
        ("path, *, run", "keep('ck.pt', run=mine)", True),
        ("run", "print(mine)", False),
        ("run", "keep(other)", False),
    ],
)
def test_a_function_saves_what_it_is_given(parameters: str, call: str, is_lost: bool) -> None:
    head = TRAINER.format(product="err @ self.R") + f"def main(other):\n    mine = Trainer(net)\n    {call}\n\n\n"
    assert rows("FAL401", f"{head}def keep({parameters}):\n    {SAVED}") == ([23] if is_lost else [])
    for whole in ("torch.save(run, 'ck.pt')", "torch.save({'m': run.model.state_dict(), 'R': run.R}, 'ck.pt')"):
        assert rows("FAL401", f"{head}def keep({parameters}):\n    {whole}\n") == []
