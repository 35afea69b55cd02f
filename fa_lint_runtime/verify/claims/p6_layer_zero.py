"""Pitfall 6: layer 0, and whose matrix a state is compared with."""

from __future__ import annotations

from ..claim import Claim, Finding, Level, graded
from ..lab import Lab
from ..magnitudes import short
from ..networks import NetworkSpec, spec
from ..nulls import fresh_alignment, p_value

__all__ = ["CLAIM"]

_DRAWS = 199


def needs(level: Level) -> tuple[NetworkSpec, ...]:
    """DFA in the blow-up regime; from the default level on also at a moderate learning rate."""
    if level == "quick":
        return spec("V1", "dfa") + spec("V2", "dfa", [42])
    return spec("V1", "dfa") + spec("V2", "dfa") + spec("V5", "dfa", [42])


def measure(lab: Lab) -> Finding:
    """The share of layer 0 in ΣΓ under both pairings, and which blocks differ from fresh feedback."""
    shares, blocks, first, significant = {}, {}, {}, {}
    for m in lab.all_measured(needs(lab.level)):
        label = m.network.spec.label
        original = m.alignment(m.original_matrices()).nanmean(1)
        paired = m.alignment(m.training_matrices()).nanmean(1)
        defined = bool((original > 0).all())
        shares[label] = float(original[0] / original.sum()) if defined else float("nan")
        blocks[label] = float(original[1:].abs().max())
        first[label] = (float(original[1]), float(paired[1]))
        if m.network.spec.seed == 42:
            null = fresh_alignment(m, _DRAWS)
            p = [p_value(float(g), null[:, index]) for index, g in enumerate(original)]
            significant[label] = sum(value * (len(p) - 1) <= 0.05 for value in p[1:])
    dominant = sum(not share < 0.6 for share in shares.values())
    empty = sum(gamma < 0.05 for gamma in blocks.values())
    known = [share for share in shares.values() if share == share]
    old, new = zip(*first.values(), strict=True)
    return Finding(
        graded(dominant == empty == len(shares), dominant > 0),
        (
            f"share of layer 0: {100 * min(known):.0f} to {100 * max(known):.0f} %"
            + (f", undefined on {len(shares) - len(known)} (terms of both signs)" if len(known) < len(shares) else "")
            + f"; all blocks below 0.05 on {empty} of {len(shares)} networks",
            "blocks that differ from fresh feedback (Holm's first step, "
            f"p ≤ 0.05): {', '.join(f'{name}: {count} of 4' for name, count in significant.items())}",
            f"partly an artefact: h_1 compared with the next block's matrix gives {short(min(old))} to "
            f"{short(max(old))}, with the matrix that trained it {short(min(new))} to {short(max(new))}",
        ),
        figures={
            "share": {k: v if v == v else None for k, v in shares.items()},
            "largest_block_gamma": blocks,
            "gamma_h1_original_and_training_pairing": first,
            "blocks_beyond_null": significant,
        },
    )


CLAIM = Claim(
    "6",
    "layer 0 dominates Γ, the blocks have none",
    "Γ_0 ≈ 0.43 while the blocks have Γ ≈ 0; a mean over layers hides it",
    measure,
    needs=needs,
)
