"""FAL411: feedback of another layer beside a gradient, and pairs that are right."""

from __future__ import annotations

import pytest

from tests.rules.shapes import rows

HEAD = (
    "import numpy as np\nimport torch\nfrom torch import nn\n"
    "def cos(a, b): return (a * b).sum() / (a.norm() * b.norm())\n"
    "def credit(error, Bs, layer): return error @ Bs[min(layer, len(Bs) - 1)]\n"
    "def f(model, x, y, loss_fn, e, hiddens, loss, Bs, L, blocks):\n"
)
GRADS = "grads = torch.autograd.grad(loss, hiddens)\n"
CLAMPED = [
    GRADS + "return [cos(g, e @ Bs[min(l, L - 1)]) for l, g in enumerate(grads)]",
    GRADS + "return [cos(g, e @ Bs[min(L - 1, l)]) for l, g in enumerate(grads)]",
    GRADS + "return {l: cos(g, e @ Bs[min(l, len(Bs) - 1)]) for l, g in enumerate(grads)}",
    GRADS + "for l, g in enumerate(grads):\n    k = min(l, L - 1)\n    print(cos(g, e @ Bs[k]))",
    GRADS + "for l, g in enumerate(grads):\n    B = Bs[l if l < L else L - 1]\n    print(cos(g, e @ B))",
    GRADS + "for l, g in enumerate(grads):\n    B = Bs[l if l < len(Bs) else -1]\n    print(cos(g, e @ B))",
    GRADS + "for l in range(len(grads)):\n    B = Bs[np.minimum(l, L - 1)]\n    print(cos(grads[l], e @ B))",
    GRADS + "for l in range(L + 1):\n    g = grads[l]\n    print(cos(g, e @ Bs[min(l, L - 1)]))",
    GRADS + "for l in range(len(hiddens)):\n    print(cos(grads[l], e @ Bs[min(l, L - 1)]))",
    GRADS + "for l, (h, g) in enumerate(zip(hiddens, grads)):\n    print(h.norm(), cos(g, e @ Bs[min(l, L - 1)]))",
    GRADS + "last = len(Bs) - 1\nfor l, g in enumerate(grads):\n    print(cos(g, e @ Bs[min(l, last)]))",
    "loss.backward()\nfor l, h in enumerate(hiddens):\n    print(cos(h.grad, e @ Bs[min(l, L - 1)]))",
    "loss.backward()\nreturn [cos(h.grad, e @ model.feedback[min(l, model.depth - 1)]) for l, h in enumerate(hiddens)]",
    GRADS + "return [cos(g, e @ Bs[max(0, min(l, L - 1))]) for l, g in enumerate(grads)]",
    GRADS + "return [cos(g, e @ Bs[np.clip(l, 0, L - 1)]) for l, g in enumerate(grads)]",
    GRADS + "for l, g in enumerate(grads):\n    B = Bs[l] if l < L else Bs[-1]\n    print(cos(g, e @ B))",
    GRADS + "for l, g in enumerate(grads):\n    print(cos(g, credit(e, Bs, l)))",
    GRADS + "print([cos(grads[l], credit(e, Bs, layer=l)) for l in range(len(grads))])",
    GRADS
    + "feedback_matrices = Bs\nreturn [cos(g, e @ feedback_matrices[min(l, L - 1)]) for l, g in enumerate(grads)]",
]
HS = "hs = [model.embed(x)]\nfor block in blocks:\n    hs.append(hs[-1] + block(hs[-1]))\n"
TAKEN = "grads = torch.autograd.grad(loss_fn(hs[-1], y), hs)\n"
EQUAL = "assert len(Bs) == len(blocks)\n"
ZIPPED = "for g, B in zip(grads, Bs):\n    print(cos(g, e @ B))"
SHIFTED = [
    EQUAL + HS + TAKEN + ZIPPED,
    "assert len(blocks) == len(Bs)\n" + HS + TAKEN + "return [cos(g, e @ B) for g, B in zip(grads, Bs)]",
    "if len(Bs) != len(blocks):\n    raise ValueError\n"
    + HS
    + TAKEN
    + "return [cos(g, e @ B) for B, g in zip(Bs, grads)]",
    EQUAL + HS + TAKEN + "for l, (g, B) in enumerate(zip(grads, Bs)):\n    print(l, cos(g, e @ B))",
    EQUAL + HS + TAKEN + "for h, g, B in zip(hs, grads, Bs):\n    print(h.norm(), cos(g, e @ B))",
    EQUAL + HS + TAKEN + "for i in range(len(blocks)):\n    print(cos(grads[i], e @ Bs[i]))",
    EQUAL + HS + TAKEN + "for i, B in enumerate(Bs):\n    print(cos(grads[i], e @ Bs[i]))",
    EQUAL
    + HS
    + TAKEN
    + "for i in range(len(Bs)):\n    credit = e @ Bs[i]\n    g = grads[i]\n    print(cos(g, credit))",
    EQUAL + HS + TAKEN + "return [cos(grads[i], e @ Bs[i]) for i, block in enumerate(blocks)]",
    "Bs = [torch.randn(10, 8) for _ in blocks]\n" + HS + TAKEN + ZIPPED,
    "Bs = [torch.randn(10, 8) for _ in range(len(blocks))]\n" + HS + TAKEN + ZIPPED,
    "Bs = nn.ParameterList([torch.randn(10, 8) for block in blocks])\n" + HS + TAKEN + ZIPPED,
    "Bs = []\nfor _ in blocks:\n    Bs.append(torch.randn(10, 8))\n" + HS + TAKEN + ZIPPED,
    "L = len(blocks)\nBs = [torch.randn(10, 8) for _ in range(L)]\n" + HS + TAKEN + ZIPPED,
    EQUAL + "h = model.embed(x)\nhs = [h]\nfor block in blocks:\n    h = block(h)\n    hs.append(h)\n" + TAKEN + ZIPPED,
    EQUAL + "h = x\nhs = []\nhs.append(h)\nfor block in blocks:\n    h = block(h)\n    hs.append(h)\n" + TAKEN + ZIPPED,
    EQUAL + "h = x\nhs = []\nfor block in blocks:\n    hs.append(h)\n    h = block(h)\nhs.append(h)\n" + TAKEN + ZIPPED,
    EQUAL + "h = x\nhs = [h]\nfor i in range(len(blocks)):\n    h = blocks[i](h)\n    hs += [h]\n" + TAKEN + ZIPPED,
    EQUAL + "outs = [block(x) for block in blocks]\nhs = [x, *outs]\n" + TAKEN + ZIPPED,
    EQUAL + "outs = [block(x) for block in blocks]\nhs = [x] + outs\n" + TAKEN + ZIPPED,
    EQUAL + HS + "loss_fn(hs[-1], y).backward()\nfor h, B in zip(hs, Bs):\n    print(cos(h.grad, e @ B))",
    EQUAL + HS + "loss_fn(hs[-1], y).backward()\ngrads = [h.grad for h in hs]\n" + ZIPPED,
    EQUAL + HS + TAKEN + "for g, B in zip(grads, [*Bs, Bs[-1]]):\n    print(cos(g, e @ B))",
    EQUAL + HS + TAKEN + "padded = Bs + [Bs[-1]]\nfor g, B in zip(grads, padded):\n    print(cos(g, e @ B))",
    "for block, B in zip(blocks, Bs):\n    block.learn(e @ B)\n" + HS + TAKEN + ZIPPED,
    "assert len(hiddens) == len(Bs) + 1\n" + GRADS + ZIPPED,
]
SHIFTED += [
    EQUAL + HS + TAKEN + "for i, B in enumerate(Bs):\n    print(cos(grads[i], e @ B))",
    EQUAL + HS + TAKEN + "return {i: cos(grads[i], e @ B) for i, B in enumerate(Bs)}",
    "Bs = [block.B for block in blocks]\n" + HS + TAKEN + "return [cos(grads[i], e @ B) for i, B in enumerate(Bs)]",
    EQUAL + HS + TAKEN + "for i, B in enumerate(Bs):\n    credit = e @ B\n    g = grads[i]\n    print(cos(g, credit))",
    HS + TAKEN + "return [cos(g, e @ block.B) for g, block in zip(grads, blocks)]",
    HS + TAKEN + "for block, g in zip(blocks, grads):\n    print(cos(g, torch.matmul(e, block.feedback_weight)))",
    HS + TAKEN + "for i, (g, block) in enumerate(zip(grads, blocks)):\n    print(i, cos(g, e @ block.feedback))",
    "h = model.embed(x)\nhs = []\nhs.append(h)\nfor block in blocks:\n    h = block(h)\n    hs.append(h)\n"
    + TAKEN
    + "for n, (block, g, B) in enumerate(zip(blocks, grads, Bs)):\n    print(n, cos(g, e @ B))",
]
RIGHT = [
    EQUAL + HS + TAKEN + "for i, B in enumerate(Bs):\n    print(cos(grads[i + 1], e @ B))",
    EQUAL + HS + TAKEN + "for i, B in enumerate(Bs):\n    print(grads[i].norm(), B.norm())",
    EQUAL + HS + TAKEN + "for i, B in enumerate(Bs):\n    print(grads[i].norm(), cos(grads[i + 1], e @ B))",
    EQUAL + HS + TAKEN + "for i, B in enumerate(Bs, 1):\n    print(cos(grads[i], e @ B))",
    EQUAL + HS + TAKEN + "for i, B in enumerate(Bs):\n    print(cos(hiddens[i], e @ B))",
    "Bs = [block.B for block in blocks]\nhs = [block(x) for block in blocks]\n"
    + TAKEN
    + "return [cos(grads[i], e @ B) for i, B in enumerate(Bs)]",
    HS + TAKEN + "return [cos(g, e @ block.B) for g, block in zip(grads[1:], blocks)]",
    HS + TAKEN + "return [cos(g, block.weight) for g, block in zip(grads, blocks)]",
    HS + TAKEN + "return [cos(g, e @ block.B) for g, block in zip(grads, blocks, strict=True)]",
    "hs = [block(x) for block in blocks]\n" + TAKEN + "return [cos(g, e @ b.B) for g, b in zip(grads, blocks)]",
    "Bs = [torch.randn(10, 8) for _ in range(len(blocks) + 1)]\n"
    + HS
    + TAKEN
    + "for block, g, B in zip(blocks, grads, Bs):\n    print(block, cos(g, e @ B))",
    GRADS + ZIPPED,
    GRADS + "for l in range(1, len(grads)):\n    print(cos(grads[l], e @ Bs[l - 1]))",
    GRADS + "for l in range(len(grads)):\n    print(cos(grads[l], e @ Bs[l]))",
    GRADS + "for l, B in enumerate(Bs):\n    print(cos(grads[l + 1], e @ B))",
    GRADS + "for l, B in enumerate(Bs):\n    print(cos(grads[l + 1], e @ Bs[l]))",
    GRADS + "return [cos(g, e @ B) for g, B in zip(grads, Bs, strict=True)]",
    "assert len(hiddens) == len(Bs)\n"
    + GRADS
    + "return [cos(g, e @ Bs[min(l, len(Bs) - 1)]) for l, g in enumerate(grads)]",
    EQUAL + HS + TAKEN + "for g, B in zip(grads[1:], Bs):\n    print(cos(g, e @ B))",
    EQUAL + HS + TAKEN + "for g, B in zip(grads, Bs, strict=True):\n    print(cos(g, e @ B))",
    EQUAL + HS + TAKEN + "for g, B in zip(reversed(grads), reversed(Bs)):\n    print(cos(g, e @ B))",
    EQUAL + HS + TAKEN + "for g, B in zip(grads[:-1], Bs):\n    print(cos(g, e @ B))",
    EQUAL + HS + "grads = torch.autograd.grad(loss_fn(hs[-1], y), hs[1:])\n" + ZIPPED,
    EQUAL + HS + "hs = hs[1:]\n" + TAKEN + ZIPPED,
    EQUAL + "hs = []\nfor block in blocks:\n    x = block(x)\n    hs.append(x)\n" + TAKEN + ZIPPED,
    EQUAL
    + "hs = []\nfor block in blocks:\n    x = block(x)\n    hs.append(x)\nhs.append(model.head(x))\n"
    + TAKEN
    + ZIPPED,
    "Bs = [torch.randn(10, 8) for _ in range(len(blocks) + 1)]\n" + HS + TAKEN + ZIPPED,
    "Bs = [torch.randn(10, 8)] + [torch.randn(10, 8) for _ in blocks]\n" + HS + TAKEN + ZIPPED,
    "assert len(Bs) == len(blocks) + 1\n" + HS + TAKEN + ZIPPED,
    EQUAL + HS + "for h, B in zip(hs, Bs):\n    print(h.norm(), B.norm())",
    EQUAL + HS + TAKEN + "for h, g in zip(hs, grads):\n    print(cos(h, g))",
    EQUAL + HS + TAKEN + "for block, g in zip(blocks, grads):\n    print(block, g.norm())",
    EQUAL
    + HS
    + TAKEN
    + "for i in range(len(Bs)):\n    print(grads[i].norm(), hs[i].norm())\n    print(cos(grads[i + 1], e @ Bs[i]))",
    EQUAL + HS + TAKEN + "for i in range(len(Bs)):\n    credit = e @ Bs[i]\n    print(cos(grads[1 + i], credit))",
    EQUAL + HS + TAKEN + "print([cos(grads[i + 1], e @ Bs[i]) for i in range(len(Bs))])",
    GRADS + "for l in range(L):\n    print(cos(grads[l + 1], e @ Bs[min(l, L - 1)]))",
    GRADS + "for l in range(len(Bs)):\n    print(cos(grads[l], e @ Bs[min(l, len(Bs) - 1)]))",
    GRADS + "for l, block in enumerate(blocks):\n    block.learn(credit(e, Bs, l))",
    "assert len(hiddens) == len(Bs)\n"
    + GRADS
    + "print([cos(g, e @ (Bs[l] if l < L else Bs[-1])) for l, g in enumerate(grads)])",
    EQUAL + HS + "return [loss_fn(hs[i], hs[i - 1]) for i in range(1, len(hs))]",
    EQUAL + HS + TAKEN + "for i in range(len(blocks)):\n    print(grads[i].norm(), blocks[i])",
    "grads = e\nfor l, block in enumerate(blocks):\n    block.learn(e @ Bs[min(l, L - 1)])",
    GRADS + "for l, g in enumerate(grads):\n    print(model.names[min(l, L - 1)], g.norm())",
    "loss.backward()\nfor t in range(L):\n    print(model.Rs[t], x[min(t, L - 1)])",
]


def body(text: str) -> str:
    return HEAD + "".join(f"    {line}\n" for line in text.split("\n"))


@pytest.mark.parametrize("text", CLAMPED)
def test_index_clamped_to_the_last_matrix(text: str) -> None:
    assert len(rows("FAL411", body(text))) == 1


@pytest.mark.parametrize("text", SHIFTED)
def test_gradients_with_one_entry_more_in_front(text: str) -> None:
    assert len(rows("FAL411", body(text))) == 1


@pytest.mark.parametrize("text", RIGHT)
def test_pairs_that_are_right_or_not_known(text: str) -> None:
    assert rows("FAL411", body(text)) == []


MEASURED = (
    "import torch\ndef credit(Bs, l):\n    return Bs[min(l, len(Bs) - 1)]\ndef train(states, blocks, e, Bs):\n    {}\n        {}\n"
    "def measure(states, loss, e, Bs, cosine):\n    grads = torch.autograd.grad(loss, states)\n"
    "    return [cosine(g, e @ {}) for l, g in enumerate(grads)]\n"
)


@pytest.mark.parametrize("measured", ["credit(Bs, l)", "Bs[min(l, len(Bs) - 1)]"])
@pytest.mark.parametrize(
    ("loop", "update", "right"),
    [
        ("for l, h in enumerate(states):", "h.backward(e @ credit(Bs, l), retain_graph=True)", True),
        ("for l, h in enumerate(states):", "h.backward(e @ Bs[min(l, len(Bs) - 1)], retain_graph=True)", True),
        ("for l, h in enumerate(states):", "h.grad = e @ credit(Bs, l)", True),
        ("for l in range(len(states)):", "states[l].backward(e @ credit(Bs, l), retain_graph=True)", True),
        # Block l makes state l + 1.
        ("for l, block in enumerate(blocks):", "block.learn(e @ credit(Bs, l))", False),
        ("for l in range(len(blocks)):", "states[l + 1].backward(e @ credit(Bs, l))", False),
        ("for l, h in enumerate(states):", "h.backward(e @ Bs[l], retain_graph=True)", False),
    ],
)
def test_states_that_were_trained_under_the_same_index(loop: str, update: str, right: bool, measured: str) -> None:
    assert bool(rows("FAL411", MEASURED.format(loop, update, measured))) is not right


CLASS = (
    "import torch\nfrom torch import nn\nclass Net(nn.Module):\n    def __init__(self, depth, d, classes):\n        super().__init__()\n"
    "        self.embed = nn.Linear(d, d)\n        self.blocks = nn.ModuleList([nn.Linear(d, d) for _ in range(depth)])\n"
    "        self.Bs = [torch.randn(classes, d) for _ in range(depth)]\n"
    "    def states(self, x):\n        hs = [self.embed(x)]\n        for block in self.blocks:\n            hs.append(hs[-1] + block(hs[-1]))\n"
    "        return hs\n    def gammas(self, x, y, e, loss_fn, cos):\n        hs = self.states(x)\n"
    "        grads = torch.autograd.grad(loss_fn(hs[-1], y), hs)\n        return [cos(g, e @ B) for g, B in zip({pair})]\n"
)


def test_lists_of_one_object() -> None:
    assert rows("FAL411", CLASS.format(pair="grads, self.Bs")) == [17]
    assert rows("FAL411", CLASS.format(pair="grads[1:], self.Bs")) == []
    assert (
        rows(
            "FAL411",
            CLASS.replace("range(depth)]\n    def", "range(depth + 1)]\n    def").format(pair="grads, self.Bs"),
        )
        == []
    )


HELPER = (
    "import torch\ndef states(net, x):\n    hs = [net.embed(x)]\n    for block in net.blocks:\n        hs.append(block(hs[-1]))\n    return hs\n"
    "def f(model, x, y, e, loss_fn, cos):\n    assert len(model.Bs) == len(model.blocks)\n    hs = states(model, x)\n"
    "    grads = torch.autograd.grad(loss_fn(hs[-1], y), hs)\n    for i in range(len(model.blocks)):\n"
    "        print(cos(grads[i], e @ model.Bs[{index}]))\n"
)


def test_states_that_a_helper_makes() -> None:
    assert rows("FAL411", HELPER.format(index="i")) == [12]
    assert rows("FAL411", HELPER.replace("range(len", "range(1, 1 + len").format(index="i - 1")) == []
