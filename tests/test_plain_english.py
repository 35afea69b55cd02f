"""Pages, help, messages and docstrings in words that an engineer knows: no private idiom, no docstring that is a question."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent

# Found by reading; each stood in a page, a message or a docstring. What to write instead is in docs/glossary.md.
IDIOMS = [
    r"\bspeaks?\b(?! the Language)|\bspoken of\b",
    r"\bnobody\b",
    r"\banew\b",
    r"\b(is|are|not) believed\b|\bbelieved (only|where)\b",
    r"\bnever saw\b",
    r"\bwants\b(?! (it )?to\b)",
    r"\b(gives|given) back\b",
    r"\bsays? nothing\b",
    r"asks the impossible",
    r"\bforgets\b",
    r"answered with a number",
    r"without a trace\b(?! in)",
    r"whatever was learnt",
    r"without a word",
    r"in silence\b(?! to)",
    r"\bratchet",
    r"\bkill it\b|\bbefore a kill\b",
    r"\bmend(s|ed|ing)?\b",
    r"\b(is|are|was|were) told\b(?! to)|\btold of\b",
    r"\bheard\b|\bhears\b",
    r"\bwishes\b",
    r"cannot lie|can falsify",
    r"(had|has) no word for|a word to [A-Z]",
    r"yardstick",
    r"worth beating",
    r"nobody can notice",
    r"idle codes",
    r"mean what they (say|seem)",
    r"[Tt]his is no pass",
    r"stands back",
    r"can prove, the guard",
    r"\bholds the rest\b",
    r"whatever came out",
    r"what is no longer found is",
]
PAGES = [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md"), *(ROOT / ".github").rglob("*.yml")]
# Generated from measured data, whose published claims are quoted as they are stored.
GENERATED = {"REPRODUCTION.md"}
QUOTED = {"p6_5_missing_auxiliaries.py"}


def sources() -> list[Path]:
    found = [path for name in ("fa_lint", "fa_lint_runtime", "tools") for path in (ROOT / name).rglob("*.py")]
    return [path for path in found if path.name not in QUOTED]


def prose(path: Path) -> str:
    """Return a page without its code and its outputs."""
    return re.sub(r"(?ms)^ *```.*?^ *```$|`[^`\n]+`", "", path.read_text(encoding="utf-8"))


def strings(path: Path) -> Iterator[tuple[int, str]]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.lineno, " ".join(node.value.split())


def idioms_in(text: str) -> list[str]:
    flat = " ".join(text.split())
    return [found[0] for idiom in IDIOMS if (found := re.search(idiom, flat))]


@pytest.mark.parametrize("path", [p for p in PAGES if p.name not in GENERATED], ids=lambda path: path.name)
def test_pages_hold_no_private_idiom(path: Path) -> None:
    assert idioms_in(prose(path)) == []


def test_messages_and_docstrings_hold_no_private_idiom() -> None:
    assert len(sources()) > 200
    found = [
        f"{path.relative_to(ROOT)}:{row}: {idiom}"
        for path in sources()
        for row, text in strings(path)
        for idiom in idioms_in(text)
    ]
    assert found == []


def test_no_docstring_is_a_question() -> None:
    asked = []
    for path in sources():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
                first = (ast.get_docstring(node) or "").partition("\n")[0]
                if re.search(r"\?(\s|$)", first):
                    asked.append(f"{path.relative_to(ROOT)}: {first}")
    assert asked == []


@pytest.mark.parametrize(
    "text",
    [
        "Where it is, and where nothing speaks the tool is silent.",
        "its floor shrinks the cosine of small vectors without a word",
        "drop what has been mended: a ratchet",
        "one file a cell: kill it,\nstart it again",
        "What is no longer found is told on every run.",
        "a gradient towards `x`, which is detached after it fed the loss: the loss never saw this tensor",
        "an error of an alignment metric is dropped or answered with a number",
        "a name is believed only where it says of what",
    ],
)
def test_the_word_list_finds_what_readers_stumbled_over(text: str) -> None:
    assert idioms_in(text)


def test_the_glossary_explains_the_words_of_the_field() -> None:
    glossary = (ROOT / "docs" / "glossary.md").read_text(encoding="utf-8")
    words = {word.strip() for row in re.findall(r"(?m)^\| ([^|]+) \|", glossary) for word in row.split(",")}
    wanted = {"Γ (gamma)", "credit", "feedback", "null", "Holm", "walked back", "floor", "drift", "margin"}
    assert wanted <= words
