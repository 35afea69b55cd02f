"""The spellings of a norm whose order is wrong, and of the order itself (FAL101 and FAL102 alone)."""

from __future__ import annotations

import ast
from copy import deepcopy

from ..programs import Draft
from ..trees import Parents, add_marks, ensure_import, expression, marked, statements
from ._common import Rewrite, before, hoistable

_NORMS = {
    "tensor.norm": ("vector_m.norm(order_m)", "import torch"),
    "torch.norm": ("torch.norm(vector_m, order_m)", "import torch"),
    "torch.linalg.norm": ("torch.linalg.norm(vector_m, order_m)", "import torch"),
    "vector_norm": ("torch.linalg.vector_norm(vector_m, order_m)", "import torch"),
    "from torch import linalg": ("linalg.vector_norm(vector_m, order_m)", "from torch import linalg"),
    "from torch import norm": ("norm_m(vector_m, order_m)", "from torch import norm as norm_m"),
}
_ORDERS = {
    "a local": ("order_m = ORDER", "order_m"),
    "a default argument": ("def of_m(vector, order=ORDER):\n    return vector.norm(order)", ""),
    "int()": ("", "int(ORDER)"),
    "a tuple": ("orders_m = (ORDER, 1)", "orders_m[0]"),
    "another name": ("first_m = ORDER\nsecond_m = first_m", "second_m"),
}


def _norm(draft: Draft) -> tuple[ast.Call, ast.expr, ast.expr] | None:
    """A marked norm with its vector and its order."""
    if draft.seed.rule not in ("FAL101", "FAL102"):
        return None
    for node in marked(draft.tree):
        for call in ast.walk(node):
            if isinstance(call, ast.Call) and isinstance(call.func, ast.Attribute) and call.func.attr[-4:] == "norm":
                source = ast.unparse(call.func.value)
                if source.startswith(("np", "jnp", "LA", "torch", "F", "numpy")):
                    if len(call.args) == 2 and not source.startswith(("np", "jnp")):
                        return call, call.args[0], call.args[1]
                elif len(call.args) == 1:
                    return call, call.func.value, call.args[0]
    return None


def _spelled(draft: Draft, way: str) -> Draft | None:
    found = _norm(draft)
    if found is None:
        return None
    call, vector, order = found
    template, line = _NORMS[way]
    new = expression(template, vector_m=vector, order_m=order)
    assert isinstance(new, ast.Call)
    new.keywords = deepcopy(call.keywords)
    parents = Parents(draft.tree)
    add_marks(new, getattr(call, "marks", frozenset()))
    parents.replace(call, new)
    ensure_import(draft.tree, line)
    return draft


def _order(draft: Draft, way: str) -> Draft | None:
    found = _norm(draft)
    if found is None or draft.seed.rule == "FAL102":
        return None
    call, _, order = found
    prelude, after = _ORDERS[way]
    place = hoistable(draft, call)
    if place is None or not after:
        return None
    Parents(draft.tree).replace(order, expression(after.replace("ORDER", ast.unparse(order))))
    before(*place, statements(prelude.replace("ORDER", ast.unparse(order))))
    return draft


REWRITES = [
    *(Rewrite(f"norm as {way}", "norm orders", lambda draft, way=way: _spelled(draft, way)) for way in _NORMS),
    *(
        Rewrite(f"order by {way}", "norm orders", lambda draft, way=way: _order(draft, way))
        for way in _ORDERS
        if _ORDERS[way][1]
    ),
]
