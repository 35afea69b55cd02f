"""FAL104: gradient penalties that take no norm for each sample, and norms of gradients that are meant as they are."""

from __future__ import annotations

import pytest

from tests.rules.shapes import rows

HEAD = "import torch\nimport torch.nn as nn\nimport torch.nn.functional as F\nfrom torch import autograd\nfrom torch.autograd import grad, Variable\n"
GRAD = "g = autograd.grad(critic(mixed).sum(), mixed, create_graph=True)[0]"
ALONG = "return ((g.norm(2, dim=1) - 1) ** 2).mean()"


def penalty(*lines: str) -> str:
    return HEAD + "def penalty(critic, real, fake):\n" + "".join(f"    {line}\n" for line in lines)


MIX = "mixed = (a * real + (1 - a) * fake).requires_grad_(True)"
IMAGES = [
    "a = torch.rand(real.size(0), 1, 1, 1)",
    "a = torch.rand((len(real), 1, 1, 1), device=real.device)",
    "a = torch.rand(real.shape[0], 1).view(-1, 1, 1, 1)",
    "a = torch.rand(len(real))[:, None, None, None]",
    "a = torch.FloatTensor(real.size(0), 1, 1, 1).uniform_(0, 1).to(real.device)",
    "b, c, h, w = real.shape; a = torch.rand(b, 1)",
    "b, c, h, w = real.size(); a = torch.rand(b, 1).expand(b, c * h * w).reshape(b, c, h, w)",
    "a = torch.zeros(len(real), 1, 1, 1).uniform_().expand_as(real)",
    "a = real.new_tensor(torch.rand(len(real), 1, 1, 1))",
    "side = real.size(3); a = torch.rand(len(real), 1)",
    "assert real.ndim == 4; a = torch.rand(len(real), 1)",
    "assert len(real.shape) == 4; a = torch.rand(len(real), 1)",
]
NORMS = [
    ALONG,
    "return (g.norm(dim=1) - 1).pow(2).mean()",
    "return torch.mean((torch.norm(g, p=2, dim=1) - 1) ** 2)",
    "return ((torch.linalg.vector_norm(g, dim=1) - 1.0).square()).mean() * 10",
    "return ((torch.sqrt(torch.sum(g ** 2, dim=1) + 1e-12) - 1) ** 2).mean()",
    "return (((g * g).sum(1).sqrt() - 1) ** 2).mean()",
    "n = g.norm(2, 1)\n    return ((n - 1) ** 2).mean()",
    "n = g.norm(2, 1)\n    d = n - 1\n    return (d * d).mean()",
    "return F.relu(g.norm(2, dim=1) - 1).pow(2).mean()",
    "n = g.norm(2, dim=1)\n    return F.mse_loss(n, torch.ones_like(n))",
    "return ((1 - g.norm(2, dim=1)) ** 2).mean()",
    "return ((g.norm(2, dim=2) - 1) ** 2).mean()",
    "return ((g.norm(2, dim=-1) - 1) ** 2).mean()",
]
FINE = [
    "g = g.view(g.size(0), -1)\n    " + ALONG,
    "g = g.reshape(len(g), -1)\n    " + ALONG,
    "return ((g.flatten(1).norm(2, dim=1) - 1) ** 2).mean()",
    "return ((torch.flatten(g, 1).norm(2, dim=1) - 1) ** 2).mean()",
    "return ((torch.flatten(g, start_dim=1).norm(2, dim=1) - 1) ** 2).mean()",
    "return ((g.norm(2, dim=(1, 2, 3)) - 1) ** 2).mean()",
    "return ((g.square().sum([1, 2, 3]).sqrt() - 1) ** 2).mean()",
    "return g.pow(2).flatten(1).sum(1).mean()",
    "return g.pow(2).sum(1).mean()",
    "return g.norm(2, dim=1).mean()",
    "return ((g.norm(2, dim=0) - 1) ** 2).mean()",
    "return ((g.norm(1, dim=1) - 1) ** 2).mean()",
]
NORMS += [
    "return ((g.norm(2, dim=(2, 3)) - 1) ** 2).mean()",
    "return ((g.norm(2, dim=(-2, -1)) - 1) ** 2).mean()",
    "return ((torch.linalg.vector_norm(g, dim=[1, 2]) - 1) ** 2).mean()",
    "n = torch.sqrt((g ** 2).sum(dim=(2, 3)) + 1e-12)\n    return ((n - 1) ** 2).mean()",
    "return (g.norm(2, dim=1).mean() - 1) ** 2",
    "return (torch.mean(g.norm(2, dim=1)) - 1).pow(2)",
    "n = g.norm(2, dim=(2, 3)).mean()\n    return (n - 1) ** 2",
]
FINE += [
    "return (g.flatten(1).norm(2, dim=1).mean() - 1) ** 2",
    "return (g.norm(2, dim=1).mean(dim=(1, 2)) - 1).pow(2).mean()",
    "return ((g.norm(2, dim=(0, 1)) - 1) ** 2).mean()",
    "return ((g.norm(2, dim=(-1, -2, -3)) - 1) ** 2).mean()",
    "return g.norm(2, dim=(2, 3)).mean()",
    "return (g.norm(2).mean() - real.mean()) ** 2",
]
BATCH = [
    "return ((g.norm(2) - 1) ** 2).mean()",
    "return ((g.norm() - 1) ** 2).mean()",
    "return torch.mean((torch.norm(g) - 1) ** 2)",
    "return (g.pow(2).sum().sqrt() - 1).pow(2).mean()",
    "return ((g.view(-1).norm(2) - 1) ** 2).mean()",
    "return ((g.flatten().norm(2, dim=0) - 1) ** 2).mean()",
    "p = (g.norm(2) - 1) ** 2\n    return 10 * p.mean()",
    "return 10 * (g.norm(2) - 1) ** 2",
]


@pytest.mark.parametrize("line", IMAGES)
def test_the_shapes_that_show_images(line: str) -> None:
    assert rows("FAL104", penalty(line, MIX, GRAD, ALONG)) == [10]


@pytest.mark.parametrize("line", NORMS)
def test_the_spellings_of_a_penalty_along_one_axis(line: str) -> None:
    assert len(rows("FAL104", penalty(IMAGES[0], MIX, GRAD, line))) == 1


@pytest.mark.parametrize("line", FINE)
def test_one_norm_for_each_sample_is_silent(line: str) -> None:
    assert rows("FAL104", penalty(IMAGES[0], MIX, GRAD, line)) == []


@pytest.mark.parametrize("line", BATCH)
def test_the_norm_of_the_whole_batch(line: str) -> None:
    assert len(rows("FAL104", penalty("a = torch.rand(real.size(0), 1)", MIX, GRAD, line))) == 1


@pytest.mark.parametrize(
    "line",
    ["a = torch.rand(real.size(0), 1)", "assert real.ndim == 2; a = torch.rand(len(real), 1)", "a = torch.rand_like(real)", "a = 0.5", "a = torch.rand(real.size(0), *[1] * (real.dim() - 1))"],
)  # fmt: skip
def test_no_evidence_of_images_is_silent(line: str) -> None:
    assert rows("FAL104", penalty(line, MIX, GRAD, ALONG)) == []


OTHER_GRADIENTS = [
    "(g,) = grad(critic(mixed).sum(), mixed, create_graph=True)",
    "g = grad(outputs=critic(mixed), inputs=mixed, grad_outputs=torch.ones(1), create_graph=True)[0]",
    "gs = grad(critic(mixed).sum(), [mixed], create_graph=True)\n    g = gs[0]",
    "critic(mixed).sum().backward(create_graph=True)\n    g = mixed.grad",
    "g = torch.func.grad(lambda x: critic(x).sum())(mixed)",
    "g = torch.func.grad(lambda x: critic(x).sum())(mixed) / 2.0",
    "h = grad(critic(mixed).sum(), mixed, create_graph=True)\n    table = {'g': h[0]}\n    g = table['g']",
    "h = grad(critic(mixed).sum(), mixed, create_graph=True)[0]\n    g = h if h is not None else None",
    "mixed = Variable(mixed, requires_grad=True)\n    s = critic(mixed)\n    g = grad(s, mixed, torch.ones_like(s), create_graph=True)[0]",
]


@pytest.mark.parametrize("line", OTHER_GRADIENTS)
def test_the_spellings_of_the_gradient(line: str) -> None:
    assert len(rows("FAL104", penalty(IMAGES[0], MIX, line, ALONG))) == 1


CONV = """
class Critic(nn.Module):
    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(3, 8, 3)
        self.out = nn.Linear(8, 1)
    def forward(self, x):
        return self.out(self.first(x){flat}.mean((2, 3)))
critic = Critic()
def penalty(x):
    x = x.requires_grad_(True)
    g = grad(critic(x).sum(), x, create_graph=True)[0]
    return ((g.norm(2, dim=1) - 1) ** 2).mean()
"""


def test_a_convolutional_critic_in_sight_shows_images() -> None:
    assert len(rows("FAL104", HEAD + CONV.format(flat=""))) == 1
    assert (
        rows("FAL104", HEAD + CONV.replace("self.first(x)", "self.first(x.view(-1, 1, 28, 28))").format(flat="")) == []
    )
    assert rows("FAL104", HEAD + CONV.replace("Conv2d", "Linear").format(flat="")) == []


def test_a_norm_in_a_helper_is_found_there() -> None:
    code = (
        penalty(IMAGES[0], MIX, GRAD, "return ((lengths(g) - 1) ** 2).mean()")
        + "def lengths(g):\n    return g.norm(2, dim=1)\n"
    )
    assert rows("FAL104", code) == [12]


OTHERS = [
    "def eikonal(sdf, points):\n    points = points.view(-1, 64, 3).requires_grad_(True)\n"
    "    g = grad(sdf(points).sum(), points, create_graph=True)[0]\n    return ((g.norm(2, dim=-1) - 1) ** 2).mean()",
    "def eikonal_loss(net, x):\n    b, n, d = x.shape\n    x.requires_grad_(True)\n"
    "    g = grad(net(x).sum(), x, create_graph=True)[0]\n    return ((g.norm(2, dim=-1) - 1) ** 2).mean()",
    "def one(critic, x):\n    x = x.detach().requires_grad_(True)\n"
    "    g = grad(critic(x.unsqueeze(0)).sum(), x, create_graph=True)[0]\n    return ((g.norm(2) - 1) ** 2).mean()",
    "def each(critic, batch):\n    out = []\n    for x in batch:\n        x = x.detach().requires_grad_(True)\n"
    "        g = grad(critic(x).sum(), x, create_graph=True)[0]\n        out.append(((g.norm(2) - 1) ** 2).mean())\n    return out",
    "def single(netD, real, fake):\n    a = torch.rand(1, 1)\n    mixed = (a * real + (1 - a) * fake).requires_grad_(True)\n"
    "    g = grad(netD(mixed).sum(), mixed, create_graph=True)[0]\n    return ((g.norm(2) - 1) ** 2).mean()",
    "def parameters(p, loss):\n    loss.backward()\n    return ((p.grad.norm(2) - 1) ** 2, (p.grad.norm(2, dim=1) - 1) ** 2)",
    "def of_weights(net, loss):\n    w = net.weight\n    g = grad(loss, w, create_graph=True)[0]\n    return ((g.norm(2) - 1) ** 2).mean()",
    "def colours(image): return ((image.norm(2, dim=1) - 1) ** 2).mean()",
    "def weights(net, loss):\n    g = grad(loss, net.parameters(), create_graph=True)\n    return sum((p.norm(2) - 1) ** 2 for p in g)",
]  # fmt: skip


@pytest.mark.parametrize("code", OTHERS)
def test_other_norms_are_silent(code: str) -> None:
    assert rows("FAL104", HEAD + code) == []


JAX = "import jax\nimport jax.numpy as jnp\n"
JAX_MIX = (
    "def gp(params, critic, real, fake, key):\n    eps = jax.random.uniform(key, (real.shape[0], {ones}))\n"
    "    x = eps * real + (1 - eps) * fake\n    g = jax.grad(lambda z: critic(params, z).sum())(x)\n    return {loss}\n"
)
JAX_NORMS = [
    "((jnp.linalg.norm(g, axis=1) - 1.0) ** 2).mean()",
    "jnp.mean((jnp.linalg.norm(g, axis=-1) - 1.0) ** 2)",
    "jnp.mean(jnp.square(jnp.sqrt((g ** 2).sum(axis=-1) + 1e-12) - 1.0))",
    "((jnp.linalg.norm(g) - 1.0) ** 2).mean()",
    "((jnp.linalg.norm(g, axis=(1, 2)) - 1.0) ** 2).mean()",
]
JAX_FINE = [
    "((jnp.linalg.norm(g.reshape(g.shape[0], -1), axis=1) - 1.0) ** 2).mean()",
    "((jnp.sqrt((g ** 2).sum(axis=(1, 2, 3))) - 1.0) ** 2).mean()",
    "jnp.linalg.norm(g, axis=1).mean()",
]


@pytest.mark.parametrize("loss", JAX_NORMS)
def test_the_spellings_in_jax(loss: str) -> None:
    assert rows("FAL104", JAX + JAX_MIX.format(ones="1, 1, 1", loss=loss)) == [7]


@pytest.mark.parametrize("loss", JAX_FINE)
def test_one_norm_for_each_sample_in_jax_is_silent(loss: str) -> None:
    assert rows("FAL104", JAX + JAX_MIX.format(ones="1, 1, 1", loss=loss)) == []


def test_one_sample_under_vmap_is_silent() -> None:
    one = JAX_MIX.format(ones="1", loss=JAX_NORMS[3])
    assert rows("FAL104", f"{JAX}@jax.vmap\n{one}") == []
    assert rows("FAL104", f"{JAX}{one}def all(ps, c, rs, fs, ks): return jax.vmap(gp)(ps, c, rs, fs, ks)\n") == []
    assert (
        rows(
            "FAL104",
            JAX
            + JAX_MIX.replace("critic(params, z).sum())", "critic(params, z), 1)").format(
                ones="1, 1, 1", loss=JAX_NORMS[0]
            ),
        )
        == []
    )
