"""The partial audit on logs shaped as the published ones."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from fa_lint_runtime.audit.partial import LogError, TrainingLog, block_bound, partial_audit, read_log
from fa_lint_runtime.cli import main


def log(folder: Path, name: str, accuracy: Any, h: float = 33.0, g: float = 1e-6, key: str = "g_2_norm") -> Path:
    path = folder / name
    entries = [{"h_L_norm": h, key: 10 * g}, {"h_L_norm": h, key: g}]
    path.write_text(json.dumps({"final_test_acc": accuracy, "log": entries}))
    return path


def partial(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["partial", *map(str, arguments)])


def test_published_verdict_of_penalised_dfa(tmp_path: Path) -> None:
    """DFA + penalty at 100 epochs: 0.363 against 0.349 ± 0.003: (b) passes, (d) fires at +1.4 pp."""
    logs = [log(tmp_path, f"{i}.json", a) for i, a in enumerate((0.361, 0.363, 0.365))]
    frozen = [x for a in (0.346, 0.349, 0.352) for x in ("--frozen", a)]
    found = partial(*logs, *frozen, "--json", tmp_path / "out.json")
    assert found.exit_code == 1
    lines = found.output.splitlines()
    assert lines[0].startswith("(a) passes  [bounded]")
    assert lines[1].startswith("(b) passes  [proxy] ‖g_2‖ (for ‖g_L‖) ends at 1.0e-06 or more")
    assert "[not measured]" in lines[2]
    assert lines[3].startswith("(d) fires   [exact] +1.4 pp over frozen blocks, below 2, 95 % interval")
    assert "walked back: (d)" in lines[4]
    stored = json.loads((tmp_path / "out.json").read_text())
    assert stored["verdict"] == "walked back"
    # Welch: variance of the difference (0.2² + 0.3²)/3 pp², 3.4 -> 3 degrees of freedom, t = 3.18.
    half = 3.182446 * math.sqrt((0.2**2 + 0.3**2) / 3)
    assert stored["margin"]["half"] == pytest.approx(half, rel=1e-5)
    assert f"{1.4 - half:+.1f} to {1.4 + half:+.1f}" in lines[3]
    assert ("straddles" in lines[3]) == (1.4 + half > 2)


def test_vanilla_dfa_as_published(tmp_path: Path) -> None:
    found = partial(log(tmp_path, "a.json", 0.306, h=4e8, g=4e-9), "--frozen", 0.349)
    assert found.exit_code == 1
    assert "(a) fires   [bounded]" in found.output
    assert "(b) fires   [proxy] ‖g_2‖ (for ‖g_L‖) ends at 4.0e-09, below 1e-07 on 1 of 1 seeds; first" in found.output
    assert "one seed: no interval" in found.output


def test_two_blocks_of_sixty_have_a_geometric_mean_of_eight() -> None:
    least, most, count = block_bound(9.0 * 3600, 9.0, 4, 50.0)
    assert least == pytest.approx(7.746, rel=1e-3)
    assert most == pytest.approx(3600)
    assert count == 2, "both may exceed 50: 'at most one' would be wrong"
    runs = [TrainingLog("x", 0.4, (9.0 * 3600,), (1e-3,), "2")]
    growth = partial_audit(runs).answers[0]
    assert (growth.state, growth.quality) == ("open", "bounded")
    assert "at least 7.75×" in growth.text
    assert "up to 2 may exceed 50" in growth.text
    assert block_bound(9.0 * 50**4, 9.0, 4, 50.0)[2] == 4
    assert partial_audit([TrainingLog("x", 0.4, (9.0 * 49,), (), "")]).answers[0].state == "passes"
    assert partial_audit([TrainingLog("x", 0.4, (9.0 * 51**4,), (), "")]).answers[0].state == "fires"


def test_a_nan_accuracy_is_refused(tmp_path: Path) -> None:
    for value in (float("nan"), None):
        path = log(tmp_path, "nan.json", value)
        found = partial(log(tmp_path, "good.json", 0.36), path, "--frozen", 0.349)
        assert found.exit_code == 1
        assert (
            found.output.strip()
            == f"invalid: {path}: final_test_acc is NaN: a run that diverged has no accuracy to report"
        )


def test_broken_norms_never_pass(tmp_path: Path) -> None:
    for h, g, name in ((float("nan"), 1e-3, "(a)"), (float("inf"), 1e-3, "(a)"), (10.0, float("nan"), "(b)")):
        found = partial(log(tmp_path, "x.json", 0.4, h=h, g=g), "--frozen", 0.2)
        assert f"{name} fires" in found.output
        assert found.exit_code == 1


def test_epochs_that_were_not_logged_are_skipped_and_null_is_a_nan(tmp_path: Path) -> None:
    path = tmp_path / "sparse.json"
    entries = [{"h_L_norm": 20.0, "g_2_norm": 1e-3}, {"lr": 0.1}]
    path.write_text(json.dumps({"final_test_acc": 0.5, "log": entries}))
    assert read_log(path).h_last == (20.0,)
    assert partial(path, "--frozen", 0.2).exit_code == 0
    path.write_text(json.dumps({"final_test_acc": 0.5, "log": [*entries, {"h_L_norm": None, "g_2_norm": 1e-3}]}))
    assert "(a) fires" in partial(path, "--frozen", 0.2).output


def test_what_is_not_logged_is_not_measured(tmp_path: Path) -> None:
    path = tmp_path / "bare.json"
    path.write_text('{"final_test_acc": 0.5}')
    found = partial(path)
    assert found.output.count("[not measured]") == 4
    assert found.exit_code == 3
    assert "not measurable" in found.output
    exact = partial(log(tmp_path, "exact.json", 0.5, key="g_L_norm"), "--frozen", 0.2)
    assert "(b) passes  [exact] ‖g_L‖" in exact.output
    assert exact.exit_code == 0


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("{", ":1: not JSON"),
        ("[]", 'no key "final_test_acc"'),
        ('{"final_test_acc": 36}', "must be a share between 0 and 1"),
        ('{"final_test_acc": "0.3"}', "must be a share between 0 and 1"),
        ('{"final_test_acc": 0.3, "log": 4}', '"log" must be a list'),
        ('{"final_test_acc": 0.3, "log": [{"h_L_norm": "x"}]}', 'log[0]["h_L_norm"] must be a number'),
    ],
)
def test_unusable_logs_get_one_line(tmp_path: Path, content: str, reason: str) -> None:
    path = tmp_path / "x.json"
    path.write_text(content)
    with pytest.raises(LogError):
        read_log(path)
    found = partial(path)
    assert found.exit_code == 2
    assert reason in found.output
    assert len(found.output.strip().splitlines()) == 1
    assert partial(tmp_path / "none.json").exit_code == 2
    assert partial(log(tmp_path, "y.json", 0.4), "--frozen", 34.9).exit_code == 2
