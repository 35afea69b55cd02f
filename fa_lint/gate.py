"""Cheap gates: which rules can possibly fire in a file, before libcst is asked.

Two gates, and ``quick.py`` is the third. All are sound: a clean file may pass, one with a finding is never held back:

1. a byte pattern per rule, over the raw file;
2. the *outline*: one pass over the interpreter's own ``ast`` (ten times faster than a lossless parse, and needed
   anyway to report files that are not Python). It keeps the shapes of the calls and quotients that rules watch.

Where the interpreter cannot parse a file that libcst can (a newer grammar), the second gate lets everything pass.
"""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar, overload

from fa_lint.astwalk import FUNCTIONS, LEAVES, USUAL, children, last_name
from fa_lint.semantics.derived import Derived
from fa_lint.semantics.words import EPS_WORDS, NORM_WORDS, words

__all__ = ["CallShape", "Outline", "Scope", "outline"]

_Node = TypeVar("_Node", bound=ast.AST)
_Other = TypeVar("_Other", bound=ast.AST)

_WATCHED = frozenset(
    "norm vector_norm normalize pairwise_distance cosine_similarity CosineSimilarity cosine_embedding_loss "
    "CosineEmbeddingLoss cosine_distances acos arccos acos_ arccos_".split()
)
_GRADIENT = re.compile(rb"grad|credit|costate|jacrev|jacfwd|jacobian|vjp|hessian|hook|tape", re.IGNORECASE)
_SIGNED = re.compile(
    r"(?<!requires_)(?<!no_)grad|credit|costate|weight|bias|param|state_dict|kernel|theta", re.IGNORECASE
)
_TRANSPARENT = frozenset({"cat", "stack", "concat", "copy", "deepcopy", "parameters_to_vector", "chain", "grad"})
_FLOORS = frozenset({"clamp", "clamp_", "clamp_min", "clamp_min_", "maximum", "max", "clip", "fmax", "finfo"})
_PRODUCTS = frozenset({"dot", "vdot", "inner", "matmul", "mm", "bmm", "mv", "einsum", "sum", "vecdot"})
_DIVISIONS = frozenset({"div", "div_", "divide", "true_divide"})
_PEELED = frozenset(
    "item all any float int abs cpu to view reshape flatten detach unsqueeze squeeze clone numpy double t "
    "contiguous expand sum mean sqrt".split()
)


@dataclass(frozen=True, slots=True)
class CallShape:
    """A watched call: its last name, whether a dot stands before it, one letter a positional argument, keywords.

    The letters: ``-`` a negative literal, ``1`` the literal 0 or 1, ``0`` another literal, ``n`` a name or attribute
    (its last part is in ``names``), ``o`` arithmetic of names and literals (``names`` has the names, blank-separated),
    ``*`` unpacking, ``c`` anything else. ``receiver`` is the last
    name before the dot.
    """

    name: str
    dotted: bool
    positional: str
    names: tuple[str, ...]
    keywords: frozenset[str]
    receiver: str = ""


@dataclass(slots=True, eq=False)
class Scope:
    """The bindings of one function, each with the scope it was made in; attributes belong to the module's scope."""

    above: Scope | None
    bound: dict[str, list[tuple[ast.expr, Scope]]] = field(default_factory=dict)
    known: dict[tuple[str, str], bool] = field(default_factory=dict)

    def owner(self, node: ast.AST, module: Scope) -> Scope | None:
        """The scope that binds a name or attribute."""
        name = last_name(node)
        scope: Scope | None = self if isinstance(node, ast.Name) else module
        while scope is not None and name not in scope.bound:
            scope = scope.above
        return scope


@dataclass(eq=False)
class Outline(Derived):
    """What the second gate knows of a file.

    ``tree``, :meth:`every` and :meth:`derived` are there for rules that look for a shape of their own. ``quotients``
    are the operands of every division, with their scope.
    """

    tree: ast.AST = field(default_factory=ast.Pass)
    data: bytes = b""
    module: Scope = field(default_factory=lambda: Scope(None))
    quotients: list[tuple[ast.expr, ast.expr, Scope]] = field(default_factory=list)
    _kinds: dict[type[ast.AST], list[Any]] = field(default_factory=dict)
    _scopes: list[Scope] = field(default_factory=list)
    calls: list[CallShape] = field(default_factory=list)
    aliased: dict[str, set[str]] = field(default_factory=dict)
    negative: set[str] = field(default_factory=set)
    numeric: set[str] = field(default_factory=set)
    gradients: bool = False
    imported: set[str] = field(default_factory=set)
    functional: set[str] = field(default_factory=lambda: {"functional"})
    normalized_product: bool = False
    floored_product: bool = False
    floored_quotient: bool = False
    zeroed_entries: bool = False
    zero_test: bool = False

    def called(self, *names: str) -> list[CallShape]:
        return [call for call in self.calls if call.name in names]

    @overload
    def every(self, kind: type[_Node], /) -> list[_Node]: ...

    @overload
    def every(self, kind: type[_Node], other: type[_Other], /) -> list[_Node | _Other]: ...

    @overload
    def every(self, *kinds: type[ast.AST]) -> list[Any]: ...

    def every(self, *kinds: type[ast.AST]) -> list[Any]:
        """The nodes of these very classes, a parent before its parts; names and constants are not kept."""
        return [node for kind in kinds for node in self._kinds.get(kind, ())]

    def __post_init__(self) -> None:
        super().__init__()

    def forget(self) -> None:
        """There is nothing to ask after that."""
        super().forget()
        for scope in self._scopes:
            scope.bound.clear()


def _letter(node: ast.expr) -> str:
    match node:
        case ast.UnaryOp(op=ast.USub(), operand=ast.Constant()):
            return "-"
        case ast.Constant(value=int() as value):
            return "1" if value in (0, 1) else "0"
        case ast.Constant():
            return "0"
        case ast.Name() | ast.Attribute():
            return "n"
        case ast.UnaryOp() | ast.BinOp() if _leaves(node) is not None:
            return "o"
        case ast.Starred():
            return "*"
    return "c"


def _leaves(node: ast.expr) -> list[str] | None:
    """The names in an arithmetic expression of names and literals; None for any other expression."""
    found: list[str] = []
    stack = [node]
    while stack:
        match stack.pop():
            case ast.UnaryOp(operand=operand):
                stack.append(operand)
            case ast.BinOp(left=left, right=right):
                stack += [left, right]
            case ast.Name() | ast.Attribute() as name:
                found.append(last_name(name))
            case ast.Constant():
                pass
            case _:
                return None
    return found


def _receiver(func: ast.expr) -> str:
    return last_name(func.value) if isinstance(func, ast.Attribute) else ""


class _Outliner:
    def __init__(self) -> None:
        self.found = Outline()
        self._module = self.found.module
        self._scope = self._module
        self._quotients = self.found.quotients
        self._computed: list[tuple[str, set[str]]] = []
        self._products: list[tuple[ast.expr, Scope]] = []
        self._zeroed: list[tuple[ast.expr, Scope]] = []
        self._sums_tested: list[tuple[ast.expr, Scope]] = []
        self._visits: dict[type[ast.AST], Callable[[Any], None]] = {
            ast.ImportFrom: self._import,
            ast.Import: self._import,
            ast.BinOp: self._operator,
            ast.AugAssign: self._augmented,
            ast.Assign: lambda node: self._bind(node.targets, node.value),
            ast.AnnAssign: lambda node: self._bind([node.target], node.value) if node.value else None,
            ast.NamedExpr: lambda node: self._bind([node.target], node.value),
            ast.arguments: self._defaults,
            ast.Compare: self._compare,
            ast.Call: self._call,
        }

    def run(self, tree: ast.AST) -> Outline:
        visits = self._visits
        kinds: dict[type[ast.AST], list[ast.AST]] = defaultdict(list)
        functions: list[tuple[ast.AST, Scope]] = [(tree, self._module)]
        for function, scope in functions:
            self._scope = scope
            stack = [part for part in children(function) if part.__class__ not in LEAVES]
            while stack:
                node = stack.pop()
                kind = node.__class__
                kinds[kind].append(node)
                visit = visits.get(kind)
                if visit is not None:
                    visit(node)
                if kind in FUNCTIONS:
                    functions.append((node, Scope(scope)))
                else:
                    # Most nodes are names and constants: nothing below them, and nothing to visit.
                    parts = USUAL[kind](node) if kind in USUAL else children(node)
                    stack += [part for part in parts if part.__class__ not in LEAVES]
        self.found._kinds = kinds
        self.found._scopes = [scope for _, scope in functions]
        for side, scope in self._sums_tested:
            self._scope = scope
            self.found.zero_test = self.found.zero_test or self._sums(side)
        for index, scope in self._zeroed:
            self._scope = scope
            self.found.zeroed_entries = self.found.zeroed_entries or self._is_below(index)
        if self.found.called("normalize") or "normalize" in self.found.aliased:
            for part, scope in self._products:
                self._scope = scope
                self.found.normalized_product = self.found.normalized_product or self._is_normalized(part)
        self.found.negative.update(name for name, leaves in self._computed if leaves <= self.found.numeric)
        self._judge()
        # Bound methods of their own object are a circle, and would keep the tree until the next collection.
        self._visits.clear()
        return self.found

    def _import(self, node: ast.ImportFrom | ast.Import) -> None:
        self.found.imported.update((n.asname or n.name).partition(".")[0] for n in node.names)
        self.found.functional.update(n.asname for n in node.names if n.asname and n.name.endswith("functional"))
        for alias in node.names:
            if alias.asname and alias.name in _WATCHED:
                self.found.aliased.setdefault(alias.name, set()).add(alias.asname)

    def _operator(self, node: ast.BinOp) -> None:
        if isinstance(node.op, ast.Div):
            self._quotients.append((node.left, node.right, self._scope))
        elif isinstance(node.op, ast.Mult | ast.MatMult):
            self._products += [(node.left, self._scope), (node.right, self._scope)]

    def _augmented(self, node: ast.AugAssign) -> None:
        if isinstance(node.op, ast.Div):
            self._quotients.append((node.target, node.value, self._scope))
        else:
            self._bind([node.target], node.value)

    def _defaults(self, node: ast.arguments) -> None:
        positional = node.posonlyargs + node.args
        first = len(positional) - len(node.defaults)
        for parameter, default in [
            *zip(positional[first:], node.defaults, strict=True),
            *zip(node.kwonlyargs, node.kw_defaults, strict=True),
        ]:
            if default is not None:
                self._scope.bound.setdefault(parameter.arg, []).append((default, self._scope))
                self._note(parameter.arg, default)

    def _note(self, name: str, value: ast.expr) -> None:
        """Remember names that can be constants, and those that can be negative."""
        letter = _letter(value)
        if letter == "-":
            self.found.negative.add(name)
        elif letter == "o":
            self._computed.append((name, set(_leaves(value) or ())))
        if letter in "-o01n":
            self.found.numeric.add(name)

    def _compare(self, node: ast.Compare) -> None:
        if len(node.ops) == 1 and isinstance(node.ops[0], ast.Eq | ast.NotEq):
            for side, other in ((node.left, node.comparators[0]), (node.comparators[0], node.left)):
                if isinstance(other, ast.Constant) and other.value == 0:
                    self._sums_tested.append((side, self._scope))

    def _is_below(self, node: ast.expr) -> bool:
        if isinstance(node, ast.Compare):
            return isinstance(node.ops[0], ast.Lt | ast.LtE)
        return isinstance(node, ast.Name) and self._through(self._is_below, node)

    def _sums(self, node: ast.expr) -> bool:
        """Is an expression a sum, as far as its outermost parts say? A name may be bound to one."""
        stack: list[ast.expr] = [node]
        seen: set[str] = set()
        while stack:
            match stack.pop():
                case ast.Call(func=ast.Attribute(attr="sum", value=value), args=args):
                    # ``torch.sum(x)`` sums its argument.
                    if any(self._may_be_signed(part) for part in (value, *args[:1])):
                        return True
                case ast.Call(func=ast.Attribute(attr=attr, value=value)) if attr in _PEELED:
                    stack.append(value)
                case ast.BinOp(left=left, right=right):
                    stack += [left, right]
                case ast.Name(id=name) if name not in seen:
                    seen.add(name)
                    stack += [value for value, _ in self._scope.bound.get(name, ()) if isinstance(value, ast.Call)]
        return False

    def _is_normalized(self, node: ast.expr) -> bool:
        """Is a factor made by ``normalize``, here or where its name is bound?"""
        stack: list[ast.AST] = [node]
        while stack:
            top = stack.pop()
            if isinstance(top, ast.Call) and (last_name(top.func) == "normalize" or self._calls_alias(top)):
                return True
            if isinstance(top, ast.Name) and self._through(self._is_normalized, top):
                return True
            stack += children(top)
        return False

    def _calls_alias(self, node: ast.Call) -> bool:
        return "normalize" in self.found.aliased and isinstance(node.func, ast.Name | ast.Attribute)

    def _may_be_signed(self, node: ast.expr) -> bool:
        """Can a summed value be a gradient or a weight? Only what is bound in sight to something else cannot."""
        stack: list[ast.AST] = [node]
        while stack:
            top = stack.pop()
            match top:
                case ast.Compare():
                    continue
                case ast.Call(func=ast.Name(id=name)) if name in self.found.imported and name not in _TRANSPARENT:
                    continue
                case ast.Name(id=name):
                    if _SIGNED.search(name):
                        return True
                    if name in self._scope.bound:
                        if self._through(self._may_be_signed, top):
                            return True
                    elif name not in self.found.imported:
                        return True
                case ast.Attribute(attr=name) if _SIGNED.search(name):
                    return True
            stack += children(top)
        return False

    def _call(self, node: ast.Call) -> None:
        name = last_name(node.func)
        if name in _WATCHED:
            letters = "".join(_letter(arg) for arg in node.args)
            names = tuple(" ".join(_leaves(arg) or ()) if _letter(arg) == "o" else last_name(arg) for arg in node.args)
            keywords = frozenset(keyword.arg or "**" for keyword in node.keywords)
            self.found.calls.append(
                CallShape(name, isinstance(node.func, ast.Attribute), letters, names, keywords, _receiver(node.func))
            )
        elif name in _PRODUCTS:
            self._products += [(part, self._scope) for part in node.args]
            if isinstance(node.func, ast.Attribute):
                self._products.append((node.func.value, self._scope))
        elif name in _DIVISIONS and node.args:
            above = node.args[0] if len(node.args) > 1 else node.func
            self._quotients.append((above, node.args[-1], self._scope))

    def _bind(self, targets: list[ast.expr], value: ast.expr) -> None:
        for target in targets:
            if isinstance(target, ast.Subscript):
                if isinstance(value, ast.Constant) and value.value == 0:
                    self._zeroed.append((target.slice, self._scope))
                continue
            parts = target.elts if isinstance(target, ast.Tuple | ast.List) else [target]
            values = value.elts if isinstance(value, ast.Tuple | ast.List) and len(value.elts) == len(parts) else None
            for number, part in enumerate(parts):
                name = last_name(part)
                if name:
                    given = values[number] if values is not None else value
                    owner = self._scope if isinstance(part, ast.Name) else self._module
                    owner.bound.setdefault(name, []).append((given, self._scope))
                    self._note(name, given)
                    if last_name(given) in _WATCHED and self._is_library(given):
                        self.found.aliased.setdefault(last_name(given), set()).add(name)

    def _is_library(self, node: ast.expr) -> bool:
        if isinstance(node, ast.Attribute):
            return _receiver(node) not in ("self", "cls")
        return last_name(node) in self.found.imported

    # -- quotients: the same shapes as rules/_products.py, with "contains" for "is" -------------------------------

    def _judge(self) -> None:
        for above, below, scope in self._quotients:
            self._scope = scope
            if self._is_floored(below):
                self.found.floored_quotient = True
                if self._has_product(above):
                    self.found.floored_product = True
                    return

    def _through(self, test: Callable[[ast.expr], bool], node: ast.AST) -> bool:
        """Does any value bound to a name pass ``test``? Each name is asked once; a cycle counts as no."""
        name = last_name(node)
        owner = self._scope.owner(node, self._module)
        if owner is None:
            return False
        key = (test.__name__, name)
        if key not in owner.known:
            owner.known[key] = False
            asking = self._scope
            for value, self._scope in owner.bound[name]:
                if test(value):
                    owner.known[key] = True
                    break
            self._scope = asking
        return owner.known[key]

    def _is_floored(self, node: ast.expr) -> bool:
        match node:
            case ast.BinOp(op=ast.Add(), left=left, right=right):
                return (self._is_floor(right) and self._has_root(left)) or (
                    self._is_floor(left) and self._has_root(right)
                )
            case ast.BinOp(op=ast.Mult() | ast.Pow(), left=left, right=right):
                return self._is_floored(left) or self._is_floored(right)
            case ast.Call(func=func, args=args, keywords=keywords):
                inside = [*args, *(keyword.value for keyword in keywords)]
                if isinstance(func, ast.Attribute):
                    inside.append(func.value)
                if last_name(func) in _FLOORS and any(self._is_floor(part) for part in inside):
                    return any(self._has_root(part) for part in inside)
                if last_name(func) in _PEELED:
                    return any(self._is_floored(part) for part in inside)
            case ast.Name() | ast.Attribute():
                return self._through(self._is_floored, node)
            case ast.Subscript(value=value) | ast.UnaryOp(operand=value):
                return self._is_floored(value)
        return False

    def _is_floor(self, node: ast.expr) -> bool:
        match node:
            case ast.Constant(value=float() as value):
                return 0 < value <= 1e-2
            case ast.Name() | ast.Attribute():
                if not EPS_WORDS.isdisjoint(words(last_name(node))):
                    return True
                return self._through(self._is_floor, node)
            case ast.BinOp(op=ast.Pow() | ast.Div() | ast.Mult()):
                return True
            case ast.Call(args=[first, *_]):
                return self._is_floor(first)
        return False

    def _has_root(self, node: ast.AST) -> bool:
        stack = [node]
        while stack:
            top = stack.pop()
            match top:
                case ast.Name(id=name) | ast.Attribute(attr=name):
                    if name in _PRODUCTS or set(words(name)) & NORM_WORDS:
                        return True
                    if self._through(self._has_root, top):
                        return True
                case ast.BinOp(op=ast.MatMult()):
                    return True
            stack += children(top)
        return False

    def _has_product(self, node: ast.AST) -> bool:
        stack = [node]
        while stack:
            top = stack.pop()
            match top:
                case ast.BinOp(op=ast.MatMult()):
                    return True
                case ast.Name(id=name) | ast.Attribute(attr=name):
                    if name in _PRODUCTS:
                        return True
                    if self._through(self._has_product, top):
                        return True
            stack += children(top)
        return False


def outline(tree: ast.AST, data: bytes) -> Outline:
    """The outline of a parsed file; ``data`` is searched for the words that gradients come with."""
    found = _Outliner().run(tree)
    found.tree, found.data = tree, data
    found.gradients = _GRADIENT.search(data) is not None
    return found
