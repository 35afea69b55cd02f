"""Shell completion, by click's own machinery and in a real bash."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from click.shell_completion import ShellComplete

from fa_lint.cli import cli
from tests.conftest import write


def _offered(arguments: list[str], incomplete: str) -> list[str]:
    completer = ShellComplete(cli, {}, "fa-lint", "_FA_LINT_COMPLETE")
    return [item.value for item in completer.get_completions(arguments, incomplete) if item.type == "plain"]


def test_commands_and_the_options_of_check() -> None:
    assert _offered([], "expl") == ["explain"]
    assert _offered([], "--add-i") == ["--add-ignore"]
    assert _offered(["check"], "--write-b") == ["--write-baseline"]
    assert "--version" in _offered([], "--v")


def test_codes() -> None:
    assert _offered(["explain"], "fal10") == ["FAL101", "FAL102", "FAL103", "FAL104"]
    assert _offered(["check", "--select"], "FAL90") == ["FAL900", "FAL901"]
    assert _offered(["check", "--output-format"], "js") == ["json", "jsonl"]


def test_paths() -> None:
    completer = ShellComplete(cli, {}, "fa-lint", "_FA_LINT_COMPLETE")
    assert "file" in {item.type for item in completer.get_completions([], "sr")}
    assert "file" in {item.type for item in completer.get_completions(["check", "--fix"], "sr")}


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_script_of_each_shell(shell: str) -> None:
    environment = {**os.environ, "_FA_LINT_COMPLETE": f"{shell}_source"}
    command = [sys.executable, "-c", "from fa_lint.cli import main; main()"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert "_FA_LINT_COMPLETE" in done.stdout


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        (("explain", "FAL20"), ["FAL201", "FAL202", "FAL203", "FAL204", "FAL205", "FAL206", "FAL207"]),
        (("ex",), ["explain"]),
        (("src",), []),
    ],
)
def test_in_bash(words: tuple[str, ...], offered: list[str]) -> None:
    bash = shutil.which("bash")
    if bash is None:
        pytest.skip("no bash")
    write("bin/fa-lint", f"#!{sys.executable}\nfrom fa_lint.cli import main\nmain()\n").chmod(0o755)
    script = """
        export PATH="$PWD/bin:$PATH"
        eval "$(_FA_LINT_COMPLETE=bash_source fa-lint)"
        compopt() { :; }    # only readline can be told where paths belong
        COMP_WORDS=(fa-lint "$@"); COMP_CWORD=$#
        $(complete -p fa-lint | sed 's/.*-F \\([^ ]*\\) .*/\\1/') fa-lint "${!#}" fa-lint
        printf '%s\\n' "${COMPREPLY[@]}"
    """
    done = subprocess.run([bash, "-c", script, "bash", *words], capture_output=True, text=True, timeout=60, check=False)
    assert done.stderr == ""
    assert done.stdout.split() == offered
    assert Path("bin/fa-lint").exists()
