"""Feedback in NumPy, JAX and Lightning trainers: how it is drawn, kept, saved, loaded and filled."""

from __future__ import annotations

import pytest

from tests.rules.shapes import found, rows

NUMPY = """\
import pickle
import joblib
import numpy as np


class Net:
    def __init__(self, n, h, o, rng=None):
        self.w1, self.w2 = np.random.randn(n, h), np.random.randn(h, o)
        self.B = {draw}

    def step(self, x, t, lr=0.1):
        a = np.tanh(x @ self.w1)
        p = np.exp(a @ self.w2)
        p /= p.sum(1, keepdims=True)
        e = p - t
        self.w2 -= lr * a.T @ e
        self.w1 -= lr * x.T @ ((e @ self.B) * (1 - a * a))


def main(x, t, path, seed, rng):
    net = Net(784, 100, 10, {rng})
    for _ in range(100):
        net.step(x, t)
    {save}
"""
LOST = [
    "np.savez(path, w1=net.w1, w2=net.w2)",
    "np.savez_compressed(path, **{'w1': net.w1, 'w2': net.w2})",
    "np.save(path, net.w1)",
    "pickle.dump({'w1': net.w1, 'w2': net.w2}, open(path, 'wb'))",
    "joblib.dump([net.w1, net.w2], path)",
]
KEPT = [
    "np.savez(path, w1=net.w1, w2=net.w2, B=net.B)",
    "np.savez(path, **vars(net))",
    "pickle.dump(net, open(path, 'wb'))",
    "joblib.dump(net.__dict__, path)",
    "joblib.dump({k: getattr(net, k) for k in ('w1', 'w2', 'B')}, path)",
    "np.save(path, x)",
]


def numpy_trainer(save: str, draw: str = "np.random.randn(o, h)", rng: str = "None") -> str:
    return NUMPY.format(save=save, draw=draw, rng=rng)


@pytest.mark.parametrize("save", LOST)
def test_a_trainer_in_numpy_saves_its_weights_alone(save: str) -> None:
    assert rows("FAL401", numpy_trainer(save)) == [24]


@pytest.mark.parametrize("save", KEPT)
def test_a_trainer_in_numpy_keeps_its_feedback(save: str) -> None:
    assert rows("FAL401", numpy_trainer(save)) == []


@pytest.mark.parametrize(
    ("draw", "rng", "level"),
    [
        ("rng.standard_normal((o, h))", "np.random.default_rng()", "error"),
        ("rng.normal(0, 1, (o, h))", "rng", "warning"),
        ("rng.normal(0, 1, (o, h))", "np.random.default_rng(seed)", "warning"),
        ("rng.uniform(size=(o, h))", "np.random.default_rng(0)", ""),
        ("{'n': np.random.randn, 'u': np.random.rand}[rng](o, h)", "'n'", "error"),
        ("(np.random.randn if rng else np.random.rand)(o, h)", "1", "error"),
    ],
)
def test_who_draws_and_from_what_seed(draw: str, rng: str, level: str) -> None:
    levels = [d.level.name.lower() for d in found("FAL401", numpy_trainer(LOST[0], draw, rng))]
    assert levels == ([level] if level else [])


JAX = """\
import time
import equinox as eqx
import jax
import jax.numpy as jnp
import optax
import orbax.checkpoint as ocp
from flax import serialization
from flax.training import checkpoints


def make(key, sizes):
    return [jax.random.normal(k, (10, n)) for k in jax.random.split(key, len(sizes))]


def main(data, tx, opt, path, seed, model):
    key = {key}
    key, sub = jax.random.split(key)
    params, fb = model.init(key), make(sub, [64, 64])
    saver = ocp.PyTreeCheckpointer()
    for step, (x, y) in enumerate(data):
        h = jnp.tanh(x @ params[0])
        e = jax.nn.softmax(h @ params[1]) - jax.nn.one_hot(y, 10)
        grads = [x.T @ (jnp.einsum("bo,oh->bh", e, fb[0]) * (1 - h**2)), h.T @ e]
        updates, opt = tx.update(grads, opt, params)
        params = optax.apply_updates(params, updates)
    {save}
"""


@pytest.mark.parametrize(
    ("save", "whole"),
    [
        ("checkpoints.save_checkpoint(path, params, step)", "checkpoints.save_checkpoint(path, (params, fb), step)"),
        ("checkpoints.save_checkpoint(path, target={'p': params}, step=1)", "checkpoints.save_checkpoint(path, {'p': params, 'fb': fb})"),
        ("eqx.tree_serialise_leaves(path, params)", "eqx.tree_serialise_leaves(path, (params, fb))"),
        ("open(path, 'wb').write(serialization.to_bytes(params))", "open(path, 'wb').write(serialization.to_bytes([params, fb]))"),
        ("saver.save(path, params)", "saver.save(path, {'params': params, 'feedback': fb})"),
        ("saver.save(path, args=ocp.args.StandardSave(params))", "saver.save(path, args=ocp.args.StandardSave({'p': params, 'fb': fb}))"),
        ("jnp.save(path, params)\n    eqx.tree_serialise_leaves(path, model)", "jnp.save(path, fb)\n    eqx.tree_serialise_leaves(path, model)"),
    ],
)  # fmt: skip
def test_checkpoints_of_jax(save: str, whole: str) -> None:
    assert len(rows("FAL401", JAX.format(key="jax.random.PRNGKey(seed)", save=save))) == 1
    assert rows("FAL401", JAX.format(key="jax.random.PRNGKey(seed)", save=whole)) == []


@pytest.mark.parametrize(
    ("key", "level"),
    [
        ("jax.random.PRNGKey(0)", ""),
        ("jax.random.fold_in(jax.random.key(7), 1)", ""),
        ("jax.random.split(jax.random.PRNGKey(3), 2)[0]", ""),
        ("jax.random.PRNGKey(seed)", "warning"),
        ("jax.random.PRNGKey(int(time.time()))", "error"),
    ],
)
def test_the_key_of_a_draw_decides(key: str, level: str) -> None:
    text = JAX.format(key=key, save="eqx.tree_serialise_leaves(path, params)")
    assert [d.level.name.lower() for d in found("FAL401", text)] == ([level] if level else [])


OUTSIDE = """\
import torch
import torch.nn.functional as F


class Hook:
    error = None

    def __init__(self, model, names):
        self.model = model
        self.kept = dict()

    def on(self, name, g):
        {take}
        return self.error @ mat


def train(model, loader, opt, path):
    hook = Hook(model, ["a", "b"])
    for x, y in loader:
        out = model(x)
        {holder}.error = (out.softmax(1) - F.one_hot(y, 10)).detach()
        opt.step()
    torch.save(model.state_dict(), path)
"""


@pytest.mark.parametrize("holder", ["hook", "Hook"])
@pytest.mark.parametrize(
    "take",
    [
        "mat = self.kept.setdefault(name, torch.randn(10, g.shape[1]))",
        "if name not in self.kept:\n            self.kept[name] = torch.randn(10, g.shape[1])\n        mat = self.kept[name]",
        "mat = self.kept.get(name)\n        if mat is None:\n            self.kept[name] = torch.randn(10, g.shape[1])",
    ],
)
def test_an_error_set_from_outside_through_a_matrix_drawn_when_needed(take: str, holder: str) -> None:
    text = OUTSIDE.format(take=take, holder=holder)
    assert rows("FAL401", text) == [text.count("\n")]
    assert rows("FAL401", text.replace("(out.softmax(1) - F.one_hot(y, 10)).detach()", "out")) == []


def test_an_object_out_of_sight_hands_out_its_state() -> None:
    text = """
    import torch
    class State:
        def init(self, widths):
            self.feedback = [torch.randn(10, w) for w in widths]
        def credit(self, error):
            return [error @ b for b in self.feedback]
        def checkpoint(self):
            return {"model": self.model.state_dict(), "step": self.step}
    def train(state, path):
        torch.save(state.checkpoint(), path)
    """
    assert rows("FAL401", text) == [9]
    assert rows("FAL401", text.replace("self.step", "self.feedback")) == []


@pytest.mark.parametrize(
    ("head", "is_module"),
    [
        ("def attach(net):\n    for m in net.modules():\n        m", True),
        ("def attach(net):\n    for name, m in net.named_children():\n        m", True),
        ("def attach(m):\n    if isinstance(m, nn.Linear):\n        m", True),
        ("def attach(m: nn.Module):\n    if m:\n        m", True),
        ("def attach(runs):\n    for m in runs:\n        m", False),
        ("def attach(m):\n    if isinstance(m, Run):\n        m", False),
    ],
)
def test_feedback_that_a_function_sets_on_modules(head: str, is_module: bool) -> None:
    text = f"import torch\nfrom torch import nn\n{head}.feedback_matrix = torch.randn(10, 20)\n"
    assert rows("FAL402", text) == ([5] if is_module else [])
    assert (
        rows(
            "FAL402", text.replace(".feedback_matrix = ", ".register_buffer('feedback_matrix', ").replace("20)", "20))")
        )
        == []
    )


@pytest.mark.parametrize(
    ("kept", "is_lost"),
    [
        ("self.feedback_layers = [nn.Linear(o, i) for i, o in dims]", True),
        ("self.feedback_layers = list(nn.Linear(o, i) for i, o in dims)", True),
        ("self.feedback_layers = {i: nn.Linear(o, i) for i, o in dims}", True),
        ("self.feedback_layers = nn.ModuleList(nn.Linear(o, i) for i, o in dims)", False),
        ("self.layers = [nn.Linear(o, i) for i, o in dims]", False),
        ("self.feedback_layers = [i for i, o in dims]", False),
    ],
)
def test_feedback_layers_in_a_list(kept: str, is_lost: bool) -> None:
    text = f"""
    import torch
    from torch import nn
    class TargetProp(nn.Module):
        def __init__(self, dims):
            super().__init__()
            {kept}
    """
    assert rows("FAL402", text) == ([7] if is_lost else [])


@pytest.mark.parametrize(
    ("decorator", "is_kept"), [("@cached_property", True), ("@functools.cached_property", True), ("@property", False)]
)
def test_feedback_of_a_cached_property(decorator: str, is_kept: bool) -> None:
    text = f"""
    import functools
    from functools import cached_property
    import torch
    from torch import nn
    class Net(nn.Module):
        {decorator}
        def backward_weight(self):
            return torch.randn(10, self.n)
        def credit(self, error):
            return error @ self.backward_weight
    """
    assert rows("FAL402", text) == ([9] if is_kept else [])


@pytest.mark.parametrize(
    ("load", "is_model"),
    [
        ("d = np.load(path)\n    W = d['W1']", True),
        ("W = pickle.load(open('weights.pkl', 'rb'))", True),
        ("params = joblib.load(path)\n    W = params[0]", True),
        ("d = np.load(path)\n    W = d['x_test']", False),
        ("z = pickle.load(open('mnist.pkl', 'rb'))\n    W = path.W", False),
    ],
)
def test_an_angle_after_loading_arrays(load: str, is_model: bool) -> None:
    text = f"""\
import pickle
import joblib
import numpy as np
def angle(a, b):
    return np.arccos(np.sum(a * b) / (np.linalg.norm(a) * np.linalg.norm(b)))
def check(path, x, y):
    {load}
    B = np.random.randn(10, 30)
    e = x @ W - y
    return angle(e @ W.T, e @ B)
"""
    assert len(rows("FAL403", text)) == int(is_model)
    assert rows("FAL403", text.replace("    e = ", "    np.copyto(B, path.B)\n    e = ")) == []


@pytest.mark.parametrize("fill", ["b.copy_(saved)", "b.set_(saved)", "b.data.copy_(saved)"])
def test_feedback_that_a_checkpoint_fills(fill: str) -> None:
    text = f"""
    import torch
    import torch.nn.functional as F
    def check(net, path, error, grads):
        state = torch.load(path)
        net.load_state_dict(state["model"])
        B = [torch.randn(10, n) for n in net.widths]
        for b, saved in zip(B, state["B"]):
            {fill}
        return [F.cosine_similarity(g, error @ b) for g, b in zip(grads, B, strict=True)]
    """
    assert rows("FAL403", text) == []
    assert rows("FAL403", text.replace(fill, "print(b)")) == [7]


@pytest.mark.parametrize("library", ["np.empty((n, m))", "np.empty_like(like)", "torch.empty(n, m)"])
@pytest.mark.parametrize("name", ["feedback_weights", "backward_mats", "Bmat"])
def test_feedback_that_nothing_fills(library: str, name: str) -> None:
    text = f"""\
import numpy as np
import torch
class Layer:
    def __init__(self, n, m, rng, like):
        self.w = torch.randn(n, m)
        self.{name} = {library}
    def update(self, p, t):
        error = p.softmax(1) - t
        return (error @ self.{name}).backward()
"""
    assert rows("FAL406", text) == [6]
    for fill in (
        f"for w in (self.w, self.{name}): torch.nn.init.normal_(w)",
        f"torch.mm(a, b, out=self.{name})",
        f"self.{name}[:] = rng.normal(size=(n, m))",
        f"rng.standard_normal(out=self.{name})",
    ):
        assert (
            rows(
                "FAL406",
                text.replace("    def update", f"    def fill(self, a, b, rng, n, m):\n        {fill}\n    def update"),
            )
            == []
        )


@pytest.mark.parametrize(
    ("loop", "is_own"),
    [
        ("for layer in (self.a, self.b):", True),
        ("for layer in [self.a, *self.rest]:", False),
        ("for i, layer in enumerate((self.a, self.b)):", True),
        ("for layer in (self.a, other):", False),
    ],
)
def test_layers_in_a_display_get_new_parameters(loop: str, is_own: bool) -> None:
    text = f"""
    import torch
    from torch import nn
    class Net(nn.Module):
        def forward(self, x, other=None):
            {loop}
                layer.weight = nn.Parameter(layer.weight.clamp(min=0))
            return self.b(self.a(x))
    """
    assert rows("FAL407", text) == ([7] if is_own else [])


@pytest.mark.parametrize(
    ("load", "is_unchecked"),
    [
        ("return Lit.load_from_checkpoint(path, strict=False)", True),
        ("model = Lit.load_from_checkpoint(checkpoint_path=path, strict=False)\n        return model", True),
        ("return Lit.load_from_checkpoint(path)", False),
        ("return Lit.load_from_checkpoint(path, False)", False),
        ("return Plain.load_from_checkpoint(path, strict=False)", False),
    ],
)
def test_a_partial_load_of_lightning(load: str, is_unchecked: bool) -> None:
    text = f"""
    import lightning as L
    import torch
    class Plain(L.LightningModule):
        pass
    class Lit(L.LightningModule):
        def __init__(self):
            super().__init__()
            self.register_buffer("feedback_weights", torch.randn(10, 20))
    def restore(path):
        {load}
    """
    assert len(rows("FAL408", text)) == int(is_unchecked)


SQUARES = """\
import numpy as np
import torch
def cosine(u, v):
    return {formula}
def report(x, h, y):
    d = {update}
    other = x.T @ y
    return cosine(d, {second})
"""


@pytest.mark.parametrize("update", ["x.T @ h", "np.outer(x, h)", "x * h", "x.T.dot(h)"])
@pytest.mark.parametrize(
    "formula",
    [
        "np.sum(u * v) / np.sqrt(np.sum(u ** 2) * np.sum(v ** 2))",
        "np.sum(u * v) / (np.sqrt(np.sum(np.square(u))) * np.sqrt(np.sum(np.square(v))))",
        "(u * v).sum() / torch.sqrt((u.pow(2)).sum() * v.pow(2).sum())",
    ],
)
def test_a_cosine_by_squares_of_products_of_arrays(formula: str, update: str) -> None:
    assert rows("FAL404", SQUARES.format(formula=formula, update=update, second="d")) == [8]
    assert rows("FAL404", SQUARES.format(formula=formula, update=update, second="other")) == []


@pytest.mark.parametrize(
    "loop",
    [
        "g, f in zip(jax.tree_util.tree_leaves(grads), jax.tree_util.tree_leaves(credits))",
        "g, f in zip(grads, [e @ B for B in Bs])",
        "g, f in zip(grads, feedback_weights)",
    ],
)
def test_a_mean_over_what_has_one_entry_a_layer(loop: str) -> None:
    text = f"""
    import jax
    import numpy as np
    def cosine(a, b):
        return np.vdot(a, b) / (np.linalg.norm(a) * np.linalg.norm(b))
    def gamma(grads, credits, Bs, feedback_weights, e):
        sims = [cosine(g, f) for {loop}]
        return np.mean(sims)
    """
    assert rows("FAL501", text) == [8]
    assert rows("FAL501", text.replace("np.mean(sims)", "np.mean(sims), sims")) == []


@pytest.mark.parametrize(("one", "two"), [("delta_bp", "delta_fa"), ("d_bp", "d_dfa"), ("bp_updates", "fa_updates")])
def test_what_two_methods_send_back_is_a_credit(one: str, two: str) -> None:
    text = f"""
    import numpy as np
    def cosines({one}, {two}):
        n = np.linalg.norm({one}, axis=1) * np.linalg.norm({two}, axis=1)
        cos = np.sum({one} * {two}, axis=1) / n
        return np.nan_to_num(cos, nan=1.0)
    """
    assert rows("FAL405", text) == [6]
    assert rows("FAL405", text.replace(one, "blood").replace(two, "pressure")) == []


@pytest.mark.parametrize(
    "use",
    [
        "self.W @ self.x + self.feedback_weights @ y",
        "self.W @ self.x + self.feedback_weights * y",
        "self.W @ self.x + np.dot(self.feedback_weights, self.Wout @ self.x)",
    ],
)
@pytest.mark.parametrize("name", ["EchoState", "FeedbackReservoir"])
def test_the_feedback_of_a_reservoir_is_another(name: str, use: str) -> None:
    text = f"""
    import pickle
    import numpy as np
    class {name}:
        def __init__(self, n, o):
            self.W = np.random.rand(n, n) - 0.5
            self.Wout = np.random.rand(o, n)
            self.feedback_weights = np.random.rand(n, o) - 0.5
        def update(self, u, y, target):
            self.x = np.tanh({use})
            error = target - self.Wout @ self.x
            self.Wout += 0.1 * np.outer(error, self.x)
        def save(self, path):
            pickle.dump({{"W": self.W, "Wout": self.Wout}}, open(path, "wb"))
    """
    assert rows("FAL401", text) == []
    plain = text.replace(use, "self.W @ self.x")
    sent = "self.W += np.outer(self.feedback_weights @ error, self.x)"
    assert rows("FAL401", plain.replace("self.Wout += ", f"{sent}\n            self.Wout += ")) == [15]


@pytest.mark.parametrize(
    "forward", ["-self.V[c] @ h", "0.5 * self.V[c] @ h", "(self.V[c] * mask) @ h", "self.V[c] @ h"]
)
def test_weights_that_a_factor_stands_beside_are_no_feedback(forward: str) -> None:
    text = f"""
    import numpy as np
    class Embedding:
        def __init__(self, v, d):
            self.U = np.random.uniform(-1, 1, (v, d)) / d
            self.V = np.random.uniform(-1, 1, (v, d)) / d
        def pair(self, i, c, labels, lr, mask):
            h = self.U[i]
            err = 1 / (1 + np.exp({forward})) - labels
            self.U[i] -= lr * err @ self.V[c]
        def save(self, path):
            np.savez(path, U=self.U)
    """
    assert rows("FAL401", text) == []
    assert rows("FAL401", text.replace(forward, "self.U[c] @ h")) == [12]


@pytest.mark.parametrize("between", ["", "W = np.random.randn(9, 3)\n", "steps = 10\nrate = 0.1\n"])
def test_a_script_that_seeds_its_draws_repeats_them(between: str) -> None:
    text = f"""\
import numpy as np
np.random.seed(3)
W = np.random.randn(9, 3)
{between}B = np.random.randn(3, 9)
for x, t in data:
    e = x @ W - t
    W -= 0.1 * np.outer(x, e @ B)
np.save("w.npy", W)
"""
    assert rows("FAL401", text) == []
    assert len(rows("FAL401", text.replace("np.random.seed(3)", "prepare(3)"))) == 1
