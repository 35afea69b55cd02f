"""The registry: every rule of this package and of installed plug-ins, by code.

A plug-in is an entry point of the group ``fa_lint.rules`` that names a :class:`~fa_lint.rules.base.Rule` class.
"""

from __future__ import annotations

import difflib
import importlib
import pkgutil
import re
from collections.abc import Iterable
from functools import cache
from types import MappingProxyType

from fa_lint.installed import entry_points
from fa_lint.rules.base import SECTIONS, Invalid, ProjectRule, Rule

__all__ = [
    "ENGINE_CODES",
    "SECTIONS",
    "Invalid",
    "ProjectRule",
    "Rule",
    "RuleError",
    "close_to",
    "code_of",
    "registry",
    "select",
]

# Findings of the engine itself: they have no rule file but the same standing in selection and output.
ENGINE_CODES = MappingProxyType({"FAL900": "unparsable-file", "FAL901": "unused-suppression"})
_FILE = re.compile(r"fal\d{3}")
_CODE = re.compile(r"[A-Z]{3,5}\d{3}")


class RuleError(Exception):
    """A rule class that breaks its contract, found when the registry is built."""

    def __init__(self, rule: str, reason: str) -> None:
        super().__init__(rule, reason)
        self.rule = rule
        self.reason = reason

    def __str__(self) -> str:
        return f"{self.rule}: {self.reason}"


def _classes() -> Iterable[type[Rule]]:
    for module in pkgutil.walk_packages(__path__, f"{__name__}."):
        if _FILE.fullmatch(module.name.rpartition(".")[2]):
            imported = importlib.import_module(module.name)
            yield from (getattr(imported, name) for name in imported.__all__)
    for point in entry_points(group="fa_lint.rules"):
        loaded = point.load()
        if not (isinstance(loaded, type) and issubclass(loaded, Rule)):
            raise RuleError(point.value, "the entry point is not a subclass of fa_lint.rules.Rule")
        yield loaded


def _validate(rule: type[Rule]) -> None:
    for attribute in ("code", "name", "summary", "level", "pitfall", "runtime", "gate"):
        if not hasattr(rule, attribute):
            raise RuleError(rule.__name__, f"has no `{attribute}`")
    if not _CODE.fullmatch(rule.code):
        raise RuleError(rule.__name__, f"code {rule.code!r} is not letters and three digits")
    if not rule.VALID or not rule.INVALID:
        raise RuleError(rule.code, "needs VALID and INVALID examples")
    headings = tuple(re.findall(r"^## (.+)$", rule.documentation(), re.MULTILINE))
    if headings != SECTIONS:
        raise RuleError(rule.code, f"documentation has the sections {headings}, not {SECTIONS}")


@cache
def registry() -> MappingProxyType[str, Rule]:
    """All rules by code, in code order; checked once."""
    found: dict[str, Rule] = {}
    for rule in _classes():
        _validate(rule)
        if rule.code in found:
            raise RuleError(rule.code, f"declared twice, by {type(found[rule.code]).__name__} and {rule.__name__}")
        found[rule.code] = rule()
    return MappingProxyType(dict(sorted(found.items())))


def code_of(given: str) -> str | None:
    """Return the code that a code or the name of a rule stands for, in any case; None for what is neither."""
    names = {code: rule.name for code, rule in registry().items()} | dict(ENGINE_CODES)
    wanted = given.casefold()
    return next((code for code, name in names.items() if wanted in (code.casefold(), name.casefold())), None)


def close_to(given: str) -> str:
    """Return a suggestion for what :func:`code_of` does not know, as the end of an error message."""
    names = {code: rule.name for code, rule in registry().items()} | dict(ENGINE_CODES)
    known = [*names, *names.values()]
    close = difflib.get_close_matches(given.upper(), known, 1) or difflib.get_close_matches(given.lower(), known, 1)
    if _CODE.fullmatch(given.upper()):
        # A code of the same family.
        close = sorted(close and names, key=lambda code: -_shared(code, given.upper()))[:1]
    return f"; did you mean `{close[0]}`?" if close else ""


def _shared(one: str, other: str) -> int:
    """Return how many characters two codes begin with together."""
    return next((n for n, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), len(one))


def select(codes: frozenset[str]) -> list[Rule]:
    """The rules behind a set of codes, in code order."""
    return [rule for code, rule in registry().items() if code in codes]
