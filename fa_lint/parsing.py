"""From a source to its facts, whatever its nesting: deep trees get a stack of their own."""

from __future__ import annotations

import ast
import sys
import threading
from collections.abc import Callable, Iterable
from typing import TypeVar

from fa_lint.quick import NoLayout, quick_lower
from fa_lint.semantics.facts import ModuleFacts, extract
from fa_lint.semantics.roles import RoleNames
from fa_lint.source import ParseFailure, Source

__all__ = ["on_any_stack", "parse_facts", "quick_facts", "says_nothing"]

_T = TypeVar("_T")
# Above this nesting the lossless parser and its position pass need more stack than a thread has by default.
_DEEP = 80
# Far above any human nesting, far below what makes a lossless parse crawl.
_MAX_DEPTH = 1500
_STACK = 512 * 1024 * 1024


def parse_facts(source: Source, tree: ast.Module | None, declared: RoleNames) -> ModuleFacts | ParseFailure:
    """The facts of a source; ``tree`` is the interpreter's own where it has one."""
    import libcst

    deep = False
    if tree is not None:
        depth, row, levels = source.expression_depth(tree)
        if depth > _MAX_DEPTH:
            reason = f"an expression is nested more than {_MAX_DEPTH} levels deep"
            return ParseFailure(reason, source.offset_of(row, 1))
        deep = levels > _DEEP
    try:
        facts = (
            _on_a_deep_stack(lambda: _resolved(extract(source.text, declared, source.is_snippets, tree)))
            if deep
            else extract(source.text, declared, source.is_snippets, tree)
        )
    except libcst.ParserSyntaxError as error:
        return ParseFailure(error.message.split("\n")[0], source.offset_of(error.raw_line, error.raw_column + 1))
    except RecursionError:
        return ParseFailure("nested too deeply to analyse", 0)
    return facts


def quick_facts(source: Source, tree: ast.Module, declared: RoleNames) -> ModuleFacts | None:
    """Facts without a lossless parse; None where only that can tell."""
    try:
        return ModuleFacts(quick_lower(tree, source.text), source.text, declared, source.is_snippets)
    except (NoLayout, RecursionError):
        return None


def says_nothing(asks: Iterable[Callable[[ModuleFacts], Iterable[object]]], facts: ModuleFacts | None) -> bool:
    """Is nothing found in quick facts? Then nothing is to be found; what they cannot say counts as something."""
    if facts is None:
        return False
    try:
        return not any(True for ask in asks for _ in ask(facts))
    except Exception:  # a broken rule is reported by the run that counts
        return False
    finally:
        facts.forget()


def _resolved(facts: ModuleFacts) -> ModuleFacts:
    facts.span(facts.module)
    return facts


def _on_a_deep_stack(work: Callable[[], _T]) -> _T:
    """Run ``work`` in a thread with a stack that deep nesting cannot exhaust."""
    outcome: list[_T] = []
    failure: list[BaseException] = []

    def body() -> None:
        try:
            outcome.append(work())
        except BaseException as error:  # carried over to the caller's thread
            failure.append(error)

    old_stack, old_limit = threading.stack_size(_STACK), sys.getrecursionlimit()
    try:
        sys.setrecursionlimit(max(old_limit, 100_000))
        thread = threading.Thread(target=body)
        thread.start()
        thread.join()
    finally:
        threading.stack_size(old_stack)
        sys.setrecursionlimit(old_limit)
    if failure:
        raise failure[0]
    return outcome[0]


def on_any_stack(ask: Callable[[ModuleFacts], Iterable[_T]], facts: ModuleFacts) -> list[_T]:
    """All that ``ask`` gives, on a deep stack where this thread's is not enough."""
    try:
        return list(ask(facts))
    except RecursionError:
        # Hundreds of strings side by side nest in libcst's tree alone.
        return _on_a_deep_stack(lambda: list(ask(_resolved(facts))))
