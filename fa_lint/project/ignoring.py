"""Patterns of ``.gitignore`` whose cost is bounded: a repository may hold one that is made to backtrack for hours."""

from __future__ import annotations

import re
from collections.abc import Iterable

from pathspec import GitIgnoreSpec

__all__ = ["ignore_spec", "within_components", "without_backtracking"]

# How pathspec writes ``*``, ``**/`` at the start and ``/**/``. What a user writes never comes out as one of these.
_STAR, _ANY_ABOVE, _ANY_BETWEEN = "[^/]*", "(?:.+/)?", "(?:/.+)?/"
_NO_SLASH = re.compile(r"\[\^/\]|\(\?!/\)")
# The last alternative takes a bracket that is never closed, so that the rest is read once.
_CLASS = re.compile(r"\\.|\[\^/\]|(\[\^?\]?(?:\\.|[^\]\\])*\])|\[(?:\\.|[^\]\\])*\\?\Z", re.DOTALL)


def ignore_spec(lines: Iterable[str]) -> GitIgnoreSpec:
    """Return the patterns; raises :class:`ValueError` for one that is none."""
    spec = GitIgnoreSpec.from_lines(lines)
    for pattern in spec.patterns:
        regex = getattr(pattern, "regex", None)
        if regex is not None:
            rewritten = without_backtracking(within_components(regex.pattern))
            pattern.regex = regex if rewritten == regex.pattern else re.compile(rewritten)
    return spec


def within_components(regex: str) -> str:
    """Return the expression with classes (``[!a]``) that match no slash, as git's; pathspec's match one."""
    return _CLASS.sub(lambda found: f"(?!/){found[0]}" if found[1] else found[0], regex)


def without_backtracking(regex: str) -> str:
    """Return an expression that takes the first place that fits a wildcard, and no other.

    What follows a wildcard up to the next of its kind fits at its first place whenever it fits at a later one, as the
    next wildcard takes what lies between. Only the last wildcard of a kind needs to try them all.
    """
    parts = [_component_stars(part) for part in regex.split(_ANY_BETWEEN)]
    if len(parts) == 1:
        return parts[0]
    if _ANY_ABOVE in parts[0]:
        start, _, rest = parts[0].partition(_ANY_ABOVE)
        parts[0] = f"{start}(?>(?:.+?/)??{rest}(?=/))"
    middle = [f"(?>(?:/.+?)??/{part}(?=/))" for part in parts[1:-1]]
    return "".join([parts[0], *middle, _ANY_BETWEEN, parts[-1]])


def _component_stars(part: str) -> str:
    first, *chunks = part.split(_STAR)
    if not chunks:
        return first
    # A chunk with a slash in it ends the component.
    written = [f"{_STAR}{chunk}" if "/" in _NO_SLASH.sub("", chunk) else f"(?>[^/]*?{chunk})" for chunk in chunks[:-1]]
    return "".join([first, *written, _STAR, chunks[-1]])
