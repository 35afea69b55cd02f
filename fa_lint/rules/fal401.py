from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from fa_lint.findings import Clue, Diagnostic, Finding, Level, Related, RelatedPlace, Trace
from fa_lint.modules import Modules
from fa_lint.rules._feedback import FEEDBACK, evidence
from fa_lint.rules._lost import lost_feedback
from fa_lint.rules._lost_elsewhere import (
    SAVING,
    describe_holders,
    describe_makers,
    describe_save,
    kept_feedback,
    lost_pairs,
)
from fa_lint.rules.base import Invalid, ProjectRule, Question
from fa_lint.semantics.facts import ModuleFacts
from fa_lint.semantics.feedback import FeedbackSite

__all__ = ["CheckpointWithoutFeedback"]

_WHERE = {
    "local": "a local beside the model",
    "object": "an attribute of `{}`",
    "module": "an unregistered attribute of `{}`",
    "foreign": "an attribute set on `{}` from outside",
}
_MESSAGE = (
    "this checkpoint leaves out the feedback {}: after a reload the trained network cannot be measured; "
    "save it too, or use `fa_lint_runtime.save_checkpoint`"
)
_COMPUTES = "a file from which Γ is undefined"


class CheckpointWithoutFeedback(ProjectRule):
    """
    ## What it does
    Flags a checkpoint that does not contain the feedback: `torch.save` of a `state_dict` or of a whole model, `pickle`,
    safetensors, `save_pretrained`, `Trainer.save_checkpoint`, `accelerator.save` and their relatives, where the project
    draws feedback that the saved object does not hold: a plain attribute of a saved module, a local beside the model,
    a list on the trainer, a matrix in the optimizer, a network of its own that turns errors into credit; also where the saver is a base class or another file. Reported
    where the saved dict is put together. Silent where any save writes the feedback (an entry, a second file), where it is
    registered, where the whole object is pickled (plain attributes survive that), where it is handed to the model, and where
    a constant seed repeats the draw.

    ## Why is this bad
    The run cannot be measured afterwards: Γ needs the matrices that the network was trained with. With them it was 0.24 on
    one network; with 20 fresh draws 0.000 ± 0.011. Nothing fails on reload: of 20 reloaded layers every one accepted
    its checkpoint, and the cosine of their credit to that of the trained ones was 0.002 ± 0.018.

    ## Example
    ```python
    import torch

    def train_dfa(model, batches, path):
        feedback_matrix = torch.randn(10, 256)
        for x, error in batches:
            model.update(x, error @ feedback_matrix)
        torch.save({"model": model.state_dict()}, path)
    ```

    ## Use instead
    ```python
    import torch

    def train_dfa(model, batches, path):
        feedback_matrix = torch.randn(10, 256)
        for x, error in batches:
            model.update(x, error @ feedback_matrix)
        torch.save({"model": model.state_dict(), "feedback_matrix": feedback_matrix}, path)
    ```

    ## Fix safety
    No fix: the loader has to read what the saver adds. `fa_lint_runtime.save_checkpoint` and `load_checkpoint` do both and
    prove the round trip.

    ## References
    - [Saving and loading models](https://docs.pytorch.org/tutorials/beginner/saving_loading_models.html)
    """

    code = "FAL401"
    name = "checkpoint-without-feedback"
    summary = "a checkpoint that leaves out the feedback the model was trained with"
    level = Level.ERROR
    pitfall = "P6.5"
    runtime = "fa_lint_runtime.save_checkpoint"
    # The save itself may stand in another file.
    gate = FEEDBACK

    VALID = (
        "import torch\nfrom torch import nn\nclass LinearFA(nn.Module):\n    def __init__(self, n):\n        super().__init__()\n"
        "        self.register_buffer('weight_fa', torch.randn(n, n))\nmodel = LinearFA(3)\ntorch.save(model.state_dict(), 'a.pt')",
        "import torch\nfrom torch import nn\nclass LinearFA(nn.Module):\n    def __init__(self, n):\n        super().__init__()\n"
        "        self.weight_fa = torch.randn(n, n)\nmodel = LinearFA(3)\ntorch.save(model, 'a.pt')",
        "import torch\ndef train_dfa(model, path):\n    feedback_matrix = torch.randn(10, 3)\n    torch.save(model.state_dict(), path)\n"
        "    torch.save(feedback_matrix, path + '.feedback')",
        "import torch\nclass DFATrainer:\n    def __init__(self, model, n):\n        self.model = model\n"
        "        self.feedback_weights = [torch.randn(n, 10)]\n    def save(self, path):\n"
        "        state = {'model': self.model.state_dict()}\n        state['feedback'] = self.feedback_weights\n"
        "        torch.save(state, path)",
        "import torch\ndef train_dfa(net, path):\n    feedback_matrix = torch.randn(10, 3)\n    model = net.Net(feedback_matrix)\n"
        "    torch.save(model.state_dict(), path)",
        "import torch\ndef train_dfa(model, losses, path):\n    feedback_matrix = torch.randn(10, 3)\n    torch.save(losses, path)",
        "import torch\ndef train_dfa(model, path):\n    torch.manual_seed(0)\n    feedback_matrix = torch.randn(10, 3)\n"
        "    torch.save(model.state_dict(), path)",
    )
    INVALID = (
        Invalid(
            """
            import torch
            from feedback import DFAFeedbackMatrix
            class Trainer:
                def __init__(self, model, layers, n_out):
                    self.model = model
                    self.feedback_matrices = []
                    for layer in layers:
                        self.feedback_matrices.append(DFAFeedbackMatrix(layer.out_features, n_out).to("cpu"))
                def save_checkpoint(self, path):
                    checkpoint = {
                        "model_state_dict": self.model.state_dict(),
                        "step": self.step,
                    }
                    torch.save(checkpoint, path)
            """,
            lines=(10,),
        ),
        Invalid(
            """
            import torch
            from torch import nn
            class LinearFA(nn.Module):
                def __init__(self, n):
                    super().__init__()
                    self.weight_fa = torch.randn(n, n)
            class Net(nn.Module):
                def __init__(self):
                    super().__init__()
                    self.layers = nn.Sequential(LinearFA(8), nn.ReLU(), LinearFA(8))
            def main(path):
                net = Net().cuda()
                torch.save(net.state_dict(), path)
            """,
            lines=(13,),
        ),
        Invalid(
            """
            import torch
            class Base:
                def save(self, path):
                    torch.save({"net": self.net.state_dict()}, path)
            class DFATrainer(Base):
                def __init__(self, net, sizes):
                    self.net = net
                    self.B = [torch.randn(10, n) for n in sizes]
                def step(self, error):
                    return [error @ b for b in self.B]
            """,
            lines=(4,),
        ),
        Invalid(
            """
            import torch
            def main(net_models, algorithm, path):
                model = net_models.Net()
                if algorithm == "PEPITA":
                    B_matrix = torch.rand(784, 10) * 2 - 1
                fit(model, B_matrix)
                torch.save(model, path)
            """,
            lines=(7,),
        ),
    )

    def check(self, facts: ModuleFacts) -> Iterator[Finding]:
        for save, sites in lost_feedback(facts):
            place, call = facts.node(save.place), facts.node(save.call)
            places: list[Related] = []
            if save.place != save.call:
                places.append(Related(*facts.span(call), f"written by `{save.saver}`"))
            for site in sites:
                places.append(Related(*facts.span(facts.node(site.store)), f"`{site.name}` is kept here"))
                places += evidence(facts, site)
            sure = any(site.certain and not site.seed for site in sites)
            yield self.find(
                facts,
                place,
                _MESSAGE.format(_list(sites)),
                computes=_COMPUTES,
                level=Level.ERROR if sure else Level.WARNING,
                related=tuple(dict.fromkeys(places)),
            )

    # -- across files: the feedback here, the save there --------------------------------------------------------

    def clues(self, facts: ModuleFacts) -> Iterator[Clue]:
        for site, data in kept_feedback(facts):
            finding = self.find(
                facts, facts.node(site.store), f"`{site.name}` is kept here", related=evidence(facts, site)
            )
            yield Clue("feedback", finding, {**data, "where": _WHERE[site.owner_kind].format(site.owner)})

    def question(self, clues: Sequence[Trace], modules: Modules) -> Question | None:
        makers = modules.names_of(maker for clue in clues for maker in clue.data["makers"])
        names = {clue.data["name"] for clue in clues}
        if not clues:
            return None
        return Question((*SAVING, *(f"{maker}(" for maker in sorted(makers))), tuple(sorted(names | makers)))

    def answers(self, facts: ModuleFacts, question: Question) -> Iterator[Clue]:
        for save, data in describe_save(facts, question.names):
            places = []
            if save.place != save.call:
                places.append(Related(*facts.span(facts.node(save.call)), f"written by `{save.saver}`"))
            yield Clue(
                "save",
                self.find(facts, facts.node(save.place), "a save", computes=_COMPUTES, related=tuple(places)),
                data,
            )
        for scope, data in describe_holders(facts):
            yield Clue("holder", self.find(facts, scope, "built here"), data)
        for call, data in describe_makers(facts, question.names):
            yield Clue("maker", self.find(facts, call, "the model is made here"), data)

    def settle(
        self, clues: Sequence[Trace], answers: Sequence[Trace], modules: Modules
    ) -> Iterator[tuple[Trace, Diagnostic]]:
        for save, sites, through in lost_pairs(clues, answers, modules):
            names = list(dict.fromkeys(f"`{site.data['name']}`" for site in sites))
            what = ", ".join(names) if len(names) > 1 else f"{names[0]} ({sites[0].data['where']})"
            places = [_place(t.diagnostic, t.diagnostic.message) for t in (*through[:3], *sites[:3])]
            sure = any(site.data["sure"] for site in sites)
            yield (
                save,
                replace(
                    save.diagnostic,
                    message=_MESSAGE.format(what),
                    level=Level.ERROR if sure else Level.WARNING,
                    related=(
                        *save.diagnostic.related,
                        *places,
                        *(r for site in sites[:3] for r in site.diagnostic.related),
                    ),
                ),
            )


def _place(found: Diagnostic, message: str) -> RelatedPlace:
    return RelatedPlace(found.path, found.start, found.end, message, found.cell)


def _list(sites: list[FeedbackSite]) -> str:
    first = sites[0]
    where = _WHERE[first.owner_kind].format(first.owner)
    names = list(dict.fromkeys(site.name for site in sites))
    if len(names) > 1:
        return ", ".join(f"`{name}`" for name in names)
    return f"`{first.name}` ({where})"
