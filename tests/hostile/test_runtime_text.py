"""Names in checkpoints, reports, logs and configurations are only shown by ``fa-diagnose`` and by a report's formats."""

from __future__ import annotations

import json
import os
import struct
import subprocess
import sys
from pathlib import Path

import pytest

torch = pytest.importorskip("torch", reason="the extra `runtime` is not installed")

from click.testing import CliRunner, Result  # noqa: E402

from fa_lint.source import escaping as of_the_linter  # noqa: E402
from fa_lint_runtime import (  # noqa: E402
    CheckpointError,
    DiagnosticReport,
    DiagnosticThresholds,
    escaping,
    inspect_checkpoint,
    load_checkpoint,
)
from fa_lint_runtime.cli import main  # noqa: E402
from fa_lint_runtime.guard.log import read_log  # noqa: E402
from tests.conftest import write  # noqa: E402
from tests.hostile.test_output_acts_on_nothing import _EVIL, _harmless  # noqa: E402

# The last three are markup to rich and to matplotlib.
_NAMES = [*_EVIL, "[/b]", "[bold]x[/i]", "$\\frac{"]


def _report(evil: str) -> DiagnosticReport:
    figures = [9.0, 700.0, 700.0], [1e-9, 1e-9, 1e-9]
    report = DiagnosticReport(evil, evil, *figures, 1, 0.4, 0.3, 0.35, DiagnosticThresholds())
    text = json.dumps(json.loads(report.to_json()) | {"method_name": evil})
    for name in ("h_1", "(a)"):
        text = text.replace(json.dumps(name), json.dumps(f"{name}{evil}"))
    return DiagnosticReport.from_json(text)


def _run(*arguments: str) -> Result:
    result = CliRunner().invoke(main, arguments, prog_name="fa-diagnose")
    assert result.exception is None or isinstance(result.exception, SystemExit), repr(result.exception)
    _harmless(result.stdout)
    _harmless(result.stderr)
    return result


def test_one_set_of_rules() -> None:
    """The two packages do not import each other, and escape the same."""
    assert escaping._UNSAFE == of_the_linter._UNSAFE
    for evil in _EVIL:
        assert escaping.visible(evil) == of_the_linter.visible(evil)
        assert escaping.visible_lines(evil.replace("\n", "")) == of_the_linter.visible_line(evil.replace("\n", ""))
        assert json.loads(escaping.to_json({evil: evil})) == {evil: evil}


@pytest.mark.parametrize("evil", _NAMES, ids=ascii)
def test_a_report(evil: str) -> None:
    report = _report(evil)
    assert DiagnosticReport.from_json(report.to_json()).to_json() == report.to_json()
    for text in (str(report), report.to_markdown(), report.to_latex(), report.to_json()):
        _harmless(text)
    _harmless(_report(f"::error::{evil}").to_text(60))
    assert evil not in ("[/b]", "[bold]x[/i]") or str(report).count(evil) > 1, "shown as it is"


def test_notes_keep_their_lines() -> None:
    report = DiagnosticReport("m", "one\ntwo\x1b", [1.0, 1.0], [1.0, 1.0], 1, 0.4, 0.3, None, DiagnosticThresholds())
    assert "\none\ntwo\\x1b\n" in report.to_text()


@pytest.mark.parametrize("evil", _NAMES, ids=ascii)
def test_the_commands_that_read_reports(evil: str) -> None:
    for name, report in {"a.json": _report(evil), "b.json": _report(f"::error::{evil}")}.items():
        write(name, report.to_json())
    assert _run("compare", "a.json", "b.json", "--json", "out.json").exit_code == 1
    for style in ("text", "markdown", "latex", "csv"):
        assert _run("table", "a.json", "b.json", "--format", style).exit_code == 0
    assert _run("utility", "a.json", "b.json", "--json", "out.json").exit_code == 0
    assert _run("thresholds", "a.json", "b.json", "--json", "out.json").exit_code == 0
    _harmless(Path("out.json").read_text())
    # What is wrong with a file quotes from it.
    whole = json.loads(_report("m").to_json())
    for broken in ({**whole, evil: 1}, {**whole, "stability_layer": evil}, {**whole, "verdict": evil}):
        write("bad.json", json.dumps(broken))
        assert _run("table", "bad.json").exit_code == 2
        assert _run("compare", "a.json", "bad.json").exit_code == 2


@pytest.mark.parametrize("evil", ["\x1b[2J", *_NAMES[-3:]], ids=ascii)
def test_pages_and_plots(evil: str) -> None:
    pytest.importorskip("matplotlib", reason="the extra `report` is not installed")
    write("a.json", _report(evil).to_json())
    write("b.json", _report("_b").to_json())
    assert _run("table", "a.json", "b.json", "--format", "html").exit_code == 0
    assert _run("thresholds", "a.json", "b.json", "--svg", "out.svg").exit_code == 0
    _harmless(Path("out.svg").read_text())
    _harmless(_report(evil).to_html())


@pytest.mark.parametrize("evil", _NAMES, ids=ascii)
def test_the_commands_that_read_other_files(evil: str) -> None:
    torch.save({f"B.{evil}": torch.zeros(2, 2), evil: torch.zeros(2)}, "a.pt")
    half = evil.encode("utf-8", "replace").decode()
    header = json.dumps({"__metadata__": {half: half}, half: {"dtype": half, "shape": [2], "data_offsets": [0, 0]}})
    Path("a.safetensors").write_bytes(struct.pack("<Q", len(header)) + header.encode())
    for name in ("a.pt", "a.safetensors"):
        assert _run("inspect", name).exit_code == 0
        assert _run("inspect", name, "--json").exit_code == 0
    write("log.json", json.dumps({"final_test_acc": 0.3, "log": [{f"g_{evil}_norm": 1e-9, "h_L_norm": 3.0}]}))
    assert _run("partial", "log.json").exit_code in (1, 3)
    for log in ({"final_test_acc": evil}, {"final_test_acc": 0.3, "log": [{"h_L_norm": evil}]}):
        write("log.json", json.dumps(log))
        assert _run("partial", "log.json").exit_code == 2
    for text in (
        f"{json.dumps(half)} = 1\n",
        f"methods = [{json.dumps(half)}]\n",
        f"out = {json.dumps(half)}\nx = 1\n",
    ):
        write("audit.toml", text)
        assert _run("audit", "audit.toml", "--dry-run").exit_code in (0, 2)


@pytest.mark.parametrize("evil", ["\x1b[2J", "a\n::error::INJ", "##[error]INJ"], ids=ascii)
def test_names_on_the_command_line(evil: str) -> None:
    for command in ("inspect", "table", "utility", "thresholds", "partial", "audit", evil):
        assert _run(command, evil).exit_code == 2
    assert _run("compare", evil, evil).exit_code == 2
    assert _run("run", "--model", f"{evil}:x", "--data", f"x:{evil}").exit_code == 2
    assert _run("audit", "init", f"gone/{evil}").exit_code == 2


# -- streams and signals ------------------------------------------------------------------------------------------


def _shell(command: str) -> subprocess.CompletedProcess[str]:
    line = command.replace("fa-diagnose", f"{sys.executable} -m fa_lint_runtime")
    return subprocess.run(["bash", "-c", line], capture_output=True, text=True, timeout=100, check=False)


@pytest.mark.skipif(os.name == "nt", reason="devices of POSIX")
@pytest.mark.parametrize("command", ["table", "compare r.json", "utility", "thresholds"])
def test_a_full_or_closed_standard_output(command: str) -> None:
    write("r.json", _report("m").to_json())
    for where, reason in (("> /dev/full", "No space left on device"), (">&-", "standard output is closed")):
        done = _shell(f"fa-diagnose {command} r.json {where}")
        assert (done.returncode, len(done.stderr.splitlines())) == (2, 1), done.stderr
        assert reason in done.stderr


@pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")
def test_an_interrupt_is_no_verdict() -> None:
    """Exit code 1 would say that a result is walked back."""
    done = _shell("timeout --preserve-status -s INT 12 fa-diagnose verify --full -j 1 --quiet")
    assert (done.returncode, "Traceback" in done.stderr) == (130, False), done.stderr


# -- what never ends ----------------------------------------------------------------------------------------------


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="pipes and devices of POSIX")
@pytest.mark.parametrize("odd", ["pipe", "/dev/zero"])
def test_what_is_no_regular_file_is_one_line(odd: str) -> None:
    """Nothing waits for it, and a folder with one in it gives what else is there."""
    Path("folder").mkdir()
    os.mkfifo("pipe")
    os.mkfifo("folder/a.json")
    write("folder/b.json", _report("m").to_json())
    for command in ("inspect", "table", "utility", "thresholds", "partial", "audit"):
        result = _run(command, odd)
        assert (result.exit_code, len(result.stderr.splitlines())) == (2, 1), result.stderr
        assert "regular file" in result.stderr
    assert _run("compare", odd, odd).exit_code == 2
    for command in ("table", "utility", "thresholds"):
        assert _run(command, "folder").exit_code == 0
    for read in (read_log, load_checkpoint, inspect_checkpoint):
        with pytest.raises((OSError, CheckpointError), match="regular file"):
            read(odd)


@pytest.mark.parametrize("text", ["[" * 100_000, '{"a":' * 100_000, "9" * 5_000, "\udcff", '{"format": "fa-guard"}'])
def test_deep_and_damaged_json(text: str) -> None:
    Path("a.json").write_text(text, errors="surrogateescape")
    for command in ("table", "utility", "thresholds", "partial"):
        result = _run(command, "a.json")
        assert (result.exit_code, len(result.stderr.splitlines())) == (2, 1), result.stderr
    with pytest.raises(ValueError, match=r"a\.json"):
        read_log("a.json")


@pytest.mark.parametrize("events", [None, 5, [5], [[]], ["x"], [{}], [{"worst": "x"}], [{"line": 10**400}], {"a": 1}])
def test_a_damaged_guard_log_names_its_file(events: object) -> None:
    write("g.json", json.dumps({"format": "fa-guard", "version": 1, "events": events}))
    with pytest.raises(ValueError, match=r"g\.json"):
        read_log("g.json")


def test_headers_of_safetensors_with_other_types() -> None:
    for shape, offsets in (
        ([2], [0, None]),
        ("12", [0, 0]),
        ([2.5], [0, 0]),
        ([True], [0, 0]),
        ([2], [0]),
        (None, [0, 0]),
    ):
        header = json.dumps({"a": {"dtype": "F32", "shape": shape, "data_offsets": offsets}})
        Path("a.safetensors").write_bytes(struct.pack("<Q", len(header)) + header.encode())
        result = _run("inspect", "a.safetensors")
        assert (result.exit_code, "malformed safetensors header" in result.stderr) == (2, True)


def test_an_error_that_says_nothing() -> None:
    """As torch's EOFError for a pickle that is cut."""
    Path("a.pt").write_bytes(b"\x80\x02")
    result = _run("inspect", "a.pt")
    assert (result.exit_code, len(result.stderr.splitlines())) == (2, 1)
