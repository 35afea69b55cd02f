"""The runtime's docstrings as mkdocstrings reads them: Sphinx roles are plain names there, examples are sections.

A griffe extension, named in ``mkdocs.yml``.
"""

from __future__ import annotations

import re
from typing import Any

from griffe import Extension, Object

__all__ = ["Docstrings", "plain"]

_ROLE = re.compile(r":(?:py:)?(?:func|class|meth|mod|attr|exc|data|obj):`~?\.?(?P<name>[^`]+)`")
_EXAMPLE = re.compile(r"^(?P<indent>\s*)Example:\s*$", re.MULTILINE)


def plain(docstring: str) -> str:
    """A docstring in the Markdown of the Google style.

    >>> plain("See :func:`~fa_lint_runtime.safe_norm`.")
    'See `safe_norm`.'
    """
    text = _ROLE.sub(lambda match: f"`{match['name'].rpartition('.')[2]}`", docstring)
    return _EXAMPLE.sub(r"\g<indent>Examples:", text)


class Docstrings(Extension):
    """Rewrites each docstring once, as it is loaded."""

    def on_object(self, *, obj: Object, **_: Any) -> None:
        if obj.docstring is not None:
            obj.docstring.value = plain(obj.docstring.value)
