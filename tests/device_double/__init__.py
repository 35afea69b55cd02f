"""Two "cuda" devices in the memory of the host, for tests of device handling where there is no GPU.

A plug-in for a pytest process of its own: ``pytest -p tests.device_double tests/runtime/device``. Tensors say
``cuda:0`` and ``cuda:1``, autograd runs in their threads, copies to the host that nobody waited for hold NaN, and what
a GPU refuses is refused. Where torch is a CUDA build, the plug-in does nothing and the same tests run on the GPU.

It registers itself where a CUDA build registers its kernels, which is no public interface of torch: see CONTRIBUTING.
It knows no streams, graphs, NCCL, Triton or ``torch.compile``, and computes what the host computes, not what a GPU
does; Lightning, Transformers and DataParallel look for more of CUDA than there is.
"""

from __future__ import annotations

import atexit
import ctypes
import importlib.util
import runpy
import sys
import time
from pathlib import Path

from .build import library

__all__ = ["load"]


def load() -> None:
    """Bring the devices into this process, before torch, which looks for CUDA once, when it is imported.

    Raises:
        RuntimeError: torch is imported already.
    """
    if "torch" in sys.modules:
        raise RuntimeError("the device double must be loaded before torch: give it to pytest with -p")
    spec = importlib.util.find_spec("torch")
    if spec is None or spec.origin is None:
        raise RuntimeError("the device double needs torch")
    folder = Path(spec.origin).parent
    version = runpy.run_path(str(folder / "version.py"))
    if version["cuda"] is not None:
        return
    double = library(folder, version["__version__"])
    for path in (folder / "lib" / "libc10.so", folder / "lib" / "libtorch_cpu.so", double):
        ctypes.CDLL(str(path), ctypes.RTLD_GLOBAL)
    from .python_side import install

    install()
    # A backward thread lets go of its last graph after ``backward`` has returned, with the GIL: it must not come too
    # late for that, or Python ends the thread under C++, which aborts.
    atexit.register(time.sleep, 0.2)


load()
