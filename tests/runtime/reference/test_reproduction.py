"""No figure without a command: the reproduction page is what its data say, and every page names what measured it."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from fa_lint_runtime.verify import CLAIMS
from tools.reproduction import reproduction_page

ROOT = Path(__file__).parents[3]
FOLDER = ROOT / "docs" / "reproduction"
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
# A measured figure: a decimal (pitfall P6.5 is none), a percentage, a factor, a power of ten, seconds.
FIGURE = re.compile(r"(?<!P)\d\.\d|\d ?%|\d×|\de[-−+]?\d|\d s\b")
COMMAND = re.compile(r"`{1,3}[^`]*\b(python -m|fa-diagnose|fa-lint|pytest|torchrun|pip install|bash tests)\b")


def sections(text: str) -> list[tuple[str, str]]:
    """Heading and body; a subsection's command does not cover its parent, a parent's covers its subsections."""
    parts = re.split(r"^(## .*)$", text, flags=re.MULTILINE)
    return [("", parts[0]), *zip(parts[1::2], parts[2::2], strict=True)]


def test_the_page_is_generated_from_its_data() -> None:
    written = (ROOT / "docs" / "REPRODUCTION.md").read_text(encoding="utf-8")
    assert written == reproduction_page(FOLDER), (
        "run `python -m tools.reproduction docs/reproduction docs/REPRODUCTION.md`"
    )


def test_the_data_hold_every_claim_with_its_seconds() -> None:
    found = json.loads((FOLDER / "verify.json").read_text(encoding="utf-8"))
    assert found["complete"] is True
    assert [c["key"] for c in found["claims"]] == [c.key for c in CLAIMS]
    for claim, defined in zip(found["claims"], CLAIMS, strict=True):
        assert (claim["title"], claim["published"]) == (defined.title, defined.published)
        assert claim["here"]
        assert claim["seconds"] >= 0
        assert set(claim["networks"]) <= set(found["networks"])


def test_every_row_of_the_claims_names_a_command() -> None:
    page = (ROOT / "docs" / "REPRODUCTION.md").read_text(encoding="utf-8")
    table = page.split("## The claims")[1].split("##")[0]
    rows = [line for line in table.splitlines() if line.startswith("| ")][1:]
    assert len(rows) == len(CLAIMS)
    assert all("`fa-diagnose verify" in row for row in rows)


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_no_figure_without_a_command(page: Path) -> None:
    bare = [
        heading or "(top)"
        for heading, body in sections(page.read_text(encoding="utf-8"))
        if FIGURE.search(re.sub(r"```.*?```|`[^`\n]*`", "", body, flags=re.DOTALL)) and not COMMAND.search(body)
    ]
    assert not bare, f"{page.name}: figures and no command in {bare}"


def test_the_rule_can_fail() -> None:
    assert FIGURE.search("it takes 8.95 s")
    assert FIGURE.search("grows 50×")
    assert not FIGURE.search("pitfalls P1 to P6.5")
    assert not COMMAND.search("it takes 8.95 s, see `safe_cosine`")
    assert COMMAND.search("`python -m benchmarks.linter`, one run")
    assert sections("a\n## B\nc")[1] == ("## B", "\nc")
