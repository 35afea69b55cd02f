"""FAL501, FAL502 and FAL503: what becomes of the values by layer."""

from __future__ import annotations

import pytest

from fa_lint.findings import Level
from fa_lint.project.config import Settings
from fa_lint.rules import registry
from fa_lint.semantics.facts import extract

HEAD = (
    "import contextlib\nimport logging\nimport statistics\nimport numpy as np\nimport torch\n"
    "def cosine(a, b): return torch.dot(a, b) / (a.norm() * b.norm())\n"
)
LOOP = "def f(model, c):\n    found = []\n    for n, p in model.named_parameters():\n        x = cosine(p.grad, c[n])\n"
FILL = LOOP + "        found.append(x)\n"
BY = "def by(model, c): return [cosine(p.grad, c[n]) for n, p in model.named_parameters()]\n"
FILLED_BY = LOOP.replace("f(", "by(") + "        found.append(x)\n    return found\n"
YIELDED = "def by(model, c):\n    for n, p in model.named_parameters():\n        yield cosine(p.grad, c[n]).item()\n"
METER = (
    "def f(layers, c, meter):\n    meter.reset()\n    for layer in layers:\n        x = cosine(layer.weight.grad, c)\n"
)
COLLAPSED = [
    BY + "def f(model, c): return torch.stack(by(model, c)).mean()",
    BY + "def f(model, c): return sum(by(model, c)) / len(c)",
    FILLED_BY + "def f(model, c): return torch.stack(by(model, c)).mean()",
    FILLED_BY + "def f(model, c): return float(np.median(by(model, c)))",
    YIELDED + "def f(model, c): return np.mean(list(by(model, c)))",
    YIELDED + "def f(model, c): return statistics.fmean(by(model, c))",
    "class E:\n    def by(self, model, c):\n        return {n: cosine(p.grad, c[n]) for n, p in model.named_parameters()}\n"
    "    def f(self, model, c):\n        return np.mean(list(self.by(model, c).values()))",
    METER + "        meter.update(x.item())\n    return meter.avg",
    METER + "        meter.update(x.item(), 1)\n    log('cos', meter.avg)\n    return meter.avg",
    "def f(hiddens, grads, c):\n    meter = Meter()\n    for h, g in zip(hiddens, grads):\n        meter.update(cosine(g, c))\n"
    "    return meter.mean",
    LOOP + "        found.append(x)\n    v = torch.tensor(found)\n    return v.sum() / v.numel()",
    "def f(model, c):\n    v = torch.stack([cosine(p.grad, c[n]) for n, p in model.named_parameters()])\n"
    "    return v.sum() / v.shape[0]",
    "def f(model, c):\n    v = torch.stack([cosine(p.grad, c[n]) for n, p in model.named_parameters()])\n"
    "    return v.sum().item() / v.size(0)",
    FILL + "    return np.mean([a for a in found if a == a])",
    "def f(model, c): return sum(cosine(p.grad, c[n]) for n, p in model.named_parameters()) / model.depth",
    "def f(model, c):\n    total, size = 0, 0\n    for n, p in model.named_parameters():\n"
    "        total += cosine(p.grad, c[n]) * p.numel()\n        size += p.numel()\n    return total / size",
    FILL + "    return np.mean(found)",
    FILL + "    return float(np.median(found))",
    FILL + "    return statistics.fmean(found)",
    FILL + "    return sum(found) / len(found)",
    FILL + "    return sum(found) / max(len(found), 1)",
    FILL + "    return torch.stack(found).mean()",
    FILL + "    return torch.tensor(found).mean().item()",
    FILL + "    return torch.mean(torch.stack(found))",
    FILL + "    return np.average(found, weights=[p.numel() for p in model.parameters()])",
    FILL + "    if not found:\n        return None\n    mean = np.mean(found)\n    print(mean)\n    return mean",
    LOOP.replace("[]", "{}") + "        found[n] = x\n    return sum(found.values()) / len(found)",
    LOOP.replace("[]", "{}") + "        found[n] = x\n    return np.mean(list(found.values()))",
    LOOP + "        deg = np.degrees(np.arccos(x))\n        found.append(deg)\n    return np.mean(found)",
    "def f(layers, c):\n    total = 0\n    for l in layers:\n        total += cosine(l.weight.grad, c)\n    return total / len(layers)",
    "def f(layers, c):\n    total = 0\n    for l in layers:\n        x = cosine(l.weight.grad, c)\n        total += x\n"
    "    total /= len(layers)\n    return total",
    "def f(model, loss_a, loss_b):\n    ps = list(model.parameters())\n    a = torch.autograd.grad(loss_a, ps)\n"
    "    b = torch.autograd.grad(loss_b, model.parameters())\n    return np.mean([cosine(x, y) for x, y in zip(a, b)])",
    "def f(model, twin):\n    a = {n: p.grad for n, p in model.named_parameters()}\n    found = []\n    for n in a:\n"
    "        found.append(cosine(a[n], twin[n].grad))\n    return np.mean(found)",
    "def f(model, c):\n    layer_angles = by_layer(model, c)\n    return np.mean(layer_angles)",
    "def by(model, c): return [cosine(p.grad, c) for p in model.parameters()]\ndef f(model, c):\n    v = by(model, c)\n"
    "    return np.mean(v)",
]
ALIVE = [
    BY + "def f(model, c): return torch.stack(by(model, c)).mean()\ndef g(model, c): print(by(model, c))",
    YIELDED + "def f(model, c): return np.mean(list(by(model, c)))\ndef g(model, c): print(list(by(model, c)))",
    "def by(loader, c): return [cosine(x.grad, c) for x in loader]\ndef f(loader, c): return np.mean(by(loader, c))",
    "def by(xs, c):\n    for x in xs:\n        yield cosine(x.grad, c)\ndef f(xs, c): return np.mean(list(by(xs, c)))",
    LOOP.replace("f(", "by(") + "        print(n, x)\n        found.append(x)\n    return found\n"
    "def f(model, c): return np.mean(by(model, c))",
    METER + "        meter.update(x.item())\n        print(meter.val)\n    return meter.avg",
    METER + "        print(x)\n        meter.update(x.item())\n    return meter.avg",
    METER + "        meter.update(x.item())\n    return meter.avg, meter.std",
    METER.replace("layer", "batch") + "        meter.update(x.item())\n    return meter.avg",
    FILL + "    v = torch.tensor(found)\n    return v.mean(), found",
    "def f(layers, c, out):\n    for layer in layers:\n        meter = Meter()\n"
    "        meter.update(cosine(layer.weight.grad, c))\n        out[layer] = meter.avg",
    "def f(model, c):\n    v = torch.stack([cosine(p.grad, c[n]) for n, p in model.named_parameters()])\n"
    "    return v, v.sum() / v.numel()",
    "def f(losses, c):\n    v = torch.stack(losses)\n    return v.sum() / v.numel()  # cosine of p.grad",
    "def f(sample_weights, c): return np.mean([cosine(s.grad, c) for s in sample_weights])",
    FILL + "    return found, np.mean([a for a in found if a == a])",
    FILL + "    return np.mean(found), found",
    FILL + "    log(found)\n    return np.mean(found)",
    FILL + "    out.angles = found\n    return np.mean(found)",
    FILL + "    return np.mean(found), np.std(found)",
    FILL + "    return np.mean(found), min(found)",
    FILL + "    for x in found:\n        print(x)\n    return np.mean(found)",
    FILL + "        print(n, x)\n    return np.mean(found)",
    FILL + "        history[n].append(x)\n    return np.mean(found)",
    FILL + "        writer.add_scalar(n, x)\n    return np.mean(found)",
    FILL + "    return np.mean(found, axis=0)",
    LOOP + "        found.append(x)\n    return found",
    LOOP + "        yield x\n        found.append(x)\n    print(np.mean(found))",
    LOOP.replace("model.named_parameters()", "loader") + "        found.append(x)\n    return np.mean(found)",
    LOOP.replace("n, p in model.named_parameters()", "n, p in task_pairs")
    + "        found.append(x)\n    return np.mean(found)",
    "def f(model, c):\n    accs = []\n    for p in model.parameters():\n        accs.append(score(p))\n    return np.mean(accs)  # cosine",
    "def f(model, c):\n    losses = []\n    for p in model.parameters():\n        losses.append(cosine(p.grad, c))\n    return np.mean(losses)",
    "def f(layers, c):\n    total = 0\n    for l in layers:\n        x = cosine(l.weight.grad, c)\n        log(x)\n        total += x\n"
    "    return total / len(layers)",
    "def mean_of(layer_angles): return sum(layer_angles) / len(layer_angles)",
    "def by(model, c): return [cosine(p.grad, c) for p in model.parameters()]\ndef f(model, c):\n    v = by(model, c)\n"
    "    return np.mean(v)\ndef g(model, c): print(by(model, c))",
    "class A:\n    def f(self, model, c):\n        self.found = [cosine(p.grad, c) for p in model.parameters()]\n"
    "        return np.mean(self.found)",
    "def f(params, xs):\n    found = []\n    for x in xs:\n        found.append(cosine(x.grad, params.v))\n    return np.mean(found)",
]
TRY = "def f(p, c):\n    try:\n        x = cosine(p.grad, c)\n"
SWALLOWED = [
    TRY + "    except Exception:\n        x = 0.0\n    return x",
    TRY + "    except:\n        pass",
    TRY + "    except (ValueError, RuntimeError):\n        x, y = 0.0, 1\n    return x",
    TRY + "    except RuntimeError as e:\n        logging.warning(e)\n        return 0.0\n    return x",
    TRY + "    except* RuntimeError:\n        pass",
    "def f(ps, c, out):\n    for p in ps:\n        try:\n            out.append(cosine(p.grad, c))\n        except Exception:\n            continue",
    "def f(ps, c, out):\n    for p in ps:\n        try:\n            out.append(cosine(p.grad, c))\n        except Exception:\n"
    "            out.append(0.0)",
    "def f(p):\n    try:\n        return torch.norm(p.grad)\n    except AttributeError:\n        return 0.0",
    "from contextlib import suppress as quiet\ndef f(p, c, log):\n    with quiet(Exception):\n        log(cosine(p.grad, c))",
]
HANDLED = [
    TRY + "    except Exception:\n        raise\n    return x",
    TRY + "    except Exception:\n        x = float('nan')\n    return x",
    TRY + "    except Exception:\n        x = None\n    return x",
    TRY + "    except Exception:\n        return np.nan\n    return x",
    TRY + "    except Exception:\n        x = fallback(p)\n    return x",
    TRY + "    except Exception:\n        logging.exception('missing')",
    TRY + "    except KeyboardInterrupt:\n        pass",
    TRY.replace("    try", "    x = None\n    try") + "    except Exception:\n        pass\n    return x",
    TRY.replace("    try", "    x = float('nan')\n    try") + "    except Exception:\n        pass\n    return x",
    TRY.replace("try", "for q in p:\n        failed = 0\n    try") + "    except Exception:\n        failed += 1",
    "def f(x, y):\n    try:\n        return torch.cosine_similarity(x, y)\n    except Exception:\n        return 0.0",
    "def f(p):\n    try:\n        return p.weight.norm()\n    except Exception:\n        return 0.0",
    "def f(p, c):\n    try:\n        def inner(): return cosine(p.grad, c)\n    except Exception:\n        pass",
    "def f(p, c):\n    try:\n        try:\n            x = cosine(p.grad, c)\n        finally:\n            done()\n    except OSError:\n        pass",
]


def findings(code: str, rule: str) -> list[int]:
    text = HEAD + code
    return [found.start for found in registry()[rule].check(extract(text))]


def gates_open(code: str, rule: str) -> bool:
    data = (HEAD + code).encode()
    return registry()[rule].may_match(data)


@pytest.mark.parametrize("code", COLLAPSED)
def test_collapsed_layers_are_found_once(code: str) -> None:
    assert len(findings(code, "FAL501")) == 1
    assert gates_open(code, "FAL501")


@pytest.mark.parametrize("code", ALIVE)
def test_layers_that_live_on_are_left_alone(code: str) -> None:
    assert findings(code, "FAL501") == []


@pytest.mark.parametrize("code", SWALLOWED)
def test_swallowed_errors_are_found(code: str) -> None:
    assert len(findings(code, "FAL502")) == 1
    assert gates_open(code, "FAL502")


@pytest.mark.parametrize("code", HANDLED)
def test_handled_errors_are_left_alone(code: str) -> None:
    assert findings(code, "FAL502") == []


TRIED = (
    "def f(layers, credit):\n    {before}\n    for n, l in layers.items():\n{each}        try:\n            {body}\n"
    "        except AttributeError:\n            {handler}\n{after}    return out"
)
BODY = "out[n] = torch.cosine_similarity(l.weight.grad, credit[n], dim=0)"
RECORDED = [
    "out = {n: math.nan for n in layers}",
    "out = {n: None for n in layers}",
    "out = dict.fromkeys(layers, float('nan'))",
    "out = dict.fromkeys(layers)",
    "out = torch.full((len(layers),), math.nan)",
    "out = np.full(len(layers), np.nan)",
    "out = [math.nan] * len(layers)",
    "out = np.nan * np.ones(len(layers))",
    "out = np.empty(len(layers))\n    out[:] = np.nan",
    "out = torch.empty(len(layers)).fill_(math.nan)",
    "out = np.zeros(len(layers))\n    out.fill(np.nan)",
    "out = collections.defaultdict(lambda: math.nan)",
]
ACCOUNTED = [
    "    missing = set(layers) - set(out)\n    print(missing)\n",
    "    missing = layers.keys() - out.keys()\n    print(missing)\n",
    "    if len(out) != len(layers):\n        raise RuntimeError\n",
    "    assert len(out) == len(layers)\n",
    "    missing = [n for n in layers if n not in out]\n    print(missing)\n",
    "    out = {n: out.get(n, math.nan) for n in layers}\n",
    "    for n in layers:\n        out.setdefault(n, math.nan)\n",
    "    missing = set(layers).difference(out)\n    print(missing)\n",
    "    print(f'{len(out)} of {len(layers)} layers')\n",
]


def tried(before: str = "out = {}", each: str = "", body: str = BODY, handler: str = "pass", after: str = "") -> str:
    return (
        HEAD
        + "import collections\nimport math\n"
        + TRIED.format(before=before, each=each, body=body, handler=handler, after=after)
    )


@pytest.mark.parametrize("before", RECORDED)
@pytest.mark.parametrize("handler", ["pass", "continue"])
def test_a_value_that_is_missing_before_the_attempt_stays_marked(before: str, handler: str) -> None:
    assert findings(tried(before, handler=handler), "FAL502") == []


@pytest.mark.parametrize("after", ACCOUNTED)
def test_a_missing_value_that_is_looked_for_is_accounted_for(after: str) -> None:
    assert findings(tried(after=after), "FAL502") == []


def test_an_item_that_is_missing_before_the_attempt_stays_marked() -> None:
    assert findings(tried(each="        out[n] = math.nan\n"), "FAL502") == []


@pytest.mark.parametrize(
    "code",
    [
        tried(),
        tried("out = {n: 0.0 for n in layers}"),
        tried("out = torch.zeros(len(layers))"),
        tried("out = np.full(len(layers), 1.0)"),
        tried(after="    mean = sum(out.values()) / len(out)\n    print(mean)\n"),
        tried(after="    print(out)\n"),
        tried("out = []", body="out.append(torch.cosine_similarity(l.weight.grad, credit[n], dim=0))"),
        tried("other = {n: math.nan for n in layers}\n    out = {}"),
    ],
)
def test_a_value_that_nothing_marks_is_found(code: str) -> None:
    assert len(findings(code, "FAL502")) == 1


RETRY = (
    "def f(p, c):\n    for dev in ('cuda', 'cpu'):\n        try:\n"
    "            return torch.cosine_similarity(p.grad.to(dev), c.to(dev), dim=0)\n        except RuntimeError:\n"
    "            continue\n    {0}"
)


def test_an_attempt_that_is_repeated_until_it_succeeds() -> None:
    assert findings(HEAD + RETRY.format("raise RuntimeError"), "FAL502") == []
    assert findings(HEAD + RETRY.format("return float('nan')"), "FAL502") == []
    assert len(findings(HEAD + RETRY.format("return 0.0"), "FAL502")) == 1


def test_the_opt_in_rule_is_off_until_it_is_named() -> None:
    assert registry()["FAL503"].level is Level.HINT
    assert "FAL503" not in Settings().codes
    assert "FAL503" not in Settings(select=("FAL5",)).codes
    assert "FAL503" in Settings(select=("FAL503",)).codes
    assert Settings(extend_select=("FAL503",)).codes == Settings().codes | {"FAL503"}


@pytest.mark.parametrize(
    "code",
    [
        "def f(p, c):\n    n = p.grad.norm()\n    return cosine(p.grad, c), n",
        "def f(p, c):\n    print(torch.linalg.vector_norm(p.grad))\n    return cosine(p.grad, c)",
        "def f(p, c):\n    n = torch.nn.utils.clip_grad_norm_(p, 1.0)\n    return cosine(p.grad, c)",
        "def f(x, y): return cosine(x, y)",
    ],
)
def test_a_norm_beside_the_alignment_is_enough(code: str) -> None:
    assert findings(code, "FAL503") == []


@pytest.mark.parametrize(
    "code",
    [
        "def f(p, c): return cosine(p.grad, c)",
        "def f(p, c):\n    n = p.grad.norm()\n    n = n * c.norm()\n    return p.grad @ c / n",
        "def f(p, c):\n    if p.grad.norm() == 0:\n        return None\n    return cosine(p.grad, c)",
    ],
)
def test_a_norm_that_only_divides_is_not(code: str) -> None:
    assert len(findings(code, "FAL503")) == 1


@pytest.mark.parametrize(
    "body",
    [
        "def f(p, c):\n    g = p.grad.flatten()\n    return torch.dot(g, c) / (g.norm() * c.norm())",
        "def f(p, c):\n    g = p.grad.flatten()\n    v = torch.dot(g, c) / (g.norm() * c.norm())\n    return v.item()",
        "def f(p, c):\n    g = p.grad.flatten()\n    a, b = g.norm(), c.norm()\n    return (g @ c) / (a * b)",
        "def f(p, c):\n    g = p.grad.flatten()\n    return (g * c).sum() / torch.sqrt((g * g).sum() * (c * c).sum())",
        "def f(p, c):\n    u, v = p.grad.flatten(), c.flatten()\n    return (u / u.norm()) @ (v / v.norm())",
        "def f(x, y, z):\n    (g,) = torch.autograd.grad(x, y)\n    return torch.vdot(g, z) / (torch.norm(g) * torch.norm(z))",
    ],
)
def test_the_formula_counts_and_not_the_name(body: str) -> None:
    assert len(findings(f"import torch\n{body}\n", "FAL503")) == 1


@pytest.mark.parametrize(
    "body",
    [
        "def f(p, c):\n    g = p.flatten()\n    return torch.dot(g, c) / (g.norm() * c.norm())",
        "def f(p, c):\n    g = p.grad.flatten()\n    return torch.dot(g, c) / (g.norm() * c.norm()), g.norm()",
        "def f(p, c):\n    g = p.grad.flatten()\n    return torch.dot(g, c) / c.norm()",
        "def f(p, c):\n    g = p.grad.flatten()\n    return g * torch.dot(g, c) / (g @ g)",
    ],
)
def test_other_quotients_of_gradients_are_no_alignment(body: str) -> None:
    assert findings(f"import torch\n{body}\n", "FAL503") == []
