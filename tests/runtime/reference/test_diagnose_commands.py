"""``fa-diagnose`` run, utility, thresholds, compare: exit codes, one-line errors, and the script without torch."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner, Result

from fa_lint_runtime import DiagnosticReport, diagnose, save_checkpoint
from fa_lint_runtime.audit.utility import PUBLISHED, Evidence, evidence_of, utility_table
from fa_lint_runtime.cli import COMMANDS, main
from fa_lint_runtime.dependencies import install_command
from fa_lint_runtime.reference import Dataset, Recipe, ResidualMLP, TrainedRun, gaussian_mixture, train

ROOT = Path(__file__).parents[3]

USER_CODE = """
import torch
from fa_lint_runtime.reference import ResidualMLP, gaussian_mixture

def factory():
    return ResidualMLP(32, 16, 10, 2)

def wider():
    return ResidualMLP(32, 20, 10, 2)

def batches():
    return gaussian_mixture(32, noise=0.3, train=512, test=512).eval_batches(128)

def rude():
    model = factory()
    model.out_head.register_forward_hook(lambda *_: {}["no such key"])
    return model

def squares(output, y):
    return (output - y).square().mean()

def credit(inputs):
    torch.manual_seed(0)
    return [inputs.error @ torch.randn(inputs.error.shape[-1], 16, dtype=torch.float64) for _ in range(2)]

def regression():
    return [(x, torch.randn(len(x), 10)) for x, _ in batches()]

def broken():
    raise KeyError("no data here")

def leaving(*_):
    raise SystemExit(0)

def left():
    model = factory()
    model.out_head.register_forward_hook(leaving)
    return model

number = 3
"""


@pytest.fixture(scope="module")
def data() -> Dataset:
    return gaussian_mixture(32, noise=0.3, train=512, test=512)


@pytest.fixture(scope="module")
def trained(data: Dataset) -> TrainedRun:
    recipe = Recipe(optimizer="adam", lr=1e-2, weight_decay=0.0, cosine=False, epochs=3, batch_size=64)
    return train(lambda: ResidualMLP(32, 16, 10, 2), "dfa", data, recipe, 1)


@pytest.fixture(scope="module")
def report(data: Dataset, trained: TrainedRun) -> DiagnosticReport:
    return diagnose(
        trained.model.eval(),
        data.eval_batches(128),
        trained.accuracy,
        0.1,
        method_name="dfa",
        feedback=trained.method.auxiliaries,  # type: ignore[arg-type]
        progress=False,
    )


@pytest.fixture(autouse=True)
def _user_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "usercode.py").write_text(USER_CODE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(sys.modules, "usercode", raising=False)


def run(*arguments: object, model: str = "usercode:factory", batches: str = "usercode:batches") -> Result:
    command = ["run", "--model", model, "--data", batches, *map(str, arguments)]
    return CliRunner().invoke(main, command)


def refused(result: Result, text: str) -> None:
    assert result.exit_code == 2, result.output
    assert text in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1
    assert "Traceback" not in result.output


def test_run_takes_weights_and_feedback_from_a_checkpoint(tmp_path: Path, trained: TrainedRun, data: Dataset) -> None:
    trained.save(tmp_path / "run.pt")
    found = run("--checkpoint", tmp_path / "run.pt", "--json", tmp_path / "r.json", "--name", "DFA", "--frozen", 0.05)
    stored = DiagnosticReport.from_json((tmp_path / "r.json").read_text())
    assert found.exit_code == stored.exit_code
    assert stored.method_name == "DFA"
    assert stored.alignment is not None
    assert stored.alignment.digest == trained.method.auxiliaries.digest  # type: ignore[union-attr]
    model = trained.model.eval()
    right = sum(int((model(x).argmax(1) == y).sum()) for x, y in data.eval_batches(128))
    assert stored.headline_acc == pytest.approx(right / 512)
    assert stored.verdict in found.output


def test_run_without_feedback_gives_no_number(tmp_path: Path, trained: TrainedRun) -> None:
    save_checkpoint(tmp_path / "bare.pt", trained.model, feedback=None)
    run("--checkpoint", tmp_path / "bare.pt", "--json", tmp_path / "r.json")
    stored = DiagnosticReport.from_json((tmp_path / "r.json").read_text())
    assert stored.alignment is None
    assert all(layer.alignment is None for layer in stored.layers)


def test_run_reads_plain_torch_files(tmp_path: Path, trained: TrainedRun) -> None:
    matrices = [matrix for _, matrix in trained.method.auxiliaries.items()]  # type: ignore[union-attr]
    torch.save({"net": {"weights": trained.model.state_dict()}, "aux": {"Bs": matrices}}, tmp_path / "x.pt")
    options = ("--checkpoint", tmp_path / "x.pt", "--state", "net.weights", "--feedback", "aux.Bs")
    run(*options, "--json", tmp_path / "r.json")
    stored = DiagnosticReport.from_json((tmp_path / "r.json").read_text())
    assert stored.alignment is not None
    refused(run(*options[:4], "--feedback", "aux.C"), "no key 'aux.C' (at 'C'; there is: Bs)")
    refused(run("--checkpoint", tmp_path / "x.pt"), "no state_dict found; name it with --state")


def test_run_refuses_in_one_line(tmp_path: Path, trained: TrainedRun) -> None:
    trained.save(tmp_path / "run.pt")
    refused(run("--checkpoint", tmp_path / "none.pt"), "none.pt: cannot be read")
    refused(run("--checkpoint", tmp_path / "run.pt", model="usercode:wider"), "the weights do not fit the model")
    refused(run(model="usercode"), "must have the form pkg.mod:name")
    refused(run(model="nosuchmodule:f"), "importing nosuchmodule failed")
    refused(run(model="usercode:absent"), "has no 'absent'")
    refused(run(model="usercode:number"), "is no module and cannot be called")
    refused(run(model="usercode:broken"), "usercode:broken() failed: KeyError")
    refused(run(batches="usercode:number"), "not batches")
    refused(run(batches="usercode:broken"), "no data here")
    refused(run(batches="usercode:regression"), "give loss_fn (--loss)")
    refused(run("--layers", "nothing.*"), "nothing.*")
    refused(run("--accuracy", 0.5, model="usercode:rude"), "KeyError: 'no such key'")
    refused(run(model="usercode:leaving"), "usercode:leaving() failed: SystemExit: 0")
    refused(run(batches="usercode:leaving"), "usercode:leaving failed: SystemExit: 0")
    refused(run("--accuracy", 0.5, model="usercode:left"), "SystemExit: 0")
    refused(run("--feedback", "Bs"), "--feedback needs --checkpoint")
    refused(run("--json", tmp_path / "no" / "r.json"), "its folder does not exist")
    (tmp_path / "junk.pt").write_bytes(b"junk")
    refused(run("--checkpoint", tmp_path / "junk.pt"), "junk.pt: cannot be read")
    assert run("--accuracy", 61.5).exit_code == 2


def test_run_quiet_and_exit_code_of_a_dead_network(tmp_path: Path, trained: TrainedRun) -> None:
    broken = ResidualMLP(32, 16, 10, 2)
    with torch.no_grad():
        broken.embed.weight.fill_(float("nan"))
    save_checkpoint(tmp_path / "nan.pt", broken, feedback=None)
    found = run("--checkpoint", tmp_path / "nan.pt", "--quiet")
    assert found.exit_code == 1
    assert found.output.startswith("invalid")


def test_run_says_what_was_measured_where_nothing_claims_anything(tmp_path: Path, trained: TrainedRun) -> None:
    save_checkpoint(tmp_path / "bp.pt", trained.model, feedback=None)
    found = run("--checkpoint", tmp_path / "bp.pt", "--quiet")
    assert found.exit_code == 3
    assert found.output.startswith("no fault found: in finite, reference, headline, growth")
    assert found.output.strip().endswith("not measured: Γ, (d) margin")
    assert len(found.output.strip().splitlines()) == 1


def test_run_walks_back_a_headline_that_the_data_contradict(tmp_path: Path, trained: TrainedRun) -> None:
    save_checkpoint(tmp_path / "bp.pt", trained.model, feedback=None)
    found = run("--checkpoint", tmp_path / "bp.pt", "--quiet", "--accuracy", 0.999)
    assert found.exit_code == 1
    assert found.output.strip() == "walked back: headline"


@pytest.mark.parametrize("key", ["Bs", "feedback", "random_matrices"])
@pytest.mark.parametrize("form", ["list", "mapping"])
def test_run_takes_feedback_that_lies_beside_foreign_weights(
    tmp_path: Path, trained: TrainedRun, key: str, form: str
) -> None:
    named = dict(trained.method.auxiliaries.items())  # type: ignore[union-attr]
    feedback = list(named.values()) if form == "list" else named
    torch.save({"model": trained.model.state_dict(), key: feedback, "epoch": 3}, tmp_path / "x.pt")
    run("--checkpoint", tmp_path / "x.pt", "--json", tmp_path / "r.json")
    report = DiagnosticReport.from_json((tmp_path / "r.json").read_text())
    assert report.alignment is not None
    assert f"feedback: {key} of the checkpoint" in report.notes
    assert report.layers[1].alignment is not None


def test_run_says_which_feedback_of_a_checkpoint_it_cannot_use(tmp_path: Path, trained: TrainedRun) -> None:
    bridges = [torch.randn(16, 16), torch.randn(16, 10)]
    torch.save({"model": trained.model.state_dict(), "Bs": bridges}, tmp_path / "x.pt")
    run("--checkpoint", tmp_path / "x.pt", "--json", tmp_path / "r.json")
    report = DiagnosticReport.from_json((tmp_path / "r.json").read_text())
    assert report.alignment is None
    assert "Bs of the checkpoint not used" in report.notes


def test_run_takes_loss_credit_and_sites(tmp_path: Path) -> None:
    asked = ("--loss", "usercode:squares", "--credit", "usercode:credit", "--sites", "blocks.0=1,blocks.1=blocks.1")
    found = run(*asked, "--json", tmp_path / "r.json", batches="usercode:regression")
    assert found.exit_code in (0, 1, 3), found.output
    report = DiagnosticReport.from_json((tmp_path / "r.json").read_text())
    assert report.provenance is not None
    assert report.provenance.loss == "squares"
    assert [x.alignment and x.alignment.site for x in report.layers] == [None, "blocks.0", "blocks.1"]
    refused(run("--sites", "blocks.0"), "--sites takes SITE=STATE")


def stored(folder: Path, name: str, report: DiagnosticReport) -> Path:
    path = folder / name
    path.write_text(report.to_json())
    return path


def test_compare(tmp_path: Path, report: DiagnosticReport) -> None:
    other = replace(report, method_name="other", verdict="walked back", headline_acc=report.headline_acc / 2)
    a, b = stored(tmp_path, "a.json", report), stored(tmp_path, "b.json", other)
    found = CliRunner().invoke(main, ["compare", str(a), str(b), "--json", str(tmp_path / "c.json")])
    assert found.exit_code == 1
    assert f"verdict: {report.verdict} -> walked back" in found.output
    content = json.loads((tmp_path / "c.json").read_text())
    assert content["figures"][0] == ["accuracy", report.headline_acc, report.headline_acc / 2]
    assert len(content["layers"]) == 3 * len(report.layers)
    shallow = stored(tmp_path, "s.json", replace(report, layers=report.layers[:-1], alignment=None))
    unlike = CliRunner().invoke(main, ["compare", str(a), str(shallow)])
    assert "not alike: 3 and 2 hidden states" in unlike.stderr
    assert "not alike: Γ with different feedback" in unlike.stderr
    refused(CliRunner().invoke(main, ["compare", str(a), str(tmp_path / "none.json")]), "none.json: cannot be read")
    (tmp_path / "x.json").write_text('{"a": 1}')
    refused(CliRunner().invoke(main, ["compare", str(a), str(tmp_path / "x.json")]), "not a diagnostic report")


def test_utility_on_the_published_figures() -> None:
    table = utility_table(PUBLISHED)
    back = {name: [m for m, (fired, _, _) in row.items() if fired] for name, row in table.items()}
    assert back["accuracy"] == []
    assert back["accuracy + (a)"] == back["accuracy + (b)"] == ["DFA"]
    # The published text says three of five; its own figures put EP (0.316 against 0.349) under the same rule.
    assert back["accuracy + (d)"] == ["EP", "DFA", "CB", "SB"]
    assert set(back["(a) + (b) + (c) + (d)"]) >= {"DFA", "SB", "CB"}
    assert len(table) == 7
    found = CliRunner().invoke(main, ["utility", "--published"])
    assert found.exit_code == 0
    assert "contradicts" in found.output
    refused(CliRunner().invoke(main, ["utility"]), "give REPORTS")
    refused(CliRunner().invoke(main, ["utility", "nowhere"]), "nowhere")


def test_utility_decides_from_reports(tmp_path: Path, report: DiagnosticReport) -> None:
    folder = tmp_path / "reports"
    folder.mkdir()
    stored(folder, "1.json", report)
    stored(folder, "2.json", replace(report, method_name="other"))
    found = CliRunner().invoke(main, ["utility", str(folder), "--json", str(tmp_path / "u.json")])
    assert found.exit_code == 0
    content = json.loads((tmp_path / "u.json").read_text())
    assert list(content)[-1] == "sound criteria"
    assert set(content["accuracy"]) == {"dfa", "other"}
    evidence = evidence_of(report)
    assert (evidence.a, evidence.b, evidence.d) == (False, False, report.headline_acc < 0.12)
    unknown = utility_table([Evidence("m", None, None, False, None, None)])
    assert unknown["accuracy + (a)"]["m"] == (0, 0, 1), "not known is not the same as passing"
    assert unknown["(a) + (b) + (c) + (d)"]["m"] == (0, 0, 1)
    assert utility_table([Evidence("m", -0.1, None, True, None, None)])["(a) + (b) + (c) + (d)"]["m"] == (1, 1, 1)


def test_thresholds_find_the_plateau(tmp_path: Path, report: DiagnosticReport) -> None:
    for number, growth in enumerate((2.0, 11.0, 694.0)):
        stored(tmp_path, f"{number}.json", replace(report, residual_norms=[1.0, growth, growth]))
    files = [str(tmp_path / f"{n}.json") for n in range(3)]
    out = tmp_path / "t.json", tmp_path / "t.svg"
    found = CliRunner().invoke(main, ["thresholds", *files, "--json", str(out[0]), "--svg", str(out[1])])
    assert found.exit_code == 0, found.output
    first = json.loads(out[0].read_text())[0]
    assert (first["low"], first["high"], first["fires"]) == (11.0, 694.0, 1)
    assert out[1].read_text().startswith("<svg")


def test_every_command_has_help() -> None:
    for name in COMMANDS:
        shown = CliRunner().invoke(main, [name, "--help"])
        assert shown.exit_code == 0
        assert "Exit code" in shown.output, name
    assert CliRunner().invoke(main, ["nonsense"]).exit_code == 2


@pytest.mark.parametrize("missing", ["torch", "numpy"])
def test_the_script_without_torch_ends_in_one_line(missing: str) -> None:
    code = f"import sys; sys.modules[{missing!r}] = None; from fa_lint.cli.diagnose_script import main; main()"
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", code, "verify"]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 2
    assert done.stderr == f"fa-diagnose: fa_lint_runtime needs torch and numpy: {install_command('runtime')}\n"
    assert done.stdout == ""
