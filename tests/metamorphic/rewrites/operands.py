"""Take the vectors of a comparison through containers, attributes and functions before they are compared."""

from __future__ import annotations

import ast
from copy import deepcopy

from ..programs import Draft
from ..trees import Parents, ensure_import, expression, statements
from ._common import Rewrite, before, define, focus, hoistable, values_in

# name: (statements before, the value after, definitions, import). ``value_m`` is the vector, ``N`` numbers it.
_WAYS: dict[str, tuple[str, str, str, str]] = {
    "a name": ("held_N = value_m", "held_N", "", ""),
    "a list": ("box_N = [value_m, None]", "box_N[0]", "", ""),
    "append": ("box_N = []\nbox_N.append(value_m)", "box_N[0]", "", ""),
    "append and pop": ("box_N = []\nbox_N.append(value_m)", "box_N.pop()", "", ""),
    "extend": ("box_N = []\nbox_N.extend([value_m])", "box_N[-1]", "", ""),
    "stack": ("box_N = torch.stack([value_m, value_m])", "box_N[0]", "", "import torch"),
    "cat of flattened": ("box_N = torch.cat([t.reshape(-1) for t in [value_m]])", "box_N", "", "import torch"),
    "a tuple": ("first_N, second_N = value_m, None", "first_N", "", ""),
    "a starred tuple": ("first_N, *rest_N = (value_m, None)", "first_N", "", ""),
    "a dict": ("table_N = {'k': value_m}", "table_N['k']", "", ""),
    "a dict filled later": ("table_N = {}\ntable_N['k'] = value_m", "table_N['k']", "", ""),
    "dict.get": ("table_N = {'k': value_m}", "table_N.get('k')", "", ""),
    "dict.get with a default": ("table_N = {'k': value_m}", "table_N.get('k', None)", "", ""),
    "dict.items": ("for key_N, held_N in {'k': value_m}.items():\n    pass", "held_N", "", ""),
    "dict(keyword)": ("table_N = dict(k=value_m)", "table_N['k']", "", ""),
    "setdefault": ("table_N = {}\ntable_N.setdefault('k', []).append(value_m)", "table_N['k'][0]", "", ""),
    "a generator": ("stream_N = (t for t in [value_m])", "next(stream_N)", "", ""),
    "yield": ("", "next(stream_m(value_m))", "def stream_m(t):\n    yield t", ""),
    "zip": ("pairs_N = list(zip([value_m], [0]))", "pairs_N[0][0]", "", ""),
    "loop over zip": ("for held_N, other_N in zip([value_m], [0]):\n    pass", "held_N", "", ""),
    "enumerate": ("for index_N, held_N in enumerate([value_m]):\n    pass", "held_N", "", ""),
    "map": ("box_N = list(map(lambda t: t, [value_m]))", "box_N[0]", "", ""),
    "a comprehension": ("box_N = [t for t in (value_m,)]", "box_N[0]", "", ""),
    "a dict comprehension": ("table_N = {k: t for k, t in [('k', value_m)]}", "table_N['k']", "", ""),
    "sorted": ("box_N = sorted([value_m], key=id)", "box_N[0]", "", ""),
    "a walrus": ("", "(held_N := value_m)", "", ""),
    "an attribute": (
        "holder_N = Holder_m(value_m)",
        "holder_N.held",
        "class Holder_m:\n    def __init__(self, held):\n        self.held = held",
        "",
    ),
    "an attribute set from outside": (
        "holder_N = Holder_m()\nholder_N.held = value_m",
        "holder_N.held",
        "class Holder_m:\n    pass",
        "",
    ),
    "a property": (
        "holder_N = Holder_m(value_m)",
        "holder_N.held",
        "class Holder_m:\n    def __init__(self, held):\n        self._held = held\n"
        "    @property\n    def held(self):\n        return self._held",
        "",
    ),
    "a method that stores": (
        "holder_N = Holder_m()\nholder_N.put(value_m)",
        "holder_N.held",
        "class Holder_m:\n    def __init__(self):\n        self.held = None\n"
        "    def put(self, held):\n        self.held = held",
        "",
    ),
    "a dict of self": (
        "holder_N = Holder_m()\nholder_N.put('k', value_m)",
        "holder_N.get('k')",
        "class Holder_m:\n    def __init__(self):\n        self.items = {}\n"
        "    def put(self, key, held):\n        self.items[key] = held\n"
        "    def get(self, key):\n        return self.items[key]",
        "",
    ),
    "a dataclass": (
        "holder_N = Holder_m(value_m)",
        "holder_N.held",
        "@dataclass\nclass Holder_m:\n    held: object",
        "from dataclasses import dataclass",
    ),
    "a named tuple": (
        "holder_N = Holder_m(value_m, 0)",
        "holder_N.held",
        "class Holder_m(NamedTuple):\n    held: object\n    other: object",
        "from typing import NamedTuple",
    ),
    "SimpleNamespace": (
        "holder_N = SimpleNamespace(held=value_m)",
        "holder_N.held",
        "",
        "from types import SimpleNamespace",
    ),
    "a closure": ("def give_N():\n    return value_m", "give_N()", "", ""),
    "a lambda": ("give_N = lambda: value_m", "give_N()", "", ""),
    "partial": (
        "give_N = partial(same_m, value_m)",
        "give_N()",
        "def same_m(t):\n    return t",
        "from functools import partial",
    ),
    "a function": ("", "same_m(value_m)", "def same_m(t):\n    return t", ""),
    "a function of a function": (
        "",
        "again_m(value_m)",
        "def same_m(t):\n    return t\ndef again_m(t):\n    return same_m(t)",
        "",
    ),
    "*args": ("", "first_m(value_m, None)", "def first_m(*args):\n    return args[0]", ""),
    "**kwargs": ("", "named_m(t=value_m)", "def named_m(**kwargs):\n    return kwargs['t']", ""),
    "a default argument": ("", "named_m(t=value_m)", "def named_m(t=None, other=1):\n    return t", ""),
    "several results": ("", "pair_m(value_m)[1]", "def pair_m(t):\n    return 0, t", ""),
    "several results unpacked": ("_, held_N = pair_m(value_m)", "held_N", "def pair_m(t):\n    return 0, t", ""),
    "a decorated function": (
        "",
        "same_m(value_m)",
        "def plain_m(function):\n    @wraps(function)\n    def run(*args, **kwargs):\n"
        "        return function(*args, **kwargs)\n    return run\n@plain_m\ndef same_m(t):\n    return t",
        "from functools import wraps",
    ),
    "detach": ("", "value_m.detach()", "", ""),
    "clone": ("held_N = value_m.clone()", "held_N", "", ""),
    "reshape": ("", "value_m.reshape(-1)", "", ""),
    "view as itself": ("", "value_m.view_as(value_m)", "", ""),
    "float": ("", "value_m.float()", "", ""),
    "to": ("", "value_m.to('cpu')", "", ""),
    "unsqueeze and squeeze": ("", "value_m.unsqueeze(0).squeeze(0)", "", ""),
    "times two": ("", "(2.0 * value_m)", "", ""),
    "minus zero": ("", "(value_m - 0.0)", "", ""),
    "under no_grad": ("with torch.no_grad():\n    held_N = value_m", "held_N", "", "import torch"),
}


def _through(draft: Draft, way: str) -> Draft | None:
    prelude, after, definitions, line = _WAYS[way]
    changed = False
    for node in focus(draft):
        for number, group in enumerate(values_in(draft, node).values()):
            changed |= _take(draft, group, prelude.replace("_N", f"_{number}"), after.replace("_N", f"_{number}"))
        if changed:
            break
    if not changed:
        return None
    if "helper_m" in {n.id for n in ast.walk(draft.tree) if isinstance(n, ast.Name)}:
        body = "".join(f"    {row}\n" for row in prelude.replace("_N", "").splitlines())
        code = f"def helper_m(value_m):\n{body}    return {after.replace('_N', '')}"
        define(draft, statements(code))
    if definitions:
        define(draft, statements(definitions))
    if line:
        ensure_import(draft.tree, line)
    return draft


def _take(draft: Draft, group: list[ast.expr], prelude: str, after: str) -> bool:
    """Replace each of ``group``; the first carries a walrus, a function is called for each."""
    place = hoistable(draft, group[0])
    if place is None and prelude:
        after, prelude = "helper_m(value_m)", ""
    if prelude and place is not None:
        before(*place, statements(prelude, value_m=group[0]))
    parents = Parents(draft.tree)
    if ":=" in after and any(isinstance(outer, ast.comprehension) for outer in parents.up(group[0])):
        return False
    once = "next(" in after or ":=" in after or ".pop()" in after
    if once and len(group) > 1:
        return _once(draft, place, group, after)
    for value in group:
        new = expression(after, value_m=value)
        if getattr(value, "marks", None):
            return False
        parents.replace(value, new)
    return True


def _once(draft: Draft, place: tuple[list[ast.stmt], ast.stmt] | None, group: list[ast.expr], after: str) -> bool:
    if place is None:
        return False
    before(*place, statements(f"taken_m{len(place[0])} = {after}", value_m=deepcopy(group[0])))
    parents = Parents(draft.tree)
    for value in group:
        parents.replace(value, ast.Name(f"taken_m{len(place[0]) - 1}", ast.Load()))
    return True


def _rewrite(way: str) -> Rewrite:
    return Rewrite(f"through {way}", "operands", lambda draft: _through(draft, way))


REWRITES = [_rewrite(way) for way in _WAYS]
