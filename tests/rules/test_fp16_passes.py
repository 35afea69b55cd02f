"""FAL301: a forward pass is any opaque call under autocast that the differentiated value comes from."""

from __future__ import annotations

import pytest

from tests.rules.shapes import rows

IMPORTS = "import contextlib, functools, torch\nfrom torch import nn\nfrom torch.func import functional_call, grad, vmap, vjp\n"

HITS = [
    # whatever the called object is named: a parameter, an attribute, an item, an element of a loop
    """
def slope(psi, x):
    with torch.autocast("cuda"):
        out = psi(x)
    return torch.autograd.grad(out.sum(), x)[0].norm()  #!
""",
    """
class Field:
    def __init__(self, phi):
        self.phi = phi
    def curl(self, x):
        with torch.autocast("cuda"):
            out = self.phi(x)
        return torch.autograd.grad(out.sum(), x)[0].norm()  #!
""",
    """
def chain(stages, x):
    h = x
    with torch.autocast("cuda"):
        for stage in stages:
            h = stage(h)
    return torch.autograd.grad(h.sum(), x)[0].norm()  #!
""",
    """
def table(parts, x):
    with torch.autocast("cuda"):
        v = parts["value"](x)
    v.sum().backward()  #!
    return x.grad.norm()
""",
    """
def pair(players, x):
    players.disc.train()
    players.disc.zero_grad()
    opt = torch.optim.Adam(players.disc.parameters())
    with torch.autocast("cuda"):
        v = players.disc(x)
    return torch.autograd.grad(v.sum(), x)  #!
""",
    # across a helper function and methods of the trainer
    """
def value(phi, x):
    return phi(x).sum()
def force(phi, x):
    with torch.autocast("cuda"):
        v = value(phi, x)
    return torch.autograd.grad(v, x)[0]  #!
""",
    """
class Trainer:
    def objective(self, batch):
        with torch.autocast(device_type=self.where):
            return self.loss_fn(self.phi(batch["x"]), batch["y"])
    def measure(self, batch):
        loss = self.objective(batch)
        loss.backward()  #!
        return [p.grad.norm() for p in self.phi.parameters()]
""",
    """
def flow(density, x):
    with torch.autocast("cuda", dtype=torch.float16):
        lp = density.log_prob(x)
    return torch.autograd.grad(lp.sum(), x)[0]  #!
""",
    # the autocast of a context manager of one's own, of an ExitStack; a loss that runs the network itself
    """
@contextlib.contextmanager
def mixed(device):
    with torch.autocast(device_type=device):
        yield
def slope(phi, x):
    with mixed("cuda"):
        v = phi(x)
    return torch.autograd.grad(v.sum(), x)  #!
""",
    """
def slope(phi, x):
    with contextlib.ExitStack() as stack:
        stack.enter_context(torch.autocast("cuda"))
        v = phi(x)
    return torch.autograd.grad(v.sum(), x)  #!
""",
    """
class Trainer:
    def go(self, batch):
        with torch.autocast("cuda"):
            loss = self.loss(batch)
        loss.backward()  #!
        return [p.grad.norm() for p in self.parts()]
""",
    # transforms: lambdas, methods, partial, vmap, vjp, jacobian
    """
def per_sample(net, w, xs, ys, loss_fn):
    def one(w, x, y):
        with torch.autocast("cuda"):
            return loss_fn(functional_call(net, w, (x,)), y)
    return vmap(grad(one), in_dims=(None, 0, 0))(w, xs, ys)  #!
""",
    """
class Probe:
    def value(self, x):
        with torch.autocast("cuda"):
            return self.phi(x).sum()
    def slope(self, x):
        return torch.func.grad(self.value)(x)  #!
""",
    """
def slope(phi, x):
    with torch.autocast("cuda"):
        return grad(lambda z: phi(z).sum())(x).norm()  #!
""",
    """
def matrix(phi, x):
    with torch.autocast("cuda"):
        return torch.autograd.functional.jacobian(phi, x)  #!
""",
    """
def pull(phi, x, v):
    def run(z):
        with torch.autocast("cuda"):
            return phi(z)
    out, back = vjp(run, x)  #!
    return back(v)[0].norm()
""",
    """
def recomputed(block, x):
    with torch.autocast("cuda"):
        out = torch.utils.checkpoint.checkpoint(block, x, use_reentrant=False)
    return torch.autograd.grad(out.sum(), x)[0].norm()  #!
""",
]

SILENT = [
    # the pass under autocast carries no gradient
    """
def probe(body, head, x):
    with torch.autocast("cuda"):
        with torch.no_grad():
            h = body(x)
    return torch.autograd.grad(head(h.float()).sum(), list(head.parameters()))
""",
    """
@torch.inference_mode()
def features(body, x):
    with torch.autocast("cuda"):
        return body(x)
def probe(body, head, x):
    h = features(body, x).clone()
    return torch.autograd.grad(head(h).sum(), list(head.parameters()))
""",
    """
def probe(body, head, x):
    with torch.autocast("cuda"):
        h = body(x)
    return torch.autograd.grad(head(h.detach().float()).sum(), list(head.parameters()))
""",
    """
def probe(body, head, x):
    with torch.autocast("cuda"):
        h = body(x)
    loss = head(x).sum() * h.sum().item()
    return torch.autograd.grad(loss, list(head.parameters()))
""",
    # what is called under autocast prepares data, or reads a loss of fp32 outputs
    """
def probe(phi, loader, to_device, loss_fn):
    with torch.autocast("cuda"):
        x = to_device(next(iter(loader)))
    return torch.autograd.grad(phi(x).sum(), x)
""",
    """
def probe(phi, x, y, criterion):
    out = phi(x)
    with torch.autocast("cuda"):
        loss = criterion(out.float(), y)
    return torch.autograd.grad(loss, x)
""",
    # nothing switches fp16 on
    """
def probe(phi, x, device):
    with torch.autocast(device_type=str(device), dtype=torch.bfloat16):
        v = phi(x)
    return torch.autograd.grad(v.sum(), x)
""",
    """
def probe(phi, x, device):
    with torch.autocast(device_type=str(device), enabled=False):
        v = phi(x)
    return torch.autograd.grad(v.sum(), x)
""",
    """
def probe(phi, x):
    device = torch.device("cpu")
    with torch.autocast(device.type):
        v = phi(x)
    return torch.autograd.grad(v.sum(), x)
""",
    """
@contextlib.contextmanager
def plain(device):
    with torch.autocast(device_type=device, enabled=False):
        yield
def slope(phi, x):
    with plain("cuda"):
        v = phi(x)
    return torch.autograd.grad(v.sum(), x)
""",
    # the loss is scaled
    """
def probe(phi, w, x, scaler):
    def value(w):
        with torch.autocast("cuda"):
            return scaler.scale(functional_call(phi, w, (x,)).sum())
    return {k: g / scaler.get_scale() for k, g in grad(value)(w).items()}
""",
]


def _marked(code: str) -> list[int]:
    return [row for row, line in enumerate((IMPORTS + code).splitlines(), 1) if line.endswith("#!")]


@pytest.mark.parametrize("code", HITS)
def test_a_pass_of_any_name(code: str) -> None:
    assert rows("FAL301", IMPORTS + code) == _marked(code)


@pytest.mark.parametrize("code", SILENT)
def test_look_alikes_of_a_pass(code: str) -> None:
    assert rows("FAL301", IMPORTS + code) == []


SWITCH = """
class T:
    def loss(self, x, y, {param}):
        {context}
            return self.crit(self.model(x), y)
    def train(self, x, y):
        self.scaler.scale(self.loss(x, y, {on})).backward()
    def fisher(self, x, y):
        return torch.autograd.grad(self.loss(x, y{off}), list(self.model.parameters()))
"""
AMP = 'with torch.autocast("cuda", dtype=torch.float16, enabled=amp):'
SWITCHES = [
    ("amp=True", AMP, "True", ", amp=False"),
    ("amp=True", AMP, "True", ", False"),
    ("amp=False", AMP, "True", ""),
    ("amp", AMP, "True", ", amp=0"),
    ("amp", AMP.replace("amp)", "self.half and amp)"), "True", ", False"),
    ("full=False", AMP.replace("amp)", "not full)"), "False", ", full=True"),
    ("amp=True", 'with torch.autocast("cuda") if amp else contextlib.nullcontext():', "True", ", amp=False"),
    ("dtype", 'with torch.autocast("cuda", dtype=dtype):', "torch.float16", ", torch.bfloat16"),
    ("dtype", 'with torch.autocast("cuda", dtype=dtype):', "torch.float16", ", dtype=torch.float32"),
]


@pytest.mark.parametrize(("param", "context", "on", "off"), SWITCHES)
def test_a_call_that_switches_autocast_off(param: str, context: str, on: str, off: str) -> None:
    def code(given: str) -> str:
        return IMPORTS + SWITCH.format(param=param, context=context, on=on, off=given)

    assert rows("FAL301", code(off)) == []
    assert len(rows("FAL301", code(f", {on}"))) == 1


@pytest.mark.parametrize(("made", "number"), [("2.0**16", 0), ("65536", 0), ("0.5", 1), ("args.s", 1), ("2.0", 1)])
def test_a_loss_module_that_multiplies_by_a_large_number(made: str, number: int) -> None:
    code = f"""
class Scaled(nn.Module):
    def __init__(self, crit, s):
        super().__init__()
        self.crit, self.s = crit, s
    def forward(self, o, y):
        return self.s * self.crit(o, y)
def f(model, x, y, crit, args):
    c = Scaled(crit, {made})
    with torch.autocast("cuda", dtype=torch.float16):
        loss = c(model(x), y)
    return torch.autograd.grad(loss, list(model.parameters()))
"""
    assert len(rows("FAL301", IMPORTS + code)) == number
