"""What others wrote (names in checkpoints and reports, names of files), as text that only shows.

The same rules as the linter's, which this package does not import.
"""

from __future__ import annotations

import json
import re
from dataclasses import fields, is_dataclass, replace
from typing import Any, TypeVar

__all__ = ["to_json", "visible", "visible_copy", "visible_lines"]

_Value = TypeVar("_Value")

# Controls but tabs, separators of lines and paragraphs, marks and overrides of direction, half pairs; and the second
# sign of the commands of CI services (``##[``, ``##vso[``, ``##teamcity[``).
_UNSAFE = re.compile(
    "[\x00-\x08\x0a-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff\ufff9-\ufffb]"
    r"|(?<=#)#(?=[\w.-]*\[)"
)
_NAMED = {"\n": r"\n", "\r": r"\r"}


def visible(text: str) -> str:
    r"""The text with what could act written as escapes.

    Example:
        >>> print(visible("a\x1b[2J\n::error::b\u202e"))
        a\x1b[2J\n::error::b\u202e
    """
    return _UNSAFE.sub(lambda match: _escaped(match[0]), text)


def visible_lines(text: str) -> str:
    r"""The same for a text of several lines, none of which is a command (``::error``) to the log of a CI service.

    Example:
        >>> print(visible_lines("one\n::error::b"))
        one
        \x3a:error::b
    """
    return "\n".join(_visible_line(line) for line in text.split("\n"))


def visible_copy(value: _Value) -> _Value:
    r"""A dataclass with every text in it made visible.

    Example:
        >>> from fa_lint_runtime.inspection import TensorEntry
        >>> print(visible_copy(TensorEntry("a\x1b[2J", (1,), "F32", looks_like_feedback=False)).name)
        a\x1b[2J
    """
    if isinstance(value, str):
        return visible(value)  # type: ignore[return-value]
    if isinstance(value, list | tuple):
        return type(value)(visible_copy(item) for item in value)
    if is_dataclass(value) and not isinstance(value, type):
        return replace(value, **{field.name: visible_copy(getattr(value, field.name)) for field in fields(value)})
    return value


def to_json(value: Any) -> str:
    """Indented JSON in which nothing acts; what is read from it is the same.

    Example:
        >>> to_json({"a": "\\x1b"})
        '{\\n  "a": "\\\\u001b"\\n}'
    """
    text = json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False)
    return _UNSAFE.sub(lambda match: match[0] if match[0] == "\n" else f"\\u{ord(match[0]):04x}", text)


def _visible_line(text: str) -> str:
    shown = visible(text)
    bare = shown.lstrip()
    return shown if not bare.startswith("::") else f"{shown[: -len(bare)]}\\x3a{bare[1:]}"


def _escaped(character: str) -> str:
    code = ord(character)
    return _NAMED.get(character, f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}")
