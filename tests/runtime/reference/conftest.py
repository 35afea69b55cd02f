"""Each test imports the stranger's module of its own folder."""

from __future__ import annotations

import sys

import pytest


@pytest.fixture(autouse=True)
def fresh_module(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "theirs", raising=False)
