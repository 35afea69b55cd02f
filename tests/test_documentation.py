"""Registry = pages = CHECKLIST = fixtures = README: drift fails here."""

from __future__ import annotations

import ast
import importlib
import re
from pathlib import Path

import pytest

from fa_lint.pages import pages
from fa_lint.rules import ENGINE_CODES, registry

ROOT = Path(__file__).parent.parent
CHECKLIST = (ROOT / "CHECKLIST.md").read_text(encoding="utf-8")
SECTIONS = dict(re.findall(r"^## (P[\d.]+): .*?\n(.*?)(?=^## |\Z)", CHECKLIST, re.MULTILINE | re.DOTALL))


def entry(section: str, name: str) -> str:
    match = re.search(rf"^- \*\*{name}:\*\* (.*?)(?=^- \*\*|\Z)", section, re.MULTILINE | re.DOTALL)
    assert match, name
    return match[1]


@pytest.mark.parametrize("name", sorted(pages()))
def test_pages_are_what_the_classes_say(name: str) -> None:
    assert (ROOT / "docs" / "rules" / name).read_text(encoding="utf-8") == pages()[name], (
        "run `python -m fa_lint.pages docs/rules`"
    )


def test_no_page_without_a_rule() -> None:
    assert {path.name for path in (ROOT / "docs" / "rules").iterdir()} == set(pages())


def test_checklist_names_exactly_the_registered_codes() -> None:
    listed = {
        code: pitfall for pitfall, text in SECTIONS.items() for code in re.findall(r"FAL\d{3}", entry(text, "Codes"))
    }
    assert listed == {code: rule.pitfall for code, rule in registry().items()}


@pytest.mark.parametrize("pitfall", sorted(SECTIONS))
def test_checklist_entries_are_complete_and_point_to_things_that_exist(pitfall: str) -> None:
    text = SECTIONS[pitfall]
    for name in ("Wrong", "Corrupts", "Check by hand", "Codes", "At run time", "Fixture"):
        assert entry(text, name).strip()
    assert re.search(r"\d", entry(text, "Corrupts")), "what it corrupts is a number"
    for path in re.findall(r"`(fixtures/[^`]+)`", entry(text, "Fixture")):
        assert (ROOT / path).is_file(), path


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
    assert not [line for part in prose for line in part.splitlines() if re.match(r"(=======|<<<<<<<|>>>>>>>|import |\$ )", line)]
    for block in rest[::2]:
        language, _, code = block.partition("\n")
        if language.strip() == "python":
            ast.parse(code)
