"""Time and memory of ``diagnose``: ``python -m benchmarks.diagnose [--batches 8 64] [--pairs 9] [--skip-…]``.

The unit of time is what no measurement can avoid: for every batch one forward, and one ``torch.autograd.grad`` to all
hidden states. Ratios are medians of pairs taken in turns in one process, in CPU time of one thread. "Separate passes"
is the protocol as published: each of (a), (b) and (c) with passes of its own, (c) once for every layer.
"A batch more" is the slope between the numbers of batches: what is left of the ratio without the checks in fp64 on 8
samples, the probe and the report, which cost the same for any number of batches.
Memory is the growth of the resident set's high-water mark in a process of its own, over that of training steps
(forward, backward, AdamW) on the same 8 batches, and over the first of them alone: the heap grows with the second step
of either, as small results lie between large ones.
"""

from __future__ import annotations

import argparse
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fa_lint_runtime import Feedback, bp_grad_norms, cross_batch_direction_stability, diagnose, residual_norms

BAR_TIME, BAR_MEMORY = 1.3, 1.1
Batches = list[tuple[Tensor, Tensor]]


class Block(nn.Module):
    """f_l: LN, two Linear, GELU; the skip is outside."""

    def __init__(self, d: int) -> None:
        super().__init__()
        self.ln, self.fc1, self.fc2 = nn.LayerNorm(d), nn.Linear(d, d), nn.Linear(d, d)

    def forward(self, h: Tensor) -> Tensor:
        return self.fc2(F.gelu(self.fc1(self.ln(h))))


class ResidualMLP(nn.Module):
    """The shape of the published runs."""

    def __init__(self, inputs: int, d: int, depth: int) -> None:
        super().__init__()
        self.embed, self.blocks = nn.Linear(inputs, d), nn.ModuleList(Block(d) for _ in range(depth))
        self.out_ln, self.out_head = nn.LayerNorm(d), nn.Linear(d, 10)

    def forward(self, x: Tensor, return_hidden: bool = False) -> object:
        hidden = [self.embed(x)]
        for block in self.blocks:
            hidden.append(hidden[-1] + block(hidden[-1]))
        logits = self.out_head(self.out_ln(hidden[-1]))
        return (logits, hidden) if return_hidden else logits


class ViT(nn.Module):
    """32 × 32 images, patches of 4, pre-norm encoder layers."""

    def __init__(self, d: int, depth: int) -> None:
        super().__init__()
        self.patch_embed = nn.Conv2d(3, d, 4, 4)
        self.cls, self.pos = nn.Parameter(torch.zeros(1, 1, d)), nn.Parameter(torch.randn(1, 65, d) * 0.02)
        layer = (d, d // 32, 4 * d, 0.0, "gelu")
        self.blocks = nn.ModuleList(
            nn.TransformerEncoderLayer(*layer, batch_first=True, norm_first=True) for _ in range(depth)
        )
        self.norm, self.head = nn.LayerNorm(d), nn.Linear(d, 10)

    def forward(self, x: Tensor, return_hidden: bool = False) -> object:
        h = self.patch_embed(x).flatten(2).mT
        hidden = [torch.cat([self.cls.expand(len(h), -1, -1), h], 1) + self.pos]
        for block in self.blocks:
            hidden.append(block(hidden[-1]))
        logits = self.head(self.norm(hidden[-1][:, 0]))
        return (logits, hidden) if return_hidden else logits


def problem(name: str, count: int) -> tuple[nn.Module, Batches, int]:
    """(model, batches, width)."""
    torch.manual_seed(0)
    model: nn.Module
    if name == "ViT d128 L6 B32":
        model, size, shape, width = ViT(128, 6), 32, (3, 32, 32), 128
    else:
        depth = 12 if "L12" in name else 4
        width = 1024 if "d1024" in name else 256
        model, size, shape = ResidualMLP(3072, width, depth), 128, (3072,)
    return model, [(torch.randn(size, *shape), torch.randint(0, 10, (size,))) for _ in range(count)], width


NAMES = ("ResMLP d256 L4 B128", "ResMLP d256 L12 B128", "ResMLP d1024 L4 B128", "ViT d128 L6 B32")


def unit(model: nn.Module, batches: Batches) -> None:
    """One forward and one backward to the hidden states for every batch."""
    model.eval()
    for x, y in batches:
        logits, hidden = model(x, return_hidden=True)
        torch.autograd.grad(F.cross_entropy(logits, y, reduction="sum"), hidden)


def separate(model: nn.Module, batches: Batches) -> None:
    """(a), (b), and (c) of every layer, each with its own passes."""
    x, y = batches[0]
    layers = len(residual_norms(model, x))
    bp_grad_norms(model, x, y)
    for index in range(layers):
        cross_batch_direction_stability(model, batches, index)


def ratio(subject: Callable[[], object], base: Callable[[], object], pairs: int) -> tuple[float, float, float]:
    """Median of CPU-time ratios of pairs that take turns, and the median seconds of each."""
    subject(), base()
    found: list[tuple[float, float, float]] = []
    for _ in range(pairs):
        spent = []
        for function in (subject, base):
            start = time.thread_time()
            function()
            spent.append(time.thread_time() - start)
        found.append((spent[0] / spent[1], *spent))
    middle, own, basic = (statistics.median(column) for column in zip(*found, strict=True))
    return middle, own, basic


def timings(counts: list[int], pairs: int) -> None:
    """The table of ratios."""
    print(f"{'model':22}{'batches':>8}{'unit ms':>9}{'diagnose':>10}{'with Γ':>8}{'separate':>10}")
    for name in NAMES:
        ends = [_timed(name, count, pairs) for count in counts]
        if len(ends) > 1:
            (first, first_base), (last, last_base) = ends[0], ends[-1]
            slope = (last - first) / (last_base - first_base)
            print(f"{name:22}{'a batch more':>27}{slope:8.2f}{_sign(slope, BAR_TIME):>30}", flush=True)


def _sign(value: float, bar: float) -> str:
    return f"bar {bar}: {'met' if value <= bar else 'missed'}"


def _timed(name: str, count: int, pairs: int) -> tuple[float, float]:
    model, batches, width = problem(name, count)
    depth = sum(1 for _ in model.get_submodule("blocks").children())
    feedback = Feedback.dfa([width] * depth, 10, seed=0)

    def base() -> None:
        unit(model, batches)

    own, seconds, unit_seconds = ratio(lambda: diagnose(model, batches, 0.1, 0.1, progress=False), base, pairs)
    full, _, _ = ratio(lambda: diagnose(model, batches, 0.1, 0.1, feedback=feedback, progress=False), base, pairs)
    apart, _, _ = ratio(lambda: separate(model, batches), base, max(3, pairs // 3))
    cells = f"{count:8}{1e3 * unit_seconds:9.0f}{own:10.2f}{full:8.2f}{apart:10.2f}"
    print(f"{name:22}{cells}  {_sign(own, BAR_TIME)}", flush=True)
    return seconds, unit_seconds


def peak(name: str, what: str) -> None:
    """Print the growth of the high-water mark in MB (in a process of its own)."""
    torch.set_num_threads(1)
    model, batches, _ = problem(name, 8)
    diagnose(ResidualMLP(8, 8, 2), [(torch.randn(4, 8), torch.randint(0, 10, (4,)))], 0.1, progress=False)
    optimizer = torch.optim.AdamW(model.parameters())
    start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    if what != "diagnose":
        for x, y in batches[: 1 if what == "step" else len(batches)]:
            optimizer.zero_grad()
            F.cross_entropy(model(x), y).backward()
            optimizer.step()
    else:
        diagnose(model, batches, 0.1, 0.1, progress=False)
    print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - start) / 1024)


def memory() -> None:
    """The table of memory."""
    print(f"\n{'model':22}{'first step MB':>15}{'8 steps MB':>12}{'diagnose MB':>13}{'to first':>10}{'to 8':>6}")
    for name in NAMES:
        first, steps, own = (_grown(name, what) for what in ("step", "steps", "diagnose"))
        share = own / steps
        cells = f"{first:15.0f}{steps:12.0f}{own:13.0f}{own / first:10.2f}{share:6.2f}"
        print(f"{name:22}{cells}  {_sign(share, BAR_MEMORY)}", flush=True)


def _grown(name: str, what: str) -> float:
    """Median of three processes."""
    command = [sys.executable, "-m", "benchmarks.diagnose", "--peak", name, what]
    runs = [subprocess.run(command, capture_output=True, text=True, check=True).stdout for _ in range(3)]
    return max(1.0, statistics.median(map(float, runs)))


def main() -> None:
    """Both tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batches", type=int, nargs="+", default=[8, 64])
    parser.add_argument("--pairs", type=int, default=9)
    parser.add_argument("--skip-memory", action="store_true")
    parser.add_argument("--skip-time", action="store_true")
    parser.add_argument("--peak", nargs=2, metavar=("MODEL", "WHAT"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.peak:
        peak(*arguments.peak)
        return
    torch.set_num_threads(1)
    if not arguments.skip_time:
        timings(arguments.batches, arguments.pairs)
    if not arguments.skip_memory:
        memory()


if __name__ == "__main__":
    main()
