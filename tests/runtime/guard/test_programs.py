"""Every mistake once a call site with the right code and line; no correct twin is reported."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from fa_lint_runtime import guard

from .programs import PROGRAMS


def run(text: str, folder: Path, **options: object) -> list[tuple[int, str]]:
    """(line, code) of every event, all of which must lie in the program's own file."""
    path = folder / "program.py"
    path.write_text(text)
    code = compile(text, str(path), "exec")
    with guard("record", **options) as log:
        exec(code, {"__name__": "program", "FILE": str(folder / "checkpoint.pt")})
    assert not log.unchecked
    assert {event.file for event in log} <= {str(path)}
    return sorted((event.line, event.code) for event in log)


def expected(text: str) -> list[tuple[int, str]]:
    found = []
    for row, line in enumerate(text.splitlines(), 1):
        for back, code in re.findall(r"# EXPECT(-\d+)? (FAL\d+)", line):
            found.append((row + int(back or 0), code))
    return found


def test_there_are_thirty_programs_half_of_them_right() -> None:
    assert len(PROGRAMS) == 30
    assert {name.removesuffix("_right") for name in PROGRAMS} == {name for name in PROGRAMS if "_right" not in name}
    for name, text in PROGRAMS.items():
        assert bool(expected(text)) == ("_right" not in name), name


@pytest.mark.parametrize("name", PROGRAMS)
@pytest.mark.parametrize("thorough", [False, True], ids=["", "thorough"])
def test_program(name: str, thorough: bool, tmp_path: Path) -> None:
    assert run(PROGRAMS[name], tmp_path, thorough=thorough) == expected(PROGRAMS[name])
