"""Pipes, devices, huge and unreadable files; closed and full streams; places that are gone: one line, and an end."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import SAFE, UNSAFE, Lint, notebook, write

pytestmark = pytest.mark.skipif(os.name == "nt", reason="pipes, devices and modes of POSIX")
_SECONDS = 30


def _run(command: str) -> subprocess.CompletedProcess[str]:
    """A line of the shell; ``$lint`` is the tool."""
    environment = {**os.environ, "lint": f"{sys.executable} -m fa_lint"}
    return subprocess.run(
        ["bash", "-c", command], capture_output=True, text=True, timeout=_SECONDS, check=False, env=environment
    )


def _one_line(done: subprocess.CompletedProcess[str], code: int = 2) -> str:
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    assert "Exception ignored" not in done.stderr
    assert len(done.stderr.splitlines()) == 1, done.stderr
    return done.stderr


# -- what is no file ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("make", ["mkfifo odd.py", "ln -s /dev/zero odd.py", "ln -s /dev/tty odd.py"])
@pytest.mark.parametrize("paths", ["odd.py a.py", ". odd.py", "-j 2 odd.py a.py --no-cache"])
def test_what_is_no_regular_file_is_a_finding(make: str, paths: str) -> None:
    write("a.py", UNSAFE)
    _run(make)
    done = _run(f"$lint --output-format concise {paths}")
    assert done.returncode == 1, done.stderr
    assert [line.split(": ")[1].split()[0] for line in done.stdout.splitlines()] == ["FAL101", "FAL900"]
    assert "odd.py:1:1: FAL900 error: cannot be read: not a regular file; the file was not checked" in done.stdout


@pytest.mark.parametrize("name", [".gitignore", "fa-lint.toml", "pyproject.toml", "src/.gitignore"])
def test_pipes_that_a_walk_comes_by(name: str) -> None:
    write("src/a.py", UNSAFE)
    os.mkfifo(name)
    os.mkfifo("src/b.py")
    done = _run("$lint --output-format concise . ; $lint init src")
    assert "FAL101" in done.stdout


@pytest.mark.parametrize("option", ["--baseline", "--config", "--with-runtime"])
@pytest.mark.parametrize("file", ["pipe", "/dev/zero"])
def test_options_that_name_no_file(option: str, file: str) -> None:
    write("a.py", UNSAFE)
    os.mkfifo("pipe")
    assert file in _one_line(_run(f"$lint a.py {option} {file}"))


def test_a_file_that_turns_into_a_pipe_is_not_fixed(monkeypatch: pytest.MonkeyPatch, fa_lint: Lint) -> None:
    import fa_lint.cli.commands as commands

    write("a.py", SAFE)
    real = commands.rewrite

    def swapped(*arguments: object, **options: object) -> object:
        os.unlink("a.py")
        os.mkfifo("a.py")
        return real(*arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(commands, "rewrite", swapped)
    result = fa_lint("a.py", "--fix")
    assert (result.exit_code, "a.py: not fixed: not a regular file" in result.stderr) == (2, True)


# -- what is too long ---------------------------------------------------------------------------------------------


def test_the_limit_is_said_and_can_be_set(fa_lint: Lint) -> None:
    write("a.py", UNSAFE)
    write("big.py", b"x = 1\n" * 2_000_000)
    result = fa_lint("a.py", "big.py", "--output-format", "concise")
    assert result.stdout.splitlines()[1] == (
        "big.py:1:1: FAL900 error: cannot be read: longer than 10_000_000 bytes (the setting `max-file-size`); "
        "the file was not checked"
    )
    assert "FAL101" in result.stdout
    write("b.py", UNSAFE)
    assert "longer than 60 bytes" in fa_lint("b.py", "--max-file-size", "60").stdout
    write("fa-lint.toml", "max-file-size = 50\n")
    assert "longer than 50 bytes" in fa_lint("b.py").stdout
    assert "longer than 50 bytes" in fa_lint("-", stdin=UNSAFE.encode()).stdout
    assert "FAL101" in fa_lint("b.py", "--max-file-size", "70").stdout
    for bad in ("0", "-1", "true", '"1"', "1.5", "10_000_000_000"):
        write("fa-lint.toml", f"max-file-size = {bad}\n")
        assert fa_lint("b.py").exit_code == 2


def test_standard_input_without_end() -> None:
    done = _run("$lint - --output-format concise < /dev/zero")
    assert (done.returncode, "longer than" in done.stdout) == (1, True)


def test_a_sparse_file_takes_no_memory() -> None:
    with open("big.py", "wb") as stream:
        stream.truncate(50_000_000_000)
    done = _run("ulimit -v 2000000; $lint big.py --output-format concise")
    assert (done.returncode, "longer than" in done.stdout) == (1, True), done.stderr


# -- what is out of reach -----------------------------------------------------------------------------------------


@pytest.fixture
def mortal(fa_lint: Lint) -> Iterator[None]:
    """A user who is not root, and may not read everything."""
    write("warm.py", "x = (\n" + UNSAFE)
    fa_lint("warm.py", "--no-cache", "--output-format", "concise")
    os.unlink("warm.py")
    root = os.geteuid() == 0
    if root:
        os.chmod(".", 0o755)
        os.seteuid(65534)
        if not os.access("..", os.X_OK, effective_ids=True):
            os.seteuid(0)
            for folder in Path.cwd().parents:
                os.chmod(folder, os.stat(folder).st_mode | 0o011)
            os.seteuid(65534)
    yield
    if root:
        os.seteuid(0)
    subprocess.run(["chmod", "-R", "u+rwx", "."], check=True)


_CLOSED = {"unlisted": 0o311, "unsearchable": 0o644, "closed.py": 0, "deep/er": 0}


@pytest.fixture
def closed() -> None:
    for name in ("a.py", "unlisted/b.py", "unsearchable/c.py", "closed.py", "deep/er/d.py", "z.py"):
        write(name, UNSAFE)
    for name, mode in _CLOSED.items():
        os.chmod(name, mode)


@pytest.mark.parametrize(
    "paths", [".", ". unsearchable/c.py", "a.py closed.py unlisted unsearchable unsearchable/c.py deep z.py"]
)
def test_unreadable_folders_and_files_are_findings(paths: str, closed: None, mortal: None, fa_lint: Lint) -> None:
    result = fa_lint("--no-cache", "--output-format", "concise", *paths.split())
    assert (result.exit_code, result.stderr) == (1, "")
    lines = result.stdout.splitlines()
    assert [line for line in lines if "FAL900" in line] == [
        f"{name}:1:1: FAL900 error: cannot be read: Permission denied; the file was not checked"
        for name in ("closed.py", "deep/er", "unlisted", "unsearchable/c.py")
    ]
    assert [line.split(":")[0] for line in lines if "FAL101" in line] == ["a.py", "z.py"]


def test_a_named_file_in_an_unlisted_folder_is_read(closed: None, mortal: None, fa_lint: Lint) -> None:
    assert "FAL101" in fa_lint("--no-cache", "--output-format", "concise", "unlisted/b.py").stdout


def test_names_that_are_too_long(fa_lint: Lint) -> None:
    write("a.py", UNSAFE)
    result = fa_lint("a.py", "x" * 5000 + ".py", "--output-format", "concise")
    assert "FAL101" in result.stdout
    assert "File name too long" in result.stdout


# -- streams ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("options", ["", "--output-format json", "--diff", "--show-files", "--show-settings"])
def test_a_full_or_closed_standard_output(options: str) -> None:
    write("a.py", SAFE)
    assert "No space left on device" in _one_line(_run(f"$lint a.py {options} > /dev/full"))
    assert "standard output is closed" in _one_line(_run(f"$lint a.py {options} >&-"))


def test_fixed_code_that_cannot_be_printed() -> None:
    write("a.py", SAFE)
    done = _run("$lint - --fix < a.py > /dev/full")
    assert (done.returncode, "No space left on device" in done.stderr) == (2, True)


def test_a_closed_standard_input_or_error_stream() -> None:
    write("a.py", UNSAFE)
    assert "standard input is closed" in _one_line(_run("$lint - <&-"))
    done = _run("$lint a.py 2>&-; echo $?")
    assert done.stdout.endswith("\n1\n")


@pytest.mark.parametrize("columns", ["0", "1", "-1", "x", "99999999999999999999"])
def test_columns_change_nothing(columns: str) -> None:
    write("a.py", UNSAFE)
    plain = _run("$lint a.py").stdout
    assert "FAL101" in plain
    assert _run(f"COLUMNS={columns} LINES={columns} $lint a.py").stdout == plain
    assert "Usage" in _run(f"COLUMNS={columns} $lint --help").stdout


# -- places -------------------------------------------------------------------------------------------------------


def test_a_working_directory_that_is_gone() -> None:
    write("a.py", UNSAFE)
    for path in (".", os.path.abspath("a.py"), "-"):
        done = _run(f"mkdir gone; cd gone; rmdir ../gone; $lint {path} < /dev/null")
        assert "working directory" in _one_line(done)


def test_a_null_byte(fa_lint: Lint) -> None:
    for arguments in (
        ["a\0.py"],
        ["a.py", "--baseline", "b\0"],
        ["a.py", "--config", "c\0"],
        ["a.py", "--with-runtime", "\0"],
    ):
        write("a.py", UNSAFE)
        result = fa_lint(*arguments)
        assert (result.exit_code, len(result.stderr.splitlines())) == (2, 1), result.stderr
    assert fa_lint("-", "--stdin-filename", "a\0.py", stdin=b"x = 1\n").exit_code in (0, 2)


def test_what_is_read_is_not_overwritten(fa_lint: Lint) -> None:
    write("a.py", UNSAFE)
    write("b.py", "x = 1\n")
    write("fa-lint.toml", "")
    os.link("a.py", "hard.txt")
    os.symlink("a.py", "soft.txt")
    baseline = ["--baseline", "base.json"]
    fa_lint("a.py", "--write-baseline", "base.json")
    for options in (
        *(["--output-file", name] for name in ("a.py", "./a.py", "sarif:a.py", "hard.txt", "soft.txt", "fa-lint.toml")),
        ["--write-baseline", "b.py"],
        [*baseline, "--output-file", "json:base.json"],
    ):
        before = {path: path.read_bytes() for path in Path().iterdir()}
        result = fa_lint(".", *options)
        assert (result.exit_code, "would be overwritten" in result.stderr) == (2, True), options
        assert {path: path.read_bytes() for path in Path().iterdir()} == before
    assert fa_lint("a.py", "--output-file", "new.txt").exit_code == 1
    assert fa_lint("a.py", "--output-file", "new.txt").exit_code == 1, "its own output may be written again"
    # As a baseline is.
    assert fa_lint("a.py", "--write-baseline", "base.json").exit_code == 0
    assert fa_lint("a.py", *baseline, "--prune-baseline").exit_code == 0


@pytest.mark.parametrize("name", ["--exit-zero", "--output-file=full:victim", "--fix", "-q", "--isolated"])
def test_a_file_that_is_called_like_an_option(name: str, fa_lint: Lint) -> None:
    """As pre-commit names it, beside others."""
    write("a.py", UNSAFE)
    write("victim", "x = 1\n")
    write(name, "#!/usr/bin/env python\nx = 1\n")
    for arguments in (["check", "--force-exclude", name, "a.py"], [name, "a.py"], ["a.py", name]):
        result = fa_lint(*arguments)
        assert (result.exit_code, result.stdout) == (2, "")
        assert f"`{name}` is an option and the name of a file here" in result.stderr
    assert Path("victim").read_text() == "x = 1\n"
    for arguments in (["--", name, "a.py"], [f"./{name}", "a.py"], ["."]):
        assert "FAL101" in fa_lint(*arguments, "--select=FAL1" if "--" not in arguments else "victim").stdout


# -- depth and numbers --------------------------------------------------------------------------------------------

_DEEP = 100_000


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("fa-lint.toml", "select = " + "[" * _DEEP + "]" * _DEEP),
        ("fa-lint.toml", "a = " + "{a = " * _DEEP + "1" + "}" * _DEEP),
        ("fa-lint.toml", "[" + "a." * _DEEP + "a]"),
        ("pyproject.toml", "[tool.fa-lint]\nselect = " + "[" * _DEEP),
    ],
)
def test_deep_toml(name: str, text: str, fa_lint: Lint) -> None:
    write("a.py", "x = 1\n")
    write(name, text)
    began = time.monotonic()
    for arguments in (["a.py"], ["init", "."]):
        result = fa_lint(*arguments)
        assert result.exit_code in (0, 2)
        assert len(result.stderr.splitlines()) <= 1
        assert "internal error" not in result.stderr
    assert time.monotonic() - began < _SECONDS


@pytest.mark.parametrize("text", ["[" * _DEEP, '{"a":' * _DEEP, '{"version": 1, "findings": ' + "[" * _DEEP])
@pytest.mark.parametrize("option", ["--baseline", "--with-runtime"])
def test_deep_json(option: str, text: str, fa_lint: Lint) -> None:
    write("a.py", "x = 1\n")
    write("f.json", text)
    result = fa_lint("a.py", option, "f.json")
    assert (result.exit_code, len(result.stderr.splitlines())) == (2, 1)
    assert "f.json" in result.stderr
    write("n.ipynb", text)
    assert "FAL900" in fa_lint("n.ipynb").stdout


def test_a_deep_value_in_a_notebook(fa_lint: Lint) -> None:
    document = json.dumps(notebook(UNSAFE))
    for depth in (150, 300, 900, _DEEP):
        deep = document.replace('"outputs": []', '"outputs": ' + "[" * depth + "]" * depth, 1)
        write("n.ipynb", deep)
        result = fa_lint("n.ipynb")
        assert result.exit_code == 1
        assert "FAL101" in result.stdout or "nested too deeply" in result.stdout


@pytest.mark.parametrize("number", [300_000_000, 10**18, 10**400, -1, 0])
@pytest.mark.parametrize("field", ["line", "end_line", "column", "end_column", "count"])
def test_numbers_in_a_guard_log(field: str, number: int, fa_lint: Lint) -> None:
    write("a.py", UNSAFE)
    event = {"code": "FAL205", "kind": "k", "file": "a.py", "line": 2, "message": "m", "count": 1, field: number}
    write("g.json", json.dumps({"format": "fa-guard", "version": 1, "events": [event]}))
    began = time.monotonic()
    for name in ("full", "json", "gitlab", "sarif", "github", "junit"):
        assert fa_lint("a.py", "--with-runtime", "g.json", "--output-format", name).exit_code in (1, 2)
    assert time.monotonic() - began < _SECONDS
