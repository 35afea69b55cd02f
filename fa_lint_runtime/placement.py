"""Where tensors lie that are made without naming a device, and which GPUs have random states to keep."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager, nullcontext

import torch

__all__ = ["HOST", "cuda_indices", "factories_on"]

HOST = torch.device("cpu")


@contextmanager
def factories_on(device: torch.device) -> Iterator[None]:
    """Tensors made without a device lie there, whatever ``torch.set_default_device`` says; a decorator, too."""
    with nullcontext() if torch.get_default_device() == device else device:
        yield


def cuda_indices(devices: Iterable[torch.device | str]) -> list[int]:
    """The GPUs among these, for ``torch.random.fork_rng``, which keeps the state of every GPU where none is named.

    Example:
        >>> cuda_indices(["cuda:1", "cpu", "cuda:0", "cuda:1"])
        [0, 1]
    """
    gpus = [found for found in map(torch.device, devices) if found.type == "cuda"]
    return sorted({torch.cuda.current_device() if gpu.index is None else gpu.index for gpu in gpus})
