"""What is said about fp16 and gradients, to the rules and to the linker: frozen, picklable, by node number and span."""

from __future__ import annotations

from dataclasses import dataclass

from fa_lint.semantics.roles import Evidence

__all__ = ["Fp16Call", "HalfGradient", "UnscaledGradient"]


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

    For the linker: called under fp16 autocast from another file, node ``nid`` (characters ``start:end``) is a finding.
    ``function`` is its dotted name in the module (``Probe.gamma``).
    """

    function: str
    nid: int
    start: int
    end: int
    label: str
    measured: bool


@dataclass(frozen=True, slots=True)
class Fp16Call:
    """A call under fp16 autocast into something imported (``callee``, dotted); ``context`` opens the autocast."""

    callee: str
    nid: int
    start: int
    end: int
    context: int
    certain: bool
