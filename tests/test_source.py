"""Sources: encodings, line ends, odd characters, size and depth; a file that does not parse is one FAL900 with its place."""

from __future__ import annotations

import ast
import random
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from fa_lint.source.text import ParseFailure, Source, SourceError
from tests.conftest import CLAMPED, CLAMPED_FIXED, UNSAFE, Lint, diagnostics_of, found_in, write

Codes = Callable[..., list[str]]


# -- encodings ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "encoding", "text"),
    [
        ("x = 'é'\n".encode(), "utf-8", "x = 'é'\n"),
        ("\ufeffx = 'é'\n".encode(), "utf-8", "x = 'é'\n"),
        ("# coding: latin-1\nx = 'é'\n".encode("latin-1"), "iso-8859-1", "# coding: latin-1\nx = 'é'\n"),
        ("#!/usr/bin/python\n# -*- coding: cp1252 -*-\nx = '€'\n".encode("cp1252"), "cp1252", None),
        (("#" + "x" * 500 + "\n# coding: cp1252\nx = '€'\n").encode("cp1252"), "cp1252", None),
        ("x = 1\ny = 2\n# coding: latin-1\nz = 'é'\n".encode(), "utf-8", None),
        (b"", "utf-8", ""),
        (b"\xef\xbb\xbf", "utf-8", ""),
    ],
)
def test_encodings(data: bytes, encoding: str, text: str | None) -> None:
    source = Source.read("a.py", data)
    assert source.encoding == encoding
    assert text is None or source.text == text
    assert source.encode(source.text) == data


@pytest.mark.parametrize(
    ("data", "found"),
    [
        (b"x = 1\ny = '\xe9'\n", "2:1 FAL900"),
        ("x = 1\n".encode("utf-16"), "1:1 FAL900"),
        (b"# coding: no-such-codec\nx = 1\n", "1:1 FAL900"),
        (b"# coding: undefined\nx = 1\n", "1:1 FAL900"),
        (b"# coding: rot13\nx = 1\n", "1:1 FAL900"),
        (b"# coding: ascii\nx = 1\ny = '\xe9'\n", "3:1 FAL900"),
        (b"# coding: utf-8\ny = '\xff'\n", "2:1 FAL900"),
    ],
)
def test_bytes_that_are_no_text_are_one_finding(data: bytes, found: str, fa_lint: Lint) -> None:
    assert found_in(data) == [found]
    [diagnostic] = diagnostics_of(data)
    assert diagnostic.message.startswith("cannot be read: ")
    assert found_in(data, ignore=("FAL900",)) == []
    write("a.py", data)
    assert fa_lint("a.py").exit_code == 1


def test_the_row_of_a_bad_byte() -> None:
    with pytest.raises(SourceError, match=r"a\.py:2: not utf-8: byte 0xe9 at offset 11") as caught:
        Source.read("a.py", b"x = 1\ny = '\xe9'\n")
    assert (caught.value.path, caught.value.row) == ("a.py", 2)


def test_findings_and_fixes_in_a_latin_1_file(fa_lint: Lint) -> None:
    data = ("# coding: latin-1\n# é\n" + CLAMPED).encode("latin-1")
    assert found_in(data) == ["6:12 FAL201"]
    path = write("a.py", data)
    assert fa_lint("a.py", "--fix", "--unsafe-fixes").exit_code == 0
    assert path.read_bytes() == ("# coding: latin-1\n# é\n" + CLAMPED_FIXED).encode("latin-1")


def test_an_encoding_that_cannot_be_written_back_is_not_fixed(fa_lint: Lint) -> None:
    data = b"# coding: utf-7\n# +AOk-\n" + CLAMPED.encode() + b"# +AOkA6Q-  +AOk-\n+AGE- = 1\n"
    path = write("a.py", data)
    result = fa_lint("a.py", "--fix", "--unsafe-fixes", "--output-format", "concise")
    assert result.exit_code == 2
    assert "a.py: not fixed: text in utf-7 cannot be written back unchanged" in result.stderr
    assert path.read_bytes() == data


# -- line ends and odd characters ---------------------------------------------------------------------------------


@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"])
def test_line_ends(newline: str, fa_lint: Lint) -> None:
    data = CLAMPED.replace("\n", newline).encode()
    assert found_in(data) == ["4:12 FAL201"]
    path = write("a.py", data)
    fa_lint("a.py", "--fix", "--unsafe-fixes")
    if newline != "\r":
        assert path.read_bytes() == CLAMPED_FIXED.replace("\n", newline).encode()
    assert found_in(path.read_bytes()) == []


def test_mixed_line_ends_and_a_bom() -> None:
    text = "\ufeffimport torch\r\n\ndef f(x):\r    return x / x.norm(-1, keepdim=True)\r\n"
    assert found_in(text) == ["4:16 FAL101"]
    source = Source.read("a.py", text.encode())
    assert [source.line(row) for row in range(1, 5)] == [
        "import torch",
        "",
        "def f(x):",
        "    return x / x.norm(-1, keepdim=True)",
    ]


def test_no_line_end_at_the_end() -> None:
    assert found_in(UNSAFE.rstrip("\n")) == ["4:16 FAL101"]


def test_tabs_form_feeds_and_wide_characters() -> None:
    assert found_in("import torch\n\ndef f(x):\n\treturn x / x.norm(-1)\n") == ["4:13 FAL101"]
    assert found_in("import torch\n\x0c\ndef f(x):\n    return x / x.norm(-1)\n") == ["4:16 FAL101"]
    assert found_in("import torch\n\x0cdef f(x):\n\x0c    return x / x.norm(-1)\n") == ["3:17 FAL101"]
    assert found_in("import torch\n\ndef f(x):\n    return '文\u2028😀', x.norm(-1)\n") == ["4:19 FAL101"]
    assert found_in("import torch\n\ndef f(größe):\n    return größe.norm(-1)\n") == ["4:12 FAL101"]


def test_continued_lines() -> None:
    assert found_in("import torch\ndef f(x):\n    return x / \\\n        x.norm(\n            -1)\n") == ["4:9 FAL101"]


def test_places_and_offsets_are_inverse() -> None:
    source = Source.read("a.py", "a = 1\r\nb = '😀'\n\rc".encode())
    for offset in range(len(source.text)):
        if source.text[offset] in "\r\n":
            continue
        cell, place = source.place(offset)
        assert cell is None
        assert source.offset_of(place.row, place.column) == offset
    assert source.offset_of(None, None) == 0
    assert source.offset_of(99, 99) == len(source.text) - 1


# -- what does not parse ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "found"),
    [
        ("x = 1\ny = (\n", "2:5 FAL900"),
        ("x = 1\n)\n", "2:1 FAL900"),
        ("def f(:\n    pass\n", "1:7 FAL900"),
        ("print 'hello'\n", "1:1 FAL900"),
        ("exec 'x' in y\n", "1:1 FAL900"),
        ("x = 'é' + +\n", "1:12 FAL900"),
        ("if True:\n  a\n b\n", "3:3 FAL900"),
        ("x = 1\n\0\n", "2:1 FAL900"),
        ("\tx = 1\n", "1:2 FAL900"),
        ('x = """\n', "1:5 FAL900"),
        ("x = 1 \\", "1:8 FAL900"),
    ],
)
def test_what_is_no_python_is_one_finding_with_its_place(code: str, found: str) -> None:
    places = found_in(code)
    assert len(places) == 1
    assert places[0].endswith("FAL900")
    assert places[0].split(":")[0] == found.split(":")[0]
    [diagnostic] = diagnostics_of(code)
    assert diagnostic.message.startswith("not Python 3")
    assert diagnostic.message.endswith("; the file was not checked")


def test_the_column_of_a_stray_bracket() -> None:
    assert found_in("x = 1\ny = f(1]\n") == ["2:8 FAL900"]


def test_the_other_files_go_on(codes: Codes) -> None:
    write("a.py", "x = (\n")
    write("b.py", b"\xff\n")
    write("c.py", "print 'x'\n")
    write("d.py", UNSAFE)
    write("e.ipynb", "{}")
    assert codes(".") == [
        "a.py:1:5 FAL900",
        "b.py:1:1 FAL900",
        "c.py:1:1 FAL900",
        "d.py:4:16 FAL101",
        "e.ipynb:1:1 FAL900",
    ]


def test_a_syntax_error_names_the_grammar_that_was_used() -> None:
    [diagnostic] = diagnostics_of("x = (\n")
    assert diagnostic.message.startswith(f"not Python {sys.version_info.major}.{sys.version_info.minor}: ")


@pytest.mark.parametrize("error", [RecursionError, MemoryError, OverflowError, ValueError])
def test_errors_of_the_parser_are_findings(monkeypatch: pytest.MonkeyPatch, error: type[Exception]) -> None:
    def fail(*_: object, **__: object) -> ast.Module:
        raise error

    monkeypatch.setattr(ast, "parse", fail)
    parsed = Source.read("a.py", b"x = 1\n").parse()
    assert isinstance(parsed, ParseFailure)
    assert parsed.offset == 0


# -- random bytes, size and depth ---------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(30))
def test_random_bytes(seed: int) -> None:
    generator = random.Random(seed)
    data = generator.randbytes(generator.randrange(1, 2000))
    for path in ("a.py", "a.ipynb"):
        assert {place.split()[1] for place in found_in(data, path)} <= {"FAL900"}


@pytest.mark.parametrize("seed", range(30))
def test_damaged_files(seed: int) -> None:
    """A good file with bytes cut out, doubled and turned over: findings, or one FAL900."""
    generator = random.Random(seed)
    data = bytearray((CLAMPED + UNSAFE).encode() * 3)
    for _ in range(generator.randrange(1, 6)):
        at = generator.randrange(len(data))
        data[at : at + generator.randrange(4)] = generator.choice([b"", b"(", b"\0", b"\xff", b"'", b"\n", b"\\"])
    found = found_in(bytes(data))
    assert len(found) == 1 or not any("FAL900" in place for place in found)


def test_a_file_of_a_hundred_thousand_lines() -> None:
    lines = ["x = 1  # a line" if number % 20 == 0 else "# a line" for number in range(100_000)]
    data = UNSAFE + "\n".join(lines) + "\n" + UNSAFE.replace("f(x)", "g(x)")
    began = time.monotonic()
    assert found_in(data) == ["4:16 FAL101", "100008:16 FAL101"]
    assert time.monotonic() - began < 60


_DEEP: dict[str, Callable[[int], str]] = {
    "parentheses": lambda n: "x = " + "(" * n + "1" + ")" * n + "\n",
    "lists": lambda n: "x = " + "[" * n + "]" * n + "\n",
    "sums": lambda n: "x = " + " + ".join(["1"] * n) + "\n",
    "attributes": lambda n: "x = a" + ".b" * n + "\n",
    "calls": lambda n: "x = a" + "()" * n + "\n",
    "nested calls": lambda n: "x = " + "f(" * n + ")" * n + "\n",
    "subscripts": lambda n: "x = a" + "[0]" * n + "\n",
    "not": lambda n: "x = " + "not " * n + "a\n",
    "lambdas": lambda n: "x = " + "lambda: " * n + "1\n",
    "conditionals": lambda n: "x = " + "1 if a else " * n + "2\n",
    "elif": lambda n: "if a:\n    pass\n" + "elif a:\n    pass\n" * n,
    "strings": lambda n: "x = (" + "'a' " * n + ")\n",
    "blocks": lambda n: "".join("    " * i + "if a:\n" for i in range(n)) + "    " * n + "pass\n",
    "functions": lambda n: "".join("    " * i + "def f():\n" for i in range(n)) + "    " * n + "pass\n",
}


@pytest.mark.parametrize("kind", sorted(_DEEP))
@pytest.mark.parametrize("depth", [20, 900, 4000])
def test_depth(kind: str, depth: int) -> None:
    """Deep code beside a finding: the finding, or one FAL900, in seconds and without a crash."""
    if kind in ("blocks", "functions") and depth > 900:
        pytest.skip("Python takes a hundred levels of indentation")
    began = time.monotonic()
    found = found_in(UNSAFE + _DEEP[kind](depth))
    assert found == ["4:16 FAL101"] or [place.split()[1] for place in found] == ["FAL900"]
    if depth == 20 or (kind == "elif" and depth < 1000):
        assert found == ["4:16 FAL101"]
    assert time.monotonic() - began < 20


@pytest.mark.parametrize("kind", ["attributes", "sums"])
def test_an_expression_deeper_than_the_interpreter_takes_is_a_finding(kind: str) -> None:
    [found] = diagnostics_of(UNSAFE + _DEEP[kind](50_000))
    assert found.code == "FAL900"
    assert "nested too deeply" in found.message


@pytest.mark.parametrize("operator", ["and", "or"])
def test_a_boolean_of_many_terms_is_no_deep_tree(operator: str) -> None:
    assert found_in(UNSAFE + "y = " + f" {operator} ".join(["x"] * 20_000) + "\n") == ["4:16 FAL101"]


def test_empty_files_are_clean(codes: Codes) -> None:
    write("a.py", "")
    write("b.py", b"\xef\xbb\xbf")
    write("c.py", "\n\n")
    write("d.py", "# nothing\n")
    Path("e.py").touch()
    assert codes(".") == []


def test_a_warning_of_the_compiler_is_not_the_users_business(fa_lint: Lint) -> None:
    write("a.py", "x = '\\d'\nif x is 'a': pass\n" + CLAMPED)
    result = fa_lint("a.py", "--fix", "--unsafe-fixes")
    fixed, _ = result.stderr.splitlines()
    assert (result.exit_code, fixed) == (0, "Fixed 1 finding in 1 file: FAL201 clamped-gradient-cosine.")
