"""The runtime of fa-lint: numerics, checks and diagnostics of gradient alignment. Needs torch and numpy.

Both are imported when the first name that needs them is asked for, so that the pytest plug-in can be loaded without.
"""

from __future__ import annotations

import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

__all__ = [
    "Checkpoint",
    "CheckpointError",
    "CreditInputs",
    "DiagnosticReport",
    "DiagnosticThresholds",
    "Feedback",
    "FrozenBaseline",
    "GuardError",
    "GuardEvent",
    "GuardLog",
    "GuardWarning",
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
    "__version__",
    "assert_magnitude",
    "bp_grad_norms",
    "check_magnitude",
    "cross_batch_direction_stability",
    "current_strictness",
    "diagnose",
    "dtype_headroom",
    "guard",
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


class _Package(ModuleType):
    """Some functions are called as the module they live in; importing that module must not take their place."""

    def __setattr__(self, name: str, value: object) -> None:
        if not (isinstance(value, ModuleType) and name in __all__):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package

from ._version import __version__  # noqa: E402
from .guard import GuardError, GuardEvent, GuardLog, GuardWarning, guard  # noqa: E402

if TYPE_CHECKING:
    from ._facade import *


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from . import _facade

    value = globals()[name] = getattr(_facade, name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
