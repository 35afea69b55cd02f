"""What others wrote (names of files, lines of code, logs), as text that only shows.

A terminal acts on control characters, a reader is deceived by reordered text, and the log of a CI service takes
``::error`` at the start of a line, or ``##[error]`` anywhere, for a command.
"""

from __future__ import annotations

import json
import re
from typing import Any

__all__ = ["to_json", "visible", "visible_line"]

# Controls but tabs, separators of lines and paragraphs, marks and overrides of direction, half pairs; and the second
# sign of the services' commands (``##[``, ``##vso[``, ``##teamcity[``).
_UNSAFE = re.compile(
    "[\x00-\x08\x0a-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff\ufff9-\ufffb]"
    r"|(?<=#)#(?=[\w.-]*\[)"
)
_NAMED = {"\n": r"\n", "\r": r"\r"}


def visible(text: str, keep: str = "") -> str:
    r"""The text with what could act written as escapes, but for the characters to ``keep``.

    >>> print(visible("a\x1b[2J\n::error::b\u202e"))
    a\x1b[2J\n::error::b\u202e
    """
    return _UNSAFE.sub(lambda match: match[0] if match[0] in keep else _escaped(match[0]), text)


def visible_line(text: str) -> str:
    r"""The same, for text that begins a line.

    >>> print(visible_line("::error::b"))
    \x3a:error::b
    """
    shown = visible(text)
    bare = shown.lstrip()
    return shown if not bare.startswith("::") else f"{shown[: -len(bare)]}\\x3a{bare[1:]}"


def to_json(value: Any, indent: int | None = None) -> str:
    """JSON in which nothing acts; what is read from it is the same."""
    text = json.dumps(value, indent=indent, ensure_ascii=False)
    return _UNSAFE.sub(lambda match: match[0] if match[0] == "\n" else f"\\u{ord(match[0]):04x}", text)


def _escaped(character: str) -> str:
    code = ord(character)
    return _NAMED.get(character, f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}")
