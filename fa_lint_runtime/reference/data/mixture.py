"""Gaussian mixtures in which no method reaches zero error: the output error stays large, as on CIFAR-10."""

from __future__ import annotations

import math

import torch

from ...placement import HOST, factories_on
from .dataset import Dataset

__all__ = ["gaussian_mixture"]


@factories_on(HOST)
def gaussian_mixture(
    dim: int = 3072,
    *,
    latent: int = 24,
    clusters: int = 8,
    spread: float = 0.6,
    noise: float = 1.0,
    label_noise: float = 0.1,
    train: int = 8192,
    test: int = 2048,
    classes: int = 10,
    seed: int = 0,
) -> Dataset:
    """``clusters`` Gaussian clusters for each class in a ``latent``-dimensional space, embedded in ``dim`` dimensions.

    Drawn in this order from one generator: centres ``μ ~ N(0, 1)`` (classes·clusters, latent); a cluster for each
    sample, whose class is the cluster modulo ``classes``; ``z = μ + spread·N(0, 1)``; an orthonormal ``Q`` (dim,
    latent); ``x = sqrt(dim / latent)·z Qᵀ + noise·N(0, 1)``; labels redrawn uniformly with probability
    ``label_noise``. Inputs are standardised by their mean and standard deviation over all entries. The recipe is ours.

    Raises:
        ValueError: ``dim`` smaller than ``latent``.

    Example:
        >>> data = gaussian_mixture(64, noise=0.3, train=256, test=256)
        >>> tuple(data.train_x.shape), data.name, round(float(data.train_x.std()), 1)
        ((256, 64), 'mixture64', 1.0)
    """
    if dim < latent:
        raise ValueError(f"dim {dim} is smaller than the latent space of {latent}")
    generator = torch.Generator().manual_seed(seed)
    total = train + test
    centres = torch.randn(classes * clusters, latent, generator=generator)
    cluster = torch.randint(classes * clusters, (total,), generator=generator)
    z = centres[cluster] + spread * torch.randn(total, latent, generator=generator)
    orthonormal, _ = torch.linalg.qr(torch.randn(dim, latent, generator=generator))
    x = math.sqrt(dim / latent) * z @ orthonormal.T + noise * torch.randn(total, dim, generator=generator)
    x = (x - x.mean()) / x.std()
    redrawn = torch.rand(total, generator=generator) < label_noise
    uniform = torch.randint(classes, (total,), generator=generator)
    y = torch.where(redrawn, uniform, cluster % classes)
    return Dataset(f"mixture{dim}", x[:train], y[:train], x[train:], y[train:], classes)
