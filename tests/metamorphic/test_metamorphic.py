"""A finding does not depend on how it is written: the measured floors, on a sample and on everything."""

from __future__ import annotations

import pytest

from .measured import ALL, LOST, SAMPLE, SAMPLE_EVERY, below
from .rewrites import REWRITES
from .runner import Outcome, run
from .seeds import RULES, seeds


@pytest.fixture(scope="module")
def sample() -> list[Outcome]:
    return run(every=SAMPLE_EVERY)


def test_a_sample_is_not_below_what_was_measured(sample: list[Outcome]) -> None:
    assert below(sample, RULES, SAMPLE) == []


def test_the_sample_has_every_rule_and_family(sample: list[Outcome]) -> None:
    assert {o.seed.rule for o in sample if not o.seed.is_lookalike} == set(RULES)
    assert {o.rewrite.family for o in sample} == {r.family for r in REWRITES.values()}


def test_every_seed_is_found_as_it_is() -> None:
    lost = {(seed.rule, seed.name) for seed in seeds() if None in seed.levels.values()}
    assert lost <= LOST


@pytest.mark.slow
@pytest.mark.parametrize("rule", RULES)
def test_no_rule_is_below_what_was_measured(rule: str) -> None:
    assert below(run([rule]), [rule], ALL) == []
