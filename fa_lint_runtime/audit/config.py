"""The TOML file of an audit, checked key by key before anything is trained."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from ..reference import METHODS, FrozenRule, Recipe, frozen_rules
from .tasks import DATA, MODELS

__all__ = ["AuditConfig", "ConfigError", "load_config"]

_PENALTY_SUFFIX = "+penalty"
_TABLES = ("data", "model", "recipe", "override")


class ConfigError(ValueError):
    """A configuration that cannot be used: file, line where it is known, reason."""


@dataclass(frozen=True)
class AuditConfig:
    """What to train and where results go.

    Attributes:
        out: folder for cells, checkpoints and tables.
        methods: keys of ``METHODS``, each perhaps with ``+penalty``.
        seeds: of the runs.
        models: keys of ``MODELS``.
        model, data: keyword arguments of their factories; ``data`` with its ``name``.
        recipe: of every run.
        overrides: changes of the recipe for single methods.
        penalty: λ of methods with ``+penalty``.
        frozen: the rule of the baseline.
        device: ``auto``: CUDA where there is one.
        null_draws: fresh feedbacks of the alignment decision.
    """

    out: Path
    methods: tuple[str, ...]
    seeds: tuple[int, ...] = (42, 123, 456)
    models: tuple[str, ...] = ("residual_mlp",)
    model: Mapping[str, Any] = field(default_factory=dict)
    data: Mapping[str, Any] = field(default_factory=lambda: {"name": "mixture"})
    recipe: Recipe = field(default_factory=Recipe)
    overrides: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    penalty: float = 1e-2
    frozen: FrozenRule = "method"
    device: str = "auto"
    null_draws: int = 199

    def recipe_of(self, method: str) -> Recipe:
        """The recipe of one method."""
        changes = dict(self.overrides.get(method, {}))
        if method.endswith(_PENALTY_SUFFIX):
            changes.setdefault("penalty", self.penalty)
        return replace(self.recipe, **changes)

    @staticmethod
    def base_method(method: str) -> str:
        """The method without ``+penalty``."""
        return method.removesuffix(_PENALTY_SUFFIX)


def load_config(path: str | Path) -> AuditConfig:
    """Read and check a configuration.

    ``out`` is taken relative to the file. See ``docs/audit`` for complete examples.

    Raises:
        ConfigError: with file, line and reason.
        OSError: unreadable.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     file = Path(folder, "audit.toml")
        ...     _ = file.write_text('methods = ["bp", "dfa+penalty"]\\n[recipe]\\nepochs = 3\\n')
        ...     config = load_config(file)
        >>> config.recipe_of("dfa+penalty").penalty, config.recipe_of("bp").epochs
        (0.01, 3)
    """
    path = Path(path)
    text = path.read_text(encoding="utf-8")
    try:
        raw = tomllib.loads(text)
    except ValueError as error:
        raise ConfigError(f"{path}: not TOML: {error}") from None

    def refuse(key: str, reason: str) -> ConfigError:
        line = _line_of(text, key)
        return ConfigError(f"{path}{f':{line}' if line else ''}: {reason}")

    known = {f.name for f in fields(AuditConfig)} - {"overrides"} | {"override"}
    for key in raw:
        if key not in known:
            raise refuse(key, f"unknown key {key!r}; known: {', '.join(sorted(known))}")
    for key in _TABLES:
        if not isinstance(raw.get(key, {}), dict):
            raise refuse(key, f"{key} must be a table [{key}]")
    values: dict[str, Any] = {"out": path.parent / str(raw.get("out", path.stem))}
    values["methods"] = _names(raw, "methods", None, refuse)
    for method in values["methods"]:
        if AuditConfig.base_method(method) not in METHODS:
            raise refuse(
                "methods", f"unknown method {method!r}; known: {', '.join(METHODS)}, each with {_PENALTY_SUFFIX}"
            )
    if "models" in raw:
        values["models"] = _names(raw, "models", MODELS, refuse)
    if "seeds" in raw:
        seeds = raw["seeds"]
        if not isinstance(seeds, list) or not seeds or not all(type(s) is int and s >= 0 for s in seeds):
            raise refuse("seeds", "seeds must be a list of integers that are not negative")
        if len(set(seeds)) != len(seeds):
            raise refuse("seeds", "seeds names one twice")
        values["seeds"] = tuple(seeds)
    if "data" in raw:
        if raw["data"].get("name") not in DATA:
            raise refuse("data", f"[data] needs a name, one of {', '.join(DATA)}")
        values["data"] = raw["data"]
    if "model" in raw:
        values["model"] = raw["model"]
    values["recipe"] = _recipe(Recipe(), raw.get("recipe", {}), "recipe", refuse)
    for method, changes in raw.get("override", {}).items():
        if method not in values["methods"]:
            raise refuse(f"override.{method}", f"[override.{method}]: no such method in methods")
        _recipe(values["recipe"], changes, f"override.{method}", refuse)
    values["overrides"] = raw.get("override", {})
    if "penalty" in raw:
        values["penalty"] = _number(raw, "penalty", refuse)
    if "null_draws" in raw:
        if type(raw["null_draws"]) is not int or raw["null_draws"] < 19:
            raise refuse("null_draws", "null_draws must be an integer of at least 19")
        values["null_draws"] = raw["null_draws"]
    if "frozen" in raw:
        if raw["frozen"] not in frozen_rules():
            raise refuse("frozen", f"frozen must be one of {', '.join(frozen_rules())}")
        values["frozen"] = raw["frozen"]
    if "device" in raw:
        values["device"] = str(raw["device"])
    return AuditConfig(**values)


def _line_of(text: str, key: str) -> int | None:
    """The first line that sets a key or opens a table of this name."""
    last = re.escape(key.rpartition(".")[2])
    pattern = re.compile(rf'^\s*(?:{last}\s*=|\[{re.escape(key)}\]|\[.*\.?"?{last}"?\])')
    for number, line in enumerate(text.splitlines(), 1):
        if pattern.match(line):
            return number
    return None


def _names(raw: Mapping[str, Any], key: str, known: Mapping[str, Any] | None, refuse: Any) -> tuple[str, ...]:
    names = raw.get(key)
    if not isinstance(names, list) or not names or not all(isinstance(name, str) for name in names):
        raise refuse(key, f"{key} must be a list of names")
    if len(set(names)) != len(names):
        raise refuse(key, f"{key} names one twice")
    for name in names:
        if known is not None and name not in known:
            raise refuse(key, f"unknown name {name!r} in {key}; known: {', '.join(known)}")
    return tuple(names)


def _number(raw: Mapping[str, Any], key: str, refuse: Any) -> float:
    value = raw[key]
    if isinstance(value, bool) or not isinstance(value, int | float) or not value >= 0:
        raise refuse(key, f"{key} must be a number that is not negative")
    return float(value)


def _recipe(base: Recipe, changes: Any, where: str, refuse: Any) -> Recipe:
    known: Sequence[str] = [f.name for f in fields(Recipe) if f.name != "frozen"]
    if not isinstance(changes, dict):
        raise refuse(where, f"[{where}] must be a table")
    for key in changes:
        if key not in known:
            raise refuse(key, f"unknown key {key!r} in [{where}]; known: {', '.join(known)}")
    try:
        return replace(base, **changes)
    except (ValueError, TypeError) as error:
        raise refuse(next(iter(changes), where), f"[{where}]: {error}") from None
