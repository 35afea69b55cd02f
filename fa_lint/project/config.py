"""Settings: one frozen dataclass, from defaults, a configuration file and flags; a bad key is an error with a line."""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from fnmatch import fnmatchcase
from functools import cached_property
from pathlib import Path
from typing import Any

from fa_lint.findings import Level
from fa_lint.project.config_keys import (
    DEFAULT_EXCLUDE,
    FAIL_ON,
    FIX_STYLES,
    KEYS,
    close_key,
    expand_codes,
    is_pattern,
    parse_per_file_ignores,
)
from fa_lint.rules import ENGINE_CODES, registry
from fa_lint.semantics.roles import RoleNames
from fa_lint.source.reading import read_file

__all__ = [
    "DEFAULT_EXCLUDE",
    "FAIL_ON",
    "FIX_STYLES",
    "ConfigError",
    "Settings",
    "as_rows",
    "expand_codes",
    "find_config",
    "is_pattern",
    "load",
    "override",
    "parse_per_file_ignores",
]


class ConfigError(Exception):
    """A configuration that cannot be used: which file, which line, which key, and what to do."""

    def __init__(self, where: str, reason: str) -> None:
        super().__init__(where, reason)
        self.where = where
        self.reason = reason

    def __str__(self) -> str:
        return f"{self.where}: {self.reason}"


@dataclass(frozen=True)
class Settings:
    """Everything a run depends on. ``root`` is the folder of the configuration file, or the working directory."""

    root: str = "."
    config_file: str | None = None
    select: tuple[str, ...] = ("FAL",)
    ignore: tuple[str, ...] = ()
    extend_select: tuple[str, ...] = ()
    per_file_ignores: tuple[tuple[str, tuple[str, ...]], ...] = ()
    exclude: tuple[str, ...] = DEFAULT_EXCLUDE
    extend_exclude: tuple[str, ...] = ()
    force_exclude: bool = False
    respect_gitignore: bool = True
    fail_on: Level = Level.WARNING
    max_file_size: int = 10_000_000
    fix_style: str = "runtime"
    feedback_names: tuple[str, ...] = ()
    credit_names: tuple[str, ...] = ()
    alignment_names: tuple[str, ...] = field(default=())

    @cached_property
    def codes(self) -> frozenset[str]:
        """The codes that are on: selected, and not ignored by an equally or more precise prefix."""
        chosen: set[str] = set()
        rules = registry()
        for code in [*rules, *ENGINE_CODES]:
            default = code in ENGINE_CODES or rules[code].default
            selected = max(
                (len(p) for p in (*self.select, *self.extend_select) if code.startswith(p) and (default or p == code)),
                default=-1,
            )
            ignored = max((len(p) for p in self.ignore if code.startswith(p)), default=-1)
            if selected > ignored:
                chosen.add(code)
        return frozenset(chosen)

    @property
    def role_names(self) -> RoleNames:
        return RoleNames(self.feedback_names, self.credit_names, self.alignment_names)

    def codes_for(self, path: str) -> frozenset[str]:
        """The codes that are on for one file, after ``per-file-ignores``."""
        if not self.per_file_ignores:
            return self.codes
        relative = os.path.relpath(os.path.abspath(path), os.path.abspath(self.root)).replace(os.sep, "/")
        off: set[str] = set()
        for pattern, prefixes in self.per_file_ignores:
            if any(fnmatchcase(name, pattern) for name in (relative, os.path.basename(path))) or fnmatchcase(
                "/" + relative, "*/" + pattern.lstrip("/")
            ):
                off |= {code for code in self.codes if code.startswith(tuple(prefixes))}
        return self.codes - off


def find_config(start: str) -> str | None:
    """The nearest ``fa-lint.toml``, or ``pyproject.toml`` with a ``[tool.fa-lint]`` table, at or above ``start``."""
    # Not `Path.resolve`, which raises for a link to itself.
    try:
        folder = Path(os.path.realpath(start))
    except ValueError:  # a null byte
        return None
    if not folder.is_dir():
        folder = folder.parent
    for current in (folder, *folder.parents):
        own = current / "fa-lint.toml"
        if own.is_file():
            return str(own)
        project = current / "pyproject.toml"
        if project.is_file() and _has_table(project):
            return str(project)
    return None


def _has_table(path: Path) -> bool:
    try:
        data = read_file(path)
    except OSError:
        return False
    if b"fa-lint" not in data:
        return False
    try:
        tool = tomllib.loads(data.decode()).get("tool")
    except (ValueError, RecursionError):
        return True  # `load` says what is wrong with it
    return isinstance(tool, dict) and "fa-lint" in tool


def load(path: str | None) -> Settings:
    """Settings from a file, or the defaults; raises :class:`ConfigError`."""
    if path is None:
        return Settings(root=os.getcwd())
    try:
        text = read_file(path).decode()
        document = tomllib.loads(text)
    except FileNotFoundError:
        raise ConfigError(path, "no such configuration file") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(path, f"cannot be read: {getattr(error, 'strerror', None) or error}") from None
    except ValueError as error:  # besides what is no TOML: a number of thousands of digits
        raise ConfigError(path, f"not valid TOML: {error}") from None
    except RecursionError:
        raise ConfigError(path, "not valid TOML: nested too deeply") from None
    table = document
    if Path(path).name == "pyproject.toml":
        tool = document.get("tool", {})
        table = tool.get("fa-lint", {}) if isinstance(tool, dict) else tool
    if not isinstance(table, dict):
        raise ConfigError(_where(path, text, "fa-lint"), "[tool.fa-lint] must be a table")
    values = _checked(table, lambda key: _where(path, text, key))
    return replace(Settings(), root=str(Path(path).resolve().parent), config_file=path, **values)


def override(settings: Settings, given: Sequence[str]) -> Settings:
    """Return the settings with each ``key = value`` (TOML) in place; raises :class:`ConfigError`."""
    for text in given:
        try:
            table = tomllib.loads(text)
        except (ValueError, RecursionError) as error:
            reason = error if isinstance(error, ValueError) else "nested too deeply"
            raise ConfigError("--config", f"`{text}` is no file and no `key = value` of TOML: {reason}") from None
        settings = replace(settings, **_checked(table, lambda _: "--config"))
    return settings


def _checked(table: Mapping[str, Any], where: Callable[[str], str]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for name, value in table.items():
        key = KEYS.get(name)
        if key is None:
            raise ConfigError(where(name), f"unknown key `{name}`{close_key(name)}")
        try:
            values[name.replace("-", "_")] = key.check(value)
        except ValueError as error:
            raise ConfigError(where(name), f"`{name}`: {error}") from None
    return values


def _where(path: str, text: str, key: str) -> str:
    name = re.escape(key)
    pattern = re.compile(rf"^[ \t]*+(?:[\"']?{name}[\"']?[ \t]*=|\[++[^\]\n]*{name})", re.MULTILINE)
    # In pyproject.toml other tools have keys of these names.
    own = re.search(r"^[ \t]*+\[++[ \t]*+tool[ \t]*+\.[ \t]*+[\"']?fa-lint", text, re.MULTILINE)
    match = pattern.search(text, own.start() if own else 0) or pattern.search(text)
    row = text.count("\n", 0, match.end()) + 1 if match else 1
    return f"{path}:{row}"


def as_rows(settings: Settings) -> list[tuple[str, str]]:
    """The settings as (key, value) rows, for ``--show-settings``."""
    return [(f.name.replace("_", "-"), repr(getattr(settings, f.name))) for f in fields(settings)]
