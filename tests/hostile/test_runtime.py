"""The runtime where several want the same: audits of one folder, a guard in threads and forks, compiled code."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import write

torch = pytest.importorskip("torch", reason="the extra `runtime` is not installed")

import torch.nn.functional as F  # noqa: E402

from fa_lint_runtime import guard  # noqa: E402

_POSIX = pytest.mark.skipif(not hasattr(os, "fork"), reason="forks")
_AUDIT = """
methods = ["bp", "dfa"]
seeds = [1, 2]
null_draws = 19

[data]
name = "mixture"
dim = 16
train = 256
test = 256

[model]
width = 8
depth = 2

[recipe]
optimizer = "adam"
lr = 1e-2
weight_decay = 0.0
cosine = false
epochs = 2
"""
_SMALL = torch.tensor([[3e-10, 4e-10], [6e-10, 8e-10]])
_FIXED = torch.tensor([[0.6, 0.8], [0.8, 0.6]])


def _audit(folder: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "fa_lint_runtime", "audit", str(folder / "audit.toml"), "--no-html"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)


def _files(folder: Path) -> list[str]:
    return sorted(path.name for path in (folder / "audit").rglob("*") if path.is_file())


@pytest.mark.slow
def test_audits_of_one_folder(tmp_path: Path) -> None:
    """Two at once, one of them killed at any moment, and one after them: one table, and nothing half written."""
    write(tmp_path / "alone" / "audit.toml", _AUDIT)
    out, err = _audit(tmp_path / "alone").communicate(timeout=200)
    assert out, err
    write(tmp_path / "both" / "audit.toml", _AUDIT)
    running = [_audit(tmp_path / "both") for _ in range(3)]
    deadline = time.monotonic() + 100
    while not list((tmp_path / "both" / "audit" / "cells").glob("*")) and time.monotonic() < deadline:
        time.sleep(0.01)
    running[0].send_signal(signal.SIGKILL)
    done = [process.communicate(timeout=200) for process in running]
    # Which of two does a cell first is chance; what it says is not.
    assert [out_ for out_, _ in done[1:]] == [out, out], done[1:]
    assert _audit(tmp_path / "both").communicate(timeout=200)[0] == out
    left = [name for name in _files(tmp_path / "both") if ".tmp-" not in name]
    assert left == _files(tmp_path / "alone")


def _low(x: Any) -> Any:
    return F.cosine_similarity(x, _FIXED, dim=-1)  # fa-lint: ignore[FAL202] the floor is what is tested


def test_a_guard_and_threads_that_raise() -> None:
    """In the mode `error` one thread gets the exception, as a call site has one event; all others go on."""
    caught: list[BaseException] = []

    def work(number: int) -> None:
        try:
            for _ in range(20):
                _low(_FIXED.flip(0) if number % 2 else _SMALL)
        except Exception as error:
            caught.append(error)

    before = F.cosine_similarity
    with guard("error"):
        threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        assert not any(thread.is_alive() for thread in threads)
    assert len(caught) == 1
    assert F.cosine_similarity is before


def test_guards_that_begin_and_end_in_threads() -> None:
    """Whatever order they end in, nothing of them is left."""
    before = (F.cosine_similarity, torch.Tensor.half, torch.acos)
    errors: list[BaseException] = []

    def work() -> None:
        try:
            for _ in range(5):
                with guard("record"):
                    _low(_SMALL)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not errors
    assert (F.cosine_similarity, torch.Tensor.half, torch.acos) == before
    with guard("record") as log:
        _low(_SMALL)
    assert len(log) == 1


@_POSIX
def test_a_fork_inside_a_guard() -> None:
    """The child of a process whose other threads are being guarded is not watched, may be by itself, and ends."""
    program = """
import os, sys, threading, torch
import torch.nn.functional as F
from fa_lint_runtime import guard
torch.set_num_threads(1)
small, fixed = torch.full((2, 2), 1e-10), torch.ones(2, 2)
stop = False
def busy():
    while not stop:
        F.cosine_similarity(small, fixed, dim=-1)
with guard("record") as log:
    threads = [threading.Thread(target=busy, daemon=True) for _ in range(3)]
    [t.start() for t in threads]
    while not log:
        pass
    for _ in range(20):
        child = os.fork()
        if child == 0:
            F.cosine_similarity(small, fixed, dim=-1)
            with guard("record") as own:
                F.cosine_similarity(small, fixed, dim=-1)
            os._exit(0 if len(own) == 1 else 9)
        _, status = os.waitpid(child, 0)
        if status:
            break
    stop = True
    [t.join() for t in threads]
assert status == 0, status
print(len({(e.code, e.line) for e in log}))
"""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", program], capture_output=True, text=True, timeout=120, check=False
    )
    assert (done.returncode, done.stdout) == (0, "1\n"), done.stderr


def test_compiled_code_in_a_guard_that_ends_inside_another() -> None:
    """Code that was compiled within a guard gives the same without it, and under the next one."""
    compiled = torch.compile(_low, backend="aot_eager", fullgraph=True)
    with guard("record"):
        inside = compiled(_SMALL)
        with guard("record"):
            assert torch.equal(compiled(_SMALL), inside)
        assert torch.equal(compiled(_SMALL), inside)
    assert torch.equal(compiled(_SMALL), inside)
    assert torch.equal(_low(_SMALL), inside)


def test_what_a_killed_save_left_goes_with_the_next_one(tmp_path: Path) -> None:
    from fa_lint_runtime import save_checkpoint
    from fa_lint_runtime.files import write_text

    for name in ("a[1].pt", "a.json"):
        stale, busy, other = (tmp_path / f".{n}.tmp-{i}-0a0a0a0a" for i, n in enumerate((name, name, f"b{name}")))
        for path in (stale, busy, other):
            path.write_text("half")
        for path in (stale, other):
            os.utime(path, (1, 1))
        if name.endswith(".pt"):
            save_checkpoint(tmp_path / name, torch.nn.Linear(2, 2), feedback=None)
        else:
            write_text(tmp_path / name, "{}")
        assert (stale.exists(), busy.exists(), other.exists()) == (False, True, True)
