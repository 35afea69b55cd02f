"""One forward and one backward a batch; out come norms, directions and alignments, never hidden states.

The backward pass goes to the hidden states only (``torch.autograd.grad`` on gradient edges): no gradient of a
parameter is computed, ``.grad`` is not touched and hooks of data-parallel wrappers do not fire.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.graph import GradientEdge, get_gradient_edge

from ..cosine import safe_cosine
from ..kernels import blocked, composite
from .batches import Batch, fingerprints
from .credits import CreditFunction, CreditInputs, Pairing
from .losses import SummedLoss
from .null import FeedbackNull, FrameNull, NullSums
from .outputs import Token, pool, samples_first
from .restore import tracked_inputs
from .taps import Plan, run

__all__ = ["Alignments", "BatchStatistics", "Capture", "Credits", "norms64"]


def norms64(x: Tensor) -> Tensor:
    """fp64 L2 norms of the rows of (B, d), of any magnitude; (B,)."""
    if type(x) is Tensor and x.is_cpu:
        return blocked.norm(x.detach(), 1)
    return composite.norm(x.detach(), 1, False)


@dataclass(frozen=True)
class GroupSums:
    """Sums of vectors over contiguous groups of the samples of a batch.

    Attributes:
        unit: (m, d) of unit vectors (zero and non-finite ones left out).
        raw: (m, d) of the vectors divided by ``scale``.
        scale: 0-dim fp64.
        counts: (m,) vectors with a direction.
        energy: (m,) fp64 sums of squared norms over ``scale**2``.
    """

    unit: Tensor
    raw: Tensor
    scale: Tensor
    counts: Tensor
    energy: Tensor

    def cpu(self) -> GroupSums:
        """On the CPU."""
        return GroupSums(self.unit.cpu(), self.raw.cpu(), self.scale.cpu(), self.counts.cpu(), self.energy.cpu())


def unit_rows(x: Tensor, norms: Tensor) -> Tensor:
    """Rows of (B, d) in fp64 over their norms; zero where there is no direction."""
    defined = (norms > 0) & torch.isfinite(norms)
    wide = x.detach().to(torch.float64)
    if x.dtype == torch.float64:  # keep the quotient out of the subnormals
        scale = composite.power_of_two_scale(torch.where(defined, norms, 1.0))
        wide, norms = wide * scale.unsqueeze(1), norms * scale
    return torch.where(defined.unsqueeze(1), wide / torch.where(defined, norms, 1.0).unsqueeze(1), 0.0)


def group_sums(unit: Tensor, norms: Tensor, groups: int) -> GroupSums:
    """Sums over ``groups`` contiguous groups of (B, d) unit vectors and of the vectors themselves."""
    size = len(norms)
    groups = min(groups, size)
    of = torch.arange(size, device=unit.device) * groups // size
    member = torch.zeros(groups, size, dtype=torch.float64, device=unit.device)
    member[of, torch.arange(size, device=unit.device)] = 1.0
    defined = (norms > 0) & torch.isfinite(norms)
    kept = torch.where(defined, norms, 0.0)
    top = kept.max()
    scale = torch.where(top > 0, top, 1.0)
    relative = kept / scale
    counts, energy = member @ defined.to(torch.float64), member @ relative.square()
    both = torch.cat([member, member * relative]) @ unit
    return GroupSums(both[:groups].to(torch.float32), both[groups:].to(torch.float32), scale, counts, energy)


@dataclass(frozen=True)
class Alignments:
    """Per-sample cosines of credit and gradient for one (hidden state, site).

    Attributes:
        cosines: (B,) fp64, NaN where undefined.
        credit_sum: (d,) sum of unit credits, for mismatched pairs.
        null: sums for the fresh-feedback null; None for the original's pairing.
    """

    cosines: Tensor
    credit_sum: Tensor
    null: NullSums | None


@dataclass(frozen=True)
class BatchStatistics:
    """Everything kept of one batch. Index l runs over hidden states.

    Attributes:
        index: of the batch.
        size: samples.
        hidden_norms, gradient_norms: (L + 1, B) fp64; gradients of the summed loss, that is per sample; NaN where no
            graph leads from the loss to h_l.
        error_norms: (B,) fp64.
        gradients: group sums of the gradients; error: of the output error.
        alignments: (l, site) to cosines.
        correct: (B,) bool, None if the targets are no classes.
        logits, target: (B, C) fp64 and (B,) where small enough to refit the biases of the head, else None.
        fingerprints: (B,) int64.
        hidden_dtypes: of h_l.
        widths: of the pooled h_l.
        first_rows: of batch 0 only: gradients of its first samples in working precision, for the precision checks.
    """

    index: int
    size: int
    hidden_norms: Tensor
    gradient_norms: Tensor
    error_norms: Tensor
    gradients: tuple[GroupSums, ...]
    error: GroupSums
    alignments: dict[tuple[int, str], Alignments]
    correct: Tensor | None
    logits: Tensor | None
    target: Tensor | None
    fingerprints: Tensor
    hidden_dtypes: tuple[torch.dtype, ...]
    widths: tuple[int, ...]
    first_rows: tuple[Tensor | None, ...] = ()


@dataclass
class Credits:
    """Where credit signals come from.

    Attributes:
        pairing: sites and hidden states.
        matrices: effective feedback matrices (fp64), empty for a credit function.
        function: the credit function, or None.
        nulls: site to its fresh-feedback null.
        order: names for what the function returns as a sequence.
        draws, seed: of frame nulls, made when the size of a credit is known.
    """

    pairing: Pairing
    matrices: dict[str, Tensor] = field(default_factory=dict)
    function: CreditFunction | None = None
    nulls: dict[str, FeedbackNull] = field(default_factory=dict)
    frames: dict[tuple[int, str], FrameNull] = field(default_factory=dict)
    draws: int = 199
    seed: int = 0


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
        dtypes: list[torch.dtype] = []
        shapes: list[int] = []
        kept: list[Tensor] = []
        wants_hidden = self.credits is not None and self.credits.function is not None

        def on_hidden(position: int, h: Tensor) -> None:
            edges.append(get_gradient_edge(h) if h.requires_grad else None)
            first = samples_first(h.detach(), plan.batch_dims[position])
            vectors = pool(first, self.token)
            norms.append(norms64(vectors))
            dtypes.append(h.dtype)
            shapes.append(vectors.shape[1])
            if wants_hidden:
                kept.append(first.clone())

        logits = run(self.model, plan, tracked_inputs(batch.x), on_hidden)
        gradients, error = gradients_at(self.loss, logits, batch, edges)
        rows = [self._rows(g, position) for position, g in enumerate(gradients)]
        missing = torch.full((batch.size,), float("nan"), dtype=torch.float64, device=logits.device)
        lengths = [missing if g is None else norms64(g) for g in rows]
        units = [
            missing.new_zeros(batch.size, shapes[position]) if g is None else unit_rows(g, length)
            for position, (g, length) in enumerate(zip(rows, lengths, strict=True))
        ]
        error_rows = error.reshape(batch.size, -1)
        error_norms = norms64(error_rows)
        alignments: dict[tuple[int, str], Alignments] = {}
        if self.credits is not None:
            hidden = tuple(kept)
            inputs = CreditInputs(batch.x, batch.y, logits.detach(), error, hidden, self.model)
            alignments = self._alignments(self.credits, inputs, gradients, rows, units)
        with_logits = logits.ndim == 2 and logits.shape[1] <= 1024 and isinstance(batch.y, Tensor)
        classes = with_logits and not batch.y.dtype.is_floating_point and batch.y.ndim == 1
        return BatchStatistics(
            index=index,
            size=batch.size,
            hidden_norms=torch.stack(norms),
            gradient_norms=torch.stack(lengths),
            error_norms=error_norms,
            gradients=tuple(group_sums(u, n, self.groups) for u, n in zip(units, lengths, strict=True)),
            error=group_sums(unit_rows(error_rows, error_norms), error_norms, self.groups),
            alignments=alignments,
            correct=logits.detach().argmax(1) == batch.y if classes else None,
            logits=logits.detach().to(torch.float64) if classes else None,
            target=batch.y if classes else None,
            fingerprints=fingerprints(batch),
            hidden_dtypes=tuple(dtypes),
            widths=tuple(shapes),
            first_rows=tuple(None if g is None else g[: self.rows].clone() for g in rows) if index == 0 else (),
        )

    def _rows(self, gradient: Tensor | None, position: int) -> Tensor | None:
        if gradient is None:
            return None
        return pool(samples_first(gradient, self.plan.batch_dims[position]), self.token).detach()

    def _alignments(
        self,
        credits: Credits,
        inputs: CreditInputs,
        gradients: list[Tensor | None],
        rows: list[Tensor | None],
        units: list[Tensor],
    ) -> dict[tuple[int, str], Alignments]:
        signals = credit_signals(credits, inputs)
        found: dict[tuple[int, str], Alignments] = {}
        for position, site in dict.fromkeys([*credits.pairing.trained, *credits.pairing.original]):
            row = rows[position]
            if row is None:
                continue
            signal = fitted(signals[site], row, self.token, site, self.plan.names[position])
            if signal is None:
                if (position, site) in credits.pairing.trained:
                    width = signals[site].shape[-1]
                    raise ValueError(
                        f"the credit of {site!r} has {width} values a sample, hidden state "
                        f"{self.plan.names[position]!r} has {row.shape[1]}: say which belongs to "
                        "which with sites={site: hidden state}"
                    )
                continue
            unit_credit = unit_rows(signal, norms64(signal))
            null = None
            if (position, site) in credits.pairing.trained:
                null = self._null(credits, inputs.error, units[position], unit_credit, position, site)
            cosines = safe_cosine(signal, row)
            found[position, site] = Alignments(cosines, unit_credit.sum(0), null)
        return found

    def _null(
        self, credits: Credits, error: Tensor, unit: Tensor, unit_credit: Tensor, position: int, site: str
    ) -> NullSums | None:
        if credits.function is not None:
            key = (position, site)
            if key not in credits.frames:
                credits.frames[key] = FrameNull(unit.shape[1], credits.draws, credits.seed + position)
            return credits.frames[key].sums(unit, unit_credit)
        # The error in the layout of the gradient: (B, C), or (B, T, C) where all positions are concatenated.
        width = credits.matrices[site].shape[0]
        positions = unit.shape[1] // width
        local = error if error.ndim == 2 or self.token == "all" else pool(error, self.token)
        if local.ndim == 2 and positions > 1:
            local = local.unsqueeze(1).expand(-1, positions, -1)
        flat = local.reshape(len(local), -1)
        unit_error = unit_rows(flat, norms64(flat)).reshape(local.shape)
        shaped = unit.reshape(len(unit), -1, width) if local.ndim == 3 else unit
        return credits.nulls[site].sums(shaped, unit_error, credits.matrices[site])


def credit_signals(credits: Credits, inputs: CreditInputs) -> dict[str, Tensor]:
    """The credit at every site, (B, d) or (B, T, d)."""
    if credits.function is None:
        return {site: inputs.error @ matrix.mT for site, matrix in credits.matrices.items()}
    with torch.enable_grad():
        made: Any = credits.function(inputs)
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
    """A credit as one vector a sample of the width of the gradient; None if it does not fit."""
    vectors = signal if signal.ndim == 2 else pool(signal, token)
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
    found = list(torch.autograd.grad(loss(logits, batch.y, batch.size), wanted, allow_unused=True)) if wanted else []
    if error is None:
        last = found.pop()
        if last is None:
            raise ValueError("loss_fn does not depend on the logits")
        error = last.detach().to(torch.float64)
    given = iter(found)
    return [None if edge is None else next(given) for edge in edges], error


def to_cpu(stats: BatchStatistics) -> BatchStatistics:
    """Statistics of one batch on the CPU: the only transfer, after all batches have been queued."""

    def move(x: Tensor | None) -> Tensor | None:
        return None if x is None else x.cpu()

    return BatchStatistics(
        index=stats.index,
        size=stats.size,
        hidden_norms=stats.hidden_norms.cpu(),
        gradient_norms=stats.gradient_norms.cpu(),
        error_norms=stats.error_norms.cpu(),
        gradients=tuple(g.cpu() for g in stats.gradients),
        error=stats.error.cpu(),
        alignments={
            key: Alignments(
                a.cosines.cpu(),
                a.credit_sum.cpu(),
                None if a.null is None else NullSums(a.null.products.cpu(), a.null.squares.cpu(), a.null.count.cpu()),
            )
            for key, a in stats.alignments.items()
        },
        correct=move(stats.correct),
        logits=move(stats.logits),
        target=move(stats.target),
        fingerprints=stats.fingerprints.cpu(),
        hidden_dtypes=stats.hidden_dtypes,
        widths=stats.widths,
        first_rows=tuple(move(g) for g in stats.first_rows),
    )
