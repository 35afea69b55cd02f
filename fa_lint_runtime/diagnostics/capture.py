"""One forward and one backward a batch; out come norms, directions and alignments, never hidden states.

The backward pass goes to the hidden states only (``torch.autograd.grad`` on gradient edges): no gradient of a
parameter is computed, ``.grad`` is not touched and hooks of data-parallel wrappers do not fire.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.graph import GradientEdge, get_gradient_edge

from ..feedback import Kind
from .batches import Batch, fingerprints
from .credits import CreditFunction, CreditInputs, Pairing
from .losses import IGNORED, SummedLoss
from .null import FeedbackNull, Moments, SignSums
from .outputs import Token, pool, samples_first
from .restore import tracked_inputs
from .rows import GroupSums, Rows, as_rows, group_sums, norms64, stacked
from .slopes import gated, slopes_at
from .taps import Plan, run

__all__ = [
    "Alignments",
    "BatchStatistics",
    "Capture",
    "Credits",
    "called",
    "check_widths",
    "credit_signals",
    "gradients_at",
    "named_signals",
    "slopes_of_sites",
    "to_cpu",
]


@dataclass(frozen=True)
class Alignments:
    """Per-sample cosines of credit and gradient for one (hidden state, site).

    Attributes:
        cosines: (B,) fp64, NaN where undefined.
        credit_sum: (d,) sum of unit credits, for mismatched pairs.
        null: sums for the null; None for the original's pairing.
    """

    cosines: Tensor
    credit_sum: Tensor
    null: Moments | SignSums | None

    def cpu(self) -> Alignments:
        """On the CPU."""
        return Alignments(self.cosines.cpu(), self.credit_sum.cpu(), None if self.null is None else self.null.cpu())


@dataclass(frozen=True)
class BatchStatistics:
    """Everything kept of one batch. Index l runs over hidden states.

    Attributes:
        index: of the batch.
        size: samples.
        hidden_norms, gradient_norms: (L + 1, B) fp64; gradients of the summed loss, that is per sample; NaN where no
            graph leads from the loss to h_l.
        influences: (L + 1, B) fp64 ``|g||h|``, of (B, T, d) summed over all positions, whichever ``token`` reads.
        error_norms: (B,) fp64.
        gradients: group sums of the gradients; error: of the output error.
        alignments: (l, site) to cosines.
        logits, target: (B, C) fp64 and (B,) integers where small enough to refit the biases of the head, else None.
        fingerprints: (B,) int64.
        other_tokens: (L + 1,) bool: some position of (B, T, d) has a gradient, whether or not ``token`` reads it.
        reached: a graph leads from the loss to h_l.
        hidden_dtypes: of h_l.
        widths: of the pooled h_l.
        first_rows: of batch 0 only: gradients of its first samples in working precision, for the precision checks.
    """

    index: int
    size: int
    hidden_norms: Tensor
    gradient_norms: Tensor
    influences: Tensor
    error_norms: Tensor
    gradients: tuple[GroupSums, ...]
    error: GroupSums
    alignments: dict[tuple[int, str], Alignments]
    logits: Tensor | None
    target: Tensor | None
    fingerprints: Tensor
    other_tokens: Tensor
    reached: tuple[bool, ...]
    hidden_dtypes: tuple[torch.dtype, ...]
    widths: tuple[int, ...]
    first_rows: tuple[Tensor | None, ...] = ()

    def classified(self) -> tuple[Tensor, Tensor] | None:
        """Logits and targets without the samples that cross-entropy ignores; None where targets are no classes."""
        if self.logits is None or self.target is None:
            return None
        used = self.target != IGNORED
        logits, target = self.logits[used], self.target[used].to(torch.int64)
        return (logits, target) if bool(((target >= 0) & (target < logits.shape[1])).all()) else None


@dataclass
class Credits:
    """Where credit signals come from.

    Attributes:
        pairing: sites and hidden states.
        matrices: effective feedback matrices (fp64), empty for a credit function.
        function: the credit function, or None.
        nulls: site to its fresh-feedback null.
        order: names for what the function returns as a sequence.
        draws: of the null of a credit function.
        gated: kind of a feedback whose credits are multiplied by the derivative of the activation, else None;
            ``matrices`` are its own then.
    """

    pairing: Pairing
    matrices: dict[str, Tensor] = field(default_factory=dict)
    function: CreditFunction | None = None
    nulls: dict[str, FeedbackNull] = field(default_factory=dict)
    draws: int = 199
    gated: Kind | None = None


@dataclass
class Capture:
    """The measurement of one batch, configured once.

    Attributes:
        model: unwrapped, inside ``measured``.
        plan: where hidden states are.
        loss: summed over samples.
        token: how (B, T, d) becomes (B, d).
        groups: groups of samples a batch, for intervals.
        credits: None: no alignment.
        rows: samples of batch 0 whose gradients are kept.
    """

    model: nn.Module
    plan: Plan
    loss: SummedLoss
    token: Token = "cls"
    groups: int = 4
    credits: Credits | None = None
    rows: int = 0

    def __call__(self, batch: Batch, index: int) -> BatchStatistics:
        """Forward, backward, statistics; all on the device of the model, no host sync."""
        plan = self.plan
        edges: list[GradientEdge | None] = []
        norms: list[Tensor] = []
        of_positions: list[Tensor | None] = []
        dtypes: list[torch.dtype] = []
        shapes: list[int] = []
        unpooled: list[torch.Size] = []
        states: list[Tensor] = []
        kept: list[Tensor] = []
        prints = fingerprints(batch)  # ahead of the forward, which then finds x in the cache
        wants_hidden = self.credits is not None and self.credits.function is not None

        def on_hidden(position: int, h: Tensor) -> None:
            edges.append(get_gradient_edge(h) if h.requires_grad else None)
            if self.credits is not None and self.credits.gated is not None:
                states.append(h.detach())
            first = samples_first(h.detach(), plan.batch_dims[position])
            vectors = pool(first, self.token)
            norms.append(norms64(vectors))
            of_positions.append(norms64(first) if first.ndim == 3 and self.token != "all" else None)
            dtypes.append(h.dtype)
            shapes.append(vectors.shape[1])
            unpooled.append(first.shape[1:])
            if wants_hidden:
                kept.append(first.clone())

        logits = run(self.model, plan, tracked_inputs(batch.x), on_hidden)
        slopes = None
        if self.credits is not None and self.credits.gated is not None:
            slopes = slopes_of_sites(self.credits, plan, logits, edges, states)
        gradients, error = gradients_at(self.loss, logits, batch, edges)
        home = logits.device
        raw = [self._pooled(g, position, home) for position, g in enumerate(gradients)]
        rows: dict[int, Rows] = {}
        sums: dict[int, GroupSums] = {}
        for indices, together in stacked(raw, shapes, batch.size, home):
            rows.update(zip(indices, together.each(), strict=True))
            sums.update(zip(indices, group_sums(together, self.groups), strict=True))
        hidden_norms = torch.stack([own.to(home) for own in norms])
        gradient_norms = torch.stack([rows[index].norms for index in range(plan.count)])
        influences = hidden_norms * gradient_norms
        for position, (own, gradient) in enumerate(zip(of_positions, gradients, strict=True)):
            if own is not None and gradient is not None:
                first = samples_first(gradient, plan.batch_dims[position])
                influences[position] = (own * norms64(first)).sum(1).to(home)
        error_rows = as_rows(error.reshape(1, batch.size, -1))
        alignments: dict[tuple[int, str], Alignments] = {}
        if self.credits is not None:
            inputs = CreditInputs(batch.x, batch.y, logits.detach(), error, tuple(kept), self.model)
            alignments = self._alignments(self.credits, inputs, raw, rows, unpooled, slopes)
        with_logits = logits.ndim == 2 and logits.shape[1] <= 1024 and isinstance(batch.y, Tensor)
        classes = with_logits and not batch.y.dtype.is_floating_point and batch.y.ndim == 1
        return BatchStatistics(
            index=index,
            size=batch.size,
            hidden_norms=hidden_norms,
            gradient_norms=gradient_norms,
            influences=influences,
            error_norms=error_rows.norms[0],
            gradients=tuple(sums[index] for index in range(plan.count)),
            error=group_sums(error_rows, self.groups)[0],
            alignments=alignments,
            logits=logits.detach().to(torch.float64) if classes else None,
            target=batch.y if classes else None,
            fingerprints=prints,
            other_tokens=_read_anywhere(gradients, logits.device),
            reached=tuple(g is not None for g in raw),
            hidden_dtypes=tuple(dtypes),
            widths=tuple(shapes),
            first_rows=tuple(None if g is None else g[: self.rows].clone() for g in raw) if index == 0 else (),
        )

    def _pooled(self, gradient: Tensor | None, position: int, device: torch.device) -> Tensor | None:
        if gradient is None:
            return None
        return pool(samples_first(gradient, self.plan.batch_dims[position]), self.token).detach().to(device)

    def _alignments(
        self,
        credits: Credits,
        inputs: CreditInputs,
        gradients: list[Tensor | None],
        rows: Mapping[int, Rows],
        unpooled: Sequence[torch.Size],
        slopes: Mapping[int, Tensor] | None,
    ) -> dict[tuple[int, str], Alignments]:
        signals = credit_signals(credits, inputs, slopes)
        absent = [site for _, site in credits.pairing.trained if site not in signals]
        if absent:
            raise ValueError(f"credit returned nothing for {absent[0]!r}, which it did for the first samples")
        of_signs = credits.function is not None or credits.gated is not None
        moments = None if of_signs else self._error_rows(inputs.error)
        found: dict[tuple[int, str], Alignments] = {}
        for position, site in dict.fromkeys([*credits.pairing.trained, *credits.pairing.original]):
            gradient, trained = gradients[position], (position, site) in credits.pairing.trained
            if gradient is None:
                continue
            signal = signals[site]
            if slopes is not None:
                if position not in slopes:
                    continue
                signal = gated(signal, slopes[position])
            vectors = fitted(signal, gradient, self.token, site, self.plan.names[position])
            if vectors is None:
                if trained and not credits.pairing.is_guess(position, site):
                    raise ValueError(
                        f"the credit of {site!r} has {signals[site].shape[-1]} values a sample, hidden state "
                        f"{self.plan.names[position]!r} has {gradient.shape[1]}: say which belongs to which with "
                        "sites={site: hidden state}"
                    )
                continue
            credit = as_rows(vectors)
            null: Moments | SignSums | None = None
            if trained and moments is None:
                null = SignSums.of(rows[position].unit, credit.unit, unpooled[position])
            elif trained and moments is not None:
                null = _moments(rows[position], moments, credits.matrices[site].shape[0])
            cosines = _cosines(credit, rows[position])
            found[position, site] = Alignments(cosines, credit.inverse @ credit.vectors, null)
        return found

    def _error_rows(self, error: Tensor) -> Tensor:
        """Unit errors: (B, C), or (B, T, C) where all positions are concatenated."""
        local = error if error.ndim == 2 or self.token == "all" else pool(error, self.token)
        return as_rows(local.reshape(len(local), -1)).unit.reshape(local.shape)


def _cosines(a: Rows, b: Rows) -> Tensor:
    """(B,) fp64 as :func:`fa_lint_runtime.safe_cosine`, from norms that are known; NaN where undefined."""
    cosines = (a.vectors * b.vectors).sum(-1) * a.inverse * b.inverse
    return torch.where((a.inverse > 0) & (b.inverse > 0), cosines.clamp(-1.0, 1.0), float("nan"))


def _moments(gradient: Rows, unit_error: Tensor, width: int) -> Moments:
    """Of one batch; ``width`` rows of the feedback matrix serve every position of the gradient."""
    positions = gradient.vectors.shape[1] // width
    if unit_error.ndim == 2 and positions > 1:
        unit_error = (unit_error / math.sqrt(positions)).unsqueeze(1).expand(-1, positions, -1)
    errors = unit_error.reshape(-1, unit_error.shape[-1])
    weights = gradient.inverse.repeat_interleave(positions) if positions > 1 else gradient.inverse
    vectors = gradient.vectors.reshape(-1, width)
    used = (gradient.inverse > 0) & unit_error.reshape(len(unit_error), -1).any(1)
    return Moments(vectors.mT @ (errors * weights.unsqueeze(1)), errors.mT @ errors, used.sum().to(torch.float64))


def _read_anywhere(gradients: Sequence[Tensor | None], device: torch.device) -> Tensor:
    found = torch.zeros(len(gradients), dtype=torch.bool, device=device)
    for index, gradient in enumerate(gradients):
        if gradient is not None and gradient.ndim == 3:
            found[index] = gradient.detach().any()
    return found


def slopes_of_sites(
    credits: Credits, plan: Plan, logits: Tensor, edges: Sequence[GradientEdge | None], states: Sequence[Tensor]
) -> dict[int, Tensor]:
    """f' at the hidden states that have one, batch first.

    Raises:
        ValueError: no state that a credit trains is followed by an activation and nothing else.
    """
    found = slopes_at(logits, edges, states)
    pairs = credits.pairing.trained or credits.pairing.original
    served = {site for position, site in pairs if found[position][0] is not None or edges[position] is None}
    for position, site in pairs:
        if site not in served:
            raise ValueError(
                f"feedback with derivative=True: {plan.names[position]!r}, which {site!r} trains, is followed by "
                f"{found[position][1]}, not by one activation: name the layers before the activations with layers=…, "
                "or give credit=…"
            )
    return {i: samples_first(f, plan.batch_dims[i]) for i, (f, _) in enumerate(found) if f is not None}


def credit_signals(
    credits: Credits, inputs: CreditInputs, slopes: Mapping[int, Tensor] | None = None
) -> dict[str, Tensor]:
    """The credit at every site, (B, d) or (B, T, d); of feedback with a derivative before that multiplies it."""
    if credits.gated == "fa" and slopes is not None:
        return _gated_chain(credits, inputs.error, slopes)
    if credits.function is None:
        return {site: inputs.error @ matrix.mT for site, matrix in credits.matrices.items()}
    return called(credits.function, inputs)


def _gated_chain(credits: Credits, error: Tensor, slopes: Mapping[int, Tensor]) -> dict[str, Tensor]:
    pairs = (*credits.pairing.original, *credits.pairing.trained)
    served = {site: position for position, site in pairs if position in slopes}
    signals: dict[str, Tensor] = {}
    signal = error
    for site in reversed(credits.matrices):
        signals[site] = (signal.flatten(1) if signal.ndim > 3 else signal) @ credits.matrices[site].mT
        slope = slopes.get(served.get(site, -1))
        if slope is None:
            raise ValueError(f"feedback with derivative=True: no hidden state is trained by {site!r}")
        signal = gated(signals[site], slope)
    return signals


def called(function: CreditFunction, inputs: CreditInputs) -> dict[str, Tensor]:
    """What a credit function returns, by site.

    Raises:
        TypeError: it multiplies the fp64 error by matrices of another dtype.
    """
    try:
        with torch.enable_grad():
            made: Any = function(inputs)
    except RuntimeError as error:
        if "dtype" not in str(error):
            raise
        message = (
            "credit: inputs.error is float64; multiply it by matrix.double(), or write inputs.error.to(matrix.dtype)"
        )
        raise TypeError(f"{message} ({str(error).splitlines()[0]})") from error
    return named_signals(made)


def named_signals(made: Any) -> dict[str, Tensor]:
    """What a credit function returned, by site; a sequence gets the names ``blocks.0``, ``blocks.1``, ….

    Raises:
        TypeError: neither a mapping nor a sequence of tensors.
    """
    if isinstance(made, Mapping):
        named = dict(made)
    elif isinstance(made, list | tuple):
        named = {f"blocks.{i}": signal for i, signal in enumerate(made)}
    else:
        raise TypeError(f"credit must return a mapping site -> tensor or a sequence, got {type(made).__name__}")
    for site, signal in named.items():
        if not isinstance(signal, Tensor):
            raise TypeError(f"credit returned a {type(signal).__name__} for {site!r}, not a tensor")
    return {site: signal.detach() for site, signal in named.items()}


def fitted(signal: Tensor, row: Tensor, token: Token, site: str, name: str) -> Tensor | None:
    """A credit as one vector a sample, of the width and on the device of the gradient; None if it does not fit."""
    vectors = (signal if signal.ndim == 2 else pool(signal, token)).to(row.device)
    if token == "all" and vectors.shape[1] != row.shape[1] and row.shape[1] % vectors.shape[1] == 0:
        vectors = vectors.repeat(1, row.shape[1] // vectors.shape[1])
    if len(vectors) != len(row):
        raise ValueError(f"the credit of {site!r} has {len(vectors)} samples, hidden state {name!r} has {len(row)}")
    return vectors if vectors.shape[1] == row.shape[1] else None


def gradients_at(
    loss: SummedLoss, logits: Tensor, batch: Batch, edges: list[GradientEdge | None]
) -> tuple[list[Tensor | None], Tensor]:
    """Gradients of the summed loss at the hidden states (None where no graph leads there), and the output error."""
    error = loss.error(logits, batch.y)
    tracked = [edge for edge in edges if edge is not None]
    if not logits.requires_grad:
        if error is None:
            raise ValueError("the logits have no graph: the model detaches them or runs under no_grad")
        return [None for _ in edges], error
    wanted = [*tracked, get_gradient_edge(logits)] if error is None else tracked
    value = loss(logits, batch.y, batch.size)
    try:
        found = list(torch.autograd.grad(value, wanted, allow_unused=True)) if wanted else []
    except (AttributeError, RuntimeError) as failure:  # of a hook or function of the model's own
        if isinstance(failure, RuntimeError) and "hook '" not in str(failure):
            raise
        raise ValueError(
            f"the backward pass of the model needs something that only its own training loop sets ({failure}): "
            'diagnose(…, reference="twin") with the feedback= or credit= of the method'
        ) from failure
    if error is None:
        last = found.pop()
        if last is None:
            raise ValueError("loss_fn does not depend on the logits")
        error = last.detach().to(torch.float64)
    given = iter(found)
    return [None if edge is None else next(given) for edge in edges], error


def check_widths(stats: Sequence[BatchStatistics], names: Sequence[str]) -> None:
    """Refuse hidden states of another width in another batch: there is no common direction to ask for.

    Raises:
        ValueError: there are such.
    """
    for found in stats:
        for name, first, other in zip(names, stats[0].widths, found.widths, strict=True):
            if first != other:
                raise ValueError(
                    f"hidden state {name} has {first} numbers a sample in batch {stats[0].index} and {other} in batch "
                    f'{found.index}: give batches of one length, or token="mean"'
                )


def to_cpu(stats: BatchStatistics) -> BatchStatistics:
    """Statistics of one batch on the CPU: the only transfer, after all batches have been queued."""

    def move(x: Tensor | None) -> Tensor | None:
        return None if x is None else x.cpu()

    return BatchStatistics(
        index=stats.index,
        size=stats.size,
        hidden_norms=stats.hidden_norms.cpu(),
        gradient_norms=stats.gradient_norms.cpu(),
        influences=stats.influences.cpu(),
        error_norms=stats.error_norms.cpu(),
        gradients=tuple(g.cpu() for g in stats.gradients),
        error=stats.error.cpu(),
        alignments={key: a.cpu() for key, a in stats.alignments.items()},
        logits=move(stats.logits),
        target=move(stats.target),
        fingerprints=stats.fingerprints.cpu(),
        other_tokens=stats.other_tokens.cpu(),
        reached=stats.reached,
        hidden_dtypes=stats.hidden_dtypes,
        widths=stats.widths,
        first_rows=tuple(move(g) for g in stats.first_rows),
    )
