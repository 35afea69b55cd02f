"""The cost of a lint grows like its input: function calls, which no other process disturbs, not seconds."""

from __future__ import annotations

import cProfile
import pstats

import pytest

from benchmarks.scaling import _HEAD, SHAPES
from fa_lint.project.check_file import analyse
from fa_lint.rules import registry
from fa_lint.semantics.roles import RoleNames

# The number of bindings that reach a name in a loop, and an attribute in a class, grows with the loop and the class.
_OPEN = {"looped", "attributes"}


def calls(text: str) -> int:
    profile = cProfile.Profile()
    result = profile.runcall(analyse, "generated.py", text.encode(), frozenset(registry()), RoleNames())
    assert result.problems == []
    return int(pstats.Stats(profile).total_calls)  # type: ignore[attr-defined]


@pytest.mark.parametrize("shape", sorted(SHAPES.keys() - _OPEN))
def test_twice_the_input_costs_about_twice_as_much(shape: str) -> None:
    calls(_HEAD)
    small, large = (calls(_HEAD + SHAPES[shape](n)) for n in (100, 200))
    assert large <= 2.2 * small
