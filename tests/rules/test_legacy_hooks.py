"""FAL603: legacy hooks that are right, because of what they are registered on or where, and those that only look so."""

from __future__ import annotations

import warnings

import pytest
import torch
from torch import nn

from fa_lint.rules import registry
from fa_lint.rules.p7_other_computation._legacy_hooks import _SINGLE
from tests.rules.shapes import found, rows

HEAD = "import torch\nfrom torch import nn\nkept = {}\ndef hook(module, gi, go):\n    kept[module] = gi[0]\n"

FALLBACKS = [
    "def f(m): (m.register_full_backward_hook if hasattr(m, 'register_full_backward_hook') else "
    "m.register_backward_hook)(hook)",
    "def f(m):\n    if not hasattr(nn.Module, 'register_full_backward_hook'):\n        m.register_backward_hook(hook)\n"
    "    else:\n        m.register_full_backward_hook(hook)",
    "NEW = hasattr(nn.Module, 'register_full_backward_hook')\ndef f(m):\n    if NEW:\n"
    "        return m.register_full_backward_hook(hook)\n    return m.register_backward_hook(hook)",
    "def f(m):\n    full = getattr(m, 'register_full_backward_hook', None)\n    if full is None:\n"
    "        m.register_backward_hook(hook)\n    else:\n        full(hook)",
    "def f(m):\n    full = getattr(m, 'register_full_backward_hook', None)\n    if full:\n        full(hook)\n        return\n"
    "    m.register_backward_hook(hook)",
    "def f(m):\n    if 'register_full_backward_hook' in dir(m): m.register_full_backward_hook(hook)\n"
    "    else: m.register_backward_hook(hook)",
    "from packaging import version\ndef f(m):\n    if version.parse(torch.__version__) < version.parse('1.8.0'):\n"
    "        m.register_backward_hook(hook)\n    else:\n        m.register_full_backward_hook(hook)",
    "V = tuple(int(x) for x in torch.__version__.split('.')[:2])\ndef f(m):\n    if V >= (1, 8):\n"
    "        m.register_full_backward_hook(hook)\n    else:\n        m.register_backward_hook(hook)",
    "def is_old(): return torch.__version__ < '1.8'\ndef f(m):\n    if is_old():\n        m.register_backward_hook(hook)",
    "from util import TORCH_VERSION, digit_version\ndef f(m):\n    if digit_version(TORCH_VERSION) >= digit_version('1.9'):\n"
    "        m.register_full_backward_hook(hook)\n    else:\n        m.register_backward_hook(hook)",
    "def f(m):\n    try:\n        m.register_full_backward_hook(hook)\n    except AttributeError:\n"
    "        m.register_backward_hook(hook)",
    "def old(m): m.register_backward_hook(hook)\ndef f(m):\n    if hasattr(m, 'register_full_backward_hook'):\n"
    "        m.register_full_backward_hook(hook)\n    else:\n        old(m)",
]
NO_FALLBACKS = [
    "def f(m):\n    if hasattr(m, 'register_full_backward_hook'):\n        m.register_backward_hook(hook)",
    "def f(m):\n    if torch.__version__ >= '1.8':\n        m.register_backward_hook(hook)",
    "def f(m):\n    if torch.__version__ < '2.0':\n        m.register_backward_hook(hook)",
    "def f(m):\n    if hasattr(m, 'weight'):\n        m.weight.register_hook(print)\n    else:\n        m.register_backward_hook(hook)",
    "def f(m, legacy):\n    if legacy:\n        m.register_backward_hook(hook)\n    else:\n        m.register_full_backward_hook(hook)",
    "def f(m):\n    if hasattr(m, 'register_full_backward_hook'):\n        print('new')\n    m.register_backward_hook(hook)",
    "def f(m):\n    try:\n        m.forward\n    except AttributeError:\n        m.register_backward_hook(hook)",
]
SINGLE = [
    "def f(net):\n    for m in net.modules():\n        if not isinstance(m, nn.Conv2d):\n            continue\n"
    "        m.register_backward_hook(hook)",
    "def f(net):\n    for n, m in net.named_modules():\n        if type(m) is nn.Sigmoid and n:\n"
    "            m.register_backward_hook(hook)",
    "KINDS = (nn.ReLU, nn.BatchNorm2d)\ndef f(net):\n    for m in net.modules():\n        if isinstance(m, KINDS):\n"
    "            m.register_backward_hook(hook)",
    "def f(net):\n    for m in net.modules():\n        if isinstance(m, nn.ReLU) or m.__class__.__name__ == 'ELU':\n"
    "            m.register_backward_hook(hook)",
    "def f(net): [m.register_backward_hook(hook) for m in net.modules() if isinstance(m, nn.Tanh)]",
    "def f(net):\n    for m in [k for k in net.modules() if isinstance(k, nn.Conv1d | nn.Conv3d)]:\n"
    "        m.register_backward_hook(hook)",
    "def f(net):\n    for m in filter(lambda k: isinstance(k, nn.ReLU), net.modules()): m.register_backward_hook(hook)",
    "def f(net):\n    found = []\n    for m in net.modules():\n        if isinstance(m, nn.GELU):\n"
    "            found.append(m)\n    for m in found:\n        m.register_backward_hook(hook)",
    "def f():\n    act = nn.ReLU(inplace=True)\n    act.register_backward_hook(hook)\n    return act",
    "class Net(nn.Module):\n    def __init__(self):\n        super().__init__()\n        self.conv = nn.Conv2d(3, 8, 3)\n"
    "        self.conv.register_backward_hook(hook)",
    "def f(bn: nn.BatchNorm1d): bn.register_backward_hook(hook)",
    "class Gate(nn.Sigmoid):\n    def __init__(self):\n        super().__init__()\n        self.register_backward_hook(hook)",
    "def f(m):\n    assert isinstance(m, nn.LayerNorm)\n    m.register_backward_hook(hook)",
    "def f(m):\n    match m:\n        case nn.ReLU():\n            m.register_backward_hook(hook)",
]
NET = (
    "class Net(nn.Module):\n    def __init__(self):\n        super().__init__()\n        self.relu, self.fc = nn.ReLU(), nn.Linear(2, 2)\n"
    "        self.act = nn.Sequential(nn.Linear(2, 2), nn.ReLU())\n"
)
BUILT_SINGLE = [
    NET + "def f():\n    net = Net()\n    net.{relu}.register_backward_hook(hook)",
    NET + "def f(): Net().{relu}.register_backward_hook(hook)",
    NET + "def f():\n    net = Net().cuda()\n    getattr(net, '{relu}').register_backward_hook(hook)",
    NET + "class Deep(Net): pass\ndef f():\n    net = Deep()\n    net.{relu}.register_backward_hook(hook)",
    NET + "def attach(net): net.{relu}.register_backward_hook(hook)\nattach(Net())",
    NET + "def f():\n    net = Net()\n    net.act[{one}].register_backward_hook(hook)",
    "def f():\n    net = nn.Sequential(nn.Linear(2, 2), nn.ReLU())\n    net[{one}].register_backward_hook(hook)",
    "def f():\n    net = nn.ModuleList([nn.Linear(2, 2), nn.ReLU()])\n    net[{one}].register_backward_hook(hook)",
    "class T(nn.Module):\n    def __init__(self):\n        super().__init__()\n        self.net = nn.Sequential(nn.Linear(2, 2), nn.ReLU())\n"
    "        self.net[{one}].register_backward_hook(hook)",
]
NOT_SINGLE = [
    "def f(layers):\n    net = nn.Sequential(*layers, nn.ReLU())\n    net[1].register_backward_hook(hook)",
    "def f():\n    net = nn.Sequential(nn.Linear(2, 2), nn.ReLU())\n    net[:1].register_backward_hook(hook)",
    "def f(net): net.relu.register_backward_hook(hook)",
    "def f(net): net[1].register_backward_hook(hook)",
    "def f(net):\n    for m in net.modules():\n        if isinstance(m, (nn.ReLU, nn.Linear)):\n"
    "            m.register_backward_hook(hook)",
    "def f(net):\n    for m in net.modules():\n        if not isinstance(m, nn.ReLU):\n            m.register_backward_hook(hook)",
    "def f(net):\n    for m in net.modules():\n        if isinstance(m, nn.ReLU):\n            print(m)\n"
    "        m.register_backward_hook(hook)",
    "def f(net):\n    for m in net.modules():\n        if isinstance(m, nn.ReLU):\n            net.register_backward_hook(hook)",
    "def f(net):\n    for m in net.modules():\n        if isinstance(m, nn.ReLU) or m.training:\n"
    "            m.register_backward_hook(hook)",
    "def f():\n    act = nn.Sequential(nn.ReLU(), nn.ReLU())\n    act.register_backward_hook(hook)",
    "def f(net):\n    for m in net.modules():\n        if isinstance(m, nn.Dropout):\n            m.register_backward_hook(hook)",
    "class Gate(nn.Conv2d):\n    def __init__(self):\n        super().__init__(1, 1, 1)\n"
    "        self.register_backward_hook(hook)\n    def forward(self, x): return super().forward(x) + x",
    "def f(net, deep):\n    m = nn.ReLU()\n    if deep:\n        m = nn.Linear(2, 2)\n    m.register_backward_hook(hook)",
]
REGISTERED = [
    "class Hook:\n    def __call__(self, module, gi, go): return (go[0],) + gi[1:]\ndef f(m): m.register_backward_hook(Hook())",
    "class Hook:\n    def __init__(self): self.seen = []\n    def __call__(self, module, gi, go): self.seen.append(gi[0])\n"
    "def f(m):\n    h = Hook()\n    m.register_backward_hook(h)",
    "def f(m): nn.Module.register_backward_hook(m, hook)",
    "def f(m): getattr(m, 'register_backward_hook')(hook)",
    "def f(m):\n    add = m.register_backward_hook\n    add(hook)",
    "def f(m): m.register_backward_hook(hook=hook)",
]
UNFIXED = [
    "def f(m): m.register_backward_hook(lambda m, gi, go: (gi[0] * 2,))",
    "def take(m, gi, go):\n    bias_grad = gi[0]\n    print(bias_grad)\ndef f(m): m.register_backward_hook(take)",
    "def take(m, gi, go): kept['weight'] = gi[2]\ndef f(m): m.register_backward_hook(take)",
    "def take(m, gi, go):\n    x, w, b = gi\n    print(w)\ndef f(m): m.register_backward_hook(take)",
    "def take(m, gi, go): return gi[0], gi[1] * 2, gi[2]\ndef f(m): m.register_backward_hook(take)",
]


@pytest.mark.parametrize("code", FALLBACKS)
def test_a_fallback_for_old_versions_is_silent(code: str) -> None:
    assert rows("FAL603", HEAD + code) == []


@pytest.mark.parametrize("code", [*NO_FALLBACKS, *NOT_SINGLE, *REGISTERED])
def test_every_other_registration_is_found(code: str) -> None:
    assert len(rows("FAL603", HEAD + code)) == 1


@pytest.mark.parametrize("code", SINGLE)
def test_a_module_of_one_operation_is_silent(code: str) -> None:
    assert rows("FAL603", HEAD + code) == []


@pytest.mark.parametrize("code", BUILT_SINGLE)
def test_a_module_that_is_built_in_sight_is_known(code: str) -> None:
    assert rows("FAL603", HEAD + code.format(relu="relu", one="1")) == []
    assert rows("FAL603", HEAD + code.format(relu="relu", one="-1")) == []
    assert len(rows("FAL603", HEAD + code.format(relu="fc", one="0"))) == 1


def test_a_method_of_that_name_of_another_class() -> None:
    remote = "class Remote{0}:\n    def register_backward_hook(self, hook): self.hooks.append(hook)\ndef f():\n    r = Remote()\n    r.{1}(hook)"
    assert rows("FAL603", HEAD + remote.format("", "register_backward_hook")) == []
    plain = "class Remote(nn.Module): pass\ndef f():\n    r = Remote()\n    r.register_backward_hook(hook)"
    assert len(rows("FAL603", HEAD + plain)) == 1


def test_a_parameter_that_is_thrown_away_is_not_read() -> None:
    code = "def take(m, gi, go):\n    {0} = gi\ndef f(m): m.register_backward_hook(take)"
    assert rows("FAL603", HEAD + code.format("_")) == []
    assert len(rows("FAL603", HEAD + code.format("x, y, z"))) == 1


@pytest.mark.parametrize(
    ("body", "fixed"),
    [
        ("kept.setdefault(m, gi[0])", False),
        ("gi[0].norm()", False),
        ("kept[m].copy_(gi[0])", False),
        ("kept[m].append(gi[0])", True),
        ("print(gi[0].norm())", True),
    ],
)
def test_no_fix_for_a_lambda_that_returns_a_value(body: str, fixed: bool) -> None:
    (finding,) = found("FAL603", f"{HEAD}def f(m): m.register_backward_hook(lambda m, gi, go: {body})")
    assert (finding.fix is not None) is fixed


def test_the_page_says_that_a_full_hook_raises_behind_an_operation_in_place() -> None:
    assert "inplace=True" in registry()["FAL603"].documentation().partition("Fix safety")[2]
    net = nn.Sequential(nn.Linear(3, 4), nn.ReLU(inplace=True), nn.Linear(4, 1))
    for module in net:
        module.register_full_backward_hook(lambda _module, _in, _out: None)
    with pytest.raises(RuntimeError, match="inplace"):
        net(torch.randn(2, 3)).sum().backward()


@pytest.mark.parametrize("code", UNFIXED)
def test_no_fix_where_the_hook_knows_the_parts_of_the_operation(code: str) -> None:
    (finding,) = found("FAL603", HEAD + code)
    assert finding.fix is None


BUILT = {
    "Threshold": ((0.0, 0.0), (4, 6)),
    "Softmax": ((1,), (4, 6)),
    "LogSoftmax": ((1,), (4, 6)),
    "LayerNorm": ((6,), (4, 6)),
    "GroupNorm": ((2, 6), (4, 6, 3)),
    **{f"BatchNorm{n}d": ((6,), (4, 6, *[4] * n)) for n in (1, 2, 3)},
    **{f"Conv{n}d": ((6, 3, 3), (4, 6, *[4] * n)) for n in (1, 2, 3)},
    **{f"ConvTranspose{n}d": ((6, 3, 3), (4, 6, *[4] * n)) for n in (1, 2, 3)},
    **{f"{kind}Pool{n}d": ((2,), (4, 6, *[4] * n)) for kind in ("Max", "Avg") for n in (2, 3)},
    **{f"Adaptive{kind}Pool2d": ((2,), (4, 6, 4, 4)) for kind in ("Max", "Avg")},
}


@pytest.mark.parametrize("name", sorted(kind for kind in _SINGLE if not kind.startswith("_")))
def test_the_legacy_value_of_these_modules_is_that_of_a_full_hook(name: str) -> None:
    arguments, shape = BUILT.get(name, ((), (4, 6)))
    torch.manual_seed(0)
    module, x, legacy, full = getattr(nn, name)(*arguments), torch.randn(shape, requires_grad=True), [], []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for register, seen in ((module.register_backward_hook, legacy), (module.register_full_backward_hook, full)):
            module._is_full_backward_hook = None
            handle = register(lambda _module, grads, _out, seen=seen: seen.append(grads[0]))
            torch.manual_seed(1)
            module(x * 1).square().sum().backward()
            handle.remove()
    assert torch.equal(legacy[0], full[0])
