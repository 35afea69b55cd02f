"""Baselines: what keeps a fingerprint and what does not, the ratchet, and which entries may be judged at all."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fa_lint.project.fingerprints import without_layout
from tests.conftest import CLAMPED, MIXED, UNSAFE, UNSAFE_FIXED, Lint, notebook, write

Codes = Callable[..., list[str]]


@pytest.fixture
def baselined(fa_lint: Lint) -> Callable[..., None]:
    def run(*arguments: str) -> None:
        result = fa_lint(*(arguments or (".",)), "--write-baseline", "base.json")
        assert result.exit_code == 0, result.output
        assert result.stdout == ""

    return run


def test_known_findings_are_silent_and_new_ones_are_not(fa_lint: Lint, codes: Codes) -> None:
    write("a.py", MIXED)
    result = fa_lint(".", "--write-baseline", "base.json")
    assert (result.exit_code, result.stderr) == (0, "Wrote 2 findings to base.json.\n")
    assert fa_lint(".", "--baseline", "base.json").exit_code == 0
    write("b.py", UNSAFE)
    assert codes(".", "--baseline", "base.json") == ["b.py:4:16 FAL101"]
    assert fa_lint(".", "--baseline", "base.json").exit_code == 1


@pytest.mark.parametrize(
    "moved",
    [
        "# a comment\n\n\n" + UNSAFE,
        UNSAFE.replace(
            "x / x.norm(-1, keepdim=True)",
            "(\n        x / x.norm(\n            -1,  # rows\n            keepdim=True,\n        )\n    )",
        ),
        UNSAFE.replace("    return", "    y = 1\n    return"),
        UNSAFE.replace("\n", "\r\n"),
        UNSAFE.replace("return x / x.norm(-1, keepdim=True)", "return x/x.norm( -1,keepdim = True ) # why"),
        UNSAFE.replace("return x /", "return x / \\\n        "),
    ],
)
def test_a_finding_keeps_its_entry(codes: Codes, baselined: Callable[..., None], moved: str) -> None:
    write("a.py", UNSAFE)
    baselined()
    write("a.py", moved)
    assert len(codes(".")) == 1
    assert codes(".", "--baseline", "base.json") == []


@pytest.mark.parametrize(
    "other",
    [
        UNSAFE.replace("def f", "def g"),
        UNSAFE.replace("keepdim=True", "keepdim=False"),
        UNSAFE.replace("def f(x):\n    return", "class C:\n    def f(x):\n        return"),
    ],
)
def test_another_function_or_statement_is_another_finding(
    codes: Codes, baselined: Callable[..., None], other: str
) -> None:
    write("a.py", UNSAFE)
    baselined()
    write("a.py", other)
    assert [place.partition(" ")[2] for place in codes(".", "--baseline", "base.json")] == ["FAL101"]


def test_another_file_is_another_finding(codes: Codes, baselined: Callable[..., None]) -> None:
    write("a.py", UNSAFE)
    baselined()
    Path("a.py").rename("b.py")
    assert codes(".", "--baseline", "base.json") == ["b.py:4:16 FAL101"]


def test_equal_findings_are_counted(codes: Codes, baselined: Callable[..., None]) -> None:
    twice = UNSAFE + "    return x / x.norm(-1, keepdim=True)\n"
    write("a.py", twice)
    baselined()
    (entry,) = json.loads(Path("base.json").read_text())["findings"]
    assert entry["count"] == 2
    assert codes(".", "--baseline", "base.json") == []
    write("a.py", twice + "    return x / x.norm(-1, keepdim=True)\n")
    assert codes(".", "--baseline", "base.json") == ["a.py:6:16 FAL101"]


def test_notebooks(codes: Codes, baselined: Callable[..., None]) -> None:
    write("n.ipynb", json.dumps(notebook("import torch", "torch.ones(3).norm(-1)")))
    baselined()
    write(
        "n.ipynb",
        json.dumps(notebook("# title", "import torch", "x = 1", "torch.ones(3).norm(-1)", "torch.ones(9).norm(-1)")),
    )
    assert codes(".", "--baseline", "base.json") == ["n.ipynb:cell 5:1:1 FAL101"]


def test_the_file_reads_well_and_does_not_change_by_itself(fa_lint: Lint, baselined: Callable[..., None]) -> None:
    write("src/b.py", CLAMPED)
    write("a.py", UNSAFE)
    baselined()
    first = Path("base.json").read_text()
    document = json.loads(first)
    assert document["version"] == 1
    assert [(e["path"], e["code"], e["scope"], e["statement"]) for e in document["findings"]] == [
        ("a.py", "FAL101", "f", "return x / x.norm(-1, keepdim=True)"),
        ("src/b.py", "FAL201", "gamma", "return F.cosine_similarity(credit, p.grad, dim=0)"),
    ]
    baselined("src", "a.py")
    assert Path("base.json").read_text() == first


def test_paths_count_from_the_baseline(
    codes: Codes, baselined: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    write("src/a.py", UNSAFE)
    baselined()
    monkeypatch.chdir("src")
    assert codes(".", "--baseline", "../base.json") == []
    assert codes(str(Path("a.py").absolute()), "--baseline", "../base.json") == []


# -- the ratchet --------------------------------------------------------------------------------------------------


def test_what_is_no_longer_found_is_told_and_pruned(fa_lint: Lint, baselined: Callable[..., None]) -> None:
    write("a.py", UNSAFE)
    write("b.py", UNSAFE)
    baselined()
    write("a.py", UNSAFE_FIXED)
    result = fa_lint(".", "--baseline", "base.json")
    assert result.exit_code == 0
    assert result.stderr.splitlines() == [
        "base.json: entry no longer matches: FAL101 in a.py, f: return x / x.norm(-1, keepdim=True)",
        "1 finding in base.json no longer found; `--prune-baseline` removes the entries.",
    ]
    pruned = fa_lint(".", "--baseline", "base.json", "--prune-baseline")
    assert "Removed 1 finding from base.json." in pruned.stderr
    assert [e["path"] for e in json.loads(Path("base.json").read_text())["findings"]] == ["b.py"]
    assert fa_lint(".", "--baseline", "base.json").stderr == ""
    write("a.py", UNSAFE)
    assert fa_lint(".", "--baseline", "base.json").exit_code == 1


def test_a_count_is_pruned_in_part(fa_lint: Lint, baselined: Callable[..., None]) -> None:
    line = "    return x / x.norm(-1, keepdim=True)\n"
    write("a.py", UNSAFE + line * 2)
    baselined()
    write("a.py", UNSAFE)
    assert "(2 times)" in fa_lint(".", "--baseline", "base.json", "--prune-baseline").stderr
    assert [e["count"] for e in json.loads(Path("base.json").read_text())["findings"]] == [1]


@pytest.mark.parametrize(
    "arguments",
    [["b.py"], [".", "--select", "FAL2"], [".", "--exclude", "a.py"], ["-", "--stdin-filename", "b.py"]],
)
def test_what_was_not_looked_at_is_not_gone(
    fa_lint: Lint, baselined: Callable[..., None], arguments: list[str]
) -> None:
    write("a.py", UNSAFE)
    write("b.py", "x = 1\n")
    baselined()
    before = Path("base.json").read_text()
    result = fa_lint(*arguments, "--baseline", "base.json", "--prune-baseline", stdin=b"x = 1\n")
    assert "no longer" not in result.stderr
    assert Path("base.json").read_text() == before


def test_a_deleted_file_is_gone(fa_lint: Lint, baselined: Callable[..., None]) -> None:
    write("a.py", UNSAFE)
    write("b.py", "x = 1\n")
    baselined()
    Path("a.py").unlink()
    assert "entry no longer matches: FAL101 in a.py" in fa_lint("b.py", "--baseline", "base.json").stderr


def test_a_finding_across_files_needs_both(fa_lint: Lint, codes: Codes, baselined: Callable[..., None]) -> None:
    write("helper.py", "def cosine(a, b, eps=1e-8):\n    return (a @ b) / (a.norm() * b.norm() + eps)\n")
    write("caller.py", "from helper import cosine\ndef f(p, q):\n    return cosine(p.grad, q.grad)\n")
    assert len(codes(".")) == 2
    baselined()
    for path in ("helper.py", "caller.py"):
        assert "no longer" not in fa_lint(path, "--baseline", "base.json").stderr
    write("caller.py", "x = 1\n")
    assert fa_lint(".", "--baseline", "base.json").stderr.count("base.json: entry no longer matches") == 2


def test_fixes_leave_what_the_baseline_knows(fa_lint: Lint, baselined: Callable[..., None]) -> None:
    write("a.py", UNSAFE)
    baselined()
    write("a.py", UNSAFE + UNSAFE.partition("\n\n")[2].replace("f(x)", "g(x)"))
    assert fa_lint(".", "--baseline", "base.json", "--fix", "--unsafe-fixes").exit_code == 0
    assert Path("a.py").read_text() == UNSAFE + UNSAFE_FIXED.partition("\n\n")[2].replace("f(x)", "g(x)")


# -- bad input ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        (None, "base.json: no such baseline; `--write-baseline base.json` makes one"),
        ("{\n\n]", "base.json:3: not JSON: "),
        ("[]", "base.json: not a fa-lint baseline of version 1"),
        ('{"version": 2, "findings": []}', "base.json: not a fa-lint baseline of version 1"),
        ('{"version": 1}', "base.json: a finding in it is broken (KeyError: 'findings')"),
        ('{"version": 1, "findings": [1]}', "a finding in it is broken"),
        ('{"version": 1, "findings": [{"fingerprint": 1, "code": "a", "path": "b"}]}', "must be strings"),
        ('{"version": 1, "findings": [{"fingerprint": "1", "code": "a", "path": "b", "count": 0}]}', "positive number"),
        ("\udcff", "cannot be read"),
    ],
)
def test_a_broken_baseline(fa_lint: Lint, text: str | None, complaint: str) -> None:
    write("a.py")
    if text is not None:
        write("base.json", text.encode("utf-8", "surrogateescape"))
    result = fa_lint("a.py", "--baseline", "base.json")
    assert (result.exit_code, result.stdout) == (2, "")
    assert complaint in result.stderr


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--prune-baseline"], "--prune-baseline needs --baseline FILE"),
        (["--write-baseline", "b.json", "--baseline", "b.json"], "--write-baseline cannot be combined with --baseline"),
        (["--write-baseline", "b.json", "--fix"], "--write-baseline cannot be combined with --fix"),
        (["--write-baseline", "no/such/b.json"], "no/such/b.json: cannot be written: No such file"),
    ],
)
def test_exit_2_and_a_reason(fa_lint: Lint, arguments: list[str], complaint: str) -> None:
    write("a.py")
    result = fa_lint("a.py", *arguments)
    assert (result.exit_code, result.stdout) == (2, "")
    assert complaint in result.stderr


# -- fingerprints -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("f( a,b , )", "f(a, b)"),
        ("x = 'a'", 'x = "a"'),
        ("x = (yield)", "x = yield"),
        ("a  # b", "a"),
        ("return(x)", "return x"),
        ("[1, 2,\n]", "[1, 2]"),
    ],
)
def test_layout_is_nothing(one: str, other: str) -> None:
    assert without_layout(one) == without_layout(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("'# a'", "'# b'"),
        ("'a  b'", "'a b'"),
        ("a b", "ab"),
        ("'(x,)'", "'(x)'"),
        ("x - 1", "x + 1"),
        ("'''a'''", "'a'"),
    ],
)
def test_content_is_something(one: str, other: str) -> None:
    assert without_layout(one) != without_layout(other)


_TOKENS = st.sampled_from(["x", "norm", "12", "+", "==", ".", '"a b"', "'it'", "f'{x}'", "[", "]", ":"])
_LAYOUT = st.sampled_from([" ", "  ", "\n", " \\\n", " # x.norm('(\n", "\r\n    ", " (", ") "])


@given(st.lists(st.tuples(_TOKENS, _LAYOUT, _LAYOUT), max_size=12))
def test_any_layout_of_the_same_tokens_is_the_same_statement(pieces: list[tuple[str, str, str]]) -> None:
    one = "".join(token + layout for token, layout, _ in pieces)
    other = "".join(token + layout for token, _, layout in pieces)
    assert without_layout(one) == without_layout(other)
