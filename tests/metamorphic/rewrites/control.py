"""Put the marked statement, or a vector in it, under conditions, handlers and loops that change nothing."""

from __future__ import annotations

import ast

from ..programs import Draft
from ..trees import Parents, expression, marked, statements
from ._common import Rewrite, before, focus, hoistable, values_in

# How a vector may come by two ways: statements before it, and its name after them.
_VALUES: dict[str, tuple[str, str]] = {
    "if and else": (
        "if len(str(id)) > 3:\n    held_N = value_m\nelse:\n    held_N = value_m.clone()",
        "held_N",
    ),
    "one branch": ("held_N = None\nif value_m is not None:\n    held_N = value_m", "held_N"),
    "a conditional expression": ("held_N = value_m if value_m is not None else None", "held_N"),
    "try and except": ("try:\n    held_N = value_m\nexcept KeyError:\n    held_N = None", "held_N"),
    "a dict with a default": ("table_N = {'k': value_m}\nheld_N = table_N.get('k', value_m)", "held_N"),
    "or": ("held_N = None\nheld_N = value_m if held_N is None else held_N", "held_N"),
    "a loop that overwrites": ("held_N = None\nfor t in [value_m]:\n    held_N = t", "held_N"),
    "a match": (
        "match 1:\n    case 1:\n        held_N = value_m\n    case _:\n        held_N = value_m.clone()",
        "held_N",
    ),
}
# How a statement may be wrapped; ``pass`` stands for it.
_WRAPPED = {
    "if": "if __debug__:\n    pass",
    "if, else raise": "if __debug__:\n    pass\nelse:\n    raise ValueError('no')",
    "else": "if not __debug__:\n    raise ValueError('no')\nelse:\n    pass",
    "try": "try:\n    pass\nexcept KeyError:\n    raise",
    "try, finally": "try:\n    pass\nfinally:\n    print('done')",
    "with": "with open('log') as log_m:\n    pass",
    "a loop of one": "for turn_m in range(1):\n    pass",
}


def _two_ways(draft: Draft, way: str) -> Draft | None:
    prelude, after = _VALUES[way]
    for node in focus(draft):
        place = hoistable(draft, node)
        values = values_in(draft, node)
        if place is None or not values:
            continue
        parents = Parents(draft.tree)
        for number, group in enumerate(values.values()):
            before(*place, statements(prelude.replace("_N", f"_{number}"), value_m=group[0]))
            for value in group:
                parents.replace(value, expression(after.replace("_N", f"_{number}")))
        return draft
    return None


def _wrap(draft: Draft, way: str) -> Draft | None:
    parents = Parents(draft.tree)
    nodes = list(marked(draft.tree)) or focus(draft)
    for node in nodes:
        statement = parents.statement(node)
        block = parents.block(statement) if statement is not None else None
        function = parents.function(node)
        if block is None or statement is None or function is None or isinstance(statement, ast.FunctionDef):
            continue
        (outer,) = statements(_WRAPPED[way])
        for inner in ast.walk(outer):
            for name in ("body", "orelse"):
                part = getattr(inner, name, None)
                if isinstance(part, list) and len(part) == 1 and isinstance(part[0], ast.Pass):
                    part[0] = statement
                    block[block.index(statement)] = outer
                    return draft
    return None


def _early_return(draft: Draft) -> Draft | None:
    """Leave early for an argument that is None."""
    parents = Parents(draft.tree)
    for node in list(marked(draft.tree)) or focus(draft):
        function = parents.function(node)
        names = [a.arg for a in function.args.args if a.arg != "self"] if function is not None else []
        if function is not None and names:
            function.body[:0] = statements("if item_m is None:\n    return None", item_m=ast.Name(names[0], ast.Load()))
            return draft
    return None


def _result_name(draft: Draft) -> Draft | None:
    """Give what a marked return returns a name first."""
    parents = Parents(draft.tree)
    for node in marked(draft.tree):
        statement = parents.statement(node)
        block = parents.block(statement) if statement is not None else None
        if isinstance(statement, ast.Return) and isinstance(node, ast.expr) and block is not None:
            added = ast.Assign([ast.Name("result_m", ast.Store())], node)
            if not hoistable(draft, node):
                continue
            parents.replace(node, ast.Name("result_m", ast.Load()))
            before(block, statement, [added])
            return draft
    return None


REWRITES = [
    *(Rewrite(f"value by {way}", "control", lambda draft, way=way: _two_ways(draft, way)) for way in _VALUES),
    *(Rewrite(f"statement under {way}", "control", lambda draft, way=way: _wrap(draft, way)) for way in _WRAPPED),
    Rewrite("early return", "control", _early_return),
    Rewrite("a name for the result", "control", _result_name),
]
