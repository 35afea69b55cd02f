"""What a CUDA build of torch does in Python or in a C++ library that a CPU build lacks."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

__all__ = ["install"]

_DEVICES = 2
_clone = torch.UntypedStorage.clone


def _bytes(storage: torch.UntypedStorage) -> Tensor:
    return torch.empty(0, dtype=torch.uint8, device=storage.device).set_(storage)


def _cloned(self: torch.UntypedStorage) -> torch.UntypedStorage:
    return _bytes(self).clone().untyped_storage() if self.device.type == "cuda" else _clone(self)


def _restored(storage: Any, location: str) -> torch.UntypedStorage | None:
    """A storage of a file on the device that it was saved from, or was asked for."""
    if not location.startswith("cuda"):
        return None
    untyped = storage.untyped() if hasattr(storage, "untyped") else storage
    return _bytes(untyped).to(location).untyped_storage()


def _index(device: Any) -> int:
    if isinstance(device, int):
        return device
    index = torch.device(device).index
    return -1 if index is None else index


def _generators() -> tuple[torch.Generator, ...]:
    made = tuple(torch.Generator(f"cuda:{index}") for index in range(_DEVICES))
    for index, generator in enumerate(made):
        generator.manual_seed(index)
        torch.ops.device_double.set_default_generator(generator)
    return made


def install() -> None:
    """Let ``torch.cuda`` see the devices of the double."""
    ops, cuda = torch.ops.device_double, torch.cuda
    answers: dict[str, Any] = {
        "_lazy_init": lambda: None,
        "_is_compiled": lambda: True,
        "is_available": lambda: True,
        "is_initialized": lambda: True,
        "_initialized": True,
        "device_count": lambda: _DEVICES,
        "current_device": lambda: ops.exchange_device(-1),
        "set_device": lambda device: ops.exchange_device(_index(device)) and None,
        "_exchange_device": ops.exchange_device,
        "_maybe_exchange_device": ops.exchange_device,
        "synchronize": lambda device=None: ops.synchronize(),
        "is_current_stream_capturing": lambda: False,
        "is_bf16_supported": lambda including_emulation=True: True,
        "default_generators": _generators(),
    }
    for name, answer in answers.items():
        setattr(cuda, name, answer)
    torch._C._cuda_getDeviceCount = lambda: _DEVICES
    torch._C._cuda_getDevice = cuda.current_device
    torch._C._cuda_getCurrentRawStream = lambda device: 0
    torch.UntypedStorage.clone = _cloned  # type: ignore[method-assign]
    torch.serialization.register_package(5, lambda storage: None, _restored)
