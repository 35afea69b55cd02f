"""The fixed fixtures run under torch and compute what their authors meant: every line that a fix wrote is executed.

One scenario a fixture. The fixed modules are instrumented, so that a fixed line without a scenario fails the test.
"""

from __future__ import annotations

import ast
import difflib
import importlib
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest

from fa_lint.fixes.edits import fix_data
from fa_lint.project.config import Settings
from fa_lint.project.discovery import discover
from fa_lint.project.engine import lint
from fa_lint.source.text import Source

torch = pytest.importorskip("torch")
np = pytest.importorskip("numpy")
F = torch.nn.functional
same = torch.testing.assert_close

FIXTURES = Path(__file__).parent.parent / "fixtures"
SETTINGS = Settings(root=str(FIXTURES))
Scenario = Callable[[ModuleType], None]
SCENARIOS: dict[str, Scenario] = {}
SMALL = (1.0, 1e-7, 1e-18)


def scenario(name: str) -> Callable[[Scenario], Scenario]:
    def register(run: Scenario) -> Scenario:
        SCENARIOS[name] = run
        return run

    return register


def fixed_texts() -> dict[str, tuple[str, str]]:
    """By fixture with a fix: its text before and after ``--fix --unsafe-fixes``, magics blanked."""
    files = discover([str(FIXTURES)], SETTINGS)
    report = lint(files, SETTINGS, use_cache=False)
    texts = {}
    for path in files:
        data = Path(path).read_bytes()
        mine = [d for d in report.diagnostics if d.path == path]
        fixed = fix_data(path, data, mine, SETTINGS, unsafe=True).data
        if fixed != data:
            name = Path(path).relative_to(FIXTURES).with_suffix("").as_posix()
            texts[name] = (Source.read(path, data).text, Source.read(path, fixed).text)
    return texts


FIXED = fixed_texts()


class Instrument(ast.NodeTransformer):
    """Put ``__ran__.add(row)`` before every plain statement that holds a fixed row."""

    def __init__(self, rows: set[int]) -> None:
        self.rows = rows

    def generic_visit(self, node: ast.AST) -> ast.AST:
        super().generic_visit(node)
        for name in ("body", "orelse", "finalbody"):
            block = getattr(node, name, None)
            if isinstance(block, list):
                setattr(node, name, [new for old in block for new in self._marked(old)])
        return node

    def _marked(self, statement: ast.stmt) -> Iterator[ast.stmt]:
        if not hasattr(statement, "body"):
            for row in sorted(self.rows & set(range(statement.lineno, (statement.end_lineno or statement.lineno) + 1))):
                yield from ast.parse(f"__import__('builtins').__ran__.add({row})").body
        yield statement


def written_rows(old: str, new: str) -> set[int]:
    lines = new.splitlines()
    matcher = difflib.SequenceMatcher(a=old.splitlines(), b=lines, autojunk=False)
    rows = {j + 1 for tag, _, _, j1, j2 in matcher.get_opcodes() if tag != "equal" for j in range(j1, j2)}
    return {row for row in rows if "from fa_lint_runtime import" not in lines[row - 1]}


@pytest.fixture
def stand_ins(monkeypatch: pytest.MonkeyPatch) -> None:
    """Libraries that the fixtures only name: jax.numpy is numpy's interface, the others are never entered."""
    jax, pairwise = ModuleType("jax"), ModuleType("sklearn.metrics.pairwise")
    jax.numpy = np
    pairwise.cosine_similarity = None
    dfa, safetensors = ModuleType("dfa"), ModuleType("safetensors.torch")
    dfa.DFAFeedbackMatrix = safetensors.save_file = None
    for name, module in {
        "jax": jax,
        "jax.numpy": np,
        "sklearn": ModuleType("sklearn"),
        "dfa": dfa,
        "safetensors": ModuleType("safetensors"),
        "safetensors.torch": safetensors,
    }.items():
        monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.setitem(sys.modules, "sklearn.metrics", ModuleType("sklearn.metrics"))
    monkeypatch.setitem(sys.modules, "sklearn.metrics.pairwise", pairwise)


@pytest.mark.parametrize("name", sorted(FIXED))
def test_every_fixed_line_runs_and_means_what_was_meant(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stand_ins: None
) -> None:
    old, new = FIXED[name]
    rows = written_rows(old, new)
    assert rows
    tree = Path(tmp_path, "fixtures")
    shutil.copytree(FIXTURES, tree)
    instrumented = ast.fix_missing_locations(Instrument(rows).visit(ast.parse(new)))
    target = (tree / name).with_suffix(".py")
    target.write_text(ast.unparse(instrumented), encoding="utf-8")
    folder = tree / "project" if name.startswith("project/") else tree
    module_name = name.removeprefix("project/").replace("/", ".")
    monkeypatch.syspath_prepend(str(folder))
    ran: set[int] = set()
    monkeypatch.setattr("builtins.__ran__", ran, raising=False)
    before = set(sys.modules)
    try:
        torch.manual_seed(0)
        SCENARIOS[name](importlib.import_module(module_name))
    finally:
        for added in set(sys.modules) - before:
            if str(getattr(sys.modules[added], "__file__", "")).startswith(str(tree)):
                del sys.modules[added]
    assert rows - ran == set(), "fixed lines that no scenario executes"


def rows_of(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, dtype=torch.float64)


def unit(x: torch.Tensor) -> torch.Tensor:
    return x / (x * x).sum(-1, keepdim=True).sqrt()


@scenario("norm_order")
def _(module: ModuleType) -> None:
    x, y = rows_of(4, 3), rows_of(4, 3)
    length = (x * x).sum(-1).sqrt()
    head = module.DirectionHead().double()
    scaled, got = head(SimpleNamespace(vec=x))
    same(got, length)
    same(scaled, head.scale(unit(x)))
    same(module.clip_similarity(x.clone(), y.clone()), unit(x) @ unit(y).T)
    same(module.rescale(x, y), unit(y) * length[:, None])
    cosines = (unit(x) * unit(y)).sum(-1)
    same(torch.from_numpy(module.cosine_of_logits(x.numpy(), y.numpy())), cosines)
    same(torch.from_numpy(module.column_cosine(x.numpy(), y.numpy())), cosines)
    for got, want in zip(module.attention_keys(x, y), (x, y), strict=True):
        same(got, unit(want))
    pair, vector, norms = module.distances(x, y)
    same(pair, ((x - y + 1e-6) ** 2).sum(-1).sqrt())
    same(vector, ((x - y) ** 2).sum(-1).sqrt())
    same(norms, length)
    same(module.weight_norm(x, 1), unit(x))
    same(module.info_nce(x, y), unit(x) @ unit(y).T)
    same(module.mean_gradient_norm(x), length.mean())


@scenario("gradient_penalty")
def _(module: ModuleType) -> None:
    factors = rows_of(3, 4, 4)

    def critic(x: torch.Tensor) -> torch.Tensor:
        return (x * factors[:, : x.shape[-1]]).flatten(1).sum(1) if x.ndim == 4 else (x * factors[0, 0]).sum(1)

    real, fake = rows_of(5, 3, 4, 4), rows_of(5, 3, 4, 4)
    want = (factors.square().sum().sqrt() - 1) ** 2
    same(module.per_pixel(critic, real, fake), 10 * want)
    same(module.per_pixel_one_sided(critic, real), want)
    same(module.whole_batch(critic, rows_of(5, 4), rows_of(5, 4)), (factors[0, 0].square().sum().sqrt() - 1) ** 2)
    images = torch.randn(5, 3, 8, 8)
    torch.manual_seed(1)
    got = module.penalty_of_a_known_critic(images)
    torch.manual_seed(1)
    score = module.Critic()(images).sum()
    lengths = torch.autograd.grad(score, images)[0].square().sum((1, 2, 3)).sqrt()
    same(got, ((lengths - 1) ** 2).mean())


@scenario("clamped_cosine")
def _(module: ModuleType) -> None:
    layer, x, credit = torch.nn.Linear(8, 4).double(), rows_of(5, 8), rows_of(5, 4)
    hidden = layer(x)
    target = rows_of(5, 4)
    want = (unit(credit) * unit(target)).sum(-1)
    for scale in SMALL:
        same(module.gamma((hidden * target).sum() * scale, hidden, credit), want)
        a = (layer(x) * credit).sum() * scale
        b = (layer(x) * target).sum() * scale
        first, second = (
            torch.cat([(g[:, :, None] * x[:, None, :]).sum(0).flatten(), g.sum(0)]) for g in (credit, target)
        )
        same(module.task_conflict(layer, a, b), (unit(first) * unit(second)).sum())
        same(module.by_name_only(credit * scale, target), want)
        same(module.of_unknown_things(credit, target * scale), want)
        hooked = torch.nn.Linear(8, 4).double()
        alignment = module.Alignment(hooked, None)
        alignment.true[hooked] = target
        (hooked(x.clone().requires_grad_()) * credit).sum().mul(scale).backward()
        same(alignment.measure(hooked), want.mean())


@scenario("floored_cosine")
def _(module: ModuleType) -> None:
    p, q = torch.nn.Parameter(rows_of(3, 2)), torch.nn.Parameter(rows_of(3, 2))
    a, b = rows_of(3, 2), rows_of(3, 2)
    whole = (unit(a.flatten()) * unit(b.flatten())).sum()
    for scale in SMALL:
        p.grad, q.grad = a * scale, b * scale
        same(module.named_floor(p, q), whole)
        same(module.floor_in_the_root(p, q), whole)
        same(module.clamp_floor(p, b), (unit(a) * unit(b)).sum(-1))
        model = torch.nn.Linear(2, 3, bias=False).double()
        losses = [(model.weight * a).sum() * scale, (model.weight * b).sum() * scale]
        same(module.product_floor(model, losses), whole)


@scenario("angles")
def _(module: ModuleType) -> None:
    v = torch.randn(64, 2048)
    assert torch.stack([module.angle(row, row) for row in v]).abs().max() == 0
    right = torch.tensor([1.0, 0.0]), torch.tensor([0.0, 2.0])
    same(module.angle(*right), torch.tensor(torch.pi / 2))
    assert module.angle_of_features(v, v).abs().max() < 0.05
    same(module.angle_of_features(right[0][None], right[1][None]), torch.tensor([90.0]))
    assert float(module.degrees(right[0].numpy(), right[1].numpy())) == pytest.approx(90)
    assert all(module.degrees(row.numpy(), row.numpy()) < 0.05 for row in v)
    equal = v.clone().requires_grad_()
    module.angular_loss(equal, v).backward()
    assert torch.isfinite(equal.grad).all()
    model = torch.nn.Linear(4, 4)
    with torch.no_grad():
        model.weight.copy_(torch.eye(4))
        model.bias.zero_()
    q = unit(torch.randn(8, 4))
    module.train_on_quaternions(model, q, q, SimpleNamespace(zero_grad=lambda: None, step=lambda: None))
    assert all(torch.isfinite(p.grad).all() for p in model.parameters())


@scenario("notebook")
def _(module: ModuleType) -> None:
    same(module.unit, unit(module.x))
    layer = torch.nn.Linear(3, 4)
    credit = torch.randn(4, 3)
    for scale in SMALL:
        layer.weight.grad = credit * scale
        same(module.gamma(layer, credit), torch.ones(4))


@scenario("project/credit/metrics")
def _(module: ModuleType) -> None:
    compare = importlib.import_module("compare")
    model = torch.nn.Linear(3, 2, bias=False)
    credit = torch.randn(2, 3)
    for scale in SMALL:
        ((distance, angle),) = compare.compare(model, (model.weight * credit).sum() * scale, [credit])
        assert angle < 1e-3
        same(distance, (credit - credit * scale).norm())


@scenario("checkpoints")
def _(module: ModuleType) -> None:
    net = module.Net().to(torch.float64)
    state = net.state_dict()
    assert [name for name in state if name.endswith("weight_fa")] == ["body.0.weight_fa", "body.2.weight_fa"]
    assert state["body.0.weight_fa"].dtype == torch.float64  # `.to` moves it
    again = module.Net().to(torch.float64)
    again.load_state_dict(state)
    same(again.body[0].weight_fa, net.body[0].weight_fa)
    assert [n for n, _ in net.named_parameters() if "weight_fa" in n] == []


@scenario("feedback_storage")
def _(module: ModuleType) -> None:
    layer = module.PlainFA(3, 2)
    assert layer.weight_fa.shape == (2, 3)
    assert not layer.weight_fa.requires_grad
    assert "weight_fa" in layer.state_dict()
    assert layer.double().weight_fa.dtype == torch.float64
    assert "carrier" in module.UnnamedFA(3, 2).state_dict()


@scenario("fabricated_alignment")
def _(module: ModuleType) -> None:
    layer = torch.nn.Linear(3, 2)
    g, credit = torch.randn(4, 2), torch.randn(4, 2)
    credit[1] = 0
    probe = module.Probe(0.0)
    probe.bp[layer], probe.dfa[layer] = g, credit
    angle = probe.measure([layer])[layer]
    assert torch.isnan(angle).tolist() == [False, True, False, False]
    same(angle[0], (unit(g) * unit(credit)).sum(-1)[0])
    p = torch.nn.Parameter(torch.zeros(4, 2))
    p.grad = g.clone()
    p.grad[2] = float("nan")
    assert torch.isnan(module.masked(p, credit)).tolist() == [False, False, True, False]
    assert np.isnan(module.or_one(p, credit, None))
    p.grad = g
    same(module.or_one(p, credit, g), torch.nn.functional.cosine_similarity(g, credit, dim=0))
    a = torch.tensor([1.0, 0.0])
    assert np.isnan(module.angle_of(a, torch.zeros(2)))
    assert module.angle_of(a, torch.tensor([0.0, 3.0])) == pytest.approx(90)
    assert np.isnan(module.first_trainable(torch.nn.Linear(2, 2), torch.nn.Linear(2, 2)))


@scenario("legacy_hooks")
def _(module: ModuleType) -> None:
    layer, recorder = torch.nn.Linear(3, 2), module.Recorder()
    recorder.attach(layer)
    x, credit = torch.randn(5, 3, requires_grad=True), torch.randn(5, 2)
    (layer(x) * credit).sum().backward()
    same(recorder.credit[layer], credit @ layer.weight)
    same(recorder.credit[layer], x.grad)
