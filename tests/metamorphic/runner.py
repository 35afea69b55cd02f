"""Apply every rewrite to every seed, and see what the linter says of the programs that come out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from zlib import crc32

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


def siblings(rules: Iterable[str] = RULES, every: int = 1) -> Iterator[tuple[Seed, Rewrite, Program]]:
    """The rewritten programs, in a fixed order; about one of ``every`` so many."""
    wanted = set(rules)
    pairs = [(seed, rewrite) for seed in seeds() if seed.rule in wanted for rewrite in REWRITES.values()]
    for seed, rewrite in pairs:
        # By name, so that a new seed or rewrite leaves the sample of the others as it is.
        number = crc32(f"{seed.rule} {seed.name} {rewrite.name}".encode())
        if number % every or reason(seed, rewrite) is not None:
            continue
        program = rewrite.program(Draft.of(seed))
        if program is not None:
            _compile(program)
            yield seed, rewrite, program


def run(rules: Iterable[str] = RULES, every: int = 1) -> list[Outcome]:
    """The outcomes of all siblings, or of a sample."""
    return [Outcome(seed, rewrite, program, program.holds()) for seed, rewrite, program in siblings(rules, every)]


def _compile(program: Program) -> None:
    """Raise SyntaxError where a rewrite made no program."""
    for path, text in program.files.items():
        if path.endswith(".py"):
            compile(text, path, "exec")
