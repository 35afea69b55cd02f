"""Methods, models and data of the user's own; any executor; several drivers on one folder."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from click.testing import CliRunner
from strangers import ROOT, TOML, trainings, written

from fa_lint_runtime.audit import CellResult, ConfigError, cells_of, load_config, rows_of, run_audit, to_markdown
from fa_lint_runtime.audit.claims import claimed
from fa_lint_runtime.audit.executors import executor_named
from fa_lint_runtime.audit.running import rank_and_world
from fa_lint_runtime.cli import main


def test_a_method_a_model_and_data_of_the_user(tmp_path: Path) -> None:
    config = load_config(written(tmp_path))
    results = run_audit(config)
    assert [r.error for r in results] == [""] * 6
    reports = {r.cell.method: r.report for r in results if r.cell.seed == 1}
    mine = reports["mine"]
    assert mine is not None
    assert mine.alignment is not None, "the feedback that the function returned"
    assert mine.alignment.digest
    assert mine.margin is not None
    assert mine.margin.baseline.startswith("theirs:frozen")
    assert reports["bp"] is not None
    assert reports["frozen"] is None
    table = to_markdown(rows_of(results))
    assert "| theirs:network | mine | 2 |" in table
    again = run_audit(config)
    assert to_markdown(rows_of(again)) == table
    assert trainings(tmp_path) == ["1", "2"], "what is finished is not trained again"


def test_an_accuracy_that_the_network_does_not_have_is_walked_back(tmp_path: Path) -> None:
    config = load_config(written(tmp_path, TOML.replace("theirs:train", "theirs:boasting")), ["seeds=[1]"])
    report = run_audit(config)[-1].report
    assert report is not None
    assert report.headline_acc == 0.999
    assert "headline" in report.fired


def test_what_is_no_training_function_is_said_in_the_table(tmp_path: Path) -> None:
    config = load_config(written(tmp_path, TOML.replace("theirs:train", "theirs:nothing")), ["seeds=[1]"])
    results = run_audit(config)
    assert "must return the trained model, or a dict of model, feedback" in results[-1].error
    assert "has no 'absent'" in run_audit(
        load_config(written(tmp_path, TOML.replace("theirs:train", "theirs:absent")), ["seeds=[1]"])
    )[-1].error  # fmt: skip


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[methods.mine]\nrun = 3", ":1: [methods.mine] takes train"),
        ('[methods.mine]\ntrain = "no_colon"', ":1: [methods.mine] takes train"),
        ('[methods.mine]\ntrain = "a:b"\nlr = 0.1', ":1: [methods.mine] takes train"),
        ("[methods]\nmine = 3", ":2: [methods.mine] takes train"),
        ("[methods.mine]", ":1: unknown method 'mine'; known: bp, "),
        ('[methods.dfa]\ntrain = "a:b"', ":1: 'dfa' is a built-in method"),
        ('methods = ["bp"]\nmodel = "a:b"', 'a:b needs frozen = "pkg.mod:baseline"'),
        ('methods = ["dfa"]\nmodel = "a:b"\nfrozen = "a:c"', ":1: 'dfa' is built for the built-in models"),
    ],
)
def test_a_bad_table_of_methods_is_named(tmp_path: Path, text: str, message: str) -> None:
    path = written(tmp_path, text)
    with pytest.raises(ConfigError) as caught:
        load_config(path)
    assert message in str(caught.value)


def test_overrides_on_the_command_line(tmp_path: Path) -> None:
    path = written(tmp_path)
    config = load_config(path, ["recipe.lr=0.25", "seeds=[7]", "out=elsewhere", "data.train=128"])
    assert (config.recipe.lr, config.seeds, config.out.name) == (0.25, (7,), "elsewhere")
    with pytest.raises(ConfigError, match="must have the form key=value"):
        load_config(path, ["recipe.lr"])
    result = CliRunner().invoke(main, ["audit", str(path), "seeds=[7]", "--dry-run"])
    assert result.output.count("to compute") == 3


def test_init_writes_a_file_that_is_sound(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    assert CliRunner().invoke(main, ["audit", "init", str(path)]).exit_code == 0
    assert load_config(path).methods == ("bp", "dfa")
    assert "is there already" in CliRunner().invoke(main, ["audit", "init", str(path)]).stderr


def test_only_one_holds_a_claim_and_a_dead_one_is_taken_over(tmp_path: Path) -> None:
    with claimed(tmp_path, "cell") as first, claimed(tmp_path, "cell") as second, claimed(tmp_path, "cel") as other:
        assert (first, second, other) == (True, False, True)
    assert not list(tmp_path.iterdir())
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    import socket

    (tmp_path / "cell+0.claim").write_text(f"{socket.gethostname()} {ended.pid}")
    with claimed(tmp_path, "cell") as taken:
        assert taken
    far = tmp_path / "cell+3.claim"
    far.write_text("another-machine 1")
    with claimed(tmp_path, "cell") as taken:
        assert not taken, "it was touched just now"
    os.utime(far, (time.time() - 100, time.time() - 100))
    with claimed(tmp_path, "cell") as taken:
        assert taken
        assert (tmp_path / "cell+4.claim").exists()


def test_claims_under_contention(tmp_path: Path) -> None:
    held, most = 0, []
    lock = threading.Lock()

    def work() -> None:
        nonlocal held
        for _ in range(30):
            with claimed(tmp_path, "cell") as ours:
                if ours:
                    with lock:
                        held += 1
                        most.append(held)
                    time.sleep(0.001)
                    with lock:
                        held -= 1

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert max(most) == 1


def test_places_of_drivers() -> None:
    assert rank_and_world({}) == (0, 1)
    assert rank_and_world({"RANK": "1", "WORLD_SIZE": "4"}) == (1, 4)
    array = {"SLURM_ARRAY_TASK_ID": "7", "SLURM_ARRAY_TASK_MIN": "1", "SLURM_ARRAY_TASK_MAX": "9"}
    assert rank_and_world(array) == (6, 9)
    assert rank_and_world({**array, "SLURM_ARRAY_TASK_STEP": "2"}) == (3, 5)


@pytest.mark.parametrize("text", ["threads:2", "processes:two", "dask", ""])
def test_an_executor_that_is_none(tmp_path: Path, text: str) -> None:
    with pytest.raises(ValueError, match="executor"), executor_named(text, tmp_path):
        pass


def _driver(path: Path, *arguments: str, slow: float = 0.0) -> subprocess.Popen[str]:
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), "SLOW": str(slow)}
    command = [sys.executable, "-m", "fa_lint_runtime", "audit", str(path), "--no-html", *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)


@pytest.mark.slow
def test_two_drivers_share_a_folder_and_survive_the_death_of_one(tmp_path: Path) -> None:
    """Each cell is trained once; that of the driver that was killed is trained again by the other."""
    alone = _driver(written(tmp_path / "alone"))
    expected, _ = alone.communicate(timeout=300)
    path = written(tmp_path / "both")
    drivers = [_driver(path, "--shard", f"{number}/2", slow=3.0) for number in (1, 2)]
    log = path.parent / "trained.log"
    deadline = time.monotonic() + 200
    while not (log.exists() and len(log.read_text().splitlines()) == 2) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert trainings(path.parent) == ["1", "2"], "they took different cells"
    killed = drivers.pop(0)
    killed.send_signal(signal.SIGKILL)
    killed.communicate()
    out, err = drivers[0].communicate(timeout=300)
    assert out == expected, err
    assert len(trainings(path.parent)) == 3


def _audited(tmp_path: Path, executor: str) -> str:
    config = load_config(written(tmp_path))
    with executor_named(executor, config.out) as pool:
        return to_markdown(rows_of(run_audit(config, executor=pool)))


@pytest.mark.slow
def test_processes_give_what_one_gives(tmp_path: Path) -> None:
    assert _audited(tmp_path / "two", "processes:2") == to_markdown(rows_of(run_audit(load_config(written(tmp_path)))))


@pytest.mark.slow
def test_submitit_on_this_machine(tmp_path: Path) -> None:
    pytest.importorskip("submitit")
    found = _audited(tmp_path / "jobs", "submitit:cluster=local,timeout_min=10")
    assert found == to_markdown(rows_of(run_audit(load_config(written(tmp_path)))))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # what the library says of the machine
def test_dask_with_a_worker_that_is_killed(tmp_path: Path) -> None:
    distributed = pytest.importorskip("distributed")
    expected = to_markdown(rows_of(run_audit(load_config(written(tmp_path / "alone")))))
    path = written(tmp_path / "dask")
    os.environ["SLOW"] = "2"
    try:
        cluster = distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None)
    finally:
        del os.environ["SLOW"]
    with cluster:
        driver = _driver(path, "--executor", f"dask:{cluster.scheduler_address}")
        log = path.parent / "trained.log"
        deadline = time.monotonic() + 200
        while not log.exists() and time.monotonic() < deadline:
            time.sleep(0.05)
        os.kill(int(log.read_text().split()[1]), signal.SIGKILL)
        out, err = driver.communicate(timeout=300)
    assert out.strip() == expected.strip(), err
    assert len(trainings(path.parent)) == 3


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_ray_on_this_machine(tmp_path: Path) -> None:
    pytest.importorskip("ray")
    found = _audited(tmp_path / "ray", "ray")
    assert found == to_markdown(rows_of(run_audit(load_config(written(tmp_path)))))


def test_progress_is_shown_while_it_runs(tmp_path: Path) -> None:
    import io

    from fa_lint_runtime.audit import Progress, progress

    config = load_config(written(tmp_path), ["seeds=[1]"])
    text = io.StringIO()
    shown = Progress(len(cells_of(config)), config.out / "cells", text)
    seconds, progress._LOG_SECONDS = progress._LOG_SECONDS, 0.05
    try:
        with shown.shown():
            run_audit(config, on_cell=shown)
    finally:
        progress._LOG_SECONDS = seconds
    # A quick cell may end between two lines of progress.
    assert re.search(r"[012] of 3 cells done, 1 running", text.getvalue())
    assert re.search(r"[12] of 3 cells done, 1 running, about \d+ s left", text.getvalue())
    assert "mine-1: " in text.getvalue()


@pytest.mark.slow
def test_the_stranger_of_the_docs(tmp_path: Path) -> None:
    pytest.importorskip("mlxtend")
    for name in ("pepita.py", "pepita.toml"):
        shutil.copy(ROOT / "docs" / "audit" / name, tmp_path)
    config = load_config(tmp_path / "pepita.toml", ["seeds=[1]", "recipe.epochs=3", "null_draws=19"])
    results = run_audit(config)
    assert not any(r.error for r in results)
    accuracy = {r.cell.method: r.accuracy for r in results}
    assert accuracy["pepita"] > 0.6
    report = results[-1].report
    assert report is not None
    assert report.alignment is not None
    assert CellResult.read(config, cells_of(config)[-1]) is not None
