"""Every program, command and output of README.md and ``docs`` is real; the picture is what the tool draws."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.integrations.repository import ROOT
from tools.picture import PICTURE, picture
from tools.transcripts import NEEDS_TORCH, PAGES, Failed, updated

# A network's figures differ in their last digits by machine; its words, rows and columns do not.
_DIGITS_DIFFER = {"diagnose.md"}
_EXECUTED = {"python", "console", "text"}
# Read by a parser, a schema or a tool's own command line in tests/integrations/test_ci.py, or of an editor's own language.
_CHECKED_ELSEWHERE = {"bash", "toml", "yaml", "ini", "json", "lua", "elisp"}


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_every_output_is_what_the_program_prints(path: Path) -> None:
    page = path.read_text(encoding="utf-8")
    if NEEDS_TORCH.search(page):
        pytest.importorskip("torch")
    if re.search(r"(?m)^from lightning", page):
        pytest.importorskip("lightning")
    now = updated(page)
    if path.name in _DIGITS_DIFFER:
        page, now = (re.sub(r"[+-]?\d[\d.e+-]*", "0", text) for text in (page, now))
        page, now = (re.sub(r"[ ─]+", " ", text) for text in (page, now))
    assert now == page, "run `python -m tools.transcripts`"


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_every_block_is_of_a_kind_that_is_checked(path: Path) -> None:
    infos = re.findall(r"(?ms)^```([^\n]*)\n.*?^```$", path.read_text(encoding="utf-8"))
    unknown = {info.split()[0] for info in infos if info} - _EXECUTED - _CHECKED_ELSEWHERE
    assert not unknown


def test_outputs_are_replaced_and_files_are_written() -> None:
    page = (
        '```python title="a.py"\nprint(1)\n```\n\n```console\n$ python a.py\nold\n$ echo x; exit 1\n```\n'
        "\n```python\nprint(2)\n```\n\n```text\nold\n```\n\ntext\n\n```text\nkept\n```\n"
    )
    expected = page.replace("$ python a.py\nold\n", "$ python a.py\n1\n").replace("exit 1\n", "exit 1\nx\n")
    assert updated(page) == expected.replace("```text\nold\n", "```text\n2\n")


@pytest.mark.parametrize("block", ["```python\n1 / 0\n```\n", "```console\n$ no-such-command\n```\n"])
def test_a_program_that_does_not_run_is_an_error(block: str) -> None:
    with pytest.raises(Failed):
        updated(block)


def test_the_picture_is_what_the_tool_draws() -> None:
    drawn = PICTURE.read_text(encoding="utf-8")
    assert drawn == picture(), "run `python -m tools.picture`"
    assert not re.search(r"""(url\(|@import|href=|src=)["' ]*(https?:)?//""", drawn), (
        "a picture loads nothing from elsewhere"
    )
    assert "FAL201" in drawn


def test_the_first_command_of_the_readme_shows_findings() -> None:
    first, second = re.findall(r"(?m)^python3 -m venv .*$", (ROOT / "README.md").read_text(encoding="utf-8"))
    start = "python3 -m venv .venv && . .venv/bin/activate && "
    assert second == f"{start}bash tests/run.sh"
    assert first.startswith(f"{start}pip install . && fa-lint ")
    done = subprocess.run(
        [sys.executable, "-m", "fa_lint", "--no-cache", *first.rpartition("fa-lint ")[2].split()],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert 2 < len(done.stdout.splitlines()) < 20
    assert "FAL201" in done.stdout


def test_the_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 165


def test_the_citation_is_of_this_version() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert {"cff-version", "message", "title", "authors"} <= set(citation)
    project = re.search(r'(?m)^version = "(.+)"$', (ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    assert project is not None
    assert citation["version"] == project[1]
