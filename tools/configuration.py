"""The page of the configuration keys, from the keys and the settings: ``python -m tools.configuration``."""

from __future__ import annotations

import json
from dataclasses import fields
from pathlib import Path
from typing import Any

from fa_lint.project.config import Settings
from fa_lint.project.config_keys import KEYS

__all__ = ["PAGE", "configuration"]

PAGE = Path(__file__).resolve().parent.parent / "docs" / "configuration.md"
_HEAD = """<!-- Generated from the settings by `python -m tools.configuration`; edit `config_keys.py`. -->

# Configuration

The keys of `[tool.fa-lint]` in `pyproject.toml`, or of `fa-lint.toml`. An unknown key or a wrong value is an
error with its line. `fa-lint config` lists them, `fa-lint config fail-on` explains one, `--config 'fail-on = "error"'`
sets one for a run.

| key | what it does | value | default | example |
|---|---|---|---|---|
"""


def configuration() -> str:
    """Return the page."""
    found = {field.name: field for field in fields(Settings)}
    rows = []
    for name, key in KEYS.items():
        default = _default(found.get(name.replace("-", "_")))
        rows.append(f"| `{name}` | {key.summary} | {key.kind} | {default} | `{name} = {key.example}` |\n")
    return _HEAD + "".join(rows)


def _default(field: Any) -> str:
    value = None if field is None else field.default
    if isinstance(value, bool | int):
        return f"`{json.dumps(value)}`" if isinstance(value, bool) else f"`{value:_}`"
    if isinstance(value, str):
        return f"`{json.dumps(str(value))}`"
    if value == () or value is None:
        return "none"
    return (
        f"{len(value)} patterns: `fa-lint config {field.name.replace('_', '-')}`" if len(value) > 4 else _listed(value)
    )


def _listed(value: Any) -> str:
    return f"`{json.dumps(list(value))}`"


if __name__ == "__main__":
    PAGE.write_text(configuration(), encoding="utf-8")
