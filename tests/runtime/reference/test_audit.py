"""The audit: configuration, statistics, resumption after a kill, processes, tables."""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner
from scipy import stats

from fa_lint_runtime.audit import (
    AuditConfig,
    Cell,
    CellResult,
    ConfigError,
    Row,
    against_published,
    audit_page,
    cells_of,
    exit_code,
    load_config,
    rows_of,
    run_audit,
    summary,
    to_latex,
    to_markdown,
)
from fa_lint_runtime.audit.formats import COLUMNS
from fa_lint_runtime.cli import main
from fa_lint_runtime.dependencies import MissingDependencyError
from fa_lint_runtime.reference import Recipe

ROOT = Path(__file__).parents[3]

SMALL = """
methods = ["bp", "dfa", "dfa+penalty"]
seeds = [1, 2]
null_draws = 19

[data]
name = "mixture"
dim = 32
train = 512
test = 512

[model]
width = 16
depth = 2

[recipe]
optimizer = "adam"
lr = 1e-2
weight_decay = 0.0
cosine = false
epochs = 2
"""


def written(folder: Path, text: str = SMALL) -> Path:
    path = folder / "audit.toml"
    path.write_text(text)
    return path


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[AuditConfig, list[CellResult]]:
    config = load_config(written(tmp_path_factory.mktemp("audit")))
    return config, run_audit(config)


def test_summary_uses_the_sample_deviation_and_counts_what_it_leaves_out() -> None:
    found = summary([0.1, 0.2, 0.6, math.nan, math.inf])
    assert (found.n, found.missing) == (3, 2)
    assert found.mean == pytest.approx(0.3)
    assert found.std == pytest.approx(0.2645751)
    low, high = stats.t.interval(0.95, 2, loc=0.3, scale=0.2645751 / math.sqrt(3))
    assert (found.low, found.high) == pytest.approx((low, high))
    assert math.isnan(summary([1.0]).std)
    assert math.isnan(summary([]).mean)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("methods = [", "not TOML"),
        ("seeds = [1]", "methods must be a list"),
        ('methods = ["sgd"]', ":1: unknown method 'sgd'"),
        ('methods = ["bp"]\nepochs = 3', ":2: unknown key 'epochs'"),
        ('methods = ["bp", "bp"]', ":1: methods names one twice"),
        ('methods = ["bp"]\nseeds = [1, 1]', ":2: seeds names one twice"),
        ('methods = ["bp"]\nseeds = [1.5]', ":2: seeds must be"),
        ('methods = ["bp"]\nseeds = [true]', ":2: seeds must be"),
        ('methods = ["bp"]\nmodels = ["mlp"]', ":2: unknown name 'mlp' in models"),
        ('methods = ["bp"]\n[data]\nname = "imagenet"', ":2: [data] needs a name"),
        ('methods = ["bp"]\n[recipe]\nlearning_rate = 1', ":3: unknown key 'learning_rate' in [recipe]"),
        ('methods = ["bp"]\n[recipe]\nlr = "fast"', ":3: [recipe]: lr must be"),
        ('methods = ["bp"]\n[override.dfa]\nlr = 1e-2', ":2: [override.dfa]: no such method"),
        ('methods = ["bp"]\npenalty = -1', ":2: penalty must be"),
        ('methods = ["bp"]\nfrozen = "all"', ":2: frozen must be one of"),
        ('methods = ["bp"]\nnull_draws = 3', ":2: null_draws must be"),
        ('methods = ["bp"]\nrecipe = 3', ":2: recipe must be a table"),
    ],
)
def test_a_bad_configuration_names_file_line_and_reason(tmp_path: Path, text: str, message: str) -> None:
    path = written(tmp_path, text)
    with pytest.raises(ConfigError) as caught:
        load_config(path)
    assert str(caught.value).startswith(f"{path}:")
    assert message in str(caught.value)
    result = CliRunner().invoke(main, ["audit", str(path)])
    assert result.exit_code == 2
    assert len(result.stderr.strip().splitlines()) == 1
    assert not (tmp_path / "audit").exists()


def test_shipped_configurations_are_sound() -> None:
    for path in sorted((ROOT / "docs" / "audit").glob("*.toml")):
        config = load_config(path)
        assert len(cells_of(config)) == 3 * (1 + len(config.methods)), path
    assert load_config(ROOT / "docs/audit/original-shape.toml").recipe.epochs == 100


def test_overrides_and_penalty(tmp_path: Path) -> None:
    text = 'methods = ["bp", "ep", "dfa+penalty"]\npenalty = 0.5\n[recipe]\nepochs = 7\n[override.ep]\nlr = 1e-4\n'
    config = load_config(written(tmp_path, text))
    assert config.recipe_of("ep").lr == 1e-4
    assert config.recipe_of("ep").epochs == 7
    assert config.recipe_of("bp").penalty == 0.0
    assert config.recipe_of("dfa+penalty").penalty == 0.5


def test_cells_have_reports_with_a_paired_named_baseline(finished: tuple[AuditConfig, list[CellResult]]) -> None:
    config, results = finished
    assert [r.cell for r in results] == list(cells_of(config))
    assert not any(r.error for r in results)
    by_cell = {r.cell: r for r in results}
    for result in results:
        if result.cell.method == "frozen":
            assert result.report is None
            continue
        report = result.report
        assert report is not None
        assert report.margin is not None
        frozen = by_cell[Cell("residual_mlp", "frozen", result.cell.seed)].accuracy
        assert report.margin.pp.value == pytest.approx(100 * (result.accuracy - frozen))
        assert report.margin.method == "paired bootstrap over samples"
        assert "embedding by DFA" in report.margin.baseline
        bp = by_cell[Cell("residual_mlp", "bp", result.cell.seed)].accuracy
        assert report.margin.bp_pp == pytest.approx(100 * (bp - frozen))
        assert (report.alignment is None) == (result.cell.method == "bp")


def test_a_second_run_computes_nothing(
    finished: tuple[AuditConfig, list[CellResult]], monkeypatch: pytest.MonkeyPatch
) -> None:
    config, results = finished
    monkeypatch.setattr("fa_lint_runtime.audit.cells.train", lambda *a, **k: pytest.fail("trained again"))
    monkeypatch.setattr("fa_lint_runtime.audit.cells.diagnose", lambda *a, **k: pytest.fail("measured again"))
    states: list[bool] = []
    again = run_audit(config, on_cell=lambda _, stored: states.append(stored))
    assert states == [True] * len(results)
    assert [r.report.to_json() for r in again if r.report] == [r.report.to_json() for r in results if r.report]


def test_a_changed_configuration_is_computed_again(finished: tuple[AuditConfig, list[CellResult]]) -> None:
    config, _ = finished
    text = SMALL.replace("lr = 1e-2", "lr = 2e-2")
    changed = load_config(written(config.out.parent, text))
    assert changed.out == config.out
    cell = Cell("residual_mlp", "dfa", 1)
    assert CellResult.read(config, cell) is not None
    assert CellResult.read(changed, cell) is None


def test_a_damaged_cell_is_computed_again_from_its_checkpoint(
    finished: tuple[AuditConfig, list[CellResult]], monkeypatch: pytest.MonkeyPatch
) -> None:
    config, results = finished
    cell = Cell("residual_mlp", "dfa", 2)
    path = config.out / "cells" / f"{cell.name}.json"
    whole = path.read_text()
    monkeypatch.setattr("fa_lint_runtime.audit.cells.train", lambda *a, **k: pytest.fail("trained again"))
    path.write_text(whole[: len(whole) // 2])
    assert CellResult.read(config, cell) is None
    again = next(r for r in run_audit(config) if r.cell == cell)
    before = next(r for r in results if r.cell == cell)
    assert again.report is not None
    assert before.report is not None
    assert again.report.to_json() == before.report.to_json()


def test_one_broken_cell_does_not_end_the_audit(tmp_path: Path) -> None:
    text = SMALL.replace('"dfa+penalty"', '"sb"').replace('name = "mixture"', 'name = "digit_images"')
    text = text.replace("dim = 32\ntrain = 512\ntest = 512\n", "").replace("[data]", 'models = ["small_cnn"]\n\n[data]')
    text = text.replace("width = 16\ndepth = 2", "width = 16").replace("seeds = [1, 2]", "seeds = [1]")
    config = load_config(written(tmp_path, text))
    results = run_audit(config)
    errors = {r.cell.method: r.error for r in results}
    assert "hidden states (B, d) of one size" in errors["sb"]
    assert not errors["dfa"]
    rows = rows_of(results)
    assert exit_code(results) == 1
    assert "sb: ValueError" in to_markdown(rows)
    assert CellResult.read(config, Cell("small_cnn", "sb", 1)) is None, "a failure is tried again"


@pytest.mark.slow
def test_processes_give_what_one_process_gives(finished: tuple[AuditConfig, list[CellResult]], tmp_path: Path) -> None:
    _, results = finished
    parallel = run_audit(load_config(written(tmp_path)), jobs=2)
    assert [r.accuracy for r in parallel] == [r.accuracy for r in results]
    assert [r.report.verdict for r in parallel if r.report] == [r.report.verdict for r in results if r.report]


def _started(config: Path) -> subprocess.Popen[str]:
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "fa_lint_runtime", "audit", str(config), "--no-html"]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)


@pytest.mark.slow
def test_it_survives_kill_minus_nine(tmp_path: Path) -> None:
    """Killed as soon as a third cell is there, it goes on with what is left and ends with the table of an unkilled run."""
    path = written(tmp_path, SMALL.replace("epochs = 2", "epochs = 10"))
    cells = tmp_path / "audit" / "cells"
    process = _started(path)
    deadline = time.monotonic() + 120
    while len(list(cells.glob("*.json"))) < 3 and time.monotonic() < deadline:
        assert process.poll() is None, process.communicate()[1]
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    kept = {file.name: file.read_bytes() for file in cells.glob("*.json")}
    assert 3 <= len(kept) < 8, "killed in the middle"
    times = {name: (cells / name).stat().st_mtime_ns for name in kept}
    again = _started(path)
    out, err = again.communicate(timeout=300)
    assert again.returncode in (0, 1, 3), err
    assert err.count("there already") == len(kept)
    assert {name: (cells / name).stat().st_mtime_ns for name in kept} == times, "finished cells are not touched"
    assert len(list(cells.glob("*.json"))) == 8
    assert "| residual_mlp | dfa+penalty | 2 |" in out
    fresh = tmp_path / "fresh"
    fresh.mkdir()
    unkilled = _started(written(fresh, path.read_text()))
    assert unkilled.communicate(timeout=300)[0] == out


@pytest.mark.slow
def test_torchrun_shares_the_cells(tmp_path: Path) -> None:
    path = written(tmp_path)
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--master-port", "29731"]
    command += ["-m", "fa_lint_runtime", "audit", str(path), "--no-html"]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=300, check=False)
    assert len(list((tmp_path / "audit" / "cells").glob("*.json"))) == 8, done.stderr
    assert done.stdout.count("| method |") == 1, "rank 0 alone prints"
    one = load_config(path)
    single = run_audit(load_config(written(tmp_path / "audit")))
    assert [r.accuracy for r in run_audit(one)] == [r.accuracy for r in single]


def test_tables_and_page(finished: tuple[AuditConfig, list[CellResult]]) -> None:
    _, results = finished
    rows = rows_of(results)
    assert [row.method for row in rows] == ["bp", "dfa", "dfa+penalty", "frozen"]
    dfa = next(row for row in rows if row.method == "dfa")
    accuracies = [r.accuracy for r in results if r.cell.method == "dfa"]
    assert dfa.accuracy.mean == pytest.approx(sum(accuracies) / 2)
    assert dfa.aligned.endswith("/4")
    table = to_markdown(rows)
    assert f"{dfa.accuracy.mean:.3f} ± {dfa.accuracy.std:.3f}" in table
    widths = {line.count("|") for line in table.splitlines() if line.startswith("|")}
    assert len(widths) == 1
    latex = to_latex(rows)
    assert latex.count(r"\\") == 1 + len(rows)
    assert r"residual\_mlp" in to_latex(rows, COLUMNS)
    assert to_latex([*rows, replace(rows[0], model="other")]).splitlines()[2].startswith("model & method")
    assert not set(latex) & set("±‖≥–")
    page = audit_page("A <b>", "d", rows)
    assert page.count("<svg") == 4
    assert "A &lt;b&gt;" in page
    assert "<script" not in page
    assert "http" not in page.replace("http://www.w3.org", "").replace("http://purl.org", "").replace(
        "http://creativecommons.org", ""
    ).replace("https://matplotlib.org", "")


def test_agreement_with_the_published_verdicts_is_computed(finished: tuple[AuditConfig, list[CellResult]]) -> None:
    rows = rows_of(finished[1])
    assert against_published(rows, finished[0]) == [], "other data, another recipe"
    config = replace(finished[0], data={"name": "cifar10"}, recipe=Recipe())
    lines = against_published(rows, config)
    assert [line.split(":")[0] for line in lines] == ["bp", "dfa", "dfa+penalty"]

    def turned(row: Row, verdict: str) -> Row:
        return replace(row, reports=tuple(replace(r, original_verdict=verdict) for r in row.reports))

    for verdict, agree in (("walked back", (False, True, True)), ("trustworthy", (True, False, False))):
        found = against_published([turned(row, verdict) for row in rows], config)
        assert tuple("agrees" in line for line in found) == agree


def test_without_matplotlib_the_page_says_what_to_install(
    finished: tuple[AuditConfig, list[CellResult]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(MissingDependencyError, match=r"fa-lint\[report\]"):
        audit_page("t", "d", rows_of(finished[1]))


def test_command_line_over_finished_cells(finished: tuple[AuditConfig, list[CellResult]]) -> None:
    config, results = finished
    path = written(config.out.parent)
    dry = CliRunner().invoke(main, ["audit", str(path), "--dry-run"])
    assert dry.output.count("finished") == len(results)
    found = CliRunner().invoke(main, ["audit", str(path)])
    assert found.exit_code == exit_code(results)
    assert "| residual_mlp | bp | 2 |" in found.output
    assert {p.name for p in config.out.iterdir()} == {"cells", "table.md", "table.tex", "table.html"}
    cell = json.loads((config.out / "cells" / "residual_mlp-bp-1.json").read_text())
    assert cell["torch"] == torch.__version__
