"""The release script: what it flips, what it refuses, and a whole release in a copy of this repository."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.integrations.repository import ROOT, Repository
from tools.release import CONSTANTS, Refused, flip, main

_PAGES = [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *(ROOT / name for name in CONSTANTS)]


@pytest.fixture
def copy(tmp_path: Path) -> Repository:
    """A repository with the files of this one that a release reads or packs."""
    folder = tmp_path / "copy"
    for name in ("fa_lint", "fa_lint_runtime", "docs", "tools"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    for path in ROOT.iterdir():
        if path.is_file() and path.suffix in (".md", ".toml", "") and path.name != ".git":
            shutil.copy(path, folder)
    repository = Repository(folder)
    repository.commit()
    return repository


@pytest.mark.parametrize("path", _PAGES, ids=lambda path: path.name)
def test_nothing_says_any_more_that_there_is_no_release(path: Path) -> None:
    text = flip(path.read_text(encoding="utf-8"), "9.9")
    assert not re.search(r"no (release|tag) yet|_RELEASED = False", text)
    assert not re.search(r'"fa-lint(\[\w+\])? @', text)
    assert flip(text, "9.9") == text


def test_both_constants_flip_together(copy: Repository) -> None:
    for name in CONSTANTS:
        path = copy.folder / name
        path.write_text(flip(path.read_text(encoding="utf-8"), "9.9"), encoding="utf-8")
    program = (
        "from fa_lint.installing import install_command as one\n"
        "from fa_lint_runtime.dependencies import install_command as two\nprint(one('lsp'), two('lsp'))"
    )
    environment = {**os.environ, "PYTHONPATH": str(copy.folder)}
    done = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True, cwd=copy.folder
    )
    assert done.stdout == 'pip install "fa-lint[lsp]" pip install "fa-lint[lsp]"\n'


def test_what_is_refused(copy: Repository) -> None:
    (copy.folder / "README.md").write_text("changed")
    with pytest.raises(Refused, match="not committed"):
        main(copy.folder)
    copy.git("checkout", "-q", "README.md")
    copy.git("tag", "v0.1.0")
    with pytest.raises(Refused, match="there is a tag"):
        main(copy.folder)


def test_a_failed_check_leaves_the_checkout_as_it_was(copy: Repository, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> Path:
        raise Refused("no wheel")

    monkeypatch.setattr("tools.release._build", fail)
    with pytest.raises(Refused, match="no wheel"):
        main(copy.folder)
    assert (copy.git("status", "--porcelain"), copy.git("tag")) == ("", "")


@pytest.mark.slow
def test_a_whole_release(copy: Repository) -> None:
    main(copy.folder)
    assert copy.git("tag") == "v0.1.0"
    assert copy.git("status", "--porcelain") == ""
    assert re.search(r"## Unreleased\n\n## 0\.1\.0 - \d{4}-\d\d-\d\d\n", (copy.folder / "CHANGELOG.md").read_text())
    assert "rev: v0.1.0\n" in (copy.folder / "docs" / "pre-commit.md").read_text()
