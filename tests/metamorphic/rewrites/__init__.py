"""All rewrites by name."""

from __future__ import annotations

from . import control, cosines, files, names, norm_orders, operands, places
from ._common import Rewrite

REWRITES: dict[str, Rewrite] = {
    rewrite.name: rewrite
    for family in (names, places, operands, control, cosines, norm_orders, files)
    for rewrite in family.REWRITES
}
