"""Calls of ``acos`` and ``asin`` in the spellings of the libraries, and ``safe_angle`` in their place."""

from __future__ import annotations

from collections.abc import Iterator

from fa_lint.analysis import terms as t
from fa_lint.analysis.models import FUNCTIONS, METHODS
from fa_lint.analysis.values import Values
from fa_lint.findings import Edit, Fix
from fa_lint.rules.p2_floors._cosines import runtime_fix
from fa_lint.rules.p2_floors._quotients import read_quotient
from fa_lint.semantics import ir
from fa_lint.semantics.facts import ModuleFacts

__all__ = ["ARCCOSINES", "arc_argument", "safe_angle_fix", "ways"]

ARCCOSINES = frozenset({"acos", "arccos", "acos_", "arccos_"})
_LIBRARY_COSINES = frozenset({"torch.nn.functional.cosine_similarity", "sklearn.metrics.pairwise.cosine_similarity"})


def arc_argument(call: ir.Call, facts: ModuleFacts) -> tuple[ir.Expr, str] | None:
    """Return what a call takes the arc cosine or sine of, and the name of the function."""
    name = facts.qualified(call.func)
    row = FUNCTIONS.get(name or "")
    if row is not None and row.operation in ("angle", "arcsine") and call.args and not call.args[0].star:
        return call.args[0].value, name or ""
    if name is None and isinstance(call.func, ir.Attr):
        method = METHODS.get(call.func.attr)
        if method is not None and method.operation in ("angle", "arcsine"):
            return call.func.value, f".{call.func.attr}"
    return None


def ways(argument: ir.Expr, values: Values) -> Iterator[t.Alternatives]:
    """The values of an argument: as it stands, and of a bare parameter as calls bind it."""
    terms = values.of(argument)
    yield terms
    if any(isinstance(term, t.Vector) and term.argument for term, _ in terms):
        yield from values.as_called(argument)


def safe_angle_fix(call: ir.Call, argument: ir.Expr, library: str, facts: ModuleFacts) -> Fix | None:
    """Return the edit that makes ``acos`` of a cosine written out in place a ``safe_angle``."""
    if not library.startswith(("torch", ".")) or "#" in facts.source(call):
        return None
    if isinstance(argument, ir.Call) and facts.qualified(argument.func) in _LIBRARY_COSINES:
        arguments = [a for a in argument.args if a.keyword in (None, "dim")]
        positional = [a for a in arguments if a.keyword is None]
        if len(arguments) != len(argument.args) or not 2 <= len(positional) <= 3:
            return None
        dims = [a for a in arguments if a.keyword == "dim"] + positional[2:]
        left, right = facts.source(positional[0].value), facts.source(positional[1].value)
        dim = facts.source(dims[0].value) if dims else "1"
    else:
        found = read_quotient(argument, facts)
        if found is None or found.keepdim:
            return None
        left, right, dim = found.left, found.right, found.dim
    content = f"safe_angle({left}, {right}, dim={dim})"
    edits = (Edit(*facts.span(call), content),)
    return runtime_fix(facts, "safe_angle", edits, "Call fa_lint_runtime.safe_angle")
