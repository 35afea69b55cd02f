from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from fa_lint.findings import Finding, Level, Related
from fa_lint.rules.base import Invalid, Rule, occurs
from fa_lint.semantics import ir
from fa_lint.semantics.classes import chain, is_module, reached
from fa_lint.semantics.facts import ModuleFacts
from fa_lint.semantics.feedback_names import is_feedback_name
from fa_lint.semantics.slices import slice_of
from fa_lint.semantics.words import words

__all__ = ["ParameterRecreatedInForward"]

_PARAMETERS = frozenset({"torch.nn.Parameter", "torch.nn.parameter.Parameter"})
_ENTRIES = ("forward", "__call__", "training_step")
_LISTS = frozenset(f"torch.nn.{name}" for name in ("ParameterList", "ParameterDict"))
# What the layers of torch call their own parameters.
_LAYER_PARAMETERS = ("weight", "bias", "in_proj_")
# Classes of torch.nn that have no parameters of their own.
_PLAIN = frozenset(f"torch.nn.{name}" for name in ("Module", "Sequential", "ModuleList", "ModuleDict"))
_WALKS = frozenset("modules named_modules children named_children items values parameters named_parameters".split())
# Words of a flag that says whether something was made already.
_ONCE = frozenset("init inited initialized initialised built ready first fitted setup done created loaded".split())
_OPTIMIZERS = frozenset({"optimizer", "optim", "optimiser"})
_DEPTH = 6


class ParameterRecreatedInForward(Rule):
    """
    ## What it does
    Flags `self.w = nn.Parameter(…)` (also `self.layer.weight = …`, `setattr` and `register_parameter`) in the `forward` of a
    torch module, or in a method that `forward` calls, where there was a parameter before. Silent in `__init__` and other
    methods, with `requires_grad=False`, on feedback (no optimizer should hold it), where the parameter is made once, the
    first time it is needed, where the same pass makes an optimizer for it (test-time tuning), and where none was there (the states of predictive coding, made from the input).

    ## Why is this bad
    The optimizer was built on the tensor that was there before. It goes on updating that one, which no output depends on
    any more. Measured: a layer that renormalises its weight this way had moved by exactly 0.0 after 100 SGD
    steps at a rate of 0.1; the same renormalisation in place moved it by 1.25. A published feedback-alignment library
    froze its weights like this, and Γ against a frozen network still looks like a number.

    ## Example
    ```python
    import torch
    from torch import nn

    class Normalised(nn.Linear):
        def forward(self, x):
            with torch.no_grad():
                self.weight = nn.Parameter(self.weight / self.weight.norm())
            return super().forward(x)
    ```

    ## Use instead
    ```python
    import torch
    from torch import nn

    class Normalised(nn.Linear):
        def forward(self, x):
            with torch.no_grad():
                self.weight.div_(self.weight.norm())
            return super().forward(x)
    ```

    ## Fix safety
    No fix: whether the value should be written in place (`copy_` under `no_grad`) or be a plain tensor of the graph is the
    author's to say (`torch.nn.utils.parametrize` does the latter).

    ## References
    - [torch.optim: constructing it](https://docs.pytorch.org/docs/stable/optim.html#constructing-it)
    - [Parametrizations](https://docs.pytorch.org/tutorials/intermediate/parametrizations.html)
    """

    code = "FAL407"
    name = "parameter-recreated-in-forward"
    summary = "a parameter that `forward` replaces, so that the optimizer updates the old one"
    level = Level.ERROR
    pitfall = "P4"
    runtime = "fa_lint_runtime.inspect_checkpoint"
    gate = (
        occurs(b"Parameter(", b"ParameterList(", b"ParameterDict("),
        occurs(b"def forward", b"def __call__", b"def training_step"),
        occurs(b"torch"),
    )

    VALID = (
        "from torch import nn\nclass M(nn.Module):\n    def __init__(self, w):\n        super().__init__()\n"
        "        self.w = nn.Parameter(w)\n    def forward(self, x): return x @ self.w",
        "from torch import nn\nclass M(nn.Module):\n    def prune(self, mask):\n        self.w = nn.Parameter(self.w[mask])\n"
        "    def forward(self, x): return x @ self.w",
        "from torch import nn\nclass M(nn.Module):\n    def forward(self, x):\n"
        "        self.b = nn.Parameter(self.w.sign(), requires_grad=False)\n        return x @ self.b",
        "import torch\nfrom torch import nn\nclass M(nn.Module):\n    def forward(self, x):\n        if self.w is None:\n"
        "            self.w = nn.Parameter(torch.zeros(x.shape[-1]))\n        return x * self.w",
        "import torch\nfrom torch import nn\nclass M(nn.Module):\n    def forward(self, x):\n        if not self.initialized:\n"
        "            self.setup(x)\n        return x * self.w\n    def setup(self, x):\n        self.w = nn.Parameter(torch.zeros(3))",
        "from torch import nn\nclass M(nn.Module):\n    def forward(self, x):\n        self.table = nn.Parameter(x.cumsum(0))\n"
        "        self.table.requires_grad = False\n        return self.table",
        "from torch import nn\nclass uSF(nn.Linear):\n    def forward(self, x):\n        self.weight_backward = nn.Parameter(self.weight.sign())\n"
        "        return super().forward(x)",
        "from torch import nn\nclass M:\n    def forward(self, x):\n        self.w = nn.Parameter(x)",
    )
    INVALID = (
        Invalid(
            """
            from torch import nn
            from torch.nn import Parameter
            class Cell(nn.Module):
                def forward(self, x):
                    self._constrain()
                    return self.cell(x)
                def _constrain(self):
                    self.cell.weight = Parameter(self.cell.weight.clamp(min=0))
            """,
            lines=(8,),
        ),
        Invalid(
            """
            import torch
            class Block(torch.nn.Linear):
                def forward(self, x):
                    if self.constrain:
                        w = torch.nn.Parameter(self.weight / self.weight.norm())
                        self.weight = w
                    return super().forward(x)
            """,
            lines=(6,),
        ),
    )

    def check(self, facts: ModuleFacts) -> Iterator[Finding]:
        seen: set[int] = set()
        for owner in facts.names.classes:
            if not is_module(facts, owner):
                continue
            initial = reached(facts, owner, "__init__")
            entered = reached(facts, owner, *_ENTRIES)
            before: set[str] | None = None
            for method, via in entered.items():
                if via is not None and _is_guarded(facts, via):
                    continue
                for node in ir.walk(method.body):
                    found = _recreated(facts, node)
                    if found is None or node.nid in seen or _is_guarded(facts, node) or _is_frozen(facts, node, method):
                        continue
                    place, made = found
                    if _was_frozen(facts, place, owner) or _is_trained_here(facts, node, place, entered):
                        continue
                    if not _is_read(facts, place, made):
                        before = _made_before(facts, owner, entered) if before is None else before
                        if method in initial or not _existed(facts, place, owner, before):
                            continue
                    seen.add(node.nid)
                    yield self._found(facts, node, made, method, via)

    def _found(
        self, facts: ModuleFacts, node: ir.Node, made: ir.Call, method: ir.FunctionDef, via: ir.Call | None
    ) -> Finding:
        places = []
        if via is not None:
            places.append(Related(*facts.span(via), f"`forward` calls `{method.name}` here"))
        if made.nid != node.nid:
            places.append(Related(*facts.span(made), "the new parameter, unknown to the optimizer"))
        return self.find(
            facts,
            node,
            "a new `nn.Parameter` at every forward: the optimizer keeps updating the old one, so this weight never "
            "trains; write in place under `torch.no_grad()`",
            computes="gradients into a tensor that no optimizer holds",
            related=tuple(places),
        )


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a module keeps a parameter: the object that holds it, and its name there, or None for one that is computed."""

    holder: ir.Expr
    name: str | None


def _recreated(facts: ModuleFacts, node: ir.Node) -> tuple[_Place, ir.Call] | None:
    """The place in a module where a statement stores a new ``nn.Parameter(…)``, and the call that makes it."""
    places, value = _stored(node)
    own = [place for place in places if _is_own(facts, place.holder) and not is_feedback_name(place.name or "")]
    made = _parameter(facts, value) if own and value is not None else None
    return None if made is None else (own[0], made)


def _stored(node: ir.Node) -> tuple[list[_Place], ir.Expr | None]:
    """The attributes that a statement or a call stores a value in, and the value."""
    match node:
        case ir.Assign(targets=targets, value=value):
            return [place for target in targets if (place := _place(target)) is not None], value
        case ir.AnnAssign(target=target, value=ir.Expr() as value):
            place = _place(target)
            return [place] if place is not None else [], value
        case ir.Call(func=ir.Name(id="setattr"), args=[ir.Arg(value=holder), ir.Arg(value=name), ir.Arg(value=value)]):
            return [_Place(holder, _text(name))], value
        case ir.Call(
            func=ir.Attr(value=holder, attr="register_parameter"), args=[ir.Arg(value=name), ir.Arg(value=value)]
        ):
            return [_Place(holder, _text(name))], value
    return [], None


def _place(target: ir.Expr) -> _Place | None:
    match target:
        case ir.Attr(attr="data" | "grad"):
            return None
        case ir.Attr(value=holder, attr=attr):
            return _Place(holder, attr)
        case ir.Subscript(value=ir.Attr(value=holder, attr="_parameters"), index=[name]):
            return _Place(holder, _text(name))
        case ir.Subscript(value=ir.Attr(value=holder, attr=attr)):
            return _Place(holder, attr)
    return None


def _text(node: ir.Expr) -> str | None:
    return node.value if isinstance(node, ir.Const) and isinstance(node.value, str) else None


def _is_own(facts: ModuleFacts, node: ir.Expr, depth: int = 0) -> bool:
    """True if a value is ``self`` or a part of it, also by another name: ``for layer in self.layers``."""
    match node:
        case ir.Attr(value=inner) | ir.Subscript(value=inner):
            return _is_own(facts, inner, depth)
        case ir.Name(id="self"):
            return True
        case ir.Sequence(items=items):
            return bool(items) and all(_is_own(facts, item, depth) for item in items)
        case ir.Call(func=ir.Name(id="enumerate" | "zip" | "reversed" | "list" | "getattr"), args=[first, *_]):
            return _is_own(facts, first.value, depth)
        case ir.Call(func=ir.Attr(value=inner, attr=attr)) if attr in _WALKS:
            return _is_own(facts, inner, depth)
        case ir.Name() if depth < _DEPTH:
            bound = facts.names.reaching(node)
            return bool(bound) and all(
                b.how in ("value", "iterate", "unpack")
                and b.value is not None
                and b.value is not node
                and _is_own(facts, b.value, depth + 1)
                for b in bound
            )
    return False


def _made_before(facts: ModuleFacts, owner: ir.ClassDef, entered: Mapping[ir.FunctionDef, ir.Call | None]) -> set[str]:
    """The names of the parameters of ``self`` that a class or its bases make outside the methods of a forward pass."""
    found: set[str] = set()
    for here in chain(facts, owner):
        for method in (s for s in here.body.body if isinstance(s, ir.FunctionDef)):
            for node in ir.walk(method.body) if method not in entered else ():
                places, value = _stored(node)
                own = {p.name for p in places if p.name and isinstance(p.holder, ir.Name) and p.holder.id == "self"}
                if own and value is not None and _parameter(facts, value) is not None:
                    found |= own
    return found


def _existed(facts: ModuleFacts, place: _Place, owner: ir.ClassDef, before: set[str]) -> bool:
    """True if there was a parameter before, as far as the class shows. Where none was, no optimizer holds it."""
    is_layers = place.name is not None and place.name.startswith(_LAYER_PARAMETERS)
    if isinstance(place.holder, ir.Name) and place.holder.id == "self":
        return place.name in before or (is_layers and _inherits_parameters(facts, owner))
    return is_layers


def _is_read(facts: ModuleFacts, place: _Place, made: ir.Call) -> bool:
    """True if the new parameter is computed from what is at its place: ``self.w = nn.Parameter(self.w / …)``."""
    for part in slice_of(made, facts).nodes:
        match part:
            case ir.Attr(value=holder, attr=attr) if attr == place.name and ir.same(holder, place.holder):
                return True
            case ir.Call(func=ir.Name(id="getattr"), args=[ir.Arg(value=holder), *_]) if place.name is None:
                if ir.same(holder, place.holder):
                    return True
            case ir.Subscript(value=ir.Attr(value=holder, attr="_parameters")) if ir.same(holder, place.holder):
                return True
    return False


def _inherits_parameters(facts: ModuleFacts, owner: ir.ClassDef) -> bool:
    names = (facts.qualified(b.value) for c in chain(facts, owner) for b in c.bases if b.keyword is None)
    return any(name is not None and name.startswith("torch.nn.") and name not in _PLAIN for name in names)


def _parameter(facts: ModuleFacts, node: ir.Expr, depth: int = 0) -> ir.Call | None:
    """The call that makes a value a new parameter, or a list of parameters, that trains."""
    match node:
        case ir.Call(func=func) if facts.qualified(func) in _LISTS:
            return node
        case ir.Call(func=func, args=args) if facts.qualified(func) in _PARAMETERS:
            frozen = next((a.value for a in args if a.keyword == "requires_grad"), None)
            frozen = args[1].value if len(args) > 1 and args[1].keyword is None else frozen
            if frozen is not None and facts.values.constant(frozen) is not True:
                return None
            return node
        case ir.Conditional(body=body, orelse=orelse) if depth < _DEPTH:
            return _parameter(facts, body, depth + 1) or _parameter(facts, orelse, depth + 1)
        case ir.Name() if depth < _DEPTH:
            found = [
                _parameter(facts, b.value, depth + 1) if b.how == "value" and b.value is not None else None
                for b in facts.names.reaching(node)
            ]
            return found[0] if found and all(f is not None for f in found) else None
    return None


def _is_frozen(facts: ModuleFacts, node: ir.Node, method: ir.FunctionDef) -> bool:
    """``self.w.requires_grad = False`` after it: nothing that an optimizer should hold."""
    names = _called(facts, node)
    for after in ir.walk(method.body):
        match after:
            case ir.Assign(targets=[ir.Attr(value=holder, attr="requires_grad")], value=ir.Const(value=False)):
                if facts.source(holder) in names:
                    return True
            case ir.Call(func=ir.Attr(value=holder, attr="requires_grad_"), args=[ir.Arg(value=ir.Const(value=False))]):
                if facts.source(holder) in names:
                    return True
    return False


def _called(facts: ModuleFacts, node: ir.Node) -> set[str]:
    """What the new parameter of a statement is called: its places, and the variable that brings it."""
    targets = node.targets if isinstance(node, ir.Assign) else [node.target] if isinstance(node, ir.AnnAssign) else []
    names = {facts.source(target) for target in targets}
    value = _stored(node)[1]
    if isinstance(value, ir.Name):
        names.add(value.id)
    if not targets:
        names |= {f"{facts.source(place.holder)}.{place.name}" for place in _stored(node)[0] if place.name}
    return names


def _was_frozen(facts: ModuleFacts, place: _Place, owner: ir.ClassDef) -> bool:
    """True if ``__init__`` makes the parameter without a gradient: no optimizer updates the old one either."""
    if place.name is None or not (isinstance(place.holder, ir.Name) and place.holder.id == "self"):
        return False
    stores = [
        (node, init, value)
        for here in chain(facts, owner)
        for init in here.body.body
        if isinstance(init, ir.FunctionDef) and init.name == "__init__"
        for node in ir.walk(init.body)
        for places, value in [_stored(node)]
        if value is not None and any(p.name == place.name and facts.source(p.holder) == "self" for p in places)
    ]
    return bool(stores) and all(
        (isinstance(value, ir.Call) and facts.qualified(value.func) in _PARAMETERS and _parameter(facts, value) is None)
        or _is_frozen(facts, node, init)
        for node, init, value in stores
    )


def _is_trained_here(
    facts: ModuleFacts, node: ir.Node, place: _Place, entered: Mapping[ir.FunctionDef, ir.Call | None]
) -> bool:
    """True if every forward pass trains its new parameter: an optimizer that is made there, or its own gradient."""
    names = _called(facts, node)
    for method in entered:
        for call in ir.walk(method.body):
            if not isinstance(call, ir.Call) or not _updates(facts, call) or _is_guarded(facts, call):
                continue
            parts = [part for arg in call.args for part in ir.walk(arg.value)]
            if any(isinstance(part, ir.Expr) and facts.source(part) in names for part in parts):
                return True
            if any(isinstance(part, ir.Attr) and part.attr == place.name for part in parts):
                return True
            # All of ``self.parameters()``, after the new one is there.
            if call.nid > node.nid and any(facts.source(part) == "self.parameters()" for part in parts):
                return True
    return False


def _updates(facts: ModuleFacts, call: ir.Call) -> bool:
    """``torch.optim.SGD(…)``, ``self.make_optimizer(…)``, ``torch.autograd.grad(…)``."""
    name = facts.qualified(call.func) or ""
    last = ir.last_name(call.func)
    return name.startswith("torch.optim.") or name == "torch.autograd.grad" or bool(set(words(last)) & _OPTIMIZERS)


def _is_guarded(facts: ModuleFacts, node: ir.Node) -> bool:
    """Under a test that is true only once: ``is None``, ``not self.ready``, ``hasattr``, a change of shape."""
    inner: ir.Node = node
    for above in facts.names.ancestors(node):
        if isinstance(above, ir.FunctionDef):
            return _returned_before(facts, above, node)
        if (
            isinstance(above, ir.If)
            and inner is not above.test
            and _asks_for_state(facts, above.test, inner is above.body)
        ):
            return True
        inner = above
    return False


def _returned_before(facts: ModuleFacts, function: ir.FunctionDef, node: ir.Node) -> bool:
    """``if self.ready: return`` above it."""
    for statement in function.body.body:
        if statement.nid >= node.nid:
            return False
        if isinstance(statement, ir.If) and _asks_for_state(facts, statement.test, False):
            if any(isinstance(inner, ir.Return) for inner in statement.body.body):
                return True
    return False


def _asks_for_state(facts: ModuleFacts, test: ir.Expr, holds: bool) -> bool:
    """Return True if ``test`` holds (or does not) because the module lacks something, or has it in another shape."""
    match test:
        case ir.Unary(op="not", operand=operand):
            return _asks_for_state(facts, operand, not holds)
        case ir.Bool(left=left, right=right):
            return _asks_for_state(facts, left, holds) or _asks_for_state(facts, right, holds)
        case ir.Walrus(value=value):
            return _asks_for_state(facts, value, holds)
    if not any(isinstance(part, ir.Name) and part.id in ("self", "cls") for part in ir.walk(test)):
        return False
    match test:
        case ir.Compare(ops=["is" | "is not" | "==" | "!=" as op], comparators=[ir.Const(value=None)]):
            return holds is (op in ("is", "=="))
        case ir.Compare(ops=["in" | "not in" as op]):
            return holds is (op == "not in")
        case ir.Compare():
            return any(_is_shape(part) for part in ir.walk(test))
        case ir.Call(func=ir.Name(id="hasattr" | "isinstance")):
            return not holds or _is_uninitialized(test)
        case ir.Call(func=ir.Attr(attr="has_uninitialized_params")):
            return holds
        case ir.Call(func=ir.Name(id="len") | ir.Attr(attr="is_initialized")):
            return not holds
        case ir.Attr(attr=attr):
            return bool(set(words(attr)) & _ONCE) or _sets(facts.names.enclosing_function(test), attr)
    return any(_is_shape(part) for part in ir.walk(test))


def _sets(function: ir.FunctionDef | None, flag: str) -> bool:
    """True if a function sets the flag of ``self`` that it tests, so that it does its work once."""
    targets = (n.targets for n in ir.walk(function.body) if isinstance(n, ir.Assign)) if function is not None else ()
    return any(isinstance(t, ir.Attr) and t.attr == flag for several in targets for t in several)


def _is_uninitialized(test: ir.Call) -> bool:
    return any("Uninit" in ir.last_name(part) for part in ir.walk(test))


def _is_shape(node: ir.Node) -> bool:
    match node:
        case ir.Attr(attr="shape" | "device" | "dtype" | "__dict__" | "ndim"):
            return True
        case ir.Call(func=ir.Attr(attr="size" | "dim" | "numel") | ir.Name(id="len")):
            return True
    return False
