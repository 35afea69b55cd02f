"""Data and models by the names that configurations use."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import nn

from ..reference import (
    Dataset,
    ReferenceModel,
    ResidualMLP,
    SmallCNN,
    StudentNet,
    ViTMini,
    cifar10,
    digits,
    gaussian_mixture,
    mnist,
)
from ..targets import TargetError, function_of, is_target
from .own import loaded

__all__ = ["DATA", "MODELS", "make_data", "make_model"]


def _as_images(name: str, make: Callable[[], Dataset], side: int) -> Callable[[], Dataset]:
    def images() -> Dataset:
        data = make()
        shaped = {part: getattr(data, part).reshape(-1, 1, side, side) for part in ("train_x", "test_x")}
        return replace(data, name=name, **shaped)

    return images


DATA: Mapping[str, Callable[..., Dataset]] = {
    "cifar10": cifar10,
    "digits": digits,
    "digit_images": _as_images("digit_images", digits, 8),
    "mixture": gaussian_mixture,
    "mnist": mnist,
    "mnist_images": _as_images("mnist_images", mnist, 28),
}


def _vector_model(kind: type[ResidualMLP]) -> Callable[..., ReferenceModel]:
    def make(data: Dataset, width: int = 256, depth: int = 4) -> ReferenceModel:
        return kind(data.inputs, width, data.classes, depth)

    return make


def _image(data: Dataset) -> tuple[int, int, int]:
    shape = tuple(data.train_x.shape[1:])
    if len(shape) != 3:
        raise ValueError(f"this model needs images (channels, height, width); {data.name} has samples of shape {shape}")
    return shape[0], shape[1], shape[2]


def _vit(data: Dataset, width: int = 128, depth: int = 4, patch: int = 4, heads: int = 4) -> ReferenceModel:
    return ViTMini(_image(data), data.classes, width, depth, patch, heads)


def _cnn(data: Dataset, width: int = 128) -> ReferenceModel:
    return SmallCNN(_image(data), data.classes, width)


MODELS: Mapping[str, Callable[..., ReferenceModel]] = {
    "residual_mlp": _vector_model(ResidualMLP),
    "small_cnn": _cnn,
    "student_net": _vector_model(StudentNet),
    "vit_mini": _vit,
}


def make_data(options: Mapping[str, Any], folder: Path = Path()) -> Dataset:
    """A data set from ``{"name": …, **keywords}``; the name may be ``pkg.mod:loaders``, looked for in ``folder`` too.

    Raises:
        ValueError: an option the data set does not have.

    Example:
        >>> make_data({"name": "mixture", "dim": 32, "train": 256, "test": 256}).name
        'mixture32'
    """
    keywords = {key: value for key, value in options.items() if key != "name"}
    if is_target(options["name"]):
        return loaded(options["name"], keywords, folder)
    try:
        return DATA[options["name"]](**keywords)
    except TypeError as error:
        raise ValueError(f"data {options['name']!r}: {error}") from None


def make_model(name: str, data: Dataset, options: Mapping[str, Any], folder: Path = Path()) -> nn.Module:
    """A model for a data set, or that of ``pkg.mod:factory``.

    Raises:
        ValueError: an option the model does not have, or data it cannot take.
    """
    if is_target(name):
        made = function_of(name, folder)(**options)
        if not isinstance(made, nn.Module):
            raise TargetError(f"{name}() returned a {type(made).__name__}, not an nn.Module")
        return made
    try:
        return MODELS[name](data, **options)
    except TypeError as error:
        raise ValueError(f"model {name!r}: {error}") from None
