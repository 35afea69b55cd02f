"""What :func:`fa_lint_runtime.diagnose` returns: every figure, every threshold, every answer, the verdict."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .alignment import Aggregations, LayerAlignment
from .margin import Margin
from .outcomes import Outcome, Verdict, verdict_of
from .precision import LayerPrecision
from .stability import ErrorDrift, LayerDrift
from .statistics import NAN, Estimate
from .thresholds import DiagnosticThresholds

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderResult

__all__ = ["AlignmentReport", "DiagnosticReport", "LayerReport", "Provenance"]

_EXIT = {
    "trustworthy": 0,
    "walked back": 1,
    "invalid": 1,
    "inconclusive": 3,
    "not measurable": 3,
    "no fault found": 3,
}


@dataclass(frozen=True)
class LayerReport:
    """One hidden state. Norms are medians over all samples, gradients of the summed loss: per sample, without 1/B.

    Attributes:
        index: l.
        name: what made it.
        width: d of the vectors compared.
        dtype: of the hidden state.
        hidden_norm, gradient_norm: median ``|h_l|`` and ``|g_l|``.
        credit_per_error: median ``|g_l|/|e|``, e the output error.
        elasticity: median ``|g_l||h_l|/|e|``, dimensionless; of (B, T, d) summed over all positions.
        growth: ``median |h_l| / median |h_{l-1}|``; NaN for h_0.
        absorption: unit roundoff of the dtype times growth.
        undefined_share: samples whose gradient is zero or not finite.
        nonfinite_share: samples with an inf or a NaN in h_l or g_l.
        other_tokens: some position of (B, T, d) has a gradient, whether or not ``token`` reads it.
        drift: agreement of gradients between samples.
        precision: resolution and headroom; None if not measured.
        alignment: Γ; None without a credit for this state (N/A, never a number).

    Example:
        >>> import torch
        >>> from fa_lint_runtime import diagnose
        >>> from torch import nn
        >>> net = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 8), nn.Linear(8, 2))
        >>> batches = [(torch.randn(16, 4), torch.randint(0, 2, (16,))) for _ in range(2)]
        >>> layer = diagnose(net, batches, headline_acc=0.5, progress=False).layers[0]
        >>> layer.index, layer.width, layer.alignment
        (0, 8, None)
    """

    index: int
    name: str
    width: int
    dtype: str
    hidden_norm: float
    gradient_norm: float
    credit_per_error: float
    elasticity: float
    growth: float
    absorption: float
    undefined_share: float
    nonfinite_share: float
    other_tokens: bool
    drift: LayerDrift
    precision: LayerPrecision | None
    alignment: LayerAlignment | None


@dataclass(frozen=True)
class AlignmentReport:
    """What the Γ of all layers share.

    Attributes:
        kind: ``"dfa"``, ``"fa"`` or ``"function"``.
        digest: SHA-256 of the feedback, "" for a function.
        seed: of the feedback, None if unknown.
        pairing: how credits were paired with hidden states where the caller did not say, else "".
        null: how the null was made.
        draws: K.
        aggregations: Γ in one number, four ways.
        original_aggregations: the same with the original's pairing; None where it is the same.
    """

    kind: str
    digest: str
    seed: int | None
    pairing: str
    null: str
    draws: int
    aggregations: Aggregations
    original_aggregations: Aggregations | None


@dataclass(frozen=True)
class Provenance:
    """Where the figures come from.

    Attributes:
        layers: how the hidden states were found.
        mode: outputs or inputs of blocks, or the original's contract.
        token: which position of (B, T, d).
        loss: name of the loss.
        dtype, device: of the logits.
        batches, samples: how many.
        batch_sizes: of each.
        measured_accuracy: on ``eval_batches``; NaN if the targets are no classes.
        output_error: median ``|e|``.
        precision_samples: samples run again in fp64.
        derivative_error: of the backward pass against a central difference; NaN if not measured.
        custom_functions: user-defined autograd functions in the graph.
        versions: of torch and of this package.
        caveats: whatever the reader should know.
    """

    layers: str
    mode: str
    token: str
    loss: str
    dtype: str
    device: str
    batches: int
    samples: int
    batch_sizes: tuple[int, ...]
    measured_accuracy: float
    output_error: float
    precision_samples: int
    derivative_error: float
    custom_functions: tuple[str, ...]
    versions: tuple[str, ...]
    caveats: tuple[str, ...]


@dataclass(frozen=True)
class DiagnosticReport:
    """The nine fields of the original, and what they need to mean something.

    Of the nine fields alone, the original protocol's answers are derived, and decide.

    Attributes:
        method_name, notes: as given.
        residual_norms: (a): median ``|h_l|`` over the first batch, l = 0 … L.
        bp_grad_norms: (b): median ``|g_l|`` of the *mean* loss over the first batch: it carries 1/B.
        stability_layer, cross_batch_stability: (c): the layer and its mean pairwise cosine; NaN with one batch.
        headline_acc, frozen_baseline_acc: (d): shares, 0 to 1; None where no baseline was given.
        thresholds: all of them.
        layers: one :class:`LayerReport` a hidden state.
        alignment: what all Γ share; None without credit.
        error_drift: drift of the output error, the control of (c).
        margin: (d) with its interval; None without baseline.
        original: the original protocol's outcomes, ``"(a)"`` to ``"(d)"``.
        criteria: the sound criteria; these decide.
        verdict: from ``criteria``.
        original_verdict: from ``original``.
        provenance: how it was measured.

    Example:
        >>> report = DiagnosticReport("DFA", "", [9.0, 700.0], [1e-9, 1e-9], 1, 0.4, 0.3, 0.35, DiagnosticThresholds())
        >>> report.max_growth, report.verdict, report.fired
        (77.77777777777777, 'walked back', ('(a)', '(b)', '(d)'))
    """

    method_name: str
    notes: str
    residual_norms: list[float]
    bp_grad_norms: list[float]
    stability_layer: int
    cross_batch_stability: float
    headline_acc: float
    frozen_baseline_acc: float | None
    thresholds: DiagnosticThresholds
    layers: tuple[LayerReport, ...] = ()
    alignment: AlignmentReport | None = None
    error_drift: ErrorDrift | None = None
    margin: Margin | None = None
    original: tuple[Outcome, ...] = ()
    criteria: tuple[Outcome, ...] = ()
    verdict: Verdict = "not measurable"
    original_verdict: Verdict = "not measurable"
    provenance: Provenance | None = field(default=None)

    def __post_init__(self) -> None:
        """Derive what the nine fields alone can say, where they are all that is given."""
        from .original import original_outcomes

        if not self.original and self.residual_norms:
            derived = original_outcomes(self)
            self._set(original=derived, original_verdict=verdict_of(derived))
        if not self.criteria and not self.layers and self.original:
            trusted = self.original_verdict == "trustworthy" and self.frozen_baseline_acc is None
            verdict: Verdict = "no fault found" if trusted else self.original_verdict
            self._set(criteria=self.original, verdict=verdict, layers=_bare_layers(self))

    def _set(self, **fields: object) -> None:
        for name, value in fields.items():
            object.__setattr__(self, name, value)

    @property
    def num_blocks(self) -> int:
        """L: blocks between the L + 1 hidden states."""
        return max(0, len(self.residual_norms) - 1)

    @property
    def max_growth(self) -> float:
        """The statistic of (a): the largest ``|h_{l+1}|/|h_l|`` of the medians; NaN if one is not a number."""
        norms = self.residual_norms
        ratios = [after / before if before > 0 else NAN for before, after in pairwise(norms)]
        return NAN if not ratios or any(r != r for r in ratios) else max(ratios)

    @property
    def fired(self) -> tuple[str, ...]:
        """Names of the criteria that walk the result back, or make it invalid."""
        return tuple(o.name for o in self.criteria if o.state in ("fires", "invalid"))

    @property
    def original_fired(self) -> tuple[str, ...]:
        """Names of the original's diagnostics that fire."""
        return tuple(o.name for o in self.original if o.state in ("fires", "invalid"))

    @property
    def trustworthy(self) -> bool:
        """True for that verdict only."""
        return self.verdict == "trustworthy"

    @property
    def exit_code(self) -> int:
        """0 trustworthy, 1 walked back or invalid, 3 inconclusive, not measurable, or no fault found."""
        return _EXIT[self.verdict]

    @property
    def headline(self) -> str:
        """The verdict in one line, with its reasons."""
        from ..render.words import headline

        return headline(self)

    def to_json(self) -> str:
        """JSON after the schema shipped as ``fa_lint_runtime/render/report.schema.json``; every figure in full."""
        from ..render.json import to_json

        return to_json(self)

    @classmethod
    def from_json(cls, text: str) -> DiagnosticReport:
        """A report as it was before :meth:`to_json`.

        Raises:
            ValueError: no such report, or one of a newer schema version.
        """
        from ..render.json import from_json

        return from_json(text)

    def to_text(self, width: int = 100) -> str:
        """What ``print`` shows, without colours."""
        from ..render.text import to_text

        return to_text(self, width)

    def to_markdown(self) -> str:
        """Tables for an issue or a README."""
        from ..render.markdown import to_markdown

        return to_markdown(self)

    def to_latex(self) -> str:
        """A booktabs table for the paper."""
        from ..render.latex import to_latex

        return to_latex(self)

    def to_frame(self) -> Any:
        """The layers as a pandas ``DataFrame``: a row for each hidden state, columns such as ``drift.stability``.

        Raises:
            ImportError: pandas is not installed.
        """
        import pandas

        found = pandas.json_normalize([asdict(layer) for layer in self.layers])
        return found.set_index("index") if self.layers else found

    def to_html(self, path: str | Path | None = None) -> str:
        """One self-contained page with figures; written to ``path`` if given, atomically.

        Raises:
            ImportError: without the extra ``report``.
        """
        from ..render.html import to_html

        return to_html(self, path)

    def __str__(self) -> str:
        return self.to_text()

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        from ..render.text import renderables

        yield from renderables(self)


def _bare_layers(report: DiagnosticReport) -> tuple[LayerReport, ...]:
    """A row for each hidden state of which only the norms are known."""
    norms, gradients = report.residual_norms, report.bp_grad_norms
    unknown = Estimate(NAN)
    return tuple(
        LayerReport(
            index=index,
            name=f"h_{index}",
            width=0,
            dtype="",
            hidden_norm=norm,
            gradient_norm=gradients[index] if index < len(gradients) else NAN,
            credit_per_error=NAN,
            elasticity=NAN,
            growth=norm / norms[index - 1] if index and norms[index - 1] > 0 else NAN,
            absorption=NAN,
            undefined_share=0.0,
            nonfinite_share=0.0,
            other_tokens=False,
            drift=LayerDrift(
                rho_direction=unknown,
                rho_energy=unknown,
                stability=report.cross_batch_stability if index == report.stability_layer else NAN,
            ),
            precision=None,
            alignment=None,
        )
        for index, norm in enumerate(norms)
    )
