"""The command line: every option of ``check``, exit codes, errors without tracebacks, ``rule``, ``init``, ``--version``."""

from __future__ import annotations

import io
import json
import os
import runpy
import subprocess
import sys
import time
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import fa_lint.cli.commands as commands
from fa_lint._version import __version__
from fa_lint.cli import main
from fa_lint.findings import Finding
from fa_lint.installing import NEEDS_RUNTIME
from fa_lint.output.console import wants_colour
from fa_lint.rules import ENGINE_CODES, registry
from tests.conftest import CLAMPED, MIXED, SAFE, SAFE_FIXED, UNSAFE, UNSAFE_FIXED, Lint, write

Codes = Callable[..., list[str]]


def _process(*arguments: str, stdin: bytes | None = None, **environment: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [sys.executable, "-m", "fa_lint", *arguments],
        input=stdin,
        capture_output=True,
        timeout=60,
        env={**os.environ, **environment},
        check=False,
    )


# -- exit codes ---------------------------------------------------------------------------------------------------


def test_exit_0_for_a_clean_file(fa_lint: Lint) -> None:
    write("a.py", "x = 1\n")
    result = fa_lint("a.py")
    assert (result.exit_code, result.output) == (0, "No findings in 1 file.\n")


def test_a_bare_path_is_check(fa_lint: Lint) -> None:
    write("a.py")
    assert fa_lint("a.py").output == fa_lint("check", "a.py").output
    assert fa_lint("a.py").exit_code == 1


def test_an_option_before_the_path_is_check(codes: Codes, fa_lint: Lint) -> None:
    write("a.py")
    assert fa_lint("--output-format", "concise", "a.py").stdout.startswith("a.py:4:16: FAL101 error: ")


def test_the_process_exits_with_the_code() -> None:
    write("a.py")
    write("clean.py", "x = 1\n")
    assert _process("a.py").returncode == 1
    assert _process("clean.py").returncode == 0
    missing = _process("gone.py")
    assert (missing.returncode, missing.stdout) == (2, b"")
    assert missing.stderr == b"fa-lint: error: gone.py: no such file or directory\n"


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["gone.py"], "gone.py: no such file or directory"),
        (["a.py", "-"], "cannot be mixed"),
        (["a.py", "--output-format", "xml"], "'xml'"),
        (["a.py", "--frobnicate"], "--frobnicate"),
        (["a.py", "--select", "FAL106"], "unknown rule `FAL106`; did you mean `FAL10"),
        (["a.py", "--ignore", "E501"], "unknown rule `E501`"),
        (["a.py", "--select", ""], "unknown rule ``"),
        (["a.py", "--extend-select", "FAL999"], "unknown rule `FAL999`"),
        (["a.py", "--per-file-ignores", "a.py"], "--per-file-ignores takes PATTERN:CODE, not `a.py`"),
        (["a.py", "--per-file-ignores", "a.py:FAL999"], "--per-file-ignores: unknown rule `FAL999`"),
        (["a.py", "--config", "gone.toml"], "gone.toml: no such configuration file"),
        (["a.py", "--isolated", "--config", "x.toml"], "--isolated: cannot be combined with --config"),
        (["a.py", "--output-file", "no/such/folder.txt"], "cannot write no/such/folder.txt: No such file"),
        (["a.py", "-j", "-1"], "-1"),
        (["rule"], "give one rule code, or --all"),
        (["rule", "FAL101", "--all"], "give one rule code, or --all"),
        (["rule", "FAL106"], "unknown rule `FAL106`; did you mean `FAL10"),
        (["rule", "zzz"], "unknown rule `zzz`\n"),
        (["init", "gone"], "gone: no such directory"),
    ],
)
def test_exit_2_and_a_reason(fa_lint: Lint, arguments: list[str], complaint: str) -> None:
    write("a.py")
    result = fa_lint(*arguments)
    assert result.exit_code == 2
    assert complaint in result.stderr
    assert result.stdout == ""


def test_a_link_to_itself_is_no_such_file(fa_lint: Lint) -> None:
    os.symlink("loop.py", "loop.py")
    result = fa_lint("loop.py")
    assert (result.exit_code, result.stderr) == (2, "fa-lint: error: loop.py: no such file or directory\n")


def test_an_unparsable_file_is_exit_1_whatever_fails_a_run(fa_lint: Lint) -> None:
    write("a.py", "x = (\n")
    assert fa_lint("a.py", "--fail-on", "error").exit_code == 1
    assert fa_lint("a.py", "--exit-zero").exit_code == 0


@pytest.mark.parametrize(("level", "status"), [("error", 0), ("warning", 0), ("hint", 1)])
def test_fail_on(fa_lint: Lint, level: str, status: int) -> None:
    write("a.py", MIXED)
    assert fa_lint("a.py", "--select", "FAL103", "--fail-on", level).exit_code == status
    assert fa_lint("a.py", "--fail-on", level).exit_code == 1
    assert fa_lint("a.py", "--fail-on", level, "--exit-zero").exit_code == 0


# -- never a traceback --------------------------------------------------------------------------------------------


@pytest.fixture
def broken_rule(monkeypatch: pytest.MonkeyPatch) -> None:
    """FAL101 raises, in this process."""

    def check(self: object, facts: object) -> Iterator[Finding]:
        raise ZeroDivisionError("boom")

    monkeypatch.setattr(type(registry()["FAL101"]), "check", check)


@pytest.mark.usefixtures("broken_rule")
def test_a_rule_that_raises_costs_neither_the_other_rules_nor_the_other_files(fa_lint: Lint) -> None:
    write("a.py", MIXED)
    write("b.py", CLAMPED)
    result = fa_lint("a.py", "b.py", "--output-format", "concise", "-j", "1", "--no-cache")
    assert result.exit_code == 2
    assert result.stderr == "fa-lint: internal error: a.py: rule FAL101 failed: ZeroDivisionError: boom\n"
    assert [line.split(" ")[:2] for line in result.stdout.splitlines()] == [
        ["a.py:7:12:", "FAL103"],
        ["b.py:4:12:", "FAL201"],
    ]


@pytest.mark.usefixtures("broken_rule")
@pytest.mark.parametrize("options", [[], ["--diff"], ["--fix"], ["--exit-zero"], ["--output-format", "sarif"]])
def test_an_internal_error_is_exit_2_in_every_mode(fa_lint: Lint, options: list[str]) -> None:
    write("a.py", MIXED)
    result = fa_lint("a.py", "--no-cache", *options)
    assert result.exit_code == 2
    assert "rule FAL101 failed: ZeroDivisionError: boom" in result.stderr
    piped = fa_lint("-", "--no-cache", *options, stdin=MIXED.encode())
    assert piped.exit_code == 2
    assert "-: rule FAL101 failed: ZeroDivisionError: boom" in piped.stderr


@pytest.mark.usefixtures("broken_rule")
def test_a_rule_that_raises_makes_no_suppression_unused(codes: Codes, fa_lint: Lint) -> None:
    write("a.py", UNSAFE.replace("True)", "True)  # noqa: FAL101"))
    assert fa_lint("a.py", "--no-cache", "--output-format", "concise").stdout == ""


def test_the_last_resort_is_a_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def discover(*_: object) -> list[str]:
        raise RuntimeError("no idea")

    monkeypatch.setattr("fa_lint.cli.selection.discover", discover)
    write("a.py")
    with pytest.raises(SystemExit) as ended:
        main(["a.py"])
    assert ended.value.code == 2
    assert capsys.readouterr().err == "fa-lint: internal error: RuntimeError: no idea\n"


def test_a_broken_registry_is_exit_2(fa_lint: Lint, monkeypatch: pytest.MonkeyPatch) -> None:
    from fa_lint.rules import RuleError

    def registry() -> None:
        raise RuleError("mine:Rule", "the entry point is not a subclass of fa_lint.rules.Rule")

    monkeypatch.setattr(commands, "registry", registry)
    write("a.py")
    result = fa_lint("a.py")
    assert result.exit_code == 2
    assert "mine:Rule: the entry point is not a subclass" in result.stderr


def test_file_names_that_are_no_text(fa_lint: Lint) -> None:
    with open(b"b\xff.py", "wb") as stream:
        stream.write(UNSAFE.encode())
    for name in ("full", "concise", "json", "jsonl", "sarif", "github", "gitlab", "junit"):
        result = fa_lint(".", "--output-format", name)
        assert result.exit_code == 1, name
    document = json.loads(fa_lint(".", "--output-format", "json").stdout)
    assert os.fsencode(document[0]["filename"]).endswith(b"/b\xff.py")
    assert fa_lint(".", "--diff", "--unsafe-fixes").exit_code == 1
    assert fa_lint(".", "--output-file", "out.txt", "--output-format", "concise").exit_code == 1
    assert Path("out.txt").read_text().startswith("b\\udcff.py:4:16: FAL101")


# -- selection ----------------------------------------------------------------------------------------------------


def test_select_ignore_and_extend_select(codes: Codes) -> None:
    write("a.py", MIXED)
    both = ["a.py:4:16 FAL101", "a.py:7:12 FAL103"]
    assert codes("a.py") == both
    assert codes("a.py", "--select", "FAL101") == both[:1]
    assert codes("a.py", "--select", "fal1") == both
    assert codes("a.py", "--select", "FAL2,FAL103") == both[1:]
    assert codes("a.py", "--select", "ALL") == both
    assert codes("a.py", "--ignore", "FAL1") == []
    assert codes("a.py", "--select", "FAL101", "--ignore", "FAL1") == both[:1], "the more precise one wins"
    assert codes("a.py", "--select", "FAL1", "--ignore", "FAL101") == both[1:]
    assert codes("a.py", "--select", "FAL2", "--extend-select", "FAL103") == both[1:]


def test_flags_replace_what_is_configured(codes: Codes) -> None:
    write("a.py", MIXED)
    write("fa-lint.toml", 'select = ["FAL2"]\n')
    assert codes("a.py") == []
    assert codes("a.py", "--extend-select", "FAL103") == ["a.py:7:12 FAL103"]
    assert codes("a.py", "--select", "FAL101") == ["a.py:4:16 FAL101"]


def test_per_file_ignores(codes: Codes) -> None:
    write("a.py", MIXED)
    write("tests/a.py", MIXED)
    assert codes(".", "--per-file-ignores", "tests/*:FAL101,tests/*:FAL103") == ["a.py:4:16 FAL101", "a.py:7:12 FAL103"]
    assert codes(".", "--per-file-ignores", "a.py:FAL1") == []
    assert codes(".", "--per-file-ignores", "tests/*:FAL103", "--select", "FAL103") == ["a.py:7:12 FAL103"]


# -- fixes --------------------------------------------------------------------------------------------------------


def test_fix_applies_safe_fixes_only(fa_lint: Lint) -> None:
    write("safe.py", SAFE)
    write("unsafe.py", UNSAFE)
    result = fa_lint(".", "--fix", "--output-format", "concise")
    assert Path("safe.py").read_text() == SAFE_FIXED
    assert Path("unsafe.py").read_text() == UNSAFE
    assert result.exit_code == 1
    assert result.stderr == "Fixed 1 finding in 1 file: FAL402 unregistered-feedback.\n"
    assert [line.split(":")[0] for line in result.stdout.splitlines()] == ["unsafe.py"]


def test_unsafe_fixes(fa_lint: Lint) -> None:
    write("safe.py", SAFE)
    write("unsafe.py", UNSAFE)
    result = fa_lint(".", "--fix", "--unsafe-fixes")
    rules = "FAL101 negative-norm-order, FAL402 unregistered-feedback"
    assert (result.exit_code, result.stderr) == (0, f"Fixed 2 findings in 2 files: {rules}.\n")
    assert Path("unsafe.py").read_text() == UNSAFE_FIXED
    assert fa_lint(".", "--fix", "--unsafe-fixes").stderr == ""


def test_a_fix_that_needs_the_runtime_says_how_to_install_it(fa_lint: Lint) -> None:
    write("a.py", CLAMPED)
    write("b.py", CLAMPED)
    assert fa_lint(".").stdout.splitlines()[-1].endswith(f" 2 fixable with --fix --unsafe-fixes. {NEEDS_RUNTIME}")
    assert 'pip install "fa-lint[runtime]' in NEEDS_RUNTIME
    piped = fa_lint("-", "--fix", "--unsafe-fixes", stdin=CLAMPED.encode())
    assert piped.stderr.splitlines()[0] == NEEDS_RUNTIME
    fixed = "Fixed 2 findings in 2 files: FAL201 clamped-gradient-cosine (2).\n"
    assert fa_lint(".", "--fix", "--unsafe-fixes").stderr == f"{fixed}{NEEDS_RUNTIME}\n"
    # Where the file imported the package before, the fix asks for nothing new.
    write("c.py", "from fa_lint_runtime import safe_norm\n" + CLAMPED)
    assert NEEDS_RUNTIME not in fa_lint("c.py").stdout
    fixed = "Fixed 1 finding in 1 file: FAL201 clamped-gradient-cosine.\n"
    assert fa_lint("c.py", "--fix", "--unsafe-fixes").stderr == fixed


def test_diff_changes_nothing(fa_lint: Lint) -> None:
    write("a.py", CLAMPED)
    write("b.py", UNSAFE)
    result = fa_lint("a.py", "--diff", "--unsafe-fixes")
    assert result.exit_code == 1
    assert result.stderr == f"Would fix 1 finding in 1 file: FAL201 clamped-gradient-cosine.\n{NEEDS_RUNTIME}\n"
    assert result.stdout == (
        "--- a/a.py\n+++ b/a.py\n@@ -1,4 +1,4 @@\n-import torch.nn.functional as F\n"
        "+from fa_lint_runtime import safe_cosine\n \n def gamma(p, credit):\n"
        "-    return F.cosine_similarity(credit, p.grad, dim=0)\n+    return safe_cosine(credit, p.grad, dim=0)\n"
    )
    assert Path("a.py").read_text() == CLAMPED
    assert fa_lint(".", "--diff", "--unsafe-fixes", "--exit-zero").exit_code == 0
    assert fa_lint("b.py", "--diff").exit_code == 0, "nothing a safe fix would change"
    assert "+    return x / x.norm(dim=-1, keepdim=True)" in fa_lint("b.py", "--diff", "--unsafe-fixes").stdout


def test_diff_marks_a_missing_last_line_end_and_colours(fa_lint: Lint) -> None:
    write("a.py", CLAMPED.rstrip("\n"))
    plain = fa_lint("a.py", "--diff", "--unsafe-fixes").stdout
    assert plain.count("\\ No newline at end of file\n") == 2
    coloured = fa_lint("a.py", "--diff", "--unsafe-fixes", "--color", "always").stdout
    assert "\x1b[32m+from fa_lint_runtime import safe_cosine\n\x1b[0m" in coloured


def test_a_file_that_cannot_be_written_is_told_and_exit_2(fa_lint: Lint, monkeypatch: pytest.MonkeyPatch) -> None:
    from fa_lint.fixes.edits import FixError

    def refuse(path: str, data: bytes) -> None:
        raise FixError(path, "Read-only file system")

    monkeypatch.setattr("fa_lint.fixes.rewriting.write_atomically", refuse)
    write("a.py", SAFE)
    result = fa_lint("a.py", "--fix", "--output-format", "concise")
    assert result.exit_code == 2
    assert result.stderr.splitlines()[0] == "fa-lint: error: a.py: not fixed: Read-only file system"
    assert result.stdout.startswith("a.py:6:9: FAL402")
    assert Path("a.py").read_text() == SAFE


def test_a_file_that_vanishes_before_its_fix(fa_lint: Lint, monkeypatch: pytest.MonkeyPatch) -> None:
    write("a.py", SAFE)

    def gone(path: str) -> bytes:
        raise FileNotFoundError(2, "No such file or directory")

    monkeypatch.setattr("fa_lint.fixes.rewriting.read_file", gone)
    result = fa_lint("a.py", "--diff")
    assert result.exit_code == 2
    assert "fa-lint: error: a.py: not fixed: No such file or directory" in result.stderr


@pytest.mark.parametrize("options", [[], ["--diff"]])
def test_a_reader_that_closes_the_pipe_ends_the_run_without_a_word(tmp_path: Path, options: list[str]) -> None:
    for number in range(40):
        (tmp_path / f"a{number}.py").write_text(SAFE)
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "wb") as out:
        done = subprocess.run(
            [sys.executable, "-m", "fa_lint", str(tmp_path), *options],
            stdout=out,
            stderr=subprocess.PIPE,
            timeout=60,
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
            check=False,
        )
    assert (done.returncode, done.stderr) == (1, b"")


# -- output -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["full", "concise", "json", "jsonl", "sarif", "github", "gitlab", "junit"])
def test_output_file_holds_what_would_be_printed(fa_lint: Lint, name: str) -> None:
    write("a.py", MIXED)
    printed = fa_lint("a.py", "--output-format", name)
    to_file = fa_lint("a.py", "--output-format", name, "--output-file", "out")
    assert (to_file.exit_code, to_file.stdout) == (1, "")
    assert Path("out").read_text() == printed.stdout
    assert "FAL101" in printed.stdout
    assert "FAL103" in printed.stdout


@pytest.mark.parametrize("name", ["full", "concise", "json", "jsonl", "sarif", "github", "gitlab", "junit"])
def test_every_format_of_a_clean_run(fa_lint: Lint, name: str) -> None:
    write("a.py", "x = 1\n")
    result = fa_lint("a.py", "--output-format", name)
    assert result.exit_code == 0
    expected = {
        "full": "No findings in 1 file.\n",
        "concise": "",
        "json": "[]\n",
        "jsonl": "",
        "github": "",
        "gitlab": "[]\n",
    }
    if name in expected:
        assert result.stdout == expected[name]


def test_statistics(fa_lint: Lint) -> None:
    write("a.py", MIXED)
    write("b.py", UNSAFE)
    result = fa_lint(".", "--statistics")
    expected = "2  FAL101       negative-norm-order\n1  FAL103       norm-keepdim-without-dim\n"
    assert (result.exit_code, result.stdout) == (1, expected)
    assert fa_lint(".", "--statistics", "--output-file", "out").stdout == ""
    assert Path("out").read_text() == expected


def test_show_files(fa_lint: Lint) -> None:
    write("pkg/b.py")
    write("pkg/a.pyi")
    write("pkg/c.ipynb")
    write("pkg/d.txt")
    result = fa_lint("--show-files", ".")
    assert (result.exit_code, result.stdout.splitlines()) == (0, ["pkg/a.pyi", "pkg/b.py", "pkg/c.ipynb"])


def test_show_settings(fa_lint: Lint) -> None:
    write("fa-lint.toml", 'ignore = ["FAL103"]\n')
    result = fa_lint(
        "--show-settings", ".", "--select", "FAL1", "--fail-on", "hint", "--force-exclude", "--exclude", "a,b"
    )
    rows = dict(line.split(" = ", 1) for line in result.stdout.splitlines())
    assert result.exit_code == 0
    assert rows["select"] == "('FAL1',)"
    assert rows["ignore"] == "('FAL103',)"
    assert rows["exclude"] == "('a', 'b')"
    assert rows["force-exclude"] == "True"
    assert "hint" in rows["fail-on"]
    assert rows["config-file"].endswith("fa-lint.toml'")


def test_no_file_is_a_warning(fa_lint: Lint) -> None:
    Path("empty").mkdir()
    result = fa_lint("empty")
    assert result.exit_code == 0
    assert result.stderr == "fa-lint: warning: no Python file or notebook under the given paths\n"


def test_colour(fa_lint: Lint, monkeypatch: pytest.MonkeyPatch) -> None:
    write("a.py")
    assert "\x1b" not in fa_lint("a.py").stdout, "no terminal"
    coloured = fa_lint("a.py", "--color", "always").stdout
    assert "\x1b[1;31mFAL101\x1b[0m" in coloured
    assert "\x1b" not in fa_lint("a.py", "--color", "never").stdout
    for name, value in (("NO_COLOR", "1"), ("TERM", "dumb")):
        with monkeypatch.context() as context:
            context.setenv(name, value)
            options = commands.CheckOptions()
            assert not wants_colour(options.color, terminal=True)
            assert "\x1b" in fa_lint("a.py", "--color", "always").stdout, "what is asked for is done"
    monkeypatch.setenv("TERM", "xterm")
    assert wants_colour(commands.CheckOptions().color, terminal=True)


def test_jobs_and_cache_change_nothing(fa_lint: Lint) -> None:
    for number in range(5):
        write(f"m{number}.py", MIXED if number % 2 else CLAMPED)
    runs = [fa_lint(".", *options).output for options in ([], ["-j", "1"], ["-j", "2"], ["--no-cache"], ["-j", "0"])]
    assert len(set(runs)) == 1
    assert runs[0].count("FAL1") + runs[0].count("FAL2") >= 7


def test_no_cache_writes_no_cache(fa_lint: Lint) -> None:
    write("a.py", "x = 1\n")
    fa_lint("a.py", "--no-cache")
    assert not Path(os.environ["FA_LINT_CACHE_DIR"]).exists()
    fa_lint("a.py")
    assert Path(os.environ["FA_LINT_CACHE_DIR"]).is_dir()


# -- standard input -----------------------------------------------------------------------------------------------


def test_stdin(codes: Codes) -> None:
    assert codes("-", stdin=UNSAFE.encode()) == ["-:4:16 FAL101"]
    assert codes("-", "--stdin-filename", "pkg/x.py", stdin=UNSAFE.encode()) == ["pkg/x.py:4:16 FAL101"]
    assert not Path(os.environ["FA_LINT_CACHE_DIR"]).exists()


def test_stdin_filename_decides_on_configuration_and_kind(codes: Codes) -> None:
    write("pkg/fa-lint.toml", 'per-file-ignores = {"x.py" = ["FAL101"]}\n')
    assert codes("-", "--stdin-filename", "pkg/x.py", stdin=UNSAFE.encode()) == []
    assert codes("-", "--stdin-filename", "pkg/y.py", stdin=UNSAFE.encode()) == ["pkg/y.py:4:16 FAL101"]
    document = json.dumps({"cells": [{"cell_type": "code", "source": UNSAFE}], "nbformat": 4}).encode()
    assert codes("-", "--stdin-filename", "n.ipynb", stdin=document) == ["n.ipynb:cell 1:4:16 FAL101"]


def test_stdin_fix_prints_the_code_and_tells_the_rest_on_stderr(fa_lint: Lint) -> None:
    result = fa_lint("-", "--fix", stdin=SAFE.encode())
    assert (result.exit_code, result.stdout) == (0, SAFE_FIXED)
    assert result.stderr == "No findings in 1 file.\n"
    left = fa_lint("-", "--fix", "--output-format", "concise", stdin=UNSAFE.encode())
    assert (left.exit_code, left.stdout) == (1, UNSAFE)
    assert left.stderr.startswith("-:4:16: FAL101")
    crlf = SAFE.replace("\n", "\r\n").encode()
    assert fa_lint("-", "--fix", stdin=crlf).stdout_bytes == SAFE_FIXED.replace("\n", "\r\n").encode()


def test_stdin_diff(fa_lint: Lint) -> None:
    result = fa_lint("-", "--diff", "--unsafe-fixes", stdin=CLAMPED.encode())
    assert result.exit_code == 1
    assert "+from fa_lint_runtime import safe_cosine\n" in result.stdout
    assert fa_lint("-", "--diff", stdin=b"x = 1\n").exit_code == 0


def test_stdin_that_cannot_be_fixed(fa_lint: Lint, monkeypatch: pytest.MonkeyPatch) -> None:
    from fa_lint.fixes.edits import FixError

    def fail(path: str, *_: object, **__: object) -> None:
        raise FixError(path, "the fixed file would not parse")

    monkeypatch.setattr(commands, "fix_data", fail)
    result = fa_lint("-", "--fix", stdin=SAFE.encode())
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr == "fa-lint: error: -: not fixed: the fixed file would not parse\n"


# -- configuration flags ------------------------------------------------------------------------------------------


def test_isolated_and_config(codes: Codes) -> None:
    write("a.py", MIXED)
    write("fa-lint.toml", 'ignore = ["FAL1"]\n')
    write("other.toml", 'select = ["FAL103"]\n')
    assert codes("a.py") == []
    assert codes("a.py", "--isolated") == ["a.py:4:16 FAL101", "a.py:7:12 FAL103"]
    assert codes("a.py", "--config", "other.toml") == ["a.py:7:12 FAL103"]


# -- rule ---------------------------------------------------------------------------------------------------------


def test_rule_explains(fa_lint: Lint) -> None:
    result = fa_lint("rule", "fal101")
    assert result.exit_code == 0
    assert result.stdout.startswith("# FAL101 negative-norm-order (error)\n\n## What it does\n")
    assert "## Use instead" in result.stdout
    assert fa_lint("rule", "FAL900").stdout.startswith("# FAL900 unparsable-file (error)\n\nA file, or a cell")


def test_rule_as_json(fa_lint: Lint) -> None:
    one: dict[str, Any] = json.loads(fa_lint("rule", "FAL201", "--output-format", "json").stdout)
    assert (one["code"], one["name"], one["level"]) == ("FAL201", "clamped-gradient-cosine", "error")
    assert one["fix"] == registry()["FAL201"].fixable != "no"
    assert one["url"].endswith("/docs/rules/FAL201.md")
    everything = json.loads(fa_lint("rule", "--all", "--output-format", "json").stdout)
    assert [rule["code"] for rule in everything] == sorted([*registry(), *ENGINE_CODES])
    assert all(rule["explanation"] and rule["summary"] and rule["name"] for rule in everything)


def test_rule_all(fa_lint: Lint) -> None:
    text = fa_lint("rule", "--all").stdout
    assert [line.split()[1] for line in text.splitlines() if line.startswith("# FAL")] == sorted(
        [*registry(), *ENGINE_CODES]
    )


# -- init ---------------------------------------------------------------------------------------------------------


def test_init_without_pyproject(fa_lint: Lint) -> None:
    result = fa_lint("init")
    assert (result.exit_code, result.stdout) == (0, "fa-lint.toml: written\n")
    assert tomllib.loads(Path("fa-lint.toml").read_text())["select"] == ["FAL"]
    write("a.py")
    assert fa_lint("a.py").exit_code == 1, "the file it wrote can be read"
    again = fa_lint("init")
    assert again.stdout == "fa-lint.toml: already configured, left as it is\n"


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_init_with_pyproject(fa_lint: Lint, newline: str) -> None:
    old = '[project]\nname = "x"\n'.replace("\n", newline)
    write("pyproject.toml", old)
    result = fa_lint("init", ".")
    assert (result.exit_code, result.stdout) == (0, "pyproject.toml: added [tool.fa-lint]\n")
    new = Path("pyproject.toml").read_bytes().decode()
    assert new.startswith(old + newline + "[tool.fa-lint]" + newline)
    assert new.count("\n") == new.count(newline)
    table = tomllib.loads(new)
    assert table["project"] == {"name": "x"}
    assert table["tool"]["fa-lint"]["fail-on"] == "warning"
    fa_lint("init")
    assert Path("pyproject.toml").read_bytes().decode() == new
    write("a.py")
    assert fa_lint("a.py").exit_code == 1, "the table it wrote can be read"


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("ruff.toml", "line-length = 100\n", ["FAL"]),
        (".ruff.toml", '[lint]\nselect = ["E"]\n', ["FAL"]),
        ("ruff.toml", '[lint]\r\nexternal = ["V"]\r\n', ["FAL", "V"]),
        ("ruff.toml", 'lint.external = [\n  "V", # vulture\n]\n', ["FAL", "V"]),
        ("pyproject.toml", "[tool.ruff]\nline-length = 100\n", ["FAL"]),
        ("pyproject.toml", '[tool.ruff]\n\n[tool.ruff.lint]\nselect = ["E"]\n', ["FAL"]),
        ("pyproject.toml", "[tool.ruff.lint.isort]\nforce-single-line = true\n", ["FAL"]),
        ("pyproject.toml", "[tool.ruff.lint]\nexternal = []\n", ["FAL"]),
    ],
)
def test_init_tells_ruff(fa_lint: Lint, name: str, text: str, expected: list[str]) -> None:
    write(name, text)
    result = fa_lint("init")
    assert result.exit_code == 0
    assert result.stdout.splitlines()[-1] == f'{name}: lint.external = ["FAL"]'
    new = Path(name).read_bytes().decode()
    document = tomllib.loads(new)
    ruff = document["tool"]["ruff"] if name == "pyproject.toml" else document
    assert ruff["lint"]["external"] == expected
    assert "\r\n" not in text or new.count("\n") == new.count("\r\n")
    assert "lint.external" not in fa_lint("init").stdout
    assert Path(name).read_bytes().decode() == new


def test_init_leaves_other_projects_alone(fa_lint: Lint) -> None:
    write("pyproject.toml", "[tool.black]\nline-length = 100\n")
    assert fa_lint("init").stdout == "pyproject.toml: added [tool.fa-lint]\n"


def test_init_says_when_ruff_must_be_told_by_hand(fa_lint: Lint) -> None:
    write("pyproject.toml", '[tool]\nruff = {lint = {select = ["E"]}}\n')
    result = fa_lint("init")
    assert result.exit_code == 2
    assert "please add it by hand" in result.stderr


@pytest.mark.parametrize("name", ["pyproject.toml", "ruff.toml"])
def test_init_leaves_broken_toml_alone(fa_lint: Lint, name: str) -> None:
    write(name, "[tool.ruff\n")
    result = fa_lint("init")
    assert result.exit_code == 2
    assert f"{name}: not valid TOML: " in result.stderr
    assert Path(name).read_text() == "[tool.ruff\n"


# -- the process --------------------------------------------------------------------------------------------------


def test_version(fa_lint: Lint) -> None:
    assert fa_lint("--version").output == f"fa-lint, version {__version__}\n"
    assert fa_lint("-V").exit_code == 0


def test_help(fa_lint: Lint) -> None:
    assert "init" in fa_lint("--help").output
    assert "--unsafe-fixes" in fa_lint("check", "-h").output


def test_python_m_in_this_process(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    write("a.py", "x = 1\n")
    monkeypatch.setattr(sys, "argv", ["fa-lint", "a.py"])
    with pytest.raises(SystemExit) as ended:
        runpy.run_module("fa_lint", run_name="__main__")
    assert ended.value.code == 0
    assert capsys.readouterr().out == "No findings in 1 file.\n"


def test_python_m() -> None:
    result = _process("-", stdin=UNSAFE.encode(), PYTHONIOENCODING="ascii")
    assert result.returncode == 1
    assert "−" in result.stdout.decode() or "Σ" in result.stdout.decode()
    assert result.stderr == b""


def test_progress_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """The bar shows itself after a second, not before, and only for people."""

    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")
    now = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    with commands._progress(commands.CheckOptions()) as progress:
        assert progress is not None
        now[0] = 0.9
        progress(1_000, 10_000)
        assert terminal.getvalue() == ""
        now[0] = 1.1
        progress(2_000, 10_000)
        progress(10_000, 10_000)
    assert "Linting" in terminal.getvalue()
    assert "10.0/10.0 kB" in terminal.getvalue()
    with commands._progress(commands.CheckOptions(output_format="json")) as progress:
        assert progress is not None
    with commands._progress(commands.CheckOptions(quiet=True)) as progress:
        assert progress is None
