"""The cache: hits, what makes an entry stale, and caches that are corrupt, foreign or unwritable, which are never fatal."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fa_lint.project.cache import Cache, cache_folder, digest
from fa_lint.project.config import Settings
from fa_lint.project.discovery import discover
from fa_lint.project.engine import Report, lint
from tests.conftest import Lint, notebook, write

# FAL302 and FAL103, neither with a fix: what has one is analysed each time.
NO_FIX = (
    "import torch\ndef f(p):\n    return p.grad.half()\ndef g(y: torch.Tensor):\n    return y.norm(2, keepdim=True)\n"
)


def _lint(*paths: str, **changes: Any) -> Report:
    settings = replace(Settings(root=os.getcwd()), **changes)
    return lint(discover(paths or (".",), settings), settings, jobs=1)


def _file() -> Path:
    [found] = _folder().glob("*.json")
    return found


def _folder() -> Path:
    return Path(cache_folder() or "")


def _project() -> None:
    write("a.py", NO_FIX)
    write("b.py", "y = 1\n")
    write("c.py", "x = (\n")
    write("n.ipynb", json.dumps(notebook(NO_FIX)))


def test_the_second_run_reads_nothing_and_says_the_same() -> None:
    _project()
    first, second = _lint(), _lint()
    assert (first.cached, second.cached) == (0, 4)
    assert first.parsed > 0 == second.parsed
    assert len(first.diagnostics) == 5
    assert second.diagnostics == first.diagnostics
    settings = Settings(root=os.getcwd())
    assert lint(discover(["."], settings), settings, use_cache=False).diagnostics == first.diagnostics


def test_every_output_is_the_same_from_the_cache(fa_lint: Lint) -> None:
    _project()
    for name in ("full", "json", "sarif", "gitlab"):
        without = fa_lint(".", "--no-cache", "--output-format", name).output
        assert fa_lint(".", "--output-format", name).output == without
        assert fa_lint(".", "--output-format", name).output == without


def test_content_decides_and_not_the_path() -> None:
    write("a.py", NO_FIX)
    _lint()
    os.rename("a.py", "b.py")
    moved = _lint()
    assert (moved.cached, {d.path for d in moved.diagnostics}) == (1, {"b.py"})
    write("b.py", NO_FIX + "\n")
    assert _lint().cached == 0
    write("b.ipynb", json.dumps(notebook("x = 1")))
    Path("b.ipynb.py").write_text(Path("b.ipynb").read_text())
    assert {d.path for d in _lint().diagnostics} == {"b.py"}
    assert digest(b"x", "a.py", frozenset()) != digest(b"x", "a.ipynb", frozenset())


def test_a_copy_is_not_told_of_the_first_file() -> None:
    """What a finding says of its own file, it says of the one that was read."""
    write("a.py", NO_FIX)
    _lint("a.py")
    for path in ("b.py", "sub/c.py"):
        write(path, NO_FIX)
        found = _lint(path)
        assert found.cached == 1
        assert {r.path for d in found.diagnostics for r in d.related} == {path}
        settings = Settings(root=os.getcwd())
        assert lint([path], settings, use_cache=False).diagnostics == found.diagnostics


@pytest.mark.parametrize(
    "changes",
    [
        {"select": ("FAL103",)},
        {"ignore": ("FAL103",)},
        {"per_file_ignores": (("a.py", ("FAL103",)),)},
        {"credit_names": ("teaching",)},
    ],
)
def test_settings_that_matter_make_entries_stale(changes: dict[str, Any]) -> None:
    write("a.py", NO_FIX)
    _lint()
    assert _lint().cached == 1
    assert _lint(**changes).cached == 0
    assert _lint(**changes).cached == 1


def test_settings_that_do_not_matter_keep_them() -> None:
    write("a.py", NO_FIX)
    _lint()
    assert _lint(extend_exclude=("zzz",), per_file_ignores=(("b.py", ("FAL103",)),)).cached == 1


def test_old_entries_stay_until_there_are_too_many(monkeypatch: pytest.MonkeyPatch) -> None:
    write("a.py", NO_FIX)
    write("b.py", NO_FIX + "y = 1\n")
    _lint()
    _lint("b.py")
    assert len(json.loads(_file().read_bytes())) == 2
    monkeypatch.setattr("fa_lint.project.cache._MOST_ENTRIES", 2)
    write("c.py", NO_FIX + "z = 1\n")
    _lint("c.py")
    assert len(json.loads(_file().read_bytes())) == 1


def _truncate(data: bytes) -> bytes:
    return data[: len(data) // 2]


@pytest.mark.parametrize(
    "damage",
    [
        _truncate,
        lambda data: b"",
        lambda data: b"\xff\x00\x01",
        lambda data: b"[1, 2]",
        lambda data: b"[" * 100_000,
        lambda data: json.dumps(dict.fromkeys(json.loads(data), 5)).encode(),
        lambda data: json.dumps({key: ["", ""] for key in json.loads(data)}).encode(),
        lambda data: json.dumps({key: [check] for key, (check, _) in json.loads(data).items()}).encode(),
        lambda data: json.dumps({key: {"d": [{}], "p": []} for key in json.loads(data)}).encode(),
        lambda data: json.dumps({key: {"d": 3} for key in json.loads(data)}).encode(),
        lambda data: data.replace(b"hint", b"fatal"),
        lambda data: data.replace(b"frame", b"frames"),
        lambda data: data.replace(b"row", b"line"),
    ],
)
def test_a_corrupt_cache_is_an_empty_one(damage: Callable[[bytes], bytes]) -> None:
    write("a.py", NO_FIX)
    good = _lint().diagnostics
    path = _file()
    path.write_bytes(damage(path.read_bytes()))
    again = _lint()
    assert again.diagnostics == good
    assert again.problems == []
    assert (again.cached, _lint().cached) == (0, 1), "and it is written anew"


def test_a_folder_in_the_way() -> None:
    write("a.py", NO_FIX)
    _lint()
    path = _file()
    path.unlink()
    path.mkdir()
    assert len(_lint().diagnostics) == 2
    assert not list(_folder().glob("*.tmp"))


def test_a_file_where_the_folder_should_be(fa_lint: Lint) -> None:
    write("a.py", NO_FIX)
    _folder().write_text("mine")
    assert fa_lint("a.py").exit_code == 1
    assert _folder().read_text() == "mine"


@pytest.mark.parametrize("call", ["mkdir", "mkstemp", "replace"])
def test_a_cache_that_cannot_be_written(call: str, fa_lint: Lint, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(30, "Read-only file system")

    target = {"mkdir": (Path, "mkdir"), "mkstemp": (tempfile, "mkstemp"), "replace": (os, "replace")}[call]
    write("a.py", NO_FIX)
    monkeypatch.setattr(*target, refuse)
    result = fa_lint("a.py", "--output-format", "concise")
    assert (result.exit_code, result.stderr) == (1, "")
    assert not list(_folder().glob("*.tmp"))


def test_internal_errors_are_not_remembered() -> None:
    from fa_lint.project.check_file import FileResult

    cache = Cache(Settings(root=os.getcwd()))
    cache.put("k", FileResult("a.py", problems=["boom"]))
    assert cache.get("k", "a.py") is None
