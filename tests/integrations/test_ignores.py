"""``--add-ignore``: after it nothing is found, the program is the same, and the rest of the file is byte for byte."""

from __future__ import annotations

import ast
import json
from collections.abc import Callable
from pathlib import Path

import nbformat
import pytest

from tests.conftest import CLAMPED, MIXED, UNSAFE, Lint, notebook, write

Codes = Callable[..., list[str]]

_NORM = "torch.ones(3).norm(-1)"


def _ignored(fa_lint: Lint, text: str, *arguments: str, path: str = "a.py") -> str:
    """The file after ``--add-ignore``; nothing may be left to find in it."""
    write(path, text)
    result = fa_lint(path, *(arguments or ("--add-ignore",)))
    assert result.exit_code == 0, result.output
    assert result.stdout == "No findings in 1 file.\n"
    return Path(path).read_bytes().decode()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (f"n = {_NORM}\n", f"n = {_NORM}  # fa-lint: ignore[FAL101]\n"),
        (f"n = {_NORM}", f"n = {_NORM}  # fa-lint: ignore[FAL101]"),
        (f"n = {_NORM}   \n", f"n = {_NORM}  # fa-lint: ignore[FAL101]   \n"),
        (f"n = {_NORM}  # why\n", f"n = {_NORM}  # why  # fa-lint: ignore[FAL101]\n"),
        (f"n = {_NORM}\r\nx = 1\r\n", f"n = {_NORM}  # fa-lint: ignore[FAL101]\r\nx = 1\r\n"),
        # The last line of the statement, also where that is far from the finding.
        (f"n = (\n    {_NORM}\n    + 1\n)\n", f"n = (\n    {_NORM}\n    + 1\n)  # fa-lint: ignore[FAL101]\n"),
        (f"n = {_NORM} + \\\n    1\n", f"n = {_NORM} + \\\n    1  # fa-lint: ignore[FAL101]\n"),
        (f"if {_NORM}:\n    x = 1\n", f"if {_NORM}:  # fa-lint: ignore[FAL101]\n    x = 1\n"),
        (f'n = {_NORM}, """\n# """\n', f'n = {_NORM}, """\n# """  # fa-lint: ignore[FAL101]\n'),
        # The line ends inside a string of the next statement: a line above can take it.
        (
            f'n = (\n    {_NORM}\n); s = """\n"""\n',
            f'n = (\n    {_NORM}  # fa-lint: ignore[FAL101]\n); s = """\n"""\n',
        ),
        # One comment for all that stands on a line, and a comment that is there already is joined.
        (f"a = {_NORM}; b = {_NORM}\n", f"a = {_NORM}; b = {_NORM}  # fa-lint: ignore[FAL101]\n"),
        (
            f"a = {_NORM}  # fa-lint: ignore[FAL202] because\n",
            f"a = {_NORM}  # fa-lint: ignore[FAL202, FAL101] because\n",
        ),
    ],
)
def test_the_right_place(fa_lint: Lint, text: str, expected: str) -> None:
    # FAL901 would tell of the suppression of another rule, which some of these have.
    write("fa-lint.toml", 'ignore = ["FAL901"]\n')
    assert _ignored(fa_lint, "import torch\n" + text) == "import torch\n" + expected


def test_a_reason(fa_lint: Lint) -> None:
    new = _ignored(fa_lint, MIXED, "--add-ignore=orders are meant, see #12")
    assert new.count("  # fa-lint: ignore[FAL101] orders are meant, see #12\n") == 1
    assert new.count("  # fa-lint: ignore[FAL103] orders are meant, see #12\n") == 1
    assert ast.dump(ast.parse(new)) == ast.dump(ast.parse(MIXED))


def test_a_path_behind_the_flag_is_no_reason(fa_lint: Lint) -> None:
    write("a.py")
    result = fa_lint("--add-ignore", "a.py")
    assert (result.exit_code, result.stderr) == (0, "Silenced 1 finding in 1 file: FAL101 negative-norm-order.\n")
    assert Path("a.py").read_text().endswith("  # fa-lint: ignore[FAL101]\n")


def test_twice_changes_nothing(fa_lint: Lint) -> None:
    once = _ignored(fa_lint, MIXED)
    assert _ignored(fa_lint, once) == once


def test_an_fstring_over_lines(fa_lint: Lint) -> None:
    text = f'import torch\ns = f"""\n{{{_NORM}}}\n"""\n'
    new = _ignored(fa_lint, text)
    assert new == text.replace('\n"""\n', '\n"""  # fa-lint: ignore[FAL101]\n')


def test_no_line_can_take_it(fa_lint: Lint) -> None:
    text = f'import torch\nn = {_NORM}; s = """\n"""\n'
    write("a.py", text)
    result = fa_lint("a.py", "--add-ignore", "--output-format", "concise")
    assert result.exit_code == 1
    assert result.stdout.startswith("a.py:2:5: FAL101")
    assert Path("a.py").read_text() == text


def test_notebooks_in_the_right_cell(fa_lint: Lint) -> None:
    cells = ["import torch", f"%matplotlib inline\n{_NORM}", f"{_NORM};", ["x = (\n", f"  {_NORM}\n", ")"], "x = ("]
    document = notebook(*cells, metadata={"kernelspec": {"name": "python3", "display_name": "é"}})
    write("n.ipynb", json.dumps(document, indent=1))
    result = fa_lint("n.ipynb", "--add-ignore", "--ignore", "FAL900")
    assert (result.exit_code, result.stderr) == (0, "Silenced 3 findings in 1 file: FAL101 negative-norm-order (3).\n")
    new = nbformat.read("n.ipynb", as_version=4)
    assert [cell.source for cell in new.cells] == [
        "import torch",
        f"%matplotlib inline\n{_NORM}  # fa-lint: ignore[FAL101]",
        f"{_NORM};  # fa-lint: ignore[FAL101]",
        f"x = (\n  {_NORM}\n)  # fa-lint: ignore[FAL101]",
        "x = (",
    ]
    for cell in document["cells"]:
        cell["source"] = ""
    for cell in new.cells:
        cell.source = ""
    assert json.loads(nbformat.writes(new))["metadata"] == document["metadata"]


def test_across_files(fa_lint: Lint, codes: Codes) -> None:
    write("helper.py", "def cosine(a, b, eps=1e-8):\n    return (a @ b) / (a.norm() * b.norm() + eps)\n")
    write("caller.py", "from helper import cosine\ndef f(p, q):\n    return cosine(p.grad, q.grad)\n")
    assert fa_lint(".", "--add-ignore").exit_code == 0
    assert "# fa-lint: ignore[FAL203]" in Path("caller.py").read_text()
    assert "ignore" not in Path("helper.py").read_text()
    assert codes(".") == []
    write("new.py", Path("caller.py").read_text().partition("  #")[0] + "\n")
    assert codes(".") == ["helper.py:2:12 FAL203", "new.py:3:12 FAL203"]


def test_only_what_is_shown_is_silenced(fa_lint: Lint, codes: Codes) -> None:
    write("a.py", MIXED)
    fa_lint("a.py", "--add-ignore", "--select", "FAL103")
    assert codes("a.py") == ["a.py:4:16 FAL101"]


def test_standard_input(fa_lint: Lint) -> None:
    result = fa_lint("-", "--add-ignore", stdin=CLAMPED.encode())
    assert result.exit_code == 0
    assert result.stdout == CLAMPED.replace("dim=0)\n", "dim=0)  # fa-lint: ignore[FAL201]\n")


@pytest.mark.parametrize("data", [b"# coding: latin-1\ns = '\xe9'\n", "\ufeffs = 'é'\n".encode()])
def test_encodings_are_kept(fa_lint: Lint, data: bytes) -> None:
    write("a.py", data + UNSAFE.encode())
    assert fa_lint("a.py", "--add-ignore").exit_code == 0
    assert Path("a.py").read_bytes().startswith(data)


def test_a_reason_that_the_file_cannot_hold(fa_lint: Lint) -> None:
    data = b"# coding: latin-1\n" + UNSAFE.encode()
    write("a.py", data)
    result = fa_lint("a.py", "--add-ignore=\N{GREEK SMALL LETTER GAMMA}")
    assert result.exit_code == 2
    assert "a.py: not fixed: latin-1 cannot hold the reason" in result.stderr.replace("iso-8859-1", "latin-1")
    assert Path("a.py").read_bytes() == data


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--add-ignore", "--fix"], "--add-ignore cannot be combined with --fix"),
        (["--add-ignore", "--diff"], "--add-ignore cannot be combined with --diff"),
        (["--add-ignore=a\nb"], "--add-ignore: the reason must be one line"),
    ],
)
def test_exit_2_and_a_reason(fa_lint: Lint, arguments: list[str], complaint: str) -> None:
    write("a.py")
    result = fa_lint("a.py", *arguments)
    assert (result.exit_code, result.stdout) == (2, "")
    assert complaint in result.stderr
