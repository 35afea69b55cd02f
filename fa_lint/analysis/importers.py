"""The files of a run that import a function of another file, and can pass it a cosine."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from pathlib import PurePath

from fa_lint.analysis.texts import compares

__all__ = ["Importers"]

_MOST_FILES = 8
_MOST_HOPS = 4


class Importers:
    """Find the callers of functions; ``targets`` are the imports of a file by local name."""

    def __init__(
        self,
        paths: Sequence[str],
        read: Callable[[str], bytes | None],
        targets: Callable[[str], Mapping[str, str]],
        blocks: Callable[[str], Mapping[str, bytes]],
        module_of: Callable[[str, str], tuple[str, str] | None],
    ) -> None:
        self._paths = paths
        self._read = read
        self._targets = targets
        self._blocks = blocks
        self._module_of = module_of
        self._found: dict[tuple[str, frozenset[str], bool], dict[str, frozenset[str]]] = {}

    def of(self, path: str, names: frozenset[str], comparing: bool, hops: int = 0) -> dict[str, frozenset[str]]:
        """Return the files that lead to one of the names in a file, each with the names by which it does.

        Those that are ``comparing`` can make a cosine; a function between them and the file need not.
        """
        key = (path, names, comparing)
        if key not in self._found:
            self._found[key] = {}  # a circle of imports
            found: dict[str, frozenset[str]] = {}
            for file in self._importing(path, names):
                further: dict[str, frozenset[str]] = {}
                if hops < _MOST_HOPS and not (comparing and file in self.comparing):
                    said = [name.encode() for name in names]
                    between = {name for name, block in self._blocks(file).items() if any(n in block for n in said)}
                    further = self.of(file, frozenset(between), comparing, hops + 1) if between else {}
                if not further and (not comparing or file in self.comparing):
                    further = {file: names}
                found |= {other: found.get(other, frozenset()) | through for other, through in further.items()}
            self._found[key] = dict(list(found.items())[:_MOST_FILES])
        return self._found[key]

    def _importing(self, path: str, names: frozenset[str]) -> list[str]:
        pure = PurePath(path)
        module = pure.parent.name if pure.stem == "__init__" else pure.stem
        able = {file for name in (*names, module, "*") for file in self._by_import.get(name, ())}
        said = [name.encode() for name in names]
        mentioning = (file for file in sorted(able) if any(n in self._text(file) for n in said))
        return [file for file in mentioning if self._imports(file, path, names)]

    @cached_property
    def _by_import(self) -> dict[str, list[str]]:
        """The files that import something of a name: a function, a class, a module."""
        found: dict[str, list[str]] = {}
        for path in self._paths:
            for local, target in self._targets(path).items():
                name = "*" if local.startswith("*") else target.rpartition(".")[2]
                found.setdefault(name, []).append(path)
        return found

    @cached_property
    def comparing(self) -> dict[str, None]:
        """The files that can make a cosine: by a library, or by a division and a root."""
        return {path: None for path in self._paths if compares(self._text(path))}

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
