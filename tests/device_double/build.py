"""The shared library of the double, built once for a torch and a source, in a cache folder outside the checkout."""

from __future__ import annotations

import hashlib
import os
import subprocess
import tempfile
from pathlib import Path

__all__ = ["library"]

_HERE = Path(__file__).parent
_SOURCES = ("device.h", "refusals.h", "kernels.cpp")


def library(torch: Path, version: str) -> Path:
    """Return the library for the torch of this folder, and compile it first if nobody has.

    Raises:
        subprocess.CalledProcessError: the compiler failed; its words are on stderr.
        FileNotFoundError: there is no g++.
    """
    digest = hashlib.sha256(b"\0".join((_HERE / name).read_bytes() for name in (*_SOURCES, "build.py"))).hexdigest()
    folder = _cache() / f"{version}-{digest[:16]}"
    built = folder / "libdevice_double.so"
    if not built.exists():
        folder.mkdir(parents=True, exist_ok=True)
        _compile(torch, built)
    return built


def _cache() -> Path:
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "fa-lint" / "device_double"


def _compile(torch: Path, target: Path) -> None:
    """Two processes may compile at once: each writes a file of its own, and the rename takes one of them."""
    handle, name = tempfile.mkstemp(suffix=".so", dir=target.parent)
    os.close(handle)
    include = torch / "include"
    headers = [f"-I{include}", f"-I{include / 'torch' / 'csrc' / 'api' / 'include'}"]
    command = ["g++", "-std=c++20", "-O1", "-fPIC", "-shared", *headers, str(_HERE / "kernels.cpp"), "-o", name]
    try:
        subprocess.run([*command, f"-L{torch / 'lib'}", "-lc10", "-ltorch_cpu"], check=True)
        os.replace(name, target)
    finally:
        Path(name).unlink(missing_ok=True)
