"""Which file a dotted name means, and which files belong together: the imports of a project, none of it run."""

from __future__ import annotations

import ast
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import PurePath
from types import MappingProxyType

__all__ = ["ClassBases", "Imports", "Modules", "classes_of", "imports_of", "may_import"]

# (local name or "*", dotted name) of every import at a module's top level.
Imports = tuple[tuple[str, str], ...]

# Names that one name may be passed on as; more are an attack.
_MOST_NAMES = 200


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


@dataclass(frozen=True, slots=True)
class ClassBases:
    """A class of a module and the names of its bases, dotted where they are imported."""

    name: str
    bases: tuple[str, ...]


def classes_of(tree: ast.Module, imports: Imports) -> tuple[ClassBases, ...]:
    """The classes at a module's top level, those under ``try`` and ``if`` included."""
    targets = {local: target for local, target in imports if not target.startswith(f"{local}.")}
    found = []
    stack: list[ast.stmt] = list(reversed(tree.body))
    while stack:
        match stack.pop():
            case ast.ClassDef(name=name, bases=bases):
                dotted = [_dotted(base) for base in bases]
                parts = [base.partition(".") for base in dotted if base]
                found.append(
                    ClassBases(name, tuple(targets.get(first, first) + dot + rest for first, dot, rest in parts))
                )
            case ast.If(body=body, orelse=orelse) | ast.Try(body=body, orelse=orelse):
                stack += [*orelse, *body]
    return tuple(found)


def _dotted(node: ast.expr) -> str:
    """``nn.Module`` as text, and the class of ``Base[T]``; empty for other expressions."""
    parts: list[str] = []
    while isinstance(node, ast.Attribute | ast.Subscript):
        parts += [node.attr] if isinstance(node, ast.Attribute) else []
        node = node.value
    return ".".join([node.id, *reversed(parts)]) if isinstance(node, ast.Name) else ""


class Modules:
    """The files of a run as modules: ``imports`` by path, and ``classes``."""

    def __init__(
        self, imports: Mapping[str, Imports], classes: Mapping[str, tuple[ClassBases, ...]] = MappingProxyType({})
    ) -> None:
        self._imports = imports
        self._classes = classes
        self._meanings: dict[tuple[str, str], frozenset[tuple[str, str]]] = {}
        self._above: dict[str, set[str]] = {}
        self._found: dict[tuple[str, str], list[str]] = {}

    @cached_property
    def _by_tail(self) -> dict[tuple[str, ...], list[str]]:
        """The paths of the modules by their whole dotted name, by its last part and by its last two."""
        found: dict[tuple[str, ...], list[str]] = defaultdict(list)
        for path in self._imports:
            parts = _parts(path)
            for tail in {parts, parts[-1:], parts[-2:]}:
                found[tail].append(path)
        return found

    def files(self, module: str, caller: str) -> list[str]:
        """The files that the dotted ``module``, as imported in ``caller``, can be."""
        key = (module, str(PurePath(caller).parent))
        if key not in self._found:
            self._found[key] = self._files(module, caller)
        return self._found[key]

    def _files(self, module: str, caller: str) -> list[str]:
        dots = len(module) - len(module.lstrip("."))
        wanted = tuple(part for part in module.lstrip(".").split(".") if part)
        above = PurePath(caller).parts[:-1]
        if dots:
            whole = (*above[: max(len(above) + 1 - dots, 0)], *wanted)
            return [path for path in self._by_tail.get(whole, ()) if _parts(path) == whole]
        if len(wanted) > 1:
            return [path for path in self._by_tail.get(wanted[-2:], ()) if _parts(path)[-len(wanted) :] == wanted]
        # ``from utils import …`` means the ``utils`` beside the caller or above it, not any file of that name.
        wholes = [(*above[:end], *wanted) for end in range(len(above) + 1)] if wanted else []
        found = [path for whole in wholes for path in self._by_tail.get(whole, ()) if _parts(path) == whole]
        if not found and wanted:
            # Neither: a package that is installed from elsewhere in the repository.
            named = self._by_tail.get(wanted, ())
            found = [p for p in named if PurePath(p).stem == "__init__" and not self._is_inside_package(p)]
        return found

    def _is_inside_package(self, init: str) -> bool:
        return str(PurePath(init).parent.parent / "__init__.py") in self._imports

    def meanings(self, dotted: str, caller: str) -> frozenset[tuple[str, str]]:
        """The (file, name) pairs that ``dotted``, as qualified in the file ``caller``, can be.

        The name may be that of a method (``Class.method``). What modules pass on is followed, star imports too.
        """
        key = (dotted, caller)
        if key not in self._meanings:
            self._meanings[key] = frozenset(self._follow(dotted, caller))
        return self._meanings[key]

    def _follow(self, dotted: str, caller: str) -> Iterator[tuple[str, str]]:
        waiting, seen = [(dotted, caller)], {(dotted, caller)}
        while waiting and len(seen) < _MOST_NAMES:
            name, path = waiting.pop()
            for inner in (0, 1):
                module, last = _split(name, inner)
                first, dot, rest = last.partition(".")
                for file in self.files(module, path) if last else ():
                    yield file, last
                    passed_on = self._by_local[file]
                    onward = [f"{target}{dot}{rest}" for target in passed_on.get(first, ())]
                    onward += [_joined(target, last) for target in passed_on.get("*", ())]
                    new = {(target, file) for target in onward} - seen
                    seen |= new
                    waiting += sorted(new)

    @cached_property
    def _by_local(self) -> dict[str, dict[str, list[str]]]:
        """By file and local name, what is imported."""
        found: dict[str, dict[str, list[str]]] = {}
        for path, imports in self._imports.items():
            mine = found.setdefault(path, {})
            for local, target in imports:
                mine.setdefault(local, []).append(target)
        return found

    def descends(self, dotted: str, caller: str, root: Callable[[str], bool]) -> bool:
        """Return True where a class is, or inherits from, one whose dotted name passes a test."""
        waiting, seen = [(dotted, caller)], {(dotted, caller)}
        while waiting and len(seen) < _MOST_NAMES:
            name, path = waiting.pop()
            if root(name):
                return True
            for file, found in self.meanings(name, path) if "." in name else {(path, name)}:
                new = {(base, file) for base in self._bases.get((file, found), ())} - seen
                seen |= new
                waiting += sorted(new)
        return False

    @cached_property
    def _bases(self) -> dict[tuple[str, str], tuple[str, ...]]:
        return {(path, c.name): c.bases for path, classes in self._classes.items() for c in classes}

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
        return _closure_of(path, self._imported)

    def together(self, one: str, other: str) -> bool:
        """True if two files run in one program by their imports: one reaches the other, or a third reaches both."""
        return not self.reaching(one).isdisjoint(self.reaching(other))

    def reaching(self, path: str) -> set[str]:
        """``path`` and every file that imports it, directly or through others."""
        if path not in self._above:
            self._above[path] = _closure_of(path, self._importers)
        return self._above[path]

    @cached_property
    def _importers(self) -> dict[str, set[str]]:
        found: dict[str, set[str]] = defaultdict(set)
        for path, targets in self._imported.items():
            for target in targets:
                found[target].add(path)
        return found


def _closure_of(start: str, edges: Mapping[str, set[str]]) -> set[str]:
    seen, waiting = {start}, [start]
    while waiting:
        new = edges.get(waiting.pop(), set()) - seen
        seen |= new
        waiting += new
    return seen


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
