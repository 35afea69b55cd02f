"""The table of `docs/command-line.md` beside `ruff check`: both tools on the same folder, row by row."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.conftest import MIXED, notebook, write

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="paths of POSIX")
_PAGE = (Path(__file__).parents[2] / "docs" / "command-line.md").read_text(encoding="utf-8")
_RUFF = (sys.executable, "-m", "ruff", "check", "--no-cache")
_OURS = (sys.executable, "-m", "fa_lint", "check", "--no-cache")


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A Python file and a notebook with findings of both tools, in a folder below the top of a repository."""
    subprocess.run(["git", "init", "-q", "."], check=True)
    code = f"import os\n{MIXED}"
    write("pkg/a.py", code)
    write("pkg/n.ipynb", json.dumps(notebook("x = 1", code), indent=1))
    monkeypatch.chdir(tmp_path / "pkg")


def _run(tool: Sequence[str], *arguments: str, **environment: str) -> tuple[int, str, str]:
    done = subprocess.run(
        [*tool, *arguments], capture_output=True, text=True, env=os.environ | environment, check=False, timeout=100
    )
    return done.returncode, done.stdout, done.stderr


def test_the_page_names_the_ruff_that_is_compared() -> None:
    version = subprocess.run([sys.executable, "-m", "ruff", "--version"], capture_output=True, text=True, check=True)
    assert version.stdout.replace("ruff", "Ruff").strip() in _PAGE


@pytest.mark.parametrize(
    "arguments",
    [(), (".",), ("-q",), ("--exit-zero",), ("--isolated",), ("--statistics",), ("gone.py",), ("--no-such-option",),
     ("--config", "exclude = ['*']"), ("--select", "NONE1"), ("-v",), ("a.py", "n.ipynb"), ("--config", "no-such-key = 1")],
    ids=" ".join,
)  # fmt: skip
def test_exit_codes_and_options_that_are_the_same(arguments: tuple[str, ...]) -> None:
    ruff, ours = _run(_RUFF, *arguments), _run(_OURS, *arguments)
    assert ruff[0] == (1 if arguments == ("gone.py",) else ours[0]), (ruff, ours)
    assert ours[0] in (0, 1, 2)


def test_rules_by_name() -> None:
    assert _run(_RUFF, "--select", "unused-import")[0] == 2
    assert _run(_RUFF, "--preview", "--select", "unused-import")[0] == 1
    assert "FAL101" in _run(_OURS, "--select", "negative-norm-order")[1]


def test_no_colour_wins() -> None:
    for tool in (_RUFF, _OURS):
        assert "\x1b" not in _run(tool, NO_COLOR="1", FORCE_COLOR="1")[1]


@pytest.mark.parametrize(
    ("form", "pattern", "ruff_path"),
    [
        ("github", r"file=([^,]*)", "/pkg/a.py"),
        ("sarif", r'"uri": ?"([^"]*\.(?:py|ipynb))"', "/pkg/a.py"),
        ("gitlab", r'"path": ?"([^"]*)"', "a.py"),
        ("rdjson", r'"path": ?"([^"]*)"', "/pkg/a.py"),
    ],
)
def test_paths(form: str, pattern: str, ruff_path: str) -> None:
    ruff = set(re.findall(pattern, _run(_RUFF, "--output-format", form)[1]))
    ours = set(re.findall(pattern, _run(_OURS, "--output-format", form)[1]))
    assert ours == {"pkg/a.py", "pkg/n.ipynb"}
    assert any(path.endswith(ruff_path) and path not in ours for path in ruff)


@pytest.mark.parametrize(
    ("form", "pattern"),
    [("github", r"n\.ipynb,line=(\d+)"), ("gitlab", r'"begin": ?(\d+)'), ("sarif", r'"startLine": ?(\d+)')],
)
def test_lines_of_a_notebook(form: str, pattern: str) -> None:
    """Ours is the row of the file on which the code stands."""
    rows = Path("n.ipynb").read_text().splitlines()
    wanted = {number for number, row in enumerate(rows, 1) if "x.norm(-1" in row or "y.norm(2" in row}
    found = {int(row) for row in re.findall(pattern, _run(_OURS, "n.ipynb", "--output-format", form)[1])}
    assert wanted <= found


def test_statistics_in_json() -> None:
    for tool in (_RUFF, _OURS):
        assert json.loads(_run(tool, "--statistics", "--output-format", "json")[1])
