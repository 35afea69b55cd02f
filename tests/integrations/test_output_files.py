"""``--output-file`` more than once: formats beside what is printed, and today's plain form."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from fa_lint.output import FORMATS
from tests.conftest import MIXED, Lint, notebook, write
from tests.integrations.repository import ROOT

_SCHEMA = ROOT.parent / "shared" / "schemas" / "sarif-2.1.0.json"


def test_every_format_in_one_run(fa_lint: Lint) -> None:
    write("a.py", MIXED)
    targets = [f"--output-file={name}:out.{name}" for name in FORMATS]
    result = fa_lint("a.py", *targets, "--output-format", "concise")
    assert result.exit_code == 1
    assert result.stdout == fa_lint("a.py", "--output-format", "concise").stdout
    for name in FORMATS:
        assert Path(f"out.{name}").read_text() == fa_lint("a.py", "--output-format", name).stdout


@pytest.mark.skipif(not _SCHEMA.exists(), reason="the schema is not part of the package")
def test_the_sarif_beside_annotations_is_valid(fa_lint: Lint) -> None:
    write("sub dir/a é.py", MIXED)
    write("n.ipynb", json.dumps(notebook(MIXED)))
    result = fa_lint(".", "--output-format", "github", "--output-file", "sarif:fa-lint.sarif")
    assert result.stdout.count("::error") == 2
    log: Any = json.loads(Path("fa-lint.sarif").read_text())
    jsonschema.Draft7Validator(json.loads(_SCHEMA.read_text())).validate(log)
    assert len(log["runs"][0]["results"]) == 4


def test_the_plain_form_is_instead_of_printing(fa_lint: Lint) -> None:
    write("a.py", MIXED)
    result = fa_lint("a.py", "--output-format", "json", "--output-file", "out.json", "--output-file", "junit:out.xml")
    assert result.stdout == ""
    assert len(json.loads(Path("out.json").read_text())) == 2
    assert Path("out.xml").read_text().startswith("<?xml")


@pytest.mark.parametrize("name", ["xml:out", "json:", ":out", "C:out"])
def test_a_colon_without_a_format_is_part_of_the_name(fa_lint: Lint, name: str) -> None:
    write("a.py", MIXED)
    assert fa_lint("a.py", "--output-file", name).stdout == ""
    assert Path(name).is_file()


def test_a_pipe_and_a_link_and_a_mode(fa_lint: Lint) -> None:
    write("a.py", MIXED)
    write("real.json", "old")
    os.chmod("real.json", 0o600)
    os.symlink("real.json", "link.json")
    assert fa_lint("a.py", "--output-file", "json:link.json", "--output-file", "concise:/dev/null").exit_code == 1
    assert Path("link.json").is_symlink()
    assert len(json.loads(Path("real.json").read_text())) == 2
    assert Path("real.json").stat().st_mode & 0o777 == 0o600


def test_a_file_that_cannot_be_written(fa_lint: Lint) -> None:
    write("a.py", MIXED)
    result = fa_lint("a.py", "--output-file", "sarif:no/such/out.sarif")
    assert (result.exit_code, result.stdout) == (2, "")
    assert "cannot write no/such/out.sarif: No such file" in result.stderr


def test_an_interrupted_write_leaves_the_old_file(fa_lint: Lint, monkeypatch: pytest.MonkeyPatch) -> None:
    write("a.py", MIXED)
    write("out.json", "old")

    def refuse(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", refuse)
    assert fa_lint("a.py", "--no-cache", "--output-file", "json:out.json").exit_code == 2
    assert Path("out.json").read_text() == "old"
    assert [path.name for path in Path().iterdir() if path.name.startswith(".fa-lint")] == []
