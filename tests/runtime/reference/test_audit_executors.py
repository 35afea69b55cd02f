"""Where cells run: what is submitted, on which device, what becomes of an executor that fails."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
import types
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner
from strangers import ROOT, written

from fa_lint_runtime.audit import AuditConfig, Cell, CellResult, cells_of, load_config, run_audit, running
from fa_lint_runtime.audit.cells import failed
from fa_lint_runtime.audit.executors import executor_named
from fa_lint_runtime.cli import main


class Done:
    """A result that is there at once."""

    def __init__(self, result: Any) -> None:
        self._result = result

    def done(self) -> bool:
        return True

    def result(self) -> Any:
        if isinstance(self._result, BaseException):
            raise self._result
        return self._result


class Here:
    """Runs what is submitted in this process, and keeps what that was."""

    def __init__(self) -> None:
        self.cells: list[Cell] = []

    def submit(self, function: Callable[..., Any], /, *arguments: Any) -> Done:
        self.cells.append(arguments[1])
        return Done(function(*arguments))


@pytest.fixture
def config(tmp_path: Path) -> AuditConfig:
    found = load_config(written(tmp_path), ["seeds=[1]"])
    (found.out / "cells").mkdir(parents=True)
    return found


def computed(config: AuditConfig, executor: Any) -> dict[Cell, CellResult | None]:
    return dict(running._computed(config, cells_of(config), executor, time.time()))


def test_a_cell_that_another_driver_holds_is_not_submitted(config: AuditConfig) -> None:
    held = cells_of(config)[0]
    (config.out / "cells" / f"{held.name}+0.claim").write_text("another-machine 1")
    executor = Here()
    assert computed(config, executor)[held] is None
    assert executor.cells == list(cells_of(config)[1:])


class Refusing:
    """The second submission ends the pool."""

    def __init__(self) -> None:
        self.count = 0

    def submit(self, function: Callable[..., Any], /, *arguments: Any) -> Done:
        self.count += 1
        if self.count > 1:
            raise RuntimeError("cannot schedule\nnew futures")
        return Done(failed(arguments[1], ValueError("first")))


def test_a_pool_that_takes_no_more_and_a_future_that_raises_are_failed_cells(config: AuditConfig) -> None:
    first, second, third = cells_of(config)
    found = computed(config, Refusing())
    errors = {cell: result.error for cell, result in found.items() if result is not None}
    refused = "RuntimeError: cannot schedule new futures"
    assert errors == {first: "ValueError: first", second: refused, third: refused}

    class Raising:
        def submit(self, function: Callable[..., Any], /, *arguments: Any) -> Done:
            return Done(OSError("its worker died"))

    assert {r.error for r in computed(config, Raising()).values() if r} == {"OSError: its worker died"}
    assert {r.error for r in run_audit(config, executor=Raising())} == {"OSError: its worker died"}


def test_the_device_is_one_of_the_worker(config: AuditConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    """The driver has no GPU, the worker has two."""
    devices: list[str] = []

    def on(config: AuditConfig, cell: Cell, device: str, begun: float) -> CellResult:
        devices.append(device)
        return failed(cell, ValueError())

    class Far(Here):
        def submit(self, function: Callable[..., Any], /, *arguments: Any) -> Done:
            with monkeypatch.context() as patch:
                patch.setattr(torch.cuda, "is_available", lambda: True)
                patch.setattr(torch.cuda, "device_count", lambda: 2)
                return super().submit(function, *arguments)

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(running, "run_cell", on)
    computed(config, Far())
    assert devices == ["cuda:0", "cuda:1", "cuda:0"]
    devices.clear()
    computed(config, None)
    assert devices == ["cpu"] * 3


@pytest.mark.parametrize(("environment", "asked"), [({}, ["2"]), ({"RANK": "0", "WORLD_SIZE": "2"}, [])])
def test_jobs_count_in_a_slurm_array_and_not_under_torchrun(
    config: AuditConfig, monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], asked: list[str]
) -> None:
    found: list[str] = []

    @contextmanager
    def processes(detail: str) -> Iterator[Here]:
        found.append(detail)
        yield Here()

    monkeypatch.setattr(running, "processes", processes)
    monkeypatch.setattr(running, "run_cell", lambda config, cell, *_: failed(cell, ValueError()))
    array = {"SLURM_ARRAY_TASK_ID": "1", "SLURM_ARRAY_TASK_MIN": "0", "SLURM_ARRAY_TASK_MAX": "1"}
    for name, value in (environment or array).items():
        monkeypatch.setenv(name, value)
    run_audit(config, jobs=2)
    assert found == asked


def test_every_task_of_a_slurm_array_writes_the_table_and_of_ranks_the_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = written(tmp_path)
    command = ["audit", str(path), "seeds=[1]", "--no-html"]
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert CliRunner().invoke(main, command).stdout == ""
    assert not (tmp_path / "audit" / "table.md").exists()
    monkeypatch.delenv("RANK")
    monkeypatch.delenv("WORLD_SIZE")
    monkeypatch.setenv("SLURM_ARRAY_TASK_ID", "1")
    monkeypatch.setenv("SLURM_ARRAY_TASK_MAX", "1")
    assert "| theirs:network | mine | 1 |" in CliRunner().invoke(main, command).stdout
    assert (tmp_path / "audit" / "table.md").exists()


def _identity(seconds: float) -> int:
    time.sleep(seconds)
    return os.getpid()


def test_two_processes_are_two(tmp_path: Path) -> None:
    with executor_named("processes:2", tmp_path) as pool:
        asked = [pool.submit(_identity, 1.0) for _ in range(2)]
        pids = {pending.result() for pending in asked}
    assert len(pids) == 2
    assert os.getpid() not in pids


def test_parameters_reach_submitit_by_the_names_it_has(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: dict[str, Any] = {}

    class AutoExecutor:
        def __init__(self, folder: Path, cluster: str | None = None) -> None:
            seen.update(folder=folder, cluster=cluster)

        def update_parameters(self, **parameters: Any) -> None:
            seen.update(parameters)

    monkeypatch.setitem(sys.modules, "submitit", types.SimpleNamespace(AutoExecutor=AutoExecutor))  # type: ignore[arg-type]
    given = "submitit:partition=gpu,slurm_qos=low,gpus_per_node=2,timeout_min=30,cluster=slurm"
    with executor_named(given, tmp_path):
        pass
    assert seen == {
        "folder": tmp_path / "submitit",
        "cluster": "slurm",
        "slurm_partition": "gpu",
        "slurm_qos": "low",
        "gpus_per_node": 2,
        "timeout_min": 30,
    }


def _driver(path: Path, executor: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "fa_lint_runtime", "audit", str(path), "--no-html", "--executor", executor]
    command += ["seeds=[1, 2]", "recipe.epochs=3", "null_draws=19"]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)


def _figures(folder: Path) -> tuple[str, dict[str, object]]:
    """The table with all digits, and what the cells hold but for the time they took."""
    table = CliRunner().invoke(main, ["table", str(folder), "--format", "csv", "--columns", "all"])
    assert table.exit_code == 0, table.stderr
    cells = {file.name: json.loads(file.read_text()) for file in (folder / "cells").glob("*.json")}
    return table.stdout, {name: content | {"seconds": 0} for name, content in cells.items()}


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # what the library says of the machine
def test_a_stranger_on_dask_loses_a_worker_and_no_bit(tmp_path: Path) -> None:
    """PEPITA as in the documentation, which knows nothing of executors: the figures are those of two processes."""
    distributed = pytest.importorskip("distributed")
    pytest.importorskip("mlxtend")
    for name in ("processes", "dask"):
        (tmp_path / name).mkdir()
        for file in ("pepita.py", "pepita.toml"):
            shutil.copy(ROOT / "docs" / "audit" / file, tmp_path / name)
    alone = _driver(tmp_path / "processes" / "pepita.toml", "processes:2")
    out, err = alone.communicate(timeout=300)
    assert alone.returncode in (0, 1, 3), err
    with distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster:
        driver = _driver(tmp_path / "dask" / "pepita.toml", f"dask:{cluster.scheduler_address}")
        cells = tmp_path / "dask" / "pepita-results" / "cells"
        deadline = time.monotonic() + 200
        holder = cell = ""
        while not holder and driver.poll() is None and time.monotonic() < deadline:
            for claim in cells.glob("*-pepita-*.claim"):
                with suppress(OSError):  # given back meanwhile
                    holder, cell = claim.read_text().partition(" ")[2], claim.stem.partition("+")[0]
            time.sleep(0.01)
        time.sleep(0.5)
        assert not (cells / f"{cell}.json").exists(), "in the middle of it"
        os.kill(int(holder), signal.SIGKILL)
        shown, err = driver.communicate(timeout=300)
    assert shown == out, err
    assert _figures(cells.parent) == _figures(tmp_path / "processes" / "pepita-results")
    assert not list(cells.glob("*.claim"))
