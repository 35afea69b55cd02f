"""Rewrites that destroy the evidence for a rule, by name, with the reason."""

from __future__ import annotations

from .programs import Seed
from .rewrites._common import Rewrite

# (rule or "", seed or "", rewrite or family): reason. An empty string stands for all.
EXCLUDED: dict[tuple[str, str, str], str] = {
}


def reason(seed: Seed, rewrite: Rewrite) -> str | None:
    """Why ``rewrite`` is not applied to ``seed``; None where it is."""
    for (rule, name, change), why in EXCLUDED.items():
        if rule in ("", seed.rule) and name in ("", seed.name) and change in ("", rewrite.name, rewrite.family):
            return why
    return None
