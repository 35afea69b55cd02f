"""Which file a dotted name means, and which files belong together: the imports of a project, none of it run."""

from __future__ import annotations

import ast
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from functools import cached_property
from pathlib import PurePath

__all__ = ["Imports", "Modules", "imports_of", "may_import"]

# (local name or "*", dotted name) of every import at a module's top level.
Imports = tuple[tuple[str, str], ...]

_DEPTH = 6


def may_import(data: bytes) -> bool:
    """True if :func:`imports_of` can find anything in a file of these bytes."""
    return b"import" in data


def imports_of(tree: ast.Module) -> Imports:
    """The imports of a module, those in functions and under ``try`` and ``if`` included."""
    found = []
    for node in _imports(tree):
        if isinstance(node, ast.Import):
            found += [(alias.asname or alias.name.partition(".")[0], alias.name) for alias in node.names]
            continue
        source = "." * node.level + (node.module or "")
        for alias in node.names:
            if alias.name == "*":
                found.append(("*", source))
            else:
                found.append((alias.asname or alias.name, _joined(source, alias.name)))
    return tuple(found)


def _imports(tree: ast.Module) -> Iterator[ast.ImportFrom | ast.Import]:
    stack: list[ast.stmt] = list(reversed(tree.body))
    while stack:
        match stack.pop():
            case ast.ImportFrom() | ast.Import() as node:
                yield node
            case ast.If(body=body, orelse=orelse) | ast.Try(body=body, orelse=orelse) as node:
                handlers = node.handlers if isinstance(node, ast.Try) else []
                stack += [*(s for h in handlers for s in h.body), *orelse, *body]
            case ast.FunctionDef(body=body) | ast.AsyncFunctionDef(body=body) | ast.ClassDef(body=body):
                stack += reversed(body)
            case ast.With(body=body) | ast.For(body=body) | ast.While(body=body):
                stack += reversed(body)


class Modules:
    """The files of a run as modules: ``imports`` by path."""

    def __init__(self, imports: Mapping[str, Imports]) -> None:
        self._imports = imports
        self._found: dict[tuple[str, str], list[str]] = {}

    @property
    def alone(self) -> bool:
        """True if there is only one file, so that what is not in it may be anywhere."""
        return len(self._imports) < 2

    @cached_property
    def _by_name(self) -> dict[str, list[str]]:
        """The paths of the modules that have a name as their last part."""
        found: dict[str, list[str]] = defaultdict(list)
        for path in self._imports:
            parts = _parts(path)
            found[parts[-1] if parts else ""].append(path)
        return found

    def files(self, module: str, caller: str) -> list[str]:
        """The files that the dotted ``module``, as imported in ``caller``, can be."""
        key = (module, str(PurePath(caller).parent))
        if key not in self._found:
            self._found[key] = self._files(module, caller)
        return self._found[key]

    def _files(self, module: str, caller: str) -> list[str]:
        last = module.lstrip(".").rpartition(".")[2]
        if not last:
            base = PurePath(caller).parts[: -len(module)]
            last = base[-1] if base else ""
        named = self._by_name.get(last, [])
        found = [path for path in named if self.is_module(module, path, caller)]
        if not found and module == last:
            # Not beside the caller nor above it: a package that is installed from elsewhere in the repository.
            found = [path for path in named if PurePath(path).stem == "__init__" and not self._is_inside_package(path)]
        return found

    def _is_inside_package(self, init: str) -> bool:
        return str(PurePath(init).parent.parent / "__init__.py") in self._imports

    def means(self, dotted: str, caller: str, path: str, name: str) -> bool:
        """True if ``dotted``, as qualified in the file ``caller``, can be ``name`` of the file ``path``.

        ``name`` may be qualified itself (``Class.method``). What other modules pass on is followed, star imports too.
        """
        return self._means(dotted, caller, path, name, frozenset())

    def _means(self, dotted: str, caller: str, path: str, name: str, seen: frozenset[tuple[str, str]]) -> bool:
        module, last = _split(dotted, name.count("."))
        if last == name and path in self.files(module, caller):
            return True
        if len(seen) > _DEPTH or (caller, dotted) in seen:
            return False
        seen |= {(caller, dotted)}
        first, _, rest = last.partition(".")
        for between in self.files(module, caller):
            for local, target in self._imports[between] if between != path else ():
                if local == first:
                    onward = f"{target}.{rest}" if rest else target
                elif local == "*":
                    onward = _joined(target, last)
                else:
                    continue
                if self._means(onward, between, path, name, seen):
                    return True
        return False

    @cached_property
    def _renamed(self) -> list[tuple[str, str]]:
        pairs = [(target.rpartition(".")[2], local) for found in self._imports.values() for local, target in found]
        return [(last, local) for last, local in pairs if local not in ("*", last)]

    def definers(self, dotted: str, caller: str) -> set[str]:
        """The files that can define ``dotted`` as qualified in ``caller``: its module, and what it imports it from."""
        found: set[str] = set()
        waiting = [(dotted, caller)]
        seen: set[tuple[str, str]] = set()
        while waiting:
            name, path = waiting.pop()
            if (name, path) in seen or len(seen) > 100:
                continue
            seen.add((name, path))
            module, last = _split(name, 0)
            for file in self.files(module, path):
                found.add(file)
                waiting += [
                    (t if local == last else _joined(t, last), file)
                    for local, t in self._imports[file]
                    if local in (last, "*")
                ]
        return found

    def names_of(self, names: Iterable[str]) -> set[str]:
        """``names`` and every other name under which a module imports one of them."""
        return _closure(set(names), self._renamed)

    def known_as(self, names: Iterable[str]) -> set[str]:
        """``names`` and every name that a module imports under one of them: what they may be where they are defined."""
        return _closure(set(names), [(local, last) for last, local in self._renamed])

    @cached_property
    def _imported(self) -> dict[str, set[str]]:
        """By file, the files it imports directly."""
        found: dict[str, set[str]] = {}
        for path, imports in self._imports.items():
            mine: set[str] = set()
            for _, target in imports:
                module, _, _ = target.rpartition(".")
                mine.update(self.files(target, path))
                # ``from a import b``: b may be a module or a name of a; ``from . import b`` leaves the dots.
                dots = target[: len(target) - len(target.lstrip("."))]
                mine.update(self.files(module if module.strip(".") else dots, path) if module or dots else ())
            found[path] = mine - {path}
        return found

    def reaches(self, path: str) -> set[str]:
        """``path`` and every file that it imports, directly or through others."""
        seen = {path}
        stack = [path]
        while stack:
            for target in self._imported.get(stack.pop(), ()):
                if target not in seen:
                    seen.add(target)
                    stack.append(target)
        return seen

    def together(self, one: str, other: str) -> bool:
        """True if two files run in one program by their imports: one reaches the other, or a third reaches both."""
        return any({one, other} <= self.reaches(path) for path in (one, other, *self._imports))

    @staticmethod
    def is_module(module: str, path: str, caller: str) -> bool:
        """True if the dotted ``module``, as imported in ``caller``, can be the file ``path``."""
        parts = _parts(path)
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


def _closure(known: set[str], pairs: list[tuple[str, str]]) -> set[str]:
    while True:
        more = {other for one, other in pairs if one in known} - known
        if not more:
            return known
        known |= more


def _parts(path: str) -> tuple[str, ...]:
    parts = PurePath(path).with_suffix("").parts
    return parts[:-1] if parts and parts[-1] == "__init__" else parts


def _joined(module: str, name: str) -> str:
    return f"{module}{name}" if module.endswith(".") else f"{module}.{name}"


def _split(dotted: str, inner: int) -> tuple[str, str]:
    """Module and name of a dotted name whose last ``inner + 1`` parts are the name; leading dots are the module's."""
    dots = len(dotted) - len(dotted.lstrip("."))
    parts = dotted[dots:].split(".")
    cut = max(len(parts) - inner - 1, 0)
    return "." * dots + ".".join(parts[:cut]), ".".join(parts[cut:])
