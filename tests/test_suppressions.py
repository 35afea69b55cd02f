"""Suppressions: every form, on any physical line of the statement; unused ones are FAL901, whose fix deletes no more."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from tests.conftest import CLAMPED, UNSAFE, Lint, diagnostics_of, found_in, notebook, write

Codes = Callable[..., list[str]]


def _with(comment: str) -> str:
    return UNSAFE.removesuffix("\n") + "  " + comment + "\n"


# -- forms --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "comment",
    [
        "# fa-lint: ignore[FAL101]",
        "# fa-lint: ignore[FAL101] the order is meant",
        "# fa-lint:ignore[ fal101 ]",
        "#fa-lint: ignore",
        "# FA-LINT: IGNORE[FAL101]",
        "# fa-lint: ignore-file[FAL101]",
        "# fa-lint: ignore-file",
        "# noqa: FAL101",
        "#noqa:FAL101",
        "# NOQA : fal101",
        "# noqa: E501,FAL101",
        "# noqa: E501 FAL101 because",
        "# noqa",
        "# type: ignore  # noqa: FAL101",
        "# noqa: FAL101  # type: ignore",
        "# see above  # fa-lint: ignore[FAL101]",
    ],
)
def test_every_form_silences(comment: str) -> None:
    assert found_in(_with(comment)) == []


@pytest.mark.parametrize(
    ("comment", "left"),
    [
        ("# noqa: E501", ["4:16 FAL101"]),
        ("# noqa: FAL10", ["4:16 FAL101", "4:42 FAL901"]),
        ("# noqa: FAL102", ["4:16 FAL101", "4:42 FAL901"]),
        ("# fa-lint: ignore[FAL102]", ["4:16 FAL101", "4:42 FAL901"]),
        ("# fa-lint: ignore[FAL1]", ["4:16 FAL101", "4:42 FAL901"]),
        ("# fa-lint: ignore[E501]", ["4:16 FAL101", "4:42 FAL901"]),
        ("# fa-lint: ignore[]", ["4:16 FAL101", "4:42 FAL901"]),
        ("# fa-lint: ignore[negative-norm-order]", ["4:16 FAL101", "4:42 FAL901"]),
        ("# fa-lint ignore FAL101", ["4:16 FAL101"]),
        ("# type: ignore", ["4:16 FAL101"]),
    ],
)
def test_what_does_not_name_the_code_silences_nothing(comment: str, left: list[str]) -> None:
    assert found_in(_with(comment)) == left


@pytest.mark.parametrize("comment", ["# fa-lint: ignore-file[FAL101] generated", "# fa-lint: ignore-file"])
@pytest.mark.parametrize("place", ["{comment}\n{code}", "{code}{comment}\n"])
def test_a_file_wide_one_may_stand_anywhere(comment: str, place: str) -> None:
    assert found_in(place.format(comment=comment, code=UNSAFE)) == []


def test_a_file_wide_one_with_codes_leaves_the_others() -> None:
    found = found_in("# fa-lint: ignore-file[FAL101]\n" + UNSAFE + CLAMPED)
    assert [place.split()[1] for place in found] == ["FAL201"]


# -- places -------------------------------------------------------------------------------------------------------

_STATEMENTS = [
    "y = torch.ones(3).norm(-1)  #1\n",
    "y = torch.ones(3).norm(  #1\n    -1,  #2\n    keepdim=True,  #3\n)  #4\n",
    "y = (  #1\n    torch.ones(3)  #2\n    .norm(-1)  #3\n)  #4\n",
    "y = 1 + \\\n    torch.ones(3).norm(-1)  #2\n",
    "if (  #1\n    torch.ones(3).norm(-1) > 0  #2\n):  #3\n    pass\n",
    "while torch.ones(3).norm(-1) > 0:  #1\n    pass\n",
    "with open(str(torch.ones(3).norm(-1))) as f:  #1\n    pass\n",
    "for i in range(  #1\n    int(torch.ones(3).norm(-1)),  #2\n):  #3\n    pass\n",
    "def f(\n    a,\n    b=torch.ones(3).norm(-1),  #3\n):  #4\n    pass\n",
    "@g(torch.ones(3).norm(-1))  #1\ndef f():\n    pass\n",
    "class A:\n    y = torch.ones(3).norm(-1)  #2\n",
    "class A(\n    g(torch.ones(3).norm(-1)),  #2\n):  #3\n    pass\n",
    "assert torch.ones(3).norm(-1) > 0, (  #1\n    'x'  #2\n)  #3\n",
    "if a:\n    pass\nelif torch.ones(3).norm(-1) > 0:  #3\n    pass\n",
    "match torch.ones(3).norm(-1):  #1\n    case _:\n        pass\n",
    "y = f'''\n{torch.ones(3).norm(-1)}\n'''  #3\n",
    "x = 1; y = torch.ones(3).norm(-1)  #1\n",
    "y = [\n    1,\n    torch.ones(3).norm(-1),  #3\n    2,  #4\n]  #5\n",
    "async def f():\n    return torch.ones(3).norm(-1)  #2\n",
    "y = lambda: (\n    torch.ones(3).norm(-1)  #2\n)  #3\n",
]
_PLACES = [(code, number) for code in _STATEMENTS for number in range(1, 6) if f"#{number}\n" in code]


@pytest.mark.parametrize(("code", "number"), _PLACES)
@pytest.mark.parametrize("comment", ["# fa-lint: ignore[FAL101]", "# noqa: FAL101"])
def test_any_physical_line_of_the_statement(code: str, number: int, comment: str) -> None:
    lines = ["import torch\n", *code.splitlines(keepends=True)]
    bare = "".join(line.split("  #")[0].rstrip("\n") + "\n" for line in lines)
    assert [place.split()[1] for place in found_in(bare)] == ["FAL101"]
    marked = "".join(
        line.split("  #")[0].rstrip("\n") + (f"  {comment}\n" if f"#{number}\n" in line else "\n") for line in lines
    )
    assert found_in(marked) == []


@pytest.mark.parametrize(
    "code",
    [
        "if torch.ones(3).norm(-1) > 0:\n    pass  # noqa: FAL101\n",
        "# noqa: FAL101\ny = torch.ones(3).norm(-1)\n",
        "y = torch.ones(3).norm(-1)\n# noqa: FAL101\n",
        "def f():\n    x = 1  # noqa: FAL101\n    return torch.ones(3).norm(-1)\n",
        "def f():  # noqa: FAL101\n    return torch.ones(3).norm(-1)\n",
    ],
)
def test_other_statements_are_none(code: str) -> None:
    assert sorted(place.split()[1] for place in found_in("import torch\n" + code)) == ["FAL101", "FAL901"]


@pytest.mark.parametrize(
    "code",
    [
        "y = torch.ones(3).norm(-1, '# noqa: FAL101')\n",
        "y = torch.ones(3).norm(-1, '''\n# fa-lint: ignore[FAL101]\n''')\n",
        "'''# fa-lint: ignore-file'''\ny = torch.ones(3).norm(-1)\n",
        "x = '# noqa: FAL101'\ny = torch.ones(3).norm(-1)\n",
    ],
)
def test_in_a_string_they_are_text(code: str) -> None:
    assert [place.split()[1] for place in found_in("import torch\n" + code)] == ["FAL101"]


def test_in_notebooks() -> None:
    data = json.dumps(
        notebook("import torch\ny = 1  # noqa: FAL101", "torch.ones(3).norm(-1)  # noqa: FAL101", "%time x")
    )
    assert [(d.cell, d.code) for d in diagnostics_of(data, "n.ipynb")] == [(1, "FAL901")]


def test_where_a_cell_cannot_be_tokenised_lines_are_read() -> None:
    data = json.dumps(notebook("x = '''", UNSAFE.replace("True)", "True)  # noqa: FAL101"), "y = '#'"))
    assert [(d.cell, d.code) for d in diagnostics_of(data, "n.ipynb")] == [(1, "FAL900")]


# -- unused ones --------------------------------------------------------------------------------------------------


def test_an_unused_one_is_a_warning_with_its_place(fa_lint: Lint) -> None:
    write("a.py", "x = 1  # fa-lint: ignore[FAL101, FAL201]\n")
    result = fa_lint("a.py", "--output-format", "concise")
    assert (result.exit_code, result.stdout) == (
        1,
        "a.py:1:8: FAL901 [*] warning: unused suppression: nothing here is silenced for `FAL101`, `FAL201`\n",
    )


@pytest.mark.parametrize(
    "settings",
    [{"select": ("FAL2", "FAL901")}, {"ignore": ("FAL901",)}, {"per_file_ignores": (("a.py", ("FAL101",)),)}],
)
def test_a_rule_that_is_off_makes_none_unused(settings: dict[str, Any]) -> None:
    assert found_in("x = 1  # noqa: FAL101\n", **settings) == []


def test_a_file_that_does_not_parse_makes_none_unused() -> None:
    assert found_in("x = 1  # noqa: FAL101\ny = (\n") == ["2:5 FAL900"]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("x = 1  # noqa: FAL101\n", "x = 1\n"),
        ("x = 1  # noqa: FAL101", "x = 1"),
        ("x = 1  # noqa: FAL101 - 5\n", "x = 1  # - 5\n"),
        ("x = 1  # noqa: FAL101 because\n", "x = 1  # because\n"),
        ("x = 1  # noqa: FAL101  # type: ignore\n", "x = 1  # type: ignore\n"),
        ("x = 1  # type: ignore  # noqa: FAL101\n", "x = 1  # type: ignore\n"),
        ("x = 1  # noqa: W291,FAL101, E501\n", "x = 1  # noqa: W291, E501\n"),
        ("x = 1  # fa-lint: ignore[FAL101] because of this\n", "x = 1\n"),
        ("x = 1  # fa-lint: ignore[FAL101] because  # type: ignore\n", "x = 1  # type: ignore\n"),
        ("x = 1  # fa-lint: ignore[FAL101]  # noqa: FAL201\n", "x = 1\n"),
        ("x = 1  # fa-lint: ignore[FAL101]  # noqa: E501\n", "x = 1  # noqa: E501\n"),
        ("x = 1  # fa-lint: ignore\n", "x = 1\n"),
        ("# fa-lint: ignore-file[FAL101]\nx = 1\n", "x = 1\n"),
        ("def f():\n    # noqa: FAL101\n    return 1\n", "def f():\n    return 1\n"),
        ("x = 1\r\n# noqa: FAL101\r\ny = 1\r\n", "x = 1\r\ny = 1\r\n"),
        ("x = 1\n# noqa: FAL101", "x = 1\n"),
        ("x = '# noqa: FAL101'  # noqa: FAL101\n", "x = '# noqa: FAL101'\n"),
    ],
)
def test_the_fix_deletes_the_suppression_and_nothing_else(fa_lint: Lint, old: str, new: str) -> None:
    path = write("a.py", old)
    result = fa_lint("a.py", "--fix")
    assert path.read_bytes().decode() == new
    assert result.exit_code == 0, result.output


def test_the_fix_keeps_the_codes_that_are_used(fa_lint: Lint) -> None:
    path = write("a.py", _with("# fa-lint: ignore[FAL201, FAL101] meant"))
    assert fa_lint("a.py", "--fix").exit_code == 0
    assert path.read_text() == _with("# fa-lint: ignore[FAL101] meant")
    path = write("a.py", "# fa-lint: ignore-file[FAL201, FAL101]\n" + UNSAFE)
    assert fa_lint("a.py", "--fix").exit_code == 0
    assert path.read_text() == "# fa-lint: ignore-file[FAL101]\n" + UNSAFE


@pytest.mark.parametrize("comment", ["# noqa", "# noqa: E501", "# noqa: FAL101,E501"])
def test_other_tools_comments_are_their_own(comment: str) -> None:
    code = _with(comment) if "FAL101" in comment else f"x = 1  {comment}\n"
    assert found_in(code) == []


def test_one_comment_may_silence_two_findings() -> None:
    both = "import torch\ny = torch.ones(3).norm(-1) + torch.ones(3).norm(2, keepdim=True)  # noqa: FAL101, FAL103\n"
    assert found_in(both) == []
    assert [place.split()[1] for place in found_in(both.replace(", FAL103", ""))] == ["FAL103"]
