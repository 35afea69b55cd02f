"""What :class:`fa_lint_runtime.monitor.Monitor` costs: a check against a training step, interleaved, CPU time.

``python -m benchmarks.monitor`` prints the ratio and the overhead at one check in a hundred steps (bar: 3 %).
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import torch

from fa_lint_runtime.monitor import Monitor
from fa_lint_runtime.reference import Recipe, ResidualMLP, build, gaussian_mixture, train_step

ROUNDS, STEPS, CHECKS = 9, 50, 5


def seconds(work: Callable[[], object], times: int) -> float:
    """CPU seconds of this thread for one call."""
    started = time.thread_time()
    for _ in range(times):
        work()
    return (time.thread_time() - started) / times


def main() -> None:
    """Print one line for backprop and one for DFA with its feedback watched."""
    torch.set_num_threads(1)
    data = gaussian_mixture(64, noise=0.3)
    x, y = data.train_x[:128], data.train_y[:128]
    held_out = data.test_x[:128], data.test_y[:128]
    for name in ("bp", "dfa"):
        model, method = build(lambda: ResidualMLP(64, 256, 10, 4), name, x, 42)
        optimizer = Recipe().make_optimizer(list(model.parameters()))
        feedback = getattr(method, "feedback", None)
        monitor = Monitor(model, held_out, feedback=feedback, warn=False)

        def step() -> None:
            train_step(model, method, optimizer, x, y)  # noqa: B023 (called within the same turn of the loop)

        seconds(step, 20)
        monitor.check()
        ratios = [seconds(monitor.check, CHECKS) / seconds(step, STEPS) for _ in range(ROUNDS)]
        ratio = statistics.median(ratios)
        print(
            f"{name}: a check costs {ratio:.2f} training steps ({min(ratios):.2f} to {max(ratios):.2f}); "
            f"{ratio:.2f} % at one check in 100 steps"
        )


if __name__ == "__main__":
    main()
