"""Reference methods, one file each. ``METHODS`` maps the short name to the class."""

from __future__ import annotations

from collections.abc import Mapping

from .base import Method
from .bp import Backprop
from .credit_bridge import CreditBridge
from .dfa import DirectFeedbackAlignment
from .equilibrium import EquilibriumPropagation
from .fa import FeedbackAlignment
from .state_bridge import StateBridge

__all__ = [
    "METHODS",
    "Backprop",
    "CreditBridge",
    "DirectFeedbackAlignment",
    "EquilibriumPropagation",
    "FeedbackAlignment",
    "Method",
    "StateBridge",
]

METHODS: Mapping[str, type[Method]] = {
    method.name: method
    for method in (
        Backprop,
        FeedbackAlignment,
        DirectFeedbackAlignment,
        StateBridge,
        CreditBridge,
        EquilibriumPropagation,
    )
}
