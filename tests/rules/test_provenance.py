"""Shapes of the provenance rules (FAL401, 402, 403, 406, 407, 408) that the wild writes, each beside its lookalikes."""

from __future__ import annotations

import textwrap

import pytest

from fa_lint.findings import Diagnostic
from fa_lint.project.check_file import analyse
from fa_lint.semantics.roles import RoleNames

CODES = frozenset({"FAL401", "FAL402", "FAL403", "FAL406", "FAL407", "FAL408"})
HEAD = "import torch, pickle\nfrom torch import nn\nimport torch.nn.functional as F\n# direct feedback alignment\n"


def lint(code: str) -> list[Diagnostic]:
    result = analyse("m.py", (HEAD + textwrap.dedent(code)).encode(), CODES, RoleNames())
    assert not result.problems
    return result.diagnostics


def found(code: str) -> list[tuple[str, int]]:
    offset = HEAD.count("\n")
    return [(d.code, d.start.row - offset) for d in lint(code)]


PLAIN = """
class LinearFA(nn.Module):
    def __init__(self, n):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(n, n))
        self.weight_fa = torch.randn(n, n)
"""


# -- FAL402 -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ("self.weight_fa = torch.randn(n, n)", "FAL402"),
        ("setup(self)\n        self.feedback_weights = {k: torch.randn(n, n) for k in 'ab'}", "FAL402"),
        ("self.backward_weights = []\n        self.backward_weights += [torch.randn(n, n)]", ""),
        ("self.weight_fa = torch.randn(n, n)\n        self.register_buffer('w', self.weight_fa)", "FAL402"),
        ("b = torch.randn(n, n)\n        self.register_buffer('weight_fa', b)", ""),
        ("self.weight_fa = nn.Linear(n, n)", ""),
        ("self.weight_fa = torch.zeros(n, n)", ""),
    ],
)
def test_plain_feedback_of_a_module(body: str, code: str) -> None:
    text = f"class LinearFA(nn.Module):\n    def __init__(self, n):\n        super().__init__()\n        {body}\n"
    assert {c for c, _ in found(text)} == ({code} if code else set())


@pytest.mark.parametrize(
    ("bases", "fires"),
    [("nn.Module", True), ("nn.Linear", True), ("torch.nn.Conv2d", True), ("object", False), ("Layer", False)],
)
def test_an_unknown_base_is_no_evidence(bases: str, fires: bool) -> None:
    assert bool(found(PLAIN.replace("nn.Module", bases))) == fires


def test_the_fix_needs_a_single_assignment_after_the_constructor_of_the_base() -> None:
    offered = [d.fix is not None for d in lint(PLAIN)]
    assert offered == [True]
    twice = PLAIN + "        self.weight_fa = self.weight_fa / n\n"
    before = PLAIN.replace("        super().__init__()\n", "") + "        super().__init__()\n"
    optional = PLAIN.replace("torch.randn(n, n)\n", "torch.randn(n, n) if n else None\n")
    array = PLAIN.replace("self.weight_fa = torch.randn(n, n)", "self.weight_fa = numpy.random.randn(n, n)")
    for code in (twice, before, optional, "import numpy\n" + array):
        assert [d.fix for d in lint(code) if d.code == "FAL402"] == [None]


def test_weaker_evidence_is_a_warning() -> None:
    passed = PLAIN.replace("(self, n)", "(self, n, g=None)").replace(
        "torch.randn(n, n)\n", "torch.randn(n, n, generator=g)\n"
    )
    assert [str(d.level) for d in lint(PLAIN)] == ["error"]
    assert [str(d.level) for d in lint(passed)] == ["warning"]


def test_every_finding_says_where_the_feedback_was_drawn() -> None:
    (diagnostic,) = lint(PLAIN)
    assert next((p.message, p.start.row) for p in diagnostic.related) == ("drawn here", 10)
    assert any("named `weight_fa`" in p.message for p in diagnostic.related)


# -- FAL401 -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("save", "lost"),
    [
        ("torch.save(net.state_dict(), p)", True),
        ("torch.save({'net': net.state_dict()}, p)", True),
        ("torch.save(net, p)", False),
        ("torch.save({'net': net.state_dict(), 'fa': [m.weight_fa for m in net.layers]}, p)", False),
        ("torch.save(net.state_dict(), p)\n    torch.save(net.layer.weight_fa, p + 'b')", False),
        ("torch.save(net.state_dict(), p)\n    numpy.save('b', net.layer.weight_fa)", False),
        ("state = {'n': net.state_dict()}\n    state['fa'] = net.layer.weight_fa\n    torch.save(state, p)", False),
        ("torch.save(optimizer.state_dict(), p)", False),
        ("torch.save(losses, p)", False),
        ("pickle.dump(net.state_dict(), p)", True),
        ("trainer.fit(net)\n    trainer.save_checkpoint(p)", True),
        ("accelerator.save(accelerator.unwrap_model(net).state_dict(), p)", True),
    ],
)
def test_what_a_checkpoint_of_a_plain_attribute_loses(save: str, lost: bool) -> None:
    code = PLAIN + f"def main(p, trainer, accelerator, optimizer, losses):\n    net = LinearFA(3)\n    {save}\n"
    assert ("FAL401" in {c for c, _ in found(code)}) == lost


def test_a_model_of_another_class_is_not_accused() -> None:
    code = PLAIN + "class BP(nn.Module):\n    pass\ndef main(p):\n    net = BP()\n    torch.save(net.state_dict(), p)\n"
    assert [c for c, _ in found(code)] == ["FAL402"]
    unknown = PLAIN + "def write(model, p):\n    torch.save(model.state_dict(), p)\n"
    assert [c for c, _ in found(unknown)] == ["FAL402"], "who calls it is for the project to prove"


@pytest.mark.parametrize(
    "rest",
    [
        "    return feedback_matrix\n",
        "    model.feedback_matrix = feedback_matrix\n",
        "    model.set_feedback(feedback_matrix)\n",
        "    return {'B': feedback_matrix}\n",
    ],
)
def test_a_local_that_escapes_is_not_lost(rest: str) -> None:
    code = "def train_dfa(model, p):\n    feedback_matrix = torch.randn(10, 3)\n    torch.save(model.state_dict(), p)\n"
    assert [c for c, _ in found(code)] == ["FAL401"]
    assert [c for c, _ in found(code + rest)] == []


def test_an_attribute_set_from_outside_is_plain_where_the_class_is_known() -> None:
    code = """
    class DFANet(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(3, 3)
    def main(p):
        net = DFANet()
        net.feedback_matrix = torch.randn(10, 3)
        torch.save(net.state_dict(), p)
    """
    assert found(code) == [("FAL401", 9)]
    buffered = code.replace("nn.Linear(3, 3)", "nn.Linear(3, 3); self.register_buffer('feedback_matrix', None)")
    assert found(buffered) == []


def test_an_optimizer_that_holds_the_feedback() -> None:
    code = """
    class DFAOptimizer(torch.optim.Optimizer):
        def __init__(self, params, sizes):
            super().__init__(params, {})
            self.feedback_matrices = [torch.randn(10, n) for n in sizes]
    def main(model, p):
        optimizer = DFAOptimizer(model.parameters(), [3, 4])
        torch.save({"model": model.state_dict(), "optimizer": optimizer.state_dict()}, p)
    """
    assert found(code) == [("FAL401", 8)]


# -- FAL403 -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("guard", "fires"),
    [
        ("if self.feedback_matrix is None:", True),
        ("if not hasattr(self, 'feedback_matrix'):", True),
        ("if not (self.ready or self.frozen):", True),
        ("if self.training:", False),
        ("if not self.training:", False),
        ("with torch.no_grad():", False),
    ],
)
def test_lazy_draws(guard: str, fires: bool) -> None:
    code = f"""
    class DFA(nn.Module):
        def forward(self, x):
            {guard}
                self.feedback_matrix = torch.randn(3, 3)
            return x
    """
    assert ("FAL403" in {c for c, _ in found(code)}) == fires


def test_an_early_return_guards_too() -> None:
    code = """
    class DFA(nn.Module):
        def forward(self, x):
            self._draw(x)
            return x
        def _draw(self, x):
            if self.feedback_matrix is not None:
                return
            self.feedback_matrix = torch.randn(3, 3)
    """
    assert ("FAL403", 9) in found(code)


def test_a_lazy_draw_that_a_load_replaces_is_fine() -> None:
    code = """
    class DFA(nn.Module):
        def forward(self, x):
            if self.feedback_matrix is None:
                self.feedback_matrix = torch.randn(3, 3)
            return x
        def restore(self, checkpoint):
            self.feedback_matrix = checkpoint["B"]
    """
    assert "FAL403" not in {c for c, _ in found(code)}


MEASURE = """
def gamma(model, path, error, grad):
    model.load_state_dict(torch.load(path))
    {draw}
    return F.cosine_similarity(error @ feedback_matrix, grad, eps=1e-30)
"""


@pytest.mark.parametrize(
    ("draw", "fires"),
    [
        ("feedback_matrix = torch.randn(10, 3)", True),
        ("feedback_matrix = torch.load(path)['B']", False),
        ("feedback_matrix = torch.randn(10, 3, generator=torch.Generator().manual_seed(0))", False),
        ("for _ in range(20): feedback_matrix = torch.randn(10, 3)", False),
        ("feedback_matrix = torch.randn(10, 3); optimizer.step()", False),
    ],
)
def test_measuring_with_a_draw_of_its_own(draw: str, fires: bool) -> None:
    assert ("FAL403" in {c for c, _ in found(MEASURE.format(draw=draw))}) == fires


@pytest.mark.parametrize(
    ("statement", "fires"),
    [
        ("self.weight_fa = nn.Parameter(self.weight_fa * torch.sign(self.weight), requires_grad=False)", True),
        ("self.weight_fa.data = self.weight_fa * self.weight.sign()", True),
        ("self.weight_fa.data *= self.weight.sign()", True),
        ("self.weight_fa.mul_(self.weight.sign())", True),
        ("self.weight_fa.data = self.weight_fa.abs() * self.weight.sign()", False),
        ("used = self.weight_fa * self.weight.sign()", False),
        ("self.weight_fa.data *= self.mask", False),
    ],
)
def test_sign_write_backs(statement: str, fires: bool) -> None:
    code = f"""
    class FrSF(nn.Module):
        def __init__(self, n):
            super().__init__()
            self.weight_fa = nn.Parameter(torch.rand(n, n), requires_grad=False)
        def forward(self, x):
            {statement}
            return x
    """
    assert [c for c, _ in found(code)] == (["FAL403"] if fires else [])


# -- FAL406 -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("after", "fires"),
    [
        ("", True),
        ("self.weight_fa.requires_grad_(False)", True),
        ("self.weight_fa = self.weight_fa.to('cuda')", True),
        ("self.weight_fa.data.uniform_(-1, 1)", False),
        ("self.weight_fa.data = torch.randn(n, n)", False),
        ("self.weight_fa[:] = torch.randn(n, n)", False),
        ("nn.init.constant_(self.weight_fa, 1.0)", False),
        ("initialise(self.weight_fa)", False),
        ("self.apply(initialise)", False),
        ("self.reset_feedback()", False),
        ("for p in self.parameters(): p.data.normal_()", False),
        ("with torch.no_grad(): self.weight_fa.copy_(other)", False),
        ("self.weight_fa += other", False),
    ],
)
def test_uninitialised_feedback(after: str, fires: bool) -> None:
    code = f"""
    class LinearFA(nn.Module):
        def __init__(self, n, other=None):
            super().__init__()
            self.weight_fa = nn.Parameter(torch.Tensor(n, n), requires_grad=False)
            {after}
    """
    assert [c for c, _ in found(code)] == (["FAL406"] if fires else [])


# -- FAL407 -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("statement", "fires"),
    [
        ("self.w = nn.Parameter(self.w / 2)", True),
        ("self.layer.weight = nn.Parameter(x)", True),
        ("setattr(self, 'w', nn.Parameter(x))", True),
        ("self.register_parameter('w', nn.Parameter(x))", True),
        ("if self.constrain: self.w = nn.Parameter(x)", True),
        ("self.w.data = self.w / 2", False),
        ("w = nn.Parameter(x)", False),
        ("other.w = nn.Parameter(x)", False),
        ("self.w = nn.Parameter(x, requires_grad=False)", False),
        ("self.w = nn.Parameter(x, False)", False),
        ("if self.w is None: self.w = nn.Parameter(x)", False),
        ("if self.w.shape != x.shape: self.w = nn.Parameter(x)", False),
        ("if n > self.w.size(0): self.w = nn.Parameter(x)", False),
    ],
)
def test_parameters_made_in_forward(statement: str, fires: bool) -> None:
    code = f"""
    class M(nn.Module):
        def __init__(self):
            super().__init__()
            self.w = nn.Parameter(torch.ones(3))
        def forward(self, x, other, n):
            {statement}
            return x
    """
    assert [c for c, _ in found(code)] == (["FAL407"] if fires else [])


def test_the_way_from_forward_is_part_of_the_evidence() -> None:
    code = """
    class Base(nn.Module):
        def _clip(self):
            self.w = nn.Parameter(self.w.clamp(0))
    class M(Base):
        def forward(self, x):
            self._prepare()
            return x
        def _prepare(self):
            self._clip()
    """
    (diagnostic,) = lint(code)
    assert (diagnostic.code, diagnostic.start.row - HEAD.count("\n")) == ("FAL407", 4)
    assert "`forward` calls" in diagnostic.related[0].message


# -- FAL408 -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("load", "fires"),
    [
        ("model.load_state_dict(state, strict=False)", True),
        ("model.load_state_dict(state, False)", True),
        ("keys = model.load_state_dict(state, strict=False)", True),
        ("keys = model.load_state_dict(state, strict=False); print(keys.missing_keys)", False),
        ("assert not model.load_state_dict(state, strict=False).missing_keys", False),
        ("self.keys = model.load_state_dict(state, strict=False)", False),
        ("model.load_state_dict(state, strict=True)", False),
        ("model.load_state_dict(state, strict=flag)", False),
    ],
)
def test_partial_loads(load: str, fires: bool) -> None:
    registered = PLAIN.replace(
        "self.weight_fa = torch.randn(n, n)", "self.register_buffer('weight_fa', torch.randn(n, n))"
    )
    code = registered + f"def resume(self, model, state, flag):\n    {load}\n"
    assert [c for c, _ in found(code)] == (["FAL408"] if fires else [])


def test_a_users_feedback_is_no_feedback() -> None:
    code = (
        "def collect_feedback(user): ...\ndef resume(model, state):\n    model.load_state_dict(state, strict=False)\n"
    )
    assert found(code) == []
