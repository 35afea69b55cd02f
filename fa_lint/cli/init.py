"""``fa-lint init``: a configuration for this project, and the codes declared to Ruff."""

from __future__ import annotations

import os
import re
import tomllib
from pathlib import Path
from typing import Any

from fa_lint.fixes.edits import FixError, write_atomically
from fa_lint.output.console import echo, stop
from fa_lint.source.escaping import visible_line
from fa_lint.source.files import replace_file
from fa_lint.source.reading import read_file

__all__ = ["init"]

_TEMPLATE = """\
[tool.fa-lint]
# Codes, prefixes or names; `fa-lint rules` lists them, `fa-lint config` the keys.
select = ["FAL"]
ignore = []
# Lowest level that fails a run: error, warning or hint.
fail-on = "warning"
# What fixes may call: "runtime" (fa_lint_runtime, the accurate one) or "torch" (no new package).
fix-style = "runtime"
extend-exclude = []
# What this project calls its fixed random feedback, its local credit signals and its alignment values.
feedback-names = []
credit-names = []
alignment-names = []

[tool.fa-lint.per-file-ignores]
# "tests/*" = ["FAL202"]
"""


def init(folder: str) -> None:
    """``fa-lint init``"""
    root = Path(folder)
    if not root.is_dir():
        stop(f"{folder}: no such directory")
    project = root / "pyproject.toml"
    own = root / "fa-lint.toml"
    try:
        text = read_file(project).decode() if project.is_file() else None
        tomllib.loads(text or "")
        # A link to nothing is there too: what is written through it would come to lie where it points.
        if os.path.lexists(own) or (text is not None and re.search(r"^\[tool\.fa-lint", text, re.MULTILINE)):
            _say(f"{own if os.path.lexists(own) else project}: already configured, left as it is")
        elif text is not None:
            newline = "\r\n" if "\r\n" in text else "\n"
            gap = newline * (0 if not text.strip() else 1 if text.endswith("\n") else 2)
            write_atomically(str(project), (text + gap + _TEMPLATE.replace("\n", newline)).encode())
            _say(f"{project}: added [tool.fa-lint]")
        else:
            bare = _TEMPLATE.replace("[tool.fa-lint]\n", "").replace("tool.fa-lint.", "")
            replace_file(str(own), bare.encode())
            _say(f"{own}: written")
        _tell_ruff(root)
    except (OSError, UnicodeDecodeError, FixError) as error:
        stop(str(error))
    except ValueError as error:  # besides what is no TOML: a number of thousands of digits
        stop(f"{project}: not valid TOML: {error}")
    except RecursionError:
        stop(f"{root}: a configuration is nested too deeply")


def _say(message: str) -> None:
    echo(visible_line(message) + "\n")


def _tell_ruff(root: Path) -> None:
    """Ruff reports ``# noqa: FAL101`` as unknown (RUF100, RUF102) unless the prefix is declared external."""
    for name, table in (("ruff.toml", ""), (".ruff.toml", ""), ("pyproject.toml", "tool.ruff.")):
        path = root / name
        if not path.is_file():
            continue
        text = read_file(path).decode()
        try:
            document = tomllib.loads(text)
        except ValueError as error:
            stop(f"{path}: not valid TOML: {error}")
        ruff = _table(document, "tool").get("ruff") if table else document
        if not isinstance(ruff, dict):
            continue
        if _names_ours(ruff):
            return
        unix = text.replace("\r\n", "\n")
        changed = _with_external(unix, table, "external" in _table(ruff, "lint"))
        write_atomically(str(path), (changed if unix == text else changed.replace("\n", "\r\n")).encode())
        _say(f'{path}: lint.external = ["FAL"]')
        return


def _table(document: dict[str, Any], name: str) -> dict[str, Any]:
    found = document.get(name)
    return found if isinstance(found, dict) else {}


def _names_ours(ruff: dict[str, Any]) -> bool:
    external = _table(ruff, "lint").get("external")
    return isinstance(external, list) and "FAL" in external


def _with_external(text: str, table: str, has_key: bool) -> str:
    """The TOML text with FAL among Ruff's external codes; the rest is kept as it is."""
    candidates = []
    if has_key:
        candidates.append(re.sub(r"(?m)^((?:lint\.)?external\s*=\s*\[)", r'\1"FAL", ', text, count=1))
    header = f"[{table}lint]"
    if header in text:
        candidates.append(text.replace(header, f'{header}\nexternal = ["FAL"]', 1))
    parent = f"[{table.rstrip('.')}]"
    if table and parent in text:
        candidates.append(text.replace(parent, f'{parent}\nlint.external = ["FAL"]', 1))
    if not table:
        candidates.append(f'lint.external = ["FAL"]\n{text}')
    candidates.append(text.rstrip("\n") + f'\n\n{header}\nexternal = ["FAL"]\n')
    for candidate in candidates:
        try:
            document = tomllib.loads(candidate)
        except ValueError:
            continue
        if _names_ours(_table(_table(document, "tool"), "ruff") if table else document):
            return candidate
    stop('cannot add `lint.external = ["FAL"]` to the Ruff configuration; please add it by hand')
