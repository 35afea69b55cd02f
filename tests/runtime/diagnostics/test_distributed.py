"""Two processes with gloo give the report of one, bit for bit."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from distributed_worker import report

from fa_lint_runtime.diagnostics.distributed import share

WORKER = Path(__file__).parent / "distributed_worker.py"
ROOT = Path(__file__).parents[3]


def launched(tmp_path: Path, *arguments: str) -> list[dict[str, Any]]:
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", str(WORKER)]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [*command, *arguments, str(tmp_path)], env=environment, capture_output=True, text=True, timeout=240, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return [json.loads((tmp_path / f"rank{rank}.json").read_text(encoding="utf-8")) for rank in range(2)]


@pytest.mark.slow
@pytest.mark.parametrize("wrap", ["bare", "ddp", "fsdp2"])
@pytest.mark.parametrize(("kind", "count"), [("mlp", 7), ("vit", 5), ("gpt", 6)])
def test_two_processes_equal_one(tmp_path: Path, kind: str, count: int, wrap: str) -> None:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        _, alone = report(kind, "bare", count)
    finally:
        torch.set_num_threads(threads)
    ranks = launched(tmp_path, kind, wrap, str(count))
    assert ranks[0] == ranks[1]
    one, two = json.loads(alone.to_json()), ranks[0]
    if wrap == "fsdp2":  # fp64 copies and local updates need whole parameters: N/A there, and said so
        assert "FSDP2" in " ".join(two["provenance"]["caveats"])
        for side in (one, two):
            _without_whole_parameters(side)
    assert one == two


def _without_whole_parameters(report: dict[str, Any]) -> None:
    for layer in report["layers"]:
        layer["precision"] = None
        if layer["alignment"]:
            layer["alignment"]["parameter_cosine"] = None
    for name in ("caveats", "precision_samples", "derivative_error"):
        report["provenance"][name] = None
    report["criteria"] = [c for c in report["criteria"] if c["name"] not in ("reference", "resolution")]


def test_one_process_takes_every_batch_once() -> None:
    assert share(3, lockstep=True) == [(0, True), (1, True), (2, True)]


@pytest.mark.parametrize(("rank", "lockstep", "expected"), [
    (0, False, [(0, True), (2, True), (4, True)]),
    (1, False, [(1, True), (3, True)]),
    (1, True, [(1, True), (3, True), (0, False)]),
])  # fmt: skip
def test_an_idle_rank_repeats_a_batch_that_does_not_count(
    monkeypatch: pytest.MonkeyPatch, rank: int, lockstep: bool, expected: list[tuple[int, bool]]
) -> None:
    monkeypatch.setattr("fa_lint_runtime.diagnostics.distributed.rank_and_world", lambda: (rank, 2))
    assert share(5, lockstep=lockstep) == expected
