"""Imports that a file does not read any more once it is changed."""

from __future__ import annotations

import ast
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from fa_lint.source.text import ParseFailure, Source

__all__ = ["unused_spans"]

_Function = ast.FunctionDef | ast.AsyncFunctionDef
_Import = ast.Import | ast.ImportFrom
_Span = tuple[int, int, str]
# An import, whatever its place in a changed file: scope, module, name in it, alias.
_Key = tuple[tuple[str, ...], str, str, str]
_NOQA = re.compile(r"#\s*noqa\s*:(.*)", re.IGNORECASE)
_UNUSED = re.compile(r"\bF401\b", re.IGNORECASE)


def unused_spans(before: Source, source: Source) -> list[_Span]:
    """What to take out of a changed file: the imports that the file ``before`` read and this one does not."""
    old, new = before.parse(), source.parse()
    if isinstance(old, ParseFailure) or isinstance(new, ParseFailure):
        return []
    if source.blocks or source.path.endswith("__init__.py"):
        return []
    read = {key for key, _, _, is_read in _imports(old) if is_read}
    gone = {
        alias
        for key, node, alias, is_read in _imports(new)
        if key in read and not is_read and not _stays(alias, node, source)
    }
    if not gone:
        return []
    # Imported here: only a file that is fixed needs libcst, and it is the slowest import of the linter.
    from fa_lint.source.import_removal import removal_spans

    return [*removal_spans(gone, new, source)]


def _stays(alias: ast.alias, node: _Import, source: Source) -> bool:
    """Return True for an import that is kept on purpose, or that a magic of a notebook may use."""
    rows = range(node.lineno, (node.end_lineno or node.lineno) + 1)
    comments = (found[1] for row in rows if (found := _NOQA.search(source.line(row))) is not None)
    if any(_UNUSED.search(comment) for comment in comments):
        return True
    name = _bound(alias)
    return source.notebook is not None and _count(name, source.notebook.original) != _count(name, source.text)


def _count(name: str, text: str) -> int:
    return len(re.findall(rf"\b{re.escape(name)}\b", text))


# -- who reads what -----------------------------------------------------------------------------------------------


@dataclass(slots=True)
class _Scope:
    """A module, class or function: what it binds, how often, and the names that are read in it or below it."""

    path: tuple[str, ...]
    outer: _Scope | None
    is_class: bool = False
    bound: Counter[str] = field(default_factory=Counter)
    outside: set[str] = field(default_factory=set)
    read: set[str] = field(default_factory=set)
    imports: list[tuple[_Import, ast.alias]] = field(default_factory=list)


def _imports(tree: ast.Module) -> Iterator[tuple[_Key, _Import, ast.alias, bool]]:
    """The imports of a file that bind one name each, and whether it is read."""
    reader = _Reader()
    reader.visit(tree)
    named = reader.in_text
    for scope, name in reader.loads:
        _resolve(scope, name)
    for scope in reader.scopes:
        for node, alias in scope.imports:
            name = _bound(alias)
            module = (node.module or "") if isinstance(node, ast.ImportFrom) else ""
            if alias.name == "*" or module == "__future__" or (isinstance(node, ast.ImportFrom) and node.level):
                continue
            is_read = name in scope.read or name in named or name in scope.outside or scope.bound[name] > 1
            yield (scope.path, module, alias.name, alias.asname or ""), node, alias, is_read


def _bound(alias: ast.alias) -> str:
    return alias.asname or alias.name.partition(".")[0]


def _resolve(scope: _Scope, name: str) -> None:
    """Note a read in every scope that it may come from, up to the function that binds the name."""
    at: _Scope | None = scope
    while at is not None:
        at.read.add(name)
        if at.bound[name] and name not in at.outside and not at.is_class:
            return
        at = at.outer


class _Reader(ast.NodeVisitor):
    """Collects the scopes of a file, their bindings, and the names that are read where."""

    def __init__(self) -> None:
        self.scopes = [_Scope((), None)]
        self.loads: list[tuple[_Scope, str]] = []
        self.in_text: set[str] = set()  # an annotation or ``__all__`` may be a string
        self._scope = self.scopes[0]

    def _bind(self, name: str) -> None:
        self._scope.bound[name] += 1

    def _enter(self, name: str, body: Iterable[ast.AST], is_class: bool = False, params: Iterable[str] = ()) -> None:
        outer = self._scope
        self._scope = _Scope((*outer.path, name), outer, is_class, Counter(params))
        self.scopes.append(self._scope)
        for node in body:
            self.visit(node)
        self._scope = outer

    def visit_FunctionDef(self, node: _Function | ast.Lambda) -> None:
        arguments = node.args
        every = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs, arguments.vararg, arguments.kwarg]
        params = [arg for arg in every if arg is not None]
        outside: list[ast.AST | None] = [*arguments.defaults, *arguments.kw_defaults, *(a.annotation for a in params)]
        if not isinstance(node, ast.Lambda):
            self._bind(node.name)
            outside += [*node.decorator_list, node.returns]
        for part in outside:
            if part is not None:
                self.visit(part)
        body = [node.body] if isinstance(node, ast.Lambda) else _without_docstring(node.body)
        self._enter(getattr(node, "name", "<lambda>"), body, params=[arg.arg for arg in params])

    visit_AsyncFunctionDef = visit_FunctionDef
    visit_Lambda = visit_FunctionDef

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        self._bind(node.name)
        for part in (*node.decorator_list, *node.bases, *node.keywords):
            self.visit(part)
        self._enter(node.name, _without_docstring(node.body), is_class=True)

    def visit_Module(self, node: ast.Module) -> None:
        for part in _without_docstring(node.body):
            self.visit(part)

    def visit_Import(self, node: _Import) -> None:
        for alias in node.names:
            self._scope.imports.append((node, alias))
            # `import torch` and `import torch.nn` bind one name.
            if not (isinstance(node, ast.Import) and alias.asname is None and self._scope.bound[_bound(alias)]):
                self._bind(_bound(alias))

    visit_ImportFrom = visit_Import

    def visit_Name(self, node: ast.Name) -> None:
        if isinstance(node.ctx, ast.Load):
            self.loads.append((self._scope, node.id))
        else:
            self._bind(node.id)

    def visit_comprehension(self, node: ast.comprehension) -> None:
        for part in (node.iter, *node.ifs):  # its targets bind nothing outside
            self.visit(part)

    def visit_Global(self, node: ast.Global | ast.Nonlocal) -> None:
        self._scope.outside.update(node.names)
        for scope in self.scopes[:1] if isinstance(node, ast.Global) else ():
            scope.outside.update(node.names)

    visit_Nonlocal = visit_Global

    def visit_ExceptHandler(self, node: ast.ExceptHandler) -> None:
        if node.name is not None:
            self._bind(node.name)
        self.generic_visit(node)

    def visit_JoinedStr(self, node: ast.JoinedStr) -> None:
        for part in node.values:
            if not isinstance(part, ast.Constant):
                self.visit(part)

    def visit_Constant(self, node: ast.Constant) -> None:
        if isinstance(node.value, str) and len(node.value) < 200:
            self.in_text.update(re.findall(r"[^\W\d]\w*", node.value))


def _without_docstring(body: list[ast.stmt]) -> list[ast.stmt]:
    match body:
        case [ast.Expr(value=ast.Constant(value=str())), *rest]:
            return rest
    return body
