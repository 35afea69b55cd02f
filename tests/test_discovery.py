"""Discovery: suffixes, ignore files at every level, excludes, explicit paths, links, and what cannot be read."""

from __future__ import annotations

import builtins
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fa_lint.project.config import Settings
from fa_lint.project.discovery import DiscoveryError, discover
from tests.conftest import UNSAFE, Lint, write


def _discover(*paths: str, **settings: Any) -> list[str]:
    return discover(paths or (".",), Settings(root=os.getcwd(), **settings))


def _tree(*paths: str) -> None:
    for path in paths:
        write(path, "")


def _repository() -> None:
    Path(".git").mkdir()


# -- suffixes and order -------------------------------------------------------------------------------------------


def test_suffixes() -> None:
    _tree("a.py", "b.pyi", "c.ipynb", "d.txt", "e.pyc", "f.PY", "py", "sub/g.py", ".hidden/h.py", ".i.py")
    assert _discover() == [".hidden/h.py", ".i.py", "a.py", "b.pyi", "c.ipynb", "sub/g.py"]


def test_a_folder_that_ends_in_py_is_a_folder() -> None:
    _tree("pkg.py/a.py")
    assert _discover() == ["pkg.py/a.py"]


def test_each_file_once_in_order() -> None:
    _tree("b/a.py", "a.py", "c.py")
    os.symlink("c.py", "d.py")
    assert _discover("c.py", ".", "./b/../a.py", os.path.abspath("a.py"), "b") == ["a.py", "b/a.py", "c.py"]


def test_absolute_paths_stay_absolute() -> None:
    _tree("a.py")
    assert _discover(os.getcwd()) == [os.path.abspath("a.py")]


def test_missing_paths_name_themselves() -> None:
    with pytest.raises(DiscoveryError, match="gone: no such file or directory") as caught:
        _discover("gone")
    assert (caught.value.path, caught.value.reason) == ("gone", "no such file or directory")


# -- ignore files -------------------------------------------------------------------------------------------------


def test_ignore_files_at_every_level() -> None:
    _repository()
    _tree(
        "a.py", "gen_x.py", "pkg/gen_y.py", "pkg/keep/gen_z.py", "pkg/b.py", "pkg/sub/b.py", "out/c.py", "pkg/out/d.py"
    )
    write(".gitignore", "gen_*.py\n/out/\n# comment\n\n")
    write("pkg/.gitignore", "b.py\n!sub/b.py\n")
    write("pkg/keep/.gitignore", "!gen_z.py\n")
    write("pkg/sub/.gitignore", "!b.py\n")
    assert _discover() == ["a.py", "pkg/keep/gen_z.py", "pkg/out/d.py", "pkg/sub/b.py"]


def test_a_file_below_an_ignored_folder_cannot_come_back() -> None:
    _tree("out/a.py")
    write(".gitignore", "out/\n!out/a.py\n")
    assert _discover() == []


@pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")
def test_the_same_files_as_git() -> None:
    _tree("a.py", "b/a.py", "b/c/a.py", "b/c/d.py", "logs/x.py", "logs/keep/y.py", "x y.py", "z.py", "q/z.py", "w/v.py")
    write(".gitignore", "b/c/*\n!b/c/d.py\nlogs/*\n!logs/keep\nx\\ y.py\n/z.py\n**/v.py\n")
    write("b/.gitignore", "/a.py\n")
    subprocess.run(["git", "init", "-q"], check=True, timeout=30)
    listed = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard", "-z", "*.py"], check=True, capture_output=True, timeout=30
    )
    assert _discover() == sorted(listed.stdout.decode().rstrip("\0").split("\0"))


@pytest.mark.parametrize("kind", ["folder", "file"])
def test_ignore_files_above_the_given_folder(kind: str) -> None:
    if kind == "folder":
        _repository()
    else:  # a worktree or submodule
        write(".git", "gitdir: /elsewhere\n")
    _tree("pkg/sub/a.py", "pkg/sub/gen.py", "pkg/sub/tmp.py")
    write(".gitignore", "gen.py\n")
    write("pkg/.gitignore", "tmp.py\n")
    assert _discover("pkg/sub") == ["pkg/sub/a.py"]


def test_ignore_files_outside_a_repository_say_nothing() -> None:
    _tree("pkg/a.py")
    write(".gitignore", "a.py\n")
    assert _discover("pkg") == ["pkg/a.py"]


def test_an_ignored_folder_can_be_named() -> None:
    _repository()
    _tree("out/a.py", "out/b.py")
    write(".gitignore", "out/\n")
    write("out/.gitignore", "b.py\n")
    assert _discover() == []
    assert _discover("out") == ["out/a.py"]


def test_respect_gitignore_off() -> None:
    _tree("a.py", "pkg/b.py")
    write(".gitignore", "*.py\n")
    assert _discover() == []
    assert _discover(respect_gitignore=False) == ["a.py", "pkg/b.py"]


def test_patterns_git_cannot_read_are_skipped() -> None:
    _tree("a.py", "b.py", "c.py")
    write(".gitignore", b"!\n\\\nb.py\n\xff\xfe\nc.py\r\n")
    assert _discover() == ["a.py"]


# -- excludes -----------------------------------------------------------------------------------------------------


def test_default_excludes() -> None:
    _tree(
        "a.py", ".venv/x.py", "venv/x.py", "lib/site-packages/t/x.py", "build/x.py", "dist/x.py", "node_modules/x.py",
        "__pycache__/x.py", ".tox/x.py", "pkg/build/b.py", ".git/hooks/x.py", "pkg/.ipynb_checkpoints/x.ipynb",
    )  # fmt: skip
    assert _discover() == ["a.py", "pkg/build/b.py"]
    assert len(_discover(exclude=())) == 12


def test_a_package_inside_site_packages_can_be_named() -> None:
    _tree(".venv/lib/site-packages/torch/a.py", ".venv/lib/site-packages/torch/_build/b.py")
    assert _discover(".venv/lib/site-packages/torch") == [".venv/lib/site-packages/torch/a.py"]
    assert _discover(".venv/lib/site-packages") == [".venv/lib/site-packages/torch/a.py"]


def test_configured_excludes() -> None:
    _tree("a.py", "gen/b.py", "src/gen/c.py", "src/d_pb2.py", "src/d.py", "src/old/e.py", "src/src/old/f.py")
    assert _discover(extend_exclude=("gen", "*_pb2.py")) == ["a.py", "src/d.py", "src/old/e.py", "src/src/old/f.py"]
    assert _discover(extend_exclude=("/gen", "src/old", "!x")) == [
        "a.py",
        "src/d.py",
        "src/d_pb2.py",
        "src/gen/c.py",
        "src/src/old/f.py",
    ]


def test_patterns_with_folders_count_from_the_configuration() -> None:
    _tree("src/gen/a.py", "src/b.py", "src/src/gen/c.py")
    assert _discover("src", extend_exclude=("src/gen",)) == ["src/b.py", "src/src/gen/c.py"]
    assert _discover("src", extend_exclude=("/src/gen/",)) == ["src/b.py", "src/src/gen/c.py"]
    assert _discover("src/gen", extend_exclude=("src/gen",)) == ["src/gen/a.py"], "what is named is wanted"
    assert _discover("src/gen", extend_exclude=("src/gen/a.py",)) == []


def test_folders_outside_the_configuration(tmp_path: Path) -> None:
    _tree("other/build/a.py", "other/b.py", "project/x.py")
    settings = Settings(root=str(tmp_path / "project"), extend_exclude=("b.py",))
    assert discover(["other"], settings) == []
    settings = Settings(root=str(tmp_path / "project"))
    assert discover(["other"], settings) == ["other/b.py"]


def test_an_explicit_file_is_always_linted() -> None:
    _tree(".venv/a.py", "script", "b.py")
    write(".gitignore", "b.py\n")
    assert _discover(".venv/a.py", "script", "b.py") == [".venv/a.py", "b.py", "script"]


def test_force_exclude() -> None:
    _tree(".venv/a.py", "pkg/b.py", "pkg/c.py", "d.py")
    write("pkg/.gitignore", "b.py\n")
    everything = (".venv/a.py", "pkg/b.py", "pkg/c.py", "d.py")
    assert _discover(*everything, force_exclude=True) == ["d.py", "pkg/c.py"]
    assert _discover(*everything, force_exclude=True, respect_gitignore=False) == ["d.py", "pkg/b.py", "pkg/c.py"]
    outside = Settings(root=os.path.abspath("pkg"), force_exclude=True, extend_exclude=("d.py",))
    assert discover(["d.py"], outside) == ["d.py"], "not below the configuration"


# -- links and trouble --------------------------------------------------------------------------------------------


def test_link_loops(codes: Callable[..., list[str]]) -> None:
    write("pkg/a.py")
    os.symlink("..", "pkg/up")
    os.symlink("self", "pkg/self")
    os.symlink("self.py", "pkg/self.py")
    os.symlink("gone.py", "pkg/dangling.py")
    assert codes(".") == ["pkg/a.py:4:16 FAL101"]
    assert codes("pkg/up/pkg") == ["pkg/up/pkg/a.py:4:16 FAL101"]


def test_special_files_in_a_folder_are_passed_over() -> None:
    os.mkfifo("pipe.py")
    _tree("a.py")
    assert _discover() == ["a.py"]


def test_a_folder_that_cannot_be_listed_is_among_the_files(monkeypatch: pytest.MonkeyPatch) -> None:
    _tree("a.py", "closed/b.py")
    real = os.scandir

    def scandir(path: str) -> Any:
        if os.path.basename(path) == "closed":
            raise PermissionError(13, "Permission denied")
        return real(path)

    monkeypatch.setattr(os, "scandir", scandir)
    assert _discover() == ["a.py", "closed"]


def test_a_file_that_cannot_be_read_is_one_finding(fa_lint: Lint, monkeypatch: pytest.MonkeyPatch) -> None:
    write("a.py")
    write("closed.py")
    real = builtins.open

    def closed(file: Any, *arguments: Any, **options: Any) -> Any:
        if file == "closed.py":
            raise PermissionError(13, "Permission denied")
        return real(file, *arguments, **options)

    monkeypatch.setattr(builtins, "open", closed)
    result = fa_lint(".", "--output-format", "concise")
    assert result.exit_code == 1
    assert result.stdout.splitlines()[1:] == [
        "closed.py:1:1: FAL900 error: cannot be read: Permission denied; the file was not checked"
    ]
    assert fa_lint("closed.py", "--ignore", "FAL900").exit_code == 0


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_a_file_without_permission(fa_lint: Lint) -> None:
    write("closed.py", UNSAFE).chmod(0)
    result = fa_lint("closed.py", "--output-format", "concise")
    assert (result.exit_code, result.stdout.split(": ")[1][:6]) == (1, "FAL900")
