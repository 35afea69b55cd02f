"""Some inputs of each surface of the campaign, and what a campaign has found before."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

pytest.importorskip("pygls", reason="the extra `lsp` is not installed")

from tests.conftest import CLAMPED, MIXED, UNSAFE, Lint, notebook, write
from tests.hostile import campaign
from tests.hostile.surfaces import SURFACES, _lint_and_fix

_DIGITS = "9" * 5_000
_posix = pytest.mark.skipif(not hasattr(os, "fork"), reason="forks")


@_posix
@pytest.mark.parametrize("name", SURFACES)
def test_a_part_of_the_campaign(name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(campaign, "_FOLDER", tmp_path / "campaign")
    found = campaign.attack(SURFACES[name], 0, 25)
    assert (found["error"], found["tried"] >= 25) == ("", True)


@_posix
@pytest.mark.parametrize("end", ["raise ValueError", "os.kill(os.getpid(), 9)", "list(range(10**9))", "while True: 1"])
def test_the_campaign_sees_what_breaks(end: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """And keeps the input."""
    from hypothesis import strategies as st

    from tests.hostile.surfaces import Surface

    monkeypatch.setattr(campaign, "_FOLDER", tmp_path / "campaign")
    monkeypatch.setattr(campaign, "_SECONDS", 1)
    surface = Surface("a b", st.just("the input"), lambda _: exec(f"import os\n{end}"))
    assert campaign.attack(surface, 3, 5)["error"]
    assert "the input" in (tmp_path / "campaign" / "a-b-3.txt").read_text()


# -- found before -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "text", "arguments"),
    [
        ("n.ipynb", f'{{"cells": [], "nbformat": {_DIGITS}}}', ["n.ipynb"]),
        ("fa-lint.toml", f"max-file-size = {_DIGITS}", ["a.py"]),
        ("x.txt", "", ["a.py", "--config", f"max-file-size = {_DIGITS}"]),
        ("b.json", f'{{"version": {_DIGITS}}}', ["a.py", "--baseline", "b.json"]),
        ("g.json", f'{{"version": {_DIGITS}}}', ["a.py", "--with-runtime", "g.json"]),
        ("x.txt", "", ["a.py", "--shard", f"1/{_DIGITS}"]),
        ("pyproject.toml", f"x = {_DIGITS}", ["init", "."]),
        ("ruff.toml", f"x = {_DIGITS}", ["init", "."]),
    ],
    ids=lambda value: value if isinstance(value, str) and len(value) < 20 else "",
)
def test_a_number_of_thousands_of_digits(name: str, text: str, arguments: list[str], fa_lint: Lint) -> None:
    """The interpreter refuses to read one, with a ValueError that is none of JSON or TOML."""
    write("a.py", "x = 1\n")
    write(name, text)
    result = fa_lint(*arguments)
    assert "internal error" not in result.output
    assert result.exit_code == (1 if name == "n.ipynb" else 2)
    assert name != "n.ipynb" or "FAL900" in result.stdout


@pytest.mark.parametrize("worst", ["1" + "0" * 400, "1e400", "NaN", "true", '"1"', "null", "-1" + "0" * 400])
def test_a_number_larger_than_any_float_in_a_guard_log(worst: str, fa_lint: Lint) -> None:
    write("a.py", UNSAFE)
    event = (
        f'{{"code": "FAL101", "kind": "k", "file": "a.py", "line": 4, "message": "m", "count": 1, "worst": {worst}}}'
    )
    write("g.json", f'{{"format": "fa-guard", "version": 1, "events": [{event}]}}')
    result = fa_lint("a.py", "--with-runtime", "g.json")
    assert (result.exit_code, result.stderr) == (1, "")
    assert "confirmed at run time (1 time)" in result.stdout


@pytest.mark.parametrize(
    "table",
    ["tool = 5", "[tool]\nruff = 5", "[tool.ruff]\nlint = 5", "[tool.ruff.lint]\nexternal = 5", "[[tool]]\nruff = 1"],
)
@pytest.mark.parametrize("name", ["pyproject.toml", "ruff.toml"])
def test_init_beside_tables_of_other_types(table: str, name: str, fa_lint: Lint) -> None:
    write(name, table.replace("tool.ruff.", "").replace("[tool.ruff]\n", "") if name == "ruff.toml" else table)
    result = fa_lint("init", ".")
    assert "internal error" not in result.output
    assert result.exit_code in (0, 2)


def test_init_writes_through_no_link(fa_lint: Lint, tmp_path: Path) -> None:
    outside = tmp_path.parent / f"{tmp_path.name}-outside"
    Path("fa-lint.toml").symlink_to(outside)
    assert "left as it is" in fa_lint("init", ".").stdout
    assert not outside.exists()


@pytest.mark.parametrize("path", ["a.py", "a.md", "a.ipynb"])
@pytest.mark.parametrize("deep", ["y = {}x", "def g(y: {}x): pass", "@d({}x)\ndef g(): pass", "class C({}x): pass"])
def test_findings_beside_deep_code(path: str, deep: str) -> None:
    """Its fixes and its suppressions walk through the deep code too."""
    code = f"{UNSAFE}{CLAMPED}{MIXED}{deep.format('-' * 3_000)}\n"
    text = {"a.md": f"```python\n{code}```\n", "a.ipynb": json.dumps(notebook(code))}.get(path, code)
    _lint_and_fix(path, text.encode())
