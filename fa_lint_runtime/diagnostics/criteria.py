"""The sound criteria: each one a function from measured figures to an :class:`Outcome`. These decide the verdict."""

from __future__ import annotations

import math
from collections.abc import Sequence

from .alignment import DEAD
from .derivative import NEGLIGIBLE
from .margin import Margin
from .outcomes import Outcome, State
from .precision import Precision
from .report import LayerReport as LayerFigures
from .stability import ErrorDrift
from .statistics import NAN, binomial_interval
from .thresholds import DiagnosticThresholds
from .tokens import Positions

__all__ = [
    "LayerFigures",
    "absorption",
    "alignment",
    "collapse",
    "credit_size",
    "elasticity",
    "finite",
    "growth",
    "headline",
    "initial_growth",
    "margin",
    "reference",
    "resolution",
    "shared_direction",
]

# A headline of other samples of the same kind is outside once in a thousand times; it may be rounded to 1 %.
_HEADLINE_LEVEL, _HEADLINE_ROUNDING = 1e-3, 0.005
_TWIN = 'diagnose(…, reference="twin") measures against the gradients of the forward pass'


def finite(layers: Sequence[LayerFigures], duplicates: str, read: Sequence[Positions | None]) -> Outcome:
    """Judge whether there is anything to measure: finite, not dead, on different samples."""
    title = "finite, alive, disjoint"
    broken = [x for x in layers if x.nonfinite_share > 0]
    if broken:
        worst = max(broken, key=lambda x: x.nonfinite_share)
        text = f"{worst.nonfinite_share:.1%} of samples hold an inf or a NaN in layer {worst.index} ({worst.name})"
        action = "find the overflow or the divergence first; no figure of a broken network means anything"
        return Outcome("finite", title, "invalid", worst.nonfinite_share, 0.0, text, action)
    dead = [x for x in layers if x.undefined_share >= DEAD and not math.isnan(x.gradient_norm)]
    if dead and dead[0].other_tokens:
        where = read[dead[0].index]
        text = f"the loss does not read the chosen token of layer {dead[0].index} ({dead[0].name})"
        text += f", but {where}" if where is not None else ", but others of it"
        action = (
            'choose a position that is read, for example token="last" or token="mean"; with token=None one is found'
        )
        return Outcome("finite", title, "not measured", dead[0].undefined_share, DEAD, text, action, essential=True)
    if dead:
        text = (
            f"{dead[0].undefined_share:.1%} of samples have a zero gradient at layer {dead[0].index} ({dead[0].name})"
        )
        action = "no gradient arrives: a dead head, a saturated softmax or a dtype that flushed it; use fp32 or scale"
        return Outcome("finite", title, "invalid", dead[0].undefined_share, DEAD, text, action)
    if duplicates:
        return Outcome("finite", title, "invalid", NAN, NAN, duplicates, "give disjoint batches")
    return Outcome("finite", title, "passes", 0.0, 0.0, "no inf, no NaN, no dead layer, no repeated batch", "")


def reference(layers: Sequence[LayerFigures], precision: Precision) -> Outcome:
    """Judge whether the reference is the gradient of this network."""
    title = "the reference is the gradient"
    cut = [x for x in layers if math.isnan(x.gradient_norm) and x.nonfinite_share < x.undefined_share]
    where = "" if all(x.undefined_share == 1.0 for x in cut) else " in some batches"
    if layers and len(cut) == len(layers) and not where:
        text = "no graph leads from the loss to any hidden state: the model detaches them"
        action = "evaluate the backprop twin: the same weights in a model without detach"
        return Outcome("reference", title, "not measured", NAN, NAN, text, action, essential=True)
    found = precision.derivative
    if found.differs and not precision.random:
        names = ", ".join(precision.custom_functions) or "a hook or function of its own"
        off = f"off by {found.error:.2g}, with an error of at most {found.limit:.1g}"
        text = f"the backward pass is not the derivative of the forward pass ({off}; {names})"
        action = f"what autograd returns here is the method's own credit; {_TWIN}"
        return Outcome("reference", title, "not measured", found.error, found.limit, text, action, essential=True)
    if cut:
        names = ", ".join(x.name for x in cut[:3])
        text = f"no graph leads from the loss to {len(cut)} of {len(layers)} hidden states{where} ({names})"
        action = "the model detaches them: evaluate the backprop twin"
        return Outcome("reference", title, "not measured", NAN, NAN, text, action, essential=True)
    if not found.agrees:
        suspects = [*precision.custom_functions, *(f"the backward hooks of {name}" for name in precision.hooks[:3])]
        why = precision.missing or found.missing or "rounding, kinks or curvature hide it"
        text = f"not verified against a central difference: {why}"
        if not math.isnan(found.error) and not precision.random:
            text += f"; in {layers[0].dtype} off by {found.error:.2g}, with an error of {found.bar:.1g} of its own"
        if suspects:
            text += f"; {', '.join(suspects)} may put a credit in its place"
        action = "make the forward pass deterministic in evaluation mode" if precision.random else _TWIN
        return Outcome("reference", title, "not measured", found.error, NAN, text, action, essential=True)
    text = f"agrees with a central difference to {found.error:.1e}"
    if found.bar > NEGLIGIBLE:
        text += f" (its own error {found.bar:.1e}: rounding, kinks or curvature)"
    if precision.missing and not precision.random:
        text += f", in {layers[0].dtype}: {precision.missing}"
    return Outcome("reference", title, "passes", found.error, found.limit, text, "")


def headline(claimed: float, right: int, counted: int) -> Outcome:
    """Judge whether the accuracy that is reported is that of this network."""
    title = "the headline is measured"
    if math.isnan(claimed) or not counted:
        text = "no headline accuracy given" if math.isnan(claimed) else "targets are no classes: no accuracy measured"
        return Outcome("headline", title, "not measured", NAN, NAN, text, "")
    found = binomial_interval(right, counted, _HEADLINE_LEVEL)
    low, high = found.low - _HEADLINE_ROUNDING, found.high + _HEADLINE_ROUNDING
    text = f"accuracy {found.value:.3f} [{found.low:.3f}, {found.high:.3f}] on {counted} samples, "
    text += f"headline {claimed:.3f}"
    if low <= claimed <= high:
        return Outcome("headline", title, "passes", found.value, claimed, text, "")
    action = "the headline belongs to other weights, other samples or another metric than these: report what they give"
    return Outcome("headline", title, "fires", found.value, claimed, text, action)


def growth(layers: Sequence[LayerFigures], t: DiagnosticThresholds) -> Outcome:
    """(a) over all samples instead of the first batch."""
    grown = [x for x in layers[1:] if not math.isnan(x.growth)]
    if not grown:
        return Outcome(
            "growth", "‖h‖ stays in range", "not measured", NAN, t.max_block_growth, "fewer than two states", ""
        )
    worst = max(grown, key=lambda x: x.growth)
    state: State = "fires" if worst.growth > t.max_block_growth else "passes"
    text = f"‖h‖ grows at most {worst.growth:.3g}× in one block ({worst.name})"
    action = (
        "penalise block outputs (λ = 1e-2 · mean ‖f_l‖²), remove the terminal LayerNorm, or lower the learning rate"
    )
    return Outcome(
        "growth",
        "‖h‖ stays in range",
        state,
        worst.growth,
        t.max_block_growth,
        text,
        action if state == "fires" else "",
    )


def initial_growth(layers: Sequence[LayerFigures], t: DiagnosticThresholds) -> Outcome | None:
    """What (a) is blind to: an embedding that blew up. None unless the initial norm is known."""
    if t.initial_h0_norm is None or not layers:
        return None
    ratio = layers[0].hidden_norm / t.initial_h0_norm
    state: State = "fires" if ratio > t.max_h0_growth else "passes"
    text = f"‖h_0‖ is {ratio:.3g}× its value at initialisation"
    action = "the embedding blew up: penalise it, or lower its learning rate" if state == "fires" else ""
    return Outcome("h_0 growth", "the embedding stays in range", state, ratio, t.max_h0_growth, text, action)


def absorption(layers: Sequence[LayerFigures], t: DiagnosticThresholds) -> Outcome:
    """Judge whether adding a block's output rounds the stream away."""
    known = [x for x in layers[1:] if not math.isnan(x.absorption)]
    worst = max(known, key=lambda x: x.absorption, default=None)
    title = "the skip stream survives rounding"
    if worst is None:
        return Outcome("absorption", title, "not measured", NAN, t.max_absorption, "fewer than two states", "")
    state: State = "fires" if worst.absorption > t.max_absorption else "passes"
    text = f"a block rounds at most {worst.absorption:.1e} of the stream away ({worst.dtype})"
    action = "run in fp32, or bring the growth down" if state == "fires" else ""
    return Outcome("absorption", title, state, worst.absorption, t.max_absorption, text, action)


def credit_size(layers: Sequence[LayerFigures], t: DiagnosticThresholds) -> Outcome:
    """(b) without 1/B and without the remaining error.

    It decides nothing: a terminal LayerNorm undoes any scale of h_L, and the gradient carries its inverse. Elasticity
    is free of it.
    """
    title, name = "credit per unit error", "credit size"
    value = layers[-1].credit_per_error if layers else NAN
    if math.isnan(value):
        return Outcome(name, title, "not measured", value, t.min_credit_per_error, "no gradient at h_L", "")
    text = f"‖g_L‖/‖e‖ = {value:.2g}"
    if value < t.min_credit_per_error:
        text += f", below {t.min_credit_per_error:g}: h_L is large, see growth; elasticity says whether credit is there"
    return Outcome(name, title, "information", value, t.min_credit_per_error, text, "")


def elasticity(layers: Sequence[LayerFigures], t: DiagnosticThresholds, unset: str = "") -> Outcome:
    """Judge whether credit vanishes, whatever the scale of h.

    Not over the depth: it fades by a constant factor a step in any recurrent network that is not trained. Within one
    block, where that is dead or overflowed. ``unset``: running statistics that no batch has set, which let an
    untrained network fade to nothing; that is no fault of its blocks.
    """
    title = "credit does not vanish in a block"
    known = [x for x in layers if not math.isnan(x.elasticity)]
    if not known:
        return Outcome("elasticity", title, "not measured", NAN, t.min_elasticity, "no gradient", "")
    value, worst = collapse([x.elasticity for x in known])
    state: State = "fires" if value < t.min_elasticity else "passes"
    least = min(x.elasticity for x in known)
    text = f"‖g_l‖‖h_l‖/‖e‖ is at least {least:.2g}; block by block it keeps {value:.2g} (layer {known[worst].index})"
    if unset and state == "fires":
        text += f"; {unset}"
        action = "run some batches in training mode first"
        return Outcome("elasticity", title, "not measured", value, t.min_elasticity, text, action, essential=True)
    action = (
        "a relative change of that state does not move the loss: it is dead or overflowed" if state == "fires" else ""
    )
    return Outcome("elasticity", title, state, value, t.min_elasticity, text, action)


def collapse(values: Sequence[float]) -> tuple[float, int]:
    """The least of the last elasticity and of every other relative to the next one, and which it is."""
    pairs = list(zip(values, [*values[1:], 1.0], strict=True))
    kept = [own / following if following > 0 else 0.0 for own, following in pairs]
    worst = min(range(len(kept)), key=kept.__getitem__)
    return kept[worst], worst


def resolution(layers: Sequence[LayerFigures], precision: Precision, t: DiagnosticThresholds) -> Outcome:
    """The only test that may call a gradient numerical noise."""
    title = "gradients are resolved"
    known = [(x.precision.resolution, x) for x in layers if x.precision and not math.isnan(x.precision.resolution)]
    if not known:
        text = precision.missing or "no gradient"
        return Outcome("resolution", title, "not measured", NAN, t.min_resolution, text, "")
    value, worst = min(known, key=lambda pair: pair[0])
    state: State = "fires" if value < t.min_resolution else "passes"
    text = f"cosine of {worst.dtype} and fp64 gradients: at least {value:.6f} (layer {worst.index})"
    action = "the reference is numerical noise: compute it in fp64 (saturated softmax, overflow or half precision)"
    return Outcome("resolution", title, state, value, t.min_resolution, text, action if state == "fires" else "")


def alignment(layers: Sequence[LayerFigures], broken: Sequence[int], missing: str, t: DiagnosticThresholds) -> Outcome:
    """Judge whether Γ beyond layer 0 owes anything to training, by the fresh-feedback null only.

    Args:
        layers: with their alignments.
        broken: hidden states whose credit holds an inf or a NaN.
        missing: why there is no alignment.
        t: thresholds.
    """
    title = "credit is aligned beyond layer 0"
    found = {x.index: x.alignment for x in layers if x.alignment is not None}
    if not found:
        return Outcome("alignment", title, "not measured", NAN, t.alpha, missing, "")
    if broken:
        text = f"the credit of layers {list(broken)} holds an inf or a NaN"
        action = "find the overflow first; Γ of the samples that are left means nothing"
        return Outcome("alignment", title, "invalid", NAN, t.alpha, text, action)
    # Where the gradient itself is zero, the credit is not to blame.
    alive = [x.index for x in layers if x.undefined_share < DEAD]
    dead = {i: a.undefined_share for i, a in found.items() if i in alive and a.undefined_share >= DEAD}
    if dead:
        text = f"the credit of layers {list(dead)} is zero in {min(dead.values()):.0%} of samples or more"
        action = "no credit arrives there: it vanishes or is rounded away; Γ of the samples that are left means nothing"
        return Outcome("alignment", title, "fires", max(dead.values()), DEAD, text, action)
    blocks = [(i, a) for i, a in found.items() if i > 0] or list(found.items())
    decided = [(i, a) for i, a in blocks if a.decision != "undefined"]
    if not decided:
        text = "no null: a credit or a gradient is zero, not finite, or has too few units to redraw their signs"
        return Outcome("alignment", title, "not measured", NAN, t.alpha, text, "")
    aligned = [i for i, a in decided if a.decision == "aligned"]
    best = min(a.p_holm for _, a in decided)
    which = "layers beyond layer 0" if decided[0][0] > 0 else "layers"
    text = f"{len(aligned)} of {len(decided)} {which} differ from fresh feedback (least Holm p = {best:.2g})"
    opposed = [i for i, a in decided if a.decision == "opposed"]
    if opposed:
        text += f"; layers {opposed} are opposed"
    state: State = "passes" if aligned else "fires"
    action = "Γ of these layers is what any random feedback gives: do not report it as learning" if not aligned else ""
    return Outcome("alignment", title, state, best, t.alpha, text, action)


def shared_direction(layers: Sequence[LayerFigures], error: ErrorDrift, t: DiagnosticThresholds) -> Outcome:
    """(c) on effect size, independent of batch size."""
    title = "gradients are per sample"
    known = [x for x in layers if not math.isnan(x.drift.rho_direction.low)]
    if not known:
        return Outcome("drift", title, "not measured", NAN, t.max_rho_direction, "too few samples for an interval", "")
    worst = max(known, key=lambda x: x.drift.rho_direction.low)
    low, value = worst.drift.rho_direction.low, worst.drift.rho_direction.value
    state: State = "fires" if low >= t.max_rho_direction else "passes"
    text = f"mean cosine between samples {value:.3f}, at least {low:.3f} (layer {worst.index})"
    if not math.isnan(error.refitted_stability):
        text += (
            f"; of the output error alone s = {error.halves_stability:.2f}, "
            f"{error.refitted_stability:.2f} after refitting the head's biases"
        )
    action = "the reference is one global direction: Γ measures agreement with it, not per-sample credit"
    return Outcome("drift", title, state, low, t.max_rho_direction, text, action if state == "fires" else "")


def margin(found: Margin | None, t: DiagnosticThresholds) -> Outcome:
    """(d) with an interval, a named baseline and a ceiling."""
    title = "training the blocks pays"
    if found is None:
        return Outcome("margin", title, "not measured", NAN, t.min_margin_pp, "no frozen baseline given", "")
    pp = found.pp
    if math.isnan(pp.value):
        text, action = "an accuracy is NaN", "a run that diverged has no accuracy to report"
        return Outcome("margin", title, "invalid", NAN, t.min_margin_pp, text, action)
    text = f"{pp.value:+.1f} pp over frozen blocks ({found.baseline})"
    if found.identical:
        text += "; the same accuracy in every seed" if found.of_seeds else "; right and wrong on the same samples"
        action = "the two may be one network: give the predictions of the baseline"
        return Outcome("margin", title, "inconclusive", pp.value, t.min_margin_pp, text, action)
    if not math.isnan(pp.low):
        text += f", {100 * (1 - t.alpha):.0f} % interval {pp.low:+.1f} to {pp.high:+.1f} ({found.method})"
        if not found.of_seeds:
            text += "; of two networks, not of two methods: another seed may move it further than that"
    if found.bp_pp < t.min_margin_pp:
        text += f"; suppressed: backprop itself gains only {found.bp_pp:+.1f} pp (ceiling)"
        return Outcome("margin", title, "information", pp.value, t.min_margin_pp, text, "use a harder task for (d)")
    if math.isnan(pp.low):
        bare = "fires" if pp.value < t.min_margin_pp else "passes"
        action = f"{found.method}: give per-sample correctness or the number of samples"
        return Outcome(
            "margin", title, "inconclusive", pp.value, t.min_margin_pp, text + f" ({bare} without interval)", action
        )
    if pp.high < t.min_margin_pp:
        action = "the trained blocks add nothing: say so beside the accuracy"
        return Outcome("margin", title, "fires", pp.value, t.min_margin_pp, text, action)
    if pp.low < t.min_margin_pp:
        action = "the interval straddles the threshold: more test samples, or more seeds (5 or more)"
        return Outcome("margin", title, "inconclusive", pp.value, t.min_margin_pp, text, action)
    return Outcome("margin", title, "passes", pp.value, t.min_margin_pp, text, "")
