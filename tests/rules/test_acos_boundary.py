"""FAL206: a differentiated acos of a cosine clamped at 1, and FAL204's advice where the angle is differentiated."""

from __future__ import annotations

import pytest

from fa_lint.rules import registry
from tests.rules.shapes import found, rows

HEAD = "import math\nimport torch\nimport jax\nimport jax.numpy as jnp\nimport numpy as np\nimport torch.nn.functional as F\nfrom torch import nn\n"
COS = "    cos = (F.normalize(model(x), dim=-1) * F.normalize(y, dim=-1)).sum(-1)\n"
STEP = "    opt.zero_grad()\n    loss.backward()\n    opt.step()\n"

BOUNDED = [
    "loss = torch.acos(cos.clamp(-1, 1)).mean()",
    "loss = torch.arccos(torch.clip(cos, -1.0, 1.0)).mean()",
    "loss = cos.clamp(min=-1.0, max=1.0).acos().mean()",
    "cos = torch.clamp(cos, -1, 1)\n    angle = cos.arccos()\n    loss = angle.pow(2).mean()",
    "cos.clamp_(-1, 1)\n    loss = torch.rad2deg(torch.acos(cos)).mean()",
    "one = 1.0\n    loss = torch.acos(torch.clamp(cos, -one, one)).mean()",
    "loss = torch.acos(torch.minimum(torch.maximum(cos, -torch.ones_like(cos)), torch.ones_like(cos))).mean()",
    "loss = torch.acos(torch.min(cos.abs(), torch.tensor(1.0))).mean()",
    "loss = (2 * torch.acos(cos.abs().clamp_max(1))).mean()",
    "loss = (math.pi / 2 - torch.asin(cos.clamp(-1, 1))).mean()",
    "cos = F.linear(F.normalize(model(x)), F.normalize(y))\n    loss = torch.acos(cos.clamp(-1, 1)).mean()",
    "cos = torch.where(cos < 0, -cos, cos)\n    loss = torch.acos(cos.clamp(-1, 1)).mean()",
    "cos = torch.min(cos, torch.autograd.Variable(torch.ones(8).cuda()))\n    cos = torch.max(cos, -torch.ones(8).cuda())\n    loss = torch.acos(cos).mean()",
    "loss = torch.acos((0.5 * ((x * model(x)).sum(dim=(-2, -1)) - 1.0)).clamp_(-1, 1)).mean()",
    "losses = []\n    losses.append(torch.acos(cos.clamp(-1, 1)).mean())\n    loss = sum(losses)",
    "parts = {}\n    parts['angle'] = torch.acos(cos.clamp(-1, 1)).mean()\n    loss = F.mse_loss(x, y) + 0.1 * parts['angle']",
    "parts = {'mse': F.mse_loss(x, y), 'angle': torch.acos(cos.clamp(-1, 1)).mean()}\n    loss = sum(parts.values())",
    "loss = 0.0\n    for c in cos:\n        loss += torch.acos(c.clamp(-1, 1))",
    "loss = torch.stack([torch.acos(c.clamp(-1, 1)) for c in cos]).mean()",
    "d = torch.bmm(x.transpose(1, 2), model(x))\n    loss = torch.acos(((torch.einsum('bii->b', d) - 1) / 2).clamp(-1, 1)).mean()",
    "d = x.transpose(-1, -2) @ model(x)\n    t = d[:, 0, 0] + d[:, 1, 1] + d[:, 2, 2]\n    loss = torch.acos(torch.clamp(0.5 * (t - 1), -1, 1)).mean()",
    "t = torch.trace(x.T @ model(x)).clamp(-1, 3)\n    loss = torch.acos((t - 1) / 2)",
    "d = (model(x) * y).sum(-1)\n    loss = torch.acos((2 * d**2 - 1).clamp(-1, 1)).mean()",
]
INSIDE = [
    "loss = torch.acos(torch.min(cos, torch.ones_like(cos) * 0.9999)).mean()",
    "loss = torch.acos(torch.min(cos, torch.ones_like(cos) - 1e-6)).mean()",
    "loss = torch.acos(torch.minimum(cos, torch.full_like(cos, 0.9999))).mean()",
    "loss = torch.acos(cos.clamp(-1 + 1e-6, 1 - 1e-6)).mean()",
    "loss = torch.acos(cos.clamp(-0.9999, 0.9999)).mean()",
    "eps = 1e-6\n    loss = torch.acos(torch.clamp(cos, -1 + eps, 1 - eps)).mean()",
    "loss = torch.acos(torch.clamp(cos, -1 + cfg.eps, 1 - cfg.eps)).mean()",
    "loss = torch.acos(cos.clamp(-limit, limit)).mean()",
    "loss = torch.acos(cos.clamp(-1, 1) * (1 - 1e-6)).mean()",
    "loss = torch.acos(cos.clamp(-1, 1) / 1.00001).mean()",
    "loss = torch.acos(cos.clamp(-1, 1).clamp(max=1 - 1e-6)).mean()",
    "loss = torch.acos((cos * (1 - 1e-6)).clamp(-1, 1)).mean()",
    "cos = cos * (1 - cfg.eps)\n    loss = torch.acos(torch.clamp(cos, -1, 1)).mean()",
    "loss = torch.acos((cos / 1.00001).clamp(-1, 1)).mean()",
    "loss = torch.acos(torch.clamp(0.99999 * cos, -1 + 1e-6, 1 - 1e-6)).mean()",
    "loss = (1 - cos.clamp(-1, 1)).mean()",
    "c = cos.clamp(-1, 1)\n    loss = torch.acos(c[c < 0.9999]).mean()",
    "loss = torch.acos(model(x).clamp(-1, 1)).mean()",
    "loss = torch.acos(torch.cos(model(x)).clamp(-1, 1)).mean()",
    "u = 2 * torch.rand(3) - 1\n    loss = model(torch.acos(u.clamp(-1, 1))).mean()",
    "loss = torch.atan2(torch.linalg.cross(x, y).norm(dim=-1), cos.clamp(-1, 1)).mean()",
]
REPORTED = [
    "loss = F.mse_loss(model(x), y)\n    angle = torch.acos(cos.clamp(-1, 1)).mean().item()\n    print(angle)",
    "loss = F.mse_loss(model(x), y)\n    log({'angle': torch.acos(cos.clamp(-1, 1)).mean(), 'loss': loss})",
    "loss = F.mse_loss(model(x), y)\n    with torch.no_grad():\n        angle = torch.acos(cos.clamp(-1, 1))\n    loss = loss * (1 + angle.mean())",
    "angle = torch.acos(cos.detach().clamp(-1, 1))\n    loss = (angle * F.mse_loss(model(x), y, reduction='none').mean(-1)).mean()",
    "angle = torch.acos(cos.clamp(-1, 1))\n    loss = F.mse_loss(model(x)[angle < 0.1], y[angle < 0.1])",
    "angle = torch.acos(cos.clamp(-1, 1)).detach()\n    loss = (angle * model(x).sum(-1)).mean()",
    "out = {'loss': F.mse_loss(model(x), y), 'angle': torch.acos(cos.clamp(-1, 1)).mean()}\n    loss = out['loss']",
    "out = {}\n    out['angle'] = torch.acos(cos.clamp(-1, 1)).mean()\n    out['loss'] = F.mse_loss(model(x), y)\n    loss = out['loss']",
    "loss, angle = F.mse_loss(model(x), y), torch.acos(cos.clamp(-1, 1))\n    print(angle)",
    "worst = int(torch.acos(cos.clamp(-1, 1)).argmax())\n    loss = F.mse_loss(model(x)[worst], y[worst])",
    "want = torch.acos((y * y.roll(1, 0)).sum(-1).clamp(-1, 1))\n    loss = F.mse_loss(model(x), want)",
    "loss = F.mse_loss(model(x), torch.as_tensor(np.arccos(np.clip(np.dot(x, y), -1, 1))))",
]


def trained(body: str) -> str:
    names = "model, x, target, opt, cfg, limit, log"
    return f"{HEAD}def step({names}):\n    y = target\n{COS}    {body}\n{STEP}"


@pytest.mark.parametrize("body", BOUNDED)
def test_a_clamp_at_one_before_a_backward_is_found(body: str) -> None:
    assert len(rows("FAL206", trained(body))) == 1


@pytest.mark.parametrize("body", INSIDE)
def test_what_stays_away_from_one_is_silent(body: str) -> None:
    assert rows("FAL206", trained(body)) == []


@pytest.mark.parametrize("body", REPORTED)
def test_an_angle_that_is_only_reported_is_silent(body: str) -> None:
    assert rows("FAL206", trained(body)) == []


ANGLE = "torch.acos(F.cosine_similarity(a, b, dim=-1).clamp(-1, 1)).mean()"
DIFFERENTIATED = [
    f"def angular_loss(a, b):\n    return {ANGLE}",
    f"class AngularLoss(nn.Module):\n    def forward(self, a, b):\n        angle = {ANGLE}\n        return self.weight * angle",
    f"class Criterion(nn.Module):\n    def forward(self, a, b):\n        return self.angle(a, b)\n    def angle(self, a, b):\n        return {ANGLE}",
    f"def angle(a, b):\n    return {ANGLE}\ndef step(model, x, b, opt):\n    loss = angle(model(x), b)\n    loss.backward()",
    f"def angle(a, b):\n    return {ANGLE}\ndef step(model, x, b, accelerator):\n    accelerator.backward(angle(model(x), b))",
    f"def step(model, x, b, scaler):\n    a = model(x)\n    loss = {ANGLE}\n    scaler.scale(loss).backward()",
    f"def step(model, x, b):\n    a = model(x)\n    loss = {ANGLE}\n    return torch.autograd.grad(loss, model.parameters())",
    f"def objective(a, b):\n    return {ANGLE}\ng = torch.func.grad(objective)",
    "def objective(a, b):\n    c = a @ b / (jnp.linalg.norm(a) * jnp.linalg.norm(b))\n    return jnp.arccos(jnp.clip(c, -1.0, 1.0))\ng = jax.grad(objective)",
    "@jax.value_and_grad\ndef objective(a, b):\n    c = a @ b / (jnp.linalg.norm(a) * jnp.linalg.norm(b))\n    return jnp.arccos(jnp.clip(c, -1.0, 1.0))",
    f"class Net(nn.Module):\n    def training_step(self, batch, i):\n        a, b = self(batch), batch\n        loss = {ANGLE}\n        return {{'loss': loss}}",
    f"class Net:\n    def forward(self, a, b):\n        self.loss = {ANGLE}\n    def optimize(self):\n        self.loss.backward()",
    f"def optimise(value, opt):\n    value.backward()\n    opt.step()\ndef step(model, x, b, opt):\n    a = model(x)\n    optimise({ANGLE}, opt)",
    "def bounded(a, b):\n    return F.cosine_similarity(a, b).clamp(-1, 1)\ndef angular_loss(a, b):\n    return torch.acos(bounded(a, b)).mean()",
    "def to_angle(c):\n    return torch.acos(torch.clamp(c, -1, 1))\ndef angular_loss(a, b):\n    return to_angle(F.cosine_similarity(a, b)).mean()",
    f"def angular_loss(a, b):\n    angle = {ANGLE}\n    return angle, {{'angle': angle.item()}}",
]
UNDIFFERENTIATED = [
    "from fa_lint_runtime import safe_cosine\ndef angular_loss(a, b):\n    return torch.acos(safe_cosine(a, b)).mean()",
    f"def angle(a, b):\n    return {ANGLE}",
    f"@torch.no_grad()\ndef angular_loss(a, b):\n    return {ANGLE}",
    f"@torch.inference_mode()\ndef angular_loss(a, b):\n    return {ANGLE}",
    f"def angular_loss(a, b):\n    return {ANGLE}.item()",
    f"def angular_loss(a, b):\n    return F.mse_loss(a, b), {ANGLE}",
    f"def pose_loss(a, b):\n    return {{'loss': F.mse_loss(a, b), 'degrees': {ANGLE}}}",
    f"class AngleMetric:\n    def compute_loss(self, a, b):\n        return {ANGLE}",
    f"def angle(a, b):\n    return {ANGLE}\ndef evaluate(model, x, b):\n    with torch.no_grad():\n        return angle(model(x), b)",
    f"def both(a, b):\n    return F.mse_loss(a, b), {ANGLE}\ndef step(model, x, b):\n    loss, angle = both(model(x), b)\n    loss.backward()\n    return angle",
    "def np_loss(a, b):\n    return np.arccos(np.clip(np.dot(a, b) / np.linalg.norm(a) / np.linalg.norm(b), -1, 1))",
    "def py_loss(a, b):\n    return math.acos(max(-1.0, min(1.0, a @ b / (a.norm() * b.norm()))))",
    f"def angular_loss(target, gt):\n    a, b = target, gt\n    return {ANGLE}",
    f"class Net(nn.Module):\n    def validation_step(self, batch, i):\n        a, b = self(batch), batch\n        loss = {ANGLE}\n        return {{'loss': loss}}",
    "def angle_of(a, b):\n    c = a @ b / (jnp.linalg.norm(a) * jnp.linalg.norm(b))\n    return jnp.arccos(jnp.clip(c, -1.0, 1.0))",
]


@pytest.mark.parametrize("code", DIFFERENTIATED)
def test_every_way_to_differentiate_is_found(code: str) -> None:
    assert len(rows("FAL206", HEAD + code)) == 1


@pytest.mark.parametrize("code", UNDIFFERENTIATED)
def test_a_measurement_is_silent(code: str) -> None:
    assert rows("FAL206", HEAD + code) == []


@pytest.mark.parametrize("code", [code for code in DIFFERENTIATED if ".clamp(-1, 1)).mean()" in code])
def test_without_the_clamp_the_advice_is_no_clamp(code: str) -> None:
    (finding,) = found("FAL204", HEAD + code.replace(".clamp(-1, 1)", ""))
    assert "non-finite gradient" in finding.message and "clamp to" not in finding.message
    assert finding.torch_fix is None
    assert finding.fix is None or "safe_angle" in finding.fix.message


def test_elsewhere_the_clamp_stays_the_advice() -> None:
    (finding,) = found("FAL204", HEAD + "def angle(a, b):\n    return torch.acos(F.cosine_similarity(a, b))")
    assert finding.message.endswith("use `safe_angle`, or clamp to [-1, 1]")
    assert finding.torch_fix is not None


FED = [
    "def step(model, pairs, opt):\n    feats = [{angle} for a, b in pairs]\n    loss = model(torch.stack(feats)[:, None]).mean()",
    "def step(model, pairs, opt):\n    feats = []\n    for a, b in pairs:\n        feats.append({angle})\n    loss = model(torch.stack(feats)).mean()",
    "def step(model, a, b, opt):\n    loss = F.mse_loss(model({angle}), b)",
    "def step(model, a, b, opt):\n    x = {angle}\n    out = model(x)\n    loss = out.mean()",
]


@pytest.mark.parametrize("code", FED)
def test_angles_of_data_that_a_model_is_given_are_silent(code: str) -> None:
    end = "\n    loss.backward()\n    opt.step()"
    given = HEAD + code.format(angle=ANGLE) + end
    assert rows("FAL206", given) == []
    assert len(rows("FAL206", HEAD + code.format(angle=ANGLE.replace("(a, b", "(model(a), b")) + end)) == 1
    assert (
        len(rows("FAL206", HEAD + code.format(angle=f"{ANGLE.replace('(a, b', '(a.requires_grad_(), b')}") + end)) == 1
    )


def test_many_angles_in_one_function_are_answered_in_time() -> None:
    lines = "".join(f"    t{n} = torch.acos(cos.clamp(-1, 1)).mean()\n    s = s + t{n}\n" for n in range(300))
    code = f"{HEAD}def measure(model, x, y):\n    s = 0\n{COS}{lines}    return s\n"
    assert list(registry()["FAL206"].gate)
    assert rows("FAL206", code) == []
