"""Makes the oracle importable and the markers known, whatever the import mode of the run."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent))

# Without a GPU they run in a process of their own: pytest -p tests.device_double tests/runtime/device
collect_ignore = [] if torch.cuda.is_available() else ["device"]


def pytest_configure(config: pytest.Config) -> None:
    for marker in (
        "numerics: accuracy against an exact oracle",
        "slow: minutes, or needs a compiler",
    ):
        config.addinivalue_line("markers", marker)


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)
