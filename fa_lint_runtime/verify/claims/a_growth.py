"""Diagnostic (a): blocks that blow the hidden state up."""

from __future__ import annotations

from ..claim import Claim, Finding, Level, graded
from ..lab import Lab
from ..magnitudes import decade, each, share
from ..networks import NetworkSpec, spec

__all__ = ["CLAIM"]


def dfa(level: Level) -> tuple[NetworkSpec, ...]:
    """DFA runs at high constant learning rates."""
    if level == "quick":
        return spec("V1", "dfa") + spec("V2", "dfa", [42])
    extra = spec("V4", "dfa") if level == "full" else spec("V4", "dfa", [42])
    return spec("V1", "dfa") + spec("V2", "dfa") + extra


def healthy(level: Level) -> tuple[NetworkSpec, ...]:
    """Backprop and frozen blocks in the same configurations."""
    digits = spec("V1", "bp")
    if level == "quick":
        return digits + spec("V2", "bp", [42])
    return digits + spec("V2", "bp") + spec("V2", "dfa", frozen="method")


def exceptions(level: Level) -> tuple[NetworkSpec, ...]:
    """Where the published pattern breaks: backprop at a higher rate; DFA with the published rate and schedule."""
    if level == "quick":
        return ()
    return spec("V3", "bp", [42]) + (spec("V7", "dfa") if level == "full" else ())


def needs(level: Level) -> tuple[NetworkSpec, ...]:
    """All of them."""
    return dfa(level) + healthy(level) + exceptions(level)


def measure(lab: Lab) -> Finding:
    """Growth per block, DFA against backprop and frozen blocks."""
    blown, calm = lab.all_measured(dfa(lab.level)), lab.all_measured(healthy(lab.level))
    fired, false = sum(m.fires_a() for m in blown), sum(m.fires_a() for m in calm)
    v1 = [m.growth for m in blown if m.network.spec.configuration == "V1"]
    v2 = [m.growth for m in blown if m.network.spec.configuration == "V2"]
    here = [
        f"fires on DFA {share(fired, len(blown))}, on backprop and frozen blocks {share(false, len(calm))}",
        f"largest growth: V1 {each(v1)}, V2 {'/'.join(decade(g) for g in v2)}; backprop and frozen at most "
        f"{each([max(m.growth for m in calm)])}",
    ]
    odd = lab.all_measured(exceptions(lab.level))
    for name, method, reading in (
        ("V3", "bp", "FALSE ALARM: backprop at learning rate 3e-2 grows"),
        ("V7", "dfa", "AdamW 1e-3 with cosine, the published recipe for 30 epochs: DFA grows only"),
    ):
        found = [m.growth for m in odd if (m.network.spec.configuration, m.network.spec.method) == (name, method)]
        if found:
            alarm = any(g > 50 for g in found)
            here.append(f"{reading} {each(found)}" if alarm == (method == "bp") else f"{name} {method}: {each(found)}")
    contradicted = any(m.fires_a() == (m.network.spec.method == "bp") for m in odd)
    sound = fired == len(blown) and false == 0
    return Finding(
        graded(fired > 0 and sound and not contradicted, fired > 0),
        tuple(here),
        figures={m.network.spec.label: {"growth": m.growth, "norms": m.state_norms} for m in [*blown, *calm, *odd]},
    )


CLAIM = Claim(
    "a",
    "DFA blows hidden states up on pre-LN networks",
    "at least 694× in a block under DFA, at most 11× (25×) in healthy networks; threshold 50×",
    measure,
    needs=needs,
)
