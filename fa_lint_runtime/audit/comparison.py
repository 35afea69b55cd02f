"""Two reports beside each other."""

from __future__ import annotations

from dataclasses import dataclass

from ..diagnostics import DiagnosticReport

__all__ = ["Change", "Comparison", "compare_reports"]


@dataclass(frozen=True)
class Change:
    """A criterion in both reports; "absent" where one has none."""

    name: str
    before: str
    after: str


@dataclass(frozen=True)
class Comparison:
    """What differs.

    Attributes:
        verdicts: of both.
        criteria: those whose state differs.
        layers: (layer, figure, before, after) of every figure; None where one report has none.
        figures: (name, before, after) of the whole network.
        warnings: why the two may not be comparable.
    """

    verdicts: tuple[str, str]
    criteria: tuple[Change, ...]
    layers: tuple[tuple[int, str, float | None, float | None], ...]
    figures: tuple[tuple[str, float | None, float | None], ...]
    warnings: tuple[str, ...]


def compare_reports(before: DiagnosticReport, after: DiagnosticReport) -> Comparison:
    """Line up criteria and layers by name and index.

    Example:
        >>> from fa_lint_runtime.diagnostics import DiagnosticThresholds
        >>> one = DiagnosticReport("a", "", [1.0, 2.0], [1.0, 1.0], 1, 0.1, 0.5, None, DiagnosticThresholds())
        >>> compare_reports(one, one).figures[0]
        ('accuracy', 0.5, 0.5)
    """
    states = [{o.name: o.state for o in (*r.original, *r.criteria)} for r in (before, after)]
    names = list(dict.fromkeys([*states[0], *states[1]]))
    changes = tuple(
        Change(name, states[0].get(name, "absent"), states[1].get(name, "absent"))
        for name in names
        if states[0].get(name) != states[1].get(name)
    )
    rows: list[tuple[int, str, float | None, float | None]] = []
    for index in range(max(len(before.layers), len(after.layers))):
        figures = [_figures(r, index) for r in (before, after)]
        rows += [(index, name, figures[0].get(name), figures[1].get(name)) for name in (figures[0] or figures[1])]
    whole = (
        ("accuracy", before.headline_acc, after.headline_acc),
        ("growth", before.max_growth, after.max_growth),
        ("‖g_L‖, mean loss", before.bp_grad_norms[-1], after.bp_grad_norms[-1]),
        ("(c)", before.cross_batch_stability, after.cross_batch_stability),
    )
    return Comparison((before.verdict, after.verdict), changes, tuple(rows), whole, _warnings(before, after))


def _figures(report: DiagnosticReport, index: int) -> dict[str, float | None]:
    if index >= len(report.layers):
        return {}
    layer = report.layers[index]
    return {
        "‖h‖": layer.hidden_norm,
        "‖g‖/‖e‖": layer.credit_per_error,
        "Γ": None if layer.alignment is None else layer.alignment.gamma.value,
    }


def _warnings(before: DiagnosticReport, after: DiagnosticReport) -> tuple[str, ...]:
    found = []
    if len(before.layers) != len(after.layers):
        found.append(f"{len(before.layers)} and {len(after.layers)} hidden states")
    if before.thresholds != after.thresholds:
        found.append("different thresholds")
    a, b = before.provenance, after.provenance
    if a is not None and b is not None:
        if a.batch_sizes != b.batch_sizes:
            found.append("different batches: (b) and (c) depend on the batch size")
        if a.dtype != b.dtype:
            found.append(f"{a.dtype} and {b.dtype}")
    digests = [r.alignment.digest if r.alignment else "" for r in (before, after)]
    if digests[0] != digests[1]:
        found.append("Γ with different feedback")
    return tuple(found)
