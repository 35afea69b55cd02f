"""Diagnostics of any model: one capture of statistics, and one pure function over them for each diagnostic."""

from .alignment import Aggregations, LayerAlignment
from .credits import CreditFunction, CreditInputs
from .diagnose import diagnose
from .margin import FrozenBaseline, Margin
from .outcomes import Outcome, verdict_of
from .plain import (
    bp_grad_norms,
    cross_batch_direction_stability,
    per_sample_cosines,
    per_sample_gradients,
    residual_norms,
)
from .precision import LayerHeadroom, LayerPrecision
from .report import AlignmentReport, DiagnosticReport, LayerReport, Provenance
from .stability import ErrorDrift, LayerDrift
from .statistics import Estimate
from .thresholds import DiagnosticThresholds
from .twin import plain_twin

__all__ = [
    "Aggregations",
    "AlignmentReport",
    "CreditFunction",
    "CreditInputs",
    "DiagnosticReport",
    "DiagnosticThresholds",
    "ErrorDrift",
    "Estimate",
    "FrozenBaseline",
    "LayerAlignment",
    "LayerDrift",
    "LayerHeadroom",
    "LayerPrecision",
    "LayerReport",
    "Margin",
    "Outcome",
    "Provenance",
    "bp_grad_norms",
    "cross_batch_direction_stability",
    "diagnose",
    "per_sample_cosines",
    "per_sample_gradients",
    "plain_twin",
    "residual_norms",
    "verdict_of",
]
