"""The published claims, measured on the installed torch: claim · measured here · verdict."""

from __future__ import annotations

from .claim import LEVELS, Claim, Finding, Level, Outcome, Verdict
from .claims import CLAIMS
from .running import Verification, chosen_claims, verify

__all__ = [
    "CLAIMS",
    "LEVELS",
    "Claim",
    "Finding",
    "Level",
    "Outcome",
    "Verdict",
    "Verification",
    "chosen_claims",
    "verify",
]
