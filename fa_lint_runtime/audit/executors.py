"""Where cells run: ``processes:2``, or an executor of a library that is installed. No engine of our own."""

from __future__ import annotations

import importlib
import multiprocessing
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Protocol

from ..dependencies import MissingDependencyError

__all__ = ["Executor", "Pending", "executor_named", "processes"]


class Pending(Protocol):
    """What ``submit`` returns, here and in submitit."""

    def done(self) -> bool: ...

    def result(self) -> Any: ...


class Executor(Protocol):
    """The part of ``concurrent.futures.Executor`` that an audit needs."""

    def submit(self, function: Callable[..., Any], /, *arguments: Any) -> Pending: ...


@contextmanager
def processes(detail: str, folder: Path | None = None) -> Iterator[Executor]:
    """``detail`` processes on this machine."""
    with ProcessPoolExecutor(int(detail), mp_context=multiprocessing.get_context("spawn")) as pool:
        yield pool


@contextmanager
def _dask(detail: str, folder: Path) -> Iterator[Executor]:
    """The scheduler at this address. A cell whose worker dies goes to another one."""
    with _library("distributed", "dask").Client(detail) as client:
        yield client.get_executor(pure=False)


class _Ray:
    def __init__(self, ray: Any) -> None:
        self._ray = ray

    def submit(self, function: Callable[..., Any], /, *arguments: Any) -> Pending:
        pending: Pending = self._ray.remote(function).remote(*arguments).future()
        return pending


@contextmanager
def _ray(detail: str, folder: Path) -> Iterator[Executor]:
    """The cluster at this address; without one, this machine."""
    ray = _library("ray", "ray")
    ray.init(address=detail or None)
    try:
        yield _Ray(ray)
    finally:
        ray.shutdown()


# Parameters that submitit knows for every cluster; it wants the others, partition for one, named slurm_partition.
_SUBMITIT = {"cpus_per_task", "gpus_per_node", "mem_gb", "name", "nodes", "tasks_per_node", "timeout_min"}


@contextmanager
def _submitit(detail: str, folder: Path) -> Iterator[Executor]:
    """Jobs of SLURM, with these parameters; ``cluster=local`` for this machine."""
    parts = [part.partition("=") for part in detail.split(",") if part]
    if not all(equals for _, equals, _ in parts):
        raise ValueError("write submitit:partition=gpu,gpus_per_node=1")
    given = {key: value for key, _, value in parts}
    cluster = given.pop("cluster", None)
    pool = _library("submitit", "submitit").AutoExecutor(folder / "submitit", cluster=cluster)
    if cluster is None and pool.cluster != "slurm":  # it would take this machine, a login node perhaps, and say nothing
        raise ValueError("there is no SLURM here; cluster=local runs the cells on this machine")
    for key, value in given.items():
        name = key if key in _SUBMITIT or key.startswith("slurm_") else f"slurm_{key}"
        pool.update_parameters(**{name: int(value) if value.isdigit() else value})
    yield pool


@contextmanager
def _mpi(detail: str, folder: Path) -> Iterator[Executor]:
    """The ranks of ``mpiexec -n N python -m mpi4py.futures -m fa_lint_runtime audit …``."""
    with _library("mpi4py.futures", "mpi").MPIPoolExecutor() as pool:
        yield pool


def _library(name: str, extra: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError:
        raise MissingDependencyError(name, f"--executor {extra}", extra) from None


_KINDS: Mapping[str, Any] = {
    "processes": processes,
    "dask": _dask,
    "ray": _ray,
    "submitit": _submitit,
    "mpi": _mpi,
}


@contextmanager
def executor_named(text: str, folder: Path) -> Iterator[Executor]:
    """The executor that ``--executor`` names, such as ``processes:2``.

    Args:
        text: kind and detail.
        folder: where it may write its logs.

    Raises:
        ValueError: no such kind, a detail that it cannot read, or nothing answers at the address.
        MissingDependencyError: the library is not installed.
    """
    kind, _, detail = text.partition(":")
    if kind not in _KINDS:
        raise ValueError(f"no executor {kind!r}; known: {', '.join(_KINDS)}")
    if (kind == "processes" and not detail.isdecimal()) or (kind == "dask" and not detail):
        raise ValueError(f"--executor {text!r}: write {kind}:{'2' if kind == 'processes' else 'tcp://HOST:PORT'}")
    with ExitStack() as stack:
        try:
            found = stack.enter_context(_KINDS[kind](detail, folder))
        except MissingDependencyError:
            raise
        except Exception as error:  # each library has errors of its own for what it cannot use or reach
            raise ValueError(f"--executor {text!r}: {error}") from None
        yield found
