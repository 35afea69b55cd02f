"""One cell of an audit: a method, a seed and a model; trained, measured, written whole, never computed twice."""

from __future__ import annotations

import hashlib
import json
import math
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from .. import __version__
from ..checkpoint import load_checkpoint, save_checkpoint
from ..diagnostics import CreditInputs, DiagnosticReport, DiagnosticThresholds, FrozenBaseline, diagnose
from ..errors import CheckpointError
from ..feedback import Feedback
from ..files import read_data, write_text
from ..reference import Dataset, Method, Recipe, ReferenceModel, correct_predictions, load_run, train
from ..targets import is_target, source_digest
from .claims import claimed
from .config import AuditConfig, ConfigError
from .own import OwnRun, backprop, trained
from .tasks import make_data, make_model

__all__ = ["Cell", "CellResult", "cells_of", "failed", "run_cell"]

FROZEN = "frozen"
SCHEMA, _VERSION = "fa-diagnose-cell", 1


@dataclass(frozen=True)
class Cell:
    """What is trained: ``method`` is a name of the configuration, or ``frozen``."""

    model: str
    method: str
    seed: int

    @property
    def name(self) -> str:
        """Of its files."""
        return re.sub(r"[^\w.-]", "-", f"{self.model}-{self.method}-{self.seed}")

    @property
    def wave(self) -> int:
        """Frozen blocks first, backprop next: the reports of the others quote both."""
        return {FROZEN: 0, "bp": 1}.get(self.method, 2)


def cells_of(config: AuditConfig) -> tuple[Cell, ...]:
    """Every cell, in the order of computation.

    Raises:
        ConfigError: two would be one file.
    """
    methods = (FROZEN, *config.methods)
    cells = [Cell(model, method, seed) for method in methods for model in config.models for seed in config.seeds]
    files: dict[str, Cell] = {}
    for cell in cells:
        other = files.setdefault(cell.name.casefold(), cell)  # file systems of macOS and Windows ignore case
        if other is not cell:
            both = " and ".join(f"{c.method!r} on {c.model!r}" for c in (other, cell))
            raise ConfigError(f"{both} would be one file, {cell.name}.json: rename one of the methods or models")
    return tuple(sorted(cells, key=lambda cell: cell.wave))


@dataclass(frozen=True)
class CellResult:
    """A finished cell as stored on disk.

    Attributes:
        report: None for frozen blocks.
        error: why it could not be computed, "" if it could.
        correct: which test samples are classified rightly, a bit each, in hexadecimal digits.
    """

    cell: Cell
    accuracy: float
    diverged: int | None
    seconds: float
    report: DiagnosticReport | None
    error: str
    correct: str = ""

    @classmethod
    def read(cls, config: AuditConfig, cell: Cell, failed_since: float = math.inf) -> CellResult | None:
        """The stored result; None if there is none, if it failed, or if it was made by another configuration.

        A failure that another driver wrote after ``failed_since`` counts: it would only fail again.
        """
        try:
            path = _file(config, cell, "json")
            raw = json.loads(read_data(path))
            if raw["schema"] != SCHEMA or raw["fingerprint"] != fingerprint(config, cell):
                return None
            if raw["error"] and path.stat().st_mtime < failed_since:
                return None
            return cls.of(raw)
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            return None

    @classmethod
    def of(cls, raw: Mapping[str, Any]) -> CellResult:
        """From the content of its file.

        Raises:
            ValueError, KeyError, TypeError: it has no such content.
        """
        report = None if raw["report"] is None else DiagnosticReport.from_json(json.dumps(raw["report"]))
        accuracy = math.nan if raw["accuracy"] is None else float(raw["accuracy"])
        cell = Cell(str(raw["cell"]["model"]), str(raw["cell"]["method"]), int(raw["cell"]["seed"]))
        return cls(cell, accuracy, raw["diverged"], float(raw["seconds"]), report, str(raw["error"]), raw["correct"])


def _file(config: AuditConfig, cell: Cell, suffix: str) -> Path:
    return config.out / "cells" / f"{cell.name}.{suffix}"


def _recipe(config: AuditConfig, cell: Cell) -> Recipe:
    if cell.method == FROZEN:
        return config.frozen_recipe
    return config.recipe_of(cell.method)


def _trained_method(config: AuditConfig, cell: Cell) -> str:
    """Frozen blocks are trained by DFA's embedding unless the rule says otherwise; the rule is in the recipe."""
    return "dfa" if cell.method == FROZEN else config.base_method(cell.method)


def fingerprint(config: AuditConfig, cell: Cell) -> str:
    """SHA-256 of everything that decides a cell's result, except machine and library versions."""
    facts = {
        "cell": asdict(cell),
        "recipe": asdict(_recipe(config, cell)),
        "baseline": asdict(config.frozen_recipe),
        "data": dict(config.data),
        "model": dict(config.model),
        "null_draws": config.null_draws,
        "train": config.trainers.get(cell.method, ""),
        "frozen": config.frozen,
        "code": {name: source_digest(name, config.folder) for name in _own_names(config, cell)},
        "version": __version__,
    }
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def _own_names(config: AuditConfig, cell: Cell) -> list[str]:
    names = (cell.model, config.data["name"], config.frozen, config.trainers.get(cell.method, ""))
    return sorted({name for name in names if is_target(name)})


@lru_cache(maxsize=2)
def _data(options: str, folder: Path, digest: str) -> Dataset:
    """``digest`` is that of the user's own code: a worker that outlives a change must not give the old data."""
    return make_data(json.loads(options), folder)


def _dataset(config: AuditConfig) -> Dataset:
    digest = source_digest(config.data["name"], config.folder)
    return _data(json.dumps(dict(config.data), sort_keys=True), config.folder, digest)


def run_cell(config: AuditConfig, cell: Cell, device: str = "cpu", failed_since: float = math.inf) -> CellResult | None:
    """Train, save, measure and write one cell; a result that is there already is returned as it is.

    A failure becomes the cell's ``error``; the next run computes it again. None: another driver is computing it.
    """
    with claimed(config.out / "cells", cell.name) as is_ours:
        stored = CellResult.read(config, cell, failed_since)
        if stored is not None or not is_ours:
            return stored
        started = time.perf_counter()
        try:
            result = _computed(config, cell, device)
        except (Exception, SystemExit) as error:  # one cell must not end an audit
            result = failed(cell, error, time.perf_counter() - started)
        _write(config, result)
        return result


def failed(cell: Cell, error: BaseException, seconds: float = 0.0) -> CellResult:
    """The result of a cell that could not be computed."""
    return CellResult(cell, math.nan, None, seconds, None, " ".join(f"{type(error).__name__}: {error}".split()))


def _computed(config: AuditConfig, cell: Cell, device: str) -> CellResult:
    data = _dataset(config)
    own = _own_training(config, cell)
    if own is not None:
        return _computed_by(own, config, cell, data, device)

    def factory() -> ReferenceModel:
        model = make_model(cell.model, data, config.model)
        assert isinstance(model, ReferenceModel)  # the configuration refuses others
        return model

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
    model.to(device)
    method.to(device)
    data = data.to(device)
    correct = correct_predictions(model, data.test_x, data.test_y)
    report = None
    if cell.method != FROZEN and meta["diverged"] is None:
        signals: dict[str, Any] = {}
        if isinstance(method.auxiliaries, Feedback):
            signals["feedback"] = method.auxiliaries
        elif method.name != "bp":
            signals["credit"] = _credit_function(method)
        report = _diagnosed(config, cell, model, data, correct, correct, signals)
    return CellResult(cell, meta["accuracy"], meta["diverged"], meta["seconds"], report, "", _packed(correct))


def _own_training(config: AuditConfig, cell: Cell) -> str | Callable[..., Any] | None:
    """What trains a cell that the built-in methods do not."""
    if cell.method in config.trainers:
        return config.trainers[cell.method]
    if cell.method == FROZEN and is_target(config.frozen):
        return config.frozen
    return backprop if is_target(cell.model) else None


def _computed_by(
    training: str | Callable[..., Any], config: AuditConfig, cell: Cell, data: Dataset, device: str
) -> CellResult:
    started = time.perf_counter()

    def factory() -> nn.Module:
        return make_model(cell.model, data, config.model, config.folder)

    run: OwnRun = trained(training, factory, data, cell.seed, _recipe(config, cell), device, config.folder)
    seconds = time.perf_counter() - started
    save_checkpoint(_file(config, cell, "pt"), run.model, feedback=run.feedback, meta={"method": cell.method})
    data = data.to(device)
    correct = correct_predictions(run.model, data.test_x, data.test_y)
    measured = float(correct.double().mean())
    report = None
    if cell.method == FROZEN and not all(p.isfinite().all() for p in run.model.parameters()):
        raise ValueError(f"{training} gave parameters that are not finite: no baseline")
    if cell.method != FROZEN:
        # An accuracy that is not the one of this network is a claim of its own: the report holds it against the data.
        differs = run.accuracy is not None and abs(run.accuracy - measured) * len(correct) >= 1
        headline = run.accuracy if differs else correct
        report = _diagnosed(config, cell, run.model, data, correct, headline, run.signals)
    return CellResult(cell, measured, None, seconds, report, "", _packed(correct))


def _meta(path: Path, mark: str) -> Mapping[str, Any] | None:
    """What a checkpoint says of itself, if it belongs to this configuration: training ended before an interruption."""
    try:
        meta = load_checkpoint(path).meta
    except (FileNotFoundError, CheckpointError):
        return None
    return meta if meta.get("fingerprint") == mark else None


def _packed(correct: Tensor) -> str:
    return np.packbits(correct.cpu().numpy()).tobytes().hex()


def _correct(config: AuditConfig, cell: Cell, samples: int) -> Tensor:
    """Which test samples another cell classifies rightly."""
    found = CellResult.read(config, cell)
    if found is None:
        raise ValueError(f"{cell.name} has no result to compare with")
    bits = np.frombuffer(bytes.fromhex(found.correct), dtype=np.uint8)
    return torch.from_numpy(np.unpackbits(bits)[:samples].astype(bool))


def _diagnosed(
    config: AuditConfig,
    cell: Cell,
    model: nn.Module,
    data: Dataset,
    correct: Tensor,
    headline: Any,
    signals: Mapping[str, Any],
) -> DiagnosticReport:
    backprop_cell = Cell(cell.model, "bp", cell.seed)
    frozen = Cell(cell.model, FROZEN, cell.seed)
    bp = None
    if "bp" in config.methods:
        bp = correct if cell.method == "bp" else _correct(config, backprop_cell, len(correct))
    recipe = _recipe(config, frozen)
    baseline = FrozenBaseline(
        _correct(config, frozen, len(correct)),
        rule=_RULES.get(config.frozen, config.frozen),
        epochs=recipe.epochs,
        learning_rate=recipe.lr,
        bp_accuracy=None if bp is None else float(bp.double().mean()),
    )
    return diagnose(
        model,
        data.eval_batches(),
        headline,
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
        "schema": SCHEMA,
        "version": _VERSION,
        "fingerprint": fingerprint(config, cell),
        "cell": asdict(cell),
        "recipe": _recipe(config, cell).describe(),
        "accuracy": result.accuracy if math.isfinite(result.accuracy) else None,
        "diverged": result.diverged,
        "seconds": round(result.seconds, 3),
        "torch": torch.__version__,
        "error": result.error,
        "correct": result.correct,
        "report": None if result.report is None else json.loads(result.report.to_json()),
    }
    write_text(_file(config, cell, "json"), json.dumps(content, indent=1, allow_nan=False) + "\n")
