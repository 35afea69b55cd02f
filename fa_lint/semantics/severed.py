"""Where a value stops carrying a gradient: ``no_grad``, ``detach`` and the like."""

from __future__ import annotations

from fa_lint.semantics import ir
from fa_lint.semantics.facts import ModuleFacts

__all__ = ["carries_no_gradient", "cuts"]

_MODES = {
    f"torch.{place}{name}": on
    for place in ("", "autograd.", "autograd.grad_mode.")
    for name, on in (("no_grad", False), ("inference_mode", False), ("enable_grad", True))
}
_CUTS = frozenset({"detach", "detach_", "item", "tolist", "numpy"})


def carries_no_gradient(node: ir.Node, facts: ModuleFacts) -> bool:
    """Return True if no gradient flows from ``node`` into what it is computed from."""
    return cuts(node, facts) or (isinstance(node, ir.Call | ir.Binary) and _mode(node, facts) is False)


def cuts(node: ir.Node, facts: ModuleFacts) -> bool:
    """Return True for ``x.detach()``, ``x.item()``, ``x.data``: the mode apart, and without a look around the node."""
    match node:
        case ir.Call(func=ir.Attr(attr=attr) as func) if attr in _CUTS and facts.qualified(func) is None:
            return True
        case ir.Attr(attr="data" | "shape" | "device" | "dtype"):
            return True
    return False


def _mode(node: ir.Node, facts: ModuleFacts) -> bool | None:
    """Return whether the innermost grad mode around ``node`` records; None where nothing in its function sets one."""
    below = node
    for above in facts.names.ancestors(node):
        places: list[ir.Expr] = []
        if isinstance(above, ir.With) and isinstance(below, ir.Block):
            places = [item.context for item in reversed(above.items)]
        elif isinstance(above, ir.FunctionDef):
            places = above.decorators
        for place in places:
            made = place.func if isinstance(place, ir.Call) else place
            mode = _MODES.get(facts.qualified(made) or "")
            if mode is not None:
                return mode
        if isinstance(above, ir.FunctionDef):
            return None
        below = above
    return None
