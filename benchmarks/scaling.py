"""Cost against size: ``python -m benchmarks.scaling [--most N] [--select CODES] [SHAPE ...]``.

Makes one file of each shape for n = 100, 200, … N, lints it with one process, and prints CPU seconds and the ratio of
each doubling: 2 where the cost grows like the input, 4 where it grows like its square.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from itertools import pairwise

from fa_lint.project.check_file import analyse
from fa_lint.rules import registry
from fa_lint.semantics.roles import RoleNames

__all__ = ["SHAPES", "doublings", "seconds"]

_HEAD = "import numpy as np\nimport torch\nimport torch.nn.functional as F\nfrom torch import nn\n\n\n"
_LEAST = 100


def functions(n: int) -> str:
    """Small functions, each of which compares two gradients."""
    return "".join(
        f"def f{i}(p):\n    g = p.grad\n    return F.cosine_similarity(g, p.feedback, dim=0)\n\n" for i in range(n)
    )


def elifs(n: int) -> str:
    """One ``if`` of n branches with a finding each."""
    rest = "".join(f"    elif k == {i}:\n        return x.norm(-1)\n" for i in range(1, n))
    return f"def f(x, k):\n    if k == 0:\n        return x.norm(-1)\n{rest}"


def entries(n: int) -> str:
    """One dict of n entries, and a norm of an item."""
    return (
        "TABLE = {\n"
        + "".join(f'    "k{i}": {i},\n' for i in range(n))
        + "}\n\n\ndef f(k):\n    return TABLE[k].norm(-1)\n"
    )


def stored(n: int) -> str:
    """One dict that n statements fill."""
    return "def f(x):\n    d = {}\n" + "".join(f'    d["k{i}"] = x.norm({i})\n' for i in range(n)) + "    return d\n"


def chained(n: int) -> str:
    """Names bound through each other: ``a1 = a0``, ``a2 = a1``."""
    return (
        "def f(p):\n    a0 = p.grad\n"
        + "".join(f"    a{i} = a{i - 1}\n" for i in range(1, n))
        + f"    return F.cosine_similarity(a{n - 1}, p.B, dim=0)\n"
    )


def targets(n: int) -> str:
    """One statement that binds one name n times: ``a = a = … = x``."""
    return "def f(x):\n    " + "a = " * n + "x.grad\n    return a.norm(-1)\n"


def rebound(n: int) -> str:
    """One name that n statements bind, each from the one before."""
    return "def f(x, p):\n    a = p.grad\n" + "    a = a + x.norm(-1)\n" * n + "    return a\n"


def looped(n: int) -> str:
    """One name that n statements of a loop update."""
    return "def f(xs, p):\n    a = p.grad\n    for x in xs:\n" + "        a = a * x\n" * n + "    return a.norm(-1)\n"


def tried(n: int) -> str:
    """One name that n ``try`` statements cast to fp16 in their handlers."""
    return (
        "def f(x):\n"
        + "    try:\n        x = x.grad\n    except E:\n        x = x.half()\n" * n
        + "    return x.norm(-1)\n"
    )


def attributes(n: int) -> str:
    """One attribute that n methods bind, each through the next, and read."""
    body = "    def f{0}(self, x):\n        self.y = self.f{1}(x) if x else x.grad\n        return self.y.norm(-1)\n\n"
    return "class C:\n" + "".join(body.format(i, (i + 1) % n) for i in range(n))


def classes(n: int) -> str:
    """Modules of their own, with a parameter, a forward pass and feedback."""
    init = "    def __init__(self):\n        super().__init__()\n        self.w = nn.Parameter(torch.ones(3))\n"
    body = (
        f"{init}        self.feedback = torch.randn(3, 3)\n\n    def forward(self, x):\n        return x @ self.w\n\n"
    )
    return "".join(f"class M{i}(nn.Module):\n{body}" for i in range(n))


def methods(n: int) -> str:
    """One module with n methods, each called by the next."""
    body = "".join(f"    def m{i}(self, x):\n        return self.m{max(i - 1, 0)}(x) + self.w\n\n" for i in range(n))
    head = "class M(nn.Module):\n    def __init__(self):\n        self.w = nn.Parameter(torch.ones(3))\n\n"
    return f"{head}{body}    def forward(self, x):\n        return self.m{n - 1}(x)\n"


def callers(n: int) -> str:
    """One helper, called n times."""
    head = "def cos(a, b):\n    return (a * b).sum() / (a.norm() * b.norm() + 1e-8)\n\n\n"
    return head + "".join(f"def f{i}(p, q):\n    return cos(p.grad, q.grad)\n\n" for i in range(n))


def hooked(n: int) -> str:
    """Legacy hooks and losses of logits in functions of their own."""
    return "".join(
        f"def h{i}(m, gi, go):\n    m.g = gi[0]\n\n\ndef f{i}(m, x, y, B):\n    m.register_backward_hook(h{i})\n"
        f"    z = m(x)\n    loss = F.cross_entropy(z, y)\n    e = z - F.one_hot(y, 10)\n    return loss, e @ B\n\n"
        for i in range(n)
    )


SHAPES: dict[str, Callable[[int], str]] = {
    make.__name__: make
    for make in (
        functions,
        elifs,
        entries,
        stored,
        chained,
        targets,
        rebound,
        looped,
        tried,
        attributes,
        classes,
        methods,
        callers,
        hooked,
    )
}


def seconds(text: str, codes: frozenset[str]) -> float:
    """Return the CPU seconds of one lint of ``text``; raises where a rule fails."""
    began = time.process_time()
    result = analyse("generated.py", text.encode(), codes, RoleNames())
    if result.problems:
        raise RuntimeError(result.problems[0])
    return time.process_time() - began


def doublings(shape: str, most: int, codes: frozenset[str]) -> list[tuple[int, float]]:
    """Return n and CPU seconds for each doubling of a shape."""
    found, n = [], _LEAST
    while n <= most:
        found.append((n, seconds(_HEAD + SHAPES[shape](n), codes)))
        n *= 2
    return found


def main() -> None:
    """Print a line for each shape."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scaling", description=__doc__)
    parser.add_argument("shapes", nargs="*", metavar="SHAPE", help=", ".join(SHAPES))
    parser.add_argument("--most", type=int, default=3200)
    parser.add_argument("--select", help="codes, separated by commas; every rule without it")
    options = parser.parse_args()
    codes = frozenset(options.select.split(",")) if options.select else frozenset(registry())
    seconds(_HEAD, codes)  # the imports that a first run makes
    for shape in options.shapes or SHAPES:
        found = doublings(shape, options.most, codes)
        steps = [f"{now / before:.2f}" for (_, before), (_, now) in pairwise(found)]
        print(f"{shape:10} n={found[-1][0]}: {found[-1][1]:7.2f} s, per doubling {' '.join(steps)}", flush=True)


if __name__ == "__main__":
    main()
