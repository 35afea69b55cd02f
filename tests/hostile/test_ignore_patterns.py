"""Patterns of files, which a repository writes itself: none is matched by trying every way to fill its wildcards."""

from __future__ import annotations

import os
import re
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pathspec import GitIgnoreSpec

from fa_lint.project.ignoring import ignore_spec, within_components
from tests.conftest import UNSAFE, Lint, write

_PARTS = [
    "a",
    "b",
    "*",
    "**",
    "/",
    "/**/",
    "**/",
    "a*",
    "[ab]",
    "?",
    "!",
    "[^/]",
    "\\*",
    "[]a]",
    "/**",
    "[!a]",
    "+",
    ".",
]
_patterns = st.lists(st.sampled_from(_PARTS), min_size=1, max_size=9).map("".join)
_paths = st.lists(st.text("ab]^[", min_size=1, max_size=5), min_size=1, max_size=6).map("/".join)


@settings(max_examples=500, deadline=None)
@given(_patterns, st.lists(_paths, min_size=1, max_size=6), st.sampled_from(["", "/"]))
def test_the_same_paths_match(pattern: str, paths: list[str], end: str) -> None:
    """And match in the same way, as what pathspec makes of a pattern, but for classes that match a slash there."""
    try:
        before = GitIgnoreSpec.from_lines([pattern])
    except ValueError:
        return
    for one, other in zip(before.patterns, ignore_spec([pattern]).patterns, strict=True):
        if one.regex is not None:
            expected = re.compile(within_components(one.regex.pattern))
            for path in paths:
                found, wanted = other.regex.match(path + end), expected.match(path + end)
                assert (found and found.groupdict()) == (wanted and wanted.groupdict())


_WIDE, _DEEP = "a" * 250, "/".join("a" * 250)
_SLOW = {
    "*a" * 30 + "b": _WIDE, "?*" * 40 + "b": _WIDE, "[ab]*" * 40 + "c": _WIDE, "**" * 40 + "c": _WIDE, "[!b]*" * 40 + "b": _WIDE,
    "*a" * 30 + "/b": f"{_WIDE}/c", "**/a/" * 20 + "b": _DEEP, "**/*a*a/" * 10 + "b": "/".join(["aaaaa"] * 100),
    "/**/a*" * 15 + "b": _DEEP, "a/**/" * 15 + "*b*b*c": "/".join(["ab"] * 200), "*/" * 40 + "b": _DEEP, "**/*/" * 20 + "b": _DEEP,
}  # fmt: skip


@pytest.mark.parametrize("pattern", _SLOW)
def test_no_pattern_takes_long(pattern: str) -> None:
    began = time.process_time()
    assert not ignore_spec([pattern]).match_file(_SLOW[pattern])
    assert time.process_time() - began < 1


@pytest.mark.skipif(os.name == "nt", reason="paths of POSIX")
def test_a_repository_that_is_made_to_be_walked_for_hours(fa_lint: Lint) -> None:
    write(f"{'a' * 240}.py", UNSAFE)
    write("/".join("a" * 100) + "/a.py", UNSAFE)
    slow = ["*a" * 30 + "b", "**/a/" * 20 + "b"]
    rows = "".join(f'"{pattern}" = ["FAL101"]\n' for pattern in slow)
    for name, text in (
        (".gitignore", "\n".join(slow)),
        ("fa-lint.toml", f"exclude = {slow}\nextend-exclude = {slow}\n[per-file-ignores]\n{rows}".replace("'", '"')),
        ("fa-lint.toml", f'feedback-names = ["{slow[0]}"]\ncredit-names = ["{slow[0]}"]\n'),
    ):
        Path(name).write_text(text)
        began = time.monotonic()
        for options in ([], ["--show-files"], ["--force-exclude"]):
            assert fa_lint(".", "a" * 240 + ".py", "--output-format", "concise", *options).exit_code in (0, 1)
        assert time.monotonic() - began < 20
