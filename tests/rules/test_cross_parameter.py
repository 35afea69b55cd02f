"""FAL410: gradients of different parameters compared with each other, and what compares one with itself elsewhere."""

from __future__ import annotations

import pytest

from tests.rules.shapes import rows

HEAD = "import itertools\nimport torch\nimport torch.nn.functional as F\nimport numpy as np\nfrom itertools import combinations\n"
COSINE = "def cosine(a, b):\n    return torch.dot(a, b) / (a.norm() * b.norm())\n"
GRADS = [
    "loss.backward()\n    grads = [p.grad.flatten() for p in model.parameters()]",
    "loss.backward()\n    grads = [p.grad.detach().view(-1).clone() for n, p in model.named_parameters() if p.grad is not None]",
    "grads = [g.flatten() for g in torch.autograd.grad(loss, list(model.parameters()))]",
    "params = [p for p in model.parameters() if p.requires_grad]\n    grads = torch.autograd.grad(loss, params)",
    "loss.backward()\n    grads = []\n    for p in model.parameters():\n        grads.append(p.grad.flatten())",
    "loss.backward()\n    grads = {n: p.grad.flatten() for n, p in model.named_parameters()}",
    "loss.backward()\n    grads = collect(model)",
    "for _ in range(3):\n        loss.backward()\n    grads = [p.grad.flatten() for p in params]",
]
PAIRS = [
    "return [cosine(grads[i], grads[j]) for i in ks for j in ks if i < j]",
    "for i in ks:\n        for j in ks:\n            out[i, j] = F.cosine_similarity(grads[i], grads[j], dim=0).item()",
    "return [cosine(grads[i], grads[j]) for i, j in itertools.combinations(ks, 2)]",
    "for i in ks:\n        g = grads[i]\n        for j in ks:\n            h = grads[j]\n            if (g * h).sum() < 0:\n                out.append((i, j))",
    "for i in ks:\n        for j in ks:\n            u, v = F.normalize(grads[i], dim=0), F.normalize(grads[j], dim=0)\n            out.append(u @ v)",
    "for i in ks:\n        for j in ks:\n            dot = torch.dot(grads[i], grads[j])\n            if dot.item() < 0:\n                out.append((i, j))",
    "for i in ks:\n        for j in ks:\n            out.append(torch.sign(grads[i] @ grads[j]))",
]
LOOPS = [
    "for a in grads:\n        for b in grads:\n            out.append(cosine(a, b))",
    "for a, b in combinations(grads, 2):\n        out.append(cosine(a, b))",
    "return [cosine(a, b) for a in grads for b in grads]",
    "return [[cosine(a, b) for b in grads] for a in grads]",
    "for i, a in enumerate(grads):\n        for b in grads[i + 1:]:\n            out.append(cosine(a, b))",
    "for i, a in enumerate(grads):\n        for j, b in enumerate(grads):\n            if i != j and torch.dot(a, b) < 0:\n"
    "                a.sub_(torch.dot(a, b) / b.norm() ** 2 * b)",
    "return [cosine(a, b) for a, b in itertools.product(grads, grads)]",
    "return cosine(grads[0], grads[1])",
    "return pairwise(grads)",
    "return [cosine(a, b) for a, b in zip(grads, grads[1:])]",
    "for a, b in zip(grads[:-1], grads[1:]):\n        out.append(cosine(a, b))",
    "for i, (a, b) in enumerate(zip(grads, grads[1:])):\n        out[i] = cosine(a, b)",
    "return [cosine(grads[i], grads[i + 1]) for i in range(len(grads) - 1)]",
    "for i in range(1, len(grads)):\n        out.append(cosine(grads[i - 1], grads[i]))",
    "first, *rest = grads\n    return [cosine(first, g) for g in rest]",
]
COLLECT = "def collect(model):\n    return [p.grad.flatten() for p in model.parameters()]\n"
PAIRWISE = "def pairwise(vectors):\n    return [[cosine(a, b) for a in vectors] for b in vectors]\n"


def measured(make: str, compare: str) -> str:
    return f"{HEAD}{COSINE}{COLLECT}{PAIRWISE}def f(model, params, loss, losses, ks, out):\n    {make}\n    {compare}\n"


@pytest.mark.parametrize("compare", PAIRS)
@pytest.mark.parametrize("make", GRADS)
def test_one_entry_a_parameter_compared_by_index_is_found(make: str, compare: str) -> None:
    assert len(rows("FAL410", measured(make, compare))) == 1


@pytest.mark.parametrize("compare", LOOPS)
@pytest.mark.parametrize("make", [g for g in GRADS if "{n:" not in g])
def test_one_entry_a_parameter_compared_in_loops_is_found(make: str, compare: str) -> None:
    assert len(rows("FAL410", measured(make, compare))) == 1


PARAMETERS = [
    "loss.backward()\n    grads = {}\n    for n, p in model.named_parameters():\n        grads[n] = p.grad.flatten()\n"
    "    for x, y in combinations(grads, 2):\n        out.append(cosine(grads[x], grads[y]))",
    "loss.backward()\n    for a in model.heads:\n        for b in model.heads:\n"
    "            out.append(cosine(a.weight.grad.flatten(), b.weight.grad.flatten()))",
    "grads = [p.grad.flatten() for p in params]\n    norms = [g.norm() for g in grads]\n"
    "    return [grads[i] @ grads[j] / (norms[i] * norms[j]) for i in ks for j in ks]",
    "units = [p.grad / p.grad.norm() for p in params]\n    return [(units[i] * units[j]).sum() for i in ks for j in ks]",
    "loss.backward()\n    for a in params:\n        for b in params:\n            out.append(cosine(a.grad.flatten(), b.grad.flatten()))",
    "loss.backward()\n    for p, q in combinations(model.parameters(), 2):\n        out.append(cosine(p.grad.view(-1), q.grad.view(-1)))",
    "loss.backward()\n    ps = list(model.parameters())\n    for i in ks:\n        for j in ks:\n"
    "            out.append(cosine(ps[i].grad.flatten(), ps[j].grad.flatten()))",
    "loss.backward()\n    G = torch.stack([p.grad.flatten() for p in model.parameters()])\n    G = F.normalize(G, dim=1)\n    return G @ G.T",
    "G = torch.stack([g.flatten() for g in torch.autograd.grad(loss, list(model.parameters()))])\n"
    "    G = G / G.norm(dim=1, keepdim=True)\n    return torch.mm(G, G.t())",
    "loss.backward()\n    G = torch.stack([p.grad.flatten() for p in model.parameters()])\n"
    "    return F.cosine_similarity(G[:, None], G[None], dim=-1)",
    "loss.backward()\n    G = torch.stack([p.grad.flatten() for p in model.parameters()])\n    return torch.corrcoef(G)",
    "G = np.stack([p.grad.cpu().numpy().ravel() for p in model.parameters()])\n    return np.corrcoef(G)",
    "grads = torch.autograd.grad(loss, [b.weight for b in model.blocks])\n    G = torch.stack([g.flatten() for g in grads])\n"
    "    G = G / G.norm(dim=1, keepdim=True)\n    return G @ G.T",
    "loss.backward()\n    gs = [b.attn.proj.weight.grad.flatten() for b in model.layers]\n"
    "    return [cosine(u, v) for u, v in zip(gs, gs[1:])]",
    "loss.backward()\n    gs = [m.weight.grad.flatten() for m in model.modules() if isinstance(m, torch.nn.Linear)]\n"
    "    return [cosine(u, v) for u, v in combinations(gs, 2)]",
    "loss.backward()\n    for a in model.blocks:\n        for b in model.blocks:\n"
    "            out.append(cosine(a.fc.weight.grad.flatten(), b.fc.weight.grad.flatten()))",
    "loss.backward()\n    named = dict(model.named_parameters())\n    for (n, p), (m, q) in combinations(named.items(), 2):\n"
    "        out.append(cosine(p.grad.flatten(), q.grad.flatten()))",
]


@pytest.mark.parametrize("body", PARAMETERS)
def test_parameters_whose_gradients_are_compared_are_found(body: str) -> None:
    assert len(rows("FAL410", measured(body, "return out"))) == 1


OF_TASKS = [
    "grads = [torch.cat([g.flatten() for g in torch.autograd.grad(x, params, retain_graph=True)]) for x in losses]",
    "grads = []\n    for x in losses:\n        model.zero_grad()\n        x.backward(retain_graph=True)\n"
    "        grads.append(torch.cat([p.grad.flatten() for p in model.parameters()]))",
    "grads = []\n    for x in losses:\n        model.zero_grad()\n        x.backward(retain_graph=True)\n"
    "        grads.append(model.shared.weight.grad.flatten().clone())",
    "w = model.shared.weight\n    grads = [torch.autograd.grad(x, w, retain_graph=True)[0].flatten() for x in losses]",
    "grads = []\n    for x in losses:\n        x.backward(retain_graph=True)\n        for p in params:\n            grads.append(p.grad.flatten().clone())",
    "inputs = model.split(loss)\n    grads = [g.flatten() for g in torch.autograd.grad(loss, inputs)]",
    "loss.backward()\n    grads = [x.grad.flatten() for x in losses]",
    "grads = [m.head.weight.grad.flatten() for m in ks]",
    "grads = list(model.head.weight.grad)",
    "grads = model.head.weight.grad",
    "grads = [p.data.flatten() for p in model.parameters()]",
    "grads = torch.autograd.grad(loss, params)[0]",
]


@pytest.mark.parametrize("compare", [*PAIRS, *LOOPS])
@pytest.mark.parametrize("make", OF_TASKS)
def test_one_entry_a_task_sample_or_row_is_silent(make: str, compare: str) -> None:
    assert rows("FAL410", measured(make, compare)) == []


SAME = [
    "loss.backward()\n    grads = [p.grad.flatten() for p in params]\n    return [cosine(a, b) for a, b in zip(grads, grads[:])]",
    "first = torch.autograd.grad(losses[0], params)\n    second = torch.autograd.grad(losses[1], params)\n"
    "    return [cosine(a, b) for a, b in zip(first[1:], second[1:])]",
    "first = torch.autograd.grad(losses[0], params)\n    second = torch.autograd.grad(losses[1], params)\n"
    "    return [cosine(a, b) for a, b in zip(first, second[1:])]",
    "for b in model.blocks:\n        for x in losses:\n            g = torch.autograd.grad(x, b.weight)[0]\n"
    "            out.append(cosine(g.flatten(), b.weight.grad.flatten()))",
    "loss.backward()\n    for a, b in zip(model.blocks, ks.blocks):\n"
    "        out.append(cosine(a.weight.grad.flatten(), b.weight.grad.flatten()))",
    "rows = []\n    for x in losses:\n        x.backward()\n        rows.append(model.blocks[0].weight.grad.flatten().clone())\n"
    "    return [cosine(u, v) for u, v in zip(rows, rows[1:])]",
    "G = torch.stack([torch.cat([g.flatten() for g in torch.autograd.grad(x, params)]) for x in losses])\n"
    "    return F.cosine_similarity(G[:, None], G[None], dim=-1), torch.corrcoef(G)",
    "loss.backward()\n    G = torch.stack([p.grad.flatten() for p in params])\n    return F.cosine_similarity(G, G, dim=-1)",
    "loss.backward()\n    G = torch.stack([p.data.flatten() for p in params])\n    return torch.corrcoef(G)",
    "loss.backward()\n    acts = [b.out.grad.flatten() for b in model.blocks]\n"
    "    return [cosine(u, v) for u, v in zip(acts, acts[1:])]",
    "grads = {}\n    for n, x in losses.items():\n        x.backward()\n        grads[n] = torch.cat([p.grad.flatten() for p in params])\n"
    "    return {(x, y): cosine(grads[x], grads[y]) for x, y in combinations(grads, 2)}",
    "task = {}\n    for n, x in losses.items():\n        x.backward()\n        task[n] = {m: p.grad.clone() for m, p in model.named_parameters()}\n"
    "    return [cosine(task[x][m].flatten(), task[y][m].flatten()) for x, y in combinations(task, 2) for m in task[x]]",
    "for a in ks:\n        for b in ks:\n            out.append(cosine(a.head.weight.grad.flatten(), b.head.weight.grad.flatten()))",
    "G = torch.stack([torch.cat([g.flatten() for g in torch.autograd.grad(x, params)]) for x in losses])\n"
    "    G = F.normalize(G, dim=1)\n    return G @ G.T",
    "rows = []\n    for x in losses:\n        x.backward()\n        rows.append(torch.cat([p.grad.flatten() for p in params]))\n"
    "    G = F.normalize(torch.stack(rows), dim=1)\n    return G @ G.T",
    "loss.backward()\n    for p in params:\n        G = F.normalize(p.grad, dim=1)\n        out.append(G @ G.T)\n    return torch.stack(out)",
    "G = F.normalize(torch.autograd.grad(loss, params)[0], dim=1)\n    return torch.stack([G @ G.T])",
    "loss.backward()\n    for a, b in zip(model.parameters(), params):\n        out.append(cosine(a.grad.flatten(), b.grad.flatten()))",
    "loss.backward()\n    grads = [p.grad.flatten() for p in params]\n    return [cosine(a, b) for a, b in zip(grads, grads)]",
    "first = torch.autograd.grad(losses[0], params)\n    second = torch.autograd.grad(losses[1], params)\n"
    "    for i in ks:\n        for j in ks:\n            out.append(cosine(first[i], second[i]))",
    "grads = [torch.autograd.grad(x, params, retain_graph=True) for x in losses]\n    for i in ks:\n        for j in ks:\n"
    "            out.append(sum((a * b).sum() for a, b in zip(grads[i], grads[j])))\n"
    "            out.append([cosine(a.flatten(), b.flatten()) for a, b in zip(grads[i], grads[j])])\n"
    "            out.append(cosine(grads[i][0].flatten(), grads[j][0].flatten()))",
    "for p in params:\n        grads = []\n        for x in losses:\n            p.grad = None\n            x.backward(retain_graph=True)\n"
    "            grads.append(p.grad.flatten().clone())\n        out += [cosine(a, b) for a in grads for b in grads]",
    "for p in params:\n        grads = [torch.autograd.grad(x, p, retain_graph=True)[0].flatten() for x in losses]\n"
    "        out += [cosine(a, b) for a in grads for b in grads]",
    "loss.backward()\n    grads = [p.grad for p in params]\n    for i in ks:\n        for j in ks:\n            out.append(grads[i].norm() / grads[j].norm())",
    "loss.backward()\n    grads = [p.grad.flatten() for p in params]\n    for i in ks:\n        for g in grads:\n            out.append(cosine(grads[i], grads[i]))",
    "loss.backward()\n    for p in params:\n        g = p.grad\n        rows = g / g.norm(dim=1, keepdim=True)\n        out += [rows[i] @ rows[j] for i in ks for j in ks]",
    "loss.backward()\n    grads = [p.grad.flatten() for p in params]\n    credits = [c.flatten() for c in out]\n"
    "    return [[cosine(a, b) for a in grads] for b in credits]",
]


@pytest.mark.parametrize("body", SAME)
def test_the_same_parameter_elsewhere_is_silent(body: str) -> None:
    assert rows("FAL410", measured(body, "return out")) == []


def test_a_helper_is_reported_where_it_is_given_one_entry_a_parameter() -> None:
    code = (
        f"{HEAD}{COSINE}{PAIRWISE}def good(params, losses):\n"
        "    return pairwise([torch.cat([g.flatten() for g in torch.autograd.grad(x, params)]) for x in losses])\n"
        "def bad(params, loss):\n    loss.backward()\n    return pairwise([p.grad.flatten() for p in params])\n"
    )
    assert rows("FAL410", code) == [code.count("\n")]


def test_a_long_function_is_answered_in_time() -> None:
    body = "".join(
        f"    for a in xs{n}:\n        for b in xs{n}:\n            out.append(cosine(a.grad, b.grad))\n"
        for n in range(200)
    )
    assert rows("FAL410", f"{HEAD}{COSINE}def f(params, out):\n{body}    return out\n") == []
