"""The one call: capture every batch, hand the statistics to each diagnostic, decide."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from torch import nn

from .._version import __version__
from ..feedback import Feedback
from ..placement import HOST, factories_on
from . import criteria
from .alignment import LayerAlignment, aggregate, alignments, undecided
from .batches import Batch, as_batches, to_batch
from .capture import BatchStatistics, Capture, Credits, called, check_widths, to_cpu
from .credits import CreditFunction, CreditInputs, FeedbackSource, as_feedback, effective_matrices, pair
from .discovery import Layers
from .distributed import gathered, rank_and_world, share
from .labels import next_tokens, shifts_labels
from .losses import LossFunction, SummedLoss, summed_loss
from .margin import Accuracy, FrozenBaseline, as_accuracy, per_seed
from .margin import margin as measured_margin
from .norms import joined, layer_sizes
from .null import FeedbackNull, null_draws
from .original import original_outcomes
from .outcomes import Outcome, verdict_of
from .outputs import Token, samples_first
from .parameters import parameter_cosines
from .plain import home_of
from .precision import PRECISE, Precision, measure_precision
from .report import AlignmentReport, DiagnosticReport, LayerReport, Provenance
from .restore import is_sharded, measured, random_states, unwrapped
from .running import unset_statistics
from .stability import drifts, error_drift
from .statistics import NAN, median, medians
from .taps import make_plan, run
from .thresholds import DiagnosticThresholds, as_thresholds
from .tokens import found_token, positions_read
from .twin import own_credit, plain_twin
from .wide import FAILURES

__all__ = ["diagnose", "on_device"]

_PROBED = 3  # samples of the forward that finds the hidden states
_GROUPS = 32  # for intervals over samples
_NO_CREDIT = "no feedback or credit given: Γ is N/A, never a number"


def diagnose(
    model: nn.Module,
    eval_batches: Iterable[Any],
    headline_acc: Accuracy | None = None,
    frozen_baseline_acc: Accuracy | FrozenBaseline | None = None,
    method_name: str = "method",
    notes: str = "",
    layer_for_stability: int | None = None,
    thresholds: DiagnosticThresholds | Mapping[str, float] | None = None,
    *,
    feedback: FeedbackSource | None = None,
    credit: CreditFunction | None = None,
    sites: Mapping[str, Any] | None = None,
    layers: Layers | None = None,
    loss_fn: LossFunction | None = None,
    token: Token | None = None,
    device: torch.device | str | None = None,
    progress: bool = True,
    reference: Literal["own", "twin"] = "own",
) -> DiagnosticReport:
    """Measure whether the accuracy and the alignment of a trained network support the claim made with them.

    One forward and one backward a batch, through the model's own forward, in evaluation mode. Parameters, buffers,
    modes, ``.grad``, ``requires_grad`` and random states are left bit for bit as they were. Under ``torchrun`` each
    rank takes its share of the batches and every rank returns the report one process would.

    Args:
        model: any ``nn.Module``; wrappers (``torch.compile``, DataParallel, DDP) are looked through, FSDP2 is run.
        eval_batches: disjoint ``(x, y)``, 8 of about 128 are usual; x a tensor, a tuple of arguments, or a dict of
            keyword arguments.
        headline_acc: the accuracy reported, 0 to 1, held against the one measured; one accuracy a seed; or per-sample
            correctness (n,). None: there is none (regression, for example).
        frozen_baseline_acc: of the same architecture with frozen blocks, in the same form, or a
            :class:`FrozenBaseline` that names how it was made. None: (d) is not measured.
        method_name, notes: for the report.
        layer_for_stability: of the original (c); ``max(1, (L + 1) // 2)`` by default.
        thresholds: a :class:`DiagnosticThresholds`, or a mapping of those to change.
        feedback: the *training* feedback: a :class:`fa_lint_runtime.Feedback`, a loaded checkpoint, a mapping of
            sites, or the original's list of matrices.
        credit: a function of :class:`CreditInputs` that returns the credit at every site, (B, d) or (B, T, d), for
            methods that are not a fixed matrix.
        sites: credit site to the hidden state it trains (index or name, or a list of them). By default by name; the
            credit of ``"blocks.2"`` belongs to the output of that block.
        layers: blocks, as modules, names or a glob such as ``"transformer.h.*"``. By default the original's contract
            ``model(x, return_hidden=True)``, else the longest row of like blocks.
        loss_fn: ``loss_fn(logits, y)``, of any reduction; cross-entropy by default.
        token: which position of hidden states (B, T, d): ``"cls"`` (the first), ``"last"``, ``"mean"``, ``"all"``, an
            index. None: the first, if the loss reads it at h_L; else the one it reads, or the mean of those.
        device: where to run; the model is moved back afterwards.
        progress: a progress bar on a terminal's standard error.
        reference: ``"twin"`` measures against the gradients of a :func:`fa_lint_runtime.plain_twin`, for models whose
            backward pass is a method of its own; without feedback or credit, that backward pass is the credit.

    Returns:
        DiagnosticReport: ``print`` it; ``.verdict``, ``.layers``, ``.to_json()``, ``.to_html()``.

    Raises:
        ValueError: no batches, shapes that do not fit, layers or sites that do not exist.
        TypeError: targets or credits of the wrong kind.
        MissingFeedbackError: a checkpoint without its feedback.

    Source:
        Gradients with respect to a value of the graph:
        https://docs.pytorch.org/docs/stable/generated/torch.autograd.graph.get_gradient_edge.html.

    Example:
        >>> torch.manual_seed(0)  # doctest: +ELLIPSIS
        <torch...
        >>> net = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 16), nn.ReLU(), nn.Linear(16, 3))
        >>> batches = [(torch.randn(32, 8), torch.randint(0, 3, (32,))) for _ in range(4)]
        >>> report = diagnose(net, batches, headline_acc=0.35, method_name="untrained")
        >>> report.verdict, len(report.layers), report.layers[0].name
        ('no fault found', 2, '0')
    """
    limits = as_thresholds(thresholds)
    headline_acc = NAN if headline_acc is None else headline_acc
    headline, _ = as_accuracy(headline_acc, "headline_acc")
    baseline = _as_baseline(frozen_baseline_acc)
    inner = unwrapped(model)
    with random_states(inner):  # a DataLoader draws a seed even where it does not shuffle
        batches = as_batches(eval_batches)
    if reference == "twin":
        original = inner
        inner = plain_twin(original, to_batch(batches[0], 0).to(home_of(original)).head(_PROBED).x)
        notes = ", ".join(filter(None, [notes, "measured against its plain twin"]))
        if feedback is None and credit is None:
            credit = own_credit(original, layers, loss_fn, token)
    elif reference != "own":
        raise ValueError(f'reference must be "own" or "twin", got {reference!r}')
    with on_device(inner, device) as place, measured(inner, track_parameters=True):
        stored = None if feedback is None else as_feedback(feedback)
        session = _Session(inner, batches, place, limits, layers, loss_fn, token, stored)
        session.take_credits(stored, credit, sites)
        stats = session.captured(progress)
        precision = session.precision(stats)
        parameters = session.parameter_cosines(stats)
    builder = _Builder(session, stats, precision, parameters, headline_acc)
    with factories_on(HOST):
        return builder.report(headline, baseline, method_name, notes, layer_for_stability)


def _as_baseline(given: Accuracy | FrozenBaseline | None) -> FrozenBaseline | None:
    if given is None or isinstance(given, FrozenBaseline):
        return given
    return FrozenBaseline(given)


@contextmanager
def on_device(model: nn.Module, device: torch.device | str | None) -> Iterator[torch.device]:
    """The device of the model, within; it is moved there and back where another is asked for."""
    homes = dict.fromkeys(t.device for t in [*model.parameters(), *model.buffers()])
    home = next(iter(homes), torch.device("cpu"))
    target = home if device is None else torch.device(device)
    if device is not None and len(homes) > 1:
        raise ValueError(f"the model lies on {', '.join(map(str, homes))}: leave device out to measure it there")
    if target == home or (target.type == home.type and target.index is None):
        yield home
        return
    try:
        model.to(target)
        yield target
    finally:
        model.to(home)


class _Session:
    """Everything configured for one measurement. Inside ``measured``."""

    def __init__(
        self,
        model: nn.Module,
        batches: Sequence[Any],
        device: torch.device,
        limits: DiagnosticThresholds,
        layers: Layers | None,
        loss_fn: LossFunction | None,
        token: Token | None,
        feedback: Feedback | None,
    ) -> None:
        self.model, self.batches, self.device, self.limits = model, batches, device, limits
        self.shifted = False
        gated = feedback is not None and feedback.derivative
        self.probe = self.batch(0).head(_PROBED)
        try:
            self.plan, self.logits = make_plan(model, layers, self.probe, before_activations=gated)
        except FAILURES:  # nodes of a graph, or a state of the size of a whole batch
            self.probe = self.batch(0)
            self.plan, self.logits = make_plan(model, layers, self.probe, before_activations=gated)
        if loss_fn is None and shifts_labels(model, batches[0], self.probe):
            self.shifted, self.probe = True, next_tokens(self.probe)
        self.loss: SummedLoss = summed_loss(loss_fn, self.logits, self.probe.y)
        self.read = positions_read(model, self.plan, self.loss, self.probe)
        self.token: Token = found_token(self.read) if token is None else token
        self.capture = Capture(
            model=model,
            plan=self.plan,
            loss=self.loss,
            token=self.token,
            groups=max(1, _GROUPS // len(batches)),
            rows=PRECISE,
        )
        self.unset = unset_statistics(model)
        self.kind, self.digest, self.draws = "", "", 0
        self.seed: int | None = None

    def batch(self, index: int) -> Batch:
        """Batch ``index`` on the device."""
        found = to_batch(self.batches[index], index).to(self.device)
        return next_tokens(found) if self.shifted else found

    def take_credits(
        self, stored: Feedback | None, credit: CreditFunction | None, sites: Mapping[str, Any] | None
    ) -> None:
        """Configure the credit signal, if there is one."""
        if stored is None and credit is None:
            if sites is not None:
                raise ValueError("sites given, but neither feedback nor credit")
            return
        limits = self.limits
        if stored is not None:
            self.digest, self.seed = stored.digest, stored.seed
        if credit is not None:
            names = list(called(credit, self._inputs()))
            pairing = pair(names, self.plan.names, sites)
            self.kind = "function"
            self.draws = null_draws(limits.null_draws, len(pairing.trained), limits.alpha)
            self.capture.credits = Credits(pairing, function=credit, draws=self.draws)
            return
        assert stored is not None
        self.kind, matrices = effective_matrices(stored, self.device)
        classes = self.logits.shape[-1]
        chained = list(matrices)[:-1] if stored.derivative and stored.kind == "fa" else []
        for site, matrix in matrices.items():
            if site not in chained and matrix.shape[1] != classes:
                raise ValueError(
                    f"feedback for {site!r} takes {matrix.shape[1]} values, the output error has {classes}"
                )
        pairing = pair(stored.sites, self.plan.names, sites)
        self.draws = null_draws(limits.null_draws, len(pairing.trained), limits.alpha)
        if stored.derivative:
            self.capture.credits = Credits(pairing, matrices=matrices, draws=self.draws, gated=stored.kind)
            return
        sizes = tuple(matrix.shape[0] for matrix in matrices.values())
        nulls = {
            site: FeedbackNull(stored.kind, matrices[site].cpu(), sizes[i:], self.draws, limits.seed + i)
            for i, site in enumerate(stored.sites)
        }
        self.capture.credits = Credits(pairing, matrices=matrices, nulls=nulls)

    def _inputs(self) -> CreditInputs:
        hidden: list[torch.Tensor] = []
        dims = self.plan.batch_dims
        logits = run(
            self.model, self.plan, self.probe.x, lambda i, h: hidden.append(samples_first(h.detach(), dims[i]).clone())
        ).detach()
        error = self.loss.error(logits, self.probe.y)
        if error is None:
            leaf = logits.clone().requires_grad_(True)
            (error,) = torch.autograd.grad(self.loss(leaf, self.probe.y, self.probe.size), leaf)
            error = error.to(torch.float64)
        return CreditInputs(self.probe.x, self.probe.y, logits, error, tuple(hidden), self.model)

    def captured(self, progress: bool) -> list[BatchStatistics]:
        """Statistics of all batches, from all ranks, on the CPU."""
        own = []
        for index, counts in _shown(share(len(self.batches), lockstep=is_sharded(self.model)), progress):
            found = self.capture(self.batch(index), index)
            if counts:
                own.append(found)
        stats = gathered([to_cpu(s) for s in own], lambda s: s.index)
        check_widths(stats, self.plan.names)
        return stats

    def precision(self, stats: Sequence[BatchStatistics]) -> Precision:
        """fp64 checks on the first samples of batch 0."""
        rows = [None if g is None else g.to(self.device) for g in stats[0].first_rows]
        return measure_precision(self.model, self.plan, self.loss, self.batch(0), self.token, rows)

    def parameter_cosines(self, stats: Sequence[BatchStatistics]) -> dict[int, float]:
        """Local against BP updates on batch 0."""
        if self.capture.credits is None or is_sharded(self.model):
            return {}
        return parameter_cosines(self.capture, self.batch(0))


def _shown(items: list[tuple[int, bool]], progress: bool) -> Iterable[tuple[int, bool]]:
    if not progress or rank_and_world()[0] != 0 or not sys.stderr.isatty():
        return items
    from rich.console import Console
    from rich.progress import track

    return track(items, "diagnose", console=Console(stderr=True), transient=True)


@dataclass
class _Builder:
    """From statistics to the report: calls every diagnostic once."""

    session: _Session
    stats: list[BatchStatistics]
    precision: Precision
    parameters: dict[int, float]
    headline_acc: Accuracy

    def report(
        self,
        headline: float,
        baseline: FrozenBaseline | None,
        method_name: str,
        notes: str,
        layer_for_stability: int | None,
    ) -> DiagnosticReport:
        """The whole of it."""
        limits, stats = self.session.limits, self.stats
        count = self.session.plan.count
        stability_layer = max(1, count // 2) if layer_for_stability is None else layer_for_stability
        stability_layer = min(stability_layer, count - 1) if layer_for_stability is None else stability_layer
        if not 0 <= stability_layer < count:
            raise ValueError(f"layer_for_stability must lie in 0..{count - 1}, got {stability_layer}")
        aligned = self._alignments()
        layers = self._layers(aligned)
        error = error_drift(stats, self.session.loss.error, limits.alpha)
        margin = None
        if baseline is not None:
            samples = sum(s.size for s in stats)
            margin = measured_margin(
                self.headline_acc, baseline, samples, alpha=limits.alpha, resamples=limits.bootstrap, seed=limits.seed
            )
        report = DiagnosticReport(
            method_name=method_name,
            notes=notes,
            residual_norms=medians(stats[0].hidden_norms),
            bp_grad_norms=[norm / stats[0].size for norm in medians(stats[0].gradient_norms)],
            stability_layer=stability_layer,
            cross_batch_stability=layers[stability_layer].drift.stability,
            headline_acc=headline,
            frozen_baseline_acc=None if baseline is None else as_accuracy(baseline.accuracy, "frozen_baseline_acc")[0],
            thresholds=limits,
            layers=layers,
            alignment=self._alignment_report(aligned),
            error_drift=error,
            margin=margin,
            provenance=self._provenance(),
        )
        original = original_outcomes(report)
        decisive = self._criteria(layers, aligned, report)
        if any(o.essential and o.state == "not measured" for o in decisive):
            layers = tuple(replace(x, alignment=x.alignment and undecided(x.alignment)) for x in layers)
        return replace(
            report,
            layers=layers,
            original=original,
            criteria=decisive,
            verdict=verdict_of(decisive),
            original_verdict=verdict_of(original),
        )

    def _alignments(self) -> dict[int, LayerAlignment]:
        credits, limits = self.session.capture.credits, self.session.limits
        if credits is None:
            return {}
        return alignments(
            self.stats,
            credits.pairing,
            credits.nulls,
            self.parameters,
            alpha=limits.alpha,
            resamples=limits.bootstrap,
            seed=limits.seed,
            draws=self.session.draws,
        )

    def _layers(self, aligned: dict[int, LayerAlignment]) -> tuple[LayerReport, ...]:
        plan, first = self.session.plan, self.stats[0]
        sizes = layer_sizes(self.stats)
        drifting = drifts(list(zip(*(s.gradients for s in self.stats), strict=True)), self.session.limits.alpha)
        return tuple(
            LayerReport(
                index=index,
                name=plan.names[index],
                width=first.widths[index],
                dtype=str(first.hidden_dtypes[index]).removeprefix("torch."),
                **vars(sizes[index]),
                drift=drifting[index],
                precision=self.precision.layers[index] if self.precision.layers else None,
                alignment=aligned.get(index),
            )
            for index in range(plan.count)
        )

    def _alignment_report(self, aligned: dict[int, LayerAlignment]) -> AlignmentReport | None:
        credits, session = self.session.capture.credits, self.session
        if credits is None or not aligned:
            return None
        own = [a for _, a in sorted(aligned.items())]
        other = None
        if credits.pairing.differ and credits.pairing.original:
            cosines = [
                torch.cat([s.alignments[key].cosines for s in self.stats])
                for key in credits.pairing.original
                if all(key in s.alignments for s in self.stats)
            ]
            if cosines:
                other = aggregate([float(c.nanmean()) for c in cosines], [float(c.nanmedian()) for c in cosines])
        null = "the observed credit with the signs of its units redrawn"
        if credits.nulls:
            null = "fresh feedback of the same kind, gradients and errors as they are"
        return AlignmentReport(
            kind=session.kind,
            digest=session.digest,
            seed=session.seed,
            pairing=credits.pairing.assumed,
            null=null,
            draws=session.draws,
            aggregations=aggregate([a.gamma.value for a in own], [a.gamma_median.value for a in own]),
            original_aggregations=other,
        )

    def _criteria(
        self, layers: tuple[LayerReport, ...], aligned: dict[int, LayerAlignment], report: DiagnosticReport
    ) -> tuple[Outcome, ...]:
        t = self.session.limits
        missing = (
            _NO_CREDIT if self.session.capture.credits is None else "no credit fits a hidden state with a gradient"
        )
        found = criteria
        finite = found.finite(layers, self._duplicates(), self.session.read)
        reference = found.reference(layers, self.precision)
        of_gradients = [
            found.credit_size(layers, t),
            found.elasticity(layers, t, self.session.unset),
            found.resolution(layers, self.precision, t),
            found.shared_direction(layers, report.error_drift, t) if report.error_drift else None,
            found.alignment(layers, self._broken_credits(aligned), missing, t),
        ]
        if "not measured" in (finite.state, reference.state):
            text = "needs the gradient" if finite.state != "not measured" else "needs a token that the loss reads"
            of_gradients = [replace(o, state="not measured", text=text, action="") for o in of_gradients if o]
        outcomes = [
            finite,
            reference,
            found.headline(self._claimed(report), *self._accuracy()),
            found.growth(layers, t),
            found.initial_growth(layers, t),
            found.absorption(layers, t),
            *of_gradients,
            found.margin(report.margin, t),
        ]
        return tuple(outcome for outcome in outcomes if outcome is not None)

    def _accuracy(self) -> tuple[int, int]:
        """(right, all) samples with a class; (0, 0) where targets are no classes."""
        pairs = [s.classified() for s in self.stats]
        correct = [pair[0].argmax(1) == pair[1] for pair in pairs if pair is not None]
        return (int(torch.cat(correct).sum()), sum(map(len, correct))) if len(correct) == len(pairs) else (0, 0)

    def _claimed(self, report: DiagnosticReport) -> float:
        """The headline, or that of the seed which comes nearest to this network."""
        seeds, (right, counted) = per_seed(self.headline_acc), self._accuracy()
        return min(seeds, key=lambda s: abs(s - right / counted)) if seeds and counted else report.headline_acc

    def _broken_credits(self, aligned: dict[int, LayerAlignment]) -> list[int]:
        """A sum of unit credits is finite unless one of them is not."""
        sums = {i: [s.alignments[i, a.site].credit_sum for s in self.stats] for i, a in aligned.items()}
        return [i for i, own in sorted(sums.items()) if not bool(torch.isfinite(torch.stack(own)).all())]

    def _duplicates(self) -> str:
        prints = [s.fingerprints for s in self.stats]
        seen: set[int] = set()
        repeated = total = 0
        for own in prints:
            values = own.tolist()
            repeated += sum(v in seen for v in values)
            total += len(values)
            seen.update(values)
        if repeated > 0.1 * total:
            return f"{repeated} of {total} samples occur in an earlier batch: the batches are not disjoint"
        return ""

    def _provenance(self) -> Provenance:
        session, stats = self.session, self.stats
        sizes = tuple(s.size for s in stats)
        caveats = list(session.plan.caveats)
        if max(sizes) > 2 * min(sizes):
            caveats.append(
                f"batches of unlike size ({min(sizes)} to {max(sizes)}): (c) of the original grows with size"
            )
        right, counted = self._accuracy()
        if session.token != "cls" and found_token(session.read) == session.token:
            caveats.append(
                f"token {session.token}: the loss does not read the first position of {session.plan.names[-1]}"
            )
        if session.unset:
            caveats.append(session.unset)
        if self.precision.missing:
            caveats.append(f"precision: {self.precision.missing}")
        return Provenance(
            layers=session.plan.source,
            mode=session.plan.mode,
            token=str(session.token),
            loss=session.loss.name + (" of the next token" if session.shifted else ""),
            dtype=str(session.logits.dtype).removeprefix("torch."),
            device=str(session.device),
            batches=len(stats),
            samples=sum(sizes),
            batch_sizes=sizes,
            measured_accuracy=right / counted if counted else NAN,
            output_error=median(joined(stats, "error_norms")),
            precision_samples=self.precision.samples,
            derivative_error=self.precision.derivative.error,
            custom_functions=self.precision.custom_functions,
            versions=(f"torch {torch.__version__}", f"fa_lint_runtime {__version__}"),
            caveats=tuple(caveats),
        )
