"""Thirty user-like programs: fifteen mistakes, each with its correct twin. ``EXPECT`` marks the lines of events.

Each is the text of a script; the test writes it to a file and runs it under the guard.
"""

from __future__ import annotations

__all__ = ["PROGRAMS"]

PROGRAMS: dict[str, str] = {
    "alignment_of_gradients": """
import torch, torch.nn.functional as F
torch.manual_seed(0)
h = torch.randn(8, 16, requires_grad=True)
(g,) = torch.autograd.grad((h.tanh() * 1e-10).sum(), h)
credit = torch.randn(8, 16)
gamma = F.cosine_similarity(credit, g, dim=1)  # EXPECT FAL201
""",
    "alignment_of_gradients_right": """
import torch
from fa_lint_runtime import safe_cosine
torch.manual_seed(0)
h = torch.randn(8, 16, requires_grad=True)
(g,) = torch.autograd.grad((h.tanh() * 1e-10).sum(), h)
credit = torch.randn(8, 16)
gamma = safe_cosine(credit, g, dim=1)
""",
    "alignment_of_parameter_grads": """
import torch
from torch import nn
torch.manual_seed(0)
net = nn.Sequential(nn.Linear(8, 8), nn.Tanh(), nn.Linear(8, 2))
cosine = nn.CosineSimilarity(dim=0)
for scale in (1.0, 1e-9):
    net.zero_grad()
    (net(torch.randn(4, 8)).square().mean() * scale).backward()
    p = net[0].weight
    value = cosine(p.grad.flatten(), torch.randn(64))  # EXPECT FAL201
""",
    "alignment_of_parameter_grads_right": """
import torch
from torch import nn
torch.manual_seed(0)
net = nn.Sequential(nn.Linear(8, 8), nn.Tanh(), nn.Linear(8, 2))
cosine = nn.CosineSimilarity(dim=0)
for scale in (1.0, 1e-3):
    net.zero_grad()
    (net(torch.randn(4, 8)).square().mean() * scale).backward()
    p = net[0].weight
    value = cosine(p.grad.flatten(), torch.randn(64))
""",
    "cosine_of_differences": """
import torch
torch.manual_seed(0)
before = torch.randn(4, 32, dtype=torch.float64)
after = before + 1e-11 * torch.randn(4, 32, dtype=torch.float64)
steps = [torch.cosine_similarity]
for similarity in steps:
    drift = similarity(after - before, before)  # EXPECT FAL202
""",
    "cosine_of_differences_right": """
import torch
torch.manual_seed(0)
before = torch.randn(4, 32)
after = before + 1e-3 * torch.randn(4, 32)
steps = [torch.cosine_similarity]
for similarity in steps:
    drift = similarity(after - before, before)
""",
    "embedding_loss": """
import torch
from torch import nn
torch.manual_seed(0)
anchor = (torch.randn(6, 16) * 1e-7).requires_grad_()
loss = nn.CosineEmbeddingLoss()(anchor, torch.randn(6, 16), torch.ones(6))  # EXPECT FAL202
loss.backward()
""",
    "embedding_loss_right": """
import torch
from torch import nn
torch.manual_seed(0)
anchor = torch.randn(6, 16).requires_grad_()
loss = nn.CosineEmbeddingLoss()(anchor, torch.randn(6, 16), torch.ones(6))
loss.backward()
""",
    "unit_vectors": """
import torch
from torch.nn.functional import normalize
torch.manual_seed(0)
grads = torch.randn(5, 16) * 1e-14
units = normalize(
    grads,
    dim=1,
)  # EXPECT-3 FAL203
similarity = units @ units.T
""",
    "unit_vectors_right": """
import torch
from torch.nn.functional import normalize
torch.manual_seed(0)
rows = torch.randn(5, 16)
rows[2] = 0.0
units = normalize(rows, dim=1)
similarity = units @ units.T
""",
    "negative_order": """
import torch, torch.nn.functional as F
torch.manual_seed(0)
x = torch.randn(4, 3)
a = x / x.norm(-1, keepdim=True)  # EXPECT FAL101
b = torch.norm(x, -1)  # EXPECT FAL101
c = torch.linalg.norm(x, -1)  # EXPECT FAL101
d = torch.linalg.vector_norm(x, -1)  # EXPECT FAL101
e = F.normalize(x, -1)  # EXPECT FAL101
""",
    "negative_order_right": """
import torch, torch.nn.functional as F
torch.manual_seed(0)
x = torch.randn(4, 3)
a = x / x.norm(dim=-1, keepdim=True)
b = torch.norm(x, dim=-1)
c = torch.linalg.norm(x, dim=-1)
d = torch.linalg.vector_norm(x, ord=-1, dim=1)
e = F.normalize(x, dim=-1)
f = x.norm(p=-1)
g = torch.linalg.vector_norm(x, float("-inf"))
""",
    "half_storage": """
import torch
torch.manual_seed(0)
grads = [torch.randn(4, 8) * scale for scale in (1e-2, 1e-9)]
stored = [g.half() for g in grads]  # EXPECT FAL302
again = grads[1].to(torch.float16)  # EXPECT FAL302
""",
    "half_storage_right": """
import torch
torch.manual_seed(0)
grads = [torch.randn(4, 8) * scale for scale in (1e-2, 1e-9)]
stored = [g.bfloat16() for g in grads]
scaled = [(g * 2.0**20).half() for g in grads]
probabilities = torch.softmax(torch.randn(4, 64) * 8, -1).half()
""",
    "fp16_gradients": """
import torch, torch.nn.functional as F
from torch import nn
torch.manual_seed(0)
net = nn.Sequential(nn.Linear(16, 32), nn.ReLU(), nn.Linear(32, 4))
x, y = torch.randn(64, 16), torch.randint(0, 4, (64,))
with torch.autocast("cpu", torch.float16):
    loss = F.cross_entropy(net(x), y) * 1e-6
loss.backward()  # EXPECT FAL301
""",
    "fp16_gradients_right": """
import torch, torch.nn.functional as F
from torch import nn
torch.manual_seed(0)
net = nn.Sequential(nn.Linear(16, 32), nn.ReLU(), nn.Linear(32, 4))
x, y = torch.randn(64, 16), torch.randint(0, 4, (64,))
scaler = torch.amp.GradScaler("cpu", init_scale=2.0**16)
optimizer = torch.optim.SGD(net.parameters(), 0.1)
with torch.autocast("cpu", torch.float16):
    loss = F.cross_entropy(net(x), y)
scaler.scale(loss).backward()
scaler.step(optimizer)
scaler.update()
with torch.autocast("cpu", torch.bfloat16):
    loss = F.cross_entropy(net(x), y) * 1e-6
loss.backward()
""",
    "autocast_operands": """
import torch
torch.manual_seed(0)
credit, weight = torch.randn(8, 16) * 1e-9, torch.randn(16, 4)
with torch.autocast("cpu", torch.float16):
    back = credit @ weight  # EXPECT FAL301
""",
    "autocast_operands_right": """
import torch
torch.manual_seed(0)
credit, weight = torch.randn(8, 16) * 1e-9, torch.randn(16, 4)
with torch.autocast("cpu", torch.float16, enabled=False):
    back = credit @ weight
with torch.autocast("cpu", torch.float16):
    scaled = (credit * 2.0**24) @ weight
""",
    "compared_with_itself": """
import torch, torch.nn.functional as F
torch.manual_seed(0)
class Probe:
    def __init__(self, g):
        self.bp, self.dfa = g, g.view(4, 8)
probe = Probe(torch.randn(4, 8))
gamma = F.cosine_similarity(probe.dfa, probe.bp, dim=1).mean()  # EXPECT FAL404
""",
    "compared_with_itself_right": """
import torch, torch.nn.functional as F
torch.manual_seed(0)
x = torch.randn(6, 8)
table = F.cosine_similarity(x[:, None], x[None], dim=-1)
halves = F.cosine_similarity(x[:3], x[3:], dim=1)
""",
    "angle": """
import torch
from torch import acos
torch.manual_seed(0)
w = torch.randn(32, 64)
cosine = (w * w).sum(1) / (w.norm(dim=1) * w.norm(dim=1))
angle = acos(cosine)  # EXPECT FAL204
""",
    "angle_right": """
import torch
from torch import acos
torch.manual_seed(0)
w = torch.randn(32, 64)
cosine = (w * w).sum(1) / (w.norm(dim=1) * w.norm(dim=1))
angle = acos(cosine.clamp(-1, 1))
""",
    "underflow": """
import torch
torch.manual_seed(0)
g = torch.randn(3, 64) * 1e-25
sizes = g.norm(dim=1)  # EXPECT FAL203
""",
    "underflow_right": """
import torch
from fa_lint_runtime import safe_norm
torch.manual_seed(0)
g = torch.randn(3, 64) * 1e-25
g[1] = 0.0
sizes = safe_norm(g)
wide = g.double().norm(dim=1)
zero = torch.zeros(3, 4).norm(dim=1)
""",
    "undefined_quotient": """
import torch
torch.manual_seed(0)
credit, g = torch.randn(3, 8), torch.randn(3, 8)
g[1] = 0.0
gamma = (credit * g).sum(1) / (credit.norm(dim=1) * g.norm(dim=1))  # EXPECT FAL405
""",
    "undefined_quotient_right": """
import torch
torch.manual_seed(0)
credit, g = torch.randn(3, 8), torch.randn(3, 8)
g[1] = 0.0
keep = g.norm(dim=1) > 0
gamma = (credit[keep] * g[keep]).sum(1) / (credit[keep].norm(dim=1) * g[keep].norm(dim=1))
share = torch.zeros(3) / torch.ones(3)
""",
    "lost_feedback": """
import torch
from torch import nn
torch.manual_seed(0)
class Layer(nn.Linear):
    def __init__(self, *sizes):
        super().__init__(*sizes)
        self.weight_fa = torch.randn(*self.weight.shape)
net = nn.Sequential(Layer(8, 8), Layer(8, 2))
state = {"model": net.state_dict(), "epoch": 3}
torch.save(state, FILE)  # EXPECT FAL401
""",
    "lost_feedback_right": """
import torch
from torch import nn
torch.manual_seed(0)
class Layer(nn.Linear):
    def __init__(self, *sizes):
        super().__init__(*sizes)
        self.register_buffer("weight_fa", torch.randn(*self.weight.shape))
net = nn.Sequential(Layer(8, 8), Layer(8, 2))
torch.save({"model": net.state_dict(), "epoch": 3}, FILE)
plain = nn.Linear(8, 2)
plain.B = torch.randn(2, 8)
torch.save(plain.state_dict(), FILE)
torch.save({"B": plain.B}, FILE + ".feedback")
""",
    "hook_in_backward": """
import torch, torch.nn.functional as F
from torch import nn
torch.manual_seed(0)
net, seen = nn.Sequential(nn.Linear(8, 8), nn.Tanh(), nn.Linear(8, 2)), []
credit = torch.randn(4, 2)
def compare(module, grad_input, grad_output):
    seen.append(F.cosine_similarity(grad_output[0], credit, dim=1))  # EXPECT FAL201
net[2].register_full_backward_hook(compare)
(net(torch.randn(4, 8)).square().mean() * 1e-9).backward()
""",
    "hook_in_backward_right": """
import torch
from fa_lint_runtime import safe_cosine
from torch import nn
torch.manual_seed(0)
net, seen = nn.Sequential(nn.Linear(8, 8), nn.Tanh(), nn.Linear(8, 2)), []
credit = torch.randn(4, 2)
def compare(module, grad_input, grad_output):
    seen.append(safe_cosine(grad_output[0], credit, dim=1))
net[2].register_full_backward_hook(compare)
(net(torch.randn(4, 8)).square().mean() * 1e-9).backward()
""",
}
