"""Reference networks, one file each."""

from __future__ import annotations

from .base import ReferenceModel, branch_of
from .residual_mlp import ResidualMLP
from .small_cnn import SmallCNN
from .student_net import StudentNet
from .vit_mini import ViTMini

__all__ = ["ReferenceModel", "ResidualMLP", "SmallCNN", "StudentNet", "ViTMini", "branch_of"]
