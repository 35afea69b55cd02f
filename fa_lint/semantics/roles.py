"""What a name, a call or a place among a hook's parameters says a value is: a gradient, a credit, feedback, a feature.

The evaluator of :mod:`fa_lint.analysis` follows the values, and asks here where the code shows nothing else.
"""

from __future__ import annotations

from dataclasses import dataclass
from fnmatch import fnmatchcase

from fa_lint.semantics import ir
from fa_lint.semantics.names import Names
from fa_lint.semantics.words import is_short_gradient_name, suggests, words

__all__ = [
    "COMPUTED",
    "MODEL_WORDS",
    "NAMED",
    "NOTHING",
    "Evidence",
    "Role",
    "RoleNames",
    "Roles",
]

# A hook's method, and the positions of the gradients among the hook's parameters.
_HOOKS = {
    "register_backward_hook": (1, 2),
    "register_full_backward_hook": (1, 2),
    "register_full_backward_pre_hook": (1,),
    "register_module_full_backward_hook": (1, 2),
    "register_hook": (0,),
}
# Calls of what is named so are forward passes.
MODEL_WORDS = frozenset(
    "model net network encoder backbone decoder head embed embedding embedder projector predictor classifier "
    "layer block resnet vit bert clip dropout relu norm fc conv linear generator teacher student transformer "
    "mlp activation pool".split()
)
_NO_VALUES = frozenset("shape dtype device ndim requires_grad grad_fn".split())

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


NOTHING = Role("unknown")


@dataclass(frozen=True, slots=True)
class RoleNames:
    """Identifier patterns (``fnmatch``) that a project declares in its configuration."""

    feedback: tuple[str, ...] = ()
    credit: tuple[str, ...] = ()
    alignment: tuple[str, ...] = ()


class Roles:
    """Answers :meth:`of` for the expressions of one module, and :meth:`parameter` for the parameters of its hooks."""

    def __init__(self, names: Names, declared: RoleNames) -> None:
        self._names = names
        self._declared = declared
        self._hooked = self._find_hooks()

    def of(self, node: ir.Expr) -> Role:
        """Return what an expression says by itself, whatever it is computed from."""
        match node:
            case ir.Name(id=identifier) if self._names.qualified(node) is None:
                return self.named(identifier, node)
            case ir.Attr(attr="grad", value=value) if self._names.qualified(value) is None:
                return Role("gradient", COMPUTED, (Evidence(node.nid, "`.grad` is a gradient"),))
            case ir.Attr(attr="weight" | "bias" as attr) if self._names.qualified(node) is None:
                return Role("weight", COMPUTED, (Evidence(node.nid, f"`.{attr}` of a layer"),))
            case ir.Attr(attr=attr) if attr not in _NO_VALUES and self._names.qualified(node) is None:
                return self.named(attr, node)
            case ir.Subscript(index=[ir.Const(value=str() as key)]) if key.isidentifier():
                # ``out["bp_grad"]``: the key says more than the name of the container.
                return self.named(key, node)
            case ir.Call():
                return self._call(node)
        return NOTHING

    def named(self, identifier: str, node: ir.Node) -> Role:
        """Return the role that a name alone suggests."""
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

    # -- calls ------------------------------------------------------------------------------------------------

    def _call(self, node: ir.Call) -> Role:
        function = self._names.function_called(node)
        if function is not None:
            return self.named(function.name, node) if suggests(function.name) in ("gradient", "credit") else NOTHING
        match node.func:
            case ir.Attr(attr="gradient", value=ir.Name(id=identifier)) if "tape" in identifier.lower():
                return Role("gradient", COMPUTED, (Evidence(node.nid, "`tape.gradient` is a gradient"),))
            case ir.Name(id=identifier):
                return self._called_name(identifier, node)
            case ir.Attr(attr=attr, value=value) if self._names.qualified(value) is None:
                return self._called_name(attr, node)
        return NOTHING

    def _called_name(self, identifier: str, node: ir.Call) -> Role:
        found = suggests(identifier)
        if found in ("gradient", "credit"):
            return Role(found, NAMED, (Evidence(node.nid, f"`{identifier}()` names a {found}"),))
        if set(words(identifier)) & MODEL_WORDS or found == "feature":
            return Role("feature", NAMED, (Evidence(node.nid, f"`{identifier}()` is a forward pass"),))
        return NOTHING

    # -- parameters -------------------------------------------------------------------------------------------

    def parameter(self, param: ir.Param) -> Role:
        """Return the role of a parameter of a backward hook or of a custom backward."""
        owner = self._names.parent(param)
        if not isinstance(owner, ir.FunctionDef | ir.Lambda):
            return NOTHING
        position = next(i for i, p in enumerate(owner.params) if p is param)
        method = int(bool(owner.params) and owner.params[0].name in ("self", "cls"))
        if owner.nid in self._hooked and position - method in self._hooked[owner.nid]:
            return Role("gradient", COMPUTED, (Evidence(param.nid, f"`{param.name}` of a backward hook"),))
        if isinstance(owner, ir.FunctionDef) and owner.name == "backward" and position >= 1:
            around = self._names.enclosing_class(owner)
            if around is not None and any(
                self._names.qualified(base.value) == "torch.autograd.Function" for base in around.bases
            ):
                return Role("gradient", COMPUTED, (Evidence(param.nid, f"`{param.name}` of a custom backward"),))
        return NOTHING

    def _find_hooks(self) -> dict[int, tuple[int, ...]]:
        hooked: dict[int, tuple[int, ...]] = {}
        for call in self._names.calls:
            if not (isinstance(call.func, ir.Attr) and call.func.attr in _HOOKS and call.args):
                continue
            for function in self._functions(call.args[0].value):
                hooked[function.nid] = _HOOKS[call.func.attr]
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
