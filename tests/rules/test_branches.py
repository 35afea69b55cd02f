"""Branches that a call decides by a constant argument: what does not run there is no finding."""

from __future__ import annotations

import pytest

from tests.rules.shapes import rows

HEAD = "import torch\nimport torch.nn.functional as F\nfrom fa_lint_runtime import safe_cosine\n"
GRADIENT = "def gamma(loss, h, c):\n    (g,) = torch.autograd.grad(loss, h)\n    return {}\n"
HELPERS = [
    ("if clamp:\n        return {}\n    return safe_cosine(a, b, dim=0)", "clamp=False", "True", "False"),
    ("if not clamp:\n        return safe_cosine(a, b, dim=0)\n    return {}", "clamp=False", "True", "False"),
    ("if how == 'torch':\n        found = {}\n    else:\n        found = safe_cosine(a, b, dim=0)\n    return found",
     "how='safe'", "'torch'", "'exact'"),
    ("if how in ('torch', 'F') and not test:\n        return {}\n    return safe_cosine(a, b, dim=0)",
     "how=None, test=False", "'F'", "'x'"),
    ("return {} if how is None else safe_cosine(a, b, dim=0)", "how='safe'", "None", "'x'"),
    ("if how != 'torch' or test:\n        return safe_cosine(a, b, dim=0)\n    elif test is None:\n        return None\n"
     "    else:\n        return {}", "how='safe', test=False", "'torch'", "'x'"),
]  # fmt: skip


@pytest.mark.parametrize("cosine", ["F.cosine_similarity(a, b, dim=0)", "torch.cosine_similarity(a, b, 0, 1e-8)"])
@pytest.mark.parametrize(("body", "params", "on", "off"), HELPERS)
def test_a_branch_runs_where_the_call_says_so(body: str, params: str, on: str, off: str, cosine: str) -> None:
    helper = f"def measure(a, b, {params}):\n    {body.format(cosine)}\n"
    name = params.partition("=")[0]
    text = HEAD + helper + GRADIENT
    assert rows("FAL201", text.format(f"measure(g, c, {on})"))
    assert rows("FAL201", text.format(f"measure(g, c, {name}={on})"))
    assert rows("FAL201", text.format(f"measure(g, c, {off})")) == []
    assert rows("FAL201", text.format("measure(g, c)")) == []
    assert rows("FAL201", text.format(f"measure(g, c, {name}=flag)")), "a flag that is not known decides nothing"


@pytest.mark.parametrize(
    ("call", "count"),
    [("cos(g, c)", 1), ("cos(g, c, 1e-30)", 0), ("cos(g, c, eps=1e-20)", 0), ("cos(g, c, eps=1e-5)", 1)],
)
def test_the_floor_is_that_of_the_call(call: str, count: int) -> None:
    helper = "def cos(a, b, eps=1e-8):\n    return F.cosine_similarity(a, b, dim=0, eps=eps)\n"
    assert len(rows("FAL201", HEAD + helper + GRADIENT.format(call))) == count


@pytest.mark.parametrize("test", ["c.abs() < 1", "abs(c) <= 1", "torch.abs(c) < 1.0", "-1 < c < 1"])
@pytest.mark.parametrize("form", ["return torch.acos(c) if {} else 0", "if {}:\n        return torch.acos(c)"])
def test_a_cosine_that_a_branch_bounds(test: str, form: str) -> None:
    cosine = "def angle(a, b):\n    c = F.cosine_similarity(a, b, dim=0)\n    "
    assert rows("FAL204", HEAD + cosine + form.format(test)) == []
    assert rows("FAL204", HEAD + cosine + form.format("a.abs() < 1"))


@pytest.mark.parametrize("scaled", ["scaled_loss(loss)", "amp.scaled(loss)", "amp.scale_losses(loss)", "by(loss)"])
def test_a_loss_that_a_helper_scales(scaled: str) -> None:
    head = "import torch\nfrom mixed import scaled_loss, amp\ndef by(loss):\n    return loss * 1024\n"
    step = (
        "def gradients(model, x):\n    with torch.autocast('cuda', dtype=torch.float16):\n"
        "        loss = model(x).mean()\n    return torch.autograd.grad({}, list(model.parameters()))\n"
    )
    assert rows("FAL301", head + step.format(scaled)) == []
    assert rows("FAL301", head + step.format("loss"))


@pytest.mark.parametrize(
    ("test", "on", "off"),
    [
        ("mode is None", "None", "'x'"),
        ("mode is not None", "'x'", "None"),
        ("mode is True", "True", "False"),
        ("mode not in ('exact', 'safe')", "'torch'", "'safe'"),
        ("mode in ['torch']", "'torch'", "'safe'"),
        ("mode in 'torch'", "'torch'", "'safe'"),
    ],
)
def test_identity_and_membership(test: str, on: str, off: str) -> None:
    arms = f"if {test}:\n        return F.cosine_similarity(a, b, dim=0)\n    return safe_cosine(a, b, dim=0)"
    text = HEAD + f"def measure(a, b, mode):\n    {arms}\n" + GRADIENT
    assert rows("FAL201", text.format(f"measure(g, c, {on})"))
    assert rows("FAL201", text.format(f"measure(g, c, {off})")) == []


def test_identity_is_no_equality() -> None:
    arms = "if mode is 'torch':\n        return F.cosine_similarity(a, b, dim=0)\n    return safe_cosine(a, b, dim=0)"
    text = HEAD + f"def measure(a, b, mode):\n    {arms}\n" + GRADIENT
    with pytest.warns(SyntaxWarning):
        assert rows("FAL201", text.format("measure(g, c, 'exact')")), "`is` of two equal strings is not decided"


def test_a_loop_runs_as_its_way_in() -> None:
    body = (
        "if clamp:\n        for _ in range(3):\n            found = F.cosine_similarity(a, b, dim=0)\n    return found"
    )
    text = HEAD + f"def measure(a, b, clamp):\n    found = 0\n    {body}\n" + GRADIENT
    assert rows("FAL201", text.format("measure(g, c, True)"))
    assert rows("FAL201", text.format("measure(g, c, False)")) == []


def test_star_arguments_decide_nothing() -> None:
    arms = "if clamp:\n        return F.cosine_similarity(a, b, dim=0)\n    return safe_cosine(a, b, dim=0)"
    text = HEAD + f"def measure(a, b, clamp=False):\n    {arms}\n" + GRADIENT
    assert rows("FAL201", text.format("measure(g, c, *more)"))
    assert rows("FAL201", text.format("measure(g, c, **more)"))


@pytest.mark.parametrize(("last", "count"), [("h = g", 1), ("h = h.relu()", 0)])
def test_a_closure_reads_its_variables_when_it_is_called(last: str, count: int) -> None:
    text = (
        "def outer(loss, x, c, h):\n    (g,) = torch.autograd.grad(loss, x)\n"
        f"    def inner():\n        return F.cosine_similarity(h, c, dim=0)\n    {last}\n    return inner()\n"
    )
    assert len(rows("FAL201", HEAD + text)) == count
    called = (
        "def outer(h, c):\n    def inner(k):\n        return F.cosine_similarity(h[k], c[k], dim=0)\n    return inner(0)\n"
        "def use(loss, xs, c):\n    return outer(torch.autograd.grad(loss, xs), c)\n"
    )
    assert rows("FAL201", HEAD + called) == [6]
