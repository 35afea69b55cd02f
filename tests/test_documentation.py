"""Registry = pages = CHECKLIST = fixtures = README: drift fails here."""

from __future__ import annotations

import ast
import importlib
import re
from pathlib import Path
from typing import Any

import pytest

from fa_lint.project.config_keys import KEYS
from fa_lint.rules import ENGINE_CODES, _validate, registry
from fa_lint.semantics.facts import extract
from tools.configuration import PAGE, configuration
from tools.rule_pages import pages

ROOT = Path(__file__).parent.parent
CHECKLIST = (ROOT / "CHECKLIST.md").read_text(encoding="utf-8")
PITFALLS = ["P1", "P2", "P3", "P4", "P5", "P6", "P6.5", "P7"]
FIELDS = ["Wrong", "Corrupts", "Check by hand", "Codes", "At run time", "Fixture"]


def checklist(text: str) -> tuple[dict[str, dict[str, str]], str]:
    """The pitfalls with their fields, and the final pass; a field that is missing, repeated or out of place fails."""
    _, *parts = re.split(r"(?m)^## (.+)$", text)
    titles, bodies = parts[::2], parts[1::2]
    assert [title.partition(":")[0] for title in titles] == [*PITFALLS, "Final pass"]
    found = {}
    for pitfall, body in zip(PITFALLS, bodies, strict=False):
        before, *fields = re.split(r"(?m)^- \*\*(.+?):\*\* ", body)
        assert not before.strip(), f"{pitfall}: text before the first field"
        assert fields[::2] == FIELDS, pitfall
        found[pitfall] = dict(zip(FIELDS, (" ".join(value.split()) for value in fields[1::2]), strict=True))
    return found, bodies[-1]


SECTIONS, FINAL_PASS = checklist(CHECKLIST)


@pytest.mark.parametrize("name", sorted(pages()))
def test_pages_are_what_the_classes_say(name: str) -> None:
    assert (ROOT / "docs" / "rules" / name).read_text(encoding="utf-8") == pages()[name], (
        "run `python -m tools.rule_pages docs/rules`"
    )


def test_no_page_without_a_rule() -> None:
    assert {path.name for path in (ROOT / "docs" / "rules").iterdir()} == set(pages())


def test_checklist_names_exactly_the_registered_codes() -> None:
    listed = [
        (code, pitfall) for pitfall, fields in SECTIONS.items() for code in re.findall(r"FAL\d{3}", fields["Codes"])
    ]
    assert sorted(listed) == sorted((code, rule.pitfall) for code, rule in registry().items())


@pytest.mark.parametrize("pitfall", PITFALLS)
def test_checklist_fields_hold_what_they_are_for(pitfall: str) -> None:
    fields = SECTIONS[pitfall]
    assert all(fields.values())
    assert re.search(r"\d", fields["Corrupts"]), "what it corrupts is a number"
    assert re.fullmatch(r"none yet|FAL\d{3}(, FAL\d{3})*", fields["Codes"])
    assert re.match(r"`fa_lint_runtime\.\w+`", fields["At run time"])
    # Nothing but paths: text that a merge left behind would stand here.
    assert re.fullmatch(r"none yet|`fixtures/[^`]+`(, `fixtures/[^`]+`)*", fields["Fixture"])
    for path in re.findall(r"`(fixtures/[^`]+)`", fields["Fixture"]):
        assert (ROOT / path).is_file(), path


@pytest.mark.parametrize(
    ("damage", "by"),
    [
        ("- **Codes:** FAL101, FAL102, FAL103, FAL104\n", ""),
        (
            "- **Codes:** FAL101, FAL102, FAL103, FAL104\n",
            "- **Codes:** FAL101, FAL102, FAL103, FAL104\n- **Corrupts:** 1.0 of 2\n",
        ),
        (
            "- **Fixture:** `fixtures/norm_order.py`",
            "- **At run time:** `fa_lint_runtime.diagnose`\n- **Fixture:** `x`",
        ),
        ("## P6.5:", "## P6:"),
        ("## P7: a measurement of another computation\n", "## P7: a measurement of another computation\n\nleft over\n"),
        ("## Final pass", "## Last pass"),
    ],
)
def test_a_damaged_checklist_is_noticed(damage: str, by: str) -> None:
    assert damage in CHECKLIST
    with pytest.raises(AssertionError):
        checklist(CHECKLIST.replace(damage, by, 1))


def test_the_final_pass_has_its_four_steps_with_commands() -> None:
    steps = re.split(r"(?m)^\d\. ", FINAL_PASS)[1:]
    assert [re.search(r"\*\*(.+?)\*\*", step, re.DOTALL)[1] for step in steps] == [  # type: ignore[index]
        "Lint",
        "Diagnose",
        "Inspect every place where Γ is computed.",
        "Report ‖h_l‖, ‖g_l‖ and Γ_l together, per layer",
    ]
    assert all("```bash" in step for step in steps)


def test_runtime_functions_that_are_named_exist() -> None:
    pytest.importorskip("torch")
    runtime = importlib.import_module("fa_lint_runtime")
    named = set(re.findall(r"fa_lint_runtime\.(\w+)", CHECKLIST))
    named |= {rule.runtime.rpartition(".")[2] for rule in registry().values()}
    assert named
    assert {name for name in named if not hasattr(runtime, name)} == set()


def test_readme_lists_every_code() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert {code for code in [*registry(), *ENGINE_CODES] if code not in readme} == set()


@pytest.mark.parametrize("page", ["README.md", "CHECKLIST.md", "CONTRIBUTING.md"])
def test_code_stands_between_fences_and_is_code(page: str) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    outside, *rest = re.split(r"(?m)^```", text)
    assert len(rest) % 2 == 0, "a fence is not closed"
    prose = [outside, *(part.partition("\n")[2] for part in rest[1::2])]
    assert not [
        line for part in prose for line in part.splitlines() if re.match(r"(=======|<<<<<<<|>>>>>>>|import |\$ )", line)
    ]
    for block in rest[::2]:
        language, _, code = block.partition("\n")
        if language.strip() == "python":
            ast.parse(code)


@pytest.mark.parametrize("package", ["fa_lint", "fa_lint_runtime"])
def test_the_architecture_names_every_file_of_a_package_once(package: str) -> None:
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    section = page.partition(f"## {package}\n")[2].partition("\n## ")[0]
    files = re.findall(r"(?m)^\| (`[^|]+) \|", section)
    named = [name for cell in files for name in re.findall(r"`([\w./]+)`", cell)]
    there = [
        f"{path.name}/" if path.is_dir() else path.name
        for path in (ROOT / package).iterdir()
        if not path.name.startswith("_") and (path.suffix == ".py" or any(path.glob("*.py")))
    ]
    assert sorted(named) == sorted(there)


def test_the_page_of_the_configuration_is_what_the_settings_say() -> None:
    assert PAGE.read_text(encoding="utf-8") == configuration(), "run `python -m tools.configuration`"
    assert re.findall(r"(?m)^\| `([a-z-]+)` \|", configuration()) == list(KEYS)


def test_the_example_of_a_rule_on_the_page_is_a_rule() -> None:
    page = (ROOT / "docs" / "adding-a-rule.md").read_text(encoding="utf-8")
    code = re.search(r"(?ms)^```python title=\"fal299.py\"\n(.*?)^```$", page)
    assert code is not None
    scope: dict[str, Any] = {"__name__": "fal299"}
    exec(code[1], scope)
    rule = scope["GradientRounded"]
    _validate(rule)
    for example in [*rule.VALID, *rule.INVALID]:
        text = example if isinstance(example, str) else example.code
        facts = extract(text)
        found = tuple(text[: finding.start].count("\n") + 1 for finding in rule().check(facts))
        assert found == (() if isinstance(example, str) else example.lines)
