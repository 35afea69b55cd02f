"""``--with-runtime``: findings confirmed by the guard, events that no rule saw, in every format."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from fa_lint.output import FORMATS

from .conftest import CLAMPED, UNSAFE, Lint, write

CONFIRMED = "confirmed at run time (3 times, worst 0.0500 of the true value)"
ALL = sorted(FORMATS)


def event(code: str, line: int, path: str = "a.py", **more: Any) -> dict[str, Any]:
    return {
        "code": code,
        "kind": "clamped-cosine",
        "file": os.path.abspath(path),
        "line": line,
        "end_line": line,
        "count": 3,
        "worst": 0.05,
        "message": "what happened",
    } | more


def log(*events: dict[str, Any], **more: Any) -> str:
    Path("events.json").write_text(json.dumps({"format": "fa-guard", "version": 1, "events": events} | more))
    return "events.json"


@pytest.mark.parametrize("name", ALL)
def test_a_confirmed_finding_says_so_in_every_format(fa_lint: Lint, name: str) -> None:
    write("a.py", CLAMPED)
    result = fa_lint("a.py", "--with-runtime", log(event("FAL201", 4)), "--output-format", name)
    assert result.exit_code == 1
    assert CONFIRMED in result.stdout
    assert "runtime only" not in result.stdout


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("code", ["FAL203", "FAL888"])
def test_an_event_that_no_rule_saw_is_listed_in_every_format(fa_lint: Lint, name: str, code: str) -> None:
    write("a.py", "x = 1\ny = 2\n")
    result = fa_lint("a.py", "--with-runtime", log(event(code, 2)), "--output-format", name)
    assert result.exit_code == 1
    assert "runtime only: what happened" in result.stdout
    if "json" in name or name == "sarif":
        for text in [result.stdout] if name != "jsonl" else result.stdout.splitlines():
            assert code in json.dumps(json.loads(text))


def test_full_output_of_both(fa_lint: Lint) -> None:
    write("a.py", CLAMPED + "z = 3\n")
    out = fa_lint("a.py", "--with-runtime", log(event("FAL202", 4), event("FAL205", 5, worst=None))).stdout
    first = out.splitlines()[0]
    assert first.startswith("a.py:4:12 FAL201 error") and first.endswith(f"; {CONFIRMED}")
    assert "a.py:5:1 FAL205 warning sum-as-zero-test: runtime only: what happened" in out
    assert "5 | z = 3" in out
    assert out.splitlines()[-1].startswith("Found 1 error, 1 warning in 1 file.")


@pytest.mark.parametrize(
    ("change", "confirmed"),
    [
        ({}, True),
        ({"code": "FAL202"}, True),
        ({"code": "FAL203"}, False),
        ({"line": 3, "end_line": 3}, False),
        ({"line": 3, "end_line": 4}, True),
        ({"column": 12, "end_column": 57}, True),
        ({"column": 1, "end_column": 5}, False),
        ({"file": "b.py"}, False),
    ],
)
def test_what_belongs_together(fa_lint: Lint, change: dict[str, Any], confirmed: bool) -> None:
    write("a.py", CLAMPED)
    result = fa_lint("a.py", "--with-runtime", log(event("FAL201", 4) | change))
    assert (CONFIRMED in result.stdout) == confirmed


def test_two_tests_at_one_place_are_added_up(fa_lint: Lint) -> None:
    write("a.py", CLAMPED)
    out = fa_lint("a.py", "--with-runtime", log(event("FAL201", 4), event("FAL201", 4, count=1, worst=0.01))).stdout
    assert "confirmed at run time (4 times, worst 0.0100 of the true value)" in out
    assert out.count("confirmed at run time") == 1


def test_without_a_share_only_the_count(fa_lint: Lint) -> None:
    write("a.py", UNSAFE)
    for worst in (None, "nan"):
        out = fa_lint("a.py", "--with-runtime", log(event("FAL101", 4, worst=worst, count=1))).stdout
        assert "confirmed at run time (1 time)" in out


def test_files_that_were_not_linted_are_named(fa_lint: Lint) -> None:
    write("a.py", "x = 1\n")
    result = fa_lint("a.py", "--with-runtime", log(*(event("FAL202", n, "lib/b.py") for n in range(1, 8))))
    assert result.exit_code == 0
    assert "7 guard events in files not linted here: " in result.stderr
    assert "b.py:1 FAL202" in result.stderr and "and 2 more" in result.stderr


@pytest.mark.parametrize("options", [["--ignore", "FAL203"], ["--select", "FAL1"], ["--per-file-ignores", "a.py:FAL2"]])
def test_codes_that_are_off_stay_silent(fa_lint: Lint, options: list[str]) -> None:
    write("a.py", "x = 1\n")
    assert fa_lint("a.py", *options, "--with-runtime", log(event("FAL203", 1))).exit_code == 0


@pytest.mark.parametrize(
    "comment",
    ["# fa-lint: ignore[FAL202]", "# fa-lint: ignore[FAL201] on purpose", "# noqa: FAL202", "# fa-lint: ignore"],
)
def test_suppressions_hold_and_count_as_used(fa_lint: Lint, comment: str) -> None:
    write("a.py", f"x = 1\ny = f(\n    x)  {comment}\n")
    result = fa_lint("a.py", "--with-runtime", log(event("FAL202", 2, end_line=3)))
    assert result.exit_code == 0, result.stdout
    assert "FAL901" in fa_lint("a.py").stdout


def test_what_is_in_sight_is_not_said_twice(fa_lint: Lint) -> None:
    write("a.py", CLAMPED)
    out = fa_lint("a.py", "--with-runtime", log(event("FAL201", 4)), "--output-format", "json").stdout
    assert len(json.loads(out)) == 1


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (None, "cannot read events.json: No such file or directory"),
        ("{", "events.json is not JSON"),
        ("[]", "events.json is no log of the guard; write one with `pytest --fa-guard=warn --fa-guard-json=F`"),
        ('{"format": "fa-guard", "version": 1}', "is no log of the guard"),
        ('{"format": "fa-guard", "version": 2, "events": []}', "events.json has version 2, known is 1"),
        ('{"format": "fa-guard", "version": 1, "events": [3]}', "events.json: event 0: `code` must be a string"),
        (
            '{"format": "fa-guard", "version": 1, "events": [{"code": "FAL101", "kind": "k", "file": "a", "line": "1"}]}',
            "events.json: event 0: `line` must be a whole number",
        ),
    ],
)
def test_a_bad_log_is_one_clear_line(fa_lint: Lint, text: str | None, reason: str) -> None:
    write("a.py", "x = 1\n")
    if text is not None:
        Path("events.json").write_text(text)
    result = fa_lint("a.py", "--with-runtime", "events.json")
    assert result.exit_code == 2
    assert result.stderr.count("\n") == 1
    assert result.stderr.startswith("fa-lint: error: --with-runtime: ") and reason in result.stderr


def test_standard_input_has_no_path(fa_lint: Lint) -> None:
    result = fa_lint("-", "--with-runtime", log(), stdin=b"x = 1\n")
    assert result.exit_code == 2
    assert "--with-runtime cannot be used with standard input" in result.stderr


def test_what_the_guard_writes_is_what_the_linter_reads(fa_lint: Lint) -> None:
    torch = pytest.importorskip("torch")
    from fa_lint_runtime import guard

    path = write("a.py", CLAMPED + "\nclass P:\n    grad = None\n\np = P()\n")
    scope: dict[str, Any] = {}
    with guard("record") as seen:
        exec(compile(path.read_text(), str(path), "exec"), scope)
        scope["p"].grad = torch.tensor([3e-10, 4e-10])
        scope["gamma"](scope["p"], torch.tensor([0.6, 0.8]))
    seen.write("events.json")
    out = fa_lint("a.py", "--with-runtime", "events.json").stdout
    assert "confirmed at run time (1 time, worst 0.0500 of the true value)" in out
    assert "runtime only" not in out
