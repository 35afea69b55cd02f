"""The files of a run as one program: which file an import means, and its facts when a value leads there."""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Sequence
from hashlib import blake2b

from fa_lint.modules import Imports, Modules
from fa_lint.parsing import on_any_stack
from fa_lint.reading import read_file
from fa_lint.rules.base import Rule
from fa_lint.semantics.facts import ModuleFacts, extract
from fa_lint.semantics.roles import RoleNames
from fa_lint.source import ParseFailure, Source, SourceError

__all__ = ["Project"]

# A file in which none of these occurs makes no gradients and names none.
_SUBJECT = re.compile(rb"grad|credit|costate|jac|vjp|hess|hook|tape|[Pp]seudo")
_IMPORT = re.compile(rb"^[ \t]*(?:from[ \t]+([.\w]+)[ \t]+import[ \t]+([^\n#]*)|import[ \t]+([^\n#]+))", re.MULTILINE)
_NAME = re.compile(rb"[\w.]+")
_MOST_LOADED = 48
_MOST_NEAR = 40


class Project:
    """Answers for one process; a file is read when it is first asked for, and parsed when a value leads into it."""

    def __init__(self, paths: Iterable[str], declared: RoleNames) -> None:
        self._paths = sorted(paths)
        self._modules = Modules(dict.fromkeys(self._paths, ()))
        self._declared = declared
        self._data: dict[str, bytes | None] = {}
        self._subjects: dict[str, bool] = {}
        self._matches: dict[tuple[str, str], bool] = {}
        self._imported: dict[str, tuple[str, ...]] = {}
        self._loaded: OrderedDict[str, tuple[Source, ModuleFacts] | None] = OrderedDict()
        # What the file under analysis has asked for: part of what its result depends on.
        self.asked: dict[str, str] = {}

    # -- which rules can find something --------------------------------------------------------------------------

    def opens(self, rule: Rule, path: str, data: bytes, imports: Imports) -> bool:
        """Return True where a file and what it imports have together what a rule looks for."""
        formula, subject = rule.may_match(data), _SUBJECT.search(data) is not None
        if formula and subject:
            return True
        if not formula and not subject:
            return False
        near = self._near(path, imports)
        found = any(self._match(rule, p) for p in near) if subject else any(self._subject(p) for p in near)
        if near:
            self._ask(*near)
        return found

    def _near(self, path: str, imports: Imports) -> list[str]:
        """The files that a file imports, and those that they import."""
        direct = dict.fromkeys(file for _, target in imports for file in self._files(target, path))
        found = dict.fromkeys(direct)
        for file in direct:
            found.update(dict.fromkeys(self._imports_of(file)))
            if len(found) > _MOST_NEAR:
                break
        found.pop(path, None)
        return list(found)[:_MOST_NEAR]

    def _files(self, target: str, caller: str) -> list[str]:
        """The files that ``from a import b`` can read: ``a/b.py``, else ``a.py``."""
        if not target.strip("."):
            return self._modules.files(target, caller)
        module = target.rpartition(".")[0]
        dots = target[: len(target) - len(target.lstrip("."))]
        found = self._modules.files(target, caller)
        if not found and (module or dots):
            found = self._modules.files(module if module.strip(".") else dots, caller)
        return [file for file in found if file != caller]

    def _imports_of(self, path: str) -> tuple[str, ...]:
        if path not in self._imported:
            targets = _targets(self._read(path) or b"")
            files = dict.fromkeys(file for target in targets for file in self._files(target, path))
            self._imported[path] = tuple(files)
        return self._imported[path]

    def _subject(self, path: str) -> bool:
        if path not in self._subjects:
            self._subjects[path] = _SUBJECT.search(self._read(path) or b"") is not None
        return self._subjects[path]

    def _match(self, rule: Rule, path: str) -> bool:
        key = (rule.code, path)
        if key not in self._matches:
            self._matches[key] = rule.may_match(self._read(path) or b"")
        return self._matches[key]

    # -- loading -------------------------------------------------------------------------------------------------

    def load(self, caller: str, dotted: str) -> tuple[str, ModuleFacts, str] | None:
        """Return path and facts of the module that a dotted name begins with, and the rest of the name."""
        dots = dotted[: len(dotted) - len(dotted.lstrip("."))]
        parts = dotted.lstrip(".").split(".")
        for cut in range(len(parts), -1, -1):
            module = dots + ".".join(parts[:cut])
            if not module:
                break
            files = [file for file in self._modules.files(module, caller) if file != caller]
            if not files:
                continue
            nearest = max(files, key=lambda file: (_shared(file, caller), file))
            found = self._load(nearest)
            return (nearest, found[1], ".".join(parts[cut:])) if found is not None else None
        return None

    def source(self, path: str) -> tuple[Source, ModuleFacts] | None:
        """Return a file that was loaded before."""
        return self._load(path)

    def _load(self, path: str) -> tuple[Source, ModuleFacts] | None:
        self._ask(path)
        if path not in self._loaded:
            self._loaded[path] = self._parsed(path)
            if len(self._loaded) > _MOST_LOADED:
                self._loaded.popitem(last=False)
        return self._loaded[path]

    def _parsed(self, path: str) -> tuple[Source, ModuleFacts] | None:
        data = self._read(path)
        if data is None:
            return None
        try:
            source = Source.read(path, data)
        except SourceError:
            return None
        tree = source.parse()
        if isinstance(tree, ParseFailure):
            return None
        facts = on_any_stack(lambda: extract(source.text, self._declared, source.is_snippets, tree))
        return source, facts

    def _read(self, path: str) -> bytes | None:
        if path not in self._data:
            try:
                self._data[path] = read_file(path)
            except OSError:
                self._data[path] = None
        return self._data[path]

    def _ask(self, *paths: str) -> None:
        for path in paths:
            if path not in self.asked:
                self.asked[path] = _digest(self._read(path) or b"")

    def depends(self, path: str, imports: Imports) -> tuple[tuple[str, str], ...]:
        """Return what the result of a file depends on: what its imports mean, and the files that it asked for."""
        asked, self.asked = self.asked, {}
        return (("", self._meaning(path, imports)), *sorted(asked.items()))

    def holds(self, path: str, imports: Imports, depends: Sequence[tuple[str, str]]) -> bool:
        """Return True where everything that an earlier result of a file depends on is as it was."""
        return all(
            digest == (_digest(self._read(other) or b"") if other else self._meaning(path, imports))
            for other, digest in depends
        )

    def _meaning(self, path: str, imports: Imports) -> str:
        files = [self._files(target, path) for _, target in imports]
        return _digest(repr([found for found in files if found]).encode("utf-8", "surrogateescape"))


def _targets(data: bytes) -> Iterator[str]:
    for match in _IMPORT.finditer(data):
        if match[3] is not None:
            yield from (name.decode("ascii", "ignore") for name in _NAME.findall(match[3]))
            continue
        module = match[1].decode("ascii", "ignore")
        names = [name.decode("ascii", "ignore") for name in _NAME.findall(match[2])]
        yield from (f"{module}{name}" if module.endswith(".") else f"{module}.{name}" for name in names or ["*"])


def _shared(one: str, other: str) -> int:
    """How many leading folders two paths share."""
    return sum(1 for a, b in zip(one.split("/"), other.split("/"), strict=False) if a == b)


def _digest(data: bytes) -> str:
    return blake2b(data, digest_size=12).hexdigest()
