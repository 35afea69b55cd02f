from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from fa_lint.analysis.modules import Modules
from fa_lint.analysis.summaries import Fact, Noted
from fa_lint.findings import Applicability, Diagnostic, Edit, Finding, Fix, Level, Located
from fa_lint.rules.base import Invalid, ProjectRule
from fa_lint.rules.common.feedback import FEEDBACK, SENDS, evidence, is_guarded_draw, is_repeatable
from fa_lint.semantics import ir
from fa_lint.semantics.classes import is_set_on_module, methods, names_torch_module, unknown_bases
from fa_lint.semantics.facts import ModuleFacts
from fa_lint.semantics.feedback import FeedbackSite, feedback_sites, unused_sites
from fa_lint.semantics.feedback_names import is_possible_name
from fa_lint.semantics.feedback_stores import stores
from fa_lint.semantics.feedback_uses import feedback_uses
from fa_lint.semantics.words import words

__all__ = ["UnregisteredFeedback"]

_PLAIN = {"tensor": "a plain tensor", "variable": "a plain tensor", "list": "a Python list", "dict": "a Python dict"}


@dataclass(frozen=True, slots=True)
class UnplacedFeedback(Fact):
    """Feedback of a class whose bases (dotted names) only other files know."""

    bases: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class UnusedFeedback(Fact):
    """A drawn attribute of a torch module that may be feedback, and that its own file multiplies with nothing."""

    name: str


@dataclass(frozen=True, slots=True)
class SentError(Fact):
    """An attribute, of an object that is made elsewhere, that errors alone are sent through."""

    name: str


class UnregisteredFeedback(ProjectRule):
    """
    ## What it does
    Flags fixed random feedback that a `torch.nn.Module` keeps as a plain tensor, a `Variable`, or a list or dict of
    tensors or modules, also when a helper, the first `forward` or a `cached_property` sets it. What counts as
    feedback: a name that says so (`weight_fa`, `feedback_matrix`, `backward_weight`) with a random draw; a matrix
    that only the backward pass of a custom `autograd.Function` reads; a matrix that only errors are sent through,
    inside the class or in a function of the module (`(p - onehot) @ model.B`). `self.B = torch.randn(…)` alone means
    nothing. Silent on buffers, parameters, `ParameterList`, modules, on what the class writes in its own
    `state_dict`, `get_extra_state` or in a hook, on a draw right after a constant seed, and where the constructor
    seeds the generator with one of its arguments.

    ## Why is this bad
    `state_dict()` does not contain it and `.to(device)` does not move it, and nothing warns: `load_state_dict(strict=True)`
    succeeds. Over 20 pairs of a trained and a reloaded 256→10 layer the cosine between the credit of the two was
    0.002 ± 0.018: the alignment measured after the reload is that of another network. `torch.save(model)` and `deepcopy` keep
    plain attributes, which is why it goes unnoticed in one process.

    ## Example
    ```python
    import torch
    from torch import nn

    class LinearFA(nn.Module):
        def __init__(self, n_in, n_out):
            super().__init__()
            self.weight = nn.Parameter(torch.randn(n_out, n_in))
            self.weight_fa = torch.randn(n_out, n_in)
    ```

    ## Use instead
    ```python
    import torch
    from torch import nn

    class LinearFA(nn.Module):
        def __init__(self, n_in, n_out):
            super().__init__()
            self.weight = nn.Parameter(torch.randn(n_out, n_in))
            self.register_buffer("weight_fa", torch.randn(n_out, n_in))
    ```

    ## Fix safety
    Safe, and offered where one plain assignment of a tensor in `__init__` after `super().__init__()` is all there is: no number
    changes, the tensor now travels with the module. `state_dict()` gains a key: checkpoints written before lack it, and a
    strict load says so. For lists use `fa_lint_runtime.Feedback`, `nn.ParameterList` or one buffer each.

    ## References
    - [torch.nn.Module.register_buffer](https://docs.pytorch.org/docs/stable/generated/torch.nn.Module.html#torch.nn.Module.register_buffer)
    - T. P. Lillicrap et al., *Random synaptic feedback weights support error backpropagation for deep learning* (2016)
    """

    code = "FAL402"
    name = "unregistered-feedback"
    summary = "feedback of a module that its `state_dict()` does not contain"
    level = Level.ERROR
    pitfall = "P6.5"
    runtime = "fa_lint_runtime.Feedback"
    fixable = "sometimes"
    gate = FEEDBACK
    facts = (UnplacedFeedback, UnusedFeedback, SentError)
    stating = (*FEEDBACK, SENDS)

    VALID = (
        "import torch\nfrom torch import nn\nclass LinearFA(nn.Module):\n    def __init__(self, n):\n"
        "        super().__init__()\n        self.register_buffer('weight_fa', torch.randn(n, n))",
        "import torch\nfrom torch import nn\nclass LinearFA(nn.Module):\n    def __init__(self, n):\n"
        "        super().__init__()\n        self.weight_fa = nn.Parameter(torch.randn(n, n), requires_grad=False)",
        "import torch\nfrom torch import nn\nclass DFANet(nn.Module):\n    def __init__(self, sizes):\n"
        "        super().__init__()\n        self.B = nn.ParameterList([nn.Parameter(torch.randn(n, 10)) for n in sizes])\n"
        "    def credit(self, error, i): return error @ self.B[i].t()",
        "import torch\nfrom torch import nn\nclass DFANet(nn.Module):\n    def __init__(self, sizes):\n"
        "        super().__init__()\n        self.B = []\n        for i, n in enumerate(sizes):\n            b = torch.randn(n, 10)\n"
        "            self.register_buffer(f'B{i}', b)\n            self.B.append(b)\n"
        "    def credit(self, error, i): return error @ self.B[i].t()",
        "import torch\nfrom torch import nn\nclass Fourier(nn.Module):\n    '''Not direct feedback alignment.'''\n"
        "    def __init__(self, n):\n        super().__init__()\n        self.B = torch.randn(n, 64)\n    def forward(self, x): return (x @ self.B).sin()",
        "import torch\nclass DFATrainer:\n    def __init__(self, n):\n        self.feedback_matrix = torch.randn(n, 10)",
        "import torch\nfrom torch import nn\nclass LinearFA(nn.Module):\n    def __init__(self, n):\n        super().__init__()\n"
        "        torch.manual_seed(0)\n        self.weight_fa = torch.randn(n, n)",
        "import torch\nfrom torch import nn\nclass BrSF(nn.Module):\n    '''Batch-wise random sign-concordant feedback.'''\n"
        "    def forward(self, x):\n        self.weight_fa = torch.rand_like(self.weight) * self.weight.sign()\n        return x",
        "import torch\nfrom torch import nn\nclass LinearFA(nn.Module):\n    def __init__(self, n):\n        super().__init__()\n"
        "        self.weight_fa = torch.randn(n, n)\n    def get_extra_state(self): return self.weight_fa\n"
        "    def set_extra_state(self, state): self.weight_fa = state",
    )
    INVALID = (
        Invalid(
            """
            import torch
            from torch import nn
            from torch.autograd import Variable
            class LinearFA(nn.Module):
                def __init__(self, n_in, n_out):
                    super(LinearFA, self).__init__()
                    self.weight = nn.Parameter(torch.Tensor(n_out, n_in))
                    self.weight_fa = Variable(torch.FloatTensor(n_out, n_in), requires_grad=False)
                    nn.init.kaiming_uniform_(self.weight_fa)
            """,
            lines=(8,),
            fixed="""
            import torch
            from torch import nn
            from torch.autograd import Variable
            class LinearFA(nn.Module):
                def __init__(self, n_in, n_out):
                    super(LinearFA, self).__init__()
                    self.weight = nn.Parameter(torch.Tensor(n_out, n_in))
                    self.register_buffer("weight_fa", Variable(torch.FloatTensor(n_out, n_in), requires_grad=False))
                    nn.init.kaiming_uniform_(self.weight_fa)
            """,
        ),
        Invalid(
            """
            import torch
            from torch import nn
            class DFANet(nn.Module):
                def __init__(self, sizes):
                    super().__init__()
                    self.B = [torch.randn(sizes[-1], n) for n in sizes[1:-1]]
                def backward(self, error):
                    return [error @ B for B in self.B]
            """,
            lines=(6,),
        ),
        Invalid(
            """
            import torch
            from torch import nn
            class Project(torch.autograd.Function):
                @staticmethod
                def forward(ctx, x, w, back):
                    ctx.save_for_backward(x, w, back)
                    return x @ w.t()
                @staticmethod
                def backward(ctx, grad_output):
                    x, w, back = ctx.saved_tensors
                    return grad_output.mm(back), grad_output.t().mm(x), None
            class Layer(nn.Module):  # feedback alignment
                def __init__(self, n_in, n_out):
                    super().__init__()
                    self.w = nn.Parameter(torch.randn(n_out, n_in))
                    self.fixed = 0.1 * torch.randn(n_out, n_in)
                def forward(self, x):
                    return Project.apply(x, self.w, self.fixed)
            """,
            lines=(16,),
            fixed="""
            import torch
            from torch import nn
            class Project(torch.autograd.Function):
                @staticmethod
                def forward(ctx, x, w, back):
                    ctx.save_for_backward(x, w, back)
                    return x @ w.t()
                @staticmethod
                def backward(ctx, grad_output):
                    x, w, back = ctx.saved_tensors
                    return grad_output.mm(back), grad_output.t().mm(x), None
            class Layer(nn.Module):  # feedback alignment
                def __init__(self, n_in, n_out):
                    super().__init__()
                    self.w = nn.Parameter(torch.randn(n_out, n_in))
                    self.register_buffer("fixed", 0.1 * torch.randn(n_out, n_in))
                def forward(self, x):
                    return Project.apply(x, self.w, self.fixed)
            """,
        ),
        Invalid(
            """
            import torch
            from torch import nn
            class DFA(nn.Module):
                def __init__(self):
                    super().__init__()
                    self.feedback_matrix = None
                def forward(self, x):
                    if self.feedback_matrix is None:
                        self._draw(x)
                    return x
                def _draw(self, x):
                    self.feedback_matrix = torch.rand(x.shape[-1], 10) * 2 - 1
            """,
            lines=(12,),
        ),
    )

    def check(self, facts: ModuleFacts) -> Iterator[Finding]:
        for site in _plain_sites(facts, facts.derived(feedback_sites), "module"):
            yield self._finding(facts, site, _fix(facts, site))
        for site in _plain_sites(facts, facts.derived(feedback_sites), "foreign"):
            if is_set_on_module(facts, facts.node(site.store)):
                yield self._finding(facts, site, None)

    def _finding(self, facts: ModuleFacts, site: FeedbackSite, fix: Fix | None) -> Finding:
        return self.find(
            facts,
            facts.node(site.store),
            f"feedback `{site.name}` is kept as {_PLAIN[site.storage]}: `state_dict()` of `{site.owner}` does not "
            f"contain it and `.to()` does not move it; register it",
            computes="after a reload, the credit of another random matrix",
            level=Level.ERROR if site.certain and not site.seed else Level.WARNING,
            fix=fix,
            related=evidence(facts, site),
        )

    # -- across files: a base class of another file is a torch module, or another file sends errors through it --

    def summarise(self, facts: ModuleFacts) -> Iterator[tuple[Fact, Finding | None]]:
        for site in _plain_sites(facts, unused_sites(facts), "module"):
            yield UnusedFeedback(site.name), self._finding(facts, site, _fix(facts, site))
        for site in _plain_sites(facts, facts.derived(feedback_sites), "object"):
            bases = tuple(name for name in site.bases if "." in name)
            if bases:
                yield UnplacedFeedback(bases), self._finding(facts, site, None)
        uses = facts.derived(feedback_uses)
        for key, (_, sent) in uses.errors.items():
            name = key[2].rpartition(".")[2]
            if key[0] == "other" and key not in uses.others and is_possible_name(name):
                yield SentError(name), self.find(facts, facts.node(sent.nid), sent.text)

    def conclude(self, noted: Sequence[Noted], modules: Modules) -> Iterator[tuple[Located, Diagnostic]]:
        # By name and file that runs together with it, the first uses, at most one a file and two in all.
        sent: dict[tuple[str, str], dict[str, Located]] = {}
        for each in noted:
            if isinstance(each.fact, SentError) and each.at is not None:
                for path in modules.reaching(each.path):
                    uses = sent.setdefault((each.fact.name, path), {})
                    if len(uses) < 2:
                        uses.setdefault(each.path, each.at)
        for each in noted:
            match each:
                case Noted(fact=UnplacedFeedback(bases=bases), at=Located() as at):
                    if any(modules.descends(base, each.path, names_torch_module) for base in bases):
                        yield at, at.diagnostic
                case Noted(fact=UnusedFeedback(name=name), at=Located() as at):
                    joint = (sent.get((name, path), {}) for path in sorted(modules.reaching(at.path)))
                    use = next((use for uses in joint for use in uses.values() if use.path != at.path), None)
                    if use is not None:
                        yield at, replace(at.diagnostic, related=(*at.diagnostic.related, use.as_related()))


def _plain_sites(facts: ModuleFacts, sites: Iterable[FeedbackSite], kind: str) -> Iterator[FeedbackSite]:
    """The fixed feedback that objects of a kind keep outside any state."""
    for site in sites:
        if site.owner_kind != kind or site.storage not in _PLAIN or site.carried:
            continue
        if is_repeatable(site) or _is_reseeded(facts, site):
            continue
        # Drawn at every forward, there is no fixed matrix to keep.
        if not site.lazy or is_guarded_draw(facts, site):
            yield site


def _is_reseeded(facts: ModuleFacts, site: FeedbackSite) -> bool:
    """Return True where the function that draws seeds its generator with an argument: a second call draws the same."""
    function = facts.names.enclosing_function(facts.node(site.draw))
    if site.seed != "argument" or function is None:
        return False
    return any(
        isinstance(call, ir.Call) and _seeds(call) and not _may_be_none(facts, call.args[0].value)
        for call in ir.walk(function.body)
    )


def _seeds(call: ir.Call) -> bool:
    """``g.manual_seed(s)``, ``set_seed(s)``, ``RandomState(s)``."""
    name = ir.last_name(call.func)
    return bool(call.args) and ("seed" in words(name) or name in ("RandomState", "default_rng"))


def _may_be_none(facts: ModuleFacts, seed: ir.Expr) -> bool:
    """Return True for a parameter whose default is None: each call without it draws something else."""
    bound = facts.names.reaching(seed) if isinstance(seed, ir.Name) else []
    return any(b.how == "param" and isinstance(b.value, ir.Const) and b.value.value is None for b in bound)


_FACTORIES = frozenset(
    "randn rand randint normal empty zeros ones full eye tensor as_tensor from_numpy bernoulli empty_like zeros_like "
    "ones_like full_like rand_like randn_like randint_like clone sign abs relu Tensor FloatTensor DoubleTensor HalfTensor "
    "empty_strided diag tril triu".split()
)
_WRAPPERS = frozenset({"torch.autograd.Variable"})
_KEEPS = frozenset(
    "sign abs clone detach to float double half bfloat16 cpu cuda t mul div add sub pow neg view reshape contiguous "
    "transpose permute unsqueeze squeeze flatten clamp type type_as expand repeat sqrt exp log tanh square".split()
)


def _fix(facts: ModuleFacts, site: FeedbackSite) -> Fix | None:
    """``register_buffer`` where the attribute is set once, in ``__init__``, to a tensor that torch made."""
    store = facts.node(site.store)
    owner = facts.node(site.owner_nid)
    assert isinstance(owner, ir.ClassDef)
    if site.storage not in ("tensor", "variable") or site.where != "__init__" or unknown_bases(facts, owner):
        return None
    match store:
        case ir.Assign(targets=[ir.Attr(value=ir.Name(id="self"))], value=value):
            pass
        case _:
            return None
    if len(facts.derived(stores)["self", site.owner_nid, site.name]) != 1 or not _made_by_torch(facts, value):
        return None
    init = methods(facts, owner)["__init__"]
    ready = [
        call
        for call in ir.walk(init.body)
        if isinstance(call, ir.Call)
        and call.nid < store.nid
        and isinstance(call.func, ir.Attr)
        and call.func.attr == "__init__"
        and facts.names.enclosing_function(call) is init
    ]
    if not ready:
        return None
    start, end = facts.span(store)
    edit = Edit(start, end, f'self.register_buffer("{site.name}", {facts.source(value)})')
    return Fix(Applicability.SAFE, "Register it as a buffer", (edit,))


def _made_by_torch(facts: ModuleFacts, value: ir.Expr) -> bool:
    """Return True where a value is one tensor wherever the line runs: nothing else can be a buffer."""
    match value:
        case ir.Call(func=func, args=args):
            name = facts.qualified(func)
            if name is None:
                known = isinstance(func, ir.Attr) and (func.attr in _KEEPS or func.attr.endswith("_"))
                return known and isinstance(func, ir.Attr) and _made_by_torch(facts, func.value)
            if name.startswith("torch.nn.init.") or name in _WRAPPERS:
                return bool(args) and _made_by_torch(facts, args[0].value)
            return name.startswith("torch.") and name.rpartition(".")[2] in _FACTORIES
        case ir.Attr(attr="T" | "mT" | "data", value=inner) | ir.Unary(op="-", operand=inner):
            return _made_by_torch(facts, inner)
        case ir.Binary(op="+" | "-" | "*" | "/", left=left, right=right):
            # A tensor and whatever can be added to or multiplied with it.
            return _made_by_torch(facts, left) or _made_by_torch(facts, right)
        case ir.Binary(op="**" | "@", left=left):
            return _made_by_torch(facts, left)
    return False
