"""What the guard costs: ``python -m benchmarks.guard [--seconds 8] [--plugin]``.

Training steps with the guard on and off take turns in one process; the ratio is the median over pairs of CPU time of
the thread (``time.thread_time``), with one torch thread, so that other jobs on the machine disturb only caches.
``control`` is off against off: how far from 1 chance alone leads. ``--plugin`` times pytest on 1,000 trivial tests.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import platform
import subprocess
import sys
import tempfile
import textwrap
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fa_lint_runtime import guard

Step = Callable[[], None]


class Block(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.a, self.b = nn.Linear(width, width), nn.Linear(width, width)

    def forward(self, h: Tensor) -> Tensor:
        return h + self.b(F.gelu(self.a(self.norm(h))))


class ResMLP(nn.Module):
    def __init__(self, width: int, layers: int) -> None:
        super().__init__()
        self.embed = nn.Linear(width, width)
        self.blocks = nn.Sequential(*(Block(width) for _ in range(layers)))
        self.head = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, 10))

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.blocks(self.embed(x)))


class ViT(nn.Module):
    def __init__(self, width: int = 128, layers: int = 6) -> None:
        super().__init__()
        self.patch = nn.Conv2d(3, width, 4, 4)
        self.position = nn.Parameter(torch.zeros(1, 64, width))
        layer = nn.TransformerEncoderLayer(width, 4, 4 * width, 0.0, "gelu", batch_first=True, norm_first=True)
        self.body = nn.TransformerEncoder(layer, layers, enable_nested_tensor=False)
        self.head = nn.Linear(width, 10)

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.patch(x).flatten(2).mT + self.position
        return self.head(self.body(tokens).mean(1))


def training(model: nn.Module, x: Tensor, optimizer: torch.optim.Optimizer, *, autocast: bool = False) -> Step:
    target = torch.randint(0, 10, (len(x),))

    def step() -> None:
        optimizer.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
            loss = F.cross_entropy(model(x), target)
        loss.backward()
        optimizer.step()

    return step


def resmlp(width: int = 256, batch: int = 128) -> Step:
    model = ResMLP(width, 4)
    return training(model, torch.randn(batch, width), torch.optim.SGD(model.parameters(), 1e-3))


def tiny() -> Step:
    model = ResMLP(64, 4)
    return training(model, torch.randn(16, 64), torch.optim.AdamW(model.parameters(), 1e-3))


def resmlp_cosines() -> Step:
    """Five clamping cosines a step, differentiated as in a loss."""
    step = resmlp()
    small = [(torch.randn(128, 256) * 1e-11).requires_grad_() for _ in range(5)]
    fixed = torch.randn(128, 256)

    def both() -> None:
        step()
        for credit in small:
            F.cosine_similarity(credit, fixed, dim=1).mean().backward()
            credit.grad = None

    return both


def vit(*, autocast: bool = False) -> Step:
    model = ViT()
    return training(model, torch.randn(8, 3, 32, 32), torch.optim.AdamW(model.parameters(), 1e-4), autocast=autocast)


STEPS: list[tuple[str, Callable[[], Step], float, float | None]] = [
    ("ResMLP d256 L4 B128 SGD", resmlp, 1.05, 1.15),
    ("the same + 5 clamping cosines", resmlp_cosines, 1.10, None),
    ("ResMLP d64 L4 B16 AdamW", tiny, 1.05, 1.7),
    ("ViT d128 L6 B8 AdamW", vit, 1.05, 1.15),
    ("ViT, bfloat16 autocast", lambda: vit(autocast=True), 1.05, 1.15),
]


def ratio(step: Step, watched: Callable[[], contextlib.AbstractContextManager[object]], seconds: float) -> float:
    """Median of on/off over alternating chunks; entering the guard and its first five steps are not timed."""
    for _ in range(3):
        step()
    began = time.thread_time()
    step()
    chunk = max(1, int(0.25 / max(time.thread_time() - began, 1e-6)))

    def spent() -> float:
        start = time.thread_time()
        for _ in range(chunk):
            step()
        return time.thread_time() - start

    ratios = []
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or len(ratios) < 7:
        # ABBA: drift within a pair cancels.
        off = spent()
        with watched():
            for _ in range(5):
                step()
            on = spent() + spent()
        off += spent()
        ratios.append(on / off)
    return float(np.median(ratios))


def entering() -> float:
    """Milliseconds to enter and leave."""
    times = []
    for _ in range(30):
        start = time.thread_time()
        with guard("record"):
            pass
        times.append(time.thread_time() - start)
    return float(np.median(times)) * 1e3


def plugin() -> None:
    """CPU time of pytest on 1,000 trivial tests, with the guard and without, three times in turns."""
    body = "import pytest\n{}\n@pytest.mark.parametrize('i', range(1000))\ndef test_it(i): pass\n"
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parent.parent), "PYTHONDONTWRITEBYTECODE": "1"}
    with tempfile.TemporaryDirectory() as folder:
        for name, text in (("plain", ""), ("torch", "import torch")):
            Path(folder, f"test_{name}.py").write_text(textwrap.dedent(body.format(text)))
            off, on = _cheapest(f"test_{name}.py", ("off", "error"), folder, environment)
            each = on - off  # seconds per 1,000 tests: milliseconds a test
            print(f"pytest, 1000 tests, {name:6}: off {off:.2f} s, error {on:.2f} s: {each:.2f} ms a test (bar 2)")


def _cheapest(file: str, modes: tuple[str, ...], folder: str, environment: dict[str, str]) -> list[float]:
    """CPU seconds of pytest for each mode, the least of three runs in turns."""
    spent: dict[str, list[float]] = {mode: [] for mode in modes}
    for _ in range(3):
        for mode, times in spent.items():
            command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", f"--fa-guard={mode}", file]
            before = os.times()
            subprocess.run(command, cwd=folder, env=environment, check=True, capture_output=True)
            after = os.times()
            times.append(sum(after[2:4]) - sum(before[2:4]))
    return [min(times) for times in spent.values()]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=8.0, help="a row and column")
    parser.add_argument("--plugin", action="store_true", help="only the pytest plug-in")
    options = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    print(f"torch {torch.__version__}, Python {platform.python_version()}, {platform.machine()}, one thread, CPU time")
    if options.plugin:
        plugin()
        return
    print(f"enter and leave: {entering():.2f} ms\n")
    print(f"{'step':32}{'ms':>8}{'control':>9}{'guard':>8}{'bar':>7}{'thorough':>10}{'bar':>7}")
    for name, make, bar, thorough_bar in STEPS:
        step = make()
        for _ in range(2):
            step()
        began = time.thread_time()
        step()
        milliseconds = (time.thread_time() - began) * 1e3
        control = ratio(step, contextlib.nullcontext, options.seconds)
        on = ratio(step, lambda: guard("record"), options.seconds)
        thorough = ratio(step, lambda: guard("record", thorough=True), options.seconds)
        last = "–" if thorough_bar is None else f"{thorough_bar:.2f}"
        cells = f"{control:>9.3f}{on:>8.3f}{bar:>7.2f}{thorough:>10.3f}{last:>7}"
        print(f"{name:32}{milliseconds:>8.1f}{cells}", flush=True)


if __name__ == "__main__":
    main()
