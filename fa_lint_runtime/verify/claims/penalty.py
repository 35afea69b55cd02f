"""The residual penalty."""

from __future__ import annotations

from ..claim import Claim, Finding, Level, graded
from ..lab import Lab
from ..magnitudes import decade, share, short
from ..networks import NetworkSpec, spec

__all__ = ["CLAIM"]

_LAMBDA = 1e-2


def penalised(level: Level) -> tuple[NetworkSpec, ...]:
    """DFA with λ = 1e-2."""
    mixture = spec("V2", "dfa", penalty=_LAMBDA) if level == "full" else spec("V2", "dfa", [42], penalty=_LAMBDA)
    return spec("V1", "dfa", penalty=_LAMBDA) + mixture


def needs(level: Level) -> tuple[NetworkSpec, ...]:
    """With and without."""
    return penalised(level) + tuple(NetworkSpec(s.configuration, s.method, s.seed) for s in penalised(level))


def measure(lab: Lab) -> Finding:
    """(a) and (b) with and without λ."""
    specs = penalised(lab.level)
    held = lab.all_measured(specs)
    free = lab.all_measured(tuple(NetworkSpec(s.configuration, s.method, s.seed) for s in specs))
    before, after = (sum(m.fires_a() or m.fires_b() for m in group) for group in (free, held))
    # Published: +5 points, and no more than the margin of (d) above frozen blocks.
    gains = [100 * (h.network.accuracy - f.network.accuracy) for h, f in zip(held, free, strict=True)]
    ceiling = all(0 < gain < 10 for gain in gains)
    return Finding(
        graded(before > 0 and not after and ceiling, after < before),
        (
            f"(a) or (b) fires on {share(before, len(free))} without, on {share(after, len(held))} with "
            f"λ = {_LAMBDA:g}: growth at most {short(max(m.growth for m in held))}×, ‖g_L‖ at least "
            f"{decade(min(m.mean_loss_gradient_norms[-1] for m in held))}",
            f"accuracy changes by {min(gains):+.0f} to {max(gains):+.0f} pp: a ceiling is one of several outcomes",
        ),
        figures={m.network.spec.label: {"growth": m.growth, "accuracy": m.network.accuracy} for m in [*held, *free]},
    )


CLAIM = Claim(
    "penalty",
    "a residual penalty of 1e-2 cures (a) and (b)",
    "with λ = 1e-2 DFA passes (a) and (b), gains 5 points and stays below the margin of (d)",
    measure,
    level="default",
    needs=needs,
)
