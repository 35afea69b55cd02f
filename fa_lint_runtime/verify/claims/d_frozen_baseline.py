"""Diagnostic (d): the margin over frozen blocks."""

from __future__ import annotations

from ...reference import correct_predictions
from ..claim import Claim, Finding, Level, graded
from ..lab import Lab
from ..magnitudes import share
from ..measurements import Measurements
from ..networks import NetworkSpec, spec

__all__ = ["CLAIM"]

_RULE = 2.0


def needs(level: Level) -> tuple[NetworkSpec, ...]:
    """DFA, backprop and frozen blocks on mixture and digits; with ``full`` two other rules of freezing."""
    common = (
        spec("V2", "dfa")
        + spec("V2", "dfa", frozen="method")
        + spec("V1", "bp")
        + spec("V1", "dfa")
        + spec("V1", "dfa", frozen="method")
    )
    if level != "full":
        return common
    other = spec("V2", "dfa", frozen="bp") + spec("V2", "dfa", frozen="head")
    published = spec("V7", "dfa") + spec("V7", "dfa", frozen="method")
    return common + other + published


def _points(m: Measurements) -> float:
    data = m.network.data
    return 100 * float(correct_predictions(m.network.model, data.test_x, data.test_y).double().mean())


def _margins(lab: Lab, configuration: str, method: str, rule: str) -> list[float]:
    trained = lab.all_measured(spec(configuration, method))
    frozen = lab.all_measured(spec(configuration, "dfa", frozen=rule))  # type: ignore[arg-type]
    return [_points(t) - _points(f) for t, f in zip(trained, frozen, strict=True)]


def measure(lab: Lab) -> Finding:
    """Margins in percentage points, seed by seed."""
    margins = {"V2 DFA, embedding by DFA": _margins(lab, "V2", "dfa", "method")}
    if lab.level == "full":
        margins["V2 DFA, embedding by backprop"] = _margins(lab, "V2", "dfa", "bp")
        margins["V2 DFA, head only"] = _margins(lab, "V2", "dfa", "head")
        margins["V7 DFA, embedding by DFA"] = _margins(lab, "V7", "dfa", "method")
    margins["V1 DFA, embedding by DFA"] = _margins(lab, "V1", "dfa", "method")
    ceiling = margins["V1 BACKPROP, embedding by DFA"] = _margins(lab, "V1", "bp", "method")
    dfa = [m for name, values in margins.items() if "BACKPROP" not in name for m in values]
    fired, alarms = sum(m < _RULE for m in dfa), sum(m < _RULE for m in ceiling)
    mixture = margins["V2 DFA, embedding by DFA"]
    return Finding(
        graded(fired == len(dfa) and not alarms, fired > 0),
        (
            *(f"{name}: {'/'.join(f'{v:+.0f}' for v in values)} pp" for name, values in margins.items()),
            f"under {_RULE:g} pp on {share(fired, len(dfa))} DFA networks; one configuration spans "
            f"{max(mixture) - min(mixture):.0f} pp over three seeds",
            (
                f"FALSE ALARM: backprop itself is under {_RULE:g} pp on digits {share(alarms, 3)}: a ceiling"
                if alarms
                else f"backprop clears {_RULE:g} pp on digits {share(3 - alarms, 3)}"
            ),
        ),
        figures=margins,
    )


CLAIM = Claim(
    "d",
    "DFA's deep blocks are worth less than frozen ones",
    "DFA 0.306 against 0.349 with frozen blocks; margin under 2 points",
    measure,
    level="default",
    needs=needs,
)
