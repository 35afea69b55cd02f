"""Fixes: atomic writes, overlaps, idempotence, imports in every position."""

from __future__ import annotations

import os
import stat
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import fa_lint.fixes.edits as fixes
from fa_lint.findings import Applicability, Diagnostic, DiagnosticEdit, DiagnosticFix, Level, Place
from fa_lint.fixes.edits import FixError, apply_edits, fix_data, write_atomically
from fa_lint.project.config import Settings
from fa_lint.project.engine import lint_text
from fa_lint.source.text import Source
from tests.conftest import SAFE, SAFE_FIXED, UNSAFE, UNSAFE_FIXED, Lint, diagnostics_of, found_in, write


def _fixed(code: str | bytes, *, unsafe: bool = False, path: str = "a.py") -> str:
    data = code.encode() if isinstance(code, str) else code
    found = diagnostics_of(data, path)
    once = fix_data(path, data, found, Settings(), unsafe=unsafe)
    again = fix_data(path, once.data, diagnostics_of(once.data, path), Settings(), unsafe=unsafe)
    assert again.data == once.data, "a second run changes nothing"
    return once.data.decode()


# -- writing ------------------------------------------------------------------------------------------------------


def test_the_mode_is_kept_and_links_are_followed(fa_lint: Lint) -> None:
    path = write("real/a.py", UNSAFE)
    path.chmod(0o755)
    os.symlink("real/a.py", "link.py")
    assert fa_lint("link.py", "--fix", "--unsafe-fixes").exit_code == 0
    assert os.path.islink("link.py")
    assert path.read_text() == UNSAFE_FIXED
    assert stat.S_IMODE(path.stat().st_mode) == 0o755
    assert os.listdir("real") == ["a.py"]


@pytest.mark.parametrize("call", ["fsync", "replace", "chmod", "stat"])
@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt(), MemoryError()])
def test_trouble_in_the_middle_leaves_the_old_file(
    call: str, error: BaseException, monkeypatch: pytest.MonkeyPatch
) -> None:
    write("a.py")

    def fail(*_: object, **__: object) -> None:
        raise error

    with monkeypatch.context() as context:
        context.setattr(os, call, fail)
        with pytest.raises(FixError if isinstance(error, OSError) else type(error)):
            write_atomically("a.py", b"x = 1\n")
    assert Path("a.py").read_text() == UNSAFE
    assert os.listdir() == ["a.py"]


def test_a_file_that_is_gone_is_an_error() -> None:
    with pytest.raises(FixError, match=r"^gone\.py: not fixed: No such file or directory$") as caught:
        write_atomically("gone.py", b"")
    assert (caught.value.path, caught.value.reason) == ("gone.py", "No such file or directory")
    assert os.listdir() == []


# -- edits --------------------------------------------------------------------------------------------------------


def _diagnostic(*edits: tuple[int, int, str], row: int = 1) -> Diagnostic:
    located = tuple(DiagnosticEdit(Place(row, s + 1), Place(row, e + 1), content) for s, e, content in edits)
    start, end = Place(row, edits[0][0] + 1), Place(row, edits[0][1] + 1)
    fix = DiagnosticFix(Applicability.SAFE, "fix", located)
    return Diagnostic("a.py", None, start, end, "FAL101", "x", "m", Level.ERROR, fix=fix)


def _applied(text: str, *diagnostics: Diagnostic) -> tuple[str, int]:
    data, applied = apply_edits(Source.read("a.py", text.encode()), diagnostics)
    return data.decode(), applied.total()


@pytest.mark.parametrize(
    ("diagnostics", "expected"),
    [
        ([_diagnostic((0, 1, "A")), _diagnostic((2, 3, "C"))], ("AbCdef", 2)),
        ([_diagnostic((2, 3, "C")), _diagnostic((0, 1, "A"))], ("AbCdef", 2)),
        ([_diagnostic((0, 3, "X")), _diagnostic((2, 5, "Y"))], ("Xdef", 1)),
        ([_diagnostic((0, 6, "X")), _diagnostic((2, 3, "Y"))], ("X", 1)),
        ([_diagnostic((0, 2, "X")), _diagnostic((2, 4, "Y"))], ("XYef", 2)),
        ([_diagnostic((3, 3, "+")), _diagnostic((2, 5, "Y"))], ("abYf", 1)),
        ([_diagnostic((2, 2, "+")), _diagnostic((2, 4, "Y"))], ("ab+Yef", 2)),
        ([_diagnostic((0, 1, "A"), (6, 6, "!")), _diagnostic((2, 3, "C"), (6, 6, "!"))], ("AbCdef!", 2)),
        ([_diagnostic((0, 1, "A"), (6, 6, "!")), _diagnostic((2, 3, "C"), (6, 6, "?"))], ("AbCdef!?", 2)),
        ([_diagnostic((0, 1, "A"), (4, 5, "E")), _diagnostic((2, 3, "C"), (4, 6, "?"))], ("AbcdEf", 1)),
    ],
)
def test_overlaps(diagnostics: list[Diagnostic], expected: tuple[str, int]) -> None:
    assert _applied("abcdef", *diagnostics) == expected


def test_nested_findings_are_fixed_in_rounds() -> None:
    code = "import torch\ny = torch.norm(torch.ones(3, 3).norm(-1, keepdim=True), -1)\n"
    fixed = _fixed(code, unsafe=True)
    assert fixed.count("dim=-1") == 2
    assert found_in(fixed) == []


def test_a_fix_that_would_break_the_file_is_refused(fa_lint: Lint, monkeypatch: pytest.MonkeyPatch) -> None:
    found = diagnostics_of(UNSAFE)[0]
    bad = replace(found, fix=DiagnosticFix(Applicability.SAFE, "no", (DiagnosticEdit(found.start, found.end, "("),)))
    with pytest.raises(FixError, match=r"a\.py: not fixed: the fixed file would not parse \('\(' was never closed\)"):
        fix_data("a.py", UNSAFE.encode(), [bad], Settings(), unsafe=False)
    with pytest.raises(FixError, match="not utf-8"):
        fix_data("a.py", b"\xff", [bad], Settings(), unsafe=False)


def test_a_fix_that_changes_nothing_ends_the_rounds() -> None:
    same = _diagnostic((0, 1, "a"))
    assert fix_data("a.py", b"a = 1\n", [same], Settings(), unsafe=False) == fixes.FixResult(b"a = 1\n", Counter())


def test_rounds_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two rules that undo each other would go on for ever."""
    calls = []

    def lint_text(path: str, data: bytes, settings: Settings) -> Any:
        from fa_lint.project.engine import Report

        calls.append(data)
        return Report([_diagnostic((0, 1, "b" if data.startswith(b"a") else "a"))])

    monkeypatch.setattr(fixes, "lint_text", lint_text)
    result = fix_data("a.py", b"a = 1\n", [_diagnostic((0, 1, "b"))], Settings(), unsafe=False)
    assert result.applied.total() == len(calls) == 20


def test_safe_and_unsafe() -> None:
    assert _fixed(UNSAFE) == UNSAFE
    assert _fixed(UNSAFE, unsafe=True) == UNSAFE_FIXED
    assert _fixed(SAFE) == SAFE_FIXED


# -- imports ------------------------------------------------------------------------------------------------------

_USE = "\n\ndef gamma(p: torch.Tensor, credit):\n    return torch.cosine_similarity(credit, p.grad, dim=0)\n"
_NEW = "from fa_lint_runtime import safe_cosine\n"


@pytest.mark.parametrize(
    ("head", "expected"),
    [
        ("import torch\n", "import torch\n" + _NEW),
        ("import os\nimport torch\n\nx = 1\n", "import os\nimport torch\n" + _NEW + "\nx = 1\n"),
        ('"""Docs."""\nimport torch\n', '"""Docs."""\nimport torch\n' + _NEW),
        ('"""Docs."""\n\nfrom __future__ import annotations\n\nimport torch\n', None),
        ("#!/usr/bin/env python\n# -*- coding: utf-8 -*-\nimport torch\n", None),
        ("from torch import (\n    nn,\n    cuda,\n)\nimport torch\n", None),
        ("import torch  # the one\n", "import torch  # the one\n" + _NEW),
        ("import torch; import os\n", "import torch; import os\n" + _NEW),
        (
            "import torch\nfrom fa_lint_runtime import safe_norm\n",
            "import torch\nfrom fa_lint_runtime import safe_cosine, safe_norm\n",
        ),
        (
            "import torch\nfrom fa_lint_runtime import safe_norm  # x\n",
            "import torch\nfrom fa_lint_runtime import safe_cosine, safe_norm  # x\n",
        ),
        (
            "import torch\nfrom fa_lint_runtime import (\n    safe_norm,\n)\n",
            "import torch\nfrom fa_lint_runtime import (\n    safe_cosine,\n    safe_norm,\n)\n",
        ),
        (
            "import torch\nfrom fa_lint_runtime import safe_cosine\n",
            "import torch\nfrom fa_lint_runtime import safe_cosine\n",
        ),
        ("import torch\nimport fa_lint_runtime\n", "import torch\nimport fa_lint_runtime\n" + _NEW),
        (
            "try:\n    import torch\nexcept ImportError:\n    torch = None\n",
            _NEW + "\ntry:\n    import torch\nexcept ImportError:\n    torch = None\n",
        ),
        ('"""Docs."""\nif True:\n    import torch\n', '"""Docs."""\n' + _NEW + "\nif True:\n    import torch\n"),
        ("# a comment\n\nif True:\n    import torch\n", "# a comment\n\n" + _NEW + "\nif True:\n    import torch\n"),
    ],
)
@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_where_the_import_goes(head: str, expected: str | None, newline: str) -> None:
    fixed = _fixed((head + _USE).replace("\n", newline).encode(), unsafe=True)
    use = _USE.replace("torch.cosine_similarity", "safe_cosine")
    assert fixed == ((head + _NEW if expected is None else expected) + use).replace("\n", newline)
    compile(fixed, "a.py", "exec")


def test_a_star_import_of_the_runtime_is_left_alone() -> None:
    fixed = _fixed("import torch\nfrom fa_lint_runtime import *\n" + _USE, unsafe=True)
    compile(fixed, "a.py", "exec")
    assert "import *, safe_cosine" not in fixed
    assert "return safe_cosine(" in fixed


def test_two_names_join_one_import() -> None:
    angle = (
        "\n\ndef angle(p, credit):\n    return torch.acos(torch.cosine_similarity(credit, p.grad, dim=0, eps=1e-40))\n"
    )
    fixed = _fixed("import torch\nfrom fa_lint_runtime import safe_norm\n" + _USE + angle, unsafe=True)
    compile(fixed, "a.py", "exec")
    assert fixed.count("from fa_lint_runtime import") == 1
    assert found_in(fixed) == [place for place in found_in(fixed) if "FAL901" not in place]


def test_a_file_without_a_last_line_end() -> None:
    assert _fixed(SAFE.rstrip("\n")) == SAFE_FIXED.rstrip("\n")


def test_comments_and_formatting_stay() -> None:
    code = "import torch\ny = torch.ones(3).norm( -1,  # order\n    keepdim = True, # keep\n )  # end\n"
    fixed = _fixed(code, unsafe=True)
    assert fixed == code.replace("-1", "dim=-1")


def test_an_import_on_the_row_of_the_finding_comes_first() -> None:
    code = b"import torch.nn.functional as F; c = F.cosine_similarity(p.grad, q.grad, dim=0)\n"
    settings = Settings()
    fixed = fix_data("a.py", code, lint_text("a.py", code, settings).diagnostics, settings, unsafe=True).data
    assert fixed == (b"from fa_lint_runtime import safe_cosine\nc = safe_cosine(p.grad, q.grad, dim=0)\n")
