"""FAL603: which hook is registered, and what it does with ``grad_input``."""

from __future__ import annotations

import warnings

import pytest

from tests.rules.shapes import found, rows

HOOKED = [
    ("def f(m):\n    def h(m, gi, go): return go[0]\n    m.register_backward_hook(h)", [3]),
    ("def f(m):\n    def h(m, gi, go): return None\n    m.register_backward_hook(h)", []),
    ("def f(m):\n    def h(m, gi, go): return\n    m.register_backward_hook(h)", []),
    ("def f(m, s):\n    m.register_backward_hook(lambda m, gi, go: s.append(gi))", [2]),
    ("def f(m, s):\n    h = lambda m, gi, go: s.append(gi)\n    m.register_backward_hook(h)", [3]),
    ("def f(m, s):\n    def h(m, gi, go): s.append(len(go))\n    m.register_backward_hook(h)", []),
    ("def f(m, s):\n    def h(m, gi, go):\n        del gi\n        s.append(go)\n    m.register_backward_hook(h)", []),
    (
        "def make(s):\n    def h(m, gi, go): s.append(gi[1])\n    return h\ndef f(m, s): m.register_backward_hook(make(s))",
        [4],
    ),
    (
        "class A:\n    def h(self, m, gi, go): self.g = gi\nclass B(A):\n    def f(self, m): m.register_backward_hook(self.h)",
        [4],
    ),
    ("class A:\n    @staticmethod\n    def h(m, gi, go): return gi\ndef f(m): m.register_backward_hook(A.h)", [4]),
    (
        "class A:\n    def h(self, m, gi, go): self.g = gi\ndef f(m):\n    a = A()\n    m.register_backward_hook(a.h)",
        [5],
    ),
    (
        "from functools import partial\ndef h(m, gi, go, name): print(gi[0], name)\n"
        "def f(m): m.register_backward_hook(partial(h, name=1))",
        [3],
    ),
    (
        "from functools import partial\ndef h(gi, m, inward, go): print(gi, go)\n"
        "def f(m): m.register_backward_hook(partial(h, 0))",
        [],
    ),
    (
        "from functools import partial\ndef h(name, m, inward, go): print(name, inward)\n"
        "def f(m): m.register_backward_hook(partial(h, 0))",
        [3],
    ),
    ("def f(m, hook): m.register_backward_hook(hook)", []),
    ("def h(*args): return args[1]\ndef f(m): m.register_backward_hook(h)", []),
    ("import torch\ndef h(m, gi, go): print(gi)\ndef f(m): m.register_full_backward_hook(h)", []),
]


@pytest.mark.parametrize(("code", "expected"), HOOKED)
def test_hooks(code: str, expected: list[int]) -> None:
    assert rows("FAL603", code) == expected


def test_the_finding_shows_where_grad_input_is_used() -> None:
    (finding,) = found(
        "FAL603", "def h(m, gi, go):\n    a = gi[1]\n    return gi\ndef f(m): m.register_backward_hook(h)"
    )
    assert [(r.start.row, r.message) for r in finding.related] == [
        (2, "`gi` is read here"),
        (3, "`gi` is read here"),
        (3, "returned in place of `grad_input`"),
    ]


@pytest.mark.parametrize(
    ("body", "fixable"),
    [("s.append(gi[0])", True), ("s.append(gi[1])", False), ("s.append(gi)", False), ("return gi[0]", False)],
)
def test_only_reads_of_the_first_entry_are_fixed(body: str, fixable: bool) -> None:
    (finding,) = found(
        "FAL603", f"def f(m, s):\n    def h(m, gi, go):\n        {body}\n    m.register_backward_hook(h)"
    )
    assert (finding.fix is not None) is fixable


def test_positions_are_what_the_page_says() -> None:
    torch = pytest.importorskip("torch")
    for layer, shape, expected in (
        (torch.nn.Linear(3, 4), (2, 3), [(4,), (2, 3), (3, 4)]),
        (torch.nn.Linear(3, 4, bias=False), (2, 3), [(2, 3), (3, 4)]),
        (torch.nn.Linear(3, 4), (5, 2, 3), [(10, 4)]),
    ):
        seen: list[list[tuple[int, ...]]] = []
        layer.register_backward_hook(
            lambda m, gi, go, seen=seen: seen.append([tuple(g.shape) for g in gi])
        )  # fa-lint: ignore[FAL603] its positions are the test
        with warnings.catch_warnings():
            # torch warns of some of these hooks, and stays silent about others.
            warnings.simplefilter("ignore")
            layer(torch.randn(*shape, requires_grad=True)).sum().backward()
        assert seen == [expected]
