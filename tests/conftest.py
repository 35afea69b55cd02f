"""What the tests of the linter share: snippets with a known finding, notebooks, and the tool itself as a function."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from fa_lint.cli import cli
from fa_lint.findings import Diagnostic
from fa_lint.project.config import Settings
from fa_lint.project.engine import lint_text

# FAL101 at 4:16, with an unsafe fix.
UNSAFE = "import torch\n\ndef f(x):\n    return x / x.norm(-1, keepdim=True)\n"
UNSAFE_FIXED = UNSAFE.replace("(-1,", "(dim=-1,")
# FAL201 at 4:12, with an unsafe fix that needs an import.
CLAMPED = (
    "import torch.nn.functional as F\n\ndef gamma(p, credit):\n    return F.cosine_similarity(credit, p.grad, dim=0)\n"
)
CLAMPED_FIXED = (
    "from fa_lint_runtime import safe_cosine\n\ndef gamma(p, credit):\n    return safe_cosine(credit, p.grad, dim=0)\n"
)
# FAL402 at 6:9, with a safe fix.
SAFE = (
    "import torch\n\nclass LinearFA(torch.nn.Module):\n    def __init__(self, n):\n"
    "        super().__init__()\n        self.weight_fa = torch.randn(n, n)\n\n"
    "def save(net, path):\n    torch.save(net.state_dict(), path)\n"
)
SAFE_FIXED = SAFE.replace("self.weight_fa = torch.randn(n, n)", 'self.register_buffer("weight_fa", torch.randn(n, n))')
# Two findings of different rules and levels: FAL101 error at 4:16, FAL103 hint at 7:12.
MIXED = UNSAFE + "\ndef g(y: torch.Tensor):\n    return y.norm(2, keepdim=True)\n"

Lint = Callable[..., Result]


@pytest.fixture(autouse=True)
def _own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every test runs in an empty folder of its own, with a cache of its own and a plain environment."""
    for name in ("NO_COLOR", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("FA_LINT_CACHE_DIR", str(tmp_path.parent / f"{tmp_path.name}-cache"))
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def fa_lint() -> Lint:
    """``fa_lint("--fix", "a.py", stdin=b"")`` runs the command line and gives its exit code and output."""

    def run(*arguments: str, stdin: bytes | None = None) -> Result:
        result = CliRunner().invoke(cli, list(arguments), input=stdin, prog_name="fa-lint")
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise AssertionError("a traceback reached the user") from result.exception
        return result

    return run


@pytest.fixture
def codes(fa_lint: Lint) -> Callable[..., list[str]]:
    """The findings of a run in short: ``["a.py:4:16 FAL101"]``."""

    def run(*arguments: str, stdin: bytes | None = None) -> list[str]:
        result = fa_lint("check", "--output-format", "jsonl", *arguments, stdin=stdin)
        assert result.exit_code in (0, 1), result.output
        found = [json.loads(line) for line in result.stdout.splitlines()]
        return [
            ":".join(
                [
                    os.path.relpath(d["filename"]) if d["filename"] != "-" else "-",
                    *([f"cell {d['cell']}"] if d["cell"] is not None else []),
                    str(d["location"]["row"]),
                    str(d["location"]["column"]),
                ]
            )
            + f" {d['code']}"
            for d in found
        ]

    return run


def write(path: str | Path, text: str | bytes = UNSAFE) -> Path:
    """Write a file, with its folders; text goes out byte for byte."""
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(text.encode() if isinstance(text, str) else text)
    return target


def found_in(code: str | bytes, path: str = "a.py", **settings: Any) -> list[str]:
    """``["4:16 FAL101"]`` for the text of one file, in memory."""
    return [f"{d.start.row}:{d.start.column} {d.code}" for d in diagnostics_of(code, path, **settings)]


def diagnostics_of(code: str | bytes, path: str = "a.py", **settings: Any) -> list[Diagnostic]:
    """The findings in the text of one file; an internal error fails the test."""
    report = lint_text(path, code.encode() if isinstance(code, str) else code, Settings(**settings))
    assert report.problems == []
    return report.diagnostics


def code_cell(source: str | Sequence[str]) -> dict[str, Any]:
    """A code cell as nbformat 4.5 wants it."""
    given = source if isinstance(source, str) else list(source)
    return {"cell_type": "code", "execution_count": None, "id": "c", "metadata": {}, "outputs": [], "source": given}


def notebook(*cells: str | Sequence[str] | dict[str, Any], metadata: dict[str, Any] | None = None) -> dict[str, Any]:
    """A notebook of format 4.5; a cell is its code or a whole cell."""
    made = [dict(cell) if isinstance(cell, dict) else code_cell(cell) for cell in cells]
    for number, cell in enumerate(made):
        cell["id"] = f"cell-{number}"
    return {"cells": made, "metadata": metadata or {}, "nbformat": 4, "nbformat_minor": 5}
