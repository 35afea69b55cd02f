"""What stays of a finding when lines move and code is reformatted: its rule, file, function and statement."""

from __future__ import annotations

import os
import re
from hashlib import blake2b

from fa_lint.findings import Diagnostic

__all__ = ["fingerprint", "without_layout"]

# A string, a comment, or layout. By text alone: the interpreter's tokens differ between versions of Python. A string
# without an end goes as far as it can: a search that began again at each quote would take the square of the time.
_TOKEN = re.compile(
    r"""(?P<string>\"\"\"(?:\\.|[^\\])*?(?:\"\"\"|\\?\Z)|'''(?:\\.|[^\\])*?(?:'''|\\?\Z)"""
    r"""|"(?:\\.|[^"\\\n])*+"?|'(?:\\.|[^'\\\n])*+'?)"""
    r"""|(?P<comment>\#[^\r\n]*)|(?P<layout>\\\r?\n|\s+|[()]|,(?=\s*+(?:\#[^\r\n]*)?+\s*+[)\]}]))""",
    re.DOTALL,
)


def without_layout(code: str) -> str:
    """Code without what a formatter may change: whitespace, comments, parentheses, trailing commas, quotes.

    >>> without_layout("return  x / x.norm(-1,  # rows\\n    keepdim=True,\\n)")
    'return x/x.norm-1,keepdim=True'
    """
    pieces: list[str] = []
    run = ""  # what stands between two strings
    position = 0
    for match in _TOKEN.finditer(code):
        run += code[position : match.start()]
        position = match.end()
        if match["string"] is not None:
            pieces += [_tight(run), _quoted(match["string"])]
            run = ""
        elif match["layout"] != ",":
            run += " "
    return "".join([*pieces, _tight(run + code[position:])])


def _tight(run: str) -> str:
    """A space is kept only where it holds two words apart."""
    return re.sub(r"(?<!\w) | (?!\w)", "", re.sub(" +", " ", run))


def _quoted(string: str) -> str:
    plain = string[0] == "'" and '"' not in string and "\\" not in string and not string.startswith("'''")
    return f'"{string[1:-1]}"' if plain else string


def fingerprint(found: Diagnostic, folder: str) -> str:
    """The identity of a finding in a project whose paths count from ``folder``."""
    path = os.path.relpath(os.path.abspath(found.path), os.path.abspath(folder)).replace(os.sep, "/")
    key = "\0".join((found.code, path, found.scope, found.statement))
    return blake2b(key.encode("utf-8", "surrogateescape"), digest_size=12).hexdigest()
