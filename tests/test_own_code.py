"""Every rule reads the code of this repository, and of torch where it is installed, without an internal error."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from fa_lint.config import Settings
from fa_lint.engine import lint
from tests.integrations.repository import ROOT

SETTINGS = Settings(select=("FAL",))
TORCH = ("optim", "nn", "distributions", "_functorch", "autograd", "amp", "func", "cuda/amp", "utils/data", "distributed/fsdp")


def files(folder: Path) -> list[str]:
    return sorted(str(path) for path in folder.rglob("*.py"))


@pytest.mark.parametrize("folder", ["fa_lint", "fa_lint_runtime", "benchmarks", "tools", "tests", "fixtures"])
def test_of_the_repository(folder: str) -> None:
    report = lint(files(ROOT / folder), SETTINGS, use_cache=False)
    assert report.problems == []


@pytest.mark.parametrize("folder", TORCH)
def test_of_torch(folder: str) -> None:
    found = importlib.util.find_spec("torch")
    if found is None or found.origin is None:
        pytest.skip("torch is not installed")
    report = lint(files(Path(found.origin).parent / folder), SETTINGS, use_cache=False)
    assert report.problems == []
