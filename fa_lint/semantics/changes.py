"""Whether anything between a copy and its use can write to the copy or to its source. "Perhaps" counts as yes."""

from __future__ import annotations

from fa_lint.semantics import ir
from fa_lint.semantics.facts import ModuleFacts

__all__ = ["changed"]

# Calls that write to nothing that reaches a compared value.
_HARMLESS_BUILTINS = frozenset(
    "print len range zip enumerate list tuple dict set float int str bool abs min max sum sorted reversed isinstance "
    "getattr hasattr iter next round map filter repr format type any all id super".split()
)
_HARMLESS_PACKAGES = frozenset(
    {"torch", "numpy", "math", "time", "logging", "copy", "os", "json", "tqdm", "matplotlib"}
)
_WRITING_PACKAGES = (
    "torch.nn.init.",
    "torch.nn.utils.clip",
    "torch.optim.",
    "torch.distributed.",
    "numpy.random.shuffle",
)
_HARMLESS_METHODS = frozenset(
    "parameters named_parameters state_dict zero_grad train eval to cpu cuda children modules named_modules forward "
    "item numpy detach clone copy mean sum norm view reshape flatten squeeze unsqueeze t T append extend keys values "
    "items get float double half abs argmax max min size dim numel tolist backward info debug warning log add_scalar "
    "update requires_grad_ format join split write set_description set_postfix".split()
)


def changed(made: int, at: ir.Node, values: tuple[ir.Expr, ...], facts: ModuleFacts) -> bool:
    """True if the deep copy of a model made by call ``made``, or the model, may be written to before ``at``."""
    return _Region(made, at, values, facts).changed()


class _Region:
    def __init__(self, made: int, at: ir.Node, values: tuple[ir.Expr, ...], facts: ModuleFacts) -> None:
        self._facts = facts
        self._names = facts.names
        self._made = facts.node(made)
        self._at = at
        self._function = self._names.enclosing_function(at)
        self._copy_names = self._targets()
        source = self._made.args[0].value if isinstance(self._made, ir.Call) and self._made.args else None
        if source is None and isinstance(self._made, ir.Call) and isinstance(self._made.func, ir.Attr):
            source = self._made.func.value
        self._source_names = _names_in(source) if source is not None else set()
        for value in values:
            # What the compared expressions hang from is the copy or its source as well.
            self._copy_names |= _names_in(value) - self._source_names
        self._watched = self._copy_names | self._source_names
        self._derived = self._closure(self._watched)

    def changed(self) -> bool:
        if self._names.enclosing_function(self._made) is not self._function:
            return True
        if not self._watched - {"self", "cls"}:
            return self._between_calls()
        end = self._end()
        return any(self._writes(node) for node in self._facts.nodes() if self._made.nid < node.nid < end)

    def _between_calls(self) -> bool:
        """Copy and use stand in one expression, or something happens in between."""
        statement = self._names.statement(self._made)
        return statement is not self._names.statement(self._at)

    def _end(self) -> int:
        """The comparison, or the end of the outermost loop around it that began after the copy."""
        end = self._at.nid
        for outer in self._names.ancestors(self._at):
            if isinstance(outer, ir.For | ir.While) and outer.nid > self._made.nid:
                end = max(node.nid for node in ir.walk(outer)) + 1
        return end

    def _targets(self) -> set[str]:
        statement = self._names.statement(self._made)
        if isinstance(statement, ir.Assign):
            return {name for target in statement.targets for name in _names_in(target)}
        return set()

    def _closure(self, names: set[str]) -> set[str]:
        """The names whose values are computed from watched ones: losses, optimisers, loop variables."""
        scope = self._names.scopes.get(self._function.nid) if self._function else self._names.module_scope
        found = set(names)
        bindings = [b for many in (scope.bindings.values() if scope else ()) for b in many if b.value is not None]
        for _ in range(6):
            more = {b.name for b in bindings if b.value is not None and _names_in(b.value) & found}
            if more <= found:
                break
            found |= more
        return found

    def _writes(self, node: ir.Node) -> bool:
        match node:
            case ir.AugAssign(target=target):
                return bool(_written(target) & self._reachable())
            case ir.Assign(targets=targets):
                parts = (part for target in targets for part in ir.flat(target))
                return any(
                    bool(_written(p) & self._reachable())
                    for p in parts
                    if not isinstance(p, ir.Name) and not self._is_item_of_own(p)
                )
            case ir.Delete():
                return False
            case ir.Call():
                return self._call_writes(node)
        return False

    def _is_item_of_own(self, target: ir.Expr) -> bool:
        """Return True for an item of a dictionary or list that is made here: to bind it changes no tensor."""
        if not isinstance(target, ir.Subscript) or not isinstance(target.value, ir.Name):
            return False
        made = [b for b in self._names.bindings(target.value) if b.how != "item"]
        return bool(made) and all(b.how == "value" and _is_container(b.value) for b in made)

    def _reachable(self) -> set[str]:
        """Names through which watched storage can be written: the values, their loop variables and views."""
        return self._watched | (self._derived - self._results())

    def _results(self) -> set[str]:
        """Derived names bound to the outcome of a call other than an accessor: new values, not views."""
        scope = self._names.scopes.get(self._function.nid) if self._function else self._names.module_scope
        found = set()
        for name in self._derived:
            bindings = scope.bindings.get(name, []) if scope else []
            if bindings and all(b.how in ("value", "unpack", "update") and self._is_new(b.value) for b in bindings):
                found.add(name)
        return found - self._watched

    def _is_new(self, value: ir.Expr | None) -> bool:
        match value:
            case ir.Binary() | ir.Compare() | ir.Const() | ir.Comprehension():
                return True
            case ir.Call(func=ir.Attr(attr=attr)):
                return attr not in ("view", "detach", "flatten", "reshape", "parameters", "data", "named_parameters")
            case ir.Call():
                return True
        return False

    def _call_writes(self, call: ir.Call) -> bool:
        func, name = call.func, self._facts.qualified(call.func)
        given = {n for arg in call.args for n in self._passed(arg.value)}
        touches = bool(given & self._reachable())
        if name is not None:
            if name.startswith(_WRITING_PACKAGES):
                return name.startswith("torch.nn.init.") and touches
            if name.partition(".")[0] in _HARMLESS_PACKAGES:
                return any(arg.keyword == "out" and _names_in(arg.value) & self._watched for arg in call.args)
            return touches
        if isinstance(func, ir.Name):
            if func.id in self._watched or func.id in _HARMLESS_BUILTINS:
                return False
            bound = self._names.reaching(func)
            if any(b.how == "value" and _names_in(b.value) & self._watched for b in bound if b.value is not None):
                return True
            return touches or self._function is None
        if isinstance(func, ir.Attr):
            return self._method_writes(call, func, touches)
        return True

    def _passed(self, node: ir.Expr) -> set[str]:
        """The names a call gets hold of: not those that only went into a forward pass on the way."""
        found: set[str] = set()
        stack: list[ir.Node] = [node]
        while stack:
            top = stack.pop()
            if isinstance(top, ir.Call) and isinstance(top.func, ir.Name) and top.func.id in self._watched:
                continue
            if isinstance(top, ir.Name):
                found.add(top.id)
            stack.extend(ir.children(top))
        return found

    def _method_writes(self, call: ir.Call, func: ir.Attr, touches: bool) -> bool:
        roots = _names_in(func.value)
        if func.attr == "step":
            return self._steps(func.value)
        if func.attr.endswith("_") and not func.attr.endswith("__") and func.attr != "requires_grad_":
            return bool(roots & self._reachable())
        if func.attr == "backward":
            return False  # gradients are written, which the copy has of its own
        if roots & self._watched and self._casts(call, func):
            return True
        if func.attr in _HARMLESS_METHODS:
            return False
        if "self" in roots:
            return True
        if roots & self._derived:
            return True
        return touches

    def _casts(self, call: ir.Call, func: ir.Attr) -> bool:
        """``model.half()`` rewrites the parameters of a module; ``model.to(device)`` keeps their values."""
        if func.attr == "to":
            given = [last for arg in call.args for last in _names_in(arg.value)]
            return any(arg.keyword == "dtype" for arg in call.args) or "torch" in given or "dtype" in given
        return func.attr in ("half", "bfloat16", "float", "double", "type", "to_empty")

    def _steps(self, optimiser: ir.Expr) -> bool:
        """True if ``optimiser.step()`` may move the parameters of the copy or of its source."""
        if not isinstance(optimiser, ir.Name):
            return True
        bound = [b.value for b in self._names.reaching(optimiser) if b.value is not None]
        held = {name for value in bound for name in _names_in(value)}
        if not bound or not held & self._watched or held & self._copy_names:
            return True
        # It holds the source alone: without a gradient there it moves nothing.
        return any(self._gives_gradients(node) for node in ir.walk(self._function or self._facts.module))

    def _gives_gradients(self, node: ir.Node) -> bool:
        match node:
            case ir.Assign(targets=targets):
                return any(isinstance(t, ir.Attr) and t.attr == "grad" for t in targets)
            case ir.Call(func=ir.Attr(attr="backward", value=loss)):
                return not self._comes_from_copy_alone(loss)
        return False

    def _comes_from_copy_alone(self, node: ir.Expr) -> bool:
        seen: set[str] = set()
        stack = list(_names_in(node))
        reached_copy = False
        while stack:
            name = stack.pop()
            if name in seen:
                continue
            seen.add(name)
            if name in self._copy_names:
                reached_copy = True
                continue
            if name in self._source_names:
                return False
            scope = self._names.scopes.get(self._function.nid) if self._function else self._names.module_scope
            for binding in scope.bindings.get(name, ()) if scope else ():
                if binding.value is not None:
                    stack += _names_in(binding.value)
        return reached_copy


def _is_container(node: ir.Expr | None) -> bool:
    match node:
        case ir.Keyed() | ir.Sequence(items=[]) | ir.Call(func=ir.Name(id="dict" | "list" | "defaultdict")):
            return True
    return False


def _written(target: ir.Expr) -> set[str]:
    """``p`` of ``p.data[k]``: the key is only read."""
    while isinstance(target, ir.Subscript):
        target = target.value
    return _names_in(target)


def _names_in(node: ir.Node) -> set[str]:
    return {part.id for part in ir.walk(node) if isinstance(part, ir.Name)}
