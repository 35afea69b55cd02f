"""Positions rendered piece by piece are those of the whole module."""

from __future__ import annotations

import ast
import json
import random
import warnings
from pathlib import Path

import libcst
import pytest

import fa_lint
from fa_lint.positions import Positions
from fa_lint.semantics.facts import extract
from fa_lint.walk import _preorder

_PLACES = [Path(__file__).parent.parent / "fixtures", Path(fa_lint.__file__).parent, Path(json.__file__).parent]
_FILES = [path for place in _PLACES for path in sorted(place.rglob("*.py")) if path.name != "broken.py"]
_ODD = {
    "tabs": "class A:\n\tx = 1\n\n\t@f(\n\t\t1)\n\tdef g(self):\n\t\treturn (1,\n\t\t\t2)\n",
    "one line": "class A: x = 1; y = f(2)\nclass B: pass\n",
    "semicolons": "a = 1; b = f(a); c = (b,\n   a)\nimport os; os.f(1)\n",
    "comments": "# first\n\nx = 1  # one\n\n\n# between\n@f\n# above\ndef g(): pass\n# last\n",
    "carriage returns": "class A:\r\n    def f(self):\r\n        '''a\r\n        b'''\r\n        return (1,\r\n            2)\r\n",
    "old carriage returns": "x = 1\rdef f():\r    return g(\r        1)\r",
    "form feed": "x = 1\n\f\nclass A:\n    \f\n    def f(self): return g(1)\n",
    "not ascii": "é = 'ü'; class_ = f(é)\nclass Ä:\n    ö = g('→', é)\n    def ü(self): return '→', self.ö(é)\n",
    "nested": "class A:\n  class B:\n      class C:\n       def f(self): return g(1)\n       x = g(2)\n  y = g(3)\n",
    "docstring": '"""a\nb"""\nx = """c\n  d""" + f(\n1)\n',
    "continued": "x = 1 + \\\n    f(2)\nif x: y = 3\nelif z:\n    y = f(4)\nelse: y = 5\n",
    "empty": "",
    "blank": "\n\n# nothing\n",
    "no newline": "class A:\n    x = f(1)",
    "star": "try:\n    pass\nexcept* E as e:\n    f(e)\nmatch x:\n    case [1, *y] if f(y):\n        g(y)\n",
}


def _agree(text: str) -> int:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        tree = ast.parse(text)
    module = libcst.parse_module(text)
    nodes, _ = _preorder(module)
    whole = Positions(module, nodes, text, None).all()
    pieces = Positions(module, nodes, text, tree)
    numbers = [number for number, span in enumerate(whole) if span != (0, 0)]
    random.Random(0).shuffle(numbers)
    for number in numbers:
        assert pieces.span(number) == whole[number], (nodes[number], text[slice(*whole[number])])
    return len(numbers)


@pytest.mark.parametrize("name", _ODD)
def test_odd_layouts_have_the_positions_of_the_whole(name: str) -> None:
    text = _ODD[name]
    assert _agree(text) > (3 if "f(" in text else -1)


def test_real_files_have_the_positions_of_the_whole() -> None:
    assert sum(_agree(path.read_text(encoding="utf-8")) for path in _FILES[::5]) > 10_000


def test_a_node_is_found_without_rendering_the_rest() -> None:
    text = "".join(f"class A{i}:\n    def f(self):\n        return g({i})\n" for i in range(50))
    module = libcst.parse_module(text)
    nodes, _ = _preorder(module)
    pieces = Positions(module, nodes, text, ast.parse(text))
    calls = [number for number, node in enumerate(nodes) if isinstance(node, libcst.Call)]
    start, end = pieces.span(calls[30])
    assert text[start:end] == "g(30)"
    assert len(pieces._done) == 1
    assert not pieces._whole


@pytest.mark.parametrize(
    ("at", "kind"), [("g(1)", "Return"), ("class A", "ClassDef"), ("object", "ClassDef"), ("@deco", "ClassDef"), ("z", "ExprStmt")]
)  # fmt: skip
def test_the_statement_around_an_offset(at: str, kind: str) -> None:
    text = "x = 1\nclass A(object):\n    @deco\n    def f(self):\n        return g(1)\nz\n"
    facts = extract(text, tree=ast.parse(text))
    assert type(facts.statement_at(text.index(at))).__name__ == kind
    assert facts.statement_at(text.index("\n")) is None
