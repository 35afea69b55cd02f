"""Data of the reference runs, one file each."""

from __future__ import annotations

from .cifar10 import cifar10
from .dataset import Dataset
from .digits import digits, mnist
from .mixture import gaussian_mixture

__all__ = ["Dataset", "cifar10", "digits", "gaussian_mixture", "mnist"]
