"""Nothing that lies in the linted repository is executed, whatever starts the tool."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from fa_lint import installed
from tests.conftest import UNSAFE, write
from tests.integrations.repository import ROOT

_TRAP = (
    "import os\nfile = os.open(os.environ['MARK'], os.O_CREAT | os.O_WRONLY | os.O_APPEND)\n"
    "os.write(file, __name__.encode() + b'\\n')\n"
)
_RULE = _TRAP + "raise SystemExit('a rule of the working directory was loaded')\n"


@pytest.fixture
def mark(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("mark") / "executed"


def _run(mark: Path, *command: str, seconds: float = 60, **environment: str) -> subprocess.CompletedProcess[str]:
    # Under coverage every process would begin by importing it, with half of the standard library.
    plain = {key: value for key, value in os.environ.items() if not key.startswith("COVERAGE_")}
    return subprocess.run(
        command,
        env={**plain, "MARK": str(mark), **environment},
        capture_output=True,
        text=True,
        timeout=seconds,
        check=False,
    )


def _imported() -> set[str]:
    """The top-level modules that a run of the tool may import: the standard library, and what the tool needs."""
    program = "import sys, fa_lint.cli.commands, fa_lint.project.cache, fa_lint.project.baseline, fa_lint.project.changes, multiprocessing.spawn\n"
    program += "print(*{name.partition('.')[0] for name in sys.modules})"
    done = subprocess.run([sys.executable, "-I", "-c", program], capture_output=True, text=True, check=True, timeout=60)
    # A module that is found by a name made at run time, and stands in no list.
    data = f"_sysconfigdata_{sys.abiflags}_{sys.platform}_{getattr(sys.implementation, '_multiarch', '')}"
    found = {*done.stdout.split(), *sys.stdlib_module_names, data}
    return found - set(sys.builtin_module_names) - {"__main__", "__mp_main__", "fa_lint"}


def _shadow(mark: Path, *trivial: str, **environment: str) -> None:
    """A trap for each module; not for those that Python imports itself to start the trivial program."""
    for name in _imported():
        write(f"{name}.py", _TRAP)
    while True:
        done = _run(mark, *trivial, **environment)
        if not mark.exists():
            assert done.returncode == 0, done.stderr
            return
        for name in mark.read_text().split():
            Path(f"{name}.py").unlink(missing_ok=True)
        mark.unlink()


def _distribution(folder: str | Path = ".", name: str = "evil", module: str = "evil", rule: str = "Rule") -> None:
    """What `importlib.metadata` takes for an installed package with a rule."""
    write(Path(folder, f"{module}.py"), _RULE)
    for metadata in (f"{name}-1.0.dist-info", f"{name}.egg-info"):
        write(Path(folder, metadata, "METADATA"), f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        write(Path(folder, metadata, "PKG-INFO"), f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        write(Path(folder, metadata, "entry_points.txt"), f"[fa_lint.rules]\nx = {module}:{rule}\n")


_FA_LINT = str(Path(sys.executable).with_name("fa-lint"))
_STARTS = {
    "module": ([sys.executable, "-m", "fa_lint", "."], {}),
    "script": ([_FA_LINT, "."], {}),
    "script with PYTHONPATH": ([_FA_LINT, "."], {"PYTHONPATH": "."}),
    "script with an absolute PYTHONPATH": ([_FA_LINT, "."], {"PYTHONPATH": "{here}"}),
    "script with a PYTHONPATH above": ([_FA_LINT, "."], {"PYTHONPATH": ".."}),
    "command": ([sys.executable, "-c", "from fa_lint.cli import main; main(['.'])"], {}),
    "library": ([sys.executable, "-c", "import fa_lint; fa_lint.registry()"], {}),
    "flake8": ([sys.executable, "-m", "flake8", "--select", "FAL", "."], {}),
    "explain": ([sys.executable, "-m", "fa_lint", "explain", "FAL101"], {}),
}


@pytest.mark.parametrize("start", _STARTS)
def test_a_rule_of_the_working_directory_is_not_loaded(start: str, mark: Path) -> None:
    command, environment = _STARTS[start]
    write("src/a.py", UNSAFE)
    for folder in (".", "src", "..", "site-packages"):
        _distribution(folder)
        # A package of the environment, hidden by one of the same name.
        _distribution(folder, name="fa_lint", module="evil_too")
    done = _run(mark, *command, **{key: value.format(here=os.getcwd()) for key, value in environment.items()})
    assert not mark.exists()
    assert done.returncode == (0 if start in ("library", "explain") else 1), done.stderr
    if start not in ("library", "explain"):
        assert "FAL101" in done.stdout


@pytest.mark.parametrize("folder", [".", "src"])
def test_an_editable_installation_brings_no_other_distribution(folder: str, mark: Path, tmp_path: Path) -> None:
    """A folder that a .pth file puts on the path is importable; what a commit adds to it is not installed."""
    _distribution(folder)
    program = (
        "import sys, site, fa_lint.installed as i\n"
        f"sys.path.append({str(tmp_path / folder)!r})\n"
        f"i._links = lambda _: [{str(tmp_path / folder)!r}]\n"
        "print(i.trusted_path()[-1])\n"
        "import fa_lint; fa_lint.registry()\n"
    )
    done = _run(mark, sys.executable, "-P", "-c", program)
    assert (done.returncode, done.stdout.strip()) == (0, str((tmp_path / folder).resolve())), done.stderr
    assert not mark.exists()


def test_a_rule_that_is_installed_does_not_come_from_the_working_directory(
    mark: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    prefix = tmp_path_factory.mktemp("prefix") / "site-packages"
    _distribution(prefix, module="installed_rule", rule="OptIn")
    write(prefix / "installed_rule.py", (ROOT / "tests" / "integrations" / "opt_in_rule.py").read_text())
    write("installed_rule.py", _RULE)
    program = "import fa_lint; print(*fa_lint.registry())"
    done = _run(mark, sys.executable, "-c", program, PYTHONPATH=f".{os.pathsep}{prefix}")
    assert "FAL999" in done.stdout, done.stderr
    assert not mark.exists()


@pytest.mark.parametrize(
    ("command", "trivial", "environment"),
    [
        ([sys.executable, "-m", "fa_lint"], [sys.executable, "-m", "zz_trivial"], {}),
        ([sys.executable, "-I", "-m", "fa_lint"], [sys.executable, "-I", "-c", "pass"], {"PYTHONPATH": "."}),
        # The installed script imports `re` before it imports fa-lint.
        ([_FA_LINT], [sys.executable, "-c", "import re, sys"], {"PYTHONPATH": "."}),
    ],
    ids=["module", "isolated", "script"],
)
def test_no_module_of_the_working_directory_hides_another(
    command: list[str], trivial: list[str], environment: dict[str, str], mark: Path
) -> None:
    write("zz_trivial.py", "")
    _shadow(mark, *trivial, **environment)
    write("src/a.py", UNSAFE * 3)
    assert len(list(Path().glob("*.py"))) > 200
    for arguments in (["src", "--baseline", "none"], ["-j", "2", "src", "--output-format", "json"]):
        done = _run(mark, *command, *arguments, **environment)
        assert not mark.exists(), mark.read_text()
    assert (done.returncode, "FAL101" in done.stdout) == (1, True), done.stderr


def test_a_worker_does_not_begin_in_the_working_directory(mark: Path) -> None:
    """Where workers are spawned they are Pythons of their own, which would read the working directory first."""
    _shadow(mark, sys.executable, "-P", "-c", "pass")
    write("src/a.py", UNSAFE * 3)
    write("src/b.py", UNSAFE * 3)
    program = (
        "import sys\n"
        "sys.argv[0] = 'fa-lint'\n"
        "import multiprocessing\n"
        "multiprocessing.get_all_start_methods = lambda: ['spawn']\n"
        "import fa_lint.project.engine as engine\n"
        "engine._PARALLEL_BYTES = 0\n"
        "from fa_lint.cli import main\n"
        "if __name__ == '__main__':\n"
        "    main(['-j', '2', 'src', '--no-cache'])\n"
    )
    starter = write(mark.parent / "starter.py", program)
    done = _run(mark, sys.executable, str(starter))
    assert not mark.exists(), mark.read_text()
    assert done.returncode == 1, done.stderr
    assert done.stdout.count(" FAL101 ") == 6


def test_the_trusted_path_in_odd_places(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    path = installed.trusted_path()
    assert "" not in path
    monkeypatch.setattr(sys, "path", ["", ".", str(tmp_path), str(tmp_path.parent), "../x", *sys.path])
    assert installed.trusted_path() == path
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    assert [entry for entry in installed.trusted_path() if not os.path.isabs(entry)] == []
    monkeypatch.chdir("/")
    assert installed.entry_points("flake8.extension")


# -- the action ---------------------------------------------------------------------------------------------------


def test_the_action_runs_nothing_of_the_workspace(mark: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Its scripts, in the workspace, with every module of Python's library shadowed and PYTHONPATH set to it."""
    action = yaml.safe_load((ROOT / "action.yml").read_text(encoding="utf-8"))
    steps = {step["name"]: step for step in action["runs"]["steps"] if "run" in step}
    temporary = tmp_path_factory.mktemp("runner")
    for name in ({*sys.stdlib_module_names} | _imported() | {"pip", "setuptools", "fa_lint"}) - {"__main__"}:
        write(f"{name}.py", _TRAP)
    _distribution()
    write("src/a.py", UNSAFE)
    environment = {
        "RUNNER_TEMP": str(temporary),
        "GITHUB_ENV": str(temporary / "env"),
        "GITHUB_OUTPUT": str(temporary / "output"),
        "INTERPRETER": sys.executable,
        "VERSION": "",
        # Nothing is downloaded: this wheel cannot be built, which is seen only after pip has started.
        "SOURCE": str(temporary / "nothing"),
        "GIVEN_PATHS": "src",
        "GIVEN_ARGS": "",
    }
    bash = ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c"]
    # PYTHONPATH is of the workflow; bash would not start with it if bash were a Python program.
    done = _run(mark, *bash, steps["Install fa-lint"]["run"], seconds=120, PYTHONPATH=os.getcwd(), **environment)
    assert "nothing" in done.stderr, "pip ran"
    assert not mark.exists(), mark.read_text()
    assert (temporary / "fa-lint-venv").is_dir()
    script = re.search(r"printf .*", steps["Install fa-lint"]["run"])
    assert script is not None
    _run(mark, "bash", "-c", script[0], python=sys.executable, **environment)
    Path(temporary, "fa-lint").chmod(0o755)
    tool = {"FA_LINT": str(temporary / "fa-lint"), "PYTHONPATH": os.getcwd()}
    done = _run(mark, *bash, steps["Run fa-lint"]["run"], **environment, **tool)
    assert not mark.exists(), mark.read_text()
    assert "::error title=fa-lint (FAL101)" in done.stdout, done.stderr
    assert "exit-code=1" in (temporary / "output").read_text()
