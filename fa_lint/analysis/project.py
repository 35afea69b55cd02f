"""The files of a run as one program: which file an import means, and its facts when a value leads there."""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cached_property
from hashlib import blake2b

from fa_lint.analysis import texts
from fa_lint.analysis.importers import Importers
from fa_lint.analysis.modules import Imports, Modules
from fa_lint.rules.base import Gate, Rule
from fa_lint.semantics.facts import ModuleFacts, extract
from fa_lint.semantics.roles import RoleNames
from fa_lint.source.parsing import on_any_stack
from fa_lint.source.reading import read_file
from fa_lint.source.text import ParseFailure, Source, SourceError

__all__ = ["Project"]

_IMPORT = re.compile(
    rb"^[ \t]*(?:from[ \t]+([.\w]+)[ \t]+import[ \t]+(\([^)]*\)|[^\n#]*)|import[ \t]+([^\n#]+))", re.MULTILINE
)
_AS = re.compile(rb"([\w.]+)(?:[ \t]+as[ \t]+(\w+))?")
_BLOCK = re.compile(rb"^(?:async[ \t]+)?(?:def|class)[ \t]+(\w+)", re.MULTILINE)
_WORD = re.compile(rb"[A-Za-z_]\w*")
_CHAIN = re.compile(rb"\b[A-Za-z_]\w*+(?:\.\w++)++")
_MOST_LOADED = 200
_MOST_HOPS = 4
# In the record of what a result depends on: all callers of these names, and those that can make a cosine.
_CALLERS, _COMPARING = "<", ">"
# A local name of an import has no more, and a chain of a hundred thousand is an attack.
_MOST_PARTS = 8


class Project:
    """Answers for one process; a file is read when it is first asked for, and parsed when a value leads into it."""

    def __init__(self, paths: Iterable[str], declared: RoleNames, subjects: Iterable[Gate] = ()) -> None:
        self._paths = sorted(paths)
        self._modules = Modules(dict.fromkeys(self._paths, ()))
        self._declared = declared
        self._data: dict[str, bytes | None] = {}
        # What a file states may depend on whether any file of the run mentions one of these.
        self._subjects = tuple(subjects)
        self._tested: dict[tuple[str | Gate, str, str], bool] = {}
        self._mentioned: dict[Gate, bool] = {}
        self._blocks: dict[str, dict[str, bytes]] = {}
        self._used: dict[tuple[str, str], tuple[set[str], tuple[str, ...]]] = {}
        self._imported: dict[str, dict[str, str]] = {}
        self._modules_of: dict[tuple[str, str], tuple[str, str] | None] = {}
        self._importers = Importers(self._paths, self._read, self._targets, self._blocks_of, self._module_of)
        self._loaded: OrderedDict[str, tuple[Source, ModuleFacts] | None] = OrderedDict()
        # Of the file that was last asked about: see `_members`.
        self._chains: tuple[str, dict[str, set[str]]] = ("", {})
        # What the file under analysis has asked for: part of what its result depends on.
        self.asked: dict[str, str] = {}

    # -- which rules can find something --------------------------------------------------------------------------

    def opens(self, rule: Rule, path: str, data: bytes, imports: Imports) -> bool:
        """Return True where a file and the functions that it imports have together what a rule looks for."""
        formula, subject = rule.may_match(data), texts.names_gradients(data)
        if formula and (subject or rule.across == "cosines"):
            return True
        if rule.is_given_cosines and (path in self._given_cosines or self._passes_cosines(path, data, imports)):
            return True
        if rule.across == "cosines":
            if not subject and not texts.copies(data):
                return False
            test: Callable[[bytes], bool] = texts.compares
            kind = "compares"
        elif subject:
            test, kind = rule.may_match, rule.code
        elif formula:
            test, kind = texts.names_gradients, "subject"
        else:
            return False
        return any(self._holds(name, path, test, kind) for name in self._imported_names(path, imports))

    @cached_property
    def _given_cosines(self) -> frozenset[str]:
        """The files with a function that averages or replaces values, imported by a file with cosines of gradients."""
        asked, self.asked = self.asked, {}
        for path in self._importers.comparing:
            if texts.names_gradients(self._read(path) or b""):
                imports = tuple(
                    ("*" if local.startswith("*") else local, t) for local, t in self._targets(path).items()
                )
                for name in self._imported_names(path, imports):
                    self._holds(name, path, texts.reduces, "reduces")
        self.asked = asked
        return frozenset(path for (kind, path, _), holds in self._tested.items() if kind == "reduces" and holds)

    def _passes_cosines(self, path: str, data: bytes, imports: Imports) -> bool:
        """Return True where a file makes cosines of gradients, and imports what averages or replaces values."""
        if not texts.names_gradients(data) or not texts.compares(data):
            return False
        return any(self._holds(name, path, texts.reduces, "reduces") for name in self._imported_names(path, imports))

    def leads_to(self, subject: Gate, path: str, imports: Imports) -> bool:
        """Return True where the text of what a file imports passes a gate."""
        if not self._mentions(subject):
            return False
        return any(self._holds(name, path, subject.open_for, subject) for name in self._imported_names(path, imports))

    def _mentions(self, subject: Gate) -> bool:
        """Return True where any file of the run passes a gate: cheap, and mostly the end of it."""
        if subject not in self._mentioned:
            self._mentioned[subject] = any(subject.open_for(self._read(path) or b"") for path in self._paths)
        return self._mentioned[subject]

    def _imported_names(self, path: str, imports: Imports) -> Iterator[str]:
        """The dotted names that a file imports, and what it reads from those that are modules or classes."""
        if self._chains[0] != path:
            self._chains = path, _members(self._read(path) or b"")
        for local, target in imports:
            if local == "*":
                yield f"{target}.*"
                continue
            yield target
            written = target if target.startswith(f"{local}.") else local
            yield from (f"{target}.{member}" for member in sorted(self._chains[1].get(written, ())))

    def holds_text(self, caller: str, dotted: str, named: bool) -> bool:
        """Return True where an imported name leads to text that names gradients, or can measure them."""
        test, kind = (texts.names_gradients, "subject") if named else (texts.makes, "makes")
        found = self._module_of(dotted, caller)
        if found is None:
            return False
        return self._holds(dotted if found[1] else f"{dotted}.*", caller, test, kind)

    def _holds(self, dotted: str, caller: str, test: Callable[[bytes], bool], kind: str | Gate, hops: int = 0) -> bool:
        """Return True where the text of an imported function or class passes a test, or of what it uses."""
        found = self._definition(dotted, caller)
        if found is None or hops > _MOST_HOPS:
            return False
        path, name = found
        self._ask(path)
        key = (kind, path, name)
        if key not in self._tested:
            self._tested[key] = False  # a circle of imports
            self._tested[key] = self._test(path, name, test, kind, hops)
        return self._tested[key]

    def _test(self, path: str, name: str, test: Callable[[bytes], bool], kind: str | Gate, hops: int) -> bool:
        data = self._read(path) or b""
        if name == "*" or b".register" in data:  # functions that are registered with others have no name of their own
            targets = self._targets(path).items()
            everything = (f"{target}.*" if local.startswith("*") else target for local, target in targets)
            return test(data) or any(self._holds(target, path, test, kind, hops + 1) for target in everything)
        blocks = self._blocks_of(path)
        waiting, seen = [name], {name}
        while waiting:
            at = waiting.pop()
            block = blocks.get(at)
            if block is None:
                continue
            if test(block):
                return True
            inside, onward = self._uses(path, at, block)
            if any(self._holds(other, path, test, kind, hops + 1) for other in onward):
                return True
            waiting += inside - seen
            seen |= inside
        if name in blocks:
            return False
        target = self._targets(path).get(name)
        onward = (target,) if target is not None else tuple(f"{star}.{name}" for star in self._stars(path))
        return any(self._holds(other, path, test, kind, hops + 1) for other in onward)

    def _uses(self, path: str, name: str, block: bytes) -> tuple[set[str], tuple[str, ...]]:
        """Return the functions and classes of its file that a function or class mentions, and the imported names."""
        if (path, name) not in self._used:
            targets, blocks, chains = self._targets(path), self._blocks_of(path), _members(block)
            mentioned = {match.decode("ascii", "ignore") for match in _WORD.findall(block)}
            onward: list[str] = []
            for word in sorted(mentioned - blocks.keys()):
                known = targets.get(word)
                if known is not None:
                    onward += [known, *(f"{known}.{member}" for member in sorted(chains.get(word, ())))]
                else:
                    onward += [f"{star}.{word}" for star in self._stars(path)]
            self._used[path, name] = mentioned & blocks.keys(), tuple(onward)
        return self._used[path, name]

    def _stars(self, path: str) -> list[str]:
        """The modules from which a file imports everything."""
        return [target for local, target in self._targets(path).items() if local.startswith("*")]

    def _definition(self, dotted: str, caller: str) -> tuple[str, str] | None:
        """Return the file that a dotted name is looked for in, and the first part of the name there."""
        found = self._module_of(dotted, caller)
        if found is None or not found[1]:
            return None
        return found[0], found[1].partition(".")[0]

    def _blocks_of(self, path: str) -> dict[str, bytes]:
        """The text of each function and class at the top level of a file."""
        if path not in self._blocks:
            data = self._read(path) or b""
            starts = [(m.start(), m[1].decode("ascii", "ignore")) for m in _BLOCK.finditer(data)]
            ends = [*(start for start, _ in starts), len(data)][1:]
            self._blocks[path] = {name: data[start:end] for (start, name), end in zip(starts, ends, strict=False)}
        return self._blocks[path]

    def _targets(self, path: str) -> dict[str, str]:
        """The imports of a file by local name, read from its lines."""
        if path not in self._imported:
            self._imported[path] = dict(_targets(self._read(path) or b""))
        return self._imported[path]

    # -- loading -------------------------------------------------------------------------------------------------

    def load(
        self, caller: str, dotted: str, given: bool = True, *, own: ModuleFacts | None = None
    ) -> tuple[str, ModuleFacts, str] | None:
        """Return path and facts of the module that a dotted name begins with, and the rest of the name.

        None also where nothing that the name leads to can make a gradient, or measure one that it is given. ``own`` are
        the facts of the file under analysis, which its callers lead back to.
        """
        found = self._module_of(dotted, caller)
        if found is None:
            return None
        if own is not None and found[0] == own.path:
            return own.path, own, found[1]
        # An object is made before it is given anything.
        measures = given or found[1].rpartition(".")[2][:1].isupper()
        test, kind = (texts.matters, "matters") if measures else (texts.concerns, "concerns")
        if found[1] and not self._holds(dotted, caller, test, kind):
            return None
        loaded = self._load(found[0])
        return (found[0], loaded[1], found[1]) if loaded is not None else None

    def _module_of(self, dotted: str, caller: str) -> tuple[str, str] | None:
        key = (dotted, caller)
        if key not in self._modules_of:
            self._modules_of[key] = self._find_module(dotted, caller)
        return self._modules_of[key]

    def _find_module(self, dotted: str, caller: str) -> tuple[str, str] | None:
        dots = dotted[: len(dotted) - len(dotted.lstrip("."))]
        parts = dotted.lstrip(".").split(".")
        for cut in range(len(parts), -1, -1):
            module = dots + ".".join(parts[:cut])
            if not module:
                break
            files = [file for file in self._modules.files(module, caller) if file != caller]
            if files:
                return max(files, key=lambda file: (_shared(file, caller), file)), ".".join(parts[cut:])
        return None

    def callers(
        self, path: str, names: frozenset[str], comparing: bool
    ) -> list[tuple[str, ModuleFacts, frozenset[str]]]:
        """Return the files that lead to one of the names in a file, and by which names they do.

        Those that can make a cosine, or all.
        """
        found = self._importers.of(path, names, comparing)
        self.asked[(_COMPARING if comparing else _CALLERS) + " ".join(sorted(names))] = self._state(found)
        loaded = ((file, self._load(file), through) for file, through in found.items())
        return [(file, known[1], through) for file, known, through in loaded if known is not None]

    def _state(self, paths: Iterable[str]) -> str:
        return _digest("".join(f"{path}:{_digest(self._read(path) or b'')}" for path in paths).encode(errors="replace"))

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
        """Return True where everything that an earlier result of a file depends on is as it was.

        What was found of a file alone holds where its imports lead out of the run.
        """
        if not depends:
            return not any(self._module_of(target, path) for _, target in imports)
        return all(digest == self._now(path, imports, other) for other, digest in depends)

    def _now(self, path: str, imports: Imports, other: str) -> str:
        """Return the digest that one record of :meth:`depends` has now."""
        if other[:1] in (_CALLERS, _COMPARING):
            return self._state(self._importers.of(path, frozenset(other[1:].split()), other[0] == _COMPARING))
        return _digest(self._read(other) or b"") if other else self._meaning(path, imports)

    def _meaning(self, path: str, imports: Imports) -> str:
        found = [self._module_of(target, path) for _, target in imports]
        mentioned = [self._mentions(subject) for subject in self._subjects]
        known = ([module for module in found if module], mentioned, path in self._given_cosines)
        return _digest(repr(known).encode("utf-8", "surrogateescape"))


def _targets(data: bytes) -> Iterator[tuple[str, str]]:
    """(local name, dotted name) of the imports; several lines in brackets included."""
    for match in _IMPORT.finditer(data):
        if match[3] is not None:
            for name, local in _AS.findall(match[3]):
                yield (local or name.partition(b".")[0]).decode("ascii", "ignore"), name.decode("ascii", "ignore")
            continue
        module = match[1].decode("ascii", "ignore")
        for number, (name, local) in enumerate(_AS.findall(match[2]) or [(b"*", b"")]):
            if b"*" in match[2]:
                yield f"*{module}{number}", module
                break
            dotted = name.decode("ascii", "ignore")
            joined = f"{module}{dotted}" if module.endswith(".") else f"{module}.{dotted}"
            yield (local or name).decode("ascii", "ignore"), joined


def _members(data: bytes) -> dict[str, set[str]]:
    """``{"a": {"b"}, "a.b": {"c"}, "b": {"c"}}`` of every ``a.b.c`` in a text."""
    found: dict[str, set[str]] = {}
    for chain in set(_CHAIN.findall(data)):
        parts = chain.decode("ascii", "ignore").split(".")
        for start in range(len(parts)):
            for end in range(start + 1, min(start + _MOST_PARTS, len(parts))):
                found.setdefault(".".join(parts[start:end]), set()).add(parts[end])
    return found


def _shared(one: str, other: str) -> int:
    """How many leading folders two paths share."""
    return sum(1 for a, b in zip(one.split("/"), other.split("/"), strict=False) if a == b)


def _digest(data: bytes) -> str:
    return blake2b(data, digest_size=12).hexdigest()
