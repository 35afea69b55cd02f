"""FAL303: what is measured or changed between the scaled backward pass and the call that takes the scale out."""

from __future__ import annotations

import pytest

from tests.rules.shapes import rows

IMPORTS = "import math, torch\nfrom torch import nn\nfrom torch.nn.utils import clip_grad_norm_, clip_grad_value_\n"

HITS = [
    # the clip in another method or function, one and two calls away
    """
class Loop:
    def limit(self):
        nn.utils.clip_grad_norm_(self.net.parameters(), self.bound)  #!
    def advance(self):
        self.limit()
        self.amp.scaler.step(self.opt)
    def batch(self, loss):
        self.amp.scale(loss).backward()
        self.advance()
""",
    """
def limit(params, bound):
    return clip_grad_norm_(params, bound)  #!
def batch(net, loss, opt, scaler):
    scaler.scale(loss).backward()
    size = limit(net.parameters(), 1.0)
    scaler.step(opt)
    scaler.update()
    return size
""",
    """
class Loop:
    def differentiate(self, loss):
        self.scaler.scale(loss).backward()
    def batch(self, loss):
        self.differentiate(loss)
        clip_grad_value_(self.net.parameters(), 1.0)  #!
        self.scaler.step(self.opt)
        self.scaler.update()
""",
    # other clips
    """
def batch(net, loss, opt, scaler):
    scaled = scaler.scale(loss)
    scaled.backward()
    for p in net.parameters():
        p.grad.data.clamp_(-1.0, 1.0)  #!
    scaler.step(opt)
""",
    """
def batch(net, loss, opt, scaler):
    scaler.scale(loss).backward()
    net.clip_grad_norm_(1.0)  #!
    scaler.step(opt)
""",
    """
def batch(net, batches, loss_fn, opt):
    grad_scaler = torch.amp.GradScaler()
    while batches:
        grad_scaler.scale(loss_fn(net, batches.pop())).backward()
        torch.nn.utils.clip_grad_value_(net.parameters(), clip_value=1.0)  #!
        grad_scaler.step(opt)
        grad_scaler.update()
""",
    # noise and decay added
    """
def batch(net, loss, opt, scaler, sigma):
    scaler.scale(loss).backward()
    for p in net.parameters():
        noise = torch.randn_like(p.grad) * sigma
        p.grad += noise  #!
    scaler.step(opt)
""",
    """
def private(net, loss, opt, scaler, sigma):
    scaler.scale(loss).backward()
    for p in net.parameters():
        p.grad = p.grad + sigma * torch.randn(p.shape)  #!
    scaler.step(opt)
""",
    """
def decay(net, loss, opt, scaler, wd):
    scaler.scale(loss).backward()
    for p in net.parameters():
        p.grad.add_(p.data, alpha=wd)  #!
    scaler.step(opt)
""",
    """
def by_hand(net, loss, scaler, lr):
    scaler.scale(loss).backward()
    with torch.no_grad():
        for p in net.parameters():
            p -= lr * p.grad  #!
""",
    # statistics
    """
def batch(net, loss, opt, scaler):
    scaler.scale(loss).backward()
    biggest = max(p.grad.abs().max().item() for p in net.parameters())  #!
    scaler.step(opt)
    return biggest
""",
    """
def batch(net, loss, opt, scaler):
    scaler.scale(loss).backward()
    total = 0.0
    for p in net.parameters():
        total += (p.grad * p.grad).sum().item()  #!
    scaler.step(opt)
    return math.sqrt(total)
""",
    """
def batch(net, loss, opt, scaler):
    scaler.scale(loss).backward()
    flat = torch.cat([p.grad.reshape(-1) for p in net.parameters()])
    size = flat.square().sum().sqrt()  #!
    scaler.step(opt)
    return size
""",
    """
def length(vectors):
    return sum(v.pow(2).sum() for v in vectors).sqrt()  #!
def batch(net, loss, opt, scaler):
    scaler.scale(loss).backward()
    size = length([p.grad for p in net.parameters()])
    scaler.step(opt)
    return size
""",
    """
def batch(net, loss, opt, scaler, bound):
    scaler.scale(loss).backward()
    norms = [p.grad.norm() for p in net.parameters()]  #!
    total = torch.stack(norms).norm()
    if total > bound:
        for p in net.parameters():
            p.grad.mul_(bound / total)
    scaler.step(opt)
""",
    """
def probe(loss, params, scaler):
    grads = torch.autograd.grad(scaler.scale(loss), params)
    return torch.cat([g.flatten() for g in grads]).abs().mean()  #!
""",
    """
def batch(net, loss, opt, scaler):
    scaler.scale(loss).backward()
    sizes = torch._foreach_norm([p.grad for p in net.parameters()])  #!
    scaler.step(opt)
    return sizes
""",
    # the other optimiser is unscaled
    """
def play(net_a, net_b, loss, scaler):
    adam_a = torch.optim.Adam(net_a.parameters())
    second = torch.optim.Adam(net_b.parameters())
    scaler.scale(loss).backward()
    scaler.unscale_(adam_a)
    clip_grad_norm_(net_a.parameters(), 1.0)
    clip_grad_norm_(net_b.parameters(), 1.0)  #!
    scaler.step(adam_a)
    scaler.step(second)
    scaler.update()
""",
    """
class Pair:
    def play(self, loss):
        self.scaler.scale(loss).backward()
        self.scaler.unscale_(self.critic_optim)
        size = torch.stack([p.grad.norm() for p in self.actor.parameters()]).norm()  #!
        self.scaler.step(self.critic_optim)
        self.scaler.step(self.actor_optim)
        return size
""",
    """
def play(netG, netD, loss, optimizerG, optimizerD, scaler):
    scaler.scale(loss).backward()
    scaler.step(optimizerG)
    clip_grad_value_(netD.parameters(), 1.0)  #!
    scaler.step(optimizerD)
    scaler.update()
""",
]

SILENT = [
    # unscaled first, here or in a function
    """
class Loop:
    def release(self):
        self.scaler.unscale_(self.opt)
    def batch(self, loss):
        self.scaler.scale(loss).backward()
        self.release()
        clip_grad_value_(self.net.parameters(), 1.0)
        self.scaler.step(self.opt)
        return [p.grad.abs().mean() for p in self.net.parameters()]
""",
    """
def release(scaler, opts):
    for opt in opts:
        scaler.unscale_(opt)
def batch(nets, loss, opts, scaler):
    scaler.scale(loss).backward()
    release(scaler, opts)
    for net in nets:
        clip_grad_norm_(net.parameters(), 1.0)
    for opt in opts:
        scaler.step(opt)
""",
    """
def both(actor, critic, loss, actor_optim, critic_optim, scaler):
    scaler.scale(loss).backward()
    scaler.unscale_(actor_optim)
    scaler.unscale_(critic_optim)
    clip_grad_norm_(actor.parameters(), 1.0)
    clip_grad_norm_(critic.parameters(), 1.0)
    scaler.step(actor_optim)
    scaler.step(critic_optim)
""",
    """
def one_of_two(actor, loss, actor_optim, critic_optim, scaler):
    scaler.scale(loss).backward()
    scaler.unscale_(actor_optim)
    clip_grad_norm_(actor.parameters(), 1.0)
    scaler.step(actor_optim)
    scaler.step(critic_optim)
""",
    """
def shared(net, loss, opt_sparse, opt_dense, scaler):
    scaler.scale(loss).backward()
    scaler.unscale_(opt_sparse)
    scaler.unscale_(opt_dense)
    clip_grad_norm_(net.parameters(), 1.0)
    scaler.step(opt_sparse)
    scaler.step(opt_dense)
""",
    # free of the scale
    """
def batch(net, loss, opt, scaler):
    scaler.scale(loss).backward()
    share = [(p.grad == 0).float().mean() for p in net.parameters()]
    scaler.step(opt)
    return share
""",
    """
def batch(net, loss, opt, scaler):
    scaler.scale(loss).backward()
    units = []
    for p in net.parameters():
        size = p.grad.norm()
        units.append(p.grad / (size + 1e-12))
    scaler.step(opt)
    return units
""",
    """
def batch(net, loss, opt, scaler, eps):
    scaler.scale(loss).backward()
    flat = torch.cat([p.grad.flatten() for p in net.parameters()])
    flat = flat / flat.norm().clamp(min=eps)
    scaler.step(opt)
    return flat
""",
    """
def batch(a, b, loss, opt, scaler):
    scaler.scale(loss).backward()
    cosine = torch.dot(a.grad, b.grad) / (a.grad.norm() * b.grad.norm())
    scaler.step(opt)
    return cosine
""",
    """
def unit(v):
    return v / length(v)
def length(v):
    return v.norm()
def batch(net, loss, opt, scaler):
    scaler.scale(loss).backward()
    units = [unit(p.grad) for p in net.parameters()]
    scaler.step(opt)
    return units
""",
    """
def batch(net, loss, opt, scaler):
    scaler.scale(loss).backward()
    total = torch.stack([p.grad.norm() for p in net.parameters()]).sum()
    if torch.isfinite(total):
        scaler.step(opt)
""",
    """
def centred(net, loss, opt, scaler):
    scaler.scale(loss).backward()
    for p in net.parameters():
        p.grad.add_(-p.grad.mean(dim=0, keepdim=True))
    scaler.step(opt)
""",
    """
def merged(net, loss, opt, scaler, other):
    scaler.scale(loss).backward()
    for p, q in zip(net.parameters(), other.parameters()):
        p.grad.add_(q.grad)
    scaler.step(opt)
""",
    """
def masked(net, loss, opt, scaler):
    scaler.scale(loss).backward()
    for p in net.parameters():
        p.grad.clamp_(min=0)
    scaler.step(opt)
""",
    """
def weights(net, loss, opt, scaler, sigma):
    scaler.scale(loss).backward()
    for p in net.parameters():
        p.data.add_(torch.randn_like(p), alpha=sigma)
    scaler.step(opt)
    return [p.abs().mean() for p in net.parameters()]
""",
    # the scale is divided out
    """
def inverse(net, loss, opt, scaler):
    scaler.scale(loss).backward()
    factor = scaler.get_scale()
    sizes = [p.grad.abs().mean() / factor for p in net.parameters()]
    scaler.step(opt)
    return sizes
""",
    # frameworks that unscale before they clip
    """
def framework(net, loss, opt, accelerator, scaler):
    scaler.scale(loss).backward()
    accelerator.clip_grad_norm_(net.parameters(), 1.0)
    scaler.step(opt)
""",
    # apex takes the scale out where the block ends
    """
from apex import amp
def apex(net, loss, opt):
    with amp.scale_loss(loss, opt) as scaled:
        scaled.backward()
    clip_grad_norm_(amp.master_params(opt), 1.0)
    opt.step()
""",
    # the other branch
    """
def either(net, loss, opt, scaler, use_amp):
    if use_amp:
        scaler.scale(loss).backward()
    else:
        loss.backward()
    if not use_amp:
        clip_grad_norm_(net.parameters(), 1.0)
    opt.step()
""",
    """
def plain(net, loss, opt, log):
    loss.backward()
    for n, p in net.named_parameters():
        log[n] = p.grad.abs().mean().item()
    clip_grad_value_(net.parameters(), 1.0)
    opt.step()
""",
]

HITS += [
    # histograms
    """
def batch(net, loss, opt, scaler, writer, step):
    scaler.scale(loss).backward()
    for name, p in net.named_parameters():
        writer.add_histogram("grad/" + name, p.grad, step)  #!
    scaler.step(opt)
    scaler.update()
""",
    """
def batch(net, loss, opt, scaler, writer, step):
    scaler.scale(loss).backward()
    flat = torch.cat([p.grad.flatten() for p in net.parameters()])
    writer.add_histogram("grad", values=flat.abs().cpu(), global_step=step)  #!
    scaler.step(opt)
""",
    """
import wandb
def batch(net, loss, opt, scaler):
    scaler.scale(loss).backward()
    wandb.log({n: wandb.Histogram(p.grad.cpu()) for n, p in net.named_parameters()})  #!
    scaler.step(opt)
""",
    """
def show(net, writer):
    for name, p in net.named_parameters():
        writer.add_histogram(name, p.grad.norm(dim=1))  #!
def batch(net, loss, opt, scaler, writer):
    scaler.scale(loss).backward()
    show(net, writer)
    scaler.step(opt)
""",
]
SILENT += [
    """
def batch(net, loss, opt, scaler, writer, step):
    scaler.scale(loss).backward()
    scaler.unscale_(opt)
    for name, p in net.named_parameters():
        writer.add_histogram(name, p.grad, step)
    scaler.step(opt)
""",
    """
def batch(net, loss, opt, scaler, writer, step):
    scaler.scale(loss).backward()
    for name, p in net.named_parameters():
        writer.add_histogram(name, p, step)
        writer.add_histogram("unit/" + name, p.grad / p.grad.norm(), step)
    scaler.step(opt)
""",
    """
def batch(net, loss, opt, scaler, writer, step):
    scaler.scale(loss).backward()
    scale = scaler.get_scale()
    for name, p in net.named_parameters():
        writer.add_histogram(name, p.grad / scale, step)
    scaler.step(opt)
""",
    """
def batch(net, loss, opt, writer, step):
    loss.backward()
    for name, p in net.named_parameters():
        writer.add_histogram(name, p.grad, step)
    opt.step()
""",
]


def _marked(code: str) -> list[int]:
    return [row for row, line in enumerate((IMPORTS + code).splitlines(), 1) if line.endswith("#!")]


@pytest.mark.parametrize("code", HITS)
def test_under_the_scale(code: str) -> None:
    assert rows("FAL303", IMPORTS + code) == _marked(code)


@pytest.mark.parametrize("code", SILENT)
def test_look_alikes(code: str) -> None:
    assert rows("FAL303", IMPORTS + code) == []
