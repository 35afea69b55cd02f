"""The registry: what it accepts, what it refuses, and a rule that another package brings."""

from __future__ import annotations

import pickle
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

import fa_lint.rules as rules
from fa_lint.project.check_file import analyse
from fa_lint.rules import Rule, RuleError, registry, select
from fa_lint.rules.p2_floors.fal205 import SumAsZeroTest
from fa_lint.semantics.roles import RoleNames
from tools.rule_pages import pages, write

PLUGIN = '''
import sys
from fa_lint.analysis.values import values_of
from fa_lint.findings import Level
from fa_lint.rules import Invalid, Rule
from fa_lint.rules.base import occurs
from fa_lint.semantics import ir


class PrintedGradient(Rule):
    """
    ## What it does
    Flags `print` of a gradient.

    ## Why is this bad
    It costs 1 line of output a step.

    ## Example
    ```python
    print(p.grad)
    ```

    ## Use instead
    ```python
    log(p.grad)
    ```

    ## Fix safety
    No fix.

    ## References
    - none
    """

    code = "FAL999"
    name = "printed-gradient"
    summary = "a printed gradient"
    level = Level.HINT
    pitfall = "P9"
    runtime = "fa_lint_runtime.safe_norm"
    gate = (occurs(b"print"),)
    VALID = ("print(x)",)
    INVALID = (Invalid("print(p.grad)", lines=(1,)),)

    def check(self, facts):
        for call in facts.calls:
            if isinstance(call.func, ir.Name) and call.func.id == "print" and values_of(facts).vector(call.args[0].value).role.is_gradient:
                yield self.find(facts, call, "a gradient is printed")
'''


@pytest.fixture
def fresh() -> Iterator[None]:
    registry.cache_clear()
    yield
    registry.cache_clear()


def entry(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    point = EntryPoint(name="x", value=value, group="fa_lint.rules")
    monkeypatch.setattr(rules, "entry_points", lambda group: [point] if group == "fa_lint.rules" else [])


@pytest.mark.usefixtures("fresh")
def test_a_rule_of_another_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "their_rules.py").write_text(PLUGIN)
    monkeypatch.syspath_prepend(tmp_path)
    entry(monkeypatch, "their_rules:PrintedGradient")
    assert "FAL999" in registry()
    (found,) = analyse("a.py", b"print(p.grad)\n", frozenset({"FAL999"}), RoleNames()).diagnostics
    assert (found.code, found.name, found.message) == ("FAL999", "printed-gradient", "a gradient is printed")
    assert analyse("a.py", b"print(x)\n", frozenset({"FAL999"}), RoleNames()).diagnostics == []


@pytest.mark.usefixtures("fresh")
@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ("code = 'nope'", "is not letters and three digits"),
        ("code = 'FAL101'", "declared twice"),
        ("VALID = ()", "VALID and INVALID"),
        ("__doc__ = '## What it does'", "sections"),
    ],
)
def test_broken_rules_are_refused_by_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: str, reason: str
) -> None:
    module = f"broken_{abs(hash(change))}"
    (tmp_path / f"{module}.py").write_text(
        f"{PLUGIN}\n\nclass Broken(PrintedGradient):\n    __doc__ = PrintedGradient.__doc__\n    {change}\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    entry(monkeypatch, f"{module}:Broken")
    with pytest.raises(RuleError, match=reason) as caught:
        registry()
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)


@pytest.mark.usefixtures("fresh")
def test_a_class_without_metadata(monkeypatch: pytest.MonkeyPatch) -> None:
    entry(monkeypatch, "fa_lint.rules.base:Rule")
    with pytest.raises(RuleError, match="has no `code`"):
        registry()


@pytest.mark.usefixtures("fresh")
def test_an_entry_point_that_is_no_rule(monkeypatch: pytest.MonkeyPatch) -> None:
    entry(monkeypatch, "pathlib:Path")
    with pytest.raises(RuleError, match="not a subclass"):
        registry()


def test_selection_keeps_code_order() -> None:
    assert [rule.code for rule in select(frozenset({"FAL205", "FAL101"}))] == ["FAL101", "FAL205"]
    assert isinstance(registry()["FAL205"], SumAsZeroTest)
    assert all(isinstance(rule, Rule) for rule in registry().values())


def test_pages_are_written(tmp_path: Path) -> None:
    write(tmp_path / "rules")
    assert {p.name: p.read_text(encoding="utf-8") for p in (tmp_path / "rules").iterdir()} == pages()


def test_the_linter_never_imports_torch_and_the_runtime_never_the_linter() -> None:
    code = (
        "import sys, fa_lint.cli, fa_lint.cli.commands, fa_lint.output, fa_lint.project.check_file; from fa_lint.rules import registry; registry();"
        "assert not any(m.split('.')[0] in ('torch', 'numpy', 'fa_lint_runtime') for m in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    pytest.importorskip("torch")
    code = "import sys, fa_lint_runtime; assert not any(m.split('.')[0] == 'fa_lint' for m in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
