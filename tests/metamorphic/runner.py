"""Apply every rewrite to every seed, and count who survives."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from .excluded import reason
from .programs import Draft, Program, Seed
from .rewrites import REWRITES
from .rewrites._common import Rewrite
from .seeds import RULES, seeds


@dataclass(frozen=True)
class Outcome:
    seed: Seed
    rewrite: Rewrite
    program: Program
    holds: bool


def siblings(
    rules: Iterable[str] = RULES, rewrites: Iterable[str] | None = None
) -> Iterator[tuple[Seed, Rewrite, Program]]:
    """The rewritten programs that differ from their seed, in a fixed order."""
    wanted = list(REWRITES if rewrites is None else rewrites)
    for seed in seeds():
        if seed.rule not in rules:
            continue
        for name in wanted:
            rewrite = REWRITES[name]
            if reason(seed, rewrite) is not None:
                continue
            program = rewrite.program(Draft.of(seed))
            if program is not None and _compiles(program):
                yield seed, rewrite, program


def run(rules: Iterable[str] = RULES, rewrites: Iterable[str] | None = None, every: int = 1) -> list[Outcome]:
    """The outcomes of all siblings, or of every so many."""
    return [
        Outcome(seed, rewrite, program, program.holds())
        for number, (seed, rewrite, program) in enumerate(siblings(rules, rewrites))
        if number % every == 0
    ]


def _compiles(program: Program) -> bool:
    for path, text in program.files.items():
        if path.endswith(".py"):
            compile(ast.parse(text), path, "exec")
    return True
