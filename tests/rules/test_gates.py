"""Gates that are cheaper than what they stand for must never say no where that says yes."""

from __future__ import annotations

import pytest

from fa_lint.rules.base import Gate
from fa_lint.rules.p1_norm_orders.fal101 import NegativeNormOrder


def test_a_gate_is_asked_once_a_file(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Gate] = []
    opened = Gate.open_for

    def counting(gate: Gate, data: bytes) -> bool:
        asked.append(gate)
        return opened(gate, data)

    monkeypatch.setattr(Gate, "open_for", counting)
    known: dict[Gate, bool] = {}
    rule = NegativeNormOrder()
    assert rule.may_match(b"x.norm(-1)", known) == rule.may_match(b"x.norm(-1)", known)
    assert len(asked) == len(set(asked)) == len(rule.gate)
