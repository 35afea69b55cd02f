"""`--diff-from` in a repository whose configuration, attributes and hooks try to run a program."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from fa_lint.project import git as asked
from fa_lint.project.changes import changes_since
from tests.conftest import UNSAFE, Lint, write
from tests.integrations.repository import Repository

Codes = Callable[..., list[str]]
_NEW = UNSAFE + "\n\ndef g(x):\n    return x / x.norm(-1, keepdim=True)\n"
_FOUND = ["a.py:8:16 FAL101", "new.py:4:16 FAL101"]
_HOOKS = (
    "applypatch-msg pre-commit post-checkout post-index-change fsmonitor-watchman reference-transaction "
    "pre-auto-gc post-rewrite pre-merge-commit update post-update sendemail-validate"
).split()
# Values of these are numbers, or change what is found rather than run anything.
_COMMANDS = re.compile(
    r"command|program|cmd|driver|hook|pager|editor|clean|smudge|process|textconv|monitor|ssh|proxy|helper|external|askpass"
    r"|uploadpack|receivepack|tool|browser|man\.",
    re.IGNORECASE,
)


@pytest.fixture
def mark(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("mark") / "executed"


@pytest.fixture
def trap(mark: Path) -> str:
    """A command that leaves a mark, whatever its arguments, and passes its input on."""
    script = write(mark.parent / "trap.sh", f'#!/bin/sh\necho "$0 $*" >> {shlex.quote(str(mark))}\nexec cat\n')
    script.chmod(0o755)
    return str(script)


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    made = Repository(tmp_path)
    write("a.py", UNSAFE)
    write("moved.py", UNSAFE + "# padding\n" * 20)
    made.commit()
    made.git("mv", "moved.py", "renamed.py")
    write("a.py", _NEW)
    write("new.py", UNSAFE)
    return made


def _set(repository: Repository, options: dict[str, str]) -> None:
    for key, value in options.items():
        repository.git("config", key, value)


def test_every_command_that_git_can_be_configured_with(
    repository: Repository, codes: Codes, mark: Path, trap: str
) -> None:
    names = subprocess.run(["git", "help", "--config"], capture_output=True, text=True, check=True, timeout=60).stdout
    found = [re.sub(r"<[^>]*>|\*", "evil", name) for name in names.split() if _COMMANDS.search(name)]
    keys = [
        key
        for key in found
        if re.fullmatch(r"[\w.-]+\.[a-zA-Z][\w-]*", key) and not key.lower().endswith((".binary", ".cachetextconv"))
    ]
    assert len(keys) > 60
    for name in (".gitattributes", ".git/info/attributes", ".git/more-attributes"):
        write(name, "* filter=evil diff=evil merge=evil text eol=crlf ident\n*.py filter=evil diff=evil\n")
    repository.git("config", "include.path", "included")
    write(".git/included", f'[core]\n\tfsmonitor = {trap}\n\tpager = {trap}\n[diff "evil"]\n\ttextconv = {trap}\n')
    for hook in _HOOKS:
        write(f".git/hooks/{hook}", Path(trap).read_text()).chmod(0o755)
    for key in keys:
        # Some are numbers to git, which stops there.
        repository.git("config", key, trap)
        if subprocess.run(["git", "status"], capture_output=True, check=False, timeout=60).returncode:
            repository.git("config", "--unset", key)
    _set(
        repository,
        {
            "core.fsmonitor": trap,
            "core.hooksPath": str(repository.folder / ".git" / "hooks"),
            "core.attributesFile": str(repository.folder / ".git" / "more-attributes"),
            "diff.external": trap,
            "diff.evil.command": trap,
            "diff.evil.textconv": trap,
            "filter.evil.clean": trap,
            "filter.evil.smudge": trap,
            "filter.evil.process": trap,
            "filter.evil.required": "true",
            "core.sshCommand": trap,
            "core.pager": trap,
            "pager.diff": "true",
            "alias.ls-files": f"!{trap}",
            "submodule.recurse": "true",
            "color.ui": "always",
        },
    )
    mark.unlink(missing_ok=True)
    assert codes(".", "--diff-from", "HEAD") == _FOUND
    assert not mark.exists(), mark.read_text()
    # The trap is set: what git does by itself runs it.
    subprocess.run(["git", "status"], capture_output=True, check=False, timeout=60)
    assert mark.exists()


def test_the_environment_names_no_program_either(
    repository: Repository, codes: Codes, mark: Path, trap: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in ("EXTERNAL_DIFF", "PAGER", "EDITOR", "SSH", "SSH_COMMAND", "PROXY_COMMAND", "ASKPASS", "EXEC_PATH"):
        monkeypatch.setenv(f"GIT_{name}", str(Path(trap).parent) if name == "EXEC_PATH" else trap)
    for name in ("GIT_TRACE", "GIT_TRACE2", "GIT_TRACE2_EVENT", "GIT_TRACE_SETUP"):
        monkeypatch.setenv(name, str(mark))
    monkeypatch.setenv("GIT_CONFIG_COUNT", "1")
    monkeypatch.setenv("GIT_CONFIG_KEY_0", "core.fsmonitor")
    monkeypatch.setenv("GIT_CONFIG_VALUE_0", trap)
    monkeypatch.setenv("GIT_CONFIG_PARAMETERS", f"'core.fsmonitor'='{trap}'")
    monkeypatch.setenv("GIT_DIFF_OPTS", "--unified=50")
    monkeypatch.setenv("GIT_OBJECT_DIRECTORY", str(tmp_path / "nowhere"))
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(write(mark.parent / "global", f"[core]\n\tfsmonitor = {trap}\n")))
    assert codes(".", "--diff-from", "HEAD") == _FOUND
    assert not mark.exists(), mark.read_text()


@pytest.mark.parametrize("search", ["", ".", "bin", "{here}/nowhere"])
def test_a_git_of_the_working_directory_is_not_run(
    repository: Repository, codes: Codes, mark: Path, trap: str, monkeypatch: pytest.MonkeyPatch, search: str
) -> None:
    for name in ("git", "git.exe", "bin/git"):
        write(name, Path(trap).read_text()).chmod(0o755)
    monkeypatch.setenv("PATH", os.pathsep.join([search.format(here=os.getcwd()), os.environ["PATH"]]))
    assert codes(".", "--diff-from", "HEAD") == _FOUND
    assert not mark.exists()


def test_a_partial_clone_fetches_nothing(repository: Repository, fa_lint: Lint, mark: Path, trap: str) -> None:
    blob = subprocess.run(["git", "rev-parse", "HEAD:a.py"], capture_output=True, text=True, check=True).stdout.strip()
    Path(".git", "objects", blob[:2], blob[2:]).unlink()
    _set(
        repository,
        {
            "core.repositoryFormatVersion": "1",
            "extensions.partialClone": "origin",
            "remote.origin.url": f"ext::{trap} %S",
            "remote.origin.promisor": "true",
            "remote.origin.uploadpack": trap,
            "remote.origin.vcs": "ext",
            "protocol.ext.allow": "always",
            "protocol.allow": "always",
        },
    )
    result = fa_lint(".", "--diff-from", "HEAD", "--output-format", "concise")
    assert not mark.exists(), mark.read_text()
    # What cannot be compared counts as new, or is said: it is never left out.
    assert result.exit_code == 2 or "a.py:4:16: FAL101" in result.stdout


def test_a_submodule_is_its_own_repository(repository: Repository, codes: Codes, mark: Path, trap: str) -> None:
    inner = repository.folder / "inner"
    inner.mkdir()
    made = Repository(inner)
    write("inner/b.py", UNSAFE)
    made.commit()
    _set(made, {"core.fsmonitor": trap, "filter.evil.clean": trap})
    write("inner/.git/info/attributes", "* filter=evil\n")
    repository.git("add", "inner")
    mark.unlink(missing_ok=True)
    write("inner/b.py", _NEW)
    assert codes(".", "--diff-from", "HEAD") == [_FOUND[0], "inner/b.py:8:16 FAL101", _FOUND[1]]
    assert not mark.exists(), mark.read_text()


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="pipes in the file system are POSIX's")
def test_a_configuration_that_never_ends(
    repository: Repository, fa_lint: Lint, monkeypatch: pytest.MonkeyPatch
) -> None:
    os.mkfifo(repository.folder / "pipe")
    _set(repository, {"include.path": str(repository.folder / "pipe")})
    monkeypatch.setattr(asked, "_SECONDS", 1)
    began = time.monotonic()
    result = fa_lint(".", "--diff-from", "HEAD")
    assert time.monotonic() - began < 20
    assert (result.exit_code, result.stderr) == (
        2,
        "fa-lint: error: --diff-from HEAD: git has not answered in 1 seconds\n",
    )


def test_names_and_texts_that_look_like_a_patch(repository: Repository, codes: Codes) -> None:
    for name in ("+++ b/0", "a\nb/1.py", "-- x.py", "b.py"):
        write(f"odd/{name}", "s = 1\n")
    repository.commit()
    write("odd/a\nb/1.py", "s = '''\n+++ b/0\n@@ -1 +1,9 @@\n-- a\n'''\n" + UNSAFE)
    write("odd/b.py", "s = 1\n" + UNSAFE)
    found = codes(".", "--diff-from", "HEAD")
    assert found == ["odd/a\nb/1.py:9:16 FAL101", "odd/b.py:5:16 FAL101"]


def test_a_large_change_takes_seconds(repository: Repository) -> None:
    write("big.py", "".join(f"x = {n % 7}\n" for n in range(100_000)))
    repository.commit()
    write("big.py", "".join(f"x = {n % 5}\n" for n in range(100_000)) + "y = 1\n")
    began = time.monotonic()
    changes = changes_since("HEAD", ["big.py"])
    assert time.monotonic() - began < 20
    rows = changes.rows["big.py"]
    assert rows is not None
    assert (None, 100_001) in rows
    assert len(rows) < 100_000
