"""Rename everything: to names that say nothing, and to names of something else."""

from __future__ import annotations

import ast
import builtins
import itertools

from ..programs import Draft
from ..trees import imported
from ._common import Rewrite

_MISLEADING = (
    "image_features logits weights mask labels embeddings loss_scale positions scores keys anchors tokens pixels "
    "frames prices rows masks boxes"
).split()
_PROTOCOL = ("forward", "backward")


def _rename(draft: Draft, words: list[str] | tuple[str, ...]) -> Draft | None:
    own = _own_names(draft.tree)
    if not own:
        return None
    fresh = (f"{word}{n or ''}" for n in itertools.count() for word in words)
    taken = own | imported(draft.tree) | {n.attr for n in ast.walk(draft.tree) if isinstance(n, ast.Attribute)}
    names = {name: next(word for word in fresh if word not in taken) for name in sorted(own)}
    attributes = {name: f"{words[n % len(words)]}_{n}" for n, name in enumerate(sorted(_own_attributes(draft.tree)))}
    functions = {n.name for n in ast.walk(draft.tree) if isinstance(n, ast.FunctionDef | ast.ClassDef)}
    for node in ast.walk(draft.tree):
        if isinstance(node, ast.Name):
            node.id = names.get(node.id, node.id)
        elif isinstance(node, ast.arg):
            node.arg = names.get(node.arg, node.arg)
        elif isinstance(node, ast.FunctionDef | ast.ClassDef):
            node.name = attributes.get(node.name) or names.get(node.name, node.name)
        elif isinstance(node, ast.Attribute):
            node.attr = attributes.get(node.attr, node.attr)
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in functions:
            for keyword in node.keywords:
                keyword.arg = names.get(keyword.arg or "", keyword.arg)
    return draft


def _own_names(tree: ast.Module) -> set[str]:
    methods = _methods(tree)
    found = {n.id for n in ast.walk(tree) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}
    found |= {n.arg for n in ast.walk(tree) if isinstance(n, ast.arg)}
    found |= {n.name for n in ast.walk(tree) if isinstance(n, ast.FunctionDef | ast.ClassDef)} - methods
    return found - set(dir(builtins)) - imported(tree) - {"self"}


def _methods(tree: ast.Module) -> set[str]:
    classes = [n for n in ast.walk(tree) if isinstance(n, ast.ClassDef)]
    return {m.name for c in classes for m in c.body if isinstance(m, ast.FunctionDef)}


def _own_attributes(tree: ast.Module) -> set[str]:
    stored = {
        n.attr
        for n in ast.walk(tree)
        if isinstance(n, ast.Attribute) and isinstance(n.ctx, ast.Store) and ast.unparse(n.value) == "self"
    }
    return {name for name in stored | _methods(tree) if not name.startswith("__") and name not in _PROTOCOL}


REWRITES = [
    Rewrite("neutral names", "names", lambda draft: _rename(draft, ("v",))),
    Rewrite("misleading names", "names", lambda draft: _rename(draft, _MISLEADING)),
]
