"""The second gate of FAL301: is autocast opened around a gradient, or around a call into another file?"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterable

from fa_lint.astwalk import last_name
from fa_lint.gate import Outline

__all__ = ["LIBRARIES", "may_be_half"]

LIBRARIES = sys.stdlib_module_names | {"torch", "numpy", "torchvision", "tqdm", "jax", "scipy", "einops"}
_GRADIENTS = frozenset(
    "backward grad grad_and_value jacrev jacfwd hessian jacobian vjp gradient gradients register_hook "
    "register_backward_hook register_full_backward_hook register_full_backward_pre_hook value_and_grad "
    "register_module_full_backward_hook".split()
)


def may_be_half(outline: Outline) -> bool:
    """Must not be False where the rule fires or leaves a clue; local names are matched without their scopes."""
    openers = _names_of(outline, "autocast")
    if not any(_involves(call, openers) for call in outline.every(ast.Call)):
        return False
    gradients = set().union(*(_names_of(outline, name) for name in _GRADIENTS))
    if any(node.attr in gradients for node in outline.every(ast.Attribute)):
        return True
    if any(isinstance(call.func, ast.Name) and call.func.id in gradients for call in outline.every(ast.Call)):
        return True
    return _enters_other_files(outline, openers)


def _names_of(outline: Outline, name: str) -> set[str]:
    """A name and what it is imported or assigned as; any name at all after a star import."""
    found = {name}
    found |= {a.asname for a in outline.every(ast.alias) if a.asname and a.name.rpartition(".")[2] == name}
    for node in outline.every(ast.Assign):
        if last_name(node.value) in found:
            found.update(last_name(target) for target in node.targets)
    return found - {""}


def _involves(call: ast.Call, openers: set[str]) -> bool:
    """A call of autocast that can mean fp16, or one that is given it (``partial(torch.autocast, "cuda")``)."""
    if last_name(call.func) not in openers:
        return any(last_name(arg) in openers for arg in call.args)
    # What is unpacked is not followed, and is not taken for fp16.
    return not any(isinstance(arg, ast.Starred) for arg in call.args) and not any(map(_denies, call.keywords))


def _denies(keyword: ast.keyword) -> bool:
    match keyword:
        case ast.keyword(arg=None) | ast.keyword(arg="enabled", value=ast.Constant(value=False)):
            return True
        case ast.keyword(arg="dtype", value=ast.Attribute(attr="bfloat16" | "float32")):
            return True
    return False


def _enters_other_files(outline: Outline, openers: set[str]) -> bool:
    """Does a block or function under autocast, or a function of the file it calls, call what is imported?"""
    foreign, functions = _foreign(outline), _functions(outline)
    contexts = openers | {
        last_name(target)
        for node in outline.every(ast.Assign)
        if isinstance(node.value, ast.Call | ast.IfExp) and _mentions(node.value, openers)
        for target in node.targets
    }
    contexts |= {name for name, bodies in functions.items() if any(_mentions(body, openers) for body in bodies)}
    waiting: list[ast.AST] = []
    for block in outline.every(ast.With, ast.AsyncWith):
        if any(_mentions(item.context_expr, contexts) for item in block.items):
            waiting += block.body
    for definition in outline.every(ast.FunctionDef, ast.ClassDef):
        if any(_mentions(decorator, contexts) for decorator in definition.decorator_list):
            waiting.append(definition)
    entered: set[str] = set()
    while waiting:
        for node in ast.walk(waiting.pop()):
            if isinstance(node, ast.Call):
                if _parts(node.func) & foreign:
                    return True
                name = last_name(node.func)
                if name in functions and name not in entered:
                    entered.add(name)
                    waiting += functions[name]
    return False


def _foreign(outline: Outline) -> set[str]:
    """The names imported from other files of the project, and what is made by calling them."""
    found: set[str] = set()
    for node in outline.every(ast.ImportFrom, ast.Import):
        match node:
            case ast.ImportFrom(level=level, module=module, names=names):
                if level or (module or "").partition(".")[0] not in LIBRARIES:
                    found.update(alias.asname or alias.name for alias in names)
            case ast.Import(names=names):
                found.update(
                    alias.asname or alias.name.partition(".")[0]
                    for alias in names
                    if alias.name.partition(".")[0] not in LIBRARIES
                )
    if "*" in found:
        # A star import may bring any function.
        found |= {call.func.id for call in outline.every(ast.Call) if isinstance(call.func, ast.Name)}
    made = {
        last_name(target)
        for node in outline.every(ast.Assign)
        if isinstance(node.value, ast.Call) and _parts(node.value.func) & found
        for target in node.targets
    }
    return (found | made) - {"", "*"}


def _functions(outline: Outline) -> dict[str, list[ast.AST]]:
    found: dict[str, list[ast.AST]] = {}
    for node in outline.every(ast.FunctionDef, ast.AsyncFunctionDef):
        found.setdefault(node.name, []).append(node)
    return found


def _mentions(node: ast.AST, names: Iterable[str]) -> bool:
    return any(last_name(part) in names for part in ast.walk(node))


def _parts(node: ast.AST) -> set[str]:
    """The names in ``a.b.c``, its last method left out unless it is all there is."""
    if isinstance(node, ast.Name):
        return {node.id}
    found: set[str] = set()
    while isinstance(node, ast.Attribute):
        node = node.value
        found.add(last_name(node))
    return found
