"""Roles: what a value *is* (a gradient, a credit, feedback, a weight, a feature of order one), with its evidence.

Calls speak first, names last. A value is a gradient because ``autograd.grad`` or ``.grad`` or a backward hook made
it, through assignments, containers, loops, comprehensions and the functions of the module; a name is believed only
where the code says nothing.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase

from fa_lint.semantics import ir
from fa_lint.semantics.memory import Memory
from fa_lint.semantics.names import Binding, Names
from fa_lint.semantics.vocabulary import (
    FEATURE_CALLS,
    FEATURE_METHODS,
    GRADIENT_CALLS,
    GRADIENT_TRANSFORMS,
    HOOKS,
    MODEL_WORDS,
    NORMS,
    PLACES,
    TRANSPARENT_BUILTINS,
    TRANSPARENT_CALLS,
    TRANSPARENT_METHODS,
    UNIT_CALLS,
    WEIGHT_METHODS,
)
from fa_lint.semantics.words import is_short_gradient_name, suggests, words

__all__ = ["COMPUTED", "NAMED", "NOTHING", "Evidence", "Role", "RoleNames", "Roles"]

NAMED = 1
COMPUTED = 3


@dataclass(frozen=True, slots=True)
class Evidence:
    """Where in the module (a node number) a value got its role, and how, for the related locations of a finding."""

    nid: int
    text: str


@dataclass(frozen=True, slots=True)
class Role:
    """``kind``: gradient, credit, feedback, weight, feature, unit, spatial or unknown; ``strength``: how sure."""

    kind: str
    strength: int = 0
    evidence: tuple[Evidence, ...] = ()

    @property
    def is_gradient(self) -> bool:
        """A local credit stands in for a gradient and is as small as one."""
        return self.kind in ("gradient", "credit")

    @property
    def is_order_one(self) -> bool:
        """A value whose norm is known not to be tiny."""
        return self.kind in ("feedback", "weight", "feature", "unit", "spatial")


NOTHING = Role("unknown")


@dataclass(frozen=True, slots=True)
class RoleNames:
    """Identifier patterns (``fnmatch``) that a project declares in its configuration."""

    feedback: tuple[str, ...] = ()
    credit: tuple[str, ...] = ()
    alignment: tuple[str, ...] = ()


class Roles:
    """Answers :meth:`of` for the expressions of one module."""

    def __init__(self, names: Names, declared: RoleNames) -> None:
        self._names = names
        self._declared = declared
        self._memory = Memory(NOTHING)
        # `n = n.view(1)` in a loop is as bare as the norm before it.
        self._bare_norms = Memory(True)
        self._hooked = self._find_hooks()
        self._callers = self._find_callers()

    # -- the question -----------------------------------------------------------------------------------------

    def of(self, node: ir.Expr | None) -> Role:
        """The role of an expression with the evidence for it."""
        if node is None:
            return NOTHING
        return self._memory.ask(node.nid, lambda: self._of(node))

    def parameter(self, param: ir.Param) -> Role:
        """Return the role that a hook or the callers in this module give a parameter."""
        return self._memory.ask(param.nid, lambda: self._param(param))

    def named(self, identifier: str, node: ir.Node) -> Role:
        """Return the role that a name alone suggests."""
        return self._named(identifier, node)

    def _of(self, node: ir.Expr) -> Role:
        match node:
            case ir.Name(id=identifier):
                if self._names.qualified(node) is not None:
                    return NOTHING
                return self._bound(self._names.reaching(node), identifier, node)
            case ir.Attr(attr="grad", value=value) if self._names.qualified(value) is None:
                return Role("gradient", COMPUTED, (Evidence(node.nid, "`.grad` is a gradient"),))
            case ir.Attr(attr="data" | "T" | "mT" | "H" | "mH" | "real", value=value):
                return self.of(value)
            case ir.Attr():
                return self._attribute(node)
            case ir.Subscript(value=value, index=index):
                found = self.of(value)
                key = index[0].value if index and isinstance(index[0], ir.Const) else None
                if found.strength < COMPUTED and isinstance(key, str) and key.isidentifier():
                    # ``out["bp_grad"]``: the key says more than the name of the container.
                    named = self._named(key, node)
                    return named if named.kind != "unknown" else found
                return found
            case ir.Call():
                return self._call(node)
            case ir.Binary():
                return self._binary(node)
            case ir.Unary(op="-" | "+", operand=value) | ir.Await(value=value) | ir.Starred(value=value):
                return self.of(value)
            case ir.Walrus(value=value):
                return self.of(value)
            case ir.Conditional(body=body, orelse=orelse):
                return _strongest([self.of(body), self.of(orelse)])
            case ir.Bool(left=left, right=right):
                return _strongest([self.of(left), self.of(right)])
            case ir.Comprehension(elements=elements):
                return self.of(elements[-1])
            case ir.Sequence(items=items):
                return _strongest(self.of(item) for item in items)
            case ir.Keyed(values=values):
                return _strongest(self.of(value) for value in values)
        return NOTHING

    def _named(self, identifier: str, node: ir.Node) -> Role:
        for kind, patterns in (("feedback", self._declared.feedback), ("credit", self._declared.credit)):
            if any(fnmatchcase(identifier, pattern) for pattern in patterns):
                return Role(kind, COMPUTED, (Evidence(node.nid, f"`{identifier}` is configured as {kind}"),))
        kind_found = suggests(identifier)
        if kind_found is None:
            function = self._names.enclosing_function(node)
            if function is None or not is_short_gradient_name(identifier, function.name):
                return NOTHING
            kind_found = "gradient"
        return Role(kind_found, NAMED, (Evidence(node.nid, f"named `{identifier}`"),))

    # -- names and attributes ---------------------------------------------------------------------------------

    def _bound(self, bindings: Iterable[Binding], identifier: str, node: ir.Node) -> Role:
        declared = self._named(identifier, node)
        if declared.strength == COMPUTED:
            return declared
        found = _strongest(self._binding(binding) for binding in bindings)
        if found.strength == COMPUTED or found.kind != "unknown":
            return found
        return declared

    def _binding(self, binding: Binding) -> Role:
        if binding.how == "param":
            param = binding.node
            return self._memory.ask(param.nid, lambda: self._param(param))
        value = binding.value
        if value is None or binding.how in ("with", "except", "def", "class", "import"):
            return NOTHING
        role = self._element(value, binding) if binding.how in ("unpack", "iterate") else self.of(value)
        if role.is_gradient and len(role.evidence) < 4:
            return Role(
                role.kind, role.strength, (*role.evidence, Evidence(binding.node.nid, f"reaches `{binding.name}`"))
            )
        return role

    def _element(self, value: ir.Expr, binding: Binding) -> Role:
        index = binding.index
        while isinstance(value, ir.Call) and isinstance(value.func, ir.Name) and value.args:
            name = value.func.id
            if name in ("enumerate", "reversed", "list", "tuple", "tqdm", "iter", "sorted"):
                if name == "enumerate":
                    if index == 0:
                        return NOTHING
                    index = None if not isinstance(value.args[0].value, ir.Call) else index
                value = value.args[0].value
            elif name == "zip":
                if index is not None and index < len(value.args) and not value.args[index].star:
                    return self.of(value.args[index].value)
                return _strongest(self.of(arg.value) for arg in value.args) if index is None else NOTHING
            else:
                break
        match value:
            case ir.Call(func=ir.Attr(attr="items")) if index == 0:
                return NOTHING
            case ir.Call(func=ir.Attr(attr="named_parameters")) if index == 0:
                return NOTHING
            case ir.Call() if index is not None:
                if self._is_transform_call(value, "value_and_grad"):
                    return self.of(value) if index == 1 else NOTHING
                if self._is_transform_call(value, "grad_and_value"):
                    return self.of(value) if index == 0 else NOTHING
                function = self._names.function_called(value)
                if function is not None:
                    return self._returned(function, index, value)
        return self.of(value)

    def _attribute(self, node: ir.Attr) -> Role:
        if self._names.qualified(node) is not None:
            return NOTHING
        bindings = self._names.self_attribute(node)
        if bindings:
            return self._bound(bindings, node.attr, node)
        if node.attr in ("weight", "bias"):
            return Role("weight", COMPUTED, (Evidence(node.nid, f"`.{node.attr}` of a layer"),))
        if node.attr in ("shape", "dtype", "device", "ndim", "requires_grad", "grad_fn"):
            return NOTHING
        return self._named(node.attr, node)

    # -- calls ------------------------------------------------------------------------------------------------

    def _call(self, node: ir.Call) -> Role:
        name = self._names.qualified(node.func)
        if name in GRADIENT_CALLS:
            return self._differentiated(node, name)
        if self._is_transform_call(node):
            return Role("gradient", COMPUTED, (Evidence(node.nid, "a gradient transform is applied here"),))
        if name in TRANSPARENT_CALLS:
            return _strongest(self.of(arg.value) for arg in node.args[:2] if arg.keyword is None)
        if name in FEATURE_CALLS:
            return Role("feature", COMPUTED, (Evidence(node.nid, f"`{name}` gives values of order one"),))
        if name in UNIT_CALLS:
            return Role("unit", COMPUTED, (Evidence(node.nid, f"`{name}` gives unit vectors"),))
        function = self._names.function_called(node)
        if function is not None:
            found = self._returned(function, None, node)
            if found.kind != "unknown":
                return found
            return self._named(function.name, node) if self._only_grad_named(function) else NOTHING
        if isinstance(node.func, ir.Name):
            if node.func.id in TRANSPARENT_BUILTINS and not self._names.bindings(node.func):
                return _strongest(self.of(arg.value) for arg in node.args)
            return self._called_name(node.func.id, node)
        if isinstance(node.func, ir.Attr):
            return self._method(node, node.func)
        return NOTHING

    def _only_grad_named(self, function: ir.FunctionDef) -> bool:
        return suggests(function.name) in ("gradient", "credit")

    def _called_name(self, identifier: str, node: ir.Call) -> Role:
        found = suggests(identifier)
        if found in ("gradient", "credit"):
            return Role(found, NAMED, (Evidence(node.nid, f"`{identifier}()` names a {found}"),))
        if set(words(identifier)) & MODEL_WORDS or found == "feature":
            return Role("feature", NAMED, (Evidence(node.nid, f"`{identifier}()` is a forward pass"),))
        return NOTHING

    def _method(self, node: ir.Call, func: ir.Attr) -> Role:
        attr = func.attr
        if attr == "gradient" and isinstance(func.value, ir.Name) and "tape" in func.value.id.lower():
            return Role("gradient", COMPUTED, (Evidence(node.nid, "`tape.gradient` is a gradient"),))
        if attr in WEIGHT_METHODS:
            return Role("weight", COMPUTED, (Evidence(node.nid, f"`.{attr}()` gives weights"),))
        if attr in FEATURE_METHODS:
            return Role("feature", COMPUTED, (Evidence(node.nid, f"`.{attr}()` gives values of order one"),))
        if self._names.qualified(func.value) is not None:
            return NOTHING
        if attr in TRANSPARENT_METHODS:
            found = self.of(func.value)
            if found.kind == "unknown" and attr in ("add", "sub", "mul", "get", "pop", "div"):
                return _strongest(self.of(arg.value) for arg in node.args[:1])
            return found
        return self._called_name(attr, node)

    def _is_transform_call(self, node: ir.Call, transform: str | None = None) -> bool:
        inner: ir.Expr | None = node.func
        for _ in range(4):
            if isinstance(inner, ir.Name):
                if transform is None and self._is_pullback(inner):
                    return True
                bound = [b.value for b in self._names.reaching(inner) if b.how == "value"]
                inner = bound[-1] if bound else None
            if not isinstance(inner, ir.Call):
                return False
            name = self._names.qualified(inner.func)
            if name in GRADIENT_TRANSFORMS and not name.endswith(".vjp"):
                return transform is None or name.endswith(f".{transform}")
            # vmap(grad(f)), jit(grad(f)), partial(grad(f)): the transform is an argument.
            inner = inner.args[0].value if name is not None and inner.args else None
        return False

    def _is_pullback(self, node: ir.Name) -> bool:
        """``f`` of ``out, f = vjp(function, x)``"""
        for binding in self._names.reaching(node):
            if binding.how == "unpack" and binding.index == 1 and isinstance(binding.value, ir.Call):
                name = self._names.qualified(binding.value.func)
                if name in GRADIENT_TRANSFORMS and name.endswith(".vjp"):
                    return True
        return False

    def _differentiated(self, node: ir.Call, name: str) -> Role:
        inputs = next((a.value for a in node.args if a.keyword in ("inputs", "xs")), None)
        if inputs is None and len(node.args) > 1 and node.args[1].keyword is None:
            inputs = node.args[1].value
        for part in ir.walk(inputs) if inputs is not None else ():
            identifier = part.id if isinstance(part, ir.Name) else part.attr if isinstance(part, ir.Attr) else ""
            if set(words(identifier)) & PLACES:
                return Role("spatial", COMPUTED, (Evidence(node.nid, f"derivative by position `{identifier}`"),))
        return Role("gradient", COMPUTED, (Evidence(node.nid, f"`{name}` computes a gradient"),))

    def _returned(self, function: ir.FunctionDef, index: int | None, call: ir.Call) -> Role:
        role = _strongest(self.of(value) for value in self._names.returned(function, index))
        if role.is_gradient and role.strength == COMPUTED:
            return Role(role.kind, COMPUTED, (*role.evidence[:3], Evidence(call.nid, f"returned by `{function.name}`")))
        return role

    # -- operators --------------------------------------------------------------------------------------------

    def _binary(self, node: ir.Binary) -> Role:
        left, right = self.of(node.left), self.of(node.right)
        if node.op == "/":
            if left.is_gradient and self._is_bare_norm(node.right):
                return Role("unit", COMPUTED, (Evidence(node.nid, "divided by its norm"),))
            return left
        if node.op in ("@", "*") and "feedback" in (left.kind, right.kind) and left.kind != right.kind:
            if node.op == "@":
                strength = min(r.strength for r in (left, right) if r.kind == "feedback")
                return Role("credit", strength, (Evidence(node.nid, "an error sent through feedback"),))
        if node.op in ("+", "-", "*", "@"):
            if node.op == "-" and right.kind == "feature" and left.kind != "gradient":
                return Role("feature", max(left.strength, right.strength), right.evidence)
            return _strongest([left, right])
        return NOTHING

    def _is_bare_norm(self, node: ir.Expr) -> bool:
        return self._bare_norms.ask(node.nid, lambda: self._find_bare_norm(node))

    def _find_bare_norm(self, node: ir.Expr) -> bool:
        if isinstance(node, ir.Name):
            values = [b.value for b in self._names.reaching(node) if b.how == "value" and b.value is not None]
            return bool(values) and all(self._is_bare_norm(v) for v in values if not isinstance(v, ir.Name))
        if not isinstance(node, ir.Call):
            return False
        if isinstance(node.func, ir.Attr) and node.func.attr in ("unsqueeze", "view", "reshape", "item"):
            return self._is_bare_norm(node.func.value)
        name = self._names.qualified(node.func)
        return name in NORMS or (isinstance(node.func, ir.Attr) and node.func.attr == "norm")

    # -- parameters -------------------------------------------------------------------------------------------

    def _param(self, param: ir.Node) -> Role:
        owner = self._names.parent(param)
        if not isinstance(param, ir.Param) or not isinstance(owner, ir.FunctionDef | ir.Lambda):
            return NOTHING
        position = next(i for i, p in enumerate(owner.params) if p is param)
        role = self._hook_param(owner, position, param)
        if role.kind == "unknown" and isinstance(owner, ir.FunctionDef):
            return self._from_callers(owner, position, param)
        return role

    def _hook_param(self, owner: ir.FunctionDef | ir.Lambda, position: int, param: ir.Param) -> Role:
        method = self._is_method(owner)
        if owner.nid in self._hooked and position - method in self._hooked[owner.nid]:
            return Role("gradient", COMPUTED, (Evidence(param.nid, f"`{param.name}` of a backward hook"),))
        if isinstance(owner, ir.FunctionDef) and owner.name == "backward" and position >= 1:
            around = self._names.enclosing_class(owner)
            if around is not None and any(
                self._names.qualified(base.value) == "torch.autograd.Function" for base in around.bases
            ):
                return Role("gradient", COMPUTED, (Evidence(param.nid, f"`{param.name}` of a custom backward"),))
        return NOTHING

    def _is_method(self, owner: ir.FunctionDef | ir.Lambda) -> int:
        return int(bool(owner.params) and owner.params[0].name in ("self", "cls"))

    def _from_callers(self, owner: ir.FunctionDef, position: int, param: ir.Param) -> Role:
        roles = []
        for call in self._callers.get(owner.nid, ()):
            value = self._argument(call, position - self._is_method(owner), param.name)
            if value is not None:
                role = self.of(value)
                if role.is_gradient:
                    role = Role(
                        role.kind, role.strength, (*role.evidence[:3], Evidence(call.nid, "passed in this call"))
                    )
                roles.append(role)
        return _strongest(roles)

    def _argument(self, call: ir.Call, position: int, name: str) -> ir.Expr | None:
        for number, arg in enumerate(call.args):
            if arg.star:
                return None
            if arg.keyword == name or (arg.keyword is None and number == position):
                return arg.value
        return None

    def _find_callers(self) -> dict[int, list[ir.Call]]:
        callers: dict[int, list[ir.Call]] = {}
        for call in self._names.calls:
            function = self._names.function_called(call)
            if function is not None:
                callers.setdefault(function.nid, []).append(call)
        return callers

    def _find_hooks(self) -> dict[int, tuple[int, ...]]:
        hooked: dict[int, tuple[int, ...]] = {}
        for call in self._names.calls:
            if not (isinstance(call.func, ir.Attr) and call.func.attr in HOOKS and call.args):
                continue
            for function in self._functions(call.args[0].value):
                hooked[function.nid] = HOOKS[call.func.attr]
        return hooked

    def _functions(self, node: ir.Expr) -> list[ir.FunctionDef | ir.Lambda]:
        """The functions an expression can be: a name, a method, a lambda, or what a local factory returns."""
        match node:
            case ir.Lambda():
                return [node]
            case ir.Name():
                return [b.node for b in self._names.bindings(node) if isinstance(b.node, ir.FunctionDef)]
            case ir.Attr(attr=attr):
                owner = self._names.enclosing_class(node)
                method = self._names.method(owner, attr) if owner is not None else None
                return [method] if method is not None else []
            case ir.Call():
                factory = self._names.function_called(node)
                if factory is None:
                    return [f for arg in node.args[:1] for f in self._functions(arg.value)]
                found: list[ir.FunctionDef | ir.Lambda] = []
                for inner in ir.walk(factory.body):
                    if isinstance(inner, ir.Return) and isinstance(inner.value, ir.Name | ir.Lambda):
                        found += self._functions(inner.value)
                return found
        return []


def _strongest(roles: Iterable[Role]) -> Role:
    """A computed gradient beats all; otherwise computed beats named, and the first of equals wins."""
    best = NOTHING
    for role in roles:
        if role.kind == "unknown":
            continue
        rank = (role.strength, role.is_gradient)
        if best.kind == "unknown" or rank > (best.strength, best.is_gradient):
            best = role
    return best
