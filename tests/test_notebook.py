"""Notebooks: cell and line in every format, magics, broken cells, and fixes that leave every other byte alone."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nbformat
import pytest

from fa_lint.source.notebook import Notebook
from tests.conftest import (
    CLAMPED,
    CLAMPED_FIXED,
    UNSAFE,
    UNSAFE_FIXED,
    Lint,
    code_cell,
    diagnostics_of,
    found_in,
    notebook,
    write,
)

Codes = Callable[..., list[str]]
_MARKDOWN = {"cell_type": "markdown", "metadata": {}, "source": ["# x.norm(-1)"]}


def _places(*cells: Any, **options: Any) -> list[str]:
    """``["2 4:16 FAL101"]`` (cell, row, column) for the cells of a notebook."""
    data = json.dumps(notebook(*cells, **options))
    return [f"{d.cell} {d.start.row}:{d.start.column} {d.code}" for d in diagnostics_of(data, "n.ipynb")]


def _lines(text: str) -> list[str]:
    return text.splitlines(keepends=True)


# -- places -------------------------------------------------------------------------------------------------------


def test_cells_count_as_jupyter_shows_them() -> None:
    assert _places(_MARKDOWN, "x = 1", UNSAFE, _lines(UNSAFE)) == ["3 4:16 FAL101", "4 4:16 FAL101"]


def test_names_live_on_in_later_cells() -> None:
    assert _places("import torch as t", "a = t.ones(3)", "a.norm(-1)") == ["3 1:1 FAL101"]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("full", "n.ipynb:cell 2:4:16 FAL101 error"),
        ("concise", "n.ipynb:cell 2:4:16: FAL101"),
        ("json", '"cell": 2'),
        ("jsonl", '"cell": 2'),
        ("sarif", '"name": "cell 2"'),
        ("github", "::n.ipynb (cell 2):4:16: FAL101"),
        ("gitlab", '"begin": 1'),
        ("junit", 'name="FAL101 cell 2 4:16"'),
    ],
)
def test_cell_and_line_in_every_format(fa_lint: Lint, name: str, expected: str) -> None:
    write("n.ipynb", json.dumps(notebook(_MARKDOWN, UNSAFE)))
    result = fa_lint("n.ipynb", "--output-format", name)
    assert result.exit_code == 1
    assert expected in result.stdout


def test_the_frame_shows_the_cell_alone_and_magics_as_written(fa_lint: Lint) -> None:
    write(
        "n.ipynb",
        json.dumps(notebook("import torch\nsecret = 1", "%time y = 1\ntorch.ones(3).norm(-1)\n", "after = 1")),
    )
    text = fa_lint("n.ipynb").stdout
    assert "  1 | %time y = 1\n  2 | torch.ones(3).norm(-1)\n" in text
    assert "secret" not in text
    assert "after" not in text


def test_edits_name_their_cell(fa_lint: Lint) -> None:
    write("n.ipynb", json.dumps(notebook("import torch.nn.functional as F", CLAMPED.split("\n\n")[1])))
    [found] = json.loads(fa_lint("n.ipynb", "--output-format", "json").stdout)
    assert found["cell"] == 2
    assert found["noqa_row"] == 2
    assert [(edit["cell"], edit["location"]["row"]) for edit in found["fix"]["edits"]] == [(1, 1), (2, 2)]


# -- magics -------------------------------------------------------------------------------------------------------

_TAIL = "\nimport torch\nz = torch.ones(3).norm(-1)\n"


@pytest.mark.parametrize(
    "magic",
    [
        "%matplotlib inline",
        "%load_ext autoreload\n%autoreload 2",
        "!pip install torch",
        "!ls 'unbalanced ( [",
        "files = !ls *.py",
        "a, b = !echo 'x'",
        "out = %timeit -o f()",
        "torch.norm?",
        "torch.norm??",
        "?torch.norm",
        "%timeit?",
        "x = torch.ones?",
        "if True:\n    %time f()\n    !ls",
        "!echo a \\\n  b ( \\\n  c",
        "%%time",
        "%%timeit -n 3",
        "%%capture out",
        "    ",
        "x = '''\n%not a magic\n'''",
        "x = ('%d'\n     % 3)",
        "x = 5 \\\n  % 3",
        "f(\n  a,  # really?\n  b)",
        "x = 1  # is this (so?",
        "'''see #5'''\n%time",
        "'it\\'s ('\n%time",
        'x = """don\'t """\n%time',
        "x = [\n  '?',\n  1 # ?\n]\n%time",
        "x = '\u2028%s'",
        "def f():\n    x = 1\n  # odd indent?\n    return x",
    ],
)
def test_magics_are_tolerated(magic: str) -> None:
    rows = magic.count("\n") + 3
    assert _places(magic + _TAIL) == [f"1 {rows}:5 FAL101"]
    assert _places("y = 1", magic + _TAIL) == [f"2 {rows}:5 FAL101"]


@pytest.mark.parametrize("magic", ["%%bash", "%%writefile a.py", "%%html", "%%script python2", "%%javascript"])
def test_cells_of_other_languages_are_passed_over(magic: str) -> None:
    assert _places(magic + "\nfor x in ($y; do" + _TAIL, UNSAFE) == ["2 4:16 FAL101"]


def test_code_after_a_question_in_a_comment_is_still_code() -> None:
    assert _places("import torch\ny = torch.ones(3).norm(-1)  # right?") == ["1 2:5 FAL101"]
    assert _places("import torch\ny = torch.ones(3).norm(-1)  # fa-lint: ignore[FAL101] why?") == []


@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"])
def test_blanked_text_keeps_every_offset(newline: str) -> None:
    code = newline.join(["%time x", "a = !ls", "if a:", "    %time f()", "!a \\", "  b", "x?", "y = 1"])
    read = Notebook.read(json.dumps(notebook(code)).encode())
    assert read.original == code + "\n"
    assert len(read.text) == len(code) + 1
    assert [line.rstrip() for line in read.text.split(newline)][:8] == [
        "0", "a = 0", "if a:", "    0", "0", "", "0", "y = 1",
    ]  # fmt: skip


# -- broken and odd notebooks -------------------------------------------------------------------------------------


def test_a_broken_cell_does_not_stop_the_others() -> None:
    assert _places("x = (", UNSAFE, "def f(:\n  pass", "y = 1") == ["1 1:5 FAL900", "2 4:16 FAL101", "3 1:7 FAL900"]


def test_a_suppression_in_a_broken_cell_is_not_called_unused() -> None:
    assert _places("x = (  # noqa: FAL101", "y = 1  # noqa: FAL101") == ["1 1:5 FAL900"]


@pytest.mark.parametrize(
    ("data", "row", "reason"),
    [
        ("", 1, "not a notebook: Expecting value"),
        ("{\n\n", 3, "not a notebook: Expecting"),
        ("[]", 1, "no list of cells"),
        ("{}", 1, "no list of cells"),
        ('{"worksheets": [{"cells": []}], "nbformat": 3}', 1, "not a notebook of format 4"),
        ('{"cells": {}}', 1, "no list of cells"),
        ('{"cells": [{"cell_type": "code", "source": 3}]}', 1, "cell 1: its source is neither"),
        ('{"cells": [{"cell_type": "code", "source": ["a", 3]}]}', 1, "cell 1: its source is neither"),
        ('{"cells": [{"cell_type": "code", "source": "x = \'\\ud800\'"}]}', 1, "cell 1: half of a surrogate pair"),
        ('{"cells": [' + "[" * 300 + "]" * 300 + "]}", 1, "nested too deeply"),
        ("[" * 100_000, 1, "nested too deeply"),
        (b'{\n"cells": "\xff"}', 2, "not utf-8: invalid start byte"),
    ],
)
def test_what_is_no_notebook_is_one_finding(data: str | bytes, row: int, reason: str) -> None:
    [found] = diagnostics_of(data, "n.ipynb")
    assert (found.code, found.start.row) == ("FAL900", row)
    assert reason in found.message


@pytest.mark.parametrize(
    "document",
    [
        {"cells": []},
        {"cells": [], "metadata": None},
        {"cells": [None, 3, "x", {}, {"cell_type": "code"}, {"cell_type": "raw", "source": "("}]},
        notebook("", []),
        notebook("x <- (", metadata={"language_info": {"name": "R"}}),
        notebook("x <- (", metadata={"kernelspec": {"language": "R", "name": "ir"}}),
    ],
)
def test_nothing_to_lint(document: dict[str, Any]) -> None:
    assert found_in(json.dumps(document), "n.ipynb") == []


@pytest.mark.parametrize(
    "metadata",
    [
        {},
        {"language_info": None},
        {"language_info": {"name": "Python"}},
        {"kernelspec": {"language": "python"}},
        {"language_info": []},
    ],
)
def test_python_is_what_a_notebook_is_by_default(metadata: dict[str, Any]) -> None:
    assert _places(UNSAFE, metadata=metadata) == ["1 4:16 FAL101"]
    document = notebook(UNSAFE)
    document["metadata"] = None
    assert found_in(json.dumps(document), "n.ipynb") == ["4:16 FAL101"]


# -- fixes --------------------------------------------------------------------------------------------------------


def _fixed(data: str | bytes, fa_lint: Lint) -> str:
    path = write("n.ipynb", data)
    result = fa_lint("n.ipynb", "--fix", "--unsafe-fixes", "--no-cache")
    assert result.exit_code == 0, result.output
    return path.read_bytes().decode()


def test_only_the_touched_cell_changes(fa_lint: Lint) -> None:
    """Indentation, unicode, escapes, number formats, key order and outputs stay as they are."""
    text = json.dumps(
        notebook(_MARKDOWN, ["é = '\\u00e9'\n", "x = 1"], _lines(UNSAFE), "y = 2"), indent=3, ensure_ascii=False
    )
    text = text.replace('"metadata": {}', '"metadata" :{ "a": 1.0e3, "b": "\\u00e9\\/" }', 1) + "\n\n"
    nbformat.validate(json.loads(text))
    new = _fixed(text, fa_lint)
    assert new == text.replace("x.norm(-1,", "x.norm(dim=-1,")
    nbformat.validate(json.loads(new))


@pytest.mark.parametrize("indent", [None, 1, 2, 4, "\t"])
@pytest.mark.parametrize("as_list", [True, False])
@pytest.mark.parametrize("end", ["", "\n"])
def test_layouts(fa_lint: Lint, indent: int | str | None, as_list: bool, end: str) -> None:
    code = UNSAFE.removesuffix("\n")
    document = notebook("x = 1", _lines(code) if as_list else code, metadata={"title": "日本"})
    text = json.dumps(document, indent=indent) + end
    new = _fixed(text, fa_lint)
    assert new == text.replace("x.norm(-1,", "x.norm(dim=-1,")


def test_compact_crlf_and_bom(fa_lint: Lint) -> None:
    text = "\ufeff" + json.dumps(notebook(_lines(UNSAFE)), indent=1).replace("\n", "\r\n")
    assert _fixed(text, fa_lint) == text.replace("x.norm(-1,", "x.norm(dim=-1,")


def test_an_import_goes_where_the_imports_are(fa_lint: Lint) -> None:
    head, body = CLAMPED.split("\n\n")
    new = json.loads(_fixed(json.dumps(notebook(["%matplotlib inline"], [head], _lines(body)), indent=1), fa_lint))
    assert [cell["source"] for cell in new["cells"][1:]] == [
        ["from fa_lint_runtime import safe_cosine"],
        _lines(CLAMPED_FIXED.split("\n\n")[1]),
    ]


def test_an_import_never_comes_before_a_cell_magic(fa_lint: Lint) -> None:
    new = json.loads(_fixed(json.dumps(notebook("%%time\nx = 1\n" + CLAMPED)), fa_lint))
    assert new["cells"][0]["source"].startswith("%%time\nx = 1\nfrom fa_lint_runtime import safe_cosine\n")


def test_magics_survive_a_fix(fa_lint: Lint) -> None:
    code = "%matplotlib inline\n!pip install 'x'\n" + UNSAFE + "files = !ls\nx?"
    new = json.loads(_fixed(json.dumps(notebook(code)), fa_lint))
    assert new["cells"][0]["source"] == code.replace("(-1,", "(dim=-1,")


def test_fixes_are_idempotent_and_other_cells_may_be_broken(fa_lint: Lint) -> None:
    path = write("n.ipynb", json.dumps(notebook("x = (", UNSAFE, CLAMPED)))
    assert fa_lint("n.ipynb", "--fix", "--unsafe-fixes").exit_code == 1
    first = path.read_bytes()
    sources = [cell["source"] for cell in json.loads(first)["cells"]]
    assert sources[0] == "x = ("
    assert sources[1].endswith(UNSAFE_FIXED.split("\n\n")[1])
    assert "safe_cosine(credit" in sources[2]
    fa_lint("n.ipynb", "--fix", "--unsafe-fixes")
    assert path.read_bytes() == first


def test_a_suppression_at_the_end_of_a_cell_is_dropped_alone(fa_lint: Lint) -> None:
    new = json.loads(_fixed(json.dumps(notebook(["x = 1\n", "# noqa: FAL101"], "y = 1")), fa_lint))
    assert [cell["source"] for cell in new["cells"]] == [["x = 1\n"], "y = 1"]


def test_a_file_of_that_name_only(codes: Codes) -> None:
    write("n.ipynb.py", UNSAFE)
    Path("m.ipynb").write_text(json.dumps({"cells": [code_cell(UNSAFE)]}))
    assert codes(".") == ["m.ipynb:cell 1:4:16 FAL101", "n.ipynb.py:4:16 FAL101"]
