"""Text that another tool has decoded, as the bytes that fa-lint reads."""

from __future__ import annotations

import io
import tokenize

__all__ = ["encoded"]


def encoded(text: str) -> bytes:
    """The bytes of a file with this text, in the encoding that the text itself declares; UTF-8 where that fails.

    >>> encoded("# coding: latin-1\\nx = 'é'\\n")
    b"# coding: latin-1\\nx = '\\xe9'\\n"
    """
    plain = text.encode("utf-8", "surrogatepass")
    try:
        return text.encode(tokenize.detect_encoding(io.BytesIO(plain).readline)[0])
    except (SyntaxError, LookupError, UnicodeError):
        return plain
