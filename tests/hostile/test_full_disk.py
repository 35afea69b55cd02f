"""A disk without room, in every writer: one line, exit code 2, and the old file as it was."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from fa_lint.output import FORMATS
from tests.conftest import MIXED, SAFE, UNSAFE, write

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="tmpfs, and the limits of POSIX")
_REPORTS = [("--output-file", f"{name}:report") for name in FORMATS]
_OLD = {
    "a.py": UNSAFE + "# " + "padding " * 10 + "\n",
    "s.py": SAFE,
    "pyproject.toml": '[project]\nname = "x"\n',
    "ruff.toml": "line-length = 100\n",
    "b.json": '{"version": 1, "findings": [{"path": "gone.py", "code": "FAL101", "fingerprint": "0"}]}\n',
    "report": "an older report\n",
}


def _mounted(folder: Path) -> bool:
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(folder)], capture_output=True, check=False
    )
    return done.returncode == 0


def _fill(path: Path) -> None:
    with open(path, "ab", buffering=0) as stream, suppress(OSError):
        while True:
            stream.write(b"x" * 4096)


@pytest.fixture(params=["tmpfs", "limit"])
def full(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[Path, Callable[[], None] | None]]:
    """A folder with the old files and no room, and what to do in the child: a tmpfs, or no byte in any file."""
    folder = tmp_path / "full"
    folder.mkdir()
    if request.param == "tmpfs":
        if not _mounted(folder):
            pytest.skip("this user may mount nothing")
        try:
            for name, text in _OLD.items():
                write(folder / name, text)
            _fill(folder / "filler")
            yield folder, None
        finally:
            subprocess.run(["umount", str(folder)], check=True)
        return
    for name, text in _OLD.items():
        write(folder / name, text)

    def limit() -> None:
        import resource

        resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))

    yield folder, limit


def _run(full: tuple[Path, Callable[[], None] | None], *command: str) -> subprocess.CompletedProcess[str]:
    folder, before = full
    # Coverage would write its own file at the end, and fail where nothing may be written.
    plain = {key: value for key, value in os.environ.items() if not key.startswith("COVERAGE_")}
    return subprocess.run(
        [sys.executable, *command],
        cwd=folder,
        preexec_fn=before,
        env={**plain, "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=100,
    )


def _is_as_it_was(folder: Path) -> bool:
    found = {path.name: path.read_text() for path in folder.iterdir() if path.name != "filler"}
    return found == _OLD


@pytest.mark.parametrize(
    "arguments",
    [
        ("a.py", "--fix", "--unsafe-fixes"),
        ("s.py", "--fix"),
        ("a.py", "--add-ignore=why"),
        ("a.py", "--write-baseline", "new.json"),
        ("a.py", "--write-baseline", "b.json"),
        ("a.py", "--baseline", "b.json", "--prune-baseline"),
        *(("a.py", *report) for report in _REPORTS),
        ("a.py", "--output-file", "new.txt"),
        ("init", "."),
    ],
    ids=" ".join,
)
def test_the_old_file_stays(full: tuple[Path, Callable[[], None] | None], arguments: tuple[str, ...]) -> None:
    done = _run(full, "-m", "fa_lint", *arguments, *(["--no-cache"] if arguments[0] != "init" else []))
    assert done.returncode == 2, done.stdout
    assert "Traceback" not in done.stderr
    assert "internal error" not in done.stderr
    assert "No space left on device" in done.stderr or "File too large" in done.stderr
    assert len([line for line in done.stderr.splitlines() if "error" in line]) == 1, done.stderr
    assert _is_as_it_was(full[0])


def test_a_configuration_of_its_own(full: tuple[Path, Callable[[], None] | None]) -> None:
    """Where there is no pyproject.toml, `init` makes a file."""
    (full[0] / "pyproject.toml").unlink()
    if full[1] is None:
        _fill(full[0] / "filler")
    done = _run(full, "-m", "fa_lint", "init", ".")
    assert done.returncode == 2
    assert not (full[0] / "fa-lint.toml").exists()


def test_the_cache_is_no_error(full: tuple[Path, Callable[[], None] | None], monkeypatch: pytest.MonkeyPatch) -> None:
    write(Path("a.py"), MIXED)
    monkeypatch.setenv("FA_LINT_CACHE_DIR", str(full[0]))
    done = _run(full, "-m", "fa_lint", "--isolated", os.path.abspath("a.py"))
    assert (done.returncode, done.stderr) == (1, "")
    assert _is_as_it_was(full[0])


_RUNTIME = {
    "checkpoint": "import torch; from fa_lint_runtime import save_checkpoint\n"
    "save_checkpoint({target!r}, torch.nn.Linear(200, 200), feedback=None)",
    "guard log": "from fa_lint_runtime.guard.log import GuardLog; GuardLog().write({target!r})",
    "text": "from fa_lint_runtime.files import write_text; write_text({target!r}, 'x' * 100_000)",
}


_COMMANDS = [
    ("audit", "audit.toml", "--no-html"), ("audit", "init", "new.toml"), ("compare", "r.json", "r.json", "--json", "new"),
    ("table", "r.json", "-o", "report"), ("utility", "r.json", "--json", "report"), ("partial", "l.json", "--json", "new"),
]  # fmt: skip
_AUDIT = """methods = ["bp"]
seeds = [1]
null_draws = 19
data = {name = "mixture", dim = 16, train = 64, test = 64}
model = {width = 8, depth = 2}
recipe = {optimizer = "adam", lr = 1e-2, weight_decay = 0.0, cosine = false, epochs = 1}
"""


@pytest.mark.parametrize("arguments", _COMMANDS, ids=" ".join)
def test_commands_of_the_runtime(full: tuple[Path, Callable[[], None] | None], arguments: tuple[str, ...]) -> None:
    pytest.importorskip("torch", reason="the extra `runtime` is not installed")
    from fa_lint_runtime import DiagnosticReport, DiagnosticThresholds

    report = DiagnosticReport("m", "", [9.0, 70.0], [1.0, 1.0], 1, 0.4, 0.3, None, DiagnosticThresholds())
    inputs = {"audit.toml": _AUDIT, "r.json": report.to_json(), "l.json": '{"final_test_acc": 0.3}'}
    filler = full[0] / "filler"
    filler.unlink(missing_ok=True)
    for name, text in inputs.items():
        write(full[0] / name, text)
    (full[0] / "audit" / "cells").mkdir(parents=True)
    if full[1] is None:
        _fill(filler)
    done = _run(full, "-m", "fa_lint_runtime", *arguments)
    assert done.returncode == 2, done.stdout
    assert len(done.stderr.splitlines()) == 1, done.stderr
    assert "No space left on device" in done.stderr or "File too large" in done.stderr
    files = {path.name for path in full[0].rglob("*") if path.is_file()} - {"filler"}
    assert files == {*_OLD, *inputs}
    assert (full[0] / "report").read_text() == _OLD["report"]


@pytest.mark.parametrize("writer", _RUNTIME)
@pytest.mark.parametrize("name", ["report", "new"])
def test_writers_of_the_runtime(full: tuple[Path, Callable[[], None] | None], writer: str, name: str) -> None:
    pytest.importorskip("torch", reason="the extra `runtime` is not installed")
    done = _run(full, "-c", _RUNTIME[writer].format(target=name))
    assert done.returncode == 1
    assert "No space left on device" in done.stderr or "File too large" in done.stderr
    assert _is_as_it_was(full[0])
