from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from fa_lint.analysis.modules import Modules
from fa_lint.analysis.summaries import Fact, Noted
from fa_lint.findings import Diagnostic, Finding, Level, Located, Related
from fa_lint.rules.base import Invalid, ProjectRule, occurs
from fa_lint.rules.common.feedback import FEEDBACK, FEEDBACK_PART, evidence
from fa_lint.rules.p6_5_auxiliaries._lost import handed_out_by, lost_feedback
from fa_lint.rules.p6_5_auxiliaries._lost_elsewhere import (
    Builder,
    KeptFeedback,
    MadeObject,
    StateSave,
    builders,
    kept_feedback,
    lost_pairs,
    made,
    makers_of,
    state_saves,
)
from fa_lint.semantics import ir
from fa_lint.semantics.facts import ModuleFacts
from fa_lint.semantics.feedback import FeedbackSite

__all__ = ["CheckpointWithoutFeedback"]

_SAVING = occurs(
    b".state_dict(",
    b"torch.save",
    b"save_file",
    b"save_model",
    b"save_checkpoint",
    b"save_state",
    b"save_pretrained",
    b"pickle.dump",
)
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
    Flags a checkpoint that does not contain the feedback: `torch.save` of a `state_dict` or of a whole model,
    `pickle`, safetensors, `save_pretrained`, `Trainer.save_checkpoint`, `accelerator.save`, of trained arrays
    `np.savez`, joblib, flax, orbax, equinox and their relatives, where the project draws feedback that the saved
    object does not hold: a plain attribute of a saved module, a local beside the model, a list on the trainer, a
    matrix in the optimizer, a network of its own that turns errors into credit; also where the saver is a base class
    or another file. Reported where the saved dict is put together. Silent where any save writes the feedback (an
    entry, a second file), where it is registered, where the whole object is pickled (plain attributes survive that),
    where it is handed to the model, and where a constant seed, or one that is saved, repeats the draw.

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
    facts = (KeptFeedback, StateSave, Builder, MadeObject)
    stating = (*FEEDBACK, _SAVING)
    subject = FEEDBACK_PART

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

    def summarise(self, facts: ModuleFacts) -> Iterator[tuple[Fact, Finding | None]]:
        for site in kept_feedback(facts):
            owner = facts.node(site.owner_nid)
            assert isinstance(owner, ir.ClassDef)
            kept = KeptFeedback(
                site.name,
                site.owner,
                "module" if site.owner_kind == "module" else "object",
                _WHERE[site.owner_kind].format(site.owner),
                site.certain and not site.seed,
                makers_of(facts, owner),
                site.bases,
                site.may_be_registered,
                handed_out_by(facts, site),
                bool(site.seed),
            )
            place = facts.node(site.store)
            yield kept, self.find(facts, place, f"`{site.name}` is kept here", related=evidence(facts, site))
        for save, state in state_saves(facts):
            places = []
            if save.place != save.call:
                places.append(Related(*facts.span(facts.node(save.call)), f"written by `{save.saver}`"))
            node = facts.node(save.place)
            yield state, self.find(facts, node, "a save", computes=_COMPUTES, related=tuple(places))
        for builder in builders(facts):
            yield builder, None
        for call, handed in made(facts):
            yield handed, self.find(facts, call, "the model is made here")

    def conclude(self, noted: Sequence[Noted], modules: Modules) -> Iterator[tuple[Located, Diagnostic]]:
        for save, sites, through in lost_pairs(noted, modules):
            names = list(dict.fromkeys(f"`{site.name}`" for site, _ in sites))
            what = ", ".join(names) if len(names) > 1 else f"{names[0]} ({sites[0][0].where})"
            places = [at.as_related() for at in (*through[:3], *(at for _, at in sites[:3]))]
            sure = any(site.sure for site, _ in sites)
            related = (
                *save.diagnostic.related,
                *places,
                *(place for _, at in sites[:3] for place in at.diagnostic.related),
            )
            level = Level.ERROR if sure else Level.WARNING
            yield save, replace(save.diagnostic, message=_MESSAGE.format(what), level=level, related=related)


def _list(sites: list[FeedbackSite]) -> str:
    first = sites[0]
    where = _WHERE[first.owner_kind].format(first.owner)
    names = list(dict.fromkeys(site.name for site in sites))
    if len(names) > 1:
        return ", ".join(f"`{name}`" for name in names)
    return f"`{first.name}` ({where})"
