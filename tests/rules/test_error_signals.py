"""FAL604: errors that are sent on or only measured, and models that end in a softmax, however they are built."""

from __future__ import annotations

import pytest

from tests.rules.shapes import rows

HEAD = (
    "import torch\nimport torch.nn.functional as F\nfrom collections import OrderedDict\nfrom functools import partial\n"
    "from torch import nn\n"
)
STEP = "def f(model, x, y, B):\n    z = model(x)\n    t = F.one_hot(y, 10)\n    loss = F.cross_entropy(z, y)\n    "
SENT = [
    "e = z - t\n    return loss, e @ B",
    "e = t - z\n    return loss, e @ B",
    "e = torch.sub(z, t)\n    return loss, e @ B",
    "e = z.detach().sub(t)\n    return loss, e @ B",
    "logits = z\n    e = logits.data - t\n    return loss, e @ B",
    "e = z - t\n    d = e / len(x)\n    return loss, d.t() @ x",
    "error = z - t\n    return loss, error",
    "delta = z - t\n    model.send(delta)",
    "return loss, torch.einsum('bi,ij->bj', z - t, B)",
    "for b in B:\n        e = z - t\n        b.append(e.mm(b))",
]
MEASURED = [
    "error = z - t\n    return loss",
    "error = z - t\n    print(error.abs().mean())\n    return loss",
    "error = z - t\n    mse = error ** 2\n    return loss + mse.mean()",
    "error = z - t\n    size = error.norm()\n    return loss, size",
    "error = z - t\n    if error.abs().max() > 1:\n        raise ValueError\n    return loss",
    "error = z - t\n    error = z.softmax(1) - t\n    return loss, error @ B",
    "error = z - t\n    return loss, F.mse_loss(error, torch.zeros_like(error))",
    "error = z.softmax(1) - t\n    return loss, error @ B",
    "margin = z - 0.3 * t\n    return loss, margin",
]
SOFTMAX = "nn.Sequential(nn.Linear(4, 3), nn.Softmax(1))"
# What is before the loss, and the call of the loss.
MODELS = [
    (f"m = {SOFTMAX}\n    m = m.to(d)", "nn.CrossEntropyLoss()(m(x), y)"),
    (f"m = {SOFTMAX}\n    m.train()\n    m = nn.DataParallel(m).cuda()", "F.cross_entropy(m(x), y)"),
    (f"m = torch.compile({SOFTMAX})\n    for _ in x:\n        m = m.eval()", "F.cross_entropy(m(x), y)"),
    ("m = nn.Sequential(nn.Linear(4, 3), nn.Sequential(nn.ReLU(), nn.Softmax(1))).to(d)", "F.cross_entropy(m(x), y)"),
    ("ls = [nn.Linear(4, 3)]\n    ls.append(nn.Softmax(1))\n    m = nn.Sequential(*ls)", "F.cross_entropy(m(x), y)"),
    ("m = nn.Sequential(OrderedDict([('a', nn.Linear(4, 3)), ('b', nn.Softmax(1))]))", "F.cross_entropy(m(x), y)"),
    ("loss = partial(F.cross_entropy, label_smoothing=0.1)", "loss(x.softmax(1), y)"),
    ("loss = nn.CrossEntropyLoss()\n    loss = loss.to(d)", "loss(x.softmax(1), y)"),
]
LOGITS = [
    ("m = nn.Sequential(nn.Linear(4, 3), nn.LogSoftmax(1))\n    m = m.to(d)", "F.cross_entropy(m(x), y)"),
    ("m = nn.Sequential(nn.Softmax(1), nn.Linear(4, 3))\n    m = m.to(d)", "F.cross_entropy(m(x), y)"),
    (f"m = {SOFTMAX}\n    if d:\n        m = nn.Linear(4, 3)\n    m = m.to(d)", "F.cross_entropy(m(x), y)"),
    (
        "ls = [nn.Linear(4, 3)]\n    if d:\n        ls.append(nn.Softmax(1))\n    m = nn.Sequential(*ls)",
        "F.cross_entropy(m(x), y)",
    ),
    (f"m = {SOFTMAX}\n    m = m[0].to(d)", "F.cross_entropy(m(x), y)"),
    ("loss = partial(F.nll_loss, reduction='sum')", "loss(x.softmax(1), y)"),
    (f"m = {SOFTMAX}\n    m = m.to(d)", "nn.NLLLoss()(m(x).log(), y)"),
]


@pytest.mark.parametrize("body", SENT)
def test_an_error_of_logits_is_sent_on(body: str) -> None:
    assert len(rows("FAL604", HEAD + STEP + body)) == 1


@pytest.mark.parametrize("body", MEASURED)
def test_an_error_that_is_only_measured_is_silent(body: str) -> None:
    assert rows("FAL604", HEAD + STEP + body) == []


@pytest.mark.parametrize(("before", "loss"), MODELS)
def test_a_model_that_ends_in_a_softmax(before: str, loss: str) -> None:
    assert len(rows("FAL604", f"{HEAD}def f(x, y, d):\n    {before}\n    return {loss}")) == 1


@pytest.mark.parametrize(("before", "loss"), LOGITS)
def test_a_model_that_may_give_logits(before: str, loss: str) -> None:
    assert rows("FAL604", f"{HEAD}def f(x, y, d):\n    {before}\n    return {loss}") == []


def test_soft_targets_are_a_target_as_well() -> None:
    code = "def f(z, q, B):\n    loss = F.cross_entropy(z, q)\n    e = z - q\n    return loss, e @ B"
    assert rows("FAL604", HEAD + code) == [8]


def test_a_model_kept_in_an_attribute_and_moved_later() -> None:
    code = (
        f"class T:\n    def __init__(self):\n        self.net = {SOFTMAX}\n    def fit(self, x, y, d):\n"
        "        net = self.net\n        net = net.to(d)\n        return F.cross_entropy(net(x), y)"
    )
    assert rows("FAL604", HEAD + code) == [12]


APART = [
    'if kind == "ce":\n        loss = F.cross_entropy(z, y)\n        e = z.softmax(1) - t\n    else:\n        loss = F.mse_loss(z, t)\n        e = z - t',
    'if kind == "ce":\n        loss = F.cross_entropy(z, y)\n        e = z.softmax(1) - t\n    elif kind == "mse":\n        loss = F.mse_loss(z, t)\n        e = z - t',
    'if kind == "ce":\n        return F.cross_entropy(z, y), (z.softmax(1) - t) @ B\n    loss, e = F.mse_loss(z, t), z - t\n    e = z - t',
    'if kind == "ce":\n        loss = F.cross_entropy(z, y)\n    if kind == "mse":\n        loss, e = F.mse_loss(z, t), 0\n        e = z - t',
    "if ce:\n        loss = F.cross_entropy(z, y)\n    else:\n        loss = F.mse_loss(z, t)\n    if not ce:\n        e = z - t",
    "loss = F.cross_entropy(z, y) if ce else F.mse_loss(z, t)\n    if not ce:\n        e = z - t",
    'match kind:\n        case "ce":\n            loss, e = F.cross_entropy(z, y), z.softmax(1) - t\n        case "mse":\n            loss = F.mse_loss(z, t)\n            e = z - t',
]
TOGETHER = [
    'if kind == "ce":\n        loss = F.cross_entropy(z, y)\n        e = z - t\n    else:\n        loss = F.mse_loss(z, t)\n        e = z - t',
    'if kind == "ce":\n        loss = F.cross_entropy(z, y)\n    else:\n        loss = F.mse_loss(z, t)\n    e = z - t',
    "if ce:\n        loss = F.cross_entropy(z, y)\n    if ce:\n        e = z - t",
    "if ce:\n        loss = F.cross_entropy(z, y)\n    if kind:\n        e = z - t",
    "if ce:\n        z = model(2 * x)\n    loss = F.cross_entropy(z, y)\n    e = z - t",
]
CHOOSE = "def f(model, x, y, B, kind, ce):\n    z = model(x)\n    t = F.one_hot(y, 10)\n    {0}\n    return loss, e @ B"


@pytest.mark.parametrize("body", APART)
def test_branches_of_which_only_one_runs_are_no_pair(body: str) -> None:
    assert rows("FAL604", HEAD + CHOOSE.format(body)) == []


@pytest.mark.parametrize("body", TOGETHER)
def test_an_error_that_runs_with_the_loss_is_found(body: str) -> None:
    assert len(rows("FAL604", HEAD + CHOOSE.format(body))) == 1


METRICS = [
    "loss = 0.5 * (e**2).sum(1).mean()\n    with torch.no_grad():\n        ce = F.cross_entropy(z, y).item()",
    "loss = F.mse_loss(z, t)\n    loss.backward()\n    ce = F.cross_entropy(z, y).item()",
    "loss = e.pow(2).mean()\n    ce = float(F.cross_entropy(z, y))",
    "crit = nn.MSELoss()\n    loss = crit(z, t)\n    ce = F.cross_entropy(z, y).detach()",
    "loss = (e * e).sum()\n    with torch.inference_mode():\n        ce = F.cross_entropy(z, y)",
]
OBJECTIVES = [
    "loss = ce = F.cross_entropy(z, y)\n    print((e**2).mean().item())",
    "loss = (e**2).mean().item()\n    ce = F.cross_entropy(z, y)",
    "with torch.no_grad():\n        loss = ce = F.cross_entropy(z, y)",
    "loss = ce = F.cross_entropy(z, y).item()",
    "loss = ce = F.cross_entropy(z, y).item()\n    with torch.no_grad():\n        mse = (e**2).mean()",
]
BESIDE = "def f(model, x, y, B):\n    z = model(x)\n    t = F.one_hot(y, 10)\n    e = z - t\n    {0}\n    return loss, ce, e @ B"


@pytest.mark.parametrize("body", METRICS)
def test_a_metric_beside_training_on_squared_error_is_silent(body: str) -> None:
    assert rows("FAL604", HEAD + BESIDE.format(body)) == []


@pytest.mark.parametrize("body", OBJECTIVES)
def test_the_only_loss_is_the_objective(body: str) -> None:
    assert len(rows("FAL604", HEAD + BESIDE.format(body))) == 1


BODY = (
    "class Body(nn.Module):\n    def __init__(self):\n        super().__init__()\n        self.fc, self.last = nn.Linear(4, 3), nn.Softmax(1)\n"
    "    def forward(self, x): return self.{0}(self.fc(x))\n    def act(self, z): return z.softmax(1)\n"
)
USE = "def f(x, y): return F.cross_entropy({0}()(x), y)\n"
DERIVED = [
    ("act", "class Raw(Body):\n    def act(self, z): return z\n"),
    (
        "last",
        "class Raw(Body):\n    def __init__(self):\n        super().__init__()\n        self.last = nn.Identity()\n",
    ),
    ("act", "class Raw(Body):\n    def forward(self, x): return self.fc(x)\n"),
]


@pytest.mark.parametrize(("last", "derived"), DERIVED)
def test_a_derived_class_that_gives_logits(last: str, derived: str) -> None:
    code = HEAD + BODY.format(last)
    assert rows("FAL604", code + derived + USE.format("Raw")) == []
    assert len(rows("FAL604", code + USE.format("Body"))) == 1
    softer = "class Raw(Body):\n    def act(self, z): return (z / 2).softmax(1)\n"
    assert len(rows("FAL604", code + softer + USE.format("Raw"))) == 1


IN_PLACE = "def f(model, x, y, B):\n    z = model(x)\n    loss = F.cross_entropy(z, y)\n    {0}\n    return loss, {1}"
TAKEN = [
    ("err = z.clone()\n    err[torch.arange(len(y)), y] -= 1", "err @ B"),
    ("err = z.detach().clone()\n    err[range(len(y)), y] -= 1.0\n    err = err / len(y)", "err @ B"),
    ("rows = torch.arange(len(y))\n    delta = z.clone()\n    delta[rows, y] -= 1", "delta"),
]
NOT_TAKEN = [
    ("err = z.softmax(1)\n    err[torch.arange(len(y)), y] -= 1", "err @ B"),
    ("err = z.clone()\n    err = F.softmax(err, 1)\n    err[torch.arange(len(y)), y] -= 1", "err @ B"),
    (
        "err = z.clone()\n    err.exp_()\n    err /= err.sum(1, keepdim=True)\n    err[torch.arange(len(y)), y] -= 1",
        "err @ B",
    ),
    ("err = z.clone()\n    err[torch.arange(len(y)), y] -= 1", "err.abs().mean()"),
    ("margin = z.clone()\n    margin[torch.arange(len(y)), y] -= 1", "margin @ B"),
    ("err = z.clone()\n    err[torch.arange(len(y)), x] -= 1", "err @ B"),
    ("err = z.clone()\n    err[torch.arange(len(y)), y] -= 0.5", "err @ B"),
    ("err = z.clone()\n    err[:, y] -= 1", "err @ B"),
]


@pytest.mark.parametrize(("body", "end"), TAKEN)
def test_one_is_taken_from_the_logit_of_the_target(body: str, end: str) -> None:
    assert len(rows("FAL604", HEAD + IN_PLACE.format(body, end))) == 1


@pytest.mark.parametrize(("body", "end"), NOT_TAKEN)
def test_one_is_taken_from_something_else_or_not_sent(body: str, end: str) -> None:
    assert rows("FAL604", HEAD + IN_PLACE.format(body, end)) == []


LIT = (
    "class Lit(nn.Module):\n    def forward(self, x):\n        {0}\n    def training_step(self, batch, _):\n"
    "        x, y = batch\n        return F.cross_entropy({1}, y)\n"
)


@pytest.mark.parametrize("call", ["self(x)", "self.forward(x)", "self(x).view(-1, 10)"])
@pytest.mark.parametrize(
    "body", ["return F.softmax(self.fc(x), dim=1)", "z = self.fc(x)\n        return z.softmax(-1)"]
)
def test_a_module_that_calls_itself(body: str, call: str) -> None:
    assert len(rows("FAL604", HEAD + LIT.format(body, call))) == 1


@pytest.mark.parametrize(
    ("body", "more"),
    [
        ("return self.fc(x)", ""),
        ("return F.log_softmax(self.fc(x), 1)", ""),
        ("if self.training:\n            return self.fc(x)\n        return F.softmax(self.fc(x), 1)", ""),
        ("return F.softmax(self.fc(x), 1)", "class Raw(Lit):\n    def forward(self, x): return self.fc(x)\n"),
        ("return F.softmax(self.fc(x), 1)", "class Raw(Lit):\n    def __call__(self, x): return self.fc(x)\n"),
        ("raise NotImplementedError", "class Raw(Lit):\n    def forward(self, x): return self.fc(x)\n"),
    ],
)
def test_a_module_that_may_give_itself_logits(body: str, more: str) -> None:
    assert rows("FAL604", HEAD + LIT.format(body, "self(x)") + more) == []


BUILT = "def build(k, d):\n    {0}\ndef fit(x, y):\n    net, crit = build(10, 0), nn.CrossEntropyLoss()\n    return crit(net(x), y)"


@pytest.mark.parametrize(
    ("body", "number"),
    [
        ("ls = [nn.Linear(4, k)]\n    ls.append(nn.Softmax(1))\n    return nn.Sequential(*ls)", 1),
        (f"return {SOFTMAX}", 1),
        (f"net = {SOFTMAX}\n    return net.to(d)", 1),
        ("ls = [nn.Linear(4, k)]\n    if d:\n        ls.append(nn.Softmax(1))\n    return nn.Sequential(*ls)", 0),
        (f"if d:\n        return nn.Linear(4, k)\n    return {SOFTMAX}", 0),
        (f"return {SOFTMAX} if d else nn.Linear(4, k)", 0),
        ("return nn.Sequential(nn.Softmax(1), nn.Linear(4, k))", 0),
        (f"return {SOFTMAX}[:-1]", 0),
    ],
)
def test_a_model_that_a_function_builds(body: str, number: int) -> None:
    assert len(rows("FAL604", HEAD + BUILT.format(body))) == number
