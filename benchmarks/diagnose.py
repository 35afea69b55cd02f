"""Time and memory of ``diagnose``: ``python -m benchmarks.diagnose [--batches 8 64] [--pairs 9] [--skip-memory]``.

The unit of time is what no measurement can avoid: for every batch one forward, and one ``torch.autograd.grad`` to all
hidden states. Ratios are medians of pairs taken in turns in one process, in CPU time of one thread. "Separate passes"
is the protocol as published: each of (a), (b) and (c) with passes of its own, (c) once for every layer.
Memory is the growth of the resident set's high-water mark in a process of its own, over that of one training step
(forward, backward, AdamW) on one batch.
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


def ratio(subject: Callable[[], object], base: Callable[[], object], pairs: int) -> float:
    """Median of CPU-time ratios of pairs that take turns."""
    subject(), base()
    found = []
    for _ in range(pairs):
        spent = []
        for function in (subject, base):
            start = time.thread_time()
            function()
            spent.append(time.thread_time() - start)
        found.append(spent[0] / spent[1])
    return statistics.median(found)


def timings(counts: list[int], pairs: int) -> None:
    """The table of ratios."""
    print(f"{'model':22}{'batches':>8}{'unit ms':>9}{'diagnose':>10}{'with Γ':>8}{'separate':>10}")
    for name in NAMES:
        for count in counts:
            _timed(name, count, pairs)


def _timed(name: str, count: int, pairs: int) -> None:
    model, batches, width = problem(name, count)
    feedback = Feedback.dfa([width] * len(model.blocks), 10, seed=0)  # type: ignore[arg-type]

    def base() -> None:
        unit(model, batches)

    start = time.thread_time()
    base()
    spent = 1e3 * (time.thread_time() - start)
    own = ratio(lambda: diagnose(model, batches, 0.1, 0.1, progress=False), base, pairs)
    full = ratio(lambda: diagnose(model, batches, 0.1, 0.1, feedback=feedback, progress=False), base, pairs)
    apart = ratio(lambda: separate(model, batches), base, max(3, pairs // 3))
    sign = "met" if own <= BAR_TIME else "missed"
    print(f"{name:22}{count:8}{spent:9.0f}{own:10.2f}{full:8.2f}{apart:10.2f}  bar {BAR_TIME}: {sign}", flush=True)


def peak(name: str, what: str) -> None:
    """Print the growth of the high-water mark in MB (in a process of its own)."""
    torch.set_num_threads(1)
    model, batches, _ = problem(name, 8)
    diagnose(ResidualMLP(8, 8, 2), [(torch.randn(4, 8), torch.randint(0, 10, (4,)))], 0.1, progress=False)
    optimizer = torch.optim.AdamW(model.parameters())
    start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    if what == "train":
        x, y = batches[0]
        logits = model(x)
        F.cross_entropy(logits, y).backward()
        optimizer.step()
    else:
        diagnose(model, batches, 0.1, 0.1, progress=False)
    print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - start) / 1024)


def memory() -> None:
    """The table of memory."""
    print(f"\n{'model':22}{'train step MB':>15}{'diagnose MB':>13}{'ratio':>8}")
    for name in NAMES:
        grown = {}
        for what in ("train", "diagnose"):
            command = [sys.executable, "-m", "benchmarks.diagnose", "--peak", name, what]
            grown[what] = float(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
        share = grown["diagnose"] / max(grown["train"], 1.0)
        sign = "met" if share <= BAR_MEMORY else "missed"
        print(
            f"{name:22}{grown['train']:15.0f}{grown['diagnose']:13.0f}{share:8.2f}  bar {BAR_MEMORY}: {sign}",
            flush=True,
        )


def main() -> None:
    """Both tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batches", type=int, nargs="+", default=[8, 64])
    parser.add_argument("--pairs", type=int, default=9)
    parser.add_argument("--skip-memory", action="store_true")
    parser.add_argument("--peak", nargs=2, metavar=("MODEL", "WHAT"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.peak:
        peak(*arguments.peak)
        return
    torch.set_num_threads(1)
    timings(arguments.batches, arguments.pairs)
    if not arguments.skip_memory:
        memory()


if __name__ == "__main__":
    main()
