"""Where tensors lie that are made without naming a device."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

import torch

__all__ = ["HOST", "factories_on"]

HOST = torch.device("cpu")


@contextmanager
def factories_on(device: torch.device) -> Iterator[None]:
    """Tensors made without a device lie there, whatever ``torch.set_default_device`` says; a decorator, too."""
    with nullcontext() if torch.get_default_device() == device else device:
        yield
