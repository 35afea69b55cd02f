"""What a fix does to imports, judged by Ruff: nothing new of its rules F (unused, undefined) and I (sorting)."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from collections import Counter

import pytest

from tests.conftest import diagnostics_of, notebook
from tests.fixes_executed.programs import fixed

USE = "\n\ndef gamma(p, credit):\n    return {}(credit, p.grad, dim=0)\n"
KEEP = "\n\ndef keep(p):\n    return torch.nn.Linear(p, p)\n"
# The head of a file, and what its cosine is called there.
HEADS = [
    ("import torch\n", "torch.cosine_similarity"),
    ("import torch\nimport torch.nn.functional as F\n", "F.cosine_similarity"),
    ("import torch.nn.functional as F\n", "F.cosine_similarity"),
    ("from torch.nn.functional import cosine_similarity\n", "cosine_similarity"),
    ("import torch\nfrom torch.nn import Linear, functional as F\n\nLinear(1, 1)\n", "F.cosine_similarity"),
    ("import torch\nfrom torch.nn import functional as F\n", "F.cosine_similarity"),
    ('"""Docs."""\n\nfrom __future__ import annotations\n\nimport torch\n', "torch.cosine_similarity"),
    (
        '"""Docs."""\n\nfrom __future__ import annotations\n\nimport torch.nn.functional as F\n',
        "F.cosine_similarity",
    ),
    ('"""Docs."""\nfrom __future__ import annotations\n\nimport os\n\nimport torch\n\nos\n', "torch.cosine_similarity"),
    ("import os\nimport sys\n\nimport torch.nn.functional as F\n\nprint(os, sys)\n", "F.cosine_similarity"),
    (
        "import os\nfrom typing import TYPE_CHECKING\n\nimport torch\nimport torch.nn.functional as F\n\n"
        "if TYPE_CHECKING:\n    from collections.abc import Callable\n\nprint(os)\nx: 'Callable'\n",
        "F.cosine_similarity",
    ),
    ("try:\n    import torch\nexcept ImportError:\n    torch = None\n", "torch.cosine_similarity"),
    (
        "import os\n\ntry:\n    import torch.nn.functional as F\nexcept ImportError:\n    F = None\n\nprint(os)\n",
        "F.cosine_similarity",
    ),
    ("import numpy as np\nimport torch\nfrom torch import nn\n\nnp.ones(nn)\n", "torch.cosine_similarity"),
    ("import torch\nfrom einops import rearrange\nfrom torch import nn\n\nrearrange(nn)\n", "torch.cosine_similarity"),
    ("import torch\n\nfrom . import layers\nfrom .models import Net\n\nlayers(Net)\n", "torch.cosine_similarity"),
    ("from . import layers\n\nlayers.x\nimport torch\n", "torch.cosine_similarity"),
    ("import torch  # the one\n", "torch.cosine_similarity"),
    ("import torch\nfrom torch import (\n    cuda,\n    nn,\n)\n\ncuda(nn)\n", "torch.cosine_similarity"),
    ("import torch\nfrom fa_lint_runtime import safe_norm\n\nsafe_norm(1)\n", "torch.cosine_similarity"),
    ("import torch\nfrom fa_lint_runtime import Guard\n\nGuard(1)\n", "torch.cosine_similarity"),
    ("import torch\nfrom fa_lint_runtime import (\n    check_magnitude,\n    safe_unit,\n)\n\ncheck_magnitude(safe_unit)\n",
     "torch.cosine_similarity"),
    ("import torch\nfrom fa_lint_runtime import (\n    check_magnitude,\n)\n\ncheck_magnitude(1)\n", "torch.cosine_similarity"),
    ("#!/usr/bin/env python\n# -*- coding: utf-8 -*-\n\nimport torch.nn.functional as F\n", "F.cosine_similarity"),
    ("import torch.nn.functional as F\n\n__all__ = ['F', 'gamma']\n", "F.cosine_similarity"),
    ("import torch.nn.functional as F\n\n\ndef other(x):\n    return F.relu(x)\n", "F.cosine_similarity"),
    ("import torch.nn.functional as F\n\n\ndef other(x: 'F.x'):\n    return x\n", "F.cosine_similarity"),
    # Aliases, whole modules, and names that other scopes or a docstring have too.
    ("import torch\nimport torch.nn.functional as fun\n", "fun.cosine_similarity"),
    ("import torch.nn.functional\n", "torch.nn.functional.cosine_similarity"),
    ("import torch\nimport torch.nn.functional\n", "torch.nn.functional.cosine_similarity"),
    ("import torch.nn.functional as F, os\n\nos\n", "F.cosine_similarity"),
    ("import torch; import torch.nn.functional as F\n", "F.cosine_similarity"),
    ("import torch.nn.functional as F\n\n\ndef other(F):\n    return F\n", "F.cosine_similarity"),
    ("import torch.nn.functional as F\n\n\ndef other():\n    F = 1\n    return F\n", "F.cosine_similarity"),
    ('import torch.nn.functional as F\n\n\ndef other():\n    """Use F well."""\n', "F.cosine_similarity"),
    ("import torch.nn.functional as F\n\nf = [lambda F=F: F for F in (F,)]\n", "F.cosine_similarity"),
    ("from torch.nn.functional import (\n    cosine_similarity,  # for gamma\n    relu,  # other\n)\n\nrelu(1)\n",
     "cosine_similarity"),
    ("from torch.nn.functional import (\n    celu,  # é\n    cosine_similarity,  # for gamma\n)\n\ncelu(1)\n", "cosine_similarity"),
    # Imports in blocks.
    ("try:\n    import torch.nn.functional as F\nexcept ImportError:\n    pass\n", "F.cosine_similarity"),
    ("import contextlib\n\nwith contextlib.suppress(ImportError):\n    import torch.nn.functional as F\n", "F.cosine_similarity"),
    ("from typing import TYPE_CHECKING\n\nif TYPE_CHECKING:\n    import torch.nn.functional as F\n", "F.cosine_similarity"),
    # What runs before torch is imported runs before the runtime is.
    ("import os\n\nos.environ['OMP_NUM_THREADS'] = '1'\nimport torch\n", "torch.cosine_similarity"),
    ("from .a import b\n\nb()\nimport torch.nn.functional as F\n", "F.cosine_similarity"),
    # Imports of the runtime that cannot take another name as they stand.
    ("import torch\nfrom fa_lint_runtime import *\n", "torch.cosine_similarity"),
    ("import torch\nfrom fa_lint_runtime import safe_norm as norm\n\nnorm(1)\n", "torch.cosine_similarity"),
    ("import torch\nfrom fa_lint_runtime import safe_angle, \\\n    safe_norm\n\nsafe_angle(safe_norm)\n", "torch.cosine_similarity"),
    ("\ufeffimport torch.nn.functional as F\n", "F.cosine_similarity"),
    ("\x0c\nimport torch.nn.functional as F\n", "F.cosine_similarity"),
]  # fmt: skip
# Nothing is imported at the head, or nothing at all.
HEADLESS = ["", '"""Docs."""\n', "# a comment\n\n", "x = 1\n", "from __future__ import annotations\n"]
LOCAL = """import torch


def gamma(p, credit):
    import torch.nn.functional as F

    return F.cosine_similarity(credit, p.grad, dim=0), torch
"""
ANGLES = """import torch


def gamma(p, credit):
    one = torch.cosine_similarity(credit, p.grad, dim=0)
    two = torch.acos(torch.dot(credit, p) / (credit.norm() * p.norm()))
    return one, two, torch
"""
DEAD = """import torch


def gamma(p, q):
    a, b = p.grad, q.grad
    eps = 1e-8
    product = (a * b).sum()
    norms = a.norm() * b.norm() + eps
    return product / norms, torch
"""


def ruff(code: str, name: str = "program.py") -> Counter[tuple[str, str]]:
    """What Ruff says of a file, without places."""
    command = [sys.executable, "-m", "ruff", "check", "--isolated", "--no-cache", "--select", "F,I", "--output-format"]
    done = subprocess.run(
        [*command, "json", "--stdin-filename", name, "-"], input=code, capture_output=True, text=True, check=False
    )
    return Counter((found["code"], found["message"]) for found in json.loads(done.stdout))


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
@pytest.mark.parametrize("kept", ["", KEEP])
@pytest.mark.parametrize(("head", "cosine"), HEADS)
def test_a_fix_leaves_nothing_new_to_say_about_imports(head: str, cosine: str, kept: str, newline: str) -> None:
    code = (head + USE.format(cosine) + (kept if "import torch\n" in head else "")).replace("\n", newline)
    after = fixed(code, select=("FAL201",))
    ast.parse(after.encode())
    assert "return safe_cosine(credit, p.grad, dim=0)" in after
    assert after.count("safe_cosine") == 2
    if "os.environ" in head:
        assert after.index("os.environ") < after.index("fa_lint_runtime")
    assert (newline == "\r\n") is ("\r\n" in after)
    assert ruff(after) - ruff(code) == Counter()
    assert fixed(after, select=("FAL201",)) == after


@pytest.mark.parametrize("head", HEADLESS)
@pytest.mark.parametrize("blank", ["", "\n", "\n\n"])
def test_the_first_import_of_a_file(head: str, blank: str) -> None:
    function = "def gamma(p, credit):\n    import torch\n\n    return torch.cosine_similarity(credit, p.grad, dim=0)\n"
    code = f"{head}{blank}{function}"
    after = fixed(code, select=("FAL201",))
    assert after.count("safe_cosine") == 2
    assert ruff(after) - ruff(code) == Counter()


def test_the_same_module_twice() -> None:
    local = LOCAL.partition("torch\n")[2].replace("gamma", "inner").replace(", torch", "")
    code = f"import torch.nn.functional as F\n{USE.format('F.cosine_similarity')}{local}"
    after = fixed(code, select=("FAL201",))
    assert "functional" not in after
    assert ruff(after) - ruff(code) == Counter()


@pytest.mark.parametrize(
    "head",
    [
        "import torch.nn.functional as F  # noqa: F401\n",
        "import torch.nn.functional as F\n\nprint(globals()['F'])\n",
        "import torch.nn.functional as F\n\n\ndef other():\n    global F\n    F = 1\n",
        "import torch.nn.functional as F\n\nx: 'list[F.x]' = []\n",
        "import torch.nn.functional as F\nimport torch.nn.functional as G  # noqa: F401\n",
    ],
)
def test_an_import_that_may_still_be_used_stays(head: str) -> None:
    after = fixed(head + USE.format("F.cosine_similarity"), select=("FAL201",))
    assert "return safe_cosine(" in after
    assert ("as G" if "as G" in head else "as F") in after
    ast.parse(after)


def test_an_import_of_the_function_that_became_unused() -> None:
    after = fixed(LOCAL, select=("FAL201",))
    assert "functional" not in after
    assert ruff(after) == Counter()


def test_two_names_make_one_sorted_import() -> None:
    after = fixed(ANGLES, select=("FAL201", "FAL204"))
    assert "from fa_lint_runtime import safe_angle, safe_cosine\n" in after
    assert ruff(after) == Counter()


def test_what_only_the_old_formula_needed_goes_as_well() -> None:
    after = fixed(DEAD, select=("FAL203",))
    assert "safe_cosine(a.flatten(), b.flatten(), dim=0)" in after
    assert "eps" not in after
    assert "norms" not in after
    assert ruff(after) == Counter()


def test_an_import_that_only_re_exports_stays() -> None:
    from fa_lint.fixes.edits import fix_data
    from fa_lint.project.config import Settings

    code = "import torch.nn.functional as F\n" + USE.format("F.cosine_similarity")
    found = diagnostics_of(code, "pkg/__init__.py")
    after = fix_data("pkg/__init__.py", code.encode(), found, Settings(), unsafe=True).data.decode()
    assert "import torch.nn.functional as F\n" in after


def test_a_notebook() -> None:
    from fa_lint.fixes.edits import fix_data
    from fa_lint.project.config import Settings

    cells = ["%matplotlib inline\nimport os\n\nimport torch\nimport torch.nn.functional as F", "print(os, torch)"]
    text = json.dumps(notebook(*cells, USE.format("F.cosine_similarity").strip()))
    found = diagnostics_of(text, "n.ipynb")
    after = fix_data("n.ipynb", text.encode(), found, Settings(), unsafe=True).data.decode()
    first = "".join(json.loads(after)["cells"][0]["source"])
    assert first == "%matplotlib inline\nimport os\n\nimport torch\nfrom fa_lint_runtime import safe_cosine\n" or (
        first == "%matplotlib inline\nimport os\n\nimport torch\nfrom fa_lint_runtime import safe_cosine"
    )
    assert ruff(after, "n.ipynb") - ruff(text, "n.ipynb") == Counter()


def test_an_import_that_a_magic_uses_stays() -> None:
    from fa_lint.fixes.edits import fix_data
    from fa_lint.project.config import Settings

    cells = ["import torch.nn.functional as F", "%timeit F.relu(x)", USE.format("F.cosine_similarity").strip()]
    text = json.dumps(notebook(*cells))
    after = fix_data("n.ipynb", text.encode(), diagnostics_of(text, "n.ipynb"), Settings(), unsafe=True).data
    assert b"import torch.nn.functional as F" in after
    assert b"from fa_lint_runtime import safe_cosine" in after
