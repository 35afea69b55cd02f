import torch, numpy as np
import torch.nn.functional as F
def f0_201(loss, x, e, B, Bs, C, b, h, mask, p, y, fb, W, scale, n, gs, f, dtype, self_B):
    (g,) = torch.autograd.grad(loss, x)
    (other,) = torch.autograd.grad(loss * 2, x)
    c = g * mask
    return F.cosine_similarity(c, other, dim=-1)

def f0_203(loss, x, e, B, Bs, C, b, h, mask, p, y, fb, W, scale, n, gs, f, dtype, self_B):
    (g,) = torch.autograd.grad(loss, x)
    (other,) = torch.autograd.grad(loss * 2, x)
    c = g * mask
    return (c * other).sum() / (c.norm() * other.norm() + 1e-6)

def f0_203b(loss, x, e, B, Bs, C, b, h, mask, p, y, fb, W, scale, n, gs, f, dtype, self_B):
    (g,) = torch.autograd.grad(loss, x)
    (other,) = torch.autograd.grad(loss * 2, x)
    c = g * mask
    return c.flatten() @ other.flatten() / max(c.norm() * other.norm(), 1e-6)

def f0_203u(loss, x, e, B, Bs, C, b, h, mask, p, y, fb, W, scale, n, gs, f, dtype, self_B):
    (g,) = torch.autograd.grad(loss, x)
    (other,) = torch.autograd.grad(loss * 2, x)
    c = g * mask
    return ((c / (c.norm() + 1e-6)) * (other / (other.norm() + 1e-6))).sum()

def f1_201(loss, x, e, B, Bs, C, b, h, mask, p, y, fb, W, scale, n, gs, f, dtype, self_B):
    (g,) = torch.autograd.grad(loss, x)
    (other,) = torch.autograd.grad(loss * 2, x)
    c = (e @ B) * (1 - y ** 2)
    return F.cosine_similarity(c, other, dim=-1)

def f1_203(loss, x, e, B, Bs, C, b, h, mask, p, y, fb, W, scale, n, gs, f, dtype, self_B):
    (g,) = torch.autograd.grad(loss, x)
    (other,) = torch.autograd.grad(loss * 2, x)
    c = (e @ B) * (1 - y ** 2)
    return (c * other).sum() / (c.norm() * other.norm() + 1e-6)

def f1_203b(loss, x, e, B, Bs, C, b, h, mask, p, y, fb, W, scale, n, gs, f, dtype, self_B):
    (g,) = torch.autograd.grad(loss, x)
    (other,) = torch.autograd.grad(loss * 2, x)
    c = (e @ B) * (1 - y ** 2)
    return c.flatten() @ other.flatten() / max(c.norm() * other.norm(), 1e-6)

def f1_203u(loss, x, e, B, Bs, C, b, h, mask, p, y, fb, W, scale, n, gs, f, dtype, self_B):
    (g,) = torch.autograd.grad(loss, x)
    (other,) = torch.autograd.grad(loss * 2, x)
    c = (e @ B) * (1 - y ** 2)
    return ((c / (c.norm() + 1e-6)) * (other / (other.norm() + 1e-6))).sum()

def f2_201(loss, x, e, B, Bs, C, b, h, mask, p, y, fb, W, scale, n, gs, f, dtype, self_B):
    (g,) = torch.autograd.grad(loss, x)
    (other,) = torch.autograd.grad(loss * 2, x)
    c = p.grad * p.data
    return F.cosine_similarity(c, other, dim=-1)

def f2_203(loss, x, e, B, Bs, C, b, h, mask, p, y, fb, W, scale, n, gs, f, dtype, self_B):
    (g,) = torch.autograd.grad(loss, x)
    (other,) = torch.autograd.grad(loss * 2, x)
    c = p.grad * p.data
    return (c * other).sum() / (c.norm() * other.norm() + 1e-6)

def f2_203b(loss, x, e, B, Bs, C, b, h, mask, p, y, fb, W, scale, n, gs, f, dtype, self_B):
    (g,) = torch.autograd.grad(loss, x)
    (other,) = torch.autograd.grad(loss * 2, x)
    c = p.grad * p.data
    return c.flatten() @ other.flatten() / max(c.norm() * other.norm(), 1e-6)

def f2_203u(loss, x, e, B, Bs, C, b, h, mask, p, y, fb, W, scale, n, gs, f, dtype, self_B):
    (g,) = torch.autograd.grad(loss, x)
    (other,) = torch.autograd.grad(loss * 2, x)
    c = p.grad * p.data
    return ((c / (c.norm() + 1e-6)) * (other / (other.norm() + 1e-6))).sum()

def f3_201(loss, x, e, B, Bs, C, b, h, mask, p, y, fb, W, scale, n, gs, f, dtype, self_B):
    (g,) = torch.autograd.grad(loss, x)
    (other,) = torch.autograd.grad(loss * 2, x)
    c = e.unsqueeze(1) * B
    return F.cosine_similarity(c, other, dim=-1)

def f3_203(loss, x, e, B, Bs, C, b, h, mask, p, y, fb, W, scale, n, gs, f, dtype, self_B):
    (g,) = torch.autograd.grad(loss, x)
    (other,) = torch.autograd.grad(loss * 2, x)
    c = e.unsqueeze(1) * B
    return (c * other).sum() / (c.norm() * other.norm() + 1e-6)

def f3_203b(loss, x, e, B, Bs, C, b, h, mask, p, y, fb, W, scale, n, gs, f, dtype, self_B):
    (g,) = torch.autograd.grad(loss, x)
    (other,) = torch.autograd.grad(loss * 2, x)
    c = e.unsqueeze(1) * B
    return c.flatten() @ other.flatten() / max(c.norm() * other.norm(), 1e-6)

def f3_203u(loss, x, e, B, Bs, C, b, h, mask, p, y, fb, W, scale, n, gs, f, dtype, self_B):
    (g,) = torch.autograd.grad(loss, x)
    (other,) = torch.autograd.grad(loss * 2, x)
    c = e.unsqueeze(1) * B
    return ((c / (c.norm() + 1e-6)) * (other / (other.norm() + 1e-6))).sum()

def f4_201(loss, x, e, B, Bs, C, b, h, mask, p, y, fb, W, scale, n, gs, f, dtype, self_B):
    (g,) = torch.autograd.grad(loss, x)
    (other,) = torch.autograd.grad(loss * 2, x)
    c = torch.einsum('bi,ij->bj', e, B)
    return F.cosine_similarity(c, other, dim=-1)

def f4_203(loss, x, e, B, Bs, C, b, h, mask, p, y, fb, W, scale, n, gs, f, dtype, self_B):
    (g,) = torch.autograd.grad(loss, x)
    (other,) = torch.autograd.grad(loss * 2, x)
    c = torch.einsum('bi,ij->bj', e, B)
    return (c * other).sum() / (c.norm() * other.norm() + 1e-6)

def f4_203b(loss, x, e, B, Bs, C, b, h, mask, p, y, fb, W, scale, n, gs, f, dtype, self_B):
    (g,) = torch.autograd.grad(loss, x)
    (other,) = torch.autograd.grad(loss * 2, x)
    c = torch.einsum('bi,ij->bj', e, B)
    return c.flatten() @ other.flatten() / max(c.norm() * other.norm(), 1e-6)

def f4_203u(loss, x, e, B, Bs, C, b, h, mask, p, y, fb, W, scale, n, gs, f, dtype, self_B):
    (g,) = torch.autograd.grad(loss, x)
    (other,) = torch.autograd.grad(loss * 2, x)
    c = torch.einsum('bi,ij->bj', e, B)
    return ((c / (c.norm() + 1e-6)) * (other / (other.norm() + 1e-6))).sum()

def f5_201(loss, x, e, B, Bs, C, b, h, mask, p, y, fb, W, scale, n, gs, f, dtype, self_B):
    (g,) = torch.autograd.grad(loss, x)
    (other,) = torch.autograd.grad(loss * 2, x)
    c = torch.outer(e, h)
    return F.cosine_similarity(c, other, dim=-1)

def f5_203(loss, x, e, B, Bs, C, b, h, mask, p, y, fb, W, scale, n, gs, f, dtype, self_B):
    (g,) = torch.autograd.grad(loss, x)
    (other,) = torch.autograd.grad(loss * 2, x)
    c = torch.outer(e, h)
    return (c * other).sum() / (c.norm() * other.norm() + 1e-6)

def f5_203b(loss, x, e, B, Bs, C, b, h, mask, p, y, fb, W, scale, n, gs, f, dtype, self_B):
    (g,) = torch.autograd.grad(loss, x)
    (other,) = torch.autograd.grad(loss * 2, x)
    c = torch.outer(e, h)
    return c.flatten() @ other.flatten() / max(c.norm() * other.norm(), 1e-6)

def f5_203u(loss, x, e, B, Bs, C, b, h, mask, p, y, fb, W, scale, n, gs, f, dtype, self_B):
    (g,) = torch.autograd.grad(loss, x)
    (other,) = torch.autograd.grad(loss * 2, x)
    c = torch.outer(e, h)
    return ((c / (c.norm() + 1e-6)) * (other / (other.norm() + 1e-6))).sum()

def f6_201(loss, x, e, B, Bs, C, b, h, mask, p, y, fb, W, scale, n, gs, f, dtype, self_B):
    (g,) = torch.autograd.grad(loss, x)
    (other,) = torch.autograd.grad(loss * 2, x)
    c = F.linear(e, B)
    return F.cosine_similarity(c, other, dim=-1)

def f6_203(loss, x, e, B, Bs, C, b, h, mask, p, y, fb, W, scale, n, gs, f, dtype, self_B):
    (g,) = torch.autograd.grad(loss, x)
    (other,) = torch.autograd.grad(loss * 2, x)
    c = F.linear(e, B)
    return (c * other).sum() / (c.norm() * other.norm() + 1e-6)

def f6_203b(loss, x, e, B, Bs, C, b, h, mask, p, y, fb, W, scale, n, gs, f, dtype, self_B):
    (g,) = torch.autograd.grad(loss, x)
    (other,) = torch.autograd.grad(loss * 2, x)
    c = F.linear(e, B)
    return c.flatten() @ other.flatten() / max(c.norm() * other.norm(), 1e-6)

def f6_203u(loss, x, e, B, Bs, C, b, h, mask, p, y, fb, W, scale, n, gs, f, dtype, self_B):
    (g,) = torch.autograd.grad(loss, x)
    (other,) = torch.autograd.grad(loss * 2, x)
    c = F.linear(e, B)
    return ((c / (c.norm() + 1e-6)) * (other / (other.norm() + 1e-6))).sum()

def f7_201(loss, x, e, B, Bs, C, b, h, mask, p, y, fb, W, scale, n, gs, f, dtype, self_B):
    (g,) = torch.autograd.grad(loss, x)
    (other,) = torch.autograd.grad(loss * 2, x)
    c = e @ B + b
    return F.cosine_similarity(c, other, dim=-1)

def f7_203(loss, x, e, B, Bs, C, b, h, mask, p, y, fb, W, scale, n, gs, f, dtype, self_B):
    (g,) = torch.autograd.grad(loss, x)
    (other,) = torch.autograd.grad(loss * 2, x)
    c = e @ B + b
    return (c * other).sum() / (c.norm() * other.norm() + 1e-6)

def f7_203b(loss, x, e, B, Bs, C, b, h, mask, p, y, fb, W, scale, n, gs, f, dtype, self_B):
    (g,) = torch.autograd.grad(loss, x)
    (other,) = torch.autograd.grad(loss * 2, x)
    c = e @ B + b
    return c.flatten() @ other.flatten() / max(c.norm() * other.norm(), 1e-6)

def f7_203u(loss, x, e, B, Bs, C, b, h, mask, p, y, fb, W, scale, n, gs, f, dtype, self_B):
    (g,) = torch.autograd.grad(loss, x)
    (other,) = torch.autograd.grad(loss * 2, x)
    c = e @ B + b
    return ((c / (c.norm() + 1e-6)) * (other / (other.norm() + 1e-6))).sum()

def f8_201(loss, x, e, B, Bs, C, b, h, mask, p, y, fb, W, scale, n, gs, f, dtype, self_B):
    (g,) = torch.autograd.grad(loss, x)
    (other,) = torch.autograd.grad(loss * 2, x)
    c = fb(e)
    return F.cosine_similarity(c, other, dim=-1)

def f8_203(loss, x, e, B, Bs, C, b, h, mask, p, y, fb, W, scale, n, gs, f, dtype, self_B):
    (g,) = torch.autograd.grad(loss, x)
    (other,) = torch.autograd.grad(loss * 2, x)
    c = fb(e)
    return (c * other).sum() / (c.norm() * other.norm() + 1e-6)

def f8_203b(loss, x, e, B, Bs, C, b, h, mask, p, y, fb, W, scale, n, gs, f, dtype, self_B):
    (g,) = torch.autograd.grad(loss, x)
    (other,) = torch.autograd.grad(loss * 2, x)
    c = fb(e)
    return c.flatten() @ other.flatten() / max(c.norm() * other.norm(), 1e-6)

def f8_203u(loss, x, e, B, Bs, C, b, h, mask, p, y, fb, W, scale, n, gs, f, dtype, self_B):
    (g,) = torch.autograd.grad(loss, x)
    (other,) = torch.autograd.grad(loss * 2, x)
    c = fb(e)
    return ((c / (c.norm() + 1e-6)) * (other / (other.norm() + 1e-6))).sum()

def f9_201(loss, x, e, B, Bs, C, b, h, mask, p, y, fb, W, scale, n, gs, f, dtype, self_B):
    (g,) = torch.autograd.grad(loss, x)
    (other,) = torch.autograd.grad(loss * 2, x)
    c = torch.sign(e) @ B
    return F.cosine_similarity(c, other, dim=-1)

def f9_203(loss, x, e, B, Bs, C, b, h, mask, p, y, fb, W, scale, n, gs, f, dtype, self_B):
    (g,) = torch.autograd.grad(loss, x)
    (other,) = torch.autograd.grad(loss * 2, x)
    c = torch.sign(e) @ B
    return (c * other).sum() / (c.norm() * other.norm() + 1e-6)

def f9_203b(loss, x, e, B, Bs, C, b, h, mask, p, y, fb, W, scale, n, gs, f, dtype, self_B):
    (g,) = torch.autograd.grad(loss, x)
    (other,) = torch.autograd.grad(loss * 2, x)
    c = torch.sign(e) @ B
    return c.flatten() @ other.flatten() / max(c.norm() * other.norm(), 1e-6)

def f9_203u(loss, x, e, B, Bs, C, b, h, mask, p, y, fb, W, scale, n, gs, f, dtype, self_B):
    (g,) = torch.autograd.grad(loss, x)
    (other,) = torch.autograd.grad(loss * 2, x)
    c = torch.sign(e) @ B
    return ((c / (c.norm() + 1e-6)) * (other / (other.norm() + 1e-6))).sum()

def f10_201(loss, x, e, B, Bs, C, b, h, mask, p, y, fb, W, scale, n, gs, f, dtype, self_B):
    (g,) = torch.autograd.grad(loss, x)
    (other,) = torch.autograd.grad(loss * 2, x)
    c = torch.bmm(e, B).squeeze()
    return F.cosine_similarity(c, other, dim=-1)

def f10_203(loss, x, e, B, Bs, C, b, h, mask, p, y, fb, W, scale, n, gs, f, dtype, self_B):
    (g,) = torch.autograd.grad(loss, x)
    (other,) = torch.autograd.grad(loss * 2, x)
    c = torch.bmm(e, B).squeeze()
    return (c * other).sum() / (c.norm() * other.norm() + 1e-6)

def f10_203b(loss, x, e, B, Bs, C, b, h, mask, p, y, fb, W, scale, n, gs, f, dtype, self_B):
    (g,) = torch.autograd.grad(loss, x)
    (other,) = torch.autograd.grad(loss * 2, x)
    c = torch.bmm(e, B).squeeze()
    return c.flatten() @ other.flatten() / max(c.norm() * other.norm(), 1e-6)

def f10_203u(loss, x, e, B, Bs, C, b, h, mask, p, y, fb, W, scale, n, gs, f, dtype, self_B):
    (g,) = torch.autograd.grad(loss, x)
    (other,) = torch.autograd.grad(loss * 2, x)
    c = torch.bmm(e, B).squeeze()
    return ((c / (c.norm() + 1e-6)) * (other / (other.norm() + 1e-6))).sum()

def f11_201(loss, x, e, B, Bs, C, b, h, mask, p, y, fb, W, scale, n, gs, f, dtype, self_B):
    (g,) = torch.autograd.grad(loss, x)
    (other,) = torch.autograd.grad(loss * 2, x)
    c = e.matmul(B).detach().clone()
    return F.cosine_similarity(c, other, dim=-1)

def f11_203(loss, x, e, B, Bs, C, b, h, mask, p, y, fb, W, scale, n, gs, f, dtype, self_B):
    (g,) = torch.autograd.grad(loss, x)
    (other,) = torch.autograd.grad(loss * 2, x)
    c = e.matmul(B).detach().clone()
    return (c * other).sum() / (c.norm() * other.norm() + 1e-6)

def f11_203b(loss, x, e, B, Bs, C, b, h, mask, p, y, fb, W, scale, n, gs, f, dtype, self_B):
    (g,) = torch.autograd.grad(loss, x)
    (other,) = torch.autograd.grad(loss * 2, x)
    c = e.matmul(B).detach().clone()
    return c.flatten() @ other.flatten() / max(c.norm() * other.norm(), 1e-6)

def f11_203u(loss, x, e, B, Bs, C, b, h, mask, p, y, fb, W, scale, n, gs, f, dtype, self_B):
    (g,) = torch.autograd.grad(loss, x)
    (other,) = torch.autograd.grad(loss * 2, x)
    c = e.matmul(B).detach().clone()
    return ((c / (c.norm() + 1e-6)) * (other / (other.norm() + 1e-6))).sum()

def f12_201(loss, x, e, B, Bs, C, b, h, mask, p, y, fb, W, scale, n, gs, f, dtype, self_B):
    (g,) = torch.autograd.grad(loss, x)
    (other,) = torch.autograd.grad(loss * 2, x)
    c = torch.where(mask, g, torch.zeros_like(g))
    return F.cosine_similarity(c, other, dim=-1)

def f12_203(loss, x, e, B, Bs, C, b, h, mask, p, y, fb, W, scale, n, gs, f, dtype, self_B):
    (g,) = torch.autograd.grad(loss, x)
    (other,) = torch.autograd.grad(loss * 2, x)
    c = torch.where(mask, g, torch.zeros_like(g))
    return (c * other).sum() / (c.norm() * other.norm() + 1e-6)

def f12_203b(loss, x, e, B, Bs, C, b, h, mask, p, y, fb, W, scale, n, gs, f, dtype, self_B):
    (g,) = torch.autograd.grad(loss, x)
    (other,) = torch.autograd.grad(loss * 2, x)
    c = torch.where(mask, g, torch.zeros_like(g))
    return c.flatten() @ other.flatten() / max(c.norm() * other.norm(), 1e-6)

def f12_203u(loss, x, e, B, Bs, C, b, h, mask, p, y, fb, W, scale, n, gs, f, dtype, self_B):
    (g,) = torch.autograd.grad(loss, x)
    (other,) = torch.autograd.grad(loss * 2, x)
    c = torch.where(mask, g, torch.zeros_like(g))
    return ((c / (c.norm() + 1e-6)) * (other / (other.norm() + 1e-6))).sum()

def f13_201(loss, x, e, B, Bs, C, b, h, mask, p, y, fb, W, scale, n, gs, f, dtype, self_B):
    (g,) = torch.autograd.grad(loss, x)
    (other,) = torch.autograd.grad(loss * 2, x)
    c = g[mask]
    return F.cosine_similarity(c, other, dim=-1)

def f13_203(loss, x, e, B, Bs, C, b, h, mask, p, y, fb, W, scale, n, gs, f, dtype, self_B):
    (g,) = torch.autograd.grad(loss, x)
    (other,) = torch.autograd.grad(loss * 2, x)
    c = g[mask]
    return (c * other).sum() / (c.norm() * other.norm() + 1e-6)

def f13_203b(loss, x, e, B, Bs, C, b, h, mask, p, y, fb, W, scale, n, gs, f, dtype, self_B):
    (g,) = torch.autograd.grad(loss, x)
    (other,) = torch.autograd.grad(loss * 2, x)
    c = g[mask]
    return c.flatten() @ other.flatten() / max(c.norm() * other.norm(), 1e-6)

def f13_203u(loss, x, e, B, Bs, C, b, h, mask, p, y, fb, W, scale, n, gs, f, dtype, self_B):
    (g,) = torch.autograd.grad(loss, x)
    (other,) = torch.autograd.grad(loss * 2, x)
    c = g[mask]
    return ((c / (c.norm() + 1e-6)) * (other / (other.norm() + 1e-6))).sum()

def f14_201(loss, x, e, B, Bs, C, b, h, mask, p, y, fb, W, scale, n, gs, f, dtype, self_B):
    (g,) = torch.autograd.grad(loss, x)
    (other,) = torch.autograd.grad(loss * 2, x)
    c = torch.addmm(b, e, B)
    return F.cosine_similarity(c, other, dim=-1)

def f14_203(loss, x, e, B, Bs, C, b, h, mask, p, y, fb, W, scale, n, gs, f, dtype, self_B):
    (g,) = torch.autograd.grad(loss, x)
    (other,) = torch.autograd.grad(loss * 2, x)
    c = torch.addmm(b, e, B)
    return (c * other).sum() / (c.norm() * other.norm() + 1e-6)

def f14_203b(loss, x, e, B, Bs, C, b, h, mask, p, y, fb, W, scale, n, gs, f, dtype, self_B):
    (g,) = torch.autograd.grad(loss, x)
    (other,) = torch.autograd.grad(loss * 2, x)
    c = torch.addmm(b, e, B)
    return c.flatten() @ other.flatten() / max(c.norm() * other.norm(), 1e-6)

def f14_203u(loss, x, e, B, Bs, C, b, h, mask, p, y, fb, W, scale, n, gs, f, dtype, self_B):
    (g,) = torch.autograd.grad(loss, x)
    (other,) = torch.autograd.grad(loss * 2, x)
    c = torch.addmm(b, e, B)
    return ((c / (c.norm() + 1e-6)) * (other / (other.norm() + 1e-6))).sum()

def f15_201(loss, x, e, B, Bs, C, b, h, mask, p, y, fb, W, scale, n, gs, f, dtype, self_B):
    (g,) = torch.autograd.grad(loss, x)
    (other,) = torch.autograd.grad(loss * 2, x)
    c = e @ B @ C
    return F.cosine_similarity(c, other, dim=-1)

def f15_203(loss, x, e, B, Bs, C, b, h, mask, p, y, fb, W, scale, n, gs, f, dtype, self_B):
    (g,) = torch.autograd.grad(loss, x)
    (other,) = torch.autograd.grad(loss * 2, x)
    c = e @ B @ C
    return (c * other).sum() / (c.norm() * other.norm() + 1e-6)

def f15_203b(loss, x, e, B, Bs, C, b, h, mask, p, y, fb, W, scale, n, gs, f, dtype, self_B):
    (g,) = torch.autograd.grad(loss, x)
    (other,) = torch.autograd.grad(loss * 2, x)
    c = e @ B @ C
    return c.flatten() @ other.flatten() / max(c.norm() * other.norm(), 1e-6)

def f15_203u(loss, x, e, B, Bs, C, b, h, mask, p, y, fb, W, scale, n, gs, f, dtype, self_B):
    (g,) = torch.autograd.grad(loss, x)
    (other,) = torch.autograd.grad(loss * 2, x)
    c = e @ B @ C
    return ((c / (c.norm() + 1e-6)) * (other / (other.norm() + 1e-6))).sum()

def f16_201(loss, x, e, B, Bs, C, b, h, mask, p, y, fb, W, scale, n, gs, f, dtype, self_B):
    (g,) = torch.autograd.grad(loss, x)
    (other,) = torch.autograd.grad(loss * 2, x)
    c = (e @ B).reshape(-1)
    return F.cosine_similarity(c, other, dim=-1)

def f16_203(loss, x, e, B, Bs, C, b, h, mask, p, y, fb, W, scale, n, gs, f, dtype, self_B):
    (g,) = torch.autograd.grad(loss, x)
    (other,) = torch.autograd.grad(loss * 2, x)
    c = (e @ B).reshape(-1)
    return (c * other).sum() / (c.norm() * other.norm() + 1e-6)

def f16_203b(loss, x, e, B, Bs, C, b, h, mask, p, y, fb, W, scale, n, gs, f, dtype, self_B):
    (g,) = torch.autograd.grad(loss, x)
    (other,) = torch.autograd.grad(loss * 2, x)
    c = (e @ B).reshape(-1)
    return c.flatten() @ other.flatten() / max(c.norm() * other.norm(), 1e-6)

def f16_203u(loss, x, e, B, Bs, C, b, h, mask, p, y, fb, W, scale, n, gs, f, dtype, self_B):
    (g,) = torch.autograd.grad(loss, x)
    (other,) = torch.autograd.grad(loss * 2, x)
    c = (e @ B).reshape(-1)
    return ((c / (c.norm() + 1e-6)) * (other / (other.norm() + 1e-6))).sum()

def f17_201(loss, x, e, B, Bs, C, b, h, mask, p, y, fb, W, scale, n, gs, f, dtype, self_B):
    (g,) = torch.autograd.grad(loss, x)
    (other,) = torch.autograd.grad(loss * 2, x)
    c = -(e @ B)
    return F.cosine_similarity(c, other, dim=-1)

def f17_203(loss, x, e, B, Bs, C, b, h, mask, p, y, fb, W, scale, n, gs, f, dtype, self_B):
    (g,) = torch.autograd.grad(loss, x)
    (other,) = torch.autograd.grad(loss * 2, x)
    c = -(e @ B)
    return (c * other).sum() / (c.norm() * other.norm() + 1e-6)

def f17_203b(loss, x, e, B, Bs, C, b, h, mask, p, y, fb, W, scale, n, gs, f, dtype, self_B):
    (g,) = torch.autograd.grad(loss, x)
    (other,) = torch.autograd.grad(loss * 2, x)
    c = -(e @ B)
    return c.flatten() @ other.flatten() / max(c.norm() * other.norm(), 1e-6)

def f17_203u(loss, x, e, B, Bs, C, b, h, mask, p, y, fb, W, scale, n, gs, f, dtype, self_B):
    (g,) = torch.autograd.grad(loss, x)
    (other,) = torch.autograd.grad(loss * 2, x)
    c = -(e @ B)
    return ((c / (c.norm() + 1e-6)) * (other / (other.norm() + 1e-6))).sum()

def f18_201(loss, x, e, B, Bs, C, b, h, mask, p, y, fb, W, scale, n, gs, f, dtype, self_B):
    (g,) = torch.autograd.grad(loss, x)
    (other,) = torch.autograd.grad(loss * 2, x)
    c = 0.5 * (e @ B)
    return F.cosine_similarity(c, other, dim=-1)

def f18_203(loss, x, e, B, Bs, C, b, h, mask, p, y, fb, W, scale, n, gs, f, dtype, self_B):
    (g,) = torch.autograd.grad(loss, x)
    (other,) = torch.autograd.grad(loss * 2, x)
    c = 0.5 * (e @ B)
    return (c * other).sum() / (c.norm() * other.norm() + 1e-6)

def f18_203b(loss, x, e, B, Bs, C, b, h, mask, p, y, fb, W, scale, n, gs, f, dtype, self_B):
    (g,) = torch.autograd.grad(loss, x)
    (other,) = torch.autograd.grad(loss * 2, x)
    c = 0.5 * (e @ B)
    return c.flatten() @ other.flatten() / max(c.norm() * other.norm(), 1e-6)

def f18_203u(loss, x, e, B, Bs, C, b, h, mask, p, y, fb, W, scale, n, gs, f, dtype, self_B):
    (g,) = torch.autograd.grad(loss, x)
    (other,) = torch.autograd.grad(loss * 2, x)
    c = 0.5 * (e @ B)
    return ((c / (c.norm() + 1e-6)) * (other / (other.norm() + 1e-6))).sum()

def f19_201(loss, x, e, B, Bs, C, b, h, mask, p, y, fb, W, scale, n, gs, f, dtype, self_B):
    (g,) = torch.autograd.grad(loss, x)
    (other,) = torch.autograd.grad(loss * 2, x)
    c = (e @ B) / n
    return F.cosine_similarity(c, other, dim=-1)

def f19_203(loss, x, e, B, Bs, C, b, h, mask, p, y, fb, W, scale, n, gs, f, dtype, self_B):
    (g,) = torch.autograd.grad(loss, x)
    (other,) = torch.autograd.grad(loss * 2, x)
    c = (e @ B) / n
    return (c * other).sum() / (c.norm() * other.norm() + 1e-6)

def f19_203b(loss, x, e, B, Bs, C, b, h, mask, p, y, fb, W, scale, n, gs, f, dtype, self_B):
    (g,) = torch.autograd.grad(loss, x)
    (other,) = torch.autograd.grad(loss * 2, x)
    c = (e @ B) / n
    return c.flatten() @ other.flatten() / max(c.norm() * other.norm(), 1e-6)

def f19_203u(loss, x, e, B, Bs, C, b, h, mask, p, y, fb, W, scale, n, gs, f, dtype, self_B):
    (g,) = torch.autograd.grad(loss, x)
    (other,) = torch.autograd.grad(loss * 2, x)
    c = (e @ B) / n
    return ((c / (c.norm() + 1e-6)) * (other / (other.norm() + 1e-6))).sum()

def f20_201(loss, x, e, B, Bs, C, b, h, mask, p, y, fb, W, scale, n, gs, f, dtype, self_B):
    (g,) = torch.autograd.grad(loss, x)
    (other,) = torch.autograd.grad(loss * 2, x)
    c = torch.tanh(e @ B)
    return F.cosine_similarity(c, other, dim=-1)

def f20_203(loss, x, e, B, Bs, C, b, h, mask, p, y, fb, W, scale, n, gs, f, dtype, self_B):
    (g,) = torch.autograd.grad(loss, x)
    (other,) = torch.autograd.grad(loss * 2, x)
    c = torch.tanh(e @ B)
    return (c * other).sum() / (c.norm() * other.norm() + 1e-6)

def f20_203b(loss, x, e, B, Bs, C, b, h, mask, p, y, fb, W, scale, n, gs, f, dtype, self_B):
    (g,) = torch.autograd.grad(loss, x)
    (other,) = torch.autograd.grad(loss * 2, x)
    c = torch.tanh(e @ B)
    return c.flatten() @ other.flatten() / max(c.norm() * other.norm(), 1e-6)

def f20_203u(loss, x, e, B, Bs, C, b, h, mask, p, y, fb, W, scale, n, gs, f, dtype, self_B):
    (g,) = torch.autograd.grad(loss, x)
    (other,) = torch.autograd.grad(loss * 2, x)
    c = torch.tanh(e @ B)
    return ((c / (c.norm() + 1e-6)) * (other / (other.norm() + 1e-6))).sum()

def f21_201(loss, x, e, B, Bs, C, b, h, mask, p, y, fb, W, scale, n, gs, f, dtype, self_B):
    (g,) = torch.autograd.grad(loss, x)
    (other,) = torch.autograd.grad(loss * 2, x)
    c = e @ B - b
    return F.cosine_similarity(c, other, dim=-1)

def f21_203(loss, x, e, B, Bs, C, b, h, mask, p, y, fb, W, scale, n, gs, f, dtype, self_B):
    (g,) = torch.autograd.grad(loss, x)
    (other,) = torch.autograd.grad(loss * 2, x)
    c = e @ B - b
    return (c * other).sum() / (c.norm() * other.norm() + 1e-6)

def f21_203b(loss, x, e, B, Bs, C, b, h, mask, p, y, fb, W, scale, n, gs, f, dtype, self_B):
    (g,) = torch.autograd.grad(loss, x)
    (other,) = torch.autograd.grad(loss * 2, x)
    c = e @ B - b
    return c.flatten() @ other.flatten() / max(c.norm() * other.norm(), 1e-6)

def f21_203u(loss, x, e, B, Bs, C, b, h, mask, p, y, fb, W, scale, n, gs, f, dtype, self_B):
    (g,) = torch.autograd.grad(loss, x)
    (other,) = torch.autograd.grad(loss * 2, x)
    c = e @ B - b
    return ((c / (c.norm() + 1e-6)) * (other / (other.norm() + 1e-6))).sum()

def f22_201(loss, x, e, B, Bs, C, b, h, mask, p, y, fb, W, scale, n, gs, f, dtype, self_B):
    (g,) = torch.autograd.grad(loss, x)
    (other,) = torch.autograd.grad(loss * 2, x)
    c = torch.cat([e @ B, g])
    return F.cosine_similarity(c, other, dim=-1)

def f22_203(loss, x, e, B, Bs, C, b, h, mask, p, y, fb, W, scale, n, gs, f, dtype, self_B):
    (g,) = torch.autograd.grad(loss, x)
    (other,) = torch.autograd.grad(loss * 2, x)
    c = torch.cat([e @ B, g])
    return (c * other).sum() / (c.norm() * other.norm() + 1e-6)

def f22_203b(loss, x, e, B, Bs, C, b, h, mask, p, y, fb, W, scale, n, gs, f, dtype, self_B):
    (g,) = torch.autograd.grad(loss, x)
    (other,) = torch.autograd.grad(loss * 2, x)
    c = torch.cat([e @ B, g])
    return c.flatten() @ other.flatten() / max(c.norm() * other.norm(), 1e-6)

def f22_203u(loss, x, e, B, Bs, C, b, h, mask, p, y, fb, W, scale, n, gs, f, dtype, self_B):
    (g,) = torch.autograd.grad(loss, x)
    (other,) = torch.autograd.grad(loss * 2, x)
    c = torch.cat([e @ B, g])
    return ((c / (c.norm() + 1e-6)) * (other / (other.norm() + 1e-6))).sum()

def f23_201(loss, x, e, B, Bs, C, b, h, mask, p, y, fb, W, scale, n, gs, f, dtype, self_B):
    (g,) = torch.autograd.grad(loss, x)
    (other,) = torch.autograd.grad(loss * 2, x)
    c = torch.stack([e @ B for B in Bs]).mean(0)
    return F.cosine_similarity(c, other, dim=-1)

def f23_203(loss, x, e, B, Bs, C, b, h, mask, p, y, fb, W, scale, n, gs, f, dtype, self_B):
    (g,) = torch.autograd.grad(loss, x)
    (other,) = torch.autograd.grad(loss * 2, x)
    c = torch.stack([e @ B for B in Bs]).mean(0)
    return (c * other).sum() / (c.norm() * other.norm() + 1e-6)

def f23_203b(loss, x, e, B, Bs, C, b, h, mask, p, y, fb, W, scale, n, gs, f, dtype, self_B):
    (g,) = torch.autograd.grad(loss, x)
    (other,) = torch.autograd.grad(loss * 2, x)
    c = torch.stack([e @ B for B in Bs]).mean(0)
    return c.flatten() @ other.flatten() / max(c.norm() * other.norm(), 1e-6)

def f23_203u(loss, x, e, B, Bs, C, b, h, mask, p, y, fb, W, scale, n, gs, f, dtype, self_B):
    (g,) = torch.autograd.grad(loss, x)
    (other,) = torch.autograd.grad(loss * 2, x)
    c = torch.stack([e @ B for B in Bs]).mean(0)
    return ((c / (c.norm() + 1e-6)) * (other / (other.norm() + 1e-6))).sum()

def f24_201(loss, x, e, B, Bs, C, b, h, mask, p, y, fb, W, scale, n, gs, f, dtype, self_B):
    (g,) = torch.autograd.grad(loss, x)
    (other,) = torch.autograd.grad(loss * 2, x)
    c = (e * mask) @ B
    return F.cosine_similarity(c, other, dim=-1)

def f24_203(loss, x, e, B, Bs, C, b, h, mask, p, y, fb, W, scale, n, gs, f, dtype, self_B):
    (g,) = torch.autograd.grad(loss, x)
    (other,) = torch.autograd.grad(loss * 2, x)
    c = (e * mask) @ B
    return (c * other).sum() / (c.norm() * other.norm() + 1e-6)

def f24_203b(loss, x, e, B, Bs, C, b, h, mask, p, y, fb, W, scale, n, gs, f, dtype, self_B):
    (g,) = torch.autograd.grad(loss, x)
    (other,) = torch.autograd.grad(loss * 2, x)
    c = (e * mask) @ B
    return c.flatten() @ other.flatten() / max(c.norm() * other.norm(), 1e-6)

def f24_203u(loss, x, e, B, Bs, C, b, h, mask, p, y, fb, W, scale, n, gs, f, dtype, self_B):
    (g,) = torch.autograd.grad(loss, x)
    (other,) = torch.autograd.grad(loss * 2, x)
    c = (e * mask) @ B
    return ((c / (c.norm() + 1e-6)) * (other / (other.norm() + 1e-6))).sum()

def f25_201(loss, x, e, B, Bs, C, b, h, mask, p, y, fb, W, scale, n, gs, f, dtype, self_B):
    (g,) = torch.autograd.grad(loss, x)
    (other,) = torch.autograd.grad(loss * 2, x)
    c = g - g.mean()
    return F.cosine_similarity(c, other, dim=-1)

def f25_203(loss, x, e, B, Bs, C, b, h, mask, p, y, fb, W, scale, n, gs, f, dtype, self_B):
    (g,) = torch.autograd.grad(loss, x)
    (other,) = torch.autograd.grad(loss * 2, x)
    c = g - g.mean()
    return (c * other).sum() / (c.norm() * other.norm() + 1e-6)

def f25_203b(loss, x, e, B, Bs, C, b, h, mask, p, y, fb, W, scale, n, gs, f, dtype, self_B):
    (g,) = torch.autograd.grad(loss, x)
    (other,) = torch.autograd.grad(loss * 2, x)
    c = g - g.mean()
    return c.flatten() @ other.flatten() / max(c.norm() * other.norm(), 1e-6)

def f25_203u(loss, x, e, B, Bs, C, b, h, mask, p, y, fb, W, scale, n, gs, f, dtype, self_B):
    (g,) = torch.autograd.grad(loss, x)
    (other,) = torch.autograd.grad(loss * 2, x)
    c = g - g.mean()
    return ((c / (c.norm() + 1e-6)) * (other / (other.norm() + 1e-6))).sum()

def f26_201(loss, x, e, B, Bs, C, b, h, mask, p, y, fb, W, scale, n, gs, f, dtype, self_B):
    (g,) = torch.autograd.grad(loss, x)
    (other,) = torch.autograd.grad(loss * 2, x)
    c = g * scale[:, None]
    return F.cosine_similarity(c, other, dim=-1)

def f26_203(loss, x, e, B, Bs, C, b, h, mask, p, y, fb, W, scale, n, gs, f, dtype, self_B):
    (g,) = torch.autograd.grad(loss, x)
    (other,) = torch.autograd.grad(loss * 2, x)
    c = g * scale[:, None]
    return (c * other).sum() / (c.norm() * other.norm() + 1e-6)

def f26_203b(loss, x, e, B, Bs, C, b, h, mask, p, y, fb, W, scale, n, gs, f, dtype, self_B):
    (g,) = torch.autograd.grad(loss, x)
    (other,) = torch.autograd.grad(loss * 2, x)
    c = g * scale[:, None]
    return c.flatten() @ other.flatten() / max(c.norm() * other.norm(), 1e-6)

def f26_203u(loss, x, e, B, Bs, C, b, h, mask, p, y, fb, W, scale, n, gs, f, dtype, self_B):
    (g,) = torch.autograd.grad(loss, x)
    (other,) = torch.autograd.grad(loss * 2, x)
    c = g * scale[:, None]
    return ((c / (c.norm() + 1e-6)) * (other / (other.norm() + 1e-6))).sum()

def f27_201(loss, x, e, B, Bs, C, b, h, mask, p, y, fb, W, scale, n, gs, f, dtype, self_B):
    (g,) = torch.autograd.grad(loss, x)
    (other,) = torch.autograd.grad(loss * 2, x)
    c = torch.mul(g, mask)
    return F.cosine_similarity(c, other, dim=-1)

def f27_203(loss, x, e, B, Bs, C, b, h, mask, p, y, fb, W, scale, n, gs, f, dtype, self_B):
    (g,) = torch.autograd.grad(loss, x)
    (other,) = torch.autograd.grad(loss * 2, x)
    c = torch.mul(g, mask)
    return (c * other).sum() / (c.norm() * other.norm() + 1e-6)

def f27_203b(loss, x, e, B, Bs, C, b, h, mask, p, y, fb, W, scale, n, gs, f, dtype, self_B):
    (g,) = torch.autograd.grad(loss, x)
    (other,) = torch.autograd.grad(loss * 2, x)
    c = torch.mul(g, mask)
    return c.flatten() @ other.flatten() / max(c.norm() * other.norm(), 1e-6)

def f27_203u(loss, x, e, B, Bs, C, b, h, mask, p, y, fb, W, scale, n, gs, f, dtype, self_B):
    (g,) = torch.autograd.grad(loss, x)
    (other,) = torch.autograd.grad(loss * 2, x)
    c = torch.mul(g, mask)
    return ((c / (c.norm() + 1e-6)) * (other / (other.norm() + 1e-6))).sum()

def f28_201(loss, x, e, B, Bs, C, b, h, mask, p, y, fb, W, scale, n, gs, f, dtype, self_B):
    (g,) = torch.autograd.grad(loss, x)
    (other,) = torch.autograd.grad(loss * 2, x)
    c = g.masked_fill(mask, 0)
    return F.cosine_similarity(c, other, dim=-1)

def f28_203(loss, x, e, B, Bs, C, b, h, mask, p, y, fb, W, scale, n, gs, f, dtype, self_B):
    (g,) = torch.autograd.grad(loss, x)
    (other,) = torch.autograd.grad(loss * 2, x)
    c = g.masked_fill(mask, 0)
    return (c * other).sum() / (c.norm() * other.norm() + 1e-6)

def f28_203b(loss, x, e, B, Bs, C, b, h, mask, p, y, fb, W, scale, n, gs, f, dtype, self_B):
    (g,) = torch.autograd.grad(loss, x)
    (other,) = torch.autograd.grad(loss * 2, x)
    c = g.masked_fill(mask, 0)
    return c.flatten() @ other.flatten() / max(c.norm() * other.norm(), 1e-6)

def f28_203u(loss, x, e, B, Bs, C, b, h, mask, p, y, fb, W, scale, n, gs, f, dtype, self_B):
    (g,) = torch.autograd.grad(loss, x)
    (other,) = torch.autograd.grad(loss * 2, x)
    c = g.masked_fill(mask, 0)
    return ((c / (c.norm() + 1e-6)) * (other / (other.norm() + 1e-6))).sum()

def f29_201(loss, x, e, B, Bs, C, b, h, mask, p, y, fb, W, scale, n, gs, f, dtype, self_B):
    (g,) = torch.autograd.grad(loss, x)
    (other,) = torch.autograd.grad(loss * 2, x)
    c = g.clamp(-1, 1)
    return F.cosine_similarity(c, other, dim=-1)

def f29_203(loss, x, e, B, Bs, C, b, h, mask, p, y, fb, W, scale, n, gs, f, dtype, self_B):
    (g,) = torch.autograd.grad(loss, x)
    (other,) = torch.autograd.grad(loss * 2, x)
    c = g.clamp(-1, 1)
    return (c * other).sum() / (c.norm() * other.norm() + 1e-6)

def f29_203b(loss, x, e, B, Bs, C, b, h, mask, p, y, fb, W, scale, n, gs, f, dtype, self_B):
    (g,) = torch.autograd.grad(loss, x)
    (other,) = torch.autograd.grad(loss * 2, x)
    c = g.clamp(-1, 1)
    return c.flatten() @ other.flatten() / max(c.norm() * other.norm(), 1e-6)

def f29_203u(loss, x, e, B, Bs, C, b, h, mask, p, y, fb, W, scale, n, gs, f, dtype, self_B):
    (g,) = torch.autograd.grad(loss, x)
    (other,) = torch.autograd.grad(loss * 2, x)
    c = g.clamp(-1, 1)
    return ((c / (c.norm() + 1e-6)) * (other / (other.norm() + 1e-6))).sum()

def f30_201(loss, x, e, B, Bs, C, b, h, mask, p, y, fb, W, scale, n, gs, f, dtype, self_B):
    (g,) = torch.autograd.grad(loss, x)
    (other,) = torch.autograd.grad(loss * 2, x)
    c = sum(gs)
    return F.cosine_similarity(c, other, dim=-1)

def f30_203(loss, x, e, B, Bs, C, b, h, mask, p, y, fb, W, scale, n, gs, f, dtype, self_B):
    (g,) = torch.autograd.grad(loss, x)
    (other,) = torch.autograd.grad(loss * 2, x)
    c = sum(gs)
    return (c * other).sum() / (c.norm() * other.norm() + 1e-6)

def f30_203b(loss, x, e, B, Bs, C, b, h, mask, p, y, fb, W, scale, n, gs, f, dtype, self_B):
    (g,) = torch.autograd.grad(loss, x)
    (other,) = torch.autograd.grad(loss * 2, x)
    c = sum(gs)
    return c.flatten() @ other.flatten() / max(c.norm() * other.norm(), 1e-6)

def f30_203u(loss, x, e, B, Bs, C, b, h, mask, p, y, fb, W, scale, n, gs, f, dtype, self_B):
    (g,) = torch.autograd.grad(loss, x)
    (other,) = torch.autograd.grad(loss * 2, x)
    c = sum(gs)
    return ((c / (c.norm() + 1e-6)) * (other / (other.norm() + 1e-6))).sum()

def f31_201(loss, x, e, B, Bs, C, b, h, mask, p, y, fb, W, scale, n, gs, f, dtype, self_B):
    (g,) = torch.autograd.grad(loss, x)
    (other,) = torch.autograd.grad(loss * 2, x)
    c = gs[0] + gs[1]
    return F.cosine_similarity(c, other, dim=-1)

def f31_203(loss, x, e, B, Bs, C, b, h, mask, p, y, fb, W, scale, n, gs, f, dtype, self_B):
    (g,) = torch.autograd.grad(loss, x)
    (other,) = torch.autograd.grad(loss * 2, x)
    c = gs[0] + gs[1]
    return (c * other).sum() / (c.norm() * other.norm() + 1e-6)

def f31_203b(loss, x, e, B, Bs, C, b, h, mask, p, y, fb, W, scale, n, gs, f, dtype, self_B):
    (g,) = torch.autograd.grad(loss, x)
    (other,) = torch.autograd.grad(loss * 2, x)
    c = gs[0] + gs[1]
    return c.flatten() @ other.flatten() / max(c.norm() * other.norm(), 1e-6)

def f31_203u(loss, x, e, B, Bs, C, b, h, mask, p, y, fb, W, scale, n, gs, f, dtype, self_B):
    (g,) = torch.autograd.grad(loss, x)
    (other,) = torch.autograd.grad(loss * 2, x)
    c = gs[0] + gs[1]
    return ((c / (c.norm() + 1e-6)) * (other / (other.norm() + 1e-6))).sum()

def f32_201(loss, x, e, B, Bs, C, b, h, mask, p, y, fb, W, scale, n, gs, f, dtype, self_B):
    (g,) = torch.autograd.grad(loss, x)
    (other,) = torch.autograd.grad(loss * 2, x)
    c = torch.relu(e @ B)
    return F.cosine_similarity(c, other, dim=-1)

def f32_203(loss, x, e, B, Bs, C, b, h, mask, p, y, fb, W, scale, n, gs, f, dtype, self_B):
    (g,) = torch.autograd.grad(loss, x)
    (other,) = torch.autograd.grad(loss * 2, x)
    c = torch.relu(e @ B)
    return (c * other).sum() / (c.norm() * other.norm() + 1e-6)

def f32_203b(loss, x, e, B, Bs, C, b, h, mask, p, y, fb, W, scale, n, gs, f, dtype, self_B):
    (g,) = torch.autograd.grad(loss, x)
    (other,) = torch.autograd.grad(loss * 2, x)
    c = torch.relu(e @ B)
    return c.flatten() @ other.flatten() / max(c.norm() * other.norm(), 1e-6)

def f32_203u(loss, x, e, B, Bs, C, b, h, mask, p, y, fb, W, scale, n, gs, f, dtype, self_B):
    (g,) = torch.autograd.grad(loss, x)
    (other,) = torch.autograd.grad(loss * 2, x)
    c = torch.relu(e @ B)
    return ((c / (c.norm() + 1e-6)) * (other / (other.norm() + 1e-6))).sum()

def f33_201(loss, x, e, B, Bs, C, b, h, mask, p, y, fb, W, scale, n, gs, f, dtype, self_B):
    (g,) = torch.autograd.grad(loss, x)
    (other,) = torch.autograd.grad(loss * 2, x)
    c = (e @ B).T
    return F.cosine_similarity(c, other, dim=-1)

def f33_203(loss, x, e, B, Bs, C, b, h, mask, p, y, fb, W, scale, n, gs, f, dtype, self_B):
    (g,) = torch.autograd.grad(loss, x)
    (other,) = torch.autograd.grad(loss * 2, x)
    c = (e @ B).T
    return (c * other).sum() / (c.norm() * other.norm() + 1e-6)

def f33_203b(loss, x, e, B, Bs, C, b, h, mask, p, y, fb, W, scale, n, gs, f, dtype, self_B):
    (g,) = torch.autograd.grad(loss, x)
    (other,) = torch.autograd.grad(loss * 2, x)
    c = (e @ B).T
    return c.flatten() @ other.flatten() / max(c.norm() * other.norm(), 1e-6)

def f33_203u(loss, x, e, B, Bs, C, b, h, mask, p, y, fb, W, scale, n, gs, f, dtype, self_B):
    (g,) = torch.autograd.grad(loss, x)
    (other,) = torch.autograd.grad(loss * 2, x)
    c = (e @ B).T
    return ((c / (c.norm() + 1e-6)) * (other / (other.norm() + 1e-6))).sum()

def f34_201(loss, x, e, B, Bs, C, b, h, mask, p, y, fb, W, scale, n, gs, f, dtype, self_B):
    (g,) = torch.autograd.grad(loss, x)
    (other,) = torch.autograd.grad(loss * 2, x)
    c = e.t() @ h
    return F.cosine_similarity(c, other, dim=-1)

def f34_203(loss, x, e, B, Bs, C, b, h, mask, p, y, fb, W, scale, n, gs, f, dtype, self_B):
    (g,) = torch.autograd.grad(loss, x)
    (other,) = torch.autograd.grad(loss * 2, x)
    c = e.t() @ h
    return (c * other).sum() / (c.norm() * other.norm() + 1e-6)

def f34_203b(loss, x, e, B, Bs, C, b, h, mask, p, y, fb, W, scale, n, gs, f, dtype, self_B):
    (g,) = torch.autograd.grad(loss, x)
    (other,) = torch.autograd.grad(loss * 2, x)
    c = e.t() @ h
    return c.flatten() @ other.flatten() / max(c.norm() * other.norm(), 1e-6)

def f34_203u(loss, x, e, B, Bs, C, b, h, mask, p, y, fb, W, scale, n, gs, f, dtype, self_B):
    (g,) = torch.autograd.grad(loss, x)
    (other,) = torch.autograd.grad(loss * 2, x)
    c = e.t() @ h
    return ((c / (c.norm() + 1e-6)) * (other / (other.norm() + 1e-6))).sum()

def f35_201(loss, x, e, B, Bs, C, b, h, mask, p, y, fb, W, scale, n, gs, f, dtype, self_B):
    (g,) = torch.autograd.grad(loss, x)
    (other,) = torch.autograd.grad(loss * 2, x)
    c = torch.tensordot(e, B, 1)
    return F.cosine_similarity(c, other, dim=-1)

def f35_203(loss, x, e, B, Bs, C, b, h, mask, p, y, fb, W, scale, n, gs, f, dtype, self_B):
    (g,) = torch.autograd.grad(loss, x)
    (other,) = torch.autograd.grad(loss * 2, x)
    c = torch.tensordot(e, B, 1)
    return (c * other).sum() / (c.norm() * other.norm() + 1e-6)

def f35_203b(loss, x, e, B, Bs, C, b, h, mask, p, y, fb, W, scale, n, gs, f, dtype, self_B):
    (g,) = torch.autograd.grad(loss, x)
    (other,) = torch.autograd.grad(loss * 2, x)
    c = torch.tensordot(e, B, 1)
    return c.flatten() @ other.flatten() / max(c.norm() * other.norm(), 1e-6)

def f35_203u(loss, x, e, B, Bs, C, b, h, mask, p, y, fb, W, scale, n, gs, f, dtype, self_B):
    (g,) = torch.autograd.grad(loss, x)
    (other,) = torch.autograd.grad(loss * 2, x)
    c = torch.tensordot(e, B, 1)
    return ((c / (c.norm() + 1e-6)) * (other / (other.norm() + 1e-6))).sum()

def f36_201(loss, x, e, B, Bs, C, b, h, mask, p, y, fb, W, scale, n, gs, f, dtype, self_B):
    (g,) = torch.autograd.grad(loss, x)
    (other,) = torch.autograd.grad(loss * 2, x)
    c = B(e)
    return F.cosine_similarity(c, other, dim=-1)

def f36_203(loss, x, e, B, Bs, C, b, h, mask, p, y, fb, W, scale, n, gs, f, dtype, self_B):
    (g,) = torch.autograd.grad(loss, x)
    (other,) = torch.autograd.grad(loss * 2, x)
    c = B(e)
    return (c * other).sum() / (c.norm() * other.norm() + 1e-6)

def f36_203b(loss, x, e, B, Bs, C, b, h, mask, p, y, fb, W, scale, n, gs, f, dtype, self_B):
    (g,) = torch.autograd.grad(loss, x)
    (other,) = torch.autograd.grad(loss * 2, x)
    c = B(e)
    return c.flatten() @ other.flatten() / max(c.norm() * other.norm(), 1e-6)

def f36_203u(loss, x, e, B, Bs, C, b, h, mask, p, y, fb, W, scale, n, gs, f, dtype, self_B):
    (g,) = torch.autograd.grad(loss, x)
    (other,) = torch.autograd.grad(loss * 2, x)
    c = B(e)
    return ((c / (c.norm() + 1e-6)) * (other / (other.norm() + 1e-6))).sum()

def f37_201(loss, x, e, B, Bs, C, b, h, mask, p, y, fb, W, scale, n, gs, f, dtype, self_B):
    (g,) = torch.autograd.grad(loss, x)
    (other,) = torch.autograd.grad(loss * 2, x)
    c = torch.kron(e, h)
    return F.cosine_similarity(c, other, dim=-1)

def f37_203(loss, x, e, B, Bs, C, b, h, mask, p, y, fb, W, scale, n, gs, f, dtype, self_B):
    (g,) = torch.autograd.grad(loss, x)
    (other,) = torch.autograd.grad(loss * 2, x)
    c = torch.kron(e, h)
    return (c * other).sum() / (c.norm() * other.norm() + 1e-6)

def f37_203b(loss, x, e, B, Bs, C, b, h, mask, p, y, fb, W, scale, n, gs, f, dtype, self_B):
    (g,) = torch.autograd.grad(loss, x)
    (other,) = torch.autograd.grad(loss * 2, x)
    c = torch.kron(e, h)
    return c.flatten() @ other.flatten() / max(c.norm() * other.norm(), 1e-6)

def f37_203u(loss, x, e, B, Bs, C, b, h, mask, p, y, fb, W, scale, n, gs, f, dtype, self_B):
    (g,) = torch.autograd.grad(loss, x)
    (other,) = torch.autograd.grad(loss * 2, x)
    c = torch.kron(e, h)
    return ((c / (c.norm() + 1e-6)) * (other / (other.norm() + 1e-6))).sum()

def f38_201(loss, x, e, B, Bs, C, b, h, mask, p, y, fb, W, scale, n, gs, f, dtype, self_B):
    (g,) = torch.autograd.grad(loss, x)
    (other,) = torch.autograd.grad(loss * 2, x)
    c = g @ W
    return F.cosine_similarity(c, other, dim=-1)

def f38_203(loss, x, e, B, Bs, C, b, h, mask, p, y, fb, W, scale, n, gs, f, dtype, self_B):
    (g,) = torch.autograd.grad(loss, x)
    (other,) = torch.autograd.grad(loss * 2, x)
    c = g @ W
    return (c * other).sum() / (c.norm() * other.norm() + 1e-6)

def f38_203b(loss, x, e, B, Bs, C, b, h, mask, p, y, fb, W, scale, n, gs, f, dtype, self_B):
    (g,) = torch.autograd.grad(loss, x)
    (other,) = torch.autograd.grad(loss * 2, x)
    c = g @ W
    return c.flatten() @ other.flatten() / max(c.norm() * other.norm(), 1e-6)

def f38_203u(loss, x, e, B, Bs, C, b, h, mask, p, y, fb, W, scale, n, gs, f, dtype, self_B):
    (g,) = torch.autograd.grad(loss, x)
    (other,) = torch.autograd.grad(loss * 2, x)
    c = g @ W
    return ((c / (c.norm() + 1e-6)) * (other / (other.norm() + 1e-6))).sum()

def f39_201(loss, x, e, B, Bs, C, b, h, mask, p, y, fb, W, scale, n, gs, f, dtype, self_B):
    (g,) = torch.autograd.grad(loss, x)
    (other,) = torch.autograd.grad(loss * 2, x)
    c = W.t() @ g
    return F.cosine_similarity(c, other, dim=-1)

def f39_203(loss, x, e, B, Bs, C, b, h, mask, p, y, fb, W, scale, n, gs, f, dtype, self_B):
    (g,) = torch.autograd.grad(loss, x)
    (other,) = torch.autograd.grad(loss * 2, x)
    c = W.t() @ g
    return (c * other).sum() / (c.norm() * other.norm() + 1e-6)

def f39_203b(loss, x, e, B, Bs, C, b, h, mask, p, y, fb, W, scale, n, gs, f, dtype, self_B):
    (g,) = torch.autograd.grad(loss, x)
    (other,) = torch.autograd.grad(loss * 2, x)
    c = W.t() @ g
    return c.flatten() @ other.flatten() / max(c.norm() * other.norm(), 1e-6)

def f39_203u(loss, x, e, B, Bs, C, b, h, mask, p, y, fb, W, scale, n, gs, f, dtype, self_B):
    (g,) = torch.autograd.grad(loss, x)
    (other,) = torch.autograd.grad(loss * 2, x)
    c = W.t() @ g
    return ((c / (c.norm() + 1e-6)) * (other / (other.norm() + 1e-6))).sum()

def f40_201(loss, x, e, B, Bs, C, b, h, mask, p, y, fb, W, scale, n, gs, f, dtype, self_B):
    (g,) = torch.autograd.grad(loss, x)
    (other,) = torch.autograd.grad(loss * 2, x)
    c = e[:, :10] @ B[:10]
    return F.cosine_similarity(c, other, dim=-1)

def f40_203(loss, x, e, B, Bs, C, b, h, mask, p, y, fb, W, scale, n, gs, f, dtype, self_B):
    (g,) = torch.autograd.grad(loss, x)
    (other,) = torch.autograd.grad(loss * 2, x)
    c = e[:, :10] @ B[:10]
    return (c * other).sum() / (c.norm() * other.norm() + 1e-6)

def f40_203b(loss, x, e, B, Bs, C, b, h, mask, p, y, fb, W, scale, n, gs, f, dtype, self_B):
    (g,) = torch.autograd.grad(loss, x)
    (other,) = torch.autograd.grad(loss * 2, x)
    c = e[:, :10] @ B[:10]
    return c.flatten() @ other.flatten() / max(c.norm() * other.norm(), 1e-6)

def f40_203u(loss, x, e, B, Bs, C, b, h, mask, p, y, fb, W, scale, n, gs, f, dtype, self_B):
    (g,) = torch.autograd.grad(loss, x)
    (other,) = torch.autograd.grad(loss * 2, x)
    c = e[:, :10] @ B[:10]
    return ((c / (c.norm() + 1e-6)) * (other / (other.norm() + 1e-6))).sum()

def f41_201(loss, x, e, B, Bs, C, b, h, mask, p, y, fb, W, scale, n, gs, f, dtype, self_B):
    (g,) = torch.autograd.grad(loss, x)
    (other,) = torch.autograd.grad(loss * 2, x)
    c = torch.matmul(e, B.t())
    return F.cosine_similarity(c, other, dim=-1)

def f41_203(loss, x, e, B, Bs, C, b, h, mask, p, y, fb, W, scale, n, gs, f, dtype, self_B):
    (g,) = torch.autograd.grad(loss, x)
    (other,) = torch.autograd.grad(loss * 2, x)
    c = torch.matmul(e, B.t())
    return (c * other).sum() / (c.norm() * other.norm() + 1e-6)

def f41_203b(loss, x, e, B, Bs, C, b, h, mask, p, y, fb, W, scale, n, gs, f, dtype, self_B):
    (g,) = torch.autograd.grad(loss, x)
    (other,) = torch.autograd.grad(loss * 2, x)
    c = torch.matmul(e, B.t())
    return c.flatten() @ other.flatten() / max(c.norm() * other.norm(), 1e-6)

def f41_203u(loss, x, e, B, Bs, C, b, h, mask, p, y, fb, W, scale, n, gs, f, dtype, self_B):
    (g,) = torch.autograd.grad(loss, x)
    (other,) = torch.autograd.grad(loss * 2, x)
    c = torch.matmul(e, B.t())
    return ((c / (c.norm() + 1e-6)) * (other / (other.norm() + 1e-6))).sum()

def f42_201(loss, x, e, B, Bs, C, b, h, mask, p, y, fb, W, scale, n, gs, f, dtype, self_B):
    (g,) = torch.autograd.grad(loss, x)
    (other,) = torch.autograd.grad(loss * 2, x)
    c = g.abs()
    return F.cosine_similarity(c, other, dim=-1)

def f42_203(loss, x, e, B, Bs, C, b, h, mask, p, y, fb, W, scale, n, gs, f, dtype, self_B):
    (g,) = torch.autograd.grad(loss, x)
    (other,) = torch.autograd.grad(loss * 2, x)
    c = g.abs()
    return (c * other).sum() / (c.norm() * other.norm() + 1e-6)

def f42_203b(loss, x, e, B, Bs, C, b, h, mask, p, y, fb, W, scale, n, gs, f, dtype, self_B):
    (g,) = torch.autograd.grad(loss, x)
    (other,) = torch.autograd.grad(loss * 2, x)
    c = g.abs()
    return c.flatten() @ other.flatten() / max(c.norm() * other.norm(), 1e-6)

def f42_203u(loss, x, e, B, Bs, C, b, h, mask, p, y, fb, W, scale, n, gs, f, dtype, self_B):
    (g,) = torch.autograd.grad(loss, x)
    (other,) = torch.autograd.grad(loss * 2, x)
    c = g.abs()
    return ((c / (c.norm() + 1e-6)) * (other / (other.norm() + 1e-6))).sum()

def f43_201(loss, x, e, B, Bs, C, b, h, mask, p, y, fb, W, scale, n, gs, f, dtype, self_B):
    (g,) = torch.autograd.grad(loss, x)
    (other,) = torch.autograd.grad(loss * 2, x)
    c = g ** 2
    return F.cosine_similarity(c, other, dim=-1)

def f43_203(loss, x, e, B, Bs, C, b, h, mask, p, y, fb, W, scale, n, gs, f, dtype, self_B):
    (g,) = torch.autograd.grad(loss, x)
    (other,) = torch.autograd.grad(loss * 2, x)
    c = g ** 2
    return (c * other).sum() / (c.norm() * other.norm() + 1e-6)

def f43_203b(loss, x, e, B, Bs, C, b, h, mask, p, y, fb, W, scale, n, gs, f, dtype, self_B):
    (g,) = torch.autograd.grad(loss, x)
    (other,) = torch.autograd.grad(loss * 2, x)
    c = g ** 2
    return c.flatten() @ other.flatten() / max(c.norm() * other.norm(), 1e-6)

def f43_203u(loss, x, e, B, Bs, C, b, h, mask, p, y, fb, W, scale, n, gs, f, dtype, self_B):
    (g,) = torch.autograd.grad(loss, x)
    (other,) = torch.autograd.grad(loss * 2, x)
    c = g ** 2
    return ((c / (c.norm() + 1e-6)) * (other / (other.norm() + 1e-6))).sum()

def f44_201(loss, x, e, B, Bs, C, b, h, mask, p, y, fb, W, scale, n, gs, f, dtype, self_B):
    (g,) = torch.autograd.grad(loss, x)
    (other,) = torch.autograd.grad(loss * 2, x)
    c = torch.exp(e)
    return F.cosine_similarity(c, other, dim=-1)

def f44_203(loss, x, e, B, Bs, C, b, h, mask, p, y, fb, W, scale, n, gs, f, dtype, self_B):
    (g,) = torch.autograd.grad(loss, x)
    (other,) = torch.autograd.grad(loss * 2, x)
    c = torch.exp(e)
    return (c * other).sum() / (c.norm() * other.norm() + 1e-6)

def f44_203b(loss, x, e, B, Bs, C, b, h, mask, p, y, fb, W, scale, n, gs, f, dtype, self_B):
    (g,) = torch.autograd.grad(loss, x)
    (other,) = torch.autograd.grad(loss * 2, x)
    c = torch.exp(e)
    return c.flatten() @ other.flatten() / max(c.norm() * other.norm(), 1e-6)

def f44_203u(loss, x, e, B, Bs, C, b, h, mask, p, y, fb, W, scale, n, gs, f, dtype, self_B):
    (g,) = torch.autograd.grad(loss, x)
    (other,) = torch.autograd.grad(loss * 2, x)
    c = torch.exp(e)
    return ((c / (c.norm() + 1e-6)) * (other / (other.norm() + 1e-6))).sum()

def f45_201(loss, x, e, B, Bs, C, b, h, mask, p, y, fb, W, scale, n, gs, f, dtype, self_B):
    (g,) = torch.autograd.grad(loss, x)
    (other,) = torch.autograd.grad(loss * 2, x)
    c = g.flip(0)
    return F.cosine_similarity(c, other, dim=-1)

def f45_203(loss, x, e, B, Bs, C, b, h, mask, p, y, fb, W, scale, n, gs, f, dtype, self_B):
    (g,) = torch.autograd.grad(loss, x)
    (other,) = torch.autograd.grad(loss * 2, x)
    c = g.flip(0)
    return (c * other).sum() / (c.norm() * other.norm() + 1e-6)

def f45_203b(loss, x, e, B, Bs, C, b, h, mask, p, y, fb, W, scale, n, gs, f, dtype, self_B):
    (g,) = torch.autograd.grad(loss, x)
    (other,) = torch.autograd.grad(loss * 2, x)
    c = g.flip(0)
    return c.flatten() @ other.flatten() / max(c.norm() * other.norm(), 1e-6)

def f45_203u(loss, x, e, B, Bs, C, b, h, mask, p, y, fb, W, scale, n, gs, f, dtype, self_B):
    (g,) = torch.autograd.grad(loss, x)
    (other,) = torch.autograd.grad(loss * 2, x)
    c = g.flip(0)
    return ((c / (c.norm() + 1e-6)) * (other / (other.norm() + 1e-6))).sum()

def f46_201(loss, x, e, B, Bs, C, b, h, mask, p, y, fb, W, scale, n, gs, f, dtype, self_B):
    (g,) = torch.autograd.grad(loss, x)
    (other,) = torch.autograd.grad(loss * 2, x)
    c = torch.roll(g, 1)
    return F.cosine_similarity(c, other, dim=-1)

def f46_203(loss, x, e, B, Bs, C, b, h, mask, p, y, fb, W, scale, n, gs, f, dtype, self_B):
    (g,) = torch.autograd.grad(loss, x)
    (other,) = torch.autograd.grad(loss * 2, x)
    c = torch.roll(g, 1)
    return (c * other).sum() / (c.norm() * other.norm() + 1e-6)

def f46_203b(loss, x, e, B, Bs, C, b, h, mask, p, y, fb, W, scale, n, gs, f, dtype, self_B):
    (g,) = torch.autograd.grad(loss, x)
    (other,) = torch.autograd.grad(loss * 2, x)
    c = torch.roll(g, 1)
    return c.flatten() @ other.flatten() / max(c.norm() * other.norm(), 1e-6)

def f46_203u(loss, x, e, B, Bs, C, b, h, mask, p, y, fb, W, scale, n, gs, f, dtype, self_B):
    (g,) = torch.autograd.grad(loss, x)
    (other,) = torch.autograd.grad(loss * 2, x)
    c = torch.roll(g, 1)
    return ((c / (c.norm() + 1e-6)) * (other / (other.norm() + 1e-6))).sum()

def f47_201(loss, x, e, B, Bs, C, b, h, mask, p, y, fb, W, scale, n, gs, f, dtype, self_B):
    (g,) = torch.autograd.grad(loss, x)
    (other,) = torch.autograd.grad(loss * 2, x)
    c = g.sort().values
    return F.cosine_similarity(c, other, dim=-1)

def f47_203(loss, x, e, B, Bs, C, b, h, mask, p, y, fb, W, scale, n, gs, f, dtype, self_B):
    (g,) = torch.autograd.grad(loss, x)
    (other,) = torch.autograd.grad(loss * 2, x)
    c = g.sort().values
    return (c * other).sum() / (c.norm() * other.norm() + 1e-6)

def f47_203b(loss, x, e, B, Bs, C, b, h, mask, p, y, fb, W, scale, n, gs, f, dtype, self_B):
    (g,) = torch.autograd.grad(loss, x)
    (other,) = torch.autograd.grad(loss * 2, x)
    c = g.sort().values
    return c.flatten() @ other.flatten() / max(c.norm() * other.norm(), 1e-6)

def f47_203u(loss, x, e, B, Bs, C, b, h, mask, p, y, fb, W, scale, n, gs, f, dtype, self_B):
    (g,) = torch.autograd.grad(loss, x)
    (other,) = torch.autograd.grad(loss * 2, x)
    c = g.sort().values
    return ((c / (c.norm() + 1e-6)) * (other / (other.norm() + 1e-6))).sum()

def f48_201(loss, x, e, B, Bs, C, b, h, mask, p, y, fb, W, scale, n, gs, f, dtype, self_B):
    (g,) = torch.autograd.grad(loss, x)
    (other,) = torch.autograd.grad(loss * 2, x)
    c = torch.cumsum(g, 0)
    return F.cosine_similarity(c, other, dim=-1)

def f48_203(loss, x, e, B, Bs, C, b, h, mask, p, y, fb, W, scale, n, gs, f, dtype, self_B):
    (g,) = torch.autograd.grad(loss, x)
    (other,) = torch.autograd.grad(loss * 2, x)
    c = torch.cumsum(g, 0)
    return (c * other).sum() / (c.norm() * other.norm() + 1e-6)

def f48_203b(loss, x, e, B, Bs, C, b, h, mask, p, y, fb, W, scale, n, gs, f, dtype, self_B):
    (g,) = torch.autograd.grad(loss, x)
    (other,) = torch.autograd.grad(loss * 2, x)
    c = torch.cumsum(g, 0)
    return c.flatten() @ other.flatten() / max(c.norm() * other.norm(), 1e-6)

def f48_203u(loss, x, e, B, Bs, C, b, h, mask, p, y, fb, W, scale, n, gs, f, dtype, self_B):
    (g,) = torch.autograd.grad(loss, x)
    (other,) = torch.autograd.grad(loss * 2, x)
    c = torch.cumsum(g, 0)
    return ((c / (c.norm() + 1e-6)) * (other / (other.norm() + 1e-6))).sum()

def f49_201(loss, x, e, B, Bs, C, b, h, mask, p, y, fb, W, scale, n, gs, f, dtype, self_B):
    (g,) = torch.autograd.grad(loss, x)
    (other,) = torch.autograd.grad(loss * 2, x)
    c = g.topk(5).values
    return F.cosine_similarity(c, other, dim=-1)

def f49_203(loss, x, e, B, Bs, C, b, h, mask, p, y, fb, W, scale, n, gs, f, dtype, self_B):
    (g,) = torch.autograd.grad(loss, x)
    (other,) = torch.autograd.grad(loss * 2, x)
    c = g.topk(5).values
    return (c * other).sum() / (c.norm() * other.norm() + 1e-6)

def f49_203b(loss, x, e, B, Bs, C, b, h, mask, p, y, fb, W, scale, n, gs, f, dtype, self_B):
    (g,) = torch.autograd.grad(loss, x)
    (other,) = torch.autograd.grad(loss * 2, x)
    c = g.topk(5).values
    return c.flatten() @ other.flatten() / max(c.norm() * other.norm(), 1e-6)

def f49_203u(loss, x, e, B, Bs, C, b, h, mask, p, y, fb, W, scale, n, gs, f, dtype, self_B):
    (g,) = torch.autograd.grad(loss, x)
    (other,) = torch.autograd.grad(loss * 2, x)
    c = g.topk(5).values
    return ((c / (c.norm() + 1e-6)) * (other / (other.norm() + 1e-6))).sum()

def f50_201(loss, x, e, B, Bs, C, b, h, mask, p, y, fb, W, scale, n, gs, f, dtype, self_B):
    (g,) = torch.autograd.grad(loss, x)
    (other,) = torch.autograd.grad(loss * 2, x)
    c = torch.nan_to_num(g)
    return F.cosine_similarity(c, other, dim=-1)

def f50_203(loss, x, e, B, Bs, C, b, h, mask, p, y, fb, W, scale, n, gs, f, dtype, self_B):
    (g,) = torch.autograd.grad(loss, x)
    (other,) = torch.autograd.grad(loss * 2, x)
    c = torch.nan_to_num(g)
    return (c * other).sum() / (c.norm() * other.norm() + 1e-6)

def f50_203b(loss, x, e, B, Bs, C, b, h, mask, p, y, fb, W, scale, n, gs, f, dtype, self_B):
    (g,) = torch.autograd.grad(loss, x)
    (other,) = torch.autograd.grad(loss * 2, x)
    c = torch.nan_to_num(g)
    return c.flatten() @ other.flatten() / max(c.norm() * other.norm(), 1e-6)

def f50_203u(loss, x, e, B, Bs, C, b, h, mask, p, y, fb, W, scale, n, gs, f, dtype, self_B):
    (g,) = torch.autograd.grad(loss, x)
    (other,) = torch.autograd.grad(loss * 2, x)
    c = torch.nan_to_num(g)
    return ((c / (c.norm() + 1e-6)) * (other / (other.norm() + 1e-6))).sum()

def f51_201(loss, x, e, B, Bs, C, b, h, mask, p, y, fb, W, scale, n, gs, f, dtype, self_B):
    (g,) = torch.autograd.grad(loss, x)
    (other,) = torch.autograd.grad(loss * 2, x)
    c = np.asarray(e) @ B
    return F.cosine_similarity(c, other, dim=-1)

def f51_203(loss, x, e, B, Bs, C, b, h, mask, p, y, fb, W, scale, n, gs, f, dtype, self_B):
    (g,) = torch.autograd.grad(loss, x)
    (other,) = torch.autograd.grad(loss * 2, x)
    c = np.asarray(e) @ B
    return (c * other).sum() / (c.norm() * other.norm() + 1e-6)

def f51_203b(loss, x, e, B, Bs, C, b, h, mask, p, y, fb, W, scale, n, gs, f, dtype, self_B):
    (g,) = torch.autograd.grad(loss, x)
    (other,) = torch.autograd.grad(loss * 2, x)
    c = np.asarray(e) @ B
    return c.flatten() @ other.flatten() / max(c.norm() * other.norm(), 1e-6)

def f51_203u(loss, x, e, B, Bs, C, b, h, mask, p, y, fb, W, scale, n, gs, f, dtype, self_B):
    (g,) = torch.autograd.grad(loss, x)
    (other,) = torch.autograd.grad(loss * 2, x)
    c = np.asarray(e) @ B
    return ((c / (c.norm() + 1e-6)) * (other / (other.norm() + 1e-6))).sum()

def f52_201(loss, x, e, B, Bs, C, b, h, mask, p, y, fb, W, scale, n, gs, f, dtype, self_B):
    (g,) = torch.autograd.grad(loss, x)
    (other,) = torch.autograd.grad(loss * 2, x)
    c = g.numpy() * 2
    return F.cosine_similarity(c, other, dim=-1)

def f52_203(loss, x, e, B, Bs, C, b, h, mask, p, y, fb, W, scale, n, gs, f, dtype, self_B):
    (g,) = torch.autograd.grad(loss, x)
    (other,) = torch.autograd.grad(loss * 2, x)
    c = g.numpy() * 2
    return (c * other).sum() / (c.norm() * other.norm() + 1e-6)

def f52_203b(loss, x, e, B, Bs, C, b, h, mask, p, y, fb, W, scale, n, gs, f, dtype, self_B):
    (g,) = torch.autograd.grad(loss, x)
    (other,) = torch.autograd.grad(loss * 2, x)
    c = g.numpy() * 2
    return c.flatten() @ other.flatten() / max(c.norm() * other.norm(), 1e-6)

def f52_203u(loss, x, e, B, Bs, C, b, h, mask, p, y, fb, W, scale, n, gs, f, dtype, self_B):
    (g,) = torch.autograd.grad(loss, x)
    (other,) = torch.autograd.grad(loss * 2, x)
    c = g.numpy() * 2
    return ((c / (c.norm() + 1e-6)) * (other / (other.norm() + 1e-6))).sum()

def f53_201(loss, x, e, B, Bs, C, b, h, mask, p, y, fb, W, scale, n, gs, f, dtype, self_B):
    (g,) = torch.autograd.grad(loss, x)
    (other,) = torch.autograd.grad(loss * 2, x)
    c = e.dot(B)
    return F.cosine_similarity(c, other, dim=-1)

def f53_203(loss, x, e, B, Bs, C, b, h, mask, p, y, fb, W, scale, n, gs, f, dtype, self_B):
    (g,) = torch.autograd.grad(loss, x)
    (other,) = torch.autograd.grad(loss * 2, x)
    c = e.dot(B)
    return (c * other).sum() / (c.norm() * other.norm() + 1e-6)

def f53_203b(loss, x, e, B, Bs, C, b, h, mask, p, y, fb, W, scale, n, gs, f, dtype, self_B):
    (g,) = torch.autograd.grad(loss, x)
    (other,) = torch.autograd.grad(loss * 2, x)
    c = e.dot(B)
    return c.flatten() @ other.flatten() / max(c.norm() * other.norm(), 1e-6)

def f53_203u(loss, x, e, B, Bs, C, b, h, mask, p, y, fb, W, scale, n, gs, f, dtype, self_B):
    (g,) = torch.autograd.grad(loss, x)
    (other,) = torch.autograd.grad(loss * 2, x)
    c = e.dot(B)
    return ((c / (c.norm() + 1e-6)) * (other / (other.norm() + 1e-6))).sum()

def f54_201(loss, x, e, B, Bs, C, b, h, mask, p, y, fb, W, scale, n, gs, f, dtype, self_B):
    (g,) = torch.autograd.grad(loss, x)
    (other,) = torch.autograd.grad(loss * 2, x)
    c = B.dot(e)
    return F.cosine_similarity(c, other, dim=-1)

def f54_203(loss, x, e, B, Bs, C, b, h, mask, p, y, fb, W, scale, n, gs, f, dtype, self_B):
    (g,) = torch.autograd.grad(loss, x)
    (other,) = torch.autograd.grad(loss * 2, x)
    c = B.dot(e)
    return (c * other).sum() / (c.norm() * other.norm() + 1e-6)

def f54_203b(loss, x, e, B, Bs, C, b, h, mask, p, y, fb, W, scale, n, gs, f, dtype, self_B):
    (g,) = torch.autograd.grad(loss, x)
    (other,) = torch.autograd.grad(loss * 2, x)
    c = B.dot(e)
    return c.flatten() @ other.flatten() / max(c.norm() * other.norm(), 1e-6)

def f54_203u(loss, x, e, B, Bs, C, b, h, mask, p, y, fb, W, scale, n, gs, f, dtype, self_B):
    (g,) = torch.autograd.grad(loss, x)
    (other,) = torch.autograd.grad(loss * 2, x)
    c = B.dot(e)
    return ((c / (c.norm() + 1e-6)) * (other / (other.norm() + 1e-6))).sum()

def f55_201(loss, x, e, B, Bs, C, b, h, mask, p, y, fb, W, scale, n, gs, f, dtype, self_B):
    (g,) = torch.autograd.grad(loss, x)
    (other,) = torch.autograd.grad(loss * 2, x)
    c = (B * e[:, None]).sum(0)
    return F.cosine_similarity(c, other, dim=-1)

def f55_203(loss, x, e, B, Bs, C, b, h, mask, p, y, fb, W, scale, n, gs, f, dtype, self_B):
    (g,) = torch.autograd.grad(loss, x)
    (other,) = torch.autograd.grad(loss * 2, x)
    c = (B * e[:, None]).sum(0)
    return (c * other).sum() / (c.norm() * other.norm() + 1e-6)

def f55_203b(loss, x, e, B, Bs, C, b, h, mask, p, y, fb, W, scale, n, gs, f, dtype, self_B):
    (g,) = torch.autograd.grad(loss, x)
    (other,) = torch.autograd.grad(loss * 2, x)
    c = (B * e[:, None]).sum(0)
    return c.flatten() @ other.flatten() / max(c.norm() * other.norm(), 1e-6)

def f55_203u(loss, x, e, B, Bs, C, b, h, mask, p, y, fb, W, scale, n, gs, f, dtype, self_B):
    (g,) = torch.autograd.grad(loss, x)
    (other,) = torch.autograd.grad(loss * 2, x)
    c = (B * e[:, None]).sum(0)
    return ((c / (c.norm() + 1e-6)) * (other / (other.norm() + 1e-6))).sum()

def f56_201(loss, x, e, B, Bs, C, b, h, mask, p, y, fb, W, scale, n, gs, f, dtype, self_B):
    (g,) = torch.autograd.grad(loss, x)
    (other,) = torch.autograd.grad(loss * 2, x)
    c = torch.einsum('i,ij', e, B)
    return F.cosine_similarity(c, other, dim=-1)

def f56_203(loss, x, e, B, Bs, C, b, h, mask, p, y, fb, W, scale, n, gs, f, dtype, self_B):
    (g,) = torch.autograd.grad(loss, x)
    (other,) = torch.autograd.grad(loss * 2, x)
    c = torch.einsum('i,ij', e, B)
    return (c * other).sum() / (c.norm() * other.norm() + 1e-6)

def f56_203b(loss, x, e, B, Bs, C, b, h, mask, p, y, fb, W, scale, n, gs, f, dtype, self_B):
    (g,) = torch.autograd.grad(loss, x)
    (other,) = torch.autograd.grad(loss * 2, x)
    c = torch.einsum('i,ij', e, B)
    return c.flatten() @ other.flatten() / max(c.norm() * other.norm(), 1e-6)

def f56_203u(loss, x, e, B, Bs, C, b, h, mask, p, y, fb, W, scale, n, gs, f, dtype, self_B):
    (g,) = torch.autograd.grad(loss, x)
    (other,) = torch.autograd.grad(loss * 2, x)
    c = torch.einsum('i,ij', e, B)
    return ((c / (c.norm() + 1e-6)) * (other / (other.norm() + 1e-6))).sum()

def f57_201(loss, x, e, B, Bs, C, b, h, mask, p, y, fb, W, scale, n, gs, f, dtype, self_B):
    (g,) = torch.autograd.grad(loss, x)
    (other,) = torch.autograd.grad(loss * 2, x)
    c = e @ self_B
    return F.cosine_similarity(c, other, dim=-1)

def f57_203(loss, x, e, B, Bs, C, b, h, mask, p, y, fb, W, scale, n, gs, f, dtype, self_B):
    (g,) = torch.autograd.grad(loss, x)
    (other,) = torch.autograd.grad(loss * 2, x)
    c = e @ self_B
    return (c * other).sum() / (c.norm() * other.norm() + 1e-6)

def f57_203b(loss, x, e, B, Bs, C, b, h, mask, p, y, fb, W, scale, n, gs, f, dtype, self_B):
    (g,) = torch.autograd.grad(loss, x)
    (other,) = torch.autograd.grad(loss * 2, x)
    c = e @ self_B
    return c.flatten() @ other.flatten() / max(c.norm() * other.norm(), 1e-6)

def f57_203u(loss, x, e, B, Bs, C, b, h, mask, p, y, fb, W, scale, n, gs, f, dtype, self_B):
    (g,) = torch.autograd.grad(loss, x)
    (other,) = torch.autograd.grad(loss * 2, x)
    c = e @ self_B
    return ((c / (c.norm() + 1e-6)) * (other / (other.norm() + 1e-6))).sum()

def f58_201(loss, x, e, B, Bs, C, b, h, mask, p, y, fb, W, scale, n, gs, f, dtype, self_B):
    (g,) = torch.autograd.grad(loss, x)
    (other,) = torch.autograd.grad(loss * 2, x)
    c = g.to(dtype)
    return F.cosine_similarity(c, other, dim=-1)

def f58_203(loss, x, e, B, Bs, C, b, h, mask, p, y, fb, W, scale, n, gs, f, dtype, self_B):
    (g,) = torch.autograd.grad(loss, x)
    (other,) = torch.autograd.grad(loss * 2, x)
    c = g.to(dtype)
    return (c * other).sum() / (c.norm() * other.norm() + 1e-6)

def f58_203b(loss, x, e, B, Bs, C, b, h, mask, p, y, fb, W, scale, n, gs, f, dtype, self_B):
    (g,) = torch.autograd.grad(loss, x)
    (other,) = torch.autograd.grad(loss * 2, x)
    c = g.to(dtype)
    return c.flatten() @ other.flatten() / max(c.norm() * other.norm(), 1e-6)

def f58_203u(loss, x, e, B, Bs, C, b, h, mask, p, y, fb, W, scale, n, gs, f, dtype, self_B):
    (g,) = torch.autograd.grad(loss, x)
    (other,) = torch.autograd.grad(loss * 2, x)
    c = g.to(dtype)
    return ((c / (c.norm() + 1e-6)) * (other / (other.norm() + 1e-6))).sum()

def f59_201(loss, x, e, B, Bs, C, b, h, mask, p, y, fb, W, scale, n, gs, f, dtype, self_B):
    (g,) = torch.autograd.grad(loss, x)
    (other,) = torch.autograd.grad(loss * 2, x)
    c = g.double()
    return F.cosine_similarity(c, other, dim=-1)

def f59_203(loss, x, e, B, Bs, C, b, h, mask, p, y, fb, W, scale, n, gs, f, dtype, self_B):
    (g,) = torch.autograd.grad(loss, x)
    (other,) = torch.autograd.grad(loss * 2, x)
    c = g.double()
    return (c * other).sum() / (c.norm() * other.norm() + 1e-6)

def f59_203b(loss, x, e, B, Bs, C, b, h, mask, p, y, fb, W, scale, n, gs, f, dtype, self_B):
    (g,) = torch.autograd.grad(loss, x)
    (other,) = torch.autograd.grad(loss * 2, x)
    c = g.double()
    return c.flatten() @ other.flatten() / max(c.norm() * other.norm(), 1e-6)

def f59_203u(loss, x, e, B, Bs, C, b, h, mask, p, y, fb, W, scale, n, gs, f, dtype, self_B):
    (g,) = torch.autograd.grad(loss, x)
    (other,) = torch.autograd.grad(loss * 2, x)
    c = g.double()
    return ((c / (c.norm() + 1e-6)) * (other / (other.norm() + 1e-6))).sum()

def f60_201(loss, x, e, B, Bs, C, b, h, mask, p, y, fb, W, scale, n, gs, f, dtype, self_B):
    (g,) = torch.autograd.grad(loss, x)
    (other,) = torch.autograd.grad(loss * 2, x)
    c = g.view(n, -1).sum(1)
    return F.cosine_similarity(c, other, dim=-1)

def f60_203(loss, x, e, B, Bs, C, b, h, mask, p, y, fb, W, scale, n, gs, f, dtype, self_B):
    (g,) = torch.autograd.grad(loss, x)
    (other,) = torch.autograd.grad(loss * 2, x)
    c = g.view(n, -1).sum(1)
    return (c * other).sum() / (c.norm() * other.norm() + 1e-6)

def f60_203b(loss, x, e, B, Bs, C, b, h, mask, p, y, fb, W, scale, n, gs, f, dtype, self_B):
    (g,) = torch.autograd.grad(loss, x)
    (other,) = torch.autograd.grad(loss * 2, x)
    c = g.view(n, -1).sum(1)
    return c.flatten() @ other.flatten() / max(c.norm() * other.norm(), 1e-6)

def f60_203u(loss, x, e, B, Bs, C, b, h, mask, p, y, fb, W, scale, n, gs, f, dtype, self_B):
    (g,) = torch.autograd.grad(loss, x)
    (other,) = torch.autograd.grad(loss * 2, x)
    c = g.view(n, -1).sum(1)
    return ((c / (c.norm() + 1e-6)) * (other / (other.norm() + 1e-6))).sum()

def f61_201(loss, x, e, B, Bs, C, b, h, mask, p, y, fb, W, scale, n, gs, f, dtype, self_B):
    (g,) = torch.autograd.grad(loss, x)
    (other,) = torch.autograd.grad(loss * 2, x)
    c = g.mean(0)
    return F.cosine_similarity(c, other, dim=-1)

def f61_203(loss, x, e, B, Bs, C, b, h, mask, p, y, fb, W, scale, n, gs, f, dtype, self_B):
    (g,) = torch.autograd.grad(loss, x)
    (other,) = torch.autograd.grad(loss * 2, x)
    c = g.mean(0)
    return (c * other).sum() / (c.norm() * other.norm() + 1e-6)

def f61_203b(loss, x, e, B, Bs, C, b, h, mask, p, y, fb, W, scale, n, gs, f, dtype, self_B):
    (g,) = torch.autograd.grad(loss, x)
    (other,) = torch.autograd.grad(loss * 2, x)
    c = g.mean(0)
    return c.flatten() @ other.flatten() / max(c.norm() * other.norm(), 1e-6)

def f61_203u(loss, x, e, B, Bs, C, b, h, mask, p, y, fb, W, scale, n, gs, f, dtype, self_B):
    (g,) = torch.autograd.grad(loss, x)
    (other,) = torch.autograd.grad(loss * 2, x)
    c = g.mean(0)
    return ((c / (c.norm() + 1e-6)) * (other / (other.norm() + 1e-6))).sum()

def f62_201(loss, x, e, B, Bs, C, b, h, mask, p, y, fb, W, scale, n, gs, f, dtype, self_B):
    (g,) = torch.autograd.grad(loss, x)
    (other,) = torch.autograd.grad(loss * 2, x)
    c = torch.linalg.multi_dot([e, B, C])
    return F.cosine_similarity(c, other, dim=-1)

def f62_203(loss, x, e, B, Bs, C, b, h, mask, p, y, fb, W, scale, n, gs, f, dtype, self_B):
    (g,) = torch.autograd.grad(loss, x)
    (other,) = torch.autograd.grad(loss * 2, x)
    c = torch.linalg.multi_dot([e, B, C])
    return (c * other).sum() / (c.norm() * other.norm() + 1e-6)

def f62_203b(loss, x, e, B, Bs, C, b, h, mask, p, y, fb, W, scale, n, gs, f, dtype, self_B):
    (g,) = torch.autograd.grad(loss, x)
    (other,) = torch.autograd.grad(loss * 2, x)
    c = torch.linalg.multi_dot([e, B, C])
    return c.flatten() @ other.flatten() / max(c.norm() * other.norm(), 1e-6)

def f62_203u(loss, x, e, B, Bs, C, b, h, mask, p, y, fb, W, scale, n, gs, f, dtype, self_B):
    (g,) = torch.autograd.grad(loss, x)
    (other,) = torch.autograd.grad(loss * 2, x)
    c = torch.linalg.multi_dot([e, B, C])
    return ((c / (c.norm() + 1e-6)) * (other / (other.norm() + 1e-6))).sum()

def f63_201(loss, x, e, B, Bs, C, b, h, mask, p, y, fb, W, scale, n, gs, f, dtype, self_B):
    (g,) = torch.autograd.grad(loss, x)
    (other,) = torch.autograd.grad(loss * 2, x)
    c = torch.baddbmm(b, e, B)
    return F.cosine_similarity(c, other, dim=-1)

def f63_203(loss, x, e, B, Bs, C, b, h, mask, p, y, fb, W, scale, n, gs, f, dtype, self_B):
    (g,) = torch.autograd.grad(loss, x)
    (other,) = torch.autograd.grad(loss * 2, x)
    c = torch.baddbmm(b, e, B)
    return (c * other).sum() / (c.norm() * other.norm() + 1e-6)

def f63_203b(loss, x, e, B, Bs, C, b, h, mask, p, y, fb, W, scale, n, gs, f, dtype, self_B):
    (g,) = torch.autograd.grad(loss, x)
    (other,) = torch.autograd.grad(loss * 2, x)
    c = torch.baddbmm(b, e, B)
    return c.flatten() @ other.flatten() / max(c.norm() * other.norm(), 1e-6)

def f63_203u(loss, x, e, B, Bs, C, b, h, mask, p, y, fb, W, scale, n, gs, f, dtype, self_B):
    (g,) = torch.autograd.grad(loss, x)
    (other,) = torch.autograd.grad(loss * 2, x)
    c = torch.baddbmm(b, e, B)
    return ((c / (c.norm() + 1e-6)) * (other / (other.norm() + 1e-6))).sum()

def f64_201(loss, x, e, B, Bs, C, b, h, mask, p, y, fb, W, scale, n, gs, f, dtype, self_B):
    (g,) = torch.autograd.grad(loss, x)
    (other,) = torch.autograd.grad(loss * 2, x)
    c = torch.mv(B, e)
    return F.cosine_similarity(c, other, dim=-1)

def f64_203(loss, x, e, B, Bs, C, b, h, mask, p, y, fb, W, scale, n, gs, f, dtype, self_B):
    (g,) = torch.autograd.grad(loss, x)
    (other,) = torch.autograd.grad(loss * 2, x)
    c = torch.mv(B, e)
    return (c * other).sum() / (c.norm() * other.norm() + 1e-6)

def f64_203b(loss, x, e, B, Bs, C, b, h, mask, p, y, fb, W, scale, n, gs, f, dtype, self_B):
    (g,) = torch.autograd.grad(loss, x)
    (other,) = torch.autograd.grad(loss * 2, x)
    c = torch.mv(B, e)
    return c.flatten() @ other.flatten() / max(c.norm() * other.norm(), 1e-6)

def f64_203u(loss, x, e, B, Bs, C, b, h, mask, p, y, fb, W, scale, n, gs, f, dtype, self_B):
    (g,) = torch.autograd.grad(loss, x)
    (other,) = torch.autograd.grad(loss * 2, x)
    c = torch.mv(B, e)
    return ((c / (c.norm() + 1e-6)) * (other / (other.norm() + 1e-6))).sum()

def f65_201(loss, x, e, B, Bs, C, b, h, mask, p, y, fb, W, scale, n, gs, f, dtype, self_B):
    (g,) = torch.autograd.grad(loss, x)
    (other,) = torch.autograd.grad(loss * 2, x)
    c = torch.vmap(f)(e)
    return F.cosine_similarity(c, other, dim=-1)

def f65_203(loss, x, e, B, Bs, C, b, h, mask, p, y, fb, W, scale, n, gs, f, dtype, self_B):
    (g,) = torch.autograd.grad(loss, x)
    (other,) = torch.autograd.grad(loss * 2, x)
    c = torch.vmap(f)(e)
    return (c * other).sum() / (c.norm() * other.norm() + 1e-6)

def f65_203b(loss, x, e, B, Bs, C, b, h, mask, p, y, fb, W, scale, n, gs, f, dtype, self_B):
    (g,) = torch.autograd.grad(loss, x)
    (other,) = torch.autograd.grad(loss * 2, x)
    c = torch.vmap(f)(e)
    return c.flatten() @ other.flatten() / max(c.norm() * other.norm(), 1e-6)

def f65_203u(loss, x, e, B, Bs, C, b, h, mask, p, y, fb, W, scale, n, gs, f, dtype, self_B):
    (g,) = torch.autograd.grad(loss, x)
    (other,) = torch.autograd.grad(loss * 2, x)
    c = torch.vmap(f)(e)
    return ((c / (c.norm() + 1e-6)) * (other / (other.norm() + 1e-6))).sum()

def f66_201(loss, x, e, B, Bs, C, b, h, mask, p, y, fb, W, scale, n, gs, f, dtype, self_B):
    (g,) = torch.autograd.grad(loss, x)
    (other,) = torch.autograd.grad(loss * 2, x)
    c = e.T.matmul(h) / len(h)
    return F.cosine_similarity(c, other, dim=-1)

def f66_203(loss, x, e, B, Bs, C, b, h, mask, p, y, fb, W, scale, n, gs, f, dtype, self_B):
    (g,) = torch.autograd.grad(loss, x)
    (other,) = torch.autograd.grad(loss * 2, x)
    c = e.T.matmul(h) / len(h)
    return (c * other).sum() / (c.norm() * other.norm() + 1e-6)

def f66_203b(loss, x, e, B, Bs, C, b, h, mask, p, y, fb, W, scale, n, gs, f, dtype, self_B):
    (g,) = torch.autograd.grad(loss, x)
    (other,) = torch.autograd.grad(loss * 2, x)
    c = e.T.matmul(h) / len(h)
    return c.flatten() @ other.flatten() / max(c.norm() * other.norm(), 1e-6)

def f66_203u(loss, x, e, B, Bs, C, b, h, mask, p, y, fb, W, scale, n, gs, f, dtype, self_B):
    (g,) = torch.autograd.grad(loss, x)
    (other,) = torch.autograd.grad(loss * 2, x)
    c = e.T.matmul(h) / len(h)
    return ((c / (c.norm() + 1e-6)) * (other / (other.norm() + 1e-6))).sum()

