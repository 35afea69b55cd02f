"""The table rule × rewrite, and the smallest program of each cell below 1."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path

from .runner import Outcome

Cells = dict[tuple[str, str], list[Outcome]]


def share(outcomes: Iterable[Outcome]) -> float:
    """The share that holds; 1 of nothing."""
    held = [outcome.holds for outcome in outcomes]
    return sum(held) / len(held) if held else 1.0


def survival(outcomes: Iterable[Outcome], rule: str = "") -> float:
    return share(o for o in outcomes if not o.seed.is_lookalike and rule in ("", o.seed.rule))


def silence(outcomes: Iterable[Outcome], rule: str = "") -> float:
    """The share of look-alikes that stay silent."""
    return share(o for o in outcomes if o.seed.is_lookalike and rule in ("", o.seed.rule))


def lines(outcomes: list[Outcome]) -> Iterator[str]:
    """The table in text: survival of each rewrite by rule, and false alarms among the look-alikes."""
    rules = sorted({o.seed.rule for o in outcomes})
    seeds, alike = _cells(outcomes, False), _cells(outcomes, True)
    width = max(len(o.rewrite.name) for o in outcomes) + 1
    yield f"{'survival / false alarms':{width}}" + "".join(f"{rule:>13}" for rule in [*rules, "all"])
    families: dict[str, list[str]] = defaultdict(list)
    for outcome in outcomes:
        if outcome.rewrite.name not in families[outcome.rewrite.family]:
            families[outcome.rewrite.family].append(outcome.rewrite.name)
    for family, names in families.items():
        yield f"[{family}]"
        for name in names:
            yield f"{name:{width}}" + "".join(_cell(seeds, alike, rule, [name]) for rule in [*rules, ""])
    yield f"{'all':{width}}" + "".join(
        _cell(seeds, alike, rule, [name for names in families.values() for name in names]) for rule in [*rules, ""]
    )


def _cells(outcomes: Iterable[Outcome], alike: bool) -> Cells:
    cells: Cells = defaultdict(list)
    for outcome in outcomes:
        if outcome.seed.is_lookalike == alike:
            for rule in (outcome.seed.rule, ""):
                cells[rule, outcome.rewrite.name].append(outcome)
    return cells


def _cell(seeds: Cells, alike: Cells, rule: str, names: list[str]) -> str:
    found = [o for name in names for o in seeds.get((rule, name), ())]
    silent = [o for name in names for o in alike.get((rule, name), ())]
    first = f"{share(found):.2f}" if found else "-"
    second = f"{1 - share(silent):.2f}" if silent else "-"
    return f"{first:>7} /{second:>5}"


def smallest_failures(outcomes: Iterable[Outcome]) -> dict[tuple[str, str, bool], Outcome]:
    """For each cell below 1, by rule, rewrite and whether it is a look-alike: its smallest failing program."""
    found: dict[tuple[str, str, bool], Outcome] = {}
    for outcome in outcomes:
        key = (outcome.seed.rule, outcome.rewrite.name, outcome.seed.is_lookalike)
        if not outcome.holds and (key not in found or _size(outcome) < _size(found[key])):
            found[key] = outcome
    return found


def _size(outcome: Outcome) -> int:
    return sum(map(len, outcome.program.files.values()))


def write_failures(outcomes: Iterable[Outcome], folder: Path) -> None:
    """One file for each cell below 1: ``FAL203-through-a-dataclass.py``."""
    folder.mkdir(parents=True, exist_ok=True)
    for (rule, name, alike), outcome in smallest_failures(outcomes).items():
        words = re.sub(r"[^a-zA-Z0-9*%@+-]+", "-", name).strip("-")
        path = folder / f"{rule}-{'lookalike-' if alike else ''}{words}.py"
        kind = "a look-alike that must stay silent" if alike else "not reported where it must be"
        path.write_text(f"# {rule}, {name}, from {outcome.seed.name}: {kind}\n\n{outcome.program.text()}")
