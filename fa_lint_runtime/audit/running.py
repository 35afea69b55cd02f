"""Run the cells of an audit: in this process or on any executor; several drivers share a folder, and one resumes."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack

import torch

from ..targets import function_of, is_target, resolve
from .cells import Cell, CellResult, cells_of, failed, run_cell
from .claims import is_held
from .config import AuditConfig
from .executors import Executor, processes

__all__ = ["OnCell", "check_targets", "rank_and_world", "run_audit"]

OnCell = Callable[[CellResult, bool], None]
_POLL_SECONDS = 0.2
_COST = {"ep": 10, "cb": 3, "sb": 3}  # relative to DFA: long cells start first


def rank_and_world(environment: Mapping[str, str] = os.environ) -> tuple[int, int]:
    """Which driver of how many this is, under ``torchrun`` or in a SLURM array; (0, 1) elsewhere."""
    if "SLURM_ARRAY_TASK_ID" in environment:
        first, task = int(environment.get("SLURM_ARRAY_TASK_MIN", "0")), int(environment["SLURM_ARRAY_TASK_ID"])
        step, last = (int(environment.get(f"SLURM_ARRAY_TASK_{x}", y)) for x, y in (("STEP", "1"), ("MAX", str(task))))
        return (task - first) // step, (last - first) // step + 1
    return int(environment.get("RANK", "0")), int(environment.get("WORLD_SIZE", "1"))


def check_targets(config: AuditConfig) -> None:
    """Import what the configuration names, so that a mistake is said before anything is trained.

    Raises:
        TargetError: no such module, no such name in it, its import fails, or it is no function.
    """
    for name in filter(is_target, (*config.models, config.frozen, *config.trainers.values())):
        function_of(name, config.folder)
    if is_target(config.data["name"]):
        resolve(config.data["name"], config.folder)


def _device(config: AuditConfig, place: int) -> str:
    """Of the cell at this place of its wave: over all GPUs in turn, or that of the rank."""
    if config.device != "auto":
        return config.device
    if not torch.cuda.is_available():
        return "cpu"
    return f"cuda:{int(os.environ.get('LOCAL_RANK', place)) % torch.cuda.device_count()}"


def run_audit(
    config: AuditConfig,
    *,
    jobs: int = 1,
    executor: Executor | None = None,
    shard: tuple[int, int] | None = None,
    on_cell: OnCell | None = None,
) -> list[CellResult]:
    """Compute what is not there yet, wave by wave: frozen blocks, backprop, the rest.

    Drivers that share ``config.out`` (ranks of ``torchrun``, tasks of a SLURM array, anything) each compute what no
    other has claimed, and take over the cells of one that died.

    Args:
        config: what to compute.
        jobs: processes with one torch thread each, where there is no ``executor``; ignored under ``torchrun``.
        executor: anything with the ``submit`` of ``concurrent.futures.Executor``.
        shard: (this driver, how many), from 0: where it begins; by default from ``torchrun`` or SLURM.
        on_cell: called with each result and whether it was already there.

    Returns:
        list of CellResult: in the order of :func:`cells_of`; failed cells carry their error.
    """
    (config.out / "cells").mkdir(parents=True, exist_ok=True)
    rank, world = rank_and_world() if shard is None else shard
    results: dict[Cell, CellResult] = {}
    cells = cells_of(config)

    def keep(result: CellResult, stored: bool) -> None:
        results[result.cell] = result
        if on_cell is not None:
            on_cell(result, stored)

    with ExitStack() as stack:
        if executor is None and jobs > 1 and "RANK" not in os.environ:
            executor = stack.enter_context(processes(str(jobs)))
        for wave in sorted({cell.wave for cell in cells}):
            members = [cell for cell in cells if cell.wave == wave]
            members.sort(key=lambda cell: -_COST.get(config.base_method(cell.method), 1))
            begun, missing = time.time(), []
            for cell in members:
                stored = CellResult.read(config, cell)
                if stored is None:
                    missing.append(cell)
                else:
                    keep(stored, True)
            first = rank * len(missing) // world  # drivers that begin apart seldom ask for the same cell
            left = missing[first:] + missing[:first]
            while left:
                elsewhere = []
                for cell, result in _computed(config, left, executor, begun):
                    if result is None:
                        elsewhere.append(cell)
                    else:
                        keep(result, False)
                left = elsewhere
                if left:
                    time.sleep(_POLL_SECONDS)
    return [results[cell] for cell in cells]


def _computed(
    config: AuditConfig, cells: Sequence[Cell], executor: Executor | None, begun: float
) -> Iterator[tuple[Cell, CellResult | None]]:
    """Each cell with its result, as they come; None for one that another driver has claimed."""
    if executor is None:
        for place, cell in enumerate(cells):
            yield cell, run_cell(config, cell, _device(config, place), begun)
        return
    pending = {}
    for place, cell in enumerate(cells):
        if is_held(config.out / "cells", cell.name):  # no job, only to be told so
            yield cell, None
            continue
        try:
            pending[cell] = executor.submit(_in_worker, config, cell, place, begun)
        except Exception as error:  # a pool whose process died takes no more
            yield cell, failed(cell, error)
    while pending:
        ready = [cell for cell, future in pending.items() if future.done()]
        for cell in ready:
            future = pending.pop(cell)
            try:
                yield cell, future.result()
            except (Exception, SystemExit) as error:  # its worker died, and the executor gave up on it
                yield cell, failed(cell, error)
        if not ready:
            time.sleep(_POLL_SECONDS / 10)


def _in_worker(config: AuditConfig, cell: Cell, place: int, begun: float) -> CellResult | None:
    torch.set_num_threads(1)
    return run_cell(config, cell, _device(config, place), begun)  # by the GPUs of this machine, not of the driver's
