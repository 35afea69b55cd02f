"""Draws: which expressions make a fresh random (or uninitialised) tensor, and whether a seed makes it repeatable."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from fa_lint.semantics import ir
from fa_lint.semantics.calls import given
from fa_lint.semantics.facts import ModuleFacts
from fa_lint.semantics.values import UNKNOWN
from fa_lint.semantics.words import words

__all__ = ["DRAWING", "FILLS", "Draw", "draw_of", "is_fill"]

_RANDOM = frozenset(
    "torch.rand torch.randn torch.rand_like torch.randn_like torch.randint torch.randint_like torch.normal "
    "torch.bernoulli numpy.random.rand numpy.random.randn numpy.random.normal numpy.random.uniform "
    "numpy.random.standard_normal numpy.random.random numpy.random.random_sample numpy.random.choice "
    "numpy.random.randint numpy.random.binomial scipy.stats.ortho_group.rvs jax.random.normal jax.random.uniform "
    "jax.random.truncated_normal jax.random.orthogonal jax.random.rademacher jax.random.bernoulli".split()
)
_UNINITIALISED = frozenset(
    "torch.empty torch.empty_like torch.empty_strided torch.FloatTensor torch.DoubleTensor torch.HalfTensor "
    "torch.Tensor torch.cuda.FloatTensor torch.cuda.DoubleTensor numpy.empty numpy.empty_like".split()
)
# Made of one value, and random only where another statement fills it.
_BLANK = frozenset(
    {f"{library}.{name}" for library in ("torch", "numpy") for name in ("zeros", "zeros_like", "ones", "ones_like")}
)
# Methods of a generator that draw, and tensor methods that fill with a draw.
_GENERATED = frozenset(
    "uniform normal standard_normal rand randn random choice binomial random_sample integers randint sample rsample "
    "rvs".split()
)
_GENERATORS = frozenset({"numpy.random.RandomState", "numpy.random.default_rng", "numpy.random.Generator"})
_FILLED_AT_RANDOM = frozenset(
    {"uniform_", "normal_", "bernoulli_", "random_", "exponential_", "cauchy_", "log_normal_"}
)
FILLS = _FILLED_AT_RANDOM | frozenset({"zero_", "fill_", "copy_", "set_", "data_ptr", "eye_", "swap", "sign_"})
_CONSTANT_INITS = frozenset({"zeros_", "ones_", "constant_", "eye_", "dirac_"})
_WRAPPERS = frozenset(
    "torch.autograd.Variable torch.autograd.variable.Variable torch.nn.Parameter torch.nn.parameter.Parameter "
    "torch.nn.Buffer torch.nn.parameter.Buffer torch.from_numpy torch.tensor torch.as_tensor torch.Tensor "
    "torch.FloatTensor torch.sign torch.abs torch.nn.functional.normalize torch.linalg.qr torch.qr torch.clone "
    "torch.mul torch.div torch.stack torch.cat torch.nn.ParameterList torch.nn.ParameterDict numpy.array "
    "numpy.asarray numpy.float32 jax.numpy.array jax.numpy.asarray torch.nn.ModuleList torch.nn.ModuleDict".split()
)
_SEEDS = frozenset({"torch.manual_seed", "torch.random.manual_seed", "torch.cuda.manual_seed", "numpy.random.seed"})
_SIZES = frozenset({"size", "shape", "dim", "dims", "features", "n", "num", "width", "channels", "in", "out", "units"})
_DEPTH = 14
# The last names of calls that make or fill a tensor: what a file without them cannot draw with.
DRAWING = _GENERATED | _FILLED_AT_RANDOM | {"new_empty"}
DRAWING |= {name.rpartition(".")[2] for name in _RANDOM | _UNINITIALISED | _BLANK}


@dataclass(frozen=True, slots=True)
class Draw:
    """``kind``: ``random``, ``uninitialised`` or ``blank`` (zeros, to be filled); ``seed``: ``constant``,
    ``argument`` (a seed that a caller chooses, or a generator passed in) or empty; ``nid``: the call that makes it."""

    kind: str
    nid: int
    seed: str = ""


def draw_of(facts: ModuleFacts, node: ir.Expr | None, depth: int = 0) -> Draw | None:
    """The draw an expression makes, through wrappers, arithmetic, displays, names and functions of the module."""
    if node is None or depth > _DEPTH:
        return None
    depth += 1
    match node:
        case ir.Call():
            return _of_call(facts, node, depth)
        case ir.Name():
            if facts.qualified(node) is not None:
                return None
            found = [
                draw_of(facts, b.value, depth)
                for b in facts.names.reaching(node)
                if b.how in ("value", "item", "unpack", "iterate")
            ]
            draw = _first(found)
            if draw is not None and draw.kind != "random" and _is_filled(facts, node):
                return Draw("random", draw.nid, draw.seed)
            return draw
        case ir.Binary(op="*" | "/" | "+" | "-" | "@", left=left, right=right):
            return _first([draw_of(facts, left, depth), draw_of(facts, right, depth)])
        case ir.Unary(op="-", operand=value) | ir.Subscript(value=value) | ir.Starred(value=value):
            return draw_of(facts, value, depth)
        case ir.Walrus(value=value):
            return draw_of(facts, value, depth)
        case ir.Attr(attr="T" | "mT" | "data" | "Q", value=value):
            return draw_of(facts, value, depth)
        case ir.Conditional(body=body, orelse=orelse):
            return _first([draw_of(facts, body, depth), draw_of(facts, orelse, depth)])
        case ir.Comprehension(elements=elements):
            return draw_of(facts, elements[-1], depth)
        case ir.Sequence(items=items) | ir.Keyed(values=items):
            return _first([draw_of(facts, item, depth) for item in items])
    return None


def _first(found: list[Draw | None]) -> Draw | None:
    """A random draw beats an allocation: the names of a branch may be filled in another."""
    drawn = [draw for draw in found if draw is not None]
    order = ("random", "uninitialised", "blank")
    return min(drawn, key=lambda draw: order.index(draw.kind), default=None)


def _is_filled(facts: ModuleFacts, node: ir.Name) -> bool:
    """True if its function writes into a local tensor: ``init.normal_(b)``, ``b.data.uniform_()``, ``b[0] = 1``."""
    function = facts.names.enclosing_function(node)
    for call in facts.calls:
        if not is_fill(facts, call) or facts.names.enclosing_function(call) is not function:
            continue
        target: ir.Expr | None = call.func.value if isinstance(call.func, ir.Attr) else None
        if facts.qualified(call.func) is not None:
            target = call.args[0].value if call.args else None
        while isinstance(target, ir.Attr | ir.Subscript):
            target = target.value
        if isinstance(target, ir.Name) and target.id == node.id:
            return True
    return any(b.how == "item" for b in facts.names.bindings(node))


def _of_call(facts: ModuleFacts, node: ir.Call, depth: int) -> Draw | None:
    name = facts.qualified(node.func)
    if name is not None:
        last = name.rpartition(".")[2]
        if name in _RANDOM:
            return Draw("random", node.nid, _seed(facts, node))
        if name in _BLANK:
            return Draw("blank", node.nid)
        if name in _UNINITIALISED and _allocates(facts, node, last):
            return Draw("uninitialised", node.nid)
        if name.startswith("torch.nn.init.") and node.args:
            if last in _CONSTANT_INITS:
                return None
            return Draw("random", node.nid, _seed(facts, node))
        if name in _WRAPPERS and node.args:
            return draw_of(facts, node.args[0].value, depth)
        return None
    if isinstance(node.func, ir.Attr):
        return _of_method(facts, node, node.func, depth)
    if isinstance(node.func, ir.Name) and node.func.id in ("list", "tuple", "dict") and node.args:
        return draw_of(facts, node.args[0].value, depth)
    if any(facts.qualified(choice) in _RANDOM for choice in _choices(facts, node.func)):
        return Draw("random", node.nid, _seed(facts, node))
    function = facts.names.function_called(node)
    if function is None:
        return None
    # ``B = transformed(torch.randn(…))``: what is given in comes out changed.
    given = [draw_of(facts, arg.value, depth + 2) for arg in node.args[:1]]
    return _returned(facts, function, depth) or _first(given)


def _choices(facts: ModuleFacts, func: ir.Expr) -> list[ir.Expr]:
    """The functions that a name may be bound to: ``draw = {"normal": torch.randn, "uniform": torch.rand}[kind]``."""
    match func:
        case ir.Name():
            values = [b.value for b in facts.names.reaching(func) if b.how == "value" and b.value is not func]
            return [choice for value in values if value is not None for choice in _choices(facts, value)]
        case ir.Subscript(value=ir.Keyed(values=choices)):
            return choices
        case ir.Conditional(body=body, orelse=orelse):
            return [body, orelse]
    return []


def _of_method(facts: ModuleFacts, node: ir.Call, func: ir.Attr, depth: int) -> Draw | None:
    if func.attr in _FILLED_AT_RANDOM:
        return Draw("random", node.nid, _seed(facts, node))
    if func.attr == "new_empty":
        return Draw("uninitialised", node.nid)
    if func.attr in _GENERATED:
        source = _generator(facts, func.value)
        if source is not None:
            return Draw("random", node.nid, source)
    function = facts.names.function_called(node)
    if function is not None:
        return _returned(facts, function, depth)
    if func.attr in ("size", "numel", "dim", "item", "sum", "mean", "norm", "max", "min"):
        return None
    return draw_of(facts, func.value, depth)


def _returned(facts: ModuleFacts, function: ir.FunctionDef, depth: int) -> Draw | None:
    return _first([draw_of(facts, value, depth + 2) for value in facts.names.returned(function)])


def _allocates(facts: ModuleFacts, node: ir.Call, last: str) -> bool:
    """``torch.Tensor(3, 4)`` allocates; ``torch.Tensor([3., 4.])`` and ``torch.Tensor(array)`` hold the data given."""
    if last.startswith("empty"):
        return True
    if not node.args:
        return False
    if len(node.args) > 1 or node.args[0].keyword == "size" or node.args[0].star:
        return True
    return _is_size(facts, node.args[0].value)


def _is_size(facts: ModuleFacts, node: ir.Expr) -> bool:
    match node:
        case ir.Const(value=int()):
            return True
        case ir.Attr(attr="shape") | ir.Call(func=ir.Attr(attr="size" | "Size")):
            return True
        case ir.Call(func=func) if facts.qualified(func) == "torch.Size":
            return True
        case ir.Name(id=identifier) | ir.Attr(attr=identifier):
            return bool(set(words(identifier)) & _SIZES)
    return False


# -- seeds --------------------------------------------------------------------------------------------------------


def _seed(facts: ModuleFacts, node: ir.Call) -> str:
    """How a draw is seeded: by its own generator, or by the statement right before it."""
    generator = next((a.value for a in node.args if a.keyword in ("generator", "key", "random_state")), None)
    if (facts.qualified(node.func) or "").startswith("jax.random.") and node.args:
        seeds = set(_key_seeds(facts, generator or node.args[0].value, set()))
        return seeds.pop() if len(seeds) == 1 else "argument"
    if generator is not None and not (isinstance(generator, ir.Const) and generator.value is None):
        return _generator(facts, generator) or "argument"
    return _seeded_just_before(facts, node)


def _generator(facts: ModuleFacts, node: ir.Expr, depth: int = 0) -> str | None:
    """The seed of a random generator; an empty string where it has none, None where the node is no generator."""
    match node:
        case ir.Call(func=func, args=args):
            name = facts.qualified(func)
            if isinstance(func, ir.Attr) and func.attr == "manual_seed":
                return _seed_value(facts, args)
            if name in _GENERATORS:
                return _seed_value(facts, args) if args else ""
            if name == "torch.Generator":
                return _seeded_generator(facts, node)
            if name is not None and name.startswith("torch.distributions."):
                return ""
        case ir.Name() | ir.Attr() if depth < 4:
            bindings = facts.names.reaching(node) if isinstance(node, ir.Name) else facts.names.self_attribute(node)
            for binding in bindings:
                function = facts.names.parent(binding.node)
                if binding.how == "param" and isinstance(function, ir.FunctionDef):
                    passed = {_generator(facts, value, depth + 1) for value in given(facts, function, binding.name)}
                    if len(passed) == 1 and None not in passed:
                        return passed.pop()
                if binding.how == "param" and set(words(binding.name)) & {"rng", "generator", "gen", "seed", "key"}:
                    return "argument"
                if binding.how == "value" and binding.value is not None:
                    found = _generator(facts, binding.value, depth + 1)
                    if found is not None:
                        return found
    return None


def _key_seeds(facts: ModuleFacts, key: ir.Expr, seen: set[int]) -> Iterator[str]:
    """The seeds behind a key of JAX: through ``split``, ``fold_in``, names, loops and what callers pass."""
    match key:
        case _ if key.nid in seen:
            return
        case ir.Call(func=func, args=[ir.Arg(value=first), *_]):
            made = (facts.qualified(func) or "").rpartition(".")[2] in ("PRNGKey", "key")
            yield from [_seed_value(facts, key.args)] if made else _key_seeds(facts, first, seen)
        case ir.Subscript(value=inner):
            yield from _key_seeds(facts, inner, seen)
        case ir.Name() if bindings := facts.names.reaching(key):
            seen.add(key.nid)
            for binding in bindings:
                function = facts.names.parent(binding.node)
                values = [binding.value]
                if binding.how == "param" and isinstance(function, ir.FunctionDef):
                    values = [*given(facts, function, binding.name)] or [None]
                for value in values:
                    yield from ["argument"] if value is None else _key_seeds(facts, value, seen)
        case _:
            yield "argument"


def _seeded_generator(facts: ModuleFacts, made: ir.Call) -> str:
    """``g = torch.Generator(); g.manual_seed(s)``: the seed given by any later statement."""
    for call in facts.calls:
        if call.nid > made.nid and isinstance(call.func, ir.Attr) and call.func.attr == "manual_seed":
            if facts.qualified(call.func) is None:
                return _seed_value(facts, call.args)
    return ""


def _seed_value(facts: ModuleFacts, args: list[ir.Arg]) -> str:
    if not args:
        return ""
    given = args[0].value
    if isinstance(given, ir.Name) and any(b.how == "param" for b in facts.names.reaching(given)):
        # Whatever its default, a caller may choose it.
        return "argument"
    value = facts.values.constant(given)
    if value is None or any(_is_chance(facts, part) for part in ir.walk(given)):
        return ""
    return "argument" if value is UNKNOWN else "constant"


def _is_chance(facts: ModuleFacts, node: ir.Node) -> bool:
    """``PRNGKey(int(time.time()))``, ``PRNGKey(np.random.randint(n))``."""
    name = facts.qualified(node.func) or "" if isinstance(node, ir.Call) else ""
    return name.startswith(("time.", "random.", "secrets.", "os.urandom", "numpy.random.rand"))


def _seeded_just_before(facts: ModuleFacts, node: ir.Call) -> str:
    """A global seed counts only where nothing but assignments stand before the draw: other code may draw."""
    statement: ir.Node | None = facts.names.statement(node)
    for _ in range(3):
        block = (facts.names.parent(statement) or facts.module.body) if statement is not None else None
        if statement is None or not isinstance(block, ir.Block):
            return ""
        for before in reversed([s for s in block.body if s.nid < statement.nid][-6:]):
            match before:
                case ir.ExprStmt(value=ir.Call(func=func, args=args)):
                    name = facts.qualified(func)
                    if name in _SEEDS:
                        return _seed_value(facts, args)
                    last = ir.last_name(func)
                    if "seed" in words(last):
                        return "argument"
                    break
                case ir.Assign() | ir.AnnAssign():
                    continue
                case _:
                    break
        # The statement may be the first of a branch or a ``with`` block: look before that block, too.
        statement = facts.names.parent(block)
        if not isinstance(statement, ir.With | ir.For):
            return ""
    return ""


def is_fill(facts: ModuleFacts, call: ir.Call) -> bool:
    """True for a call that writes into a tensor: ``torch.nn.init.*``, or an in-place method."""
    name = facts.qualified(call.func)
    if name is not None:
        return name.startswith("torch.nn.init.")
    return isinstance(call.func, ir.Attr) and call.func.attr in FILLS
