"""Every rule keeps its own promises: examples, fixes, documentation, gates."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from fa_lint.fixes.edits import fix_data
from fa_lint.project.check_file import analyse
from fa_lint.project.config import Settings
from fa_lint.rules import SECTIONS, Invalid, Rule, registry
from fa_lint.semantics.roles import RoleNames

RULES = list(registry().values())
VALID = [pytest.param(rule, code, id=f"{rule.code}-{n}") for rule in RULES for n, code in enumerate(rule.VALID)]
INVALID = [pytest.param(rule, case, id=f"{rule.code}-{n}") for rule in RULES for n, case in enumerate(rule.INVALID)]
EXAMPLE = re.compile(r"^## (Example|Use instead)\n```python\n(.*?)^```", re.MULTILINE | re.DOTALL)


def rows(rule: Rule, code: str) -> tuple[int, ...]:
    result = analyse("example.py", code.encode(), frozenset({rule.code}), RoleNames())
    assert not result.problems
    return tuple(found.start.row for found in result.diagnostics)


@pytest.mark.parametrize(("rule", "code"), VALID)
def test_valid_examples_are_silent(rule: Rule, code: str) -> None:
    compile(code, "example.py", "exec")
    assert rows(rule, code) == ()


@pytest.mark.parametrize(("rule", "case"), INVALID)
def test_invalid_examples_fire_where_they_say(rule: Rule, case: Invalid) -> None:
    compile(case.code, "example.py", "exec")
    assert case.lines
    assert rows(rule, case.code) == case.lines


@pytest.mark.parametrize(("rule", "case"), INVALID)
def test_fixes_give_the_promised_text_and_lint_clean(rule: Rule, case: Invalid) -> None:
    settings = Settings(select=(rule.code,))
    data = case.code.encode()
    found = analyse("example.py", data, settings.codes, settings.role_names).diagnostics
    fixed = fix_data("example.py", data, found, settings, unsafe=True)
    if case.fixed is None:
        assert all(d.fix is None for d in found)
        return
    assert fixed.data.decode() == case.fixed
    compile(case.fixed, "example.py", "exec")
    again = analyse("example.py", fixed.data, settings.codes, settings.role_names).diagnostics
    assert [d.message for d in again] == []
    assert fix_data("example.py", fixed.data, again, settings, unsafe=True).data == fixed.data


@pytest.mark.parametrize(("rule", "case"), INVALID)
def test_gates_are_sound_on_the_examples(rule: Rule, case: Invalid) -> None:
    data = case.code.encode()
    assert rule.may_match(data)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.code)
def test_documented_examples_run_as_documented(rule: Rule) -> None:
    text = rule.documentation()
    assert tuple(re.findall(r"^## (.+)$", text, re.MULTILINE)) == SECTIONS
    examples = dict(EXAMPLE.findall(text))
    assert rows(rule, examples["Example"]), "the bad example must fire"
    assert rows(rule, examples["Use instead"]) == (), "the good example must not"


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.code)
def test_metadata_is_complete(rule: Rule) -> None:
    why = rule.documentation().split("## Why is this bad")[1].split("## Example")[0]
    assert re.search(r"\d", why), "the reason states a measured number"
    assert rule.runtime.startswith("fa_lint_runtime.")
    assert rule.summary[0].islower()
    assert not rule.summary.endswith(".")
    assert Path("fa_lint/rules", f"{rule.code.lower()}.py").name == f"{type(rule).__module__.rpartition('.')[2]}.py"
