"""The names of ``fa_lint_runtime`` that need torch and numpy; loaded when the first of them is asked for."""

from __future__ import annotations

try:
    import numpy as _numpy  # noqa: F401
    import torch as _torch  # noqa: F401
except ImportError:
    from .dependencies import install_command

    raise ImportError(f"fa_lint_runtime needs torch and numpy: {install_command('runtime')}") from None

from .angles import safe_angle
from .checkpoint import Checkpoint, StoredFeedback, load_checkpoint, save_checkpoint
from .cosine import SafeCosineSimilarity, safe_cosine, safe_cosine_similarity
from .cosine_matrix import safe_cosine_matrix
from .diagnostics import (
    CreditInputs,
    DiagnosticReport,
    DiagnosticThresholds,
    FrozenBaseline,
    LayerReport,
    bp_grad_norms,
    cross_batch_direction_stability,
    diagnose,
    per_sample_cosines,
    per_sample_gradients,
    plain_twin,
    residual_norms,
)
from .errors import CheckpointError, MagnitudeError, MissingFeedbackError, RuntimeNumericsError, UndefinedCosineError
from .feedback import Feedback
from .inspection import Inspection, TensorEntry, inspect_checkpoint
from .magnitude import Headroom, MagnitudeReport, assert_magnitude, check_magnitude, dtype_headroom
from .monitor import Monitor
from .norms import safe_norm, safe_unit
from .output_error import output_error
from .strictness import RuntimeCheckWarning, current_strictness, strictness

__all__ = [
    "Checkpoint",
    "CheckpointError",
    "CreditInputs",
    "DiagnosticReport",
    "DiagnosticThresholds",
    "Feedback",
    "FrozenBaseline",
    "Headroom",
    "Inspection",
    "LayerReport",
    "MagnitudeError",
    "MagnitudeReport",
    "MissingFeedbackError",
    "Monitor",
    "RuntimeCheckWarning",
    "RuntimeNumericsError",
    "SafeCosineSimilarity",
    "StoredFeedback",
    "TensorEntry",
    "UndefinedCosineError",
    "assert_magnitude",
    "bp_grad_norms",
    "check_magnitude",
    "cross_batch_direction_stability",
    "current_strictness",
    "diagnose",
    "dtype_headroom",
    "inspect_checkpoint",
    "load_checkpoint",
    "output_error",
    "per_sample_cosines",
    "per_sample_gradients",
    "plain_twin",
    "residual_norms",
    "safe_angle",
    "safe_cosine",
    "safe_cosine_matrix",
    "safe_cosine_similarity",
    "safe_norm",
    "safe_unit",
    "save_checkpoint",
    "strictness",
]
