"""The lowering of the interpreter's tree is the lowering of libcst's: the same constructs, in the same order."""

from __future__ import annotations

import ast
import contextlib
import json
import warnings
from dataclasses import fields
from pathlib import Path

import libcst
import pytest

import fa_lint
from fa_lint.analysis import analyse
from fa_lint.config import Settings
from fa_lint.parsing import quick_facts, says_nothing
from fa_lint.quick import NoLayout, QuickLowered, quick_lower
from fa_lint.semantics import ir
from fa_lint.semantics.facts import ModuleFacts
from fa_lint.semantics.roles import RoleNames
from fa_lint.source import Source
from fa_lint.walk import Lowered, lower

_ROOT = Path(__file__).parent.parent
_PLACES = [_ROOT / "fixtures", Path(fa_lint.__file__).parent, _ROOT / "tests", Path(json.__file__).parent]
_FILES = [path for place in _PLACES for path in sorted(place.rglob("*.py")) if path.name != "broken.py"]

_Row = tuple[str, str, str]


def _rows(lowered: Lowered | QuickLowered) -> list[_Row]:
    """Every node by number: its class, what it holds besides nodes, the class around it.

    How the texts of an f-string are cut into pieces is left out: the interpreter joins them.
    """
    nodes = {node.nid: node for node in ir.walk(lowered.module.body) if node.nid}
    rows = []
    for number in sorted(nodes):
        node = nodes[number]
        above = lowered.parents[number]
        if isinstance(node, ir.Opaque | ir.FString):
            continue
        if isinstance(node, ir.Const) and isinstance(nodes.get(above), ir.Opaque | ir.FString):
            continue
        while above > 0 and isinstance(nodes.get(above, node), ir.Opaque | ir.FString):
            above = lowered.parents[above]
        parts = [getattr(node, field.name) for field in fields(node) if field.name != "nid"]
        held = [p for p in parts if not any(isinstance(q, ir.Node) for q in (p if isinstance(p, list) else [p]))]
        rows.append((type(node).__name__, repr(held), type(nodes[above]).__name__ if above > 0 else ""))
    return rows


def _agree(text: str) -> int:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        tree = ast.parse(text)
    quick, whole = _rows(quick_lower(tree, text)), _rows(lower(libcst.parse_module(text), text))
    assert quick == whole
    return len(quick)


@pytest.mark.parametrize(
    "code",
    [
        "f(a, *b, c=1, *d, **e)",
        "class A(B, *C, metaclass=D, **E): pass",
        "x[a, b], x[(a, b)], x[(a), b], x[(a), (b)], x[((a), b)], x[()], x[a,], x[(a,)], x[a:b, ::c], x[f(a)[0], (b)]",
        "x[*a], x[*a, (b)], x[(*a, b)], x[(a), *b], x[(é), b], x['ü', (é, b)], x[(\na), b], x[(\n  a,\n  b)]",
        "a or b or (c or d) and not e",
        "a < b <= c is not d not in e",
        "def f(a, b=1, /, c=2, *d, e, g=3, **h) -> i: return lambda j, *k, m=4: j",
        "@d(1)\n@e\nasync def f():\n    async with a as b, c:\n        async for x in y: await z\n        else: yield x\n    return [x async for x in y]",
        "if a: b\nelif c: d\nelse:\n    if e: f\n    else: g",
        "try:\n    a\nexcept B as c: d\nexcept: e\nelse: f\nfinally: g",
        "del a, b[0]\ndel c\nglobal d, e\nraise A from b\nassert a, b\nimport a.b as c, d\nfrom ..e import f as g\nfrom . import h\nfrom k import *",
        "x: int = 1\ny: str\nz += 1\na = b = c, *d = e",
        "{**a, 'b': c, d: 1_000}, {1, *e}, [*f], 0x1F, 1e-3, 2j, -1, ..., None, True, b'x' b'y', 'a' 'b'",
        "f'{a!r:>{b}} c {d:.3f}' 'e' f'{f}'",
        "(y := f(x)), {k: v for k, v in a if b if c for d in e}, (g for g in h), {i for i in j}",
        "while a: break\nelse: pass\nfor i, (j, k) in l: continue",
        "with (a as b, c as (d, e)): pass\nx = yield\ny = yield from z",
    ],
)
def test_constructs(code: str) -> None:
    assert _agree(code) > 3


def test_real_files() -> None:
    seen = 0
    for path in _FILES:
        with contextlib.suppress(NoLayout):
            seen += _agree(path.read_text(encoding="utf-8"))
    assert seen > 100_000


@pytest.mark.parametrize("code", ["match x:\n    case [1, *y]: pass"])
def test_what_only_libcst_tells_apart_is_left_to_it(code: str) -> None:
    with pytest.raises(NoLayout):
        quick_lower(ast.parse(code), code)


def _quick(code: str) -> ModuleFacts | None:
    source = Source.read("a.py", code.encode())
    return quick_facts(source, ast.parse(code), RoleNames())


def test_text_and_spans() -> None:
    facts = _quick("x = 1\ndef f(a):\n    return g(a + 1,\n        2)\n")
    assert facts is not None
    (call,) = facts.calls
    assert facts.source(call) == "g(a + 1,\n        2)"
    assert facts.source(call.args[0].value) == "a + 1"
    with pytest.raises(NoLayout):
        facts.span(call.args[0])
    formatted = _quick("x = f'{g(1):>3}'\n")
    assert formatted is not None
    with pytest.raises(NoLayout):
        formatted.span(formatted.calls[0])
    accented = _quick("\ré = g('ü→', 1) + 2\r\n")
    assert accented is not None
    assert accented.source(accented.calls[0]) == "g('ü→', 1)"


def test_what_cannot_be_said_counts_as_something() -> None:
    facts = _quick("x = g(1)\n")
    assert facts is not None
    assert says_nothing([lambda facts: []], facts)
    assert not says_nothing([lambda facts: [], lambda facts: [1]], facts)
    assert not says_nothing([lambda facts: [facts.span(facts.calls[0].args[0])]], facts)
    assert not says_nothing([lambda facts: [1 // 0]], facts)
    assert not says_nothing([lambda facts: []], None)
    assert _quick("match x:\n    case 1: pass\n") is None


def test_only_a_file_with_a_finding_is_parsed_for_its_layout(monkeypatch: pytest.MonkeyPatch) -> None:
    parsed: list[str] = []
    really = libcst.parse_module
    monkeypatch.setattr(libcst, "parse_module", lambda text: parsed.append(text) or really(text))
    codes = Settings(select=("FAL101",)).codes
    clean = b"import torch\ndef f(x, p): return x.norm(p, -1)\n"
    assert analyse("a.py", clean, codes, RoleNames()).diagnostics == []
    assert parsed == []
    broken = b"import torch\ndef f(x): return torch.ones(3).norm(-1)\n"
    assert [d.code for d in analyse("a.py", broken, codes, RoleNames()).diagnostics] == ["FAL101"]
    assert len(parsed) == 1
