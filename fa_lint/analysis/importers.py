"""The files of a run that import a function of another file, and can pass it a cosine."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property

__all__ = ["Importers", "can_compare"]

_MOST_FILES = 8
_MOST_HOPS = 4
_DIVISION = re.compile(rb"[^/]/[^/]|div_?\(|reciprocal|rsqrt")
_COSINE = re.compile(rb"cosine_similarity|CosineSimilarity|distance\.cosine|safe_cosine")
_ROOTS = (b"norm(", b"sqrt(", b"** 0.5", b"**0.5")


class Importers:
    """Find the callers of functions; ``targets`` are the imports of a file by local name."""

    def __init__(
        self,
        paths: Sequence[str],
        read: Callable[[str], bytes | None],
        targets: Callable[[str], Mapping[str, str]],
        module_of: Callable[[str, str], tuple[str, str] | None],
    ) -> None:
        self._paths = paths
        self._read = read
        self._targets = targets
        self._module_of = module_of
        self._found: dict[tuple[str, frozenset[str], bool], list[str]] = {}

    def of(self, path: str, names: frozenset[str], comparing: bool) -> list[str]:
        """Return the files that import one of the names from a file: at once or through other files.

        Those that are ``comparing`` can make a cosine, or all.
        """
        key = (path, names, comparing)
        if key not in self._found:
            said = [name.encode() for name in names]
            files = self.comparing if comparing else self._paths
            able = (file for file in files if file != path and any(n in self._text(file) for n in said))
            self._found[key] = [file for file in able if self._imports(file, path, names)][:_MOST_FILES]
        return self._found[key]

    @cached_property
    def comparing(self) -> list[str]:
        """The files that can make a cosine: by a library, or by a division and a root."""
        return [path for path in self._paths if can_compare(self._text(path))]

    def _text(self, path: str) -> bytes:
        return self._read(path) or b""

    def _imports(self, file: str, path: str, names: frozenset[str]) -> bool:
        for local, target in self._targets(file).items():
            last = target.rpartition(".")[2]
            dotted = [target] if last in names and not local.startswith("*") else [f"{target}.{n}" for n in names]
            if any(self._leads(name, file, path, names) for name in dotted):
                return True
        return False

    def _leads(self, dotted: str, caller: str, path: str, names: frozenset[str], hops: int = 0) -> bool:
        """Return True where a dotted name means one of the names in a file."""
        found = self._module_of(dotted, caller)
        if found is None or not found[1] or hops > _MOST_HOPS:
            return False
        file, (first, dot, rest) = found[0], found[1].partition(".")
        if file == path:
            return first in names
        targets = self._targets(file)
        onward = [f"{targets[first]}{dot}{rest}"] if first in targets else []
        onward += [f"{target}.{found[1]}" for local, target in targets.items() if local.startswith("*")]
        return any(self._leads(name, file, path, names, hops + 1) for name in onward)


def can_compare(text: bytes) -> bool:
    """Return True for a text that calls a library's cosine, or has a division and a root."""
    if _COSINE.search(text) is not None:
        return True
    return any(root in text for root in _ROOTS) and _DIVISION.search(text) is not None
