"""Which values are worth following into another function: gradients and cosines, and what holds them."""

from __future__ import annotations

import re
from collections.abc import Iterable

from fa_lint.analysis import terms as t

__all__ = ["SUBJECT", "SUBJECT_BYTES", "interesting"]

# Code in which none of these occurs makes no gradients and names none.
SUBJECT = re.compile("grad|credit|costate|jac|vjp|hess|hook|tape|[Pp]seudo")
SUBJECT_BYTES = re.compile(SUBJECT.pattern.encode())


def interesting(values: Iterable[t.Alternative], depth: int = 0) -> bool:
    """Return True where one of the values is a gradient or a cosine, or holds some."""
    for term, _ in values if depth < 4 else ():
        match term:
            case t.Vector(role=role) if role.is_gradient:
                return True
            case t.Monomial(vectors=vectors) if any(v.role.is_gradient for v in vectors):
                return True
            case t.Angle() | t.Monomial(is_cosine=True):
                return True
            case t.Sequence(element=element, items=items):
                if interesting(element, depth + 1) or any(interesting(item, depth + 1) for item in items or ()):
                    return True
            case t.Mapping(element=element, items=pairs):
                if interesting(element, depth + 1) or any(interesting(item, depth + 1) for _, item in pairs):
                    return True
    return False
