"""The TOML file of an audit, checked key by key before anything is trained."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from datetime import date, time
from pathlib import Path
from typing import Any

import torch

from ..files import read_data
from ..reference import METHODS, Recipe, frozen_rules
from ..targets import is_target
from .tasks import DATA, MODELS

__all__ = ["AuditConfig", "ConfigError", "load_config"]

_PENALTY_SUFFIX = "+penalty"


class ConfigError(ValueError):
    """A configuration that cannot be used: file, line where it is known, reason."""


@dataclass(frozen=True)
class AuditConfig:
    """What to train and where results go.

    Attributes:
        out: folder for cells, checkpoints and tables.
        methods: keys of ``METHODS``, each perhaps with ``+penalty``, and those of ``trainers``.
        trainers: methods of the user's own to ``pkg.mod:train``.
        seeds: of the runs.
        models: keys of ``MODELS``, or ``pkg.mod:factory``.
        model, data: keyword arguments of their factories; ``data`` with its ``name``, or ``pkg.mod:loaders`` for one.
        recipe: of every run.
        overrides: changes of the recipe for single methods.
        penalty: λ of methods with ``+penalty``.
        frozen: the rule of the baseline, or ``pkg.mod:baseline``, a training function as those of methods are.
        device: ``auto``: CUDA where there is one.
        null_draws: fresh feedbacks of the alignment decision.
        folder: where modules of the user's own are looked for too.
    """

    out: Path
    methods: tuple[str, ...]
    trainers: Mapping[str, str] = field(default_factory=dict)
    seeds: tuple[int, ...] = (42, 123, 456)
    models: tuple[str, ...] = ("residual_mlp",)
    model: Mapping[str, Any] = field(default_factory=dict)
    data: Mapping[str, Any] = field(default_factory=lambda: {"name": "mixture"})
    recipe: Recipe = field(default_factory=Recipe)
    overrides: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    penalty: float = 1e-2
    frozen: str = "method"
    device: str = "auto"
    null_draws: int = 199
    folder: Path = field(default_factory=Path)

    def recipe_of(self, method: str) -> Recipe:
        """The recipe of one method."""
        changes = dict(self.overrides.get(method, {}))
        if method.endswith(_PENALTY_SUFFIX):
            changes.setdefault("penalty", self.penalty)
        return replace(self.recipe, **changes)

    @property
    def frozen_recipe(self) -> Recipe:
        """The recipe of the baseline."""
        return self.recipe if is_target(self.frozen) else replace(self.recipe, frozen=self.frozen)  # type: ignore[arg-type]

    @staticmethod
    def base_method(method: str) -> str:
        """The method without ``+penalty``."""
        return method.removesuffix(_PENALTY_SUFFIX)


def load_config(path: str | Path, overrides: Sequence[str] = ()) -> AuditConfig:
    """Read and check a configuration.

    ``out`` is taken relative to the file. See ``docs/audit`` for complete examples.

    Args:
        path: the TOML file.
        overrides: ``key=value`` each, in place of what the file says; ``recipe.lr=1e-3``.

    Raises:
        ConfigError: with file, line and reason.
        OSError: unreadable.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     file = Path(folder, "audit.toml")
        ...     _ = file.write_text('methods = ["bp", "dfa+penalty"]\\n[recipe]\\nepochs = 3\\n')
        ...     config = load_config(file, ["penalty=0.5"])
        >>> config.recipe_of("dfa+penalty").penalty, config.recipe_of("bp").epochs
        (0.5, 3)
    """
    path = Path(path)
    content = read_data(path)
    try:
        text = content.decode("utf-8")
        raw = tomllib.loads(text)
    except UnicodeDecodeError as error:
        line = 1 + content.count(b"\n", 0, error.start)
        raise ConfigError(f"{path}:{line}: not UTF-8: {error.reason}; save the file as UTF-8") from None
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{path}: not TOML: {error}") from None
    given: dict[str, str] = {}
    for override in ("", *overrides):
        if override:
            given[_override(raw, override)] = override
        if is_target(raw.get("data")):
            raw["data"] = {"name": raw["data"]}
    return _Reader(path, text, raw, given).config()


def _override(raw: dict[str, Any], text: str) -> str:
    """Set ``a.b=value``; a value that is no TOML is a string. Returns the last part of the key."""
    key, equals, value = text.partition("=")
    *tables, last = key.strip().split(".")
    if not equals or not last:
        raise ConfigError(f"{text!r} must have the form key=value")
    table: Any = raw
    for name in tables:
        table = table.setdefault(name, {})
        if not isinstance(table, dict):
            raise ConfigError(f"{text!r}: {name} is no table")
    try:
        table[last] = tomllib.loads(f"value = {value}")["value"]
    except (tomllib.TOMLDecodeError, RecursionError):
        table[last] = value
    return last


@dataclass
class _Reader:
    """One file; every check names its line, or the override that says otherwise."""

    path: Path
    text: str
    raw: dict[str, Any]
    given: Mapping[str, str]

    def refuse(self, key: str, reason: str) -> ConfigError:
        override = self.given.get(key.rpartition(".")[2])
        if override is not None:
            return ConfigError(f"{override!r}: {reason}")
        line = _line_of(self.text, key)
        return ConfigError(f"{self.path}{f':{line}' if line else ''}: {reason}")

    def config(self) -> AuditConfig:
        raw = self.raw
        known = {f.name for f in fields(AuditConfig)} - {"overrides", "trainers", "folder"} | {"override"}
        for key in raw:
            if key not in known:
                raise self.refuse(key, f"unknown key {key!r}; known: {', '.join(sorted(known))}")
        if is_target(raw.get("model")):
            raw["models"] = [raw.pop("model")]
        for key in ("data", "model", "recipe", "override"):
            if not isinstance(raw.get(key, {}), dict):
                raise self.refuse(key, f"{key} must be a table [{key}]")
            self._no_dates(key)
        recipe = self._recipe(Recipe(), raw.get("recipe", {}), "recipe")
        values: dict[str, Any] = {"recipe": recipe, "folder": self.path.parent.resolve()}
        out = raw.get("out", self.path.stem)
        if not isinstance(out, str):
            raise self.refuse("out", f"out must be the name of a folder, in quotes; got {out}")
        values["out"] = self.path.parent.resolve() / out
        values["trainers"] = self._trainers()
        values["methods"] = self._methods(values["trainers"])
        values |= self._checked()
        for method, changes in raw.get("override", {}).items():
            if method not in values["methods"]:
                raise self.refuse(f"override.{method}", f"[override.{method}]: no such method in methods")
            self._recipe(recipe, changes, f"override.{method}")
        values["overrides"] = raw.get("override", {})
        found = AuditConfig(**values)
        self._fit_together(found)
        return found

    def _trainers(self) -> dict[str, str]:
        """``[methods.NAME]`` with a ``train``; a table without one names a built-in method."""
        methods = self.raw.get("methods")
        if not isinstance(methods, dict):
            return {}
        for name, table in methods.items():
            if not isinstance(table, dict) or set(table) - {"train"} or not is_target(table.get("train", ":")):
                raise self.refuse(f"methods.{name}", f'[methods.{name}] takes train = "pkg.mod:function", nothing else')
        self.raw["methods"] = list(methods)
        return {name: table["train"] for name, table in methods.items() if table}

    def _methods(self, trainers: Mapping[str, str]) -> tuple[str, ...]:
        names = self._names("methods", None)
        for name in names:
            if name not in trainers and AuditConfig.base_method(name) not in METHODS:
                raise self.refuse(
                    f"methods.{name}" if f"[methods.{name}]" in self.text else "methods",
                    f"unknown method {name!r}; known: {', '.join(METHODS)}, each with {_PENALTY_SUFFIX}; "
                    f'one of your own: [methods.{name}] train = "pkg.mod:function"',
                )
            if name in trainers and AuditConfig.base_method(name) in (*METHODS, "frozen"):
                raise self.refuse(f"methods.{name}", f"{name!r} is a built-in method: give yours another name")
        return names

    def _checked(self) -> dict[str, Any]:
        """The keys that need no other key."""
        raw = self.raw
        values: dict[str, Any] = {}
        if "models" in raw:
            values["models"] = self._names("models", MODELS)
        if "seeds" in raw:
            seeds = raw["seeds"]
            if not isinstance(seeds, list) or not seeds or not all(type(s) is int and s >= 0 for s in seeds):
                raise self.refuse("seeds", "seeds must be a list of integers that are not negative")
            if len(set(seeds)) != len(seeds):
                raise self.refuse("seeds", "seeds names one twice")
            values["seeds"] = tuple(seeds)
        if "data" in raw:
            name = raw["data"].get("name")
            if not isinstance(name, str) or (name not in DATA and not is_target(name)):
                raise self.refuse("data", f"[data] needs a name, one of {', '.join(DATA)}, or pkg.mod:loaders")
            values["data"] = raw["data"]
        if "model" in raw:
            values["model"] = raw["model"]
        if "penalty" in raw:
            penalty = raw["penalty"]
            if isinstance(penalty, bool) or not isinstance(penalty, int | float) or not penalty >= 0:
                raise self.refuse("penalty", "penalty must be a number that is not negative")
            values["penalty"] = float(penalty)
        if "null_draws" in raw:
            if type(raw["null_draws"]) is not int or raw["null_draws"] < 19:
                raise self.refuse("null_draws", "null_draws must be an integer of at least 19")
            values["null_draws"] = raw["null_draws"]
        if "frozen" in raw:
            if raw["frozen"] not in frozen_rules() and not is_target(raw["frozen"]):
                raise self.refuse("frozen", f"frozen must be one of {', '.join(frozen_rules())}, or pkg.mod:baseline")
            values["frozen"] = raw["frozen"]
        if "device" in raw:
            values["device"] = self._device(raw["device"])
        return values

    def _device(self, name: Any) -> str:
        refused = self.refuse("device", f"device must be auto, cpu, cuda or cuda:0; got {name!r}")
        if not isinstance(name, str):
            raise refused
        try:
            return name if name == "auto" else str(torch.device(name))
        except RuntimeError:
            raise refused from None

    def _no_dates(self, table: str) -> None:
        """TOML has dates and times, which no keyword of data or models takes as they are."""
        for key, value in self.raw.get(table, {}).items():
            if _holds_date(value):
                raise self.refuse(key, f"[{table}]: {key} is, or holds, a date or time of TOML: write it in quotes")

    def _fit_together(self, found: AuditConfig) -> None:
        """Built-in methods and rules know the built-in models only."""
        own = [name for name in found.models if is_target(name)]
        if not own:
            return
        if not is_target(found.frozen):
            raise self.refuse("frozen", f'{own[0]} needs frozen = "pkg.mod:baseline", a training function of your own')
        for method in found.methods:
            if method not in found.trainers and method != "bp":
                raise self.refuse("methods", f"{method!r} is built for the built-in models, not for {own[0]}")

    def _names(self, key: str, known: Mapping[str, Any] | None) -> tuple[str, ...]:
        names = self.raw.get(key)
        if not isinstance(names, list) or not names or not all(isinstance(name, str) for name in names):
            raise self.refuse(key, f"{key} must be a list of names")
        if len(set(names)) != len(names):
            raise self.refuse(key, f"{key} names one twice")
        for name in names:
            if known is not None and name not in known and not is_target(name):
                raise self.refuse(key, f"unknown name {name!r} in {key}; known: {', '.join(known)}, or pkg.mod:name")
        return tuple(names)

    def _recipe(self, base: Recipe, changes: Any, where: str) -> Recipe:
        known = [f.name for f in fields(Recipe) if f.name != "frozen"]
        if not isinstance(changes, dict):
            raise self.refuse(where, f"[{where}] must be a table")
        for key in changes:
            if key not in known:
                raise self.refuse(key, f"unknown key {key!r} in [{where}]; known: {', '.join(known)}")
        try:
            return replace(base, **changes)
        except (ValueError, TypeError) as error:
            named = str(error).partition(" ")[0]
            raise self.refuse(named if named in changes else where, f"[{where}]: {error}") from None


def _holds_date(value: Any) -> bool:
    if isinstance(value, dict | list):
        return any(map(_holds_date, value.values() if isinstance(value, dict) else value))
    return isinstance(value, date | time)


def _line_of(text: str, key: str) -> int | None:
    """The first line that sets a key or opens a table of this name."""
    last = re.escape(key.rpartition(".")[2])
    pattern = re.compile(rf'^\s*(?:{last}\s*=|\[{re.escape(key)}\]|\[.*\.?"?{last}"?\])')
    for number, line in enumerate(text.splitlines(), 1):
        if pattern.match(line):
            return number
    return None
