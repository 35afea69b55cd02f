"""``fa-diagnose table`` and the figures of a page: reports of any origin beside each other."""

from __future__ import annotations

import csv
import io
import json
import math
import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner, Result
from scipy import stats
from torch import nn
from typesetting import set_by_latex

from fa_lint_runtime import DiagnosticReport, Feedback, FrozenBaseline, diagnose
from fa_lint_runtime.audit import Cell, CellResult, audit_page, rows_of
from fa_lint_runtime.audit.formats import COLUMNS, NARROW, chosen, to_latex
from fa_lint_runtime.audit.table import rows_of_reports
from fa_lint_runtime.cli import main


def report(name: str, seed: int, width: int = 16) -> DiagnosticReport:
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Linear(6, width), nn.Tanh(), nn.Linear(width, width), nn.Tanh(), nn.Linear(width, 3))
    batches = [(torch.randn(32, 6), torch.randint(0, 3, (32,))) for _ in range(3)]
    feedback = Feedback.dfa([width, width], 3, seed=seed, sites=["0", "2"])
    baseline = FrozenBaseline(0.30)
    return diagnose(model, batches, 0.34 + seed / 100, baseline, name, feedback=feedback, progress=False)


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
    assert rows[0]["seeds"] == "3"
    assert float(rows[0]["margin, pp"]) == pytest.approx(6.0)
    assert shown(runs, "--format", "markdown", "--columns", "method; seeds").splitlines()[2] == "| dfa_50% | 3 |"
    refused = CliRunner().invoke(main, ["table", str(runs), "--columns", "colour"])
    assert refused.exit_code == 2
    assert "no column 'colour'; there are: model; method" in refused.stderr


def test_latex_has_ten_columns_and_a_caption(runs: Path) -> None:
    text = shown(runs, "--format", "latex", "--caption", "All & more")
    assert len(NARROW) == 10
    assert r"\begin{tabular}{llllllllll}" in text
    assert r"\caption{All \& more}" in text
    assert text.startswith("\\begin{table}\n")
    assert text.endswith("\\end{tabular}\n\\end{table}\n")
    assert r"dfa\_50\%" in text
    assert text.isascii(), "any LaTeX sets it"
    assert shown(runs, "--format", "latex", "--columns", "all").isascii()


# What LaTeX would take for commands, for an argument of the line before, for a paragraph, or does not know.
ODD = r"""\end{tabular} & % $ # _ { } ~ ^ [x] *y é ß α Ω β² Δ µ — ‘a’ “b” ≤ ≠ ∞ √ ∈ ½ × ‖ Γ → – a--b ?` \input{x}"""


def test_latex_sets_the_tables(runs: Path, tmp_path: Path) -> None:
    for options in ((), ("--columns", "all"), ("--columns", "95 % t;method"), ("--caption", f"All & more\n\n{ODD}")):
        set_by_latex(shown(runs, "--format", "latex", *options), tmp_path)


@pytest.mark.parametrize("name", [ODD, "[3pt] dfa", "*dfa", "", "日本"])
def test_latex_sets_any_name(runs: Path, tmp_path: Path, name: str) -> None:
    own = [replace(report("x", seed), method_name=name) for seed in (1, 2)]
    text = to_latex([*rows_of_reports(own), *rows_of_reports([report("fa", 1)])], chosen(["method", "95 % t"]), name)
    if name == "日本":
        assert name in text, "XeLaTeX sets it"
    else:
        log = set_by_latex(text, tmp_path)
        assert "Missing character" not in log
    assert text.count("&") - text.count(r"\&") == 3, "two columns"


def test_a_cell_in_brackets_is_no_argument_of_the_line_before(runs: Path) -> None:
    lines = shown(runs, "--format", "latex", "--columns", "95 % t;method").splitlines()
    assert [line[:4] for line in lines if "dfa" in line or "fa " in line] == ["{}[0", "{}[0"]


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


def table(*arguments: object) -> Result:
    found = CliRunner().invoke(main, ["table", *map(str, arguments)])
    assert found.exit_code == 0, found.output
    return found


def in_csv(*runs: object, columns: str = "all") -> list[dict[str, str]]:
    found = table(*runs, "--format", "csv", "--columns", columns)
    return list(csv.DictReader(io.StringIO(found.stdout)))


def test_csv_has_a_number_a_column(runs: Path) -> None:
    rows = in_csv(runs)
    text = {"model", "method", "original verdict", "verdict"}
    numbers = [(title, value) for row in rows for title, value in row.items() if title not in text]
    assert {title for title, value in numbers if value == ""} <= {"(c)"}
    assert all(math.isfinite(float(value)) for _, value in numbers if value)
    row = rows[0]
    own = rows_of_reports([report("dfa_50%", seed) for seed in (1, 2, 3)])[0]
    assert float(row["accuracy"]) == own.accuracy.mean
    assert (float(row["margin, pp low"]), float(row["margin, pp high"])) == (own.margin.low, own.margin.high)
    assert float(row["accuracy std"]) == own.accuracy.std
    assert float(row["growth"]) == own.growth, "in full"
    assert (row["aligned"], row["aligned of"]) == tuple(own.aligned.split("/"))
    assert (row["seeds"], row["diverged"], row["failed"]) == ("3", "0", "0")
    one = in_csv(runs / "fa1.json", columns="accuracy;95 % t")
    assert [*one[0].items()][1:] == [("accuracy std", ""), ("accuracy low", ""), ("accuracy high", "")]


def test_networks_of_two_shapes_are_two_rows(tmp_path: Path) -> None:
    for width in (8, 16):
        (tmp_path / f"{width}.json").write_text(report("dfa", 1, width).to_json())
    assert [(row["model"], row["method"], row["seeds"]) for row in in_csv(tmp_path)] == [
        ("2 × 16", "dfa", "1"),
        ("2 × 8", "dfa", "1"),
    ]
    assert table(tmp_path).stdout.split()[:3] == ["model", "method", "seeds"], "told apart where there are two"
    assert table(tmp_path / "8.json").stdout.split()[:2] == ["method", "seeds"]


def test_networks_of_one_name_are_told_apart_by_their_states(tmp_path: Path) -> None:
    for name, width in (("a", 8), ("b", 16)):
        cell(tmp_path / name, "frozen", 1)
        cell(tmp_path / name, "dfa", 1, report=json.loads(report("dfa", 1, width).to_json()))
        cell(tmp_path / name, "dfa", 2, report=None, error="no luck")
    rows = in_csv(tmp_path / "a", tmp_path / "b", columns="model;method;seeds")
    assert [tuple(row.values())[:3] for row in rows] == [("net", "dfa", "2")] * 2 + [("net", "frozen", "1")] * 2


def test_a_file_counts_once(runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = runs / "fa1.json"
    (tmp_path / "link.json").symlink_to(file)
    (tmp_path / "hard.json").hardlink_to(file)
    monkeypatch.chdir(runs)
    for again in (file, "fa1.json", tmp_path, tmp_path / "link.json", runs):
        assert [row["seeds"] for row in in_csv(runs, again)] == ["3", "3"], again
    assert [row["seeds"] for row in in_csv(file, file)] == ["1"]
    other = tmp_path / "copy.json"
    other.write_text(report("fa", 9).to_json())
    assert [row["seeds"] for row in in_csv(runs, other)] == ["3", "4"], "another file is another seed"


def cell(folder: Path, method: str, seed: int, **changed: object) -> None:
    """A cell of an audit as it lies on disk."""
    (folder / "cells").mkdir(parents=True, exist_ok=True)
    found = None if method == "frozen" else json.loads(report(method, seed).to_json())
    content = {"schema": "fa-diagnose-cell", "cell": {"model": "net", "method": method, "seed": seed}, "accuracy": 0.5}
    content |= {"report": found, "diverged": None, "seconds": 1.0, "error": "", "correct": ""} | changed
    (folder / "cells" / f"net-{method}-{seed}.json").write_text(json.dumps(content))


def test_cells_that_failed_or_diverged_or_are_frozen_are_shown(tmp_path: Path) -> None:
    audit = tmp_path / "audit"
    for seed, accuracy in ((1, 0.2), (2, 0.25), (3, 0.3)):
        cell(audit, "frozen", seed, accuracy=accuracy)
    cell(audit, "dfa", 1)
    cell(audit, "dfa", 2, report=None, accuracy=0.1, diverged=3)
    cell(audit, "dfa", 3, report=None, accuracy=None, error="ValueError: no | luck")
    rows = in_csv(audit)
    assert [(r["model"], r["method"], r["seeds"], r["diverged"], r["failed"]) for r in rows] == [
        ("net", "dfa", "3", "1", "1"),
        ("net", "frozen", "3", "0", "0"),
    ]
    assert float(rows[0]["accuracy"]) == pytest.approx(0.3), "of the cells, as in the table of the audit"
    assert float(rows[0]["margin, pp"]) == pytest.approx((30 - 15) / 2), "each from the baseline of its seed"
    shown = table(audit).stdout
    assert "3 (1 diverged, 1 failed)" in shown
    assert shown.splitlines()[-1] == "failed: net dfa: ValueError: no | luck"
    assert "no | luck" in table(audit, "--format", "markdown").stdout
    assert [row["failed"] for row in in_csv(audit / "cells" / "net-dfa-3.json")] == ["1"], "named by itself, too"


def test_audits_pair_with_their_own_baselines(tmp_path: Path) -> None:
    for name, accuracy in (("a", 0.1), ("b", 0.4)):
        cell(tmp_path / name, "frozen", 1, accuracy=accuracy)
        cell(tmp_path / name, "dfa", 1)
    rows = in_csv(tmp_path / "a", tmp_path / "b")
    assert [(row["method"], row["seeds"]) for row in rows] == [("dfa", "2"), ("frozen", "2")]
    assert float(rows[0]["margin, pp"]) == pytest.approx((40 + 10) / 2)
    alone = in_csv(tmp_path / "a" / "cells" / "net-dfa-1.json")
    assert float(alone[0]["margin, pp"]) == pytest.approx(5.0), "that of the report, without the cell of the baseline"


def test_what_a_folder_holds_besides_is_named(runs: Path, tmp_path: Path) -> None:
    cell(tmp_path, "dfa", 1)
    cell(tmp_path, "dfa", 2, accuracy=[])
    (tmp_path / "cells" / "settings.json").write_text("{}")
    found = table(tmp_path)
    assert [line.split(": ")[0] for line in found.stderr.splitlines()] == ["left out"] * 2
    assert "net-dfa-2.json: a damaged cell of an audit" in found.stderr
    for path in (tmp_path / "cells" / "settings.json", tmp_path / "none.json", tmp_path / "cells" / "net-dfa-2.json"):
        refused = CliRunner().invoke(main, ["table", str(runs), str(path)])
        assert refused.exit_code == 2
        assert refused.stderr.startswith(f"fa-diagnose: {path}: ")
        assert len(refused.stderr.splitlines()) == 1
        assert refused.stdout == ""


def test_the_page_has_the_columns_that_were_asked_for(runs: Path) -> None:
    pytest.importorskip("matplotlib")
    page = table(runs, "--format", "html", "--columns", "verdict; method").stdout
    assert re.findall("<th>(.*?)</th>", page) == ["verdict", "method"]
    assert re.findall("<tr><td(.*?)>", page) == [' class="words"'] * 2
    assert "<p>6 runs</p>" in page


def test_the_margin_over_three_seeds_is_that_of_pairs() -> None:
    accuracies, baselines = (0.40, 0.44, 0.51), (0.30, 0.31, 0.35)
    results = []
    for seed, own, frozen in zip((7, 8, 9), accuracies, baselines, strict=True):
        results.append(CellResult(Cell("net", "mine", seed), own, None, 1.0, None, ""))
        results.insert(0, CellResult(Cell("net", "frozen", seed), frozen, None, 1.0, None, ""))
    row, last = rows_of(results)
    pairs = [10.0, 13.0, 16.0]
    assert (row.method, row.seeds, row.margin.n) == ("mine", 3, 3)
    assert row.margin.mean == pytest.approx(sum(pairs) / 3)
    assert row.margin.std == pytest.approx(3.0)
    ends = stats.t.interval(0.95, 2, loc=13.0, scale=3.0 / math.sqrt(3))
    assert (row.margin.low, row.margin.high) == pytest.approx(ends)
    assert (last.method, last.margin.n) == ("frozen", 0)
    by_title = {column.title: column.value(row) for column in COLUMNS}
    assert by_title["margin, pp"] == "13.0 ± 3.0"
    assert by_title["margin 95 % t"] == "[5.5, 20.5]"
