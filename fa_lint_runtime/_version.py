"""The version of the installed distribution; a source tree that is not installed says so."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version

__all__ = ["__version__"]

try:
    __version__ = version("fa-lint")
except PackageNotFoundError:
    __version__ = "0+unknown"
