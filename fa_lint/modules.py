"""Which file a dotted name means: imports across a project, without running or re-reading any of it."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator, Mapping
from pathlib import PurePath

__all__ = ["Exports", "Modules", "exports_of", "may_pass_on"]

# (local name or "*", dotted name) of what a module passes on.
Exports = tuple[tuple[str, str], ...]

_DEPTH = 6


def may_pass_on(path: str, data: bytes) -> bool:
    """Can :func:`exports_of` find anything in a file of these bytes?"""
    return b"import" in data and (PurePath(path).stem == "__init__" or b"*" in data)


def exports_of(path: str, tree: ast.Module) -> Exports:
    """What a module passes on under its own name: the imports of a package's ``__init__``, star imports of any file."""
    is_package = PurePath(path).stem == "__init__"
    found = []
    for node in _imports(tree):
        source = "." * node.level + (node.module or "")
        for alias in node.names:
            if alias.name == "*":
                found.append(("*", source))
            elif is_package:
                found.append((alias.asname or alias.name, f"{source}{'' if source.endswith('.') else '.'}{alias.name}"))
    return tuple(found)


def _imports(tree: ast.Module) -> Iterator[ast.ImportFrom]:
    """The ``from`` imports of a module's top level, those under ``try`` and ``if`` included."""
    stack: list[ast.stmt] = list(reversed(tree.body))
    while stack:
        match stack.pop():
            case ast.ImportFrom() as node:
                yield node
            case ast.If(body=body, orelse=orelse) | ast.Try(body=body, orelse=orelse) as node:
                handlers = node.handlers if isinstance(node, ast.Try) else []
                stack += [*(s for h in handlers for s in h.body), *orelse, *body]


class Modules:
    """The files of a run as modules."""

    def __init__(self, exports: Mapping[str, Exports]) -> None:
        self._exports = exports

    def means(self, dotted: str, caller: str, path: str, name: str, depth: int = 0) -> bool:
        """Can ``dotted``, as imported or qualified in the file ``caller``, be ``name`` of the file ``path``?

        ``name`` may be qualified itself (``Class.method``). Re-exports by packages and star imports are followed.
        """
        module, last = _split(dotted, name.count("."))
        if last == name and self.is_module(module, path, caller):
            return True
        if depth > _DEPTH:
            return False
        first, _, rest = last.partition(".")
        for between, exports in self._exports.items():
            if between == path or not self.is_module(module, between, caller):
                continue
            for local, target in exports:
                if local == first:
                    onward = f"{target}.{rest}" if rest else target
                elif local == "*":
                    onward = f"{target}{'' if target.endswith('.') else '.'}{last}"
                else:
                    continue
                if self.means(onward, between, path, name, depth + 1):
                    return True
        return False

    def names_of(self, names: Iterable[str]) -> set[str]:
        """``names`` and every other name under which a package passes one of them on."""
        known = set(names)
        renamed = [(t.rpartition(".")[2], local) for e in self._exports.values() for local, t in e if local != "*"]
        while True:
            more = {local for last, local in renamed if last in known} - known
            if not more:
                return known
            known |= more

    @staticmethod
    def is_module(module: str, path: str, caller: str) -> bool:
        """Can the dotted ``module``, as imported in ``caller``, be the file ``path``?"""
        parts = PurePath(path).with_suffix("").parts
        if parts and parts[-1] == "__init__":
            parts = parts[:-1]
        dots = len(module) - len(module.lstrip("."))
        wanted = tuple(part for part in module.lstrip(".").split(".") if part)
        if dots:
            base = PurePath(caller).parts[:-dots]
            return parts == (*base, *wanted)
        if not wanted or parts[-len(wanted) :] != wanted:
            return False
        # ``from utils import …`` means the ``utils`` beside the caller or above it, not any file of that name.
        base = parts[: -len(wanted)]
        return len(wanted) > 1 or PurePath(caller).parts[: len(base)] == base


def _split(dotted: str, inner: int) -> tuple[str, str]:
    """Module and name of a dotted name whose last ``inner + 1`` parts are the name; leading dots are the module's."""
    dots = len(dotted) - len(dotted.lstrip("."))
    parts = dotted[dots:].split(".")
    cut = max(len(parts) - inner - 1, 0)
    return "." * dots + ".".join(parts[:cut]), ".".join(parts[cut:])
