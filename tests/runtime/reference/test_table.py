"""``fa-diagnose table`` and the figures of a page: reports of any origin beside each other."""

from __future__ import annotations

import csv
import io
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner
from torch import nn

from fa_lint_runtime import DiagnosticReport, Feedback, FrozenBaseline, diagnose
from fa_lint_runtime.audit import audit_page
from fa_lint_runtime.audit.formats import COLUMNS, NARROW, chosen
from fa_lint_runtime.audit.table import rows_of_reports
from fa_lint_runtime.cli import main


def report(name: str, seed: int) -> DiagnosticReport:
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Linear(6, 16), nn.Tanh(), nn.Linear(16, 16), nn.Tanh(), nn.Linear(16, 3))
    batches = [(torch.randn(32, 6), torch.randint(0, 3, (32,))) for _ in range(3)]
    feedback = Feedback.dfa([16, 16], 3, seed=seed, sites=["0", "2"])
    baseline = FrozenBaseline(0.30)
    return diagnose(model, batches, 0.35, baseline, name, feedback=feedback, progress=False)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs")
    for name in ("dfa_50%", "fa"):
        for seed in (1, 2, 3):
            (folder / f"{name[:2]}{seed}.json").write_text(report(name, seed).to_json())
    return folder


def shown(runs: Path, *arguments: str) -> str:
    found = CliRunner().invoke(main, ["table", str(runs), *arguments])
    assert found.exit_code == 0, found.output
    return found.output


def test_one_row_a_method_in_every_format(runs: Path) -> None:
    text = shown(runs)
    assert len(text.splitlines()) == 3
    assert text.splitlines()[0].split()[:3] == ["method", "seeds", "verdict"]
    rows = list(csv.DictReader(io.StringIO(shown(runs, "--format", "csv", "--columns", "all"))))
    assert [row["method"] for row in rows] == ["dfa_50%", "fa"]
    assert list(rows[0]) == [c.title for c in COLUMNS]
    assert rows[0]["seeds"] == "3"
    assert rows[0]["margin, pp"].startswith("5.0")
    assert shown(runs, "--format", "markdown", "--columns", "method; seeds").splitlines()[2] == "| dfa_50% | 3 |"
    refused = CliRunner().invoke(main, ["table", str(runs), "--columns", "colour"])
    assert refused.exit_code == 2
    assert "no column 'colour'; there are: model; method" in refused.stderr


def test_latex_has_ten_columns_and_a_caption_and_compiles(runs: Path, tmp_path: Path) -> None:
    text = shown(runs, "--format", "latex", "--caption", "All & more")
    assert len(NARROW) == 10
    assert r"\begin{tabular}{llllllllll}" in text
    assert r"\caption{All \& more}" in text
    assert r"dfa\_50\%" in text
    assert text.isascii(), "any LaTeX sets it"
    everything = shown(runs, "--format", "latex", "--columns", "all")
    assert everything.isascii()
    latex = shutil.which("pdflatex") or shutil.which("tectonic")
    if latex is None:
        pytest.skip("no LaTeX here")
    source = tmp_path / "t.tex"
    source.write_text("\\documentclass{article}\\usepackage{booktabs}\\begin{document}" + text + "\\end{document}")
    subprocess.run([latex, source.name], cwd=tmp_path, check=True, capture_output=True, stdin=subprocess.DEVNULL)


def test_the_page_shows_the_verdict_first_and_draws_intervals_and_null_bands(runs: Path, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    target = tmp_path / "page.html"
    shown(runs, "--format", "html", "--caption", "My <methods>", "-o", str(target))
    page = target.read_text()
    assert "My &lt;methods&gt;" in page
    assert re.findall("<th>(.*?)</th>", page)[:3] == ["model", "method", "verdict"]
    own = rows_of_reports([report("dfa", 1)])
    with_bands = audit_page("t", "d", own)
    assert with_bands.count('id="interval-0"') == with_bands.count('id="null-0"') == 1


def test_columns_are_looked_up_by_title() -> None:
    assert [c.title for c in chosen(["verdict", "method"])] == ["verdict", "method"]


def test_a_report_as_a_frame() -> None:
    pandas = pytest.importorskip("pandas")
    found = report("dfa", 1)
    frame = found.to_frame()
    assert isinstance(frame, pandas.DataFrame)
    assert list(frame["name"]) == [x.name for x in found.layers]
    assert frame["drift.stability"].tolist() == [x.drift.stability for x in found.layers]
    assert frame["alignment.gamma.value"].tolist() == [x.alignment.gamma.value for x in found.layers if x.alignment]


@pytest.mark.parametrize("content", [b"[" * 100_000, b"\xff\xfe", b'{"a": ' + b"9" * 5000 + b"}", b"{", b"[]"])
def test_a_file_that_is_no_report_is_one_line(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "bad.json"
    path.write_bytes(content)
    found = CliRunner().invoke(main, ["table", str(path)])
    assert found.exit_code == 2
    assert found.stderr.startswith(f"fa-diagnose: {path}")
    assert len(found.stderr.splitlines()) == 1
