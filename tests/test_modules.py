"""Which file a dotted name means, and which files run together."""

from __future__ import annotations

import ast

import pytest

from fa_lint.analysis.modules import ClassBases, Modules, classes_of, imports_of


def modules(**files: str) -> Modules:
    """``a="import x"`` is the file ``a.py``."""
    trees = {f"{name}.py": ast.parse(text) for name, text in files.items()}
    imports = {path: imports_of(tree) for path, tree in trees.items()}
    return Modules(imports, {path: classes_of(tree, imports[path]) for path, tree in trees.items()})


def test_imports_of_a_module() -> None:
    tree = ast.parse(
        "import a.b\nimport c as d\nfrom .e import f as g, h\nfrom . import i\nfrom j import *\n"
        "try:\n    import k\nexcept ImportError:\n    from l import m\nif True:\n    import n\ndef o():\n    import p\n"
    )
    assert imports_of(tree) == (
        ("a", "a.b"), ("d", "c"), ("g", ".e.f"), ("h", ".e.h"), ("i", ".i"), ("*", "j"), ("k", "k"), ("m", "l.m"), ("n", "n"),
        ("p", "p"),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        ("main.py", "model.py", True),
        ("model.py", "main.py", True),
        ("model.py", "trainer.py", True),  # through main.py
        ("model.py", "base.py", True),  # through main.py and trainer.py
        ("model.py", "other.py", False),
        ("lonely.py", "model.py", False),
        ("model.py", "model.py", True),
    ],
)
def test_files_that_run_together(one: str, other: str, expected: bool) -> None:
    found = modules(
        main="from model import Net\nfrom trainer import Trainer\n",
        model="import torch\n",
        trainer="from base import Base\n",
        base="import torch\n",
        other="import torch\n",
        lonely="",
    )
    assert found.together(one, other) is expected


def test_a_plain_module_passes_names_on() -> None:
    found = modules(a="def f(): pass", b="from a import f as g", c="from b import g")
    assert ("a.py", "f") in found.meanings("b.g", "c.py")
    assert ("a.py", "f") not in found.meanings("b.f", "c.py")


def test_circles_end() -> None:
    found = modules(a="from b import *\nfrom c import x", b="from a import *", c="from a import x\nimport b")
    assert ("d.py", "x") not in found.meanings("a.x", "c.py")
    assert found.together("a.py", "c.py")
    assert found.reaches("a.py") == {"a.py", "b.py", "c.py"}


def test_methods_have_two_parts() -> None:
    found = modules(a="class A: pass", b="from a import A")
    assert ("a.py", "A.f") in found.meanings("a.A.f", "b.py")
    assert ("a.py", "A.f") not in found.meanings("a.f", "b.py")


def test_a_package_of_the_repository_is_found_by_its_name_unless_one_is_nearer() -> None:
    files = {
        "lib/tiny/__init__.py": "from .core import DFA",
        "lib/tiny/core.py": "class DFA: pass",
        "lib/tiny/inner/__init__.py": "",
        "papers/nlp/train.py": "from tiny import DFA",
        "papers/vision/tiny/__init__.py": "class DFA: pass",
        "papers/vision/train.py": "from tiny import DFA\nimport inner",
    }
    found = Modules({path: imports_of(ast.parse(text)) for path, text in files.items()})
    assert found.files("tiny", "papers/vision/train.py") == ["papers/vision/tiny/__init__.py"]
    assert ("lib/tiny/core.py", "DFA") in found.meanings("tiny.DFA", "lib/other.py")
    # Two packages of one name, neither near: both may be meant.
    assert len(found.files("tiny", "papers/nlp/train.py")) == 2
    assert found.files("inner", "papers/vision/train.py") == []


def test_classes_of_a_module() -> None:
    tree = ast.parse(
        "import torch.nn as nn\nimport a.b\nfrom c import D as E\n"
        "class F(nn.Module, E[int], metaclass=M): pass\nif True:\n    class G(F, a.b.H, make()): pass\n"
    )
    assert classes_of(tree, imports_of(tree)) == (
        ClassBases("F", ("torch.nn.Module", "c.D")),
        ClassBases("G", ("F", "a.b.H")),
    )


@pytest.mark.parametrize(
    ("base", "expected"), [("b.Layer", True), ("c.Layer", True), ("c.Other", False), ("c.Knot", False)]
)
def test_bases_are_followed_through_files(base: str, expected: bool) -> None:
    found = modules(
        a="import base",
        b="from torch import nn\nclass Root(nn.Module): pass\nclass Layer(Root): pass\nclass Other: pass",
        c="from b import *\nfrom d import Knot",
        d="from c import Knot as Above\nclass Knot(Above): pass",
    )
    assert found.descends(base, "a.py", lambda name: name == "torch.nn.Module") is expected
