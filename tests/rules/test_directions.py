"""Gradients that are scaled, projected, clipped or multiplied, and compared with nothing: no rule says a word."""

from __future__ import annotations

import re

import pytest

from fa_lint.findings import Level
from fa_lint.project.check_file import analyse
from fa_lint.rules import registry
from fa_lint.semantics.roles import RoleNames

HEAD = "import torch\nimport torch.nn.functional as F\n\n\n"
PROGRAMS = """
def pgd(x, loss, mask, alpha):
    (grad,) = torch.autograd.grad(loss, x)
    d = (grad * mask) / ((grad * mask).norm() + 1e-8)
    return x + alpha * d

def lars(p, lr, wd):
    g = p.grad
    trust = p.norm() / (g.norm() + wd * p.norm() + 1e-8)
    p.data.add_(g * trust, alpha=-lr)

def sam(params, rho):
    norm = torch.stack([p.grad.norm() for p in params]).norm()
    for p in params:
        e = p.grad * (rho / (norm + 1e-12))
        p.data.add_(e)

def asam(params, rho):
    norm = torch.stack([(p.abs() * p.grad).norm() for p in params]).norm()
    scale = rho / (norm + 1e-12)
    for p in params:
        p.data.add_(p.pow(2) * p.grad * scale)

def directional(x, loss, v):
    (g,) = torch.autograd.grad(loss, x)
    v = v / (v.norm() + 1e-8)
    return (g * v).sum()

def clip(params, limit):
    total = torch.sqrt(sum((p.grad ** 2).sum() for p in params))
    c = limit / (total + 1e-6)
    for p in params:
        p.grad.mul_(c.clamp(max=1.0))

def gradcam(acts, loss):
    (g,) = torch.autograd.grad(loss, acts)
    w = g.mean((2, 3), keepdim=True)
    cam = F.relu((w * acts).sum(1))
    return cam / (cam.max() + 1e-8)

def saliency(x, loss):
    (g,) = torch.autograd.grad(loss, x)
    s = (g * x).sum(-1)
    return s / (s.norm(dim=-1, keepdim=True) + 1e-9)

def attn(q, k, v):
    a = q @ k.transpose(-2, -1) / (q.shape[-1] ** 0.5)
    return a.softmax(-1) @ v

def muon(G, steps):
    X = G / (G.norm() + 1e-7)
    for _ in range(steps):
        A = X @ X.T
        X = 1.5 * X - 0.5 * A @ X
    return X

def kfac(p, A, B):
    g = p.grad
    nat = torch.linalg.solve(A, g) @ B
    return nat / (nat.norm() + 1e-8)

def hvp(loss, params, v):
    g = torch.autograd.grad(loss, params, create_graph=True)
    dot = sum((a * b).sum() for a, b in zip(g, v))
    h = torch.autograd.grad(dot, params)
    norm = sum((x * x).sum() for x in h).sqrt()
    return [x / (norm + 1e-6) for x in h]

def lanczos(loss, p, v):
    (g,) = torch.autograd.grad(loss, p, create_graph=True)
    (w,) = torch.autograd.grad(g @ v, p)
    alpha = w @ v
    w = w - alpha * v
    beta = w.norm()
    return alpha, beta, w / (beta + 1e-10)

def eigen(loss, p, v):
    (g,) = torch.autograd.grad(loss, p, create_graph=True)
    (hv,) = torch.autograd.grad(g, p, v)
    return (v * hv).sum() / (v * v).sum()

def gnoise(gs):
    G = torch.stack([g.flatten() for g in gs])
    mean = G.mean(0)
    return ((G - mean) ** 2).sum() / (mean ** 2).sum()

def masks(g, m1, m2):
    return F.cosine_similarity(g * m1, g * m2, dim=0, eps=1e-30)

def two(e, B):
    c = e @ B
    B.add_(1.0)
    d = e @ B
    return F.cosine_similarity(c, d, dim=0, eps=1e-30)

def fed(self, e):
    c = e @ self.B
    self.update()
    d = e @ self.B
    return F.cosine_similarity(c, d, dim=0, eps=1e-30)

def store(e, B, k):
    c = e @ B
    d = c.clone()
    d[k] = 0
    return F.cosine_similarity(c, d, dim=0, eps=1e-30)

def store2(e, B, k):
    d = (e @ B).clone()
    d[:, k] = 0
    return F.cosine_similarity(e @ B, d, dim=0, eps=1e-30)

def inplace(e, B, m):
    d = e @ B
    c = d.clone()
    d.mul_(m)
    return F.cosine_similarity(c, d, dim=0, eps=1e-30)

def drop(e, B):
    c = F.dropout(e @ B)
    d = F.dropout(e @ B)
    return F.cosine_similarity(c, d, dim=0, eps=1e-30)

def gram(x, y):
    k, l = x @ x.T, y @ y.T
    return (k * l).sum() / (k.norm() * l.norm())

def cka(x, y):
    return ((x.T @ y) ** 2).sum() / ((x.T @ x).norm() * (y.T @ y).norm())

def attention(q, k):
    s = q @ k.transpose(-1, -2)
    return s / s.norm(dim=-1, keepdim=True).clamp(min=1e-6)

def scores(q, k, scale):
    a = (q @ k.T) * scale
    return a / (a.sum(-1, keepdim=True) + 1e-6)

def linear_cka(x, y):
    hsic = ((y.T @ x) ** 2).sum()
    return hsic / (torch.sqrt(((x.T @ x) ** 2).sum()) * torch.sqrt(((y.T @ y) ** 2).sum()) + 1e-8)

def kernel(p, q):
    g, h = p.grad.flatten(), q.grad.flatten()
    ntk = g[:, None] * h[None]
    return ntk / ntk.norm()

def weighted(p, q, w):
    g, h = p.grad.flatten(), q.grad.flatten()
    return (w * g * h).sum() / ((w * g * g).sum() * (w * h * h).sum()).sqrt()

def acos_pre(q, k):
    return torch.acos(((q @ k.T) * 0.5).clamp(-1, 1))

def trust(p, u):
    w = p.data
    return w.norm() / (p.grad * u).norm()
"""


@pytest.mark.parametrize("program", re.split(r"\n(?=def )", PROGRAMS.strip()))
def test_what_compares_nothing_is_silent(program: str) -> None:
    result = analyse("a.py", (HEAD + program).encode(), frozenset(registry()), RoleNames())
    assert [d for d in result.diagnostics if d.level is not Level.HINT] == []
