"""Move the marked expression, or the source of its vectors, into helpers here and in other modules."""

from __future__ import annotations

import ast
from copy import deepcopy

from ..programs import Draft
from ..trees import Parents, add_marks, drop_marks, imported, is_import, marked, marks, statements, top_names
from ._common import Rewrite, before, cosines, define, focus, hoistable, reported, values_in


class _Moved:
    """An expression as the body of a function: its parameters, the arguments of the call, and the code."""

    def __init__(self, draft: Draft, node: ast.expr) -> None:
        parents = Parents(draft.tree)
        self.parents, self.node = parents, node
        top = {name for s in draft.tree.body for name in top_names(s) if not is_import(s)}
        bound = _bound_in(node)
        used = [n.id for n in ast.walk(node) if isinstance(n, ast.Name) and n.id not in bound]
        self.globals = [name for name in dict.fromkeys(used) if name in top]
        builtin = set(dir(__builtins__)) if not isinstance(__builtins__, dict) else set(__builtins__)
        outside = imported(draft.tree) | builtin | top
        self.free = [name for name in dict.fromkeys(used) if name not in outside]
        # A vector is passed as the vector; everything else by the name of what holds it.
        self.passed = {text: group for text, group in values_in(draft, node).items() if "." in text or "[" in text}
        self.body = deepcopy(node)

    def parameters(self) -> tuple[list[str], list[ast.expr]]:
        """Names and arguments, after the body has been rewritten to use the names."""
        names, arguments = [], []
        inner = Parents(self.body)
        for number, (text, group) in enumerate(self.passed.items()):
            name = f"held_{number}"
            for node in [n for n in ast.walk(self.body) if isinstance(n, ast.expr) and ast.unparse(n) == text]:
                if node is not self.body and not isinstance(getattr(node, "ctx", None), ast.Store):
                    inner.replace(node, ast.Name(name, ast.Load()))
            names.append(name)
            arguments.append(deepcopy(group[0]))
        left = {n.id for n in ast.walk(self.body) if isinstance(n, ast.Name)}
        for name in self.free:
            if name in left:
                names.append("this_m" if name == "self" else name)
                arguments.append(ast.Name(name, ast.Load()))
        for node in ast.walk(self.body):
            if isinstance(node, ast.Name) and node.id == "self":
                node.id = "this_m"
        return names, arguments


def _bound_in(node: ast.AST) -> set[str]:
    found = {n.id for n in ast.walk(node) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}
    return found | {n.arg for n in ast.walk(node) if isinstance(n, ast.arg)}


def _moved(draft: Draft) -> _Moved | None:
    for node in reported(draft) or cosines(draft):
        if isinstance(node, ast.expr) and not isinstance(getattr(node, "ctx", None), ast.Store):
            if not isinstance(Parents(draft.tree).statement(node), ast.FunctionDef | ast.ClassDef):
                if not (isinstance(node, ast.Subscript) and not marks(node)):
                    return _Moved(draft, node)
    return None


def _function(name: str, names: list[str], body: ast.expr) -> ast.FunctionDef:
    (made,) = statements(f"def {name}({', '.join(names)}):\n    return 0")
    assert isinstance(made, ast.FunctionDef)
    made.body = [ast.Return(body)]
    return made


def _call(text: str, arguments: list[ast.expr], numbers: frozenset[int]) -> ast.expr:
    made = ast.Call(ast.parse(text, mode="eval").body, arguments, [])
    add_marks(made, numbers)
    return made


def _named(draft: Draft, moved: _Moved) -> None:
    """Marks of the statement go with the expression it was reported for."""
    statement = moved.parents.statement(moved.node)
    if statement is not None and marks(statement):
        add_marks(moved.body, marks(statement))


def _into_helper(draft: Draft, hops: int = 1) -> Draft | None:
    moved = _moved(draft)
    if moved is None:
        return None
    _named(draft, moved)
    names, arguments = moved.parameters()
    made = [_function("measure_m1", names, moved.body)]
    numbers = frozenset().union(*(marks(n) for n in ast.walk(moved.node)))
    for hop in range(2, hops + 1):
        inner = _call(f"measure_m{hop - 1}", [ast.Name(n, ast.Load()) for n in names], numbers)
        made.append(_function(f"measure_m{hop}", names, inner))
    moved.parents.replace(moved.node, _call(f"measure_m{hops}", arguments, numbers))
    define(draft, list(made))
    return draft


def _into_method(draft: Draft, form: str) -> Draft | None:
    moved = _moved(draft)
    if moved is None:
        return None
    _named(draft, moved)
    names, arguments = moved.parameters()
    numbers = frozenset().union(*(marks(n) for n in ast.walk(moved.node)))
    own = [] if form == "static" else ["cls"] if form == "class" else ["self"]
    function = _function("__call__" if form == "call" else "measure_m", [*own, *names], moved.body)
    if form in ("static", "class"):
        function.decorator_list = [ast.Name(f"{form}method", ast.Load())]
    holder = ast.ClassDef("Meter_m", [], [], [function], [], type_params=[])
    target = {"static": "Meter_m.measure_m", "class": "Meter_m.measure_m", "call": "Meter_m()"}
    moved.parents.replace(moved.node, _call(target.get(form, "Meter_m().measure_m"), arguments, numbers))
    define(draft, [holder])
    return draft


def _nested(draft: Draft, form: str) -> Draft | None:
    """A function inside the function, or a lambda."""
    moved = _moved(draft)
    place = hoistable(draft, moved.node) if moved is not None else None
    if moved is None or place is None:
        return None
    _named(draft, moved)
    numbers = frozenset().union(*(marks(n) for n in ast.walk(moved.node)))
    if form == "closure":
        made: ast.stmt = _function("measure_m", [], moved.body)
        new = _call("measure_m", [], numbers)
    else:
        names, arguments = moved.parameters()
        (made,) = statements(f"measure_m = lambda {', '.join(names)}: 0")
        assert isinstance(made, ast.Assign)
        assert isinstance(made.value, ast.Lambda)
        made.value.body = moved.body
        new = _call("measure_m", arguments, numbers)
    moved.parents.replace(moved.node, new)
    before(*place, [made])
    return draft


def _partial(draft: Draft) -> Draft | None:
    moved = _moved(draft)
    if moved is None:
        return None
    _named(draft, moved)
    names, arguments = moved.parameters()
    numbers = frozenset().union(*(marks(n) for n in ast.walk(moved.node)))
    inner = _call("partial_m", [ast.Name("measure_m", ast.Load()), *arguments[:1]], numbers)
    made = ast.Call(inner, arguments[1:], [])
    moved.parents.replace(moved.node, made)
    define(draft, [_function("measure_m", names, moved.body)])
    draft.tree.body.insert(0, ast.parse("from functools import partial as partial_m").body[0])
    return draft


# How the module of the helper is reached: (main, file of the helper, its import, the call, further files).
_IMPORTS: dict[str, tuple[str, str, str, str, dict[str, str]]] = {
    "import module": ("main.py", "meters_m.py", "import meters_m", "meters_m.measure_m", {}),
    "from module": ("main.py", "meters_m.py", "from meters_m import measure_m", "measure_m", {}),
    "under another name": ("main.py", "meters_m.py", "from meters_m import measure_m as run_m", "run_m", {}),
    "import module as": ("main.py", "meters_m.py", "import meters_m as mm", "mm.measure_m", {}),
    "by star": ("main.py", "meters_m.py", "from meters_m import *", "measure_m", {}),
    "relatively": (
        "pkg/main.py",
        "pkg/meters_m.py",
        "from .meters_m import measure_m",
        "measure_m",
        {"pkg/__init__.py": ""},
    ),
    "relative module": (
        "pkg/main.py",
        "pkg/meters_m.py",
        "from . import meters_m",
        "meters_m.measure_m",
        {"pkg/__init__.py": ""},
    ),
    "from the parent": (
        "pkg/sub/main.py",
        "pkg/meters_m.py",
        "from ..meters_m import measure_m",
        "measure_m",
        {"pkg/__init__.py": "", "pkg/sub/__init__.py": ""},
    ),
    "package __init__": (
        "main.py",
        "pkg_m/meters_m.py",
        "from pkg_m import measure_m",
        "measure_m",
        {"pkg_m/__init__.py": "from .meters_m import measure_m"},
    ),
    "package __init__ by star": (
        "main.py",
        "pkg_m/meters_m.py",
        "import pkg_m",
        "pkg_m.measure_m",
        {"pkg_m/__init__.py": "from .meters_m import *"},
    ),
    "dotted module": (
        "main.py",
        "pkg_m/meters_m.py",
        "import pkg_m.meters_m",
        "pkg_m.meters_m.measure_m",
        {"pkg_m/__init__.py": ""},
    ),
    "a function-level import": ("main.py", "meters_m.py", "", "measure_m", {}),
    "three hops": (
        "main.py",
        "meters_m.py",
        "from first_m import measure_1",
        "measure_1",
        {
            "first_m.py": "import second_m\n\n\ndef measure_1(*args):\n    return second_m.measure_2(*args)",
            "second_m.py": "from meters_m import measure_m\n\n\ndef measure_2(*args):\n    return measure_m(*args)",
        },
    ),
}


def _other_module(draft: Draft, way: str) -> Draft | None:
    moved = _moved(draft)
    if moved is None or any(not _constant(draft, name) for name in moved.globals):
        return None
    near = [s for s in draft.tree.body if isinstance(s, ast.ImportFrom) and s.level]
    if {n.id for n in ast.walk(moved.body) if isinstance(n, ast.Name)} & {a.name for s in near for a in s.names}:
        return None
    _named(draft, moved)
    names, arguments = moved.parameters()
    numbers = frozenset().union(*(marks(n) for n in ast.walk(moved.node)))
    main, path, line, call, files = _IMPORTS[way]
    constants = [s for s in draft.tree.body if not is_import(s) and top_names(s) & set(moved.globals)]
    own = [s for s in draft.tree.body if is_import(s) and not (isinstance(s, ast.ImportFrom) and s.level)]
    module = ast.Module([*deepcopy(own), *deepcopy(constants), _function("measure_m", names, moved.body)], [])
    place = hoistable(draft, moved.node)
    moved.parents.replace(moved.node, _call(call, arguments, numbers))
    if line:
        define(draft, statements(line))
    elif place is None:
        return None
    else:
        before(*place, statements("from meters_m import measure_m"))
    draft.main = main
    draft.modules = {path: module}
    for name, text in files.items():
        text = text.replace("*args", ", ".join(names))
        draft.modules[name] = ast.parse(text)
    return draft


def _constant(draft: Draft, name: str) -> bool:
    return any(
        isinstance(s, ast.Assign) and isinstance(s.value, ast.Constant) for s in draft.tree.body if name in top_names(s)
    )


_SOURCES = {
    "here": "",
    "in another module": "from source_m import fetch_m",
    "in a package": "from pkg_m import fetch_m",
}


def _source(draft: Draft, way: str) -> Draft | None:
    """A getter for the vectors: ``fetch(p)`` for ``p.grad``."""
    for node in focus(draft):
        values = {text: group for text, group in values_in(draft, node).items() if "." in text and "[" not in text}
        values = {text: group for text, group in values.items() if isinstance(group[0], ast.Attribute)}
        if not values:
            continue
        parents = Parents(draft.tree)
        group = next(iter(values.values()))
        return _fetched(draft, parents, group, way)
    parents = Parents(draft.tree)
    called = {n.func for n in ast.walk(draft.tree) if isinstance(n, ast.Call)}
    group = [
        n
        for n in ast.walk(draft.tree)
        if isinstance(n, ast.Attribute) and n.attr == "grad" and isinstance(n.ctx, ast.Load) and n not in called
    ]
    return _fetched(draft, parents, group, way) if group else None


def _fetched(draft: Draft, parents: Parents, group: list[ast.expr], way: str) -> Draft:
    attribute = group[0]
    assert isinstance(attribute, ast.Attribute)
    (getter,) = statements(f"def fetch_m(layer):\n    return layer.{attribute.attr}")
    for value in group:
        if isinstance(value, ast.Attribute) and value.attr == attribute.attr and not marks(value):
            parents.replace(value, ast.Call(ast.Name("fetch_m", ast.Load()), [value.value], []))
    if way == "here":
        define(draft, [getter])
        return draft
    define(draft, statements(_SOURCES[way]))
    draft.modules["source_m.py" if way == "in another module" else "pkg_m/tools.py"] = ast.Module([getter], [])
    if way == "in a package":
        draft.modules["pkg_m/__init__.py"] = ast.parse("from .tools import fetch_m")
    return draft


def _inline(draft: Draft) -> Draft | None:
    """Put the marked return of a helper in the place of its call."""
    parents = Parents(draft.tree)
    for node in marked(draft.tree):
        function = parents.function(node)
        if function is None or function not in draft.tree.body or len(function.body) != 1:
            continue
        (only,) = function.body
        calls = [
            n
            for n in ast.walk(draft.tree)
            if isinstance(n, ast.Call)
            and isinstance(n.func, ast.Name)
            and n.func.id == function.name
            and not n.keywords
        ]
        if not isinstance(only, ast.Return) or only.value is None or len(calls) != 1:
            continue
        (call,) = calls
        names = dict(zip((a.arg for a in function.args.args), call.args, strict=False))
        (new,) = statements(ast.unparse(only.value), **names)
        assert isinstance(new, ast.Expr)
        add_marks(new.value, drop_marks(only))
        parents.replace(call, new.value)
        draft.tree.body.remove(function)
        return draft
    return None


REWRITES = [
    Rewrite("into a helper", "places", _into_helper),
    Rewrite("two helpers deep", "places", lambda draft: _into_helper(draft, 2)),
    Rewrite("three helpers deep", "places", lambda draft: _into_helper(draft, 3)),
    *(
        Rewrite(f"into a {form} method", "places", lambda draft, form=form: _into_method(draft, form))
        for form in ("normal", "static", "class", "call")
    ),
    Rewrite("into a closure", "places", lambda draft: _nested(draft, "closure")),
    Rewrite("into a lambda", "places", lambda draft: _nested(draft, "lambda")),
    Rewrite("into a partial", "places", _partial),
    Rewrite("inlined", "places", _inline),
    *(Rewrite(f"other module: {way}", "modules", lambda draft, way=way: _other_module(draft, way)) for way in _IMPORTS),
    *(Rewrite(f"getter {way}", "modules", lambda draft, way=way: _source(draft, way)) for way in _SOURCES),
]
