"""The cache: nothing in it is believed, written into a file, followed or waited for."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fa_lint.project.cache import cache_folder
from tests.conftest import CLAMPED, MIXED, SAFE, SAFE_FIXED, Lint, write
from tests.test_cache import NO_FIX

_POSIX = pytest.mark.skipif(os.name == "nt", reason="links, pipes and modes of POSIX")
Entries = dict[str, Any]


def _folder() -> Path:
    return Path(cache_folder() or "")


def _file() -> Path:
    [found] = _folder().glob("*.json")
    return found


def _output(fa_lint: Lint, *options: str) -> tuple[int, str, str]:
    began = time.monotonic()
    result = fa_lint("a.py", "--output-format", "concise", *options)
    assert time.monotonic() - began < 20
    return result.exit_code, result.stdout, result.stderr


def _inner(change: Callable[[dict[str, Any]], None], entries: Entries) -> Entries:
    """Every entry with its content changed, and all else as it was."""
    for key, (check, text) in entries.items():
        content = json.loads(text)
        change(content)
        entries[key] = [check, json.dumps(content)]
    return entries


def _row(number: object) -> Callable[[dict[str, Any]], None]:
    def change(content: dict[str, Any]) -> None:
        for found in content["diagnostics"]:
            found["start"]["row"] = found["end"]["row"] = number

    return change


@pytest.mark.parametrize(
    "attack",
    [
        lambda entries: _inner(lambda content: content["diagnostics"].clear(), entries),
        lambda entries: _inner(lambda content: content["diagnostics"].extend(content["diagnostics"]), entries),
        lambda entries: _inner(_row(10**9), entries),
        lambda entries: _inner(_row("1"), entries),
        lambda entries: {key: ["", '{"diagnostics":[],"facts":{},"imports":[]}'] for key in entries},
        lambda entries: {key: {"diagnostics": [], "facts": {}, "imports": []} for key in entries},
        lambda entries: dict(zip(entries, reversed(entries.values()), strict=True)),
        lambda entries: {key: [[], {}] for key in entries},
        lambda entries: {key: [1, 2, 3] for key in entries},
        lambda entries: dict.fromkeys(entries, True),
    ],
)
def test_an_edited_entry_is_no_entry(attack: Callable[[Entries], Entries], fa_lint: Lint) -> None:
    write("a.py", NO_FIX)
    write("b.py", "x = 1\n")
    fa_lint(".")
    expected = _output(fa_lint, "--no-cache")
    assert expected[0] == 1
    _file().write_text(json.dumps(attack(json.loads(_file().read_text()))))
    assert _output(fa_lint) == expected
    assert _output(fa_lint) == expected, "and the entry is written anew"


@pytest.mark.parametrize("bad", ["1", 1.5, True, None, -1, 10**9, 10**30, [1], {}])
def test_a_well_made_entry_with_wrong_types_is_ignored(bad: object, fa_lint: Lint) -> None:
    """Someone who knows how the digest is made."""
    from fa_lint.project.cache import _check

    write("a.py", NO_FIX)
    expected = _output(fa_lint)
    for change in (
        _row(bad),
        lambda content: content.update(imports=bad),
        lambda content: content["diagnostics"].append(bad),
    ):
        entries = _inner(change, json.loads(_file().read_text()))
        _file().write_text(json.dumps({key: [_check(key, text), text] for key, (_, text) in entries.items()}))
        assert _output(fa_lint) == expected


@pytest.mark.parametrize("code", [CLAMPED, MIXED])
def test_no_fix_is_in_it_and_none_is_taken_from_it(code: str, fa_lint: Lint) -> None:
    from fa_lint.project.cache import _check

    write("a.py", NO_FIX)
    fa_lint("a.py")
    entries = json.loads(_file().read_text())
    write("a.py", code)
    fa_lint("a.py")
    assert json.loads(_file().read_text()) == entries, "what has a fix is not remembered"
    for text in _folder().rglob("*"):
        assert b"edits" not in text.read_bytes()
    # A fix with a digest that fits, for the very file.
    evil = {"start": {"row": 1, "column": 1}, "end": {"row": 1, "column": 1}, "content": "evil()\n", "cell": None}

    def add(content: dict[str, Any]) -> None:
        for found in content["diagnostics"]:
            found["fix"] = {"applicability": "safe", "message": "m", "edits": [evil]}

    write("a.py", NO_FIX)
    made = _inner(add, entries)
    _file().write_text(json.dumps({key: [_check(key, text), text] for key, (_, text) in made.items()}))
    fa_lint("a.py", "--fix", "--unsafe-fixes")
    assert Path("a.py").read_text() == NO_FIX


def test_fixes_are_the_same_with_and_without_a_cache(fa_lint: Lint) -> None:
    write("a.py", SAFE)
    fa_lint("a.py")
    fa_lint("a.py", "--fix")
    assert Path("a.py").read_text() == SAFE_FIXED


# -- where it lies ------------------------------------------------------------------------------------------------


def test_the_repository_is_left_alone(
    fa_lint: Lint, monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    home = tmp_path_factory.mktemp("home")
    write("a.py", NO_FIX)
    monkeypatch.delenv("FA_LINT_CACHE_DIR")
    for name in ("HOME", "XDG_CACHE_HOME", "LOCALAPPDATA"):
        monkeypatch.setenv(name, str(home))
    fa_lint("a.py")
    assert os.listdir() == ["a.py"]
    assert list(home.rglob("fa-lint/*.json"))


@pytest.mark.parametrize("place", ["cache", ".", "../x"])
def test_a_relative_place_is_none(place: str, fa_lint: Lint, monkeypatch: pytest.MonkeyPatch) -> None:
    write("a.py", NO_FIX)
    monkeypatch.setenv("FA_LINT_CACHE_DIR", place)
    fa_lint("a.py")
    monkeypatch.delenv("FA_LINT_CACHE_DIR")
    for name in ("HOME", "XDG_CACHE_HOME", "LOCALAPPDATA", "USERPROFILE"):
        monkeypatch.setenv(name, place)
    if os.name == "posix":
        assert _output(fa_lint)[0] == 1
        assert sorted(os.listdir()) == ["a.py"]


@_POSIX
@pytest.mark.parametrize("what", ["link to the file", "link to the folder", "pipe", "device", "open to others"])
def test_what_lies_in_its_place_is_neither_followed_nor_waited_for(
    what: str, fa_lint: Lint, tmp_path_factory: pytest.TempPathFactory
) -> None:
    write("a.py", NO_FIX)
    expected = _output(fa_lint)
    path, elsewhere = _file(), tmp_path_factory.mktemp("elsewhere")
    emptied = json.dumps(_inner(lambda content: None, json.loads(path.read_text())))
    target = elsewhere / path.name
    target.write_text(emptied)
    if what == "link to the folder":
        path.unlink()
        path.parent.rmdir()
        path.parent.symlink_to(elsewhere)
    elif what == "open to others":
        path.parent.chmod(0o777)
        path.write_text("{}")
    else:
        path.unlink()
        if what == "pipe":
            os.mkfifo(path)
        else:
            path.symlink_to("/dev/zero" if what == "device" else target)
    before = target.read_bytes(), os.listdir(elsewhere)
    assert _output(fa_lint) == expected
    assert _output(fa_lint) == expected
    assert (target.read_bytes(), os.listdir(elsewhere)) == before, "nothing was written through the link"


def test_what_is_old_goes(fa_lint: Lint) -> None:
    write("a.py", NO_FIX)
    fa_lint("a.py")
    names = (f"0.0.1-{'0a' * 8}.json", ".fa-lint-x.tmp", f"0.0.2-{'0a' * 8}.json", "notes.txt", "package.json", "a.tmp")
    old, left, new, *others = (_folder() / name for name in names)
    for path in (old, left, new, *others):
        path.write_text("{}")
    for path in (old, left, *others):
        os.utime(path, (1, 1))
    write("a.py", NO_FIX + "y = 1\n")
    fa_lint("a.py")
    assert (old.exists(), left.exists(), new.exists()) == (False, False, True)
    # The user may have named a folder of other files.
    assert all(path.exists() for path in others)


def test_two_projects_have_two_caches(fa_lint: Lint) -> None:
    for folder in ("one", "two"):
        write(f"{folder}/fa-lint.toml", "")
        write(f"{folder}/a.py", NO_FIX)
        fa_lint(folder)
    assert len(list(_folder().glob("*.json"))) == 2
