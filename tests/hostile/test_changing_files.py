"""What happens to files while they are fixed: links, edits by others, two runs at once, fixes that get in each other's way."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fa_lint.fixes import rewriting
from fa_lint.project.cache import cache_folder
from tests.conftest import CLAMPED, MIXED, SAFE, SAFE_FIXED, UNSAFE, UNSAFE_FIXED, Lint, write

_POSIX = pytest.mark.skipif(os.name == "nt", reason="links of POSIX")
_FIX = ("--fix", "--unsafe-fixes", "--output-format", "concise")
_CHANGED = "it was changed during the run; run again"


@_POSIX
def test_names_of_one_file_are_one_file(fa_lint: Lint) -> None:
    """A link, a link to a link, and a folder that is reached twice."""
    write("src/a.py", UNSAFE)
    Path("src/b.py").symlink_to("a.py")
    Path("src/c.py").symlink_to("b.py")
    Path("again").symlink_to("src")
    Path("src/loop").symlink_to("..")
    result = fa_lint(".", *_FIX)
    assert (result.exit_code, result.output) == (0, "Fixed 1 finding in 1 file: FAL101 negative-norm-order.\n")
    assert Path("src/a.py").read_text() == UNSAFE_FIXED
    assert Path("src/b.py").is_symlink()
    assert Path("src/c.py").is_symlink()


@_POSIX
def test_a_hard_link_keeps_what_another_folder_relies_on(fa_lint: Lint) -> None:
    """As a package manager's store does: the file here is a new one, the old content stays under the other name."""
    write("a.py", UNSAFE)
    os.link("a.py", "store.txt")
    fa_lint("a.py", *_FIX)
    assert Path("a.py").read_text() == UNSAFE_FIXED
    assert Path("store.txt").read_text() == UNSAFE


@_POSIX
def test_two_hard_links_are_both_fixed(fa_lint: Lint) -> None:
    write("a.py", UNSAFE)
    os.link("a.py", "b.py")
    assert fa_lint(".", *_FIX).exit_code == 0
    assert Path("a.py").read_text() == Path("b.py").read_text() == UNSAFE_FIXED


_EDITS: dict[str, Callable[[str], str]] = {
    "a line above": lambda code: "# new\n" + code,
    "another statement in its place": lambda code: code.replace("x / x.norm(-1, ", "g(x).best(-1, 4, "),
    "emptied": lambda code: "",
    "a character below": lambda code: code + "#",
    "no Python": lambda code: code + "(",
}


@pytest.mark.parametrize("edit", _EDITS)
@pytest.mark.parametrize(
    "option", [_FIX, ("--add-ignore=why", "--output-format", "concise"), ("--diff", "--unsafe-fixes")]
)
@pytest.mark.parametrize("moment", ["before", "between"])
def test_a_file_that_someone_saves_meanwhile(
    edit: str, option: tuple[str, ...], moment: str, fa_lint: Lint, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After it was linted, or after the fixed text was made: the edit stays and the exit code says that none was made."""
    write("a.py", MIXED)
    write("b.py", UNSAFE)
    saved = _EDITS[edit](MIXED)
    reads = []
    read_file = rewriting.read_file

    def read(path: str, *longest: int) -> bytes:
        reads.append(path)
        if path == "a.py" and reads.count("a.py") == (1 if moment == "before" else 2):
            Path("a.py").write_text(saved)
        return read_file(path, *longest)

    monkeypatch.setattr(rewriting, "read_file", read)
    result = fa_lint(".", *option)
    if "--diff" in option and moment == "between":  # a diff reads once, and writes nothing
        assert result.exit_code == 1
        return
    assert result.exit_code == 2
    assert result.stderr.startswith(f"fa-lint: error: a.py: not fixed: {_CHANGED}\n")
    assert Path("a.py").read_text() == saved
    assert ("b.py" in result.output) if "--diff" in option else (Path("b.py").read_text() != UNSAFE)


def test_a_file_that_goes_away_meanwhile(fa_lint: Lint, monkeypatch: pytest.MonkeyPatch) -> None:
    write("a.py", UNSAFE)
    write("b.py", UNSAFE)
    read_file = rewriting.read_file

    def read(path: str, *longest: int) -> bytes:
        Path("a.py").unlink(missing_ok=True)
        return read_file(path, *longest)

    monkeypatch.setattr(rewriting, "read_file", read)
    result = fa_lint(".", *_FIX)
    assert (result.exit_code, "a.py: not fixed: No such file" in result.stderr) == (2, True)
    assert not Path("a.py").exists()
    assert Path("b.py").read_text() == UNSAFE_FIXED


def _start(*arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "fa_lint", *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_two_runs_that_fix_the_same_files() -> None:
    for number in range(40):
        write(f"m{number}.py", UNSAFE + SAFE)
    done = [process.communicate(timeout=100) for process in [_start(".", *_FIX) for _ in range(3)]]
    for number in range(40):
        assert Path(f"m{number}.py").read_text() == UNSAFE_FIXED + SAFE_FIXED
    assert not any("Traceback" in err or "internal error" in err for _, err in done)
    assert sorted(path.name for path in Path().iterdir()) == sorted(f"m{n}.py" for n in range(40))


def test_two_runs_with_one_cache() -> None:
    """What one of them has learned may be lost; what is found is not."""
    code = "def f(p):\n    return p.grad.half()\n"
    for number in range(30):
        write(f"m{number}.py", code + f"# {number}\n")
    expected: Any = None
    for _ in range(3):
        running = [_start(".", "--output-format", "concise") for _ in range(4)]
        found = [(*process.communicate(timeout=100), process.returncode) for process in running]
        expected = expected or found[0]
        assert len(expected[0].splitlines()) >= 30
        assert found == [expected] * 4
    files = list(Path(cache_folder() or "").iterdir())
    assert [path.suffix for path in files] == [".json"], "one file, and nothing half made"


# -- fixes that get in each other's way ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    "code",
    [
        UNSAFE + CLAMPED.replace("import torch.nn.functional as F\n", ""),
        "import torch.nn.functional as F\n\ndef f(p, c):\n"
        "    return F.cosine_similarity(F.cosine_similarity(c, p.grad, dim=0), p.grad, dim=0)\n",
        "import torch\n\ndef f(x):\n    return x / (x / x.norm(-1, keepdim=True)).norm(-1, keepdim=True)\n",
        "import torch\n\ndef f(x):\n    return x.norm(x.norm(-1).norm(-1), -1), x / x.norm(-1); import math\n",
        CLAMPED.replace("\n\n", "\nx = 1; import os\n\n") + "\n" + MIXED + SAFE,
    ],
)
@pytest.mark.parametrize("style", ["runtime", "torch"])
def test_fixes_of_one_place(code: str, style: str, fa_lint: Lint) -> None:
    """One of two that overlap waits; in the end the file is Python and a second run has nothing more to fix."""
    write("a.py", code)
    style_of = ("--config", f'fix-style = "{style}"')
    fa_lint("a.py", *_FIX, *style_of)
    once = Path("a.py").read_text()
    compile(once, "a.py", "exec")
    again = fa_lint("a.py", *_FIX, *style_of)
    assert "Fixed" not in again.output
    assert Path("a.py").read_text() == once
