"""Across files: cosines that a file passes to the helpers of another one, and checks that its calls have passed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from fa_lint.analysis.project import Project
from fa_lint.semantics.roles import RoleNames
from tests.conftest import Lint, write

Codes = Callable[..., list[str]]

HEAD = "import torch\nimport torch.nn.functional as F\n"
IMPORTS = [
    ("from m import use", "use"),
    ("import m", "m.use"),
    ("import m as other", "other.use"),
    ("from m import use as f", "f"),
    ("from m import *", "use"),
    ("from pack import use", "use"),
    ("from functools import partial\nfrom m import use", "partial(use)"),
]
COSINE = "cos = F.cosine_similarity(p.grad, c, dim=1, eps=1e-30)"
FEATURES = "cos = F.cosine_similarity(h, k, dim=1)"
HELPERS = [
    ("FAL204", FEATURES, "return torch.acos(x)", "return torch.acos(x.clamp(-1, 1))"),
    ("FAL405", COSINE, "return torch.nan_to_num(x)", "return torch.nan_to_num(x, float('nan'))"),
    ("FAL405", COSINE, "x[x != x] = 0.0; return x", "x[x != x] = torch.nan; return x"),
    (
        "FAL405",
        COSINE,
        "return torch.where(torch.isnan(x), 1.0, x)",
        "return torch.where(torch.isnan(x), torch.nan, x)",
    ),
]


def _files(imports: str, call: str, body: str) -> None:
    write("m.py", f"{HEAD}\ndef use(x):\n    {body}\n")
    write("pack/__init__.py", "from m import use\n")
    write("main.py", f"{HEAD}{imports}\n\ndef run(p, c, h, k):\n    {call}\n")


@pytest.mark.parametrize(("imports", "name"), IMPORTS)
@pytest.mark.parametrize(("code", "cosine", "wrong", "right"), HELPERS)
def test_a_helper_is_what_other_files_pass(
    codes: Codes, imports: str, name: str, code: str, cosine: str, wrong: str, right: str
) -> None:
    options = ("--select", code, "--no-cache")
    _files(imports, f"{cosine}\n    return {name}(cos)", wrong)
    assert codes("m.py", "main.py", "pack", *options) == [f"m.py:5:{5 if ';' in wrong else 12} {code}"]
    assert codes("m.py", "pack", *options) == []
    _files(imports, f"{cosine}\n    return {name}(cos)", right)
    assert codes("m.py", "main.py", "pack", *options) == []
    _files(imports, f"{cosine}\n    return {name}(h), cos", wrong)
    assert codes("m.py", "main.py", "pack", *options) == []


@pytest.mark.parametrize(("code", "cosine", "wrong"), [helper[:3] for helper in HELPERS[:2]])
def test_the_cache_knows_the_callers(codes: Codes, code: str, cosine: str, wrong: str) -> None:
    options = ("--select", code)
    _files("from m import use", f"{cosine}\n    return use(cos)", wrong)
    main = Path("main.py").read_text()
    harmless = main.replace("return use(cos)", "return cos")
    for text, is_found in [("", False), (main, True), (main.replace("use(cos)", "use(h)"), False), (harmless, False)]:
        write("main.py", text)
        assert codes(".", *options) == ([f"m.py:5:12 {code}"] if is_found else [])
    # Nothing that was read is another one now: there is one more file.
    write("other.py", main)
    assert codes(".", *options) == [f"m.py:5:12 {code}"]
    Path("other.py").unlink()
    assert codes(".", *options) == []


@pytest.mark.parametrize(
    ("code", "call", "wrong", "is_found"),
    [
        ("FAL204", f"{FEATURES}\n    return first(cos)", "return torch.acos(x)", True),
        ("FAL204", f"{FEATURES}\n    return first(h), cos", "return torch.acos(x)", False),
        ("FAL405", f"{COSINE}\n    return first(cos)", "return torch.nan_to_num(x)", True),
        ("FAL202", "return first(p)", "return F.cosine_similarity(x, x.roll(1))", True),
        ("FAL202", "return first(h.weight)", "return F.cosine_similarity(x, x.roll(1))", False),
    ],
)
def test_through_functions_of_files_between(codes: Codes, code: str, call: str, wrong: str, is_found: bool) -> None:
    _files("from one import first", call, wrong)
    write("one.py", "import two\n\n\ndef first(x):\n    return two.second(x)\n")
    write("two.py", "from m import use\n\n\ndef second(x):\n    return use(x)\n")
    found = codes(".", "--select", code, "--no-cache")
    assert found == ([f"m.py:5:12 {code}"] if is_found else [])


def test_an_object_whose_class_is_imported(codes: Codes) -> None:
    write("m.py", f"{HEAD}\nclass Angles:\n    def __call__(self, x):\n        return torch.acos(x)\n")
    body = f"{FEATURES}\n    return Angles()(cos)"
    write("main.py", f"{HEAD}from m import Angles\n\ndef run(h, k):\n    {body}\n")
    assert codes(".", "--select", "FAL204", "--no-cache") == ["m.py:6:16 FAL204"]


def test_rules_do_not_disturb_each_other(codes: Codes) -> None:
    """FAL202 asks all callers, FAL204 those that can make a cosine: neither sees what the other one asked for."""
    write("m.py", f"{HEAD}\ndef use(x, y):\n    cos = F.cosine_similarity(x, y)\n    return torch.nan_to_num(x), cos\n")
    write("plain.py", "from m import use\n\n\ndef run(a, b):\n    return use(a.weight, b)\n")
    write("main.py", f"{HEAD}from m import use\n\ndef run(p, c, k):\n    {COSINE}\n    return use(cos, k)\n")
    alone = codes(".", "--select", "FAL405", "--no-cache")
    assert alone == ["m.py:6:12 FAL405"]
    assert [f for f in codes(".", "--select", "FAL202,FAL405", "--no-cache") if "FAL405" in f] == alone


def test_the_files_that_lead_to_a_function() -> None:
    """Only these are read and evaluated: not those that import something else, or have a function of the same name."""
    write("m.py", "def use(x):\n    return x\n\n\ndef other(x):\n    return x\n")
    cosine = "import torch\n{}\n\ndef run(a, b):\n    return {}(torch.cosine_similarity(a, b))\n"
    write("yes.py", cosine.format("from m import use", "use"))
    write("no.py", cosine.format("from m import other\n\n\ndef use(x):\n    return x\n", "use"))
    write("plain.py", "from m import use\n\n\ndef run(x):\n    return use(x)\n")
    paths = ["m.py", "yes.py", "no.py", "plain.py"]
    project, names = Project(paths, RoleNames()), frozenset({"use"})
    assert [path for path, _, _ in project.callers("m.py", names, True)] == ["yes.py"]
    assert [path for path, _, _ in project.callers("m.py", names, False)] == ["plain.py", "yes.py"]


@pytest.mark.parametrize(("imports", "name"), IMPORTS[:-1])
@pytest.mark.parametrize(
    "mean", ["torch.stack(x).mean()", "sum(x) / len(x)", "np.mean(x)", "torch.tensor(x).median()", "float(np.mean(x))"]
)
def test_a_mean_over_layers_that_another_file_takes(codes: Codes, imports: str, name: str, mean: str) -> None:
    made = "cs = [F.cosine_similarity(q.grad, r, dim=0, eps=1e-30) for q, r in zip(p.parameters(), c)]"
    options = ("m.py", "main.py", "pack", "--select", "FAL501", "--no-cache")
    _files(imports, f"{made}\n    return {name}(cs)", f"import numpy as np\n    return {mean}")
    assert codes(*options) == ["main.py:7:12 FAL501"]
    _files(imports, f"{made}\n    return {name}(cs), cs", f"import numpy as np\n    return {mean}")
    assert codes(*options) == []
    for other in ("max(x)", "sum(x) if len(x) else None"):
        _files(imports, f"{made}\n    return {name}(cs)", f"return {other}")
        assert codes(*options) == []


@pytest.mark.parametrize(
    ("check", "count"),
    [("if p.grad.norm() < 1e-6:\n        return None", 0), ("assert p.grad.norm() > 1e-4", 0), ("print(p)", 1)],
)
def test_a_check_before_the_call(codes: Codes, check: str, count: int) -> None:
    write("m.py", f"{HEAD}\ndef use(grad, x):\n    return F.cosine_similarity(grad, x, dim=0)\n")
    write("main.py", f"{HEAD}from m import use\n\ndef run(p, c):\n    {check}\n    return use(p.grad, c)\n")
    found = codes("m.py", "main.py", "--select", "FAL201,FAL202", "--no-cache")
    assert len([line for line in found if line.startswith("m.py")]) == count


def test_a_helper_of_weights_is_no_hint(codes: Codes) -> None:
    write("m.py", f"{HEAD}\ndef use(x, y):\n    return F.cosine_similarity(x, y)\n")
    write("main.py", f"{HEAD}from m import use\n\ndef run(a, b):\n    return use(a.weight, b.weight)\n")
    assert codes("m.py", "--select", "FAL202") == ["m.py:5:12 FAL202"]
    assert codes("m.py", "main.py", "--select", "FAL202", "--no-cache") == []
    write("other.py", "from m import use\n\n\ndef run(a, b):\n    return use(a, b)\n")
    assert codes(".", "--select", "FAL202", "--no-cache") == ["m.py:5:12 FAL202"]


def test_a_helper_of_gradients_is_one_finding(codes: Codes) -> None:
    write("m.py", f"{HEAD}\ndef use(x, y):\n    return F.cosine_similarity(x, y)\n")
    write("main.py", f"{HEAD}from m import use\n\ndef run(p, c):\n    return use(p.grad, c)\n")
    found = codes(".", "--select", "FAL201,FAL202", "--no-cache")
    assert found == ["m.py:5:12 FAL201", "main.py:6:12 FAL201"]


@pytest.mark.parametrize(("imports", "name"), IMPORTS[:-1])
def test_a_norm_that_another_file_is_given_has_no_fix(fa_lint: Lint, imports: str, name: str) -> None:
    _files(imports, f"return h / {name}(h)", "return x.norm(-1)")
    options = ("--select", "FAL101", "--no-cache", "--output-format", "concise")
    found = fa_lint("m.py", "main.py", "pack", *options).stdout
    assert "no fix: another file calls the function that returns it" in found
    assert "no fix" not in fa_lint("m.py", *options).stdout


def test_the_report_names_the_file_that_takes_the_cosine(fa_lint: Lint) -> None:
    _files("from m import use", f"{FEATURES}\n    return use(cos)", "return torch.acos(x)")
    found = fa_lint("m.py", "main.py", "pack", "--select", "FAL204", "--no-cache", "--output-format", "full").stdout
    assert "because: the cosine is taken here (main.py:6:11)" in found
    _files("from m import use", f"{COSINE}\n    return use(cos)", "return torch.nan_to_num(x)")
    found = fa_lint("m.py", "main.py", "pack", "--select", "FAL405", "--no-cache", "--output-format", "full").stdout
    assert "because: a cosine that another file takes (m.py:5:29)" in found
    assert "the cosine is taken here" not in found


def test_a_check_of_another_file_does_not_cover_a_call_of_this_one(codes: Codes) -> None:
    helper = f"{HEAD}\ndef use(g, x):\n    return F.cosine_similarity(g, x, dim=0)\n"
    write(
        "main.py",
        f"{HEAD}from m import use\n\ndef run(p, c):\n    assert p.grad.norm() > 1e-4\n    return use(p.grad, c)\n",
    )
    write("m.py", helper)
    assert codes(".", "--select", "FAL201", "--no-cache") == []
    write("m.py", f"{helper}\ndef here(p, c):\n    return use(p.grad, c)\n")
    assert codes(".", "--select", "FAL201", "--no-cache") == ["m.py:5:12 FAL201"]


@pytest.mark.parametrize(
    "call",
    [
        "turn = lambda c: torch.acos(c)\n    return turn(cos)",
        "turn = lambda c, /, *, more=1: torch.acos(c) * more\n    return turn(cos, more=2)",
        "return partial(bound, cos)()",
        "turn = partial(bound)\n    return turn(cos)",
    ],
)
def test_lambdas_and_bound_functions_of_one_file(codes: Codes, call: str) -> None:
    head = f"{HEAD}from functools import partial\n\ndef bound(c):\n    return {{}}\n\n\ndef run(h, k):\n    "
    inner = "torch.acos(c)" if "bound" in call else "c"
    write("m.py", head.format(inner) + f"{FEATURES}\n    {call}\n")
    assert len(codes("m.py", "--select", "FAL204", "--no-cache")) == 1
    write("m.py", head.format(inner) + f"{FEATURES}\n    {call.replace('cos)', 'h)').replace('(cos', '(h')}\n")
    assert codes("m.py", "--select", "FAL204", "--no-cache") == []
