"""``--watch`` as a process: it runs at once, again on a change, and ends with Ctrl-C."""

from __future__ import annotations

import os
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from fa_lint.cli.watch import _Relevant
from fa_lint.installing import install_command
from tests.conftest import UNSAFE, Lint, write

pytest.importorskip("watchfiles", reason="the extra `watch` is not installed")


class Watching:
    """The process and the lines it has said."""

    def __init__(self, *arguments: str) -> None:
        command = [sys.executable, "-m", "fa_lint", "--watch", "--output-format", "concise", *arguments]
        # A job in the background of a shell is born with SIGINT ignored, and would hand that on.
        self.process = subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
        )
        self._lines: queue.Queue[str] = queue.Queue()
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self._lines.put(line.rstrip("\n"))

    def end(self) -> None:
        self.process.kill()
        self.process.wait(10)
        self._reader.join(10)
        assert self.process.stdout is not None
        self.process.stdout.close()

    def until(self, text: str) -> list[str]:
        """The lines up to the one that holds ``text``."""
        said: list[str] = []
        while not said or text not in said[-1]:
            said.append(self._lines.get(timeout=120))
        return said


@pytest.fixture
def watching() -> Iterator[list[Watching]]:
    started: list[Watching] = []
    yield started
    for one in started:
        one.end()


def test_it_runs_again_and_ends(watching: list[Watching]) -> None:
    write("src/a.py", "x = 1\n")
    write("pyproject.toml", "[tool.fa-lint]\n")
    one = Watching("src")
    watching.append(one)
    one.until("Watching for changes")
    write("src/a.py", UNSAFE)
    said = one.until("Watching for changes")
    assert any(line.endswith("a.py changed") for line in said)
    assert any(line.startswith("src/a.py:4:16: FAL101") for line in said)
    # A mistake in the code or in the configuration does not end it.
    write("src/b.py", "x = (\n")
    assert any("FAL900" in line for line in one.until("Watching for changes"))
    write("src/fa-lint.toml", "select = [\n")
    assert any("not valid TOML" in line for line in one.until("Watching for changes"))
    write("src/fa-lint.toml", 'ignore = ["FAL101", "FAL900"]\n')
    assert not any("FAL101" in line for line in one.until("Watching for changes"))
    one.process.send_signal(signal.SIGINT)
    assert one.process.wait(30) == 0


def test_what_is_worth_a_run() -> None:
    os.mkdir("src")
    relevant = _Relevant(("src", "one.py"))
    here = os.getcwd()
    for path in ("src/a.py", "src/deep/n.ipynb", "src/x.pyi", "one.py", "pyproject.toml", "src/.gitignore"):
        assert relevant(None, f"{here}/{path}"), path
    for path in ("src/a.txt", "two.py", "src/.fa-lint-x.tmp", "src/a.pyc"):
        assert not relevant(None, f"{here}/{path}"), path


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["-", "--watch"], "--watch cannot be used with standard input"),
        (["a.py", "--watch", "--diff"], "--watch cannot be combined with --diff"),
        (["gone.py", "--watch"], "gone.py: no such file or directory"),
    ],
)
def test_exit_2_and_a_reason(fa_lint: Lint, arguments: list[str], complaint: str) -> None:
    write("a.py")
    result = fa_lint(*arguments)
    assert (result.exit_code, result.stdout) == (2, "")
    assert complaint in result.stderr


def test_without_the_extra_it_is_one_line(fa_lint: Lint, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "watchfiles", None)
    write("a.py")
    result = fa_lint("a.py", "--watch")
    assert result.exit_code == 2
    assert result.stderr == f"fa-lint: error: --watch needs the extra `watch`: {install_command('watch')}\n"
    assert Path("a.py").read_text() == UNSAFE
