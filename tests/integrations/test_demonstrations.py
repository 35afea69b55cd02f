"""``fa-lint explain CODE --verify``: every declared demonstration holds on the installed torch."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace

import pytest

from fa_lint.installing import install_command
from fa_lint.output.verify import measure
from fa_lint.rules import registry
from fa_lint.rules.base import Demonstration
from tests.conftest import Lint

_SHOWN = {code: rule.demonstration for code, rule in registry().items() if rule.demonstration is not None}


@pytest.fixture
def torch() -> None:
    pytest.importorskip("torch")


def test_there_are_some() -> None:
    assert {"FAL101", "FAL201", "FAL203", "FAL204", "FAL205"} <= set(_SHOWN)


@pytest.mark.usefixtures("torch")
@pytest.mark.parametrize("code", sorted(_SHOWN))
def test_the_claim_holds_and_needs_both_values(code: str) -> None:
    made = _SHOWN[code]
    assert measure(made).holds
    # With the mistake on both sides, or the remedy on both, there is nothing to see.
    assert not measure(replace(made, after=made.before)).holds
    assert not measure(replace(made, before=made.after)).holds


@pytest.mark.usefixtures("torch")
def test_the_command_prints_both_values(fa_lint: Lint) -> None:
    result = fa_lint("explain", "FAL201", "--verify")
    assert result.exit_code == 0
    assert "  before  F.cosine_similarity(credit, grad, dim=0)  tensor(0.0500)\n" in result.stdout
    assert "  after   safe_cosine(credit, grad, dim=0)          tensor(1.)\n" in result.stdout


@pytest.mark.usefixtures("torch")
def test_all_of_them_as_json(fa_lint: Lint) -> None:
    result = fa_lint("rule", "--all", "--verify", "--output-format", "json")
    rows = json.loads(result.stdout)
    assert [row["code"] for row in rows] == list(_SHOWN)
    assert all(row["holds"] for row in rows)


@pytest.mark.usefixtures("torch")
def test_a_claim_that_fails_is_exit_1(fa_lint: Lint, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = Demonstration("x = 2", "x", "x", "before != after")
    monkeypatch.setattr(type(registry()["FAL101"]), "demonstration", broken)
    result = fa_lint("explain", "FAL101", "--verify")
    assert result.exit_code == 1
    assert "`before != after` does not hold on torch" in result.stderr


@pytest.mark.usefixtures("torch")
@pytest.mark.parametrize(
    ("setup", "complaint"),
    [
        ("import no_such_package", f"the demonstration needs `no_such_package`: {install_command('runtime')}"),
        ("1 / 0", "the demonstration fails here: ZeroDivisionError: division by zero"),
    ],
)
def test_one_that_cannot_run_is_exit_2(
    fa_lint: Lint, monkeypatch: pytest.MonkeyPatch, setup: str, complaint: str
) -> None:
    monkeypatch.setattr(type(registry()["FAL101"]), "demonstration", Demonstration(setup, "1", "2", "True"))
    result = fa_lint("explain", "FAL101", "--verify")
    assert (result.exit_code, result.stdout) == (2, "")
    assert complaint in result.stderr


def test_a_rule_without_one(fa_lint: Lint) -> None:
    result = fa_lint("explain", "FAL900", "--verify")
    assert (result.exit_code, result.stdout) == (2, "")
    assert "no numeric demonstration for FAL900; there is one for FAL101, " in result.stderr


def test_without_torch_it_is_one_line_and_explain_needs_none() -> None:
    program = "import sys; sys.modules['torch'] = None\nfrom fa_lint.cli import main\nmain(['explain', 'FAL101', *sys.argv[1:]])"
    command = [sys.executable, "-c", program]
    plain = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (plain.returncode, plain.stderr) == (0, "")
    verified = subprocess.run([*command, "--verify"], capture_output=True, text=True, timeout=60, check=False)
    assert (verified.returncode, verified.stdout) == (2, "")
    assert verified.stderr == f"fa-lint: error: --verify needs torch: {install_command('runtime')}\n"
