"""CIFAR-10 from a folder, in the layout of its authors, which is torchvision's too; nothing is fetched."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ...placement import HOST, factories_on
from .dataset import Dataset

__all__ = ["cifar10"]

_MEAN = (0.4914, 0.4822, 0.4465)
_STD = (0.2470, 0.2435, 0.2616)
_FOLDER = "cifar-10-batches-py"
_ALLOWED = {
    ("numpy.core.multiarray", "_reconstruct"),
    ("numpy._core.multiarray", "_reconstruct"),
    ("numpy", "ndarray"),
    ("numpy", "dtype"),
    ("_codecs", "encode"),
}


class _Arrays(pickle.Unpickler):
    """Reads arrays and plain values; a pickle that asks for anything else could run what it likes."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _ALLOWED:
            raise pickle.UnpicklingError(f"asks for {module}.{name}")
        return super().find_class(module, name)


@factories_on(HOST)
def cifar10(root: str | Path = "data") -> Dataset:
    """50 000 training and 10 000 test images (3, 32, 32), normalised by the usual per-channel mean and std.

    Args:
        root: the folder that holds ``cifar-10-batches-py``.

    Raises:
        FileNotFoundError: not there.
        ValueError: a file that is no batch of CIFAR-10.

    Source:
        https://www.cs.toronto.edu/~kriz/cifar.html
    """
    folder = Path(root) / _FOLDER
    if not folder.is_dir():
        raise FileNotFoundError(
            f"no CIFAR-10 in {root}: name the folder that holds {_FOLDER} (from https://www.cs.toronto.edu/~kriz/cifar.html)"
        )
    parts = [_read(folder / f"data_batch_{number}") for number in range(1, 6)]
    train_x, train_y = torch.cat([x for x, _ in parts]), torch.cat([y for _, y in parts])
    test_x, test_y = _read(folder / "test_batch")
    return Dataset("cifar10", train_x, train_y, test_x, test_y, 10)


def _read(path: Path) -> tuple[Tensor, Tensor]:
    try:
        with path.open("rb") as file:
            raw = _Arrays(file, encoding="latin1").load()
        images = np.asarray(raw["data"], dtype=np.uint8).reshape(-1, 3, 32, 32)
        labels = torch.tensor(raw["labels"], dtype=torch.int64)
        if labels.shape != images.shape[:1] or not ((labels >= 0) & (labels < 10)).all():
            raise ValueError("it needs one label of 0 to 9 for each image")
    except FileNotFoundError:
        raise FileNotFoundError(f"{path} is missing: the copy of CIFAR-10 is not whole") from None
    except OSError:
        raise
    except Exception as error:  # a damaged pickle fails in any way
        raise ValueError(f"{path} is no batch of CIFAR-10: {error}") from None
    x = torch.from_numpy(images).to(torch.float32) / 255
    return (x - torch.tensor(_MEAN).view(1, 3, 1, 1)) / torch.tensor(_STD).view(1, 3, 1, 1), labels
