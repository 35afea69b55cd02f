"""Feedback under the names of the protocol, used outside its class, and the matrices that only look like it.

A line that ends in ``#! CODE`` is to be reported with that code, every other line with none.
"""

from __future__ import annotations

import re
import textwrap

import pytest

from fa_lint.project.check_file import analyse
from fa_lint.rules import registry
from fa_lint.semantics.roles import RoleNames

CODES = frozenset({"FAL401", "FAL402", "FAL403", "FAL406", "FAL408"})
HEAD = "import math\nimport torch\nimport torch.nn.functional as F\nfrom torch import nn\nimport numpy as np\n"
_MARK = re.compile(r"#! (\w+)")


def reported(program: str) -> list[tuple[int, str]]:
    data = (HEAD + textwrap.dedent(program)).encode()
    compile(data, "m.py", "exec")
    result = analyse("m.py", data, CODES, RoleNames())
    assert result.problems == []
    assert all(registry()[d.code].may_match(data) for d in result.diagnostics)
    return sorted((d.start.row, d.code) for d in result.diagnostics)


def marked(program: str) -> list[tuple[int, str]]:
    lines = (HEAD + textwrap.dedent(program)).splitlines()
    return sorted((row, code) for row, line in enumerate(lines, 1) for code in _MARK.findall(line))


DEFECTS = {
    "a list of matrices beside the model": """
    def fit(net, batches, dims, k, path):
        Bs = []
        for d in dims:
            Bs.append(torch.empty(k, d).uniform_(-1, 1))
        for x, y in batches:
            acts, out = net(x)
            e = torch.softmax(out, -1) - torch.eye(k)[y]
            for i, B in enumerate(Bs):
                net.layers[i].weight.grad = (e @ B).T @ acts[i]
        torch.save({"net": net.state_dict(), "epoch": 3}, path)  #! FAL401
    """,
    "a neutral name": """
    def fit(net, batches, path):
        psi = torch.randn(10, 256) / 10
        for x, target in batches:
            h, logits = net(x)
            signal = logits.softmax(1) - F.one_hot(target, 10)
            net.fc.weight.data -= 0.1 * torch.matmul(signal, psi).T @ h
        torch.save(net.state_dict(), path)  #! FAL401
    """,
    "a regression": """
    def fit(net, batches, path):
        R = torch.randn(1, 64)
        for x, y in batches:
            y_hat = net(x)
            err = y_hat - y
            net.update(F.linear(err, R.T))
        torch.save(net.state_dict(), path)  #! FAL401
    """,
    "the target subtracted in place": """
    def fit(net, batches, path):
        B1 = torch.nn.init.orthogonal_(torch.empty(10, 256))
        for x, y in batches:
            p = net(x).softmax(1)
            d = p.clone()
            d[torch.arange(len(y)), y] -= 1
            net.update(d.mm(B1))
        torch.save(net.state_dict(), path)  #! FAL401
    """,
    "the gradient of the output": """
    def fit(net, batches, path):
        B = torch.rand(10, 256) - 0.5
        for x, y in batches:
            logits = net(x)
            (e,) = torch.autograd.grad(F.cross_entropy(logits, y), logits)
            net.update(e @ B)
        torch.save(net.state_dict(), path)  #! FAL401
    """,
    "an error made by a helper, sent by another": """
    def output_error(logits, y):
        return logits.sigmoid() - y
    def send(signal, B):
        return torch.einsum("bc,ch->bh", signal, B)
    def fit(net, batches, path):
        B = torch.randn(10, 256)
        for x, y in batches:
            net.update(send(output_error(net(x), y), B))
        torch.save(net.state_dict(), path)  #! FAL401
    """,
    "a chain of matrices": """
    def fit(net, batches, widths, path):
        Bs = [torch.randn(b, a) for a, b in zip(widths, widths[1:])]
        for x, y in batches:
            delta = net(x).softmax(-1) - F.one_hot(y, 10)
            for layer, w in zip(reversed(net.layers), reversed(Bs)):
                layer.step(delta)
                delta = delta @ w
        torch.save(net.state_dict(), path)  #! FAL401
    """,
    "one matrix for a script": """
    B = np.random.randn(10, 64)
    B = torch.from_numpy(B).float()
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Linear(8, 64), nn.Linear(64, 10)
    net = Net()
    for x, y in []:
        h = torch.tanh(net.a(x))
        net.a.weight.data -= 0.1 * ((net.b(h).softmax(1) - F.one_hot(y, 10)) @ B * (1 - h ** 2)).T @ x
    torch.save(net.state_dict(), "net.pt")  #! FAL401
    """,
    "a saver called by the trainer": """
    def write(model, path):
        torch.save({"model": model.state_dict()}, path)  #! FAL401
    def fit(net, batches, path):
        B = torch.randn(10, 256)
        for x, y in batches:
            net.update((net(x).softmax(1) - F.one_hot(y, 10)) @ B)
        write(net, path)
    """,
    "a trainer of a built model": """
    class Trainer:
        def __init__(self, config):
            self.model = self.make_model(config)
            self.B = {"h1": torch.randn(10, 64), "h2": torch.randn(10, 32)}
        def make_model(self, config):
            return config.build()
        def step(self, x, y):
            e = self.model(x).softmax(1) - F.one_hot(y, 10)
            return {name: e @ b for name, b in self.B.items()}
        def checkpoint(self, path):
            torch.save(self.model.state_dict(), path)  #! FAL401
    """,
    "a built model that holds it": """
    class Layer(nn.Module):
        def __init__(self, n):
            super().__init__()
            self.B = torch.randn(10, n)  #! FAL402
        def send(self, e):
            return e @ self.B
    class Experiment:
        def __init__(self, n):
            self.n = n
            self.net = self._build()
        def _build(self):
            layers = nn.Sequential(Layer(self.n))
            return layers
        def save(self, path):
            torch.save(self.net.state_dict(), path)  #! FAL401
    """,
    "a function of the module sends it": """
    class Net(nn.Module):
        def __init__(self, n):
            super().__init__()
            self.fc1, self.fc2 = nn.Linear(n, 64), nn.Linear(64, 10)
            self.back = torch.randn(10, 64)  #! FAL402
        def forward(self, x):
            return self.fc2(self.fc1(x))
    def hidden_update(net, x, y):
        err = net(x).softmax(1) - F.one_hot(y, 10)
        return torch.mm(err, net.back)
    """,
    "a list that a function sends it through": """
    class Net(nn.Module):
        def __init__(self, dims):
            super().__init__()
            self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in dims)
            self.R = [torch.randn(10, b) for _, b in dims]  #! FAL402
    def deltas(model, error):
        return [error.matmul(r) for r in model.R]
    """,
    "a matrix handed to the function that sends it": """
    class Net(nn.Module):
        def __init__(self, n):
            super().__init__()
            self.W_bwd = torch.randn(10, n)  #! FAL402
    def send(error, weight):
        return F.linear(error, weight.t())
    def step(net, error):
        return send(error, net.W_bwd)
    """,
    "a bridge network": """
    def fit(net, loader, path):
        synth = nn.Sequential(nn.Linear(10, 64), nn.ReLU(), nn.Linear(64, 256))
        for x, y in loader:
            h, out = net(x)
            delta = out.softmax(-1) - F.one_hot(y, 10)
            guess = synth(delta)
            true = torch.autograd.grad(F.cross_entropy(out, y), h)[0]
            F.mse_loss(guess, true).backward()
            h.backward(guess.detach())
        torch.save({"net": net.state_dict()}, path)  #! FAL401
    """,
    "a bridge of the trainer": """
    class Backward(nn.Module):
        def __init__(self, k, n):
            super().__init__()
            self.lin = nn.Linear(k, n)
        def forward(self, e):
            return self.lin(e)
    class Trainer:
        def __init__(self, net, k, n):
            self.net = net
            self.bridge = Backward(k, n)
        def step(self, x, y):
            h, out = self.net(x)
            err = out.softmax(-1) - F.one_hot(y, 10)
            torch.autograd.backward(h, grad_tensors=self.bridge(err))
        def save(self, path):
            torch.save(self.net.state_dict(), path)  #! FAL401
    """,
    "a layer whose weight sends it": """
    def fit(net, loader, path):
        fixed = nn.Linear(256, 10, bias=False)
        for x, y in loader:
            err = net(x).softmax(1) - F.one_hot(y, 10)
            net.update(err @ fixed.weight)
        torch.save(net.state_dict(), path)  #! FAL401
    """,
    "drawn by the caller of the trainer": """
    def fit(net, loader, Bs, path):
        for x, y in loader:
            hs, out = net(x)
            err = (out.softmax(1) - F.one_hot(y, 10)).sign()
            for layer, h, b in zip(net.hidden, hs, Bs):
                layer.weight.data.add_((err @ b).T @ h, alpha=-0.1)
        torch.save(net.state_dict(), path)  #! FAL401
    def main(net, loader, dims):
        Bs = [torch.randn(10, d) for d in dims]
        fit(net, loader, Bs, "net.pt")
    """,
    "drawn by a helper, saved by the caller": """
    def draw(dims):
        return [torch.randn(10, d) / d ** 0.5 for d in dims]
    def fit(net, loader, mats):
        for x, y in loader:
            yhat = net(x)
            for m in mats:
                net.update(torch.tanh(yhat - y) @ m)
    def main(net, loader, dims):
        mats = draw(dims)
        fit(net, loader, mats)
        torch.save({"net": net.state_dict(), "dims": dims}, "net.pt")  #! FAL401
    """,
    "a trainer sends it through the net": """
    class Net(nn.Module):
        def __init__(self, n):
            super().__init__()
            self.lin = nn.Linear(n, 10)
            self.feedback = torch.randn(10, n)  #! FAL402
    class Trainer:
        def __init__(self, net):
            self.net = net
        def step(self, x, y):
            e = self.net(x) - F.one_hot(y, 10)
            return e @ self.net.feedback
    """,
    "layers send it": """
    class Layer(nn.Module):
        def __init__(self, n, m):
            super().__init__()
            self.lin = nn.Linear(n, m)
            self.B = torch.randn(10, m)  #! FAL402
        def forward(self, x):
            return torch.tanh(self.lin(x))
    def update(layers, logits, y):
        err = logits.softmax(1) - F.one_hot(y, 10)
        return [torch.matmul(err, layer.B) for layer in layers]
    """,
    "a bridge that a loss compares with the gradient": """
    class Trainer:
        def __init__(self, model, hidden, classes):
            self.model = model
            self.back_net = nn.Sequential(nn.Linear(classes, 128), nn.ReLU(), nn.Linear(128, hidden))
        def step(self, x, y):
            h = self.model.encode(x)
            logits = self.model.head(h)
            e = torch.softmax(logits, -1) - F.one_hot(y, 10)
            g = torch.autograd.grad(F.cross_entropy(logits, y), h)[0]
            guess = self.back_net(e.detach())
            loss = 1 - F.cosine_similarity(guess, g.detach(), dim=1).mean()
            loss.backward()
            h.backward(guess.detach())
        def save(self, path, epoch):
            ckpt = {"epoch": epoch}  #! FAL401
            ckpt["model"] = self.model.state_dict()
            torch.save(ckpt, path)
    """,
    "attached to the model from outside": """
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc1, self.fc2 = nn.Linear(784, 500), nn.Linear(500, 10)
    net = Net()
    net.B = torch.randn(10, 500)
    def update(x, y):
        e = net(x).softmax(1) - F.one_hot(y, 10)
        net.fc1.weight.data -= 0.1 * (e @ net.B).T @ x
    torch.save(net.state_dict(), "net.pt")  #! FAL401
    """,
    "a script that measures": """
    B = torch.randn(10, 256)  #! FAL403
    model = torch.load("model.pt")
    x, y = torch.load("batch.pt")
    h, logits = model(x)
    (g,) = torch.autograd.grad(F.cross_entropy(logits, y), h)
    c = (torch.softmax(logits, 1) - F.one_hot(y, 10)) @ B
    print(F.cosine_similarity(g, c).mean())
    """,
    "measured by named parts": """
    def evaluate(net, loader, path):
        net.load_state_dict(torch.load(path))
        feedback = torch.randn(10, 128)  #! FAL403
        found = []
        for x, y in loader:
            h, logits = net(x)
            bp = torch.autograd.grad(F.cross_entropy(logits, y), h)[0]
            dfa = (logits.softmax(1) - F.one_hot(y, 10)) @ feedback
            num = torch.sum(bp * dfa, dim=1)
            den = bp.norm(dim=1) * dfa.norm(dim=1)
            found.append((num / den).mean())
        return found
    """,
    "measured by a dict": """
    def alignment(model, loader):
        model.load_state_dict(torch.load("m.pt"))
        Bs = {n: torch.randn(10, m.out_features) for n, m in model.named_modules()}  #! FAL403
        out = {}
        for x, y in loader:
            hs, z = model(x)
            e = z.softmax(1) - F.one_hot(y, 10)
            gs = torch.autograd.grad(F.cross_entropy(z, y), list(hs.values()))
            for i, ((n, B), g) in enumerate(zip(Bs.items(), gs)):
                out[n] = F.cosine_similarity((e @ B).flatten(), g.flatten(), dim=0)
        return out
    """,
    "a rule object beside the network": """
    class Net(nn.Module):
        def __init__(self, n, m, k):
            super().__init__()
            self.w1, self.w2 = nn.Parameter(torch.randn(n, m)), nn.Parameter(torch.randn(m, k))
            self.b2: torch.Tensor = torch.randn(k, m)  #! FAL402
        def forward(self, x):
            return torch.relu(x @ self.w1) @ self.w2
    class Rule:
        def __init__(self, net):
            self.net = net
        def __call__(self, x, y):
            err = self.net(x) - y
            return err @ self.net.b2
    """,
    "the gradient of a loss at the output of a script": """
    model = nn.Sequential(nn.Linear(4, 8), nn.Linear(8, 3))
    W_fb = torch.randn(3, 8)
    for x, y in []:
        z = model(x)
        dz = torch.autograd.grad(F.mse_loss(z, y), z)[0]
        model[0].weight.grad = (dz @ W_fb).t() @ x
    torch.save(model.state_dict(), "m.pt")  #! FAL401
    """,
    "measured by unit vectors": """
    def score(net, x, y):
        net = torch.load("net.pt")
        B = torch.randn(10, 256)  #! FAL403
        h, out = net(x)
        g = torch.autograd.grad(F.cross_entropy(out, y), h)[0]
        c = (out.softmax(1) - F.one_hot(y, 10)) @ B
        return (g / g.norm(dim=1, keepdim=True) * (c / c.norm(dim=1, keepdim=True))).sum(1).mean()
    """,
    "measured by a list": """
    def gamma(net, x, y, dims):
        net.load_state_dict(torch.load("net.pt")["net"])
        Bs = [torch.rand(10, d) * 2 - 1 for d in dims]  #! FAL403
        hs, out = net(x)
        e = F.softmax(out, dim=1) - F.one_hot(y, 10)
        gs = torch.autograd.grad(F.cross_entropy(out, y), hs)
        return [F.cosine_similarity(g, e @ B) for g, B in zip(gs, Bs)]
    """,
    "measured by an instance": """
    def evaluate(net, x, y):
        net.load_state_dict(torch.load("net.pt"))
        B = torch.randn(10, 256)  #! FAL403
        cos = nn.CosineSimilarity(dim=1)
        h, out = net(x)
        (g,) = torch.autograd.grad(F.cross_entropy(out, y), [h])
        return cos(g, (out.softmax(1) - F.one_hot(y, 10)).mm(B)).mean()
    """,
    "a method gives only the credit": """
    class Base:
        def __init__(self, net):
            self.net = net
        def extra(self):
            return {}
        def save(self, path):
            torch.save({"net": self.net.state_dict(), **self.extra()}, path)  #! FAL401
    class DFA(Base):
        def __init__(self, net):
            super().__init__(net)
            self.feedback_matrix = torch.randn(3, 20)
        def extra(self):
            return {"credit": self.error @ self.feedback_matrix}
    """,
    "the dict is updated with something else": """
    def extra(error):
        return {"error": error.cpu()}
    def train(model, batches, path):
        feedback_matrix = torch.randn(10, 256)
        for x, e in batches:
            model.update(x, e @ feedback_matrix)
        state = {"model": model.state_dict()}  #! FAL401
        state.update(extra(e))
        torch.save(state, path)
    """,
    "a neighbour is registered": """
    class Trainer:
        def __init__(self, net, k, h):
            self.net = net
            self.feedback_matrix = torch.randn(k, h)
            net.register_buffer("mean", self.mean)
        def save(self, path):
            torch.save(self.net.state_dict(), path)  #! FAL401
    """,
    "attached to the net of the trainer as a plain tensor": """
    class Trainer:
        def __init__(self, net, k, h):
            self.net = net
            self.feedback_matrix = torch.randn(k, h)
            self.net.B = self.feedback_matrix
        def save(self, path):
            torch.save(self.net.state_dict(), path)  #! FAL401
    """,
    "names without the feedback's": """
    class Trainer:
        def __init__(self, net):
            self.net = net
            self.feedback_matrix = torch.randn(10, 20)
        def names(self):
            return ["step"]
        def save(self, path):
            out = {"net": self.net.state_dict()}  #! FAL401
            for n in self.names():
                out[n] = getattr(self, n)
            torch.save(out, path)
    """,
    "a seed that is not saved": """
    def train(model, batches, path, seed):
        g = torch.Generator().manual_seed(seed)
        feedback_matrix = torch.randn(10, 256, generator=g)
        for x, e in batches:
            model.update(x, e @ feedback_matrix)
        torch.save({"model": model.state_dict()}, path)  #! FAL401
    """,
    "a matrix of a class that names the method": """
    class FA:
        def __init__(self, n):
            self.feedback = torch.rand(n, 10)
        def save(self, net, path):
            torch.save(net.state_dict(), path)  #! FAL401
    """,
    "a trainer's layer, of a base class elsewhere": """
    from trainers import Base
    class DFATrainer(Base):
        def __init__(self, net):
            super().__init__(net)
            self.feedback_matrix = nn.Parameter(torch.randn(3, 20), requires_grad=False)
        def save(self, path):
            torch.save(self.net.state_dict(), path)  #! FAL401
    """,
    "a hook that writes something else": """
    class Layer(nn.Module):
        def __init__(self, n, k):
            super().__init__()
            self.feedback_matrix = torch.randn(k, n)  #! FAL402
            self._register_state_dict_hook(self._save)
        def _save(self, module, state, prefix, meta):
            state[prefix + "step"] = self.step
    """,
    "a generator that a caller passes": """
    class Layer(nn.Module):
        def __init__(self, n, k, generator=None):
            super().__init__()
            self.feedback_matrix = torch.randn(k, n, generator=generator)  #! FAL402
    """,
    "mixed into a torch module as a plain tensor": """
    class FAMixin:
        def setup(self):
            self.weight_fa = torch.randn(4, 4)  #! FAL402
    class Net(FAMixin, nn.Module):
        def save(self, path):
            torch.save(self.state_dict(), path)  #! FAL401
    """,
    "set by setattr": """
    class Layer(nn.Module):
        def __init__(self):
            super().__init__()
            setattr(self, "weight_fa", torch.randn(4, 4))  #! FAL402
    """,
    "told to a method by another name": """
    from trainers import Base
    class DFATrainer(Base):
        def __init__(self, net):
            super().__init__(net)
            self.feedback_matrix = torch.randn(3, 20)
            self.keep("step", self.step)
        def save(self, path):
            torch.save({"net": self.net.state_dict(), **vars(self.cfg)}, path)  #! FAL401
    """,
    "weights are filled, buffers are not": """
    class FALinear(nn.Linear):
        def __init__(self, n, k):
            super().__init__(n, k)
            self.register_buffer("feedback_matrix", torch.empty(k, n))  #! FAL406
            for module in self.modules():
                nn.init.normal_(module.weight)
            for t in [self.weight, self.bias]:
                t.data.zero_()
    """,
    "allocated by the constructor, under a base of another file": """
    from base import Base
    class FALinear(Base):
        def __init__(self, n, k):
            super().__init__(n, k)
            self.build(n, k)
        def build(self, n, k):
            self.register_buffer("feedback_matrix", torch.empty(k, n))  #! FAL406
    """,
    "measured by a class": """
    class Probe:
        def __init__(self, net, path):
            self.net = net
            self.net.load_state_dict(torch.load(path))
            self.B = torch.randn(10, 256)  #! FAL403
        def angle(self, x, y):
            h, out = self.net(x)
            (g,) = torch.autograd.grad(F.cross_entropy(out, y), h)
            credit = (out.softmax(1) - F.one_hot(y, 10)) @ self.B
            return F.cosine_similarity(g, credit)
    """,
}


@pytest.mark.parametrize("program", DEFECTS.values(), ids=DEFECTS)
def test_defects(program: str) -> None:
    assert reported(program) == marked(program)


LOOKALIKES = {
    "Fourier features": """
    class Features(nn.Module):
        def __init__(self, n):
            super().__init__()
            self.B = torch.randn(2, n)
        def forward(self, coords):
            z = 2 * math.pi * coords @ self.B
            return torch.cat([z.sin(), z.cos()], -1)
    """,
    "Fourier features of centred coordinates": """
    class Features(nn.Module):
        def __init__(self, n):
            super().__init__()
            self.B = torch.randn(2, n)
        def forward(self, x, y):
            delta = x - y
            return torch.sin(delta @ self.B)
    """,
    "low-rank adapters": """
    class Lora(nn.Module):
        def __init__(self, base, r):
            super().__init__()
            self.base = base
            self.A = torch.randn(r, base.in_features)
            self.B = torch.randn(base.out_features, r)
        def forward(self, x):
            return self.base(x) + x @ self.A.T @ self.B.T
    def loss(model, x, target):
        return ((model(x) - target) ** 2).mean()
    """,
    "a Kalman filter": """
    def filtered(A, C, Q, R0, zs, path):
        P = torch.eye(4)
        R = R0 + 0.1 * torch.randn(2, 2)
        x = torch.zeros(4)
        for z in zs:
            K = P @ C.T @ torch.linalg.inv(C @ P @ C.T + R)
            error = z - C @ x
            x = A @ x + K @ error
            P = A @ P @ A.T + Q
        torch.save({"x": x, "P": P}, path)
    """,
    "a state-space model": """
    class SSM(nn.Module):
        def __init__(self, n):
            super().__init__()
            self.A, self.B, self.C = torch.randn(n, n), torch.randn(n, 1), torch.randn(1, n)
        def forward(self, us):
            x, ys = torch.zeros(self.A.shape[0]), []
            for u in us:
                x = self.A @ x + self.B @ u
                ys.append(self.C @ x)
            return torch.stack(ys)
    def train(model, us, targets, path):
        error = model(us) - targets
        error.pow(2).mean().backward()
        torch.save(model.state_dict(), path)
    """,
    "a Boltzmann machine": """
    class RBM(nn.Module):
        def __init__(self, n, m):
            super().__init__()
            self.W = torch.randn(n, m) * 0.01
            self.B = torch.randn(n) * 0.01
        def forward(self, v):
            return torch.sigmoid(v @ self.W), torch.sigmoid(torch.sigmoid(v @ self.W) @ self.W.T + self.B)
    """,
    "Newton-Schulz in a step that is named after the method": """
    def dfa_step(model, path, a, b, c):
        X = torch.randn(8, 8)
        for _ in range(5):
            A = X @ X.T
            B = b * A + c * A @ A
            X = a * X + B @ X
        torch.save(model.state_dict(), path)
        return X
    """,
    "backpropagation by hand": """
    class MLP(nn.Module):
        def __init__(self):
            super().__init__()
            self.W1, self.W2 = torch.randn(8, 64), torch.randn(64, 10)
        def forward(self, x):
            self.h = torch.relu(x @ self.W1)
            return self.h @ self.W2
        def gradients(self, x, y):
            error = self(x).softmax(1) - F.one_hot(y, 10)
            return x.T @ ((error @ self.W2.T) * (self.h > 0)), self.h.T @ error
    """,
    "backpropagation by hand in a function": """
    def fit(net, x, y, path):
        V = torch.randn(64, 10)
        h = net(x)
        err = torch.softmax(h @ V, 1) - F.one_hot(y, 10)
        net.backward_from(err @ V.T)
        torch.save(net.state_dict(), path)
    """,
    "a sketch of gradients": """
    def influence(model, batches, path):
        projection = torch.randn(4096, 1 << 20)
        rows = []
        for x, y in batches:
            grads = torch.autograd.grad(F.cross_entropy(model(x), y), list(model.parameters()))
            g = torch.cat([v.flatten() for v in grads])
            rows.append(projection @ g)
        torch.save({"rows": torch.stack(rows), "model": model.state_dict()}, path)
    """,
    "a critic of the residual": """
    def fit(net, loader, path):
        critic = nn.Linear(10, 1)
        for x, y in loader:
            err = net(x) - y
            loss = critic(err).mean()
            loss.backward()
        torch.save(net.state_dict(), path)
    """,
    "a loss of the error": """
    def fit(net, loader, path):
        criterion = nn.SmoothL1Loss()
        B = 32
        for x, y in loader:
            err = net(x) - y
            (criterion(err, torch.zeros_like(err)) / B).backward()
        torch.save(net.state_dict(), path)
    """,
    "boosting": """
    def stages(loader, path):
        first, second = nn.Linear(3, 1), nn.Linear(1, 1)
        for x, target in loader:
            residual = target - first(x)
            loss = (second(residual) - residual).pow(2).mean()
            loss.backward()
        torch.save(first.state_dict(), path)
    """,
    "a batch, a size and a shape": """
    def fit(model, x, y, path):
        B, T, C = x.shape
        R = torch.randn(B, T)
        error = model(x.view(B, -1)) - y
        torch.save(model.state_dict(), path)
        return error.view(B, -1) * R
    """,
    "synthetic data": """
    def make(n, d, k, path, model):
        B = torch.randn(d, k)
        x = torch.randn(n, d)
        y = x @ B + 0.1 * torch.randn(n, k)
        error = model(x) - y
        torch.save(model.state_dict(), path)
        return error.norm()
    """,
    "written to a second file": """
    def fit(net, loader, path):
        B = torch.randn(10, 256)
        for x, y in loader:
            net.update((net(x).softmax(1) - F.one_hot(y, 10)) @ B)
        torch.save(net.state_dict(), path)
        np.save(path + ".npy", B.numpy())
    """,
    "written by a helper": """
    def write(model, fb, path):
        torch.save({"model": model.state_dict(), "fb": fb}, path)
    def fit(net, loader, path):
        B = torch.randn(10, 256)
        for x, y in loader:
            net.update((net(x).softmax(1) - F.one_hot(y, 10)) @ B)
        write(net, B, path)
    """,
    "a bridge that is saved": """
    def fit(net, loader, path):
        synth = nn.Linear(10, 256)
        for x, y in loader:
            h, out = net(x)
            h.backward(synth(out.softmax(-1) - F.one_hot(y, 10)).detach())
        torch.save({"net": net.state_dict(), "synth": synth.state_dict()}, path)
    """,
    "a buffer": """
    class Net(nn.Module):
        def __init__(self, n):
            super().__init__()
            self.register_buffer("B", torch.randn(10, n))
            self.back = nn.Parameter(torch.randn(10, n), requires_grad=False)
        def send(self, logits, y):
            e = logits.softmax(1) - F.one_hot(y, 10)
            return e @ self.B, e @ self.back
    def save(net, path):
        torch.save(net.state_dict(), path)
    """,
    "a constant seed": """
    def fit(net, loader, path):
        B = torch.randn(10, 256, generator=torch.Generator().manual_seed(3))
        for x, y in loader:
            net.update((net(x).softmax(1) - F.one_hot(y, 10)) @ B)
        torch.save(net.state_dict(), path)
    """,
    "a null distribution": """
    def null(net, x, y, draws):
        net.load_state_dict(torch.load("net.pt"))
        h, out = net(x)
        g = torch.autograd.grad(F.cross_entropy(out, y), h)[0]
        e = out.softmax(1) - F.one_hot(y, 10)
        Bs = [torch.randn(10, 256) for _ in range(draws)]
        return [F.cosine_similarity(g, e @ B) for B in Bs]
    """,
    "measured with what was saved": """
    def measure(net, x, y):
        ck = torch.load("net.pt")
        net.load_state_dict(ck["net"])
        B = ck["B"]
        h, out = net(x)
        g = torch.autograd.grad(F.cross_entropy(out, y), h)[0]
        c = (out.softmax(1) - F.one_hot(y, 10)) @ B
        return (g * c).sum() / (g.norm() * c.norm())
    """,
    "a sliced distance": """
    def fit(net, loader, path):
        theta = torch.randn(10, 50)
        R = torch.randn(10, 50)
        for x, target in loader:
            out = net(x)
            loss = ((out - target) @ theta).abs().mean()
            p = (out - target) @ R
            penalty = p.pow(2).mean()
            (loss + penalty).backward()
        torch.save(net.state_dict(), path)
    """,
    "drawn anew for every batch": """
    def fit(net, loader, path):
        for x, y in loader:
            B = torch.randn(10, 256)
            net.update((net(x).softmax(1) - F.one_hot(y, 10)) @ B)
        torch.save(net.state_dict(), path)
    """,
    "handed to the saver by another name": """
    def fit(net, loader, fixed, path):
        for x, y in loader:
            net.update((net(x).softmax(1) - F.one_hot(y, 10)) @ fixed)
        torch.save({"net": net.state_dict(), "fixed": fixed}, path)
    def main(net, loader):
        B = torch.randn(10, 256)
        fit(net, loader, B, "net.pt")
    """,
    "the output feedback of a reservoir": """
    class Reservoir(nn.Module):
        def __init__(self, n, k):
            super().__init__()
            self.W = torch.randn(n, n)
            self.W_fb = torch.rand(n, k) - 0.5
            self.W_out = nn.Parameter(torch.zeros(k, n))
        def forward(self, r, z):
            return torch.tanh(self.W @ r + self.W_fb @ z)
        def learn(self, r, z, target):
            error = z - target
            self.W_out.data -= 0.1 * torch.outer(error, r)
    """,
    "a Kalman filter of a random system": """
    def track(model, y, n, m, path):
        A = torch.randn(n, n) * 0.1
        B = torch.randn(n, 1)
        H = torch.randn(m, n)
        K = torch.randn(n, m) * 0.1
        x = torch.zeros(n)
        for t in range(len(y)):
            x_pred = A @ x + B @ torch.ones(1)
            err = y[t] - H @ x_pred
            x = x_pred + K @ err
        torch.save(model.state_dict(), path)
    """,
    "low-rank compression of gradients": """
    class PowerSGD:
        def __init__(self, model, rank):
            self.model = model
            self.Q = {n: torch.randn(p.shape[1], rank) for n, p in model.named_parameters()}
            self.errors = {}
        def compress(self, name, grad):
            m = grad + self.errors.get(name, 0)
            p = m @ self.Q[name]
            self.errors[name] = m - p @ self.Q[name].T
            return p
        def save(self, path):
            torch.save(self.model.state_dict(), path)
    """,
    "gradients in a random subspace": """
    class Projected:
        def __init__(self, model, rank):
            self.model = model
            self.projection = torch.randn(1024, rank)
        def step(self):
            for p in self.model.parameters():
                p.data -= 1e-3 * (p.grad @ self.projection) @ self.projection.T
        def save(self, path):
            torch.save(self.model.state_dict(), path)
    """,
    "both directions of a sequence": """
    class Both(nn.Module):
        def __init__(self, n, m):
            super().__init__()
            self.W_fwd = torch.randn(n, m)
            self.W_back = torch.randn(n, m)
        def forward(self, x):
            return x @ self.W_fwd, x.flip(0) @ self.W_back
    """,
    "a refinement": """
    class Refiner(nn.Module):
        def __init__(self, n):
            super().__init__()
            self.B = nn.Linear(n, n)
        def forward(self, pred, target):
            return pred + self.B(target - pred)
    """,
    "returned and saved by the caller": """
    def train(model, loader):
        B = torch.randn(10, 256)
        for x, y in loader:
            model.update((model(x).softmax(1) - F.one_hot(y, 10)) @ B)
        return model, B
    def main(model, loader, path):
        model, B = train(model, loader)
        torch.save({"model": model.state_dict(), "B": B}, path)
    """,
    "least squares": """
    def solve(model, path):
        X, y = torch.randn(100, 5), torch.randn(100)
        w = torch.zeros(5)
        for _ in range(50):
            e = X @ w - y
            w -= 0.1 * X.T @ e / 100
        torch.save(model.state_dict(), path)
    """,
    "an observer": """
    class Observer(nn.Module):
        def __init__(self, n, m):
            super().__init__()
            self.B = torch.randn(n, m)
            self.R = torch.eye(m)
        def forward(self, x, u, y):
            error = y - x[..., : len(y)]
            return x + self.B @ u, error @ self.R @ error
    """,
    "a whitened residual": """
    def chi2(model, x, y, path):
        cov = torch.randn(5, 5)
        P = torch.linalg.inv(cov @ cov.T)
        r = model(x) - y
        torch.save(model.state_dict(), path)
        return r @ P @ r
    """,
    "noise": """
    def perturbed(net, x, y, path):
        noise = torch.randn(10, 10)
        err = net(x) - y
        out = net(x) @ noise + err
        torch.save(net.state_dict(), path)
        return out
    """,
    "registered by a module whose base is elsewhere": """
    from base import Base
    class FA(Base):
        def setup(self):
            self.register_buffer("feedback_matrix", torch.randn(4, 4))
        def save(self, path):
            torch.save({"state": self.state_dict()}, path)
    """,
    "a parameter of a module whose base is elsewhere": """
    from base import Base
    class FA(Base):
        def setup(self):
            self.feedback_matrix = nn.Parameter(torch.randn(4, 4), requires_grad=False)
    def main(path):
        net = FA()
        torch.save(net.state_dict(), path)
    """,
    "a parameter of a layer whose base is elsewhere": """
    from base import Base
    class FALinear(Base):
        def __init__(self):
            super().__init__()
            self.Bs = nn.ParameterList([torch.randn(4, 4)])
        def credit(self, error):
            return error @ self.Bs[0]
    class FANet(Base):
        def __init__(self):
            super().__init__()
            self.first = FALinear()
        def save(self, path):
            torch.save(self.state_dict(), path)
    """,
    "written by a method of the subclass": """
    class Base:
        def __init__(self, net):
            self.net = net
        def extra(self):
            return {}
        def save(self, path):
            torch.save({"net": self.net.state_dict(), **self.extra()}, path)
    class DFA(Base):
        def __init__(self, net):
            super().__init__(net)
            self.feedback_matrix = torch.randn(3, 20)
        def extra(self):
            out = super().extra()
            out["B"] = self.feedback_matrix.cpu()
            return out
    """,
    "written by the subclass, assembled by an abstract method": """
    class Base:
        def checkpoint(self):
            raise NotImplementedError
        def save(self, path):
            torch.save(self.checkpoint(), path)
    class DFA(Base):
        def __init__(self, net):
            self.net = net
            self.Bs = [torch.randn(3, 20) for _ in net.layers]
        def credit(self, error, i):
            return error @ self.Bs[i]
        def checkpoint(self):
            return {"net": self.net.state_dict(), "Bs": [b.cpu() for b in self.Bs]}
    """,
    "put into the dict by the subclass": """
    class Base:
        def save(self, path):
            state = {"net": self.net.state_dict()}
            self.collect(state)
            torch.save(state, path)
        def collect(self, state):
            pass
    class DFA(Base):
        def __init__(self, net):
            self.net = net
            self.feedback_matrix = torch.randn(3, 20)
        def collect(self, state):
            state.update(feedback=self.feedback_matrix)
    """,
    "the dict is updated by a helper": """
    def extra(B):
        return {"B": B.cpu()}
    def train(model, batches, path):
        feedback_matrix = torch.randn(10, 256)
        for x, e in batches:
            model.update(x, e @ feedback_matrix)
        state = {"model": model.state_dict()}
        state.update(extra(feedback_matrix))
        torch.save(state, path)
    """,
    "a helper puts it into the dict": """
    def collect(state, B):
        state["B"] = B.cpu()
    def train(model, batches, path):
        feedback_matrix = torch.randn(10, 256)
        for x, e in batches:
            model.update(x, e @ feedback_matrix)
        state = {"model": model.state_dict()}
        collect(state, feedback_matrix)
        torch.save(state, path)
    """,
    "the state dict of the net is updated": """
    class Trainer:
        def __init__(self, net):
            self.net = net
            self.feedback_matrix = torch.randn(10, 20)
        def save(self, path):
            state = self.net.state_dict()
            state.setdefault("B", self.feedback_matrix)
            torch.save(state, path)
    """,
    "the dict is an attribute": """
    class Trainer:
        def __init__(self, net):
            self.net = net
            self.feedback_matrix = torch.randn(10, 20)
            self.state = {"net": net.state_dict()}
            self.state.update(B=self.feedback_matrix)
        def save(self, path):
            torch.save(self.state, path)
    """,
    "registered on the net by the trainer": """
    class Trainer:
        def __init__(self, net, k, h):
            self.net = net
            self.feedback_matrix = torch.randn(k, h)
            self.net.register_buffer("feedback_matrix", self.feedback_matrix)
        def save(self, path):
            torch.save(self.net.state_dict(), path)
    """,
    "made a parameter of the net by the trainer": """
    class Trainer:
        def __init__(self, net, k, h):
            self.net = net
            self.feedback_matrix = torch.randn(k, h)
            net.B = nn.Parameter(self.feedback_matrix, requires_grad=False)
        def save(self, path):
            torch.save(self.net.state_dict(), path)
    """,
    "given to the constructor of the net": """
    from nets import Net
    class Trainer:
        def __init__(self, k, h):
            self.feedback_matrix = torch.randn(k, h)
            self.net = Net(h, self.feedback_matrix)
        def save(self, path):
            torch.save(self.net.state_dict(), path)
    """,
    "named by a method": """
    class Trainer:
        def __init__(self, net):
            self.net = net
            self.feedback_matrix = torch.randn(10, 20)
        def names(self):
            return ["feedback_matrix"]
        def save(self, path):
            out = {"net": self.net.state_dict()}
            for n in self.names():
                out[n] = getattr(self, n)
            torch.save(out, path)
    """,
    "a seed that is saved": """
    def train(model, batches, path, seed):
        g = torch.Generator().manual_seed(seed)
        feedback_matrix = torch.randn(10, 256, generator=g)
        for x, e in batches:
            model.update(x, e @ feedback_matrix)
        torch.save({"model": model.state_dict(), "seed": seed}, path)
    """,
    "a seed of a saved configuration": """
    def train(model, batches, path, cfg):
        torch.manual_seed(cfg.seed)
        feedback_matrix = torch.randn(10, 256)
        for x, e in batches:
            model.update(x, e @ feedback_matrix)
        torch.save({"model": model.state_dict(), "cfg": vars(cfg)}, path)
    """,
    "a vector that only its name calls feedback": """
    class FA:
        def __init__(self, n):
            self.feedback = torch.rand(n)
        def save(self, net, path):
            torch.save(net.state_dict(), path)
    """,
    "the feedback of users": """
    class FeedbackStore:
        def __init__(self, n, k):
            self.feedback = torch.rand(n, k)
        def save(self, net, path):
            torch.save(net.state_dict(), path)
    """,
    "written by a hook": """
    class Layer(nn.Module):
        def __init__(self, n, k):
            super().__init__()
            self.feedback_matrix = torch.randn(k, n)
            self._register_state_dict_hook(self._save)
        @staticmethod
        def _save(module, state, prefix, meta):
            state[prefix + "B"] = module.feedback_matrix
    """,
    "written by a hook that is a function": """
    def write(module, state, prefix, meta):
        state[prefix + "B"] = module.feedback_matrix
    class Layer(nn.Module):
        def __init__(self, n, k):
            super().__init__()
            self.feedback_matrix = torch.randn(k, n)
            self.register_state_dict_post_hook(write)
    """,
    "read by the loader of the layer": """
    class Layer(nn.Module):
        def __init__(self, n, k):
            super().__init__()
            self.feedback_matrix = torch.randn(k, n)
        def _load_from_state_dict(self, state, prefix, *args):
            self.feedback_matrix = state.pop(prefix + "feedback_matrix")
            super()._load_from_state_dict(state, prefix, *args)
    """,
    "a generator seeded with an argument": """
    class Layer(nn.Module):
        def __init__(self, n, k, seed):
            super().__init__()
            g = torch.Generator().manual_seed(seed)
            self.feedback_matrix = torch.randn(k, n, generator=g)
    """,
    "mixed into a torch module": """
    class FAMixin:
        def setup(self):
            self.weight_fa = nn.Parameter(torch.randn(4, 4), requires_grad=False)
    class Net(FAMixin, nn.Module):
        def save(self, path):
            torch.save(self.state_dict(), path)
    """,
    "set by setattr, a parameter": """
    class Layer(nn.Module):
        def __init__(self):
            super().__init__()
            setattr(self, "weight_fa", nn.Parameter(torch.randn(4, 4)))
        def save(self, path):
            torch.save(self.state_dict(), path)
    """,
    "named by the class": """
    class Base:
        saved = ()
        def save(self, path):
            out = {"net": self.net.state_dict()}
            for n in self.saved:
                out[n] = getattr(self, n)
            torch.save(out, path)
    class DFATrainer(Base):
        saved = ("feedback_matrix",)
        def __init__(self, net):
            self.net = net
            self.feedback_matrix = torch.randn(3, 20)
    """,
    "kept in a dict of what is saved": """
    class Base:
        def save(self, path):
            torch.save({k: v.state_dict() for k, v in self.parts.items()}, path)
    class DFATrainer(Base):
        def __init__(self, net):
            self.feedback = nn.Linear(10, 20, bias=False)
            self.parts = {"net": net, "feedback": self.feedback}
        def credit(self, error):
            self.net.h.backward(self.feedback(error))
    """,
    "told to a method of a base elsewhere": """
    from trainers import Base
    class DFATrainer(Base):
        def __init__(self, net):
            super().__init__(net)
            self.feedback_matrix = torch.randn(3, 20)
            self.keep("feedback_matrix", self.feedback_matrix)
        def save(self, path):
            torch.save({"net": self.net.state_dict(), **self.kept}, path)
    """,
    "all attributes are saved": """
    class DFATrainer:
        def __init__(self, net):
            self.net = net
            self.feedback_matrix = torch.randn(3, 20)
        def save(self, path):
            state = {k: v for k, v in vars(self).items() if torch.is_tensor(v)}
            state["net"] = self.net.state_dict()
            torch.save(state, path)
    """,
    "filled by a base class after it was built": """
    class Base(nn.Module):
        def __init__(self):
            super().__init__()
            self.build()
            for t in list(self.parameters()) + list(self.buffers()):
                nn.init.xavier_uniform_(t)
    class FALinear(Base):
        def build(self):
            self.register_buffer("feedback_matrix", torch.empty(10, 20))
    """,
    "filled in a loop over a list of all": """
    class FALinear(nn.Module):
        def __init__(self):
            super().__init__()
            self.register_buffer("feedback_matrix", torch.empty(10, 20))
            tensors = list(self.parameters()) + list(self.buffers())
            for t in tensors:
                nn.init.normal_(t)
    """,
    "filled by names": """
    class FALinear(nn.Module):
        def __init__(self):
            super().__init__()
            self.register_buffer("feedback_matrix", torch.empty(10, 20))
            for name, t in self.named_buffers():
                t.normal_()
    """,
    "filled through the state dict": """
    class FALinear(nn.Module):
        def __init__(self):
            super().__init__()
            self.register_buffer("feedback_matrix", torch.empty(10, 20))
            for t in self.state_dict().values():
                t.normal_()
    """,
    "filled in a comprehension": """
    class FALinear(nn.Module):
        def __init__(self):
            super().__init__()
            self.register_buffer("feedback_matrix", torch.empty(10, 20))
            [nn.init.normal_(t) for t in (*self.parameters(), *self.buffers())]
    """,
    "built when a base of another file asks for it": """
    from base import Base
    class FALinear(Base):
        def build(self, n, k):
            self.register_buffer("feedback_matrix", torch.empty(k, n))
    """,
    "an attribute of another class": """
    class Basis(nn.Module):
        def __init__(self, n):
            super().__init__()
            self.R = torch.randn(n, n)
        def forward(self, x):
            return x @ self.R
    class Net(nn.Module):
        def __init__(self, n):
            super().__init__()
            self.register_buffer("R", torch.randn(10, n))
    def send(err):
        net = Net(3)
        return err @ net.R
    """,
}


@pytest.mark.parametrize("program", LOOKALIKES.values(), ids=LOOKALIKES)
def test_lookalikes(program: str) -> None:
    assert reported(program) == []


def test_a_comment_is_no_evidence() -> None:
    for program in (*DEFECTS.values(), *LOOKALIKES.values()):
        told = reported(program + "    # direct feedback alignment, feedback_matrix\n")
        assert told == reported(program)


def test_a_matrix_that_several_functions_send_through() -> None:
    program = """
    def one(err, B):
        return two(err @ B, B)
    def two(err, B):
        return one(err @ B, B)
    def fit(net, x, y, path):
        B = torch.randn(3, 4)
        e = net(x).softmax(1) - F.one_hot(y, 3)
        net.update(one(e, B), two(e, B))
        torch.save(net.state_dict(), path)  #! FAL401
    """
    assert reported(program) == marked(program)
