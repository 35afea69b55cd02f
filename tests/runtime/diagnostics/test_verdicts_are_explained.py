"""Each verdict is explained where it is printed, and the page of ``diagnose`` has a row for each."""

from __future__ import annotations

import ast
import html
import re
import typing
from pathlib import Path

import pytest

from fa_lint_runtime import DiagnosticReport, DiagnosticThresholds
from fa_lint_runtime.diagnostics import criteria
from fa_lint_runtime.diagnostics.outcomes import Outcome, Verdict
from fa_lint_runtime.render.words import EXPLANATIONS

VERDICTS = typing.get_args(Verdict)
PAGE = Path(__file__).parents[3] / "docs" / "diagnose.md"
MEASURED = Outcome("(a)", "growth", "passes", 2.0, 50.0, "2.0x", "")  # without criteria a report derives its verdict


def report(verdict: Verdict) -> DiagnosticReport:
    return DiagnosticReport(
        "m",
        "",
        [1.0, 2.0],
        [1.0, 1.0],
        1,
        0.1,
        0.5,
        None,
        DiagnosticThresholds(),
        criteria=(MEASURED,),
        verdict=verdict,
    )


@pytest.mark.parametrize("verdict", VERDICTS)
def test_every_format_for_people_explains_the_verdict(verdict: Verdict) -> None:
    shown = report(verdict)
    headline, explanation = shown.to_text().splitlines()[:2]
    assert verdict in headline
    assert explanation == EXPLANATIONS[verdict]
    assert EXPLANATIONS[verdict] in shown.to_markdown()
    assert html.escape(EXPLANATIONS[verdict]) in shown.to_html()


def test_the_page_has_a_row_for_each_verdict() -> None:
    table = PAGE.read_text(encoding="utf-8").partition("## The verdicts")[2].partition("\n## ")[0]
    assert re.findall(r"(?m)^\| ([a-z ]+) \|", table) == ["verdict", *VERDICTS]


def test_the_page_on_walked_back_has_a_row_for_each_criterion() -> None:
    source = Path(criteria.__file__).read_text(encoding="utf-8")
    made = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call)]
    names = {
        call.args[0].value
        for call in made
        if isinstance(call.func, ast.Name) and call.func.id == "Outcome" and isinstance(call.args[0], ast.Constant)
    }
    page = PAGE.with_name("walked-back.md").read_text(encoding="utf-8")
    # What only informs cannot fire.
    assert set(re.findall(r"(?m)^   \| ([\w ]+) \|", page)) - {"criterion that fires"} == names - {"credit size"}
