"""Run the cells of an audit: in this process, in several, or on the ranks of torchrun; an interrupted run resumes."""

from __future__ import annotations

import multiprocessing
import os
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from itertools import chain
from pathlib import Path

import torch

from .cells import Cell, CellResult, cells_of, run_cell
from .config import AuditConfig

__all__ = ["OnCell", "rank_and_world", "run_audit"]

OnCell = Callable[[CellResult, bool], None]
_POLL_SECONDS = 0.5
_COST = {"ep": 10, "cb": 3, "sb": 3}  # relative to DFA: long cells start first


def rank_and_world() -> tuple[int, int]:
    """Rank and number of processes under ``torchrun``; (0, 1) elsewhere."""
    return int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))


def _device(config: AuditConfig) -> str:
    if config.device != "auto":
        return config.device
    if not torch.cuda.is_available():
        return "cpu"
    return f"cuda:{int(os.environ.get('LOCAL_RANK', '0')) % torch.cuda.device_count()}"


def run_audit(config: AuditConfig, *, jobs: int = 1, on_cell: OnCell | None = None) -> list[CellResult]:
    """Compute what is not there yet, wave by wave: frozen blocks, backprop, the rest.

    Under ``torchrun`` every rank computes its share of each wave on its own GPU and waits for the others' files.

    Args:
        config: what to compute.
        jobs: processes with one torch thread each; ignored under ``torchrun``.
        on_cell: called with each result and whether it was already there.

    Returns:
        list of CellResult: in the order of :func:`cells_of`; failed cells carry their error.
    """
    (config.out / "cells").mkdir(parents=True, exist_ok=True)
    results: dict[Cell, CellResult] = {}
    rank, world = rank_and_world()
    cells = cells_of(config)
    for wave in sorted({cell.wave for cell in cells}):
        members = [cell for cell in cells if cell.wave == wave]
        members.sort(key=lambda cell: -_COST.get(config.base_method(cell.method), 1))
        # By place in the wave, not among what is missing: ranks look at different moments.
        shares = {cell: index % world for index, cell in enumerate(members)}
        begun = time.time()
        missing: list[Cell] = []
        for cell in members:
            stored = CellResult.read(config, cell)
            if stored is None:
                missing.append(cell)
            else:
                results[cell] = stored
                if on_cell is not None:
                    on_cell(stored, True)
        own = [cell for cell in missing if shares[cell] == rank]
        foreign = [cell for cell in missing if shares[cell] != rank]
        computed = _local(config, own, jobs if world == 1 else 1)
        for result in chain(computed, _awaited(config, foreign, begun)):
            results[result.cell] = result
            if on_cell is not None:
                on_cell(result, False)
    return [results[cell] for cell in cells]


def _local(config: AuditConfig, cells: Sequence[Cell], jobs: int) -> Iterator[CellResult]:
    device = _device(config)
    if jobs <= 1 or len(cells) < 2:
        for cell in cells:
            yield run_cell(config, cell, device)
        return
    with ProcessPoolExecutor(jobs, mp_context=multiprocessing.get_context("spawn")) as pool:
        for future in as_completed([pool.submit(_in_worker, config, cell, device) for cell in cells]):
            yield future.result()


def _in_worker(config: AuditConfig, cell: Cell, device: str) -> CellResult:
    torch.set_num_threads(1)
    return run_cell(config, cell, device)


def _awaited(config: AuditConfig, cells: Sequence[Cell], begun: float) -> Iterator[CellResult]:
    """The cells of other ranks, as their files appear."""
    others = list(cells)
    while others:
        for cell in list(others):
            found = CellResult.read(config, cell) or _failed(config, cell, begun)
            if found is not None:
                others.remove(cell)
                yield found
        if others:
            time.sleep(_POLL_SECONDS)


def _failed(config: AuditConfig, cell: Cell, begun: float) -> CellResult | None:
    """A failure that another rank wrote since this wave began."""
    path: Path = config.out / "cells" / f"{cell.name}.json"
    try:
        fresh = path.stat().st_mtime >= begun - 1
    except OSError:
        return None
    return CellResult(cell, float("nan"), None, 0.0, None, f"failed on another rank: see {path}") if fresh else None
