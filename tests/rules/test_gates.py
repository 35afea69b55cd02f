"""Gates that are cheaper than what they stand for must never say no where that says yes."""

from __future__ import annotations

import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from fa_lint.rules._feedback import may_speak
from fa_lint.rules.base import Gate
from fa_lint.rules.fal101 import NegativeNormOrder
from fa_lint.semantics.feedback_names import VOCABULARY

AROUND = st.text(st.sampled_from("aZ_ 9.-\n"), max_size=4)


@given(AROUND, st.from_regex(re.compile(VOCABULARY, re.ASCII), fullmatch=True), AROUND)
@example("", "weights_backward", "")
@example(" ", "LinearFA", " ")
@example("", "weight_fa", " ")
@example("(", "dfa", "")
def test_the_cheap_test_for_feedback_follows_the_vocabulary(before: str, said: str, after: str) -> None:
    text = before + said + after
    if re.search(VOCABULARY, text, re.ASCII):
        assert may_speak(text.encode())


@pytest.mark.parametrize("text", ["default", "FAIL", "halfway", "backend.weightless", "defaults = fabric", ""])
def test_other_words_are_not_feedback(text: str) -> None:
    assert not may_speak(text.encode())


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
