"""Published claims, one file each; ``CLAIMS`` in the order of the report."""

from __future__ import annotations

from ..claim import Claim
from . import (
    a_growth,
    b_gradient_floor,
    b_noise_vector,
    c_stability,
    costate,
    d_frozen_baseline,
    p1_norm_order,
    p2_clamp_on_networks,
    p2_cosine_clamp,
    p3_half_on_networks,
    p3_half_precision,
    p4_fresh_feedback,
    p5_aggregation,
    p6_5_missing_auxiliaries,
    p6_layer_zero,
    penalty,
)

__all__ = ["CLAIMS"]

CLAIMS: tuple[Claim, ...] = (
    p1_norm_order.CLAIM,
    p2_cosine_clamp.CLAIM,
    p2_clamp_on_networks.CLAIM,
    p3_half_precision.CLAIM,
    p3_half_on_networks.CLAIM,
    p4_fresh_feedback.CLAIM,
    p5_aggregation.CLAIM,
    p6_layer_zero.CLAIM,
    p6_5_missing_auxiliaries.CLAIM,
    a_growth.CLAIM,
    b_gradient_floor.CLAIM,
    b_noise_vector.CLAIM,
    c_stability.CLAIM,
    d_frozen_baseline.CLAIM,
    penalty.CLAIM,
    costate.CLAIM,
)
