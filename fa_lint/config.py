"""Settings: one frozen dataclass, from defaults, a configuration file and flags; a bad key is an error with a line."""

from __future__ import annotations

import difflib
import os
import re
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from fnmatch import fnmatchcase
from functools import cached_property
from pathlib import Path
from typing import Any

from pathspec import GitIgnoreSpec

from fa_lint.findings import Level
from fa_lint.reading import LONGEST, read_file
from fa_lint.rules import ENGINE_CODES, registry
from fa_lint.semantics.roles import RoleNames

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
    "parse_per_file_ignores",
]

DEFAULT_EXCLUDE = (
    ".bzr", ".direnv", ".eggs", ".git", ".git-rewrite", ".hg", ".ipynb_checkpoints", ".mypy_cache", ".nox", ".pants.d",
    ".pyenv", ".pytest_cache", ".pytype", ".ruff_cache", ".svn", ".tox", ".venv", ".vscode", "__pycache__",
    "__pypackages__", "_build", "buck-out", "/build", "/dist", "node_modules", "site-packages", "venv",
)  # fmt: skip
FAIL_ON = ("error", "warning", "hint")
# What fixes may call: fa_lint_runtime, or nothing beyond torch.
FIX_STYLES = ("runtime", "torch")


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


def _strings(value: Any) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise ValueError("must be a list of strings")
    return tuple(value)


def is_pattern(line: str) -> bool:
    """Return True if ``line`` is a pattern of an ignore file; git skips other lines, and so does fa-lint."""
    try:
        GitIgnoreSpec.from_lines([line])
    except ValueError:
        return False
    return True


def _patterns(value: Any) -> tuple[str, ...]:
    for pattern in _strings(value):
        if not is_pattern(pattern):
            raise ValueError(f"`{pattern}` is not a gitignore pattern")
    return tuple(value)


def _boolean(value: Any) -> bool:
    if not isinstance(value, bool):
        raise ValueError("must be true or false")
    return value


def _size(value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 < value <= LONGEST:
        raise ValueError(f"must be a number of bytes, at most {LONGEST:_}")
    return value


def _codes(value: Any) -> tuple[str, ...]:
    return expand_codes(_strings(value))


def expand_codes(codes: tuple[str, ...]) -> tuple[str, ...]:
    """Check codes and prefixes; ``ALL`` is every code. Raises ``ValueError`` for one that matches nothing."""
    known = [*registry(), *ENGINE_CODES]
    out = []
    for code in codes:
        wanted = "FAL" if code == "ALL" else code.upper()
        if not wanted or not any(k.startswith(wanted) for k in known):
            close = difflib.get_close_matches(wanted, known, 1)
            raise ValueError(f"unknown rule `{code}`" + (f"; did you mean `{close[0]}`?" if close else ""))
        out.append(wanted)
    return tuple(out)


def _level(value: Any) -> Level:
    if value not in FAIL_ON:
        raise ValueError(f"must be one of {', '.join(FAIL_ON)}")
    return Level(value)


def _fix_style(value: Any) -> str:
    if value not in FIX_STYLES:
        raise ValueError(f"must be one of {', '.join(FIX_STYLES)}")
    return str(value)


def parse_per_file_ignores(pairs: Mapping[str, Any]) -> tuple[tuple[str, tuple[str, ...]], ...]:
    """``{pattern: [codes]}`` as a sorted tuple; raises ``ValueError``."""
    if not isinstance(pairs, Mapping):
        raise ValueError("must be a table of pattern = [codes]")
    return tuple((pattern, _codes(codes)) for pattern, codes in pairs.items())


_KEYS: dict[str, Callable[[Any], Any]] = {
    "select": _codes,
    "ignore": _codes,
    "extend-select": _codes,
    "per-file-ignores": parse_per_file_ignores,
    "exclude": _patterns,
    "extend-exclude": _patterns,
    "force-exclude": _boolean,
    "respect-gitignore": _boolean,
    "fail-on": _level,
    "max-file-size": _size,
    "fix-style": _fix_style,
    "feedback-names": _strings,
    "credit-names": _strings,
    "alignment-names": _strings,
}


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
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(path, f"not valid TOML: {error}") from None
    except RecursionError:
        raise ConfigError(path, "not valid TOML: nested too deeply") from None
    table = document
    if Path(path).name == "pyproject.toml":
        tool = document.get("tool", {})
        table = tool.get("fa-lint", {}) if isinstance(tool, dict) else tool
    if not isinstance(table, dict):
        raise ConfigError(_where(path, text, "fa-lint"), "[tool.fa-lint] must be a table")
    values: dict[str, Any] = {}
    for key, value in table.items():
        check = _KEYS.get(key)
        if check is None:
            close = difflib.get_close_matches(key, _KEYS, 1)
            hint = f"; did you mean `{close[0]}`?" if close else f"; known keys: {', '.join(_KEYS)}"
            raise ConfigError(_where(path, text, key), f"unknown key `{key}`{hint}")
        try:
            values[key.replace("-", "_")] = check(value)
        except ValueError as error:
            raise ConfigError(_where(path, text, key), f"`{key}`: {error}") from None
    return replace(Settings(), root=str(Path(path).resolve().parent), config_file=path, **values)


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
