"""The comparison that needs no pairing: what the credit does to the parameters of a module against what BP does."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.autograd.graph import GradientEdge, get_gradient_edge

from ..cosine import safe_cosine
from .batches import Batch
from .capture import Capture, credit_signals, slopes_of_sites
from .credits import CreditInputs
from .outputs import place, pool, samples_first
from .restore import tracked_inputs
from .slopes import gated
from .statistics import NAN
from .taps import run

__all__ = ["parameter_cosines"]


def parameter_cosines(capture: Capture, batch: Batch) -> dict[int, float]:
    """Hidden state to the cosine of the local update and the BP update of the module that made it, on one batch.

    The local update descends ``<h_l, stopgrad(a_l)>`` with the input of the module held fixed, so it is one
    vector-Jacobian product of the module; both updates are sums over samples, before any optimizer. States that no
    single module with parameters made are left out.
    """
    credits, plan = capture.credits, capture.plan
    if credits is None:
        return {}
    edges: list[GradientEdge | None] = []
    hidden: list[Tensor] = []

    def on_hidden(_index: int, h: Tensor) -> None:
        edges.append(get_gradient_edge(h) if h.requires_grad else None)
        hidden.append(h.detach().clone())

    logits = run(capture.model, plan, tracked_inputs(batch.x), on_hidden)
    error = capture.loss.error(logits, batch.y)
    value = capture.loss(logits, batch.y, batch.size)
    slopes = None if credits.gated is None else slopes_of_sites(credits, plan, logits, edges, hidden)
    if error is None:
        (at_logits,) = torch.autograd.grad(value, [get_gradient_edge(logits)], retain_graph=True)
        error = at_logits.detach().to(torch.float64)
    first = tuple(samples_first(h, plan.batch_dims[i]) for i, h in enumerate(hidden))
    inputs = CreditInputs(batch.x, batch.y, logits.detach(), error, first, capture.model)
    signals = credit_signals(credits, inputs, slopes)
    found: dict[int, float] = {}
    for index, site in credits.pairing.trained:
        module, edge = plan.producers[index], edges[index]
        parameters = [] if module is None else [p for p in module.parameters() if p.requires_grad]
        if edge is None or not parameters or (slopes is not None and index not in slopes):
            continue
        signal = signals[site] if slopes is None else gated(signals[site], slopes[index])
        cotangent = _cotangent(signal, hidden[index], capture, index)
        if cotangent is None:
            continue
        try:
            local = torch.autograd.grad([edge], parameters, [cotangent], retain_graph=True, allow_unused=True)
        except TypeError:  # gradient edges as outputs: torch 2.6 and newer
            return {}
        exact = torch.autograd.grad(value, parameters, retain_graph=True, allow_unused=True)
        found[index] = _cosine(local, exact)
    return found


def _cotangent(signal: Tensor, h: Tensor, capture: Capture, index: int) -> Tensor | None:
    dim = capture.plan.batch_dims[index]
    shape = h.movedim(dim, 0).shape
    if signal.shape == shape:
        return signal.movedim(0, dim).to(h.device, h.dtype)
    vectors = signal if signal.ndim == 2 else pool(signal, capture.token)
    if vectors.shape != pool(samples_first(h, dim), capture.token).shape:
        return None
    # Credits far below fp16's range keep their direction: the cosine below does not see their scale.
    top = vectors.abs().max()
    return place(vectors / torch.where(top > 0, top, 1.0), h, dim, capture.token)


def _cosine(local: tuple[Tensor | None, ...], exact: tuple[Tensor | None, ...]) -> float:
    pairs = [(a, b) for a, b in zip(local, exact, strict=True) if a is not None and b is not None]
    if not pairs:
        return NAN
    device = pairs[0][0].device
    sides = [torch.cat([t.flatten().to(device, torch.float64) for t in side]) for side in zip(*pairs, strict=True)]
    return float(safe_cosine(sides[0], sides[1]))
