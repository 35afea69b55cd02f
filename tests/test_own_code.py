"""Every rule reads the code of this repository, and of libraries that are installed, without an internal error."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from fa_lint.project.config import Settings
from fa_lint.project.engine import lint_text
from tests.integrations.repository import ROOT

SETTINGS = Settings(select=("FAL",))
LIBRARIES = {
    "torch": (
        "optim nn distributions _functorch autograd amp func cuda/amp utils export _higher_order_ops quantization "
        "ao/quantization ao/pruning distributed/fsdp testing/_internal/distributed"
    ),
    "torchmetrics": "functional",
    "lightning": "pytorch",
    "sklearn": "linear_model neural_network decomposition",
    "transformers": "loss",
}
FOLDERS = [(library, folder) for library, folders in LIBRARIES.items() for folder in folders.split()]


def problems(folder: Path) -> list[str]:
    """The internal errors of a folder's files, each read alone and in this process; of the linter, its findings too."""
    found: list[str] = []
    for path in sorted(folder.rglob("*.py")):
        report = lint_text(str(path), path.read_bytes(), SETTINGS)
        found += report.problems
        if folder == ROOT / "fa_lint":
            found += [f"{d.path}:{d.start.row}: {d.code}" for d in report.diagnostics]
    return found


@pytest.mark.parametrize("folder", ["fa_lint", "fa_lint_runtime", "benchmarks", "tools", "tests", "fixtures"])
def test_of_the_repository(folder: str) -> None:
    assert problems(ROOT / folder) == []


@pytest.mark.parametrize(("library", "folder"), FOLDERS)
def test_of_a_library(library: str, folder: str) -> None:
    found = importlib.util.find_spec(library)
    if found is None or found.origin is None:
        pytest.skip(f"{library} is not installed")
    assert problems(Path(found.origin).parent / folder) == []
