"""What a run of very many files leaves out is said."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from fa_lint.cli import cli
from fa_lint.project.engine import MOST_FOLLOWED

NOTE = "values are not followed from file to file"


@pytest.mark.parametrize(("files", "said"), [(MOST_FOLLOWED, False), (MOST_FOLLOWED + 1, True)])
def test_a_run_that_does_not_follow_values_says_so(tmp_path: Path, files: int, said: bool) -> None:
    for number in range(files):
        (tmp_path / f"m{number}.py").write_text("x = 1\n")
    result = CliRunner().invoke(cli, ["--no-cache", "--isolated", str(tmp_path)])
    assert result.exit_code == 0
    assert (NOTE in result.stderr) is said
    assert NOTE not in CliRunner().invoke(cli, ["--no-cache", "--isolated", "--quiet", str(tmp_path)]).stderr
