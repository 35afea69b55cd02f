"""Markdown: fenced Python is linted where it stands, the prose is left alone to the byte."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fa_lint.fixes.edits import fix_data
from fa_lint.project.config import Settings
from fa_lint.project.discovery import discover
from fa_lint.project.engine import lint_text
from fa_lint.source.markdown import python_blocks, without_prose
from tests.conftest import Lint

SETTINGS = Settings()
PAGE = """# Norms

Write `x.norm(-1)` and be sorry:

```python
n = torch.rand(3, 4).norm(-1)
```

not Python: x.norm(-1)

```text
n = torch.rand(3, 4).norm(-1)
```
"""


def found(text: str, path: str = "page.md") -> list[tuple[int, int, str]]:
    report = lint_text(path, text.encode(), SETTINGS)
    assert report.problems == []
    return [(d.start.row, d.start.column, d.code) for d in report.diagnostics]


def test_a_fenced_block_is_linted_in_its_place_and_nothing_else_is() -> None:
    assert found(PAGE) == [(6, 5, "FAL101")]


@pytest.mark.parametrize(
    "fence", ["```python", "``` py", "~~~python3", "````python", "```{python}", '```python title="a"']
)
def test_the_ways_to_open_a_block(fence: str) -> None:
    closing = fence[: len(fence) - len(fence.lstrip("`~"))]
    assert found(f"{fence}\nn = torch.rand(3, 4).norm(-1)\n{closing}\n") == [(2, 5, "FAL101")]


@pytest.mark.parametrize("fence", ["```", "```pycon", "```rust", "```pythonic"])
def test_other_blocks_are_prose(fence: str) -> None:
    assert found(f"{fence}\nn = torch.rand(3, 4).norm(-1)\n```\n") == []


def test_a_snippet_that_does_not_parse_is_prose_and_its_neighbours_are_not() -> None:
    text = "```python\nfor each layer:\n```\n```python\nn = torch.rand(3, 4).norm(-1)\n```\n"
    assert found(text) == [(5, 5, "FAL101")]


def test_a_block_in_a_list_may_be_indented() -> None:
    text = "1. do\n\n   ```python\n   n = torch.rand(3, 4).norm(-1)\n   m = 1\n   ```\n"
    assert found(text) == [(4, 8, "FAL101")]


def test_blocks_share_their_names_and_an_import_wins_over_the_usual_meaning() -> None:
    assert found("```python\nimport mylib as torch\n```\n\n```python\nn = torch.rand(3).norm(-1)\n```\n") == []


def test_an_open_block_at_the_end_is_prose() -> None:
    assert found("```python\nn = torch.rand(3, 4).norm(-1)\n") == []


def test_a_suppression_in_a_block_counts() -> None:
    assert found("```python\nn = torch.rand(3, 4).norm(-1)  # noqa: FAL101\n```\n") == []


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_a_fix_changes_its_block_and_keeps_the_prose(newline: str) -> None:
    text = PAGE.replace("\n", newline)
    data = text.encode()
    fixed = fix_data("page.md", data, lint_text("page.md", data, SETTINGS).diagnostics, SETTINGS, unsafe=True)
    old, new = "n = torch.rand(3, 4).norm(-1)", "n = torch.rand(3, 4).norm(dim=-1)"
    assert fixed.data.decode() == text.replace(old, new, 1)
    assert found(fixed.data.decode()) == []


def test_a_fix_brings_its_import_into_the_block() -> None:
    text = "- so:\n\n  ```python\n  c = F.cosine_similarity(p.grad, q.grad, dim=0)\n  ```\n"
    data = text.encode()
    fixed = fix_data("page.md", data, lint_text("page.md", data, SETTINGS).diagnostics, SETTINGS, unsafe=True)
    assert fixed.data.decode() == (
        "- so:\n\n  ```python\n  from fa_lint_runtime import safe_cosine\n  c = safe_cosine(p.grad, q.grad, dim=0)\n  ```\n"
    )


def test_a_directory_is_searched_for_python_and_a_named_page_is_linted(tmp_path: Path, fa_lint: Lint) -> None:
    page = tmp_path / "page.md"
    page.write_text(PAGE, encoding="utf-8")
    assert discover([str(tmp_path)], SETTINGS) == []
    result = fa_lint("--isolated", "--no-cache", "--output-format", "concise", str(page))
    assert result.exit_code == 1
    assert f"{page}:6:5: FAL101" in result.output


def test_bytes_that_are_no_text_are_reported() -> None:
    report = lint_text("page.md", b"\xff\xfe```python\n", SETTINGS)
    assert [d.code for d in report.diagnostics] == ["FAL900"]


LINES = st.sampled_from(
    ["```python", "```", "~~~py", "~~~", "x = 1", "  y = 2", "text é", "", "if x:", "    ```py", "    z = 3", "    ```"]
)


@given(st.lists(st.tuples(LINES, st.sampled_from(["\n", "\r\n", "\r"]))))
def test_blanking_keeps_every_offset(lines: list[tuple[str, str]]) -> None:
    text = "".join(line + end for line, end in lines)
    blocks = python_blocks(text)
    blanked = without_prose(text, blocks)
    assert len(blanked) == len(text)
    assert [i for i, c in enumerate(blanked) if c in "\r\n"] == [i for i, c in enumerate(text) if c in "\r\n"]
    assert all(blanked[b.start : b.end] == text[b.start : b.end] for b in blocks)
    compile(blanked, "page.md", "exec")
