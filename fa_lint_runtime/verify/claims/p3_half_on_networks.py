"""Pitfall 3 on trained networks: where fp16 fails."""

from __future__ import annotations

import copy

import torch

from ...reference import local_step
from ..claim import Claim, Finding, Level, graded
from ..lab import Lab
from ..measurements import Measurements
from ..networks import NetworkSpec, spec

__all__ = ["CLAIM"]


def needs(level: Level) -> tuple[NetworkSpec, ...]:
    """DFA with an exploded state; DFA and backprop on fitted digits."""
    return spec("V3", "dfa", [42]) + spec("V5", "dfa", [42]) + spec("V5", "bp", [42])


def _in_half(m: Measurements) -> tuple[float, float]:
    """Share of forward entries that overflow in fp16, and of gradient entries (mean loss) that the cast flushes."""
    x, y = m.batches[0]
    half = copy.deepcopy(m.network.model).half()
    step = local_step(half, x.half(), y)
    states = torch.cat([h.detach().flatten() for h in step.states])
    gradients = torch.cat([(g[: len(x)] / len(x)).flatten() for g in m.gradients])
    flushed = (gradients.half() == 0) & (gradients != 0)  # the loss is what is measured
    return float((~torch.isfinite(states)).double().mean()), float(flushed.double().mean())


def measure(lab: Lab) -> Finding:
    """Where overflow happens, where underflow happens, and on whom."""
    exploded, fitted, backprop = lab.all_measured(needs(lab.level))
    (overflow, _), (_, flushed), (_, flushed_bp) = (_in_half(m) for m in (exploded, fitted, backprop))
    return Finding(
        graded(False, overflow > 0 or flushed > 0.1),
        (
            f"exploded DFA network: {100 * overflow:.0f} % of the fp16 hidden states overflow in the forward pass, "
            "before there is a gradient; loss scaling cannot help",
            f"fitted digits: casting flushes {100 * flushed:.0f} % of the entries of g under DFA and "
            f"{100 * flushed_bp:.0f} % under backprop: it is the fitted error, not DFA",
        ),
        figures={"overflow_share": overflow, "flushed_dfa": flushed, "flushed_bp": flushed_bp},
    )


CLAIM = Claim(
    "3, networks",
    "fp16 gives nan by gradient underflow under DFA",
    "fp16 flushes DFA's gradients (5e-10) to zero: Γ is nan",
    measure,
    level="default",
    needs=needs,
)
