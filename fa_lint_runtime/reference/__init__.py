"""Networks, methods, data and training that the published claims are measured on."""

from __future__ import annotations

from .baselines import FrozenRule, freeze, frozen_rules
from .control import LinearQuadratic
from .data import Dataset, cifar10, digits, gaussian_mixture, mnist
from .local_step import LocalStep, local_step
from .methods import (
    METHODS,
    Backprop,
    CreditBridge,
    DirectFeedbackAlignment,
    EquilibriumPropagation,
    FeedbackAlignment,
    Method,
    StateBridge,
)
from .models import ReferenceModel, ResidualMLP, SmallCNN, StudentNet, ViTMini
from .penalty import residual_penalty
from .recipe import Recipe
from .training import TrainedRun, accuracy, build, correct_predictions, load_run, train, train_step

__all__ = [
    "METHODS",
    "Backprop",
    "CreditBridge",
    "Dataset",
    "DirectFeedbackAlignment",
    "EquilibriumPropagation",
    "FeedbackAlignment",
    "FrozenRule",
    "LinearQuadratic",
    "LocalStep",
    "Method",
    "Recipe",
    "ReferenceModel",
    "ResidualMLP",
    "SmallCNN",
    "StateBridge",
    "StudentNet",
    "TrainedRun",
    "ViTMini",
    "accuracy",
    "build",
    "cifar10",
    "correct_predictions",
    "digits",
    "freeze",
    "frozen_rules",
    "gaussian_mixture",
    "load_run",
    "local_step",
    "mnist",
    "residual_penalty",
    "train",
    "train_step",
]
