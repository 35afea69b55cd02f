"""Diagnostic (b): gradients that vanish behind a terminal LayerNorm."""

from __future__ import annotations

from ..claim import Claim, Finding, Level, graded
from ..lab import Lab
from ..magnitudes import decade, each, share
from ..networks import NetworkSpec, spec

__all__ = ["CLAIM"]


def dfa(level: Level) -> tuple[NetworkSpec, ...]:
    """DFA on the mixture, where the output error stays large."""
    return spec("V2", "dfa", [42]) if level == "quick" else spec("V2", "dfa")


def healthy(level: Level) -> tuple[NetworkSpec, ...]:
    """Backprop and frozen blocks on the mixture."""
    if level == "quick":
        return spec("V2", "bp", [42])
    return spec("V2", "bp") + spec("V2", "dfa", frozen="method")


def fitted(level: Level) -> tuple[NetworkSpec, ...]:
    """Backprop on digits, which it fits."""
    return spec("V1", "bp")


def needs(level: Level) -> tuple[NetworkSpec, ...]:
    """All of them."""
    return dfa(level) + healthy(level) + fitted(level)


def measure(lab: Lab) -> Finding:
    """‖g_L‖ of the mean loss under each, and what remains of the difference without batch size and error."""
    low, calm, easy = (lab.all_measured(part(lab.level)) for part in (dfa, healthy, fitted))
    fired, wrong = sum(m.fires_b() for m in low), sum(m.fires_b() for m in calm)
    false = sum(m.fires_b() for m in easy)
    tiny = sum(m.credit_per_error < 1e-3 for m in low)
    others = [*calm, *easy]
    alarms = sum(m.credit_per_error < 1e-3 for m in others)
    return Finding(
        graded(fired == len(low) and not wrong + false, fired > 0),
        (
            f"mixture (V2): fires on DFA {share(fired, len(low))}, on backprop and frozen blocks "
            f"{share(wrong, len(calm))}; "
            f"‖g_L‖ {'/'.join(decade(m.mean_loss_gradient_norms[-1]) for m in low)} against "
            f"{decade(min(m.mean_loss_gradient_norms[-1] for m in calm))} or more",
            (
                f"FALSE ALARM on digits (V1): it fires on backprop {share(false, len(easy))} at accuracies of "
                f"{each([m.network.accuracy for m in easy])}: a fitted sample has no gradient"
                if false
                else f"digits (V1): it fires on backprop {share(false, len(easy))}"
            ),
            "per unit error and without 1/B (‖g_L‖/‖e‖ < 1e-3) it fires on "
            f"DFA {share(tiny, len(low))}, on the others {share(alarms, len(others))}",
        ),
        remedy_works=tiny == len(low) and not alarms,
        figures={
            m.network.spec.label: {
                "g_L": m.mean_loss_gradient_norms[-1],
                "h_L": m.state_norms[-1],
                "credit_per_error": m.credit_per_error,
            }
            for m in [*low, *calm, *easy]
        },
    )


CLAIM = Claim(
    "b",
    "the gradient vanishes under DFA, not under backprop",
    "‖g_L‖ ≤ 4e-9 under DFA and ≥ 1e-4 in healthy networks; threshold 1e-7",
    measure,
    needs=needs,
)
