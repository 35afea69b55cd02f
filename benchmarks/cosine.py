"""Time, memory and worst error of cosines: ``python -m benchmarks.cosine [--quick] [--threads 1 2]``.

Ratios are to ``F.cosine_similarity``: it and a candidate take turns in one process, the first of a pair changing from
pair to pair, after three warm-up calls each; the figure is the median over the pairs, and ``best`` the ratio of the two
shortest times, which other jobs on the machine disturb least. One thread is measured in CPU time, more in wall clock
(where load strikes F harder: its parallel loops wait for all threads, and load stands in the heading).
Memory is the growth of the resident set's high-water mark in a process of its own, after a call that was large enough
to import numba. F allocates full-size temporaries, so its time depends on whether glibc hands their pages back to the
kernel between calls. "Fresh heap": as the process finds it. "Warm heap": blocks of just under 32 MB have been freed
before, which stops that for temporaries up to that size: F's best case.
"""

from __future__ import annotations

import argparse
import functools
import importlib.metadata
import importlib.util
import math
import os
import platform
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from fa_lint_runtime import safe_cosine
from fa_lint_runtime.kernels import triton as triton_kernels

Cosine = Callable[[Tensor, Tensor], Tensor]
PACKAGES = {"sklearn": "scikit-learn"}  # what pip calls them

SHAPES = [(16, 64), (1024, 256), (64 * 197, 768), (1_000_000, 64), (128, 1_000_000)]
QUICK_SHAPES = [(16, 64), (1024, 256), (64 * 197, 768), (100_000, 64), (8, 1_000_000)]
BACKWARD_SHAPES = [(16, 64), (1024, 256), (64 * 197, 768), (1_000_000, 64), (32, 1_000_000)]
BARS = {  # of the issue, forward
    (torch.float32, (16, 64)): 1.5,
    (torch.float32, (1024, 256)): 1.0,
    (torch.float32, (64 * 197, 768)): 0.35,
    (torch.float32, (1_000_000, 64)): 0.6,
    (torch.float32, (128, 1_000_000)): 0.35,
    (torch.bfloat16, (64 * 197, 768)): 0.75,
    (torch.bfloat16, (1_000_000, 64)): 0.75,
    (torch.bfloat16, (128, 1_000_000)): 0.75,
}
BACKWARD_BARS = {
    (dtype, shape): bar
    for dtype, bar in ((torch.float32, 0.6), (torch.bfloat16, 0.75))
    for shape in BACKWARD_SHAPES
    if shape[0] * shape[1] > 1_000_000
}


def f_default(a: Tensor, b: Tensor) -> Tensor:
    return F.cosine_similarity(a, b, dim=-1)  # fa-lint: ignore[FAL202] what safe_cosine is compared with


def f_double(a: Tensor, b: Tensor) -> Tensor:
    return F.cosine_similarity(a.double(), b.double(), dim=-1, eps=0.0)


def naive(a: Tensor, b: Tensor) -> Tensor:
    return (a * b).sum(-1) / (a.norm(dim=-1) * b.norm(dim=-1))


def torchmetrics_cosine(a: Tensor, b: Tensor) -> Tensor:
    from torchmetrics.functional import cosine_similarity

    return cosine_similarity(a, b, reduction="none")


def scipy_cosine(a: Tensor, b: Tensor) -> Tensor:
    from scipy.spatial.distance import cosine

    return torch.tensor([1 - cosine(x, y) for x, y in zip(a.numpy(), b.numpy(), strict=True)])


def sklearn_cosine(a: Tensor, b: Tensor) -> Tensor:
    from sklearn.metrics.pairwise import cosine_similarity

    return torch.tensor([cosine_similarity(x[None], y[None])[0, 0] for x, y in zip(a.numpy(), b.numpy(), strict=True)])


def installed(package: str) -> bool:
    return importlib.util.find_spec(package) is not None


def compiled_f() -> Cosine:
    torch._dynamo.reset()
    return torch.compile(f_default, dynamic=False)


@dataclass(frozen=True)
class Comparison:
    """Of a candidate with F: F's median seconds, the median ratio of pairs, the ratio of the shortest times."""

    base: float
    ratio: float
    best: float


def compared(base: Callable[[], object], candidate: Callable[[], object], budget: float) -> Comparison:
    """Pairs until the budget is spent, at least five: CPU time with 1 thread, else wall clock."""
    clock = time.thread_time if torch.get_num_threads() == 1 else time.perf_counter
    calls = (base, candidate)
    for call in calls * 3:
        call()
    times: tuple[list[float], list[float]] = ([], [])
    end = time.perf_counter() + budget
    while len(times[0]) < 5 or (time.perf_counter() < end and len(times[0]) < 4000):
        for i in (0, 1) if len(times[0]) % 2 else (1, 0):
            start = clock()
            calls[i]()
            times[i].append(clock() - start)
    theirs, ours = np.array(times[0]), np.array(times[1])
    return Comparison(float(np.median(theirs)), float(np.median(ours / theirs)), float(ours.min() / theirs.min()))


def warm_heap() -> None:
    """Raise glibc's limits for returning memory to the kernel to their maximum, as a long-running process has."""
    for _ in range(2):
        blocks = [torch.empty(31 << 20, dtype=torch.uint8) for _ in range(3)]
        del blocks


def print_row(cells: Sequence[str], widths: Sequence[int]) -> None:
    print(
        "  ".join(
            cell.ljust(width) if i == 0 else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(cells, widths, strict=True))
        ),
        flush=True,
    )


def verdict(found: Comparison, bar: float | None) -> list[str]:
    if bar is None:
        return [f"{found.ratio:.2f}", f"{found.best:.2f}", "-", ""]
    return [f"{found.ratio:.2f}", f"{found.best:.2f}", f"{bar:.2f}", "met" if found.ratio <= bar else "MISSED"]


def forward_table(shapes: Sequence[tuple[int, int]], budget: float) -> None:
    widths = [28, 10, 9, 9, 9, 9, 9, 7, 6, 7]
    print("\nforward: milliseconds of F, then ratios to F (lower is better)")
    print_row(["dtype, shape", "F ms", "naive", "F double", "tmetrics", "F compld", "safe", "best", "bar", ""], widths)
    for dtype in (torch.float32, torch.bfloat16, torch.float16):
        for shape in shapes:
            if dtype == torch.float16 and shape[0] * shape[1] > 20_000_000:
                continue
            a, b = torch.randn(shape).to(dtype), torch.randn(shape).to(dtype)
            others: dict[str, Cosine] = {"naive": naive}
            if a.numel() <= 20_000_000:
                others["double"] = f_double
                if installed("torchmetrics"):
                    others["torchmetrics"] = torchmetrics_cosine
                if dtype != torch.float16:
                    others["compiled"] = compiled_f()

            base = functools.partial(f_default, a, b)
            ours = compared(base, functools.partial(safe_cosine, a, b), budget)
            ratios = {
                name: f"{compared(base, functools.partial(other, a, b), budget / 4).ratio:.2f}"
                for name, other in others.items()
            }
            print_row(
                [
                    f"{str(dtype)[6:]} {shape}",
                    f"{ours.base * 1e3:.3f}",
                    *[ratios.get(n, "-") for n in ("naive", "double", "torchmetrics", "compiled")],
                    *verdict(ours, BARS.get((dtype, shape))),
                ],
                widths,
            )


def backward_table(shapes: Sequence[tuple[int, int]], budget: float) -> None:
    widths = [28, 10, 9, 7, 6, 7]
    print("\nforward + backward to both operands: milliseconds of F, ratio of ours")
    print_row(["dtype, shape", "F ms", "safe", "best", "bar", ""], widths)
    for dtype in (torch.float32, torch.bfloat16):
        for shape in shapes:
            a = torch.randn(shape).to(dtype).requires_grad_()
            b = torch.randn(shape).to(dtype).requires_grad_()
            weight = torch.randn(shape[0]).to(dtype)

            def step(function: Cosine, a: Tensor = a, b: Tensor = b, weight: Tensor = weight) -> None:
                torch.autograd.grad(function(a, b), (a, b), weight)

            ours = compared(functools.partial(step, f_default), functools.partial(step, safe_cosine), budget)
            label = f"{str(dtype)[6:]} {shape}"
            print_row([label, f"{ours.base * 1e3:.3f}", *verdict(ours, BACKWARD_BARS.get((dtype, shape)))], widths)


_MEMORY_PROGRAM = """
import sys
import torch
from pathlib import Path
from benchmarks import cosine as c
threads, name, warm = int(sys.argv[1]), sys.argv[2], int(sys.argv[3])
torch.set_num_threads(threads)
f = {"F": c.f_default, "naive": c.naive, "F double": c.f_double, "safe": c.safe_cosine}[name]
a, b = torch.randn(64 * 197, 768), torch.randn(64 * 197, 768)
f(a[:warm], b[:warm])

def figure(field):
    return int(Path("/proc/self/status").read_text().split(field)[1].split()[0]) / 1024

Path("/proc/self/clear_refs").write_text("5")  # the high-water mark starts anew
before = figure("VmRSS:")
f(a, b)
print(figure("VmHWM:") - before)
"""
_FIRST_CALL_PROGRAM = """
import time
import torch
from fa_lint_runtime import safe_cosine
a, b = torch.randn(1024, 256), torch.randn(1024, 256)
safe_cosine(a[:64], b[:64])
start = time.process_time()
safe_cosine(a, b)
print(time.process_time() - start)
"""


def in_own_process(program: str, *arguments: object, **environment: str) -> float:
    command = [sys.executable, "-c", program, *map(str, arguments)]
    root, variables = Path(__file__).parents[1], {**os.environ, **environment}
    done = subprocess.run(command, cwd=root, env=variables, capture_output=True, text=True, check=True)
    return float(done.stdout)


def memory_table(threads: int) -> None:
    if sys.platform != "linux":
        print("\nextra memory: measured on Linux only")
        return
    print("\nextra memory of one call on fp32 (12608, 768) (two operands of 36.9 MiB), MiB of resident set")
    for name in ("F", "naive", "F double", "safe"):
        print(f"  {name:10s} {in_own_process(_MEMORY_PROGRAM, threads, name, 128):8.1f}", flush=True)
    print(f"  {'safe':10s} {in_own_process(_MEMORY_PROGRAM, threads, 'safe', 8):8.1f}  when it is the call that")
    print("                       imports numba, once in a process")


def first_call_table() -> None:
    print("\nfirst call on fp32 (1024, 256) in a process, seconds of CPU time")
    if not installed("numba"):
        print("  numba is not installed: nothing to compile")
        return
    with tempfile.TemporaryDirectory() as folder:
        print(f"  nothing compiled yet  {in_own_process(_FIRST_CALL_PROGRAM, NUMBA_CACHE_DIR=folder):6.2f}")
        print(f"  compiled code on disk {in_own_process(_FIRST_CALL_PROGRAM, NUMBA_CACHE_DIR=folder):6.2f}")
        print(f"  without numba         {in_own_process(_FIRST_CALL_PROGRAM, NUMBA_DISABLE_JIT='1'):6.2f}", flush=True)


MAGNITUDES: list[tuple[str, torch.dtype, float]] = [
    ("1e-7", torch.float32, 1e-7),
    ("5e-10", torch.float32, 5e-10),
    ("1e-20", torch.float32, 1e-20),
    ("1e-22", torch.float32, 1e-22),
    ("1e-30", torch.float32, 1e-30),
    ("1e-41", torch.float32, 1e-41),
    ("zero", torch.float32, 0.0),
    ("1e20", torch.float32, 1e20),
    ("1e30", torch.float32, 1e30),
    ("f64 1e-200", torch.float64, 1e-200),
    ("f64 1e300", torch.float64, 1e300),
    ("f16 1e-5", torch.float16, 1e-5),
    ("f16 3e4", torch.float16, 3e4),
    ("bf16 5e-10", torch.bfloat16, 5e-10),
    ("bf16 1e-30", torch.bfloat16, 1e-30),
]


def exact_cosine(a: Tensor, b: Tensor) -> float:
    """By exact integer sums and a root in 200 bits; NaN if undefined."""
    unit = 1 << 1074

    def integers(x: Tensor) -> list[int]:
        ratios = [v.as_integer_ratio() for v in x.double().tolist()]
        return [n * (unit // d) for n, d in ratios]

    u, v = integers(a), integers(b)
    aa, bb = sum(p * p for p in u), sum(q * q for q in v)
    if aa == 0 or bb == 0:
        return math.nan
    ab = sum(p * q for p, q in zip(u, v, strict=True))
    root = math.isqrt((aa * bb) << 400)
    return ((ab << 460) // root) / (1 << 260)


def worst_error_table(rows: int) -> None:
    print(f"\nworst |error| over {rows} pairs (D = 256), the second operand scaled to the norm given; * = not finite")
    candidates: list[tuple[str, Cosine | None]] = [
        ("F.cosine_similarity", f_default),
        ("F compiled", compiled_f()),
        ("F double eps=0", f_double),
        ("naive", naive),
        ("torchmetrics", torchmetrics_cosine if installed("torchmetrics") else None),
        ("1 - scipy cosine", scipy_cosine if installed("scipy") else None),
        ("sklearn", sklearn_cosine if installed("sklearn") else None),
        ("safe_cosine", safe_cosine),
    ]
    widths = [20, *[max(8, len(label)) for label, _, _ in MAGNITUDES]]
    g = torch.Generator().manual_seed(0)
    left = torch.randn(rows, 256, generator=g, dtype=torch.float64)
    right = left * 0.6 + torch.randn(rows, 256, generator=g, dtype=torch.float64)
    operands, truths = [], []
    for _, dtype, norm in MAGNITUDES:
        a, b = left.to(dtype), (right / right.norm(dim=1, keepdim=True) * norm).to(dtype)
        operands.append((a, b))
        truths.append([exact_cosine(x, y) for x, y in zip(a, b, strict=True)])
    print_row(["", *[label for label, _, _ in MAGNITUDES]], widths)
    for name, function in candidates:
        cells = []
        for (a, b), truth in zip(operands, truths, strict=True):
            cells.append("n/a" if function is None else worst_error(function, a, b, truth))
        print_row([name + (" (not installed)" if function is None else ""), *cells], widths)


def worst_error(function: Cosine, a: Tensor, b: Tensor, truth: list[float]) -> str:
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        try:
            found = function(a, b).double().tolist()
        except (TypeError, ValueError) as error:
            return type(error).__name__[:5] + "."
    if all(math.isnan(t) for t in truth):
        return "NaN ok" if all(math.isnan(f) for f in found) else f"says {found[0]:.2g}"
    errors = [abs(f - t) for f, t in zip(found, truth, strict=True)]
    return "*" if any(not math.isfinite(e) for e in errors) else f"{max(errors):.1e}"


def bandwidth_line() -> None:
    x, y = torch.randn(64 << 20), torch.empty(64 << 20)
    dot = compared(functools.partial(y.copy_, x), functools.partial(torch.dot, x, y), 1.0)
    size = x.numel() * 4 * 2 / 1e9
    print(f"memory: copy {size / dot.base:.1f} GB/s (read + write), dot {size / dot.base / dot.ratio:.1f} GB/s")


def heading(threads: int, heap: str) -> None:
    load = f", load average {os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else ""
    clock = "CPU time" if threads == 1 else "wall clock"
    print(f"\n=== {threads} thread{'s' if threads > 1 else ''}, {heap} heap, {clock}{load}")


def gpu_table() -> None:
    """Only with CUDA: bandwidth of the fused kernel against a copy, and time against F."""
    print(f"\nCUDA: {torch.cuda.get_device_name()}, Triton {'yes' if triton_kernels._device() else 'no'}")

    def timed(call: Callable[[], object]) -> float:
        for _ in range(5):
            call()
        times = []
        for _ in range(30):
            start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
            start.record()
            call()
            end.record()
            torch.cuda.synchronize()
            times.append(start.elapsed_time(end) / 1e3)
        return float(np.median(times))

    x = torch.randn(1 << 28, device="cuda")
    y = torch.empty_like(x)
    copy = 2 * x.numel() * 4 / timed(functools.partial(y.copy_, x)) / 1e9
    print(f"copy {copy:.0f} GB/s")
    del x, y
    for dtype in (torch.float32, torch.bfloat16, torch.float16):
        for shape in [(64 * 197, 768), (1_000_000, 64), (128, 1_000_000), (1, 100_000_000)]:
            a = torch.randn(shape, device="cuda").to(dtype)
            b = torch.randn(shape, device="cuda").to(dtype)
            base, ours = timed(functools.partial(f_default, a, b)), timed(functools.partial(safe_cosine, a, b))
            rate = 2 * a.numel() * a.element_size() / ours / 1e9
            line = f"  {str(dtype)[6:]:9s}{shape!s:22s} F {base * 1e3:8.3f} ms, ours {base / ours:5.2f}x faster, "
            print(line + f"{rate:.0f} GB/s = {rate / copy:.0%} of copy")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="smaller shapes, shorter runs: about a minute")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2], help="intra-op threads (default: 1 2)")
    arguments = parser.parse_args()
    if sys.platform == "linux":
        model = next(
            (
                x.split(":")[1].strip()
                for x in Path("/proc/cpuinfo").read_text().splitlines()
                if x.startswith("model name")
            ),
            "",
        )
    else:
        model = platform.processor()
    print(f"torch {torch.__version__}, numpy {np.__version__}, Python {platform.python_version()}, {model}")
    for package in ("numba", "torchmetrics", "scipy", "sklearn"):
        print(f"{package} {importlib.metadata.version(PACKAGES.get(package, package))}" if installed(package)
              else f"{package}: not installed")  # fmt: skip
    budget = 0.5 if arguments.quick else 2.0
    for threads in arguments.threads:
        torch.set_num_threads(threads)
        torch.manual_seed(0)
        heading(threads, "fresh")
        forward_table(SHAPES[:2], budget)
    warm_heap()
    for threads in arguments.threads:
        torch.set_num_threads(threads)
        torch.manual_seed(0)
        heading(threads, "warm")
        bandwidth_line()
        forward_table(QUICK_SHAPES if arguments.quick else SHAPES, budget)
        backward_table([s for s in BACKWARD_SHAPES if not arguments.quick or s[0] * s[1] < 20_000_000], budget)
    memory_table(arguments.threads[0])
    first_call_table()
    worst_error_table(20 if arguments.quick else 100)
    if torch.cuda.is_available():
        gpu_table()


if __name__ == "__main__":
    main()
