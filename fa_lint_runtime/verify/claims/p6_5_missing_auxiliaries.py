"""Pitfall 6.5: a checkpoint without its auxiliaries."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ...checkpoint import save_checkpoint
from ...cosine import safe_cosine
from ...errors import MissingFeedbackError
from ...reference import load_run
from ..claim import Claim, Finding, Level, graded
from ..lab import Lab
from ..magnitudes import short
from ..measurements import Measurements
from ..networks import CONFIGURATIONS, NetworkSpec, spec

__all__ = ["CLAIM"]


def needs(level: Level) -> tuple[NetworkSpec, ...]:
    """One DFA network."""
    return spec("V1", "dfa", [42])


def measure(lab: Lab) -> Finding:
    """What the original falls back to, what a redraw from the seed gives, and what a stored checkpoint gives."""
    (m,) = lab.all_measured(needs(lab.level))
    network, configuration = m.network, CONFIGURATIONS["V1"]
    fallback = float(torch.stack([safe_cosine(g, g) for g in m.gradients]).nanmean())
    gamma = _gamma(m, m.training_matrices())
    reloaded, method, _ = load_run(network.checkpoint, configuration.model, network.data.test_x[:1])
    back = Measurements(type(network)(**{**vars(network), "model": reloaded, "method": method}))
    same = _gamma(back, back.training_matrices()) == gamma
    redrawn = _gamma(m, _redrawn(m))
    stripped = lab.folder / "without-feedback.pt"
    save_checkpoint(stripped, network.model, feedback=None, meta={"method": "dfa"})
    try:
        load_run(stripped, configuration.model, network.data.test_x[:1])
        refused = False
    except MissingFeedbackError:
        refused = True
    lost = abs(redrawn) < 0.25 * abs(gamma)
    return Finding(
        graded(fallback > 0.999 and lost, fallback > 0.999),
        (
            f"the fallback cos(g, g) is {fallback:.1f} on a network whose Γ is {short(gamma)}",
            f"feedback redrawn from the right seed after one extra torch.randperm: Γ = {short(redrawn)}, no error",
            f"save_checkpoint: Γ comes back {'bit by bit' if same else 'CHANGED'}; a checkpoint without feedback is "
            + ("refused (N/A, never a number)" if refused else "NOT refused"),
        ),
        remedy_works=same and refused,
        figures={"fallback": fallback, "training": gamma, "redrawn": redrawn, "identical_after_reload": same},
    )


def _gamma(m: Measurements, matrices: dict[int, Tensor]) -> float:
    return float(m.alignment(matrices).nanmean())


def _redrawn(m: Measurements) -> dict[int, Tensor]:
    """The matrices a script gets that seeds, builds the model, and calls ``torch.randperm`` once before drawing."""
    seed, trained = m.network.spec.seed, m.training_matrices()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        CONFIGURATIONS["V1"].model()
        torch.randperm(10)
        drawn = [torch.randn(b.shape) / math.sqrt(b.shape[1]) for b in list(trained.values())[1:]]
    return {index: drawn[max(index - 1, 0)] for index in trained}


CLAIM = Claim(
    "6.5",
    "missing auxiliaries turn Γ into 1.0",
    "auxiliary networks that are not saved make the script fall back to cos(g, g) = 1.0 in silence",
    measure,
    needs=needs,
)
