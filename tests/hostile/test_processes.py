"""Worker processes and signals: what dies takes one file with it, and nothing outlives the run."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from fa_lint.project.check_file import analyse
from fa_lint.project.config import Settings
from fa_lint.project.engine import lint
from tests.conftest import UNSAFE, Lint, write

pytestmark = pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")
# Workers that never end, and say that they began: in Python, and inside one call of a C function.
_HANGS = {
    "python": "while True: pass",
    "c": "import re; re.match(r'(a?){60}a{60}$' , 'a' * 59 + 'b')",
    "ignoring": "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); __import__('time').sleep(300)",
}
_PROGRAM = """\
import os, sys
import fa_lint.project.engine as engine
engine._PARALLEL_BYTES = 0
def hang(path, *rest, **options):
    open(f"started-{{os.getpid()}}", "w").close()
    {hang}
engine.analyse = hang
from fa_lint.cli import main
main([*sys.argv[1:], "--no-cache"])
"""


def _left(workers: list[int]) -> list[int]:
    """Those that have not ended in two seconds."""
    deadline = time.monotonic() + 2
    while (left := [pid for pid in workers if _alive(pid)]) and time.monotonic() < deadline:
        time.sleep(0.05)
    return left


def _alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def _start(hang: str, *arguments: str) -> tuple[subprocess.Popen[bytes], list[int]]:
    for number in range(4):
        write(f"src/m{number}.py", UNSAFE + "#" * 500_000)
    program = write("program.py", _PROGRAM.format(hang=hang))
    process = subprocess.Popen(
        [sys.executable, str(program), "src", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    wanted = 3 if "3" in arguments else 1
    deadline = time.monotonic() + 30
    while len(found := list(Path().glob("started-*"))) < wanted and time.monotonic() < deadline:
        time.sleep(0.05)
    return process, [int(path.name.removeprefix("started-")) for path in found]


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("hang", _HANGS)
@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL, signal.SIGHUP], ids=lambda how: how.name)
def test_workers_die_with_their_parent(hang: str, how: signal.Signals) -> None:
    process, workers = _start(_HANGS[hang], "-j", "3")
    try:
        assert len(workers) == 3
        assert process.pid not in workers
        os.kill(process.pid, how)
        # The pipes end only when the last one that holds them has ended.
        process.communicate(timeout=10)
        assert process.returncode == -how
        assert not _left(workers)
    finally:
        os.killpg(process.pid, signal.SIGKILL) if process.poll() is None else None


@pytest.mark.parametrize("hang", ["python", "ignoring"])
@pytest.mark.parametrize("whole_group", [True, False])
def test_an_interrupt_is_130_at_once(hang: str, whole_group: bool) -> None:
    process, workers = _start(_HANGS[hang], "-j", "3")
    assert len(workers) == 3
    (os.killpg if whole_group else os.kill)(process.pid, signal.SIGINT)
    out, err = process.communicate(timeout=10)
    assert (process.returncode, out, err) == (130, b"", b"")
    assert not _left(workers)


def test_an_interrupt_without_workers(fa_lint: Lint, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    write("a.py", UNSAFE)
    monkeypatch.setattr("fa_lint.project.engine.analyse", interrupted)
    result = fa_lint("a.py")
    assert (result.exit_code, result.output) == (130, "")


# -- a worker that dies -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("jobs", ["1", "2"])
@pytest.mark.parametrize("death", [signal.SIGTERM, signal.SIGKILL, 3], ids=str)
def test_a_file_that_kills_is_one_finding(
    death: int, jobs: str, fa_lint: Lint, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(30):
        write(f"m{number}.py", UNSAFE + "# padding\n" * 1_000 * (number == 7))
    parent = os.getpid()

    def die(path: str, *rest: Any, **options: Any) -> Any:
        if path in ("m7.py", "m9.py") and os.getpid() != parent:
            os._exit(3) if death == 3 else os.kill(os.getpid(), death)
        return analyse(path, *rest, **options)

    monkeypatch.setattr("fa_lint.project.engine.analyse", die)
    name = "exit code 3" if death == 3 else signal.Signals(death).name
    for _ in range(2):  # the second time with what the cache knows
        result = fa_lint(".", "-j", jobs, "--output-format", "concise")
        lines = result.stdout.splitlines()
        assert (result.exit_code, result.stderr) == (1, "")
        assert [line for line in lines if "FAL900" in line] == [
            f"{path}:1:1: FAL900 error: cannot be read: the process that checked it died ({name}); "
            "the file was not checked"
            for path in ("m7.py", "m9.py")
        ]
        assert len([line for line in lines if "FAL101" in line]) == 28


@pytest.mark.parametrize(
    "code",
    [
        "y = " + " and ".join(["x"] * 10_000),
        "import " + ".".join(["a"] * 20_000),
        "y = " + "x[" * 5_000 + "0" + "]" * 5_000,
        "y = " + "x" + ".a" * 20_000,
        "y = " + "-" * 20_000 + "x",
        "y = x" + "()" * 20_000,
        "y = " + " + ".join(["x"] * 20_000),
        "y = " + "lambda: " * 5_000 + "0",
        "x = " * 10_000 + "0",
        "if x:\n    pass\n" + "elif x:\n    pass\n" * 5_000,
        "y = [" + "'a'\n" * 5_000 + "]",
    ],
    ids=lambda code: code[:12],
)
@pytest.mark.parametrize("finding", ["", UNSAFE])
def test_deep_code_costs_no_other_file(code: str, finding: str) -> None:
    """Whatever becomes of the deep one, in a tool that may crash over it."""
    write("deep.py", f"{finding}\n{code}\n")
    write("a.py", UNSAFE)
    command = [sys.executable, "-m", "fa_lint", ".", "--output-format", "concise"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=110, check=False)
    assert "a.py:4:16: FAL101" in done.stdout, done.stderr
    assert done.returncode == 1


@pytest.mark.parametrize(
    "code", ["y = " + " and ".join(["x"] * 10_000), "import " + ".".join(["a"] * 20_000)], ids=["y", "i"]
)
def test_deep_code_on_standard_input(code: str) -> None:
    command = [sys.executable, "-m", "fa_lint", "-"]
    text = f"{UNSAFE}\n{code}\n"
    done = subprocess.run(command, input=text, capture_output=True, text=True, timeout=110, check=False)
    assert done.returncode == 1
    assert "FAL" in done.stdout


def _lint_in_a_daemon(folder: str, queue: Any) -> None:
    os.chdir(folder)
    queue.put([d.code for d in lint(["m.py"], Settings(), use_cache=False).diagnostics])


def test_a_process_that_may_have_no_children() -> None:
    """As a worker of someone's `multiprocessing.Pool` is."""
    import multiprocessing

    write("m.py", UNSAFE + "# padding\n" * 1_000)
    queue = multiprocessing.get_context("spawn").SimpleQueue()
    arguments = (os.getcwd(), queue)
    process = multiprocessing.get_context("spawn").Process(target=_lint_in_a_daemon, args=arguments, daemon=True)
    process.start()
    process.join(30)
    assert (process.exitcode, queue.get()) == (0, ["FAL101"])


def test_no_process_can_be_started(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(11, "Resource temporarily unavailable")

    for number in range(3):
        write(f"m{number}.py", UNSAFE + "# padding\n" * 1_000)
    monkeypatch.setattr("multiprocessing.process.BaseProcess.start", refuse)
    monkeypatch.setattr("fa_lint.project.engine._PARALLEL_BYTES", 0)
    report = lint([f"m{number}.py" for number in range(3)], Settings(), jobs=2, use_cache=False)
    assert [d.code for d in report.diagnostics] == ["FAL101"] * 3


def test_no_process_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    import multiprocessing

    for number in range(3):
        write(f"m{number}.py", UNSAFE)
    monkeypatch.setattr("fa_lint.project.engine._PARALLEL_BYTES", 0)
    for _ in range(3):
        lint([f"m{number}.py" for number in range(3)], Settings(), jobs=2, use_cache=False)
    assert multiprocessing.active_children() == []
