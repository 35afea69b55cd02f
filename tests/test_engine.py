"""The engine: the same result for any number of workers, in order, with internal errors told and contained."""

from __future__ import annotations

import os
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import fa_lint.project.engine as engine
from fa_lint.project.check_file import analyse
from fa_lint.project.config import Settings
from fa_lint.project.engine import Report, lint, lint_text
from fa_lint.project.workers import context
from fa_lint.semantics.roles import RoleNames
from tests.conftest import CLAMPED, MIXED, UNSAFE, write


@pytest.fixture(scope="module")
def big_project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """More than four megabytes in forty files: enough for worker processes."""
    root = tmp_path_factory.mktemp("big")
    filler = "# " + "x" * 97 + "\n"
    for number in range(40):
        code = (MIXED, CLAMPED, "x = (\n", "y = 1  # noqa: FAL101\n", "z = 1\n")[number % 5]
        write(root / f"pkg{number % 3}" / f"m{number}.py", code + filler * 1100)
    return root


def _run(root: Path, jobs: int, **options: Any) -> Report:
    files = sorted(str(path.relative_to(root)) for path in root.rglob("*.py"))
    return lint(files, Settings(root=str(root)), jobs=jobs, use_cache=False, **options)


def test_workers_change_nothing(big_project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(big_project)
    assert sum(path.stat().st_size for path in big_project.rglob("*.py")) > 4_000_000
    one, two, three = _run(big_project, 1), _run(big_project, 2), _run(big_project, 3)
    assert len(one.diagnostics) == 8 * (2 + 1 + 1 + 1)
    assert one.diagnostics == two.diagnostics == three.diagnostics
    assert (one.files, one.parsed, one.problems) == (two.files, two.parsed, two.problems) == (40, 16, [])
    assert one.diagnostics == sorted(one.diagnostics, key=lambda d: (d.path, d.start, d.code))


def test_workers_are_started_from_threads_too(big_project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a second thread a fork is not safe: another start method, the same result."""
    assert context().get_start_method() == "fork"
    done = threading.Event()
    thread = threading.Thread(target=done.wait)
    thread.start()
    try:
        assert context().get_start_method() == "spawn"
    finally:
        done.set()
        thread.join()


def test_a_worker_that_dies_costs_one_file(big_project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = analyse
    parent = os.getpid()

    def die(path: str, *rest: Any, **options: Any) -> Any:
        if path.endswith("m7.py") and os.getpid() != parent:
            os._exit(1)
        return real(path, *rest, **options)

    monkeypatch.chdir(big_project)
    before = _run(big_project, 2)
    monkeypatch.setattr("fa_lint.project.engine.analyse", die)
    after = _run(big_project, 2)
    assert after.problems == []
    (lost,) = [found for found in after.diagnostics if found not in before.diagnostics]
    assert (lost.path, lost.code) == ("pkg1/m7.py", "FAL900")
    assert lost.message == "cannot be read: the process that checked it died (exit code 1); the file was not checked"
    assert {d.path for d in before.diagnostics if d not in after.diagnostics} <= {"pkg1/m7.py"}


def test_progress_counts_to_the_end(big_project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(big_project)
    for jobs in (1, 2):
        told: list[tuple[int, int]] = []
        _run(big_project, jobs, progress=lambda done, total, told=told: told.append((done, total)))
        assert told == sorted(told)
        total = sum(path.stat().st_size for path in big_project.rglob("*.py"))
        assert told[-1] == (total, total)


def test_progress_counts_what_the_cache_knew() -> None:
    settings = Settings(root=os.getcwd())
    for name in ("a.py", "b.py"):
        write(name, "x = 1\n")
    lint(["a.py"], settings)
    write("b.py", CLAMPED)
    told: list[tuple[int, int]] = []
    lint(["a.py", "b.py"], settings, progress=lambda done, total: told.append((done, total)))
    assert told == [(6 + len(CLAMPED), 6 + len(CLAMPED))]


def test_chunks_are_about_equal_and_the_largest_come_first() -> None:
    jobs = [(f"{size}.py", b"x" * size, frozenset[str]()) for size in (10, 500_000, 300_000, 200_000, 20)]
    chunks = [[path for path, _, _ in chunk] for chunk in engine._chunks(jobs)]
    assert chunks == [["500000.py"], ["300000.py", "200000.py"], ["20.py", "10.py"]]
    assert list(engine._chunks([])) == []


def test_an_internal_error_is_a_problem_of_its_file(monkeypatch: pytest.MonkeyPatch) -> None:
    real = analyse

    def fail(path: str, *rest: Any, **options: Any) -> Any:
        if path == "a.py":
            raise AssertionError("no idea")
        return real(path, *rest, **options)

    monkeypatch.setattr("fa_lint.project.engine.analyse", fail)
    write("a.py", UNSAFE)
    write("b.py", CLAMPED)
    report = lint(["a.py", "b.py"], Settings(root=os.getcwd()))
    assert report.problems == ["a.py: internal error: AssertionError: no idea"]
    assert [d.path for d in report.diagnostics] == ["b.py"]
    assert lint(["a.py"], Settings(root=os.getcwd())).problems, "not remembered as clean"
    assert lint_text("a.py", b"", Settings()).problems == report.problems


def test_nothing_to_do() -> None:
    report = lint([], Settings(root=os.getcwd()))
    assert replace(report, seconds=0.0) == Report()


def test_reports_count() -> None:
    write("a.py", UNSAFE)
    write("b.py", "x = 1\n")
    report = lint(["a.py", "b.py"], Settings(root=os.getcwd()), use_cache=False)
    assert (report.files, report.cached, report.parsed) == (2, 0, 1)
    assert report.seconds > 0
    assert lint_text("a.py", UNSAFE.encode(), Settings()).diagnostics == report.diagnostics


@pytest.mark.parametrize(
    ("names", "code", "codes"),
    [
        (
            RoleNames(feedback=("W_back*",)),
            "import torch\nfrom torch import nn\nclass Net(nn.Module):\n    def __init__(self):\n        super().__init__()\n"
            "        self.W_back1 = torch.randn(3, 3)\nnet = Net()\ntorch.save(net.state_dict(), 'a.pt')\n",
            {"FAL401", "FAL402"},
        ),
        (
            RoleNames(credit=("teach[a-z]*_signal",)),
            "import torch\ndef f(teaching_signal): return teaching_signal.half()\n",
            {"FAL302"},
        ),
        (
            RoleNames(alignment=("quality_*",)),
            "import torch\nfrom lib import measure\ndef f(p):\n    quality_l = measure(p)\n    return quality_l if p.ok else 0.0\n",
            {"FAL405"},
        ),
    ],
)
def test_names_that_a_project_declares_open_the_gates(names: RoleNames, code: str, codes: set[str]) -> None:
    all_codes = Settings(root=os.getcwd()).codes
    assert analyse("a.py", code.encode(), all_codes, RoleNames()).diagnostics == []
    assert {d.code for d in analyse("a.py", code.encode(), all_codes, names).diagnostics} == codes
    assert analyse("a.py", b"import torch\n", all_codes, names).diagnostics == []
