from __future__ import annotations

from collections.abc import Iterator

from fa_lint.findings import Finding, Level, Related
from fa_lint.rules.base import Invalid, Rule
from fa_lint.rules.common.feedback import FEEDBACK, evidence, is_guarded_draw
from fa_lint.rules.p4_feedback._measuring import Measurement, measurement
from fa_lint.rules.p4_feedback._writeback import sign_write_backs
from fa_lint.semantics.facts import ModuleFacts
from fa_lint.semantics.feedback import REGISTERED, FeedbackSite, feedback_sites

__all__ = ["RedrawnFeedback"]


class RedrawnFeedback(Rule):
    """
    ## What it does
    Flags feedback that is not the one of the training run:

    - drawn at the first `forward` (`if self.B is None`, `if not self.initialized`): a module that has just loaded its
      checkpoint draws again;
    - drawn by code that loads a trained model (or its weights as arrays) and compares with that draw (`error`), or that measures an alignment
      of a model it is given (`warning`), instead of being loaded;
    - sign-concordant feedback written back over itself in `forward`: `self.B = self.B * sign(W)`.

    Silent where the draw has its own seed or generator, where the attribute is registered, restored or written by the
    class, on draws at every step (random sign-concordant feedback, drop-connect), in loops of many draws (null
    distributions), and in code that also trains.

    ## Why is this bad
    With the feedback of the training run a network had Γ = 0.24; with 20 fresh draws 0.000 ± 0.011 on the same weights.
    Over 20 reloads the cosine between the credit before and after was 0.002 ± 0.018. The write-back loses the sign: after
    100 steps on slowly moving weights 0.50 of the signs of `B` agreed with those of `W` (chance), where the method needs 1.00.

    ## Example
    ```python
    import torch
    from torch import nn

    class DFA(nn.Module):
        def __init__(self, n_out):
            super().__init__()
            self.n_out = n_out
            self.feedback_matrix = None

        def forward(self, x):
            if self.feedback_matrix is None:
                self.feedback_matrix = torch.rand(x.shape[-1], self.n_out)
            return x
    ```

    ## Use instead
    ```python
    import torch
    from torch import nn

    class DFA(nn.Module):
        def __init__(self, n_in, n_out):
            super().__init__()
            self.register_buffer("feedback_matrix", torch.rand(n_in, n_out))

        def forward(self, x):
            return x
    ```

    ## Fix safety
    No fix: the sizes have to be known in `__init__`, or the matrix has to come from the checkpoint.

    ## References
    - Q. Liao et al., *How important is weight symmetry in backpropagation?* (2016): what batch-wise redraws are
    - J. Launay et al., *Direct feedback alignment scales to modern deep learning tasks and architectures* (2020)
    """

    code = "FAL403"
    name = "redrawn-feedback"
    summary = "fresh random feedback where that of the training run is needed"
    level = Level.ERROR
    pitfall = "P4"
    runtime = "fa_lint_runtime.Feedback"
    gate = FEEDBACK

    VALID = (
        "import torch\nfrom torch import nn\nclass DFA(nn.Module):\n    def forward(self, x):\n        if self.feedback_matrix is None:\n"
        "            torch.manual_seed(0)\n            self.feedback_matrix = torch.rand(x.shape[-1], 10)\n        return x",
        "import torch\nfrom torch import nn\nclass DFA(nn.Module):\n    def forward(self, x):\n        if self.feedback_matrix is None:\n"
        "            self.feedback_matrix = torch.randn(10, 3, generator=self.generator)\n        return x\n"
        "    def load_state(self, state): self.feedback_matrix = state['feedback_matrix']",
        "import torch\nfrom torch import nn\nclass BrSF(nn.Module):  # random feedback of the sign of W\n    def forward(self, x):\n"
        "        weight_fa = torch.rand_like(self.weight) * self.weight.sign()\n        return f(x, weight_fa)",
        "import torch\ndef null(model, error, grad, n):\n    out = []\n    for _ in range(n):\n        feedback_matrix = torch.randn(10, 3)\n"
        "        out.append(cosine(error @ feedback_matrix, grad))\n    return out",
        "import torch\ndef align(model, path, error, grad):\n    model.load_state_dict(torch.load(path))\n"
        "    feedback_matrix = model.feedback_matrix\n    return cosine(error @ feedback_matrix, grad)",
        "import torch\ndef train_dfa(model, opt, error, grad):\n    feedback_matrix = torch.randn(10, 3)\n    for _ in range(9):\n"
        "        print(cosine(error @ feedback_matrix, grad))\n        opt.step()",
        "import torch\nfrom torch import nn\nclass FrSF(nn.Module):\n    def forward(self, x):\n"
        "        self.weight_fa = nn.Parameter(self.weight_fa.abs() * self.weight.sign(), requires_grad=False)\n        return x",
    )
    INVALID = (
        Invalid(
            """
            import torch
            from torch import nn
            class DFA(nn.Module):
                def __init__(self):
                    super().__init__()
                    self.feedback_matrix, self.initialized = None, False
                def forward(self, x):
                    if not (self.initialized or self.frozen):
                        self.feedback_matrix = torch.rand(x.shape[-1], 10) * 2 - 1
                        self.initialized = True
                    return x
            """,
            lines=(9,),
        ),
        Invalid(
            """
            import torch
            import torch.nn.functional as F
            def alignment(model, path, error, hidden_grad):
                model.load_state_dict(torch.load(path))
                feedback_matrix = torch.randn(10, 256)
                return F.cosine_similarity(error @ feedback_matrix, hidden_grad)
            def gamma_of(model, error, hidden_grad):
                feedback_matrix = torch.randn(10, 256)
                return F.cosine_similarity(error @ feedback_matrix, hidden_grad)
            """,
            lines=(5, 8),
        ),
        Invalid(
            """
            import torch
            from torch import nn
            class FrSF(nn.Module):
                def __init__(self, n):
                    super().__init__()
                    self.weight = nn.Parameter(torch.randn(n, n))
                    self.weight_fa = nn.Parameter(torch.rand(n, n), requires_grad=False)
                def forward(self, x):
                    self.weight_fa = nn.Parameter(self.weight_fa * torch.sign(self.weight), requires_grad=False)
                    return x
            """,
            lines=(9,),
        ),
    )

    def check(self, facts: ModuleFacts) -> Iterator[Finding]:
        for site in facts.derived(feedback_sites):
            if site.drawn != "random":
                continue
            if site.owner_kind == "module":
                yield from self._lazy(facts, site)
                for statement in sign_write_backs(facts, site):
                    yield self.find(
                        facts,
                        statement,
                        f"`{site.name}` is written back over itself: the signs multiply from step to step; keep the "
                        "magnitude and compute the product into a local variable",
                        computes="B * sign(W_1) * sign(W_2) …, whose sign is not that of W",
                        related=evidence(facts, site),
                    )
            elif site.owner_kind in ("local", "object") and not (site.seed or site.restored or site.carried):
                measured = measurement(facts, site)
                if measured is not None and (site.owner_kind == "local" or measured.load is not None):
                    yield self._measured(facts, site, measured)

    def _lazy(self, facts: ModuleFacts, site: FeedbackSite) -> Iterator[Finding]:
        kept = site.storage in REGISTERED or site.carried or site.restored
        if not site.lazy or kept or site.seed or not is_guarded_draw(facts, site):
            return
        yield self.find(
            facts,
            facts.node(site.store),
            f"feedback `{site.name}` is drawn at the first forward: after a reload another matrix takes the place of the "
            "one that was used in training; draw it in `__init__` as a buffer",
            computes="the credit of a fresh random matrix after every reload",
            level=Level.ERROR if site.certain else Level.WARNING,
            related=evidence(facts, site),
        )

    def _measured(self, facts: ModuleFacts, site: FeedbackSite, found: Measurement) -> Finding:
        places = [Related(*facts.span(found.measure), "the measurement that uses it")]
        if found.load is not None:
            places.insert(0, Related(*facts.span(found.load), "the trained model is loaded here, without its feedback"))
        return self.find(
            facts,
            facts.node(site.store),
            f"an alignment is measured with `{site.name}`, which is drawn here: a trained network needs the feedback it was "
            "trained with; load that",
            computes="an alignment with a random matrix, 0 in expectation",
            level=Level.ERROR if found.load is not None and site.certain else Level.WARNING,
            related=(*evidence(facts, site), *places),
        )
