"""Credit signals and the hidden states they belong to."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..checkpoint import Checkpoint
from ..feedback import Feedback, Kind

__all__ = ["CreditFunction", "CreditInputs", "FeedbackSource", "Pairing", "as_feedback", "effective_matrices", "pair"]


@dataclass(frozen=True)
class CreditInputs:
    """What a ``credit`` function may look at for one batch. Tensors are detached.

    Attributes:
        x, y: the batch, on the device of the model.
        logits: (B, …, C).
        error: ``softmax - onehot`` in fp64 for cross-entropy, else the gradient of the summed loss at the logits.
        hidden: h_0 … h_L as the model made them, batch first.
        model: the model, in evaluation mode.

    Example:
        >>> weights = {"0": torch.ones(3, 16)}
        >>> def credit(inputs: CreditInputs) -> dict[str, Tensor]:
        ...     return {site: inputs.error @ b for site, b in weights.items()}
        >>> error = torch.tensor([[0.5, -0.5, 0.0]], dtype=torch.float64)
        >>> weights["0"] = weights["0"].double()
        >>> batch = CreditInputs(x=None, y=None, logits=error, error=error, hidden=(), model=torch.nn.Identity())
        >>> credit(batch)["0"].shape
        torch.Size([1, 16])
    """

    x: Any
    y: Any
    logits: Tensor
    error: Tensor
    hidden: tuple[Tensor, ...]
    model: torch.nn.Module


CreditFunction = Callable[[CreditInputs], Mapping[str, Tensor] | Sequence[Tensor]]
FeedbackSource = Feedback | Checkpoint | Mapping[str, Tensor] | Sequence[Tensor]


def as_feedback(source: FeedbackSource) -> Feedback:
    """Whatever holds feedback matrices as a :class:`fa_lint_runtime.Feedback`.

    A sequence is the original's ``Bs``: B_0, B_1, … of ``blocks.0``, ``blocks.1``, …. A mapping or a sequence is direct
    feedback: each matrix takes the output error.

    Raises:
        MissingFeedbackError: a checkpoint without feedback.
        TypeError, ValueError: not matrices.
    """
    if isinstance(source, Feedback):
        return source
    if isinstance(source, Checkpoint):
        return source.feedback()
    if isinstance(source, Tensor) or not isinstance(source, Mapping | Sequence):
        raise TypeError(
            f"feedback must be a Feedback, a Checkpoint, a mapping site -> matrix or a sequence of matrices, got "
            f"{type(source).__name__}"
        )
    named = source if isinstance(source, Mapping) else {f"blocks.{i}": matrix for i, matrix in enumerate(source)}
    return Feedback(named, kind="dfa")


def effective_matrices(feedback: Feedback, device: torch.device) -> tuple[Kind, dict[str, Tensor]]:
    """M_l with ``a_l = M_l e`` for every site: B_l itself (DFA) or the product B_l B_{l+1} … (FA), fp64.

    With ``feedback.derivative`` there is no such product; the matrices themselves, then.

    Raises:
        ValueError: kind ``"custom"``: how its matrices combine is not known.
    """
    matrices = {site: matrix.to(device=device, dtype=torch.float64) for site, matrix in feedback.items()}
    if feedback.kind == "dfa" or (feedback.kind == "fa" and feedback.derivative):
        return feedback.kind, matrices
    if feedback.kind != "fa":
        raise ValueError('feedback of kind "custom" does not say how its matrices combine: give credit=… instead')
    chain: Tensor | None = None
    products: dict[str, Tensor] = {}
    for site in reversed(feedback.sites):
        chain = matrices[site] if chain is None else matrices[site] @ chain
        products[site] = chain
    return "fa", {site: products[site] for site in feedback.sites}


@dataclass(frozen=True)
class Pairing:
    """Which credit is compared with which hidden state.

    Attributes:
        trained: (l, site): the state that the site's credit trains, which decides.
        original: (l, site): h_l with B_min(l, L-1), as the original protocol has it.
        assumed: how ``trained`` came about where the caller did not say, else "".
    """

    trained: tuple[tuple[int, str], ...]
    original: tuple[tuple[int, str], ...]
    assumed: str

    @property
    def differ(self) -> bool:
        """True if the two are not the same comparison."""
        return self.trained != self.original

    def is_guess(self, position: int, site: str) -> bool:
        """True if the site was given h_0 beside the state it names, as the caller did not say what trains h_0."""
        return position == 0 and bool(self.assumed) and sum(site == other for _, other in self.trained) > 1


Sites = Mapping[str, Any]


def pair(sites: Sequence[str], names: Sequence[str], explicit: Sites | None) -> Pairing:
    """Pair credit sites with hidden states.

    Args:
        sites: of the credits, in order.
        names: of the hidden states h_0 … h_L; ``"blocks.2"`` is the output of that block.
        explicit: site to hidden state: its index, its name, or a list of these.

    Raises:
        ValueError: an unknown site or hidden state, or a number of sites that fits nothing.

    Example:
        >>> pair(["blocks.0", "blocks.1"], ["embed", "blocks.0", "blocks.1"], None).trained
        ((0, 'blocks.0'), (1, 'blocks.0'), (2, 'blocks.1'))
    """
    last, count = len(names) - 1, len(sites)
    original = tuple((index, sites[min(index, count - 1)]) for index in range(len(names)))
    if explicit is not None:
        trained = tuple(sorted(_explicit(sites, names, explicit)))
        return Pairing(trained, original if count in (last, last + 1) else (), "")
    by_name = {site: index for index, site in enumerate(names)}
    if all(site in by_name for site in sites):
        trained = tuple(sorted((by_name[site], site) for site in sites))
        assumed = "sites matched by name: each to the output of the module it names"
        if trained and trained[0][0] == 1 and count == last:
            trained = ((0, sites[0]), *trained)
            assumed += "; h_0, which no site names, with the first"
        return Pairing(trained, original if count in (last, last + 1) else (), assumed)
    if count == last + 1:
        trained = tuple(enumerate(sites))
        return Pairing(trained, original, "as many sites as hidden states: paired in order")
    if count == last:
        trained = ((0, sites[0]), *((index + 1, site) for index, site in enumerate(sites)))
        return Pairing(trained, original, "one site a block: paired with the block's output; h_0 with the first")
    raise ValueError(
        f"{count} credit sites ({', '.join(sites)}) for {last + 1} hidden states ({', '.join(names)}): say which "
        "belongs to which with sites={site: hidden state}"
    )


def _explicit(sites: Sequence[str], names: Sequence[str], explicit: Sites) -> list[tuple[int, str]]:
    pairs = []
    for site, wanted in explicit.items():
        if site not in sites:
            raise ValueError(f"sites names {site!r}, but the credits are {', '.join(sites)}")
        for target in wanted if isinstance(wanted, list | tuple) else [wanted]:
            if isinstance(target, int) and -len(names) <= target < len(names):
                pairs.append((target % len(names), site))
            elif isinstance(target, str) and target in names:
                pairs.append((list(names).index(target), site))
            else:
                raise ValueError(f"sites[{site!r}] = {target!r} is no hidden state; there are {', '.join(names)}")
    doubled = {index for index, _ in pairs if sum(i == index for i, _ in pairs) > 1}
    if doubled:
        raise ValueError(f"sites gives h_{min(doubled)} two credits")
    return pairs
