"""The 8 x 8 digits of scikit-learn: real data that no download is needed for."""

from __future__ import annotations

import torch

from ...dependencies import MissingDependencyError
from ...placement import HOST, factories_on
from .dataset import Dataset

__all__ = ["digits"]

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
    images, labels = load_digits(return_X_y=True)
    x, y = torch.tensor(images, dtype=torch.float32), torch.tensor(labels, dtype=torch.int64)
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(0))
    test, train = order[:_TEST], order[_TEST:]
    mean, std = x[train].mean(), x[train].std()
    x = (x - mean) / std
    return Dataset("digits", x[train], y[train], x[test], y[test], 10)
