"""What training logs alone allow to judge: each answer is exact, a proxy, bounded, or not measured, and says which."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from ..diagnostics.statistics import student_quantile
from ..files import read_data
from .intervals import Summary, summary

__all__ = ["LogError", "PartialAnswer", "PartialAudit", "TrainingLog", "block_bound", "partial_audit", "read_log"]

Quality = Literal["exact", "proxy", "bounded", "not measured"]
State = Literal["passes", "fires", "open"]


class LogError(ValueError):
    """A log that cannot be used: file, place, reason.

    Attributes:
        invalid: the log is sound and says that the run is not (a NaN accuracy): no usage error, a verdict.
    """

    def __init__(self, message: str, *, invalid: bool = False) -> None:
        super().__init__(message)
        self.invalid = invalid


@dataclass(frozen=True)
class TrainingLog:
    """One seed: accuracy (0 to 1), and per epoch ``‖h_L‖`` and ``‖g‖`` of the layer that was logged."""

    path: str
    accuracy: float
    h_last: tuple[float, ...]
    gradient: tuple[float, ...]
    layer: str


def read_log(path: str | Path) -> TrainingLog:
    """``{"final_test_acc": .., "log": [{"h_L_norm": .., "g_2_norm": ..}, ..]}``; any one ``g_<layer>_norm`` will do.

    Raises:
        LogError: with file, entry and reason.
    """
    path = Path(path)
    try:
        raw = json.loads(read_data(path).decode("utf-8"))
    except json.JSONDecodeError as error:
        raise LogError(f"{path}:{error.lineno}: not JSON: {error.msg}") from None
    except (OSError, ValueError, RecursionError) as error:  # not UTF-8, or digits or brackets by the thousand
        raise LogError(f"{path}: cannot be read: {getattr(error, 'strerror', None) or error}") from None
    if not isinstance(raw, dict) or "final_test_acc" not in raw:
        raise LogError(f'{path}: no key "final_test_acc"')
    accuracy = _accuracy(path, raw["final_test_acc"])
    log = raw.get("log", [])
    if not isinstance(log, list) or not all(isinstance(entry, dict) for entry in log):
        raise LogError(f'{path}: "log" must be a list of objects, one an epoch')
    keys = {k for entry in log for k in entry if k.startswith("g_") and k.endswith("_norm")}
    if len(keys) > 1:
        last = "g_L_norm"
        keys = {last} if last in keys else {max(keys)}
    key = next(iter(keys), "")
    return TrainingLog(
        str(path), accuracy, _series(path, log, "h_L_norm"), _series(path, log, key), key[2:-5] if key else ""
    )


def _accuracy(path: Path, value: Any) -> float:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        raise LogError(f"{path}: final_test_acc is NaN: a run that diverged has no accuracy to report", invalid=True)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
        raise LogError(f"{path}: final_test_acc must be a share between 0 and 1 (0.36, not 36), got {value!r}")
    return float(value)


def _series(path: Path, log: Sequence[Mapping[str, Any]], key: str) -> tuple[float, ...]:
    if not key or not any(key in entry for entry in log):
        return ()
    values = []
    for number, entry in enumerate(log):
        if key not in entry:  # not logged in this epoch; null is what a NaN becomes in strict JSON
            continue
        value = math.nan if entry[key] is None else entry[key]
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise LogError(f'{path}: log[{number}]["{key}"] must be a number, got {value!r}')
        values.append(float(value))
    return tuple(values)


def block_bound(h_last: float, h_first: float, blocks: int, threshold: float) -> tuple[float, float, int]:
    """What ``‖h_L‖/‖h_0‖`` says about single blocks.

    Returns:
        (least, most, count): the largest block growth is at least ``least``, the geometric mean; if no block shrinks
        the state it is at most ``most``, the whole ratio, and at most ``count`` blocks reach the threshold.

    Example:
        >>> least, most, count = block_bound(9 * 60 * 60, 9, 4, 50)  # two blocks of 60x, two of 1x
        >>> round(least, 1), round(most), count
        (7.7, 3600, 2)
    """
    ratio = h_last / h_first
    if not ratio > 0 or math.isinf(ratio):
        return ratio, ratio, blocks
    count = min(blocks, max(0, math.floor(math.log(ratio) / math.log(threshold) + 1e-12)))
    return ratio ** (1 / blocks), ratio, count


@dataclass(frozen=True)
class PartialAnswer:
    """One diagnostic: its state, how well it is known, and a sentence computed from the figures."""

    name: str
    state: State
    quality: Quality
    text: str


@dataclass(frozen=True)
class PartialAudit:
    """All four, and the verdict of those that are known."""

    answers: tuple[PartialAnswer, ...]
    accuracy: Summary
    margin: Summary
    seeds: int

    @property
    def fired(self) -> tuple[str, ...]:
        """Names of what fires."""
        return tuple(answer.name for answer in self.answers if answer.state == "fires")

    @property
    def verdict(self) -> str:
        """``walked back`` if any fires; ``not measurable`` if nothing is known; else open ones make it inconclusive."""
        if self.fired:
            return "walked back"
        known = [a for a in self.answers if a.quality != "not measured"]
        if not known:
            return "not measurable"
        return "inconclusive" if any(a.state == "open" for a in known) else "trustworthy"


def partial_audit(
    logs: Sequence[TrainingLog],
    baseline: Sequence[float] = (),
    *,
    blocks: int = 4,
    h_first: float = 9.0,
    max_growth: float = 50.0,
    min_gradient: float = 1e-7,
    min_margin: float = 2.0,
) -> PartialAudit:
    """Judge logs of several seeds of one method by the original protocol's thresholds.

    Args:
        logs: one a seed.
        baseline: accuracies with frozen blocks, one or more.
        blocks: L.
        h_first: ``‖h_0‖``; about 9 on the published shape at initialisation.
        max_growth, min_gradient, min_margin: thresholds of (a), (b) and (d), the last in percentage points.

    Example:
        >>> log = TrainingLog("42.json", 0.363, (30.0, 33.0), (1e-5, 1e-6), "2")
        >>> partial_audit([log] * 3, [0.349]).fired
        ('(d)',)
    """
    accuracies = [log.accuracy for log in logs]
    margin = _margin(accuracies, baseline)
    answers = (
        _growth(logs, blocks, h_first, max_growth),
        _gradient(logs, min_gradient),
        PartialAnswer("(c)", "open", "not measured", "directions of gradients are not in a log of norms"),
        _frozen(margin, len(baseline), min_margin),
    )
    return PartialAudit(answers, summary(accuracies), margin, len(logs))


def _growth(logs: Sequence[TrainingLog], blocks: int, h_first: float, threshold: float) -> PartialAnswer:
    last = [log.h_last[-1] for log in logs if log.h_last]
    if not last:
        return PartialAnswer("(a)", "open", "not measured", "no h_L_norm in the logs")
    if not all(math.isfinite(value) for value in last):
        return PartialAnswer("(a)", "fires", "exact", "‖h_L‖ is not finite at the last epoch")
    bounds = [block_bound(value, h_first, blocks, threshold) for value in last]
    least, most, count = max(b[0] for b in bounds), max(b[1] for b in bounds), max(b[2] for b in bounds)
    text = f"the largest of {blocks} blocks grows at least {least:.3g}× (geometric mean)"
    if least > threshold:
        return PartialAnswer("(a)", "fires", "bounded", f"{text}: above {threshold:g}")
    if most <= threshold:
        return PartialAnswer(
            "(a)",
            "passes",
            "bounded",
            f"{text} and, if no block shrinks the state, at most {most:.3g}×: below {threshold:g}",
        )
    return PartialAnswer(
        "(a)",
        "open",
        "bounded",
        f"{text} and, if no block shrinks the state, at most {most:.3g}×: up to {count} may exceed {threshold:g}",
    )


def _gradient(logs: Sequence[TrainingLog], threshold: float) -> PartialAnswer:
    known = [log for log in logs if log.gradient]
    if not known:
        return PartialAnswer("(b)", "open", "not measured", "no g_<layer>_norm in the logs")
    last = [log.gradient[-1] for log in known]
    layer = known[0].layer
    quality: Quality = "exact" if layer == "L" else "proxy"
    where = f"‖g_{layer}‖" + ("" if layer == "L" else " (for ‖g_L‖)")
    if not all(math.isfinite(value) for value in last):
        return PartialAnswer("(b)", "fires", quality, f"{where} is not finite at the last epoch")
    low = min(last)
    begun = [next((n for n, v in enumerate(log.gradient, 1) if v < threshold), None) for log in known]
    firsts = [n for n in begun if n is not None]
    when = f"; first below it in epoch {min(firsts)} of {len(known[0].gradient)}" if firsts else ""
    if low < threshold:
        count = sum(value < threshold for value in last)
        text = f"{where} ends at {low:.1e}, below {threshold:g} on {count} of {len(last)} seeds{when}"
        return PartialAnswer("(b)", "fires", quality, text)
    return PartialAnswer("(b)", "passes", quality, f"{where} ends at {low:.1e} or more, above {threshold:g}{when}")


def _margin(accuracies: Sequence[float], baseline: Sequence[float]) -> Summary:
    """Difference of means in percentage points; the half width is Welch's, or Student's against a single number."""
    if not baseline:
        return Summary(math.nan, math.nan, math.nan, 0, 0)
    own, frozen = summary(accuracies), summary(baseline)
    mean = 100 * (own.mean - frozen.mean)
    if own.n < 2:
        return Summary(mean, math.nan, math.nan, own.n, 0)
    parts = [(s.std**2 / s.n, s.n - 1) for s in (own, frozen) if s.n > 1]
    variance = sum(v for v, _ in parts)
    weight = sum(v * v / dof for v, dof in parts)
    dof = max(1, math.floor(variance * variance / weight)) if weight else own.n - 1
    half = 100 * student_quantile(0.975, dof) * math.sqrt(variance)
    return Summary(mean, 100 * own.std, half, own.n, 0)


def _frozen(margin: Summary, count: int, threshold: float) -> PartialAnswer:
    if not margin.n:
        return PartialAnswer("(d)", "open", "not measured", "no accuracy with frozen blocks given (--frozen)")
    interval = (
        f", 95 % interval {margin.low:+.1f} to {margin.high:+.1f} pp over {margin.n} seeds"
        if math.isfinite(margin.half)
        else ", one seed: no interval"
    )
    if math.isfinite(margin.half) and count == 1:
        interval += " (the baseline taken as exact)"
    straddles = math.isfinite(margin.half) and margin.low < threshold < margin.high
    note = f"; the interval straddles {threshold:g}: more seeds would be needed to decide" if straddles else ""
    fires = margin.mean < threshold
    text = (
        f"{margin.mean:+.1f} pp over frozen blocks, {'below' if fires else 'not below'} {threshold:g}{interval}{note}"
    )
    return PartialAnswer("(d)", "fires" if fires else "passes", "exact", text)
