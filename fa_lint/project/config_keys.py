"""The keys of a configuration: how each is checked, and what ``fa-lint config`` says of it."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from pathspec import GitIgnoreSpec

from fa_lint.findings import Level
from fa_lint.rules import ENGINE_CODES, close_to, code_of, registry
from fa_lint.source.reading import LONGEST

__all__ = [
    "DEFAULT_EXCLUDE",
    "FAIL_ON",
    "FIX_STYLES",
    "KEYS",
    "Key",
    "close_key",
    "expand_codes",
    "is_pattern",
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
    """Return the codes and prefixes of codes, prefixes and names of rules; ``ALL`` is every code.

    Raises ``ValueError`` for one that matches nothing.
    """
    known = [*registry(), *ENGINE_CODES]
    out = []
    for code in codes:
        wanted = "FAL" if code == "ALL" else code_of(code) or code.upper()
        if not wanted or not any(k.startswith(wanted) for k in known):
            raise ValueError(f"unknown rule `{code}`{close_to(code)}")
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


@dataclass(frozen=True, slots=True)
class Key:
    """One key: its check (raises ``ValueError``), the type of its value, an example and what it does."""

    check: Callable[[Any], Any]
    kind: str
    example: str
    summary: str


_RULES = "list of codes, prefixes or names of rules"
_GLOBS = "list of gitignore patterns"
_NAMES = "list of names, `*` for any letters"

KEYS: MappingProxyType[str, Key] = MappingProxyType(
    {
        "select": Key(_codes, _RULES, '["FAL1", "clamped-cosine"]', "The rules that are on."),
        "ignore": Key(_codes, _RULES, '["FAL202"]', "Rules that are off; the longer of two prefixes decides."),
        "extend-select": Key(_codes, _RULES, '["FAL205"]', "Rules that are on as well as those of `select`."),
        "per-file-ignores": Key(
            parse_per_file_ignores,
            "table of pattern = list of rules",
            '{ "tests/*" = ["FAL2"] }',
            "Rules that are off in the files that match a pattern.",
        ),
        "exclude": Key(
            _patterns, _GLOBS, '["old", ".venv"]', "Files and folders to leave out, instead of the default."
        ),
        "extend-exclude": Key(_patterns, _GLOBS, '["third_party/"]', "Files and folders to leave out as well."),
        "force-exclude": Key(_boolean, "true or false", "true", "Leave excluded files out when they are named, too."),
        "respect-gitignore": Key(_boolean, "true or false", "false", "Leave out what `.gitignore` files leave out."),
        "fail-on": Key(_level, "error, warning or hint", '"error"', "The lowest level that makes the exit code 1."),
        "max-file-size": Key(
            _size, "number of bytes", "2_000_000", "The longest file that is read; FAL900 names longer."
        ),
        "fix-style": Key(
            _fix_style,
            "runtime or torch",
            '"torch"',
            "What fixes may call: `fa_lint_runtime`, or nothing beyond torch.",
        ),
        "feedback-names": Key(_strings, _NAMES, '["W_back*"]', "What this project calls its fixed random feedback."),
        "credit-names": Key(
            _strings, _NAMES, '["teaching_signal"]', "What this project calls its local credit signals."
        ),
        "alignment-names": Key(_strings, _NAMES, '["angle_*"]', "What this project calls its alignment values."),
    }
)


def close_key(name: str) -> str:
    """Return what an error message adds to an unknown key: the key that was meant, or all of them."""
    close = difflib.get_close_matches(name, KEYS, 1)
    return f"; did you mean `{close[0]}`?" if close else f"; known keys: {', '.join(KEYS)}"
