from __future__ import annotations

from collections.abc import Iterator

from fa_lint.findings import Finding, Level
from fa_lint.rules.base import Invalid, Rule
from fa_lint.rules.common.feedback import FEEDBACK, evidence
from fa_lint.semantics import ir
from fa_lint.semantics.classes import chain, methods, reached, unknown_bases
from fa_lint.semantics.draws import is_fill
from fa_lint.semantics.facts import ModuleFacts
from fa_lint.semantics.feedback import FeedbackSite, feedback_sites
from fa_lint.semantics.matrix_products import is_product
from fa_lint.semantics.words import words

__all__ = ["UninitialisedFeedback"]

# Calls that read their arguments; any other call may write into them.
_READERS = frozenset(
    "apply size len print "
    "save_for_backward norm cosine_similarity isnan numel append extend t view reshape transpose sign abs sum mean "
    "register_buffer register_parameter Parameter".split()
)
_ALL = frozenset({"parameters", "named_parameters", "buffers", "named_buffers", "state_dict"})
_INITIALISERS = ("init", "reset", "fill", "build", "setup", "draw")


class UninitialisedFeedback(Rule):
    """
    ## What it does
    Flags feedback that is allocated with `torch.Tensor(n, m)`, `torch.empty`, `np.empty` or `new_empty` and never
    filled: not by `torch.nn.init`, not in place, not by another assignment, not by a call that is given the tensor.
    Silent where any method of the class, a loop over `parameters()`, or code elsewhere in the file writes into it.

    ## Why is this bad
    The matrix is whatever was in memory. In 10 fresh processes, all with `torch.manual_seed(42)`, `torch.Tensor(512, 10)`
    held NaN and values up to 7e36; in one process 100 of 200 such tensors were the tensor that had just been
    freed. No seed repeats it, and an all-zero matrix (fresh pages) sends no error back at all.

    ## Example
    ```python
    import torch
    from torch import nn

    class LinearDFA(nn.Linear):
        def __init__(self, n_in, n_out, n_classes):
            super().__init__(n_in, n_out)
            self.backward_weight = nn.Parameter(torch.Tensor(n_classes, n_in), requires_grad=False)
    ```

    ## Use instead
    ```python
    import torch
    from torch import nn

    class LinearDFA(nn.Linear):
        def __init__(self, n_in, n_out, n_classes):
            super().__init__(n_in, n_out)
            self.backward_weight = nn.Parameter(torch.Tensor(n_classes, n_in), requires_grad=False)
            nn.init.kaiming_uniform_(self.backward_weight)
    ```

    ## Fix safety
    No fix: the distribution of the feedback is part of the experiment.

    ## References
    - [torch.empty](https://docs.pytorch.org/docs/stable/generated/torch.empty.html)
    - A. Nøkland, *Direct feedback alignment provides learning in deep neural networks* (2016), §4: the draws that were used
    """

    code = "FAL406"
    name = "uninitialised-feedback"
    summary = "feedback that is allocated and never filled"
    level = Level.ERROR
    pitfall = "P4"
    runtime = "fa_lint_runtime.Feedback"
    gate = FEEDBACK

    VALID = (
        "import torch\nfrom torch import nn\nclass LinearFA(nn.Module):\n    def __init__(self, n):\n        super().__init__()\n"
        "        self.weight_fa = nn.Parameter(torch.Tensor(n, n))\n        self.reset_parameters()\n"
        "    def reset_parameters(self): self.weight_fa.data.uniform_(-1, 1)",
        "import torch\nfrom torch import nn\nclass LinearFA(nn.Module):\n    def __init__(self, n):\n        super().__init__()\n"
        "        b = torch.empty(n, n)\n        nn.init.orthogonal_(b)\n        self.register_buffer('weight_fa', b)",
        "import torch\nfrom torch import nn\nclass LinearFA(nn.Module):\n    def __init__(self, n):\n        super().__init__()\n"
        "        self.weight_fa = nn.Parameter(torch.empty(n, n))\n        for p in self.parameters():\n            nn.init.normal_(p)",
        "import torch\nfrom torch import nn\ndef seeded_(t): t.copy_(torch.randn(t.shape))\nclass LinearFA(nn.Module):\n"
        "    def __init__(self, n):\n        super().__init__()\n        self.weight_fa = torch.empty(n, n)\n        seeded_(self.weight_fa)",
        "import torch\nfrom torch import nn\nclass LinearFA(nn.Module):\n    def __init__(self, array):\n        super().__init__()\n"
        "        self.weight_fa = torch.Tensor(array)",
        "import torch\nfrom torch import nn\nclass LinearFA(nn.Module):\n    def __init__(self, n):\n        super().__init__()\n"
        "        self.register_buffer('weight_fa', torch.empty(n, n))\n    def draw(self, g): self.weight_fa[:] = torch.randn(3, 3)",
    )
    INVALID = (
        Invalid(
            """
            import torch
            from torch import nn
            class LinearFA(nn.Module):
                def __init__(self, n):
                    super().__init__()
                    self.weight = nn.Parameter(torch.empty(n, n))
                    self.register_buffer("weight_fa", torch.empty(n, n))
                    nn.init.xavier_uniform_(self.weight)
            """,
            lines=(7,),
        ),
        Invalid(
            """
            import torch
            def train_dfa(error, n):
                feedback_matrix = torch.empty(10, n)
                return error @ feedback_matrix
            """,
            lines=(3,),
        ),
    )

    def check(self, facts: ModuleFacts) -> Iterator[Finding]:
        for site in facts.derived(feedback_sites):
            if site.drawn != "uninitialised" or not site.certain or site.owner_kind == "foreign":
                continue
            if _is_written(facts, site) or _is_swept(facts, site):
                continue
            yield self.find(
                facts,
                facts.node(site.store),
                f"feedback `{site.name}` is allocated and never filled: it is whatever was in memory; draw it, "
                "with `torch.nn.init` or `fa_lint_runtime.Feedback`",
                computes="the leftover contents of the allocation, NaN among them",
                related=evidence(facts, site),
            )


def _is_written(facts: ModuleFacts, site: FeedbackSite) -> bool:
    """True if anything in the file writes into what the site is called, or hands it to a call that may."""
    for node in facts.nodes_of(ir.Attr, ir.Name):
        match node:
            case ir.Attr(attr=name) | ir.Name(id=name) if name == site.name and node.nid != site.store:
                if _writes(facts, node, site):
                    return True
    return False


def _writes(facts: ModuleFacts, node: ir.Expr, site: FeedbackSite) -> bool:
    inner: ir.Node = node
    for above in facts.names.ancestors(node):
        match above:
            case ir.Binary() | ir.Call() if is_product(facts, above) and not _is_output(inner):
                return False  # what is done with the product is done with something new
            case ir.Call():
                if is_fill(facts, above):
                    return True
                name = above.func.attr if isinstance(above.func, ir.Attr) else ""
                name = above.func.id if isinstance(above.func, ir.Name) else name
                if inner is above.func:
                    # ``self.B.something()``: a trailing underscore writes in place.
                    return name.endswith("_") and name != "requires_grad_"
                if above.nid != site.draw and name not in _READERS:
                    return True
            case ir.For(iter=iterated, body=body) if inner is iterated and _fills(facts, body):
                # ``for w in (self.weight, self.feedback_weight): nn.init.normal_(w)``
                return True
            case ir.Assign(targets=targets) if above.nid != site.store:
                # ``self.B.data = …``, ``self.B[:] = …``; a second assignment of the name was a store already.
                return any(inner is target and target is not node for target in targets)
            case ir.AugAssign(target=target):
                return inner is target
            case ir.Stmt():
                return False
        inner = above
    return False


def _is_output(node: ir.Node) -> bool:
    """``torch.mm(a, b, out=self.B)`` writes into it."""
    return isinstance(node, ir.Arg) and node.keyword == "out"


def _is_swept(facts: ModuleFacts, site: FeedbackSite) -> bool:
    """A loop over ``parameters()`` that fills, ``self.apply(init)``, or an initialiser of a base out of sight."""
    for node in facts.nodes_of(ir.For, ir.Comprehension, ir.Call):
        match node:
            case ir.For(iter=iterated, body=body):
                if _takes_all(facts, iterated) and _fills(facts, body):
                    return True
            case ir.Comprehension(elements=elements, clause=clause):
                if _takes_all(facts, clause.iter) and _fills(facts, elements[-1]):
                    return True
            case ir.Call(func=ir.Attr(attr="apply", value=receiver), args=[ir.Arg(value=ir.Name() | ir.Attr())]):
                if facts.names.class_named(receiver) is None if isinstance(receiver, ir.Name) else True:
                    return True
    owner = facts.node(site.owner_nid) if site.owner_kind in ("module", "object") else None
    if not isinstance(owner, ir.ClassDef):
        return False
    table = methods(facts, owner)
    if (
        unknown_bases(facts, owner)
        and site.where in table
        and table[site.where] not in reached(facts, owner, "__init__")
    ):
        # A base of another file calls ``build()``, and may fill what it has made.
        return True
    for here in chain(facts, owner):
        for node in ir.walk(here):
            match node:
                case ir.Call(func=ir.Attr(value=ir.Name(id="self") | ir.Call(func=ir.Name(id="super")), attr=attr)):
                    hidden = attr not in table and attr != "__init__"
                    if hidden and any(word in attr for word in _INITIALISERS):
                        return True
    return False


def _takes_all(facts: ModuleFacts, iterated: ir.Expr) -> bool:
    """``self.parameters()``, ``list(self.parameters()) + list(self.buffers())``, ``self.state_dict().values()``."""
    values = [b.value for b in facts.names.reaching(iterated)] if isinstance(iterated, ir.Name) else [iterated]
    return any(
        isinstance(part, ir.Call) and isinstance(part.func, ir.Attr) and part.func.attr in _ALL
        for value in values
        if value is not None
        for part in ir.walk(value)
    )


def _fills(facts: ModuleFacts, node: ir.Node) -> bool:
    return any(
        isinstance(part, ir.Call) and (is_fill(facts, part) or _is_initialiser(part.func)) for part in ir.walk(node)
    )


def _is_initialiser(func: ir.Expr) -> bool:
    name = ir.last_name(func)
    return bool(set(words(name)) & set(_INITIALISERS))
