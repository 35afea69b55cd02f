"""A function with its arguments bound, and the limits of following calls."""

from __future__ import annotations

from dataclasses import dataclass, field

from fa_lint.analysis import terms as t
from fa_lint.analysis.flow import Flow, Join
from fa_lint.analysis.program import Module
from fa_lint.semantics import ir

__all__ = ["DEEPEST", "NOTHING", "VIEWS", "Frame"]

DEEPEST = 120
NOTHING: t.Alternatives = ((t.Unknown(), frozenset()),)
# Attributes of an array that are the array, or a view of it.
VIEWS = frozenset({"T", "mT", "H", "mH", "real", "data", "values"})


@dataclass(slots=True, eq=False)
class Frame:
    """One function (or module) with what its parameters are bound to, or one turn of a comprehension."""

    number: int
    module: Module
    node: ir.Module | ir.FunctionDef | ir.Lambda | ir.Comprehension
    parameters: dict[str, t.Alternatives] = field(default_factory=dict)
    outer: Frame | None = None
    receiver: t.Instance | None = None
    depth: int = 0
    # The blocks that do not run with these arguments.
    idle: frozenset[int] = frozenset()
    # Where it is called with these arguments, and from which frame.
    calls: list[tuple[t.Site, Frame]] = field(default_factory=list)
    known: dict[int, t.Alternatives] = field(default_factory=dict)
    joins: dict[Join, t.Alternatives] = field(default_factory=dict)
    defined: dict[int, t.Alternatives] = field(default_factory=dict)

    @property
    def flow(self) -> Flow | None:
        return None if isinstance(self.node, ir.Lambda | ir.Comprehension) else self.module.flow(self.node)

    @property
    def home(self) -> Frame:
        """Return the frame of the function that a turn of a comprehension stands in."""
        frame = self
        while isinstance(frame.node, ir.Comprehension) and frame.outer is not None:
            frame = frame.outer
        return frame
