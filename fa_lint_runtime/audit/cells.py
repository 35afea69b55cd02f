"""One cell of an audit: a method, a seed and a model; trained, measured, written whole, never computed twice."""

from __future__ import annotations

import hashlib
import json
import math
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from .. import __version__
from ..checkpoint import load_checkpoint
from ..diagnostics import CreditInputs, DiagnosticReport, DiagnosticThresholds, FrozenBaseline, diagnose
from ..errors import CheckpointError
from ..feedback import Feedback
from ..files import write_text
from ..reference import Dataset, Method, Recipe, ReferenceModel, correct_predictions, load_run, train
from .config import AuditConfig
from .tasks import make_data, make_model

__all__ = ["Cell", "CellResult", "cells_of", "run_cell"]

FROZEN = "frozen"
_SCHEMA, _VERSION = "fa-diagnose-cell", 1


@dataclass(frozen=True)
class Cell:
    """What is trained: ``method`` is a name of the configuration, or ``frozen``."""

    model: str
    method: str
    seed: int

    @property
    def name(self) -> str:
        """Of its files."""
        return f"{self.model}-{self.method.replace('+', '-')}-{self.seed}"

    @property
    def wave(self) -> int:
        """Frozen blocks first, backprop next: the reports of the others quote both."""
        return {FROZEN: 0, "bp": 1}.get(self.method, 2)


def cells_of(config: AuditConfig) -> tuple[Cell, ...]:
    """Every cell, in the order of computation."""
    methods = (FROZEN, *config.methods)
    cells = [Cell(model, method, seed) for method in methods for model in config.models for seed in config.seeds]
    return tuple(sorted(cells, key=lambda cell: cell.wave))


@dataclass(frozen=True)
class CellResult:
    """A finished cell as stored on disk.

    Attributes:
        report: None for frozen blocks.
        error: why it could not be computed, "" if it could.
    """

    cell: Cell
    accuracy: float
    diverged: int | None
    seconds: float
    report: DiagnosticReport | None
    error: str

    @classmethod
    def read(cls, config: AuditConfig, cell: Cell) -> CellResult | None:
        """The stored result; None if there is none, if it failed, or if it was made by another configuration."""
        try:
            raw = json.loads(_file(config, cell, "json").read_text(encoding="utf-8"))
            if raw["schema"] != _SCHEMA or raw["fingerprint"] != fingerprint(config, cell) or raw["error"]:
                return None
            report = None if raw["report"] is None else DiagnosticReport.from_json(json.dumps(raw["report"]))
            accuracy = math.nan if raw["accuracy"] is None else float(raw["accuracy"])
            return cls(cell, accuracy, raw["diverged"], float(raw["seconds"]), report, "")
        except (OSError, ValueError, KeyError, TypeError):
            return None


def _file(config: AuditConfig, cell: Cell, suffix: str) -> Path:
    return config.out / "cells" / f"{cell.name}.{suffix}"


def _recipe(config: AuditConfig, cell: Cell) -> Recipe:
    if cell.method == FROZEN:
        return replace(config.recipe, frozen=config.frozen)
    return config.recipe_of(cell.method)


def _trained_method(config: AuditConfig, cell: Cell) -> str:
    """Frozen blocks are trained by DFA's embedding unless the rule says otherwise; the rule is in the recipe."""
    return "dfa" if cell.method == FROZEN else config.base_method(cell.method)


def fingerprint(config: AuditConfig, cell: Cell) -> str:
    """SHA-256 of everything that decides a cell's result, except machine and library versions."""
    facts = {
        "cell": asdict(cell),
        "recipe": asdict(_recipe(config, cell)),
        "baseline": asdict(replace(config.recipe, frozen=config.frozen)),
        "data": dict(config.data),
        "model": dict(config.model),
        "null_draws": config.null_draws,
        "version": __version__,
    }
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


@lru_cache(maxsize=2)
def _data(options: tuple[tuple[str, Any], ...]) -> Dataset:
    return make_data(dict(options))


def _dataset(config: AuditConfig) -> Dataset:
    return _data(tuple(sorted(config.data.items())))


def run_cell(config: AuditConfig, cell: Cell, device: str = "cpu") -> CellResult:
    """Train, save, measure and write one cell; a result that is there already is returned as it is.

    A failure becomes the cell's ``error``; the next run computes it again.
    """
    stored = CellResult.read(config, cell)
    if stored is not None:
        return stored
    started = time.perf_counter()
    try:
        result = _computed(config, cell, device)
    except Exception as error:  # one cell must not end an audit
        seconds = time.perf_counter() - started
        result = CellResult(cell, math.nan, None, seconds, None, f"{type(error).__name__}: {error}")
    _write(config, result)
    return result


def _computed(config: AuditConfig, cell: Cell, device: str) -> CellResult:
    data = _dataset(config)

    def factory() -> ReferenceModel:
        return make_model(cell.model, data, config.model)

    path, mark = _file(config, cell, "pt"), fingerprint(config, cell)
    meta = _meta(path, mark)
    if meta is None:
        recipe = _recipe(config, cell)
        run = train(factory, _trained_method(config, cell), data, recipe, cell.seed, device=device)
        run.model.cpu()
        run.method.to("cpu")
        run.save(path, fingerprint=mark)
    model, method, checkpoint = load_run(path, factory, data.test_x[:1])
    meta = checkpoint.meta
    report = None
    if cell.method != FROZEN and meta["diverged"] is None:
        model.to(device)
        method.to(device)
        report = _diagnosed(config, cell, model, method, data.to(device))
    return CellResult(cell, meta["accuracy"], meta["diverged"], meta["seconds"], report, "")


def _meta(path: Path, mark: str) -> Mapping[str, Any] | None:
    """What a checkpoint says of itself, if it belongs to this configuration: training ended before an interruption."""
    try:
        meta = load_checkpoint(path).meta
    except (FileNotFoundError, CheckpointError):
        return None
    return meta if meta.get("fingerprint") == mark else None


def _diagnosed(
    config: AuditConfig, cell: Cell, model: ReferenceModel, method: Method, data: Dataset
) -> DiagnosticReport:
    def factory() -> ReferenceModel:
        return make_model(cell.model, data, config.model)

    def correct(other: Cell) -> Tensor:
        loaded, _, _ = load_run(_file(config, other, "pt"), factory, data.test_x[:1])
        return correct_predictions(loaded.to(data.test_x.device), data.test_x, data.test_y)

    own = correct_predictions(model, data.test_x, data.test_y)
    backprop = Cell(cell.model, "bp", cell.seed)
    bp = own if cell.method == "bp" else correct(backprop) if "bp" in config.methods else None
    recipe = _recipe(config, Cell(cell.model, FROZEN, cell.seed))
    baseline = FrozenBaseline(
        correct(Cell(cell.model, FROZEN, cell.seed)),
        rule=_RULES[config.frozen],
        epochs=recipe.epochs,
        learning_rate=recipe.lr,
        bp_accuracy=None if bp is None else float(bp.double().mean()),
    )
    signals: dict[str, Any] = {}
    if isinstance(method.auxiliaries, Feedback):
        signals["feedback"] = method.auxiliaries
    elif method.name != "bp":
        signals["credit"] = _credit_function(method)
    return diagnose(
        model,
        data.eval_batches(),
        own,
        baseline,
        method_name=cell.method,
        notes=f"{cell.model}, {data.name}, seed {cell.seed}, {_recipe(config, cell).describe()}",
        thresholds=DiagnosticThresholds(null_draws=config.null_draws),
        progress=False,
        **signals,
    )


_RULES = {
    "method": "blocks frozen, embedding by DFA, head exact",
    "bp": "blocks frozen, embedding by backprop through them, head exact",
    "head": "only the head trained",
}


def _credit_function(method: Method) -> Any:
    def credit(inputs: CreditInputs) -> Mapping[str, Tensor]:
        model = inputs.model
        assert isinstance(model, ReferenceModel)
        return dict(zip(method.sites, method.credit_of(model, inputs.x, inputs.y), strict=True))

    return credit


def _write(config: AuditConfig, result: CellResult) -> None:
    cell = result.cell
    content = {
        "schema": _SCHEMA,
        "version": _VERSION,
        "fingerprint": fingerprint(config, cell),
        "cell": asdict(cell),
        "recipe": _recipe(config, cell).describe(),
        "accuracy": result.accuracy if math.isfinite(result.accuracy) else None,
        "diverged": result.diverged,
        "seconds": round(result.seconds, 3),
        "torch": torch.__version__,
        "error": result.error,
        "report": None if result.report is None else json.loads(result.report.to_json()),
    }
    write_text(_file(config, cell, "json"), json.dumps(content, indent=1, allow_nan=False) + "\n")
