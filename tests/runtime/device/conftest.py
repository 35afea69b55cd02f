"""Tests on a CUDA device: a real one, or the two of ``tests.device_double`` in the memory of the host."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

import pytest
import torch

IS_DOUBLE = hasattr(torch.ops.device_double, "waits")
Waiting = Callable[[], AbstractContextManager[None]]


@pytest.fixture
def last() -> torch.device:
    """Not the current device, where there is another."""
    return torch.device("cuda", torch.cuda.device_count() - 1)


@pytest.fixture
def no_wait() -> Waiting:
    """Within, a host that waits for the device fails the test."""

    @contextmanager
    def counted() -> Iterator[None]:
        before = torch.ops.device_double.waits()
        yield
        assert torch.ops.device_double.waits() == before

    @contextmanager
    def refused() -> Iterator[None]:
        torch.cuda.set_sync_debug_mode("error")
        try:
            yield
        finally:
            torch.cuda.set_sync_debug_mode("default")

    return counted if IS_DOUBLE else refused


@pytest.fixture
def cuda_default() -> Iterator[None]:
    torch.set_default_device("cuda")
    try:
        yield
    finally:
        torch.set_default_device(None)
