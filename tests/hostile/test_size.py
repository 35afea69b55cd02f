"""Two hundred megabytes of Python, and repositories that are wide or deep: it ends, in bounded memory."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import UNSAFE, write

_PLAIN = "def f{0}(x, y):\n    z = [x + {0}, y * {0}]\n    return {{'a': z, 'b': x}}\n\n"


def _run(*arguments: str, timeout: float) -> tuple[subprocess.CompletedProcess[str], int, float]:
    """The run, the most memory in MB that one of its processes took, and the seconds of computing of all of them."""
    program = (
        "import resource, subprocess, sys\n"
        "code = subprocess.call([sys.executable, '-m', 'fa_lint', *sys.argv[1:]])\n"
        "used = resource.getrusage(resource.RUSAGE_CHILDREN)\n"
        "print(used.ru_maxrss // 1024, used.ru_utime, file=sys.stderr)\n"
        "sys.exit(code)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments], capture_output=True, text=True, timeout=timeout, check=False
    )
    megabytes, seconds = done.stderr.splitlines()[-1].split()
    return done, int(megabytes), float(seconds)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="counts memory as POSIX does")
def test_two_hundred_megabytes() -> None:
    """A hundred files of two megabytes, one of them with a finding at its end."""
    text = "".join(_PLAIN.format(number) for number in range(30_000))[:2_000_000].rpartition("\n\n")[0]
    for number in range(100):
        write(f"d{number % 7}/m{number}.py", f"{text}\n\n{UNSAFE if number == 50 else ''}")
    assert sum(path.stat().st_size for path in Path().rglob("*.py")) > 190_000_000
    done, megabytes, seconds = _run(".", "--no-cache", "-j", "2", "--output-format", "concise", timeout=1_700)
    assert (done.returncode, len(done.stdout.splitlines())) == (1, 1), done.stderr
    assert "FAL101" in done.stdout
    assert seconds < 400
    assert megabytes < 1_500


@pytest.mark.skipif(sys.platform == "win32", reason="paths of POSIX")
def test_a_deep_tree_and_a_wide_one() -> None:
    folder = Path("/".join(["d"] * 400))
    folder.mkdir(parents=True)
    write(folder / "a.py", UNSAFE)
    for number in range(3_000):
        Path(f"w{number}").mkdir()
    done, megabytes, _ = _run(".", "--no-cache", "--output-format", "concise", timeout=200)
    assert (done.returncode, done.stdout.count("FAL101")) == (1, 1), done.stderr
    assert megabytes < 500
