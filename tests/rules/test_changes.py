"""FAL404: values that are read, drawn or copied, and changed before they are compared, are two values."""

from __future__ import annotations

from textwrap import dedent

import pytest

from tests.rules.shapes import rows

HEAD = "import copy\nimport numpy as np\nimport torch\nimport torch.nn.functional as F\n"
PROGRAMS = [
    """
    def momentum(p, state, loss):
        before = p.data.clone()
        loss.backward()
        with torch.no_grad():
            p -= 0.1 * p.grad
        return F.cosine_similarity(before.flatten(), p.data.flatten(), dim=0, eps=1e-30)
    """,
    """
    def swapped(w, k):
        v = w.clone()
        v[k] = 0
        return (v * w).sum() / (v.norm() * w.norm())
    """,
    """
    def dropped(x, mask):
        y = x.clone()
        y.masked_fill_(mask, 0.0)
        return F.cosine_similarity(x, y, dim=-1, eps=1e-30)
    """,
    """
    def shuffled(x):
        y = x[torch.randperm(len(x))]
        return F.cosine_similarity(x, y, dim=-1, eps=1e-30)
    """,
    """
    def two_batches(loader, encode):
        it = iter(loader)
        a, b = next(it), next(it)
        return F.cosine_similarity(encode(a), encode(b), dim=-1, eps=1e-30)
    """,
    """
    def samples(dist):
        a = dist.sample()
        b = dist.sample()
        return F.cosine_similarity(a, b, dim=-1, eps=1e-30)
    """,
    """
    def dropout_twice(model, x):
        return F.cosine_similarity(model(x), model(x), dim=-1, eps=1e-30)
    """,
    """
    def after_update(param, optimizer, loss):
        old = param.clone()
        loss.backward()
        optimizer.step()
        return F.cosine_similarity(old.flatten(), param.flatten(), dim=0, eps=1e-30)
    """,
    """
    def ema(model, ema_model, update):
        shadow = copy.deepcopy(model)
        update(shadow, model)
        out = []
        for p, q in zip(model.parameters(), shadow.parameters()):
            out.append(F.cosine_similarity(p.flatten(), q.flatten(), dim=0, eps=1e-30))
        return out
    """,
    """
    class Track:
        def __init__(self, w):
            self.w = w
            self.start = w.clone()

        def drift(self):
            return F.cosine_similarity(self.start.flatten(), self.w.flatten(), dim=0, eps=1e-30)
    """,
    """
    def positions(h):
        return F.cosine_similarity(h[:, :-1], h[:, 1:], dim=-1, eps=1e-30)
    """,
    """
    def rolled(h):
        return F.cosine_similarity(h, h.roll(1, 0), dim=-1, eps=1e-30)
    """,
    """
    def heads(h):
        a, b = h.chunk(2, dim=-1)
        return F.cosine_similarity(a, b, dim=-1, eps=1e-30)
    """,
    """
    def pieces(h):
        parts = h.split(4)
        return F.cosine_similarity(parts[0], parts[1], dim=-1, eps=1e-30)
    """,
    """
    def expanded(h):
        n = h.shape[0]
        a = h.unsqueeze(1).expand(n, n, -1)
        b = h.unsqueeze(0).expand(n, n, -1)
        return F.cosine_similarity(a, b, dim=-1, eps=1e-30)
    """,
    """
    def repeated(h):
        n = len(h)
        a = h.repeat_interleave(n, dim=0)
        b = h.repeat(n, 1)
        return F.cosine_similarity(a, b, dim=-1, eps=1e-30)
    """,
    """
    def noisy(x):
        y = x.detach().clone().requires_grad_()
        F.mse_loss(x, y).backward()
        y.data.add_(torch.randn_like(y))
        return F.cosine_similarity(x, y, dim=-1, eps=1e-30)
    """,
    """
    def loops(xs):
        prev = xs[0]
        out = []
        for x in xs[1:]:
            out.append(F.cosine_similarity(prev, x, dim=0, eps=1e-30))
            prev = x.clone()
        return out
    """,
    """
    def gather(x, i, j):
        return F.cosine_similarity(x[i], x[j], dim=-1, eps=1e-30)
    """,
    """
    def meshed(x):
        i, j = torch.triu_indices(len(x), len(x), 1)
        return F.cosine_similarity(x[i], x[j], dim=-1, eps=1e-30)
    """,
    """
    def quantised(w):
        q = torch.round(w.clone() * 8) / 8
        return F.cosine_similarity(w, q, dim=0, eps=1e-30)
    """,
    """
    def pruned(w):
        q = w.clone()
        q.data[q.abs() < 0.1] = 0
        return F.cosine_similarity(w, q, dim=0, eps=1e-30)
    """,
    """
    def filled(w, f):
        q = w.clone()
        f(q)
        return F.cosine_similarity(w, q, dim=0, eps=1e-30)
    """,
    """
    def indexed(w, idx, src):
        q = w.clone()
        q.index_copy_(0, idx, src)
        return F.cosine_similarity(w, q, dim=0, eps=1e-30)
    """,
    """
    def ufunc(w):
        q = w.copy()
        np.random.shuffle(q)
        return q @ w / (np.linalg.norm(q) * np.linalg.norm(w))
    """,
    """
    def outarg(w, x):
        q = w.copy()
        np.add(q, x, out=q)
        return q @ w / (np.linalg.norm(q) * np.linalg.norm(w))
    """,
    """
    def inits(w):
        q = w.clone()
        torch.nn.init.normal_(q)
        return F.cosine_similarity(w, q, dim=0, eps=1e-30)
    """,
    """
    def sorts(w):
        q = w.copy()
        q.sort()
        return q @ w / ((q @ q) ** 0.5 * (w @ w) ** 0.5)
    """,
    """
    def acts(model, hook, x1, x2):
        model(x1)
        a = hook.features
        model(x2)
        b = hook.features
        return F.cosine_similarity(a, b, dim=-1, eps=1e-30)
    """,
    """
    class Recorder:
        def attach(self, layer):
            layer.register_forward_hook(self.keep)

        def keep(self, module, args, out):
            self.h = out

        def compare(self, model, x, y):
            model(x)
            a = self.h
            model(y)
            b = self.h
            return F.cosine_similarity(a, b, dim=-1, eps=1e-30)
    """,
    """
    def cached(store, fill):
        fill(store, 0)
        a = store["h"]
        fill(store, 1)
        b = store["h"]
        return F.cosine_similarity(a, b, dim=-1, eps=1e-30)
    """,
    """
    def trainer_step(p, trainer, la, lb):
        la.backward()
        a = p.grad
        reset_gradients(trainer)
        lb.backward()
        b = p.grad
        return F.cosine_similarity(a, b, dim=0, eps=1e-30)
    """,
    """
    def ema_update(ema, model, w):
        q = w.clone()
        ema.update(model)
        return F.cosine_similarity(w, q, dim=0, eps=1e-30)
    """,
    """
    def view_store(w):
        q = w.clone()
        v = q.view(-1)
        v[0] = 3
        return F.cosine_similarity(w, q, dim=0, eps=1e-30)
    """,
    """
    def row_store(w, k):
        q = w.clone()
        q.T[k] = 0
        return F.cosine_similarity(w, q, dim=0, eps=1e-30)
    """,
    """
    def alias_add(w, x):
        q = w.clone()
        v = q
        v += x
        return F.cosine_similarity(w, q, dim=0, eps=1e-30)
    """,
    """
    def successive(gs):
        return [F.cosine_similarity(a, b, dim=0, eps=1e-30) for a, b in zip(gs, gs[1:])]
    """,
    """
    def kept(d, k, g):
        old = d.setdefault(k, g.clone())
        return F.cosine_similarity(old, g, dim=0, eps=1e-30)
    """,
    """
    def deleted(g, h):
        cache = {"a": g}
        x = cache["a"]
        del cache["a"]
        cache["a"] = h
        return F.cosine_similarity(x, cache["a"], dim=0, eps=1e-30)
    """,
    """
    def items(gs, i, j):
        kept = [gs[0], gs[1], gs[2]]
        return F.cosine_similarity(kept[i], kept[j], dim=0, eps=1e-30)
    """,
    """
    def entries(a, b, i, j):
        kept = {"a": a, "b": b}
        return F.cosine_similarity(kept[i], kept[j], dim=0, eps=1e-30)
    """,
    """
    def pick(m, kind, local):
        if kind == "bp":
            return m.weight.grad
        return local

    def arms(m, local):
        return F.cosine_similarity(pick(m, "bp", local), pick(m, "fa", local), dim=0, eps=1e-30)
    """,
    """
    def pick(m, local, *, exact=False):
        return m.weight.grad if exact else local

    def arms(m, local):
        return F.cosine_similarity(pick(m, local, exact=True), pick(m, local), dim=0, eps=1e-30)
    """,
    """
    def closure(model, losses):
        loss = losses[0]

        def grads():
            return torch.autograd.grad(loss, model.w)[0]

        a = grads()
        loss = losses[1]
        return F.cosine_similarity(a, grads(), dim=0, eps=1e-30)
    """,
    """
    class Lag:
        def step(self, g):
            self.previous = self.current
            self.current = g

        def gamma(self):
            return F.cosine_similarity(self.previous, self.current, dim=0, eps=1e-30)
    """,
    """
    class Trainer:
        def step(self, loss):
            loss.backward()
            self.g = self.w.grad.clone()

        def compare(self, a, b):
            self.step(a)
            first = self.g
            self.step(b)
            return F.cosine_similarity(first, self.g, dim=0, eps=1e-30)
    """,
    """
    def unpacked(p, la, lb):
        la.backward(retain_graph=True)
        a, p.grad = p.grad, None
        lb.backward()
        return (a * p.grad).sum() / (a.norm() * p.grad.norm())
    """,
    """
    def swapped_data(m, o):
        a = m.fc.weight.detach().clone()
        m.fc.weight.data, o.fc.weight.data = o.fc.weight.data, m.fc.weight.data
        b = m.fc.weight.detach()
        return (a * b).sum() / (a.norm() * b.norm())
    """,
    """
    def cloned(layer, loader, crit, opt):
        start = layer.weight.data.clone()
        for x, y in loader:
            crit(layer(x), y).backward()
            opt.step()
        return F.cosine_similarity(start.flatten(), layer.weight.data.flatten(), dim=0)
    """,
    """
    def replaced(layer, x, y, crit, opt):
        start = layer.weight.data
        crit(layer(x), y).backward()
        layer.weight = torch.nn.Parameter(layer.weight - layer.weight.grad)
        return F.cosine_similarity(start.flatten(), layer.weight.data.flatten(), dim=0)
    """,
    """
    def retrained(layer, data, train):
        start = layer.weight.data
        train(layer, data)
        return F.cosine_similarity(start.flatten(), layer.weight.data.flatten(), dim=0)
    """,
]
SAME = [
    "def f(hook, model, x):\n    model(x)\n    a = hook.features\n    b = hook.features\n    return F.cosine_similarity(a, b, dim=-1)",
    "def f(w):\n    q = w.clone()\n    print(q.norm())\n    return F.cosine_similarity(w, q, dim=-1)",
    "class T:\n    def f(self):\n        a = self.w.clone()\n        b = self.w\n        return F.cosine_similarity(a, b, dim=-1)",
    "def f(model):\n    out = {}\n    for n, p in model.named_parameters():\n        q = p.clone()\n"
    "        out[n] = F.cosine_similarity(p.flatten(), q.flatten(), dim=0, eps=1e-30)\n    return out",
    "def f(model, out):\n    for n, p in model.named_parameters():\n        q = p.clone()\n"
    "        out.table[n] = F.cosine_similarity(p.flatten(), q.flatten(), dim=0, eps=1e-30)\n",
    "def f(model):\n    ref, out = copy.deepcopy(model), {}\n    for (n, p), q in zip(model.named_parameters(), ref.parameters()):\n"
    "        out[n] = F.cosine_similarity(p.flatten(), q.flatten(), dim=0, eps=1e-30)\n    return out",
    "def f(layer, loader, crit, opt):\n    start = layer.weight.data\n    for x, y in loader:\n        opt.zero_grad()\n"
    "        crit(layer(x), y).backward()\n        opt.step()\n"
    "    return F.cosine_similarity(start.flatten(), layer.weight.data.flatten(), dim=0)",
    "def f(layer, loader, crit, opt):\n    start = layer.weight.detach()\n    for x, y in loader:\n"
    "        loss = crit(layer(x), y)\n        loss.backward()\n        opt.step()\n"
    "    return F.cosine_similarity(start.flatten(), layer.weight.flatten(), dim=0)",
]


@pytest.mark.parametrize("program", PROGRAMS)
def test_what_may_have_changed_is_another_value(program: str) -> None:
    assert rows("FAL404", HEAD + dedent(program)) == []


@pytest.mark.parametrize("program", SAME)
def test_what_nothing_has_changed_is_one_value(program: str) -> None:
    assert len(rows("FAL404", HEAD + program)) == 1


PARTS = [
    ("x[:, i]", "x[:, j]"),
    ("x[:, 0]", "x[:, 1]"),
    ("x[:, :-1]", "x[:, 1:]"),
    ("x[:, :, None]", "x[:, None]"),
    ("x[:, m]", "x[:, ~m]"),
    ("x[..., 0]", "x[..., 1]"),
    ("x[:, rng.permutation(3)]", "x[:, rng.permutation(3)]"),
    ("x[:, 0]", "x[m, 0]"),
]


@pytest.mark.parametrize(("left", "right"), PARTS)
def test_parts_of_an_array(left: str, right: str) -> None:
    text = "def f(x, i, j, m, rng): return F.cosine_similarity({}, {}, dim=-1)\n"
    assert rows("FAL404", HEAD + text.format(left, right)) == []
    if "rng" not in left:
        assert len(rows("FAL404", HEAD + text.format(left, left))) == 1
