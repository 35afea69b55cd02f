"""How often alignment is found where there is none, and whether it is where there is some.

``python -m benchmarks.calibration [--trials 200]``. A setting is a network and a credit. In every trial the feedback is
drawn anew after the network is finished, so that no layer owes it anything: at a level of 5 % at most 5 % of the layers
may be called aligned or opposed. "z" is that of the least aligned layer of a network trained by its own feedback.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fa_lint_runtime import CreditInputs, Feedback, diagnose, output_error
from fa_lint_runtime.diagnostics.alignment import LayerAlignment
from fa_lint_runtime.diagnostics.statistics import Estimate, binomial_interval

CLASSES, INPUTS, DEPTH, ALPHA = 10, 32, 3, 0.05
SLOPES: dict[str, Callable[[Tensor], Tensor]] = {
    "relu": lambda z: (z > 0).to(z.dtype),
    "tanh": lambda z: 1 - z.tanh() ** 2,
}
ACTIVATIONS: dict[str, type[nn.Module]] = {"relu": nn.ReLU, "tanh": nn.Tanh}


@dataclass(frozen=True)
class Setting:
    """A network, how it was trained ("nothing", "bp" or "dfa"), and its width."""

    activation: str
    width: int
    trained: str


SETTINGS = [
    Setting(activation, width, trained)
    for activation in SLOPES
    for width in (32, 128)
    for trained in ("nothing", "bp", "dfa")
]


def network(setting: Setting, seed: int) -> nn.Sequential:
    """Linear layers, whose outputs are the hidden states, with activations between them."""
    torch.manual_seed(seed)
    widths = [INPUTS, *[setting.width] * DEPTH]
    parts: list[nn.Module] = []
    for before, after in pairwise(widths):
        parts += [nn.Linear(before, after), ACTIVATIONS[setting.activation]()]
    return nn.Sequential(*parts, nn.Linear(setting.width, CLASSES))


def data(count: int, seed: int) -> tuple[Tensor, Tensor]:
    """Four clusters a class."""
    centres = 1.2 * torch.randn(4 * CLASSES, INPUTS, generator=torch.Generator().manual_seed(0))
    rng = torch.Generator().manual_seed(seed)
    cluster = torch.randint(0, len(centres), (count,), generator=rng)
    return centres[cluster] + torch.randn(count, INPUTS, generator=rng), cluster % CLASSES


def feedback_of(setting: Setting, seed: int) -> Feedback:
    """One matrix for each hidden state."""
    sites = [str(2 * layer) for layer in range(DEPTH)]
    return Feedback.dfa([setting.width] * DEPTH, CLASSES, seed, sites=sites)


def credits(setting: Setting, feedback: Feedback, states: list[Tensor], error: Tensor) -> dict[str, Tensor]:
    """``(e B^T) f'``, the published form."""
    signals = feedback.credit(error)
    slope = SLOPES[setting.activation]
    return {site: signals[site] * slope(z).to(error.dtype) for site, z in zip(feedback.sites, states, strict=True)}


def train(setting: Setting, seed: int, steps: int = 300) -> tuple[nn.Sequential, Feedback]:
    """The network and the feedback it was trained with, if it was."""
    model, feedback = network(setting, seed), feedback_of(setting, 50_000 + seed)
    if setting.trained == "nothing":
        return model, feedback
    x, y = data(4096, 1)
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    for step in range(steps):
        rows = torch.arange(128 * step, 128 * (step + 1)) % len(x)
        optimizer.zero_grad()
        if setting.trained == "bp":
            F.cross_entropy(model(x[rows]), y[rows]).backward()
        else:
            local_step(setting, model, feedback, x[rows], y[rows])
        optimizer.step()
    return model, feedback


def local_step(setting: Setting, model: nn.Sequential, feedback: Feedback, x: Tensor, y: Tensor) -> None:
    """Gradients of one step of direct feedback alignment."""
    h, states = x, []
    for linear, activation in zip(model[:-1:2], model[1::2], strict=True):
        states.append(linear(h))
        h = activation(states[-1]).detach()
    logits = model[-1](h)
    error = output_error(logits.detach(), y) / len(y)
    made = credits(setting, feedback, [z.detach() for z in states], error)
    local = sum((z * a).sum() for z, a in zip(states, made.values(), strict=True))
    (local + F.cross_entropy(logits, y)).backward()


def measured(setting: Setting, model: nn.Sequential, feedback: Feedback) -> list[LayerAlignment]:
    """Of every layer, on 512 samples."""
    x, y = data(512, 2)
    batches = list(zip(x.split(128), y.split(128), strict=True))

    def credit(inputs: CreditInputs) -> dict[str, Tensor]:
        return credits(setting, feedback, list(inputs.hidden), inputs.error)

    report = diagnose(model, batches, 0.5, credit=credit, progress=False)
    return [layer.alignment for layer in report.layers if layer.alignment is not None]


def false_alarms(setting: Setting, trials: int) -> tuple[Estimate, Estimate]:
    """Share of layers, and of networks, in which fresh feedback is called aligned or opposed."""
    layers = networks = 0
    model, _ = train(setting, 0)
    for trial in range(trials):
        if setting.trained == "nothing":
            model = network(setting, trial)
        found = measured(setting, model, feedback_of(setting, 1000 + trial))
        layers += sum(a.p <= ALPHA for a in found)
        networks += any(a.p_holm <= ALPHA for a in found)
    return binomial_interval(layers, DEPTH * trials, ALPHA), binomial_interval(networks, trials, ALPHA)


def power(setting: Setting, seeds: int = 3) -> tuple[float, float]:
    """Least z and largest p of any hidden layer, in networks trained by the feedback itself."""
    found = [a for seed in range(seeds) for a in measured(setting, *train(setting, seed))]
    return min(a.z for a in found), max(a.p for a in found)


def main() -> None:
    """A table on standard output."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--trials", type=int, default=200)
    trials = parser.parse_args().trials
    torch.set_num_threads(1)
    print("| activation | width | trained by | layers, % [95 %] | networks, % [95 %] | z, p |")
    print("|---|---|---|---|---|---|")
    for s in SETTINGS:
        cells = [f"{100 * e.value:.1f} [{100 * e.low:.1f}, {100 * e.high:.1f}]" for e in false_alarms(s, trials)]
        strength = "{:.1f}, {:.3f}".format(*power(s)) if s.trained == "dfa" else ""
        print(f"| {s.activation} | {s.width} | {s.trained} | {cells[0]} | {cells[1]} | {strength} |", flush=True)


if __name__ == "__main__":
    main()
