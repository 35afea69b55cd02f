"""What is said about fp16 and gradients, to the rules: frozen, by node number."""

from __future__ import annotations

from dataclasses import dataclass

from fa_lint.semantics.roles import Evidence

__all__ = ["HalfGradient", "UnscaledGradient"]


@dataclass(frozen=True, slots=True)
class HalfGradient:
    """A gradient (node ``nid``) of a loss that fp16 autocast computed and nothing scaled.

    ``label`` names the call; ``certain``: autocast is fp16 on every way; ``measured``: the gradient is looked at, not
    only stepped with; ``dummy``: a scaler is called that does not scale.
    """

    nid: int
    label: str
    certain: bool
    measured: bool
    dummy: bool
    evidence: tuple[Evidence, ...]


@dataclass(frozen=True, slots=True)
class UnscaledGradient:
    """A function that computes an unscaled gradient of a forward pass which no autocast of this module surrounds.

    Called under fp16 autocast from another file, node ``nid`` is a finding. ``functions`` are the dotted names
    (``Probe.gamma``) of the function around it and of those of the module that call it.
    """

    functions: tuple[str, ...]
    nid: int
    label: str
    measured: bool
