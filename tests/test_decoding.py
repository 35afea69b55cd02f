"""What is read from JSON has the types that were written, or is refused."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any, Literal

import pytest

from fa_lint.findings import Applicability, Diagnostic, DiagnosticFix, Level, Place, RelatedPlace
from fa_lint.project.decoding import decode


@dataclass(frozen=True)
class _Inner:
    number: int
    both: tuple[str, int]


@dataclass(frozen=True)
class _Outer:
    name: str
    sure: bool
    kind: Literal["module", "object"]
    inner: tuple[_Inner, ...]
    cell: int | None = None


_GOOD: dict[str, Any] = {
    "name": "B",
    "sure": True,
    "kind": "module",
    "inner": [{"number": 1, "both": ["a", 2]}],
    "cell": None,
}


def test_what_was_written_is_read() -> None:
    outer = decode(_Outer, _GOOD)
    assert outer == _Outer("B", True, "module", (_Inner(1, ("a", 2)),))
    assert decode(_Outer, json.loads(json.dumps(asdict(outer)))) == outer


@pytest.mark.parametrize(
    "damage",
    [
        {"name": 3},
        {"name": None},
        {"sure": 1},
        {"kind": "class"},
        {"kind": []},
        {"cell": "1"},
        {"cell": True},
        {"cell": -1},
        {"cell": 10**12},
        {"inner": None},
        {"inner": "ab"},
        {"inner": [{"number": 1.5, "both": ["a", 2]}]},
        {"inner": [{"number": 1, "both": ["a"]}]},
        {"inner": [{"number": 1}]},
        {"more": 1},
    ],
)
def test_what_was_not_is_refused(damage: dict[str, Any]) -> None:
    with pytest.raises((TypeError, ValueError)):
        decode(_Outer, _GOOD | damage)


def test_a_fix_is_never_read() -> None:
    place = Place(1, 2)
    plain = Diagnostic(
        "a.py", None, place, place, "FAL101", "n", "m", Level.HINT, related=(RelatedPlace("b.py", place, place, "x"),)
    )
    assert decode(Diagnostic, json.loads(json.dumps(asdict(plain)))) == plain
    fixed = Diagnostic(
        "a.py", None, place, place, "FAL101", "n", "m", Level.HINT, fix=DiagnosticFix(Applicability.SAFE, "", ())
    )
    with pytest.raises(TypeError):
        decode(Diagnostic, json.loads(json.dumps(asdict(fixed))))
