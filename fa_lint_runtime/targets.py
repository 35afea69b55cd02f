"""``pkg.mod:name``: objects of the user's own code."""

from __future__ import annotations

import hashlib
import importlib
import sys
from pathlib import Path
from typing import Any

__all__ = ["TargetError", "function_of", "is_target", "resolve", "source_digest"]


class TargetError(ValueError):
    """A target that cannot be used: what was given, reason."""


def is_target(name: object) -> bool:
    """Whether this names an object of the user's code, and not one of this package."""
    return isinstance(name, str) and ":" in name


def source_digest(target: str, folder: Path) -> str:
    """SHA-256 of the file of the module that a target names, "" where it is not in ``folder``."""
    path = folder.joinpath(*target.partition(":")[0].split("."))
    for file in (path / "__init__.py", path.with_suffix(".py")):
        if file.is_file():
            return hashlib.sha256(file.read_bytes()).hexdigest()
    return ""


_imported: dict[str, tuple[Path, str]] = {}  # modules of the user's, to their folder and the digest of their file


def _import(module: str, folder: Path) -> Any:
    """The module as its file is now: a worker of dask outlives the file, and serves several folders."""
    own = (folder, source_digest(module, folder))
    if own[1] and _imported.get(module, own) != own:
        top = module.partition(".")[0]
        for name in [n for n in sys.modules if n == top or n.startswith(f"{top}.")]:
            del sys.modules[name]
        importlib.invalidate_caches()
    found = importlib.import_module(module)
    if own[1]:
        _imported[module] = own
    return found


def function_of(target: str, folder: Path) -> Any:
    """The function that ``pkg.mod:name`` names.

    Raises:
        TargetError: as :func:`resolve`, or what it names cannot be called.
    """
    found = resolve(target, folder)
    if not callable(found):
        raise TargetError(f"{target} must name a function, not a {type(found).__name__}")
    return found


def resolve(target: str, folder: Path | None = None) -> Any:
    """The object that ``pkg.mod:name`` names; modules are also looked for in ``folder``, by default the current one.

    Raises:
        TargetError: malformed, no such module or name, or an import that fails.

    Example:
        >>> resolve("math:pi")
        3.141592653589793
    """
    module, colon, name = target.partition(":")
    if not colon or not module or not name:
        raise TargetError(f"{target!r} must have the form pkg.mod:name")
    folder = (folder or Path.cwd()).resolve()
    here = str(folder)
    added = here not in sys.path
    if added:
        sys.path.insert(0, here)
    try:
        found = _import(module, folder)
    except (Exception, SystemExit) as error:  # whatever the user's module raises while it is imported
        searched = f"; it is looked for in {here}, too" if isinstance(error, ModuleNotFoundError) else ""
        raise TargetError(f"{target}: importing {module} failed: {type(error).__name__}: {error}{searched}") from error
    finally:
        if added and here in sys.path:
            sys.path.remove(here)
    for part in name.split("."):
        if not hasattr(found, part):
            own = [key for key, value in vars(found).items() if getattr(value, "__module__", "") == module]
            raise TargetError(f"{target}: {module} has no {name!r}" + (f"; it has {', '.join(own[:8])}" if own else ""))
        found = getattr(found, part)
    return found
