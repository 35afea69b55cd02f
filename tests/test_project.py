"""Across files: a helper with a floored cosine is judged by what its callers pass."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import Lint, notebook, write

Codes = Callable[..., list[str]]

_HELPER = "import torch\n\ndef cos(a, b):\n    return (a @ b) / (a.norm() * b.norm() + 1e-8)\n"
_CALLER = "{imports}\n\ndef gamma(p, q):\n    return {call}\n"
_FLOOR = "a.py:4:12 FAL203"


def _caller(imports: str, call: str) -> str:
    return _CALLER.format(imports=imports, call=call)


@pytest.mark.parametrize(
    ("imports", "call"),
    [
        ("from a import cos", "cos(p.grad, q.grad)"),
        ("from a import cos as c", "c(p.grad, q)"),
        ("import a", "a.cos(p.grad, q)"),
        ("import a as helpers", "helpers.cos(q, p.grad)"),
        ("from a import cos", "cos(a=p.grad, b=q)"),
        ("from a import cos", "cos(q, b=p.grad)"),
    ],
)
def test_a_helper_that_is_given_gradients(codes: Codes, imports: str, call: str) -> None:
    write("a.py", _HELPER)
    write("b.py", _caller(imports, call))
    assert codes("a.py", "b.py") == [_FLOOR, "b.py:4:12 FAL203"]
    assert codes("b.py", "a.py", "--no-cache") == [_FLOOR, "b.py:4:12 FAL203"]


def test_alone_it_is_no_finding(codes: Codes) -> None:
    write("a.py", _HELPER)
    write("b.py", _caller("from a import cos", "cos(p.grad, q.grad)"))
    assert codes("a.py") == []
    assert codes("b.py") == []


@pytest.mark.parametrize(
    ("imports", "call"),
    [
        ("from a import cos", "cos(p.weight, q.weight)"),
        ("from a import cos", "cos(p, q)"),
        ("from a import cos", "cos(*p.grad)"),
        ("from other import cos", "cos(p.grad, q.grad)"),
        ("import a", "a.other(p.grad, q.grad)"),
        ("def cos(a, b):\n    return 1", "cos(p.grad, q.grad)"),
        ("from a import cos", "('cos', p.grad)"),
        ("from a import cos", "cos(("),
    ],
)
def test_other_calls_are_none(codes: Codes, imports: str, call: str) -> None:
    write("a.py", _HELPER)
    write("b.py", _caller(imports, call))
    assert [place for place in codes(".") if "FAL203" in place] == []


@pytest.mark.parametrize(
    ("path", "imports", "call"),
    [
        ("pkg/b.py", "from .a import cos", "cos(p.grad, q)"),
        ("pkg/b.py", "from . import a", "a.cos(p.grad, q)"),
        ("pkg/__init__.py", "from .a import cos", "cos(p.grad, q)"),
        ("pkg/sub/b.py", "from ..a import cos", "cos(p.grad, q)"),
        ("pkg/sub/__init__.py", "from ..a import cos", "cos(p.grad, q)"),
        ("b.py", "from pkg.a import cos", "cos(p.grad, q)"),
        ("b.py", "import pkg.a", "pkg.a.cos(p.grad, q)"),
        ("src/b.py", "from pkg.a import cos", "cos(p.grad, q)"),
    ],
)
def test_packages(codes: Codes, path: str, imports: str, call: str) -> None:
    write("pkg/a.py", _HELPER)
    write(path, _caller(imports, call))
    assert codes(".") == sorted([f"pkg/{_FLOOR}", f"{path}:4:12 FAL203"])


def test_a_helper_in_a_packages_init(codes: Codes) -> None:
    write("pkg/__init__.py", _HELPER)
    write("b.py", _caller("from pkg import cos", "cos(p.grad, q)"))
    write("pkg/c.py", _caller("from . import cos", "cos(p.grad, q)"))
    assert codes(".") == ["b.py:4:12 FAL203", "pkg/__init__.py:4:12 FAL203", "pkg/c.py:4:12 FAL203"]


@pytest.mark.parametrize("imports", ["from .a import cos", "from ..a import cos", "from other.a import cos"])
def test_modules_of_the_same_name_elsewhere_are_others(codes: Codes, imports: str) -> None:
    write("pkg/a.py", _HELPER)
    write("pkg2/sub/b.py", _caller(imports, "cos(p.grad, q)"))
    assert codes(".") == []


def test_singledispatch(codes: Codes) -> None:
    """The floor in a registered implementation is reached through the generic function's name."""
    write(
        "a.py",
        "from functools import singledispatch\nimport torch\n\n@singledispatch\ndef cos(a, b):\n    raise TypeError\n\n"
        "@cos.register\ndef _(a: torch.Tensor, b):\n    return (a @ b) / (a.norm() * b.norm() + 1e-8)\n",
    )
    write("b.py", _caller("from a import cos", "cos(p.grad, q.grad)"))
    assert codes(".") == ["a.py:10:12 FAL203", "b.py:4:12 FAL203"]
    write("b.py", _caller("from a import cos", "cos(p.weight, q.weight)"))
    assert codes(".") == []


def test_evidence_points_both_ways(fa_lint: Lint) -> None:
    write("a.py", _HELPER)
    write("b.py", _caller("from a import cos", "cos(p.grad, q)"))
    helper, caller = json.loads(fa_lint(".", "--output-format", "json").stdout)
    assert any(
        r["filename"].endswith("b.py") and r["message"] == "a gradient is passed here" for r in helper["related"]
    )
    assert any(r["filename"].endswith("a.py") and r["message"] == "the floor is here" for r in caller["related"])
    assert "(a.py:4)" in caller["message"]
    assert (helper["level"], caller["level"]) == ("error", "error")


def test_a_name_is_weaker_evidence(fa_lint: Lint) -> None:
    write("a.py", _HELPER)
    write("b.py", "from a import cos\n\ndef gamma(bp_grad, q):\n    return cos(bp_grad, q)\n")
    helper, caller = json.loads(fa_lint(".", "--output-format", "json").stdout)
    assert (helper["level"], caller["level"]) == ("warning", "warning")
    assert "what is named like a" in caller["message"]


def test_one_report_for_a_call_and_five_places_at_most(codes: Codes, fa_lint: Lint) -> None:
    write("a.py", _HELPER)
    write("b.py", "from a import cos\n\ndef f(p, q):\n" + "    cos(p.grad, q)\n" * 8)
    assert len(codes(".")) == 9
    helper = json.loads(fa_lint(".", "--output-format", "json").stdout)[0]
    assert sum(r["message"] == "a gradient is passed here" for r in helper["related"]) == 5


def test_from_a_notebook(codes: Codes) -> None:
    write("a.py", _HELPER)
    write("n.ipynb", json.dumps(notebook("from a import cos", "p, q = load()", "cos(p.grad, q)")))
    assert codes(".") == [_FLOOR, "n.ipynb:cell 3:1:1 FAL203"]


def test_the_cache_keeps_what_other_files_complete(codes: Codes) -> None:
    write("a.py", _HELPER)
    assert codes(".") == []
    write("b.py", _caller("from a import cos", "cos(p.grad, q)"))
    assert codes(".") == codes(".") == [_FLOOR, "b.py:4:12 FAL203"]
    Path("b.py").unlink()
    assert codes(".") == []


def test_suppressions_at_the_helper(codes: Codes) -> None:
    write("a.py", _HELPER.replace("1e-8)", "1e-8)  # fa-lint: ignore[FAL203] features"))
    write("b.py", _caller("from a import cos", "cos(p.grad, q)"))
    assert codes(".") == []


def test_suppressions_at_the_call(codes: Codes) -> None:
    write("a.py", _HELPER)
    call = "cos(\n        p.grad,\n        q,  # noqa: FAL203\n    )  # fa-lint: ignore[FAL101]"
    write("b.py", _caller("from a import cos", call))
    assert codes(".") == codes(".") == ["b.py:7:8 FAL901"]
    assert codes("b.py") == ["b.py:6:13 FAL901", "b.py:7:8 FAL901"], "alone, nothing is known of the helper"


def test_per_file_ignores(codes: Codes) -> None:
    write("a.py", _HELPER)
    write("b.py", _caller("from a import cos", "cos(p.grad, q)"))
    assert codes(".", "--per-file-ignores", "b.py:FAL203") == [], "as with a suppression at the call"
    assert codes(".", "--per-file-ignores", "a.py:FAL203") == ["b.py:4:12 FAL203"]


def test_a_bare_module_name_is_a_file_beside_or_above_the_caller(codes: Codes) -> None:
    write("one/utils.py", _HELPER)
    write("two/b.py", _caller("from utils import cos", "cos(p.grad, q.grad)"))
    assert codes(".") == []
    write("one/deep/b.py", _caller("from utils import cos", "cos(p.grad, q.grad)"))
    assert codes(".") == ["one/deep/b.py:4:12 FAL203", "one/utils.py:4:12 FAL203"]


@pytest.mark.parametrize(
    ("init", "imports", "call"),
    [
        ("from .a import cos\n", "from pkg import cos", "cos(p.grad, q)"),
        ("from .a import cos as cosine\n", "from pkg import cosine", "cosine(p.grad, q)"),
        ("from pkg.a import cos\n", "import pkg", "pkg.cos(p.grad, q)"),
        ("from .a import *\n", "from pkg import cos", "cos(p.grad, q)"),
        ("from . import a\n", "from pkg import a", "a.cos(p.grad, q)"),
        (
            "try:\n    from .a import cos\nexcept ImportError:\n    cos = None\n",
            "from pkg import cos",
            "cos(p.grad, q)",
        ),
        ("", "from pkg.a import *", "cos(p.grad, q)"),
        ("from .a import cos\n", "from pkg import *", "cos(p.grad, q)"),
    ],
)
def test_re_exports_and_star_imports(codes: Codes, init: str, imports: str, call: str) -> None:
    write("pkg/a.py", _HELPER)
    write("pkg/__init__.py", init)
    write("b.py", _caller(imports, call))
    assert codes(".") == ["b.py:4:12 FAL203", f"pkg/{_FLOOR}"]


def test_another_name_passed_on_is_another_function(codes: Codes) -> None:
    write("pkg/a.py", _HELPER)
    write("pkg/__init__.py", "from .a import other as cos\n")
    write("b.py", _caller("from pkg import cos", "cos(p.grad, q)"))
    assert codes(".") == []


def test_circular_imports_end(codes: Codes) -> None:
    write("pkg/__init__.py", "from .x import *\nfrom .y import cos\n")
    write("pkg/x.py", "from .y import *\nfrom . import cos\n")
    write("pkg/y.py", "from .x import *\nfrom pkg import *\n")
    write("pkg/a.py", _HELPER)
    write("b.py", _caller("from pkg import cos", "cos(p.grad, q)"))
    assert codes(".") == []


def test_two_packages(codes: Codes) -> None:
    write("metrics/src/metrics/__init__.py", "from .angles import cos\n")
    write("metrics/src/metrics/angles.py", _HELPER)
    write("trainer/src/trainer/loop.py", _caller("from metrics.angles import cos", "cos(p.grad, q)"))
    assert codes(".") == ["metrics/src/metrics/angles.py:4:12 FAL203", "trainer/src/trainer/loop.py:4:12 FAL203"]


def test_a_second_run_concludes_from_the_cache_alone(codes: Codes, monkeypatch: pytest.MonkeyPatch) -> None:
    # What has a fix is analysed each time; a projection has none.
    write("a.py", "import torch\n\ndef cos(a, b, eps=1e-8):\n    return (a @ b) / (b @ b + eps)\n")
    write("b.py", _caller("from a import cos", "cos(q, p.grad)"))
    first = codes(".")

    def parse(*_: object) -> None:
        raise AssertionError("a file was read into facts again")

    monkeypatch.setattr("fa_lint.project.check_file.extract", parse)
    assert codes(".") == first == [_FLOOR, "b.py:4:12 FAL203"]


def test_a_helper_is_followed_anew_when_it_or_the_caller_changes(codes: Codes) -> None:
    write("a.py", _HELPER)
    write("b.py", _caller("from a import cos", "cos(p.weight, q)"))
    assert codes(".") == []
    write("b.py", _caller("from a import cos", "cos(p.grad, q)"))
    assert codes(".") == [_FLOOR, "b.py:4:12 FAL203"]
    write("a.py", _HELPER.replace("def cos", "def sim"))
    assert codes(".") == []
    write("b.py", _caller("from a import sim", "sim(p.grad, q)"))
    assert codes(".") == [_FLOOR, "b.py:4:12 FAL203"]


def test_a_rule_that_fails_across_files_is_an_internal_error_and_costs_nothing_else(
    fa_lint: Lint, monkeypatch: pytest.MonkeyPatch
) -> None:
    write("a.py", "import torch\n\ndef f(x):\n    return x.norm(-1)\n")
    write(
        "net.py",
        "import torch\nfrom base import Layer\n\nclass LinearFA(Layer):\n    def __init__(self, n, m):\n"
        "        super().__init__()\n        self.weight_fa = torch.randn(n, m)\n",
    )

    def conclude(*_: object) -> None:
        raise ValueError("broken")

    monkeypatch.setattr("fa_lint.rules.p6_5_auxiliaries.fal402.UnregisteredFeedback.conclude", conclude)
    result = fa_lint(".", "--output-format", "concise")
    assert result.exit_code == 2
    assert "FAL101" in result.stdout
    assert "rule FAL402 failed across files: ValueError: broken" in result.output


@pytest.mark.parametrize(
    ("code", "caller", "row"),
    [
        ("FAL404", "def gamma(g):\n    h = g.detach().clone()\n    return measure(g, h)", 6),
        ("FAL204", "import torch\ndef angle(x, y):\n    c = measure(x, y)\n    return torch.acos(c)", 7),
        ("FAL501", "def mean(model, c):\n    cs = [measure(p.grad, q) for p, q in zip(model.parameters(), c)]\n"
         "    return sum(cs) / len(cs)", 6),
        ("FAL405", "def one(p, c):\n    return measure(p.grad, c) if c is not None else 0.0", 5),
    ],
)  # fmt: skip
@pytest.mark.parametrize("imports", ["from a import measure", "from a import *", "from pkg.b import measure"])
def test_a_cosine_comes_out_of_a_helper(codes: Codes, code: str, caller: str, row: int, imports: str) -> None:
    helper = "import torch\ndef measure(u, v):\n    return torch.dot(u, v) / (u.norm() * v.norm())\n"
    write("a.py", helper)
    write("pkg/__init__.py", "")
    write("pkg/b.py", "from a import measure\n")
    write("main.py", f"{imports}\n\n\n{caller}\n")
    assert [line.split()[0].split(":")[1] for line in codes(".", "--select", code)] == [str(row)]
    write("a.py", "def measure(u, v):\n    return u + v\n")
    assert codes(".", "--select", code) == []
