"""Seeds, the programs that rewrites make of them, and what the linter says of those."""

from __future__ import annotations

import ast
import os
import tempfile
from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path

from fa_lint.findings import Diagnostic, Level
from fa_lint.project.config import Settings
from fa_lint.project.engine import lint, lint_text
from fa_lint.source.text import Source

from .trees import marked, render

MAIN = "main.py"


@dataclass(frozen=True)
class Seed:
    """A small program: marked nodes must be reported with ``levels`` (by mark); without any, it must stay silent."""

    name: str
    rule: str
    tree: ast.Module
    levels: dict[int, Level | None]

    @property
    def is_lookalike(self) -> bool:
        return not self.levels


@dataclass
class Draft:
    """A copy of a seed that a rewrite may change, with the modules it adds."""

    seed: Seed
    tree: ast.Module
    modules: dict[str, ast.Module] = field(default_factory=dict)
    main: str = MAIN
    levels: dict[int, Level | None] = field(default_factory=dict)
    cells: str = ""

    @classmethod
    def of(cls, seed: Seed) -> Draft:
        return cls(seed, deepcopy(seed.tree), levels=dict(seed.levels))

    def program(self) -> Program:
        rows: dict[int, set[tuple[str, int]]] = {number: set() for number in self.levels}
        files: dict[str, str] = {}
        for path, tree in {self.main: self.tree, **self.modules}.items():
            files[path], places = render(tree)
            for number, found in places.items():
                rows[number] |= {(path, row) for row in found}
        wanted = [(rows[number], level) for number, level in sorted(self.levels.items())]
        return Program(self.seed, files, wanted, self.main)


@dataclass
class Program:
    """Files by path; each mark's places, of which one must be reported, and its level."""

    seed: Seed
    files: dict[str, str]
    wanted: list[tuple[set[tuple[str, int]], Level | None]]
    main: str = MAIN

    def holds(self) -> bool:
        """Return True if every mark is reported, or nothing is where there are none."""
        found = self.findings()
        if not self.wanted:
            return not found
        return all(
            any((path, row) in places and level in (None, d.level) for path, row, d in found)
            for places, level in self.wanted
        )

    def findings(self) -> list[tuple[str, int, Diagnostic]]:
        """The findings of the seed's rule, by path and row."""
        settings = Settings(select=(self.seed.rule,))
        if len(self.files) == 1:
            ((path, text),) = self.files.items()
            report = lint_text(path, text.encode(), settings)
            assert report.problems == []
            return [(path, _row(path, text, d), d) for d in report.diagnostics]
        with tempfile.TemporaryDirectory() as folder:
            paths = {os.path.join(folder, path): path for path in self.files}
            for full, path in paths.items():
                Path(full).parent.mkdir(parents=True, exist_ok=True)
                Path(full).write_text(self.files[path])
            report = lint(sorted(paths), Settings(select=(self.seed.rule,), root=folder), jobs=1, use_cache=False)
        assert report.problems == []
        return [(paths[d.path], d.start.row, d) for d in report.diagnostics]

    def text(self) -> str:
        """All files as one text, the wanted rows with a comment."""
        parts = []
        for path, text in self.files.items():
            lines = text.splitlines()
            for places, level in self.wanted:
                for row in sorted(row for where, row in places if where == path and row <= len(lines)):
                    if not path.endswith(".ipynb") and "# wanted" not in lines[row - 1]:
                        lines[row - 1] += f"  # wanted: {self.seed.rule} {level or 'any level'}"
            head = [f"# ---- {path}"] if len(self.files) > 1 else []
            parts.append("\n".join([*head, *lines]) + "\n")
        return "\n".join(parts)


def _row(path: str, text: str, found: Diagnostic) -> int:
    if found.cell is None:
        return found.start.row
    return Source.read(path, text.encode()).whole_row(found.cell, found.start.row)


def is_marked(tree: ast.Module) -> bool:
    return next(iter(marked(tree)), None) is not None
